"""The steps, the evaluations, and the best model; stopped and taken up again at any step.

The one idea: a step is a function of the seed and its number, which say the rows and the dropout,
so a training that was interrupted ends with the bits of one that was not. What must stay true: the
folder of the best model is whole before a checkpoint speaks of it.
"""

from __future__ import annotations

import functools
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from loop.command import BadSetting
from loop.optimizer import adamw, learning_rate, precision, seed_step, update
from loop.stop import StopRequest
from torch import Tensor
from tqdm import tqdm

from finetuning.task import Row, Task
from roformer_ext import RoFormerTokenizer


@dataclass(frozen=True)
class Plan:
    """How to train; lr is the highest rate, batch counts rows."""

    epochs: int
    batch: int
    lr: float
    seed: int
    dtype: str
    device: torch.device


class Point(NamedTuple):
    """One evaluation; the training loss is the mean since the one before."""

    epoch: int
    step: int
    train_loss: float
    scores: dict[str, float]


@dataclass
class Progress:
    """How far a training is."""

    step: int = 0
    seconds: float = 0.0
    points: list[Point] = field(default_factory=list)

    def best(self, metric: str) -> Point | None:
        """The first of the highest evaluations; a figure that does not exist is the lowest."""
        return max(self.points, key=lambda point: known(point.scores[metric]), default=None)


