"""Regression and classification of one or two texts.

The one idea: both read the same rows, [CLS] A [SEP] B [SEP], and differ in what a label is.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from loop.command import BadSetting
from torch import Tensor

from finetuning.examples import Sentences
from finetuning.metrics import accuracy, macro_f1, mean_squared_error, pearson, spearman
from finetuning.table import is_number
from finetuning.task import Row
from roformer_ext import RoFormerForSequenceClassification, RoFormerTokenizer

# Whole numbers up to this many kinds are taken for classes.
MOST_CLASSES = 20


def is_regression(examples: Sequence[Sentences]) -> bool:
    """Whether labels are numbers that measure something rather than names of classes."""
    labels = {each.label for each in examples}
    if not all(is_number(label) for label in labels):
        return False
    return len(labels) > MOST_CLASSES or not all(label.strip("+- ").isdecimal() for label in labels)


class _SentenceTask(ABC):
    """What both have in common: the rows."""

    model = RoFormerForSequenceClassification

    def __init__(self, tokenizer: RoFormerTokenizer, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length

    @abstractmethod
    def target(self, example: Sentences) -> int | float:
        """What a label is to the head."""

    def outputs(self, output: Any) -> Tensor:
        logits: Tensor = output.logits
        return logits

    def rows(self, examples: Sequence[Sentences]) -> list[Row]:
        seconds = [each.second for each in examples]
        fields = self.tokenizer(
            [each.first for each in examples],
            seconds if all(second is not None for second in seconds) else None,
            max_length=self.max_length,
            truncation=True,
            return_attention_mask=False,
        )
        return [
            Row(
                {name: values[place] for name, values in fields.items()},
                {"labels": self.target(example)},
                place,
            )
            for place, example in enumerate(examples)
        ]

    def table(
        self, examples: Sequence[Sentences], predictions: Sequence[Any]
    ) -> list[tuple[str, ...]]:
        return [("text", "second text", "label", "prediction")] + [
            (each.first, each.second or "", each.label, _shown(prediction))
            for each, prediction in zip(examples, predictions, strict=True)
        ]


class Regression(_SentenceTask):
    """A number for each example, in the unit of the labels."""

    name = "regression"
    metrics = ("Spearman", "Pearson", "MSE")

    def __init__(
        self, tokenizer: RoFormerTokenizer, max_length: int, train: Sequence[Sentences]
    ) -> None:
        super().__init__(tokenizer, max_length)
        self.changes = {"num_labels": 1, "problem_type": "regression"}
        self.mean = math.fsum(map(self.target, train)) / len(train)

    def start(self, model: Any) -> None:
        """At the constant that predicts best, which would otherwise be learned first."""
        with torch.no_grad():
            model.classifier.out_proj.bias.fill_(self.mean)

    def target(self, example: Sentences) -> float:
        if not is_number(example.label):
            raise BadSetting(f"labels must be numbers for regression, got {example.label!r}")
        return float(example.label)

    def predictions(
        self, examples: Sequence[Sentences], rows: Sequence[Row], outputs: Sequence[Tensor]
    ) -> list[float]:
        return [float(output) for output in outputs]

    def scores(
        self, examples: Sequence[Sentences], predictions: Sequence[float]
    ) -> dict[str, float]:
        wanted = [self.target(each) for each in examples]
        return {
            "Spearman": spearman(predictions, wanted),
            "Pearson": pearson(predictions, wanted),
            "MSE": mean_squared_error(predictions, wanted),
        }

    def baseline(self, examples: Sequence[Sentences]) -> tuple[str, Mapping[str, float]]:
        scores = self.scores(examples, [self.mean] * len(examples))
        return f"always {self.mean:.2f}, the mean of training", scores


class Classification(_SentenceTask):
    """One of the classes that the training examples have."""

    name = "classification"
    metrics = ("accuracy", "F1")

    def __init__(
        self, tokenizer: RoFormerTokenizer, max_length: int, train: Sequence[Sentences]
    ) -> None:
        super().__init__(tokenizer, max_length)
        counts = Counter(each.label for each in train)
        self.most_common = counts.most_common(1)[0][0]
        numeric = all(is_number(label) for label in counts)
        self.classes = sorted(counts, key=float if numeric else str)
        self.places = {name: place for place, name in enumerate(self.classes)}
        if len(self.classes) < 2:
            raise BadSetting(
                f"labels must be of two classes at least, got only {self.classes[0]!r}"
            )
        self.changes = {
            "num_labels": len(self.classes),
            "id2label": dict(enumerate(self.classes)),
            "label2id": self.places,
            "problem_type": "single_label_classification",
        }

    def start(self, model: Any) -> None:
        pass

    def target(self, example: Sentences) -> int:
        place = self.places.get(example.label)
        if place is None:
            raise BadSetting(
                f"labels must be among the {len(self.classes)} of training, got {example.label!r}"
            )
        return place

    def predictions(
        self, examples: Sequence[Sentences], rows: Sequence[Row], outputs: Sequence[Tensor]
    ) -> list[str]:
        return [self.classes[int(output.argmax())] for output in outputs]

    def scores(self, examples: Sequence[Sentences], predictions: Sequence[str]) -> dict[str, float]:
        wanted = [each.label for each in examples]
        return {"accuracy": accuracy(predictions, wanted), "F1": macro_f1(predictions, wanted)}

    def baseline(self, examples: Sequence[Sentences]) -> tuple[str, Mapping[str, float]]:
        scores = self.scores(examples, [self.most_common] * len(examples))
        return f"always {self.most_common}, the commonest of training", scores


def _shown(prediction: float | str) -> str:
    return prediction if isinstance(prediction, str) else f"{prediction:.4f}"
