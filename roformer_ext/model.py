"""`RoFormerModel`: the encoder of the RoFormer paper, from token ids to hidden states.

It reads as the network runs: embeddings, then layers. Positions enter in two places only, and a
script may replace both: `model.rotary` (None = no rotation) and `model.embeddings.position_term`
(a module whose result is added to the embeddings). What must stay true: names and results are
those of transformers' RoFormer, and nothing depends on the length of a position table.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention import Rotation, prepare_mask
from .config import RoFormerConfig
from .layer import RoFormerLayer, initialise, norm
from .ops import rope_
from .outputs import EncoderOutput
from .rotary import RotaryEmbedding


class RoFormerEmbeddings(nn.Module):
    """Norm(word + type), with dropout.

    `position_term`, None here, may be set to a module that maps position ids ([S] or [B, S]) to a
    term [..., S, E], added before the norm: learned or sinusoidal positions (Eq. 3 and 4).
    """

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        width = config.embedding_width
        self.word_embeddings = nn.Embedding(config.vocab_size, width, config.pad_token_id)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.position_term: nn.Module | None = None
        self.LayerNorm = norm(width, config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        input_ids: Tensor | None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Tensor:
        """Embed ids [B, S], or take word embeddings [B, S, E]; tokens without a type are type 0."""
        words = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        if token_type_ids is None:
            term = self.token_type_embeddings.weight[0]
        else:
            term = self.token_type_embeddings(token_type_ids)
        if self.position_term is not None:
            if position_ids is None:
                position_ids = torch.arange(words.shape[1], device=words.device)
            term = term + self.position_term(position_ids)
        result: Tensor = self.dropout(self.LayerNorm(words + term))
        return result


class RoFormerEncoder(nn.Module):
    """Holds the layers under the name that checkpoints give them."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(RoFormerLayer(config) for _ in range(config.num_hidden_layers))


class RoFormerModel(nn.Module):
    """The encoder without a head. New models are in training mode, with random weights."""

    def __init__(self, config: RoFormerConfig) -> None:
        """Build from a configuration; ValueError names a feature that does not exist yet."""
        super().__init__()
        _refuse_missing_features(config)
        self.config = config
        self.embeddings = RoFormerEmbeddings(config)
        self.embeddings_project: nn.Linear | None = None
        if config.embedding_width != config.hidden_size:
            self.embeddings_project = nn.Linear(
                config.embedding_width, config.hidden_size, bias=config.use_bias
            )
        self.encoder = RoFormerEncoder(config)
        self.rotary: RotaryEmbedding | None = RotaryEmbedding(
            config.head_dim,
            base=config.rope_base,
            max_position=config.max_position_embeddings,
            factor=config.rope_factor,
        )
        self.gradient_checkpointing = False
        self.register_load_state_dict_pre_hook(_check_position_table)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew, with deviation `initializer_range`; see `layer.initialise`."""
        self.apply(lambda module: initialise(module, self.config.initializer_range))

    def get_input_embeddings(self) -> nn.Module:
        """The word embeddings."""
        return self.embeddings.word_embeddings

    def gradient_checkpointing_enable(self) -> None:
        """In training keep only the input of each layer, and compute the rest anew in backward."""
        self.gradient_checkpointing = True

    def gradient_checkpointing_disable(self) -> None:
        """Keep every activation again."""
        self.gradient_checkpointing = False

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        return_dict: bool = True,
    ) -> EncoderOutput | tuple[Any, ...]:
        """Hidden states of B sequences of S tokens.

        input_ids: [B, S], int32 or int64; or, in their place,
        inputs_embeds: [B, S, E], word embeddings in the dtype of the model.
        attention_mask: [B, S], nonzero = token; or 4-D, additive or bool (`prepare_mask`).
        token_type_ids: [B, S]; 0 when not given.
        position_ids: [S] or [B, S], any position; the index in the sequence when not given, and
            -1 = do not rotate this token.
        output_attentions: return the weights of each layer, by a slower path that stores them.
        output_hidden_states: return the embeddings and the output of each layer.
        return_dict: False returns a plain tuple of what is not None.
        """
        _check_inputs(input_ids, inputs_embeds, token_type_ids, position_ids)
        hidden = self.embeddings(input_ids, token_type_ids, inputs_embeds, position_ids)
        if self.embeddings_project is not None:
            hidden = self.embeddings_project(hidden)
        batch, seq, _ = hidden.shape
        shape = (batch, self.config.num_attention_heads, seq)
        mask = prepare_mask(attention_mask, shape, compute_dtype(hidden))
        rotate = self._rotation(position_ids, hidden)

        all_hidden, all_weights = [hidden], []
        for layer in self.encoder.layer:
            if self.gradient_checkpointing and self.training:
                hidden, weights = checkpoint(
                    layer, hidden, mask, rotate, output_attentions, use_reentrant=False
                )
            else:
                hidden, weights = layer(hidden, mask, rotate, output_attentions)
            all_hidden.append(hidden)
            all_weights.append(weights)

        output = EncoderOutput(
            last_hidden_state=hidden,
            hidden_states=tuple(all_hidden) if output_hidden_states else None,
            attentions=tuple(all_weights) if output_attentions else None,
        )
        return output if return_dict else output.to_tuple()

    def _rotation(self, position_ids: Tensor | None, hidden: Tensor) -> Rotation | None:
        """The rotation of this batch; one look-up of its angles serves every layer."""
        if self.rotary is None:
            return None
        exact = position_ids is not None
        cos, sin, ids = self.rotary.lookup(
            hidden.shape[1], position_ids, device=hidden.device, exact=exact
        )
        return functools.partial(
            rope_,
            cos=cos,
            sin=sin,
            position_ids=ids,
            interleaved=self.rotary.interleaved,
            seq_dim=1,
            heads=(3 if self.config.rotary_value else 2) * self.config.num_attention_heads,
        )


def compute_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which a Linear computes on x: autocast's where it is on, else x's own."""
    device = x.device.type
    if x.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return x.dtype
    return torch.get_autocast_dtype(device)


