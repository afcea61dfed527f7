"""The processes of a data-parallel training, as torchrun starts them; without it there is one.

The one idea: every process makes the whole batch, which is a function of seed and step, and takes
its rows of it, so nothing but gradients and sums of losses has to travel. What must stay true: all
processes take the same steps and stop after the same one; the first alone writes and speaks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from loop.command import BadSetting

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among `size`, and the device that it computes on."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        return self.rank == 0

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model, whose gradients will be the mean over all processes."""
        return DistributedDataParallel(model) if self.size > 1 else model

    def share(self, rows: Tensor) -> Tensor:
        """The rows of this process, of rows that all have."""
        return rows.tensor_split(self.size)[self.rank]

    def sum(self, x: Tensor) -> Tensor:
        """The sum over all processes; x itself stays."""
        if self.size == 1:
            return x
        total = x.clone()
        dist.all_reduce(total)
        return total

    def any(self, wish: bool) -> bool:
        """Whether one of the processes wants it."""
        return bool(self.sum(torch.tensor(int(wish), device=self.device)))

    def of_first(self, x: T) -> T:
        """What the first process has."""
        if self.size == 1:
            return x
        both = [x]
        dist.broadcast_object_list(both, device=self.device)
        return both[0]

    def wait(self) -> None:
        """Until all processes are here."""
        self.any(False)


@contextmanager
def joined(device: torch.device, batch: int) -> Iterator[Ranks]:
    """Join the processes that torchrun started, if it did; BadSetting when there are too many.

    device: of the settings; where it is CUDA's, every process takes one of its own.
    batch: rows to share.
    """
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if size > batch:
        raise BadSetting(f"--batch must be at least the number of processes, {size}, got {batch}")
    if size == 1:
        yield Ranks(0, 1, device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    with ExitStack() as stack:
        if rank > 0:
            redirect = redirect_stdout(stack.enter_context(open(os.devnull, "w")))
            stack.enter_context(redirect)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        stack.callback(dist.destroy_process_group)
        ranks = Ranks(rank, size, device)
        yield ranks
        ranks.wait()


def leave(status: int) -> NoReturn:
    """End this process.

    Threads of gloo outlive `destroy_process_group`, and one that asks for the interpreter while
    that is taken down aborts the process; so one among several ends without that.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
