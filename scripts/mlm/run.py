"""One run: a model, its optimizer, one step and one validation.

The one idea: a run takes everything that could differ between position schemes from its plan.
Random numbers are seeded by (seed, step) each time, so dropout is equal in every run of a step,
and a resumed run equals an uninterrupted one bit for bit on the same machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from loop.optimizer import adamw, learning_rate, precision, seed_step, update
from loop.ranks import Ranks
from torch import Tensor

from mlm.text import IGNORED
from roformer_ext import RoFormerForMaskedLM

VALIDATIONS = 20


@dataclass(frozen=True)
class Plan:
    """What to train on, how long and how; lr is the peak, batch and seq_len count per step."""

    steps: int
    batch: int
    seq_len: int
    lr: float
    seed: int
    dropout: float
    dtype: str
    ranks: Ranks
    compile: bool

    def validates_after(self, step: int) -> bool:
        """Whether validation follows once step steps are done; always at both ends."""
        return step == self.steps or step % max(1, self.steps // VALIDATIONS) == 0


class Row(NamedTuple):
    """One point of one curve: losses in nats per masked token, accuracy as a share of one."""

    step: int
    positions: str
    train_loss: float | None
    validation_loss: float
    validation_accuracy: float


class Run:
    """One model, its optimizer, and the training loss summed since the last validation.

    Each process has the loss of its rows, so divided that the mean over processes is that of the
    batch.
    """

    def __init__(self, model: RoFormerForMaskedLM, plan: Plan) -> None:
        self.plan, self.ranks = plan, plan.ranks
        device = plan.ranks.device
        self.model = model.to(device)
        forward = plan.ranks.parallel(model)
        self.forward: Callable[..., Any] = torch.compile(forward) if plan.compile else forward
        self.optimizer = adamw(model)
        self.loss = torch.zeros((), device=device)
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self.steps_summed = 0

    def precision(self) -> torch.autocast:
        return precision(self.ranks.device, self.plan.dtype)

    def step(self, step: int, ids: Tensor, labels: Tensor, count: int) -> None:
        """Learn from this process's rows of a batch with `count` labels in all."""
        size = self.ranks.size
        seed_step(self.plan.seed, step, self.ranks.rank, size)
        self.model.train()
        with self.precision():
            loss = self.forward(ids, labels=labels, num_items_in_batch=count).loss * size
        loss.backward()
        rate = learning_rate(step, self.plan.steps, self.plan.lr)
        update(self.model, self.optimizer, rate)
        self.loss = loss.detach()
        self.loss_sum += self.loss
        self.steps_summed += 1

    def take_mean_loss(self) -> float | None:
        """The mean training loss since this was last asked; None before the first step."""
        mean = float(self.mean_loss_sum()) / self.steps_summed if self.steps_summed else None
        self.loss_sum.zero_()
        self.steps_summed = 0
        return mean

    def mean_loss_sum(self) -> Tensor:
        """`loss_sum` of the whole batches."""
        return self.ranks.sum(self.loss_sum) / self.ranks.size

    @torch.no_grad()
    def validate(self, ids: Tensor, labels: Tensor) -> tuple[float, float]:
        """Mean loss and share of right answers over the masked tokens of ids, [windows, seq]."""
        self.model.eval()
        count = int((labels != IGNORED).sum())
        loss = torch.zeros((), dtype=torch.float64, device=ids.device)
        right = torch.zeros((), dtype=torch.int64, device=ids.device)
        ids, labels = self.ranks.share(ids), self.ranks.share(labels)
        for some, wanted in zip(
            ids.split(self.plan.batch), labels.split(self.plan.batch), strict=True
        ):
            with self.precision():
                logits = self.forward(some).logits
            asked = wanted != IGNORED
            loss += F.cross_entropy(logits[asked].float(), wanted[asked], reduction="sum")
            right += (logits[asked].argmax(-1) == wanted[asked]).sum()
        return float(self.ranks.sum(loss)) / count, int(self.ranks.sum(right)) / count

    def state(self) -> dict[str, Any]:
        """What to go on from, the same in all processes, which must all ask."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "loss_sum": self.mean_loss_sum(),
            "steps_summed": self.steps_summed,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.loss_sum.copy_(state["loss_sum"])
        self.steps_summed = state["steps_summed"]
