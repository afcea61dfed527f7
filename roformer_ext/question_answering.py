"""`RoFormerForQuestionAnswering`: the first and the last token of an answer in its passage.

The idea: two logits for each position, each a choice among all S of them. What must stay true: all
positions take part in that choice, padding too, so padding is never dropped here.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from typing_extensions import Unpack

from .config import RoFormerConfig
from .heads import EncoderOptions, RoFormerWithHead
from .losses import class_loss, single_labels
from .outputs import QuestionAnsweringModelOutput


class RoFormerForQuestionAnswering(RoFormerWithHead):
    """The encoder with start and end logits; two, whatever `config.num_labels` is."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__(config)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)
        self.initialise_head()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        *,
        num_items_in_batch: int | Tensor | None = None,
        return_dict: bool = True,
        **options: Unpack[EncoderOptions],
    ) -> QuestionAnsweringModelOutput | tuple[Any, ...]:
        """Start and end logits [B, S] and, with positions, the loss; else as in `RoFormerModel`.

        start_positions, end_positions: [B] or [B, 1], int32 or int64, both or none. They are
            clamped to [0, S], and S, an answer beyond the input, takes no part in the loss, which
            is the mean of the two cross-entropies.
        num_items_in_batch: answers in all micro-batches of one update, an int or a 0-d tensor. The
            loss is the sum over this micro-batch divided by it; without it the mean over this
            micro-batch, NaN when it has no answer. Starts and ends are divided by the same number,
            so those beyond the input should be beyond it together.

        ValueError with `cu_seqlens` or `unpad=True`.
        """
        if options.get("cu_seqlens") is not None:
            raise ValueError("cu_seqlens must be None, because answers are positions in a row")
        if (start_positions is None) != (end_positions is None):
            raise ValueError("start_positions and end_positions must be given together, got one")
        encoded = self.encode_once(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            reads_all=True,
            **options,
        )
        start_logits, end_logits = self.qa_outputs(encoded.hidden).unbind(-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            starts = _position_loss("start", start_logits, start_positions, num_items_in_batch)
            ends = _position_loss("end", end_logits, end_positions, num_items_in_batch)
            loss = (starts + ends) / 2
        output = QuestionAnsweringModelOutput(
            loss, start_logits, end_logits, encoded.hidden_states, encoded.attentions
        )
        return output if return_dict else output.to_tuple()


def _position_loss(
    name: str, logits: Tensor, positions: Tensor, num_items_in_batch: int | Tensor | None
) -> Tensor:
    batch, seq = logits.shape
    positions = single_labels(positions, batch, f"{name}_positions").clamp(0, seq)
    return class_loss(logits, positions, num_items_in_batch, ignored=seq)
