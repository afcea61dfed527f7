"""What a training must know of its task, and of its rows.

The one idea: a task turns examples into rows of ids, and what the model said of the rows back into
predictions, one for each example; the steps between are the same for all. What must stay true: the
first of a task's metrics decides which model is best, and higher is better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor

from roformer_ext.pretrained import RoFormerPreTrained

E = TypeVar("E")


@dataclass(frozen=True)
class Row:
    """What the model sees at once, of one example.

    inputs: entries for each token. targets: what it is to learn. spans: where each token stands in
    the passage of a question, (0, 0) outside of it.
    """

    inputs: dict[str, list[int]]
    targets: dict[str, int | float]
    example: int
    spans: list[tuple[int, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.inputs["input_ids"])


class Task(Protocol, Generic[E]):
    """One task on its examples."""

    name: str
    metrics: tuple[str, ...]
    """What `scores` returns, the deciding one first."""
    changes: dict[str, Any]
    """Fields of the configuration."""

    @property
    def model(self) -> type[RoFormerPreTrained]:
        """The class of the head."""

    def start(self, model: Any) -> None:
        """Where the new head begins, beside its random weights."""

    def rows(self, examples: Sequence[E]) -> list[Row]:
        """The rows of all examples, in their order."""

    def outputs(self, output: Any) -> Tensor:
        """Of what the head returned for a batch: one entry for each row."""

    def predictions(
        self, examples: Sequence[E], rows: Sequence[Row], outputs: Sequence[Tensor]
    ) -> list[Any]:
        """One prediction for each example."""

    def scores(self, examples: Sequence[E], predictions: Sequence[Any]) -> dict[str, float]:
        """The figure of each metric."""

    def baseline(self, examples: Sequence[E]) -> tuple[str, Mapping[str, float]]:
        """Who predicts one thing for all, and the scores of that."""

    def table(self, examples: Sequence[E], predictions: Sequence[Any]) -> list[tuple[str, ...]]:
        """A line of titles, then one for each example, for a CSV file."""
