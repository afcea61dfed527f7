"""The rotary operator: typed functions around the dispatcher's `roformer_ext` operators.

The docstrings here are the contract of record; the C++ header states the same for C++.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import compile_mode, sharding  # the first loads the operators too

_rope = torch.ops.roformer_ext.rope.default
_rope_ = torch.ops.roformer_ext.rope_.default
_rope_full_width = torch.ops.roformer_ext.rope_full_width.default


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
    """Rotary position embedding (RoFormer, arXiv 2104.09864, eq. 15 and 34).

    `R` pairs of channels are rotated. Pair i of a row of x is (x1, x2): channels o + i and
    o + R + i, or o + 2i and o + 2i + 1 when `interleaved`, with o = rotary_offset:

        y1 = x1 * cos_i - x2 * sin_i
        y2 = x1 * sin_i + x2 * cos_i

    Args:
        x: float32, float64, bfloat16 or float16, any strides, zero sizes allowed. By `seq_dim`:
            -2: [B, H, S, D], [B, S, D] (no head dim) or [S, D];
            1: [B, S, H, D] or [B, S, P, H, D], a packed projection;
            0: [S, B, H, D] or [T, H, D], packed sequences.
        cos, sin: of one shape, any of the four dtypes, any strides, last dim R, 2R + o <= D. Either
            [n, R]: a table, whose row is the position id, or without ids the index along the
                sequence (then n >= S);
            [B or 1, S, R]: a row per token, batch first in every layout;
            as many dims as x: broadcast against x[..., :R]; per-head tables span all heads.
            For a 2-D x a 2-D table is the first form.
        position_ids: int32 or int64, [S], [B, S] or [1, S], only with a table [n, R]. -1 leaves a
            token alone; any other value outside [0, n) is an error on CPU and a device-side
            assertion on CUDA.
        interleaved: pairs are neighbours (RoFormer, GPT-J) instead of R apart (GPT-NeoX, Llama).
        seq_dim: which dim of x is the sequence, see x.
        rotary_offset: the first rotated channel.
        heads: rotate only the first `heads` heads (of a packed projection: counted over P * H).
        conj: apply the transpose, sine's sign flipped. It is the inverse where cos^2 + sin^2 = 1.

    Returns:
        A new tensor of x's shape and dtype, with the strides of `empty_like(x)`. What is not
        rotated is copied bit for bit. Arithmetic runs in float32 (float64 for float64), products
        then the sum, with one rounding at the end. Differentiable to any order in x, cos and sin.

    Raises:
        RuntimeError: one sentence that names the argument, what was wanted and what came.
    """
    if torch.compiler.is_dynamo_compiling():
        compile_mode.enter(compile_mode.mode)
    operator = _rope if type(x) is Tensor else sharding.of(_rope, x)
    return operator(  # type: ignore[no-any-return]
        x,
        cos,
        sin,
        position_ids,
        interleaved=interleaved,
        seq_dim=seq_dim,
        rotary_offset=rotary_offset,
        heads=heads,
        conj=conj,
    )


def rope_(
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
    """`rope` in place: rotates x and returns it.

    Arguments as for `rope`. To rotate q and k of a packed projection [B, S, 3, H, D] in one call,
    pass it whole with `heads=2 * H` and `seq_dim=1`.

    Raises:
        RuntimeError: also when x overlaps itself (an expanded dim), shares memory with a table or
            the ids, or is something that autograd does not let be changed in place (a leaf that
            requires grad, a view of one, an output of `unbind` or `split`). Nothing is written
            before every check has passed.
    """
    if torch.compiler.is_dynamo_compiling():
        compile_mode.enter(compile_mode.mode)
    operator = _rope_ if type(x) is Tensor else sharding.of(_rope_, x)
    return operator(  # type: ignore[no-any-return]
        x,
        cos,
        sin,
        position_ids,
        interleaved=interleaved,
        seq_dim=seq_dim,
        rotary_offset=rotary_offset,
        heads=heads,
        conj=conj,
    )


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
    """`rope` with tables that hold an entry for each member of a pair.

    cos and sin have last dim 2R, laid out as the pairs are, with entries c1, c2 and s1, s2:

        y1 = x1 * c1 - x2 * s1
        y2 = x2 * c2 + x1 * s2

    and under `conj` the transpose, y1 = x1 * c1 + x2 * s2, y2 = x2 * c2 - x1 * s1. Other arguments
    as for `rope`. Composed of torch's own operators, and differentiable; where the entries are
    known to repeat, `rope` with `cos[..., :R]` (or `cos[..., ::2]` when interleaved), which is a
    view, does the same faster.
    """
    operator = _rope_full_width if type(x) is Tensor else sharding.of(_rope_full_width, x)
    return operator(  # type: ignore[no-any-return]
        x,
        cos,
        sin,
        position_ids,
        interleaved=interleaved,
        seq_dim=seq_dim,
        rotary_offset=rotary_offset,
        heads=heads,
        conj=conj,
    )
