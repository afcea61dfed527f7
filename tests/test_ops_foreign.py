"""Tensors of unusual origin: memory of numpy, inference mode, nested tensors, many dims."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import roformer_ext


def _table() -> tuple[torch.Tensor, torch.Tensor]:
    angle = torch.rand(4, 4)
    return angle.cos(), angle.sin()


@pytest.mark.parametrize("start", [0, 8, 31])
def test_shared_memory_is_found_across_storages(start: int) -> None:
    """Two arrays of one buffer have storages of their own; what counts is the memory."""
    buffer = np.random.default_rng(0).standard_normal(64).astype(np.float32)
    before = buffer.copy()
    x = torch.from_numpy(buffer[:32].reshape(4, 8))
    cos = torch.from_numpy(buffer[start : start + 16].reshape(4, 4))
    with pytest.raises(RuntimeError, match="rope_: cos must not share memory with x"):
        roformer_ext.rope_(x, cos, _table()[1])
    assert (buffer == before).all()


def test_neighbours_of_one_buffer_are_welcome() -> None:
    """A table that begins where x ends shares nothing."""
    buffer = np.random.default_rng(0).standard_normal(64).astype(np.float32)
    x = torch.from_numpy(buffer[:32].reshape(4, 8))
    cos = torch.from_numpy(buffer[32:48].reshape(4, 4))
    sin = torch.from_numpy(buffer[48:].reshape(4, 4))
    expected = roformer_ext.rope(x, cos, sin)
    assert torch.equal(roformer_ext.rope_(x, cos, sin), expected)


@pytest.mark.parametrize("table_grad", [False, True], ids=["plain", "table gradient"])
def test_inference_tensor_is_refused_before_the_write(table_grad: bool) -> None:
    """Outside inference mode its version could not move; inside it is ordinary input."""
    cos, sin = _table()
    with torch.inference_mode():
        x = torch.randn(2, 3, 4, 8)
        before = x.clone()
    with pytest.raises(RuntimeError, match="rope_: x must not be an inference tensor"):
        roformer_ext.rope_(x, cos.requires_grad_(table_grad), sin)
    assert torch.equal(x, before)
    with torch.inference_mode():
        expected = roformer_ext.rope(x, cos, sin)
        assert torch.equal(roformer_ext.rope_(x, cos, sin), expected)


@pytest.mark.parametrize("name", ["rope", "rope_", "rope_full_width"])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensor_is_refused_in_one_sentence(name: str) -> None:
    """Nested tensors have no sizes to check."""
    nested = torch.nested.nested_tensor([torch.randn(3, 4, 8), torch.randn(3, 4, 8)])
    with pytest.raises(RuntimeError, match="rope: x must be a dense tensor") as refusal:
        getattr(roformer_ext, name)(nested, *_table())
    assert len(str(refusal.value)) < 400


def test_a_shape_of_many_dims_is_cut() -> None:
    """The message stays short whatever comes."""
    cos, sin = torch.empty([1] * 60 + [10**4, 1]), torch.ones([1] * 64)
    with pytest.raises(RuntimeError, match="rope: sin must have the shape of cos") as refusal:
        roformer_ext.rope(torch.randn(2, 3, 4, 8), cos, sin)
    assert len(str(refusal.value)) < 400
