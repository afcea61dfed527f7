"""`RoFormerModel`: the encoder of the RoFormer paper, from token ids to hidden states.

It reads as the network runs: embeddings, then layers. Positions enter in two places only, and a
script may replace both: `model.rotary` (None = no rotation) and `model.embeddings.position_term`
(a module whose result is added to the embeddings). What must stay true: names and results are
those of transformers' RoFormer, and nothing depends on the length of a position table.
"""

from __future__ import annotations

import functools
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention import Rotation
from .autocast import compute_dtype
from .cache import layer_of
from .config import RoFormerConfig
from .embeddings import RoFormerEmbeddings, RoFormerPooler
from .encoded import Encoded
from .inputs import Inputs, gather_inputs
from .layer import EncodedSource, RoFormerLayer
from .mask import AttentionMask, Scene, packed_mask, prepare_mask
from .ops import rope_
from .outputs import EncoderOutput
from .position_table import check_position_table
from .pretrained import RoFormerPreTrained
from .rotary import RotaryEmbedding


class RoFormerEncoder(nn.Module):
    """Holds the layers under the name that checkpoints give them."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(RoFormerLayer(config) for _ in range(config.num_hidden_layers))


class RoFormerModel(RoFormerPreTrained):
    """The encoder without a head; with `is_decoder` causal, with a cache and cross-attention."""

    def __init__(self, config: RoFormerConfig) -> None:
        """Build from a configuration; ValueError names a feature that does not exist yet."""
        super().__init__(config)
        _refuse_missing_features(config)
        self.embeddings = RoFormerEmbeddings(config)
        self.embeddings_project: nn.Linear | None = None
        if config.embedding_width != config.hidden_size:
            self.embeddings_project = nn.Linear(
                config.embedding_width, config.hidden_size, bias=config.use_bias
            )
        self.encoder = RoFormerEncoder(config)
        self.pooler: RoFormerPooler | None = None
        if config.pooler_activation is not None:
            self.pooler = RoFormerPooler(config)
        self.rotary: RotaryEmbedding | None = RotaryEmbedding(
            config.head_dim,
            base=config.rope_base,
            max_position=config.max_position_embeddings,
            factor=config.rope_factor,
        )
        self.gradient_checkpointing = False
        self.register_load_state_dict_pre_hook(check_position_table)
        self.reset_parameters()

    @property
    def body(self) -> RoFormerModel:
        """Itself."""
        return self

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        *,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        cache: Any = None,
        use_cache: bool | None = None,
        cu_seqlens: Tensor | None = None,
        unpad: bool | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        return_dict: bool = True,
    ) -> EncoderOutput | tuple[Any, ...]:
        """Hidden states of B sequences of S tokens.

        input_ids: [B, S], int32 or int64; or, in their place,
        inputs_embeds: [B, S, E], word embeddings in the dtype of the model.
        attention_mask: [B, S], nonzero = token; or 4-D, additive or bool (`prepare_mask`). With a
            cache of P tokens it is [B, P + S].
        token_type_ids: [B, S]; 0 when not given.
        position_ids: [S] or [B, S], any position; the index in the sequence when not given, and
            -1 = do not rotate this token.
        encoder_hidden_states: [B, K, C], what the cross-attention of a decoder looks at, with
        encoder_attention_mask: [B, K] or 4-D.
        past_key_values, cache: two names for the cache of earlier calls of a decoder: a
            `KeyValueCache`, or one of transformers' own. It is extended in place.
        use_cache: return a cache; None means a decoder's `config.use_cache`, in eval mode.
        cu_seqlens: [n + 1], int32: the input is [1, T], n sequences one after another, each of
            which sees itself only; positions start anew in each unless given.
        unpad: drop padding for the computation and put zeros there in the result. None does it
            where padding is at least a tenth of all positions and nothing on it is read, True
            whatever the amount or a ValueError, False never.
        output_attentions: return the weights of each layer, by a slower path that stores them.
        output_hidden_states: return the embeddings and the output of each layer.
        return_dict: False returns a plain tuple of what is not None.

        ValueError says in one sentence which argument does not fit. Under a compiler, in export and
        under `torch.func` padding is never dropped.
        """
        encoded = self.encode(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            past_key_values=past_key_values,
            cache=cache,
            use_cache=use_cache,
            cu_seqlens=cu_seqlens,
            unpad=unpad,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            reads_first=self.pooler is not None,
        )
        hidden = encoded.padded(encoded.hidden)
        assert hidden is not None
        output = EncoderOutput(
            last_hidden_state=hidden,
            pooler_output=None if self.pooler is None else self.pooler(encoded.first()),
            past_key_values=encoded.cache,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
            cross_attentions=encoded.cross_attentions,
        )
        return output if return_dict else output.to_tuple()

    def encode(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        *,
        targets: Tensor | None = None,
        reads_first: bool = False,
        reads_all: bool = False,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        **rest: Any,
    ) -> Encoded:
        """What a head calls: as `forward`, without padding the result back.

        targets: [B, S], int32 or int64, what a head predicts at each position, -100 for nothing.
        reads_first: the head reads position 0 of every row.
        reads_all: the head reads every position, padding too.
        """
        inputs = gather_inputs(
            self.config,
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            targets=targets,
            reads_first=reads_first,
            reads_all=reads_all or output_attentions,
            training=self.training,
            **rest,
        )
        hidden = self.embeddings(
            inputs.input_ids, inputs.token_type_ids, inputs.inputs_embeds, inputs.position_ids
        )
        if self.embeddings_project is not None:
            hidden = self.embeddings_project(hidden)
        mask = self._mask(inputs, hidden, output_attentions)
        source = self._source(inputs, hidden)
        rotate = self._rotation(inputs, hidden)

        # Kept only when asked for: otherwise each layer's memory serves the next but one.
        all_hidden: list[Tensor] = []
        weights: list[Tensor] = []
        cross_weights: list[Tensor] = []
        for index, layer in enumerate(self.encoder.layer):
            stored = layer_of(inputs.cache, index)
            if output_hidden_states:
                all_hidden.append(hidden)
            arguments = (hidden, mask, rotate, source, stored, output_attentions)
            if self.gradient_checkpointing and self.training:
                hidden, attention, cross = checkpoint(layer, *arguments, use_reentrant=False)
            else:
                hidden, attention, cross = layer(*arguments)
            if output_attentions:
                weights.append(attention)
                cross_weights.append(cross)
        if output_hidden_states:
            all_hidden.append(hidden)

        pad = (lambda x: x) if inputs.packing is None else inputs.packing.pad
        looks = output_attentions and source is not None
        return Encoded(
            hidden=hidden,
            packing=inputs.packing,
            cache=inputs.cache,
            hidden_states=tuple(map(pad, all_hidden)) if output_hidden_states else None,
            attentions=tuple(weights) if output_attentions else None,
            cross_attentions=tuple(cross_weights) if looks else None,
        )

    def _scene(self, hidden: Tensor, keys: int) -> Scene:
        return Scene(
            batch=hidden.shape[0],
            heads=self.config.num_attention_heads,
            queries=hidden.shape[1],
            keys=keys,
            dtype=compute_dtype(hidden),
            device=hidden.device,
        )

    def _mask(
        self, inputs: Inputs, hidden: Tensor, output_attentions: bool
    ) -> AttentionMask | None:
        config = self.config
        scene = self._scene(hidden, hidden.shape[1] + inputs.past)
        stages = inputs.prefix_stages
        if inputs.packing is None:
            return prepare_mask(
                inputs.attention_mask, scene, causal=config.is_decoder, prefix_stages=stages
            )
        return packed_mask(
            inputs.packing,
            scene,
            causal=config.is_decoder,
            prefix_stages=stages,
            dropout=self.training and config.attention_probs_dropout_prob > 0,
            whole=output_attentions,
        )

    def _source(self, inputs: Inputs, hidden: Tensor) -> EncodedSource | None:
        states = inputs.encoder_hidden_states
        if states is None:
            return None
        scene = self._scene(hidden, states.shape[1])
        mask = prepare_mask(inputs.encoder_attention_mask, scene, name="encoder_attention_mask")
        return EncodedSource(states, mask)

    def _rotation(self, inputs: Inputs, hidden: Tensor) -> Rotation | None:
        """The rotation of this batch; one look-up of its angles serves every layer."""
        if self.rotary is None:
            return None
        cos, sin, ids = self.rotary.lookup(
            inputs.rows, inputs.position_ids, device=hidden.device, exact=inputs.exact
        )
        return functools.partial(
            _rotate,
            cos=cos,
            sin=sin,
            position_ids=ids,
            interleaved=self.rotary.interleaved,
            parts=3 if self.config.rotary_value else 2,
        )


def _rotate(packed: Tensor, *, parts: int, **rows: Any) -> Tensor:
    """Rotate the first `parts` of q, k and v, whatever number of heads this device has."""
    return rope_(packed, **rows, seq_dim=1, heads=parts * packed.shape[3])


def _refuse_missing_features(config: RoFormerConfig) -> None:
    """Refuse what would otherwise be computed as if the field had its default."""
    if config.attention != "softmax":
        raise ValueError(f"attention must be 'softmax' in this version, got {config.attention!r}")
    if config.add_cross_attention and not config.is_decoder:
        raise ValueError("add_cross_attention must come with is_decoder, got is_decoder = False")
    if config.prefix_lm and config.is_decoder:
        raise ValueError("prefix_lm must not come with is_decoder, got both")
