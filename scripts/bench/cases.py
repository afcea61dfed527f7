"""What is measured: shapes, dtypes, kinds of use, and which of them belong to which run.

A case is one kind of use on one set of tensors with one number of threads. Both pair layouts and
every rival are contestants of the same case, so that they meet in the same interleaved run. Targets
are set for tensors of 12 to 64 MiB; what is smaller or larger is printed and not judged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

ITEM_SIZE = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
MIB = 1 << 20

# in_place: rope_. fresh: rope, its output allocated in the timed region and dropped after it, as a
# user would. fwd_bwd: forward and backward. call: one token. threads: one thread against two.
KINDS = ("in_place", "fresh", "fwd_bwd", "call", "threads")


@dataclass(frozen=True)
class Shape:
    """One or two tensors (q and k) of `sizes`; `heads` leading heads rotate when it is given."""

    name: str
    sizes: tuple[int, ...]
    seq_dim: int
    tensors: int = 1
    heads: int | None = None

    @property
    def seq_len(self) -> int:
        return self.sizes[self.seq_dim]

    @property
    def head_dim(self) -> int:
        return self.sizes[-1]

    @property
    def label(self) -> str:
        sizes = "[" + ",".join(map(str, self.sizes)) + "]"
        note = f" heads={self.heads}" if self.heads else ""
        return ("q,k " if self.tensors == 2 else "") + sizes + note

    @property
    def rotated(self) -> int:
        """Elements that are read and written once by an ideal kernel, over all tensors."""
        elements = math.prod(self.sizes) * self.tensors
        return elements * self.heads // self.sizes[-2] if self.heads else elements


@dataclass(frozen=True)
class Case:
    """One line of the table per pair layout; `compiled` says whether torch.compile takes part."""

    kind: str
    shape: Shape
    dtype: str
    threads: int = 1
    compiled: bool = False

    @property
    def name(self) -> str:
        return f"{self.kind} {self.dtype} {self.shape.name} t{self.threads}"

    @property
    def tensor_mib(self) -> float:
        return math.prod(self.shape.sizes) * ITEM_SIZE[self.dtype] / MIB

    @property
    def traffic(self) -> int:
        """Bytes of the ideal kernel: x read once, y written once, the float32 table read once per
        tensor; twice all that for forward and backward."""
        table = 2 * self.shape.seq_len * (self.shape.head_dim // 2) * 4 * self.shape.tensors
        once = 2 * self.shape.rotated * ITEM_SIZE[self.dtype] + table
        return once * (2 if self.kind == "fwd_bwd" else 1)


BHSD = Shape("bhsd", (8, 12, 512, 64), -2, tensors=2)
BSHD = Shape("bshd", (8, 512, 12, 64), -3, tensors=2)
PACKED = Shape("packed", (8, 512, 36, 64), -3, heads=24)
LLAMA = Shape("llama", (1, 32, 2048, 128), -2)
LONG = Shape("long", (1, 12, 16384, 64), -2)
TOKEN = Shape("token", (1, 12, 1, 64), -2)
# 1.5 MiB each in float32: inside the last level of cache, and enough work for two threads.
CACHED = Shape("cached", (1, 12, 512, 64), -2, tensors=2)

LARGE = (BHSD, BSHD, PACKED, LLAMA, LONG)
DTYPES = ("float32", "bfloat16", "float16", "float64")


def _takes(kind: str, shape: Shape) -> bool:
    # A packed projection is rotated in place; a copy of it out of place would copy the values too.
    return kind == "in_place" or shape is not PACKED


def full() -> list[Case]:
    """Every kind, shape, dtype and number of threads, torch.compile included."""
    cases = [
        Case(kind, shape, dtype, threads, compiled=True)
        for threads in (1, 2)
        for kind in ("in_place", "fresh", "fwd_bwd")
        for dtype in DTYPES
        for shape in LARGE
        if _takes(kind, shape)
    ]
    return cases + [Case("call", TOKEN, dtype) for dtype in DTYPES] + _thread_cases(DTYPES)


def default() -> list[Case]:
    """What the targets speak of, and a line or two of the rest: about four minutes in all."""
    cases = [
        Case("in_place", shape, dtype, compiled=shape in (BHSD, LLAMA))
        for dtype in ("float32", "bfloat16")
        for shape in LARGE
    ]
    cases += [Case("in_place", LLAMA, dtype) for dtype in ("float16", "float64")]
    cases += [
        Case("fresh", shape, dtype)
        for dtype in ("float32", "bfloat16")
        for shape in (BHSD, LLAMA, LONG)
    ]
    cases += [Case("fresh", LLAMA, dtype) for dtype in ("float16", "float64")]
    cases += [
        Case("fwd_bwd", shape, dtype)
        for dtype in ("float32", "bfloat16")
        for shape in (BHSD, LLAMA)
    ]
    cases += [Case("in_place", BHSD, "float32", threads=2), Case("call", TOKEN, "float32")]
    return cases + _thread_cases(("float32", "bfloat16"))


def quick() -> list[Case]:
    """A smoke run: every kind once, on tensors of a few kilobytes."""
    small = Shape("small", (2, 3, 16, 8), -2, tensors=2)
    rows = Shape("small-bshd", (2, 16, 3, 8), -3, tensors=2)
    packed = Shape("small-packed", (2, 16, 9, 8), -3, heads=6)
    cases = [Case("in_place", shape, "float32") for shape in (small, rows, packed)]
    cases += [Case("fresh", small, dtype) for dtype in DTYPES]
    cases += [Case("fwd_bwd", small, "float32"), Case("fwd_bwd", rows, "bfloat16")]
    return cases + [Case("call", TOKEN, "float32"), Case("threads", small, "float32", threads=2)]


def _thread_cases(dtypes: tuple[str, ...]) -> list[Case]:
    return [Case("threads", CACHED, dtype, threads=2) for dtype in dtypes]
