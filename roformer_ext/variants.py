"""Which RoFormer a directory holds: V1, V2 or Sim, and of which sizes.

The idea: config.json decides; where it says nothing, the names and shapes of the tensors do, and
where both speak of a size they must agree. What must stay true: nothing is built before its sizes
have been held to what the file really has, so a configuration that lies costs nothing.
"""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from .config import RoFormerConfig
from .position_table import TABLE

BODY = "roformer."
WORDS, DECODER = "embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"
_LAYER = re.compile(r"encoder\.layer\.(\d+)\.")
# A field, the tensor that shows it, and in which dimension.
_SIZES = (
    ("vocab_size", WORDS, 0),
    ("embedding_size", WORDS, 1),
    ("type_vocab_size", "embeddings.token_type_embeddings.weight", 0),
    ("hidden_size", "encoder.layer.0.attention.output.dense.weight", 0),
    ("intermediate_size", "encoder.layer.0.intermediate.dense.weight", 0),
)
_LABELS = ("num_labels", "id2label", "label2id")
_FIELDS = {field.name for field in dataclasses.fields(RoFormerConfig) if field.init}


class Parts(NamedTuple):
    """The tensors of a file."""

    body: dict[str, Tensor]
    """Those of the encoder, under the names that they have in a bare `RoFormerModel`."""
    head: dict[str, Tensor]
    """The others."""


def parts(tensors: Mapping[str, Tensor]) -> Parts:
    """The encoder, which stands under "roformer." where there is a head, and the rest."""
    body = {name.removeprefix(BODY): x for name, x in tensors.items() if name.startswith(BODY)}
    if not body:
        return Parts(dict(tensors), {})
    head = {name: x for name, x in tensors.items() if not name.startswith(BODY)}
    if WORDS not in body and DECODER in head:
        # Tied, and stored under its other name.
        body[WORDS] = head[DECODER]
    return Parts(body, head)


def configuration(
    stated: Mapping[str, Any], body: Mapping[str, Tensor], changes: Mapping[str, Any], path: Path
) -> RoFormerConfig:
    """The configuration of the model in a file.

    stated: the fields of config.json. body: see `Parts`. changes: fields that count before those
    of the file. path: of the tensors, for messages. ValueError names a field that no RoFormer can
    have or that contradicts a tensor, TypeError a change that is no field.
    """
    if unknown := sorted(changes.keys() - _FIELDS):
        raise TypeError(f"{unknown[0]} is neither an argument nor a field of RoFormerConfig")
    if changes.keys() & set(_LABELS):
        stated = {name: value for name, value in stated.items() if name not in _LABELS}
    sizes = _sizes(body)
    try:
        config = RoFormerConfig.from_dict({**_kind(body, sizes), **sizes, **stated, **changes})
    except (TypeError, AttributeError) as error:
        raise ValueError(f"config.json must hold fields of a RoFormer, got: {error}") from error
    for name, size in sizes.items():
        if getattr(config, name) != size:
            raise ValueError(
                f"{name} must be {size}, as the tensors of {path} are, got {getattr(config, name)}"
            )
    return config


def without_extras(
    body: Mapping[str, Tensor], config: RoFormerConfig, path: Path
) -> dict[str, Tensor]:
    """The same without what published files carry and nothing computes with; warns once.

    That is a projection of the embeddings where E == H, and a pooler that the configuration does
    not name.
    """
    extras = []
    if config.embedding_width == config.hidden_size:
        extras.append("embeddings_project.")
    if config.pooler_activation is None:
        extras.append("pooler.")
    unused = [name for name in body if name.startswith(tuple(extras))]
    if unused:
        warnings.warn(f"{path} holds tensors without a use: {', '.join(unused)}", stacklevel=2)
    return {name: tensor for name, tensor in body.items() if name not in unused}


def _sizes(body: Mapping[str, Tensor]) -> dict[str, int]:
    """Fields that a shape shows."""
    sizes = {
        field: body[name].shape[dimension]
        for field, name, dimension in _SIZES
        if name in body and body[name].dim() == 2
    }
    layers = {int(found[1]) for name in body if (found := _LAYER.match(name))}
    if layers:
        # Never more than there are tensors, whatever number a name has.
        sizes["num_hidden_layers"] = min(max(layers) + 1, len(body))
    return sizes


def _kind(body: Mapping[str, Tensor], sizes: Mapping[str, int]) -> dict[str, Any]:
    """Fields that names show, for a configuration that does not state them."""
    kind: dict[str, Any] = {}
    if "num_hidden_layers" in sizes:
        norms = any("LayerNorm" in name for name in body)
        biases = any(_LAYER.match(name) and name.endswith(".bias") for name in body)
        kind = {"norm_type": "layer_norm" if norms else "rms_norm", "use_bias": biases}
        if not norms and not biases:
            kind["hidden_act"] = "relu"  # V2
    if any(".crossattention." in name for name in body):
        kind |= {"is_decoder": True, "add_cross_attention": True}
    table = body.get(TABLE)
    if table is not None and table.dim() == 2 and table.numel() and "hidden_size" in sizes:
        kind["num_attention_heads"] = max(1, sizes["hidden_size"] // table.shape[1])
        kind["max_position_embeddings"] = table.shape[0]
    return kind
