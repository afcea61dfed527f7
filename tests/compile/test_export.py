"""`torch.export` and activation checkpointing.

An exported program keeps the node `roformer_ext.rope`, also after decomposition, so that another
runtime finds one operator to replace; `rope_` is exported as `rope`. A checkpointed rotation is
computed again in backward, with the same bits, whichever way torch checkpoints.
"""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from bits import assert_same_bits
from samples import SAMPLES
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import roformer_ext

ROPE = torch.ops.roformer_ext.rope.default


class _Rotation(torch.nn.Module):
    """A rotation in or out of place, with tables in buffers."""

    def __init__(self, cos: Tensor, sin: Tensor, in_place: bool, options: dict[str, Any]) -> None:
        super().__init__()
        self.cos, self.sin = torch.nn.Buffer(cos), torch.nn.Buffer(sin)
        self.in_place, self.options = in_place, options

    def forward(self, x: Tensor, ids: Tensor | None) -> Tensor:
        if self.in_place:
            return roformer_ext.rope_(x * 2, self.cos, self.sin, ids, **self.options)
        return roformer_ext.rope(x * 2, self.cos, self.sin, ids, **self.options)


def _targets(program: torch.export.ExportedProgram) -> list[Any]:
    return [node.target for node in program.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize("in_place", [False, True], ids=["rope", "rope_"])
@pytest.mark.parametrize(
    "name", ["bhsd", "ids_bs", "rows_sbhd", "heads_across_parts", "last_dims_transposed"]
)
def test_the_node_stays(name: str, in_place: bool) -> None:
    """Exported, decomposed, saved and loaded: one `rope` node, eager's bits."""
    x, cos, sin, ids, options = SAMPLES[name](torch.float32, "cpu")
    module = _Rotation(cos, sin, in_place, options)
    program = torch.export.export(module, (x, ids))
    decomposed = program.run_decompositions()
    assert ROPE in _targets(decomposed)
    if not in_place:
        assert ROPE in _targets(program)
    buffer = io.BytesIO()
    torch.export.save(decomposed, buffer)
    buffer.seek(0)
    loaded = torch.export.load(buffer)
    for form in (program, decomposed, loaded):
        assert_same_bits(form.module()(x, ids), module(x, ids))


@pytest.mark.parametrize("form", ["table", "ids"])
def test_dynamic_shapes(form: str) -> None:
    """Batch and length are free in the exported program."""
    angle = torch.rand(64, 4)
    module = _Rotation(angle.cos(), angle.sin(), False, {"seq_dim": 1})
    batch, length = (
        torch.export.Dim("batch", min=1, max=32),
        torch.export.Dim("length", min=1, max=64),
    )
    shapes = ({0: batch, 1: length}, {0: batch, 1: length} if form == "ids" else None)

    def arguments(b: int, s: int) -> tuple[Tensor, Tensor | None]:
        ids = torch.arange(b * s).view(b, s) % 65 - 1
        return torch.randn(b, s, 3, 8), ids if form == "ids" else None

    program = torch.export.export(module, arguments(4, 6), dynamic_shapes=shapes)
    assert ROPE in _targets(program)
    for sizes in ((1, 1), (2, 64), (7, 5)):
        values = arguments(*sizes)
        assert_same_bits(program.module()(*values), module(*values))


@pytest.mark.parametrize("in_place", [False, True], ids=["rope", "rope_"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing(in_place: bool, reentrant: bool) -> None:
    """Forward computed twice, one gradient."""
    x, cos, sin, ids, options = SAMPLES["ids_bs"](torch.float32, "cpu")
    module = _Rotation(cos, sin, in_place, options)
    x.requires_grad_()
    (expected,) = torch.autograd.grad(module(x, ids).sin().sum(), x)
    checkpoint(module, x, ids, use_reentrant=reentrant).sin().sum().backward()
    assert_same_bits(x.grad, expected)


@pytest.mark.parametrize("in_place", [False, True], ids=["rope", "rope_"])
def test_compiled_checkpointing(in_place: bool) -> None:
    """The same in a compiled step."""
    torch._dynamo.reset()
    x, cos, sin, ids, options = SAMPLES["ids_bs"](torch.float32, "cpu")
    module = _Rotation(cos, sin, in_place, options)
    x.requires_grad_()
    (expected,) = torch.autograd.grad(module(x, ids).sin().sum(), x)

    def step(x: Tensor) -> Tensor:
        return checkpoint(module, x, ids, use_reentrant=False).sin().sum()

    (actual,) = torch.autograd.grad(torch.compile(step, fullgraph=True, backend="aot_eager")(x), x)
    torch.testing.assert_close(actual, expected)
