"""Times of calls on a CUDA device, by events, with a cold cache.

Before each sample a buffer larger than the L2 cache is written, so that a kernel finds its input in
device memory, as it does inside a training step; that write also keeps the device busy while the
host enqueues the call, so that launch gaps stay out of the numbers. Contestants take turns within
each round, so that a drift of the clock hits all of them. The median over rounds is reported.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch

FLUSH_BYTES = 1 << 29
WARM_UP = 3


def measure(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each call over `rounds`."""
    flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device="cuda")
    for call in calls.values():
        for _ in range(WARM_UP):
            call()
    torch.cuda.synchronize()
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        events = {}
        for name, call in calls.items():
            start = torch.cuda.Event(enable_timing=True)
            end = torch.cuda.Event(enable_timing=True)
            flush.zero_()
            start.record()
            call()
            end.record()
            events[name] = (start, end)
        torch.cuda.synchronize()
        for name, (start, end) in events.items():
            samples[name].append(start.elapsed_time(end) * 1e-3)
    return {name: statistics.median(seconds) for name, seconds in samples.items()}
