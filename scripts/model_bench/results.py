"""What was measured, as plain data that JSON can carry, and the figures that follow from it.

The one idea: only samples are kept, one per round, and every figure is computed from them. What
must stay true: a ratio to a rival is the rival over ours (larger is better), a ratio to the floor
is ours over the floor, which is the time that the case's operations take at the speed of one addmm.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from bench.timing import Samples

from model_bench.cases import OURS, Case

PRODUCT = "addmm"
Pair = tuple[float, float]


def product_operations(case: Case) -> int:
    """Floating-point operations of the ceiling's addmm."""
    return 2 * case.tokens * case.size.hidden * case.size.intermediate


@dataclass(frozen=True)
class Result:
    """Samples of each contestant in seconds, or in the mode memory one figure in bytes."""

    case: str
    mode: str
    layers: int
    tokens: int
    operations: int
    product_operations: int
    allocator: str
    samples: dict[str, list[float]]
    absent: dict[str, str]

    @staticmethod
    def of(
        case: Case, allocator: str, samples: dict[str, list[float]], absent: dict[str, str]
    ) -> Result:
        return Result(
            case=case.name,
            mode=case.mode,
            layers=case.size.layers,
            tokens=case.labelled if case.mode == "head" else case.tokens,
            operations=case.operations,
            product_operations=product_operations(case),
            allocator=allocator,
            samples=samples,
            absent=absent,
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def timed(self) -> Samples:
        return Samples(self.samples)

    @property
    def contestants(self) -> list[str]:
        return [name for name in self.samples if name != PRODUCT]

    def tokens_per_second(self, name: str) -> float:
        return self.tokens / self.timed.median(name)

    def tflops(self, name: str) -> float:
        """Useful operations a second; what padding or unlabelled rows cost does not count."""
        done = self.product_operations if name == PRODUCT else self.operations
        return done / self.timed.median(name) / 1e12

    def of_floor(self, name: str) -> float:
        """Time over that of the floor."""
        return self.tflops(PRODUCT) / self.tflops(name)

    def over(self, rival: str, ours: str = OURS) -> Pair | None:
        """(ratio of medians, median of the rounds' ratios); None where one of them is absent."""
        if rival not in self.samples or ours not in self.samples:
            return None
        return self.timed.ratio(rival, ours)
