"""Pairs of models with equal weights: transformers' RoFormer and ours.

The one idea: every parameter is drawn at random, biases and norms included, so that a name mixed up
on the way or a bias left out shows in the result. What must stay true: a test that needs a twin is
skipped aloud where transformers is not installed, and no other test is.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from roformer_ext import RoFormerConfig, RoFormerForMaskedLM

SMALL: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def small(**fields: Any) -> RoFormerConfig:
    """A configuration of a few thousand parameters, without dropout."""
    return RoFormerConfig(**{**SMALL, **fields})


def random_fields(seed: int) -> dict[str, Any]:
    """Fields of a small random architecture that transformers knows too."""
    draw = random.Random(seed)
    heads, head_dim = draw.choice(((1, 8), (2, 6), (3, 16), (4, 4), (5, 2)))
    width = heads * head_dim
    return {
        **SMALL,
        "vocab_size": draw.randint(20, 90),
        "embedding_size": draw.choice((width, width + 3, 10)),
        "hidden_size": width,
        "num_hidden_layers": draw.randint(1, 2),
        "num_attention_heads": heads,
        "intermediate_size": draw.randint(1, 40),
        "hidden_act": draw.choice(("gelu", "gelu_new", "relu", "silu", "quick_gelu")),
        "type_vocab_size": draw.randint(1, 3),
        "rotary_value": draw.random() < 0.4,
        "pad_token_id": draw.choice((0, 3)),
    }


def randomise(model: nn.Module, seed: int = 0, deviation: float = 0.3) -> None:
    """Draw every parameter from a normal distribution, gains around one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=deviation, generator=generator)
            if name.endswith("LayerNorm.weight"):
                parameter.add_(1.0)


def twins(fields: dict[str, Any], dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
    """(theirs, ours): masked LMs of one architecture, equal weights, in eval mode."""
    transformers = pytest.importorskip("transformers", reason="parity needs transformers")
    theirs = transformers.RoFormerForMaskedLM(transformers.RoFormerConfig(**fields))
    for name, parameter in theirs.named_parameters():
        parameter.requires_grad_("embed_positions" not in name)
    table = theirs.roformer.encoder.embed_positions.weight.clone()
    randomise(theirs, seed)
    theirs.roformer.encoder.embed_positions.weight.data.copy_(table)
    ours = RoFormerForMaskedLM(RoFormerConfig(**fields))
    ours.load_state_dict(theirs.state_dict())
    return theirs.to(dtype).eval(), ours.to(dtype).eval()


def batch(vocab: int, sizes: tuple[int, int] = (3, 13), seed: int = 0) -> dict[str, Tensor]:
    """Ids, a mask that pads the second half of row 1, and labels for a quarter of the tokens."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(vocab, sizes, generator=generator)
    mask = torch.ones(sizes, dtype=torch.long)
    mask[1, sizes[1] // 2 :] = 0
    labelled = torch.rand(sizes, generator=generator) < 0.25
    labelled[0, 0] = True
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": torch.where(labelled, ids, -100),
    }


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """By checkpoint name, the packed projection taken apart; cleared afterwards."""
    found = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        assert parameter.grad is not None, name
        names = [name.replace("qkv", third) for third in ("query", "key", "value")]
        thirds = parameter.grad.chunk(3) if "qkv" in name else (parameter.grad,)
        found.update(zip(names, thirds))
    model.zero_grad(set_to_none=True)
    return found


def same_gradients(result: dict[str, Tensor], expected: dict[str, Tensor], relative: float) -> None:
    """Each to `relative` of its norm, with a floor for those that are zero by symmetry."""
    assert result.keys() == expected.keys()
    floor = relative * max(gradient.norm() for gradient in expected.values())
    for name, gradient in expected.items():
        off = (result[name] - gradient).norm()
        assert off <= relative * gradient.norm() + floor, (name, off, gradient.norm())
