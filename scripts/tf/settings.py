"""bert_config.json and what the variables show, as a RoFormerConfig.

The one idea: what the file states counts, then what names and shapes show, then the defaults; what
none of them can tell (the activation of a pooler, the mask of RoFormer-Sim) has to be said. What
must stay true: nothing that changes a result is guessed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roformer_ext import RoFormerConfig
from tf import BadCheckpoint
from tf.bundle import Bundle
from tf.names import Contents

# Of RoFormer-Sim: it reads a question freely and writes an answer, and pools the first token.
SIM: dict[str, Any] = {"prefix_lm": True, "pooler_activation": "linear", "eos_token_id": 102}
_FIELDS = {field.name for field in dataclasses.fields(RoFormerConfig) if field.init}
# Rows of the position table that a release without this field means.
_POSITIONS = 512
_MOST_POSITIONS = 1 << 20


def read_settings(path: Path) -> dict[str, Any]:
    """The fields of a bert_config.json; BadCheckpoint where it is no JSON object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadCheckpoint(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise BadCheckpoint(f"{path} must be JSON in UTF-8: {error}") from None
    if not isinstance(values, dict):
        raise BadCheckpoint(f"{path} must hold a JSON object, got {type(values).__name__}")
    return values


def unused(stated: Mapping[str, Any]) -> list[str]:
    """Fields that a RoFormer has no use for."""
    return sorted(stated.keys() - _FIELDS - {"model_type"})


def configuration(
    stated: Mapping[str, Any], found: Contents, bundle: Bundle, changes: Mapping[str, Any]
) -> RoFormerConfig:
    """The configuration of the model in a bundle.

    stated: the fields of bert_config.json. changes: fields that count before them. BadCheckpoint
    where they make no RoFormer, contradict the variables, or leave open what must be known.
    """
    stated = {name: value for name, value in stated.items() if name in _FIELDS}
    values = {**_shown(found, bundle), **stated, **changes}
    if "num_attention_heads" not in values:
        raise BadCheckpoint("bert_config.json must state num_attention_heads, which no shape shows")
    if values["num_hidden_layers"] != found.layers:
        raise BadCheckpoint(
            f"num_hidden_layers must be the {found.layers} layers of the checkpoint, "
            f"got {values['num_hidden_layers']!r}"
        )
    if found.pooler and values.get("pooler_activation") is None:
        raise BadCheckpoint(
            f"the checkpoint has a pooler ({found.root}/pooler/dense) and nothing says what "
            "follows it: add --sim for RoFormer-Sim, --set pooler_activation=tanh for BERT's, or "
            f"--ignore ^{found.root}/pooler/ to leave it out"
        )
    try:
        config = RoFormerConfig(**values)
    except (ValueError, TypeError, AttributeError) as error:
        raise BadCheckpoint(f"bert_config.json makes no RoFormer: {error}") from None
    if config.max_position_embeddings > _MOST_POSITIONS:
        raise BadCheckpoint(
            f"max_position_embeddings must be at most {_MOST_POSITIONS}, because their table is "
            f"written, got {config.max_position_embeddings}"
        )
    return config


def _shown(found: Contents, bundle: Bundle) -> dict[str, Any]:
    """What names and shapes show, where nobody states otherwise."""
    words = bundle.shape(found.words)
    shown = {
        "vocab_size": words[:1],
        "embedding_size": words[1:],
        "max_position_embeddings": (_POSITIONS,),
        "num_hidden_layers": (found.layers,),
    }
    if found.types in bundle.entries:
        shown["type_vocab_size"] = bundle.shape(found.types)[:1]
    if found.intermediate in bundle.entries:
        kernel = bundle.shape(found.intermediate)
        shown["hidden_size"], shown["intermediate_size"] = kernel[:1], kernel[1:]
    values: dict[str, Any] = {name: size[0] for name, size in shown.items() if len(size) == 1}
    if not found.norms:
        values["norm_type"] = "rms_norm"
    if not found.biases:
        values["use_bias"] = False
    if not found.norms and not found.biases:
        values["hidden_act"] = "relu"
    return values
