"""A CSV file: its header, and which column is what.

The one idea: names say what a column is where they are known, and places do where they are not.
What must stay true: a guess is only made where it is the one reading, and a file with other rows
than its first is refused with the line.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loop.command import BadSetting

FIRST = ("sentence1", "text1", "text_a", "premise", "question1", "sentence", "text", "review")
SECOND = ("sentence2", "text2", "text_b", "hypothesis", "question2")
LABEL = ("label", "labels", "score", "similarity_score", "similarity", "gold_label", "class")
QUESTION = ("question",)
CONTEXT = ("context", "passage", "paragraph")
ANSWER = ("answer", "answer_text", "answers")
ANSWER_START = "answer_start"
KNOWN = {*FIRST, *SECOND, *LABEL, *QUESTION, *CONTEXT, *ANSWER, ANSWER_START}
LONGEST_FIELD = 1 << 24


@dataclass(frozen=True)
class Table:
    """The rows of a file; `columns` are lower case, or the numbers from "1" without a header."""

    path: Path
    columns: tuple[str, ...]
    rows: list[list[str]]

    @property
    def has_header(self) -> bool:
        return self.columns[0] != "1"

    def column(self, name: str) -> list[str]:
        """The cells under a name, or at a place counted from 1; BadSetting where there is none."""
        if name.lower() in self.columns:
            place = self.columns.index(name.lower())
        elif name.isdecimal() and 0 < int(name) <= len(self.columns):
            place = int(name) - 1
        else:
            raise BadSetting(
                f"--columns must name columns of {self.path} ({', '.join(self.columns)}), "
                f"got {name!r}"
            )
        return [row[place] for row in self.rows]


def read(path: Path) -> Table:
    """A file of comma-separated values, or of tab-separated ones where its name ends in .tsv.

    BadSetting names the file, and the line where a row has more or fewer cells than the first.
    """
    csv.field_size_limit(LONGEST_FIELD)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    rows: list[list[str]] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for row in reader:
                if row and rows and len(row) != len(rows[0]):
                    raise BadSetting(
                        f"{path} must have {len(rows[0])} cells in every row, "
                        f"got {len(row)} in the row that ends on line {reader.line_num}"
                    )
                if row:
                    rows.append(row)
    except OSError as error:
        raise BadSetting(f"{path} must be a readable file ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise BadSetting(f"{path} must be UTF-8, got a byte that is not: {error.reason}") from None
    except csv.Error as error:
        raise BadSetting(
            f"{path} must be a CSV file, got {error} on line {reader.line_num}"
        ) from None
    columns: tuple[str, ...] = ()
    if rows:
        columns = tuple(str(place) for place, _ in enumerate(rows[0], 1))
        if _is_header(rows):
            columns, rows = tuple(cell.strip().lower() for cell in rows[0]), rows[1:]
    if not rows:
        raise BadSetting(f"{path} must hold at least one example, got none")
    return Table(path, columns, rows)


def guess(table: Table) -> list[str]:
    """The columns in the order of their roles: text, second text if any, label; or
    question, context, answer. BadSetting where neither names nor places say it.
    """
    question = [_one(table.columns, names) for names in (QUESTION, CONTEXT, ANSWER)]
    if all(question):
        return [name for name in question if name]
    first, second, label = (_one(table.columns, names) for names in (FIRST, SECOND, LABEL))
    if first and label:
        return [name for name in (first, second, label) if name]
    if len(table.columns) in (2, 3):
        return list(table.columns)
    raise BadSetting(
        f"--columns must say where the texts and the label of {table.path} stand, because its "
        f"{len(table.columns)} columns ({', '.join(table.columns)}) do not"
    )


def _one(columns: Sequence[str], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in columns), None)


def _is_header(rows: list[list[str]]) -> bool:
    """Whether the first row names columns: by known names, or where only it lacks a number."""
    if any(cell.strip().lower() in KNOWN for cell in rows[0]):
        return True
    return any(
        not is_number(first) and all(is_number(cell) for cell in others)
        for first, *others in zip(*rows)
        if others
    )


def is_number(cell: str) -> bool:
    """Whether a cell holds a finite number."""
    try:
        return abs(float(cell)) < float("inf")
    except ValueError:
        return False
