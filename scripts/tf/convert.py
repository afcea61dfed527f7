"""From a bundle to a model with its weights.

The one idea: first the names, then the configuration, then every shape against a model without
memory; only when all of it fits is a tensor read, and each is read once. What must stay true: the
model holds the numbers of the checkpoint, bit for bit, unless a dtype is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from roformer_ext import RoFormerConfig, RoFormerForMaskedLM, RoFormerModel
from tf import BadCheckpoint
from tf.bundle import Bundle
from tf.names import Source, contents, listed, sources
from tf.settings import configuration

Model = RoFormerModel | RoFormerForMaskedLM


def convert(
    bundle: Bundle,
    names: set[str],
    stated: Mapping[str, Any],
    changes: Mapping[str, Any],
    dtype: torch.dtype | None = None,
    progress: Callable[[int], object] = lambda bytes_read: None,
) -> Model:
    """The model whose variables are `names`, in eval mode, without gradients.

    stated, changes: see `configuration`. dtype: of the weights, that of the file if None.
    progress: called with the bytes of each variable that has been read.
    """
    found = contents(names)
    config = configuration(stated, found, bundle, changes)
    # The head of RoFormer V2 is the word embeddings once more, so it leaves no variable behind.
    headed = found.predictions or config.norm_type == "rms_norm"
    model = _empty(RoFormerForMaskedLM if headed else RoFormerModel, config)
    wanted: dict[str, tuple[int, ...]] = {}
    stand_ins = model.stand_ins()
    for name, tensor in model.state_dict().items():
        if stand_ins.get(name) not in wanted:
            wanted[name] = tuple(tensor.shape)
    plan = sources(wanted, names, found.root)
    _check_shapes(bundle, plan, wanted)
    state = {}
    for name, source in plan.items():
        state[name] = _tensor(bundle, source, dtype)
        progress(bundle.entries[source.variable].size)
    model.load_state_dict(state, assign=True)
    return model.requires_grad_(False).eval()


def size(bundle: Bundle, names: set[str]) -> int:
    """Bytes of all these variables."""
    return sum(max(bundle.entries[name].size, 0) for name in names)


def _empty(kind: type[Model], config: RoFormerConfig) -> Model:
    try:
        with torch.device("meta"):
            return kind(config)
    except (ValueError, RuntimeError) as error:
        raise BadCheckpoint(f"this configuration makes no model: {error}") from None


def _check_shapes(
    bundle: Bundle, plan: Mapping[str, Source], wanted: Mapping[str, tuple[int, ...]]
) -> None:
    wrong = []
    for name, source in plan.items():
        shape = bundle.shape(source.variable)
        needed = wanted[name][::-1] if source.transposed else wanted[name]
        if shape != needed:
            wrong.append(f"{source.variable} {list(needed)}, got {list(shape)}")
    if wrong:
        raise BadCheckpoint(f"by bert_config.json the shapes must be {listed(wrong)}")


def _tensor(bundle: Bundle, source: Source, dtype: torch.dtype | None) -> Tensor:
    tensor = bundle.read(source.variable)
    if source.transposed:
        tensor = tensor.t()
    return tensor.to(dtype or tensor.dtype).contiguous()
