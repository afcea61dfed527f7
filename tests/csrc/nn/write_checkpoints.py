"""Writes small checkpoints, and what the Python models make of them, for the C++ encoder's tests.

The idea: one line says a case, and its folder holds what C++ needs to judge itself: config.json and
weights as `save_pretrained` writes them, and `expected.safetensors` with inputs, outputs, the
losses of three optimiser steps and the parameters after them. What must stay true: dropout is off,
and everything follows from fixed seeds.

    python tests/csrc/nn/write_checkpoints.py FOLDER
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import roformer_ext
from roformer_ext.tensor_file import write_safetensors

BATCH, SEQ, VOCABULARY = 3, 7, 19
TORN = torch.ones(BATCH, SEQ, dtype=torch.bool)
TORN[0, [0, 3]] = TORN[1] = False
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 12,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
V2 = {"norm_type": "rms_norm", "use_bias": False, "hidden_act": "relu"}
HEADS = {
    "model": roformer_ext.RoFormerModel,
    "masked_lm": roformer_ext.RoFormerForMaskedLM,
    "classifier": roformer_ext.RoFormerForSequenceClassification,
}


@dataclasses.dataclass
class Case:
    """One checkpoint and one batch."""

    name: str
    """Begins with a key of HEADS."""
    fields: dict[str, Any] = dataclasses.field(default_factory=dict)
    inputs: tuple[str, ...] = ("attention_mask", "token_type_ids")
    labels: str = ""
    """A key of `labels`; empty for a model without a head."""
    dtype: torch.dtype = torch.float32
    """Of the file."""
    shard: str = "5GB"


def masked_lm(name: str, *, inputs: tuple[str, ...] = Case.inputs, **fields: Any) -> Case:
    labels = "torn_tokens" if "torn_mask" in inputs else "tokens"
    return Case(f"masked_lm_{name}", fields, inputs, labels)


CASES = [
    masked_lm("v1", embedding_size=8),
    masked_lm("plain", inputs=()),
    masked_lm("untied", tie_word_embeddings=False, hidden_act="gelu_new"),
    masked_lm("v2", **V2),
    masked_lm("v2_two_widths", embedding_size=8, **V2),
    masked_lm("values_rotate", rotary_value=True, hidden_act="silu"),
    masked_lm("scaled", rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 500}),
    masked_lm("causal", is_decoder=True, use_cache=False),
    masked_lm("causal_unmasked", inputs=(), is_decoder=True),
    masked_lm("positions", inputs=("attention_mask", "position_ids")),
    masked_lm("blind_rows", inputs=("four_dimensional_mask",)),
    masked_lm("little_padding", inputs=("thin_mask",)),
    masked_lm("causal_little_padding", inputs=("thin_mask",), is_decoder=True),
    masked_lm("prefix", inputs=("token_type_ids",), prefix_lm=True),
    masked_lm("prefix_little_padding", inputs=("thin_mask", "token_type_ids"), prefix_lm=True),
    masked_lm("holes", inputs=("torn_mask", "token_type_ids"), prefix_lm=True),
    masked_lm("causal_holes", inputs=("torn_mask",), is_decoder=True, use_cache=False),
    Case("masked_lm_labels_on_padding", labels="all_tokens"),
    Case("masked_lm_float64", {}, labels="tokens", dtype=torch.float64),
    Case("masked_lm_bfloat16", {}, labels="tokens", dtype=torch.bfloat16),
    Case("masked_lm_float16", {}, labels="tokens", dtype=torch.float16),
    Case("masked_lm_shards", {}, labels="tokens", shard="4KB"),
    Case("model_v1", {"embedding_size": 8}),
    Case("model_sim", {"prefix_lm": True, "pooler_activation": "linear", "hidden_act": "relu"}),
    Case("model_holes", inputs=("torn_mask",)),
    Case("model_holes_pooled", {"pooler_activation": "tanh"}, inputs=("torn_mask",)),
    Case("classifier_classes", {"num_labels": 3}, labels="classes"),
    Case("classifier_regression", {"num_labels": 1}, labels="numbers"),
    Case("classifier_several", {"num_labels": 3}, labels="several"),
    Case("classifier_holes", {"num_labels": 3}, inputs=("torn_mask",), labels="classes"),
    Case("classifier_v2", {"num_labels": 3, **V2}, labels="classes"),
]


def every_input() -> dict[str, Tensor]:
    """Inputs by name; the third sequence has a token of position -1.

    attention_mask: padding that is dropped; thin_mask: too little; torn_mask: in a first place, in
    the middle, and a whole sequence.
    """
    mask = torch.ones(BATCH, SEQ, dtype=torch.int64)
    mask[1, 4:] = 0
    thin = torch.ones(BATCH, SEQ, dtype=torch.int64)
    thin[1, 5:] = 0
    types = torch.zeros(BATCH, SEQ, dtype=torch.int64)
    types[:, 3:] = 1
    positions = torch.randint(0, 100_000, (BATCH, SEQ))
    positions[2, 1] = -1
    square = torch.rand(BATCH, 1, SEQ, SEQ) < 0.6
    square[0, 0, 2] = False
    return {
        "input_ids": torch.randint(1, VOCABULARY, (BATCH, SEQ)),
        "attention_mask": mask,
        "thin_mask": thin,
        "torn_mask": TORN,
        "token_type_ids": types,
        "position_ids": positions,
        "four_dimensional_mask": square,
    }


def every_label() -> dict[str, Tensor]:
    tokens = torch.randint(0, VOCABULARY, (BATCH, SEQ))
    tokens[torch.rand(BATCH, SEQ) < 0.5] = -100
    tokens[1, 4:] = -100
    several = torch.randint(0, 2, (BATCH, 3)).float()
    several[0, 1] = -100
    return {
        "tokens": tokens,
        "torn_tokens": tokens.where(TORN, -100),
        "all_tokens": torch.randint(0, VOCABULARY, (BATCH, SEQ)),
        "classes": torch.tensor([2, -100, 0]),
        "numbers": torch.randn(BATCH),
        "several": several,
    }


def randomise(model: torch.nn.Module) -> None:
    """Biases and gains too, so that none could be left out unnoticed."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.3)
            if name.endswith("LayerNorm.weight"):
                parameter.add_(1.0)


