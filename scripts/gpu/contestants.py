"""Who takes part on a GPU: ours, a device copy, the eager forms, their compilation, and rivals.

A contestant turns a case into one call without arguments that returns the rotated parts. Out of
place, backward is autograd's: the gradient of a finished forward, asked for again and again. In
place it is what training does to a gradient that nobody else holds: the transpose, in place.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gpu.cases import Case

Call = Callable[[], list[Tensor]]
Form = Callable[[Tensor], Tensor]


class Absent(Exception):
    """This contestant cannot take part; the message says why in a few words."""


def copy(case: Case) -> Call:
    """A copy of as many bytes between contiguous tensors: the ceiling."""
    pairs = [(torch.empty_like(part), part) for part in (m.contiguous() for m in case.moving())]
    return lambda: [to.copy_(source) for to, source in pairs]


def ours(case: Case) -> Call:
    if case.in_place:
        buffers = [part.clone() for part in case.parts]

        def rotate() -> list[Tensor]:
            for buffer in buffers:
                case.ours_in_place(buffer)
            return [buffer[:, :, : case.shape.rotated] for buffer in buffers]

        return rotate
    return _out_of_place(case, case.ours)


def eager(case: Case) -> Call:
    return _form(case, _pair_or_half(case))


def compiled(case: Case) -> Call:
    torch._dynamo.reset()  # a cache shared by cases would make later ones dynamic
    form = _pair_or_half(case)
    if case.in_place:
        return _form(case, form, lambda f: torch.compile(f, fullgraph=True, dynamic=False))
    return _form(case, torch.compile(form, fullgraph=True, dynamic=False))


def flash_attn(case: Case) -> Call:
    try:
        from flash_attn.layers.rotary import apply_rotary_emb
    except ImportError as error:
        raise Absent("flash_attn is not installed") from error
    cos, sin = case.cos.to(case.parts[0].dtype), case.sin.to(case.parts[0].dtype)
    if case.in_place:
        if case.backward:
            sin = -sin
        buffers = [part.clone()[:, :, : case.shape.rotated] for part in case.parts]
        return lambda: [apply_rotary_emb(b, cos, sin, case.interleaved, True) for b in buffers]
    return _out_of_place(case, lambda x: apply_rotary_emb(x, cos, sin, case.interleaved))


def liger(case: Case) -> Call:
    try:
        from liger_kernel.ops.rope import LigerRopeFunction
    except ImportError as error:
        raise Absent("liger_kernel is not installed") from error
    if case.interleaved or case.in_place:
        raise Absent("half layout, q and k apart only")
    dtype = case.parts[0].dtype
    cos = torch.cat((case.cos, case.cos), -1).to(dtype)[None]
    sin = torch.cat((case.sin, case.sin), -1).to(dtype)[None]
    # It rotates its arguments in place, so it may not be given the case's own.
    parts = [part.clone().transpose(1, 2) for part in case.parts]
    if case.backward:
        sin = -sin  # its backward is this very kernel
    return lambda: [y.transpose(1, 2) for y in LigerRopeFunction.apply(*parts, cos, sin)]


CONTESTANTS: dict[str, Callable[[Case], Call]] = {
    "ours": ours,
    "copy": copy,
    "eager": eager,
    "compiled": compiled,
    "flash_attn": flash_attn,
    "liger": liger,
}


def _pair_or_half(case: Case) -> Form:
    """The form that a model would write: tables of full width in the dtype of x."""
    dtype = case.parts[0].dtype
    sign = -1.0 if case.in_place and case.backward else 1.0
    if case.interleaved:
        cos = case.cos.repeat_interleave(2, -1)[:, None].to(dtype)
        sin = (sign * case.sin).repeat_interleave(2, -1)[:, None].to(dtype)
        return lambda x: x * cos + torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2) * sin
    cos = torch.cat((case.cos, case.cos), -1)[:, None].to(dtype)
    sin = (sign * torch.cat((case.sin, case.sin), -1))[:, None].to(dtype)

    def half(x: Tensor) -> Tensor:
        first, second = x.chunk(2, -1)
        return x * cos + torch.cat((-second, first), -1) * sin

    return half


def _form(case: Case, form: Form, wrap: Callable[[Form], Form] = lambda f: f) -> Call:
    if not case.in_place:
        return _out_of_place(case, form)
    rotated = case.shape.rotated
    buffers = [part.clone() for part in case.parts]

    def write_back(buffer: Tensor) -> Tensor:
        moving = buffer[:, :, :rotated]
        return moving.copy_(form(moving))

    run = wrap(write_back)

    def rotate() -> list[Tensor]:
        for buffer in buffers:
            run(buffer)
        return [buffer[:, :, :rotated] for buffer in buffers]

    return rotate


def _out_of_place(case: Case, form: Form) -> Call:
    if not case.backward:
        return lambda: [form(part) for part in case.parts]
    leaves = [torch.zeros_like(part).requires_grad_() for part in case.parts]
    results = [form(leaf) for leaf in leaves]
    return lambda: [
        torch.autograd.grad(y, leaf, dy, retain_graph=True)[0]
        for y, leaf, dy in zip(results, leaves, case.parts, strict=True)
    ]
