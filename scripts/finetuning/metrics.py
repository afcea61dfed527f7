"""Spearman, Pearson, accuracy, F1, exact match.

The one idea: each figure is its definition, on plain lists. What must stay true: ties share the
mean of their ranks, and a figure that does not exist is NaN, never zero.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

# An ideogram is a word of its own, as texts without spaces have no others.
_WORD = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]|[^\s\u3400-\u9fff\uf900-\ufaff]+")
_PUNCTUATION = re.compile(r"[^\w\s]|_")
_ARTICLES = {"a", "an", "the"}


def pearson(x: Sequence[float], y: Sequence[float]) -> float:
    """The correlation of two lists; NaN where one of them is constant."""
    a, b = (torch.tensor(each, dtype=torch.float64) for each in (x, y))
    if (a == a[0]).all() or (b == b[0]).all():
        return float("nan")
    a, b = a - a.mean(), b - b.mean()
    return float((a @ b) / (a.norm() * b.norm()))


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """The correlation of the ranks; NaN where one of the lists is constant."""
    return pearson(*(ranks(torch.tensor(each, dtype=torch.float64)).tolist() for each in (x, y)))


def ranks(x: Tensor) -> Tensor:
    """The place of each number in sorted order, from 1; equal numbers share their mean place."""
    _, inverse, counts = x.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0)
    return (last - (counts - 1) / 2)[inverse]


def mean_squared_error(x: Sequence[float], y: Sequence[float]) -> float:
    """The mean of the squared differences."""
    return sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) / len(x)


def accuracy(predicted: Sequence[str], wanted: Sequence[str]) -> float:
    """The share of equal entries."""
    return sum(a == b for a, b in zip(predicted, wanted, strict=True)) / len(wanted)


def macro_f1(predicted: Sequence[str], wanted: Sequence[str]) -> float:
    """The mean over all classes, predicted or wanted, of 2 P R / (P + R)."""
    right = Counter(a for a, b in zip(predicted, wanted, strict=True) if a == b)
    total = Counter(predicted) + Counter(wanted)
    return sum(2 * right[name] / count for name, count in total.items()) / len(total)


def words(answer: str) -> list[str]:
    """An answer as SQuAD compares it: lower case, without punctuation and articles."""
    found = _WORD.findall(_PUNCTUATION.sub("", answer.lower()))
    return [word for word in found if word not in _ARTICLES]


def exact_match(predicted: str, answers: Sequence[str]) -> float:
    """1 where the prediction is one of the answers, or empty where there is none; else 0."""
    return float(any(words(predicted) == words(each) for each in answers or ("",)))


def answer_f1(predicted: str, answers: Sequence[str]) -> float:
    """2 P R / (P + R) over the words shared with the best answer."""
    return max(_overlap(words(predicted), words(each)) for each in answers or ("",))


def _overlap(one: list[str], other: list[str]) -> float:
    if not one or not other:
        return float(one == other)
    shared = sum((Counter(one) & Counter(other)).values())
    return 2 * shared / (len(one) + len(other))
