"""Digests of the operator's outputs at the CPU level that `ROFORMER_EXT_CPU` forces, as JSON on
standard output.

Run as a program of its own by `test_cpu_levels.py`, because a level is chosen once, at import.
Every sample and dtype is computed out of place and in place, under one thread and two; then rows
of every width around the vector lengths, and a few tensors large enough to be split between
threads and to leave the cache. All NaN count as one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import torch
from bits import normal_words
from draw import Draw, Inputs, with_specials
from samples import DTYPES, SAMPLES
from torch import Tensor

import roformer_ext

PAIRS = (*range(1, 20), 23, 24, 31, 32, 33, 47, 48, 63, 64, 65, 96, 128, 129)


def _digest(tensor: Tensor) -> str:
    form = f"{tuple(tensor.shape)} {tensor.dtype} ".encode()
    return hashlib.sha256(form + normal_words(tensor).numpy().tobytes()).hexdigest()[:16]


def _around_vectors(dtype: torch.dtype) -> Iterator[tuple[str, Inputs]]:
    draw = Draw(dtype, "cpu", torch.Generator().manual_seed(11))
    for count in PAIRS:
        for interleaved in (False, True):
            for offset, tail in ((0, 0), (1, 2)):
                x = draw.x(2, 3, 2, 2 * count + offset + tail)
                options = {"interleaved": interleaved, "rotary_offset": offset, "seq_dim": 1}
                name = f"{count} pairs, offset {offset}, {'adjacent' if interleaved else 'half'}"
                yield name, with_specials((x, *draw.table(3, count), None, options))


def _large(dtype: torch.dtype) -> Iterator[tuple[str, Inputs]]:
    draw = Draw(dtype, "cpu", torch.Generator().manual_seed(13))
    for interleaved in (False, True):
        options = {"interleaved": interleaved, "seq_dim": 1}
        layout = "adjacent" if interleaved else "half"
        yield f"large, {layout}", (draw.x(2, 2100, 16, 64), *draw.table(2100, 32), None, options)
        part = draw.x(2, 700, 3, 5, 64)
        yield (
            f"large part, {layout}",
            (part[:, :, 1], *draw.table(700, 32), draw.ids(700, 2, 700), options),
        )
        yield f"large base, {layout}", (part, *draw.table(700, 32), None, {**options, "heads": 10})


def digests() -> dict[str, str]:
    """Name of the case to digest; a case whose variants differ says so instead."""
    found: dict[str, str] = {}
    for dtype in DTYPES:
        cases: list[tuple[str, Inputs]] = [
            (name, with_specials(sample(dtype))) for name, sample in SAMPLES.items()
        ]
        for name, (x, cos, sin, ids, options) in (*cases, *_around_vectors(dtype), *_large(dtype)):
            in_place = name not in SAMPLES or not SAMPLES[name].shared_memory
            variants: dict[str, str] = {}
            for threads in (1, 2):
                torch.set_num_threads(threads)
                variants[f"{threads} threads"] = _digest(
                    roformer_ext.rope(x, cos, sin, ids, **options)
                )
            if in_place:
                for threads in (1, 2):
                    torch.set_num_threads(threads)
                    own = torch.empty_strided(x.shape, x.stride(), dtype=dtype).copy_(x)
                    variants[f"{threads} threads in place"] = _digest(
                        roformer_ext.rope_(own, cos, sin, ids, **options)
                    )
            same = len(set(variants.values())) == 1
            found[f"{name} {dtype}"] = (
                variants["1 threads"] if same else f"variants differ: {variants}"
            )
    return found


if __name__ == "__main__":
    print(json.dumps({"level": roformer_ext.build_info()["cpu_level"], "digests": digests()}))
