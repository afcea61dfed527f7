"""`RoFormerForSequenceClassification`: one decision, or a few numbers, for each sequence.

The idea: the first token speaks for its sequence. What must stay true: the activation between the
two layers of the classifier is the configured `hidden_act`, as published checkpoints were trained,
and the configuration is read, never written.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from typing_extensions import Unpack

from .activations import activation
from .config import RoFormerConfig
from .heads import EncoderOptions, RoFormerWithHead
from .losses import sequence_loss
from .outputs import SequenceClassifierOutput


class RoFormerClassificationHead(nn.Module):
    """W2 dropout(activation(W1 dropout(x)))."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        # Biases whatever `use_bias` says, because published V2 heads have them.
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = activation(config.hidden_act)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.out_proj = nn.Linear(config.hidden_size, config.num_labels or 2)

    def forward(self, first: Tensor) -> Tensor:
        """[B, C] to [B, num_labels]."""
        inner = self.activation(self.dense(self.dropout(first)))
        result: Tensor = self.out_proj(self.dropout(inner))
        return result


class RoFormerForSequenceClassification(RoFormerWithHead):
    """The encoder with a classifier of whole sequences, `config.num_labels` wide."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__(config)
        self.classifier = RoFormerClassificationHead(config)
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
    ) -> SequenceClassifierOutput | tuple[Any, ...]:
        """Logits [B, num_labels] and, with labels, the loss; else as in `RoFormerModel`.

        labels: by `config.problem_type`, which None decides from `num_labels` and the labels:
            "single_label_classification": [B] or [B, 1], int32 or int64, cross-entropy;
            "regression": [B, num_labels], or [B] where that is 1, mean squared error;
            "multi_label_classification": [B, num_labels], 1 = yes, binary cross-entropy.
            -100 is no label.
        num_items_in_batch: labels in all micro-batches of one update, an int or a 0-d tensor, every
            element of a row counted. The loss is the sum over this micro-batch divided by it;
            without it the mean over this micro-batch, NaN when it has no label.

        With `cu_seqlens` B is the number of packed sequences.
        """
        encoded = self.encode_once(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            reads_first=True,
            **options,
        )
        logits = self.classifier(encoded.first())
        loss = None
        if labels is not None:
            loss = sequence_loss(logits, labels, self.config.problem_type, num_items_in_batch)
        output = SequenceClassifierOutput(loss, logits, encoded.hidden_states, encoded.attentions)
        return output if return_dict else output.to_tuple()
