"""Every refusal of the contract: its type, its words, and that nothing was written before it.

The cases stand in `refused_calls.py`. All run through `rope` and `rope_`, without gradients, with
one for x, and with one for a table, because the three take different routes below the dispatcher.
Where the composite takes over, its words are not promised, only that it is never silent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from refusal import refuses
from refused_calls import ARGUMENTS, POSITIONS, call
from torch import Tensor

import roformer_ext


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
@pytest.mark.parametrize("case", ARGUMENTS)
def test_refused_arguments(case: str, grad: str, rope: Callable[..., Tensor]) -> None:
    """One sentence that names the argument and what came, with inputs unchanged."""
    arguments, named = ARGUMENTS[case]
    arguments = _with_gradient(_fresh(arguments), grad)
    with refuses(*named, unchanged=(arguments["x"], arguments["cos"], arguments["sin"])):
        rope(**arguments)


@pytest.mark.parametrize("rope", [roformer_ext.rope, roformer_ext.rope_], ids=["rope", "rope_"])
@pytest.mark.parametrize("grad", ["none", "x"])
@pytest.mark.parametrize("case", POSITIONS)
def test_refused_positions(case: str, grad: str, rope: Callable[..., Tensor]) -> None:
    """A position outside the table is named with its value and its place; -2 is no -1."""
    arguments, named = POSITIONS[case]
    arguments = _with_gradient(_fresh(arguments), grad)
    with refuses("position_ids", *named, unchanged=(arguments["x"],)):
        rope(**arguments)


@pytest.mark.parametrize("route", ["composite", "table gradient", "vmap", "jvp"])
@pytest.mark.parametrize("case", [case for case in POSITIONS if not case.startswith("no ")])
def test_the_composite_is_never_silent(case: str, route: str) -> None:
    """Where the composite takes over, a wrong position is an error of whatever kind, never a
    result.
    """
    arguments, _ = POSITIONS[case]
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
    arguments = call()
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
    arguments = call(x=torch.ones(2, 3, 5, 8, device="cuda"))
    with refuses("cos", "cuda", "cpu"):
        roformer_ext.rope(**arguments)
    arguments = {name: value.cuda() for name, value in call().items()}
    with refuses("position_ids", "cuda", "cpu"):
        roformer_ext.rope(**arguments, position_ids=torch.zeros(5).long())
