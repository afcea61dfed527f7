"""What `torch.compile` makes of the operator: a kernel of ours, or code that it fuses itself.

The idea: Inductor has a table of decompositions, a table of kernels that it calls and a table of
operators that it may run in place, and `rope` gets a line in each. Inductor takes seconds to
import, so this happens when Dynamo first traces `rope`. What must stay true: a compiled graph
knows the mode that it was made in (a guard, and a tag in the keys of torch's caches), and
`torch.export` keeps the node in every mode.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor

from . import _library, decomposition  # noqa: F401  (the first loads the operators)

CompileMode = Literal["auto", "op", "composite"]

mode: CompileMode = "auto"
"""The mode in force; `set_compile_mode` changes it."""

_ROPE = torch.ops.roformer_ext.rope.default
_ROPE_ = torch.ops.roformer_ext.rope_.default
_TAG = "roformer_ext.compile_mode="


def set_compile_mode(value: CompileMode) -> None:
    """Choose, for this process, what compiled code does where it rotates.

    "op": calls our kernel, in place where nobody else reads x: the bits of eager code.
    "composite": computes the rotation in generated code, fused with its neighbours, which agrees
        with eager code to rounding.
    "auto", the default: "op" on CPU and CUDA, "composite" on devices without a kernel of ours.
        Measured on CPU by scripts/bench_compile.py: alone, generated code takes 0.95 to 1.7 times
        the kernel's time in float32 and 2 to 19 times in bfloat16; in an encoder, whose neighbours
        are matrix products, 0.97 to 1.04 times. Among pointwise neighbours it may be the faster
        one (0.76 to 3.7 times), which is what "composite" is for. CUDA has not been measured.

    It may be called before or after the first compilation. A function compiled in another mode is
    compiled again at its next call, by a guard; only what calls `torch.ops.roformer_ext` itself
    keeps its form until `torch.compiler.reset()`. Programs of `torch.export` hold the operator in
    every mode; `roformer_ext.export` decomposes them on request.

    Raises ValueError for another word.
    """
    global mode
    if value not in get_args(CompileMode):
        raise ValueError(f"the compile mode must be 'auto', 'op' or 'composite', got {value!r}")
    prepare()
    # torch's cache on disk looks at graphs before they are decomposed.
    tags = [tag for tag in _cache_key().split(";") if tag and not tag.startswith(_TAG)]
    if value != "auto":
        tags.append(_TAG + value)
    torch.compiler.config.cache_key_tag = ";".join(tags)
    mode = value


@contextmanager
def compile_mode(value: CompileMode) -> Iterator[None]:
    """`set_compile_mode` for the time of a `with` block."""
    before = mode
    set_compile_mode(value)
    try:
        yield
    finally:
        set_compile_mode(before)


@functools.cache
def prepare() -> None:
    """Make the operator known to Inductor, once in a process."""
    from torch._inductor import decomposition as table
    from torch._inductor import lowering
    from torch._inductor.fx_passes import reinplace

    table.register_decomposition([_ROPE])(_decompose)
    table.fast_random_decomps.cache_clear()  # filled by whatever was compiled before
    # A node that the decomposition declined would otherwise be an error.
    lowering.make_fallback(_ROPE, warn=False, override_decomp=True)
    reinplace.inplaceable_ops[_ROPE] = reinplace.InplaceableOp(_ROPE_, 0, _may_overwrite)


def enter(_mode: CompileMode) -> None:
    """What `rope` calls under Dynamo, with `mode`, so that a guard on it stands in the graph."""
    prepare()


# What torch.compiler.assume_constant_result sets: Dynamo calls the function instead of tracing it.
# The decorator itself would import Dynamo, which takes seconds.
enter._dynamo_marked_constant = True  # type: ignore[attr-defined]


def decomposes(device: torch.device) -> bool:
    """Whether the mode in force decomposes the operator on this device."""
    return mode == "composite" or (mode == "auto" and device.type not in ("cpu", "cuda"))


def _decompose(x: Tensor, *args: Any, **options: Any) -> Tensor:
    if decomposes(x.device):
        return decomposition.rope(x, *args, **options)
    return cast(Tensor, NotImplemented)


def _may_overwrite(node: torch.fx.Node) -> bool:
    """Whether `rope_` would take x: one that overlaps neither itself nor a table."""
    x, *others = (
        argument.meta["val"] for argument in node.args if isinstance(argument, torch.fx.Node)
    )
    if not torch._prims_common.is_contiguous_or_false(x):
        return False
    return all(x.untyped_storage()._cdata != other.untyped_storage()._cdata for other in others)


def _cache_key() -> str:
    return str(torch.compiler.config.cache_key_tag)
