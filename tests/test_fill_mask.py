"""examples/cpp/fill_mask: answers of a filter in C++ are those of the Python model.

Answers are compared with the model on each line alone, so padding that leaks would show. The
program is compiled first; one test does that in the fast suite, so that it always answers.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import unicodedata
from pathlib import Path
from typing import Any

import fill_mask
import pytest
import torch
from scripts_path import SCRIPTS, importable

from roformer_ext import RoFormerForMaskedLM, export

KINDS = ("char", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("byte", "wordpiece")))
BATCHES = (3, *(pytest.param(size, marks=pytest.mark.slow) for size in (1, 16)))
CHARACTERS = [
    "[MASK]he ro[MASK]ary model",
    "t[MASK]",
    "é[MASK]",
    "[MASK]",
    "中[MASK][MASK] ~ its angle",
    "[PAD] [MASK] " + "by its angle " * 3,
    "turns[MASK]",
]
PIECES = [
    "hello [MASK] world",
    "[MASK]",
    "Wor[MASK], CAFÉ 2021年[MASK]！",
    "我们[MASK]",
    "unknownword [MASK] [SEP] [MASK] " + "hello, world " * 8,
    "a[MASK]b [mask]",
]
LINES = {"char": CHARACTERS, "byte": CHARACTERS, "wordpiece": PIECES}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders char, byte and wordpiece."""
    home = tmp_path_factory.mktemp("checkpoints")
    fill_mask.write_characters(home / "char", "char")
    fill_mask.write_characters(home / "byte", "byte")
    fill_mask.write_wordpiece(home / "wordpiece")
    return home


class Python:
    """What the Python side makes of a line."""

    def __init__(self, folder: Path, **loading: Any) -> None:
        self.model = RoFormerForMaskedLM.from_pretrained(folder, **loading)
        with importable():
            from mlm.text import load_vocabulary

            self.vocabulary: Any = load_vocabulary(folder)
        self.kind = getattr(self.vocabulary, "kind", "wordpiece")

    def ids(self, line: str) -> list[int]:
        if self.kind == "wordpiece":
            return self.vocabulary.tokenizer(line)["input_ids"]
        if self.kind == "byte":
            line = line.encode().decode("latin-1")
        ids: list[int] = []
        for stretch in line.split("[MASK]"):
            ids += [*self.vocabulary.encode(stretch).tolist(), self.vocabulary.mask]
        return ids[:-1]

    def shown(self, token: int) -> str:
        """A token as the program writes it."""
        if self.kind == "wordpiece":
            return self.vocabulary.tokenizer.convert_ids_to_tokens(token)
        if token < self.vocabulary.specials:
            return ("[PAD]", "[UNK]", "[MASK]")[token]
        symbol = self.vocabulary.symbols[token - self.vocabulary.specials]
        if (self.kind == "byte" and not symbol.isascii()) or unicodedata.category(symbol) == "Cc":
            return f"\\x{ord(symbol):02x}"
        return symbol

    @torch.no_grad()
    def masks(self, line: str, top_k: int) -> list[list[tuple[str, float]]]:
        ids = torch.tensor([self.ids(line)])
        logits = self.model(ids).logits[ids == self.vocabulary.mask]
        share, token = logits.float().softmax(-1).topk(top_k)
        return [
            [(self.shown(one), value) for one, value in zip(some, values)]
            for some, values in zip(token.tolist(), share.tolist())
        ]


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_python(checkpoints: Path, kind: str, batch: int) -> None:
    """The same tokens in the same order, probabilities to the last digit that is printed."""
    lines, python = LINES[kind], Python(checkpoints / kind)
    options = ("--top-k", 4, "--batch", batch, "--threads", 1)
    found = fill_mask.answers(checkpoints / kind, *options, lines="\n".join(lines))
    assert list(found) == list(range(1, len(lines) + 1))
    for number, line in enumerate(lines, 1):
        expected = python.masks(line, 4)
        assert len(found[number].masks) == len(expected) == line.count("[MASK]")
        for mask, wanted in zip(found[number].masks, expected):
            assert [token for token, _ in mask] == [token for token, _ in wanted]
            assert [share for _, share in mask] == pytest.approx(
                [share for _, share in wanted], abs=1e-4
            )


@pytest.mark.slow
def test_bf16_is_that_of_python(checkpoints: Path) -> None:
    """Within the roundings of bfloat16, which float32 results are not equal to."""
    folder, lines = checkpoints / "wordpiece", "\n".join(PIECES)
    python = Python(folder, dtype=torch.bfloat16)
    found = fill_mask.answers(folder, "--dtype", "bf16", "--batch", 1, lines=lines)
    assert found != fill_mask.answers(folder, "--batch", 1, lines=lines)
    for number, line in enumerate(PIECES, 1):
        for mask, wanted in zip(found[number].masks, python.masks(line, 1), strict=True):
            assert mask[0][1] == pytest.approx(wanted[0][1], rel=0.05)


