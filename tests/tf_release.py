"""A model as the original release would publish it: TensorFlow variables, bert_config.json, vocab.

The one idea: every variable's name is written out here as the release spells it, beside the name
that the tensor has in our models, and kernels are turned as TensorFlow multiplies by them. What
must stay true: nothing here asks the converter for a name.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from scripts_path import importable
from tf_bundle import write
from torch import Tensor, nn
from twins import randomise, small

from roformer_ext import RoFormerForMaskedLM, RoFormerModel

_AROUND = {
    "bert/embeddings/word_embeddings": "embeddings.word_embeddings.weight",
    "bert/embeddings/token_type_embeddings": "embeddings.token_type_embeddings.weight",
    "bert/embeddings/LayerNorm/gamma": "embeddings.LayerNorm.weight",
    "bert/embeddings/LayerNorm/beta": "embeddings.LayerNorm.bias",
    "bert/encoder/embedding_hidden_mapping_in/kernel": "embeddings_project.weight",
    "bert/encoder/embedding_hidden_mapping_in/bias": "embeddings_project.bias",
    "bert/pooler/dense/kernel": "pooler.dense.weight",
    "bert/pooler/dense/bias": "pooler.dense.bias",
    "cls/predictions/transform/dense/kernel": "cls.predictions.transform.dense.weight",
    "cls/predictions/transform/dense/bias": "cls.predictions.transform.dense.bias",
    "cls/predictions/transform/LayerNorm/gamma": "cls.predictions.transform.LayerNorm.weight",
    "cls/predictions/transform/LayerNorm/beta": "cls.predictions.transform.LayerNorm.bias",
    "cls/predictions/output_bias": "cls.predictions.bias",
}
_IN_A_LAYER = {
    "attention/self/query/kernel": "attention.self.query.weight",
    "attention/self/query/bias": "attention.self.query.bias",
    "attention/self/key/kernel": "attention.self.key.weight",
    "attention/self/key/bias": "attention.self.key.bias",
    "attention/self/value/kernel": "attention.self.value.weight",
    "attention/self/value/bias": "attention.self.value.bias",
    "attention/output/dense/kernel": "attention.output.dense.weight",
    "attention/output/dense/bias": "attention.output.dense.bias",
    "attention/output/LayerNorm/gamma": "attention.output.LayerNorm.weight",
    "attention/output/LayerNorm/beta": "attention.output.LayerNorm.bias",
    "intermediate/dense/kernel": "intermediate.dense.weight",
    "intermediate/dense/bias": "intermediate.dense.bias",
    "output/dense/kernel": "output.dense.weight",
    "output/dense/bias": "output.dense.bias",
    "output/LayerNorm/gamma": "output.LayerNorm.weight",
    "output/LayerNorm/beta": "output.LayerNorm.bias",
}
# What the release states, beside fields that no RoFormer reads.
_STATED = (
    "attention_probs_dropout_prob",
    "hidden_act",
    "hidden_dropout_prob",
    "hidden_size",
    "embedding_size",
    "initializer_range",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "type_vocab_size",
    "vocab_size",
)
V2: dict[str, Any] = {"norm_type": "rms_norm", "use_bias": False, "hidden_act": "relu"}
SIM: dict[str, Any] = {"prefix_lm": True, "pooler_activation": "linear", "eos_token_id": 102}


@contextlib.contextmanager
def converter() -> Iterator[Any]:
    """The script as a module; it finds its parts beside itself, as when it is run."""
    pytest.importorskip("tqdm")
    with importable():
        import convert_tf

        yield convert_tf


def masked_lm(dtype: torch.dtype = torch.float32, **fields: Any) -> RoFormerForMaskedLM:
    """A small one with random weights, every bias and gain among them, in eval mode."""
    model = RoFormerForMaskedLM(small(**fields))
    randomise(model)
    return model.to(dtype).eval()


def variables(model: nn.Module) -> dict[str, Tensor]:
    """The weights by the names of the release, copied, kernels turned."""
    bare = isinstance(model, RoFormerModel)
    state = {
        name if bare else name.removeprefix("roformer."): tensor
        for name, tensor in model.state_dict().items()
    }
    names = dict(_AROUND)
    for index in range(model.config.num_hidden_layers):
        for variable, tensor in _IN_A_LAYER.items():
            names[f"bert/encoder/layer_{index}/{variable}"] = f"encoder.layer.{index}.{tensor}"
    return {
        variable: (state[name].t() if variable.endswith("/kernel") else state[name]).clone()
        for variable, name in names.items()
        if name in state
    }


def training(some: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What an optimiser leaves beside the variables."""
    slots = {
        f"{name}/{slot}": torch.full_like(tensor, 9.0)
        for name, tensor in some.items()
        for slot in ("adam_m", "adam_v")
    }
    return {**slots, "global_step": torch.tensor(1000)}


def settings(model: nn.Module) -> dict[str, Any]:
    stated = {name: getattr(model.config, name) for name in _STATED}
    return {**stated, "directionality": "bidi", "model_type": "bert"}


def publish(
    folder: Path, model: nn.Module, tensors: Mapping[str, Tensor] | None = None, shards: int = 1
) -> Path:
    """Write the model, or in place of its weights `tensors`, as a release; returns the folder."""
    folder.mkdir(exist_ok=True)
    write(
        folder / "bert_model.ckpt", variables(model) if tensors is None else tensors, shards=shards
    )
    text = json.dumps(settings(model))
    (folder / "bert_config.json").write_text(text, encoding="utf-8")
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n", encoding="utf-8")
    return folder
