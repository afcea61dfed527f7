"""Our operator and the floors of a case, each contestant checked against the oracle before it runs.

A floor is a copy of what rotates: `copy` into memory that is kept, `clone` into memory allocated in
the timed region and dropped after it. Of a packed projection `copy` takes the heads that rotate to
another projection, strides and all; `dense copy` moves as many bytes without gaps. In place, our
operator rotates buffers of its own again and again; a rotation keeps the norm, so the values stay
ordinary numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import roformer_ext
from bench import inputs, rivals
from bench.cases import Case
from bench.inputs import Inputs
from bench.timing import Contestant

LAYOUTS = {"adjacent": True, "half": False}
FLOORS = ("copy", "dense copy", "clone")
# Two products, a sum and their roundings; the half types are computed in float32, so that of theirs
# only the last rounding is to be seen.
OUR_ROUNDINGS = {"float64": 4.0, "float32": 4.0, "bfloat16": 1.01, "float16": 1.01}


@dataclass(frozen=True)
class Field:
    """Who runs in a case: checked contestants, each rival's layout, who is absent and why."""

    contestants: list[Contestant]
    interleaved: dict[str, bool]
    absent: dict[str, str]


def gather(case: Case) -> Field:
    """Build and check everybody; AssertionError names the one that is wrong."""
    data = inputs.make(case)
    wanted = {interleaved: data.expected(interleaved) for interleaved in (True, False)}
    field = Field([], {}, {})
    for layout, interleaved in LAYOUTS.items():
        run = _ours(data, interleaved)
        inputs.check(layout, run(), wanted[interleaved], case.dtype, OUR_ROUNDINGS[case.dtype])
        field.contestants.append(Contestant(layout, run))
    for rival, rotate in rivals.present(data):
        if isinstance(rotate, rivals.Absent):
            field.absent[rival.name] = str(rotate)
            continue
        run = _forward_or_both(data, data.base if case.kind == "fwd_bwd" else data.parts, rotate)
        rival.check(run(), wanted[rival.interleaved], case.dtype)
        field.contestants.append(Contestant(rival.name, run))
        field.interleaved[rival.name] = rival.interleaved
    field.contestants.extend(_floors(data))
    return field


def _ours(data: Inputs, interleaved: bool) -> Callable[[], list[Tensor]]:
    case, cos, sin = data.case, data.cos, data.sin
    seq_dim, heads = case.shape.seq_dim, case.shape.heads
    if case.kind == "in_place":
        _check_passed_through(data, interleaved)
        buffers = [x.clone() for x in data.base]
        parts = inputs.rotating(buffers, heads)

        def in_place() -> list[Tensor]:
            for x in buffers:
                roformer_ext.rope_(
                    x, cos, sin, interleaved=interleaved, seq_dim=seq_dim, heads=heads
                )
            return parts

        return in_place

    def rotate(*xs: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            roformer_ext.rope(x, cos, sin, interleaved=interleaved, seq_dim=seq_dim) for x in xs
        )

    return _forward_or_both(data, data.base, rotate)


def _check_passed_through(data: Inputs, interleaved: bool) -> None:
    shape = data.case.shape
    if shape.heads is None:
        return
    for x in data.base:
        y = roformer_ext.rope_(
            x.clone(), data.cos, data.sin, interleaved=interleaved, seq_dim=-3, heads=shape.heads
        )
        assert torch.equal(y[:, :, shape.heads :], x[:, :, shape.heads :]), (
            "heads beyond `heads` moved"
        )


def _forward_or_both(
    data: Inputs, xs: list[Tensor], rotate: rivals.Rotate
) -> Callable[[], list[Tensor]]:
    if data.case.kind != "fwd_bwd":
        return lambda: list(rotate(*xs))

    def both() -> list[Tensor]:
        outputs = list(rotate(*xs))
        return outputs + list(torch.autograd.grad(outputs, xs, data.grads))

    return both


def _floors(data: Inputs) -> list[Contestant]:
    shape = data.case.shape
    sources = [x.detach() for x in data.base + data.grads]
    targets = [torch.empty_like(x) for x in sources]
    floors = []
    if shape.heads is not None:
        dense = [x.contiguous() for x in data.parts]
        floors.append(_copy("dense copy", [torch.empty_like(x) for x in dense], dense))
        sources = [x[:, :, : shape.heads] for x in sources]
        targets = [x[:, :, : shape.heads] for x in targets]

    def clone() -> list[Tensor]:
        return [x.clone() for x in sources]

    return [*floors, _copy("copy", targets, sources), Contestant("clone", clone)]


def _copy(name: str, targets: list[Tensor], sources: list[Tensor]) -> Contestant:
    def copy() -> None:
        for target, source in zip(targets, sources, strict=True):
            target.copy_(source)

    return Contestant(name, copy)
