"""The model and the tokenizer to start from: a checkpoint, or nothing.

The one idea: a checkpoint gives three things, a configuration, a tokenizer and an encoder, and
starting from nothing gives up the last or all of them. What must stay true: the head is new in
every case, drawn from the seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from loop import wordpiece
from loop.architecture import configuration
from loop.command import BadSetting

from finetuning.examples import Example, Sentences
from finetuning.task import Task
from roformer_ext import RoFormerTokenizer


def tokenizer(directory: Path) -> RoFormerTokenizer:
    """That of a checkpoint."""
    try:
        return RoFormerTokenizer.from_pretrained(directory)
    except (OSError, ValueError, ImportError) as error:
        raise BadSetting(f"--model must hold a tokenizer: {error}") from None


def learned_tokenizer(examples: Sequence[Example], size: int) -> RoFormerTokenizer:
    """Word pieces of the texts to train on."""
    return wordpiece.learn(_texts(examples), size)


def from_checkpoint(
    directory: Path, task: Task[Any], dropout: float, seed: int, *, encoder: bool
) -> Any:
    """The head of a task on what a directory holds; `encoder` False takes its sizes alone."""
    torch.manual_seed(seed)
    changes = {
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
        **task.changes,
    }
    try:
        model = task.model.from_pretrained(directory, new_head=True, **changes)
    except (OSError, ValueError) as error:
        raise BadSetting(f"--model must hold a RoFormer: {error}") from None
    if encoder:
        model.initialise_head()
    else:
        model.reset_parameters()
    task.start(model)
    return model


def from_nothing(
    size: str, task: Task[Any], vocabulary: int, seq_len: int, dropout: float, seed: int
) -> Any:
    """The head of a task on an encoder of random weights; `size` is one of ARCHITECTURES."""
    torch.manual_seed(seed)
    config = configuration(size, vocabulary, seq_len, dropout)
    for name, value in task.changes.items():
        setattr(config, name, value)
    model = task.model(config)
    task.start(model)
    return model


def digest(model: torch.nn.Module) -> str:
    """A few letters that stand for all weights."""
    found = hashlib.sha256()
    for weight in model.state_dict().values():
        found.update(weight.detach().float().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:12]


def _texts(examples: Sequence[Example]) -> Iterator[str]:
    for each in examples:
        if isinstance(each, Sentences):
            yield each.first
            yield each.second or ""
        else:
            yield each.question
            yield each.context
