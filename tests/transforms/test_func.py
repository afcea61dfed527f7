"""Every `torch.func` transform of `rope` and `rope_`, and their nestings, against the plain
PyTorch reference.

Under a functorch layer the operator steps aside to its composite, so each result here must be
what the same transform makes of `reference.rope`. Batched results are compared bit for bit with
the operator called element by element, because vectorising over a batch may not change the
arithmetic.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from bits import assert_same_bits
from samples import SAMPLES, Inputs, Sample
from torch import Tensor
from torch.func import (
    functional_call,
    functionalize,
    grad,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    vjp,
    vmap,
)

import roformer_ext
from roformer_ext import reference

CLOSE = {"rtol": 1e-11, "atol": 1e-11}
FORMS = (
    "ids_bs",
    "ids_packed",
    "rows_sbhd",
    "heads_and_count",
    "sd",
    "heads_across_parts",
    "offset",
    "ids_bsd",
)

INPUTS = ("x", "cos", "sin", "ids")
SUBSETS = [some for n in (1, 2, 3, 4) for some in itertools.combinations(INPUTS, n)]


@pytest.fixture(autouse=True)
def _no_fallback() -> Iterator[None]:
    """A batching rule is there: vmap's loop of last resort, which warns, is an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*batching rule for roformer_ext.*")
        yield


def _float64(sample: Sample, device: torch.device) -> Inputs:
    """The sample in float64 throughout."""
    x, cos, sin, ids, options = sample(torch.float64, device)
    return x.contiguous(), cos.double(), sin.double(), ids, options


def _both(inputs: Inputs) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """Operator and reference as functions of (x, cos, sin), the rest fixed."""
    _, _, _, ids, options = inputs
    return (
        lambda x, cos, sin: roformer_ext.rope(x, cos, sin, ids, **options),
        lambda x, cos, sin: reference.rope(x, cos, sin, ids, **options),
    )


def _close(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, expected, **CLOSE)


def _stacked(tensor: Tensor, dim: int) -> Tensor:
    """Three differing versions of a tensor along a new dim, which is then no dense outer one."""
    if not tensor.is_floating_point():
        return torch.stack((tensor, tensor.flip(-1), tensor.roll(1, -1)), dim)
    return torch.stack((tensor, tensor * 0.5 + 0.25, -tensor), dim)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize(
    "batched",
    [s for n in (1, 2, 3, 4) for s in itertools.combinations(["x", "cos", "sin", "ids"], n)],
)
def test_vmap_over_any_subset(name: str, batched: tuple[str, ...], device: torch.device) -> None:
    """Each input alone and together with others, along the first, the last, and mixed dims."""
    x, cos, sin, ids, options = SAMPLES[name](torch.float32, device)
    if ids is None and "ids" in batched:
        pytest.skip(f"{name} has no position ids to batch")
    inputs = dict(zip(("x", "cos", "sin", "ids"), (x, cos, sin, ids), strict=True))
    for dims in ((0, 0, 0, 0), (-1, -1, -1, -1), (1, 0, -1, 1)):
        chosen = {key: dim for key, dim in zip(inputs, dims, strict=True) if key in batched}
        arguments = [
            _stacked(value, chosen[key]) if key in chosen and value is not None else value
            for key, value in inputs.items()
        ]
        in_dims = tuple(chosen.get(key) for key in inputs)

        def rope(x: Tensor, cos: Tensor, sin: Tensor, ids: Tensor | None) -> Tensor:
            return roformer_ext.rope(x, cos, sin, ids, **options)

        together = vmap(rope, in_dims=in_dims, out_dims=1)(*arguments)
        for number in range(3):
            one = [
                argument if dim is None or argument is None else argument.select(dim, number)
                for argument, dim in zip(arguments, in_dims, strict=True)
            ]
            assert_same_bits(together.select(1, number), rope(*one))


def test_vmap_of_every_sample(sample: Sample, device: torch.device) -> None:
    """Batched over x: values of the element-wise call, strides that a plain call could have made
    (trap 5).
    """
    x, cos, sin, ids, options = sample(torch.float32, device)
    together = vmap(lambda x: roformer_ext.rope(x, cos, sin, ids, **options))(torch.stack((x, -x)))
    for number, one in enumerate((x, -x)):
        assert_same_bits(together[number], roformer_ext.rope(one, cos, sin, ids, **options))


