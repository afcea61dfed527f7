"""The heads: what turns hidden states into predictions and a loss.

`RoFormerForMaskedLM` predicts the tokens that were masked out, as the paper pre-trains (section
4.2). The idea is economy: in training the head runs on labelled positions only, and its logits, as
wide as the vocabulary, are never stored whole unless asked for. What must stay true: the loss is
always the one that full logits give, and a tied name is one parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .activations import activation
from .config import RoFormerConfig
from .layer import initialise, norm
from .masked_loss import IGNORED, masked_cross_entropy
from .model import RoFormerModel, compute_dtype
from .outputs import EncoderOutput, MaskedLMOutput


class RoFormerPredictionTransform(nn.Module):
    """Norm(activation(W x)), from the hidden width to that of the embeddings."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        width = config.embedding_width
        self.dense = nn.Linear(config.hidden_size, width, bias=config.use_bias)
        self.activation = activation(config.hidden_act)
        self.LayerNorm = norm(width, config)

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., C] to [..., E]."""
        result: Tensor = self.LayerNorm(self.activation(self.dense(hidden)))
        return result


class RoFormerPredictions(nn.Module):
    """Transform, then decoder; with "rms_norm" the decoder alone, as RoFormer V2 has it."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.transform: nn.Module = nn.Identity()
        if config.norm_type == "layer_norm":
            self.transform = RoFormerPredictionTransform(config)
        elif config.embedding_width != config.hidden_size:
            raise ValueError(
                "embedding_size must be hidden_size with norm_type 'rms_norm', whose head has no "
                f"projection, got {config.embedding_width} and {config.hidden_size}"
            )
        self.decoder = nn.Linear(config.embedding_width, config.vocab_size, bias=config.use_bias)
        # Checkpoints carry the decoder's bias under a second name.
        self.register_parameter("bias", self.decoder.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., C] to logits [..., V]."""
        logits: Tensor = self.decoder(self.transform(hidden))
        return logits


class RoFormerMaskedLMHead(nn.Module):
    """Holds the predictions under the name that checkpoints give them."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.predictions = RoFormerPredictions(config)


class RoFormerForMaskedLM(nn.Module):
    """The encoder with a masked-LM head; its decoder is the word embeddings unless untied."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.config = config
        self.roformer = RoFormerModel(config)
        self.cls = RoFormerMaskedLMHead(config)
        self.cls.apply(lambda module: initialise(module, config.initializer_range))
        self.tie_weights()
        self.register_load_state_dict_pre_hook(_read_tied_names)
        self.register_load_state_dict_post_hook(lambda module, _: module.tie_weights())

    def tie_weights(self) -> None:
        """Makes tied names one parameter again, after something has replaced one of them."""
        predictions = self.cls.predictions
        if self.config.tie_word_embeddings:
            predictions.decoder.weight = self.roformer.embeddings.word_embeddings.weight
        predictions.bias = predictions.decoder.bias

    def reset_parameters(self) -> None:
        """As `RoFormerModel.reset_parameters`, head included."""
        self.cls.apply(lambda module: initialise(module, self.config.initializer_range))
        self.roformer.reset_parameters()

    def get_input_embeddings(self) -> nn.Module:
        """The word embeddings."""
        return self.roformer.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        """The decoder."""
        return self.cls.predictions.decoder

    def gradient_checkpointing_enable(self) -> None:
        """See `RoFormerModel`."""
        self.roformer.gradient_checkpointing_enable()

    def gradient_checkpointing_disable(self) -> None:
        """See `RoFormerModel`."""
        self.roformer.gradient_checkpointing_disable()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: int | Tensor | None = None,
        output_logits: bool | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        return_dict: bool = True,
    ) -> MaskedLMOutput | tuple[Any, ...]:
        """Logits [B, S, V] and, with labels, the loss; other arguments as in `RoFormerModel`.

        labels: [B, S], int32 or int64, the token to predict, -100 where there is none.
        num_items_in_batch: labels in all micro-batches of one update, an int or a 0-d tensor. The
            loss is the sum over this micro-batch divided by it; without it the mean over this
            micro-batch, NaN when it has no label.
        output_logits: True returns the logits in training with labels too, and stores them whole.
            In eval mode, and without labels, they are always returned.
        """
        encoded = self.roformer(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        assert isinstance(encoded, EncoderOutput)
        hidden = encoded.last_hidden_state
        loss = logits = None
        if labels is not None and labels.shape != hidden.shape[:2]:
            raise ValueError(
                f"labels must be [B, S] = {list(hidden.shape[:2])}, got {list(labels.shape)}"
            )
        if labels is not None and self.training and not output_logits:
            loss = self._loss_of_labelled(hidden, labels, mean=num_items_in_batch is None)
        else:
            logits = self.cls.predictions(hidden)
            if labels is not None:
                loss = _loss_of_logits(logits, labels, mean=num_items_in_batch is None)
        if loss is not None and num_items_in_batch is not None:
            loss = loss / num_items_in_batch
        output = MaskedLMOutput(loss, logits, encoded.hidden_states, encoded.attentions)
        return output if return_dict else output.to_tuple()

    def _loss_of_labelled(self, hidden: Tensor, labels: Tensor, mean: bool) -> Tensor:
        rows, targets = hidden.flatten(0, 1), labels.flatten().long()
        if not torch.compiler.is_compiling():
            # A graph needs fixed shapes; there the loss picks the labelled rows by itself.
            labelled = (targets != IGNORED).nonzero().squeeze(1)
            rows, targets = rows[labelled], targets[labelled]
        rows = self.cls.predictions.transform(rows)
        decoder = self.cls.predictions.decoder
        dtype = compute_dtype(rows)
        bias = None if decoder.bias is None else decoder.bias.to(dtype)
        return masked_cross_entropy(
            rows.to(dtype), decoder.weight.to(dtype), bias, targets, mean=mean
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RoFormerForMaskedLM:
        # `to_empty` gives each name a parameter of its own.
        super()._apply(fn, recurse)
        self.tie_weights()
        return self


def _loss_of_logits(logits: Tensor, labels: Tensor, mean: bool) -> Tensor:
    logits = logits.flatten(0, 1)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    reduction = "mean" if mean else "sum"
    return F.cross_entropy(
        logits, labels.flatten().long(), ignore_index=IGNORED, reduction=reduction
    )


def _read_tied_names(
    module: nn.Module,
    state: dict[str, Any],
    prefix: str,
    metadata: Mapping[str, Any],
    strict: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    """One name of a tied pair is enough; untied, the bias is what `decoder.bias` says."""
    assert isinstance(module, RoFormerForMaskedLM)
    head = f"{prefix}cls.predictions."
    bias, decoder_bias, decoder = f"{head}bias", f"{head}decoder.bias", f"{head}decoder.weight"
    if not module.config.tie_word_embeddings:
        state.pop(bias, None)
        if decoder_bias in state:
            state[bias] = state[decoder_bias]
        return
    word = f"{prefix}roformer.embeddings.word_embeddings.weight"
    for first, second in ((bias, decoder_bias), (word, decoder)):
        if first in state and second in state:
            one, other = state[first], state[second]
            if not (one.is_meta or other.is_meta or torch.equal(one, other)):
                errors.append(f"{first} and {second} are tied and must be equal, got two values")
        elif first in state:
            state[second] = state[first]
        elif second in state:
            state[first] = state[second]
