"""Named inputs of the operator: the one list that every suite and benchmark draws from.

A sample builds `(x, cos, sin, position_ids, kwargs)`, the arguments of `roformer_ext.rope`, from a
dtype, a device and a generator; `draw.py` has the tensors that it is built of. Together the samples
visit every layout, table form, position form, stride pattern and degenerate size of the contract.
Sizes are small and, within one sample, distinct, so that a swapped dim cannot go unseen. Tables
are float32, or float64 beside a float64 x, unless the sample is about table dtypes. Suites that
want both pair layouts or both directions set `interleaved` and `conj` in the kwargs that they get.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from draw import Draw, Inputs
from torch import Tensor

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


Make = Callable[[Draw], Inputs]


@dataclass(frozen=True)
class Sample:
    """One named case. `shared_memory`: elements of x share memory, so `rope_` must refuse it."""

    name: str
    make: Make
    shared_memory: bool = False

    def build(
        self, dtype: torch.dtype, device: torch.device | str, generator: torch.Generator
    ) -> Inputs:
        return self.make(Draw(dtype, device, generator))

    def __call__(
        self, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu", seed: int = 0
    ) -> Inputs:
        """The sample with a generator of its own."""
        return self.build(dtype, device, torch.Generator().manual_seed(seed))


def _interleave(table: Tensor) -> Tensor:
    return table.repeat_interleave(2, dim=-1)


def _each(
    tables: tuple[Tensor, Tensor], change: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    return change(tables[0]), change(tables[1])


def _odd_offset(d: Draw, *shape: int) -> Tensor:
    return d.x(math.prod(shape) + 1)[1:].view(shape)


def _windows(d: Draw) -> Tensor:
    return d.x(2, 3, 16).unfold(-1, 8, 2)


I32 = torch.int32


F64, F32, BF16, F16 = torch.float64, torch.float32, torch.bfloat16, torch.float16


_LAYOUTS: dict[str, Make] = {
    "bhsd": lambda d: d.half((2, 3, 5, 8), (7, 4)),
    "bhsd_adjacent": lambda d: d.adjacent((2, 3, 5, 8), (7, 4), seq_dim=2),
    "bhsd_conj": lambda d: d.half((2, 3, 5, 8), d.free_table(7, 4), conj=True),
    "bshd": lambda d: d.adjacent((2, 5, 3, 8), (5, 4), seq_dim=-3),
    "bshd_conj": lambda d: d.adjacent((2, 5, 3, 8), d.free_table(5, 4), seq_dim=1, conj=True),
    "sbhd": lambda d: d.half((5, 2, 3, 8), (7, 4), seq_dim=0),
    "sbhd_negative_dim": lambda d: d.half((5, 2, 3, 8), (7, 4), seq_dim=-4),
    "packed": lambda d: d.half((5, 3, 8), (7, 4), seq_dim=0),
    "packed_negative_dim": lambda d: d.adjacent((5, 3, 8), (7, 4), seq_dim=-3),
    "bsd": lambda d: d.half((2, 5, 8), (7, 4), seq_dim=1),
    "bsd_default_dim": lambda d: d.adjacent((2, 5, 8), (7, 4)),
    "sd": lambda d: d.half((5, 8), (7, 4)),
    "sd_positive_dim": lambda d: d.adjacent((5, 8), (7, 4), seq_dim=0),
    "projection": lambda d: d.half((2, 5, 3, 4, 6), (7, 3), seq_dim=1),
    "projection_adjacent": lambda d: d.adjacent((2, 5, 3, 4, 6), (7, 3), seq_dim=-4),
    "projection_of_two": lambda d: d.half((3, 5, 2, 4, 6), (7, 3), seq_dim=1),
    "one_token": lambda d: d.half((1, 3, 1, 64), (4, 32)),
    "one_head": lambda d: d.adjacent((2, 1, 5, 8), (7, 4)),
    "one_batch": lambda d: d.half((1, 3, 5, 8), (7, 4), d.ids(7, 1, 5)),
    "wide": lambda d: d.half((2, 5, 3, 64), (7, 32), seq_dim=1),
    "wide_adjacent": lambda d: d.adjacent((2, 5, 3, 64), (7, 32), seq_dim=1),
}


_POSITIONS: dict[str, Make] = {
    "ids_s": lambda d: d.half((2, 3, 5, 8), (7, 4), d.ids(7, 5)),
    "ids_bs": lambda d: d.adjacent((2, 3, 5, 8), (7, 4), d.ids(7, 2, 5)),
    "ids_1s": lambda d: d.half((2, 3, 5, 8), (7, 4), d.ids(7, 1, 5)),
    "ids_int32": lambda d: d.half((2, 5, 3, 8), (7, 4), d.ids(7, 2, 5, dtype=I32), seq_dim=1),
    "ids_strided": lambda d: d.adjacent((2, 5, 3, 8), (7, 4), d.ids(7, 2, 10)[:, ::2], seq_dim=1),
    "ids_int32_strided": lambda d: d.half((2, 3, 5, 8), (7, 4), d.ids(7, 5, 2, dtype=I32).t()),
    "ids_expanded": lambda d: d.half((2, 3, 5, 8), (7, 4), d.ids(7, 5).expand(2, 5)),
    "ids_sbhd": lambda d: d.half((5, 2, 3, 8), (7, 4), d.ids(7, 2, 5), seq_dim=0),
    "ids_sbhd_s": lambda d: d.adjacent((5, 2, 3, 8), (7, 4), d.ids(7, 5), seq_dim=0),
    "ids_packed": lambda d: d.half((5, 3, 8), (7, 4), d.ids(7, 5), seq_dim=0),
    "ids_packed_1t": lambda d: d.adjacent((5, 3, 8), (7, 4), d.ids(7, 1, 5, dtype=I32), seq_dim=0),
    "ids_bsd": lambda d: d.half((2, 5, 8), (7, 4), d.ids(7, 2, 5)),
    "ids_sd": lambda d: d.adjacent((5, 8), (7, 4), d.ids(7, 5)),
    "ids_sd_1s": lambda d: d.half((5, 8), (7, 4), d.ids(7, 1, 5)),
    "ids_projection": lambda d: d.adjacent((2, 5, 3, 4, 6), (7, 3), d.ids(7, 2, 5), seq_dim=1),
    "ids_all_minus_one": lambda d: d.half((2, 3, 5, 8), (7, 4), d.ids(7, 5).fill_(-1)),
    "ids_repeated": lambda d: d.half((2, 3, 5, 8), (7, 4), d.ids(7, 2, 5).fill_(3)),
    "ids_short_table": lambda d: d.half((2, 3, 5, 8), (2, 4), d.ids(2, 5)),
}


_TABLES: dict[str, Make] = {
    "rows_bsr": lambda d: d.half((2, 3, 5, 8), (2, 5, 4)),
    "rows_1sr": lambda d: d.adjacent((2, 5, 3, 8), (1, 5, 4), seq_dim=1),
    "rows_sbhd": lambda d: d.half((5, 2, 3, 8), (2, 5, 4), seq_dim=0),
    "rows_sbhd_1sr": lambda d: d.half((5, 2, 3, 8), (1, 5, 4), seq_dim=0),
    "rows_bsd": lambda d: d.adjacent((2, 5, 8), (2, 5, 4)),
    "rows_bsd_1sr": lambda d: d.half((2, 5, 8), (1, 5, 4)),
    "rows_sd": lambda d: d.half((5, 8), (1, 5, 4)),
    "rows_projection": lambda d: d.half((2, 5, 3, 4, 6), (2, 5, 3), seq_dim=1),
    "rows_packed": lambda d: d.half((5, 3, 8), (5, 1, 4), seq_dim=0),
    "heads_bhsd": lambda d: d.half((2, 3, 5, 8), (1, 3, 5, 4)),
    "heads_full": lambda d: d.adjacent((2, 3, 5, 8), (2, 3, 5, 4)),
    "heads_only": lambda d: d.half((2, 5, 3, 8), (1, 1, 3, 4), seq_dim=1),
    "heads_and_count": lambda d: d.half((2, 5, 3, 8), (1, 5, 3, 4), seq_dim=1, heads=2),
    "heads_sbhd": lambda d: d.half((5, 2, 3, 8), (5, 1, 3, 4), seq_dim=0),
    "heads_packed": lambda d: d.adjacent((5, 3, 8), (5, 3, 4), seq_dim=0),
    "heads_projection": lambda d: d.half((2, 5, 3, 4, 6), (1, 5, 3, 4, 3), seq_dim=1, heads=7),
    "heads_projection_1h": lambda d: d.adjacent((2, 5, 3, 4, 6), (2, 5, 1, 4, 3), seq_dim=1),
    "one_row_for_all": lambda d: d.half((2, 3, 5, 8), (1, 1, 1, 4)),
    "batch_rows_bhsd": lambda d: d.adjacent((2, 3, 5, 8), (2, 1, 5, 4)),
    "bf16_tables": lambda d: d.half((2, 3, 5, 8), d.table(7, 4, cos=BF16, sin=BF16), d.ids(7, 5)),
    "f16_tables": lambda d: d.adjacent((2, 3, 5, 8), d.table(7, 4, cos=F16, sin=F16)),
    "f64_tables": lambda d: d.half((2, 3, 5, 8), d.table(7, 4, cos=F64, sin=F64)),
    "mixed_tables": lambda d: d.adjacent((2, 3, 5, 8), d.table(7, 4, cos=F16, sin=F64)),
    "f32_and_bf16_tables": lambda d: d.half(
        (2, 5, 3, 8), d.table(5, 4, cos=F32, sin=BF16), seq_dim=1
    ),
    "first_half_of_full": lambda d: d.half(
        (2, 3, 5, 8), _each(d.table(7, 4), lambda t: torch.cat((t, t), -1)[..., :4])
    ),
    "every_second_of_full": lambda d: d.adjacent(
        (2, 3, 5, 8), _each(d.table(7, 4), lambda t: _interleave(t)[..., ::2])
    ),
    "transposed_tables": lambda d: d.half(
        (2, 3, 5, 8), _each(d.table(4, 7), lambda t: t.t()), d.ids(7, 2, 5)
    ),
    "expanded_tables": lambda d: d.half(
        (2, 3, 5, 8), _each(d.table(1, 4), lambda t: t.expand(7, 4))
    ),
    "expanded_rows": lambda d: d.adjacent(
        (2, 3, 5, 8), _each(d.table(1, 5, 4), lambda t: t.expand(2, 5, 4))
    ),
    "sin_beside_cos": lambda d: d.half(
        (2, 5, 3, 8), d.table(5, 8)[0].split(4, -1)[::-1], seq_dim=1
    ),
    "differing_strides": lambda d: d.half((2, 3, 5, 8), (d.table(7, 4)[0], d.table(4, 7)[1].t())),
    "free_tables": lambda d: d.half((2, 3, 5, 8), d.free_table(7, 4), d.ids(7, 2, 5), conj=True),
}


_STRIDES: dict[str, Make] = {
    "query_of_projection": lambda d: d.half(d.x(2, 5, 3, 4, 8)[:, :, 0], (7, 4), seq_dim=1),
    "key_of_projection": lambda d: d.adjacent(
        d.x(2, 5, 3, 4, 8)[:, :, 1].transpose(1, 2), (7, 4), d.ids(7, 2, 5)
    ),
    "last_dims_transposed": lambda d: d.half(d.x(2, 3, 8, 5).mT, (7, 4)),
    "last_dims_transposed_adjacent": lambda d: d.adjacent(d.x(2, 5, 8, 3).mT, (7, 4), seq_dim=1),
    "every_second_channel": lambda d: d.adjacent(d.x(2, 3, 5, 16)[..., ::2], (7, 4)),
    "dims_reversed": lambda d: d.half(d.x(8, 5, 3, 2).permute(3, 2, 1, 0), (7, 4)),
    "expanded_batch": lambda d: d.half(d.x(1, 3, 5, 8).expand(2, 3, 5, 8), (7, 4)),
    "expanded_heads": lambda d: d.adjacent(d.x(2, 5, 1, 8).expand(2, 5, 3, 8), (7, 4), seq_dim=1),
    "expanded_channels": lambda d: d.half(d.x(2, 3, 5, 1).expand(2, 3, 5, 8), (7, 4)),
    "windows": lambda d: d.half(_windows(d), (7, 4)),
    "odd_offset": lambda d: d.adjacent(_odd_offset(d, 2, 3, 5, 8), (7, 4)),
    "odd_row_stride": lambda d: d.adjacent(d.x(2, 5, 3, 9)[..., 1:], (7, 4), seq_dim=1),
    "projection_swapped": lambda d: d.half(
        d.x(2, 5, 4, 3, 6).transpose(2, 3), (7, 3), seq_dim=1, heads=5
    ),
    "projection_sliced": lambda d: d.half(
        d.x(2, 5, 3, 7, 6)[:, :, :, :4], (7, 3), d.ids(7, 5), seq_dim=1, heads=6
    ),
    "projection_reversed": lambda d: d.adjacent(
        d.x(6, 4, 3, 5, 2).permute(4, 3, 2, 1, 0), (7, 3), seq_dim=1
    ),
}


_WIDTHS: dict[str, Make] = {
    "heads_none": lambda d: d.half((2, 3, 5, 8), (7, 4), heads=0),
    "heads_two": lambda d: d.adjacent((2, 3, 5, 8), (7, 4), heads=2),
    "heads_all": lambda d: d.half((2, 5, 3, 8), (7, 4), heads=3, seq_dim=1),
    "heads_of_sbhd": lambda d: d.half((5, 2, 3, 8), (7, 4), heads=1, seq_dim=0),
    "heads_of_packed": lambda d: d.half((5, 3, 8), (7, 4), d.ids(7, 5), heads=2, seq_dim=0),
    "query_and_key": lambda d: d.adjacent((2, 5, 3, 4, 6), (7, 3), heads=8, seq_dim=1),
    "heads_across_parts": lambda d: d.half(
        (2, 5, 3, 4, 6), (7, 3), d.ids(7, 2, 5), heads=5, seq_dim=1
    ),
    "projection_heads_none": lambda d: d.half((2, 5, 3, 4, 6), (7, 3), heads=0, seq_dim=1),
    "partial": lambda d: d.half((2, 3, 5, 10), (7, 4)),
    "partial_adjacent": lambda d: d.adjacent((2, 3, 5, 10), (7, 4)),
    "offset": lambda d: d.half((2, 3, 5, 11), (7, 4), d.ids(7, 2, 5), rotary_offset=2),
    "offset_odd_adjacent": lambda d: d.adjacent((2, 5, 3, 11), (7, 4), rotary_offset=3, seq_dim=1),
    "offset_and_heads": lambda d: d.half(
        (2, 5, 3, 11), (7, 3), rotary_offset=1, heads=2, seq_dim=1
    ),
    "odd_pairs": lambda d: d.half((2, 3, 5, 6), (7, 3)),
    "odd_width": lambda d: d.adjacent((2, 3, 5, 7), (7, 3)),
    "one_pair": lambda d: d.adjacent((2, 3, 5, 2), (7, 1)),
    "one_channel": lambda d: d.half((2, 3, 5, 1), (7, 0)),
    "no_channel": lambda d: d.half((2, 3, 5, 0), (7, 0)),
    "no_pair": lambda d: d.half((2, 3, 5, 8), (7, 0), d.ids(7, 5), rotary_offset=8),
    "no_batch": lambda d: d.half((0, 3, 5, 8), (7, 4), d.ids(7, 0, 5)),
    "no_head": lambda d: d.adjacent((2, 0, 5, 8), (7, 4)),
    "no_token": lambda d: d.half((2, 3, 0, 8), (0, 4)),
    "no_packed_token": lambda d: d.half((0, 3, 8), (7, 4), d.ids(7, 0), seq_dim=0),
    "no_projection": lambda d: d.half((2, 5, 0, 4, 6), (7, 3), seq_dim=1),
}


_ON_TOP_OF_EACH_OTHER = {"expanded_batch", "expanded_heads", "expanded_channels", "windows"}


SAMPLES: dict[str, Sample] = {
    name: Sample(name, make, name in _ON_TOP_OF_EACH_OTHER)
    for group in (_LAYOUTS, _POSITIONS, _TABLES, _STRIDES, _WIDTHS)
    for name, make in group.items()
}
