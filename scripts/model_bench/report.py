"""How it is told: a Markdown table per case, readable as it stands, and one of targets.

The one idea: the same lines go to the terminal as a case ends and to the report's file, so the two
cannot differ. What must stay true: a table has no column that nobody fills.
"""

from __future__ import annotations

from collections.abc import Callable

from model_bench.cases import OURS, OURS_COMPILED
from model_bench.results import PRODUCT, Pair, Result
from model_bench.targets import Verdict

LEGEND = """\
+- is half the distance between the quartiles of the rounds. tokens/s counts real tokens (in the
mode head, labelled ones), TFLOP/s the operations that those need. 'of floor' is the time over that
of the same operations at the speed of addmm, one product of the model's widening layer timed in the
same rounds. 'x ours' is the time of that line over ours: ratio of medians (median of the rounds'
ratios). BERT and ModernBERT have the same width, depth and vocabulary and compute something else
(ModernBERT's gated feed-forward has half as many weights again): they say what the field takes.
"""

Column = tuple[str, Callable[[str], str]]


def table(result: Result) -> str:
    """The lines of one case, with a heading."""
    measured = len(result.samples[result.contestants[0]])
    rounds = "" if result.mode == "memory" else f", {measured} rounds"
    layers = "" if result.mode in ("attention", "head") else f", {result.layers} layers"
    counted = "labelled tokens" if result.mode == "head" else "tokens"
    heading = (
        f"**{result.case}**: {result.tokens} {counted}{layers}{rounds}, "
        f"allocator {result.allocator}"
    )
    columns = _columns(result)
    names = list(result.samples)
    rows = [[cell(name) for _, cell in columns] for name in names]
    reasons = [f"- {name} is absent: {why}" for name, why in result.absent.items()]
    return "\n".join([heading, "", *_lines([head for head, _ in columns], rows), *reasons, ""])


def targets(verdicts: list[Verdict]) -> str:
    """Case, target, figure, and met or by how much it was missed."""
    rows = [
        [
            v.target.case,
            str(v.layers),
            v.target.allocator,
            v.target.text,
            _pair(v.measured),
            v.text,
        ]
        for v in verdicts
    ]
    head = ["case", "layers", "allocator", "target", "measured", "verdict"]
    measured = [v for v in verdicts if v.measured is not None]
    met = sum(not v.missed_by for v in measured)
    total = f"{met} of {len(measured)} met, {len(verdicts) - len(measured)} not measured"
    return "\n".join(["**targets**", "", *_lines(head, rows), "", total, ""])


def _columns(result: Result) -> list[Column]:
    first: Column = ("contestant", lambda name: name)
    ours = OURS if OURS in result.samples else result.contestants[0]

    def against(base: str) -> Column:
        def cell(name: str) -> str:
            return "-" if name in (PRODUCT, base) else _pair(result.over(name, base))

        return f"x {base}", cell

    if result.mode == "memory":
        peak: Column = ("GiB", lambda name: f"{result.samples[name][0] / 2**30:.2f}")
        return [first, peak, against(ours)]
    timed = result.timed
    columns: list[Column] = [
        first,
        ("time", lambda name: _time(timed.median(name))),
        ("+-", lambda name: "-" if timed.rounds < 4 else f"{timed.spread(name):.0%}"),
        (
            "tokens/s",
            lambda name: "-" if name == PRODUCT else f"{result.tokens_per_second(name):,.0f}",
        ),
        ("TFLOP/s", lambda name: f"{result.tflops(name):.4f}"),
        ("of floor", lambda name: "-" if name == PRODUCT else f"{result.of_floor(name):.2f}"),
        against(ours),
    ]
    return [*columns, against(OURS_COMPILED)] if OURS_COMPILED in result.samples else columns


def _time(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds >= 1 else f"{seconds * 1e3:.3f} ms"


def _pair(pair: Pair | None) -> str:
    return f"{pair[0]:.2f} ({pair[1]:.2f})" if pair else "-"


def _lines(head: list[str], rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths)) + " |"

    return [line(head), "|" + "|".join("-" * (width + 2) for width in widths) + "|"] + [
        line(row) for row in rows
    ]
