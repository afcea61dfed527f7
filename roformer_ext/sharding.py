"""How the operators run on DTensors: which layouts of their arguments go together.

The idea: a rotation looks at one token and one head at a time, so x may be split along batch,
heads and sequence, with what belongs to a token (its id, its row of a table) split beside it; and
it is linear in x, so partial sums may stay partial. What must stay true: on every device the
result is its piece of the whole one; what no rule covers is redistributed by DTensor or, in place,
refused by it.

Note [Two ways to a DTensor]
`rope` and `rope_` are single nodes to DTensor, and `register` tells it the rules. Where they step
aside to torch's own operators (a table requires grad, `rope_full_width`), each device computes on
its pieces as plain tensors, by the same rules, and gradients of tables are partial sums.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch
from torch import Tensor

from . import _library  # noqa: F401  (loads the operators)
from .reference import LAYOUTS

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor, Placement

Rule: TypeAlias = "tuple[list[Placement], list[Placement | None]]"
"""Placements of the result, and of x, cos, sin and ids, along one dim of a mesh."""

_ROPE = torch.ops.roformer_ext.rope.default
_ROPE_ = torch.ops.roformer_ext.rope_.default
_FULL_WIDTH = torch.ops.roformer_ext.rope_full_width.default


def of(operator: Any, x: Tensor) -> Any:
    """The operator itself, or what takes its place where x is a DTensor.

    cos, sin and ids that are plain tensors beside a DTensor count as replicated: they must be the
    same, and whole, on every device.
    """
    return functools.partial(_on_mesh, operator) if is_dtensor(x) else operator


def is_dtensor(x: Tensor) -> bool:
    """Whether x is a DTensor, without the import that would define one."""
    return hasattr(x, "device_mesh")


def local(x: Tensor) -> Tensor:
    """What this device holds of x: x itself, unless it is a DTensor."""
    to_local = getattr(x, "to_local", None)
    return x if to_local is None else cast(Tensor, to_local())


def whole(x: Tensor) -> Tensor:
    """All of x on each device: x itself, unless it is a DTensor, whose devices must all call."""
    full_tensor = getattr(x, "full_tensor", None)
    return x if full_tensor is None else cast(Tensor, full_tensor())


def placed_as(x: Tensor, other: Tensor) -> Tensor:
    """x in the layout of `other`; a plain x, for a DTensor, must be whole on every device."""
    if is_dtensor(x) or not is_dtensor(other):
        return x
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(other, DTensor)
    return distribute_tensor(x, other.device_mesh, other.placements, src_data_rank=None)


@functools.cache
def register() -> None:
    """Tell DTensor the rules, once in a process. `torch.distributed.tensor` is slow to import, so
    this waits for the first DTensor, or for `import roformer_ext.distributed`.
    """
    from torch.distributed.tensor.experimental import register_sharding

    register_sharding([_ROPE, _ROPE_])(rules)


def rules(
    x: Any, cos: Any, sin: Any, position_ids: Any = None, *, seq_dim: int = -2, **options: Any
) -> list[Rule]:
    """Every set of placements that needs no communication; the first is replication.

    x, cos, sin, position_ids: anything with a shape.
    """
    from torch.distributed.tensor import Partial, Replicate, Shard

    def rule(of_x: Placement, of_table: Placement, of_ids: Placement) -> Rule:
        return [of_x], [of_x, of_table, of_table, None if position_ids is None else of_ids]

    def split(dim: int | None) -> Placement:
        return Replicate() if dim is None else Shard(dim)

    found = [
        rule(of_x, Replicate(), Replicate()) for of_x in (Replicate(), Partial(), Partial("avg"))
    ]
    for dim, table_dim, ids_dim in _splits(x, cos, position_ids, seq_dim, options.get("heads")):
        found.append(rule(Shard(dim), split(table_dim), split(ids_dim)))
    return found


def _splits(
    x: Any, table: Any, ids: Any, seq_dim: int, heads: int | None
) -> Iterator[tuple[int, int | None, int | None]]:
    """Dims of x that may be split, each with the dims of tables and ids to be split beside it."""
    dims = len(x.shape)
    layout = LAYOUTS.get(dims, {}).get(seq_dim % dims, "")
    for dim, name in enumerate(layout[:-1]):
        if name in "ph" and heads is not None:
            continue  # they are counted over all devices
        table_dim = ids_dim = None
        if len(table.shape) == dims != 2:
            table_dim = dim if table.shape[dim] > 1 else None
        elif len(table.shape) == 3:
            table_dim = _beside(name, table)
        elif ids is not None:
            ids_dim = _beside(name, ids)
        elif name == "s":
            if table.shape[0] != x.shape[dim]:
                continue  # the rows of a device would not be those of its tokens
            table_dim = 0
        yield dim, table_dim, ids_dim


def _beside(name: str, t: Any) -> int | None:
    """The dim of ids [S], [1, S] or [B, S], or of rows [B or 1, S, R], that is x's `name`."""
    seq = 0 if len(t.shape) == 1 else 1
    if name == "s":
        return seq
    return 0 if name == "b" and seq == 1 and t.shape[0] > 1 else None


