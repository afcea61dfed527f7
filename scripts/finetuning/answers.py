"""Answers to questions, found in a passage: [CLS] question [SEP] passage [SEP].

The one idea: a passage that is longer than a row is read in overlapping windows, and the answer is
the likeliest stretch of all of them. What must stay true: an answer is a part of the passage as
the file has it, and the first token stands for no answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from loop.command import BadSetting
from torch import Tensor

from finetuning.examples import Question
from finetuning.metrics import answer_f1, exact_match
from finetuning.task import Row
from roformer_ext import RoFormerForQuestionAnswering, RoFormerTokenizer

LONGEST_ANSWER = 50
OVERLAP = 0.25


class Answers:
    """The first and the last token of each answer."""

    name = "answers"
    metrics = ("F1", "exact match")
    model = RoFormerForQuestionAnswering

    def __init__(
        self, tokenizer: RoFormerTokenizer, max_length: int, train: Sequence[Question]
    ) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.changes: dict[str, Any] = {}
        # Where every question has an answer, no prediction is empty.
        self.may_be_empty = not all(each.answers for each in train)
        self.commonest = Counter(each.answers[:1] for each in train).most_common(1)[0][0]

    def start(self, model: Any) -> None:
        pass

    def rows(self, examples: Sequence[Question]) -> list[Row]:
        try:
            fields = self.tokenizer(
                [each.question for each in examples],
                [each.context for each in examples],
                max_length=self.max_length,
                truncation="only_second",
                stride=int(OVERLAP * self.max_length),
                return_overflowing_tokens=True,
                return_offsets_mapping=True,
                return_attention_mask=False,
            )
        except ValueError as error:
            raise BadSetting(
                f"--max-length must leave room for the passage beside its question, got "
                f"{self.max_length} ({error})"
            ) from None
        spans, places = fields.pop("offset_mapping"), fields.pop("overflow_to_sample_mapping")
        rows = []
        for row, (span, place) in enumerate(zip(spans, places)):
            of_passage = [
                where if sequence == 1 else (0, 0)
                for where, sequence in zip(span, fields.sequence_ids(row))
            ]
            inputs = {name: values[row] for name, values in fields.items()}
            start, stop = _bounds(examples[place], of_passage)
            targets: dict[str, int | float] = {"start_positions": start, "end_positions": stop}
            rows.append(Row(inputs, targets, place, of_passage))
        return rows

    def outputs(self, output: Any) -> Tensor:
        """[B, 2, S]."""
        return torch.stack((output.start_logits, output.end_logits), dim=1)

    def predictions(
        self, examples: Sequence[Question], rows: Sequence[Row], outputs: Sequence[Tensor]
    ) -> list[str]:
        best = [(float("-inf"), "")] * len(examples)
        # No answer must be the likeliest reading of every window.
        empty = [float("inf")] * len(examples)
        for row, output in zip(rows, outputs, strict=True):
            place = row.example
            empty[place] = min(empty[place], float(output[:, 0].sum()))
            score, start, stop = likeliest(row, output)
            if score > best[place][0]:
                best[place] = score, examples[place].context[start:stop]
        return [
            "" if self.may_be_empty and nothing >= score else answer
            for (score, answer), nothing in zip(best, empty)
        ]

    def scores(self, examples: Sequence[Question], predictions: Sequence[str]) -> dict[str, float]:
        pairs = list(zip(predictions, [each.answers for each in examples], strict=True))
        return {
            "F1": sum(answer_f1(*pair) for pair in pairs) / len(pairs),
            "exact match": sum(exact_match(*pair) for pair in pairs) / len(pairs),
        }

    def baseline(self, examples: Sequence[Question]) -> tuple[str, Mapping[str, float]]:
        answer = self.commonest[0] if self.commonest else ""
        scores = self.scores(examples, [answer] * len(examples))
        return f"always {answer!r}, the commonest of training", scores

    def table(
        self, examples: Sequence[Question], predictions: Sequence[str]
    ) -> list[tuple[str, ...]]:
        return [("question", "answer", "prediction")] + [
            (each.question, " | ".join(each.answers), prediction)
            for each, prediction in zip(examples, predictions, strict=True)
        ]


def likeliest(row: Row, output: Tensor) -> tuple[float, int, int]:
    """The best sum of a start and an end logit, and the characters between them.

    Only tokens of the passage count, the end does not precede the start, and no answer is longer
    than LONGEST_ANSWER tokens.
    """
    inside = torch.tensor([stop > start for start, stop in row.spans])
    logits = output[:, : len(row)].float().masked_fill(~inside, float("-inf"))
    scores = logits[0, :, None] + logits[1, None, :]
    length = len(row)
    allowed = torch.ones(length, length, dtype=torch.bool).triu().tril(LONGEST_ANSWER - 1)
    best = scores.masked_fill(~allowed, float("-inf")).flatten().max(0)
    first, last = divmod(int(best.indices), length)
    return float(best.values), row.spans[first][0], row.spans[last][1]


def _bounds(example: Question, spans: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The tokens that begin and end the answer; (0, 0) where the window does not hold all of it."""
    if example.start is None:
        return 0, 0
    stop = example.start + len(example.answers[0])
    inside = [
        place
        for place, (first, last) in enumerate(spans)
        if last > first and first < stop and last > example.start
    ]
    if not inside or spans[inside[0]][0] > example.start or spans[inside[-1]][1] < stop:
        return 0, 0
    return inside[0], inside[-1]
