"""Models on two devices: tensor parallelism, FSDP2 and DDP against one process, in float64.

The one idea: the same weights and the same whole batch, so outputs, losses, gradients and the
weights after a step of the optimizer must be those of one process. A division of labels that
differs from rank to rank is part of every batch.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.distributed as dist
from ranks import Ranks
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from twins import randomise, small

import roformer_ext
from roformer_ext import (
    RoFormerForCausalLM,
    RoFormerForMaskedLM,
    RoFormerForSequenceClassification,
    RoFormerModel,
)
from roformer_ext.distributed import parallelize, shard

ROWS, SEQ, LABELS = 6, 11, 9
CLOSE: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-12}


def mesh() -> DeviceMesh:
    return init_device_mesh("cpu", (2,), mesh_dim_names=("devices",))


def whole(x: Any) -> Any:
    """A result or parameter as one process would have it."""
    return x.full_tensor() if isinstance(x, DTensor) else x


def masked_lm(**fields: Any) -> RoFormerForMaskedLM:
    model = RoFormerForMaskedLM(small(**fields)).double()
    randomise(model)
    return model


def batch() -> dict[str, Tensor]:
    """Rows of different lengths; the first half has two labels, the second seven."""
    ids = torch.randint(1, 61, (ROWS, SEQ))
    mask = torch.arange(SEQ) < torch.randint(4, SEQ, (ROWS, 1))
    labels = torch.full_like(ids, -100)
    labels[0, :2] = 5
    labels[3:5, :3] = torch.randint(61, (2, 3))
    labels[5, 0] = 7
    return {"input_ids": ids, "attention_mask": mask.long(), "labels": labels}


def share(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The rows of this rank."""
    return {name: x.chunk(2)[dist.get_rank()] for name, x in inputs.items()}


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    """Made before the first forward, after which FSDP2 shows gathered parameters.

    The large epsilon keeps gradients that are zero but for rounding from becoming whole steps.
    """
    return torch.optim.AdamW(model.parameters(), lr=0.01, eps=1e-3)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """With clipping, as a training has it."""
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    optimizer.step()


def same_gradients(model: nn.Module, alone: nn.Module) -> None:
    found = {name: p.grad for name, p in by_checkpoint_name(model)}
    for name, parameter in by_checkpoint_name(alone):
        torch.testing.assert_close(
            whole(found[name]), parameter.grad, **CLOSE, msg=lambda m, n=name: f"{n}: {m}"
        )
    assert len(found) == len(by_checkpoint_name(alone))


def by_checkpoint_name(model: nn.Module) -> list[tuple[str, Any]]:
    """Parameters with their gradients, q, k and v apart."""
    found = []
    for name, parameter in model.named_parameters():
        if ".qkv." not in name:
            found.append((name, parameter))
            continue
        grad = None if parameter.grad is None else whole(parameter.grad).chunk(3)
        for index, third in enumerate(("query", "key", "value")):
            part = nn.Parameter(whole(parameter.detach()).chunk(3)[index])
            part.grad = None if grad is None else grad[index]
            found.append((name.replace("qkv", third), part))
    return found


def same_weights(model: nn.Module, alone: nn.Module) -> None:
    found = {name: whole(x) for name, x in model.state_dict().items()}
    expected = alone.state_dict()
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        torch.testing.assert_close(found[name], x, **CLOSE)


FIELDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "untied, rotated values": {"tie_word_embeddings": False, "rotary_value": True},
    "V2": {"norm_type": "rms_norm", "use_bias": False, "hidden_act": "relu"},
    "narrow embeddings": {"embedding_size": 20, "chunk_size_feed_forward": 4},
}


def check_tensor_parallel(fields: dict[str, Any], options: dict[str, Any]) -> None:
    inputs = batch()
    alone = masked_lm(**fields)
    model = parallelize(copy.deepcopy(alone), mesh())
    optimizers = adamw(alone), adamw(model)
    expected = alone(**inputs, **options)
    result = model(**inputs, **options)
    torch.testing.assert_close(result.loss, expected.loss, **CLOSE)
    step(alone, optimizers[0], expected.loss)
    step(model, optimizers[1], result.loss)
    same_gradients(model, alone)
    same_weights(model, alone)
    alone.eval(), model.eval()
    looks = {"output_attentions": True, "output_hidden_states": True}
    with torch.no_grad():
        expected, result = alone(**inputs, **looks), model(**inputs, **looks)
    torch.testing.assert_close(result.logits, expected.logits, **CLOSE)
    for one, other in zip(
        result.attentions + result.hidden_states, expected.attentions + expected.hidden_states
    ):
        torch.testing.assert_close(one, other, **CLOSE)


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_tensor_parallel_masked_lm(ranks: Ranks, fields: dict[str, Any]) -> None:
    ranks.run(check_tensor_parallel, fields, {})


def test_tensor_parallel_keeps_padding(ranks: Ranks) -> None:
    ranks.run(check_tensor_parallel, {}, {"unpad": False, "num_items_in_batch": 20})


def check_mask_per_head() -> None:
    alone = RoFormerModel(small()).double()
    randomise(alone)
    model = parallelize(copy.deepcopy(alone), mesh())
    ids = batch()["input_ids"]
    mask = torch.rand(ROWS, 4, SEQ, SEQ) < 0.6
    for options in ({}, {"output_attentions": True}):
        expected, result = alone(ids, mask, **options), model(ids, mask, **options)
        torch.testing.assert_close(result.last_hidden_state, expected.last_hidden_state, **CLOSE)


def test_tensor_parallel_takes_a_mask_per_head(ranks: Ranks) -> None:
    ranks.run(check_mask_per_head)


def check_decoder() -> None:
    alone = RoFormerForCausalLM(small(is_decoder=True, add_cross_attention=True)).double().eval()
    randomise(alone)
    model = parallelize(copy.deepcopy(alone), mesh()).eval()
    ids, states = batch()["input_ids"], torch.randn(ROWS, 5, 32, dtype=torch.float64)
    expected = alone(ids, encoder_hidden_states=states, labels=ids)
    result = model(ids, encoder_hidden_states=states, labels=ids)
    expected.loss.backward()
    result.loss.backward()
    same_gradients(model, alone)
    options = {"encoder_hidden_states": states, "max_new_tokens": 4}
    assert torch.equal(model.generate(ids, **options), alone.generate(ids, **options))


def test_tensor_parallel_decoder_with_its_cache(ranks: Ranks) -> None:
    ranks.run(check_decoder)


def check_refusals() -> None:
    with pytest.raises(ValueError, match="num_attention_heads must be a multiple of the 2 devices"):
        parallelize(RoFormerModel(small(hidden_size=30, num_attention_heads=3)), mesh())
    with pytest.raises(ValueError, match="intermediate_size must be a multiple"):
        parallelize(RoFormerModel(small(intermediate_size=47)), mesh())
    with pytest.raises(ValueError, match="mesh must have one dim, got 2"):
        parallelize(RoFormerModel(small()), init_device_mesh("cpu", (1, 2)))


def test_what_cannot_be_divided_is_refused(ranks: Ranks) -> None:
    ranks.run(check_refusals)


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


def test_import_is_cheap() -> None:
    """DTensor takes seconds to import, so it waits for `roformer_ext.distributed`."""
    import subprocess
    import sys

    told = "import sys, roformer_ext; print('torch.distributed.tensor' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"
    assert roformer_ext.sharding.register.cache_info().currsize == 1
