"""The curves as a CSV, as a plot in the manner of the paper's Fig. 3, and as a table.

The one idea: whatever came out is shown, with its seed; the order is that of the losses, and no
scheme is favoured. Each curve carries its name and its last value, so no legend has to be matched.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from loop import colours

from mlm.run import Row

COLOURS = {
    "rotary": colours.BLUE,
    "learned": colours.ORANGE,
    "sinusoidal": colours.GREEN,
    "none": colours.GREY,
}
DASHES = {"rotary": "-", "learned": "--", "sinusoidal": "-.", "none": ":"}
FULL_NAMES = {
    "rotary": "rotary",
    "learned": "learned absolute",
    "sinusoidal": "sinusoidal",
    "none": "no positions",
}


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """One line per validation and scheme; losses in nats per masked token."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        for row in rows:
            numbers = row.train_loss, row.validation_loss, row.validation_accuracy
            writer.writerow(
                (row.step, row.positions)
                + tuple("" if number is None else f"{number:.5f}" for number in numbers)
            )


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Heights at least gap apart, as near to the wanted ones as a sweep up and down gets them."""
    order = sorted(range(len(wanted)), key=lambda place: wanted[place])
    heights = list(wanted)
    for _ in range(100):
        for low, high in pairwise(order):
            lacking = gap - (heights[high] - heights[low])
            if lacking > 0:
                heights[low] -= lacking / 2
                heights[high] += lacking / 2
    return heights


def plot(rows: Sequence[Row], path: Path, subtitle: str) -> None:
    """Validation loss over steps, one curve per scheme, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(row.positions for row in rows))
    figure, axes = pyplot.subplots(figsize=(8, 4.8), layout="constrained")
    for name in names:
        curve = [row for row in rows if row.positions == name]
        axes.plot(
            [row.step for row in curve],
            [row.validation_loss for row in curve],
            color=COLOURS[name],
            linestyle=DASHES[name],
            linewidth=2.2,
        )
    last = [row for row in rows if row.step == rows[-1].step]
    bottom, top = axes.get_ylim()
    heights = spread([row.validation_loss for row in last], (top - bottom) * 0.055)
    for row, height in zip(last, heights, strict=True):
        axes.annotate(
            f"{FULL_NAMES[row.positions]}  {row.validation_loss:.3f}",
            xy=(row.step, row.validation_loss),
            xytext=(row.step * 1.03, height),
            color=COLOURS[row.positions],
            fontsize=11,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": COLOURS[row.positions], "relpos": (0, 0.5)},
        )
    axes.set_xlim(0, rows[-1].step)
    axes.set_xlabel("training steps", fontsize=11)
    axes.set_ylabel("validation loss (nats per masked token)", fontsize=11)
    axes.tick_params(labelsize=10)
    axes.grid(color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(
        "Masked language model: four ways to give positions", fontsize=13, loc="left", pad=26
    )
    axes.text(0, 1.025, subtitle, transform=axes.transAxes, fontsize=9, color="#444444")
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def table(rows: Sequence[Row]) -> str:
    """The last point of every curve, lowest validation loss first."""
    last = sorted(
        (row for row in rows if row.step == rows[-1].step), key=lambda row: row.validation_loss
    )
    lines = [f"  {'positions':<18}{'training loss':>15}{'validation loss':>17}{'right':>9}"]
    for row in last:
        training = "" if row.train_loss is None else f"{row.train_loss:.3f}"
        lines.append(
            f"  {FULL_NAMES[row.positions]:<18}{training:>15}{row.validation_loss:>17.3f}"
            f"{row.validation_accuracy:>9.1%}"
        )
    first, *others = last
    verdict = f"  lowest validation loss: {FULL_NAMES[first.positions]}"
    if others:
        behind = others[0].validation_loss - first.validation_loss
        verdict += f", {behind:.3f} below {FULL_NAMES[others[0].positions]}"
    lines += ["", f"{verdict} (one seed, one size: --seed and --size try others)"]
    return "\n".join(lines)
