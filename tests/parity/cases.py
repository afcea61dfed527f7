"""What is compared with transformers: architectures, tasks, and pairs of models of equal weights.

The one idea: a task is a head with its labels, an architecture is a few fields, and every suite of
this folder runs over their product. What must stay true: transformers is imported only when a pair
is asked for, so that the literal values need none of it; and no decoder of theirs is compared with
before it has shown that it is causal.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from twins import SMALL, randomise

import roformer_ext
from roformer_ext import RoFormerConfig

ROWS, CHOICES, TOKENS = 3, 3, 12

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "plain": {},
    "rotated values": {"rotary_value": True, "type_vocab_size": 3},
    "narrow embeddings": {"embedding_size": 20, "hidden_act": "gelu_new"},
    "wide embeddings": {"embedding_size": 45, "rotary_value": True, "hidden_act": "silu"},
    "odd sizes": {"embedding_size": 27, "intermediate_size": 37, "vocab_size": 53},
    "width 2": {"hidden_size": 10, "num_attention_heads": 5, "type_vocab_size": 1},
    "width 6": {"hidden_size": 18, "num_attention_heads": 3, "intermediate_size": 7},
    "width 64": {"hidden_size": 128, "num_attention_heads": 2, "rotary_value": True},
    "width 128": {"hidden_size": 256, "num_attention_heads": 2, "embedding_size": 24},
    "untied": {"tie_word_embeddings": False, "pad_token_id": 5},
    "in chunks": {"chunk_size_feed_forward": 4, "hidden_act": "relu", "layer_norm_eps": 1e-5},
    "one deep": {"num_hidden_layers": 1, "num_attention_heads": 1, "hidden_act": "quick_gelu"},
}


class Task(NamedTuple):
    """A head, the fields of its configuration, and what it predicts."""

    head: str
    fields: dict[str, Any]
    labels: str | None = None


DECODER = {"is_decoder": True}
CROSS = {"is_decoder": True, "add_cross_attention": True}
SUMMARY = {"summary_type": "mean", "summary_use_proj": True, "summary_activation": "tanh"}
SEVERAL = {"num_labels": 4, "problem_type": "multi_label_classification"}

TASKS: dict[str, Task] = {
    "model": Task("RoFormerModel", {}),
    "masked words": Task("RoFormerForMaskedLM", {}, "words"),
    "next words": Task("RoFormerForCausalLM", DECODER, "words"),
    "next words, both ways": Task("RoFormerForCausalLM", {}, "words"),
    "next words of a source": Task("RoFormerForCausalLM", CROSS, "words"),
    "decoder": Task("RoFormerModel", DECODER),
    "decoder of a source": Task("RoFormerModel", CROSS),
    "one class": Task("RoFormerForSequenceClassification", {"num_labels": 3}, "class"),
    "one number": Task("RoFormerForSequenceClassification", {"num_labels": 1}, "numbers"),
    "several classes": Task("RoFormerForSequenceClassification", SEVERAL, "numbers"),
    "tokens": Task("RoFormerForTokenClassification", {"num_labels": 5}, "token classes"),
    "answers": Task("RoFormerForQuestionAnswering", {}, "positions"),
    "choices": Task("RoFormerForMultipleChoice", {}, "choice"),
    "choices by their mean": Task("RoFormerForMultipleChoice", SUMMARY, "choice"),
}


def product(turn: int) -> list[Any]:
    """Every task on every architecture, for parametrize; by turns half of them is slow."""
    slow = [pytest.mark.slow]
    return [
        pytest.param(task, name, id=f"{task}-{name}", marks=slow * ((i + j + turn) % 2))
        for i, task in enumerate(TASKS)
        for j, name in enumerate(ARCHITECTURES)
    ]


def fields_of(architecture: str, task: str) -> dict[str, Any]:
    return {**SMALL, **ARCHITECTURES[architecture], **TASKS[task].fields}


def pair(task: str, fields: dict[str, Any], dtype: torch.dtype = torch.float64) -> Any:
    """(theirs, ours): models of one task, with equal random weights, in eval mode."""
    if fields.get("is_decoder"):
        require_causal_reference()
    theirs = reference(TASKS[task].head, fields)
    ours = getattr(roformer_ext, TASKS[task].head)(RoFormerConfig(**fields))
    ours.load_state_dict(theirs.state_dict())
    return theirs.to(dtype).eval(), ours.to(dtype).eval()


def reference(head: str, fields: dict[str, Any], seed: int = 0) -> Any:
    """transformers' model of this name; states have the size of one in it, whatever its width."""
    transformers = pytest.importorskip("transformers", reason="parity needs transformers")
    transformers.logging.set_verbosity_error()
    model = getattr(transformers, head)(transformers.RoFormerConfig(**fields)).eval()
    table = getattr(model, "roformer", model).encoder.embed_positions.weight
    kept = table.detach().clone()
    randomise(model, seed, deviation=fields["hidden_size"] ** -0.5)
    table.requires_grad_(False).copy_(kept)
    return model


