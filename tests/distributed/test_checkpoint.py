"""Distributed checkpoints: what two devices saved, by any way to use them, one loads, and back.

The one idea: the names are those of every checkpoint (query, key and value apart) in the model and
in the optimizer's state, so neither the number of devices nor the way they share the work can be
seen in the files.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from comparison import CLOSE, adamw, batch, masked_lm, mesh, whole
from ranks import Ranks
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor, Shard
from torch.optim import Optimizer
from twins import randomise

from roformer_ext.distributed import (
    get_optimizer_state,
    parallelize,
    set_optimizer_state,
    shard,
)

WAYS = {
    "alone": lambda model: model,
    "fsdp": lambda model: shard(model, mesh()),
    "tensor parallel": lambda model: parallelize(model, mesh()),
}
QUERY = "roformer.encoder.layer.1.attention.self.query.weight"


def trained(way: str, seed: int) -> tuple[Any, Optimizer]:
    """A model after two steps; all ways see the whole batch, so that their states are equal."""
    model = masked_lm()
    randomise(model, seed)
    model = WAYS[way](model)
    optimizer = adamw(model)
    torch.manual_seed(seed)
    for _ in range(2):
        model(**batch()).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def folder() -> Path:
    """One for both ranks, made by the first."""
    path = [tempfile.mkdtemp() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(path)
    return Path(str(path[0]))


def same(found: Any, expected: Any) -> None:
    """Nested dicts and lists, DTensors as wholes."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            same(found[key], expected[key])
    elif isinstance(expected, Tensor):
        torch.testing.assert_close(whole(found), whole(expected), **CLOSE)
    elif isinstance(expected, list) and isinstance(expected[0], str):
        assert sorted(found) == sorted(expected)
    elif isinstance(expected, list):
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    else:
        assert found == expected or list(found) == list(expected)  # torch makes lists of tuples


def check_exchange(source: str, target: str) -> None:
    model, optimizer = trained(source, seed=1)
    other, others = trained(target, seed=2)
    state = {
        "model": get_model_state_dict(model),
        "optimizer": get_optimizer_state(model, optimizer),
    }
    if source != "alone":
        rows = state["model"][QUERY], state["optimizer"]["state"][QUERY]["exp_avg"]
        assert all(isinstance(x, DTensor) and x.placements == (Shard(0),) for x in rows)
    path = folder()
    dcp.save(state, checkpoint_id=path)
    read = {"model": get_model_state_dict(other), "optimizer": get_optimizer_state(other, others)}
    dcp.load(read, checkpoint_id=path)
    set_model_state_dict(other, read["model"])
    set_optimizer_state(other, others, read["optimizer"])
    same(get_model_state_dict(other), get_model_state_dict(model))
    same(get_optimizer_state(other, others), get_optimizer_state(model, optimizer))
    # And both go on alike.
    for one, its in ((model, optimizer), (other, others)):
        torch.manual_seed(3)
        one(**batch()).loss.backward()
        its.step()
    same(other.state_dict(), model.state_dict())
    dist.barrier()
    shutil.rmtree(path, ignore_errors=True)


FAST = [("fsdp", "alone"), ("tensor parallel", "alone"), ("tensor parallel", "fsdp")]
PAIRS = [
    pytest.param(*pair, marks=[] if pair in FAST else pytest.mark.slow)
    for pair in itertools.product(WAYS, WAYS)
]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_what_one_way_saved_another_loads(ranks: Ranks, source: str, target: str) -> None:
    ranks.run(check_exchange, source, target)


def check_full_state(way: str) -> None:
    """The whole state, and from there back to pieces."""
    options = StateDictOptions(full_state_dict=True)
    alone, alones = trained("alone", seed=1)
    model, optimizer = trained(way, seed=1)
    state = get_model_state_dict(model, options=options)
    moments = get_optimizer_state(model, optimizer, options=options)
    same(state, alone.state_dict())
    same(moments, get_optimizer_state(alone, alones))
    other, others = trained(way, seed=2)
    set_model_state_dict(other, state, options=options)
    set_optimizer_state(other, others, moments, options=options)
    same(other.state_dict(), model.state_dict())
    same(get_optimizer_state(other, others), get_optimizer_state(model, optimizer))


@pytest.mark.parametrize("way", WAYS)
def test_full_states(ranks: Ranks, way: str) -> None:
    ranks.run(check_full_state, way)


def check_torch_alone() -> None:
    """torch's own functions, which name the packed parameter, between FSDP2 and one process."""
    model, optimizer = trained("fsdp", seed=1)
    other, others = trained("alone", seed=2)
    path = folder()
    dcp.save({"optimizer": get_optimizer_state_dict(model, optimizer)}, checkpoint_id=path)
    read = {"optimizer": get_optimizer_state_dict(other, others)}
    dcp.load(read, checkpoint_id=path)
    set_optimizer_state_dict(other, others, read["optimizer"])
    same(get_optimizer_state(other, others), get_optimizer_state(model, optimizer))
    with pytest.raises(ValueError, match="options must not have flatten_optimizer_state_dict"):
        get_optimizer_state(
            other, others, options=StateDictOptions(flatten_optimizer_state_dict=True)
        )


def test_optimizer_states_of_torch(ranks: Ranks) -> None:
    ranks.run(check_torch_alone)


def check_save_pretrained(way: str) -> None:
    model, _ = trained(way, seed=1)
    path = folder()
    model.save_pretrained(path)
    dist.barrier()
    loaded = type(model).from_pretrained(path)
    same(loaded.state_dict(), model.state_dict())
    dist.barrier()
    shutil.rmtree(path, ignore_errors=True)


@pytest.mark.parametrize("way", ["fsdp", "tensor parallel"])
def test_save_pretrained_writes_whole_tensors(ranks: Ranks, way: str) -> None:
    ranks.run(check_save_pretrained, way)
