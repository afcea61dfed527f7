"""Models from directories, and directories from models: what every class loads and saves with.

The idea: a model is first built without memory, so that its names and shapes are known, and what
the file has is held to them before anything is copied. What must stay true: a file that does not
fit is one ValueError that names what does not, and no model comes of it; a loaded model shares
nothing with its file.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .config import RoFormerConfig
from .files import read_config, read_tensors, write_checkpoint
from .position_table import TABLE, position_table
from .sharding import is_dtensor, whole
from .variants import BODY, configuration, parts, without_extras

_SHOWN = 8


def load_model(
    model_class: type[Any],
    directory: str | os.PathLike[str],
    *,
    config: RoFormerConfig | None,
    dtype: torch.dtype | None,
    new_head: bool,
    changes: Mapping[str, Any],
) -> Any:
    """A model of this class in eval mode; see `RoFormerPreTrained.from_pretrained`."""
    if dtype is not None and not dtype.is_floating_point:
        raise ValueError(f"dtype must be None or a floating point type, got {dtype}")
    stated = read_config(directory) if config is None else config.to_dict()
    path, tensors = read_tensors(directory)
    body, head = parts(tensors)
    config = configuration(stated, body, changes, path)
    body = without_extras(body, config, path)
    model = _build(model_class, config)
    _keep_projection_bias(model.body, body)
    state = body
    if model.body is not model:
        state = {f"{BODY}{name}": tensor for name, tensor in body.items()} | head
        if new_head:
            state = _with_new_head(model, state)
    _check(model, state, path)
    dtype = _widest(state) if dtype is None else dtype
    state = {name: x if _is_table(name) else x.to(dtype, copy=True) for name, x in state.items()}
    try:
        model.load_state_dict(state, strict=False, assign=True)
    except RuntimeError as error:
        # What a module's own check says, a position table's for one.
        reason = str(error).split("\n\t")[-1]
        raise ValueError(f"{path}: {reason}") from error
    return model.to(dtype).eval()


def save_model(model: Any, directory: str | os.PathLike[str], *, max_shard_size: int | str) -> None:
    """Write config.json and safetensors; see `RoFormerPreTrained.save_pretrained`."""
    config: RoFormerConfig = model.config
    state: dict[str, Tensor] = {}
    stand_ins = model.stand_ins()
    found = model.state_dict()
    divided = any(map(is_dtensor, found.values()))
    for name, tensor in found.items():
        if stand_ins.get(name) not in state:
            state[name] = whole(tensor).cpu() if divided else tensor
    prefix = "" if model.body is model else BODY
    state[f"{prefix}{TABLE}"] = position_table(config, config.max_position_embeddings)
    fields = {name: value for name, value in config.to_dict().items() if name != "torch_dtype"}
    dtype = str(next(iter(model.parameters())).dtype).removeprefix("torch.")
    fields |= {"architectures": [type(model).__name__], "dtype": dtype}
    if not divided or torch.distributed.get_rank() == 0:
        write_checkpoint(directory, fields, state, max_shard_size=max_shard_size)
    if divided:
        torch.distributed.barrier()


def _build(model_class: type[Any], config: RoFormerConfig) -> Any:
    try:
        with torch.device("meta"):
            return model_class(config)
    except RuntimeError as error:
        raise ValueError(f"config.json must hold sizes of a model, got: {error}") from error


def _keep_projection_bias(body: Any, tensors: Mapping[str, Tensor]) -> None:
    """Published V2 files have this one bias, whatever `use_bias` says."""
    projection = body.embeddings_project
    if projection is None or projection.bias is not None:
        return
    if "embeddings_project.bias" in tensors:
        sizes = projection.in_features, projection.out_features
        body.embeddings_project = nn.Linear(*sizes, device="meta")


def _with_new_head(model: Any, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What to load of a file with any head; the model's own is drawn unless it is whole there."""
    head = {name: x for name, x in model.state_dict().items() if not name.startswith(BODY)}
    found = {name: tensor for name, tensor in state.items() if name in head}
    body = {name: tensor for name, tensor in state.items() if name.startswith(BODY)}
    if not _misfit(head, found, {**state, **found}, model.stand_ins()).names():
        return {**body, **found}
    for child in model.children():
        if child is not model.body:
            child.to_empty(device="cpu")
    model.initialise_head()
    return body


def _check(model: Any, state: Mapping[str, Tensor], path: Path) -> None:
    """ValueError says what does not fit into the parts of the model that have no memory yet."""
    expected = {n: x for n, x in model.state_dict().items() if x.is_meta or n in state}
    misfit = _misfit(expected, state, state, model.stand_ins())
    names = misfit.names()
    if names:
        of_head = model.body is not model and not any(name.startswith(BODY) for name in names)
        hint = "; new_head=True draws a missing head anew" if of_head and not misfit.extra else ""
        wanted = f"must hold the tensors of {type(model).__name__}"
        raise ValueError(f"{path} {wanted}, got {misfit}{hint}")


class _Misfit(NamedTuple):
    """How the tensors of a file differ from those of a model."""

    missing: list[str]
    extra: list[str]
    wrong: dict[str, str]
    """What each has of dtype or shape."""

    def names(self) -> list[str]:
        return [*self.missing, *self.extra, *self.wrong]

    def __str__(self) -> str:
        wrong = [f"{name} {what}" for name, what in self.wrong.items()]
        kinds = (("no ", self.missing), ("in addition ", self.extra), ("", wrong))
        return "; ".join(f"{kind}{_listed(names)}" for kind, names in kinds if names)


def _misfit(
    expected: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    present: Mapping[str, Tensor],
    stand_ins: Mapping[str, str],
) -> _Misfit:
    """present: what may stand in for a missing name."""
    wrong = {}
    for name in expected.keys() & found.keys():
        got, wanted = found[name], expected[name]
        if not got.is_floating_point():
            wrong[name] = f"of {got.dtype}"
        elif got.shape != wanted.shape:
            wrong[name] = f"of shape {list(got.shape)} instead of {list(wanted.shape)}"
    return _Misfit(
        missing=[n for n in expected if n not in found and stand_ins.get(n) not in present],
        extra=[name for name in found if name not in expected and not _is_table(name)],
        wrong=wrong,
    )


def _listed(names: list[str]) -> str:
    names = sorted(names)
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _is_table(name: str) -> bool:
    return name.removeprefix(BODY) == TABLE


def _widest(state: Mapping[str, Tensor]) -> torch.dtype:
    """The dtype of a file's weights; the widest where it holds several."""
    dtypes = {tensor.dtype for name, tensor in state.items() if not _is_table(name)}
    return functools.reduce(torch.promote_types, dtypes)
