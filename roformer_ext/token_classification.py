"""`RoFormerForTokenClassification`: a class for each token, as in named-entity recognition.

The idea: one linear layer on every hidden state. What must stay true: the loss of a batch does not
depend on its padding or on how it is laid out.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from typing_extensions import Unpack

from .config import RoFormerConfig
from .heads import EncoderOptions, RoFormerWithHead
from .losses import class_loss
from .outputs import TokenClassifierOutput


class RoFormerForTokenClassification(RoFormerWithHead):
    """The encoder with a classifier of tokens, `config.num_labels` wide."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels or 2)
        self.initialise_head()

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
        return_dict: bool = True,
        **options: Unpack[EncoderOptions],
    ) -> TokenClassifierOutput | tuple[Any, ...]:
        """Logits [B, S, num_labels] and, with labels, the loss; else as in `RoFormerModel`.

        labels: [B, S], int32 or int64, the class of each token, -100 where there is none.
        num_items_in_batch: labels in all micro-batches of one update, an int or a 0-d tensor. The
            loss is the sum over this micro-batch divided by it; without it the mean over this
            micro-batch, NaN when it has no label.
        """
        encoded = self.encode_once(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            targets=labels,
            **options,
        )
        logits = self.classifier(self.dropout(encoded.hidden))
        targets = encoded.laid_out(labels)
        loss = None
        if targets is not None:
            loss = class_loss(logits.flatten(0, 1), targets.flatten(), num_items_in_batch)
        output = TokenClassifierOutput(
            loss, encoded.padded(logits), encoded.hidden_states, encoded.attentions
        )
        return output if return_dict else output.to_tuple()
