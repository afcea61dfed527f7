"""Equality bit for bit, which the operator promises between levels, devices, thread counts, and
in or out of place.

Any NaN equals any NaN, because the sign and payload of a computed NaN depend on the instruction.
Everything else must agree in every bit: -0.0 is not 0.0 here. Values that are only copied are
compared with `payloads=True`, which holds the bits of a NaN as well.
"""

from __future__ import annotations

import torch
from torch import Tensor

_WORDS = {
    torch.float64: torch.int64,
    torch.float32: torch.int32,
    torch.bfloat16: torch.int16,
    torch.float16: torch.int16,
}


def words(tensor: Tensor) -> Tensor:
    """The bits of a floating tensor as integers of the same width, on the CPU."""
    return tensor.detach().cpu().contiguous().view(_WORDS[tensor.dtype])


def same_bits(actual: Tensor, expected: Tensor, *, payloads: bool = False) -> bool:
    """Whether shape, dtype and all bits agree (any NaN for any NaN unless `payloads`)."""
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return False
    equal = words(actual) == words(expected)
    if not payloads:
        equal |= actual.isnan().cpu() & expected.isnan().cpu()
    return bool(equal.all())


def assert_same_bits(actual: Tensor, expected: Tensor, *, payloads: bool = False) -> None:
    """Fail with the first differing place, its two values, and how many places differ."""
    assert actual.shape == expected.shape, (
        f"shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    )
    assert actual.dtype == expected.dtype, f"dtype {actual.dtype}, expected {expected.dtype}"
    if same_bits(actual, expected, payloads=payloads):
        return
    differs = words(actual) != words(expected)
    if not payloads:
        differs &= ~(actual.isnan().cpu() & expected.isnan().cpu())
    place = tuple(differs.nonzero()[0].tolist())
    raise AssertionError(
        f"{int(differs.sum())} of {differs.numel()} places differ, first at {place}: "
        f"{actual[place].item()!r}, expected {expected[place].item()!r}"
    )


def normal_words(tensor: Tensor) -> Tensor:
    """The bits with every NaN written the same way, for digests."""
    return words(torch.where(tensor.isnan(), torch.full_like(tensor, float("nan")), tensor))
