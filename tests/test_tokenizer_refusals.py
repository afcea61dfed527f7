"""What the tokenizer refuses in a call or when it is built, in one sentence each."""

from __future__ import annotations

from typing import Any

import pytest
from token_samples import (
    VOCABULARY,
    ours,
)

from roformer_ext.tokenizer import RoFormerTokenizer


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t(5), "text must be a string, or a list of them for a batch, got int"),
        (lambda t: t(None), "text must be a string, .*, got NoneType"),
        (lambda t: t(["a", 3]), "text must hold a string at 1, got int"),
        (lambda t: t("a", ["b"]), "text_pair must be one text like text, got list of 1"),
        (lambda t: t(["a"], ["b", "c"]), "text_pair must be a list of 1 like text, got list of 2"),
        (lambda t: t(["a", "b"], ["c", None]), "text_pair must hold a string at 1, got NoneType"),
        (lambda t: t([["a", 1]], is_split_into_words=True), "text must hold a list of words at 0"),
        (lambda t: t("a\ud800"), r"text must be Unicode, got the lone surrogate U\+D800"),
        (lambda t: t("a", padding="no"), "padding must be True, False, 'longest', .*, got 'no'"),
        (
            lambda t: t("a", truncation="no"),
            "truncation must be True, False or one of .*, got 'no'",
        ),
        (lambda t: t("a", padding="max_length"), "padding='max_length' needs max_length, got None"),
        (
            lambda t: t("a", max_length=1),
            "max_length must hold the 2 special tokens of a row, got 1",
        ),
        (lambda t: t("a", max_length=-1), "max_length must be a number of tokens, got -1"),
        (lambda t: t("a", stride=-1), "stride must be a number of tokens, got -1"),
        (lambda t: t("a", return_tensors="tf"), "return_tensors must be 'pt' or 'np', got 'tf'"),
        (
            lambda t: t(["a", "a b"], return_tensors="pt"),
            "input_ids must have rows of one length .* 3 to 4",
        ),
        (
            lambda t: t("a", padding=True, pad_to_multiple_of=0),
            "pad_to_multiple_of must be positive, got 0",
        ),
        (
            lambda t: t("a", padding=True, truncation=True, max_length=9, pad_to_multiple_of=4),
            "max_length must be a multiple of pad_to_multiple_of=4 .*, got 9",
        ),
        (
            lambda t: t("a b c", max_length=4, stride=2, return_overflowing_tokens=True),
            "stride must be below the 2 tokens that a part of the text holds, got 2",
        ),
        (
            lambda t: t("a b c", "a b", max_length=5, return_overflowing_tokens=True),
            "truncation must be only_first or only_second for a pair",
        ),
        (lambda t: t("a", padding_side="up"), "padding_side must be right or left, got 'up'"),
        (
            lambda t: t("a").word_ids(),
            "word_ids needs return_offsets_mapping or is_split_into_words",
        ),
        (lambda t: t("a").sequence_ids(1), "row must be one of the 1 that a tokenizer made, got 1"),
        (lambda t: t.decode([1, len(t)]), "ids must be in 0 .. [0-9]+, got "),
        (lambda t: t.decode([-100]), "ids must be in 0 .. [0-9]+, got -100"),
        (lambda t: t.pad([{"labels": 1}]), "encoded must have input_ids, got labels"),
        (lambda t: t.pad([{"input_ids": [1]}, {}]), "entry 1 differs: input_ids"),
        (
            lambda t: t.pad({"input_ids": [[1, 2]], "attention_mask": [[1]]}),
            "attention_mask must have 2 entries in row 0, one for each token, got 1",
        ),
        (
            lambda t: RoFormerTokenizer(VOCABULARY, words="words"),
            "words must be one of jieba, characters",
        ),
        (
            lambda t: RoFormerTokenizer({"a": 1}),
            "vocab must give its 1 tokens the ids 0 to 0, .* got 1 for 'a'",
        ),
        (
            lambda t: RoFormerTokenizer(VOCABULARY, whole_tokens=["zz"]),
            "whole_tokens must be in the vocabulary, got 'zz'",
        ),
    ],
)
def test_one_sentence_for_what_cannot_be_done(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(ours())