class Reader:
    """Rows as tensors for a model, and what the model says of them."""

    def __init__(self, model: Any, tokenizer: RoFormerTokenizer, task: Task[Any], plan: Plan):
        self.model, self.tokenizer, self.task, self.plan = model, tokenizer, task, plan
        # A model with one token type has no other to learn.
        self.unused = {"token_type_ids"} if model.config.type_vocab_size < 2 else set()

    def inputs(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        batch = self.tokenizer.pad([row.inputs for row in rows], return_tensors="pt")
        return {
            name: value.to(self.plan.device)
            for name, value in batch.items()
            if name not in self.unused
        }

    def targets(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        return {
            name: torch.tensor([row.targets[name] for row in rows], device=self.plan.device)
            for name in rows[0].targets
        }

    def precision(self) -> torch.autocast:
        return precision(self.plan.device, self.plan.dtype)

    def loss(self, rows: Sequence[Row]) -> Tensor:
        with self.precision():
            loss: Tensor = self.model(**self.inputs(rows), **self.targets(rows)).loss
        return loss

    @torch.no_grad()
    def outputs(self, rows: Sequence[Row]) -> list[Tensor]:
        """One for each row; rows of like length share a batch."""
        self.model.eval()
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        found: dict[int, Tensor] = {}
        for start in range(0, len(order), self.plan.batch):
            places = order[start : start + self.plan.batch]
            with self.precision():
                output = self.model(**self.inputs([rows[place] for place in places]))
            found.update(zip(places, self.task.outputs(output).float().cpu()))
        return [found[place] for place in range(len(rows))]

    def predictions(self, examples: Sequence[Any], rows: Sequence[Row]) -> list[Any]:
        return self.task.predictions(examples, rows, self.outputs(rows))


class Training:
    """A model on its way, with everything that a checkpoint holds."""

    def __init__(
        self, reader: Reader, plan: Plan, train: Sequence[Row], dev: Sequence[Any]
    ) -> None:
        self.reader, self.plan, self.rows, self.dev = reader, plan, train, dev
        self.dev_rows = reader.task.rows(dev)
        self.optimizer = adamw(reader.model)
        self.progress = Progress()
        self.loss = torch.zeros((), device=plan.device)
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=plan.device)
        self.steps_summed = 0

    @property
    def steps_of_epoch(self) -> int:
        return math.ceil(len(self.rows) / self.plan.batch)

    @property
    def steps(self) -> int:
        return self.plan.epochs * self.steps_of_epoch

    @property
    def metric(self) -> str:
        return self.reader.task.metrics[0]

    def rows_of(self, step: int) -> list[Row]:
        """Those of one step: each epoch has an order of its own."""
        epoch, place = divmod(step, self.steps_of_epoch)
        order = _order(len(self.rows), self.plan.seed * 1_000_003 + epoch)
        chosen = order[place * self.plan.batch : (place + 1) * self.plan.batch]
        return [self.rows[index] for index in chosen]

    def take_step(self) -> None:
        step = self.progress.step
        seed_step(self.plan.seed, step)
        self.reader.model.train()
        loss = self.reader.loss(self.rows_of(step))
        loss.backward()
        rate = learning_rate(step, self.steps, self.plan.lr)
        update(self.reader.model, self.optimizer, rate)
        self.loss = loss.detach()
        self.loss_sum += self.loss
        self.steps_summed += 1
        self.progress.step += 1

    def evaluate(self) -> bool:
        """Score the dev examples; True where no evaluation before was as good.

        BadSetting where the loss is no number any more.
        """
        loss = float(self.loss_sum) / self.steps_summed
        if not math.isfinite(loss):
            raise BadSetting(f"--lr {self.plan.lr:g} is too high: the loss has become {loss}")
        self.loss_sum.zero_()
        self.steps_summed = 0
        progress, task = self.progress, self.reader.task
        scores = task.scores(self.dev, self.reader.predictions(self.dev, self.dev_rows))
        epoch = progress.step // self.steps_of_epoch
        progress.points.append(Point(epoch, progress.step, loss, scores))
        return progress.best(self.metric) is progress.points[-1]

    def state(self) -> dict[str, Any]:
        return {
            "step": self.progress.step,
            "seconds": self.progress.seconds,
            "points": [tuple(point) for point in self.progress.points],
            "model": self.reader.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "loss_sum": self.loss_sum,
            "steps_summed": self.steps_summed,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        points = [Point(*values) for values in state["points"]]
        self.progress = Progress(state["step"], state["seconds"], points)
        self.reader.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.loss_sum.copy_(state["loss_sum"])
        self.steps_summed = state["steps_summed"]


def train(training: Training, save_best: Callable[[], None], save: Callable[[], None]) -> bool:
    """Take the remaining steps, evaluating after each epoch; False when asked to stop."""
    progress, started = training.progress, time.monotonic() - training.progress.seconds
    with StopRequest() as stop, _bar(training) as bar:
        shown = 0.0
        while progress.step < training.steps:
            if stop.wanted:
                save()
                return False
            training.take_step()
            at_end_of_epoch = progress.step % training.steps_of_epoch == 0
            if at_end_of_epoch and training.evaluate():
                save_best()
            progress.seconds = time.monotonic() - started
            if at_end_of_epoch:
                save()
            # Reading a loss waits for the device, so not after every step.
            if at_end_of_epoch or time.monotonic() - shown > 1.0:
                shown = time.monotonic()
                bar.set_postfix_str(_standing(training), refresh=False)
            bar.update(1)
    return True


@functools.lru_cache(maxsize=1)
def _order(rows: int, seed: int) -> list[int]:
    """The places of all rows, shuffled; asked for at every step of an epoch."""
    order: list[int] = torch.randperm(rows, generator=torch.Generator().manual_seed(seed)).tolist()
    return order


def _bar(training: Training) -> Any:
    return tqdm(
        total=training.steps,
        initial=training.progress.step,
        unit="step",
        dynamic_ncols=True,
        mininterval=0.3 if sys.stderr.isatty() else 10.0,
        bar_format="{percentage:3.0f}%|{bar}| {elapsed}<{remaining}, {rate_fmt}{postfix}",
    )


def _standing(training: Training) -> str:
    epoch = min(
        training.progress.step // training.steps_of_epoch + 1,
        training.plan.epochs,
    )
    best = training.progress.best(training.metric)
    told = f"epoch {epoch}, loss {float(training.loss):.3f}"
    return (
        told
        if best is None
        else f"{told}, best {training.metric} {best.scores[training.metric]:.3f}"
    )


def known(score: float) -> float:
    """A score to compare by: one that does not exist is below all others."""
    return float("-inf") if math.isnan(score) else score
