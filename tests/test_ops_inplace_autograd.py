"""`rope_` and autograd's graph: the gradients of an in-place rotation, and what torch refuses.

In-place use is where autograd can be wronged in silence, so each rule of torch's own in-place
operators is held down here: leaves, views of leaves, outputs of `unbind` and `split`, and saved
values that a later write falsifies. The oracle of a gradient is the out-of-place form; that of a
refusal is what torch says to `mul_` on the same tensor.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from bits import assert_same_bits
from draw import dense
from refusal import refuses
from samples import SAMPLES, Sample
from torch import Tensor

import roformer_ext


def _leaf(x: Tensor) -> Tensor:
    return x.requires_grad_()


def _view_of_leaf(x: Tensor) -> Tensor:
    return x.requires_grad_().view(x.shape)


def _unbound(x: Tensor) -> Tensor:
    return (x.requires_grad_() * 1)[None].unbind(0)[0]


def _split(x: Tensor) -> Tensor:
    return (x.requires_grad_() * 1).split(1)[0]


REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "leaf": (_leaf, "leaf"),
    "view of leaf": (_view_of_leaf, "leaf"),
    "unbind": (_unbound, "view"),
    "split": (_split, "view"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("table_grad", [False, True], ids=["table fixed", "table gradient"])
def test_what_torch_refuses_in_place(case: str, table_grad: bool, device: torch.device) -> None:
    """Trap 6: leaves, their views, and outputs of unbind and split are refused in torch's words,
    before any write.
    """
    make, word = REFUSED[case]
    x, cos, sin, ids, options = SAMPLES["one_batch"](torch.float32, device)
    cos.requires_grad_(table_grad)
    x = make(x)
    with pytest.raises(RuntimeError) as torchs_own:
        x.mul_(2)
    with refuses(word, unchanged=(x, cos, sin), own_words=False):
        roformer_ext.rope_(x, cos, sin, ids, **options)
    with pytest.raises(RuntimeError) as ours:
        roformer_ext.rope_(x, cos, sin, ids, **options)
    assert str(ours.value).split(".")[0] == str(torchs_own.value).split(".")[0]


@pytest.mark.parametrize("case", ["unbind", "split"])
def test_multiple_views_with_a_table_gradient(case: str, device: torch.device) -> None:
    """Trap 6 where only a table requires grad: x would join the graph, which such a view cannot."""
    x, cos, sin, ids, _ = SAMPLES["one_batch"](torch.float32, device)
    view = x[None].unbind(0)[0] if case == "unbind" else x.split(1)[0]
    cos.requires_grad_()
    with refuses("view", unchanged=(x, view, cos), own_words=False):
        roformer_ext.rope_(view, cos, sin, ids)


@pytest.mark.parametrize("case", REFUSED)
def test_no_grad_allows_them_all(case: str, device: torch.device) -> None:
    """Under no_grad the same inputs are ordinary."""
    x, cos, sin, ids, _ = SAMPLES["one_batch"](torch.float32, device)
    x = REFUSED[case][0](x)
    with torch.no_grad():
        expected = roformer_ext.rope(x, cos, sin, ids)
        version = x._version
        assert_same_bits(roformer_ext.rope_(x, cos, sin, ids), expected)
        assert x._version == version + 1


@pytest.mark.parametrize("view", ["unbind", "split"])
def test_without_any_gradient_they_are_ordinary(view: str, device: torch.device) -> None:
    """Grad mode is on, nothing requires grad."""
    x, cos, sin, ids, _ = SAMPLES["one_batch"](torch.float32, device)
    part = x[None].unbind(0)[0] if view == "unbind" else x.split(1)[0]
    expected = roformer_ext.rope(part, cos, sin, ids)
    assert_same_bits(roformer_ext.rope_(part, cos, sin, ids), expected)


@pytest.mark.parametrize("table_grad", [False, True], ids=["table fixed", "table gradient"])
def test_gradients_through_an_intermediate(
    sample: Sample, table_grad: bool, device: torch.device
) -> None:
    """Gradients of x and tables in place equal those out of place."""
    if sample.shared_memory:
        pytest.skip("rope_ refuses x whose elements share memory: test_shared_elements_are_refused")
    results = []
    for rope in (roformer_ext.rope, roformer_ext.rope_):
        x, cos, sin, ids, options = dense(sample(torch.float64, device))
        leaves = [x.requires_grad_()]
        if table_grad:
            cos, sin = cos.detach().requires_grad_(), sin.detach().requires_grad_()
            leaves += [cos, sin]
        middle = x * 2
        y = rope(middle, cos, sin, ids, **options)
        assert y.requires_grad and y.grad_fn is not None
        if rope is roformer_ext.rope_:
            assert y is middle
        weight = torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=device).view(y.shape)
        results.append(torch.autograd.grad((y * weight).sum(), leaves))
    for here, there in zip(*results, strict=True):
        torch.testing.assert_close(here, there, rtol=1e-12, atol=1e-12)


def test_gradient_through_views_of_a_projection(device: torch.device) -> None:
    """In place on slices of the base, on the base itself, and out of place: one gradient."""
    cos, sin = SAMPLES["bhsd"](torch.float64, device)[1:3]
    weight = torch.randn(2, 5, 3, 4, 8, dtype=torch.float64, device=device)
    packed = torch.randn_like(weight).requires_grad_()

    def on_slices(base: Tensor) -> Tensor:
        for part in (0, 1):
            roformer_ext.rope_(base[:, :, part], cos, sin, seq_dim=1)
        return base

    def on_base(base: Tensor) -> Tensor:
        roformer_ext.rope_(base, cos, sin, seq_dim=1, heads=8)
        return base

    def functional(base: Tensor) -> Tensor:
        return roformer_ext.rope(base, cos, sin, seq_dim=1, heads=8)

    grads = [
        torch.autograd.grad((f(packed * 1) * weight).sum(), packed)[0]
        for f in (functional, on_slices, on_base)
    ]
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grads[2], grads[0], rtol=1e-12, atol=1e-12)


def test_x_without_gradient_joins_the_graph(device: torch.device) -> None:
    """A table's gradient reaches it through an x that needed none before."""
    x, cos, sin, ids, options = SAMPLES["ids_bs"](torch.float64, device)
    expected_x = x.clone()
    cos.requires_grad_()
    y = roformer_ext.rope_(x, cos, sin, ids, **options)
    assert y is x and x.requires_grad and not x.is_leaf
    (grad,) = torch.autograd.grad(x.sum(), cos)
    (expected,) = torch.autograd.grad(
        roformer_ext.rope(expected_x, cos, sin, ids, **options).sum(), cos
    )
    torch.testing.assert_close(grad, expected, rtol=1e-12, atol=1e-12)


def test_autograd_sees_the_write(device: torch.device) -> None:
    """A value that an earlier operator saved is known to have changed."""
    x, cos, sin, ids, _ = SAMPLES["one_batch"](torch.float64, device)
    middle = x.requires_grad_() * 1
    square = middle * middle
    roformer_ext.rope_(middle, cos, sin, ids)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        square.sum().backward()


@pytest.mark.parametrize("changed", ["cos", "sin", "position_ids"])
def test_tables_changed_before_backward_are_noticed(changed: str, device: torch.device) -> None:
    """Tables and ids are saved for backward, so a later write to them stops it instead of
    falsifying it.
    """
    x, cos, sin, ids, _ = SAMPLES["one_batch"](torch.float64, device)
    assert ids is not None
    y = roformer_ext.rope(x.requires_grad_(), cos, sin, ids)
    {"cos": cos, "sin": sin, "position_ids": ids}[changed].zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_x_changed_before_a_table_gradient_is_noticed(device: torch.device) -> None:
    """x is saved when a table requires grad, and only then."""
    x, cos, sin, ids, _ = SAMPLES["one_batch"](torch.float64, device)
    y = roformer_ext.rope(x, cos.requires_grad_(), sin, ids)
    x.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
