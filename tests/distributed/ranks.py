"""Two processes that stand for two devices, started once for all tests of this folder.

The one idea: a check is a function of a test module that both processes run by its name, each with
the other through gloo; it compares what they have together with what one process computes alone.
What must stay true: an error on either side fails the test with its traceback, and a side that
waits for one that has failed is ended, not waited for.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
import torch.distributed as dist

SIZE = 2
STARTING, RUNNING, DYING = 300.0, 120.0, 10.0


class Ranks:
    """The processes; `run` starts them when they are needed first, or again after a failure."""

    def __init__(self) -> None:
        self.processes: list[Any] = []
        self.ends: list[Connection] = []

    def run(self, check: Callable[..., None], *arguments: Any) -> None:
        """Call `check(*arguments)` on each rank; AssertionError with the traceback of the first
        that fails.
        """
        if not self.processes:
            self._start()
        for end in self.ends:
            end.send((check, arguments))
        errors = self._answers(RUNNING)
        if errors:
            self.stop()
            raise AssertionError("\n".join(errors))

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()
        self.processes, self.ends = [], []

    def _start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        spawn = multiprocessing.get_context("spawn")
        for rank in range(SIZE):
            end, other = spawn.Pipe()
            process = spawn.Process(target=_serve, args=(rank, port, other), daemon=True)
            process.start()
            other.close()
            self.processes.append(process)
            self.ends.append(end)
        assert not self._answers(STARTING)

    def _answers(self, seconds: float) -> list[str]:
        """What went wrong, rank by rank."""
        errors, waiting = list[str](), dict(enumerate(self.ends))
        while waiting:
            ready = wait(waiting.values(), DYING if errors else seconds)
            if not ready:
                errors.append(f"no answer from {sorted(waiting)}")
                break
            for rank, end in list(waiting.items()):
                if end in ready:
                    del waiting[rank]
                    try:
                        answer = end.recv()
                    except EOFError:
                        answer = "it died"
                    if answer is not None:
                        errors.append(f"rank {rank}: {answer}")
        return errors


def _serve(rank: int, port: int, end: Connection) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=SIZE
    )
    end.send(None)
    while True:
        try:
            check, arguments = end.recv()
        except EOFError:
            return
        try:
            torch.manual_seed(0)
            check(*arguments)
            end.send(None)
        except BaseException:
            end.send(traceback.format_exc())
