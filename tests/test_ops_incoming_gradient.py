"""When backward may rotate the incoming gradient in place, and when it must not.

It may when nobody else can see the memory; the first test shows that it then does. Everybody else
is listed below: hooks that keep the tensor, a view, a detached alias, an array or a storage of
it; the caller's own gradient; a second consumer; memory that torch did not allocate. Each must
find the values that it was given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from bits import assert_same_bits
from samples import SAMPLES
from torch import Tensor
from torch.nn import functional as F
from torch.utils import dlpack

import roformer_ext


class _Replace(torch.autograd.Function):
    """Identity; backward hands on what `source` makes of the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, source: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.source = source
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.source(grad), None


@pytest.fixture
def tables(device: torch.device) -> tuple[Tensor, Tensor]:
    cos, sin = SAMPLES["bhsd"](torch.float32, device)[1:3]
    return cos, sin


@pytest.fixture
def x(device: torch.device, generator: torch.Generator) -> Tensor:
    return torch.randn(2, 3, 5, 8, generator=generator).to(device).requires_grad_()


@pytest.fixture
def dy(device: torch.device, generator: torch.Generator) -> Tensor:
    return torch.randn(2, 3, 5, 8, generator=generator.manual_seed(5)).to(device)


Tables = tuple[Tensor, Tensor]


def _expected(dy: Tensor, tables: Tables) -> Tensor:
    return roformer_ext.rope(dy, *tables, conj=True)


NEIGHBOURS: dict[str, Callable[[Tensor], Tensor]] = {
    "product": lambda y: y * 2,
    "matmul": lambda y: y @ torch.ones(8, 6).to(y),
    "reshape": lambda y: y.reshape(2, 15, 8) * 2,
    "two consumers": lambda y: y * 2 + y * 3,
    "attention": lambda y: F.scaled_dot_product_attention(y * 1, y, y),
}


@pytest.mark.parametrize("neighbour", NEIGHBOURS)
def test_a_sole_owner_is_rotated_in_place(neighbour: str, x: Tensor, tables: Tables) -> None:
    """A gradient that only the backward pass holds is rotated where it lies.

    Seen in the names of the operators that ran, because a look at the gradient itself would be a
    second owner.
    """
    z = NEIGHBOURS[neighbour](roformer_ext.rope(x * 1, *tables))
    with torch.autograd.profiler.profile() as profile:
        z.pow(2).sum().backward()
    ran = [event.name for event in profile.function_events if "::rope" in event.name]
    assert ran == ["roformer_ext::rope_"]


def test_after_a_matmul_and_a_reshape(
    x: Tensor, tables: Tables, generator: torch.Generator
) -> None:
    """The ordinary neighbours of a rotation: values are right behind a product and a change of
    shape.
    """
    weight = torch.randn(24, 4, generator=generator).to(x.device)
    y = roformer_ext.rope(x, *tables).transpose(1, 2).reshape(2, 5, 24) @ weight
    (dx,) = torch.autograd.grad(y.sum(), x)
    dy = weight.sum(-1).expand(2, 5, 24).reshape(2, 5, 3, 8).transpose(1, 2).contiguous()
    torch.testing.assert_close(dx, _expected(dy, tables), rtol=1e-6, atol=1e-6)


KEEP: dict[str, Callable[[Tensor], Any]] = {
    "itself": lambda g: g,
    "detached": lambda g: g.detach(),
    "data": lambda g: g.data,
    "view": lambda g: g.view(-1),
    "view of detached": lambda g: g.detach().view(6, 40),
    "slice": lambda g: g[0, 1],
    "transposed": lambda g: g.mT,
    "bits": lambda g: g.view(torch.int32),
    "numpy": lambda g: g.detach().cpu().numpy() if g.device.type == "cpu" else g,
    "storage": lambda g: g.untyped_storage(),
    "dlpack": lambda g: dlpack.from_dlpack(g.detach()),
}


