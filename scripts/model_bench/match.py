"""A match: one case, everybody who takes part in it checked, then timed in interleaved rounds.

The one idea: the ceiling runs in the same rounds as the models, one addmm of the widening layer's
shape, so that a machine that slows down slows the floor too. What must stay true: eager models are
built once and shared with their compiled form, and one that cannot be compiled is absent with its
reason.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter

import torch
import torch.nn.functional as F
from bench.timing import Contestant, measure
from torch import Tensor, nn

from model_bench import check, contestants, inputs
from model_bench.cases import BERT, MODERNBERT, THEIRS, Case
from model_bench.results import PRODUCT, Result, product_operations

Tell = Callable[[str], object]
# A check that takes longer says well enough how long a run takes.
SLOW = 0.5


@dataclass
class Field:
    """Checked contestants, seconds of the slow ones, who is absent and why."""

    contestants: list[Contestant]
    slow: dict[str, float]
    absent: dict[str, str]


def play(case: Case, allocator: str, seconds: float, fewest: int, tell: Tell) -> Result:
    """Check and time one case, for about `seconds` and at least `fewest` rounds."""
    gc.collect()
    field = Field([], {}, {})
    if case.mode == "attention":
        field.contestants.extend(_attention(case))
    else:
        _add_models(field, case, tell)
    field.contestants.append(_product(case))
    samples = measure(field.contestants, seconds, fewest, tell=tell, known=field.slow)
    return Result.of(case, allocator, samples.seconds, field.absent)


def _add_models(field: Field, case: Case, tell: Tell) -> None:
    data = inputs.make(case)
    models = _build(case, tell)
    tell("reference")
    exact = replace(case, dtype="float32")
    wanted, spent = _outcome(contestants.enter(THEIRS, exact, data, models[THEIRS]), data)
    seconds = {THEIRS: spent}
    for name in case.who:
        base = name.removesuffix(contestants.COMPILED)
        entry = contestants.enter(name, case, data, models[base])
        field.contestants.append(Contestant(name, entry.run))
        if name == THEIRS and case == exact:
            continue
        tell(f"checking {name}")
        try:
            got, spent = _outcome(entry, data)
        except RuntimeError as error:
            if name == base:
                raise
            field.absent[name] = str(error).strip().splitlines()[0][:120]
            field.contestants.pop()
            continue
        if name in (BERT, MODERNBERT):
            check.finite(name, got)
        else:
            check.compare(name, got, wanted, case.dtype)
        # What it takes the first time is compilation, and after that hardly more than its base.
        seconds[name] = spent if name == base else seconds.get(base, 0.0)
    field.slow.update({name: spent for name, spent in seconds.items() if spent > SLOW})


def _build(case: Case, tell: Tell) -> dict[str, nn.Module]:
    """The eager models of everybody; a compiler, where one is needed, starts anew."""
    models: dict[str, nn.Module] = {}
    for name in case.who:
        base = name.removesuffix(contestants.COMPILED)
        if base != name:
            # A cache shared with earlier cases would make this one's sizes dynamic.
            torch._dynamo.reset()
            torch._inductor.config.cpp.threads = torch.get_num_threads()
        if base not in models:
            tell(f"building {base}")
            models[base] = contestants.build(base, case.size, case.mode)
    return models


def _outcome(entry: contestants.Entry, data: inputs.Inputs) -> tuple[check.Outcome, float]:
    """What is to be compared, and the seconds that it took."""
    start = perf_counter()
    found = check.outcome(entry, data)
    return found, perf_counter() - start


def _attention(case: Case) -> list[Contestant]:
    """torch's kernel on the same queries, keys and values in float32 and in `case.dtype`."""
    size, generator = case.size, torch.Generator().manual_seed(20)
    shape = (3, case.batch, size.heads, case.length, size.hidden // size.heads)
    wide = torch.randn(shape, generator=generator)
    narrow = wide.to(getattr(torch, case.dtype))

    def attend(qkv: Tensor) -> Tensor:
        with torch.no_grad():
            query, key, value = qkv.unbind()
            return F.scaled_dot_product_attention(query, key, value)

    got, wanted = {"context": attend(narrow).float()}, {"context": attend(wide)}
    check.compare(case.dtype, got, wanted, case.dtype)
    return [
        Contestant("float32", lambda: attend(wide)),
        Contestant(case.dtype, lambda: attend(narrow)),
    ]


def _product(case: Case) -> Contestant:
    """The ceiling: [tokens, C] times [C, F] and a bias, into memory that is kept."""
    dtype = getattr(torch, case.dtype)
    rows, size = case.tokens, case.size
    x = torch.randn(rows, size.hidden).to(dtype)
    weight = torch.randn(size.hidden, size.intermediate).to(dtype)
    bias = torch.randn(size.intermediate).to(dtype)
    result = torch.empty(rows, size.intermediate, dtype=dtype)
    assert product_operations(case) == 2 * rows * weight.numel()
    # Timing does without the collector, and a training step may leave cycles that hold activations:
    # once a round they go.
    prepare = gc.collect if case.mode == "train" else (lambda: None)
    return Contestant(PRODUCT, lambda: torch.addmm(bias, x, weight, out=result), prepare)
