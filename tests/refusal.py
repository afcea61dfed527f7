"""What every refusal of the operator has in common, checked in one place.

A refused call raises RuntimeError with one sentence of under 400 characters that names the
argument and says what came; and it has written nothing. `refuses` wraps the call and checks both.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch
from bits import words
from torch import Tensor


def _snapshot(tensor: Tensor) -> tuple[Tensor, int]:
    copied = tensor.detach().clone()
    return (words(copied) if copied.is_floating_point() else copied.cpu()), tensor._version


@contextlib.contextmanager
def refuses(
    *named: str, unchanged: tuple[Tensor | None, ...] = (), own_words: bool = True
) -> Iterator[None]:
    """Expect a RuntimeError whose text holds all of `named`, and `unchanged` tensors as they were.

    `own_words=False` is for refusals that torch itself words: their form is not ours to promise.
    """
    real = [tensor for tensor in unchanged if tensor is not None and tensor.device.type != "meta"]
    before = [_snapshot(tensor) for tensor in real]
    with pytest.raises(RuntimeError) as caught:
        yield
    text = str(caught.value)
    for word in named:
        assert word in text, f"{word!r} is not named in: {text}"
    if own_words:
        assert caught.type is RuntimeError, f"{caught.type} with {text}"
        assert len(text) < 400, f"{len(text)} characters: {text}"
        assert "\n" not in text.strip() and ". " not in text, f"more than one sentence: {text}"
    for tensor, (bits, version) in zip(real, before, strict=True):
        now, version_now = _snapshot(tensor)
        assert torch.equal(now, bits), "an input was written before the refusal"
        assert version_now == version, "a version counter moved before the refusal"
