"""`set_compile_mode`: what stands in compiled graphs, whenever it is called.

Most tests look at the graph after AOTAutograd with Inductor's own decompositions, which needs no
code to be generated; what Inductor writes is read where it matters: in place or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from functorch.compile import make_boxed_func
from samples import SAMPLES
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch._inductor.compile_fx import select_decomp_table
from torch._inductor.utils import run_and_get_code

import roformer_ext
from roformer_ext.compile_mode import compile_mode, decomposes

ROPE = torch.ops.roformer_ext.rope.default
NAMES = ("bhsd_adjacent", "ids_sbhd", "rows_bsr", "heads_across_parts", "mixed_tables", "offset")


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    with compile_mode("auto"):
        yield
    torch._dynamo.reset()


class Graphs:
    """A backend that keeps what Inductor would get, and runs it as it is."""

    def __init__(self) -> None:
        self.held: list[torch.fx.GraphModule] = []

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        backend = aot_autograd(
            fw_compiler=self._keep,
            bw_compiler=self._keep,
            decompositions=select_decomp_table(),
        )
        return backend(graph, inputs)

    def _keep(self, graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        self.held.append(graph)
        return make_boxed_func(graph.forward)

    def rotations(self) -> list[int]:
        """Operator nodes in each graph so far."""
        return [sum(n.target is ROPE for n in graph.graph.nodes) for graph in self.held]


def test_words() -> None:
    with pytest.raises(ValueError, match="'auto', 'op' or 'composite', got 'kernel'"):
        roformer_ext.set_compile_mode("kernel")  # type: ignore[arg-type]


def test_auto_keeps_the_kernel_where_there_is_one() -> None:
    for device, decomposed in (("cpu", False), ("cuda", False), ("mps", True), ("xpu", True)):
        assert decomposes(torch.device(device)) == decomposed


def test_before_and_after_the_first_compilation() -> None:
    """A guard compiles again in another mode; a mode that was there before is found again."""
    x, cos, sin, ids, options = SAMPLES["ids_bs"](torch.float32, "cpu")
    graphs = Graphs()
    compiled = torch.compile(roformer_ext.rope, fullgraph=True, backend=graphs)
    expected = roformer_ext.rope(x, cos, sin, ids, **options)
    for mode in ("auto", "composite", "op", "composite", "auto"):
        roformer_ext.set_compile_mode(mode)
        torch.testing.assert_close(compiled(x, cos, sin, ids, **options), expected)
    assert graphs.rotations() == [1, 0, 1]


@pytest.mark.parametrize("mode", ["op", "composite"])
@pytest.mark.parametrize("name", NAMES)
def test_forward_and_backward(name: str, mode: Any) -> None:
    """Values and gradients of eager code, in and out of place; the transpose is decomposed too."""
    x, cos, sin, ids, options = SAMPLES[name](torch.float32, "cpu")
    roformer_ext.set_compile_mode(mode)
    for rotate in (roformer_ext.rope, roformer_ext.rope_):
        graphs = Graphs()

        def step(x: Tensor, rotate: Callable[..., Tensor] = rotate) -> Tensor:
            return rotate(x * 2, cos, sin, ids, **options).sin()

        leaf = x.clone().requires_grad_()
        actual = torch.compile(step, fullgraph=True, backend=graphs)(leaf)
        expected = step(leaf)
        torch.testing.assert_close(actual, expected)
        weight = torch.linspace(-1, 1, x.numel()).view(x.shape)
        (wanted,) = torch.autograd.grad((expected * weight).sum(), leaf)
        (found,) = torch.autograd.grad((actual * weight).sum(), leaf)
        torch.testing.assert_close(found, wanted)
        assert graphs.rotations() == ([1, 1] if mode == "op" else [0, 0])


def test_the_mode_is_part_of_the_keys_of_caches() -> None:
    """A user's own tag stays."""
    with torch.compiler.config.patch(cache_key_tag="mine"):
        tags = []
        for mode in ("op", "composite", "auto"):
            roformer_ext.set_compile_mode(mode)
            tags.append(torch.compiler.config.cache_key_tag)
        assert len({*tags}) == 3 and tags[-1] == "mine"
        assert all(tag.startswith("mine") for tag in tags)


