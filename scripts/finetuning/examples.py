"""What is learned from: pairs of texts with a label, or questions with an answer in a passage.

The one idea: an example knows its group, and a group is never divided between training and dev.
What must stay true: the same files and the same seed give the same examples in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from loop.command import BadSetting

from finetuning import squad, table

DEV_SHARE = 0.1


@dataclass(frozen=True)
class Sentences:
    """One or two texts, and a label as the file has it."""

    first: str
    second: str | None
    label: str

    @property
    def group(self) -> object:
        return self.first, self.second


@dataclass(frozen=True)
class Question:
    """A question, its passage, and every answer that counts; none where there is no answer.

    start: where the first answer begins in the passage.
    """

    question: str
    context: str
    answers: tuple[str, ...]
    start: int | None

    @property
    def group(self) -> object:
        return self.context


Example = Sentences | Question


def read(
    path: Path, columns: Sequence[str] | None, task: str | None
) -> tuple[list[Example], list[str]]:
    """The examples of a file, and the columns they stand in: those given, or guessed ones.

    They are questions where the task is "answers", and without a task where a column says so. A
    file that ends in .json has the layout of SQuAD and no columns. BadSetting names what is wrong
    and where.
    """
    if path.suffix.lower() == ".json":
        return [Question(*each) for each in squad.read(path)], []
    found = table.read(path)
    names = list(columns) if columns else table.guess(found)
    cells = [found.column(name) for name in names]
    if task == "answers" or (task is None and names[0] in table.QUESTION):
        return _questions(found, cells), names
    if len(names) not in (2, 3):
        raise BadSetting(
            "--columns must name a text, perhaps a second one, and a label, "
            f"got {len(names)} columns"
        )
    second: Sequence[str | None] = cells[1] if len(names) == 3 else [None] * len(found.rows)
    return [Sentences(*each) for each in zip(cells[0], second, cells[-1])], names


def split(examples: list[Example], seed: int) -> tuple[list[Example], list[Example]]:
    """Training and dev: a tenth of the groups, drawn from the seed."""
    groups = list(dict.fromkeys(each.group for each in examples))
    if len(groups) < 2:
        raise BadSetting("--data must hold two different examples at least, or --dev be given")
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed)).tolist()
    held_out = {groups[place] for place in order[: max(1, round(DEV_SHARE * len(groups)))]}
    return (
        [each for each in examples if each.group not in held_out],
        [each for each in examples if each.group in held_out],
    )


def _questions(found: table.Table, cells: list[list[str]]) -> list[Example]:
    if len(cells) != 3:
        raise BadSetting(
            f"--columns must name a question, its context and the answer, got {len(cells)} columns"
        )
    starts: Sequence[str | None] = [None] * len(found.rows)
    if table.ANSWER_START in found.columns:
        starts = found.column(table.ANSWER_START)
    examples: list[Example] = []
    for number, (question, context, answer, told) in enumerate(zip(*cells, starts), 1):
        if not answer:
            examples.append(Question(question, context, (), None))
            continue
        start = int(told) if told and told.isdecimal() else context.find(answer)
        if start < 0 or not context.startswith(answer, start):
            raise BadSetting(
                f"{found.path} must have answers that stand in their context, "
                f"got {answer!r} in example {number}"
            )
        examples.append(Question(question, context, (answer,), start))
    return examples
