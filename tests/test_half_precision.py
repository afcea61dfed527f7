"""A model in a half type loses what rounding its own numbers costs, and nothing to its positions.

The one idea: its error against the float64 model is measured beside that of a yardstick, which is
the float64 model with weights and activations rounded to the half type where a half model stores
them, and with exact rotations. What must stay true: float32 tables cost nothing beside exact ones,
at any position; transformers' tables in the half type do. Attention reads positions here, because
queries and keys have large biases; where they are small, no table would matter. `pytest -rP` shows
all numbers.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from twins import SMALL, randomise

from roformer_ext import RoFormerConfig, RoFormerModel, RotaryEmbedding
from roformer_ext.rotary import Rows

HALVES = [torch.bfloat16, torch.float16]
LENGTHS = [512, 1536]
FIELDS = {
    **SMALL,
    "hidden_size": 128,
    "num_attention_heads": 2,
    "intermediate_size": 256,
    "max_position_embeddings": max(LENGTHS),
}
# What a half model stores, by the last name of the function; look-ups and views round nothing.
STORED = {"linear", "layer_norm", "add", "gelu_", "rope_", "scaled_dot_product_attention"}


class Rounded(TorchFunctionMode):
    """Rounds to `half` every result that a half model would store, computed in float64."""

    def __init__(self, half: torch.dtype) -> None:
        super().__init__()
        self.half, self.seen = half, set[str]()

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        name = getattr(function, "__name__", "").removesuffix(".default")
        if name in STORED:
            self.seen.add(name)
            # In place, because some of them are.
            result.copy_(result.to(self.half))
        return result


class HalfTables(RotaryEmbedding):
    """Tables that were converted to bfloat16 with the weights."""

    def lookup(self, *args: Any, **kwargs: Any) -> Rows:
        cos, sin, ids = super().lookup(*args, **kwargs)
        return Rows(cos.bfloat16().float(), sin.bfloat16().float(), ids)


class Errors(NamedTuple):
    """Of last hidden states, which have about the size of one."""

    most: float
    mean_square: float

    def __str__(self) -> str:
        return f"max {self.most:.5f}, root mean square {self.mean_square:.6f}"


@functools.cache
def exact() -> RoFormerModel:
    """The model in float64, with exact rotations."""
    encoder = RoFormerModel(RoFormerConfig(**FIELDS)).double().eval()
    randomise(encoder, deviation=FIELDS["hidden_size"] ** -0.5)
    with torch.no_grad():
        for layer in encoder.encoder.layer:
            layer.attention.self.query.bias.mul_(40.0)
            layer.attention.self.key.bias.mul_(40.0)
    encoder.rotary = RotaryEmbedding(64, dtype=torch.float64)
    return encoder


def converted(half: torch.dtype) -> RoFormerModel:
    """The model in a half type, as a user converts it."""
    encoder = RoFormerModel(RoFormerConfig(**FIELDS)).eval()
    encoder.load_state_dict(exact().state_dict())
    return encoder.to(half)


def reference(half: torch.dtype) -> Any:
    """transformers' model in a half type, its table too."""
    transformers = pytest.importorskip("transformers", reason="parity needs transformers")
    model = transformers.RoFormerModel(transformers.RoFormerConfig(**FIELDS)).eval()
    table = model.encoder.embed_positions.weight
    model.load_state_dict({**exact().state_dict(), "encoder.embed_positions.weight": table})
    return model.to(half)


@functools.cache
def states(tokens: int, start: int = 0) -> Tensor:
    """Of the exact model."""
    with torch.no_grad():
        result: Tensor = exact()(**given(tokens, start)).last_hidden_state
    return result


def given(tokens: int, start: int = 0) -> dict[str, Tensor]:
    """Ids, and positions where they do not start at 0."""
    ids = torch.randint(61, (1, tokens), generator=torch.Generator().manual_seed(1))
    positions = {"position_ids": torch.arange(start, start + tokens)} if start else {}
    return {"input_ids": ids, **positions}


@torch.no_grad()
def errors(model: Any, tokens: int, start: int = 0) -> Errors:
    off = model(**given(tokens, start)).last_hidden_state.double() - states(tokens, start)
    return Errors(off.abs().max().item(), off.square().mean().sqrt().item())


def yardstick(half: torch.dtype, tokens: int, start: int = 0) -> Errors:
    encoder = copy.deepcopy(exact()).to(half).double()
    states(tokens, start)
    with Rounded(half) as rounded:
        result = errors(encoder, tokens, start)
    assert rounded.seen == STORED
    return result


@pytest.mark.parametrize("start", [0, 2**31 - 512])
@pytest.mark.parametrize("half", HALVES, ids=str)
def test_no_worse_than_rounding(half: torch.dtype, start: int) -> None:
    ours, least = errors(converted(half), 512, start), yardstick(half, 512, start)
    print(f"{half}, 512 tokens from {start}\n  ours: {ours}\n  its own roundings: {least}")
    assert ours.mean_square <= 1.05 * least.mean_square
    assert ours.most <= 1.3 * least.most


@pytest.mark.parametrize("tokens", LENGTHS)
@pytest.mark.parametrize("half", HALVES, ids=str)
def test_better_than_transformers(half: torch.dtype, tokens: int) -> None:
    ours, theirs = errors(converted(half), tokens), errors(reference(half), tokens)
    print(f"{half}, {tokens} tokens\n  ours: {ours}\n  transformers: {theirs}")
    assert ours.mean_square < 0.9 * theirs.mean_square
    assert ours.most < theirs.most


@pytest.mark.parametrize("tokens", LENGTHS)
def test_tables_in_bfloat16_cost_more(tokens: int) -> None:
    ours, worse = converted(torch.bfloat16), converted(torch.bfloat16)
    worse.rotary = HalfTables(64, max_position=max(LENGTHS))
    found = errors(ours, tokens), errors(worse, tokens)
    print(f"bfloat16, {tokens} tokens\n  float32 tables: {found[0]}\n  its own type: {found[1]}")
    assert found[0].mean_square < found[1].mean_square


@pytest.mark.parametrize("half", HALVES, ids=str)
def test_tables_are_those_of_float64_angles_rounded_once(half: torch.dtype) -> None:
    rotary = converted(half).rotary
    assert rotary is not None
    positions = torch.tensor([2**31 - 1, 2**31 - 2, 1_000_003, 1536, 1, 0])
    cos, sin, _ = rotary.lookup(6, positions, device=positions.device, exact=True)
    assert cos.dtype == sin.dtype == torch.float32
    powers = torch.pow(10000.0, -torch.arange(32, dtype=torch.float64) / 32)
    for row, position in enumerate(positions.tolist()):
        angles = (position * powers).tolist()
        assert torch.equal(cos[row], torch.tensor([math.cos(angle) for angle in angles]))
        assert torch.equal(sin[row], torch.tensor([math.sin(angle) for angle in angles]))
