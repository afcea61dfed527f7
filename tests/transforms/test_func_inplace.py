"""`rope_` under `torch.func` transforms: it writes the tensor that the transform wrapped.

Under vmap the batched x itself is written, which needs an x that is batched; on an intermediate
the result is that of the out-of-place form; under functionalize the caller's tensor changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from bits import assert_same_bits
from samples import SAMPLES
from torch import Tensor
from torch.func import functionalize, grad, jvp, vmap
from transform_check import assert_close, in_float64, stacked

import roformer_ext
from roformer_ext import reference


@pytest.mark.parametrize("batched", ["x", "x cos", "x ids", "x cos sin ids"])
@pytest.mark.parametrize("in_dim", [0, 1, -1])
def test_vmap_in_place(batched: str, in_dim: int, device: torch.device) -> None:
    """`rope_` under vmap writes the batched x itself."""
    x, cos, sin, ids, options = SAMPLES["ids_bs"](torch.float32, device)
    names = ("x", "cos", "sin", "ids")
    chosen = [in_dim if name in batched.split() else None for name in names]
    arguments = [
        t if d is None else stacked(t, d) for t, d in zip((x, cos, sin, ids), chosen, strict=True)
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
    arguments[batched] = stacked(arguments[batched], 0)
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
    x, cos, sin, ids, options = in_float64(SAMPLES["ids_bs"], device)

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
    assert_close(apply(in_place), apply(functional))


def test_functionalize_writes_back_to_the_input(device: torch.device) -> None:
    """`rope_` on the argument itself under functionalize changes the caller's tensor, and traces to
    `rope`.
    """
    x, cos, sin, ids, options = in_float64(SAMPLES["ids_bs"], device)
    expected = reference.rope(x, cos, sin, ids, **options)
    functionalize(lambda x: roformer_ext.rope_(x, cos, sin, ids, **options))(x)
    assert_close(x, expected)
