"""The state of an optimizer under the names of the checkpoint, whatever is packed or divided.

The idea: `torch.distributed.checkpoint` names a state by its parameter, and q, k and v are one
parameter on one device and three under tensor parallelism; here they are always three. What must
stay true: a state saved with any number of devices, by any of the ways to use them, can be loaded
with any other.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer

from ..attention import PROJECTIONS, thirds_of
from ..pretrained import RoFormerPreTrained

_PACKED = "qkv"


def get_optimizer_state(
    model: RoFormerPreTrained, optimizer: Optimizer, *, options: StateDictOptions | None = None
) -> dict[str, Any]:
    """`get_optimizer_state_dict` with query, key and value where the model has them packed.

    options: as there; a flattened state is a ValueError.
    """
    _refuse_flattened(options)
    found: dict[str, Any] = get_optimizer_state_dict(model, optimizer, options=options)
    states: dict[str, dict[str, Any]] = {}
    for name, state in found.get("state", {}).items():
        for index, part in enumerate(_names(name)):
            states[part] = state if part == name else _third(state, index)
    groups = [
        {**group, "params": [part for name in group["params"] for part in _names(name)]}
        for group in found.get("param_groups", [])
    ]
    return {**found, "state": states, "param_groups": groups}


def set_optimizer_state(
    model: RoFormerPreTrained,
    optimizer: Optimizer,
    state: dict[str, Any],
    *,
    options: StateDictOptions | None = None,
) -> None:
    """Load what `get_optimizer_state` returned, perhaps on another number of devices."""
    _refuse_flattened(options)
    # In one order on all devices, which join their pieces together.
    packed = [name for name, _ in model.named_parameters() if _names(name) != [name]]
    whole = {part: name for name in packed for part in _names(name)}
    states = {name: s for name, s in state["state"].items() if name not in whole}
    for name in packed:
        parts = [state["state"][part] for part in _names(name) if part in state["state"]]
        if parts:
            states[name] = _joined(parts)
    groups = [
        {**group, "params": list(dict.fromkeys(whole.get(name, name) for name in group["params"]))}
        for group in state["param_groups"]
    ]
    set_optimizer_state_dict(
        model, optimizer, {**state, "state": states, "param_groups": groups}, options=options
    )


def _names(name: str) -> list[str]:
    """The three names that stand for a packed parameter; of another parameter its own."""
    owner, _, kind = name.rpartition(".")
    if owner.rpartition(".")[2] != _PACKED:
        return [name]
    return [f"{owner.removesuffix(_PACKED)}{projection}.{kind}" for projection in PROJECTIONS]


def _third(state: dict[str, Any], index: int) -> dict[str, Any]:
    return {key: thirds_of(x)[index] if _is_packed(x) else x for key, x in state.items()}


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        key: torch.cat([part[key] for part in parts]) if _is_packed(x) else x
        for key, x in parts[0].items()
    }


def _is_packed(x: Any) -> bool:
    """Whether x has a row for each row of the parameter; counts of steps have none."""
    return isinstance(x, Tensor) and x.dim() > 0


def _refuse_flattened(options: StateDictOptions | None) -> None:
    if options is not None and options.flatten_optimizer_state_dict:
        raise ValueError("options must not have flatten_optimizer_state_dict, got True")
