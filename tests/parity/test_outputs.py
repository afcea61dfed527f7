"""Every task on every architecture computes what transformers computes, output by output.

The one idea: theirs is asked for all it has (loss, logits, hidden states, attentions of both kinds)
and ours is held to each field by its name, on the fused path, on the stepwise one, and with padding
dropped. What must stay true: 1e-5 in float32 and 1e-10 in float64, absolute, on states and logits
of about one; a loss that theirs computes in float32 cannot be nearer than that type.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from parity.cases import TASKS, fields_of, inputs, pair, product
from torch import Tensor

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
EVERYTHING = {"output_hidden_states": True, "output_attentions": True}
CACHES = {"past_key_values", "cache"}


def close(result: Any, expected: Any, tolerance: float, what: str) -> None:
    if isinstance(expected, tuple):
        assert len(result) == len(expected), what
        for index, (one, other) in enumerate(zip(result, expected)):
            close(one, other, tolerance, f"{what}[{index}]")
        return
    if result.dtype != expected.dtype:
        assert what == "loss", what
        result, tolerance = result.float(), 1e-6
    assert result.shape == expected.shape, what
    torch.testing.assert_close(
        result, expected, rtol=0.0, atol=tolerance, msg=lambda text: f"{what}: {text}"
    )


@torch.no_grad()
def compare(theirs: Any, ours: Any, given: dict[str, Tensor], dtype: torch.dtype) -> set[str]:
    """The names of the outputs that were compared."""
    expected = theirs(**given, **EVERYTHING)
    names = {name for name in expected if name not in CACHES}
    stepwise = ours(**given, **EVERYTHING)
    fused = ours(**given, output_hidden_states=True, unpad=False)
    for name in names:
        close(getattr(stepwise, name), expected[name], TOLERANCE[dtype], name)
        if not name.endswith("attentions"):
            close(getattr(fused, name), expected[name], TOLERANCE[dtype], name)
    free = ours(**given)
    if "loss" in names:
        close(free.loss, expected.loss, TOLERANCE[dtype], "loss")
    if "last_hidden_state" in names:
        seen = given["attention_mask"].bool()
        states = [output.last_hidden_state[seen] for output in (free, expected)]
        close(*states, TOLERANCE[dtype], "states of the tokens")
    return names


@pytest.mark.parametrize(("task", "architecture"), product(0))
def test_outputs(task: str, architecture: str) -> None:
    fields = fields_of(architecture, task)
    theirs, ours = pair(task, fields)
    for dtype in (torch.float32, torch.float64):
        given = inputs(task, fields, dtype)
        names = compare(theirs.to(dtype), ours.to(dtype), given, dtype)
        assert names >= {"hidden_states", "attentions"}
        assert ("loss" in names) == (TASKS[task].labels is not None)
        assert ("cross_attentions" in names) == ("encoder_hidden_states" in given)


@pytest.mark.parametrize("task", TASKS)
def test_outputs_of_embeddings(task: str) -> None:
    fields = fields_of("odd sizes", task)
    compare(*pair(task, fields), inputs(task, fields, embedded=True), torch.float64)


@pytest.mark.parametrize("task", TASKS)
def test_tuples_have_one_order(task: str) -> None:
    fields = {**fields_of("plain", task), "use_cache": False}
    theirs, ours = pair(task, fields)
    given = {**inputs(task, fields), **EVERYTHING, "return_dict": False}
    expected, result = theirs(**given), ours(**given)
    first = "loss" if TASKS[task].labels else "states"
    close(result[0], expected[0], 1e-10, first)
    close(result[1:], expected[1:], 1e-10, "the rest")


@pytest.mark.parametrize("task", TASKS)
def test_a_mask_may_be_missing_or_of_another_type(task: str) -> None:
    fields = fields_of("rotated values", task)
    theirs, ours = pair(task, fields)
    given = {
        name: value
        for name, value in inputs(task, fields).items()
        if not name.endswith(("labels", "positions"))
    }
    mask = given.pop("attention_mask")
    with torch.no_grad():
        whole, expected = theirs(**given)[0], theirs(**given, attention_mask=mask)[0]
        close(ours(**given)[0], whole, 1e-10, "without a mask")
        for dtype in (torch.bool, torch.float64):
            result = ours(**given, attention_mask=mask.to(dtype), unpad=False)[0]
            close(result, expected, 1e-10, f"with a mask of {dtype}")
    assert not torch.allclose(whole, expected, atol=1e-4), "the mask must matter to show anything"
