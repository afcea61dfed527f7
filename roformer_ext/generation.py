"""`generate`: prompts in, prompts and their continuations out.

The idea: a `_Decoding` holds all that a model needs besides the next ids (mask, types, cache,
encoder), and a search asks it for scores without knowing any of that. What must stay true: results
are those of transformers' `generate`, every argument is checked before the model runs, and with a
cache no token is computed twice.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .beam import beam_search
from .cache import KeyValueCache
from .config import RoFormerConfig
from .decoding import GenerationSettings, Prompt
from .sampling import sample

_DEFAULT_NEW_TOKENS = 20


@torch.no_grad()
def generate(
    model: Any,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    token_type_ids: Tensor | None = None,
    *,
    encoder_hidden_states: Tensor | None = None,
    encoder_attention_mask: Tensor | None = None,
    generator: torch.Generator | None = None,
    **settings: Any,
) -> Tensor:
    """The contract is that of `RoFormerForCausalLM.generate`; model: one of those."""
    config: RoFormerConfig = model.config
    if not config.is_decoder:
        raise ValueError("generate needs a configuration with is_decoder, got is_decoder = False")
    told = _with_tokens(GenerationSettings(**settings), config)
    _check_ids(input_ids, attention_mask, token_type_ids)
    _check_vocabulary(told, config)
    if attention_mask is None:
        attention_mask = _mask_of(input_ids, told)
    prompt = Prompt(
        length=input_ids.shape[1],
        final=_final_length(input_ids.shape[1], told, config),
        padding=None if attention_mask is None else (attention_mask != 0).int().argmax(1),
    )
    if attention_mask is not None and bool((attention_mask != 0).all()):
        attention_mask, prompt = None, dataclasses.replace(prompt, padding=None)
    decoding = _Decoding(model, prompt, attention_mask, token_type_ids, told.use_cache)
    decoding.look_at(encoder_hidden_states, encoder_attention_mask)
    search = beam_search if told.num_beams > 1 else sample
    return search(decoding, input_ids.long(), prompt, told, generator)


class _Decoding:
    """A model in the middle of a generation; see `decoding.NextToken`."""

    def __init__(
        self,
        model: Any,
        prompt: Prompt,
        mask: Tensor | None,
        types: Tensor | None,
        use_cache: bool,
    ) -> None:
        new = prompt.final - prompt.length
        self._model = model
        self._cache = KeyValueCache() if use_cache else None
        # New tokens are no padding, and have the type of the last one.
        self._mask = None if mask is None else F.pad((mask != 0).long(), (0, new), value=1)
        self._types: Tensor | None = None
        if types is not None:
            self._types = torch.cat([types, types[:, -1:].expand(-1, new)], 1)
        self._encoder: dict[str, Tensor] = {}

    def look_at(self, states: Tensor | None, mask: Tensor | None) -> None:
        """Attend to an encoder's result."""
        named = {"encoder_hidden_states": states, "encoder_attention_mask": mask}
        self._encoder = {name: x for name, x in named.items() if x is not None}

    def scores(self, ids: Tensor) -> Tensor:
        length = ids.shape[1]
        past = 0 if self._cache is None else self._cache.get_seq_length()
        result = self._model(
            ids[:, past:],
            None if self._mask is None else self._mask[:, :length],
            None if self._types is None else self._types[:, past:length],
            past_key_values=self._cache,
            use_cache=self._cache is not None,
            logits_to_keep=1,
            **self._encoder,
        )
        scores: Tensor = result.logits[:, -1].float()
        return scores

    def repeat(self, times: int) -> None:
        if self._cache is not None:
            self._cache.repeat(times)
        if self._mask is not None:
            self._mask = self._mask.repeat_interleave(times, 0)
        if self._types is not None:
            self._types = self._types.repeat_interleave(times, 0)
        for name, x in self._encoder.items():
            self._encoder[name] = x.repeat_interleave(times, 0)

    def reorder(self, rows: Tensor) -> None:
        # All else is the same for every row of a prompt.
        if self._cache is not None:
            self._cache.reorder(rows, encoded=False)


def _with_tokens(told: GenerationSettings, config: RoFormerConfig) -> GenerationSettings:
    if told.eos_token_id is None:
        told = dataclasses.replace(told, eos_token_id=config.eos_token_id)
    pad = config.pad_token_id if told.pad_token_id is None else told.pad_token_id
    if pad is None and told.ends:
        pad = told.ends[0]
    return dataclasses.replace(told, pad_token_id=pad)


def _check_ids(ids: Tensor, mask: Tensor | None, types: Tensor | None) -> None:
    if ids.dim() != 2 or ids.shape[1] == 0 or ids.dtype not in (torch.int32, torch.int64):
        raise ValueError(
            "input_ids must be int32 or int64 [B, P], P at least 1, "
            f"got {ids.dtype} {list(ids.shape)}"
        )
    for name, other in (("attention_mask", mask), ("token_type_ids", types)):
        if other is not None and other.shape != ids.shape:
            raise ValueError(f"{name} must be [B, P] = {list(ids.shape)}, got {list(other.shape)}")


def _check_vocabulary(told: GenerationSettings, config: RoFormerConfig) -> None:
    least = told.kept
    if config.vocab_size < least:
        raise ValueError(
            f"num_beams = {told.num_beams} with {len(told.ends)} tokens that end a continuation "
            f"needs a vocabulary of at least {least} tokens, got {config.vocab_size}"
        )


def _final_length(length: int, told: GenerationSettings, config: RoFormerConfig) -> int:
    if told.max_new_tokens is not None:
        return length + told.max_new_tokens
    if told.max_length is None:
        wanted, most = length + _DEFAULT_NEW_TOKENS, config.max_position_embeddings
        return min(wanted, most) if length < most else wanted
    if told.max_length <= length:
        raise ValueError(
            f"max_length must be above the {length} tokens of the prompt, got {told.max_length}"
        )
    return told.max_length


def _mask_of(ids: Tensor, told: GenerationSettings) -> Tensor | None:
    """Pad tokens in a prompt are padding, unless they could be an end of sequence."""
    if told.pad_token_id is None or told.pad_token_id in told.ends:
        return None
    return ids != told.pad_token_id
