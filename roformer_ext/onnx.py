"""ONNX: the operator as `RotaryEmbedding` of opset 23, through torch's ONNX exporter.

The idea: that operator takes [B, S, heads * D] and a table row for each token, so every layout is
brought there and back, and rows are looked up before. What must stay true: arithmetic in float32
as in the kernels; -1 leaves a token alone, another id that is none is an error of `Gather`; what
the standard cannot say is refused by name. onnx and onnxscript (extra `onnx`) are imported when
something is exported, never with the package.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .export import ROPE, export
from .pretrained import RoFormerPreTrained
from .reference import LAYOUTS

OPSET = 23
"""The first with `RotaryEmbedding`."""

_FLOAT = 1  # onnx.TensorProto.FLOAT


def translation_table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """For `torch.onnx.export(..., dynamo=True, opset_version=23, custom_translation_table=)`.

    The export fails, with NotImplementedError as the cause, where RotaryEmbedding cannot say what
    `rope` does: a float64 x, tables with a row per head, symbolic heads or widths. A program of
    `roformer_ext.export.export(..., decompose=True)` can be exported then. Attention is in the
    table because ONNX Runtime wants a mask with a row for each query.
    """
    return {ROPE: _translate, torch.ops.aten.scaled_dot_product_attention.default: _attention}


def export_onnx(
    model: RoFormerPreTrained,
    path: str | os.PathLike[str],
    inputs: Mapping[str, Tensor] | None = None,
) -> Any:
    """Write any head to the file `path`, batch and length free; returns torch's ONNXProgram.

    inputs: as in `roformer_ext.export.export`. The file's inputs have these names; its outputs are
        what `return_dict=False` gives, in order.
    """
    written = torch.onnx.export(
        export(model, inputs),
        dynamo=True,
        opset_version=OPSET,
        custom_translation_table=translation_table(),
        verbose=False,
    )
    assert written is not None
    written.save(os.fspath(path))
    return written


class _Heads(NamedTuple):
    """What of the channels [heads * width] is rotated."""

    total: int
    rotated: int
    width: int
    offset: int
    pairs: int
    interleaved: bool


def _attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    op = _opset()
    if attn_mask is not None:
        one = op.Constant(value_ints=[1])
        queries = op.Shape(query, start=2, end=3)
        attn_mask = op.Expand(attn_mask, op.Concat(one, one, queries, one, axis=0))
    options = {} if scale is None else {"scale": scale}
    y, _, _, _ = op.Attention(query, key, value, attn_mask, is_causal=int(is_causal), **options)
    return y


def _opset() -> Any:
    return importlib.import_module("onnxscript").opset23


def _translate(
    x: Any,
    cos: Any,
    sin: Any,
    position_ids: Any = None,
    interleaved: bool = False,
    seq_dim: int = -2,
    rotary_offset: int = 0,
    heads: int | None = None,
    conj: bool = False,
) -> Any:
    """`rope` in nodes of ONNX; the tensors are symbolic values of known rank."""
    op = _opset()
    if x.dtype.name == "DOUBLE":
        raise NotImplementedError("x must not be float64, which RotaryEmbedding does not take")
    layout = LAYOUTS[len(x.shape)][seq_dim % len(x.shape)]
    if len(cos.shape) == len(x.shape) != 2 and layout != "bsd":
        raise NotImplementedError("cos and sin must not have a row per head for RotaryEmbedding")
    total = torch.Size(_static(n) for n, dim in zip(x.shape, layout) if dim in "ph").numel()
    described = _Heads(
        total=total,
        rotated=total if heads is None else heads,
        width=_static(x.shape[-1]),
        offset=rotary_offset,
        pairs=_static(cos.shape[-1]),
        interleaved=interleaved,
    )
    x = op.Identity(x) if layout not in _ORDER else op.Transpose(x, perm=_ORDER[layout])
    if "b" not in layout:
        x = op.Unsqueeze(x, [0])
    sizes, ids = op.Shape(x), None
    if position_ids is not None:
        ids = op.Cast(position_ids, to=7)  # int64
        ids = op.Unsqueeze(ids, [0]) if len(position_ids.shape) == 1 else ids
    tokens = op.Slice(sizes, [0], [2], [0])
    cos, sin = (_rows(op, table, len(cos.shape), tokens, ids) for table in (cos, sin))
    exact = op.Cast(op.Reshape(x, [0, 0, -1]), to=_FLOAT)
    y = _rotated(op, exact, cos, op.Neg(sin) if conj else sin, described)
    if ids is not None:
        y = op.Where(op.Unsqueeze(op.Equal(ids, -1), [-1]), exact, y)
    y = op.Reshape(op.CastLike(y, x), sizes)
    if "b" not in layout:
        y = op.Squeeze(y, [0])
    return y if layout not in _ORDER else op.Transpose(y, perm=_ORDER[layout])


# How batch and sequence come first; each order is its own inverse.
_ORDER = {"bhsd": [0, 2, 1, 3], "sbhd": [1, 0, 2, 3]}


def _rotated(op: Any, x: Any, cos: Any, sin: Any, heads: _Heads) -> Any:
    """x [B, S, total * width] with its first heads rotated."""
    if heads.rotated == 0 or heads.pairs == 0:
        return op.Identity(x)
    end = heads.rotated * heads.width
    front = x if heads.rotated == heads.total else op.Slice(x, [0], [end], [2])
    width, before = heads.width - heads.offset, None
    if heads.offset:
        by_head = op.Reshape(front, [0, 0, heads.rotated, heads.width])
        before = op.Slice(by_head, [0], [heads.offset], [3])
        front = op.Slice(by_head, [heads.offset], [heads.width], [3])
        front = op.Reshape(front, [0, 0, heads.rotated * width])
    y = op.RotaryEmbedding(
        front,
        cos,
        sin,
        interleaved=int(heads.interleaved),
        num_heads=heads.rotated,
        rotary_embedding_dim=0 if 2 * heads.pairs == width else 2 * heads.pairs,
    )
    if before is not None:
        y = op.Concat(before, op.Reshape(y, [0, 0, heads.rotated, width]), axis=3)
        y = op.Reshape(y, [0, 0, end])
    if heads.rotated == heads.total:
        return y
    return op.Concat(y, op.Slice(x, [end], [heads.total * heads.width], [2]), axis=2)


def _rows(op: Any, table: Any, rank: int, tokens: Any, ids: Any) -> Any:
    """[B, S, R] in float32, for tokens [B, S]."""
    table = op.Cast(table, to=_FLOAT)
    if ids is not None:
        # Gather counts negative numbers from the end; behind the end it refuses.
        behind = op.Shape(table, start=0, end=1)
        ids = op.Where(op.Less(ids, -1), behind, ids)
        table = op.Gather(table, op.Where(op.Equal(ids, -1), 0, ids), axis=0)
    elif rank == 2:
        table = op.Unsqueeze(op.Slice(table, [0], op.Slice(tokens, [1], [2], [0]), [0]), [0])
    return op.Expand(table, op.Concat(tokens, op.Constant(value_ints=[1]), axis=0))


def _static(size: Any) -> int:
    if not isinstance(size, int):
        raise NotImplementedError(f"heads and widths must be fixed numbers for ONNX, got {size}")
    return size
