"""Derivatives of `rope`: checked numerically on every sample, and the table gradients against
float64.

The map is linear in x and bilinear in x and tables. Two routes exist, and every check takes both:
the autograd function when only x requires grad, the composite when a table does. Gradient checks
run in float64; tables of a sample that is about other dtypes stay fixed there, and get tests of
their own below.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from bits import assert_same_bits
from draw import Inputs, dense, with_specials
from samples import DTYPES, SAMPLES, Sample
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import roformer_ext
from roformer_ext import reference

FORWARD_MODES = {
    "check_forward_ad": True,
    "check_batched_grad": True,
    "check_batched_forward_grad": True,
}
DOUBLE_MODES = {"check_fwd_over_rev": True, "check_rev_over_rev": True, "check_batched_grad": True}

SMALL = [name for name, sample in SAMPLES.items() if sample()[0].numel() <= 120]


def _problem(
    sample: Sample, device: torch.device, with_tables: bool
) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """The operator as a function of its differentiable inputs, and those inputs, none of them
    overlapping.
    """
    x, cos, sin, ids, options = sample(torch.float64, device)
    if sample.shared_memory:
        x = x.contiguous()
    leaves = [x.detach().requires_grad_()]
    if with_tables and cos.dtype == sin.dtype == torch.float64:
        leaves += [table.detach().clone().requires_grad_() for table in (cos, sin)]
    return lambda x, c=cos, s=sin: roformer_ext.rope(x, c, s, ids, **options), leaves


@pytest.mark.parametrize("with_tables", [False, True], ids=["x", "x and tables"])
def test_gradcheck(sample: Sample, with_tables: bool, device: torch.device) -> None:
    """First derivatives: reverse, forward and batched, against finite differences along random
    directions.
    """
    function, leaves = _problem(sample, device, with_tables)
    assert gradcheck(function, leaves, fast_mode=True, **FORWARD_MODES)


@pytest.mark.parametrize("with_tables", [False, True], ids=["x", "x and tables"])
def test_gradgradcheck(sample: Sample, with_tables: bool, device: torch.device) -> None:
    """Second derivatives: reverse over reverse, forward over reverse, batched."""
    function, leaves = _problem(sample, device, with_tables)
    assert gradgradcheck(function, leaves, fast_mode=True, **DOUBLE_MODES)


@pytest.mark.slow
@pytest.mark.parametrize("with_tables", [False, True], ids=["x", "x and tables"])
@pytest.mark.parametrize("name", SMALL)
def test_whole_jacobians(name: str, with_tables: bool, device: torch.device) -> None:
    """The same with every entry of both Jacobians, on the samples of at most 120 elements."""
    function, leaves = _problem(SAMPLES[name], device, with_tables)
    assert gradcheck(function, leaves, **FORWARD_MODES)
    assert gradgradcheck(function, leaves, **DOUBLE_MODES)


def test_gradient_through_expanded_x(device: torch.device) -> None:
    """The gradient of an expanded x sums over what was expanded."""
    base, cos, sin, ids, _ = SAMPLES["one_batch"](torch.float64, device)
    base.requires_grad_()
    assert gradcheck(
        lambda b: roformer_ext.rope(b.expand(2, 3, 5, 8), cos, sin, ids),
        (base,),
        check_forward_ad=True,
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gradient_is_the_transposed_rotation(
    sample: Sample, dtype: torch.dtype, device: torch.device
) -> None:
    """dx equals `rope(dy, conj=not conj)` bit for bit in all four dtypes."""
    x, cos, sin, ids, options = with_specials(dense(sample(dtype, device)))
    dy = (
        torch.linspace(-2, 3, x.numel(), dtype=torch.float64, device=device).to(dtype).view(x.shape)
    )
    options["conj"] = options.get("conj", False)
    (dx,) = torch.autograd.grad(
        roformer_ext.rope(x.requires_grad_(), cos, sin, ids, **options), x, dy
    )
    opposite = {**options, "conj": not options["conj"]}
    assert_same_bits(dx, reference.rope(dy, cos, sin, ids, **opposite))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_expanded_gradients(dtype: torch.dtype, device: torch.device) -> None:
    """`out.sum().backward()` hands over a gradient of stride 0; so may any broadcast reduction."""
    x, cos, sin, ids, options = SAMPLES["ids_bs"](dtype, device)
    x.requires_grad_()
    transposed = {**options, "conj": True}
    y = roformer_ext.rope(x, cos, sin, ids, **options)
    (dx,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
    assert_same_bits(dx, roformer_ext.rope(torch.ones_like(x), cos, sin, ids, **transposed))
    (dx,) = torch.autograd.grad(y.sum(-1), x, torch.ones(2, 3, 5, dtype=dtype, device=device))
    assert_same_bits(dx, roformer_ext.rope(torch.ones_like(x), cos, sin, ids, **transposed))


def _table_gradients(
    rope: Callable[..., Tensor], inputs: Inputs, dtype: torch.dtype | None
) -> tuple[Tensor, ...]:
    x, cos, sin, ids, options = inputs
    dy = torch.linspace(-1, 1, x.numel(), dtype=torch.float64).to(x.device, x.dtype).view(x.shape)
    if dtype is not None:
        x, cos, sin, dy = x.to(dtype), cos.to(dtype), sin.to(dtype), dy.to(dtype)
    cos, sin = cos.detach().requires_grad_(), sin.detach().requires_grad_()
    return torch.autograd.grad(rope(x, cos, sin, ids, **options), (cos, sin), dy)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_table_gradients_against_float64(
    sample: Sample, dtype: torch.dtype, device: torch.device
) -> None:
    """Accumulated in the arithmetic type and rounded once to each table's own dtype, whatever x's
    dtype is.
    """
    inputs = sample(dtype, device)
    ours = _table_gradients(roformer_ext.rope, inputs, None)
    exact = _table_gradients(reference.rope, inputs, torch.float64)
    for grad, table, expected in zip(ours, inputs[1:3], exact, strict=True):
        assert grad.dtype == table.dtype and grad.shape == table.shape
        arithmetic = torch.float64 if dtype == torch.float64 else torch.float32
        eps = max(torch.finfo(grad.dtype).eps, 16 * torch.finfo(arithmetic).eps)
        torch.testing.assert_close(
            grad.double(), expected, rtol=eps, atol=16 * torch.finfo(arithmetic).eps
        )


@pytest.mark.parametrize("table_dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_table_gradient_of_a_shared_position(
    table_dtype: torch.dtype, device: torch.device
) -> None:
    """Thousands of tokens at one position: a sum in the table's own half type would stall far from
    the value.
    """
    x = torch.rand(4, 2048, 2, 8, device=device)
    cos, sin = (
        table.to(table_dtype).requires_grad_() for table in torch.ones(2, 3, 4, device=device)
    )
    ids = torch.ones(4, 2048, dtype=torch.int64, device=device)
    ids[1, 7:9] = -1
    y = roformer_ext.rope(x, cos, sin, ids, seq_dim=1)
    dcos, dsin = torch.autograd.grad(y.sum(), (cos, sin))
    kept = x.double()[ids >= 0]
    expected = (
        (kept[..., :4] + kept[..., 4:]).sum((0, 1)),
        (kept[..., :4] - kept[..., 4:]).sum((0, 1)),
    )
    eps = max(torch.finfo(table_dtype).eps, 1e-5)
    torch.testing.assert_close(dcos[1].double(), expected[0], rtol=eps, atol=0)
    torch.testing.assert_close(dsin[1].double(), expected[1], rtol=eps, atol=0.05)
    for grad in (dcos, dsin):
        assert not grad[0].any() and not grad[2].any()


def test_only_one_table_requires_grad(device: torch.device) -> None:
    """Each table's gradient is the same whether or not the other one is asked for."""
    x, cos, sin, ids, options = SAMPLES["ids_bs"](torch.float64, device)
    both = _table_gradients(roformer_ext.rope, (x, cos, sin, ids, options), None)
    for number in (0, 1):
        tables = [cos.detach(), sin.detach()]
        tables[number].requires_grad_()
        y = roformer_ext.rope(x, *tables, ids, **options)
        dy = torch.linspace(-1, 1, x.numel(), dtype=x.dtype, device=device).view(x.shape)
        (alone,) = torch.autograd.grad(y, tables[number], dy)
        torch.testing.assert_close(alone, both[number], rtol=1e-14, atol=1e-14)