def _read(kept: Any, like: Tensor) -> Tensor:
    """All of what was kept as a flat float32 tensor."""
    if isinstance(kept, torch.UntypedStorage):
        return torch.empty(0, dtype=torch.float32, device=like.device).set_(kept)
    tensor = torch.as_tensor(kept)
    return (tensor.view(torch.float32) if tensor.dtype == torch.int32 else tensor).reshape(-1)


@pytest.mark.parametrize("form", KEEP)
@pytest.mark.parametrize("where", ["tensor hook", "node prehook"])
def test_hooks_see_unchanged_values(
    form: str, where: str, x: Tensor, dy: Tensor, tables: Tables
) -> None:
    """Whatever a hook keeps of the gradient stays what it was."""
    kept: list[Any] = []
    y = roformer_ext.rope(x, *tables)

    def hook(grad: Tensor) -> None:
        kept.append(KEEP[form](grad))

    if where == "tensor hook":
        y.register_hook(hook)
    else:
        assert y.grad_fn is not None
        y.grad_fn.register_prehook(lambda grads: hook(grads[0]))
    (y * 1).backward(dy)
    assert_same_bits(x.grad, _expected(dy, tables))
    expected = torch.as_tensor(KEEP[form](dy.clone())) if form not in ("storage",) else dy
    assert_same_bits(_read(kept[0], dy), _read(expected, dy))


def test_retained_gradient(x: Tensor, dy: Tensor, tables: Tables) -> None:
    """`retain_grad` on the result shows the gradient as it arrived."""
    y = roformer_ext.rope(x, *tables)
    y.retain_grad()
    (y * 1).backward(dy)
    assert_same_bits(y.grad, dy)
    assert_same_bits(x.grad, _expected(dy, tables))


GIVEN: dict[str, Callable[[Tensor], Tensor]] = {
    "itself": lambda g: g,
    "detached": lambda g: g.detach(),
    "view": lambda g: g.view_as(g),
    "view of detached": lambda g: g.detach().view_as(g),
}


@pytest.mark.parametrize("form", GIVEN)
@pytest.mark.parametrize("call", ["backward", "grad"])
def test_given_gradients_stay(form: str, call: str, x: Tensor, dy: Tensor, tables: Tables) -> None:
    """The caller's gradient is the caller's, also when only an alias of it was handed over; twice
    gives the same.
    """
    before = dy.clone()
    y = roformer_ext.rope(x, *tables)
    for _ in range(2):
        if call == "backward":
            x.grad = None
            y.backward(GIVEN[form](dy), retain_graph=True)
            dx = x.grad
        else:
            (dx,) = torch.autograd.grad(y, x, GIVEN[form](dy), retain_graph=True)
        assert_same_bits(dy, before)
        assert_same_bits(dx, _expected(before, tables))


def _from_numpy(grad: Tensor, kept: list[Any]) -> Tensor:
    kept.append(grad.numpy().copy())
    return torch.from_numpy(kept[-1])


def _from_buffer(grad: Tensor, kept: list[Any]) -> Tensor:
    kept.append(bytearray(grad.numpy().tobytes()))
    return torch.frombuffer(kept[-1], dtype=grad.dtype).view(grad.shape)


def _from_dlpack(grad: Tensor, kept: list[Any]) -> Tensor:
    kept.append(grad.numpy().copy())
    return dlpack.from_dlpack(kept[-1])


@pytest.mark.parametrize("make", [_from_numpy, _from_buffer, _from_dlpack])
def test_foreign_memory_is_never_written(make: Callable[..., Tensor], dy: Tensor) -> None:
    """Memory that torch did not allocate may be seen by someone whom no reference count knows."""
    if dy.device.type != "cpu":
        pytest.skip("foreign memory on the CPU only")
    cos, sin = SAMPLES["bhsd"](torch.float32, "cpu")[1:3]
    x = torch.randn(2, 3, 5, 8, requires_grad=True)
    kept: list[Any] = []
    _Replace.apply(roformer_ext.rope(x, cos, sin), lambda grad: make(grad, kept)).backward(dy)
    seen = torch.from_numpy(numpy.frombuffer(bytes(kept[0]), dtype=numpy.float32).copy()).view(
        dy.shape
    )
    assert_same_bits(seen, dy)
    assert_same_bits(x.grad, _expected(dy, (cos, sin)))


