"""Pairs of models with equal weights for the adapter, transformers' and ours, and a tokenizer.

The one idea: `pair` works for every head by its name, and weights are random everywhere, so that a
tensor that was not loaded shows. What must stay true: a test that uses this is skipped aloud where
transformers is not installed.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from twins import SMALL, randomise

transformers = pytest.importorskip("transformers", reason="the adapter is one for transformers")

from roformer_ext import hf  # noqa: E402

__all__ = ["HEADS", "hf", "inputs", "is_causal", "pair", "theirs", "tokenizer", "transformers"]

HEADS = (
    "RoFormerModel",
    "RoFormerForMaskedLM",
    "RoFormerForCausalLM",
    "RoFormerForSequenceClassification",
    "RoFormerForTokenClassification",
    "RoFormerForQuestionAnswering",
    "RoFormerForMultipleChoice",
)


def theirs(head: str = "RoFormerForMaskedLM", **fields: Any) -> Any:
    """transformers' model of this name with random weights, in eval mode."""
    model = getattr(transformers, head)(transformers.RoFormerConfig(**{**SMALL, **fields})).eval()
    body = getattr(model, "roformer", model)
    table = body.encoder.embed_positions.weight
    table.requires_grad_(False)
    kept = table.clone()
    randomise(model)
    table.copy_(kept)
    return model


def pair(head: str = "RoFormerForMaskedLM", **fields: Any) -> Any:
    """(theirs, ours) of one configuration, with equal weights."""
    reference = theirs(head, **fields)
    ours = getattr(hf, head)(reference.config).eval()
    ours.load_state_dict(reference.state_dict())
    return reference, ours


def inputs(head: str = "RoFormerForMaskedLM", seed: int = 0) -> dict[str, Tensor]:
    """A batch with padding and labels, as the head of this name takes it."""
    generator = torch.Generator().manual_seed(seed)

    def draw(high: int, *size: int) -> Tensor:
        return torch.randint(high, size, generator=generator)

    batch = {"input_ids": draw(61, 3, 9), "attention_mask": torch.ones(3, 9, dtype=torch.long)}
    batch["attention_mask"][1, 5:] = 0
    if head.endswith("LM"):
        batch["labels"] = batch["input_ids"].masked_fill(draw(3, 3, 9) > 0, -100)
        batch["labels"][1, 5:] = -100
    elif head.endswith("SequenceClassification"):
        batch["labels"] = draw(2, 3)
    elif head.endswith("TokenClassification"):
        batch["labels"] = draw(2, 3, 9)
    elif head.endswith("QuestionAnswering"):
        batch |= {"start_positions": draw(9, 3), "end_positions": draw(12, 3)}
    elif head.endswith("MultipleChoice"):
        batch = {name: x[:2, None].expand(2, 3, 9).clone() for name, x in batch.items()}
        batch |= {"labels": draw(3, 2), "token_type_ids": draw(2, 2, 3, 9)}
    return batch


def is_causal(model: Any) -> bool:
    """Whether a later token changes no earlier logit: not so in some versions of transformers."""
    ids = inputs("RoFormerModel")["input_ids"]
    changed = ids.clone()
    changed[:, -1] = 5
    with torch.no_grad():
        one, other = model(ids).logits[:, :-1], model(changed).logits[:, :-1]
    return torch.allclose(one, other, atol=1e-5)


def tokenizer() -> Any:
    """Words w0 to w55, and the five special tokens before them."""
    tokenizers = pytest.importorskip("tokenizers", reason="pipelines need a tokenizer")
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(56))]
    vocabulary = {name: index for index, name in enumerate(names)}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
