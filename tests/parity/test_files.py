"""Directories go both ways between transformers and ours, for every head.

The one idea: what one side saves the other loads through its own `from_pretrained`, and then holds
the same tensors bit for bit and computes the same to 1e-10. What must stay true: no tensor is
missing, extra or drawn anew on either side, in one file, in shards, or in the older pickle, and
the dtype stays that of the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from parity.cases import CROSS, TASKS, fields_of, inputs, pair
from torch import Tensor

import roformer_ext
from roformer_ext.files import read_config

# One task for each head; the others differ in labels only.
HEADS = ("model", "masked words", "next words", "one class", "tokens", "answers", "choices")
ARCHITECTURES = ("narrow embeddings", "rotated values", "untied")
HALVES = [torch.bfloat16, torch.float16, torch.float32]
SIZES = {"one file": "5GB", "shards": "20KB"}


def load_theirs(task: str, folder: Path) -> Any:
    """Their model; it must have found all that it looked for, and nothing else."""
    import transformers

    head = getattr(transformers, TASKS[task].head)
    model, report = head.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return model


def load_ours(task: str, folder: Path, **options: Any) -> Any:
    return getattr(roformer_ext, TASKS[task].head).from_pretrained(folder, **options)


def weights(model: Any) -> dict[str, Tensor]:
    """All but the position table, and the bias that untied heads of theirs have for nothing."""
    unread = ["embed_positions"] + ["cls.predictions.bias"] * (not model.config.tie_word_embeddings)
    state = model.state_dict()
    return {name: state[name] for name in state if not any(each in name for each in unread)}


def same(one: Any, other: Any) -> None:
    mine, others = weights(one), weights(other)
    assert mine.keys() == others.keys()
    for name, tensor in mine.items():
        assert tensor.dtype == others[name].dtype and torch.equal(tensor, others[name]), name


@torch.no_grad()
def same_results(theirs: Any, ours: Any, task: str, fields: dict[str, Any]) -> None:
    given = inputs(task, fields)
    expected, result = theirs(**given), ours(**given, unpad=False)
    names = {"last_hidden_state", "logits", "start_logits", "end_logits"} & set(expected)
    assert names
    for name in names:
        torch.testing.assert_close(getattr(result, name), expected[name], rtol=0.0, atol=1e-10)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("task", HEADS)
def test_directories_go_both_ways(task: str, architecture: str, size: str, tmp_path: Path) -> None:
    fields = fields_of(architecture, task)
    theirs, ours = pair(task, fields)
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size=SIZES[size])
    ours.save_pretrained(tmp_path / "ours", max_shard_size=SIZES[size])
    for name in ("theirs", "ours"):
        index = tmp_path / name / "model.safetensors.index.json"
        assert index.exists() == (size == "shards")
    our_theirs = load_ours(task, tmp_path / "theirs")
    same(our_theirs, ours)
    same_results(theirs, our_theirs, task, fields)
    their_ours = load_theirs(task, tmp_path / "ours")
    same(their_ours, theirs)
    same_results(their_ours, ours, task, fields)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("task", HEADS)
def test_dtype_is_kept_both_ways(task: str, dtype: torch.dtype, tmp_path: Path) -> None:
    theirs, ours = pair(task, fields_of("plain", task), dtype)
    theirs.save_pretrained(tmp_path / "theirs")
    ours.save_pretrained(tmp_path / "ours")
    same(load_ours(task, tmp_path / "theirs"), ours)
    same(load_theirs(task, tmp_path / "ours"), theirs)
    widened = load_ours(task, tmp_path / "theirs", dtype=torch.float64)
    same(widened, ours.double())


@pytest.mark.parametrize("task", HEADS)
def test_pickles_are_read(task: str, tmp_path: Path) -> None:
    theirs, ours = pair(task, fields_of("odd sizes", task))
    theirs.config.save_pretrained(tmp_path)
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    same(load_ours(task, tmp_path), ours)


def test_cross_attention_goes_both_ways(tmp_path: Path) -> None:
    task = "next words of a source"
    theirs, ours = pair(task, fields_of("plain", task))
    theirs.save_pretrained(tmp_path / "theirs")
    ours.save_pretrained(tmp_path / "ours")
    same(load_ours(task, tmp_path / "theirs"), ours)
    same(load_theirs(task, tmp_path / "ours"), theirs)
    for name in ("theirs", "ours"):
        assert CROSS.items() <= read_config(tmp_path / name).items()


@pytest.mark.parametrize("task", HEADS)
def test_configurations_agree(task: str, tmp_path: Path) -> None:
    """A field that either side reads from the other's file has the value that was written."""
    fields = fields_of("odd sizes", task)
    theirs, ours = pair(task, fields)
    theirs.save_pretrained(tmp_path / "theirs")
    ours.save_pretrained(tmp_path / "ours")
    written = read_config(tmp_path / "ours")
    assert written["model_type"] == "roformer" and written["architectures"] == [TASKS[task].head]
    our_config = load_ours(task, tmp_path / "theirs").config
    their_config = load_theirs(task, tmp_path / "ours").config
    for name, value in fields.items():
        assert getattr(our_config, name) == value == getattr(their_config, name), name