@pytest.mark.slow
def test_the_line_is_filled(tmp_path: Path) -> None:
    """A token stands as it is; a piece that goes on joins its word; a control character shows."""
    fill_mask.write_wordpiece(tmp_path / "joined", "##lo")
    found = fill_mask.answers(tmp_path / "joined", lines="Hel [MASK], a[MASK]  [MASK]b\r\n")
    assert found[1].text == "Hello, alolob"
    fill_mask.write_wordpiece(tmp_path / "apart", "我")
    assert fill_mask.answers(tmp_path / "apart", lines="é [MASK] x")[1].text == "é 我 x"
    fill_mask.write_characters(tmp_path / "char", "char", "\n")
    assert fill_mask.answers(tmp_path / "char", lines="a[MASK]b\tc")[1].text == r"a\x0ab\x09c"
    fill_mask.write_characters(tmp_path / "byte", "byte", "\xff")
    assert fill_mask.answers(tmp_path / "byte", lines=b"\xfe[MASK]")[1].text == r"\xfe\xff"


@pytest.mark.slow
def test_an_answer_comes_before_the_input_ends(checkpoints: Path) -> None:
    """A line is answered when it is there, not when the next one or the end comes."""
    command = [str(fill_mask.program()), str(checkpoints / "char")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        # Who waits for the end of the input would wait for ever.
        late = threading.Timer(60, process.kill)
        late.daemon = True
        late.start()
        for number in (1, 2):
            process.stdin.write(b"t[MASK]rns\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith(f"{number}: t".encode())
            process.stdout.readline()
        process.stdin.close()
        late.cancel()
    assert process.returncode == 0


@pytest.mark.slow
def test_starts_in_under_a_second(checkpoints: Path) -> None:
    """By the time that the processor worked, which other processes do not lengthen."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        fill_mask.answers(checkpoints / "char", "--threads", 1, lines="t[MASK]")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 1


@pytest.mark.slow
def test_tokens_are_counted_without_padding(checkpoints: Path) -> None:
    done = fill_mask.run(checkpoints / "char", lines="[MASK]\nab[MASK]\n[MASK]cd ef")
    assert "3 lines, 10 tokens in" in done.stderr
    assert done.stderr.rstrip().endswith("tokens/s")


@pytest.mark.slow
@pytest.mark.parametrize("tokens", ["char", "wordpiece"])
def test_runs_on_what_training_leaves(tmp_path: Path, tokens: str) -> None:
    """The folder that scripts/demo.sh prints at its end, without anything copied or added."""
    text = tmp_path / "text.txt"
    text.write_text("The rotary model turns each query and key by its angle.\n" * 60)
    done = subprocess.run(
        [
            sys.executable, str(SCRIPTS / "train_mlm.py"), "--text", str(text), "--tokens", tokens,
            "--positions", "rotary", "--steps", "2", "--seq-len", "32", "--device", "cpu",
            "--out", str(tmp_path),
        ],
        capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = fill_mask.answers(tmp_path / "rotary", "--top-k", 2, lines="The [MASK] model.")
    expected = Python(tmp_path / "rotary").masks("The [MASK] model.", 2)
    assert [token for token, _ in found[1].masks[0]] == [token for token, _ in expected[0]]


@pytest.mark.slow
def test_a_package_answers_like_its_directory(checkpoints: Path, tmp_path: Path) -> None:
    """One of scripts/export.py, with our operator in it; the vocabulary comes from --vocab."""
    folder, lines = checkpoints / "wordpiece", "\n".join(PIECES)
    package = tmp_path / "model.pt2"
    export.package(export.export(RoFormerForMaskedLM.from_pretrained(folder)), package)
    found = fill_mask.answers(package, "--vocab", folder, "--batch", 3, lines=lines)
    expected = fill_mask.answers(folder, "--batch", 3, lines=lines)
    assert found.keys() == expected.keys()
    for number in expected:
        assert found[number].text == expected[number].text
        for mask, wanted in zip(found[number].masks, expected[number].masks, strict=True):
            assert [token for token, _ in mask] == [token for token, _ in wanted]
            assert [share for _, share in mask] == pytest.approx(
                [share for _, share in wanted], abs=2e-4
            )
    for arguments, reason in (
        ((package,), "--vocab must name the folder of the vocabulary"),
        ((package, "--vocab", folder, "--dtype", "bf16"), "--dtype is for a directory"),
        ((package, "--vocab", checkpoints / "char"), "tokens of the model, got"),
    ):
        done = fill_mask.run(*arguments, lines=lines)
        assert done.returncode == 2 and reason in done.stderr and not done.stdout
