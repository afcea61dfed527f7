"""Every `torch.func` transform of `rope` by itself, against the plain PyTorch reference.

Under a functorch layer the operator steps aside to its composite, so each result here must be
what the same transform makes of `reference.rope`. Batched results are compared bit for bit with
the operator called element by element, because vectorising over a batch may not change the
arithmetic. Transforms within transforms: `test_nestings.py`; of `rope_`: `test_func_inplace.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from bits import assert_same_bits
from draw import Inputs
from samples import SAMPLES, Sample
from torch import Tensor
from torch.func import grad, hessian, jacfwd, jacrev, jvp, linearize, vjp, vmap
from transform_check import assert_close, in_float64, stacked

import roformer_ext
from roformer_ext import reference

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


def _both(inputs: Inputs) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """Operator and reference as functions of (x, cos, sin), the rest fixed."""
    _, _, _, ids, options = inputs
    return (
        lambda x, cos, sin: roformer_ext.rope(x, cos, sin, ids, **options),
        lambda x, cos, sin: reference.rope(x, cos, sin, ids, **options),
    )


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("batched", SUBSETS)
def test_vmap_over_any_subset(name: str, batched: tuple[str, ...], device: torch.device) -> None:
    """Each input alone and together with others, along the first, the last, and mixed dims."""
    x, cos, sin, ids, options = SAMPLES[name](torch.float32, device)
    if ids is None and "ids" in batched:
        pytest.skip(f"{name} has no position ids to batch")
    inputs = dict(zip(INPUTS, (x, cos, sin, ids), strict=True))
    for dims in ((0, 0, 0, 0), (-1, -1, -1, -1), (1, 0, -1, 1)):
        chosen = {key: dim for key, dim in zip(inputs, dims, strict=True) if key in batched}
        arguments = [
            stacked(value, chosen[key]) if key in chosen and value is not None else value
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
    inputs = in_float64(SAMPLES[name], device)
    ours, theirs = _both(inputs)
    primals = inputs[:3]
    tangents = tuple(torch.randn_like(tensor) for tensor in primals)
    weight = torch.randn_like(inputs[0])

    def loss(rope: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *arguments: (rope(*arguments).sin() * weight).sum()

    assert_close(
        grad(loss(ours), argnums=(0, 1, 2))(*primals),
        grad(loss(theirs), argnums=(0, 1, 2))(*primals),
    )
    assert_close(vjp(ours, *primals)[1](weight), vjp(theirs, *primals)[1](weight))
    assert_close(jvp(ours, primals, tangents), jvp(theirs, primals, tangents))


@pytest.mark.parametrize("number", [0, 1, 2], ids=["x", "cos", "sin"])
def test_one_tangent_alone(number: int, device: torch.device) -> None:
    """A tangent on one input, none on the others."""
    inputs = in_float64(SAMPLES["ids_bs"], device)
    tangent = torch.randn_like(inputs[number])

    def along(rope: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
        def of_one(tensor: Tensor) -> Tensor:
            return rope(*inputs[:number], tensor, *inputs[number + 1 : 3])

        return jvp(of_one, (inputs[number],), (tangent,))

    ours, theirs = _both(inputs)
    assert_close(along(ours), along(theirs))


@pytest.mark.parametrize("name", FORMS)
def test_jacobians(name: str, device: torch.device) -> None:
    """jacrev and jacfwd in x and in the cosine."""
    inputs = in_float64(SAMPLES[name], device)
    ours, theirs = _both(inputs)
    for argnums in (0, 1):
        expected = jacrev(theirs, argnums)(*inputs[:3])
        assert_close(jacrev(ours, argnums)(*inputs[:3]), expected)
        assert_close(jacfwd(ours, argnums)(*inputs[:3]), expected)


@pytest.mark.parametrize("name", ["ids_packed", "sd", "ids_bsd"])
def test_hessian(name: str, device: torch.device) -> None:
    """Second derivatives across x and the tables, where the map is bilinear."""
    inputs = in_float64(SAMPLES[name], device)
    ours, theirs = _both(inputs)

    def loss(rope: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *arguments: rope(*arguments).pow(3).sum()

    assert_close(
        hessian(loss(ours), (0, 1))(*inputs[:3]), hessian(loss(theirs), (0, 1))(*inputs[:3])
    )


@pytest.mark.parametrize("name", ["ids_bs", "heads_and_count"])
def test_linearize(name: str, device: torch.device) -> None:
    """The traced tangent map, evaluated at several tangents."""
    inputs = in_float64(SAMPLES[name], device)
    ours, theirs = _both(inputs)
    primals = inputs[:3]
    value, push = linearize(ours, *primals)
    assert_close(value, theirs(*primals))
    for seed in (1, 2):
        tangents = tuple(torch.randn_like(tensor) * seed for tensor in primals)
        assert_close(push(*tangents), jvp(theirs, primals, tangents)[1])
