"""How transformers' loader meets the packed projection and the table of positions.

The idea: that library sets parameters one by one, by attribute, so while it loads, a model shows
the parameters that it has (`qkv`), and a conversion of that library's own kind packs the three
names of a checkpoint into it; at any other time `state_dict` has the names of a checkpoint. What
must stay true: a checkpoint that does not fit is refused by name, a table of positions included.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import ConversionOps, WeightConverter, WeightRenaming

from ..config import RoFormerConfig
from ..position_table import TABLE, check_position_table, position_table

_loading: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("loading", default=None)


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """While it is open, models show their parameters as they are.

    ValueError with what was wrong with the checkpoint, of which the library says no more than that
    something was.
    """
    problems: list[str] = []
    token = _loading.set(problems)
    try:
        yield
    except RuntimeError as error:
        if problems:
            raise ValueError(problems[0]) from error
        raise
    finally:
        _loading.reset(token)


def is_loading() -> bool:
    """Whether transformers is loading a checkpoint."""
    return _loading.get() is not None


def _refuse(problem: str) -> NoReturn:
    if (problems := _loading.get()) is not None:
        problems.append(problem)
    raise ValueError(problem)


class PositionTable(nn.Module):
    """`embed_positions` as checkpoints have it, [P, D]: there to be saved, never read."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.config = config
        self.weight: Tensor
        self.register_buffer("weight", torch.empty(config.max_position_embeddings, config.head_dim))
        self.register_load_state_dict_pre_hook(_keep_own_table)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """[sin | cos] of every position."""
        if not self.weight.is_meta:
            rows = self.weight.shape[0]
            self.weight.copy_(position_table(self.config, rows, device=self.weight.device))


def _keep_own_table(
    module: nn.Module, state: dict[str, Any], prefix: str, metadata: Mapping[str, Any], *_: Any
) -> None:
    # The encoder has taken the table out, and held it to the formula.
    state.setdefault(f"{prefix}weight", module.weight)


def _only(tensors: Tensor | list[Tensor]) -> Tensor:
    return tensors[0] if isinstance(tensors, list) else tensors


class PackProjections(ConversionOps):  # type: ignore[misc, unused-ignore]
    """Queries, keys and values, in the order of the source patterns, become one tensor."""

    @torch.no_grad()
    def convert(
        self,
        input_dict: dict[str, Any],
        source_patterns: list[str],
        target_patterns: list[str],
        **kwargs: Any,
    ) -> dict[str, Any]:
        packed = kwargs["full_layer_name"]
        shape = list(kwargs["model"].get_parameter(packed).shape)
        wanted = [shape[0] // 3, *shape[1:]]
        parts: list[Tensor] = []
        for pattern, name in zip(source_patterns, ("query", "key", "value")):
            part = _only(input_dict[pattern]) if pattern in input_dict else None
            if part is None or list(part.shape) != wanted:
                got = "none" if part is None else list(part.shape)
                _refuse(f"{packed.replace('qkv', name)} must have shape {wanted}, got {got}")
            parts.append(part)
        return {target_patterns[0]: torch.cat(parts)}

    @property
    def reverse_op(self) -> ConversionOps:
        return UnpackProjections()


class UnpackProjections(ConversionOps):  # type: ignore[misc, unused-ignore]
    """The reverse of `PackProjections`, for a state dict that somebody took with packed names."""

    @torch.no_grad()
    def convert(
        self,
        input_dict: dict[str, Any],
        source_patterns: list[str],
        target_patterns: list[str],
        **kwargs: Any,
    ) -> dict[str, Any]:
        packed = _only(next(iter(input_dict.values())))
        parts = packed.chunk(len(target_patterns))
        return {name: part.contiguous() for name, part in zip(target_patterns, parts)}

    @property
    def reverse_op(self) -> ConversionOps:
        return PackProjections()


class CheckPositions(ConversionOps):  # type: ignore[misc, unused-ignore]
    """A table of any length is held to the formula, and the model's own takes its place."""

    @torch.no_grad()
    def convert(
        self,
        input_dict: dict[str, Any],
        source_patterns: list[str],
        target_patterns: list[str],
        **kwargs: Any,
    ) -> dict[str, Any]:
        table = _only(next(iter(input_dict.values())))
        if not is_loading():  # saving: what is there is the model's own
            return {target_patterns[0]: table}
        body = kwargs["model"].body
        errors: list[str] = []
        check_position_table(body, {TABLE: table}, "", {}, True, [], [], errors)
        if errors:
            _refuse(errors[0])
        own = PositionTable(body.config).to(table.dtype)
        return {target_patterns[0]: own.weight}

    @property
    def reverse_op(self) -> ConversionOps:
        return self


def conversions() -> list[WeightConverter | WeightRenaming]:
    """What a checkpoint's names become in one of our models."""
    attention = r"\.attention\.self\."
    packed = [
        WeightConverter(
            [rf"{attention}{name}\.{kind}" for name in ("query", "key", "value")],
            f".attention.self.qkv.{kind}",
            [PackProjections()],
        )
        for kind in ("weight", "bias")
    ]
    table = WeightConverter(r"encoder\.embed_positions\.weight", TABLE, [CheckPositions()])
    return [*packed, table]


def register_conversions(model_type: str) -> None:
    """Make transformers use them for models of this type."""
    register_checkpoint_conversion_mapping(model_type, conversions(), overwrite=True)
