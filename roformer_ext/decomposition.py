"""`rope` written out for a compiler, which fuses it with its neighbours.

The idea: the same products and sums as the kernel's, joined by concatenation, which a compiler can
vectorise, where the C++ composite scatters. It stands in for the operator node below autograd: the
transpose is a node of its own, so nothing here needs a derivative. What must stay true: shapes have
been checked when the node was made, every bit and stride is the kernel's before fusion, and a bad
position id is never a silent result.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .reference import LAYOUTS


def rope(
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    position_ids: Tensor | None = None,
    *,
    interleaved: bool = False,
    seq_dim: int = -2,
    rotary_offset: int = 0,
    heads: int | None = None,
    conj: bool = False,
) -> Tensor:
    """`roformer_ext.rope` in torch's own operators; the contract is stated there.

    An id outside the table raises what `index_select` raises, an IndexError or a RuntimeError.
    """
    layout = LAYOUTS[x.dim()][seq_dim % x.dim()]
    exact = torch.promote_types(x.dtype, torch.float32)
    cos, sin = cos.to(exact), sin.to(exact)
    alone = None
    if cos.dim() == x.dim() != 2:
        if "p" in layout:
            cos, sin = (t.expand(*x.shape[:-1], t.shape[-1]).flatten(2, 3) for t in (cos, sin))
    else:
        if position_ids is not None:
            ids = position_ids if position_ids.dim() == 2 else position_ids.unsqueeze(0)
            cos, sin = _gather(cos, ids), _gather(sin, ids)
            alone = _beside((ids == -1).unsqueeze(-1), layout)
        elif cos.dim() == 2:
            seq_len = x.shape[layout.index("s")]
            cos, sin = cos[:seq_len].unsqueeze(0), sin[:seq_len].unsqueeze(0)
        cos, sin = _beside(cos, layout), _beside(sin, layout)
    whole = x.flatten(2, 3) if "p" in layout else x
    if heads is None:
        y = _rotate(whole, cos, -sin if conj else sin, alone, interleaved, rotary_offset)
    else:
        dim = layout.replace("p", "").index("h")
        if cos.shape[dim] != 1 or heads == 0:
            cos, sin = cos.narrow(dim, 0, heads), sin.narrow(dim, 0, heads)
        rotated, rest = whole.tensor_split((heads,), dim)
        y = _rotate(rotated, cos, -sin if conj else sin, alone, interleaved, rotary_offset)
        y = torch.cat((y, rest), dim)
    return _with_strides_of(y.reshape(x.shape), x)


def _rotate(
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    alone: Tensor | None,
    interleaved: bool,
    begin: int,
) -> Tensor:
    """x with the pairs of every head rotated; cos and sin broadcast against its pairs."""
    pairs = cos.shape[-1]
    end = begin + 2 * pairs
    inner = x[..., begin:end].to(cos.dtype)
    if interleaved:
        x1, x2 = inner[..., ::2], inner[..., 1::2]
    else:
        x1, x2 = inner[..., :pairs], inner[..., pairs:]
    y1, y2 = x1 * cos - x2 * sin, x1 * sin + x2 * cos
    y = torch.stack((y1, y2), -1).flatten(-2) if interleaved else torch.cat((y1, y2), -1)
    y = y.to(x.dtype)
    if begin > 0 or end < x.shape[-1]:
        y = torch.cat((x[..., :begin], y, x[..., end:]), -1)
    return y if alone is None else torch.where(alone, x, y)


def _gather(table: Tensor, ids: Tensor) -> Tensor:
    """[B or 1, S, R]. -1 reads some row; other ids that are none go behind the last row, because
    a compiled gather would wrap a negative one to the front.
    """
    rows = table.shape[0]
    if rows == 0:  # legal while every id is -1
        table = table.new_zeros(1, table.shape[1])
    behind = max(rows, 1)
    row = torch.where(ids < -1, behind, ids) if rows else torch.where(ids == -1, ids, behind)
    row = torch.where(ids == -1, 0, row)
    return table.index_select(0, row.flatten()).reshape(*ids.shape, table.shape[1])


def _beside(rows: Tensor, layout: str) -> Tensor:
    """[B or 1, S, n] brought beside the dims of x, after [P, H] became one."""
    layout = layout.replace("p", "")
    if "b" not in layout:
        rows = rows.squeeze(0)
    elif layout[0] == "s":
        rows = rows.transpose(0, 1)
    return rows.unsqueeze(layout.index("h")) if "h" in layout else rows


def _with_strides_of(y: Tensor, x: Tensor) -> Tensor:
    """y with the strides that `empty_like(x)` has."""
    strides = torch.empty_like(x).stride()
    order = sorted(range(x.dim()), key=lambda dim: strides[dim], reverse=True)
    inverse = [order.index(dim) for dim in range(x.dim())]
    return y.permute(order).contiguous().permute(inverse)