def test_table_gradients_are_deterministic(threads: Callable[[int], None]) -> None:
    """Repeated rows are summed in one order: twice the same bits, and the same under one thread and
    two.
    """
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(3, 700, 5, 32, generator=generator)
    angle = torch.rand(40, 16, generator=generator)
    ids = torch.randint(-1, 40, (3, 700), generator=generator)
    inputs = (x, angle.cos(), angle.sin(), ids, {"seq_dim": 1})
    threads(1)
    first = _table_gradients(roformer_ext.rope, inputs, None)
    again = _table_gradients(roformer_ext.rope, inputs, None)
    threads(2)
    wider = _table_gradients(roformer_ext.rope, inputs, None)
    for one, two, three in zip(first, again, wider, strict=True):
        assert_same_bits(two, one)
        assert_same_bits(three, one)


@pytest.mark.gpu
def test_table_gradients_are_deterministic_on_cuda() -> None:
    """Under torch's deterministic mode."""
    x, cos, sin, ids, options = SAMPLES["ids_repeated"](torch.float32, "cuda")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        first = _table_gradients(roformer_ext.rope, (x, cos, sin, ids, options), None)
        again = _table_gradients(roformer_ext.rope, (x, cos, sin, ids, options), None)
    finally:
        torch.use_deterministic_algorithms(before)
    for one, two in zip(first, again, strict=True):
        assert_same_bits(two, one)


