"""`RoFormerLanguageModel`: what masked and causal language models share.

The idea is economy: in training the head runs on the positions that have a target only, and its
logits, as wide as the vocabulary, are never stored whole unless asked for. What must stay true:
the loss is always the one that full logits give, and a tied name is one parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .autocast import compute_dtype
from .config import RoFormerConfig
from .heads import RoFormerWithHead
from .masked_loss import IGNORED, masked_cross_entropy
from .predictions import RoFormerLanguageModelHead
from .sharding import local
from .variants import BODY, DECODER, WORDS

TIED_WORDS = f"{BODY}{WORDS}"
BIAS, DECODER_BIAS = "cls.predictions.bias", "cls.predictions.decoder.bias"


class RoFormerLanguageModel(RoFormerWithHead):
    """The encoder with `cls` on top; its decoder is the word embeddings unless untied."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__(config)
        self.cls = RoFormerLanguageModelHead(config)
        self.initialise_head()
        self.tie_weights()
        self.register_load_state_dict_pre_hook(_read_tied_names)
        self.register_load_state_dict_post_hook(_tie_loaded)

    def tie_weights(self) -> None:
        """Makes tied names one parameter again, after something has replaced one of them."""
        predictions = self.cls.predictions
        if self.config.tie_word_embeddings:
            predictions.decoder.weight = self.roformer.embeddings.word_embeddings.weight
        predictions.bias = predictions.decoder.bias

    def stand_ins(self) -> dict[str, str]:
        """Each name of a tied pair stands in for the other; untied, only `decoder.bias` counts."""
        if not self.config.tie_word_embeddings:
            return {BIAS: DECODER_BIAS}
        return {BIAS: DECODER_BIAS, DECODER_BIAS: BIAS, TIED_WORDS: DECODER, DECODER: TIED_WORDS}

    def get_output_embeddings(self) -> nn.Module:
        """The decoder."""
        return self.cls.predictions.decoder

    def loss_and_logits(
        self,
        hidden: Tensor,
        targets: Tensor | None,
        num_items_in_batch: int | Tensor | None,
        output_logits: bool | None,
    ) -> tuple[Tensor | None, Tensor | None]:
        """The loss over all targets and the logits [..., V] of every position.

        hidden: [..., C]. targets: one for each position, -100 where there is none, or None.
        num_items_in_batch: divides the summed loss; None takes the mean.
        output_logits: see a head's `forward`; logits that nobody asks for are not computed.
        """
        mean = num_items_in_batch is None
        loss = logits = None
        if targets is not None and self.training and not output_logits:
            loss = self._loss_of_labelled(hidden, targets, mean)
        else:
            logits = self.cls.predictions(hidden)
            if targets is not None:
                loss = _loss_of_logits(logits, targets, mean)
        if loss is not None and num_items_in_batch is not None:
            loss = loss / num_items_in_batch
        return loss, logits

    def _loss_of_labelled(self, hidden: Tensor, targets: Tensor, mean: bool) -> Tensor:
        rows, targets = hidden.flatten(0, 1), targets.flatten().long()
        if not torch.compiler.is_compiling():
            # A graph needs fixed shapes; there the loss picks the labelled rows by itself.
            labelled = (targets != IGNORED).nonzero().squeeze(1)
            rows, targets = rows[labelled], targets[labelled]
        rows = self.cls.predictions.transform(rows)
        decoder = self.cls.predictions.decoder
        dtype = compute_dtype(rows)
        weight = local(decoder.weight).to(dtype)
        bias = None if decoder.bias is None else local(decoder.bias).to(dtype)
        return masked_cross_entropy(rows.to(dtype), weight, bias, targets, mean=mean)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RoFormerLanguageModel:
        # `to_empty` gives each name a parameter of its own.
        super()._apply(fn, recurse)
        self.tie_weights()
        return self


def _loss_of_logits(logits: Tensor, targets: Tensor, mean: bool) -> Tensor:
    logits = logits.flatten(0, 1)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    reduction = "mean" if mean else "sum"
    return F.cross_entropy(
        logits, targets.flatten().long(), ignore_index=IGNORED, reduction=reduction
    )


def _tie_loaded(module: nn.Module, _: Any) -> None:
    assert isinstance(module, RoFormerLanguageModel)
    module.tie_weights()


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
    assert isinstance(module, RoFormerLanguageModel)
    bias, decoder_bias, words, decoder = (
        f"{prefix}{name}" for name in (BIAS, DECODER_BIAS, TIED_WORDS, DECODER)
    )
    if not module.config.tie_word_embeddings:
        state.pop(bias, None)
        if decoder_bias in state:
            state[bias] = state[decoder_bias]
        return
    for first, second in ((bias, decoder_bias), (words, decoder)):
        if first in state and second in state:
            one, other = state[first], state[second]
            if not (one.is_meta or other.is_meta or torch.equal(one, other)):
                errors.append(f"{first} and {second} are tied and must be equal, got two values")
        elif first in state:
            state[second] = state[first]
        elif second in state:
            state[first] = state[second]
