"""`rope_full_width`: tables with an entry of its own for each member of a pair.

    y1 = x1 * c1 - x2 * s1        y2 = x2 * c2 + x1 * s2

and under conj the transpose of that matrix. Where both members share their entries it is `rope`,
and every sample is turned into a full-width one here, laid out as its pairs are.
"""

from __future__ import annotations

import pytest
import torch
from bits import assert_same_bits
from draw import Inputs, dense
from samples import DTYPES, SAMPLES, Sample
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import roformer_ext
from roformer_ext import reference


def _lay_out(first: Tensor, second: Tensor, interleaved: bool) -> Tensor:
    return (
        torch.stack((first, second), -1).flatten(-2)
        if interleaved
        else torch.cat((first, second), -1)
    )


def _widen(inputs: Inputs, *, independent: bool) -> Inputs:
    """Tables of twice the width; `independent` gives the second members other entries than the
    first.
    """
    x, cos, sin, ids, options = inputs
    layout = options.get("interleaved", False)
    second_cos, second_sin = (cos * 0.5 + 0.25, sin * 2 - 1) if independent else (cos, sin)
    return x, _lay_out(cos, second_cos, layout), _lay_out(sin, second_sin, layout), ids, options


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("conj", [False, True])
def test_against_the_reference(
    sample: Sample, dtype: torch.dtype, conj: bool, device: torch.device
) -> None:
    """Independent entries, both directions."""
    x, cos, sin, ids, options = _widen(sample(dtype, device), independent=True)
    options = {**options, "conj": conj}
    expected = reference.rope_full_width(x, cos, sin, ids, **options)
    actual = roformer_ext.rope_full_width(x, cos, sin, ids, **options)
    assert actual.dtype == dtype and actual.shape == x.shape
    assert_same_bits(actual, expected)


def test_shared_entries_are_rope(sample: Sample, device: torch.device) -> None:
    """With c1 = c2 and s1 = s2 it is the ordinary rotation."""
    x, cos, sin, ids, options = sample(torch.float32, device)
    wide = _widen((x, cos, sin, ids, options), independent=False)
    expected = roformer_ext.rope(x, cos, sin, ids, **options)
    torch.testing.assert_close(roformer_ext.rope_full_width(*wide[:4], **options), expected)


@pytest.mark.parametrize("interleaved", [False, True], ids=["half", "adjacent"])
def test_conj_is_the_transpose(interleaved: bool, device: torch.device) -> None:
    """<u, A v> = <A^T u, v> for tables that are no rotation."""
    x, cos, sin, ids, options = SAMPLES["ids_bs"](torch.float64, device)
    options = {**options, "interleaved": interleaved}
    v, cos, sin, ids, options = _widen((x, cos, sin, ids, options), independent=True)
    u = torch.randn_like(v)
    there = (u * roformer_ext.rope_full_width(v, cos, sin, ids, **options)).sum()
    back = (roformer_ext.rope_full_width(u, cos, sin, ids, conj=True, **options) * v).sum()
    torch.testing.assert_close(there, back, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "name",
    [
        "bhsd",
        "ids_bs",
        "rows_sbhd",
        "heads_and_count",
        "heads_across_parts",
        "offset",
        "free_tables",
    ],
)
def test_derivatives(name: str, device: torch.device) -> None:
    """First and second derivatives in x and in both tables, forward mode included."""
    x, cos, sin, ids, options = _widen(
        dense(SAMPLES[name](torch.float64, device)), independent=True
    )
    leaves = [tensor.detach().requires_grad_() for tensor in (x, cos, sin)]

    def function(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        return roformer_ext.rope_full_width(x, cos, sin, ids, **options)

    assert gradcheck(
        function, leaves, fast_mode=True, check_forward_ad=True, check_batched_grad=True
    )
    assert gradgradcheck(function, leaves, fast_mode=True, check_fwd_over_rev=True)


@pytest.mark.parametrize(
    "name", ["bhsd_adjacent", "ids_bs", "rows_sbhd", "heads_projection", "last_dims_transposed"]
)
def test_opcheck(name: str, device: torch.device) -> None:
    """Schema, fake tensors, autograd registration and tracing."""
    x, cos, sin, ids, options = _widen(SAMPLES[name](torch.float32, device), independent=True)
    torch.library.opcheck(
        torch.ops.roformer_ext.rope_full_width.default,
        (x.detach().requires_grad_(), cos, sin, ids),
        options,
    )


@pytest.mark.filterwarnings("error:.*batching rule")
def test_vmap(device: torch.device) -> None:
    """Batched over x and tables at once."""
    x, cos, sin, ids, options = _widen(SAMPLES["ids_bs"](torch.float32, device), independent=True)
    xs, coss, sins = (torch.stack((tensor, tensor * 0.5 + 1)) for tensor in (x, cos, sin))
    batched = torch.func.vmap(
        lambda x, c, s: roformer_ext.rope_full_width(x, c, s, ids, **options)
    )(xs, coss, sins)
    for number in (0, 1):
        expected = roformer_ext.rope_full_width(
            xs[number], coss[number], sins[number], ids, **options
        )
        torch.testing.assert_close(batched[number], expected)