def test_only_tables_and_ids_are_saved(device: torch.device) -> None:
    """Without a table gradient x is not kept alive for backward."""
    x, cos, sin, ids, options = SAMPLES["ids_bs"](torch.float32, device)
    saved: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor.untyped_storage().data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        roformer_ext.rope(x.requires_grad_(), cos, sin, ids, **options)
    assert ids is not None
    allowed = {tensor.untyped_storage().data_ptr() for tensor in (cos, sin, ids)}
    assert saved and set(saved) <= allowed


def test_nothing_requires_grad(device: torch.device) -> None:
    """No graph where none is asked for, and none under no_grad."""
    x, cos, sin, ids, options = SAMPLES["ids_bs"](torch.float32, device)
    assert not roformer_ext.rope(x, cos, sin, ids, **options).requires_grad
    with torch.no_grad():
        assert not roformer_ext.rope(
            x.requires_grad_(), cos.requires_grad_(), sin, ids, **options
        ).requires_grad


def test_forward_tangents_of_x_and_tables(device: torch.device) -> None:
    """Dual numbers on x, on a table, and on both, against the product rule."""
    import torch.autograd.forward_ad as forward_ad

    x, cos, sin, ids, options = SAMPLES["ids_bs"](torch.float64, device)
    dx, dcos = torch.randn_like(x), torch.randn_like(cos)
    ones = torch.ones_like(sin)
    along_x = roformer_ext.rope(dx, cos, sin, ids, **options)
    # Where ids are -1 the table has no influence, which rope of x with a zero table does not know.
    along_cos = roformer_ext.rope(x, dcos, ones * 0, ids, **options)
    assert ids is not None
    along_cos = torch.where((ids == -1)[:, None, :, None], 0, along_cos)
    for with_x, with_cos in ((True, False), (False, True), (True, True)):
        with forward_ad.dual_level():
            dual_x = forward_ad.make_dual(x, dx) if with_x else x
            dual_cos = forward_ad.make_dual(cos, dcos) if with_cos else cos
            _, tangent = forward_ad.unpack_dual(
                roformer_ext.rope(dual_x, dual_cos, sin, ids, **options)
            )
        expected = along_x * with_x + along_cos * with_cos
        torch.testing.assert_close(tangent, expected, rtol=1e-13, atol=1e-13)


def test_forward_tangent_in_place(device: torch.device) -> None:
    """`rope_` on a dual number rotates the tangent as well."""
    import torch.autograd.forward_ad as forward_ad

    x, cos, sin, ids, options = SAMPLES["ids_bs"](torch.float64, device)
    dx = torch.randn_like(x)
    expected = (
        roformer_ext.rope(x, cos, sin, ids, **options),
        roformer_ext.rope(dx, cos, sin, ids, **options),
    )
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x.clone(), dx.clone())
        roformer_ext.rope_(dual, cos, sin, ids, **options)
        primal, tangent = forward_ad.unpack_dual(dual)
        torch.testing.assert_close(primal, expected[0], rtol=0, atol=0)
        torch.testing.assert_close(tangent, expected[1], rtol=1e-14, atol=1e-14)
