"""`from_pretrained` and `save_pretrained`: every class, dtypes, new heads, and what is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from twins import randomise, small

import roformer_ext
from roformer_ext import (
    RoFormerConfig,
    RoFormerForCausalLM,
    RoFormerForMaskedLM,
    RoFormerForSequenceClassification,
    RoFormerForTokenClassification,
    RoFormerModel,
)
from roformer_ext.files import read_config, read_tensors, write_checkpoint

HEADS = [
    RoFormerModel,
    RoFormerForMaskedLM,
    RoFormerForCausalLM,
    RoFormerForSequenceClassification,
    RoFormerForTokenClassification,
    roformer_ext.RoFormerForQuestionAnswering,
    roformer_ext.RoFormerForMultipleChoice,
]
V2 = {"norm_type": "rms_norm", "use_bias": False, "hidden_act": "relu"}
VARIANTS: dict[str, dict[str, Any]] = {
    "V1": {},
    "two widths": {"embedding_size": 20},
    "untied": {"tie_word_embeddings": False},
    "V2": V2,
    "V2 of two widths": {**V2, "embedding_size": 20},
    "Sim": {"pooler_activation": "linear", "prefix_lm": True, "eos_token_id": 1},
    "long": {"rope_parameters": {"rope_type": "linear", "factor": 4.0}},
}
IDS = torch.arange(1, 11).view(2, 5)
WORDS = "roformer.embeddings.word_embeddings.weight"
QUERY = "roformer.encoder.layer.1.attention.self.query.weight"


def make(model_class: Any, **fields: Any) -> Any:
    model = model_class(small(**fields)).eval()
    randomise(model)
    return model


def same(one: Any, other: Any) -> bool:
    mine, others = one.state_dict(), other.state_dict()
    return mine.keys() == others.keys() and all(torch.equal(mine[n], others[n]) for n in mine)


def rewrite(directory: Path, **changes: Tensor | None) -> None:
    """Replace tensors of a checkpoint (`__` for a dot), or remove them with None."""
    tensors = {name: tensor.clone() for name, tensor in read_tensors(directory).by_name.items()}
    for name, tensor in changes.items():
        name = name.replace("__", ".")
        if tensor is None:
            del tensors[name]
        else:
            tensors[name] = tensor
    write_checkpoint(directory, read_config(directory), tensors)


def reconfigure(directory: Path, **fields: Any) -> None:
    """Change fields of config.json, or remove them with `...`."""
    config = {**read_config(directory), **fields}
    config = {name: value for name, value in config.items() if value is not ...}
    (directory / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("model_class", HEADS, ids=lambda model: model.__name__)
def test_what_is_saved_is_loaded(tmp_path: Path, model_class: Any, variant: str) -> None:
    model = make(model_class, **VARIANTS[variant])
    model.save_pretrained(tmp_path, max_shard_size="8KB")
    loaded = model_class.from_pretrained(tmp_path)
    assert same(model, loaded) and not loaded.training
    assert loaded.config == model.config or loaded.config.extra
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert read_config(tmp_path)["architectures"] == [model_class.__name__]
    assert same(RoFormerModel.from_pretrained(tmp_path), model.body)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_dtypes(tmp_path: Path, dtype: torch.dtype) -> None:
    model = make(RoFormerForMaskedLM).to(dtype)
    model.save_pretrained(tmp_path)
    assert read_config(tmp_path)["dtype"] == str(dtype).removeprefix("torch.")
    assert same(RoFormerForMaskedLM.from_pretrained(tmp_path), model)
    other = RoFormerForMaskedLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert same(other, model.float())
    rewrite(tmp_path, cls__predictions__bias=torch.zeros(61, dtype=torch.float32))
    widest = torch.promote_types(dtype, torch.float32)
    assert {p.dtype for p in RoFormerForMaskedLM.from_pretrained(tmp_path).parameters()} == {widest}
    with pytest.raises(
        ValueError, match=r"dtype must be None or a floating point type, got torch."
    ):
        RoFormerForMaskedLM.from_pretrained(tmp_path, dtype=torch.int8)


def test_the_position_table_is_written_and_checked(tmp_path: Path) -> None:
    make(RoFormerModel, max_position_embeddings=9).save_pretrained(tmp_path)
    table = read_tensors(tmp_path).by_name["encoder.embed_positions.weight"]
    assert table.shape == (9, 8) and table[0].tolist() == [0.0] * 4 + [1.0] * 4
    rewrite(tmp_path, encoder__embed_positions__weight=table[:3].bfloat16())
    RoFormerModel.from_pretrained(tmp_path)
    rewrite(tmp_path, encoder__embed_positions__weight=None)
    RoFormerModel.from_pretrained(tmp_path)
    rewrite(tmp_path, encoder__embed_positions__weight=table.flip(0))
    with pytest.raises(ValueError, match=r"encoder.embed_positions.weight must be \[sin \| cos\]"):
        RoFormerModel.from_pretrained(tmp_path)


def test_nothing_is_shared_with_the_file(tmp_path: Path) -> None:
    make(RoFormerModel).save_pretrained(tmp_path)
    model = RoFormerModel.from_pretrained(tmp_path)
    before = model(IDS).last_hidden_state.clone()
    path = tmp_path / "model.safetensors"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * (size // 2))
    assert torch.equal(model(IDS).last_hidden_state, before)


@pytest.mark.parametrize("target", HEADS[1:], ids=lambda model: model.__name__)
@pytest.mark.parametrize("source", HEADS, ids=lambda model: model.__name__)
def test_a_new_head_on_any_encoder(tmp_path: Path, source: Any, target: Any) -> None:
    model = make(source)
    model.save_pretrained(tmp_path)
    torch.manual_seed(0)
    loaded = target.from_pretrained(tmp_path, new_head=True, num_labels=3)
    assert same(loaded.roformer, model.body)
    assert not any(parameter.is_meta for parameter in loaded.parameters())
    drawn = [p for name, p in loaded.named_parameters() if not name.startswith("roformer.")]
    if {source, target} == {RoFormerForMaskedLM, RoFormerForCausalLM}:
        assert torch.equal(loaded.cls.predictions.bias, model.cls.predictions.bias)
    elif source is not target:
        assert max(p.std().item() for p in drawn if p.dim() == 2) < 0.05
    loaded.train()(IDS.view(2, -1) if target is not HEADS[-1] else IDS.view(1, 2, 5))


def test_a_head_that_fits_stays_and_another_is_drawn(tmp_path: Path) -> None:
    model = make(RoFormerForSequenceClassification, num_labels=3)
    model.save_pretrained(tmp_path)
    load = RoFormerForSequenceClassification.from_pretrained
    assert same(load(tmp_path, new_head=True), model)
    other = load(tmp_path, new_head=True, num_labels=4)
    assert other.classifier.out_proj.weight.shape == (4, 32)
    assert not torch.equal(other.classifier.dense.weight, model.classifier.dense.weight)
    with pytest.raises(
        ValueError, match=r"classifier.out_proj.bias of shape \[3\] instead of \[4\]"
    ):
        load(tmp_path, num_labels=4)
    named = load(tmp_path, id2label={0: "a", 1: "b", 2: "c"})
    assert named.config.num_labels == 3


def test_either_tied_name_is_enough(tmp_path: Path) -> None:
    model = make(RoFormerForMaskedLM)
    model.save_pretrained(tmp_path)
    names = read_tensors(tmp_path).by_name
    assert "cls.predictions.decoder.weight" not in names
    bias, words = names["cls.predictions.bias"].clone(), names[WORDS].clone()
    rewrite(tmp_path, cls__predictions__bias=None, cls__predictions__decoder__bias=bias)
    moved = {WORDS.replace(".", "__"): None, "cls__predictions__decoder__weight": words}
    rewrite(tmp_path, **moved)
    loaded = RoFormerForMaskedLM.from_pretrained(tmp_path)
    assert same(loaded, model)
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight
    assert same(RoFormerModel.from_pretrained(tmp_path), model.body)
    rewrite(tmp_path, cls__predictions__decoder__weight=words, **{WORDS.replace(".", "__"): -words})
    with pytest.raises(ValueError, match="are tied and must be equal, got two values"):
        RoFormerForMaskedLM.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({QUERY: None}, f"must hold the tensors of RoFormerForMaskedLM, got no {QUERY}$"),
        ({"roformer.x": torch.ones(1)}, "got in addition roformer.x$"),
        ({"qa.weight": torch.ones(1)}, "got in addition qa.weight$"),
        ({QUERY: torch.ones(3, 2)}, rf"got {QUERY} of shape \[3, 2\] instead of \[32, 32\]$"),
        ({QUERY: torch.ones(32, 32).int()}, f"got {QUERY} of torch.int32$"),
        ({"cls.predictions.bias": None}, r"got no .*new_head=True draws a missing head anew$"),
        ({WORDS: torch.ones(60, 32)}, "vocab_size must be 60, as the tensors of .* are, got 61$"),
        (
            {QUERY: None, "a.b": torch.ones(1), "roformer.encoder.layer.0.output.dense.bias": None},
            "got no .*0.output.dense.bias, .*query.weight; in addition a.b$",
        ),
    ],
)
def test_tensors_that_do_not_fit(
    tmp_path: Path, changes: dict[str, Tensor | None], message: str
) -> None:
    make(RoFormerForMaskedLM).save_pretrained(tmp_path)
    rewrite(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        RoFormerForMaskedLM.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers must be 2, as the tensors"),
        ({"vocab_size": 10**15}, "vocab_size must be 61, as the tensors"),
        ({"hidden_size": "wide"}, "hidden_size must be a positive integer, got 'wide'"),
        ({"hidden_dropout_prob": "half"}, "config.json must hold fields of a RoFormer, got: "),
        ({"id2label": ["a"]}, "config.json must hold fields of a RoFormer, got: "),
        ({"rope_parameters": 3}, "config.json must hold fields of a RoFormer, got: "),
        ({"model_type": "bert"}, "model_type must be 'roformer' or 'roformer_ext', got 'bert'"),
        ({"num_attention_heads": 5}, "num_attention_heads must divide hidden_size"),
        ({"num_attention_heads": 8}, r"embed_positions.weight must have shape \[P, 4\]"),
        ({"norm_type": "rms_norm"}, "got in addition .*LayerNorm.bias"),
        ({"use_bias": False}, "got in addition "),
        ({"pooler_activation": "tanh"}, "got no roformer.pooler.dense.bias, roformer.pooler.dense"),
    ],
)
def test_configurations_that_contradict(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    make(RoFormerForMaskedLM).save_pretrained(tmp_path)
    reconfigure(tmp_path, **fields)
    with pytest.raises(ValueError, match=message):
        RoFormerForMaskedLM.from_pretrained(tmp_path)


def test_changes_of_the_configuration(tmp_path: Path) -> None:
    make(RoFormerForMaskedLM).save_pretrained(tmp_path)
    load = RoFormerForMaskedLM.from_pretrained
    assert load(tmp_path, hidden_dropout_prob=0.5).config.hidden_dropout_prob == 0.5
    config = small(hidden_dropout_prob=0.25)
    assert load(tmp_path, config=config).config.hidden_dropout_prob == 0.25
    with pytest.raises(TypeError, match="width is neither an argument nor a field of RoFormerConf"):
        load(tmp_path, width=3)
    with pytest.raises(FileNotFoundError, match=r"directory must hold config.json, got '"):
        load(tmp_path / "nowhere")


def test_a_file_that_was_cut(tmp_path: Path) -> None:
    make(RoFormerForMaskedLM).save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"model.safetensors must hold .* up to byte \d+ of its"):
        RoFormerForMaskedLM.from_pretrained(tmp_path)


@pytest.mark.parametrize("model_class", HEADS, ids=lambda model: model.__name__)
def test_models_pickle(model_class: Any) -> None:
    model = make(model_class)
    copy = pickle.loads(pickle.dumps(model))
    assert same(copy, model)
    if isinstance(model, RoFormerForMaskedLM):
        assert copy.get_output_embeddings().weight is copy.get_input_embeddings().weight


def test_a_configuration_object_is_left_alone(tmp_path: Path) -> None:
    model = make(RoFormerForMaskedLM)
    before = model.config.to_dict()
    model.save_pretrained(tmp_path)
    assert model.config.to_dict() == before
    assert isinstance(model.config, RoFormerConfig)