def test_create_graph(x: Tensor, dy: Tensor, tables: Tables) -> None:
    """With `create_graph` nothing is overwritten and the second derivative is right."""
    dy.requires_grad_()
    made: list[Tensor] = []

    def source(grad: Tensor) -> Tensor:
        made.append(grad * 3)
        return made[-1]

    y = _Replace.apply(roformer_ext.rope(x * x, *tables), source)
    (dx,) = torch.autograd.grad(y, x, dy, create_graph=True)
    assert_same_bits(made[0], dy * 3)
    torch.testing.assert_close(dx, 2 * x * _expected(dy * 3, tables))
    v = torch.linspace(-1, 1, x.numel(), device=x.device).view(x.shape)
    ddy, ddx = torch.autograd.grad((dx * v).sum(), (dy, x))
    torch.testing.assert_close(ddy, 3 * roformer_ext.rope(2 * x * v, *tables))
    torch.testing.assert_close(ddx, 2 * v * _expected(dy * 3, tables))


SHARING: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": lambda a, b: a + b,
    "flat sum": lambda a, b: a.reshape(-1) + b.reshape(-1),
    "sum of a view": lambda a, b: a.view(6, 40) + b.view(6, 40),
    "cat": lambda a, b: torch.cat((a, b), 1),
    "stack": lambda a, b: torch.stack((a, b)),
    "stack unbound": lambda a, b: torch.stack((a, b)).unbind(0)[0] + b,
    "difference of transposes": lambda a, b: a.mT - b.mT,
}


@pytest.mark.parametrize("form", SHARING)
@pytest.mark.parametrize("other", ["rotated", "leaf", "middle"])
def test_gradients_shared_with_another_consumer(
    form: str, other: str, x: Tensor, tables: Tables, generator: torch.Generator
) -> None:
    """Two branches that receive one gradient tensor, or views of one, do not disturb each other."""
    b = torch.randn(x.shape, generator=generator).to(x.device).requires_grad_()

    def run(rope: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        left = rope(x, *tables)
        right = {
            "rotated": lambda: rope(b, *tables, interleaved=True),
            "leaf": lambda: b,
            "middle": lambda: b * 2,
        }[other]()
        y = SHARING[form](left, right)
        weight = torch.linspace(-1, 1, y.numel(), device=x.device).view(y.shape)
        return torch.autograd.grad((y * weight).sum(), (x, b))

    def plain(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool = False) -> Tensor:
        # Through the composite, whose backward has no in-place step.
        return torch.ops.roformer_ext._rope_composite.default(x, cos, sin, interleaved=interleaved)

    for ours, expected in zip(run(roformer_ext.rope), run(plain), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)


def test_accumulated_gradients(x: Tensor, dy: Tensor, tables: Tables) -> None:
    """A result used twice, and two backward passes into one `.grad`."""
    y = roformer_ext.rope(x, *tables)
    loss = (y * dy).sum() + (y * y).sum() / 2
    loss.backward(retain_graph=True)
    expected = _expected(dy + y.detach(), tables)
    torch.testing.assert_close(x.grad, expected)
    loss.backward()
    torch.testing.assert_close(x.grad, 2 * expected)


def test_in_place_form_keeps_given_gradients(x: Tensor, dy: Tensor, tables: Tables) -> None:
    """The same rule behind `rope_`."""
    before = dy.clone()
    y = roformer_ext.rope_(x * 1, *tables)
    y.backward(dy.detach())
    assert_same_bits(dy, before)
    assert_same_bits(x.grad, _expected(before, tables))
