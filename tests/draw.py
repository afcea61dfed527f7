"""The inputs of one call of the operator: what draws them, and what is done to them afterwards.

`Inputs` are the arguments of `roformer_ext.rope`. `Draw` makes them for one dtype and device from
a generator; `with_specials` and `dense` change the numbers or the memory of inputs that are
already there. All drawing is done on the CPU in float64 and converted last, so the same seed gives
the same numbers on every device. Which inputs are worth drawing is said in `samples.py`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

Inputs = tuple[Tensor, Tensor, Tensor, Tensor | None, dict[str, Any]]


class Draw:
    """Random tensors for one sample, drawn on the CPU, so every device sees the same numbers."""

    def __init__(
        self, dtype: torch.dtype, device: torch.device | str, generator: torch.Generator
    ) -> None:
        self.dtype, self.device, self.generator = dtype, device, generator
        self.table_dtype = torch.float64 if dtype == torch.float64 else torch.float32

    def x(self, *shape: int) -> Tensor:
        """Standard normal values, contiguous."""
        drawn = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        return drawn.to(self.dtype).to(self.device)

    def table(
        self, *shape: int, cos: torch.dtype | None = None, sin: torch.dtype | None = None
    ) -> tuple[Tensor, Tensor]:
        """Cosine and sine of random angles: a unit table of the given shape and dtypes."""
        angle = torch.rand(shape, generator=self.generator, dtype=torch.float64) * (2 * math.pi)
        return (
            angle.cos().to(cos or self.table_dtype).to(self.device),
            angle.sin().to(sin or self.table_dtype).to(self.device),
        )

    def free_table(self, *shape: int) -> tuple[Tensor, Tensor]:
        """A table whose cosine and sine have nothing to do with each other."""
        cos, _ = self.table(*shape)
        _, sin = self.table(*shape)
        return cos * 1.5, sin - 0.25

    def ids(self, rows: int, *shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
        """Positions in [-1, rows), with at least one -1 and one repeat where there is room."""
        ids = torch.randint(-1, rows, shape, generator=self.generator, dtype=dtype)
        if ids.numel() > 2:
            ids.view(-1)[1] = -1
            ids.view(-1)[2] = ids.view(-1)[0]
        return ids.to(self.device)

    def half(
        self,
        x: Tensor | tuple[int, ...],
        tables: tuple[Tensor, Tensor] | tuple[int, ...],
        ids: Tensor | None = None,
        **options: Any,
    ) -> Inputs:
        """A call's arguments; x and the unit tables may be given by their shapes."""
        x = x if isinstance(x, Tensor) else self.x(*x)
        cos, sin = tables if isinstance(tables[0], Tensor) else self.table(*tables)
        return x, cos, sin, ids, options

    def adjacent(self, *inputs: Any, **options: Any) -> Inputs:
        """The same with the other pair layout."""
        return self.half(*inputs, interleaved=True, **options)


def with_specials(inputs: Inputs) -> Inputs:
    """Overwrite a part of x and of the tables with the numbers that arithmetic gets wrong first.

    Zeros of both signs, infinities, NaN, subnormals and extremes, written through the storages, so
    that expanded and strided tensors keep their form. Positions stay as they are.
    """
    for number, tensor in enumerate(inputs[:3]):
        flat = torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(
            tensor.untyped_storage()
        )
        info = torch.finfo(tensor.dtype)
        least = info.smallest_normal * info.eps
        values = [
            math.inf,
            -0.0,
            math.nan,
            least,
            -math.inf,
            info.smallest_normal * 0.75,
            info.max,
            0.0,
            -3 * least,
        ]
        special = torch.tensor(values, dtype=torch.float64).to(tensor.dtype).to(tensor.device)
        # Steps that share no factor with a row's length reach both members of the pairs.
        places = torch.arange(flat.numel(), device=tensor.device)[number :: 7 + 4 * number]
        flat[places] = special[torch.arange(places.numel(), device=tensor.device) % special.numel()]
    return inputs


def dense(sample: Inputs) -> Inputs:
    """The sample with an x that owns its memory; its strides stay where they are dense."""
    return (sample[0].clone(), *sample[1:])
