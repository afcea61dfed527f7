"""examples/cpp/fill_mask: the rows that it reads are those of Python's RoFormerTokenizer.

The one idea: `--tokens` shows the ids of a line, so texts by the hundred, with everything that a
simpler tokenizer gets wrong, and every character that Unicode 3.2 knows can be compared.
"""

from __future__ import annotations

import json
import random
import unicodedata
from pathlib import Path
from typing import Any

import fill_mask
import pytest
from token_samples import SENTENCE, SPECIAL, TEXT, TRICKY, VOCABULARY, ours

from roformer_ext import RoFormerTokenizer

pytestmark = pytest.mark.slow

# Their categories have changed since Unicode 8, which the package tokenizers has.
CHANGED = {0x166D, 0x1734, 0x1885, 0x1886}
# Younger than Unicode 8, so without a category there: punctuation, marks, a format character.
YOUNGER = "\u2e43\u061d\U0001e95f\u0890\u07fd\u2e52"

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "cased": {"do_lower_case": False},
    "accents": {"strip_accents": False},
    "cased, no accents": {"do_lower_case": False, "strip_accents": True},
    "no characters": {"tokenize_chinese_chars": False},
    "whole tokens": {"whole_tokens": ["c++", "hello"], "additional_special_tokens": ["##lo", "年"]},
}


def texts(count: int) -> list[str]:
    """One line each: words of the vocabulary, special tokens, tricky stretches, any characters."""
    chosen = random.Random(20210420)
    parts = [*VOCABULARY, *TRICKY, " ", ", ", "\t", "Hello", "CAFÉ", "e\u0301", "İ"]
    blocks = [(32, 0x3000), (0x3000, 0xD800), (0xE000, 0x30000)]
    found = [*TRICKY]
    while len(found) < count:
        some = chosen.choices(parts, k=chosen.randint(1, 6))
        some += [chr(chosen.randrange(*block)) for block in blocks]
        chosen.shuffle(some)
        found.append("".join(some))
    return [text.replace("\n", " ").rstrip("\r") for text in found]


def written(folder: Path, tokenizer: RoFormerTokenizer) -> Path:
    """A checkpoint with this tokenizer."""
    tokenizer.save_pretrained(folder)
    fill_mask.write_model(folder, len(tokenizer), width=4)
    return folder


@pytest.mark.parametrize("name", SETTINGS)
def test_ids_are_those_of_python(tmp_path: Path, name: str) -> None:
    vocabulary = [*VOCABULARY, "Hello", "é", "caf\u00e9", "c++"]
    tokenizer = RoFormerTokenizer(vocabulary, words="characters", **SETTINGS[name])
    lines = texts(400)
    found = fill_mask.rows(written(tmp_path, tokenizer), lines="\n".join(lines) + "\n")
    assert len(found) == len(lines)
    for line, ids in zip(lines, found):
        assert ids == tokenizer(line)["input_ids"], line


def test_every_character(tmp_path: Path) -> None:
    """Between two letters each is dropped, divides, stands alone or joins as it does in Python."""
    known = unicodedata.ucd_3_2_0
    characters = [
        chr(code)
        for code in range(0x110000)
        if known.category(chr(code)) not in ("Cn", "Cs", "Co") and code not in CHANGED | {10}
    ]
    characters += YOUNGER
    lines = [
        " ".join(f"a{character}a" for character in characters[first : first + 50])
        for first in range(0, len(characters), 50)
    ]
    forms = {*characters, *map(str.lower, characters), *"".join(map(_apart, characters))}
    forms = {form for form in forms if len(form) == 1 and form not in "\r\n"}
    vocabulary = [*SPECIAL, *sorted(forms), *(f"##{form}" for form in sorted(forms))]
    tokenizer = RoFormerTokenizer(vocabulary, words="characters")
    found = fill_mask.rows(written(tmp_path, tokenizer), lines="\n".join(lines) + "\n")
    assert len(found) == len(lines) > 1000
    for line, ids in zip(lines, found):
        assert ids == tokenizer(line)["input_ids"], line
    assert not any(tokenizer.unk_token_id in ids for ids in found)


def _apart(character: str) -> str:
    return unicodedata.normalize("NFD", character) + unicodedata.normalize("NFD", character).lower()


def test_chinese_words_are_read_as_cut(tmp_path: Path) -> None:
    """A line with spaces where jieba cuts has the ids of the line without them, and it says so."""
    rjieba = pytest.importorskip("rjieba")
    tokenizer = ours("jieba")
    folder = written(tmp_path, tokenizer)
    chosen = random.Random(1)
    words = [word for word in TEXT.split() if not word.startswith("##")]
    whole = [SENTENCE, "有限公司有限。3.5% c++", "hello,我们today"]
    whole += ["".join(chosen.choices([*words, " "], k=12)).lower() for _ in range(100)]
    whole = [unicodedata.normalize("NFD", line) for line in whole]
    cut = [" ".join(rjieba.cut(line, False)) for line in whole]
    done = fill_mask.run(folder, "--tokens", lines="\n".join(cut))
    assert "lines are read as cut into words already" in done.stderr
    for line, ids in zip(whole, fill_mask.rows(folder, lines="\n".join(cut)), strict=True):
        assert ids == tokenizer(line)["input_ids"], line


def test_tokens_that_other_files_add(tmp_path: Path) -> None:
    """As slow tokenizers of transformers save them, beside the vocabulary or in the settings."""
    tokenizer = ours("characters")
    tokenizer.save_pretrained(tmp_path)
    size = len(tokenizer)
    fill_mask.write_model(tmp_path, size + 2, width=4)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    known = {"0": {"content": VOCABULARY[0], "special": True}, str(size): {"content": "<new>"}}
    settings["added_tokens_decoder"] = known
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<newer>": size + 1}))
    lines = ["hello<newer> <new>, [MASK]", "<new", "[PAD]<new><new>"]
    expected = [RoFormerTokenizer.from_pretrained(tmp_path)(line)["input_ids"] for line in lines]
    assert size + 1 in expected[0] and size in expected[2]
    assert fill_mask.rows(tmp_path, lines="\n".join(lines)) == expected


def test_the_longer_vocabulary_counts(tmp_path: Path) -> None:
    """As in Python, where vocab.txt and tokenizer.json agree as far as both go."""
    fill_mask.write_wordpiece(tmp_path)
    lines = "Hello [MASK], CAFE a b c\n[MASK]"
    expected = fill_mask.rows(tmp_path, lines=lines)
    tokens = (tmp_path / "vocab.txt").read_bytes().splitlines(keepends=True)
    (tmp_path / "vocab.txt").write_bytes(b"".join(tokens[:-3]))
    assert fill_mask.rows(tmp_path, lines=lines) == expected


def test_a_vocabulary_of_another_system(tmp_path: Path) -> None:
    """A byte order mark and carriage returns are no tokens; without settings those of BERT hold."""
    fill_mask.write_wordpiece(tmp_path)
    lines = "Hello [MASK], CAFE a b c\n[MASK]"
    expected = fill_mask.rows(tmp_path, lines=lines)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    words = {"永和", "服装", "饰品", "有限公司", "非常"}
    tokens = [f"<{place}>" if t in words else t for place, t in enumerate(VOCABULARY)]
    (tmp_path / "vocab.txt").write_bytes(("\ufeff" + "".join(f"{t}\r\n" for t in tokens)).encode())
    assert fill_mask.rows(tmp_path, lines=lines) == expected
