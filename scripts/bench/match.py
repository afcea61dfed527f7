"""A match: one case, everybody who takes part in it, checked, timed together, and told as rows.

Three kinds of match differ in who takes part (`contestants`, `calls`, `threads`); the rest is the
same here.
"""

from __future__ import annotations

import torch

from bench import calls, contestants, threads
from bench.cases import Case
from bench.rows import Pair, Row
from bench.timing import Samples, measure


def play(case: Case, allocator: str, budget: float) -> list[Row]:
    """Check and time one case; a row per layout (per layout and entry for a call)."""
    torch._dynamo.reset()
    torch.set_num_threads(case.threads)
    # Nothing but forward-and-backward may pay for recording a graph.
    with torch.set_grad_enabled(case.kind == "fwd_bwd"):
        if case.kind == "call":
            field = calls.gather(case)
        elif case.kind == "threads":
            field = threads.gather(case)
        else:
            field = contestants.gather(case)
        samples = measure(field.contestants, budget)
    if case.kind == "call":
        ours = [
            f"{entry}, {layout}" for entry in calls.YARDSTICKS for layout in contestants.LAYOUTS
        ]
    else:
        ours = list(contestants.LAYOUTS)
    return [_row(case, name, field, samples, allocator) for name in ours]


def _row(case: Case, name: str, field: contestants.Field, samples: Samples, allocator: str) -> Row:
    interleaved = name.endswith("adjacent")
    above = speed_up = copy_speed_up = None
    if case.kind == "call":
        yardstick = calls.YARDSTICKS[name.split(",")[0]]
        above = samples.difference(name, yardstick) if yardstick in samples else None
    if case.kind == "threads":
        speed_up = samples.ratio(f"{name} t1", name)
        copy_speed_up = samples.ratio("copy t1", "copy")
    floors = {f: samples.ratio(name, f) for f in contestants.FLOORS if f in samples}
    rivals: dict[str, Pair] = {}
    absent = dict(field.absent)
    for rival, rival_interleaved in field.interleaved.items():
        # A rival with both layouts meets ours in the same one; a rival with one layout meets both.
        short = rival.split()[0] if rival.startswith("onnx") else rival
        if short == rival or rival_interleaved == interleaved:
            rivals[short] = samples.ratio(rival, name)
    for rival in [r for r in absent if r.startswith("onnx")]:
        absent["onnx"] = absent.pop(rival)
    seconds = samples.median(name)
    return Row(
        kind=case.kind,
        dtype=case.dtype,
        shape=case.shape.name,
        label=case.shape.label,
        threads=case.threads,
        layout=name,
        tensor_mib=case.tensor_mib,
        allocator=allocator,
        seconds=seconds,
        spread=samples.spread(name),
        rounds=samples.rounds,
        gb_per_s=case.traffic / seconds / 1e9,
        floors=floors,
        rivals=rivals,
        absent=absent,
        above=above,
        speed_up=speed_up,
        copy_speed_up=copy_speed_up,
    )