def test_export_keeps_the_node() -> None:
    x, cos, sin, _, options = SAMPLES["bhsd"](torch.float32, "cpu")

    class Module(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return roformer_ext.rope(x, cos, sin, **options)

    roformer_ext.set_compile_mode("composite")
    for strict in (False, True):
        program = torch.export.export(Module(), (x,), strict=strict)
        assert ROPE in [node.target for node in program.graph.nodes]


def _code(function: Callable[..., Any], *arguments: Tensor) -> str:
    result, code = run_and_get_code(torch.compile(function, fullgraph=True), *arguments)
    torch.testing.assert_close(result, function(*arguments))
    return "".join(code)


def test_in_place_where_nobody_else_reads() -> None:
    """Of a product: in place. Of an input, of what is read again, of an expanded one: never."""
    x, other, table = torch.randn(2, 5, 8), torch.randn(8, 8), torch.rand(5, 4)

    def rotate(x: Tensor) -> Tensor:
        return roformer_ext.rope(x, table, table)

    def private(x: Tensor, other: Tensor) -> Tensor:
        return rotate(x @ other) @ other

    def shared(x: Tensor, other: Tensor) -> tuple[Tensor, ...]:
        product = x @ other
        wide = (other @ other)[:, None, :1].expand(8, 5, 8)
        return rotate(product), product, rotate(x), rotate(wide) @ other

    assert "rope_.default" in _code(private, x, other)
    code = _code(shared, x, other)
    assert code.count("rope.default(") == 3 and "rope_.default" not in code


def test_not_in_place_beside_a_table_in_the_same_memory() -> None:
    """`rope_` refuses such an x, and the caller asked for `rope`."""
    x = torch.randn(10, 8)

    def beside(x: Tensor) -> Tensor:
        both = x @ x.mT[:, :8]
        return roformer_ext.rope(both, both[:, :4], both[:, 4:]) @ both.mT

    def same(x: Tensor) -> Tensor:
        both = x @ x.mT[:, :8]
        return roformer_ext.rope(both, both[:, :4], both[:, 4:]).sin()

    assert "rope_.default" not in _code(beside, x)
    assert "rope_.default" not in _code(same, x)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["op", "composite"])
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", NAMES)
def test_generated_code(name: str, dynamic: bool, mode: Any) -> None:
    """Through Inductor, to float32 rounding; composite code calls nothing of ours."""
    x, cos, sin, ids, options = SAMPLES[name](torch.float32, "cpu")
    roformer_ext.set_compile_mode(mode)

    def step(x: Tensor) -> Tensor:
        return roformer_ext.rope(x * 2, cos, sin, ids, **options).sin()

    leaf = x.clone().requires_grad_()
    compiled = torch.compile(step, fullgraph=True, dynamic=dynamic)

    def run(step: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        y = step(leaf)
        return y, *torch.autograd.grad((y * torch.linspace(-1, 1, y.shape[-1])).sum(), leaf)

    result, code = run_and_get_code(run, compiled)
    torch.testing.assert_close(result, run(step))
    assert ("torch.ops.roformer_ext" in "".join(code)) == (mode == "op")


@pytest.mark.slow
def test_a_bad_id_is_an_error_in_generated_code() -> None:
    roformer_ext.set_compile_mode("composite")
    compiled = torch.compile(roformer_ext.rope, fullgraph=True)
    table = torch.rand(7, 4)
    for bad in (-2, 7):
        with pytest.raises(RuntimeError):
            compiled(torch.ones(2, 8), table, table, torch.tensor([-1, bad]))
