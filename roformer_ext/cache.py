"""`KeyValueCache`: what a decoder keeps of tokens that it has seen.

The idea: each layer appends the keys, already rotated, and the values of its new tokens, and
attends to all of them; an encoder's keys and values are computed once. What must stay true: a
cache of transformers serves as well (`layer_of`, `length_of` read either kind), and what a call
returned earlier is never written again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]
"""Keys and values."""


class KeyValueCache:
    """Keys and values [B, H, P, D] of P tokens for each layer, and those of an encoder.

    Without gradients a layer's rows lie in a buffer that doubles when it is full, so a new token
    costs its own copy; with gradients they are concatenated and stay differentiable.
    """

    def __init__(self) -> None:
        self._own: dict[int, _Rows] = {}
        self._encoded: dict[int, Pair] = {}

    def __len__(self) -> int:
        """Layers that hold something."""
        return len(self._own)

    def __bool__(self) -> bool:
        """True also while it is empty: it is there to be filled."""
        return True

    def get_seq_length(self, layer: int = 0) -> int:
        """Tokens that the layer has seen."""
        return self._own[layer].length if layer in self._own else 0

    def update(self, key: Tensor, value: Tensor, layer: int) -> Pair:
        """Append [B, H, S, D] to a layer's; returns all of its keys and values, [B, H, P + S, D].

        ValueError where batch, heads, width, dtype or device are not those of the earlier tokens.
        """
        return self._own.setdefault(layer, _Rows()).append(key, value)

    def cross(self, layer: int) -> Pair | None:
        """An encoder's keys and values as the layer sees them, None before the first call."""
        return self._encoded.get(layer)

    def set_cross(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Remember an encoder's keys and values."""
        self._encoded[layer] = key, value

    def reorder(self, index: Tensor, *, encoded: bool = True) -> None:
        """Row i becomes what row index[i] was; the index, int64, may be longer than the batch.

        encoded: False leaves an encoder's rows alone, for beams of one prompt, which share them.
        """
        for rows in self._own.values():
            rows.reorder(index)
        if encoded:
            for layer, (key, value) in self._encoded.items():
                self._encoded[layer] = key.index_select(0, index), value.index_select(0, index)

    def repeat(self, times: int) -> None:
        """Each row becomes `times` rows, one after another."""
        for held in [rows.held for rows in self._own.values()] + list(self._encoded.values()):
            if held is not None:
                index = torch.arange(held[0].shape[0], device=held[0].device)
                self.reorder(index.repeat_interleave(times))
                return

    def crop(self, length: int) -> None:
        """Forget the tokens from `length` on."""
        for rows in self._own.values():
            rows.crop(length)


class _Rows:
    """Keys and values of one layer."""

    def __init__(self) -> None:
        self.length = 0
        self.held: Pair | None = None
        """`length` tokens and the room behind them."""

    def append(self, key: Tensor, value: Tensor) -> Pair:
        if self.held is not None:
            _check_alike(self.held[0], key)
        start, end = self.length, self.length + key.shape[2]
        if torch.is_grad_enabled():
            if self.held is not None:
                old_key, old_value = (part[:, :, :start] for part in self.held)
                key, value = torch.cat([old_key, key], 2), torch.cat([old_value, value], 2)
            self.held = key, value
        else:
            if self.held is None or not self._writable(end):
                room = max(end, 2 * start)
                self.held = self._moved(0, key, room), self._moved(1, value, room)
            self.held[0][:, :, start:end] = key
            self.held[1][:, :, start:end] = value
        self.length = end
        return self.held[0][:, :, :end], self.held[1][:, :, :end]

    def reorder(self, index: Tensor) -> None:
        if self.held is not None:
            self.held = self.held[0].index_select(0, index), self.held[1].index_select(0, index)

    def crop(self, length: int) -> None:
        # The room goes too: what lies there was returned, and must not be written again.
        if self.held is not None and length < self.length:
            self.held = self.held[0][:, :, :length], self.held[1][:, :, :length]
            self.length = length

    def _writable(self, end: int) -> bool:
        assert self.held is not None
        key = self.held[0]
        foreign = key.is_inference() and not torch.is_inference_mode_enabled()
        return key.shape[2] >= end and not key.requires_grad and not foreign

    def _moved(self, which: int, like: Tensor, room: int) -> Tensor:
        batch, heads, _, width = like.shape
        buffer = like.new_empty(batch, heads, room, width)
        if self.held is not None:
            buffer[:, :, : self.length] = self.held[which][:, :, : self.length]
        return buffer


def _check_alike(held: Tensor, key: Tensor) -> None:
    for name, one, other in (
        ("rows", held.shape[0], key.shape[0]),
        ("heads", held.shape[1], key.shape[1]),
        ("head width", held.shape[3], key.shape[3]),
        ("dtype", held.dtype, key.dtype),
        ("device", held.device, key.device),
    ):
        if one != other:
            raise ValueError(f"cache must be continued with the {name} it has, {one}, got {other}")


class CacheLayer(NamedTuple):
    """One layer's place in a cache of either kind."""

    cache: Any
    layer: int

    def append(self, key: Tensor, value: Tensor) -> Pair:
        """See `KeyValueCache.update`."""
        cache = getattr(self.cache, "self_attention_cache", self.cache)
        if isinstance(cache, KeyValueCache):
            return cache.update(key, value, self.layer)
        end = int(cache.get_seq_length(self.layer)) + key.shape[2]
        keys, values = cache.update(key, value, self.layer)
        # A static cache returns the room behind the tokens as well.
        return keys[:, :, :end], values[:, :, :end]

    def encoded(self) -> Pair | None:
        """See `KeyValueCache.cross`."""
        if isinstance(self.cache, KeyValueCache):
            return self.cache.cross(self.layer)
        if not getattr(self.cache, "is_updated", {}).get(self.layer):
            return None
        held = self.cache.cross_attention_cache.layers[self.layer]
        return held.keys, held.values

    def remember_encoded(self, key: Tensor, value: Tensor) -> None:
        """See `KeyValueCache.set_cross`."""
        if isinstance(self.cache, KeyValueCache):
            self.cache.set_cross(self.layer, key, value)
        elif hasattr(self.cache, "cross_attention_cache"):
            self.cache.cross_attention_cache.update(key, value, self.layer)
            self.cache.is_updated[self.layer] = True


def layer_of(cache: Any, layer: int) -> CacheLayer | None:
    """A layer's place in a cache; None without one."""
    return None if cache is None else CacheLayer(cache, layer)


def length_of(cache: Any) -> int:
    """Tokens in a cache of either kind; ValueError for anything else."""
    if not hasattr(cache, "get_seq_length") or not hasattr(cache, "update"):
        raise ValueError(
            "cache must be a KeyValueCache or one of transformers' Cache objects, "
            f"got {type(cache).__name__}"
        )
    return int(cache.get_seq_length())
