"""`torch.export` of every head, and AOTInductor packages of what it gives.

The idea: an exported head is a function of tensors alone, in eval mode, with batch and length
free. What must stay true: the operator is one node of the program unless decomposition is asked
for; a decomposed program and its package need no library of ours, the other needs
`libroformer_ext.so` loaded first (`import roformer_ext` does it, so does linking it).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from . import decomposition
from .compile_mode import compile_mode
from .multiple_choice import RoFormerForMultipleChoice
from .pretrained import RoFormerPreTrained

ROPE = torch.ops.roformer_ext.rope.default

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""What an exported head takes unless asked otherwise, in this order; all int64."""


class Exported(nn.Module):
    """A head as a function of tensors: a tuple of results, without dropout, padding kept."""

    def __init__(self, model: RoFormerPreTrained) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> tuple[Any, ...]:
        """The results that `return_dict=False` gives, without a cache."""
        given = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        options = {"use_cache": False} if self.model.config.is_decoder else {}
        result: tuple[Any, ...] = self.model(*given, return_dict=False, **options)
        return result


def example(model: RoFormerPreTrained) -> dict[str, Tensor]:
    """Inputs that `model` can be exported with: [B, S], or [B, N, S] with N choices.

    All sizes differ, because equal ones could be taken for one dim.
    """
    shape = (2, 4, 7) if isinstance(model, RoFormerForMultipleChoice) else (2, 7)
    device = model.body.embeddings.word_embeddings.weight.device
    ids = torch.arange(shape[-1], device=device).expand(shape) % model.config.vocab_size
    ids = ids.contiguous()
    return dict(zip(INPUTS, (ids, torch.ones_like(ids), torch.zeros_like(ids))))


def export(
    model: RoFormerPreTrained,
    inputs: Mapping[str, Tensor] | None = None,
    *,
    decompose: bool = False,
    strict: bool = False,
) -> ExportedProgram:
    """A program of any head, with the batch, the length and the number of choices free.

    model: exported as in eval mode; its own mode stays.
    inputs: those of input_ids, attention_mask, token_type_ids, position_ids and inputs_embeds that
        the program takes, in this order, as example tensors [B, S] (or [B, N, S], or with a last
        dim of their own). None means `example(model)`. No two sizes equal, and none 0 or 1.
    decompose: replace the operator by torch's own, so that the program needs no library of ours.
    strict: as in `torch.export.export`.

    The program is called with the same keywords and returns what the model returns with
    `return_dict=False`. It is functional: the in-place rotation has become `rope`, one node for
    each layer. Its tables are computed from the length, so no length is too long.
    """
    inputs = dict(example(model) if inputs is None else inputs)
    names = ("batch", "length") if _rank(inputs) == 2 else ("batch", "choices", "length")
    free = {place: Dim(name) for place, name in enumerate(names)}
    shapes = {name: {**free} if x.dim() >= len(names) else None for name, x in inputs.items()}
    with _evaluating(model), torch.no_grad():
        program: ExportedProgram = torch.export.export(
            Exported(model),
            (),
            inputs,
            dynamic_shapes=shapes,
            strict=strict,
        )
    program = program.run_decompositions({ROPE: decomposition.rope} if decompose else {})
    return program


def package(program: ExportedProgram, path: str | os.PathLike[str]) -> Path:
    """Compile a program with AOTInductor into the file `path`, which ends in .pt2; returns it.

    The package runs on the device of the program's weights. Load it with
    `torch._inductor.aoti_load_package(path)`, which takes the program's keywords, or in C++ with
    `torch::inductor::AOTIModelPackageLoader`, which takes their values in order. The program is
    compiled as it is: a node of ours stays a call of our kernel in every compile mode.
    """
    path = Path(path)
    if path.suffix != ".pt2":
        raise ValueError(f"the package must be named *.pt2, got {path}")
    with compile_mode("op"):
        written = torch._inductor.aoti_compile_and_package(program, package_path=str(path))
    return Path(written)


def rotations(program: ExportedProgram) -> int:
    """How many nodes of `program` are the operator."""
    return sum(node.target is ROPE for node in program.graph.nodes)


def _rank(inputs: Mapping[str, Tensor]) -> int:
    """Dims of the batch: 2, or 3 with choices."""
    if "input_ids" in inputs:
        return inputs["input_ids"].dim()
    if "inputs_embeds" in inputs:
        return inputs["inputs_embeds"].dim() - 1
    got = ", ".join(inputs) or "nothing"
    raise ValueError(f"inputs must have input_ids or inputs_embeds, got {got}")


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
