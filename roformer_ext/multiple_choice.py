"""`RoFormerForMultipleChoice`: which of N continuations is the right one.

The idea: every choice is a sequence of its own, summed up in one vector and given one score. What
must stay true: the default summary reads the hidden state at the last position of a row, padding or
not, so that position holds what the network computes there.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from typing_extensions import Unpack

from .activations import activation
from .config import RoFormerConfig
from .encoded import Encoded
from .heads import EncoderOptions, RoFormerWithHead
from .losses import class_loss, single_labels
from .outputs import MultipleChoiceModelOutput


class RoFormerSequenceSummary(nn.Module):
    """One vector for a sequence, as the `summary_*` fields of the configuration say."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.kind = config.summary_type
        self.first_dropout = nn.Dropout(config.summary_first_dropout)
        self.summary: nn.Linear | None = None
        if config.summary_use_proj:
            self.summary = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = activation(config.summary_activation or "linear")
        self.last_dropout = nn.Dropout(config.summary_last_dropout)

    def forward(self, encoded: Encoded) -> Tensor:
        """[n, C] of n rows or packed sequences."""
        if self.kind == "first":
            chosen = encoded.first()
        elif self.kind == "mean":
            chosen = encoded.mean()
        else:  # "last"; "cls_index" without an index means the last as well
            chosen = encoded.last()
        chosen = self.first_dropout(chosen)
        if self.summary is not None:
            chosen = self.summary(chosen)
        result: Tensor = self.last_dropout(self.activation(chosen))
        return result


class RoFormerForMultipleChoice(RoFormerWithHead):
    """The encoder with one score for each choice."""

    def __init__(self, config: RoFormerConfig) -> None:
        """ValueError where the projection of the summary is not as wide as the score expects."""
        super().__init__(config)
        to_labels = config.summary_use_proj and config.summary_proj_to_labels
        if to_labels and config.num_labels != config.hidden_size:
            raise ValueError(
                "summary_proj_to_labels must be False for multiple choice, whose score reads "
                f"hidden_size = {config.hidden_size} channels, got num_labels = {config.num_labels}"
            )
        self.sequence_summary = RoFormerSequenceSummary(config)
        self.classifier = nn.Linear(config.hidden_size, 1)
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
        num_choices: int | None = None,
        num_items_in_batch: int | Tensor | None = None,
        return_dict: bool = True,
        **options: Unpack[EncoderOptions],
    ) -> MultipleChoiceModelOutput | tuple[Any, ...]:
        """Logits [B, N] and, with labels, the loss; else as in `RoFormerModel`.

        input_ids, attention_mask, token_type_ids: [B, N, S]; position_ids: that or [S];
        inputs_embeds: [B, N, S, E].
        labels: [B] or [B, 1], int32 or int64, the index of the right choice, -100 for none.
        num_choices: N, with `cu_seqlens` only: there the input is [1, T] and holds B * N
            sequences, all choices of one question side by side.
        num_items_in_batch: labels in all micro-batches of one update, an int or a 0-d tensor. The
            loss is the sum over this micro-batch divided by it; without it the mean over this
            micro-batch, NaN when it has no label.

        Hidden states and attentions are those of the B * N sequences. ValueError with `unpad=True`
        unless `summary_type` is "first".
        """
        packed = options.get("cu_seqlens") is not None
        if packed != (num_choices is not None):
            raise ValueError("num_choices must be given with cu_seqlens, and only then")
        if num_choices is None:
            tokens = input_ids if input_ids is not None else inputs_embeds
            if tokens is None or tokens.dim() != (3 if input_ids is not None else 4):
                got = None if tokens is None else list(tokens.shape)
                raise ValueError(
                    f"input_ids must be [B, N, S], or inputs_embeds [B, N, S, E], got {got}"
                )
            num_choices = tokens.shape[1]
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds = (
                x if x is None or x.dim() < 3 else x.flatten(0, 1)
                for x in (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
            )
        first = self.config.summary_type == "first"
        encoded = self.encode_once(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            reads_first=first,
            reads_all=not first,
            **options,
        )
        scores = self.classifier(self.sequence_summary(encoded))
        if num_choices < 1 or scores.shape[0] % num_choices:
            raise ValueError(
                f"num_choices must divide the {scores.shape[0]} sequences, got {num_choices}"
            )
        logits = scores.view(-1, num_choices)
        loss = None
        if labels is not None:
            labels = single_labels(labels, logits.shape[0], "labels")
            loss = class_loss(logits, labels, num_items_in_batch)
        output = MultipleChoiceModelOutput(loss, logits, encoded.hidden_states, encoded.attentions)
        return output if return_dict else output.to_tuple()
