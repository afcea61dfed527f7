"""One thread against two, in place, on tensors that fit in cache.

Both run in the same rounds: the number of threads is set, untimed, before each sample. A copy runs
beside them, as the answer to whether the machine had a second core to give.
"""

from __future__ import annotations

import torch
from torch import Tensor

import roformer_ext
from bench import inputs
from bench.cases import Case
from bench.contestants import LAYOUTS, OUR_ROUNDINGS, Field
from bench.timing import Contestant


def gather(case: Case) -> Field:
    """ "<layout>" on case.threads threads, "<layout> t1" on one, and the same for `copy`."""
    data = inputs.make(case)
    seq_dim = case.shape.seq_dim
    field = Field([], {}, {})

    def add(name: str, run: object) -> None:
        assert callable(run)
        for suffix, threads in (("", case.threads), (" t1", 1)):
            field.contestants.append(
                Contestant(
                    name + suffix, run, lambda threads=threads: torch.set_num_threads(threads)
                )
            )

    for layout, interleaved in LAYOUTS.items():
        buffers = [x.clone() for x in data.base]

        def rotate(
            buffers: list[Tensor] = buffers, interleaved: bool = interleaved
        ) -> list[Tensor]:
            for x in buffers:
                roformer_ext.rope_(x, data.cos, data.sin, interleaved=interleaved, seq_dim=seq_dim)
            return buffers

        torch.set_num_threads(case.threads)
        inputs.check(
            layout, rotate(), data.expected(interleaved), case.dtype, OUR_ROUNDINGS[case.dtype]
        )
        add(layout, rotate)

    targets = [torch.empty_like(x) for x in data.base]

    def copy() -> None:
        for target, source in zip(targets, data.base, strict=True):
            target.copy_(source)

    add("copy", copy)
    return field