def _on_mesh(
    operator: Callable[..., Tensor],
    x: DTensor,
    cos: Tensor,
    sin: Tensor,
    position_ids: Tensor | None,
    **options: Any,
) -> Tensor:
    register()
    if position_ids is None and cos.dim() == sin.dim() == 2:
        # Rows are split as tokens are, which needs as many of them.
        length = x.shape[options["seq_dim"]]
        cos, sin = cos[:length], sin[:length]
    ids = None if position_ids is None else _replicated(position_ids, x)
    arguments = (_replicated(cos, x), _replicated(sin, x), ids)
    differentiable = torch.is_grad_enabled() and (cos.requires_grad or sin.requires_grad)
    if operator is not _FULL_WIDTH and not differentiable:
        return operator(x, *arguments, **options)
    if operator is _ROPE_:
        return x.copy_(_on_pieces(_ROPE, cast("DTensor", x.clone()), *arguments, **options))
    return _on_pieces(operator, x, *arguments, **options)


def _replicated(t: Tensor, x: DTensor) -> DTensor:
    from torch.distributed.tensor import DTensor, Replicate

    if isinstance(t, DTensor):
        return t
    return DTensor.from_local(t, x.device_mesh, [Replicate()] * x.device_mesh.ndim, run_check=False)


def _on_pieces(
    operator: Callable[..., Tensor], x: DTensor, *others: DTensor | None, **options: Any
) -> DTensor:
    """The operator on what each device holds, after a redistribution where no rule covers it."""
    from torch.distributed.tensor import DTensor, Partial, Replicate

    mesh, known = x.device_mesh, rules(x, *others, **options)
    chosen = [
        next((rule for rule in known if rule[1][0] == placement), known[0])
        for placement in x.placements
    ]
    outputs = [out for (out,), _ in chosen]
    pieces: list[Tensor | None] = [x.redistribute(mesh, outputs).to_local()]
    for index, t in enumerate(others, 1):
        if t is None:
            pieces.append(None)
            continue
        placements = [cast("Placement", inputs[index]) for _, inputs in chosen]
        # A table that other devices read as well gets a part of its gradient from each of them.
        gradients = [
            Partial() if own == Replicate() != out else own for own, out in zip(placements, outputs)
        ]
        pieces.append(t.redistribute(mesh, placements).to_local(grad_placements=gradients))
    result = operator(*pieces, **options)
    strides = torch.empty_like(torch.empty_strided(x.shape, x.stride(), device="meta")).stride()
    return DTensor.from_local(result, mesh, outputs, run_check=False, shape=x.shape, stride=strides)
