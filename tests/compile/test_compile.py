"""`torch.compile` of a chosen dozen samples, without graph breaks, static and dynamic, with
recompiles counted.

Code that a compiler fused agrees with eager to rounding; what runs through `aot_eager` runs the
same kernels and is held to the same tolerance. Values and gradients both count: a compiled
`rope_` once gave right values and wrong gradients. In-place forms, compiled autograd, export and
checkpointing have files of their own beside this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from draw import Inputs, dense
from samples import SAMPLES
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

import roformer_ext

DOZEN = (
    "bhsd",
    "bhsd_adjacent",
    "bshd_conj",
    "ids_int32",
    "ids_sbhd",
    "ids_packed",
    "rows_bsr",
    "heads_and_count",
    "heads_across_parts",
    "mixed_tables",
    "last_dims_transposed",
    "offset",
)
THROUGH_INDUCTOR = ("ids_bs", "query_and_key", "rows_sbhd")


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def _step(inputs: Inputs, table_grad: bool = False) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """A rotation among neighbours that a compiler may fuse with it, and the tensors to
    differentiate by.
    """
    x, cos, sin, ids, options = inputs
    leaves = [x.detach().requires_grad_()]
    if table_grad:
        cos, sin = cos.detach().requires_grad_(), sin.detach().requires_grad_()
        leaves += [cos, sin]

    def step(x: Tensor, cos: Tensor, sin: Tensor, ids: Tensor | None) -> Tensor:
        return roformer_ext.rope(x * 2, cos, sin, ids, **options).sin()

    return lambda f=step: f(leaves[0], cos, sin, ids), leaves


def _compare(
    run: Callable[..., Tensor], leaves: list[Tensor], compiled: Callable[..., Tensor]
) -> None:
    expected, actual = run(), run(compiled)
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    assert actual.stride() == expected.stride()
    torch.testing.assert_close(actual, expected)
    weight = torch.linspace(-1, 1, expected.numel(), device=expected.device).view(expected.shape)
    wanted = torch.autograd.grad((expected * weight).sum(), leaves)
    found = torch.autograd.grad((actual * weight).sum(), leaves)
    for one, other, leaf in zip(found, wanted, leaves, strict=True):
        assert one.dtype == other.dtype == leaf.dtype
        # A float64 table beside a float32 x has a gradient that was summed in float32.
        torch.testing.assert_close(one.to(leaves[0].dtype), other.to(leaves[0].dtype))


def _compile(
    run: Callable[..., Tensor], counter: CompileCounterWithBackend, **options: object
) -> Callable[..., Tensor]:
    (step,) = run.__defaults__  # type: ignore[attr-defined]
    return torch.compile(step, fullgraph=True, backend=counter, **options)


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", DOZEN)
def test_the_dozen(name: str, dynamic: bool, device: torch.device) -> None:
    """One graph each, values, strides and gradients of eager; a second call compiles nothing."""
    run, leaves = _step(dense(SAMPLES[name](torch.float32, device)))
    counter = CompileCounterWithBackend("aot_eager")
    compiled = _compile(run, counter, dynamic=dynamic)
    _compare(run, leaves, compiled)
    _compare(run, leaves, compiled)
    assert counter.frame_count == 1


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", THROUGH_INDUCTOR)
def test_through_inductor(name: str, dynamic: bool, device: torch.device) -> None:
    """The same with code made by Inductor."""
    run, leaves = _step(dense(SAMPLES[name](torch.float32, device)))
    _compare(run, leaves, _compile(run, CompileCounterWithBackend("inductor"), dynamic=dynamic))


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("table_grad", [False, True], ids=["x", "x and tables"])
@pytest.mark.parametrize("name", DOZEN)
def test_the_dozen_through_inductor(
    name: str, table_grad: bool, dynamic: bool, device: torch.device
) -> None:
    """The dozen with generated code, with and without table gradients."""
    run, leaves = _step(dense(SAMPLES[name](torch.float32, device)), table_grad)
    _compare(run, leaves, _compile(run, CompileCounterWithBackend("inductor"), dynamic=dynamic))


@pytest.mark.parametrize("name", ["ids_bs", "heads_and_count"])
def test_table_gradients(name: str, device: torch.device) -> None:
    """Tables that require grad take the composite into the graph."""
    run, leaves = _step(SAMPLES[name](torch.float32, device), table_grad=True)
    counter = CompileCounterWithBackend("aot_eager")
    _compare(run, leaves, _compile(run, counter))
    assert counter.frame_count == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_other_dtypes(dtype: torch.dtype, device: torch.device) -> None:
    """Half and double precision keep their dtype in the graph."""
    x, cos, sin, ids, options = SAMPLES["ids_bs"](dtype, device)
    compiled = torch.compile(roformer_ext.rope, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(
        compiled(x, cos, sin, ids, **options), roformer_ext.rope(x, cos, sin, ids, **options)
    )


# Distinct numbers throughout: two dims of one size would share a symbol and cost a recompile that
# is not ours.
SIZES = ((2, 5, 3, 8), (4, 7, 6, 10), (9, 12, 5, 16), (3, 30, 11, 6))
SMALL_STEPS = ((2, 5, 3, 8), (4, 7, 6, 8), (9, 12, 5, 8), (3, 30, 11, 8))


def _bshd(sizes: tuple[int, int, int, int], form: str) -> Inputs:
    batch, length, heads, width = sizes
    x = torch.randn(batch, length, heads, width)
    rows = 2 * length + 13
    ids = torch.arange(batch * length).view(batch, length) % rows - 1
    shape = {
        "table": (rows, width // 2),
        "ids": (rows, width // 2),
        "rows": (batch, length, width // 2),
    }.get(form, (1, length, heads, width // 2))
    angle = torch.rand(shape)
    return x, angle.cos(), angle.sin(), ids if form == "ids" else None, {"seq_dim": 1}


@pytest.mark.parametrize("form", ["table", "ids", "rows", "heads"])
@pytest.mark.parametrize("grad", [False, True], ids=["inference", "training"])
def test_dynamic_compiles_once_for_all_sizes(form: str, grad: bool) -> None:
    """`dynamic=True`: batch, length, heads and width all vary in one graph."""
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(
        lambda x, cos, sin, ids: roformer_ext.rope(x, cos, sin, ids, seq_dim=1),
        fullgraph=True,
        dynamic=True,
        backend=counter,
    )
    for sizes in SIZES:
        x, cos, sin, ids, options = _bshd(sizes, form)
        x.requires_grad_(grad)
        expected = roformer_ext.rope(x, cos, sin, ids, **options)
        actual = compiled(x, cos, sin, ids)
        torch.testing.assert_close(actual, expected)
        if grad:
            weight = torch.linspace(-1, 1, x.numel()).view(x.shape)
            wanted = torch.autograd.grad((expected * weight).sum(), x)
            torch.testing.assert_close(torch.autograd.grad((actual * weight).sum(), x), wanted)
    assert counter.frame_count == 1


@pytest.mark.parametrize("form", ["table", "ids", "rows", "heads"])
def test_automatic_dynamic_compiles_at_most_twice(form: str) -> None:
    """The default: one static graph, then one for all other sizes."""
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(
        lambda x, cos, sin, ids: roformer_ext.rope(x, cos, sin, ids, seq_dim=1),
        fullgraph=True,
        backend=counter,
    )
    for sizes in SMALL_STEPS:
        x, cos, sin, ids, options = _bshd(sizes, form)
        torch.testing.assert_close(
            compiled(x, cos, sin, ids), roformer_ext.rope(x, cos, sin, ids, **options)
        )
    assert counter.frame_count <= 2


def test_full_width_compiles(device: torch.device) -> None:
    """`rope_full_width` in a graph of its own."""
    x, cos, sin, ids, options = SAMPLES["ids_bs"](torch.float32, device)
    cos, sin = cos.repeat_interleave(2, -1), sin.repeat_interleave(2, -1)
    compiled = torch.compile(roformer_ext.rope_full_width, fullgraph=True, backend="aot_eager")
    expected = roformer_ext.rope_full_width(x, cos, sin, ids, **options)
    torch.testing.assert_close(compiled(x, cos, sin, ids, **options), expected)


def test_autocast_in_a_graph(device: torch.device) -> None:
    """Trap 7: compiled under autocast, tables and output keep their dtype."""
    x, cos, sin, ids, options = SAMPLES["ids_bs"](torch.float32, device)

    def step(x: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return roformer_ext.rope(x, cos, sin, ids, **options)

    actual = torch.compile(step, fullgraph=True, backend="aot_eager_decomp_partition")(x)
    torch.testing.assert_close(actual, roformer_ext.rope(x, cos, sin, ids, **options))


def test_vmap_and_grad_inside_a_graph(device: torch.device) -> None:
    """`torch.func` transforms traced by Dynamo."""
    x, cos, sin, ids, options = SAMPLES["ids_bs"](torch.float32, device)

    def loss(x: Tensor) -> Tensor:
        return roformer_ext.rope(x, cos, sin, ids, **options).sin().sum()

    def step(xs: Tensor) -> Tensor:
        return torch.func.vmap(torch.func.grad(loss))(xs)

    xs = torch.stack((x, x * 2))
    torch.testing.assert_close(
        torch.compile(step, fullgraph=True, backend="aot_eager")(xs), step(xs)
    )
