"""What is promised of the model, and whether this run kept it.

The one idea: a target names a case, two contestants and a bound on their ratio. What must stay
true: nothing is rounded in our favour, and a figure that could not be taken is reported as such.
"""

from __future__ import annotations

from dataclasses import dataclass

from model_bench.cases import OURS, OURS_COMPILED, THEIRS, THEIRS_COMPILED
from model_bench.results import Pair, Result


@dataclass(frozen=True)
class Target:
    """`upper` over `lower` is at least `bound`, or at most where `at_most` says so."""

    case: str
    upper: str
    lower: str
    bound: float
    allocator: str = "default"
    at_most: bool = False

    @property
    def text(self) -> str:
        sign = "<=" if self.at_most else ">="
        return f"{self.upper} / {self.lower} {sign} {self.bound:.2f}"


@dataclass(frozen=True)
class Verdict:
    """`missed_by` is a share of the bound, 0 when met; `measured` is None where nobody measured."""

    target: Target
    layers: int
    measured: Pair | None
    missed_by: float

    @property
    def text(self) -> str:
        if self.measured is None:
            return "not measured"
        return f"missed by {self.missed_by:.1%}" if self.missed_by else "met"


def _both(case: str, eager: float, compiled: float) -> tuple[Target, Target]:
    return (
        Target(case, THEIRS, OURS, eager),
        Target(case, THEIRS_COMPILED, OURS_COMPILED, compiled),
    )


TARGETS = (
    *_both("forward float32 8x128", 1.08, 1.0),
    *_both("forward float32 8x512", 1.4, 1.05),
    *_both("forward float32 1x1536", 1.6, 1.05),
    Target("forward float32 8x512", THEIRS, OURS, 1.12, allocator="keep"),
    Target("forward float32 8x512 60% full", THEIRS, OURS, 2.4),
    # A compiled graph never drops padding, so the eager form is ours here.
    Target("forward float32 8x512 60% full", THEIRS_COMPILED, OURS, 2.0),
    *_both("train float32 8x128", 1.45, 1.3),
    *_both("train bfloat16 8x128", 1.35, 1.3),
    Target("memory float32 8x512", OURS, THEIRS, 0.50, at_most=True),
    Target("head float32 8x128", THEIRS, OURS, 4.5),
)


def judge(results: list[Result]) -> list[Verdict]:
    """One verdict per target whose case was run, in the order of the targets."""
    return [
        _verdict(result, target)
        for target in TARGETS
        for result in results
        if (result.case, result.allocator) == (target.case, target.allocator)
    ]


def _verdict(result: Result, target: Target) -> Verdict:
    measured = result.over(target.upper, target.lower)
    if measured is None:
        return Verdict(target, result.layers, None, 0.0)
    share = measured[0] / target.bound
    excess = share - 1 if target.at_most else 1 - share
    return Verdict(target, result.layers, measured, max(excess, 0.0))
