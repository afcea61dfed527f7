"""The losses of the classification heads against torch's own, label by label.

The one idea: what torch computes over the labelled places alone is the oracle for a loss that sees
them all. What must stay true: -100 takes no part in value or gradient, the count is a divisor and
nothing else, and half precision is widened before anything is summed.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from roformer_ext.losses import class_loss, is_integer, sequence_loss, single_labels

SINGLE, SEVERAL, NUMBERS = (
    "single_label_classification",
    "multi_label_classification",
    "regression",
)


def scores(*size: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(size, generator=generator, dtype=torch.double).requires_grad_()


def slope(loss: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(loss, logits, retain_graph=True)[0]


def same(result: Tensor, expected: Tensor, logits: Tensor) -> None:
    """In value and gradient."""
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(slope(result, logits), slope(expected, logits))


@pytest.mark.parametrize("ignored", [-100, 4])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_classes(ignored: int, dtype: torch.dtype) -> None:
    logits, labels = scores(6, 4), torch.tensor([0, ignored, 3, 1, ignored, 2], dtype=dtype)
    kept = labels != ignored
    expected = F.cross_entropy(logits[kept], labels[kept].long())
    same(class_loss(logits, labels, ignored=ignored), expected, logits)
    for items in (10, torch.tensor(10), torch.tensor(10.0)):
        same(class_loss(logits, labels, items, ignored), 0.4 * expected, logits)
    nothing = torch.full_like(labels, ignored)
    assert class_loss(logits, nothing, 10, ignored) == 0.0
    loss = class_loss(logits, nothing, ignored=ignored)
    assert loss.isnan() and not slope(loss, logits).any()


@pytest.mark.parametrize(
    ("problem_type", "oracle"),
    [(SEVERAL, F.binary_cross_entropy_with_logits), (NUMBERS, F.mse_loss)],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.int64])
def test_elements(problem_type: str, oracle: Callable[..., Tensor], dtype: torch.dtype) -> None:
    logits = scores(3, 4)
    labels = torch.tensor([[1, 0, 0, 1], [0, 1, 1, 1], [1, 0, 1, 0]], dtype=dtype)
    whole = sequence_loss(logits, labels, problem_type)
    same(whole, oracle(logits, labels.double()), logits)
    labels[0, 1] = labels[2] = -100
    kept = labels != -100
    expected = oracle(logits[kept], labels[kept].double())
    same(sequence_loss(logits, labels, problem_type), expected, logits)
    same(sequence_loss(logits, labels, problem_type, torch.tensor(70)), 0.1 * expected, logits)
    nothing = torch.full_like(labels, -100)
    assert sequence_loss(logits, nothing, problem_type, 70) == 0.0
    loss = sequence_loss(logits, nothing, problem_type)
    assert loss.isnan() and not slope(loss, logits).any()


@pytest.mark.parametrize(
    ("classes", "labels", "meant"),
    [
        (1, torch.tensor([0, 0, 0]), NUMBERS),
        (1, torch.tensor([[0.5], [1.0], [-2.0]]), NUMBERS),
        (3, torch.tensor([0, 2, 1]), SINGLE),
        (3, torch.tensor([[0], [2], [1]], dtype=torch.int32), SINGLE),
        (3, torch.eye(3), SEVERAL),
        (2, torch.ones(3, 2).bool(), SEVERAL),
    ],
)
def test_what_no_problem_type_means(classes: int, labels: Tensor, meant: str) -> None:
    logits = scores(3, classes)
    results = {kind: _or_none(logits, labels, kind) for kind in (SINGLE, SEVERAL, NUMBERS)}
    result = sequence_loss(logits, labels, None)
    assert [kind for kind, loss in results.items() if loss == result.item()] == [meant]


def _or_none(logits: Tensor, labels: Tensor, problem_type: str) -> float | None:
    try:
        return sequence_loss(logits, labels, problem_type).item()
    except ValueError:
        return None


@pytest.mark.parametrize("problem_type", [SEVERAL, NUMBERS])
def test_one_output_takes_rows_and_columns(problem_type: str) -> None:
    logits, labels = scores(3, 1), torch.tensor([1.0, 0.0, 1.0])
    row = sequence_loss(logits, labels, problem_type)
    assert torch.equal(row, sequence_loss(logits, labels[:, None], problem_type))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [True, False])
def test_half_precision_is_widened_first(dtype: torch.dtype, autocast: bool) -> None:
    # Squares of 300 and their sum are beyond float16.
    logits = (100.0 * scores(40, 3).detach()).to(dtype)
    classes = torch.arange(40) % 3
    with torch.autocast("cpu", dtype, enabled=autocast):
        for labels, kind in (
            (classes, SINGLE),
            (F.one_hot(classes), SEVERAL),
            (logits + 300, NUMBERS),
        ):
            loss = sequence_loss(logits, labels, kind)
            expected = sequence_loss(logits.float(), labels, kind)
            assert loss.dtype == torch.float32 and loss.isfinite() and torch.equal(loss, expected)


def test_labels_that_do_not_fit() -> None:
    logits = scores(3, 2)
    with pytest.raises(ValueError, match=r"^labels must be int32 or int64, got torch.float32"):
        class_loss(logits, torch.zeros(3))
    with pytest.raises(ValueError, match=r"^there must be integers \[B\] = \[3\], got torch.int64"):
        single_labels(torch.zeros(2, dtype=torch.long), 3, "there")
    with pytest.raises(ValueError, match=r"got torch.float32 of shape \[3\]"):
        sequence_loss(logits, torch.zeros(3), SINGLE)
    with pytest.raises(ValueError, match=rf"= \[3, 2\] for {SEVERAL}, got \[3\]"):
        sequence_loss(logits, torch.zeros(3), None)
    with pytest.raises(ValueError, match=rf"= \[3, 1\] for {NUMBERS}, got \[3, 2\]"):
        sequence_loss(scores(3, 1), torch.zeros(3, 2), None)
    assert is_integer(torch.tensor(1)) and not is_integer(torch.tensor(True))
