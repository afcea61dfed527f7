"""Packed batches: what goes in comes out, and a model computes the same on it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from twins import randomise, small

from roformer_ext import RoFormerForMaskedLM
from roformer_ext.collate import PackingCollator, TokenBudgetSampler


def test_a_packed_batch_trains_like_its_examples() -> None:
    model = RoFormerForMaskedLM(small()).double()
    randomise(model)
    examples = [
        {"input_ids": [5, 6, 7], "labels": [-100, 9, -100], "token_type_ids": [0, 0, 1]},
        {"input_ids": [8], "labels": [3], "token_type_ids": [0]},
        {"input_ids": [1, 2, 3, 4], "labels": [-100, -100, 4, 5], "token_type_ids": [0, 1, 1, 1]},
    ]
    batch = PackingCollator()(examples)
    assert batch["cu_seqlens"].tolist() == [0, 3, 4, 8]
    assert batch["cu_seqlens"].dtype == torch.int32
    loss = model(**batch).loss
    alone = [
        model(**{name: torch.tensor([x]) for name, x in each.items()}, num_items_in_batch=4).loss
        for each in examples
    ]
    torch.testing.assert_close(loss, sum(alone))


def test_labels_of_sequences_and_masked_tokens() -> None:
    batch = PackingCollator()(
        [
            {"input_ids": torch.tensor([4, 5, 0]), "attention_mask": [1, 1, 0], "labels": 1},
            {"input_ids": torch.tensor([6]), "attention_mask": [1], "labels": 0},
        ]
    )
    assert batch["input_ids"].tolist() == [[4, 5, 6]]
    assert batch["labels"].tolist() == [1, 0]
    assert batch["cu_seqlens"].tolist() == [0, 2, 3]
    assert "attention_mask" not in batch


def test_lists_of_classes() -> None:
    examples = [
        {"input_ids": [1, 2], "labels": [0.0, 1.0]},
        {"input_ids": [3], "labels": [1.0, 1.0]},
    ]
    batch = PackingCollator(sequence_labels=True)(examples)
    assert batch["labels"].tolist() == [[0.0, 1.0], [1.0, 1.0]]
    with pytest.raises(ValueError, match="labels of example 1 must have 1 entries"):
        PackingCollator()(examples)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "examples must not be empty"),
        ([{"labels": [1]}], "example 0 must have input_ids, got labels"),
        ([{"input_ids": []}], "input_ids of example 0 must be a list of at least one token"),
        ([{"input_ids": [1]}, {"input_ids": [1], "labels": [1]}], "example 1 differs: labels"),
        (
            [{"input_ids": [1, 2], "token_type_ids": [0]}],
            "token_type_ids of example 0 must have 2 entries, one for each token, got 1",
        ),
        (
            [{"input_ids": [1, 2], "attention_mask": [1]}],
            r"attention_mask of example 0 must have 2 entries, one for each token, got 1",
        ),
    ],
)
def test_misfits_are_named(examples: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PackingCollator()(examples)


@given(
    lengths=st.lists(st.integers(1, 30), max_size=40),
    budget=st.integers(1, 50),
    shuffle=st.booleans(),
)
def test_every_example_once_and_within_the_budget(
    lengths: list[int], budget: int, shuffle: bool
) -> None:
    sampler = TokenBudgetSampler(lengths, budget, shuffle=shuffle)
    expected = len(sampler)
    batches = list(sampler)
    assert len(batches) == expected
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or sum(lengths[index] for index in batch) <= budget


def test_epochs_differ_and_repeat() -> None:
    sampler = TokenBudgetSampler(range(1, 30), 40, seed=3)
    first, second = list(sampler), list(sampler)
    assert first != second
    sampler.set_epoch(0)
    assert list(sampler) == first
    with pytest.raises(ValueError, match="budget must be positive, got 0"):
        TokenBudgetSampler([1], 0)


def test_in_a_data_loader() -> None:
    examples = [{"input_ids": list(range(1, n + 1))} for n in range(1, 9)]
    sampler = TokenBudgetSampler([len(x["input_ids"]) for x in examples], 12)
    loader = DataLoader(examples, batch_sampler=sampler, collate_fn=PackingCollator())  # type: ignore[arg-type]
    assert sum(batch["input_ids"].numel() for batch in loader) == 36
