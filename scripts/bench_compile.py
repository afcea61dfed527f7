#!/usr/bin/env python3
"""Time compiled code in the two compile modes: the operator as a kernel, and decomposed.

    python scripts/bench_compile.py                 some ten minutes, most of it compilation
    python scripts/bench_compile.py --cases half    lines whose name matches

The measured rule of `set_compile_mode("auto")` rests on this. Both modes run in turns on the same
inputs, each is checked against eager code first, and a figure is a median; ratios within a line
mean something, times from line to line less. `among` has pointwise neighbours on both sides, which
generated code may fuse with the rotation; `alone` and the encoder have none.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import roformer_ext
from roformer_ext.compile_mode import compile_mode

MODES: tuple[Any, ...] = ("op", "composite")
BOUNDS = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
Run = Callable[[], Any]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", default="", metavar="REGEX", help="lines to run (default: all)")
    parser.add_argument(
        "--rounds", type=int, default=21, help="of each mode (default: %(default)s)"
    )
    parser.add_argument("--layers", type=int, default=12, help="of the encoder, 768 wide")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print("| case | eager | op | composite | composite / op |\n|---|---|---|---|---|")
    for name, make in cases(options.layers):
        if re.search(options.cases, name):
            eager, compiled = make()
            models = name.startswith("encoder")
            times = contest(eager, compiled, options.rounds // 4 if models else options.rounds)
            figures = " | ".join(f"{1e3 * times[mode]:.2f} ms" for mode in ("eager", *MODES))
            print(f"| {name} | {figures} | {times['composite'] / times['op']:.2f} |", flush=True)
            torch._dynamo.reset()


def contest(eager: Run, compiled: Run, rounds: int) -> dict[str, float]:
    """Median seconds of each, taken in turns."""
    expected = eager()
    runs: dict[str, list[float]] = {"eager": [], **{mode: [] for mode in MODES}}
    for mode in MODES:
        with compile_mode(mode):
            check(mode, compiled(), expected)
            compiled()
    for _ in range(max(rounds, 3)):
        for name, seconds in runs.items():
            with compile_mode("op" if name == "eager" else name):
                began = time.perf_counter()
                (eager if name == "eager" else compiled)()
                seconds.append(time.perf_counter() - began)
    return {name: statistics.median(seconds) for name, seconds in runs.items()}


def check(mode: str, got: Any, expected: Any) -> None:
    """AssertionError when results differ by more than roundings between the operations, which
    fused code leaves out; the norm, because a difference of two large numbers keeps their errors.
    """
    for one, other in zip(pytree.tree_leaves(got), pytree.tree_leaves(expected), strict=True):
        bound = BOUNDS[other.dtype]
        error = ((one - other).float().norm() / other.float().norm()).item()
        assert error <= bound, f"{mode} is off by {error:.2g} of the norm, allowed {bound:g}"


def cases(layers: int) -> Iterator[tuple[str, Callable[[], tuple[Run, Run]]]]:
    for dtype in (torch.float32, torch.bfloat16):
        short = str(dtype).removeprefix("torch.")
        for shape, seq_dim in (((8, 512, 12, 64), 1), ((1, 32, 2048, 128), 2)):
            for interleaved in (True, False):
                pairs = "adjacent" if interleaved else "half"
                sizes = str(list(shape)).replace(" ", "")
                for place in ("alone", "among"):
                    arguments = shape, seq_dim, dtype, interleaved, place == "among"
                    yield f"{short} q,k {sizes} {pairs} {place}", lambda a=arguments: _rotation(*a)
    yield f"encoder forward 8x128, {layers} layers", lambda: _encoder(layers, training=False)
    yield f"encoder training step 8x128, {layers} layers", lambda: _encoder(layers, training=True)


def _rotation(
    shape: tuple[int, ...], seq_dim: int, dtype: torch.dtype, interleaved: bool, among: bool
) -> tuple[Run, Run]:
    q, k = torch.randn(2, *shape).to(dtype)
    angle = torch.rand(shape[seq_dim], shape[-1] // 2)
    cos, sin = angle.cos(), angle.sin()

    def rotate(x: Tensor) -> Tensor:
        return roformer_ext.rope(x, cos, sin, interleaved=interleaved, seq_dim=seq_dim)

    def step(q: Tensor, k: Tensor) -> tuple[Tensor, ...]:
        if among:
            return tuple((rotate(x * 2 + 1) * x).relu() for x in (q, k))
        return rotate(q), rotate(k)

    compiled = torch.compile(step, fullgraph=True)
    return lambda: step(q, k), lambda: compiled(q, k)


def _encoder(layers: int, training: bool) -> tuple[Run, Run]:
    config = roformer_ext.RoFormerConfig(
        vocab_size=5000,
        num_hidden_layers=layers,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = roformer_ext.RoFormerForMaskedLM(config).train(training)
    ids = torch.randint(5000, (8, 128))
    labels = ids.masked_fill(torch.rand(ids.shape) > 0.15, -100)

    def step(network: Any) -> Tensor:
        model.zero_grad()
        loss: Tensor = network(ids, labels=labels).loss
        loss.backward()
        return loss.detach()

    def forward(network: Any) -> Tensor:
        with torch.no_grad():
            hidden: Tensor = network(ids).last_hidden_state
        return hidden

    run, network = (step, model) if training else (forward, model.roformer)
    compiled = torch.compile(network, fullgraph=True)
    return lambda: run(network), lambda: run(compiled)


if __name__ == "__main__":
    main()
