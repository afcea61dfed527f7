"""Self-attention: masks, the explicit path, and the three names of the packed projection."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from twins import randomise, small

from roformer_ext.attention import RoFormerSelfAttention
from roformer_ext.mask import AttentionMask, Scene, prepare_mask

HALVES = (torch.bfloat16, torch.float16)


def prepared(mask: Tensor, dtype: torch.dtype = torch.float32) -> AttentionMask | None:
    return prepare_mask(mask, Scene(3, 4, 9, 9, dtype, torch.device("cpu")))


def attention(**fields: Any) -> RoFormerSelfAttention:
    module = RoFormerSelfAttention(small(**fields)).eval()
    randomise(module)
    return module


def hidden(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(3, 9, 32, generator=torch.Generator().manual_seed(1)).to(dtype)


def padding() -> Tensor:
    mask = torch.ones(3, 9, dtype=torch.long)
    mask[1, 5:] = 0
    mask[2] = 0
    return mask


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALVES])
@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_row_without_keys_is_a_uniform_average(
    dtype: torch.dtype, explicit: bool, grad: bool
) -> None:
    module = attention().to(dtype)
    # Scores in the thousands would show through a mask that does not swallow them.
    x = 30.0 * hidden(dtype)
    with torch.set_grad_enabled(grad):
        mask = prepared(padding(), dtype)
        context, weights = module(x, mask, output_attentions=explicit)
    average = (x[2] @ module.value.weight.T + module.value.bias).mean(0, keepdim=True)
    tolerance = {"rtol": 0.02, "atol": 0.2} if dtype in HALVES else {}
    torch.testing.assert_close(context[2], average.expand(9, -1), **tolerance)
    if weights is not None:
        assert torch.equal(weights[1, :, :, 5:], torch.zeros_like(weights[1, :, :, 5:]))
        torch.testing.assert_close(weights[2], torch.full_like(weights[2], 1 / 9))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gradients_equal_those_of_the_explicit_path(dtype: torch.dtype) -> None:
    module, results = attention().to(dtype), []
    for explicit in (False, True):
        mask = prepared(padding(), dtype)
        module(hidden(dtype), mask, output_attentions=explicit)[0].square().sum().backward()
        results.append([p.grad.clone() for p in module.parameters()])
        module.zero_grad()
    for fused, stepwise in zip(*results):
        torch.testing.assert_close(fused, stepwise, rtol=1e-4, atol=1e-4)


def test_all_spellings_of_a_mask_mean_the_same() -> None:
    module, x, mask = attention(), hidden(), padding()
    visible = (mask != 0)[:, None, None, :]
    additive = torch.where(visible, 0.0, -torch.inf)
    spellings = [
        mask,
        mask.int() * 7,
        mask.bool(),
        mask.float(),
        visible,
        visible.expand(3, 4, 9, 9),
        additive,
        additive.double().clamp(min=torch.finfo(torch.float32).min),
    ]
    expected = module(x, prepared(spellings[0]))[0]
    for spelling in spellings[1:]:
        result = module(x, prepared(spelling))[0]
        torch.testing.assert_close(result, expected, rtol=0.0, atol=1e-6)


def test_four_dimensional_mask_acts_per_head_and_query() -> None:
    module, x = attention(), hidden()
    causal = torch.ones(9, 9, dtype=torch.bool).tril()
    mask = torch.stack([causal, torch.ones_like(causal)] * 2)[None]
    weights = module(x, prepared(mask), output_attentions=True)[1]
    assert weights[:, 0::2].triu(1).abs().max() == 0.0
    assert weights[:, 1::2].min() > 0.0


def test_large_scores_do_not_overflow_in_float16() -> None:
    module = attention(num_attention_heads=1)
    with torch.no_grad():
        module.qkv.weight.copy_(torch.eye(32).repeat(3, 1) * 40.0)
        module.qkv.bias.zero_()
    x = hidden().to(torch.float16)
    # q.k is about 40^2 * 32 = 51,000 and more; scaled by 1/sqrt(32) it fits.
    for explicit in (False, True):
        assert module.half()(x, output_attentions=explicit)[0].isfinite().all()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(3, 8), r"attention_mask must be \[B, K\] = \[3, 9\].* got \[3, 8\]"),
        (torch.ones(3, 9, 9), r"attention_mask must be .* got \[3, 9, 9\]"),
        (torch.ones(2, 1, 9, 9), r"attention_mask must broadcast to .* got \[2, 1, 9, 9\]"),
        (torch.ones(3, 2, 9, 9), r"attention_mask must broadcast to .* got \[3, 2, 9, 9\]"),
        (torch.ones(3, 1, 9, 9, dtype=torch.long), "must be bool or floating, got torch.int64"),
    ],
)
def test_misfit_masks_are_refused(mask: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepared(mask)


def test_three_names_are_written_and_read() -> None:
    module = attention()
    state = module.state_dict()
    assert list(state) == [
        f"{name}.{kind}" for kind in ("weight", "bias") for name in ("query", "key", "value")
    ]
    assert torch.equal(
        torch.cat([state[f"{n}.bias"] for n in ("query", "key", "value")]), module.qkv.bias
    )
    other = RoFormerSelfAttention(small())
    assert str(other.load_state_dict(state)) == "<All keys matched successfully>"
    assert torch.equal(other.qkv.weight, module.qkv.weight)
    assert torch.equal(other.key.weight, state["key.weight"])
    assert list(state) == list(module.state_dict()), "loading must not change what it was given"


def test_without_biases() -> None:
    module = RoFormerSelfAttention(small(use_bias=False))
    assert list(module.state_dict()) == ["query.weight", "key.weight", "value.weight"]
    assert module.query.bias is None
    module.load_state_dict(module.state_dict())


def test_missing_and_misshapen_thirds_are_named() -> None:
    module = RoFormerSelfAttention(small())
    state = module.state_dict()
    del state["key.weight"], state["value.bias"]
    with pytest.raises(RuntimeError, match=r'Missing key\(s\).*"key.weight", "value.bias"'):
        module.load_state_dict(state)
    state = module.state_dict()
    state["value.weight"] = state["value.weight"][:-1]
    with pytest.raises(RuntimeError, match=r"value.weight must have shape \[32, 32\], got \[31"):
        module.load_state_dict(state)
    with pytest.raises(RuntimeError, match=r"(?s)Missing.*query.weight.*Unexpected.*other"):
        module.load_state_dict({"other": torch.zeros(1)})


def test_a_partial_load_takes_what_is_there() -> None:
    module, donor = attention(), RoFormerSelfAttention(small())
    before = copy.deepcopy(module)
    missing, _ = module.load_state_dict({"key.weight": donor.key.weight}, strict=False)
    assert len(missing) == 5
    assert torch.equal(module.key.weight, donor.key.weight)
    assert torch.equal(module.query.weight, before.query.weight)
    assert torch.equal(module.qkv.bias, before.qkv.bias)


def test_writes_views_so_that_nothing_is_copied() -> None:
    module = attention()
    state = module.state_dict()
    assert state["query.weight"].data_ptr() == module.qkv.weight.data_ptr()
    assert not state["query.weight"].requires_grad
