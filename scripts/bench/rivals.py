"""How others rotate: each rival is a function of the parts of a case that returns rotated parts.

They are written as their users would run them: tables prepared once, in the dtype in which the
model keeps them (the dtype of x, except where a rival's own code says otherwise), outputs allocated
by torch. A rival that needs something the case lacks, or that is not installed, raises Absent with
the reason, and the table prints it. Sources: transformers' RoFormer (pair form) and Llama (half
form) in our own words, Llama's and torchtitan's complex form, and the libraries themselves where
they are installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bench import inputs
from bench.inputs import Inputs

Rotate = Callable[..., tuple[Tensor, ...]]


class Absent(Exception):
    """This rival cannot take part; the message says why in a few words."""


@dataclass(frozen=True)
class Rival:
    """One way to rotate, in the pair layout `interleaved`.

    `roundings` bounds its error (see inputs.check), in units of `finest` where x is finer.
    """

    name: str
    interleaved: bool
    build: Callable[[Inputs], Rotate]
    roundings: float = 8.0
    finest: str = "float64"

    def check(self, got: list[Tensor], wanted: list[Tensor], dtype: str) -> None:
        """Raise AssertionError where this rival is wrong."""
        unit = self.finest if dtype == "float64" else dtype
        inputs.check(self.name, got, wanted, unit, self.roundings)


def eager_pair(data: Inputs) -> Rotate:
    """Adjacent pairs: stack of (-odd, even), two products, one sum."""
    dtype = data.dtype
    cos = data.rows(data.cos.repeat_interleave(2, dim=-1)).to(dtype)
    sin = data.rows(data.sin.repeat_interleave(2, dim=-1)).to(dtype)

    def rotate(*parts: Tensor) -> tuple[Tensor, ...]:
        results = []
        for x in parts:
            turned = torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).reshape_as(x)
            results.append(x * cos + turned * sin)
        return tuple(results)

    return rotate


def eager_half(data: Inputs) -> Rotate:
    """Half layout: concatenation of (-second half, first half), two products, one sum."""
    dtype = data.dtype
    cos = data.rows(torch.cat((data.cos, data.cos), dim=-1)).to(dtype)
    sin = data.rows(torch.cat((data.sin, data.sin), dim=-1)).to(dtype)

    def rotate(*parts: Tensor) -> tuple[Tensor, ...]:
        results = []
        for x in parts:
            first, second = x.chunk(2, dim=-1)
            results.append(x * cos + torch.cat((-second, first), dim=-1) * sin)
        return tuple(results)

    return rotate


def complex_form(data: Inputs) -> Rotate:
    """Adjacent pairs as complex numbers, in float32 for the half types, as Llama's code does."""
    freqs = data.rows(torch.complex(data.cos, data.sin))
    wide = torch.float64 if data.case.dtype == "float64" else torch.float32

    def rotate(*parts: Tensor) -> tuple[Tensor, ...]:
        results = []
        for x in parts:
            numbers = torch.view_as_complex(x.to(wide).unflatten(-1, (-1, 2)))
            results.append(torch.view_as_real(numbers * freqs).flatten(-2).type_as(x))
        return tuple(results)

    return rotate


def complex_in_place(data: Inputs) -> Rotate:
    """The complex form multiplied in place on own buffers: rare, and the fair rival of `rope_`."""
    if data.case.kind != "in_place" or data.case.dtype not in ("float32", "float64"):
        raise Absent("in place, float32 and float64 only")
    freqs = data.rows(torch.complex(data.cos, data.sin))
    buffers = [part.clone() for part in data.parts]
    numbers = [torch.view_as_complex(x.unflatten(-1, (-1, 2))) for x in buffers]

    def rotate(*parts: Tensor) -> tuple[Tensor, ...]:
        for pairs in numbers:
            pairs.mul_(freqs)
        return tuple(buffers)

    return rotate


def transformers_roformer(data: Inputs) -> Rotate:
    """The library's function, which rotates q and k together; one tensor goes with an empty k."""
    try:
        from transformers.models.roformer.modeling_roformer import RoFormerSelfAttention
    except ImportError as error:
        raise Absent("transformers is not installed") from error
    function = RoFormerSelfAttention.apply_rotary_position_embeddings
    table = torch.cat((data.sin, data.cos), dim=-1).to(data.dtype)
    table = data.rows(table)[None] if data.case.shape.seq_dim == -3 else table[None, None]

    def rotate(*parts: Tensor) -> tuple[Tensor, ...]:
        if len(parts) == 2:
            q, k = function(table, *parts)
            return q, k
        return (function(table, parts[0], parts[0][:0])[0],)

    return rotate


def lucidrains(data: Inputs) -> Rotate:
    """rotary-embedding-torch's function: takes angles, their cosine and sine cost time too."""
    try:
        from rotary_embedding_torch import apply_rotary_emb
    except ImportError as error:
        raise Absent("rotary-embedding-torch is not installed") from error
    dtype = torch.float64 if data.case.dtype == "float64" else torch.float32
    # The angle is taken back from the tables, so that its accuracy is that of the tables.
    angles = torch.atan2(data.sin.double(), data.cos.double()).to(dtype)
    freqs = data.rows(angles.repeat_interleave(2, dim=-1))

    def rotate(*parts: Tensor) -> tuple[Tensor, ...]:
        return tuple(apply_rotary_emb(freqs, x) for x in parts)

    return rotate


def compiled(build: Callable[[Inputs], Rotate]) -> Callable[[Inputs], Rotate]:
    """`torch.compile` of a form, for static shapes."""

    def build_compiled(data: Inputs) -> Rotate:
        if not data.case.compiled:
            raise Absent("takes part in some cases only, in all with --full")
        # Kept apart per case: a shared cache would make later cases dynamic.
        torch._dynamo.reset()
        torch._inductor.config.cpp.threads = data.case.threads
        rotate = build(data)
        compiled_form: Rotate = torch.compile(rotate, fullgraph=True, dynamic=False)
        return compiled_form

    return build_compiled


def onnx(interleaved: bool) -> Callable[[Inputs], Rotate]:
    def build(data: Inputs) -> Rotate:
        from bench.onnx_rival import build as build_onnx

        return build_onnx(data, interleaved)

    return build


RIVALS = (
    Rival("complex", True, complex_form),
    Rival("complex_", True, complex_in_place),
    Rival("eager pair", True, eager_pair),
    Rival("eager half", False, eager_half),
    Rival("compiled pair", True, compiled(eager_pair)),
    Rival("compiled half", False, compiled(eager_half)),
    Rival("transformers", True, transformers_roformer),
    # Its angles come from float32 tables, whose rows are not exactly of length one.
    Rival("lucidrains", True, lucidrains, finest="float32"),
    Rival("onnx adjacent", True, onnx(True)),
    Rival("onnx half", False, onnx(False)),
)


def present(data: Inputs) -> Iterator[tuple[Rival, Rotate | Absent]]:
    """Every rival with its function, or with the reason of its absence."""
    for rival in RIVALS:
        try:
            yield rival, rival.build(data)
        except Absent as reason:
            yield rival, reason
