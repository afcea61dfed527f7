"""Files of a tokenizer: read and written both ways with transformers, and refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from token_samples import (
    KINDS,
    SPECIAL,
    TRICKY,
    VOCABULARY,
    ours,
)

from roformer_ext.tokenizer import RoFormerTokenizer


@pytest.mark.parametrize("words", KINDS)
def test_files_go_both_ways(words: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = ours(
        words, do_lower_case=False, padding_side="left", additional_special_tokens=["2021"]
    )
    tokenizer.save_pretrained(tmp_path / "ours")
    back = RoFormerTokenizer.from_pretrained(tmp_path / "ours")
    assert back._settings() == {**tokenizer._settings(), "whole_tokens": [*SPECIAL, "2021"]}
    assert back.get_vocab() == tokenizer.get_vocab()
    kind = getattr(transformers, KINDS[words])
    for loaded in (kind, transformers.AutoTokenizer):
        reference = loaded.from_pretrained(tmp_path / "ours")
        assert isinstance(reference, kind)
        assert reference.padding_side == "left"
        for text in TRICKY:
            assert reference.encode(text) == tokenizer.encode(text)
    reference.add_tokens(["新词"])
    reference.save_pretrained(tmp_path / "theirs")
    again = RoFormerTokenizer.from_pretrained(tmp_path / "theirs")
    assert again.words == words
    assert len(again) == len(tokenizer) + 1
    for text in [*TRICKY, "a新词b"]:
        assert again.encode(text) == reference.encode(text)


def test_only_a_vocabulary(tmp_path: Path) -> None:
    """Files of the original release: words are found as the vocabulary wants them."""
    path = tmp_path / "vocab.txt"
    path.write_bytes("\n".join(VOCABULARY).encode())
    assert RoFormerTokenizer.from_pretrained(tmp_path).words == "jieba"
    assert RoFormerTokenizer.from_pretrained(tmp_path).get_vocab() == ours().get_vocab()
    forced = RoFormerTokenizer.from_pretrained(tmp_path, words="characters", do_lower_case=False)
    assert (forced.words, forced.do_lower_case) == ("characters", False)
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*SPECIAL, "我", "a", ""]).encode())
    plain = RoFormerTokenizer.from_pretrained(tmp_path)
    assert plain.words == "characters"
    assert list(plain.get_vocab()) == [*SPECIAL, "我", "a"]
    assert RoFormerTokenizer(path).get_vocab() == plain.get_vocab()
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "RoFormerTokenizerFast",
                "do_lower_case": False,
                "model_max_length": 1e30,
                "mask_token": {"content": "[MASK]", "lstrip": False},
            }
        )
    )
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<e>": 7}))
    named = RoFormerTokenizer.from_pretrained(tmp_path)
    assert (named.words, named.do_lower_case, named.model_max_length) == ("jieba", False, None)
    assert named.tokenize("a<e>a") == ["a", "<e>", "a"]


GOOD = "\n".join(VOCABULARY)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            GOOD.replace("[UNK]\n", ""),
            r"unk_token must be in the vocabulary, and '\[UNK\]' is none",
        ),
        (GOOD + "\na", "vocab.txt must hold each token once, got 'a' at ids .* and "),
        (GOOD.replace("好\n", "\n"), "vocab.txt must hold a token at every place, got '' at id 14"),
        (GOOD + "\n\n", "must hold a token at every place, got ''"),
        ("", "vocab.txt must hold at least one token, got none"),
        (GOOD.replace("好", "好\r"), r"must hold one token on a line, got '好\\r' at id 14"),
        (GOOD.encode("gb18030", "replace"), "vocab.txt must be UTF-8, got byte 0x.. at 31, line 6"),
        (GOOD.encode("utf-16"), "vocab.txt must be UTF-8, got byte 0x.. at 0, line 1"),
    ],
)
def test_hostile_vocabularies(content: str | bytes, message: str, tmp_path: Path) -> None:
    raw = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "vocab.txt").write_bytes(raw)
    with pytest.raises(ValueError, match=message):
        RoFormerTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"tokenizer_config.json": "["},
            "tokenizer_config.json must be a JSON object, got Expecting",
        ),
        ({"tokenizer_config.json": "[]"}, "tokenizer_config.json must be a JSON object, got list"),
        ({"tokenizer_config.json": "[" * 100_000}, "must be a JSON object, got"),
        (
            {"tokenizer_config.json": '{"do_lower_case": 1}'},
            "do_lower_case must be True or False, got 1",
        ),
        (
            {"tokenizer_config.json": '{"sep_token": "[X]"}'},
            r"sep_token must be in the .*'\[X\]' is",
        ),
        (
            {"tokenizer_config.json": '{"padding_side": 3}'},
            "padding_side must be right or left, got 3",
        ),
        (
            {"tokenizer.json": '{"model": {"type": "BPE", "vocab": {}}}'},
            "must hold a WordPiece model",
        ),
        (
            {"tokenizer.json": '{"model": {"vocab": {"[UNK]": 1}}}'},
            "must give its 1 tokens the ids 0 to 0",
        ),
        (
            {"tokenizer.json": '{"model": {"vocab": {"x": 0}}}'},
            r"vocab.txt and tokenizer.json must agree, got '\[PAD\]' and 'x' for id 0",
        ),
        (
            {"added_tokens.json": '{"zz": 1000}'},
            "must add tokens after the .*got 'zz' with id 1000",
        ),
        (
            {"tokenizer_config.json": '{"extra_special_tokens": 5}'},
            "must list its special tokens, got 5",
        ),
        ({"added_tokens.json": '{"zz": 1}'}, "must add tokens after the .*got 'zz' with id 1"),
        ({"added_tokens.json": '{"zz": "1"}'}, "must declare added tokens by a string and an id"),
        (
            {"tokenizer_config.json": '{"added_tokens_decoder": [1]}'},
            "must declare added tokens by",
        ),
    ],
)
def test_hostile_settings(files: dict[str, str], message: str, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text(GOOD, encoding="utf-8")
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        RoFormerTokenizer.from_pretrained(tmp_path)


def test_missing_files_and_places(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"must hold vocab.txt or tokenizer.json, got neither"
    ):
        RoFormerTokenizer.from_pretrained(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        ours().save_pretrained(tmp_path / "file")
