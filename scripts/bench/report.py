"""How it is told: a line per row, one table of targets, in aligned columns or in Markdown.

Columns carry `ratio of medians` alone; the floor to which the kind of use compares carries the
median of per-round ratios behind it. An absent rival shows as a dash, and its reason is printed
once below.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable

from bench.rows import Pair, Row
from bench.targets import Verdict

TITLES = {
    "in_place": "rope_, in place",
    "fresh": "rope, output allocated in the timed region",
    "fwd_bwd": "forward and backward together, gradients given",
    "call": "one token: microseconds of a call",
    "threads": "two threads against one, in place, in cache",
}
FLOORS = {"in_place": ["copy", "dense copy"], "threads": [], "call": []}
RIVALS = {
    "complex": "complex",
    "complex_": "complex_",
    "eager pair": "pair",
    "eager half": "half",
    "compiled pair": "c.pair",
    "compiled half": "c.half",
    "transformers": "transf.",
    "lucidrains": "lucid.",
    "onnx": "onnx",
}
LEGEND = (
    "+- is half the distance between the quartiles. 'of': our time over that of the copy, ratio of "
    "medians (median of the rounds' ratios). 'x': the rival's time over ours: complex form, the "
    "same multiplied in place, eager pair and half form, torch.compile of these two, transformers' "
    "RoFormer function, rotary-embedding-torch, onnxruntime. Where a second thread brings a copy "
    "nothing, there was no second core to give. A dash stands for an absent rival:"
)
GREEN, RED, DIM, PLAIN = "\033[32m", "\033[31m", "\033[2m", "\033[0m"


Column = tuple[str, int, Callable[[Row], str]]


class Table:
    """Prints rows as they come; a new kind of use opens a new table with its own columns."""

    def __init__(self, markdown: bool) -> None:
        self.markdown = markdown
        self.kind = ""
        self.absent: set[tuple[str, str]] = set()

    def add(self, row: Row) -> None:
        columns = _columns(row.kind)
        widths = [width for _, width, _ in columns]
        if row.kind != self.kind:
            self.kind = row.kind
            mark = "**" if self.markdown else ""
            print(f"\n{mark}{TITLES[row.kind]}{mark}\n")
            _print_line([name for name, _, _ in columns], widths, self.markdown)
            if self.markdown:
                print("|---" * len(columns) + "|")
        self.absent.update(row.absent.items())
        _print_line([cell(row) for _, _, cell in columns], widths, self.markdown)
        sys.stdout.flush()

    def close(self) -> None:
        """What the columns mean, and why somebody was absent somewhere."""
        print("\n" + textwrap.fill(LEGEND, 100))
        if self.markdown:
            print()
        for name, reason in sorted(self.absent):
            print(f"- {name}: {reason}")


def targets(verdicts: list[Verdict], markdown: bool) -> None:
    """Case, target, measured, and met or by how much it was missed."""
    print("\nTargets\n")
    widths = [9, 50, 20, 24, 18, 16]
    names = ["allocator", "case", "layout", "target", "measured", "verdict"]
    _print_line(names, widths, markdown)
    if markdown:
        print("|---" * len(names) + "|")
    for v in verdicts:
        sign = "<=" if v.target.at_most else ">="
        case = f"{TITLES[v.row.kind].split(',')[0].split(':')[0]} {v.row.dtype} {v.row.label}"
        figures = "-" if v.measured is None else f"{v.measured[0]:.2f} ({v.measured[1]:.2f})"
        if v.measured is None:
            verdict, colour = "not measured", DIM
        elif v.missed_by:
            verdict, colour = f"missed by {v.missed_by:.1%}", RED
        else:
            verdict, colour = "met", GREEN
        goal = f"{sign} {v.target.bound:g} {v.target.what}"
        shown = _coloured(verdict, colour, markdown)
        _print_line([v.row.allocator, case, v.row.layout, goal, figures, shown], widths, markdown)
    measured = [v for v in verdicts if v.measured is not None]
    met = sum(not v.missed_by for v in measured)
    print(f"\n{met} of {len(measured)} met, {len(verdicts) - len(measured)} not measured")


def _columns(kind: str) -> list[Column]:
    """Name, width and cell of each column in the table of one kind of use."""
    first: list[Column] = [
        ("case", 44, _name),
        ("time", 10, lambda row: _time(row.seconds)),
        ("+-", 5, lambda row: f"{row.spread:.0%}"),
    ]
    if kind != "call":
        first.append(("GB/s", 6, lambda row: f"{row.gb_per_s:.1f}"))
    if kind == "call":
        first.append(("us above no-op", 16, lambda row: _both(row.above, 1e6)))
    if kind == "threads":
        first.append(("x one thread", 14, lambda row: _both(row.speed_up, 1.0)))
        return [*first, ("copy x one thread", 18, lambda row: _both(row.copy_speed_up, 1.0))]
    for floor in FLOORS.get(kind, ["clone", "copy"]):
        first.append(
            (f"of {floor}", 13, lambda row, floor=floor: _both(row.floors.get(floor), 1.0))
        )
    for rival, short in RIVALS.items():
        if rival == "complex_" and kind != "in_place":
            continue
        first.append((f"x {short}", 10, lambda row, rival=rival: _one(row.rivals.get(rival))))
    return first


def _name(row: Row) -> str:
    threads = f" {row.threads} threads" if row.threads > 1 else ""
    return f"{row.dtype} {row.label} {row.layout}{threads}"


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.2f} us" if seconds < 1e-4 else f"{seconds * 1e3:.3f} ms"


def _both(pair: Pair | None, scale: float) -> str:
    return f"{pair[0] * scale:.2f} ({pair[1] * scale:.2f})" if pair else "-"


def _one(pair: Pair | None) -> str:
    if pair is None:
        return "-"
    return f"{pair[0]:.1f}" if pair[0] >= 10 else f"{pair[0]:.2f}"


def _coloured(text: str, colour: str, markdown: bool) -> str:
    plain = markdown or not sys.stdout.isatty() or "NO_COLOR" in os.environ
    return text if plain else f"{colour}{text}{PLAIN}"


def _print_line(cells: list[str], widths: list[int], markdown: bool) -> None:
    if markdown:
        print("| " + " | ".join(cells) + " |")
        return
    print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
