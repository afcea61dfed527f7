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


@pytest.mark.slow
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
    pytest.param(layout, seq_dim, form, id=f"{layout}-{form}")
    for layouts in LAYOUTS.values()
    for seq_dim, layout in layouts.items()
    for form in forms(layout)
]


def check_rules(layout: str, seq_dim: int, form: str) -> None:
    """Forward and backward: in place for x alone, out of place for x and the tables."""
    x, cos, sin, ids = inputs(layout, form)
    grad = torch.randn_like(x)
    options = {"seq_dim": seq_dim, "interleaved": True}
    leaves = [t.clone().requires_grad_() for t in (x, cos, sin)]
    alone = roformer_ext.rope(*leaves, ids, **options)
    alone.backward(grad)
    places = None if ids is None else spread(ids)
    for of_x in [*map(Shard, range(x.dim() - 1)), Partial()]:
        given = spread(x, of_x).requires_grad_()
        middle = given * 1.0
        result = roformer_ext.rope_(middle, spread(cos), spread(sin), places, **options)
        assert result is middle and result.placements == (of_x,)
        same(result, alone)
        result.backward(spread(grad))
        same(given.grad, leaves[0].grad)

        given = spread(x, of_x).requires_grad_()
        tables = [spread(t).requires_grad_() for t in (cos, sin)]
        result = roformer_ext.rope(given, *tables, places, **options)
        assert result.placements == (of_x,)
        same(result, alone)
        result.backward(spread(grad))
        same(given.grad, leaves[0].grad)
        for table, leaf in zip(tables, leaves[1:]):
            torch.testing.assert_close(table.grad.full_tensor(), leaf.grad)


def check_uncovered() -> None:
    """Channels cannot be split, nor heads that are counted: gathered first, or refused in place."""
    x, cos, sin, ids = inputs("bshd", "ids")
    for dim, options in ((3, {}), (2, {"heads": 3})):
        expected = roformer_ext.rope(x, cos, sin, ids, seq_dim=1, **options)
        given = spread(x, Shard(dim))
        same(roformer_ext.rope(given, cos, sin, ids, seq_dim=1, **options), expected)
        same(given, x)
        with pytest.raises(RuntimeError, match="in-place operations that require placement"):
            roformer_ext.rope_(given, cos, sin, ids, seq_dim=1, **options)
        same(given, x)
    tables = [spread(t).requires_grad_() for t in (cos, sin)]
    expected = roformer_ext.rope(x, cos, sin, ids, seq_dim=1)
    turned = roformer_ext.rope_(spread(x, Shard(1)) * 1.0, *tables, ids, seq_dim=1)
    same(turned, expected)


def test_what_no_rule_covers(ranks: Ranks) -> None:
    ranks.run(check_uncovered)


def check_rotary_module() -> None:
    """`RotaryEmbedding` makes plain tables, longer than the sequence after a first call."""
    rotary = roformer_ext.RotaryEmbedding(DIM, max_position=40)
    q, k = torch.randn(2, BATCH, HEADS, SEQ, DIM)
    expected = rotary(q, k)
    for dim in range(3):
        for result, alone in zip(rotary(spread(q, Shard(dim)), spread(k, Shard(dim))), expected):
            assert result.placements == (Shard(dim),)
            same(result, alone)


def test_rotary_embedding_takes_dtensors(ranks: Ranks) -> None:
    ranks.run(check_rotary_module)


@pytest.mark.parametrize(("layout", "seq_dim", "form"), CASES)
def test_rules_need_no_communication(ranks: Ranks, layout: str, seq_dim: int, form: str) -> None:
    ranks.run(check_rules, layout, seq_dim, form)
