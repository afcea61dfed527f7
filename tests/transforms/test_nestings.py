"""Transforms within transforms of `rope`, against the same nesting of the plain reference.

Each level of a nesting wraps the tensors once more, and the operator must step aside at every one
of them, in x and in the tables. Modules called with foreign parameters, and ensembles of them,
are such nestings as users write them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from samples import SAMPLES
from torch import Tensor
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, vjp, vmap
from transform_check import assert_close, in_float64

import roformer_ext
from roformer_ext import reference

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
    x, cos, sin, ids, options = in_float64(SAMPLES[name], device)
    xs = torch.stack((x, x.sin()))
    weight = torch.randn_like(x)

    def loss(rope: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda x: (rope(x, cos, sin, ids, **options).sin() * weight).sum()

    assert_close(
        NESTINGS[nesting](loss(roformer_ext.rope))(xs), NESTINGS[nesting](loss(reference.rope))(xs)
    )


@pytest.mark.parametrize("nesting", ["vmap(grad)", "jvp(grad)", "vmap(vmap)", "jacrev(vmap(grad))"])
def test_nestings_in_the_table(nesting: str, device: torch.device) -> None:
    """The same in the cosine, whose gradient is a sum over tokens and heads."""
    x, cos, sin, ids, options = in_float64(SAMPLES["ids_packed"], device)
    tables = torch.stack((cos, cos.sin()))

    def loss(rope: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda cos: rope(x, cos, sin, ids, **options).sin().sum()

    assert_close(
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

    assert_close(grad(loss(ours))(parameters, x), grad(loss(theirs))(parameters, x))
    stacked = {name: torch.stack((value, value * 2)) for name, value in parameters.items()}
    assert_close(
        vmap(grad(loss(ours)), (0, None))(stacked, x),
        vmap(grad(loss(theirs)), (0, None))(stacked, x),
    )
