"""One token: what a call costs beyond the calling itself.

The yardstick is an operator of the same nine-argument schema that does nothing (in place) or
returns `empty_like(x)`, reached through the very same Python function with only the operator
exchanged. It lives in a library that only tests and benchmarks load; where it was not built the
difference is named as absent.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import roformer_ext
from bench import inputs, rivals
from bench.cases import Case
from bench.contestants import LAYOUTS, OUR_ROUNDINGS, Field
from bench.rivals import Absent
from bench.timing import Contestant

LIBRARY = "libroformer_ext_bench.so"
YARDSTICKS = {"in place": "no-op in place", "fresh": "no-op fresh"}


def gather(case: Case) -> Field:
    """Ours in place and out of place in both layouts, the two yardsticks, and every rival."""
    data = inputs.make(case)
    (x,), cos, sin = data.base, data.cos, data.sin
    field = Field([], {}, {})

    def call(function: Callable[..., Tensor], tensor: Tensor, interleaved: bool) -> Contestant:
        def run() -> list[Tensor]:
            return [function(tensor, cos, sin, interleaved=interleaved)]

        return Contestant("", run)

    entries = {"in place": roformer_ext.rope_, "fresh": roformer_ext.rope}
    for kind, function in entries.items():
        for layout, interleaved in LAYOUTS.items():
            contestant = call(function, x.clone(), interleaved)
            contestant.name = f"{kind}, {layout}"
            wanted = data.expected(interleaved)
            got = contestant.run()
            assert isinstance(got, list)
            inputs.check(contestant.name, got, wanted, case.dtype, OUR_ROUNDINGS[case.dtype])
            field.contestants.append(contestant)
        try:
            yardstick = call(_without_operator(function, kind), x.clone(), True)
            yardstick.name = YARDSTICKS[kind]
            yardstick.run()
            field.contestants.append(yardstick)
        except Absent as reason:
            field.absent[YARDSTICKS[kind]] = str(reason)
    _add_rivals(field, data)
    return field


def _add_rivals(field: Field, data: inputs.Inputs) -> None:
    for rival, rotate in rivals.present(data):
        if isinstance(rotate, Absent):
            field.absent[rival.name] = str(rotate)
            continue

        def run(rotate: rivals.Rotate = rotate) -> list[Tensor]:
            return list(rotate(*data.parts))

        wanted = data.expected(rival.interleaved)
        rival.check(run(), wanted, data.case.dtype)
        field.contestants.append(Contestant(rival.name, run))
        field.interleaved[rival.name] = rival.interleaved


def _without_operator(function: Callable[..., Tensor], kind: str) -> Callable[..., Tensor]:
    """The Python function of record with its operator replaced by the one that does nothing."""
    path = Path(roformer_ext.__file__).parent / "lib" / LIBRARY
    if not path.exists():
        raise Absent(f"{LIBRARY} is not built")
    torch.ops.load_library(str(path))
    namespace = torch.ops.roformer_ext_bench
    packet = namespace.noop_ if kind == "in place" else namespace.noop
    ours = torch.ops.roformer_ext.rope_ if kind == "in place" else torch.ops.roformer_ext.rope
    exchange = {id(ours): packet, id(ours.default): packet.default}
    if id(function) in exchange:
        idle: Callable[..., Tensor] = exchange[id(function)]
        return idle
    assert isinstance(function, types.FunctionType)
    held = function.__globals__
    swapped = {name: exchange.get(id(value), value) for name, value in held.items()}
    if all(swapped[name] is value for name, value in held.items()):
        raise Absent("the Python entry does not keep its operator in a module global")
    copy = types.FunctionType(
        function.__code__, swapped, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
