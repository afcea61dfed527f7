"""Greedy search and sampling: one token a row at a time.

The idea: each row takes the best token, or draws one, until it has ended; a row that has ended is
filled up while others go on. What must stay true: with the same random state on the CPU it draws
what transformers draws, and a row never depends on the others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .decoding import GenerationSettings, NextToken, Prompt, adjusted, ended


def sample(
    model: NextToken,
    ids: Tensor,
    prompt: Prompt,
    settings: GenerationSettings,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Prompts [B, P] and what follows, [B * num_return_sequences, P + new], int64."""
    scores = model.scores(ids)
    times = settings.num_return_sequences
    if times > 1:
        model.repeat(times)
        scores, ids = scores.repeat_interleave(times, 0), ids.repeat_interleave(times, 0)
    result = ids.new_empty(ids.shape[0], prompt.final)
    result[:, : prompt.length] = ids
    running = torch.ones(ids.shape[0], dtype=torch.bool, device=ids.device)
    for length in range(prompt.length, prompt.final):
        ids = result[:, :length]
        if length > prompt.length:
            scores = model.scores(ids)
        scores = adjusted(scores, ids, settings, prompt)
        if settings.do_sample:
            tokens = torch.multinomial(scores.softmax(-1), 1, generator=generator).squeeze(1)
        else:
            tokens = scores.argmax(-1)
        if settings.ends:
            assert settings.pad_token_id is not None
            tokens = tokens.masked_fill(~running, settings.pad_token_id)
            running &= ~ended(tokens, settings)
        result[:, length] = tokens
        if settings.ends and not running.any():
            return result[:, : length + 1]
    return result
