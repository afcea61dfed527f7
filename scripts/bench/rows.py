"""The rows of the table: who won by how much, as plain data that JSON can carry.

A ratio to a floor is ours over the floor (smaller is better), a ratio to a rival is the rival over
ours (larger is better). Each is kept twice: ratio of medians, and median of the per-round ratios.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

Pair = tuple[float, float]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    `above` is a call's cost above its yardstick in seconds; `speed_up` is what the second thread
    brings, `copy_speed_up` what it brings to a copy in the same rounds. Each is None where the kind
    of use has no such figure or it could not be taken.
    """

    kind: str
    dtype: str
    shape: str
    label: str
    threads: int
    layout: str
    tensor_mib: float
    allocator: str
    seconds: float
    spread: float
    rounds: int
    gb_per_s: float
    floors: dict[str, Pair]
    rivals: dict[str, Pair]
    absent: dict[str, str]
    above: Pair | None = None
    speed_up: Pair | None = None
    copy_speed_up: Pair | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> Row:
        return Row(**values)
