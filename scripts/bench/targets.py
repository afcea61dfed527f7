"""What is promised, and whether this run kept it.

A target picks rows and a figure of them, and says which way is better. It speaks of one thread and
tensors of 12 to 64 MiB unless its own rows say otherwise; nothing is rounded in our favour, and a
figure that could not be taken is reported as such.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.rows import Pair, Row

SMALLEST_MIB, LARGEST_MIB = 12.0, 64.0


@dataclass(frozen=True)
class Target:
    """`figure` returns None where a row was measured without it."""

    what: str
    bound: float
    at_most: bool
    applies: Callable[[Row], bool]
    figure: Callable[[Row], Pair | None]


@dataclass(frozen=True)
class Verdict:
    """`measured` is (of medians, median of rounds); `missed_by` is a share, 0 when met."""

    row: Row
    target: Target
    measured: Pair | None
    missed_by: float


def judge(rows: list[Row]) -> list[Verdict]:
    """One verdict per target and row to which it applies, in the order of the targets."""
    return [_verdict(row, target) for target in TARGETS for row in rows if target.applies(row)]


def to_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain data; `row` names its line of the table."""
    row, target = verdict.row, verdict.target
    return {
        "row": f"{row.kind} {row.dtype} {row.shape} t{row.threads} {row.layout} {row.allocator}",
        "target": target.what,
        "bound": target.bound,
        "at_most": target.at_most,
        "measured": verdict.measured,
        "missed_by": verdict.missed_by,
    }


def _verdict(row: Row, target: Target) -> Verdict:
    measured = target.figure(row)
    if measured is None:
        return Verdict(row, target, None, 0.0)
    value = measured[0]
    excess = value / target.bound - 1 if target.at_most else 1 - value / target.bound
    return Verdict(row, target, measured, max(excess, 0.0))


def _rows(
    kind: str, dtypes: str = "", allocator: str = "", shape: str = ""
) -> Callable[[Row], bool]:
    def applies(row: Row) -> bool:
        return (
            row.kind == kind
            and row.threads == 1
            and SMALLEST_MIB <= row.tensor_mib <= LARGEST_MIB
            and (not dtypes or row.dtype in dtypes.split())
            and (not allocator or row.allocator == allocator)
            and (not shape or row.shape == shape)
        )

    return applies


def _floor(name: str) -> Callable[[Row], Pair | None]:
    return lambda row: row.floors.get(name)


def _rival(name: str) -> Callable[[Row], Pair | None]:
    return lambda row: row.rivals.get(name)


def _target(
    what: str,
    bound: float,
    at_most: bool,
    rows: Callable[[Row], bool],
    figure: Callable[[Row], Pair | None],
) -> Target:
    return Target(what, bound, at_most, rows, figure)


def _microseconds(row: Row) -> Pair | None:
    return (row.above[0] * 1e6, row.above[1] * 1e6) if row.above else None


def _compiled(row: Row) -> bool:
    # Compiling takes long: outside --full only some cases do it, and the others owe nothing.
    in_place = _rows("in_place", _BOTH, "default")
    return in_place(row) and "compiled pair" in row.rivals


_BOTH = "float32 bfloat16"
TARGETS = (
    _target("of copy_", 0.75, True, _rows("in_place", "float32", "default"), _floor("copy")),
    _target("of copy_", 0.90, True, _rows("in_place", "bfloat16", "default"), _floor("copy")),
    _target("x complex", 1.5, False, _rows("in_place", "float32", "default"), _rival("complex")),
    _target("x complex", 6.0, False, _rows("in_place", "bfloat16", "default"), _rival("complex")),
    _target(
        "x transformers", 12.0, False, _rows("in_place", _BOTH, "default"), _rival("transformers")
    ),
    _target("x compiled pair", 5.0, False, _compiled, _rival("compiled pair")),
    _target(
        "x onnx",
        2.5,
        False,
        _rows("in_place", "float32 float16", "default", "llama"),
        _rival("onnx"),
    ),
    _target("of clone", 1.15, True, _rows("fresh"), _floor("clone")),
    _target("of copy_", 0.90, True, _rows("fresh", allocator="keep"), _floor("copy")),
    _target("of clone", 1.10, True, _rows("fwd_bwd"), _floor("clone")),
    _target("x complex", 1.4, False, _rows("fwd_bwd", "float32", "default"), _rival("complex")),
    _target("x complex", 4.0, False, _rows("fwd_bwd", "bfloat16", "default"), _rival("complex")),
    _target("us above no-op", 0.7, True, lambda row: row.kind == "call", _microseconds),
    _target(
        "x one thread", 1.6, False, lambda row: row.kind == "threads", lambda row: row.speed_up
    ),
)
