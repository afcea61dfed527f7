"""The configuration: defaults, derived values, errors, and its two ways through JSON."""

from __future__ import annotations

import dataclasses
import json
import warnings
from typing import Any

import pytest

from roformer_ext import RoFormerConfig


def test_defaults_are_those_of_transformers() -> None:
    transformers = pytest.importorskip("transformers", reason="parity needs transformers")
    theirs, ours = transformers.RoFormerConfig(), RoFormerConfig()
    shared = [f.name for f in dataclasses.fields(ours) if hasattr(theirs, f.name)]
    assert len(shared) > 20
    # transformers fills label names in; here None means that none were given.
    for name in set(shared) - {"id2label", "label2id"}:
        assert getattr(ours, name) == getattr(theirs, name), name


def test_embedding_size_defaults_to_hidden_size() -> None:
    assert RoFormerConfig(hidden_size=24).embedding_size == 24
    assert RoFormerConfig(embedding_size=5).embedding_width == 5


def test_number_of_labels() -> None:
    assert RoFormerConfig().num_labels == 2
    config = RoFormerConfig.from_json('{"id2label": {"0": "a", "1": "b", "2": "c"}}')
    assert config.num_labels == 3 and config.id2label == {0: "a", 1: "b", 2: "c"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": 10}, "num_attention_heads must divide hidden_size = 10, got 12"),
        ({"hidden_size": 36}, "hidden_size / num_attention_heads must be even.*36 / 12 = 3"),
        ({"hidden_act": "geluu"}, "hidden_act must be one of .* got 'geluu'"),
        ({"norm_type": "batch_norm"}, "norm_type must be one of .* got 'batch_norm'"),
        ({"attention": "flash"}, "attention must be one of 'softmax', 'linear', got 'flash'"),
        ({"problem_type": "ranking"}, "problem_type must be one of .* got 'ranking'"),
        ({"summary_type": "attn"}, "summary_type must be one of .* got 'attn'"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_type must be one of .* got 'yarn'"),
        ({"rope_theta": 0.0}, "rope_theta must be positive, got 0.0"),
        ({"vocab_size": 0}, "vocab_size must be a positive integer, got 0"),
        ({"num_hidden_layers": 1.5}, "num_hidden_layers must be a positive integer, got 1.5"),
        ({"hidden_dropout_prob": 1.5}, "hidden_dropout_prob must be between 0 and 1, got 1.5"),
        ({"vocab_size": 9, "pad_token_id": 9}, "pad_token_id must be None or below .* got 9"),
        ({"chunk_size_feed_forward": -1}, "chunk_size_feed_forward must not be negative, got -1"),
        ({"num_labels": 0}, "num_labels must be None or at least 1, got 0"),
        ({"num_labels": "two"}, "num_labels must be None or at least 1, got 'two'"),
        ({"num_labels": 3, "id2label": {0: "a"}}, "num_labels must be the length of id2label, 1"),
    ],
)
def test_nonsense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RoFormerConfig(**fields)


def test_unknown_argument_is_refused() -> None:
    with pytest.raises(TypeError, match="hidden_sise"):
        RoFormerConfig(hidden_sise=64)


def test_json_round_trip() -> None:
    config = RoFormerConfig(
        hidden_size=24,
        rotary_value=True,
        id2label={0: "no", 1: "yes"},
        rope_parameters={"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0},
    )
    assert RoFormerConfig.from_json(config.to_json()) == config
    assert RoFormerConfig.from_dict(config.to_dict()) == config


def test_unknown_fields_are_kept_and_named_once() -> None:
    values = {"hidden_size": 24, "colour": "red", "torch_dtype": "float32", "architectures": ["X"]}
    with pytest.warns(UserWarning, match="keeps but does not use: colour$"):
        config = RoFormerConfig.from_dict(values)
    written = config.to_dict()
    assert {name: written[name] for name in values} == values


def test_bookkeeping_of_transformers_is_silent() -> None:
    transformers = pytest.importorskip("transformers", reason="parity needs transformers")
    text = transformers.RoFormerConfig(embedding_size=128).to_json_string(use_diff=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = RoFormerConfig.from_json(text)
    assert config.embedding_size == 128
    back = transformers.RoFormerConfig.from_dict(json.loads(config.to_json()))
    assert back.embedding_size == 128 and back.hidden_size == 768


def test_file_of_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model_type must be 'roformer'.*got 'bert'"):
        RoFormerConfig.from_dict({"model_type": "bert"})
    with pytest.raises(ValueError, match="JSON object, got list"):
        RoFormerConfig.from_json("[]")


@pytest.mark.parametrize(
    "fields",
    [
        {"norm_type": "rms_norm"},
        {"use_bias": False},
        {"attention": "linear"},
        {"prefix_lm": True},
        {"rope_theta": 500.0},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0}},
    ],
)
def test_model_type_warns_other_software_off(fields: dict[str, Any]) -> None:
    assert RoFormerConfig(**fields).to_dict()["model_type"] == "roformer_ext"


def test_model_type_of_an_ordinary_roformer() -> None:
    parameters = {"rope_type": "default", "rope_theta": 10000.0}
    assert RoFormerConfig().model_type == "roformer"
    assert RoFormerConfig(rope_parameters=parameters, rotary_value=True).model_type == "roformer"


def test_base_and_factor_of_the_rotation() -> None:
    parameters = {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}
    config = RoFormerConfig(rope_theta=100.0, rope_parameters=parameters)
    assert (config.rope_base, config.rope_factor) == (500.0, 4.0)
    assert (RoFormerConfig(rope_theta=100.0).rope_base, RoFormerConfig().rope_factor) == (100.0, 1)
