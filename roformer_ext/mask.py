"""Who sees whom: every rule about visible keys in one form that each layer uses.

The idea: padding, a user's own mask, causality, a prefix and packing all say which keys a query
may see; here they become what `scaled_dot_product_attention` takes, and where a cheaper form says
the same (a causal flag, sequences one by one) that form is kept. What must stay true: masked keys
get a weight of exactly zero, and a query whose keys are all masked gets the uniform average.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor

from .packing import Packing, is_traced


class AttentionMask(NamedTuple):
    """What is visible, as every layer uses it."""

    additive: Tensor | None = None
    """[B or 1, H or 1, Q or 1, K] in the dtype of the queries, 0 or a large negative number."""
    seeing: Tensor | None = None
    """[B or 1, H or 1, Q or 1, 1], 0 for queries that see no key at all, 1 for the others."""
    causal: bool = False
    """Query m sees the keys up to m; only where there are as many keys as queries."""
    packed: PackedMask | None = None
    """Every sequence sees itself; `additive` and `seeing` are None then."""


class PackedMask(NamedTuple):
    """Sequences of one row that do not see each other."""

    cu_seqlens: Tensor
    """[n + 1], int32."""
    lengths: tuple[int, ...] | None
    """Tokens of each, without empty ones; None: one kernel takes `cu_seqlens` itself."""
    additive: tuple[Tensor, ...] | None = None
    """[1, 1, L, L] for each sequence."""


@dataclasses.dataclass(frozen=True)
class Scene:
    """What attention is between."""

    batch: int
    heads: int
    queries: int
    keys: int
    dtype: torch.dtype
    """Of the queries."""
    device: torch.device


def prepare_mask(
    mask: Tensor | None,
    scene: Scene,
    *,
    causal: bool = False,
    prefix_stages: Tensor | None = None,
    name: str = "attention_mask",
) -> AttentionMask | None:
    """Bring all rules into one form; None where every query sees every key.

    mask: [B, K] of any dtype (nonzero = token), or 4-D [B or 1, H or 1, Q or 1, K], bool (True =
        attend) or additive floating point, which replaces causality and prefix as well.
    causal: query m sees the keys up to its own, the last query sees them all.
    prefix_stages: [B, K], of a prefix language model: query m sees key n when
        stages[n] <= stages[m]. The queries are the last Q of the K.
    name: of the mask, for the ValueError that names a shape or dtype that does not fit.
    """
    if mask is not None and mask.dim() == 4:
        return _masked(_check_four(mask, scene, name), scene.dtype)
    visible = None if mask is None else _check_two(mask, scene, name)[:, None, None, :]
    if prefix_stages is not None:
        visible = _both(visible, _prefix(prefix_stages, scene.queries)[:, None])
    elif causal and visible is None and scene.queries == scene.keys:
        return AttentionMask(causal=True)
    elif causal and scene.queries > 1:
        visible = _both(visible, _lower(scene.queries, scene.keys, scene.device))
    return None if visible is None else _masked(visible, scene.dtype)


def packed_mask(
    packing: Packing,
    scene: Scene,
    *,
    causal: bool = False,
    prefix_stages: Tensor | None = None,
    dropout: bool = False,
    whole: bool = False,
) -> AttentionMask:
    """That of packed sequences [1, T], each of which sees itself alone.

    whole: as one mask of T x T, where weights are wanted; always so under a compiler.
    dropout: attention will drop weights, which the kernel for packed sequences cannot.
    """
    cu_seqlens, lengths = packing.cu_seqlens, packing.lengths
    if whole or is_traced(cu_seqlens):
        segments = packing.segments()
        visible = segments[:, None] == segments
        if prefix_stages is not None:
            visible = visible & _prefix(prefix_stages, scene.queries)[0]
        elif causal:
            visible = visible.tril()
        return _masked(visible[None, None], scene.dtype)
    one_kernel = cu_seqlens.is_cuda and scene.dtype in (torch.float16, torch.bfloat16)
    if one_kernel and not dropout and prefix_stages is None:
        return AttentionMask(causal=causal, packed=PackedMask(cu_seqlens, None))
    if lengths is None:
        lengths = tuple(cu_seqlens.diff().tolist())
    lengths = tuple(length for length in lengths if length)
    additive = None
    if prefix_stages is not None:
        parts = prefix_stages[0].split(lengths)
        additive = tuple(_additive(_prefix(part[None], len(part)), scene.dtype) for part in parts)
    return AttentionMask(causal=causal, packed=PackedMask(cu_seqlens, lengths, additive))


def _check_two(mask: Tensor, scene: Scene, name: str) -> Tensor:
    if mask.shape != (scene.batch, scene.keys):
        raise ValueError(
            f"{name} must be [B, K] = [{scene.batch}, {scene.keys}] or broadcast to [B, H, Q, K] = "
            f"[{scene.batch}, {scene.heads}, {scene.queries}, {scene.keys}], got {list(mask.shape)}"
        )
    return mask != 0


def _check_four(mask: Tensor, scene: Scene, name: str) -> Tensor:
    wanted = (scene.batch, scene.heads, scene.queries)
    fits = all(size in (1, other) for size, other in zip(mask.shape, wanted))
    if not fits or mask.shape[3] != scene.keys:
        raise ValueError(
            f"a 4-D {name} must broadcast to [B, H, Q, K] = {[*wanted, scene.keys]}, "
            f"got {list(mask.shape)}"
        )
    if mask.dtype != torch.bool and not mask.dtype.is_floating_point:
        raise ValueError(f"a 4-D {name} must be bool or floating, got {mask.dtype}")
    return mask


def _lower(queries: int, keys: int, device: torch.device) -> Tensor:
    """[Q, K]: the queries are the last Q of the keys."""
    index = torch.arange(keys, device=device)
    return index <= index[keys - queries :, None]


def _prefix(stages: Tensor, queries: int) -> Tensor:
    """[B, Q, K] of stages [B, K]."""
    return stages[:, None, :] <= stages[:, stages.shape[1] - queries :, None]


def _both(one: Tensor | None, other: Tensor) -> Tensor:
    return other if one is None else one & other


def _lowest(dtype: torch.dtype) -> float:
    """Half of the lowest number: it swallows every score, and survives a factor of log2(e)."""
    return torch.finfo(dtype).min / 2


def _additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    nothing = torch.zeros((), dtype=dtype, device=visible.device)
    return torch.where(visible, nothing, _lowest(dtype))


def _masked(mask: Tensor, dtype: torch.dtype) -> AttentionMask:
    """Of a 4-D mask, bool or additive."""
    lowest = _lowest(dtype)
    if mask.dtype == torch.bool:
        additive = _additive(mask, dtype)
    else:
        additive = mask.clamp(min=lowest).to(dtype)
    if dtype != torch.float16 and not torch.is_grad_enabled():
        return AttentionMask(additive)
    # Note [Queries that see nothing]
    # Lowest everywhere swallows the scores and leaves a uniform softmax, but not in float16, which
    # ends at 65504; and flash kernels keep the log of the sum for backward, where lowest swallows
    # the number of keys as well. So such queries are set to zero, and nothing is added to their
    # scores.
    seeing = (additive > lowest).any(-1, keepdim=True)
    return AttentionMask(additive.masked_fill(~seeing, 0.0), seeing.to(dtype))
