"""Settings from a command line, and the sentence for one that cannot be used.

The one idea: an error of the person at the terminal is a BadSetting, caught once, where a script
begins; everything else is a fault of ours and keeps its traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from loop.optimizer import DTYPES

BAD, STOPPED = 2, 130
FIRST_TELLS_WITHIN = 30.0  # seconds


class BadSetting(ValueError):
    """A setting that cannot be used; the message is one sentence for the person at the terminal."""


def run(name: str, work: Callable[[], int]) -> int:
    """The status of some work: its own, or 2 after the sentence of a BadSetting."""
    # A terminal that lacks a character of the text shall not end the training.
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        return work()
    except BadSetting as error:
        # The first of the processes that torchrun started here tells it, and its end is that of the
        # others, who tell it only if it has not; who ended at once would keep it from telling.
        if os.environ.get("LOCAL_RANK", "0") != "0":
            time.sleep(FIRST_TELLS_WITHIN)
        print(f"{name}: {error}", file=sys.stderr)
        return BAD


def option(name: str) -> str:
    """The option of a setting."""
    return "--" + name.replace("_", "-")


def require_positive(settings: dict[str, object], *names: str) -> None:
    """Raises BadSetting for the first of these settings that is not above zero."""
    for name in names:
        if not settings[name] > 0:  # type: ignore[operator]
            raise BadSetting(f"{option(name)} must be above zero, got {settings[name]}")


def require_dropout(value: float) -> None:
    """Raises BadSetting for a probability at which nothing would be left."""
    if not 0 <= value < 1:
        raise BadSetting(f"--dropout must be at least 0 and below 1, got {value}")


def device(name: str) -> torch.device:
    """The device of this name; raises BadSetting where this machine has none."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise BadSetting(
            f"--device must name a device of this machine, got {name} ({reason})"
        ) from None


def add_machine(parser: argparse.ArgumentParser, out: str) -> argparse._ArgumentGroup:
    """The options that say where a training runs and what becomes of its folder."""
    where = parser.add_argument_group("where it runs")
    add = where.add_argument
    default = "cuda" if torch.cuda.is_available() else "cpu"
    add("--device", default=default, metavar="NAME", help="default on this machine: %(default)s")
    add(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="bfloat16 computes under autocast, the weights stay float32 (default: %(default)s)",
    )
    add(
        "--out",
        type=Path,
        default=Path(out),
        metavar="DIR",
        help="checkpoint and results; the same command goes on from there (default: %(default)s)",
    )
    add("--restart", action="store_true", help="start over, whatever the folder holds")
    return where
