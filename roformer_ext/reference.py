"""The mathematics of rotary positions in plain PyTorch: the oracle that every kernel is held to.

One idea: bring the tables into x's own layout, rotate everything, then let `where` put back what
was not to be rotated. It is slow on purpose and must stay obviously right; it is differentiable by
construction, and imports torch and nothing of this package. float32, bfloat16 and float16 are
computed in float32 and float64 in float64: products first, then the sum, one rounding at the end,
so that the results of the kernels can be compared with these bit for bit.

Equation numbers are those of the RoFormer paper (arXiv 2104.09864 v5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

# By dims, then seq_dim. b: batch, s: sequence, p: packed projections, h: heads, d: channels.
LAYOUTS: dict[int, dict[int, str]] = {
    2: {0: "sd"},
    3: {0: "shd", 1: "bsd"},
    4: {0: "sbhd", 1: "bshd", 2: "bhsd"},
    5: {1: "bsphd"},
}
Distances: TypeAlias = int | Sequence[int] | Tensor


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
    """`y1 = x1*cos - x2*sin`, `y2 = x1*sin + x2*cos` for every pair; `conj` flips the sign of sin.

    x is [..., D] with 2 to 5 dims; cos and sin are [n, R], [B or 1, S, R], or broadcast against
    x[..., :R]; ids are [S], [1, S] or [B, S] with -1 for "leave alone". Returns x's shape and
    dtype, strides as of `empty_like(x)`. An id outside the table raises what `index_select` raises.
    """
    layout = _layout(x, seq_dim)
    cos, sin, alone = _tables_in_layout(x, cos, sin, position_ids, layout)
    if conj:
        sin = -sin
    return _rotate(x, (cos, cos, sin, sin), alone, layout, interleaved, rotary_offset, heads)


def rope_full_width(
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
    """`y1 = x1*c1 - x2*s1`, `y2 = x2*c2 + x1*s2`, tables [..., 2R] laid out as the pairs are.

    `conj` is the transpose, `y1 = x1*c1 + x2*s2`, `y2 = x2*c2 - x1*s1`. All else as in `rope`.
    """
    layout = _layout(x, seq_dim)
    cos, sin, alone = _tables_in_layout(x, cos, sin, position_ids, layout)
    _require(cos.shape[-1] % 2 == 0, "cos and sin need an even last dim, got {}", cos.shape[-1])
    c1, c2 = _pairs(cos, interleaved)
    s1, s2 = _pairs(sin, interleaved)
    quarters = (c1, c2, -s2, -s1) if conj else (c1, c2, s1, s2)
    return _rotate(x, quarters, alone, layout, interleaved, rotary_offset, heads)


def frequencies(head_dim: int, base: float = 10000.0) -> Tensor:
    """theta_i = base^(-2i/head_dim), float64 [head_dim / 2] (Eq. 15, counted from 0)."""
    _require(head_dim % 2 == 0, "head_dim must be even (Eq. 14), got {}", head_dim)
    i = torch.arange(head_dim // 2, dtype=torch.float64)
    return torch.pow(torch.tensor(base, dtype=torch.float64), -2 * i / max(head_dim, 1))


def tables(
    length_or_positions: int | Tensor,
    head_dim: int,
    base: float = 10000.0,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """cos and sin of position * theta_i: [n, head_dim / 2], or [*positions.shape, head_dim / 2].

    Angle, cosine and sine are taken in float64, and each value is rounded once to `dtype`.
    """
    positions = length_or_positions
    if isinstance(positions, int):
        positions = torch.arange(positions)
    theta = frequencies(head_dim, base).to(positions.device)
    angles = positions.to(torch.float64).unsqueeze(-1) * theta
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotation_matrix(position: float, head_dim: int, base: float = 10000.0) -> Tensor:
    """R of Eq. 15, float64 [head_dim, head_dim]: one 2 x 2 rotation per adjacent pair.

    A rotated vector is `rotation_matrix(m, d) @ x` (Eq. 14).
    """
    matrix = torch.zeros(head_dim, head_dim, dtype=torch.float64)
    for i, angle in enumerate(position * frequencies(head_dim, base)):
        c, s = angle.cos(), angle.sin()
        pair = slice(2 * i, 2 * i + 2)
        matrix[pair, pair] = torch.stack((c, -s, s, c)).view(2, 2)
    return matrix


def pair_form(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Eq. 34: `x * cos + swap(x) * sin` with swap(x) = (-x2, x1, -x4, x3, ...).

    x is [..., 2R]; cos and sin are [..., R] and are repeated here as (t1, t1, t2, t2, ...).
    """
    x1, x2 = _pairs(x, interleaved=True)
    swapped = torch.stack((-x2, x1), dim=-1).flatten(-2)
    return x * cos.repeat_interleave(2, dim=-1) + swapped * sin.repeat_interleave(2, dim=-1)


def partial_sums(head_dim: int, distances: Distances, base: float = 10000.0) -> Tensor:
    """S_j = sum of e^(i * distance * theta_k) over k < j, for j = 1 ... head_dim / 2 (Eq. 35).

    complex128 [*distances.shape, head_dim / 2].
    """
    angles = torch.as_tensor(distances, dtype=torch.float64).unsqueeze(-1)
    angles = angles * frequencies(head_dim, base).to(angles.device)
    return torch.polar(torch.ones_like(angles), angles).cumsum(-1)


