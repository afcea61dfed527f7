"""The fused loss against the plain one: values, gradients, dtypes, memory and the compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from roformer_ext import masked_loss
from roformer_ext.masked_loss import masked_cross_entropy

N, E, V = 23, 8, 50


def problem(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows, weight, bias = (
        torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for size in ((N, E), (V, E), (V,))
    )
    labels = torch.randint(V, (N,), generator=generator)
    labels[torch.rand(N, generator=generator) < 0.6] = -100
    return rows, weight, bias, labels


def plain(rows: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, mean: bool) -> Tensor:
    logits = F.linear(rows, weight, bias)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(logits, labels, reduction="mean" if mean else "sum")


def gradients(loss: Callable[..., Tensor], *inputs: Any) -> list[Tensor]:
    *floating, labels = inputs
    leaves = [x.detach().requires_grad_() for x in floating]
    value = loss(*leaves, labels)
    # Not one, so that a gradient that ignores what comes in is noticed.
    return [value.detach(), *torch.autograd.grad(3.0 * value, leaves)]


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("slice_rows", [N, 3, 1])
def test_equals_the_plain_loss(
    mean: bool, slice_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masked_loss, "_slice_rows", lambda weight: slice_rows)
    inputs = problem()
    results = gradients(lambda *x: masked_cross_entropy(*x, mean=mean), *inputs)
    for result, expected in zip(results, gradients(lambda *x: plain(*x, mean), *inputs)):
        torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("slice_rows", [N, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_half_types_round_once(
    dtype: torch.dtype, slice_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masked_loss, "_slice_rows", lambda weight: slice_rows)
    inputs = problem(dtype)
    exact = [x.detach().double() if x.is_floating_point() else x for x in inputs]
    results = gradients(masked_cross_entropy, *inputs)
    assert results[0].dtype == torch.float32
    for result, expected in zip(results, gradients(lambda *x: plain(*x, True), *exact)):
        tolerance = 4 * torch.finfo(dtype).eps
        torch.testing.assert_close(result.double(), expected, rtol=tolerance, atol=tolerance)


def test_without_bias_and_without_grad() -> None:
    rows, weight, _, labels = problem()
    loss = masked_cross_entropy(rows, weight, None, labels)
    loss.backward()
    torch.testing.assert_close(loss, plain(rows, weight, None, labels, True))
    with torch.no_grad():
        assert torch.equal(masked_cross_entropy(rows, weight, None, labels), loss)


def test_frozen_inputs_get_no_gradient() -> None:
    rows, weight, bias, labels = problem()
    masked_cross_entropy(rows, weight.detach(), bias, labels).backward()
    expected = torch.autograd.grad(plain(rows, weight, bias, labels, True), (rows, bias))
    torch.testing.assert_close((rows.grad, bias.grad), expected)


def test_no_label_at_all() -> None:
    rows, weight, bias, labels = problem()
    nothing = torch.full_like(labels, -100)
    loss = masked_cross_entropy(rows, weight, bias, nothing)
    loss.backward()
    assert loss.isnan() and not rows.grad.any() and not weight.grad.any()
    assert masked_cross_entropy(rows, weight, bias, nothing, mean=False) == 0.0
    assert masked_cross_entropy(rows[:0], weight, bias, nothing[:0], mean=False) == 0.0


def test_label_outside_the_vocabulary_is_an_error() -> None:
    for wrong in (V, -1):
        rows, weight, bias, labels = problem()
        labels[3] = wrong
        with pytest.raises((RuntimeError, IndexError), match="out of bounds"):
            masked_cross_entropy(rows, weight, bias, labels)


def test_second_derivative_is_refused() -> None:
    rows, weight, bias, labels = problem()
    with pytest.raises(RuntimeError, match=r"differentiated once.*second derivative"):
        torch.autograd.grad(
            masked_cross_entropy(rows, weight, bias, labels), rows, create_graph=True
        )


def test_a_kept_graph_may_be_differentiated_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masked_loss, "_slice_rows", lambda weight: 3)
    *leaves, labels = problem()
    loss = masked_cross_entropy(*leaves, labels)
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    for result, expected in zip(torch.autograd.grad(loss, leaves), first):
        assert torch.equal(result, expected)


def test_autocast_is_the_callers_business(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masked_loss, "_slice_rows", lambda weight: 3)
    inputs = problem(torch.float32)
    expected = gradients(masked_cross_entropy, *inputs)
    with torch.autocast("cpu", torch.bfloat16):
        results = gradients(masked_cross_entropy, *inputs)
    assert all(torch.equal(*pair) for pair in zip(results, expected))


def test_bias_alone_gets_its_gradient() -> None:
    rows, weight, bias, labels = problem()
    expected = torch.autograd.grad(plain(rows, weight, bias, labels, True), bias)
    result = masked_cross_entropy(rows.detach(), weight.detach(), bias, labels)
    torch.testing.assert_close(torch.autograd.grad(result, bias), expected)


def test_operator_check() -> None:
    rows, weight, bias, labels = problem(torch.float32)
    # What the operator leaves open differs from call to call, so there is nothing of it here.
    labels.clamp_(min=0)
    operator = torch.ops.roformer_ext.masked_cross_entropy.default
    torch.library.opcheck(operator, (rows, weight, bias, labels, True, True))
    torch.library.opcheck(operator, (rows, weight, None, labels, False, True))
    frozen = [x.detach() for x in (rows, weight, bias)]
    torch.library.opcheck(operator, (*frozen, labels, True, False))
    loss, slope, count = operator(*frozen, labels, True, True)
    backward = torch.ops.roformer_ext.masked_cross_entropy_backward.default
    torch.library.opcheck(backward, (loss, *frozen, labels, True, slope, count))
    torch.library.opcheck(backward, (loss, *frozen[:2], None, labels, False, slope, count))


def test_the_backward_learns_the_number_of_labels_from_the_host() -> None:
    rows, weight, bias, labels = (x.detach().to("meta") for x in problem())
    operator = torch.ops.roformer_ext.masked_cross_entropy.default
    assert operator(rows, weight, bias, labels, True, True)[2].device.type == "cpu"


def test_cuda_graphs_are_told_to_leave_both_directions_out() -> None:
    for name in ("masked_cross_entropy", "masked_cross_entropy_backward"):
        assert torch.Tag.cudagraph_unsafe in getattr(torch.ops.roformer_ext, name).default.tags


def test_never_holds_all_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masked_loss, "_slice_rows", lambda weight: 4)
    sizes, linear = [], F.linear

    def counted(*inputs: Tensor) -> Tensor:
        sizes.append(len(inputs[0]))
        return linear(*inputs)

    monkeypatch.setattr(F, "linear", counted)
    rows, weight, bias, labels = problem()
    loss = masked_cross_entropy(rows, weight, bias, labels)
    *early, last = sizes
    assert early and max(sizes) == 4 and sum(sizes) == (labels != -100).sum()
    loss.backward()
    # The last slice is not computed again.
    assert sizes == [*early, last, *early]


@pytest.mark.parametrize(("size", "rows"), [((50000, 768), 768), ((1000, 64), 2**24 // 1000)])
def test_a_slice_is_no_larger_than_the_weight_unless_that_is_small(
    size: tuple[int, int], rows: int
) -> None:
    assert masked_loss._slice_rows(torch.empty(size, device="meta")) == rows


def test_backward_writes_nothing_wide_but_products() -> None:
    rows, weight, bias, labels = problem()
    loss = masked_cross_entropy(rows, weight, bias, labels)
    with torch.autograd.profiler.profile(record_shapes=True) as profile:
        torch.autograd.grad(loss, weight)
    wide = ([V, E], [N, V])
    done = {e.name for e in profile.function_events if any(x in wide for x in e.input_shapes[:1])}
    assert "aten::mul_" in done
    assert not done & {f"aten::{name}" for name in ("fill_", "zero_", "mul", "add_", "copy_")}


def test_compiles_to_one_graph() -> None:
    inputs = problem(torch.float32)
    compiled = torch.compile(masked_cross_entropy, fullgraph=True, backend="aot_eager")
    for result, expected in zip(
        gradients(compiled, *inputs), gradients(masked_cross_entropy, *inputs)
    ):
        torch.testing.assert_close(result, expected)
