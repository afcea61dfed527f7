"""`RoFormerForMaskedLM`: predicts the tokens that were masked out, as the paper pre-trains
(section 4.2).

The idea: a label stands where its token is predicted, so labels are targets as they are. What must
stay true: the loss of a batch does not depend on its padding or on how it is laid out.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import Unpack

from .heads import DecoderOptions
from .language_model import RoFormerLanguageModel
from .outputs import MaskedLMOutput


class RoFormerForMaskedLM(RoFormerLanguageModel):
    """The encoder with a masked-LM head; its decoder is the word embeddings unless untied."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        num_items_in_batch: int | Tensor | None = None,
        output_logits: bool | None = None,
        return_dict: bool = True,
        **options: Unpack[DecoderOptions],
    ) -> MaskedLMOutput | tuple[Any, ...]:
        """Logits [B, S, V] and, with labels, the loss; other arguments as in `RoFormerModel`.

        labels: [B, S], int32 or int64, the token to predict, -100 where there is none.
        num_items_in_batch: labels in all micro-batches of one update, an int or a 0-d tensor. The
            loss is the sum over this micro-batch divided by it; without it the mean over this
            micro-batch, NaN when it has no label.
        output_logits: True returns the logits in training with labels too, and stores them whole.
            In eval mode, and without labels, they are always returned.
        """
        encoded = self.roformer.encode(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            targets=labels,
            **options,
        )
        loss, logits = self.loss_and_logits(
            encoded.hidden, encoded.laid_out(labels), num_items_in_batch, output_logits
        )
        output = MaskedLMOutput(
            loss, encoded.padded(logits), encoded.hidden_states, encoded.attentions
        )
        return output if return_dict else output.to_tuple()
