"""Tensor parallelism against one process: heads, decoders, masks, and what cannot be divided."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
from comparison import (
    CLOSE,
    ROWS,
    SEQ,
    adamw,
    batch,
    masked_lm,
    mesh,
    same_gradients,
    same_weights,
    step,
)
from ranks import Ranks
from torch.distributed.device_mesh import init_device_mesh
from twins import randomise, small

import roformer_ext
from roformer_ext import RoFormerForCausalLM, RoFormerModel
from roformer_ext.distributed import parallelize

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


def test_import_is_cheap() -> None:
    """DTensor takes seconds to import, so it waits for `roformer_ext.distributed`."""
    told = "import sys, roformer_ext; print('torch.distributed.tensor' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"
    assert roformer_ext.sharding.register.cache_info().currsize == 1
