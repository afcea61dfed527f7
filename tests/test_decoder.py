"""The decoder: causal attention, the cache, cross-attention, and the prefix mask.

The one idea: a token at a time through a cache equals the whole sequence at once, and both equal
transformers' decoder, which first has to show that it is causal. What must stay true: a call that
is refused leaves its cache as it was.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from twins import SMALL, randomise, small

from roformer_ext import RoFormerConfig, RoFormerModel
from roformer_ext.cache import KeyValueCache

CROSS = {"is_decoder": True, "add_cross_attention": True}


def model(**fields: Any) -> RoFormerModel:
    result = RoFormerModel(small(**fields)).double().eval()
    randomise(result)
    return result


def ids(*size: int, seed: int = 4, high: int = 61) -> Tensor:
    return torch.randint(high, size, generator=torch.Generator().manual_seed(seed))


def encoded(rows: int = 2, length: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(rows, length, 32, dtype=torch.double, generator=generator)


def close(result: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(result, expected, rtol=0.0, atol=tolerance)


def twin_decoders(**fields: Any) -> Any:
    transformers = pytest.importorskip("transformers", reason="parity needs transformers")
    fields = {**SMALL, **fields}
    theirs = transformers.RoFormerModel(transformers.RoFormerConfig(**fields))
    table = theirs.encoder.embed_positions.weight.clone()
    randomise(theirs)
    theirs.encoder.embed_positions.weight.data.copy_(table)
    ours = RoFormerModel(RoFormerConfig(**fields))
    ours.load_state_dict(theirs.state_dict())
    theirs, ours = theirs.double().eval(), ours.double().eval()
    tokens, changed = ids(1, 6), ids(1, 6)
    changed[0, -1] = (changed[0, -1] + 1) % 61
    with torch.no_grad():
        before, after = theirs(tokens)[0][:, :-1], theirs(changed)[0][:, :-1]
    assert torch.equal(before, after), "the reference must be causal to be one"
    return theirs, ours


@pytest.mark.parametrize("padded", [None, "right", "left"])
@pytest.mark.parametrize("rotary_value", [False, True])
def test_causal_attention_equals_transformers(padded: str | None, rotary_value: bool) -> None:
    theirs, ours = twin_decoders(is_decoder=True, rotary_value=rotary_value)
    mask = torch.ones(2, 7, dtype=torch.long)
    if padded == "right":
        mask[1, 4:] = 0
    if padded == "left":
        mask[1, :3] = 0
    arguments = {"attention_mask": None if padded is None else mask, "output_attentions": True}
    expected, stepwise = theirs(ids(2, 7), **arguments), ours(ids(2, 7), **arguments)
    arguments["output_attentions"] = False
    fused = ours(ids(2, 7), **arguments, unpad=False)
    close(fused.last_hidden_state, expected.last_hidden_state)
    close(stepwise.last_hidden_state, expected.last_hidden_state)
    for weights, their_weights in zip(stepwise.attentions, expected.attentions, strict=True):
        close(weights, their_weights)


@pytest.mark.parametrize("grad", [False, True])
def test_steps_through_the_cache_equal_the_whole(grad: bool) -> None:
    decoder, tokens = model(**CROSS), ids(2, 9)
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1, :3] = 0
    source = {"encoder_hidden_states": encoded()}
    with torch.set_grad_enabled(grad):
        whole = decoder(tokens, mask, **source).last_hidden_state
        cache: Any = None
        for start, end in ((0, 4), (4, 5), (5, 8), (8, 9)):
            step = decoder(tokens[:, start:end], mask[:, :end], cache=cache, **source)
            cache = step.past_key_values
            assert step.cache is cache and cache.get_seq_length() == end
            # A padded query sees nothing, and averages over as many keys as there are by then.
            seen = mask[:, start:end].bool()
            close(step.last_hidden_state[seen], whole[:, start:end][seen])
        if grad:
            weight = decoder.encoder.layer[0].attention.self.qkv.weight
            (one,) = torch.autograd.grad(whole[0, 8].sum(), weight)
            (other,) = torch.autograd.grad(step.last_hidden_state[0, 0].sum(), weight)
            close(other, one)


def test_positions_of_a_user_go_through_the_cache() -> None:
    decoder, tokens, positions = model(is_decoder=True), ids(1, 6), ids(1, 6, high=10**9)
    whole = decoder(tokens, position_ids=positions).last_hidden_state
    first = decoder(tokens[:, :4], position_ids=positions[:, :4])
    rest = decoder(tokens[:, 4:], position_ids=positions[:, 4:], cache=first.cache)
    close(rest.last_hidden_state, whole[:, 4:])


def test_transformers_caches_serve_as_well() -> None:
    theirs, ours = twin_decoders(**CROSS)
    from transformers import DynamicCache, EncoderDecoderCache

    source = {"encoder_hidden_states": encoded()}
    for cache in (DynamicCache(), EncoderDecoderCache(DynamicCache(), DynamicCache())):
        given = source if isinstance(cache, EncoderDecoderCache) else {}
        expected = theirs(ids(2, 7), **given).last_hidden_state
        close(ours(ids(2, 7)[:, :5], cache=cache, **given).last_hidden_state, expected[:, :5])
        step = ours(ids(2, 7)[:, 5:], past_key_values=cache, **given)
        close(step.last_hidden_state, expected[:, 5:])
        assert step.cache is cache


@pytest.mark.parametrize("padded", [False, True])
def test_cross_attention_equals_transformers(padded: bool) -> None:
    theirs, ours = twin_decoders(**CROSS)
    arguments: dict[str, Any] = {"encoder_hidden_states": encoded(), "output_attentions": True}
    if padded:
        arguments["encoder_attention_mask"] = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    expected, result = theirs(ids(2, 7), **arguments), ours(ids(2, 7), **arguments)
    close(result.last_hidden_state, expected.last_hidden_state)
    for weights, other in zip(result.cross_attentions, expected.cross_attentions, strict=True):
        close(weights, other)
    del arguments["output_attentions"]
    close(ours(ids(2, 7), **arguments).last_hidden_state, expected.last_hidden_state)


def test_cross_attention_gradients_equal_transformers() -> None:
    theirs, ours = twin_decoders(**CROSS)
    found = []
    for each in (theirs, ours):
        source = encoded().requires_grad_()
        each(ids(2, 7), encoder_hidden_states=source).last_hidden_state.square().sum().backward()
        found.append(source.grad)
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-9)
    layer, other = ours.encoder.layer[1], theirs.encoder.layer[1]
    for name in ("query", "key", "value"):
        mine = getattr(layer.crossattention.self, name).weight.grad
        torch.testing.assert_close(
            mine, getattr(other.crossattention.self, name).weight.grad, rtol=1e-9, atol=1e-9
        )


def test_a_four_dimensional_mask_replaces_causality() -> None:
    decoder, plain = model(is_decoder=True), model()
    everything = torch.ones(1, 1, 6, 6, dtype=torch.bool)
    close(
        decoder(ids(2, 6), everything).last_hidden_state, plain(ids(2, 6)).last_hidden_state, 1e-12
    )


@pytest.mark.parametrize("padded", [False, True])
def test_prefix_mask_follows_its_definition(padded: bool) -> None:
    encoder, types = model(prefix_lm=True), torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 0, 1]])
    stage = types.cumsum(1)
    visible = (stage[:, None, :] <= stage[:, :, None])[:, None]
    mask = torch.ones(2, 5, dtype=torch.long)
    if padded:
        mask[1, 4:] = 0
        visible = visible & mask.bool()[:, None, None, :]
    expected = model()(ids(2, 5), visible, types).last_hidden_state
    result = encoder(ids(2, 5), mask, types, unpad=False).last_hidden_state
    close(result, expected, 1e-12)
    close(encoder(ids(2, 5)).last_hidden_state, model()(ids(2, 5)).last_hidden_state, 1e-12)


def test_when_a_cache_comes_back() -> None:
    decoder = model(is_decoder=True)
    assert isinstance(decoder(ids(1, 3)).past_key_values, KeyValueCache)
    assert decoder(ids(1, 3), use_cache=False).past_key_values is None
    assert decoder.train()(ids(1, 3)).past_key_values is None
    assert isinstance(decoder(ids(1, 3), use_cache=True).past_key_values, KeyValueCache)
    assert model(is_decoder=True, use_cache=False)(ids(1, 3)).past_key_values is None
    assert model()(ids(1, 3), use_cache=True).past_key_values is None


@pytest.mark.parametrize(
    ("fields", "arguments", "message"),
    [
        ({}, {"cache": KeyValueCache()}, "cache must be None unless the configuration has is_dec"),
        (
            {"is_decoder": True},
            {"cache": ((1, 2),)},
            "cache must be a KeyValueCache or .* got tuple",
        ),
        (
            {"is_decoder": True},
            {"cache": KeyValueCache(), "past_key_values": KeyValueCache()},
            "past_key_values and cache are one argument, got two values",
        ),
        (
            {"is_decoder": True},
            {"encoder_hidden_states": encoded()},
            "encoder_hidden_states must be None unless the configuration has add_cross_attention",
        ),
        (
            CROSS,
            {"encoder_hidden_states": encoded(3)},
            r"encoder_hidden_states must be \[B, K, C\] = \[2, K, 32\], got \[3, 5, 32\]",
        ),
        (
            CROSS,
            {"encoder_attention_mask": torch.ones(2, 5)},
            "encoder_attention_mask must come with encoder_hidden_states",
        ),
        (
            CROSS,
            {"encoder_hidden_states": encoded(), "encoder_attention_mask": torch.ones(2, 4)},
            r"encoder_attention_mask must be \[B, K\] = \[2, 5\]",
        ),
    ],
)
def test_misfits_are_refused(
    fields: dict[str, Any], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        model(**fields)(ids(2, 6), **arguments)


def test_a_refused_call_leaves_the_cache_alone() -> None:
    decoder = model(is_decoder=True)
    cache = decoder(ids(2, 6)).cache
    with pytest.raises(ValueError, match=r"attention_mask must be \[B, K\] = \[2, 7\]"):
        decoder(ids(2, 1), torch.ones(2, 1), cache=cache)
    with pytest.raises(ValueError, match="cache must be continued with the rows it has, 2, got 3"):
        decoder(ids(3, 1), cache=cache)
    assert cache.get_seq_length() == 6
