"""Self-attention with rotary positions: one packed projection, rotated in place, then softmax.

The idea: queries, keys and values come from one Linear with 3C rows in the order q, k, v, and the
rotation turns the first two thirds of its output where they lie. What must stay true: checkpoints
know three projections, so `state_dict` writes and `load_state_dict` reads `query`, `key` and
`value`, and those names are attributes as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import RoFormerConfig

Rotation = Callable[[Tensor], Tensor]
"""Rotates a packed projection [B, S, 3, H, D] in place and returns it."""

_PROJECTIONS = ("query", "key", "value")


class AttentionMask(NamedTuple):
    """A mask as every layer uses it; see `prepare_mask`."""

    additive: Tensor
    """[B or 1, H or 1, S or 1, S] in the dtype of the queries, 0 or a large negative number."""
    seeing: Tensor | None
    """[B or 1, H or 1, S or 1, 1], 0 for queries that see no key at all, 1 for the others."""


def prepare_mask(mask: Tensor | None, shape: tuple[int, int, int], dtype: torch.dtype) -> Any:
    """Bring a user's mask into the form that is added to the scores; None stays None.

    mask: [B, S] of any dtype (nonzero = token), or 4-D [B or 1, H or 1, S or 1, S], bool (True =
        attend) or additive floating point.
    shape: (B, H, S).
    dtype: of the queries.

    Masked keys get a weight of exactly zero. A query whose keys are all masked gets the uniform
    average of all values, and no gradient flows through its weights. ValueError names a shape or
    dtype that does not fit.
    """
    if mask is None:
        return None
    batch, heads, seq = shape
    if mask.shape == (batch, seq):
        mask = (mask != 0)[:, None, None, :]
    elif mask.dim() != 4 or any(
        size not in allowed
        for size, allowed in zip(mask.shape, ((1, batch), (1, heads), (1, seq), (seq,)))
    ):
        raise ValueError(
            f"attention_mask must be [B, S] = [{batch}, {seq}] or broadcast to [B, H, S, S] = "
            f"[{batch}, {heads}, {seq}, {seq}], got {list(mask.shape)}"
        )
    # Half of the lowest number still swallows every score, and survives a factor of log2(e).
    lowest = torch.finfo(dtype).min / 2
    if mask.dtype == torch.bool:
        nothing = torch.zeros((), dtype=dtype, device=mask.device)
        additive = torch.where(mask, nothing, lowest)
    elif mask.dtype.is_floating_point:
        additive = mask.clamp(min=lowest).to(dtype)
    else:
        raise ValueError(f"a 4-D attention_mask must be bool or floating, got {mask.dtype}")
    if dtype != torch.float16 and not torch.is_grad_enabled():
        return AttentionMask(additive, None)
    # Note [Queries that see nothing]
    # Lowest everywhere swallows the scores and leaves a uniform softmax, but not in float16, which
    # ends at 65504; and flash kernels keep the log of the sum for backward, where lowest swallows
    # the number of keys as well. So such queries are set to zero, and nothing is added to their
    # scores.
    seeing = (additive > lowest).any(-1, keepdim=True)
    return AttentionMask(additive.masked_fill(~seeing, 0.0), seeing.to(dtype))


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
        return Projection(weight.chunk(3)[index], None if bias is None else bias.chunk(3)[index])

    def forward(
        self,
        hidden: Tensor,
        mask: AttentionMask | None = None,
        rotate: Rotation | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """[B, S, C] to [B, S, C] and the weights [B, H, S, S] after dropout, None unless asked for.

        rotate: turns queries and keys (or values too) by their positions; None leaves them alone.
        """
        batch, seq, width = hidden.shape
        packed = self.qkv(hidden.reshape(batch * seq, width))
        # Not a view: the backward of an in-place change to a view copies the whole gradient.
        shape = [batch, seq, 3, self.num_heads, self.head_dim]
        packed = torch.ops.aten._unsafe_view.default(packed, shape)
        if rotate is not None:
            packed = rotate(packed)
        query, key, value = (part.transpose(1, 2) for part in packed.unbind(2))
        if mask is not None and mask.seeing is not None:
            query = query * mask.seeing
        dropout = self.dropout_prob if self.training else 0.0
        if output_attentions:
            context, weights = _explicit_attention(query, key, value, mask, dropout)
        else:
            additive = None if mask is None else mask.additive
            context = F.scaled_dot_product_attention(query, key, value, additive, dropout)
            weights = None
        return context.transpose(1, 2).reshape(batch, seq, width), weights


def _explicit_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: AttentionMask | None, dropout: float
) -> tuple[Tensor, Tensor]:
    """`scaled_dot_product_attention` step by step, where the weights themselves are wanted."""
    # Scaled before the product, because float16 scores overflow otherwise.
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if mask is not None:
        scores = scores + mask.additive
    weights = F.dropout(scores.softmax(-1).to(value.dtype), dropout)
    return weights @ value, weights


def _write_three_projections(
    module: nn.Module, state: dict[str, Any], prefix: str, metadata: Mapping[str, Any]
) -> None:
    for kind in ("weight", "bias"):
        packed = state.pop(f"{prefix}qkv.{kind}", None)
        if packed is not None:
            for name, rows in zip(_PROJECTIONS, packed.chunk(3)):
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
        thirds = list(packed.detach().chunk(3))
        kept = 0
        for index, name in enumerate(_PROJECTIONS):
            key = f"{prefix}{name}.{kind}"
            rows = state.pop(key, None)
            if rows is not None and rows.shape == thirds[index].shape:
                thirds[index] = rows
                continue
            kept += 1
            if rows is None:
                missing.append(key)
            else:
                wanted, got = list(thirds[index].shape), list(rows.shape)
                errors.append(f"{key} must have shape {wanted}, got {got}")
        state[f"{prefix}qkv.{kind}"] = packed if kept == 3 else torch.cat(thirds)