@pytest.mark.parametrize(
    "name", ["last_dims_transposed", "key_of_projection", "dims_reversed", "projection_swapped"]
)
def test_result_under_a_transform_can_be_viewed_alike(name: str, device: torch.device) -> None:
    """Trap 5: a view that works on the plain result works under grad, vjp and jvp."""
    x, cos, sin, ids, options = SAMPLES[name](torch.float64, device)

    def strides(x: Tensor) -> tuple[int, ...]:
        return roformer_ext.rope(x, cos, sin, ids, **options).stride()

    seen: list[tuple[int, ...]] = []

    def under(x: Tensor) -> Tensor:
        y = roformer_ext.rope(x, cos, sin, ids, **options)
        seen.append(y.stride())
        return y.sum()

    grad(under)(x)
    vjp(under, x)
    jvp(under, (x,), (x,))
    assert set(seen) == {strides(x)}


@pytest.mark.parametrize("name", FORMS)
def test_grad_vjp_jvp(name: str, device: torch.device) -> None:
    """First derivatives in x and both tables."""
    inputs = _float64(SAMPLES[name], device)
    ours, theirs = _both(inputs)
    primals = inputs[:3]
    tangents = tuple(torch.randn_like(tensor) for tensor in primals)
    weight = torch.randn_like(inputs[0])

    def loss(rope: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *arguments: (rope(*arguments).sin() * weight).sum()

    _close(
        grad(loss(ours), argnums=(0, 1, 2))(*primals),
        grad(loss(theirs), argnums=(0, 1, 2))(*primals),
    )
    _close(vjp(ours, *primals)[1](weight), vjp(theirs, *primals)[1](weight))
    _close(jvp(ours, primals, tangents), jvp(theirs, primals, tangents))


@pytest.mark.parametrize("number", [0, 1, 2], ids=["x", "cos", "sin"])
def test_one_tangent_alone(number: int, device: torch.device) -> None:
    """A tangent on one input, none on the others."""
    inputs = _float64(SAMPLES["ids_bs"], device)
    tangent = torch.randn_like(inputs[number])

    def along(rope: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
        def of_one(tensor: Tensor) -> Tensor:
            return rope(*inputs[:number], tensor, *inputs[number + 1 : 3])

        return jvp(of_one, (inputs[number],), (tangent,))

    ours, theirs = _both(inputs)
    _close(along(ours), along(theirs))


@pytest.mark.parametrize("name", FORMS)
def test_jacobians(name: str, device: torch.device) -> None:
    """jacrev and jacfwd in x and in the cosine."""
    inputs = _float64(SAMPLES[name], device)
    ours, theirs = _both(inputs)
    for argnums in (0, 1):
        expected = jacrev(theirs, argnums)(*inputs[:3])
        _close(jacrev(ours, argnums)(*inputs[:3]), expected)
        _close(jacfwd(ours, argnums)(*inputs[:3]), expected)


@pytest.mark.parametrize("name", ["ids_packed", "sd", "ids_bsd"])
def test_hessian(name: str, device: torch.device) -> None:
    """Second derivatives across x and the tables, where the map is bilinear."""
    inputs = _float64(SAMPLES[name], device)
    ours, theirs = _both(inputs)

    def loss(rope: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *arguments: rope(*arguments).pow(3).sum()

    _close(hessian(loss(ours), (0, 1))(*inputs[:3]), hessian(loss(theirs), (0, 1))(*inputs[:3]))


@pytest.mark.parametrize("name", ["ids_bs", "heads_and_count"])
def test_linearize(name: str, device: torch.device) -> None:
    """The traced tangent map, evaluated at several tangents."""
    inputs = _float64(SAMPLES[name], device)
    ours, theirs = _both(inputs)
    primals = inputs[:3]
    value, push = linearize(ours, *primals)
    _close(value, theirs(*primals))
    for seed in (1, 2):
        tangents = tuple(torch.randn_like(tensor) * seed for tensor in primals)
        _close(push(*tangents), jvp(theirs, primals, tangents)[1])


NESTINGS: dict[str, Callable[[Callable[..., Tensor]], Callable[..., Any]]] = {
    "vmap(grad)": lambda f: vmap(grad(f)),
    "grad(vmap)": lambda f: grad(lambda xs: vmap(f)(xs).sum()),
    "vmap(vmap)": lambda f: lambda xs: vmap(vmap(f))(torch.stack((xs, xs * 2))),
    "vmap(jvp)": lambda f: vmap(lambda x: jvp(f, (x,), (x * x,))[1]),
    "jvp(grad)": lambda f: lambda xs: jvp(grad(lambda x: f(x).pow(2)), (xs[0],), (xs[1],)),
    "grad(jvp)": lambda f: lambda xs: grad(lambda x: jvp(f, (x,), (xs[1],))[1].sum())(xs[0]),
    "jvp(vmap)": lambda f: lambda xs: jvp(vmap(f), (xs,), (xs.cos(),)),
    "jvp(jvp)": lambda f: lambda xs: jvp(lambda x: jvp(f, (x,), (xs[1],))[1], (xs[0],), (xs[1],)),
    "vjp(vjp)": lambda f: (
        lambda xs: vjp(lambda x: vjp(f, x)[1](torch.ones(()).to(x))[0], xs[0])[1](xs[1])
    ),
    "jacfwd(jacrev)": lambda f: lambda xs: jacfwd(jacrev(f))(xs[0]),
    "jacrev(vmap(grad))": lambda f: lambda xs: jacrev(vmap(grad(f)))(xs),
    "vmap(jacfwd)": lambda f: vmap(jacfwd(f)),
    "vmap(vmap(grad))": lambda f: lambda xs: vmap(vmap(grad(f)))(torch.stack((xs, xs * 2))),
}


@pytest.mark.parametrize("nesting", NESTINGS)
@pytest.mark.parametrize("name", ["ids_packed", "sd", "rows_bsd"])
def test_nestings(nesting: str, name: str, device: torch.device) -> None:
    """Transforms within transforms, in x."""
    x, cos, sin, ids, options = _float64(SAMPLES[name], device)
    xs = torch.stack((x, x.sin()))
    weight = torch.randn_like(x)

    def loss(rope: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda x: (rope(x, cos, sin, ids, **options).sin() * weight).sum()

    _close(
        NESTINGS[nesting](loss(roformer_ext.rope))(xs), NESTINGS[nesting](loss(reference.rope))(xs)
    )


@pytest.mark.parametrize("nesting", ["vmap(grad)", "jvp(grad)", "vmap(vmap)", "jacrev(vmap(grad))"])
def test_nestings_in_the_table(nesting: str, device: torch.device) -> None:
    """The same in the cosine, whose gradient is a sum over tokens and heads."""
    x, cos, sin, ids, options = _float64(SAMPLES["ids_packed"], device)
    tables = torch.stack((cos, cos.sin()))

    def loss(rope: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda cos: rope(x, cos, sin, ids, **options).sin().sum()

    _close(
        NESTINGS[nesting](loss(roformer_ext.rope))(tables),
        NESTINGS[nesting](loss(reference.rope))(tables),
    )


class _Rotated(torch.nn.Module):
    """A projection followed by a rotation with tables of its own."""

    def __init__(self, rope: Callable[..., Tensor]) -> None:
        super().__init__()
        self.rope = rope
        self.projection = torch.nn.Linear(8, 8, dtype=torch.float64)
        cos, sin = SAMPLES["bhsd"](torch.float64, "cpu")[1:3]
        self.cos, self.sin = torch.nn.Parameter(cos), torch.nn.Parameter(sin)

    def forward(self, x: Tensor) -> Tensor:
        return self.rope(self.projection(x), self.cos, self.sin)


def test_functional_call_and_ensembles() -> None:
    """Gradients of a module called with foreign parameters, and a stack of modules under vmap."""
    ours, theirs = _Rotated(roformer_ext.rope), _Rotated(reference.rope)
    parameters = {name: value.detach() * 1.5 for name, value in ours.named_parameters()}
    x = torch.randn(2, 3, 5, 8, dtype=torch.float64)

    def loss(module: torch.nn.Module) -> Callable[..., Tensor]:
        return lambda parameters, x: functional_call(module, parameters, (x,)).sin().sum()

    _close(grad(loss(ours))(parameters, x), grad(loss(theirs))(parameters, x))
    stacked = {name: torch.stack((value, value * 2)) for name, value in parameters.items()}
    _close(
        vmap(grad(loss(ours)), (0, None))(stacked, x),
        vmap(grad(loss(theirs)), (0, None))(stacked, x),
    )


@pytest.mark.parametrize("batched", ["x", "x cos", "x ids", "x cos sin ids"])
@pytest.mark.parametrize("in_dim", [0, 1, -1])
def test_vmap_in_place(batched: str, in_dim: int, device: torch.device) -> None:
    """`rope_` under vmap writes the batched x itself."""
    x, cos, sin, ids, options = SAMPLES["ids_bs"](torch.float32, device)
    names = ("x", "cos", "sin", "ids")
    chosen = [in_dim if name in batched.split() else None for name in names]
    arguments = [
        t if d is None else _stacked(t, d) for t, d in zip((x, cos, sin, ids), chosen, strict=True)
    ]
    expected = vmap(
        lambda x, c, s, i: roformer_ext.rope(x, c, s, i, **options), tuple(chosen), in_dim
    )(*arguments)
    version = arguments[0]._version

    def rotate(x: Tensor, cos: Tensor, sin: Tensor, ids: Tensor) -> Tensor:
        assert roformer_ext.rope_(x, cos, sin, ids, **options) is x
        return x

    result = vmap(rotate, tuple(chosen), in_dim)(*arguments)
    assert_same_bits(result, expected)
    assert_same_bits(arguments[0], expected)
    assert arguments[0]._version > version


@pytest.mark.parametrize("batched", ["cos", "sin", "ids"])
def test_vmap_in_place_needs_a_batched_x(batched: str, device: torch.device) -> None:
    """A batch of results has no room in an x that is not batched, which stays as it was."""
    x, cos, sin, ids, options = SAMPLES["ids_bs"](torch.float32, device)
    arguments = {"cos": cos, "sin": sin, "ids": ids}
    arguments[batched] = _stacked(arguments[batched], 0)
    in_dims = tuple(0 if name == batched else None for name in arguments)
    before = x.clone()
    with pytest.raises(RuntimeError):
        vmap(lambda c, s, i: roformer_ext.rope_(x, c, s, i, **options), in_dims)(
            *arguments.values()
        )
    assert_same_bits(x, before)


@pytest.mark.parametrize(
    "transform", ["grad", "jvp", "vmap(grad)", "functionalize", "vmap(functionalize)"]
)
def test_in_place_under_transforms(transform: str, device: torch.device) -> None:
    """`rope_` on an intermediate is what the out-of-place form is."""
    x, cos, sin, ids, options = _float64(SAMPLES["ids_bs"], device)

    def in_place(x: Tensor) -> Tensor:
        y = x * 2
        roformer_ext.rope_(y, cos, sin, ids, **options)
        return y.sin().sum()

    def functional(x: Tensor) -> Tensor:
        return reference.rope(x * 2, cos, sin, ids, **options).sin().sum()

    xs = torch.stack((x, -x / 2))
    apply: Callable[[Callable[[Tensor], Tensor]], Any] = {
        "grad": lambda f: grad(f)(x),
        "jvp": lambda f: jvp(f, (x,), (x.cos(),)),
        "vmap(grad)": lambda f: vmap(grad(f))(xs),
        "functionalize": lambda f: functionalize(f)(x),
        "vmap(functionalize)": lambda f: vmap(functionalize(f))(xs),
    }[transform]
    _close(apply(in_place), apply(functional))


def test_functionalize_writes_back_to_the_input(device: torch.device) -> None:
    """`rope_` on the argument itself under functionalize changes the caller's tensor, and traces to
    `rope`.
    """
    x, cos, sin, ids, options = _float64(SAMPLES["ids_bs"], device)
    expected = reference.rope(x, cos, sin, ids, **options)
    functionalize(lambda x: roformer_ext.rope_(x, cos, sin, ids, **options))(x)
    _close(x, expected)


@pytest.mark.parametrize("chunk", [None, 2])
def test_vmap_in_chunks(chunk: int | None, device: torch.device) -> None:
    """vmap's chunk_size, and out_dims at the end, on a batch larger than a chunk."""
    x, cos, sin, ids, options = SAMPLES["ids_bs"](torch.float32, device)
    xs = torch.stack([x * k for k in range(5)])
    together = vmap(
        lambda x: roformer_ext.rope(x, cos, sin, ids, **options), out_dims=-1, chunk_size=chunk
    )(xs)
    for number in range(5):
        assert_same_bits(
            together[..., number], roformer_ext.rope(xs[number], cos, sin, ids, **options)
        )
