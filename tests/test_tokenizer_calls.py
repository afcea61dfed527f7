"""What a call of the tokenizer may ask for, beside transformers: cuts, padding, pairs, words."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from token_samples import (
    KINDS,
    SENTENCE,
    ours,
    pair,
    texts,
    theirs,
)

FIELDS = {
    "return_offsets_mapping": True,
    "return_special_tokens_mask": True,
    "return_length": True,
    "return_token_type_ids": True,
}


CALLS: list[dict[str, Any]] = [
    {},
    {"padding": True},
    {"padding": "max_length", "max_length": 30},
    {"padding": "max_length", "max_length": 9, "truncation": True},
    {"padding": True, "pad_to_multiple_of": 8},
    {"padding": True, "max_length": 8, "truncation": True, "pad_to_multiple_of": 4},
    {"max_length": 7},
    {"max_length": 7, "truncation": False},
    {"truncation": "longest_first"},
    {"truncation": True, "add_special_tokens": False, "max_length": 5},
    {"return_attention_mask": False, "return_token_type_ids": False},
    {"padding": True, "padding_side": "left"},
]


@pytest.mark.parametrize("call", CALLS, ids=str)
@pytest.mark.parametrize("second", [False, True])
def test_calls_are_those_of_transformers(call: dict[str, Any], second: bool) -> None:
    first = [SENTENCE, "hello 😀 CAFÉ", "a b c d e a b c"]
    other = ["a b c", SENTENCE, ""] if second else None
    expected = dict(theirs()(first, other, **{**FIELDS, **call}))
    assert dict(ours()(first, other, **{**FIELDS, **call})) == expected
    single = dict(theirs()(first[0], other and other[0], **{**FIELDS, **call}))
    assert dict(ours()(first[0], other and other[0], **{**FIELDS, **call})) == single


@pytest.mark.parametrize("side", ["right", "left"])
def test_cuts_are_those_of_transformers(side: str) -> None:
    """Every small pair of lengths, strategy and limit; what transformers cannot do is refused."""
    tokenizer, reference = ours(truncation_side=side), theirs(truncation_side=side)
    letters = list("abcdea")
    for count in range(7):
        for other in (None, 0, 1, 2, 5):
            # Lists, because transformers takes an empty second text alone for none.
            first = [" ".join(letters[:count])]
            second = None if other is None else [" ".join(letters[:other])]
            for limit in range(2 if other is None else 3, 10):
                for truncation in ("longest_first", "only_first", "only_second"):
                    call: dict[str, Any] = {"truncation": truncation, "max_length": limit}
                    try:
                        expected = reference(first, second, **call)["input_ids"]
                    except Exception:
                        with pytest.raises(ValueError, match=f"truncation='{truncation}' must"):
                            tokenizer(first, second, **call)
                    else:
                        assert tokenizer(first, second, **call)["input_ids"] == expected


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("second", [False, True])
def test_overflow_for_question_answering(side: str, second: bool) -> None:
    tokenizer, reference = ours(truncation_side=side), theirs(truncation_side=side)
    context = "a b c 今天天气非常好 hello 2021 d e a b c"
    for limit in range(8, 20):
        for stride in range(3):
            call: dict[str, Any] = {
                **FIELDS,
                "max_length": limit,
                "stride": stride,
                "truncation": "only_second" if second else True,
                "padding": "max_length",
                "return_overflowing_tokens": True,
            }
            arguments = (["i a", "b"], [context, "d"]) if second else ([context, "d"], None)
            expected = reference(*arguments, **call)
            result = tokenizer(*arguments, **call)
            assert dict(result) == dict(expected)
            for row in range(len(expected["input_ids"])):
                assert result.sequence_ids(row) == expected.sequence_ids(row)
                assert result.word_ids(row) == expected.word_ids(row)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padding_side", ["right", "left"])
def test_words_that_the_caller_divided(kind: str, padding_side: str) -> None:
    tokenizer, reference = pair(kind)
    words = [["Hello", "今天 气", "", "[MASK]", "😀a"], ["非常好"]]
    call: dict[str, Any] = {**FIELDS, "is_split_into_words": True, "padding": True}
    call["padding_side"] = padding_side
    result, expected = tokenizer(words, **call), reference(words, **call)
    assert dict(result) == dict(expected)
    for row in range(2):
        assert result.word_ids(row) == expected.word_ids(row)
        assert result.sequence_ids(row) == expected.sequence_ids(row)
    assert dict(tokenizer(words[0], **call)) == dict(reference(words[0], **call))


def test_pairs_in_one_list_and_types() -> None:
    tokenizer = ours()
    batch = tokenizer([("a b", "c"), ("好", "d e")], return_tensors="pt", padding=True)
    assert torch.equal(
        batch.input_ids,
        tokenizer(["a b", "好"], ["c", "d e"], return_tensors="pt", padding=True).input_ids,
    )
    assert batch.token_type_ids.tolist() == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]]
    assert batch.to(torch.int32) is batch
    assert batch["input_ids"].dtype == torch.int32
    twin = pickle.loads(pickle.dumps(tokenizer("a b")))
    assert twin == tokenizer("a b")
    assert twin.sequence_ids() == [None, 0, 0, None]
    assert tokenizer("a", return_tensors="np").input_ids.shape == (1, 3)
    assert tokenizer([]) == {"input_ids": [], "token_type_ids": [], "attention_mask": []}
    assert tokenizer([], return_tensors="pt").input_ids.shape == (0,)


def test_padding_again() -> None:
    tokenizer = ours()
    rows = [
        {"input_ids": torch.tensor([2, 9, 3]), "labels": 1},
        {"input_ids": torch.tensor([2, 3]), "labels": 0},
    ]
    batch = tokenizer.pad(rows, return_tensors="pt", pad_to_multiple_of=4)
    assert batch.input_ids.tolist() == [[2, 9, 3, 0], [2, 3, 0, 0]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 0], [1, 1, 0, 0]]
    assert batch.labels.tolist() == [1, 0]
    single = tokenizer.pad(
        {"input_ids": [2, 3]}, padding="max_length", max_length=3, padding_side="left"
    )
    assert single == {"input_ids": [0, 2, 3], "attention_mask": [0, 1, 1]}


def test_collator_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = ours()
    collator = transformers.DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.5, seed=1)
    batch = collator([tokenizer(text) for text in (SENTENCE, "a b c d e")])
    assert batch["input_ids"].shape == batch["labels"].shape == (2, 13)
    assert (batch["labels"][batch["attention_mask"] == 0] == -100).all()
    assert (batch["input_ids"][:, 0] == 2).all()


@given(batch=st.lists(texts, min_size=1, max_size=5))
def test_a_batch_is_its_rows(batch: list[str]) -> None:
    tokenizer = ours()
    rows = [tokenizer(text) for text in batch]
    together = tokenizer(batch)
    for name in ("input_ids", "token_type_ids", "attention_mask"):
        assert together[name] == [row[name] for row in rows]
    padded = tokenizer(batch, padding=True, return_tensors="pt")
    assert padded["input_ids"].dtype == torch.int64
    for index, row in enumerate(rows):
        assert padded.input_ids[index][padded.attention_mask[index] == 1].tolist() == row.input_ids
    again = tokenizer.pad(rows, return_tensors="pt")
    for name, value in padded.items():
        assert torch.equal(again[name], value)
