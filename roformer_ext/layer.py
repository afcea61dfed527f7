"""One layer of the encoder, and what every part of the model is made of.

The idea: two sublayers, attention and feed-forward, each followed by dropout, its residual and a
norm (post-norm, as in BERT). What must stay true: module names are those of the checkpoints, and
`initialise` is the only place that knows how parameters start.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .activations import Activation, activation, in_place, keeps_argument
from .attention import RoFormerCrossAttention, RoFormerSelfAttention, Rotation
from .cache import CacheLayer
from .config import RoFormerConfig
from .mask import AttentionMask
from .packing import is_traced

# Blocks of 32 MiB and more come from the system as fresh pages at each use, which takes as long as
# a tenth of the products, and smaller ones stay in the cache until they are read.
_WIDENED_BYTES = 16 * 2**20


def norm(width: int, config: RoFormerConfig) -> nn.Module:
    """The configured norm over the last `width` channels; "rms_norm" has no parameters."""
    if config.norm_type == "rms_norm":
        return nn.RMSNorm(width, eps=config.layer_norm_eps, elementwise_affine=False)
    return nn.LayerNorm(width, eps=config.layer_norm_eps, bias=config.use_bias)


def initialise(module: nn.Module, deviation: float) -> None:
    """Weights from normal(0, deviation), biases and the padding row zero, gains one.

    Acts on the parameters of one Linear, Embedding or LayerNorm; other modules are left alone.
    """
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=deviation)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        with torch.no_grad():
            module.weight[module.padding_idx].zero_()
    if isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
    if isinstance(module, (nn.Linear, nn.LayerNorm)) and module.bias is not None:
        nn.init.zeros_(module.bias)


class RoFormerResidual(nn.Module):
    """Norm(dropout(W act(x)) + residual): how both sublayers end, `act` mostly not there."""

    def __init__(self, width: int, config: RoFormerConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size, bias=config.use_bias)
        self.LayerNorm = norm(config.hidden_size, config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, residual: Tensor, activate: Activation | None = None) -> Tensor:
        """x is [B, S, width], residual and result are [B, S, C].

        activate: applied to x before W, and again in backward, so that its result is not kept.
        """
        if activate is None:
            narrowed = self.dense(x)
        else:
            narrowed = checkpoint(
                lambda x: self.dense(activate(x)),
                x,
                use_reentrant=False,
                # A plain product draws nothing, and what asks for the state cannot be captured.
                preserve_rng_state=type(self.dense) is not nn.Linear,
            )
        result: Tensor = self.LayerNorm(self.dropout(narrowed) + residual)
        return result


class RoFormerAttention(nn.Module):
    """The attention sublayer: self-attention, then projection, residual and norm."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.self = RoFormerSelfAttention(config)
        self.output = RoFormerResidual(config.hidden_size, config)

    def forward(
        self,
        hidden: Tensor,
        mask: AttentionMask | None = None,
        rotate: Rotation | None = None,
        cache: CacheLayer | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """[B, S, C] to [B, S, C] and the attention weights, None unless asked for."""
        context, weights = self.self(hidden, mask, rotate, cache, output_attentions)
        return self.output(context, hidden), weights


class RoFormerEncoderAttention(nn.Module):
    """The cross-attention sublayer of a decoder; it looks at an encoder and rotates nothing."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.self = RoFormerCrossAttention(config)
        self.output = RoFormerResidual(config.hidden_size, config)

    def forward(
        self,
        hidden: Tensor,
        encoded: EncodedSource,
        cache: CacheLayer | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """[B, S, C] to [B, S, C] and the attention weights, None unless asked for."""
        context, weights = self.self(hidden, encoded.hidden, encoded.mask, cache, output_attentions)
        return self.output(context, hidden), weights


class RoFormerIntermediate(nn.Module):
    """The widening half of the feed-forward sublayer: activation(W x)."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.use_bias)
        self.activation = activation(config.hidden_act)

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., C] to [..., F]."""
        widened = self.dense(hidden)
        # Without gradients nobody reads the sums again, unless a hook has kept them.
        if torch.is_grad_enabled() or self.dense._forward_hooks:
            return self.activation(widened)
        return in_place(self.activation)(widened)


class EncodedSource(NamedTuple):
    """What a decoder attends to."""

    hidden: Tensor
    """[B, K, C], the encoder's result."""
    mask: AttentionMask | None


class RoFormerLayer(nn.Module):
    """The attention sublayer, a decoder's cross-attention, then the feed-forward sublayer."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.attention = RoFormerAttention(config)
        self.crossattention: RoFormerEncoderAttention | None = None
        if config.add_cross_attention:
            self.crossattention = RoFormerEncoderAttention(config)
        self.intermediate = RoFormerIntermediate(config)
        self.output = RoFormerResidual(config.intermediate_size, config)
        self.chunk = config.chunk_size_feed_forward
        self.widened = config.intermediate_size

    def forward(
        self,
        hidden: Tensor,
        mask: AttentionMask | None = None,
        rotate: Rotation | None = None,
        source: EncodedSource | None = None,
        cache: CacheLayer | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """[B, S, C] to [B, S, C], the attention weights and those of cross-attention.

        Weights are None unless asked for.
        """
        hidden, weights = self.attention(hidden, mask, rotate, cache, output_attentions)
        cross_weights = None
        if source is not None and self.crossattention is not None:
            hidden, cross_weights = self.crossattention(hidden, source, cache, output_attentions)
        return self._feed_forward(hidden), weights, cross_weights

    def _feed_forward(self, hidden: Tensor) -> Tensor:
        if self.chunk:
            pieces = hidden.split(self.chunk, dim=1)
        else:
            pieces = hidden.flatten(0, 1).chunk(self._number_of_pieces(hidden))
        if len(pieces) == 1:
            return self._in_one_piece(hidden)
        # Pieces bound the memory of the widened activations and change no result.
        done = [self.output(self.intermediate(piece), piece) for piece in pieces]
        return torch.cat(done, dim=1 if self.chunk else 0).view_as(hidden)

    def _in_one_piece(self, hidden: Tensor) -> Tensor:
        widen = self.intermediate
        result: Tensor
        if (
            torch.is_grad_enabled()
            and keeps_argument(widen.activation)
            and not is_traced(hidden)  # compilers decide themselves what they compute again
            and not widen._forward_hooks
            and not widen._forward_pre_hooks
        ):
            # A quarter of all that a layer keeps for its backward is the activation's result, and
            # computing it again takes a hundredth of the time.
            result = self.output(widen.dense(hidden), hidden, widen.activation)
        else:
            result = self.output(widen(hidden), hidden)
        return result

    def _number_of_pieces(self, hidden: Tensor) -> int:
        """So many that the widened activations of one fit into `_WIDENED_BYTES`."""
        if torch.is_grad_enabled() or hidden.device.type != "cpu" or is_traced(hidden):
            return 1
        widened = hidden.shape[0] * hidden.shape[1] * self.widened * hidden.element_size()
        return max(1, -(-widened // _WIDENED_BYTES))