def _check_inputs(
    input_ids: Tensor | None,
    inputs_embeds: Tensor | None,
    token_type_ids: Tensor | None,
    position_ids: Tensor | None,
) -> None:
    if inputs_embeds is not None:
        if input_ids is not None:
            raise ValueError("input_ids and inputs_embeds exclude each other, got both")
        if inputs_embeds.dim() != 3:
            raise ValueError(f"inputs_embeds must be [B, S, E], got {list(inputs_embeds.shape)}")
        batch, seq, _ = inputs_embeds.shape
    elif input_ids is not None:
        if input_ids.dim() != 2:
            raise ValueError(f"input_ids must be [B, S], got {list(input_ids.shape)}")
        batch, seq = input_ids.shape
    else:
        raise ValueError("one of input_ids and inputs_embeds must be given, got neither")
    for name, ids in (("token_type_ids", token_type_ids), ("position_ids", position_ids)):
        if ids is not None and ids.shape not in ((batch, seq), (1, seq), (seq,)):
            wanted = f"[S] = [{seq}] or [B, S] = [{batch}, {seq}]"
            raise ValueError(f"{name} must be {wanted}, got {list(ids.shape)}")


def _refuse_missing_features(config: RoFormerConfig) -> None:
    """Refuse what would otherwise be computed as if the field had its default."""
    defaults: Mapping[str, Any] = {
        "is_decoder": False,
        "add_cross_attention": False,
        "prefix_lm": False,
        "pooler_activation": None,
        "attention": "softmax",
    }
    for name, default in defaults.items():
        value = getattr(config, name)
        if value != default:
            raise ValueError(f"{name} must be {default!r} in this version, got {value!r}")


def _check_position_table(
    module: nn.Module,
    state: dict[str, Any],
    prefix: str,
    metadata: Mapping[str, Any],
    strict: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    """Take `embed_positions` out of a checkpoint and hold it to the formula; nothing needs it."""
    assert isinstance(module, RoFormerModel)
    key = f"{prefix}encoder.embed_positions.weight"
    table = state.pop(key, None)
    if table is None or table.is_meta:
        return
    config = module.config
    if table.dim() != 2 or table.shape[1] != config.head_dim:
        errors.append(f"{key} must have shape [P, {config.head_dim}], got {list(table.shape)}")
        return
    rotary = RotaryEmbedding(config.head_dim, base=config.rope_base, factor=config.rope_factor)
    cos, sin = rotary.tables(table.shape[0], device=table.device)
    # A file may have been rounded to bfloat16, which moves a value near 1 by up to 2^-9.
    if not torch.allclose(table.float(), torch.cat([sin, cos], dim=-1), rtol=0.0, atol=2.0**-8):
        formula = f"pos * {config.rope_base:g}^(-2i/{config.head_dim})"
        errors.append(f"{key} must be [sin | cos] of {formula}, got other values")
