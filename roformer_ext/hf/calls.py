"""A call as transformers' tools make it, turned into a call of our models, and back.

The idea: those tools pass a few arguments that ours have no use for, mean something by others that
ours do not (position ids that restart), and expect results of that library's own classes. What must
stay true: an argument that neither side knows is still an error.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

from ..heads import DecoderOptions, EncoderOptions
from ..packing import is_traced
from .config import RoFormerConfig

# What generation and collators add for the attention of other models.
_NO_USE = ("cache_position", "cu_seq_lens_k", "max_length_q", "max_length_k")

Model = TypeVar("Model", bound=type)


def speaks(output: Any) -> Callable[[Model], Model]:
    """A class decorator: `forward` takes what transformers' callers give and returns `output`."""
    names = [field.name for field in dataclasses.fields(output)]

    def decorate(model: Model) -> Model:
        ours = model.forward  # type: ignore[attr-defined]
        signature = _spelled_out(inspect.signature(ours))
        positional = [
            name
            for name, parameter in signature.parameters.items()
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        ][1:]

        @functools.wraps(ours)
        def forward(self: Any, *args: Any, return_dict: bool | None = None, **kwargs: Any) -> Any:
            given = self.arguments({**dict(zip(positional, args)), **kwargs})
            result = ours(self, **given)
            converted = output(**{name: getattr(result, name, None) for name in names})
            named = self.config.return_dict if return_dict is None else return_dict
            return converted if named else converted.to_tuple()

        forward.__signature__ = signature  # type: ignore[attr-defined]
        model.forward = forward  # type: ignore[attr-defined]
        return model

    return decorate


def _spelled_out(signature: inspect.Signature) -> inspect.Signature:
    """The same with the names that stand in a TypedDict: tools look for names here."""
    parameters = dict(signature.parameters)
    last = next(reversed(parameters.values()))
    if last.kind is last.VAR_KEYWORD:
        del parameters[last.name]
        decoder = "DecoderOptions" in str(last.annotation)
        options: Any = DecoderOptions if decoder else EncoderOptions
        for name in sorted(options.__optional_keys__):
            parameters[name] = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
    return signature.replace(parameters=list(parameters.values()))


def without_strangers(given: dict[str, Any]) -> dict[str, Any]:
    """Leaves out what only says something to the attention of other models."""
    return {name: value for name, value in given.items() if name not in _NO_USE}


def with_sequences(given: dict[str, Any], *, causal: bool) -> dict[str, Any]:
    """Says by `cu_seqlens` what transformers' collators say otherwise.

    They give `cu_seq_lens_q`, or `seq_idx`, or position ids: in a single row [1, T] each token
    whose position does not exceed the one before it begins a sequence, unless a mask or a filled
    cache is given too. Under a compiler a mask keeps the sequences apart, so nothing depends on
    values, and a head that reads first tokens reads the first sequence's alone.
    """
    given = dict(given)
    bounds, numbers = given.pop("cu_seq_lens_q", None), given.pop("seq_idx", None)
    positions = given.get("position_ids")
    if given.get("cu_seqlens") is not None:
        return given
    if bounds is not None:
        return {**given, "cu_seqlens": bounds}
    if given.get("attention_mask") is not None or _filled(given):
        return given
    if numbers is not None and _is_one_row(numbers):
        starts = numbers[0, 1:] != numbers[0, :-1]
    elif positions is not None and _is_one_row(positions):
        starts = positions[0, 1:] <= positions[0, :-1]
    else:
        return given
    if is_traced(starts):
        segments = torch.cat([starts.new_zeros(1), starts]).cumsum(0)
        visible = segments[:, None] == segments
        return {**given, "attention_mask": (visible.tril() if causal else visible)[None, None]}
    inner = starts.nonzero().squeeze(1) + 1
    if len(inner):
        ends = inner.new_tensor([0, len(starts) + 1])
        given["cu_seqlens"] = torch.cat([ends[:1], inner, ends[1:]]).int()
    return given


def with_cache(given: dict[str, Any], config: RoFormerConfig, *, training: bool) -> dict[str, Any]:
    """Brings a cache of transformers where one is wanted and none is given."""
    given = dict(given)
    if given.get("cu_seqlens") is not None or not config.is_decoder:
        given["use_cache"] = False
        return given
    use_cache = given.get("use_cache")
    wanted = config.use_cache and not training if use_cache is None else use_cache
    if wanted and given.get("cache") is None and given.get("past_key_values") is None:
        given["cache"] = DynamicCache(config=config)
        if given.get("encoder_hidden_states") is not None:
            encoded = DynamicCache(config=config)
            given["cache"] = EncoderDecoderCache(given["cache"], encoded)
    return given


def _filled(given: dict[str, Any]) -> bool:
    caches = (given.get("cache"), given.get("past_key_values"))
    return any(cache is not None and int(cache.get_seq_length()) > 0 for cache in caches)


def _is_one_row(ids: Tensor) -> bool:
    return ids.dim() == 2 and ids.shape[0] == 1 and ids.shape[1] > 1
