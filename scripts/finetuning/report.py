"""What came out: a CSV of the evaluations and one of the predictions, a plot, a table.

The one idea: a score means something beside what a constant would have got, so both are shown
everywhere. What must stay true: the figures of test examples come from the best model alone.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from loop import colours

from finetuning.training import Point

EXAMPLES = 4


def write_points(points: Sequence[Point], path: Path) -> None:
    """One line for each evaluation of the dev examples."""
    names = list(points[0].scores) if points else []
    rows = [("epoch", "step", "train_loss", *names)]
    for point in points:
        numbers = [point.train_loss, *point.scores.values()]
        rows.append((str(point.epoch), str(point.step), *(f"{number:.6f}" for number in numbers)))
    write_rows(rows, path)


def write_rows(rows: Sequence[Sequence[str]], path: Path) -> None:
    """A CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def table(name: str, scores: Mapping[str, Mapping[str, float]]) -> str:
    """One line for each who predicts, one column for each metric."""
    metrics = list(next(iter(scores.values())))
    width = max(map(len, (name, *scores)))
    lines = [f"  {name:<{width}}" + "".join(f"{metric:>13}" for metric in metrics)]
    for who, found in scores.items():
        numbers = "".join(f"{shown(found[metric]):>13}" for metric in metrics)
        lines.append(f"  {who:<{width}}{numbers}")
    return "\n".join(lines)


def some(rows: Sequence[Sequence[str]]) -> str:
    """A few of the predictions for a person to read; the first row has the titles."""
    titles, *others = rows
    lines = []
    for row in others[:: -(-len(others) // EXAMPLES)]:
        for title, cell in zip(titles, row, strict=True):
            if cell or title == titles[-1]:
                lines.append(f"  {title:<12} {cell}")
        lines.append("")
    return "\n".join(lines)


def shown(score: float) -> str:
    """A score in a table; a dash where there is none."""
    return "-" if math.isnan(score) else f"{score:.3f}"


def plot(
    points: Sequence[Point], metric: str, baseline: float, best: Point, path: Path, title: str
) -> None:
    """The deciding score of the dev examples and the training loss over epochs, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import MaxNLocator

    figure, (upper, lower) = pyplot.subplots(
        2, sharex=True, figsize=(8, 6), layout="constrained", height_ratios=(3, 2)
    )
    epochs = [point.epoch for point in points]
    scores = [point.scores[metric] for point in points]
    drawn = [score for score in scores if not math.isnan(score)]
    upper.plot(epochs, scores, color=colours.BLUE, linewidth=2.2, marker="o", markersize=4)
    if not math.isnan(baseline):
        upper.axhline(baseline, color=colours.GREY, linestyle=":", linewidth=1.5)
        upper.annotate(
            "constant", (epochs[0], baseline), xytext=(0, 4), textcoords="offset points",
            color=colours.GREY, fontsize=10,
        )  # fmt: skip
    upper.plot(best.epoch, best.scores[metric], "o", color=colours.ORANGE, markersize=9)
    upper.annotate(
        f"best: {shown(best.scores[metric])}",
        (best.epoch, best.scores[metric]),
        xytext=(0, -16),
        textcoords="offset points",
        ha="right" if best.epoch > epochs[len(epochs) // 2] else "left",
        color=colours.ORANGE,
        fontsize=11,
    )
    upper.set_ylim(bottom=min(0.0, *drawn), top=1.15 * max(0.1, *drawn))
    upper.set_ylabel(f"{metric} (dev)", fontsize=11)
    lower.plot(epochs, [point.train_loss for point in points], color=colours.GREEN, linewidth=2.2)
    lower.set_ylabel("training loss", fontsize=11)
    lower.set_ylim(bottom=0, top=1.1 * max(point.train_loss for point in points))
    lower.set_xlabel("epochs", fontsize=11)
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (upper, lower):
        axes.grid(color="#dddddd", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    upper.set_title(title, fontsize=12, loc="left")
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
