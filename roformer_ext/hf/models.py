"""The models of this package under the names of transformers: `hf.RoFormerForMaskedLM` and so on.

The idea: each is our model of the same name with `Adapter` before it. What must stay true: results
are those of our models in transformers' output classes, and a tied name is one parameter.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin
from transformers import modeling_outputs as outputs

from .. import causal_lm, masked_lm, model, multiple_choice, question_answering
from .. import sequence_classification as sequences
from .. import token_classification as tokens
from ..language_model import BIAS, DECODER_BIAS, TIED_WORDS
from ..variants import DECODER
from .adapter import Adapter
from .calls import speaks


@speaks(outputs.BaseModelOutputWithPoolingAndCrossAttentions)
class RoFormerModel(Adapter, model.RoFormerModel):  # type: ignore[misc, unused-ignore]
    """See `roformer_ext.RoFormerModel`."""

    caches = True


class LanguageModel(Adapter):
    """What has a decoder, tied to the word embeddings or not."""

    caches = True
    cls: Any

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        needless = {f"^{name}$" for name in self.needless_names()}
        self._keys_to_ignore_on_load_unexpected = needless

    @property
    def _tied_weights_keys(self) -> dict[str, str]:  # type: ignore[override, unused-ignore]
        """Of two names for one parameter, the first is left out of a file."""
        tied = self.config.tie_word_embeddings
        names = {DECODER: TIED_WORDS} if tied else {}
        if self.cls.predictions.decoder.bias is not None:
            names |= {DECODER_BIAS: BIAS} if tied else {BIAS: DECODER_BIAS}
        return names

    def needless_names(self) -> set[str]:
        """Untied, the bias is what the decoder says."""
        return set() if self.config.tie_word_embeddings else {BIAS}

    def tie_weights(self, *args: Any, **kwargs: Any) -> None:
        """As in `PreTrainedModel`; ValueError where a file has two values for one parameter."""
        wanted = set(getattr(self, "all_tied_weights_keys", ()))
        super().tie_weights(*args, **kwargs)
        refused = wanted - set(getattr(self, "all_tied_weights_keys", ()))
        if refused and self.config.tie_word_embeddings:
            names = " and ".join(sorted(refused))
            raise ValueError(f"{names} must equal what tie_word_embeddings ties to it, got others")
        if not self.config.tie_word_embeddings:
            self.cls.predictions.bias = self.cls.predictions.decoder.bias

    def get_output_embeddings(self) -> nn.Module:
        """The decoder."""
        decoder: nn.Module = self.cls.predictions.decoder
        return decoder

    def set_output_embeddings(self, value: nn.Linear) -> None:
        """Replace the decoder."""
        self.cls.predictions.decoder = value
        self.cls.predictions.bias = value.bias


@speaks(outputs.MaskedLMOutput)
class RoFormerForMaskedLM(LanguageModel, masked_lm.RoFormerForMaskedLM):  # type: ignore[misc]
    """See `roformer_ext.RoFormerForMaskedLM`."""


@speaks(outputs.CausalLMOutputWithCrossAttentions)
class RoFormerForCausalLM(  # type: ignore[misc]
    LanguageModel, GenerationMixin, causal_lm.RoFormerForCausalLM
):
    """See `roformer_ext.RoFormerForCausalLM`; `generate` is that of transformers."""

    @staticmethod
    def create_masks_for_generate(
        config: Any, inputs_embeds: Tensor, attention_mask: Tensor | None, **_: Any
    ) -> Tensor | None:
        """The mask [B, P] as it is: `forward` adds what is causal, for any kind of cache."""
        return attention_mask

    def _prepare_position_ids_for_generation(
        self, inputs_tensor: Tensor, model_kwargs: dict[str, Any]
    ) -> Tensor:
        # Tokens stand where they are in the padded row, as in transformers' RoFormer.
        ids = model_kwargs.get("input_ids")
        if ids is None or ids.shape[1] == 0:
            ids = inputs_tensor
        mask = model_kwargs.get("attention_mask")
        length = ids.shape[1] if mask is None else mask.shape[1]
        return torch.arange(length, device=ids.device).expand(ids.shape[0], -1)


@speaks(outputs.SequenceClassifierOutput)
class RoFormerForSequenceClassification(  # type: ignore[misc]
    Adapter, sequences.RoFormerForSequenceClassification
):
    """See `roformer_ext.RoFormerForSequenceClassification`."""


@speaks(outputs.TokenClassifierOutput)
class RoFormerForTokenClassification(  # type: ignore[misc]
    Adapter, tokens.RoFormerForTokenClassification
):
    """See `roformer_ext.RoFormerForTokenClassification`."""


@speaks(outputs.QuestionAnsweringModelOutput)
class RoFormerForQuestionAnswering(  # type: ignore[misc]
    Adapter, question_answering.RoFormerForQuestionAnswering
):
    """See `roformer_ext.RoFormerForQuestionAnswering`."""

    separates_sequences = False


@speaks(outputs.MultipleChoiceModelOutput)
class RoFormerForMultipleChoice(  # type: ignore[misc]
    Adapter, multiple_choice.RoFormerForMultipleChoice
):
    """See `roformer_ext.RoFormerForMultipleChoice`."""

    separates_sequences = False
