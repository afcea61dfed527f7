"""The cache of a decoder: what it returns is what was appended, in every mode of gradients.

The one idea: concatenation is the oracle, and everything returned is compared again at the end,
when later tokens have been written. What must stay true: a cache of transformers, read through
`layer_of` and `length_of`, behaves as ours does.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor

from roformer_ext.cache import KeyValueCache, layer_of, length_of

MODES = {
    "grad": torch.enable_grad,
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
}


def rows(length: int, seed: int, batch: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    key, value = torch.randn(2, batch, 3, length, 4, generator=generator)
    return key, value


def parts(*lengths: int) -> list[tuple[Tensor, Tensor]]:
    return [rows(length, seed) for seed, length in enumerate(lengths)]


def joined(pieces: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.cat([k for k, _ in pieces], 2), torch.cat([v for _, v in pieces], 2)


def same(result: Any, expected: Any) -> None:
    assert len(result) == len(expected) == 2
    for one, other in zip(result, expected):
        assert torch.equal(one, other)


@pytest.mark.parametrize("order", ["grad", "no_grad", "inference", "all", "turned"])
def test_appending_equals_concatenation(order: str) -> None:
    turns = {"all": list(MODES), "turned": list(MODES)[::-1]}.get(order, [order])
    cache, pieces, returned = KeyValueCache(), parts(5, 1, 1, 3, 1, 1, 1, 8, 1, 1), []
    for index, (key, value) in enumerate(pieces):
        mode: AbstractContextManager[Any] = MODES[turns[index % len(turns)]]()
        with mode:
            found = cache.update(key, value, 1)
        returned.append(found)
        assert cache.get_seq_length(1) == found[0].shape[2]
    assert cache.get_seq_length() == 0 and len(cache) == 1
    for index, found in enumerate(returned):
        same(found, joined(pieces[: index + 1]))


def test_a_new_token_is_written_into_the_room() -> None:
    cache, places = KeyValueCache(), set()
    with torch.no_grad():
        for index in range(64):
            key, _ = cache.update(*rows(1, index), 0)
            places.add(key.data_ptr())
    assert len(places) == 7  # rooms of 1, 2, 4, ... 64 tokens


def test_gradients_reach_every_token() -> None:
    cache, pieces = KeyValueCache(), parts(3, 1, 2)
    for key, value in pieces:
        found = cache.update(key.requires_grad_(), value.requires_grad_(), 0)
    (found[0].square().sum() + found[1].square().sum()).backward()
    for key, value in pieces:
        torch.testing.assert_close(key.grad, 2 * key)
        torch.testing.assert_close(value.grad, 2 * value)


@pytest.mark.parametrize("mode", MODES)
def test_cropped_tokens_are_not_written_again(mode: str) -> None:
    cache, (first, second, third) = KeyValueCache(), parts(4, 3, 2)
    with MODES[mode]():
        cache.update(*first, 0)
        before = cache.update(*second, 0)
        cache.crop(9)
        assert cache.get_seq_length() == 7
        cache.crop(5)
        after = cache.update(*third, 0)
    same(before, joined([first, second]))
    kept = joined([first, second])
    same(after, joined([(kept[0][:, :, :5], kept[1][:, :, :5]), third]))


def test_rows_are_reordered_and_repeated() -> None:
    cache, (first, encoded) = KeyValueCache(), parts(4, 6)
    with torch.no_grad():
        cache.update(*first, 0)
        cache.set_cross(0, *encoded)
        cache.repeat(2)
        repeated = [x.repeat_interleave(2, 0) for x in encoded]
        same(cache.cross(0), repeated)
        index = torch.tensor([3, 0, 0, 1])
        cache.reorder(index, encoded=False)
        same(cache.cross(0), repeated)
        cache.reorder(torch.tensor([1, 0]))
        same(cache.cross(0), [x[[1, 0]] for x in repeated])
        step = rows(1, 9)
        expected = [x.repeat_interleave(2, 0)[index][[1, 0]] for x in first]
        same(cache.update(*step, 0), joined([(expected[0], expected[1]), step]))
    empty = KeyValueCache()
    empty.repeat(3)
    empty.crop(0)
    assert empty and length_of(empty) == 0 and empty.cross(0) is None


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:1], "rows it has, 2, got 1"),
        (lambda x: x[:, :1], "heads it has, 3, got 1"),
        (lambda x: x[..., :1], "head width it has, 4, got 1"),
        (lambda x: x.double(), "dtype it has, torch.float32, got torch.float64"),
    ],
)
def test_other_rows_are_refused(change: Any, message: str, mode: str) -> None:
    cache, (first, second) = KeyValueCache(), parts(4, 1)
    with MODES[mode]():
        cache.update(*first, 0)
        with pytest.raises(ValueError, match=f"cache must be continued with the {message}"):
            cache.update(change(second[0]), change(second[1]), 0)
        same(cache.update(*second, 0), joined([first, second]))


def test_no_cache_and_what_is_none() -> None:
    assert layer_of(None, 3) is None
    with pytest.raises(ValueError, match="transformers' Cache objects, got tuple"):
        length_of(((torch.zeros(1), torch.zeros(1)),))


@pytest.mark.parametrize("kind", ["ours", "dynamic", "static", "both"])
def test_either_kind_of_cache_serves(kind: str) -> None:
    pieces, encoded, cache = parts(5, 1, 2), rows(6, 7), any_cache(kind)
    assert length_of(cache) == 0
    for layer in range(2):
        place = layer_of(cache, layer)
        assert place is not None and place.encoded() is None
        for index, piece in enumerate(pieces):
            same(place.append(*piece), joined(pieces[: index + 1]))
        if kind in ("ours", "both"):
            place.remember_encoded(*encoded)
            found = place.encoded()
            assert found is not None
            same(found, encoded)
    assert length_of(cache) == 8


def any_cache(kind: str) -> Any:
    if kind == "ours":
        return KeyValueCache()
    transformers = pytest.importorskip("transformers", reason="needs the caches of transformers")
    if kind == "dynamic":
        return transformers.DynamicCache()
    if kind == "both":
        dynamic = transformers.DynamicCache
        return transformers.EncoderDecoderCache(dynamic(), dynamic())
    config = transformers.RoFormerConfig(num_hidden_layers=2)
    return transformers.StaticCache(config=config, max_cache_len=16)
