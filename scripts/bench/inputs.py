"""The tensors of a case, and what every contestant's result has to be.

One idea: the oracle is the float64 reference on the very same input and the same float32 tables, so
a contestant is wrong only by what its own arithmetic rounds. Rivals see `parts`, the tensors that
rotate (for a packed projection the q and k views of it, which is what a model would hand them).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.cases import Case
from roformer_ext import reference

EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


@dataclass(frozen=True)
class Inputs:
    """`base` is what our operator takes, `parts` are 4-D views of what of it rotates.

    `grads` belong to the outputs (forward and backward only); cos and sin are [S, R] float32.
    """

    case: Case
    base: list[Tensor]
    parts: list[Tensor]
    grads: list[Tensor]
    cos: Tensor
    sin: Tensor

    @property
    def dtype(self) -> torch.dtype:
        return torch_dtype(self.case.dtype)

    def rows(self, table: Tensor) -> Tensor:
        """A [S, X] table as it broadcasts against a part: [S, 1, X] where heads come after."""
        return table.unsqueeze(1) if self.case.shape.seq_dim == -3 else table

    def expected(self, interleaved: bool) -> list[Tensor]:
        """Float64 results, in the order of the contestants' own: outputs, then gradients."""
        wanted = [self._rotate(part, interleaved, False) for part in self.parts]
        if self.case.kind == "fwd_bwd":
            wanted += [self._rotate(grad, interleaved, True) for grad in self.grads]
        return wanted

    def _rotate(self, x: Tensor, interleaved: bool, conj: bool) -> Tensor:
        cos, sin = self.cos.double(), self.sin.double()
        seq_dim = self.case.shape.seq_dim
        return reference.rope(
            x.detach().double(), cos, sin, interleaved=interleaved, seq_dim=seq_dim, conj=conj
        )


def torch_dtype(name: str) -> torch.dtype:
    found = getattr(torch, name)
    assert isinstance(found, torch.dtype)
    return found


def make(case: Case) -> Inputs:
    """Random tensors of a fixed seed, and tables of base 10000 for the case's sequence length."""
    shape, generator = case.shape, torch.Generator().manual_seed(20)
    learns = case.kind == "fwd_bwd"

    def draw() -> Tensor:
        return torch.randn(shape.sizes, generator=generator).to(torch_dtype(case.dtype))

    base = [draw().requires_grad_(learns) for _ in range(shape.tensors)]
    cos, sin = reference.tables(shape.seq_len, shape.head_dim)
    grads = [draw() for _ in base] if learns else []
    return Inputs(case, base, rotating(base, shape.heads), grads, cos, sin)


def rotating(base: list[Tensor], heads: int | None) -> list[Tensor]:
    """The parts of `base` that rotate: all of it, or q and k out of a packed [B, S, 3H, D]."""
    if heads is None:
        return base
    half = heads // 2
    return [x[:, :, first : first + half] for x in base for first in (0, half)]


def check(name: str, got: list[Tensor], wanted: list[Tensor], dtype: str, roundings: float) -> None:
    """Raise AssertionError unless every result is within `roundings` of the oracle.

    A rounding is half a unit in the last place of the tensor's largest value: loose for small
    values, and far too tight for a wrong sign, pair or row.
    """
    assert len(got) == len(wanted), f"{name}: {len(wanted)} results wanted, got {len(got)}"
    for index, (ours, true) in enumerate(zip(got, wanted, strict=True)):
        assert ours.shape == true.shape, f"{name}: result {index} is {ours.shape}, not {true.shape}"
        error = (ours.detach().double() - true).abs().max().item()
        # `not <=` so that a NaN fails as well.
        bound = roundings * EPSILON[dtype] / 2 * max(true.abs().max().item(), 1.0)
        if not error <= bound:
            raise AssertionError(
                f"{name}: result {index} is off by {error:.3g}, allowed {bound:.3g}"
            )