@torch.no_grad()
def is_causal(model: nn.Module) -> bool:
    """Whether the last token changes what is computed there, and nothing before it."""
    tokens = torch.arange(3, 9)[None]
    changed = tokens.clone()
    changed[0, -1] = 2
    before, after = model(tokens)[0], model(changed)[0]
    return torch.equal(before[:, :-1], after[:, :-1]) and not torch.equal(before, after)


@functools.cache
def reason_against_reference() -> str | None:
    """Why transformers' decoder is no reference, or None where it is one."""
    for head in ("RoFormerModel", "RoFormerForCausalLM"):
        if not is_causal(reference(head, {**SMALL, **DECODER})):
            import transformers

            return f"{head} of transformers {transformers.__version__} is not causal as a decoder"
    return None


def require_causal_reference() -> None:
    reason = reason_against_reference()
    if reason is not None:
        pytest.skip(reason)


def inputs(
    task: str, fields: dict[str, Any], dtype: torch.dtype = torch.float64, *, embedded: bool = False
) -> dict[str, Tensor]:
    """A batch with padding, types and labels; `embedded` gives vectors in place of ids."""
    generator = torch.Generator().manual_seed(len(task))
    kind = TASKS[task].labels
    size = (ROWS, CHOICES, TOKENS) if kind == "choice" else (ROWS, TOKENS)

    def draw(high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=generator)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    ids = draw(fields["vocab_size"], *size)
    mask = torch.ones(size, dtype=torch.long)
    mask[1, ..., TOKENS // 2 :] = 0
    batch = {"input_ids": ids, "attention_mask": mask}
    batch["token_type_ids"] = draw(fields.get("type_vocab_size", 2), *size)
    if embedded:
        del batch["input_ids"]
        batch["inputs_embeds"] = normal(*size, fields.get("embedding_size", fields["hidden_size"]))
    if fields.get("add_cross_attention"):
        batch["encoder_hidden_states"] = normal(ROWS, 5, fields["hidden_size"])
        batch["encoder_attention_mask"] = torch.tensor([[1] * 5, [1, 1, 1, 0, 0], [1] * 5])
    classes = fields.get("num_labels", 2)
    if kind == "words":
        batch["labels"] = ids.masked_fill((draw(3, *size) > 0) | (mask == 0), -100)
        batch["labels"][0, 1] = ids[0, 1]
    elif kind == "class":
        batch["labels"] = draw(classes, ROWS)
    elif kind == "numbers":
        batch["labels"] = draw(2, ROWS, classes).to(dtype)
    elif kind == "token classes":
        batch["labels"] = draw(classes, *size).masked_fill(mask == 0, -100)
    elif kind == "positions":
        # The last answer ends beyond its row, where it counts for nothing.
        batch["start_positions"] = draw(TOKENS, ROWS)
        batch["end_positions"] = torch.tensor([TOKENS - 1, 2, TOKENS + 3])
    elif kind == "choice":
        batch["labels"] = draw(CHOICES, ROWS)
    return batch