def decay_curve(head_dim: int, distances: Distances, base: float = 10000.0) -> Tensor:
    """Mean of abs(S_j) over j: the factor of the bound of Eq. 37 that Fig. 2 plots.

    `distances` is one relative distance m - n (the result is 0-d) or a 1-D list of them; float64.
    It falls from (head_dim / 2 + 1) / 2 at distance 0, but not monotonically.
    """
    return partial_sums(head_dim, distances, base).abs().mean(-1)


def _rotate(
    x: Tensor,
    quarters: tuple[Tensor, Tensor, Tensor, Tensor],
    alone: Tensor | None,
    layout: str,
    interleaved: bool,
    rotary_offset: int,
    heads: int | None,
) -> Tensor:
    c1, c2, s1, s2 = quarters
    begin, end = rotary_offset, rotary_offset + 2 * c1.shape[-1]
    _require(begin >= 0 and end <= x.shape[-1], "channels {}:{} of {}", begin, end, x.shape[-1])
    x1, x2 = _pairs(x[..., begin:end].to(_arithmetic(x)), interleaved)
    y1 = x1 * c1 - x2 * s1
    y2 = x1 * s2 + x2 * c2
    rotated = torch.stack((y1, y2), -1).flatten(-2) if interleaved else torch.cat((y1, y2), -1)
    y = torch.cat((x[..., :begin], rotated.to(x.dtype), x[..., end:]), -1)

    # Not by multiplying with 1 and 0: that would change infinities, NaN and signed zeros.
    if alone is not None:
        y = torch.where(alone, x, y)
    if heads is not None:
        _require("h" in layout, "heads needs a head dim, got x of shape {}", x.shape)
        sizes = [n if letter in "ph" else 1 for n, letter in zip(x.shape, layout, strict=True)]
        index = torch.arange(torch.Size(sizes).numel(), device=x.device).view(sizes)
        _require(
            0 <= heads <= index.numel(), "heads must be in 0..{}, got {}", index.numel(), heads
        )
        y = torch.where(index < heads, y, x)

    strides = torch.empty_like(x).stride()
    order = sorted(range(x.dim()), key=lambda dim: strides[dim], reverse=True)
    inverse = [order.index(dim) for dim in range(x.dim())]
    return y.permute(order).clone(memory_format=torch.contiguous_format).permute(inverse)


def _tables_in_layout(
    x: Tensor, cos: Tensor, sin: Tensor, ids: Tensor | None, layout: str
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The tables broadcastable against x[..., :R], and the mask [..., 1] of tokens left alone."""
    _require(cos.shape == sin.shape, "cos {} and sin {} differ", cos.shape, sin.shape)
    seq_len = x.shape[layout.index("s")]
    batch = x.shape[layout.index("b")] if "b" in layout else 1
    # Converted before anything is gathered or broadcast, so that gradients accumulate wide.
    cos, sin = cos.to(_arithmetic(x)), sin.to(_arithmetic(x))
    alone = None

    if cos.dim() == 2 and ids is not None:
        ids = ids.to(torch.int64)
        ids = ids.unsqueeze(0) if ids.dim() == 1 else ids
        _require(
            ids.shape in ((1, seq_len), (batch, seq_len)),
            "position_ids {} for x {}",
            ids.shape,
            x.shape,
        )
        # Row 0 stands for -1. Then -2 becomes -1, which index_select refuses.
        shape = (*ids.shape, cos.shape[1])
        cos = torch.cat((cos.new_ones(1, cos.shape[1]), cos))
        sin = torch.cat((sin.new_zeros(1, sin.shape[1]), sin))
        cos = cos.index_select(0, (ids + 1).flatten()).reshape(shape)
        sin = sin.index_select(0, (ids + 1).flatten()).reshape(shape)
        alone = _per_token((ids == -1).unsqueeze(-1), layout)
    elif cos.dim() == 2:
        _require(cos.shape[0] >= seq_len, "cos has {} rows for {} tokens", cos.shape[0], seq_len)
        cos, sin = cos[:seq_len].unsqueeze(0), sin[:seq_len].unsqueeze(0)
    else:
        _require(ids is None, "position_ids go with a table [n, R], got {}", cos.shape)
        if cos.dim() == x.dim():
            shape = (*x.shape[:-1], cos.shape[-1])
            return cos.expand(shape), sin.expand(shape), None
        _require(cos.dim() == 3, "cos of shape {} for x {}", cos.shape, x.shape)

    wanted = ((1, seq_len), (batch, seq_len))
    _require(cos.shape[:2] in wanted, "cos of shape {} for x {}", cos.shape, x.shape)
    return _per_token(cos, layout), _per_token(sin, layout), alone


def _per_token(rows: Tensor, layout: str) -> Tensor:
    """[B or 1, S, n] with its dims moved to where x has them, and 1 for every other dim."""
    if layout[0] == "s":
        rows = rows.transpose(0, 1)
    if "b" not in layout:
        rows = rows.squeeze(1)
    for dim, letter in enumerate(layout):
        if letter in "ph":
            rows = rows.unsqueeze(dim)
    return rows


def _pairs(x: Tensor, interleaved: bool) -> tuple[Tensor, Tensor]:
    half = x.shape[-1] // 2
    return (x[..., ::2], x[..., 1::2]) if interleaved else (x[..., :half], x[..., half:])


def _arithmetic(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _layout(x: Tensor, seq_dim: int) -> str:
    positive = seq_dim + x.dim() if seq_dim < 0 else seq_dim
    layout = LAYOUTS.get(x.dim(), {}).get(positive)
    if layout is None:
        raise RuntimeError(f"no layout has seq_dim={seq_dim} for x of shape {tuple(x.shape)}")
    return layout


def _require(condition: bool, message: str, *got: object) -> None:
    if not condition:
        raise RuntimeError(message.format(*got))
