"""The rotation written out for compilers: bits and strides of the operator, and its refusals.

Every sample counts, because a decomposition stands in for the node whatever the layout is.
"""

from __future__ import annotations

import pytest
import torch
from bits import assert_same_bits
from samples import DTYPES, SAMPLES, Sample

import roformer_ext
from roformer_ext import decomposition


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bits_and_strides(sample: Sample, dtype: torch.dtype, device: torch.device) -> None:
    x, cos, sin, ids, options = sample(dtype, device)
    for change in ({}, {"conj": True}, {"interleaved": True}):
        expected = roformer_ext.rope(x, cos, sin, ids, **{**options, **change})
        actual = decomposition.rope(x, cos, sin, ids, **{**options, **change})
        assert_same_bits(actual, expected)
        for dim, size in enumerate(x.shape):
            assert size <= 1 or actual.stride(dim) == expected.stride(dim)


def test_infinities_beside_tokens_left_alone() -> None:
    """What passes through is never multiplied."""
    x, cos, sin, ids, options = SAMPLES["ids_bs"](torch.float32, "cpu")
    assert ids is not None
    ids.fill_(-1)
    x.fill_(float("inf"))
    assert torch.equal(decomposition.rope(x, cos, sin, ids, **options), x)


@pytest.mark.parametrize("rows", [0, 7])
@pytest.mark.parametrize("bad", [-2, 7])
def test_a_bad_id_is_an_error(bad: int, rows: int) -> None:
    """It must neither wrap nor pass as -1, with an empty table either."""
    ids = torch.tensor([-1, bad])
    with pytest.raises((IndexError, RuntimeError)):
        decomposition.rope(torch.ones(2, 8), torch.ones(rows, 4), torch.ones(rows, 4), ids)
