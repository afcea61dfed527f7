"""`rope_` in compiled code, and in code whose backward pass is compiled.

Two things went wrong here once, both after right values: gradients through a graph input (trap
1), and an internal assertion of compiled autograd about dirty inputs (trap 2). Each test compares
values, what was written, and gradients with the eager out-of-place form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from samples import SAMPLES
from torch import Tensor
from torch._dynamo import compiled_autograd

import roformer_ext

BACKENDS = ("aot_eager", pytest.param("inductor", marks=pytest.mark.slow))


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


Problem = tuple[Tensor, Tensor, Tensor, Tensor]


@pytest.fixture
def problem(device: torch.device) -> Problem:
    """A packed projection [2, 5, 3, 4, 8] that requires grad, tables and ids."""
    _, cos, sin, ids, _ = SAMPLES["ids_bs"](torch.float32, device)
    generator = torch.Generator().manual_seed(2)
    packed = torch.randn(2, 5, 3, 4, 8, generator=generator).to(device).requires_grad_()
    assert ids is not None
    return packed, cos, sin, ids


def _rotated(packed: Tensor, cos: Tensor, sin: Tensor, ids: Tensor) -> Tensor:
    return roformer_ext.rope(packed, cos, sin, ids, seq_dim=1, heads=8)


def _on_input(packed: Tensor, cos: Tensor, sin: Tensor, ids: Tensor) -> Tensor:
    roformer_ext.rope_(packed, cos, sin, ids, seq_dim=1, heads=8)
    return packed


def _on_intermediate(packed: Tensor, cos: Tensor, sin: Tensor, ids: Tensor) -> Tensor:
    middle = packed * 1
    return roformer_ext.rope_(middle, cos, sin, ids, seq_dim=1, heads=8)


def _on_slices(packed: Tensor, cos: Tensor, sin: Tensor, ids: Tensor) -> Tensor:
    middle = packed * 1
    roformer_ext.rope_(middle[:, :, 0], cos, sin, ids, seq_dim=1)
    roformer_ext.rope_(middle[:, :, 1], cos, sin, ids, seq_dim=1)
    return middle


def _twice(packed: Tensor, cos: Tensor, sin: Tensor, ids: Tensor) -> Tensor:
    middle = packed * 1
    roformer_ext.rope_(middle, cos, sin, ids, seq_dim=1, heads=8)
    roformer_ext.rope_(middle, cos, sin, ids, seq_dim=1, heads=8, conj=True)
    return roformer_ext.rope_(middle, cos, sin, ids, seq_dim=1, heads=8)


FORMS: dict[str, Callable[..., Tensor]] = {
    "input": _on_input,
    "intermediate": _on_intermediate,
    "slices": _on_slices,
    "twice": _twice,
}


def _gradient(rotate: Callable[..., Tensor], problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Value, what the rotated tensor holds afterwards, and the gradient of the leaf."""
    packed, *rest = problem
    middle = packed * 3
    y = rotate(middle, *rest)
    weight = torch.linspace(-1, 1, y.numel(), device=y.device).view(y.shape)
    (gradient,) = torch.autograd.grad((y.sin() * weight).sum(), packed)
    return y.detach(), middle.detach(), gradient


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", FORMS)
def test_values_and_gradients(form: str, backend: str, dynamic: bool, problem: Problem) -> None:
    """Trap 1: on a graph input, an intermediate, slices of one, and repeatedly."""
    expected = _gradient(_rotated, problem)
    compiled = torch.compile(FORMS[form], fullgraph=True, backend=backend, dynamic=dynamic)
    value, written, gradient = _gradient(compiled, problem)
    torch.testing.assert_close(value, expected[0])
    torch.testing.assert_close(gradient, expected[2])
    torch.testing.assert_close(written, expected[0] if form == "input" else expected[1])


@pytest.mark.parametrize("form", ["input", "intermediate"])
def test_without_gradients(form: str, problem: Problem) -> None:
    """The caller's tensor is written exactly when the function says so."""
    packed, *rest = problem
    with torch.no_grad():
        expected = _rotated(packed, *rest)
        own = packed.clone()
        version = own._version
        torch.testing.assert_close(
            torch.compile(FORMS[form], fullgraph=True, backend="aot_eager")(own, *rest), expected
        )
        assert torch.equal(own, packed) == (form == "intermediate")
        assert (own._version > version) == (form == "input")


def test_with_table_gradients(problem: Problem) -> None:
    """An x that needs no gradient joins the graph in compiled code too."""
    packed, cos, sin, ids = problem

    def run(rotate: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        tables = cos.detach().requires_grad_(), sin.detach().requires_grad_()
        y = rotate(packed.detach().clone(), *tables, ids)
        return torch.autograd.grad(y.sin().sum(), tables)

    compiled = torch.compile(_on_input, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(run(compiled), run(_rotated))


@pytest.mark.parametrize("forward", ["eager", "compiled"])
@pytest.mark.parametrize("form", ["functional", *FORMS])
def test_compiled_autograd(form: str, forward: str, problem: Problem) -> None:
    """Trap 2: the backward pass captured as one graph, behind an eager and behind a compiled
    forward.
    """
    rotate = _rotated if form == "functional" else FORMS[form]
    expected = _gradient(_rotated, problem)
    if forward == "compiled":
        rotate = torch.compile(rotate, fullgraph=True, backend="aot_eager")
    compiler = torch.compile(backend="aot_eager", fullgraph=True)
    with compiled_autograd._enable(compiler):
        value, _, gradient = _gradient(rotate, problem)
    torch.testing.assert_close(value, expected[0])
    torch.testing.assert_close(gradient, expected[2])


@pytest.mark.parametrize("form", ["functional", "intermediate"])
def test_compiled_autograd_with_table_gradients(form: str, problem: Problem) -> None:
    """The same for the gradients of the tables."""
    packed, cos, sin, ids = problem
    rotate = _rotated if form == "functional" else FORMS[form]

    def run(rotate: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        leaves = (
            packed.detach().requires_grad_(),
            cos.detach().requires_grad_(),
            sin.detach().requires_grad_(),
        )
        y = rotate(leaves[0] * 3, *leaves[1:], ids)
        return torch.autograd.grad(y.sin().sum(), leaves)

    expected = run(_rotated)
    with compiled_autograd._enable(torch.compile(backend="aot_eager", fullgraph=True)):
        torch.testing.assert_close(run(rotate), expected)


def test_compiled_autograd_by_configuration(problem: Problem) -> None:
    """Switched on for a compiled training step, as users do it."""
    packed, *rest = problem
    own = packed.detach().requires_grad_()
    expected = _gradient(_rotated, problem)[2]
    weight = torch.linspace(-1, 1, packed.numel(), device=packed.device).view(packed.shape)

    def step() -> None:
        (_on_intermediate(own * 3, *rest).sin() * weight).sum().backward()

    with torch._dynamo.config.patch(compiled_autograd=True):
        torch.compile(step, backend="aot_eager")()
    torch.testing.assert_close(own.grad, expected)
