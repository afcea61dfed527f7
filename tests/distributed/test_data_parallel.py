"""DDP and FSDP2, over tensor parallelism too, against one process; casts, and a start from meta."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.distributed as dist
from comparison import (
    CLOSE,
    LABELS,
    ROWS,
    adamw,
    batch,
    masked_lm,
    mesh,
    same_gradients,
    same_weights,
    share,
    step,
    whole,
)
from ranks import Ranks
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.nn.parallel import DistributedDataParallel
from twins import randomise, small

from roformer_ext import RoFormerForMaskedLM, RoFormerForSequenceClassification
from roformer_ext.distributed import parallelize, shard


def data_parallel(model: nn.Module, kind: str) -> nn.Module:
    if kind == "ddp":
        return DistributedDataParallel(model)
    if kind == "fsdp":
        return shard(model, mesh())
    both = init_device_mesh("cpu", (2, 1), mesh_dim_names=("data", "heads"))
    return shard(parallelize(model, both["heads"]), both["data"])


def check_data_parallel(kind: str, fields: dict[str, Any], checkpointing: bool) -> None:
    inputs = batch()
    alone = masked_lm(**fields)
    model = copy.deepcopy(alone)
    if checkpointing:
        model.gradient_checkpointing_enable()
    wrapped = data_parallel(model, kind)
    optimizers = adamw(alone), adamw(model)
    expected = alone(**inputs)
    result = wrapped(**share(inputs), num_items_in_batch=LABELS)
    total = result.loss.detach().clone()
    dist.all_reduce(total)
    torch.testing.assert_close(total, expected.loss.detach(), **CLOSE)
    step(alone, optimizers[0], expected.loss)
    step(model, optimizers[1], result.loss * 2)
    same_gradients(model, alone)
    same_weights(model, alone)
    alone.eval(), model.eval()
    with torch.no_grad():
        logits = wrapped(**share(inputs)).logits
    torch.testing.assert_close(logits, alone(**inputs).logits.chunk(2)[dist.get_rank()], **CLOSE)


@pytest.mark.parametrize("kind", ["ddp", "fsdp", "fsdp of tensor parallel"])
def test_data_parallel_masked_lm(ranks: Ranks, kind: str) -> None:
    ranks.run(check_data_parallel, kind, {}, False)


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_data_parallel_with_checkpointing_untied(ranks: Ranks, kind: str) -> None:
    ranks.run(check_data_parallel, kind, {"tie_word_embeddings": False}, True)


def check_without_labels() -> None:
    """A rank whose rows carry no label at all adds nothing, and waits for nobody."""
    inputs = batch()
    inputs["labels"][:3] = -100
    alone = masked_lm()
    model = DistributedDataParallel(copy.deepcopy(alone))
    for _ in range(2):
        alone.zero_grad(), model.zero_grad()
        alone(**inputs).loss.backward()
        (model(**share(inputs), num_items_in_batch=LABELS - 2).loss * 2).backward()
        same_gradients(model.module, alone)


def test_a_rank_without_labels(ranks: Ranks) -> None:
    ranks.run(check_without_labels)


def check_classification() -> None:
    alone = RoFormerForSequenceClassification(small(num_labels=3)).double()
    randomise(alone)
    inputs = {**batch(), "labels": torch.randint(3, (ROWS,))}
    alone(**inputs).loss.backward()
    for kind in ("ddp", "fsdp", "tp"):
        model = copy.deepcopy(alone)
        model.zero_grad()
        if kind == "tp":
            wrapped, given = parallelize(model, mesh()), inputs
        else:
            wrapped, given = data_parallel(model, kind), share(inputs)
        wrapped(**given).loss.backward()
        same_gradients(model, alone)


def test_another_head(ranks: Ranks) -> None:
    ranks.run(check_classification)


def check_positions_under_casts(start: int) -> None:
    """bfloat16 knows no position above 256 by name: FSDP2's casts must not reach them."""
    alone = RoFormerForMaskedLM(small())
    randomise(alone)
    inputs = share(batch())
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    positions = start + torch.randint(1000, ids.shape)
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16)
    model = shard(copy.deepcopy(alone), mesh(), mp_policy=policy).eval()
    alone.bfloat16().eval()
    for unpad in (True, False):
        for given in (positions, None):
            result = model(ids, mask, position_ids=given, unpad=unpad).logits
            expected = alone(ids, mask, position_ids=given, unpad=unpad).logits
            assert result.dtype == torch.bfloat16
            assert torch.equal(result, expected)
    # The check can fail: positions rounded as a cast would round them give another result.
    rounded = positions.bfloat16().long()
    assert not torch.equal(alone(ids, mask, position_ids=rounded, unpad=False).logits, expected)


@pytest.mark.parametrize("start", [0, 2**20 + 1])
def test_positions_survive_the_casts_of_fsdp(ranks: Ranks, start: int) -> None:
    ranks.run(check_positions_under_casts, start)


def check_from_meta() -> None:
    """The way of large models: built without memory, sharded, then filled."""
    with torch.device("meta"):
        model = RoFormerForMaskedLM(small())
    shard(model, mesh())
    model.to_empty(device="cpu")
    model.reset_parameters()
    assert model.cls.predictions.decoder.weight is model.get_input_embeddings().weight
    inputs = share(batch())
    loss = model(**inputs).loss
    loss.backward()
    assert torch.isfinite(whole(model.get_input_embeddings().weight.grad)).all()


def test_a_model_from_the_meta_device(ranks: Ranks) -> None:
    ranks.run(check_from_meta)
