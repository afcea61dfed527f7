"""`rope_`: what it writes, what it declares to autograd, and what it refuses before the first
write.

The oracle is the out-of-place form, bit for bit. In-place use is where autograd can be wronged in
silence, so each rule of torch's own in-place operators is held down here: the version counter,
leaves, views of leaves, outputs of `unbind` and `split`, and memory that belongs to more than one
element.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from bits import assert_same_bits, words
from refusal import refuses
from samples import DTYPES, SAMPLES, Sample, dense, with_specials
from torch import Tensor

import roformer_ext


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_same_bits_as_out_of_place(
    sample: Sample, dtype: torch.dtype, device: torch.device
) -> None:
    """In place and out of place are one result, in both pair layouts and both directions."""
    if sample.shared_memory:
        pytest.skip("rope_ refuses x whose elements share memory: test_shared_elements_are_refused")
    for interleaved in (False, True):
        for conj in (False, True):
            x, cos, sin, ids, options = with_specials(sample(dtype, device))
            options = {**options, "interleaved": interleaved, "conj": conj}
            expected = roformer_ext.rope(x, cos, sin, ids, **options)
            version, strides = x._version, x.stride()
            y = roformer_ext.rope_(x, cos, sin, ids, **options)
            assert y is x and x.stride() == strides
            assert x._version == version + 1
            assert_same_bits(x, expected)


def test_neighbours_in_the_storage_are_left_alone(device: torch.device) -> None:
    """Rotating a slice of a packed projection writes no element outside the slice."""
    packed = torch.randn(2, 5, 3, 4, 8, device=device)
    before = packed.clone()
    cos, sin = SAMPLES["bhsd"](torch.float32, device)[1:3]
    roformer_ext.rope_(packed[:, :, 1], cos, sin, seq_dim=1)
    assert_same_bits(packed[:, :, 0], before[:, :, 0])
    assert_same_bits(packed[:, :, 2], before[:, :, 2])
    assert_same_bits(packed[:, :, 1], roformer_ext.rope(before[:, :, 1], cos, sin, seq_dim=1))


def test_base_with_heads_equals_two_slices(device: torch.device) -> None:
    """`heads=2H` on the base of a packed projection is q and k rotated one by one."""
    packed = torch.randn(2, 5, 3, 4, 8, device=device)
    one, two = packed.clone(), packed.clone()
    cos, sin = SAMPLES["bhsd"](torch.float32, device)[1:3]
    roformer_ext.rope_(one, cos, sin, seq_dim=1, heads=8)
    for part in (0, 1):
        roformer_ext.rope_(two[:, :, part], cos, sin, seq_dim=1)
    assert_same_bits(one, two)


@pytest.mark.parametrize("name", [name for name, sample in SAMPLES.items() if sample.shared_memory])
@pytest.mark.parametrize("grad", ["none", "no_grad", "table"])
def test_shared_elements_are_refused(name: str, grad: str, device: torch.device) -> None:
    """Trap 4: an x whose elements share memory would be written several times, so it is refused,
    gradients or not.
    """
    x, cos, sin, ids, options = SAMPLES[name](torch.float32, device)
    cos.requires_grad_(grad != "none")
    with torch.set_grad_enabled(grad != "no_grad"), refuses("x", unchanged=(x, cos, sin)):
        roformer_ext.rope_(x, cos, sin, ids, **options)


def test_a_stride_of_zero_on_size_one_is_no_overlap(device: torch.device) -> None:
    """Only a stride of 0 with size above 1 shares memory."""
    x, cos, sin, _, _ = SAMPLES["bhsd"](torch.float32, device)
    x = x[:1].as_strided((1, 3, 5, 8), (0, 40, 8, 1))
    expected = roformer_ext.rope(x, cos, sin)
    assert_same_bits(roformer_ext.rope_(x, cos, sin), expected)


def test_strides_that_do_not_nest_are_refused(device: torch.device) -> None:
    """Sorted strides (5, 3) of a 2 x 3 window do not nest."""
    x = torch.randn(64, device=device).as_strided((2, 3, 1), (5, 3, 1))
    cos, sin = torch.ones(3, 0, device=device), torch.ones(3, 0, device=device)
    with refuses("x", unchanged=(x,)):
        roformer_ext.rope_(x, cos, sin)


@pytest.mark.parametrize("which", ["cos", "sin", "both"])
def test_tables_inside_x_are_refused(which: str, device: torch.device) -> None:
    """A table that really shares memory with x would change while it is read."""
    buffer = torch.randn(5, 8, device=device)
    cos, sin = torch.ones(5, 4, device=device), torch.zeros(5, 4, device=device)
    cos = buffer[:, 4:] if which != "sin" else cos
    sin = buffer[:, :4] if which != "cos" else sin
    named = "sin" if which == "sin" else "cos"
    with refuses(named, "x", unchanged=(buffer, cos, sin)):
        roformer_ext.rope_(buffer, cos, sin)


def test_ids_inside_x_are_refused(device: torch.device) -> None:
    """The same for position ids, whose dtype hides the sharing."""
    x = torch.zeros(2, 3, 5, 8, dtype=torch.float64, device=device)
    ids = x.view(torch.int64)[0, 0, :, 0]
    cos, sin = SAMPLES["bhsd"](torch.float32, device)[1:3]
    with refuses("position_ids", "x", unchanged=(x,)):
        roformer_ext.rope_(x, cos, sin, ids)


def test_neighbours_of_x_are_ordinary_tables(device: torch.device) -> None:
    """Sharing a storage is not sharing memory: tables beside x, even row by row between its rows,
    are accepted.
    """
    rows = torch.randn(5, 16, device=device)
    row_by_row = (rows[:, :8], rows[:, 8:12], rows[:, 12:])
    flat = torch.randn(80, device=device)
    one_after_another = (flat[:40].view(5, 8), flat[40:60].view(5, 4), flat[60:].view(5, 4))
    for x, cos, sin in (row_by_row, one_after_another):
        expected = roformer_ext.rope(x, cos, sin)
        assert_same_bits(roformer_ext.rope_(x, cos, sin), expected)


def test_neighbouring_ids_are_accepted(device: torch.device) -> None:
    """Ids after x in one allocation."""
    buffer = torch.zeros(2 * 3 * 5 * 8 + 5, dtype=torch.int64, device=device)
    x = buffer[:240].view(torch.float64).view(2, 3, 5, 8).normal_()
    ids = buffer[240:]
    cos, sin = SAMPLES["bhsd"](torch.float32, device)[1:3]
    expected = roformer_ext.rope(x, cos, sin, ids)
    assert_same_bits(roformer_ext.rope_(x, cos, sin, ids), expected)


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


def test_refusals_of_arguments_write_nothing(device: torch.device) -> None:
    """An error in the last check leaves x as it was."""
    x, cos, sin, _, _ = with_specials(SAMPLES["bhsd"](torch.float32, device))
    before = words(x).clone()
    if device.type == "cpu":
        ids = torch.tensor([0, 1, 2, 3, 7])
        with refuses("position_ids", "7", "[4]", unchanged=(x, cos, sin)):
            roformer_ext.rope_(x, cos, sin, ids)
    with refuses("heads", "4", unchanged=(x, cos, sin)):
        roformer_ext.rope_(x, cos, sin, heads=4)
    assert torch.equal(words(x), before)
