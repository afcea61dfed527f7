"""Attention with rotary positions: one packed projection, rotated in place, then softmax.

The idea: queries, keys and values come from one Linear with 3C rows in the order q, k, v, and the
rotation turns the first two thirds of its output where they lie. What must stay true: checkpoints
know three projections, so `state_dict` writes and `load_state_dict` reads `query`, `key` and
`value`, and those names are attributes as well; cross-attention, whose queries and keys come from
different places, has the three of them and no rotation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cache import CacheLayer
from .config import RoFormerConfig
from .mask import AttentionMask, PackedMask
from .sharding import placed_as

Rotation = Callable[[Tensor], Tensor]
"""Rotates a packed projection [B, S, 3, H, D] in place and returns it."""

PROJECTIONS = ("query", "key", "value")


class Projection(NamedTuple):
    """The rows of the packed projection that one checkpoint name stands for; both are views."""

    weight: Tensor
    bias: Tensor | None


class RoFormerSelfAttention(nn.Module):
    """softmax((R q) (R k)^T / sqrt(D)) v in every head, R the rotation of Eq. 14.

    The parameters are `qkv`, a Linear from C to 3C; in a state dict they are query, key and value,
    weight [C, C] and bias [C] each.
    """

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.head_dim = config.head_dim
        self.dropout_prob = config.attention_probs_dropout_prob
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=config.use_bias)
        self.register_state_dict_post_hook(_write_three_projections)
        self.register_load_state_dict_pre_hook(_read_three_projections)

    @property
    def query(self) -> Projection:
        """Rows of the queries."""
        return self._projection(0)

    @property
    def key(self) -> Projection:
        """Rows of the keys."""
        return self._projection(1)

    @property
    def value(self) -> Projection:
        """Rows of the values."""
        return self._projection(2)

    def _projection(self, index: int) -> Projection:
        weight, bias = self.qkv.weight, self.qkv.bias
        rows = thirds_of(weight)[index]
        return Projection(rows, None if bias is None else thirds_of(bias)[index])

    def forward(
        self,
        hidden: Tensor,
        mask: AttentionMask | None = None,
        rotate: Rotation | None = None,
        cache: CacheLayer | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """[B, S, C] to [B, S, C] and the weights [B, H, S, K] after dropout, None unless asked for.

        rotate: turns queries and keys (or values too) by their positions; None leaves them alone.
        cache: keys and values of earlier tokens, attended too; those of `hidden` are added.
        """
        batch, seq, width = hidden.shape
        packed = self.qkv(hidden.reshape(batch * seq, width))
        # Not a view: the backward of an in-place change to a view copies the whole gradient.
        shape = [batch, seq, 3, self.num_heads, self.head_dim]
        packed = torch.ops.aten._unsafe_view.default(packed, shape)
        if rotate is not None:
            packed = rotate(packed)
        dropout = self.dropout_prob if self.training else 0.0
        return attend_to_itself(packed, mask, cache, dropout, output_attentions)


class RoFormerCrossAttention(nn.Module):
    """softmax(q k^T / sqrt(D)) v, queries of the decoder, keys and values of an encoder."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.dropout_prob = config.attention_probs_dropout_prob
        width = config.hidden_size
        self.query = nn.Linear(width, width, bias=config.use_bias)
        self.key = nn.Linear(width, width, bias=config.use_bias)
        self.value = nn.Linear(width, width, bias=config.use_bias)

    def forward(
        self,
        hidden: Tensor,
        encoded: Tensor,
        mask: AttentionMask | None = None,
        cache: CacheLayer | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """[B, S, C] and [B, K, C] to [B, S, C] and the weights [B, H, S, K], None unless asked for.

        cache: holds the keys and values of `encoded` after the first call.
        """
        query = self._heads(self.query(hidden))
        found = None if cache is None else cache.encoded()
        if found is None:
            found = self._heads(self.key(encoded)), self._heads(self.value(encoded))
            if cache is not None:
                cache.remember_encoded(*found)
        dropout = self.dropout_prob if self.training else 0.0
        context, weights = _attend(query, *found, mask, dropout, output_attentions)
        return context.transpose(1, 2).flatten(2), weights

    def _heads(self, x: Tensor) -> Tensor:
        batch, seq, width = x.shape
        return x.view(batch, seq, self.num_heads, width // self.num_heads).transpose(1, 2)


def attend_to_itself(
    packed: Tensor,
    mask: AttentionMask | None,
    cache: CacheLayer | None,
    dropout: float,
    output_attentions: bool,
) -> tuple[Tensor, Tensor | None]:
    """[B, S, 3, H, D], rotated, to [B, S, H * D] and the weights, None unless asked for."""
    if mask is not None and mask.packed is not None:
        return _attend_packed(packed, mask.packed, mask.causal, dropout).flatten(2), None
    query, key, value = (part.transpose(1, 2) for part in packed.unbind(2))
    if cache is not None:
        key, value = cache.append(key, value)
    context, weights = _attend(query, key, value, mask, dropout, output_attentions)
    return context.transpose(1, 2).flatten(2), weights


def thirds_of(packed: Tensor) -> tuple[Tensor, ...]:
    """The rows of q, k and v of a packed weight or bias: views, or of a sharded one copies that are
    sharded as it is, for which all its devices must call this.
    """
    thirds = packed.chunk(3)
    placements = getattr(packed, "placements", None)
    if placements is not None:
        # A piece of the packed rows is no piece of a third, so they come out replicated.
        thirds = tuple(rows.redistribute(placements=placements) for rows in thirds)  # type: ignore[attr-defined]
    return thirds


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: AttentionMask | None,
    dropout: float,
    output_attentions: bool,
) -> tuple[Tensor, Tensor | None]:
    """[B, H, Q, D] and the weights, None unless asked for."""
    if mask is None:
        mask = AttentionMask()
    if mask.seeing is not None:
        query = query * mask.seeing
    if output_attentions:
        return _explicit_attention(query, key, value, mask, dropout)
    context = F.scaled_dot_product_attention(
        query, key, value, mask.additive, dropout, is_causal=mask.causal
    )
    return context, None


def _attend_packed(packed: Tensor, mask: PackedMask, causal: bool, dropout: float) -> Tensor:
    """[1, T, 3, H, D] to [1, T, H, D], every sequence by itself."""
    if mask.lengths is None:
        from torch.nn.attention.varlen import varlen_attn  # CUDA's, and slow to import

        query, key, value = packed.squeeze(0).unbind(1)
        bounds, most = mask.cu_seqlens, packed.shape[1]
        window = (-1, 0) if causal else (-1, -1)
        result = varlen_attn(query, key, value, bounds, bounds, most, most, window_size=window)
        assert isinstance(result, Tensor)
        return result.unsqueeze(0)
    done: list[Tensor] = []
    for index, part in enumerate(packed.split(mask.lengths, dim=1)):
        query, key, value = (third.transpose(1, 2) for third in part.unbind(2))
        additive = None if mask.additive is None else mask.additive[index]
        done.append(
            F.scaled_dot_product_attention(
                query, key, value, additive, dropout, is_causal=causal and additive is None
            ).transpose(1, 2)
        )
    return torch.cat(done, dim=1)


def _explicit_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: AttentionMask, dropout: float
) -> tuple[Tensor, Tensor]:
    """`scaled_dot_product_attention` step by step, where the weights themselves are wanted."""
    # Scaled before the product, because float16 scores overflow otherwise.
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if mask.additive is not None:
        scores = scores + mask.additive
    elif mask.causal:
        visible = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~visible, -torch.inf)
    weights = F.dropout(scores.softmax(-1).to(value.dtype), dropout)
    return weights @ value, weights


