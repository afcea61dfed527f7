"""examples/cpp/fill_mask: what cannot be is one sentence that names the option, file or line.

What must stay true: a wrong file or option ends the program with status 2 and no output; a line
without an answer costs the others nothing, and the status is 1.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fill_mask
import pytest

pytestmark = pytest.mark.slow


def refused(*arguments: object) -> str:
    """The sentence."""
    done = fill_mask.run(*arguments, lines="[MASK]")
    assert done.returncode == 2 and not done.stdout, done
    assert done.stderr.startswith("fill_mask: ") and done.stderr.count("\n") == 1
    return done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill_mask.write_wordpiece(tmp_path)
    return tmp_path


@pytest.fixture
def characters(tmp_path: Path) -> Path:
    fill_mask.write_characters(tmp_path, "char")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "wanted one MODEL, got 0"),
        (["a", "b"], "wanted one MODEL, got 2"),
        (["--shiny", "a"], "unknown option --shiny"),
        (["a", "-xyz"], "unknown option -x"),
        (["a", "--batch"], "--batch needs a value"),
        (["a", "--batch", "0"], "--batch must be a number from 1 on, got '0'"),
        (["a", "--threads=2x"], "--threads must be a number from 1 on, got '2x'"),
        (["a", "--top-k", ""], "--top-k must be a number from 1 on, got ''"),
        (["a", "--max-length=99999999999999999999"], "--max-length must be a number from 1 on"),
        (["a", "--dtype", "float16"], "--dtype must be float32 or bf16, got 'float16'"),
        (["/nowhere/model"], "/nowhere/model: no such file or directory"),
        ([__file__], "must be the directory of a checkpoint or a *.pt2"),
    ],
)
def test_arguments(arguments: list[str], reason: str) -> None:
    assert reason in refused(*arguments)


def test_help_is_no_error() -> None:
    done = fill_mask.run("--help")
    assert done.returncode == 0 and "--max-length" in done.stdout and not done.stderr


def test_a_file_that_is_no_package(tmp_path: Path, folder: Path) -> None:
    package = tmp_path / "model.pt2"
    package.write_bytes(b"no archive")
    assert "is no package of scripts/export.py" in refused(package, "--vocab", folder)


def test_a_foreign_checkpoint(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    assert "model_type must be 'roformer'" in refused(folder)
    (folder / "config.json").unlink()
    assert "config.json" in refused(folder)


def test_no_vocabulary(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (folder / "vocab.txt").unlink()
    assert "has tokenizer.json alone" in refused(folder)
    (folder / "tokenizer.json").unlink()
    assert "must hold vocab.txt (WordPiece) or the vocab.json of train_mlm.py" in refused(folder)
    fill_mask.write_wordpiece(other := tmp_path_factory.mktemp("other"))
    assert fill_mask.answers(folder, "--vocab", other, lines="[MASK]")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tokens: [*tokens, b"more"], "tokens of the model, got"),
        (lambda tokens: tokens[:-1], "tokens of the model, got"),
        (lambda tokens: [*tokens[:-1], b"hello"], "must hold a new token, got hello again"),
        (lambda tokens: [*tokens[:9], b"", *tokens[10:]], "vocab.txt, line 10: must hold a token"),
        (lambda tokens: [b"\xff", *tokens[1:]], "vocab.txt, line 1: byte 1, 0xff, is not UTF-8"),
        (lambda tokens: [*tokens[:4], b"<mask>", *tokens[5:]], "the special token [MASK]"),
        (lambda tokens: [], "vocab.txt: must hold a token on each line, got none"),
    ],
)
def test_a_wrong_vocabulary(
    folder: Path, change: Callable[[list[bytes]], list[bytes]], reason: str
) -> None:
    (folder / "tokenizer.json").unlink()
    tokens = (folder / "vocab.txt").read_bytes().splitlines()
    (folder / "vocab.txt").write_bytes(b"".join(token + b"\n" for token in change(tokens)))
    assert reason in refused(folder)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("added_tokens.json", {"": 1000}, "an added token must not be empty"),
        ("added_tokens.json", {"more": 1000}, "the added token more must have the id of its place"),
        ("added_tokens.json", {"more": "x"}, "the settings of the tokenizer do not read"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"12x": {"content": "more"}}},
         "the id of an added token must be a number, got '12x'"),
        ("tokenizer.json", {"model": {"type": "BPE", "vocab": {}}}, "must hold a WordPiece model"),
        ("tokenizer.json", {"model": {"vocab": {"a": 1}}}, "must give its 1 tokens the ids from 0"),
        ("tokenizer.json", {"model": {"vocab": {"x": 0}}}, "and 'x' for id 0"),
    ],
)  # fmt: skip
def test_a_wrong_tokenizer(folder: Path, name: str, change: dict[str, Any], reason: str) -> None:
    path = folder / name
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**known, **change}))
    assert reason in refused(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tokens": "words"}, "tokens must be 'char' or 'byte', got 'words'"),
        ({"symbols": ["ab"]}, "symbols must be chars, got 'ab'"),
        ({"symbols": ["a", "a"]}, "symbols must differ, got 'a' twice"),
        ({"symbols": 3}, "must have tokens, specials and symbols"),
        ({"specials": ["[PAD]", "[UNK]"]}, "specials must hold [MASK]"),
        ({"symbols": ["a"]}, "tokens of the model, got 4"),
    ],
)
def test_a_wrong_alphabet(characters: Path, change: dict[str, Any], reason: str) -> None:
    path = characters / "vocab.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert reason in refused(characters)


def test_lines_without_an_answer(folder: Path) -> None:
    """Each is named, and those around it are answered."""
    lines = [b"hello", b"[MASK]", b"\xc3(", b"", b"a " * 62 + b"[MASK]", b"[MASK] \xed\xa0\x80",
             b"a " * 61 + b"[MASK]"]  # fmt: skip
    done = fill_mask.run(folder, lines=b"\n".join(lines))
    assert done.returncode == 1
    assert list(fill_mask.read(done.stdout)) == [2, 7]
    for sentence in (
        "line 1: there is no [MASK] in it",
        "line 3: byte 1, 0xc3, is not UTF-8",
        "line 4: there is no [MASK] in it",
        "line 5: 65 tokens are more than the 64 of --max-length",
        "line 6: byte 8, 0xed, is not UTF-8",
    ):
        assert f"fill_mask: {sentence}\n" in done.stderr
    longer = fill_mask.run(folder, "--max-length", 65, lines=b"\n".join(lines))
    assert list(fill_mask.read(longer.stdout)) == [2, 5, 7]


def test_bytes_may_be_anything(tmp_path: Path) -> None:
    """A byte vocabulary knows no malformed line."""
    fill_mask.write_characters(tmp_path, "byte")
    assert fill_mask.answers(tmp_path, lines=b"\xff[MASK]\xc3\n\xed[MASK]").keys() == {1, 2}


def test_a_mask_that_is_spelled_otherwise(folder: Path) -> None:
    """A mark of no width goes, and a word of the vocabulary may be left that reads as the mask."""
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"words": "jieba", "do_lower_case": False, "tokenizer_class": "RoFormerTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    done = fill_mask.run(folder, lines="a [MA\u200bSK]\n[MASK]\n")
    assert done.returncode == 1
    assert list(fill_mask.read(done.stdout)) == [2]
    assert "line 1: 1 tokens of it are masks, and it has [MASK] 0 times" in done.stderr
