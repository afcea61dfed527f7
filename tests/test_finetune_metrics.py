"""The figures that fine-tuning prints, against their definitions."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from scripts_path import importable

pytest.importorskip("tokenizers")

with importable():
    from finetuning import metrics


def test_correlations_of_known_lists() -> None:
    x, y = [1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 1.0, 4.0, 3.0, 5.0]
    assert metrics.pearson(x, y) == pytest.approx(0.8)
    assert metrics.spearman(x, [value**3 for value in y]) == pytest.approx(0.8)
    assert metrics.spearman([1.0, 1.0, 2.0], [3.0, 5.0, 9.0]) == pytest.approx(math.sqrt(0.75))
    assert math.isnan(metrics.spearman([0.1] * 3, [1.0, 2.0, 3.0]))
    assert math.isnan(metrics.pearson([0.1] * 3, [1.0, 2.0, 3.0]))
    assert metrics.mean_squared_error([1.0, 2.0], [3.0, 2.0]) == 2


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_a_rank_counts_what_is_below_and_half_of_what_is_equal(values: list[int]) -> None:
    found = metrics.ranks(torch.tensor(values, dtype=torch.float64)).tolist()
    for value, rank in zip(values, found, strict=True):
        below, equal = (sum(f(value, other) for other in values) for f in (int.__gt__, int.__eq__))
        assert rank == below + (equal + 1) / 2


def test_shares_of_known_lists() -> None:
    wanted, predicted = ["a", "a", "b", "b"], ["a", "b", "b", "c"]
    assert metrics.accuracy(predicted, wanted) == 0.5
    # a: P 1, R 1/2; b: P 1/2, R 1/2; c: nothing right.
    assert metrics.macro_f1(predicted, wanted) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


@pytest.mark.parametrize(
    ("predicted", "answers", "exact", "f1"),
    [
        ("The Paris!", ["paris"], 1, 1),
        ("in Paris", ["Rome", "Paris"], 0, 2 / 3),
        ("北京市", ["北京"], 0, 0.8),
        ("《北京》", ["北京"], 1, 1),
        ("", [], 1, 1),
        ("Paris", [], 0, 0),
        ("", ["Paris"], 0, 0),
        ("a b b", ["b b c"], 0, 0.8),
    ],
)
def test_answers_are_compared_by_words(
    predicted: str, answers: list[str], exact: float, f1: float
) -> None:
    assert metrics.exact_match(predicted, answers) == exact
    assert metrics.answer_f1(predicted, answers) == pytest.approx(f1)
