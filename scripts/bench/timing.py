"""Interleaved timing of many contestants in one process.

One idea: noise of a shared machine comes in bursts, so contestants are compared inside short
rounds. In each round every contestant runs once, in an order shuffled anew, each right after an
untimed run of its own, so that all start with the caches as they themselves leave them. A sample
repeats a short call until it lasts 0.2 ms. Reported: the median over rounds, and for a ratio both
the ratio of medians and the median of the rounds' ratios; where the two differ, the machine was
noisy and neither deserves its last digit.
"""

from __future__ import annotations

import gc
import math
import random
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

SAMPLE_SECONDS = 2e-4
# Above this an untimed run before each sample would double the cost and change nothing: its memory
# traffic has long replaced whatever was cached.
REWARM_BELOW = 20e-3


@dataclass
class Contestant:
    """Something to time. `results` are tensors to check, asked for once, before any timing."""

    name: str
    run: Callable[[], object]
    prepare: Callable[[], object] = field(default=lambda: None)


class Samples:
    """Seconds per call of each contestant, one list entry per round."""

    def __init__(self, seconds: dict[str, list[float]]) -> None:
        self.seconds = seconds

    def __contains__(self, name: str) -> bool:
        return name in self.seconds

    @property
    def rounds(self) -> int:
        return len(next(iter(self.seconds.values())))

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    def spread(self, name: str) -> float:
        """Half the distance between the quartiles, as a share of the median."""
        if self.rounds < 4:
            return math.nan
        low, _, high = statistics.quantiles(self.seconds[name], n=4)
        return (high - low) / 2 / self.median(name)

    def ratio(self, upper: str, lower: str) -> tuple[float, float]:
        """(ratio of medians, median of per-round ratios) of `upper` over `lower`."""
        pairs = zip(self.seconds[upper], self.seconds[lower], strict=True)
        return self.median(upper) / self.median(lower), statistics.median(u / d for u, d in pairs)

    def difference(self, upper: str, lower: str) -> tuple[float, float]:
        """(difference of medians, median of per-round differences), seconds."""
        pairs = zip(self.seconds[upper], self.seconds[lower], strict=True)
        return self.median(upper) - self.median(lower), statistics.median(u - d for u, d in pairs)


def measure(
    contestants: list[Contestant],
    budget: float,
    fewest: int = 7,
    most: int = 201,
    tell: Callable[[str], object] = lambda text: None,
    known: Mapping[str, float] | None = None,
) -> Samples:
    """Time all contestants for about `budget` seconds, between `fewest` and `most` rounds.

    tell: hears what is about to run.
    known: seconds of those that have run already and are too slow to be asked again for a guess.
    """
    known = known or {}
    shuffle = random.Random(7).shuffle
    with _quiet():
        cost = {c.name: known.get(c.name) or _estimate(c) for c in contestants}
        repeats = {name: max(1, math.ceil(SAMPLE_SECONDS / cost[name])) for name in cost}
        spent = sum(cost[n] * (repeats[n] + (cost[n] < REWARM_BELOW)) for n in cost)
        rounds = min(most, max(fewest, int(budget / spent)))
        seconds: dict[str, list[float]] = {name: [] for name in cost}
        for number in range(rounds):
            order = contestants[:]
            shuffle(order)
            for contestant in order:
                name = contestant.name
                tell(f"round {number + 1} of {rounds}, {name}")
                contestant.prepare()
                if cost[name] < REWARM_BELOW:
                    contestant.run()
                seconds[name].append(_sample(contestant.run, repeats[name]))
    return Samples(seconds)


def _sample(run: Callable[[], object], repeats: int) -> float:
    start = perf_counter()
    for _ in range(repeats):
        run()
    return (perf_counter() - start) / repeats


def _estimate(contestant: Contestant) -> float:
    contestant.prepare()
    first = _sample(contestant.run, 1)
    # A first call may compile or allocate; a slow one is not made slower by asking many times.
    again = 3 if first > 10e-3 else 20
    return max(min(_sample(contestant.run, 1) for _ in range(again)), 1e-8)


@contextmanager
def _quiet() -> Iterator[None]:
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
