"""What is timed on a GPU: shapes, and the tensors of one case.

Two shapes that the literature measures: RoFormer-base, 64 sequences of 512 tokens, as one packed
projection rotated in place and as separate q and k; and Llama-3-8B, 8192 tokens with 32 query and 8
key heads. Values are random, never zero: hardware can be faster on zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

import roformer_ext
from roformer_ext import reference

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float16": torch.float16}


@dataclass(frozen=True)
class Shape:
    """Tensors [batch, seq, heads, width]: all heads out of place, or `rotated` heads in place."""

    name: str
    batch: int
    seq: int
    heads: tuple[int, ...]
    width: int
    rotated: int | None = None


SHAPES = (
    Shape("roformer-base packed", 64, 512, (36,), 64, rotated=24),
    Shape("roformer-base q, k", 64, 512, (12, 12), 64),
    Shape("llama-3-8b q, k", 1, 8192, (32, 8), 128),
)


@dataclass
class Case:
    shape: Shape
    dtype: str
    interleaved: bool
    backward: bool

    def __post_init__(self) -> None:
        generator = torch.Generator("cuda").manual_seed(1)
        shape = self.shape
        self.parts = [
            torch.randn(
                (shape.batch, shape.seq, heads, shape.width), device="cuda", generator=generator
            ).to(DTYPES[self.dtype])
            for heads in shape.heads
        ]
        cos, sin = reference.tables(shape.seq, shape.width)
        self.cos, self.sin = cos.cuda(), sin.cuda()

    @property
    def in_place(self) -> bool:
        return self.shape.rotated is not None

    @property
    def name(self) -> str:
        layout = "adjacent" if self.interleaved else "half"
        direction = "backward" if self.backward else "forward"
        return f"{self.shape.name}, {self.dtype}, {layout}, {direction}"

    def moving(self) -> list[Tensor]:
        """The parts of the tensors that a rotation reads and writes."""
        return [part[:, :, : self.shape.rotated] for part in self.parts]

    @property
    def bytes(self) -> int:
        """The least traffic: every element read and written once, the tables read once."""
        table = 2 * self.cos.numel() * self.cos.element_size()
        return table + sum(2 * part.numel() * part.element_size() for part in self.moving())

    def on_cpu(self) -> list[Tensor]:
        """The rotated parts as the CPU's kernels compute them."""
        return [
            roformer_ext.rope(
                part.cpu(),
                self.cos.cpu(),
                self.sin.cpu(),
                interleaved=self.interleaved,
                seq_dim=1,
                conj=self.backward,
            )
            for part in self.moving()
        ]

    def wanted(self) -> list[Tensor]:
        """The rotated parts in float64."""
        return [
            reference.rope(
                part.double(),
                self.cos.double(),
                self.sin.double(),
                interleaved=self.interleaved,
                seq_dim=1,
                conj=self.backward,
            )
            for part in self.moving()
        ]

    def ours_in_place(self, part: Tensor) -> Tensor:
        return roformer_ext.rope_(
            part,
            self.cos,
            self.sin,
            interleaved=self.interleaved,
            seq_dim=1,
            heads=self.shape.rotated,
            conj=self.backward,
        )

    def ours(self, part: Tensor) -> Tensor:
        return roformer_ext.rope(part, self.cos, self.sin, interleaved=self.interleaved, seq_dim=1)


def all_cases() -> Iterator[tuple[Shape, str, bool, bool]]:
    """Every case's arguments; the dtype that matters most first, should time run out."""
    for dtype in DTYPES:
        for shape in SHAPES:
            for interleaved in (False, True):
                for backward in (False, True):
                    yield shape, dtype, interleaved, backward
