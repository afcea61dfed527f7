"""AdamW without decay on biases and norms; warm-up, then down to zero; float32 weights always.

The one idea: what a step does to the weights is a function of the gradients and of the number of
the step, so a training that was interrupted needs nothing but its moments to go on.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

WARM_UP_SHARE = 0.06
WEIGHT_DECAY = 0.01
LARGEST_GRADIENT_NORM = 1.0
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def adamw(model: nn.Module) -> torch.optim.AdamW:
    """The optimizer of the weights that are trained; `update` sets its learning rate."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [x for x in trained if x.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [x for x in trained if x.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, fused=True)


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Of the step with this number, counted from 0: a rise to `peak`, then a cosine to zero."""
    warm_up = max(1, round(steps * WARM_UP_SHARE))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up)))


def update(model: nn.Module, optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Take the step that the gradients ask for, and drop them."""
    nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT_NORM)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad()


def precision(device: torch.device, dtype: str) -> torch.autocast:
    """The context to compute in for a name in DTYPES."""
    chosen = DTYPES[dtype]
    return torch.autocast(device.type, chosen, enabled=chosen != torch.float32)


def seed_step(seed: int, step: int, rank: int = 0, size: int = 1) -> None:
    """Seed dropout by the step, so that a training taken up again draws what it would have; of
    several processes each draws its own.
    """
    torch.manual_seed((seed * 1_000_003 + step) * size + rank)
