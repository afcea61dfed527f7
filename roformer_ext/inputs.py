"""What a model was given: checked as a whole, and packed where padding is worth dropping.

The idea: all that the arguments of a forward pass have to do with each other is settled here, so
that the model below computes on one consistent set. What must stay true: nothing has been changed,
a cache included, when a ValueError says what does not fit.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from .cache import KeyValueCache, length_of
from .config import RoFormerConfig
from .packing import Packing, drop_padding, is_traced, packing_of


@dataclasses.dataclass(frozen=True)
class Inputs:
    """One consistent set of arguments, [B, S] or packed [1, T]."""

    input_ids: Tensor | None
    inputs_embeds: Tensor | None
    attention_mask: Tensor | None
    """None where packing says it."""
    token_type_ids: Tensor | None
    position_ids: Tensor | None
    """[S], [1, S], [B, S] or [1, T]; None: the index in the sequence."""
    rows: int
    """Length of the longest sequence that `position_ids` may come from."""
    exact: bool
    """Positions are the user's, and may be any."""
    prefix_stages: Tensor | None
    """[B, K], of a prefix language model, whose queries see the keys up to their own stage."""
    packing: Packing | None
    past: int
    """Tokens in the cache."""
    cache: Any
    encoder_hidden_states: Tensor | None
    encoder_attention_mask: Tensor | None


def gather_inputs(
    config: RoFormerConfig,
    input_ids: Tensor | None,
    attention_mask: Tensor | None,
    token_type_ids: Tensor | None,
    position_ids: Tensor | None,
    inputs_embeds: Tensor | None,
    *,
    targets: Tensor | None,
    reads_first: bool,
    reads_all: bool,
    training: bool,
    encoder_hidden_states: Tensor | None = None,
    encoder_attention_mask: Tensor | None = None,
    past_key_values: Any = None,
    cache: Any = None,
    use_cache: bool | None = None,
    cu_seqlens: Tensor | None = None,
    unpad: bool | None = None,
) -> Inputs:
    """The contract is that of `RoFormerModel.forward` and `encode`."""
    tokens = _tokens(input_ids, inputs_embeds)
    batch, seq = shape = tokens.shape[0], tokens.shape[1]
    for name, ids in (("token_type_ids", token_type_ids), ("position_ids", position_ids)):
        if ids is not None and ids.shape not in ((batch, seq), (1, seq), (seq,)):
            wanted = f"[S] = [{seq}] or [B, S] = [{batch}, {seq}]"
            raise ValueError(f"{name} must be {wanted}, got {list(ids.shape)}")
    if targets is not None and targets.shape != shape:
        raise ValueError(f"labels must be [B, S] = {list(shape)}, got {list(targets.shape)}")
    cache = _cache(config, past_key_values, cache, use_cache, training)
    past = 0 if cache is None else length_of(cache)
    _check_source(config, batch, encoder_hidden_states, encoder_attention_mask)

    packing = None
    exact = position_ids is not None
    if cu_seqlens is not None:
        _refuse_beside_packing(
            attention_mask=attention_mask, encoder_hidden_states=encoder_hidden_states
        )
        if past:
            raise ValueError(f"cu_seqlens must not continue a cache, got one of {past} tokens")
        if use_cache:
            raise ValueError("use_cache must not be True with cu_seqlens")
        packing, cache = packing_of(cu_seqlens, shape), None
    elif _may_drop(attention_mask, shape, unpad, reads_all, cache, encoder_hidden_states):
        assert attention_mask is not None
        packing = drop_padding(attention_mask, unpad, targets, reads_first)
    rows = seq + past
    stages = _prefix_stages(config, token_type_ids, shape)
    if packing is not None:
        attention_mask = None
        input_ids = None if input_ids is None else packing.pack(input_ids)
        inputs_embeds = None if inputs_embeds is None else packing.pack(inputs_embeds)
        token_type_ids = _packed_ids(packing, token_type_ids)
        stages = _packed_ids(packing, stages)
        position_ids = _packed_ids(packing, position_ids)
        if position_ids is None:
            position_ids = packing.position_ids()
    elif past and position_ids is None:
        position_ids = torch.arange(past, past + seq, device=tokens.device)
    return Inputs(
        input_ids=input_ids,
        inputs_embeds=inputs_embeds,
        attention_mask=attention_mask,
        token_type_ids=token_type_ids,
        position_ids=position_ids,
        rows=rows,
        exact=exact,
        prefix_stages=stages,
        packing=packing,
        past=past,
        cache=cache,
        encoder_hidden_states=encoder_hidden_states,
        encoder_attention_mask=encoder_attention_mask,
    )