def _write_three_projections(
    module: nn.Module, state: dict[str, Any], prefix: str, metadata: Mapping[str, Any]
) -> None:
    for kind in ("weight", "bias"):
        packed = state.pop(f"{prefix}qkv.{kind}", None)
        if packed is not None:
            for name, rows in zip(PROJECTIONS, thirds_of(packed)):
                state[f"{prefix}{name}.{kind}"] = rows


def _read_three_projections(
    module: nn.Module,
    state: dict[str, Any],
    prefix: str,
    metadata: Mapping[str, Any],
    strict: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    """Pack the three names; one that is missing or misshapen is reported, its rows stay."""
    assert isinstance(module, RoFormerSelfAttention)
    for kind, packed in module.qkv.named_parameters():
        thirds = list(thirds_of(packed.detach()))
        kept = 0
        for index, name in enumerate(PROJECTIONS):
            key = f"{prefix}{name}.{kind}"
            rows = state.pop(key, None)
            if rows is not None and rows.shape == thirds[index].shape:
                thirds[index] = placed_as(rows, packed)
                continue
            kept += 1
            if rows is None:
                missing.append(key)
            else:
                wanted, got = list(thirds[index].shape), list(rows.shape)
                errors.append(f"{key} must have shape {wanted}, got {got}")
        state[f"{prefix}qkv.{kind}"] = packed if kept == 3 else torch.cat(thirds)
