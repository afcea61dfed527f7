"""Who takes part: models of one size, and what each of them does in a mode.

The one idea: a contestant is built from its name, and its weights are drawn by the names of a
checkpoint, so that our model and transformers' RoFormer are equal in whichever process they stand.
What must stay true: compiled and eager share one model; BERT and ModernBERT, which compute
something else, have the same width, depth and vocabulary.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

import roformer_ext
from model_bench.cases import BERT, MODERNBERT, OURS, THEIRS, Case, Size
from model_bench.inputs import Inputs

COMPILED = " compiled"
LEARNING_RATE = 1e-5


@dataclass
class Entry:
    """`model` is what the reference is compared in, `run` what is timed.

    `loss` gives the loss of a training mode with its graph, None in the mode forward.
    """

    name: str
    model: nn.Module
    run: Callable[[], Tensor]
    loss: Callable[[], Tensor] | None = None
    leaves: dict[str, Tensor] = field(default_factory=dict)


def build(name: str, size: Size, mode: str) -> nn.Module:
    """The model of a contestant, a body or a masked LM, with seeded weights and without dropout."""
    body = mode == "forward"
    shape: dict[str, Any] = {
        "vocab_size": size.vocab,
        "hidden_size": size.hidden,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "intermediate_size": size.intermediate,
        "max_position_embeddings": size.positions,
    }
    dry: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    sdpa: dict[str, Any] = {"attn_implementation": "sdpa"}
    model: nn.Module
    if name == OURS:
        own = roformer_ext.RoFormerConfig(**shape, **dry)
        kind = roformer_ext.RoFormerModel if body else roformer_ext.RoFormerForMaskedLM
        model = kind(own)
    elif name == THEIRS:
        theirs = transformers.RoFormerConfig(**shape, **dry)
        model = (transformers.RoFormerModel if body else transformers.RoFormerForMaskedLM)(theirs)
    elif name == BERT:
        bert = transformers.BertConfig(**shape, **dry, **sdpa)
        model = (
            transformers.BertModel(bert, add_pooling_layer=False)
            if body
            else transformers.BertForMaskedLM(bert)
        )
    elif name == MODERNBERT:
        # Its own marks lie beyond a vocabulary of this size.
        for mark, number in {"pad": 0, "bos": 1, "cls": 1, "eos": 2, "sep": 2}.items():
            shape[f"{mark}_token_id"] = number
        modern = transformers.ModernBertConfig(**shape, **sdpa)
        model = (transformers.ModernBertModel if body else transformers.ModernBertForMaskedLM)(
            modern
        )
    else:
        raise ValueError(f"name must be a contestant that is not compiled, got {name!r}")
    seed_weights(model, 0.5 * size.hidden**-0.5)
    return model.eval() if body else model.train()


def seed_weights(model: nn.Module, deviation: float) -> None:
    """Draw every tensor of the state dict by its name: gains around one, the rest around zero."""
    # In one order for all, because of tied weights the last name decides.
    for name, value in sorted(model.state_dict().items()):
        if not value.is_floating_point() or "embed_positions" in name:
            continue
        generator = torch.Generator().manual_seed(zlib.crc32(name.split("roformer.")[-1].encode()))
        value.normal_(std=deviation, generator=generator)
        if name.lower().endswith("norm.weight"):
            value.add_(1.0)


def enter(name: str, case: Case, inputs: Inputs, model: nn.Module) -> Entry:
    """A contestant in the mode of `case`; `model` is its eager model."""
    called: Any = model
    if name.endswith(COMPILED):
        called = torch.compile(model, dynamic=False)
    if case.mode == "forward":
        return _forward(name, case, inputs, model, called)
    if case.mode == "head":
        return _head(name, case, inputs, model)
    return _train(name, case, inputs, model, called)


def autocast(dtype: str) -> torch.autocast:
    """Autocast to the half type, or off for float32."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype != "float32")


def _forward(name: str, case: Case, inputs: Inputs, model: nn.Module, called: Any) -> Entry:
    def run() -> Tensor:
        with torch.no_grad(), autocast(case.dtype):
            hidden: Tensor = called(**inputs.arguments).last_hidden_state
            return hidden

    return Entry(name, model, run)


def _train(name: str, case: Case, inputs: Inputs, model: nn.Module, called: Any) -> Entry:
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE
    )

    def loss() -> Tensor:
        with autocast(case.dtype):
            result: Tensor = called(**inputs.arguments, labels=inputs.labels).loss
            return result

    def step() -> Tensor:
        optimizer.zero_grad()
        result = loss()
        result.backward()
        optimizer.step()
        return result.detach()

    return Entry(name, model, step, loss)


def _head(name: str, case: Case, inputs: Inputs, model: Any) -> Entry:
    hidden = inputs.hidden.clone().requires_grad_()

    def loss() -> Tensor:
        with autocast(case.dtype):
            if isinstance(model, roformer_ext.RoFormerForMaskedLM):
                result, _ = model.loss_and_logits(hidden, inputs.labels, None, None)
                assert result is not None
                return result
            logits: Tensor = model.cls(hidden)
            return F.cross_entropy(logits.flatten(0, 1), inputs.labels.flatten())

    def step() -> Tensor:
        hidden.grad = None
        model.zero_grad()
        result = loss()
        result.backward()
        return result.detach()

    return Entry(name, model, step, loss, {"hidden": hidden})