def _tokens(input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
    """The one that is given, [B, S] or [B, S, E]."""
    if inputs_embeds is not None:
        if input_ids is not None:
            raise ValueError("input_ids and inputs_embeds exclude each other, got both")
        if inputs_embeds.dim() != 3:
            raise ValueError(f"inputs_embeds must be [B, S, E], got {list(inputs_embeds.shape)}")
        return inputs_embeds
    if input_ids is None:
        raise ValueError("one of input_ids and inputs_embeds must be given, got neither")
    if input_ids.dim() != 2:
        raise ValueError(f"input_ids must be [B, S], got {list(input_ids.shape)}")
    return input_ids


def _cache(
    config: RoFormerConfig, past: Any, cache: Any, use_cache: bool | None, training: bool
) -> Any:
    """The cache to extend: the one given, a new one where one is wanted, or None."""
    if past is not None and cache is not None and past is not cache:
        raise ValueError("past_key_values and cache are one argument, got two values")
    cache = past if cache is None else cache
    if not config.is_decoder:
        if cache is not None:
            raise ValueError("cache must be None unless the configuration has is_decoder")
        return None
    if use_cache is None:
        use_cache = config.use_cache and not training
    return KeyValueCache() if cache is None and use_cache else cache


def _check_source(
    config: RoFormerConfig, batch: int, states: Tensor | None, mask: Tensor | None
) -> None:
    if states is None:
        if mask is not None:
            raise ValueError("encoder_attention_mask must come with encoder_hidden_states")
        return
    if not config.add_cross_attention:
        raise ValueError(
            "encoder_hidden_states must be None unless the configuration has add_cross_attention"
        )
    width = config.hidden_size
    if states.dim() != 3 or states.shape[0] != batch or states.shape[2] != width:
        raise ValueError(
            f"encoder_hidden_states must be [B, K, C] = [{batch}, K, {width}], "
            f"got {list(states.shape)}"
        )


def _refuse_beside_packing(**others: Tensor | None) -> None:
    for name, other in others.items():
        if other is not None:
            raise ValueError(f"cu_seqlens and {name} exclude each other, got both")


def _may_drop(
    mask: Tensor | None,
    shape: tuple[int, int],
    unpad: bool | None,
    reads_all: bool,
    cache: Any,
    encoder_hidden_states: Tensor | None,
) -> bool:
    """Whether this call could drop padding at all; ValueError where it must and cannot."""
    obstacle = None
    if mask is not None and mask.shape != shape:
        obstacle = f"an attention_mask of shape {list(mask.shape)}"
    elif reads_all:
        obstacle = "a result that reads padding"
    elif cache is not None:
        obstacle = "a cache"
    elif encoder_hidden_states is not None:
        obstacle = "encoder_hidden_states"
    if unpad and obstacle is not None:
        raise ValueError(f"unpad must not be True with {obstacle}")
    if mask is None or obstacle is not None or unpad is False:
        return False
    return not is_traced(mask)


def _packed_ids(packing: Packing, ids: Tensor | None) -> Tensor | None:
    if ids is None:
        return None
    return packing.pack(ids if ids.dim() == 2 else ids.unsqueeze(0))


def _prefix_stages(
    config: RoFormerConfig, types: Tensor | None, shape: tuple[int, int]
) -> Tensor | None:
    """cumsum(types) over each row, in which packed sequences begin at stages of their own.

    Padding counts, so that dropping it leaves the others where they were.
    """
    if not config.prefix_lm or types is None:
        return None
    return types.expand(shape).long().cumsum(-1)
