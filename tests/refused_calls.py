"""The calls that the operator must refuse, and the words that each message must hold.

A case is a change to one good call, and what its refusal names: the argument, what came, and for
shapes both of them. `ARGUMENTS` are wrong in a dtype, a shape, a number or a device, which can be
told without reading a tensor; `POSITIONS` hold a position id outside the table, which cannot.
Tensors here are shared by all tests: clone them before a call that could write.
"""

from __future__ import annotations

from typing import Any

import torch

Case = tuple[dict[str, Any], tuple[str, ...]]


def call(**changes: Any) -> dict[str, Any]:
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
    return call(x=torch.ones(shape), **changes)


ARGUMENTS: dict[str, Case] = {
    "x of one dim": (_x(8), ("x", "1")),
    "x of six dims": (_x(1, 1, 2, 3, 5, 8, seq_dim=2), ("x", "6")),
    "x of integers": (call(x=torch.ones(2, 3, 5, 8, dtype=torch.int64)), ("x",)),
    "x complex": (call(x=torch.ones(2, 3, 5, 8, dtype=torch.complex64)), ("x",)),
    "cos of integers": (call(cos=torch.ones(7, 4, dtype=torch.int32)), ("cos",)),
    "sin complex": (call(sin=torch.ones(7, 4, dtype=torch.complex64)), ("sin",)),
    "tables differ": (call(sin=torch.zeros(7, 3)), ("cos", "sin", "[7, 4]", "[7, 3]")),
    "tables differ in dims": (
        call(sin=torch.zeros(1, 7, 4)),
        ("cos", "sin", "[7, 4]", "[1, 7, 4]"),
    ),
    "tables of one dim": (call(tables=(4,)), ("cos", "[4]", "[2, 3, 5, 8]")),
    "tables of too many dims": (
        call(tables=(1, 1, 1, 5, 4)),
        ("cos", "[1, 1, 1, 5, 4]", "[2, 3, 5, 8]"),
    ),
    "table too short": (call(tables=(4, 4)), ("cos", "[4, 4]", "[2, 3, 5, 8]")),
    "table too wide": (call(tables=(7, 5)), ("cos", "[7, 5]", "[2, 3, 5, 8]")),
    "table too wide beside the offset": (
        call(rotary_offset=1),
        ("rotary_offset", "[7, 4]", "[2, 3, 5, 8]"),
    ),
    "rows of another batch": (call(tables=(3, 5, 4)), ("cos", "[3, 5, 4]", "[2, 3, 5, 8]")),
    "rows of another length": (call(tables=(2, 6, 4)), ("cos", "[2, 6, 4]", "[2, 3, 5, 8]")),
    "rows of one token": (call(tables=(2, 1, 4)), ("cos", "[2, 1, 4]", "[2, 3, 5, 8]")),
    "rows for 2-D x": (_x(5, 8, tables=(2, 5, 4)), ("cos", "[2, 5, 4]", "[5, 8]")),
    "rows in x's order": (
        _x(5, 2, 3, 8, tables=(5, 2, 4), seq_dim=0),
        ("cos", "[5, 2, 4]", "[5, 2, 3, 8]"),
    ),
    "rows for packed x": (
        _x(5, 3, 8, tables=(1, 5, 4), seq_dim=0),
        ("cos", "[1, 5, 4]", "[5, 3, 8]"),
    ),
    "tables of other heads": (call(tables=(1, 2, 5, 4)), ("cos", "[1, 2, 5, 4]", "[2, 3, 5, 8]")),
    "tables of some heads": (
        call(tables=(1, 2, 5, 4), heads=2),
        ("cos", "[1, 2, 5, 4]", "[2, 3, 5, 8]"),
    ),
    "tables of another length": (
        call(tables=(1, 1, 6, 4)),
        ("cos", "[1, 1, 6, 4]", "[2, 3, 5, 8]"),
    ),
    "offset negative": (call(rotary_offset=-1), ("rotary_offset", "-1")),
    "offset beyond x": (call(rotary_offset=9, tables=(7, 0)), ("rotary_offset", "9")),
    "offset near overflow": (call(rotary_offset=2**63 - 4), ("rotary_offset",)),
    "ids of floats": (call(position_ids=torch.zeros(5)), ("position_ids",)),
    "ids of int16": (call(position_ids=torch.zeros(5, dtype=torch.int16)), ("position_ids",)),
    "ids of bool": (call(position_ids=torch.zeros(5, dtype=torch.bool)), ("position_ids",)),
    "ids of another length": (
        call(position_ids=torch.zeros(6).long()),
        ("position_ids", "[6]", "[2, 3, 5, 8]"),
    ),
    "ids of another batch": (
        call(position_ids=torch.zeros(3, 5).long()),
        ("position_ids", "[3, 5]", "[2, 3, 5, 8]"),
    ),
    "ids of no dim": (
        call(position_ids=torch.zeros(()).long()),
        ("position_ids", "[]", "[2, 3, 5, 8]"),
    ),
    "ids of three dims": (
        call(position_ids=torch.zeros(1, 2, 5).long()),
        ("position_ids", "[1, 2, 5]", "[2, 3, 5, 8]"),
    ),
    "ids of one token": (
        call(position_ids=torch.zeros(2, 1).long()),
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
        call(tables=(2, 5, 4), position_ids=torch.zeros(5).long()),
        ("position_ids", "[2, 5, 4]"),
    ),
    "ids beside broadcast tables": (
        call(tables=(1, 1, 5, 4), position_ids=torch.zeros(5).long()),
        ("position_ids", "[1, 1, 5, 4]"),
    ),
    "heads negative": (call(heads=-1), ("heads", "-1")),
    "heads beyond x": (call(heads=4), ("heads", "4")),
    "heads beyond a projection": (_x(2, 5, 3, 4, 8, seq_dim=1, heads=13), ("heads", "13")),
    "heads without head dim": (_x(2, 5, 8, heads=1), ("heads", "[2, 5, 8]")),
    "heads of 2-D x": (_x(5, 8, heads=0), ("heads", "[5, 8]")),
    "cos elsewhere": (call(cos=torch.ones(7, 4, device="meta")), ("cos", "meta", "cpu")),
    "sin elsewhere": (call(sin=torch.ones(7, 4, device="meta")), ("sin", "meta", "cpu")),
    "ids elsewhere": (
        call(position_ids=torch.zeros(5, device="meta").long()),
        ("position_ids", "meta", "cpu"),
    ),
    "real tables for meta x": (
        call(x=torch.ones(2, 3, 5, 8, device="meta")),
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
            ARGUMENTS[f"seq_dim {_dim} of {len(_shape)}-D x"] = (
                _x(*_shape, seq_dim=_dim),
                ("seq_dim", str(_dim)),
            )


POSITIONS: dict[str, Case] = {
    "at the end": (call(position_ids=torch.tensor([0, 1, 7, 3, 4])), ("7", "[2]")),
    "beyond": (call(position_ids=torch.tensor([0, 1, 2, 3, 123456])), ("123456", "[4]")),
    "minus two": (call(position_ids=torch.tensor([0, -2, 2, 3, 4])), ("-2", "[1]")),
    "int32": (call(position_ids=torch.tensor([0, 1, 2, -7, 4], dtype=torch.int32)), ("-7", "[3]")),
    "beyond int32": (
        call(position_ids=torch.tensor([0, 1, 2, 3, 2**32 + 1])),
        (str(2**32 + 1), "[4]"),
    ),
    "least int64": (
        call(position_ids=torch.tensor([-(2**63), 1, 2, 3, 4])),
        (str(-(2**63)), "[0]"),
    ),
    "of a batch": (
        call(position_ids=torch.tensor([[0, 1, 2, 3, 4], [0, 1, 2, 9, 4]])),
        ("9", "[1, 3]"),
    ),
    "strided": (
        call(position_ids=torch.tensor([[0] * 10, [0] * 6 + [9] + [0] * 3])[:, ::2]),
        ("9", "[1, 3]"),
    ),
    "sequence first": (
        _x(5, 2, 3, 8, seq_dim=0, position_ids=torch.tensor([[0, 1, 2, 3, 4], [0, 1, 8, 3, 4]])),
        ("8", "[1, 2]"),
    ),
    "empty table": (
        call(tables=(0, 4), position_ids=torch.tensor([-1, -1, 0, -1, -1])),
        ("0", "[2]"),
    ),
    "no head is rotated": (
        call(heads=0, position_ids=torch.tensor([0, 1, 7, 3, 4])),
        ("7", "[2]"),
    ),
    "no pair is rotated": (
        call(tables=(7, 0), position_ids=torch.tensor([0, 1, 7, 3, 4])),
        ("7", "[2]"),
    ),
}
