"""Every refusal of the contract: its type, its words, and that nothing was written before it.

Each case is a change to one good call, and the words that the message must hold: the argument's
name, what came, for shapes both of them. All cases run through `rope` and `rope_`, without
gradients, with one for x, and with one for a table, because the three take different routes below
the dispatcher.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from refusal import refuses
from torch import Tensor

import roformer_ext

Case = tuple[dict[str, Any], tuple[str, ...]]


def _call(**changes: Any) -> dict[str, Any]:
    """A good call on a [2, 3, 5, 8] tensor, changed."""
    arguments: dict[str, Any] = {
        "x": torch.ones(2, 3, 5, 8),
        "cos": torch.ones(7, 4),
        "sin": torch.zeros(7, 4),
    }
    if "tables" in changes:
        shape = changes.pop("tables")
        arguments |= {"cos": torch.ones(shape), "sin": torch.zeros(shape)}
    return arguments | changes


def _x(*shape: int, **changes: Any) -> dict[str, Any]:
    return _call(x=torch.ones(shape), **changes)


CASES: dict[str, Case] = {
    "x of one dim": (_x(8), ("x", "1")),
    "x of six dims": (_x(1, 1, 2, 3, 5, 8, seq_dim=2), ("x", "6")),
    "x of integers": (_call(x=torch.ones(2, 3, 5, 8, dtype=torch.int64)), ("x",)),
    "x complex": (_call(x=torch.ones(2, 3, 5, 8, dtype=torch.complex64)), ("x",)),
    "cos of integers": (_call(cos=torch.ones(7, 4, dtype=torch.int32)), ("cos",)),
    "sin complex": (_call(sin=torch.ones(7, 4, dtype=torch.complex64)), ("sin",)),
    "tables differ": (_call(sin=torch.zeros(7, 3)), ("cos", "sin", "[7, 4]", "[7, 3]")),
    "tables differ in dims": (
        _call(sin=torch.zeros(1, 7, 4)),
        ("cos", "sin", "[7, 4]", "[1, 7, 4]"),
    ),
    "tables of one dim": (_call(tables=(4,)), ("cos", "[4]", "[2, 3, 5, 8]")),
    "tables of too many dims": (
        _call(tables=(1, 1, 1, 5, 4)),
        ("cos", "[1, 1, 1, 5, 4]", "[2, 3, 5, 8]"),
    ),
    "table too short": (_call(tables=(4, 4)), ("cos", "[4, 4]", "[2, 3, 5, 8]")),
    "table too wide": (_call(tables=(7, 5)), ("cos", "[7, 5]", "[2, 3, 5, 8]")),
    "table too wide beside the offset": (
        _call(rotary_offset=1),
        ("rotary_offset", "[7, 4]", "[2, 3, 5, 8]"),
    ),
    "rows of another batch": (_call(tables=(3, 5, 4)), ("cos", "[3, 5, 4]", "[2, 3, 5, 8]")),
    "rows of another length": (_call(tables=(2, 6, 4)), ("cos", "[2, 6, 4]", "[2, 3, 5, 8]")),
    "rows of one token": (_call(tables=(2, 1, 4)), ("cos", "[2, 1, 4]", "[2, 3, 5, 8]")),
    "rows for 2-D x": (_x(5, 8, tables=(2, 5, 4)), ("cos", "[2, 5, 4]", "[5, 8]")),
    "rows in x's order": (
        _x(5, 2, 3, 8, tables=(5, 2, 4), seq_dim=0),
        ("cos", "[5, 2, 4]", "[5, 2, 3, 8]"),
    ),
    "rows for packed x": (
        _x(5, 3, 8, tables=(1, 5, 4), seq_dim=0),
        ("cos", "[1, 5, 4]", "[5, 3, 8]"),
    ),
    "tables of other heads": (_call(tables=(1, 2, 5, 4)), ("cos", "[1, 2, 5, 4]", "[2, 3, 5, 8]")),
    "tables of some heads": (
        _call(tables=(1, 2, 5, 4), heads=2),
        ("cos", "[1, 2, 5, 4]", "[2, 3, 5, 8]"),
    ),
    "tables of another length": (
        _call(tables=(1, 1, 6, 4)),
        ("cos", "[1, 1, 6, 4]", "[2, 3, 5, 8]"),
    ),
    "offset negative": (_call(rotary_offset=-1), ("rotary_offset", "-1")),
    "offset beyond x": (_call(rotary_offset=9, tables=(7, 0)), ("rotary_offset", "9")),
    "offset near overflow": (_call(rotary_offset=2**63 - 4), ("rotary_offset",)),
    "ids of floats": (_call(position_ids=torch.zeros(5)), ("position_ids",)),
    "ids of int16": (_call(position_ids=torch.zeros(5, dtype=torch.int16)), ("position_ids",)),
    "ids of bool": (_call(position_ids=torch.zeros(5, dtype=torch.bool)), ("position_ids",)),
    "ids of another length": (
        _call(position_ids=torch.zeros(6).long()),
        ("position_ids", "[6]", "[2, 3, 5, 8]"),
    ),
    "ids of another batch": (
        _call(position_ids=torch.zeros(3, 5).long()),
        ("position_ids", "[3, 5]", "[2, 3, 5, 8]"),
    ),
    "ids of no dim": (
        _call(position_ids=torch.zeros(()).long()),
        ("position_ids", "[]", "[2, 3, 5, 8]"),
    ),
    "ids of three dims": (
        _call(position_ids=torch.zeros(1, 2, 5).long()),
        ("position_ids", "[1, 2, 5]", "[2, 3, 5, 8]"),
    ),
    "ids of one token": (
        _call(position_ids=torch.zeros(2, 1).long()),
        ("position_ids", "[2, 1]", "[2, 3, 5, 8]"),
    ),
    "ids sequence first": (
        _x(5, 2, 3, 8, position_ids=torch.zeros(5, 2).long(), seq_dim=0),
        ("position_ids", "[5, 2]", "[5, 2, 3, 8]"),
    ),
    "ids of two packed rows": (
        _x(5, 3, 8, position_ids=torch.zeros(2, 5).long(), seq_dim=0),
        ("position_ids", "[2, 5]", "[5, 3, 8]"),
    ),
    "ids beside rows": (
        _call(tables=(2, 5, 4), position_ids=torch.zeros(5).long()),
        ("position_ids", "[2, 5, 4]"),
    ),
    "ids beside broadcast tables": (
        _call(tables=(1, 1, 5, 4), position_ids=torch.zeros(5).long()),
        ("position_ids", "[1, 1, 5, 4]"),
    ),
    "heads negative": (_call(heads=-1), ("heads", "-1")),
    "heads beyond x": (_call(heads=4), ("heads", "4")),
    "heads beyond a projection": (_x(2, 5, 3, 4, 8, seq_dim=1, heads=13), ("heads", "13")),
    "heads without head dim": (_x(2, 5, 8, heads=1), ("heads", "[2, 5, 8]")),
    "heads of 2-D x": (_x(5, 8, heads=0), ("heads", "[5, 8]")),
    "cos elsewhere": (_call(cos=torch.ones(7, 4, device="meta")), ("cos", "meta", "cpu")),
    "sin elsewhere": (_call(sin=torch.ones(7, 4, device="meta")), ("sin", "meta", "cpu")),
    "ids elsewhere": (
        _call(position_ids=torch.zeros(5, device="meta").long()),
        ("position_ids", "meta", "cpu"),
    ),
    "real tables for meta x": (
        _call(x=torch.ones(2, 3, 5, 8, device="meta")),
        ("cos", "meta", "cpu"),
    ),
}

for _shape, _allowed in {
    (5, 8): (0,),
    (2, 5, 8): (0, 1),
    (2, 3, 5, 8): (0, 1, 2),
    (2, 5, 3, 4, 8): (1,),
}.items():
    for _dim in range(-len(_shape) - 2, len(_shape) + 2):
        _inside = -len(_shape) <= _dim < len(_shape)
        if not (_inside and _dim % len(_shape) in _allowed):
            CASES[f"seq_dim {_dim} of {len(_shape)}-D x"] = (
                _x(*_shape, seq_dim=_dim),
                ("seq_dim", str(_dim)),
            )

VALUES: dict[str, Case] = {
    "at the end": (_call(position_ids=torch.tensor([0, 1, 7, 3, 4])), ("7", "[2]")),
    "beyond": (_call(position_ids=torch.tensor([0, 1, 2, 3, 123456])), ("123456", "[4]")),
    "minus two": (_call(position_ids=torch.tensor([0, -2, 2, 3, 4])), ("-2", "[1]")),
    "int32": (_call(position_ids=torch.tensor([0, 1, 2, -7, 4], dtype=torch.int32)), ("-7", "[3]")),
    "beyond int32": (
        _call(position_ids=torch.tensor([0, 1, 2, 3, 2**32 + 1])),
        (str(2**32 + 1), "[4]"),
    ),
    "least int64": (
        _call(position_ids=torch.tensor([-(2**63), 1, 2, 3, 4])),
        (str(-(2**63)), "[0]"),
    ),
    "of a batch": (
        _call(position_ids=torch.tensor([[0, 1, 2, 3, 4], [0, 1, 2, 9, 4]])),
        ("9", "[1, 3]"),
    ),
    "strided": (
        _call(position_ids=torch.tensor([[0] * 10, [0] * 6 + [9] + [0] * 3])[:, ::2]),
        ("9", "[1, 3]"),
    ),
    "sequence first": (
        _x(5, 2, 3, 8, seq_dim=0, position_ids=torch.tensor([[0, 1, 2, 3, 4], [0, 1, 8, 3, 4]])),
        ("8", "[1, 2]"),
    ),
    "empty table": (
        _call(tables=(0, 4), position_ids=torch.tensor([-1, -1, 0, -1, -1])),
        ("0", "[2]"),
    ),
    "no head is rotated": (
        _call(heads=0, position_ids=torch.tensor([0, 1, 7, 3, 4])),
        ("7", "[2]"),
    ),
    "no pair is rotated": (
        _call(tables=(7, 0), position_ids=torch.tensor([0, 1, 7, 3, 4])),
        ("7", "[2]"),
    ),
}


def _fresh(arguments: dict[str, Any]) -> dict[str, Any]:
    """The call with tensors of its own, strides kept."""
    return {
        name: value.detach().clone()
        if isinstance(value, Tensor) and name != "position_ids"
        else value
        for name, value in arguments.items()
    }


def _with_gradient(arguments: dict[str, Any], grad: str) -> dict[str, Any]:
    name = {"x": "x", "table": "sin"}.get(grad)
    if name is None:
        return arguments
    if not arguments[name].is_floating_point():
        pytest.skip(f"{name} of this case cannot require grad")
    tensor = arguments[name].requires_grad_()
    # rope_ refuses a leaf for being one, which is not the refusal asked for here.
    return arguments | ({"x": tensor * 1} if grad == "x" else {})


@pytest.mark.parametrize("rope", [roformer_ext.rope, roformer_ext.rope_], ids=["rope", "rope_"])
@pytest.mark.parametrize("grad", ["none", "x", "table"])
@pytest.mark.parametrize("case", CASES)
def test_refused_arguments(case: str, grad: str, rope: Callable[..., Tensor]) -> None:
    """One sentence that names the argument and what came, with inputs unchanged."""
    arguments, named = CASES[case]
    arguments = _with_gradient(_fresh(arguments), grad)
    with refuses(*named, unchanged=(arguments["x"], arguments["cos"], arguments["sin"])):
        rope(**arguments)


@pytest.mark.parametrize("rope", [roformer_ext.rope, roformer_ext.rope_], ids=["rope", "rope_"])
@pytest.mark.parametrize("grad", ["none", "x"])
@pytest.mark.parametrize("case", VALUES)
def test_refused_positions(case: str, grad: str, rope: Callable[..., Tensor]) -> None:
    """A position outside the table is named with its value and its place; -2 is no -1."""
    arguments, named = VALUES[case]
    arguments = _with_gradient(_fresh(arguments), grad)
    with refuses("position_ids", *named, unchanged=(arguments["x"],)):
        rope(**arguments)


@pytest.mark.parametrize("route", ["composite", "table gradient", "vmap", "jvp"])
@pytest.mark.parametrize("case", [case for case in VALUES if not case.startswith("no ")])
def test_the_composite_is_never_silent(case: str, route: str) -> None:
    """Where the composite takes over, a wrong position is an error of whatever kind, never a
    result.
    """
    arguments, _ = VALUES[case]
    arguments = _fresh(arguments)
    x = arguments.pop("x")

    def rope(x: Tensor) -> Tensor:
        return roformer_ext.rope(x, **arguments)

    with pytest.raises((RuntimeError, IndexError)):
        if route == "composite":
            torch.ops.roformer_ext._rope_composite.default(
                x,
                arguments.pop("cos"),
                arguments.pop("sin"),
                arguments.pop("position_ids"),
                **arguments,
            )
        elif route == "table gradient":
            arguments["cos"].requires_grad_()
            rope(x)
        elif route == "vmap":
            torch.func.vmap(rope)(x[None])
        else:
            torch.func.jvp(rope, (x,), (x,))


def test_vmap_over_ids_is_never_silent() -> None:
    """The same with ids batched: one wrong value in one element of the batch."""
    arguments = _call()
    ids = torch.tensor([[0, 1, 2, 3, 4], [0, 1, -2, 3, 4]])
    with pytest.raises((RuntimeError, IndexError)):
        torch.func.vmap(lambda ids: roformer_ext.rope(**arguments, position_ids=ids))(ids)


def test_all_positions_at_minus_one_need_no_row() -> None:
    """-1 is legal beside an empty table."""
    x = torch.randn(2, 3, 5, 8)
    ids = torch.full((2, 5), -1)
    assert torch.equal(roformer_ext.rope(x, torch.ones(0, 4), torch.ones(0, 4), ids), x)


def test_full_width_tables_of_odd_width() -> None:
    """Tables with one entry per channel hold an even number of them, and fit into x."""
    x = torch.ones(2, 3, 5, 8)
    with refuses("cos", "[7, 5]", unchanged=(x,)):
        roformer_ext.rope_full_width(x, torch.ones(7, 5), torch.ones(7, 5))
    with refuses("cos", "[7, 10]", "[2, 3, 5, 8]", unchanged=(x,)):
        roformer_ext.rope_full_width(x, torch.ones(7, 10), torch.ones(7, 10))


@pytest.mark.gpu
def test_tables_on_another_device() -> None:
    """x on the GPU with a table or ids left on the CPU."""
    arguments = _call(x=torch.ones(2, 3, 5, 8, device="cuda"))
    with refuses("cos", "cuda", "cpu"):
        roformer_ext.rope(**arguments)
    arguments = {name: value.cuda() for name, value in _call().items()}
    with refuses("position_ids", "cuda", "cpu"):
        roformer_ext.rope(**arguments, position_ids=torch.zeros(5).long())
