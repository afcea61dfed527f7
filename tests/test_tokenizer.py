"""The tokenizer: ids, spans and text made of ids beside transformers, copies and threads."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import threading
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from token_samples import (
    KINDS,
    SENTENCE,
    SPECIAL,
    TRICKY,
    VOCABULARY,
    WORDS,
    ours,
    pair,
    texts,
    theirs,
)

from roformer_ext.tokenizer import RoFormerTokenizer


def test_published_segmentation() -> None:
    """The check values published with the first checkpoints."""
    text = "永和 服装 饰品 有限公司 , 今 天 天 气 非常 好"
    tokens = text.split(" ")
    assert ours().tokenize(SENTENCE) == tokens
    assert theirs().tokenize(SENTENCE) == tokens
    assert ours("characters").tokenize("今天,非常 好") == ["今", "天", ",", "[UNK]", "[UNK]", "好"]
    assert ours().convert_tokens_to_ids([*tokens, "[UNK]", "none"])[-3:] == [14, 1, 1]


@pytest.mark.parametrize("words", KINDS)
@given(text=texts)
def test_ids_and_spans_are_those_of_transformers(words: str, text: str) -> None:
    tokenizer, reference = pair(words)
    expected = reference(text, return_offsets_mapping=True)
    result = tokenizer(text, return_offsets_mapping=True)
    assert result["input_ids"] == expected["input_ids"]
    assert tokenizer.encode(text) == expected["input_ids"]
    assert tokenizer.tokenize(text) == reference.tokenize(text)
    assert result.word_ids() == expected.word_ids()
    # Where two marks change places, the one may get the span of the other.
    if all(unicodedata.combining(x) == 0 for x in unicodedata.normalize("NFD", text)):
        assert result["offset_mapping"] == expected["offset_mapping"]


@pytest.mark.parametrize("words", KINDS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_lower_case": False},
        {"strip_accents": False},
        {"do_lower_case": False, "strip_accents": True},
    ],
)
def test_settings_are_those_of_transformers(words: str, settings: dict[str, Any]) -> None:
    tokenizer, reference = ours(words, **settings), theirs(words, **settings)
    for text in [*TRICKY, "Café CAFE\u0301 Hello"]:
        assert tokenizer.encode(text) == reference.encode(text), text


def test_chinese_characters_may_stay_together() -> None:
    settings = {"tokenize_chinese_chars": False}
    assert ours("characters", **settings).tokenize("a我") == ["a", "##我"]
    assert theirs("characters", **settings).tokenize("a我") == ["a", "##我"]
    assert ours("jieba", **settings).tokenize("有限公司我们") == ["有限公司", "我", "们"]


def test_every_kind_of_character_divides_as_in_transformers() -> None:
    """One character of every 37 and all of the first 12000 as a text, between two letters."""
    tokenizer, reference = ours("characters"), theirs("characters")
    codes = [*range(12000), *range(12000, 0xD800, 37), *range(0xE000, 0x110000, 37)]
    text = " ".join(f"a{chr(code)}b" for code in codes)
    assert tokenizer.encode(text) == reference.encode(text)
    tokenizer, reference = ours(), theirs()
    codes = [*range(0x300, 0x400), *range(0x1E00, 0x2100), *range(0xAC00, 0xAC40)]
    for code in codes:
        assert tokenizer.encode(f"a{chr(code)}好") == reference.encode(f"a{chr(code)}好"), hex(code)


@pytest.mark.parametrize("words", KINDS)
@given(text=texts)
@example(text=TRICKY[3])
@example(text=TRICKY[8])
def test_spans_slice_the_text(words: str, text: str) -> None:
    tokenizer = ours(words)
    batch = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    last = 0
    for token, (begin, end) in zip(batch["input_ids"], batch["offset_mapping"]):
        assert 0 <= begin < end <= len(text)
        assert end >= last
        last = end
        piece = tokenizer.convert_ids_to_tokens(token).removeprefix("##")
        source = text[begin:end]
        if piece not in SPECIAL and not any(map(unicodedata.combining, source)):
            # A part of a character (a letter of a Hangul syllable) has the span of the character.
            form = unicodedata.normalize("NFD", source).lower()
            form = "".join(x for x in form if unicodedata.category(x)[0] not in "MC" or x in piece)
            assert piece in form or source in f"##{piece}"


@given(
    words=st.lists(st.sampled_from([x for x in WORDS if x.isalpha() and x.isascii()]), max_size=9)
)
def test_decoding_keeps_words(words: list[str]) -> None:
    tokenizer = ours()
    text = " ".join(words)
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text


@pytest.mark.parametrize("words", KINDS)
def test_decoding_is_that_of_transformers(words: str) -> None:
    tokenizer, reference = pair(words)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(len(VOCABULARY), (20, 12), generator=generator)
    for skip in (False, True):
        expected = reference.batch_decode(rows, skip_special_tokens=skip)
        assert tokenizer.batch_decode(rows, skip_special_tokens=skip) == expected
        assert tokenizer.decode(rows, skip_special_tokens=skip) == expected
        assert tokenizer.decode(rows[0].tolist(), skip_special_tokens=skip) == expected[0]
    assert tokenizer.decode(5) == "永和"


def test_names_of_special_tokens(tmp_path: Path) -> None:
    tokenizer = ours(additional_special_tokens=["2021"])
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.mask_token_id) == (0, 1, 4)
    assert (tokenizer.cls_token, tokenizer.sep_token_id, len(tokenizer)) == (
        "[CLS]",
        3,
        len(VOCABULARY),
    )
    assert set(tokenizer.all_special_tokens) == {*SPECIAL, "2021"}
    assert tokenizer.tokenize("a2021b") == ["a", "2021", "b"]
    assert tokenizer.get_special_tokens_mask([2, 9, 3], already_has_special_tokens=True) == [
        1,
        0,
        1,
    ]
    assert tokenizer.get_special_tokens_mask([9], [9]) == [1, 0, 1, 0, 1]
    assert tokenizer.special_tokens_map["additional_special_tokens"] == ["2021"]
    assert tokenizer.num_special_tokens_to_add(pair=True) == 3
    with pytest.raises(AttributeError, match="no attribute 'eos_token_id'"):
        _ = tokenizer.eos_token_id
    without = RoFormerTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"], mask_token=None)
    assert without.mask_token_id is None
    without.save_pretrained(tmp_path)
    assert RoFormerTokenizer.from_pretrained(tmp_path).mask_token is None
    assert without.all_special_ids == [1, 3, 0, 2]


def _length(tokenizer: RoFormerTokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text)
    return ids


@pytest.mark.parametrize("words", KINDS)
def test_copies_are_equal_and_work_elsewhere(words: str) -> None:
    tokenizer = ours(
        words, do_lower_case=False, additional_special_tokens=["2021"], model_max_length=9
    )
    expected = [tokenizer(text, return_offsets_mapping=True) for text in TRICKY]
    for twin in (
        pickle.loads(pickle.dumps(tokenizer)),
        copy.deepcopy(tokenizer),
        copy.copy(tokenizer),
    ):
        assert [twin(text, return_offsets_mapping=True) for text in TRICKY] == expected
        assert twin._settings() == tokenizer._settings()
        assert twin.get_vocab() == tokenizer.get_vocab()
        assert twin.model_max_length == 9
    with get_context("spawn").Pool(1) as pool:
        rows = pool.starmap(_length, [(tokenizer, text) for text in TRICKY])
    assert rows == [each["input_ids"] for each in map(tokenizer, TRICKY)]


def test_in_workers_of_a_data_loader() -> None:
    tokenizer = ours()
    tokenizer("今天")
    loader: Any = torch.utils.data.DataLoader(
        TRICKY,  # type: ignore[arg-type]
        batch_size=4,
        num_workers=1,
        collate_fn=tokenizer,
    )
    assert [row for batch in loader for row in batch["input_ids"]] == tokenizer(TRICKY)["input_ids"]


def test_threads_share_one_tokenizer() -> None:
    tokenizer = ours()
    many = [f"{text} {chr(0x4E00 + count)}é" for count in range(60) for text in TRICKY[:8]]
    expected = ours()(many, return_offsets_mapping=True)
    start = threading.Barrier(4)

    def work(_: int) -> Any:
        start.wait()
        return tokenizer(many, return_offsets_mapping=True)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [expected] * 4


def test_kept_words_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roformer_ext.segmentation._KEPT", 50)
    tokenizer = ours()
    text = " ".join(f"a{count}" for count in range(300))
    assert tokenizer.encode(text) == ours().encode(text)
    assert len(tokenizer._segmenter._known) <= 50


def test_a_missing_package_is_named() -> None:
    """The package imports without the extra, and its tokenizer says what to install."""
    code = (
        "import sys; sys.modules['rjieba'] = sys.modules['tokenizers'] = None\n"
        "import roformer_ext\n"
        "from roformer_ext.tokenizer import RoFormerTokenizer\n"
        "try: RoFormerTokenizer(['[UNK]', '[SEP]', '[PAD]', '[CLS]', '[MASK]'])\n"
        "except ImportError as error: print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("the tokenizer needs tokenizers")
    assert "pip install 'roformer_ext[tokenizer]'" in ran.stdout
