"""Several position schemes in lockstep, stopped and taken up again at any step.

The one idea: in each step every run sees the same masked batch at the same learning rate, from
equal weights and with equal dropout, so the curves differ by the position scheme alone. On a CPU
the runs share the cores between them, a thread each: small matrices gain more from that than from
being split, and no thread waits for another before the end of the step.
Ctrl-C and SIGTERM wait for the end of the step, where the runs are at one and the same point.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from loop.stop import StopRequest
from torch import Tensor
from tqdm import tqdm

from mlm.run import Plan, Row, Run
from mlm.text import IGNORED, Text

WINDOWS = 64


@dataclass
class Training:
    """All runs at one step, with the curves so far and the seconds spent."""

    runs: dict[str, Run]
    step: int = 0
    seconds: float = 0.0
    rows: list[Row] = field(default_factory=list)

    def is_validated(self) -> bool:
        return bool(self.rows) and self.rows[-1].step == self.step

    def take_step(self, pool: Executor, ids: Tensor, labels: Tensor, count: int) -> None:
        # The list waits for every run, and raises what one of them raised.
        list(pool.map(lambda run: run.step(self.step, ids, labels, count), self.runs.values()))
        self.step += 1

    def validate(self, pool: Executor, ids: Tensor, labels: Tensor) -> None:
        # All of them first: processes must add up the same things in the same order.
        results = list(pool.map(lambda run: run.validate(ids, labels), self.runs.values()))
        for (name, run), result in zip(self.runs.items(), results, strict=True):
            self.rows.append(Row(self.step, name, run.take_mean_loss(), *result))

    def state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "seconds": self.seconds,
            "rows": [list(row) for row in self.rows],
            "runs": {name: run.state() for name, run in self.runs.items()},
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.step, self.seconds = state["step"], state["seconds"]
        self.rows = [Row(*values) for values in state["rows"]]
        for name, run in self.runs.items():
            run.load_state(state["runs"][name])


class ProgressBar:
    """Tokens of all runs together, their rate, and each run's latest training loss."""

    def __init__(self, training: Training, plan: Plan, tokens_per_step: int) -> None:
        self.training = training
        self.bar = tqdm(
            total=plan.steps * tokens_per_step,
            initial=training.step * tokens_per_step,
            unit=" tokens",
            unit_scale=True,
            dynamic_ncols=True,
            disable=not plan.ranks.first,
            mininterval=0.3 if sys.stderr.isatty() else 10.0,
            bar_format="{percentage:3.0f}%|{bar}| {elapsed}<{remaining}, {rate_fmt}{postfix}",
        )
        self.shown = 0.0

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def advance(self, tokens: int) -> None:
        # Reading a loss waits for the device, so not after every step.
        if time.monotonic() - self.shown > 1.0:
            self.shown = time.monotonic()
            losses = (f"{name} {run.loss:.2f}" for name, run in self.training.runs.items())
            step = f"step {self.training.step}"
            self.bar.set_postfix_str(", ".join((step, *losses)), refresh=False)
        self.bar.update(tokens)


@contextmanager
def workers(runs: int, plan: Plan) -> Iterator[Executor]:
    """Threads that take the runs of a step, with torch's own threads divided among them."""
    before = torch.get_num_threads()
    # Dropout draws from one generator, a GPU has one stream, compiling is for one thread, and all
    # processes must sum the gradients of the runs in one order.
    ranks = plan.ranks
    alone = plan.dropout > 0 or ranks.device.type != "cpu" or plan.compile or ranks.size > 1
    count = 1 if alone else min(runs, before)
    try:
        # Each thread has a setting of its own, and the last one set is what new threads start with.
        torch.set_num_threads(before // count)
        with ThreadPoolExecutor(
            count, initializer=torch.set_num_threads, initargs=(before // count,)
        ) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def train(training: Training, plan: Plan, text: Text, save: Callable[[], None]) -> bool:
    """Take the remaining steps, calling save after each validation; False when asked to stop."""
    ranks = plan.ranks
    validation = [part.to(ranks.device) for part in text.validation(WINDOWS, plan.seq_len)]
    tokens = plan.batch * plan.seq_len * len(training.runs)
    started = time.monotonic() - training.seconds
    with (
        StopRequest() as stop,
        ProgressBar(training, plan, tokens) as bar,
        workers(len(training.runs), plan) as pool,
    ):
        while True:
            if plan.validates_after(training.step) and not training.is_validated():
                training.validate(pool, *validation)
                training.seconds = time.monotonic() - started
                save()
            if training.step == plan.steps:
                return True
            if ranks.any(stop.wanted):
                save()
                return False
            batch = text.batch(plan.seed, training.step, plan.batch, plan.seq_len)
            count = int((batch[1] != IGNORED).sum())
            ids, labels = (ranks.share(part).to(ranks.device) for part in batch)
            training.take_step(pool, ids, labels, count)
            training.seconds = time.monotonic() - started
            bar.advance(tokens)
