"""Peak memory of two training steps, each contestant in a fresh process that measures itself.

The one idea: the high-water mark of a process never falls, so the figure is its mark after two
steps less its mark before the model was built: parameters, gradients, AdamW's two moments,
activations. A step of a tiny model goes first, so that no library that loads late is counted.
What must stay true: losses of the two RoFormers agree, step by step, or there is no figure.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import machine

from model_bench.cases import BERT, MODERNBERT, THEIRS, TINY, Case
from model_bench.results import Result

STEPS = 2
BOUNDS = {"float32": 1e-4, "bfloat16": 1e-2}


def play(case: Case, allocator: str, command: list[str], tell: Callable[[str], object]) -> Result:
    """Ask a child per contestant; `command` begins one, which calls `of_this_process`."""
    found: dict[str, dict[str, Any]] = {}
    for name in case.who:
        tell(f"two steps of {name}")
        done = subprocess.run(
            [*command, "--peak-of", name, "--cases", f"^{re.escape(case.name)}$"],
            env=machine.environment(allocator),
            stdout=subprocess.PIPE,
            text=True,
        )
        if done.returncode != 0:
            raise RuntimeError(f"the process of {name} must end well, got {done.returncode}")
        found[name] = json.loads(done.stdout.splitlines()[-1])
    agree({name: child["losses"] for name, child in found.items()}, case.dtype)
    return Result.of(case, allocator, {n: [c["bytes"]] for n, c in found.items()}, {})


def agree(losses: dict[str, list[float]], dtype: str) -> None:
    """AssertionError unless every RoFormer has the losses of transformers'."""
    for name, own in losses.items():
        for step, (got, wanted) in enumerate(zip(own, losses[THEIRS], strict=True)):
            wrong = not abs(got - wanted) <= BOUNDS[dtype] * abs(wanted)
            if name not in (BERT, MODERNBERT) and wrong:
                raise AssertionError(f"{name}: loss of step {step} is {got}, not {wanted}")


def of_this_process(case: Case, name: str) -> str:
    """What a child prints: bytes and losses, as JSON."""
    _losses(Case(case.mode, 2, 8, case.dtype, size=TINY), name)
    before = high_water()
    losses = _losses(case, name)
    return json.dumps({"bytes": high_water() - before, "losses": losses})


def _losses(case: Case, name: str) -> list[float]:
    from model_bench import contestants, inputs

    base = name.removesuffix(contestants.COMPILED)
    model = contestants.build(base, case.size, case.mode)
    entry = contestants.enter(name, case, inputs.make(case), model)
    return [entry.run().item() for _ in range(STEPS)]


def high_water() -> int:
    """Most bytes that this process has had resident so far."""
    # On Linux ru_maxrss starts at the peak of whoever started the process.
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
    if found:
        return int(found.group(1)) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
