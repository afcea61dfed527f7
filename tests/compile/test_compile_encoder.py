"""The encoder and a training step under `torch.compile`: one graph, few compilations, no copies.

The idea: Dynamo and AOTAutograd decide about graph breaks and recompilation, so most tests stop
there and need no generated code; what Inductor writes is read for the one thing that only it
decides, whether the packed projection is copied. Every whole sweep through Inductor is slow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from head_checks import KINDS
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch._functorch.aot_autograd import aot_module_simplified
from torch._inductor.utils import run_and_get_code
from torch._subclasses.fake_tensor import FakeTensorMode
from twins import randomise, small

import roformer_ext
from roformer_ext.compile_mode import compile_mode

# Distinct numbers: two dims of one size would share a symbol, and cost a compilation.
TEN_SHAPES = (
    (2, 9), (3, 17), (5, 8), (7, 30), (4, 13), (11, 6), (6, 25), (9, 12), (8, 21), (3, 50),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def _model(kind: str = "RoFormerForMaskedLM", **fields: Any) -> Any:
    model = getattr(roformer_ext, kind)(small(**fields))
    randomise(model, deviation=0.1)
    return model


def _batch(sizes: tuple[int, ...]) -> dict[str, Tensor]:
    ids = torch.randint(5, 61, sizes)
    mask = torch.ones(sizes, dtype=torch.int64)
    mask[0, ..., -2:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def _labelled(sizes: tuple[int, ...]) -> dict[str, Tensor]:
    inputs = _batch(sizes)
    chosen = torch.rand(sizes) < 0.4
    return {**inputs, "labels": inputs["input_ids"].masked_fill(~chosen, -100)}


def _step(model: nn.Module, run: Callable[..., Any], inputs: dict[str, Tensor]) -> list[Tensor]:
    """The loss of one training step and every gradient."""
    model.zero_grad()
    loss = run(**inputs).loss
    loss.backward()
    return [loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize(
    "dynamic",
    [None, pytest.param(True, marks=pytest.mark.slow)],
    ids=["automatic", "dynamic"],
)
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_ten_shapes_compile_twice_at_most(training: bool, dynamic: bool | None) -> None:
    counter = CompileCounterWithBackend("aot_eager")
    model = _model(num_hidden_layers=1).train(training)
    compiled = torch.compile(model, fullgraph=True, dynamic=dynamic, backend=counter)
    for sizes in TEN_SHAPES:
        if training:
            inputs = _labelled(sizes)
            for actual, expected in zip(
                _step(model, compiled, inputs), _step(model, model, inputs), strict=True
            ):
                torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
        else:
            inputs = _batch(sizes)
            with torch.no_grad():
                expected = model(**inputs, unpad=False).logits
                torch.testing.assert_close(compiled(**inputs).logits, expected)
    assert counter.frame_count <= 2


@pytest.mark.parametrize("kind", KINDS)
def test_every_head_is_one_graph(kind: str) -> None:
    counter = CompileCounterWithBackend("aot_eager")
    model = _model(kind, num_hidden_layers=1).eval()
    inputs = _batch((3, 4, 7) if kind.endswith("MultipleChoice") else (3, 7))
    with torch.no_grad():
        actual = torch.compile(model, fullgraph=True, backend=counter)(**inputs)
        expected = model(**inputs, unpad=False)
    torch.testing.assert_close(tuple(actual), tuple(expected))
    assert counter.frame_count == 1


def test_no_copy_of_the_packed_projection() -> None:
    """Forward and backward call the kernel in place, and nothing else writes a tensor of its size.

    dropout: without it, because a mask is such a tensor too.
    """
    batch, seq, fields = 3, 7, {"hidden_size": 40, "num_attention_heads": 5}
    model = roformer_ext.RoFormerModel(small(num_hidden_layers=1, intermediate_size=24, **fields))
    ids = torch.randint(61, (batch, seq))
    compiled = torch.compile(model, fullgraph=True)
    _, code = run_and_get_code(
        lambda: compiled(ids).last_hidden_state.square().sum().backward(),
    )
    text = "".join(code)
    assert text.count("torch.ops.roformer_ext.rope_.default(") == 2
    assert "torch.ops.roformer_ext.rope.default(" not in text
    wide = [
        line
        for line in text.splitlines()
        if "= empty_strided_cpu(" in line
        and any(f"(({shape})" in line or f"({shape})," in line for shape in _packed(batch, seq, 40))
    ]
    # The projection in forward; dq, dk and dv side by side, and nothing more, in backward.
    assert len(wide) <= 2, wide


def _packed(batch: int, seq: int, width: int) -> tuple[str, ...]:
    heads = f"5, {width // 5}"
    return (
        f"{batch * seq}, {3 * width}",
        f"{batch}, {seq}, {3 * width}",
        f"{batch}, {seq}, 3, {heads}",
        f"{batch}, {seq}, 15, {width // 5}",
    )


@pytest.mark.parametrize("mode", ["op", "composite"])
@pytest.mark.parametrize("labelled", [False, True], ids=["inference", "training"])
def test_nothing_on_cuda_waits_or_lives_on_the_host(labelled: bool, mode: Any) -> None:
    """What `mode="reduce-overhead"` needs, read from the graph of a model that is on no device.

    Every tensor is on the GPU and no node reads one back, but the loss, which says so to Inductor.
    Forward alone, since the engine asks the driver for a stream: the transpose of the operator is
    the operator, and the other direction of the loss has its test in tests/test_masked_loss.py.
    """
    seen: list[torch.fx.Node] = []

    def keep(graph: torch.fx.GraphModule, _: Any) -> Any:
        seen.extend(graph.graph.nodes)
        return graph

    with FakeTensorMode(allow_non_fake_inputs=True), compile_mode(mode), torch.no_grad():
        with torch.device("cuda"):
            fields = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
            model = roformer_ext.RoFormerForMaskedLM(small(num_hidden_layers=1, **fields))
            model.train(labelled)
            ids = torch.zeros(3, 7, dtype=torch.int64)

        def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
            return aot_module_simplified(graph, inputs, fw_compiler=keep, bw_compiler=keep)

        compiled = torch.compile(model, fullgraph=True, backend=backend)
        compiled(ids, torch.ones_like(ids), labels=ids if labelled else None)
    assert seen
    left_out = {node for node in seen if torch.Tag.cudagraph_unsafe in _tags(node)}
    assert len(left_out) == labelled
    for node in set(seen) - left_out:
        value = node.meta.get("val")
        if isinstance(value, Tensor) and not left_out.intersection(node.all_input_nodes):
            assert value.device.type == "cuda", node.format_node()
        assert not _tags(node) & {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


def _tags(node: torch.fx.Node) -> set[torch.Tag]:
    return set(getattr(node.target, "tags", ()))


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("mode", ["op", "composite"])
@pytest.mark.parametrize("kind", KINDS)
def test_heads_through_inductor(kind: str, mode: Any, dynamic: bool) -> None:
    """Generated code agrees with eager, in both modes."""
    model = _model(kind).eval()
    compiled = torch.compile(model, fullgraph=True, dynamic=dynamic)
    middle = (4,) if kind.endswith("MultipleChoice") else ()
    with torch.no_grad(), compile_mode(mode):
        for batch, seq in ((3, 7), (2, 12))[: 2 if dynamic else 1]:
            inputs = _batch((batch, *middle, seq))
            actual, expected = compiled(**inputs), model(**inputs, unpad=False)
            torch.testing.assert_close(tuple(actual), tuple(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("mode", ["op", "composite"])
@pytest.mark.parametrize("rotary_value", [False, True], ids=["q and k", "q, k and v"])
def test_training_through_inductor(rotary_value: bool, mode: Any, dynamic: bool) -> None:
    model = _model(rotary_value=rotary_value, embedding_size=24).train()
    compiled = torch.compile(model, fullgraph=True, dynamic=dynamic)
    with compile_mode(mode):
        for sizes in TEN_SHAPES[: 3 if dynamic else 1]:
            inputs = _labelled(sizes)
            for actual, expected in zip(
                _step(model, compiled, inputs), _step(model, model, inputs), strict=True
            ):
                torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
