"""Every parameter's gradient of every task, beside that of transformers.

The one idea: a parameter is compared under its checkpoint name, the packed projection taken apart,
and none may be missing on either side. Some gradients are zero by symmetry (a key's bias without a
rotation moves all scores of a row alike), and there rounding is compared with rounding: the floor
is a few roundings of the largest gradient. What must stay true: 1e-4 of the norm in float32; in
float64 1e-9, or 1e-6 where theirs computes the loss in float32.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from parity.cases import TASKS, fields_of, inputs, pair, product
from torch import Tensor


class Bounds(NamedTuple):
    """How near gradients are to be, and losses, these absolutely as well."""

    relative: float
    """To the norm of the gradient."""
    floor: float
    """To that of the largest gradient."""
    loss: float


BOUNDS = {torch.float32: Bounds(1e-4, 1e-6, 1e-5), torch.float64: Bounds(1e-9, 1e-14, 1e-10)}
VECTORS = ("inputs_embeds", "encoder_hidden_states")
LOSS_IN_FLOAT32 = Bounds(1e-6, 1e-7, 1e-6)


def checkpoint_names(name: str) -> list[str]:
    """The names of the equal parts of a parameter; a bias with two names has one here."""
    if ".qkv." in name:
        return [name.replace("qkv", third) for third in ("query", "key", "value")]
    return [name.replace("predictions.decoder.bias", "predictions.bias")]


def gradients(model: Any) -> dict[str, Tensor]:
    """By checkpoint name; cleared afterwards."""
    found: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            names = checkpoint_names(name)
            found.update(zip(names, parameter.grad.chunk(len(names))))
    model.zero_grad(set_to_none=True)
    return found


def trained(model: Any) -> set[str]:
    """Checkpoint names of what has a gradient to get."""
    named = model.named_parameters()
    return {each for n, p in named if p.requires_grad for each in checkpoint_names(n)}


def loss(output: Any) -> Tensor:
    """The model's own, or for an encoder a sum in which every channel of every token counts."""
    if getattr(output, "loss", None) is not None:
        result: Tensor = output.loss
        return result
    states = output.last_hidden_state
    weights = torch.arange(states.numel(), dtype=states.dtype).view_as(states)
    return (weights.mul(0.37).sin() * states).mean()


def whole(task: str) -> dict[str, Any]:
    """Without labels padding is part of the sum over states, so that it must not be dropped."""
    return {} if TASKS[task].labels else {"unpad": False}


def same(result: dict[str, Tensor], expected: dict[str, Tensor], bounds: Bounds) -> None:
    assert result.keys() == expected.keys()
    floor = bounds.floor * max(gradient.norm() for gradient in expected.values())
    for name, gradient in expected.items():
        off = (result[name] - gradient).norm()
        assert off <= bounds.relative * gradient.norm() + floor, (name, off, gradient.norm())


def same_loss(result: Tensor, expected: Tensor, bounds: Bounds) -> None:
    result = result.detach().to(expected.dtype)
    torch.testing.assert_close(result, expected.detach(), rtol=bounds.loss, atol=bounds.loss)


@pytest.mark.parametrize(("task", "architecture"), product(1))
def test_gradients(task: str, architecture: str) -> None:
    fields = fields_of(architecture, task)
    theirs, ours = pair(task, fields)
    for dtype in (torch.float32, torch.float64):
        given = inputs(task, fields, dtype)
        expected_loss = loss(theirs.to(dtype)(**given))
        expected_loss.backward()
        expected = gradients(theirs)
        assert expected.keys() == trained(theirs)
        bounds = BOUNDS[dtype] if expected_loss.dtype == dtype else LOSS_IN_FLOAT32
        # In training heads work on what is labelled only.
        for training in (False, True):
            result_loss = loss(ours.to(dtype).train(training)(**given, **whole(task)))
            same_loss(result_loss, expected_loss, bounds)
            result_loss.backward()
            same(gradients(ours), expected, bounds)


@pytest.mark.parametrize("task", TASKS)
def test_gradients_of_the_inputs(task: str) -> None:
    fields = fields_of("odd sizes", task)
    theirs, ours = pair(task, fields)
    found: list[dict[str, Tensor]] = []
    for model, options in ((theirs, {}), (ours, whole(task))):
        given = inputs(task, fields, embedded=True)
        vectors = {name: given[name] for name in VECTORS if name in given}
        for vector in vectors.values():
            vector.requires_grad_()
        loss(model(**given, **options)).backward()
        found.append({name: vector.grad for name, vector in vectors.items()})
    same(found[1], found[0], LOSS_IN_FLOAT32 if task.startswith("next") else BOUNDS[torch.float64])
