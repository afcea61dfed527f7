"""A model on two devices beside the same one on one: weights, batches, and what must agree.

The one idea: the same weights and the same whole batch, so outputs, losses, gradients and the
weights after a step of the optimizer must be those of one process, in float64. A division of labels
that differs from rank to rank is part of every batch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor
from twins import randomise, small

from roformer_ext import RoFormerForMaskedLM

ROWS, SEQ, LABELS = 6, 11, 9
CLOSE: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-12}


def mesh() -> DeviceMesh:
    return init_device_mesh("cpu", (2,), mesh_dim_names=("devices",))


def whole(x: Any) -> Any:
    """A result or parameter as one process would have it."""
    return x.full_tensor() if isinstance(x, DTensor) else x


def masked_lm(**fields: Any) -> RoFormerForMaskedLM:
    model = RoFormerForMaskedLM(small(**fields)).double()
    randomise(model)
    return model


def batch() -> dict[str, Tensor]:
    """Rows of different lengths; the first half has two labels, the second seven."""
    ids = torch.randint(1, 61, (ROWS, SEQ))
    mask = torch.arange(SEQ) < torch.randint(4, SEQ, (ROWS, 1))
    labels = torch.full_like(ids, -100)
    labels[0, :2] = 5
    labels[3:5, :3] = torch.randint(61, (2, 3))
    labels[5, 0] = 7
    return {"input_ids": ids, "attention_mask": mask.long(), "labels": labels}


def share(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The rows of this rank."""
    return {name: x.chunk(2)[dist.get_rank()] for name, x in inputs.items()}


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    """Made before the first forward, after which FSDP2 shows gathered parameters.

    The large epsilon keeps gradients that are zero but for rounding from becoming whole steps.
    """
    return torch.optim.AdamW(model.parameters(), lr=0.01, eps=1e-3)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """With clipping, as a training has it."""
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    optimizer.step()


def same_gradients(model: nn.Module, alone: nn.Module) -> None:
    found = {name: p.grad for name, p in by_checkpoint_name(model)}
    for name, parameter in by_checkpoint_name(alone):
        torch.testing.assert_close(
            whole(found[name]), parameter.grad, **CLOSE, msg=lambda m, n=name: f"{n}: {m}"
        )
    assert len(found) == len(by_checkpoint_name(alone))


def by_checkpoint_name(model: nn.Module) -> list[tuple[str, Any]]:
    """Parameters with their gradients, q, k and v apart."""
    found = []
    for name, parameter in model.named_parameters():
        if ".qkv." not in name:
            found.append((name, parameter))
            continue
        grad = None if parameter.grad is None else whole(parameter.grad).chunk(3)
        for index, third in enumerate(("query", "key", "value")):
            part = nn.Parameter(whole(parameter.detach()).chunk(3)[index])
            part.grad = None if grad is None else grad[index]
            found.append((name.replace("qkv", third), part))
    return found


def same_weights(model: nn.Module, alone: nn.Module) -> None:
    found = {name: whole(x) for name, x in model.state_dict().items()}
    expected = alone.state_dict()
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        torch.testing.assert_close(found[name], x, **CLOSE)
