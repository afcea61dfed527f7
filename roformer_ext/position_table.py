"""The table of positions that a checkpoint carries and no computation here needs.

The idea: it is a function of the configuration, so it is computed for what is saved, and taken out
of what is loaded and held to the formula. What must stay true: a table of any length passes, in
half precision too, and a wrong one is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from .config import RoFormerConfig
from .rotary import RotaryEmbedding

TABLE = "encoder.embed_positions.weight"
"""Its name in a bare `RoFormerModel`."""


def position_table(
    config: RoFormerConfig, rows: int, *, device: torch.device | str = "cpu"
) -> Tensor:
    """[rows, D], float32: [sin | cos] of the positions from 0 on, as checkpoints carry it."""
    rotary = RotaryEmbedding(config.head_dim, base=config.rope_base, factor=config.rope_factor)
    cos, sin = rotary.tables(rows, device=device)
    return torch.cat([sin, cos], dim=-1)


def check_position_table(
    module: nn.Module,
    state: dict[str, Any],
    prefix: str,
    metadata: Mapping[str, Any],
    strict: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    """Take `embed_positions` out of a checkpoint and hold it to the formula; nothing needs it."""
    key = f"{prefix}{TABLE}"
    table = state.pop(key, None)
    if table is None or table.is_meta:
        return
    config = cast(RoFormerConfig, module.config)
    if table.dim() != 2 or table.shape[1] != config.head_dim:
        errors.append(f"{key} must have shape [P, {config.head_dim}], got {list(table.shape)}")
        return
    expected = position_table(config, table.shape[0], device=table.device)
    # A file may have been rounded to bfloat16, which moves a value near 1 by up to 2^-9.
    if not torch.allclose(table.float(), expected, rtol=0.0, atol=2.0**-8):
        formula = f"pos * {config.rope_base:g}^(-2i/{config.head_dim})"
        errors.append(f"{key} must be [sin | cos] of {formula}, got other values")
