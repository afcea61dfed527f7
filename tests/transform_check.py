"""What the suites of `torch.func` transforms share: their inputs and their measure of equality.

A transform of the operator is compared with the same transform of `reference.rope`, in float64
throughout, or bit for bit with the operator called element by element, for which `stacked` makes
a batch of elements that differ.
"""

from __future__ import annotations

from typing import Any

import torch
from draw import Inputs
from samples import Sample
from torch import Tensor

_CLOSE = {"rtol": 1e-11, "atol": 1e-11}


def in_float64(sample: Sample, device: torch.device) -> Inputs:
    """The sample in float64 throughout."""
    x, cos, sin, ids, options = sample(torch.float64, device)
    return x.contiguous(), cos.double(), sin.double(), ids, options


def assert_close(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, expected, **_CLOSE)


def stacked(tensor: Tensor, dim: int) -> Tensor:
    """Three differing versions of a tensor along a new dim, which is then no dense outer one."""
    if not tensor.is_floating_point():
        return torch.stack((tensor, tensor.flip(-1), tensor.roll(1, -1)), dim)
    return torch.stack((tensor, tensor * 0.5 + 0.25, -tensor), dim)
