"""`rope` on DTensors: every sample under every placement of x, against one process.

Whether a rule covers a placement or DTensor redistributes for it, the result must be the same bits,
and the gradients those of one process. Where a rule is meant to cover, the placement of the result
says that it did.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ranks import Ranks
from samples import SAMPLES
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import (
    DTensor,
    Partial,
    Placement,
    Replicate,
    Shard,
    distribute_tensor,
)

import roformer_ext
from roformer_ext.reference import LAYOUTS

BATCH, SEQ, HEADS, DIM = 3, 7, 5, 8


def mesh() -> Any:
    return init_device_mesh("cpu", (2,))


def spread(t: Tensor, placement: Placement = Replicate()) -> DTensor:  # noqa: B008
    if isinstance(placement, Partial):
        # Exact pieces: halves in float64 sum up to the bits that they came from.
        return DTensor.from_local(t / 2, mesh(), [placement], run_check=False)
    return distribute_tensor(t, mesh(), [placement])


def same(result: Tensor, expected: Tensor) -> None:
    assert isinstance(result, DTensor)
    assert result.shape == expected.shape
    torch.testing.assert_close(result.full_tensor(), expected, rtol=0, atol=0, equal_nan=True)


def check_sample(name: str) -> None:
    x, cos, sin, ids, options = SAMPLES[name](torch.float64)
    expected = roformer_ext.rope(x, cos, sin, ids, **options)
    for dim in [None, *range(x.dim())]:
        of_x = Replicate() if dim is None else Shard(dim)
        tables = spread(cos), spread(sin), None if ids is None else spread(ids)
        same(roformer_ext.rope(spread(x, of_x), *tables, **options), expected)
        # Plain tensors count as replicated.
        same(roformer_ext.rope(spread(x, of_x), cos, sin, ids, **options), expected)
        full = [t.repeat(*[1] * (t.dim() - 1), 2) for t in (cos, sin)]
        same(
            roformer_ext.rope_full_width(spread(x, of_x), *full, ids, **options),
            roformer_ext.rope_full_width(x, *full, ids, **options),
        )


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_under_every_placement(ranks: Ranks, name: str) -> None:
    ranks.run(check_sample, name)


def inputs(layout: str, form: str) -> tuple[Tensor, ...]:
    """x, cos, sin and ids or None."""
    sizes = {"b": BATCH, "s": SEQ, "p": 3, "h": HEADS, "d": DIM}
    x = torch.randn([sizes[name] for name in layout], dtype=torch.float64)
    shape = {
        "table": (SEQ,),
        "long table": (SEQ + 4,),
        "shared ids": (SEQ,),
        "ids": (SEQ,),
        "rows": (BATCH if "b" in layout else 1, SEQ),
        "per head": [sizes[n] if n in "hs" else 1 for n in layout[:-1]],
    }[form]
    cos, sin = torch.randn(2, *shape, DIM // 2, dtype=torch.float64)
    ids = None
    if form == "ids":
        ids = torch.randint(-1, SEQ, (BATCH, SEQ) if "b" in layout else (SEQ,))
    elif form == "shared ids":
        ids = torch.randint(-1, SEQ, (1, SEQ))
    return x, cos, sin, ids


def forms(layout: str) -> list[str]:
    found = ["table", "long table", "shared ids", "ids"]
    if len(layout) != 3:
        found.append("rows")
    return [*found, "per head"] if "h" in layout else found


CASES = [
    pytest.param(layout, dims, seq_dim, form, id=f"{layout}-{form}")
    for dims, layouts in LAYOUTS.items()
    for seq_dim, layout in layouts.items()
    for form in forms(layout)
]


def check_rules(layout: str, seq_dim: int, form: str) -> None:
    """Forward and backward, out of place, in place, with and without gradients of the tables."""
    x, cos, sin, ids = inputs(layout, form)
    grad = torch.randn_like(x)
    for of_x in [*map(Shard, range(x.dim())), Replicate(), Partial()]:
        for in_place in (False, True):
            for of_tables in (False, True):
                leaves = [t.clone().requires_grad_() for t in (x, cos, sin)]
                alone = roformer_ext.rope(*leaves, ids, seq_dim=seq_dim, interleaved=True)
                alone.backward(grad)
                given = spread(x, of_x).requires_grad_()
                tables = [spread(t).requires_grad_(of_tables) for t in (cos, sin)]
                places = None if ids is None else spread(ids)
                covered = of_x != Shard(x.dim() - 1)
                if in_place and not covered:
                    continue
                rope = roformer_ext.rope_ if in_place else roformer_ext.rope
                middle = given * 1.0
                result = rope(middle, *tables, places, seq_dim=seq_dim, interleaved=True)
                assert not in_place or result is middle
                same(result, alone.detach())
                assert not covered or result.placements == (of_x,)
                result.backward(spread(grad))
                same(given.grad, leaves[0].grad)
                if of_tables:
                    for table, leaf in zip(tables, leaves[1:]):
                        torch.testing.assert_close(table.grad.full_tensor(), leaf.grad)


@pytest.mark.parametrize(("layout", "dims", "seq_dim", "form"), CASES)
def test_rules_need_no_communication(
    ranks: Ranks, layout: str, dims: int, seq_dim: int, form: str
) -> None:
    ranks.run(check_rules, layout, seq_dim, form)
