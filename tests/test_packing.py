"""Padding dropped and sequences packed: the same results as one sequence at a time.

The one idea: the oracle runs every sequence alone, without padding and without packing, in
float64. What must stay true: what stands on padding is zero or what the reference computes, and
never depends on another sequence.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from twins import randomise, small

from roformer_ext import RoFormerModel
from roformer_ext.encoded import Encoded
from roformer_ext.packing import Packing, drop_padding, packing_of

SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"is_decoder": True, "use_cache": False},
    "prefix": {"prefix_lm": True},
    "rotary value, narrow embeddings": {"rotary_value": True, "embedding_size": 20},
    "pooler": {"pooler_activation": "tanh"},
}


def encoder(**fields: Any) -> RoFormerModel:
    model = RoFormerModel(small(**fields)).double().eval()
    randomise(model)
    return model


def ids(*size: int, high: int = 61, seed: int = 3) -> Tensor:
    return torch.randint(high, size, generator=torch.Generator().manual_seed(seed))


def right_padded(lengths: tuple[int, ...], width: int) -> Tensor:
    return (torch.arange(width) < torch.tensor(lengths)[:, None]).long()


def gradients(model: RoFormerModel, loss: Tensor) -> list[Tensor]:
    wanted = list(model.parameters())
    found = torch.autograd.grad(loss, wanted, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(wanted, found)]


@pytest.mark.parametrize("fields", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("own_positions", [False, True])
def test_a_packed_row_equals_its_sequences(fields: dict[str, Any], own_positions: bool) -> None:
    model, lengths = encoder(**fields), (5, 1, 8)
    tokens, types, positions = ids(1, 14), ids(1, 14, high=2), ids(1, 14, high=2**31 - 1)
    given = {"position_ids": positions} if own_positions else {}
    bounds = torch.tensor([0, 5, 6, 14], dtype=torch.int32)
    packed = model(tokens, token_type_ids=types, cu_seqlens=bounds, **given)
    alone = [
        model(
            tokens[:, start:end],
            token_type_ids=types[:, start:end],
            **{name: x[:, start:end] for name, x in given.items()},
        )
        for start, end in zip(bounds.tolist(), bounds.tolist()[1:])
    ]
    expected = torch.cat([each.last_hidden_state for each in alone], dim=1)
    torch.testing.assert_close(packed.last_hidden_state, expected, rtol=0.0, atol=1e-11)
    if fields.get("pooler_activation"):
        assert packed.pooler_output.shape == (len(lengths), 32)
        pooled = torch.cat([each.pooler_output for each in alone])
        torch.testing.assert_close(packed.pooler_output, pooled, rtol=0.0, atol=1e-11)
    weight = torch.randn(14, 32, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    ours = gradients(model, (packed.last_hidden_state[0] * weight).sum())
    theirs = gradients(model, (expected[0] * weight).sum())
    for one, other in zip(ours, theirs):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("fields", SHAPES.values(), ids=SHAPES.keys())
def test_packed_weights_stay_inside_each_sequence(fields: dict[str, Any]) -> None:
    model, tokens = encoder(**fields), ids(1, 9)
    bounds = torch.tensor([0, 4, 9])
    plain = model(tokens, cu_seqlens=bounds)
    with_weights = model(tokens, cu_seqlens=bounds, output_attentions=True)
    torch.testing.assert_close(with_weights.last_hidden_state, plain.last_hidden_state)
    for weights in with_weights.attentions:
        assert weights.shape == (1, 4, 9, 9)
        assert not weights[..., :4, 4:].any() and not weights[..., 4:, :4].any()


@pytest.mark.parametrize("fields", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("holes", [False, True])
def test_dropped_padding_changes_no_token(fields: dict[str, Any], holes: bool) -> None:
    model = encoder(**fields)
    mask = right_padded((9, 3, 6), 9)
    if holes:
        mask[:, 2] = 0
        mask[2, 8] = 1
    types = ids(3, 9, high=2)
    types[:, 1:5] = torch.tensor([0, 1, 0, 0])  # the hole counts for a prefix, dropped or not
    inputs = {"input_ids": ids(3, 9), "attention_mask": mask, "token_type_ids": types}
    dropped, kept = model(**inputs), model(**inputs, unpad=False)
    tokens = mask.bool()
    torch.testing.assert_close(
        dropped.last_hidden_state[tokens], kept.last_hidden_state[tokens], rtol=0.0, atol=1e-11
    )
    assert not dropped.last_hidden_state[~tokens].any(), "padding holds zeros"
    assert kept.last_hidden_state[~tokens].any()
    if fields.get("pooler_activation"):
        torch.testing.assert_close(dropped.pooler_output, kept.pooler_output)


def test_padding_is_dropped_from_a_tenth_on() -> None:
    mask = right_padded((10, 9, 10, 10), 10)
    assert drop_padding(mask, None, None, False) is None, "one position of forty"
    assert drop_padding(mask, True, None, False) is not None
    mask[1, 6:] = 0
    assert drop_padding(mask, None, None, False) is not None, "four of forty"
    assert drop_padding(torch.ones(2, 5), True, None, False) is None, "nothing to drop"
    assert drop_padding(torch.zeros(2, 5), True, None, False) is None, "nothing to keep"


def test_what_is_read_is_not_dropped() -> None:
    mask = right_padded((6, 2), 6)
    labels = torch.full((2, 6), -100)
    labels[0, 3] = 7
    assert drop_padding(mask, None, labels, True) is not None
    labels[1, 3] = 7
    assert drop_padding(mask, None, labels, False) is None
    with pytest.raises(ValueError, match="unpad must not be True where a label stands on padding"):
        drop_padding(mask, True, labels, False)
    left = mask.flip(1)
    assert drop_padding(left, None, None, False) is not None
    assert drop_padding(left, None, None, True) is None
    with pytest.raises(ValueError, match="the first token of a sequence stands on padding"):
        drop_padding(left, True, None, True)


def test_unpadding_that_cannot_be_is_refused_only_when_asked_for() -> None:
    model, mask = encoder(), right_padded((6, 2), 6)
    model(ids(2, 6), mask, output_attentions=True)
    with pytest.raises(ValueError, match="unpad must not be True with a result that reads padding"):
        model(ids(2, 6), mask, output_attentions=True, unpad=True)
    with pytest.raises(ValueError, match=r"unpad must not be True with an attention_mask of shape"):
        model(ids(2, 6), mask[:, None, None, :].bool(), unpad=True)


def test_hidden_states_come_back_padded() -> None:
    model, mask = encoder(), right_padded((6, 2), 6)
    result = model(ids(2, 6), mask, output_hidden_states=True)
    kept = model(ids(2, 6), mask, output_hidden_states=True, unpad=False)
    for state, other in zip(result.hidden_states, kept.hidden_states, strict=True):
        torch.testing.assert_close(state[mask.bool()], other[mask.bool()])


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_there_and_back_again(data: st.DataObject) -> None:
    rows, width = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 6))
    bits = data.draw(st.lists(st.booleans(), min_size=rows * width, max_size=rows * width))
    mask = torch.tensor(bits).view(rows, width)
    packing = drop_padding(mask, True, None, False)
    if packing is None:
        assert mask.all() or not mask.any()
        return
    x = torch.randn(rows, width, 2)
    packed = packing.pack(x)
    assert torch.equal(packed[0], x[mask])
    assert torch.equal(packing.pad(packed), x * mask[..., None])
    assert packing.cu_seqlens.tolist() == [0, *mask.sum(1).cumsum(0).tolist()]
    assert packing.cu_seqlens.dtype == torch.int32
    columns = torch.arange(width).expand(rows, width)[mask]
    assert torch.equal(packing.position_ids()[0], columns)


def test_positions_and_ends_of_a_users_packing() -> None:
    packing = packing_of(torch.tensor([0, 3, 4, 9]), (1, 9))
    assert packing.position_ids().tolist() == [[0, 1, 2, 0, 0, 1, 2, 3, 4]]
    assert packing.segments().tolist() == [0, 0, 0, 1, 2, 2, 2, 2, 2]
    x = torch.arange(9.0)[None, :, None]
    assert packing.first(x).flatten().tolist() == [0, 3, 4]
    assert packing.last(x).flatten().tolist() == [2, 3, 8]
    assert isinstance(packing, Packing) and packing.pack(x) is x and packing.pad(x) is x


def test_mean_over_each_sequence() -> None:
    x = torch.arange(18.0)[None].view(1, 9, 2)
    means = packing_of(torch.tensor([0, 3, 4, 9]), (1, 9)).mean(x)
    assert means.tolist() == [[2.0, 3.0], [6.0, 7.0], [12.0, 13.0]]
    assert torch.equal(encoded(x, None).mean(), x.mean(1))
    rows = torch.randn(3, 6, 4)
    packing = drop_padding(right_padded((6, 2, 3), 6), True, None, False)
    assert packing is not None
    means = encoded(packing.pack(rows), packing).mean()
    expected = [row[:length].mean(0) for row, length in zip(rows, (6, 2, 3))]
    torch.testing.assert_close(means, torch.stack(expected))
    many = torch.full((1, 4096, 1), 20.5, dtype=torch.float16)  # their sum is beyond float16
    assert packing_of(torch.tensor([0, 4096]), (1, 4096)).mean(many).item() == 20.5


def encoded(hidden: Tensor, packing: Packing | None) -> Encoded:
    return Encoded(hidden, packing, None, None, None, None)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ([0, 4], "must rise from 0 to T = 5"),
        ([1, 5], "must rise from 0 to T = 5"),
        ([0, 3, 3, 5], "must rise from 0 to T = 5"),
        ([0, 4, 2, 5], "must rise from 0 to T = 5"),
        ([[0, 5]], r"must be int32 \[n \+ 1\], got torch.int64 of shape \[1, 2\]"),
        ([0.0, 5.0], r"must be int32 \[n \+ 1\], got torch.float32"),
        ([], "cu_seqlens must"),
    ],
)
def test_misfit_bounds_are_refused(bounds: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encoder()(ids(1, 5), cu_seqlens=torch.tensor(bounds))


def test_packing_excludes_what_contradicts_it() -> None:
    model, bounds = encoder(), torch.tensor([0, 5])
    with pytest.raises(ValueError, match="cu_seqlens and attention_mask exclude each other"):
        model(ids(1, 5), torch.ones(1, 5), cu_seqlens=bounds)
    with pytest.raises(ValueError, match=r"cu_seqlens needs an input of one row, \[1, T\], got"):
        model(ids(2, 5), cu_seqlens=bounds)
    decoder = encoder(is_decoder=True)
    cache = decoder(ids(1, 5)).past_key_values
    with pytest.raises(ValueError, match="cu_seqlens must not continue a cache, got one of 5"):
        decoder(ids(1, 5), cu_seqlens=bounds, cache=cache)
    with pytest.raises(ValueError, match="use_cache must not be True with cu_seqlens"):
        decoder(ids(1, 5), cu_seqlens=bounds, use_cache=True)


def test_a_packed_row_compiles_whole() -> None:
    torch._dynamo.reset()
    model = encoder().float()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    bounds = torch.tensor([0, 4, 9], dtype=torch.int32)
    expected = model(ids(1, 9), cu_seqlens=bounds).last_hidden_state
    result = compiled(ids(1, 9), cu_seqlens=bounds).last_hidden_state
    torch.testing.assert_close(result, expected, rtol=0.0, atol=1e-5)