def outputs(model: Any, arguments: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    found = model(**arguments)
    names = ("last_hidden_state", "pooler_output", "logits", "loss")
    values = {name: getattr(found, name, None) for name in names}
    return {f"{prefix}.{n}": x.detach().clone() for n, x in values.items() if x is not None}


def losses(model: Any, arguments: dict[str, Tensor]) -> Tensor:
    """Of three steps of AdamW; its eps keeps gradients that are all rounding from mattering."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, eps=1e-4, weight_decay=0.1)
    model.train()
    found = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = model(**arguments).loss
        loss.backward()
        optimizer.step()
        found.append(loss.detach())
    return torch.stack(found)


def write(case: Case, folder: Path) -> None:
    torch.manual_seed(2021)
    head = HEADS[next(key for key in HEADS if case.name.startswith(key))]
    model = head(roformer_ext.RoFormerConfig(**SIZES, **case.fields))
    randomise(model)
    model.to(case.dtype).save_pretrained(folder, max_shard_size=case.shard)
    model = head.from_pretrained(folder, dtype=torch.float32)

    inputs = every_input()
    given = {name: inputs[name] for name in ("input_ids", *case.inputs)}
    expected = {f"input.{name}": x for name, x in given.items()}
    for name in case.inputs:
        if name.endswith("_mask"):
            given["attention_mask"] = given.pop(name)
    if case.labels:
        given["labels"] = expected["input.labels"] = every_label()[case.labels]
    with torch.no_grad():
        expected |= outputs(model, given, "eval")
        expected |= outputs(model.double(), given, "double")
    if case.labels:
        model.float()
        expected["train.losses"] = losses(model, given)
        # A parameter with two names counts once.
        after = dict(model.state_dict())
        after.pop("cls.predictions.decoder.bias", None)
        if model.config.tie_word_embeddings:
            after.pop("cls.predictions.decoder.weight", None)
        expected |= {f"after.{n}": x for n, x in after.items()}
    write_safetensors(folder / "expected.safetensors", expected)


def main() -> None:
    folder = Path(sys.argv[1])
    for case in CASES:
        place = folder / case.name
        place.mkdir(parents=True, exist_ok=True)
        (place / "expected.safetensors").unlink(missing_ok=True)
        write(case, place)


if __name__ == "__main__":
    main()
