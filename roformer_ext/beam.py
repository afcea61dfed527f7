"""Beam search: the most likely continuations as wholes, `num_beams` of them at a time.

The idea: every step keeps the best continuations that run and, apart from them, the best that have
ended, whose score is their log-probability divided by a power of their length. What must stay true:
the result is transformers' token for token, which fixes how many candidates a step looks at, how
ties fall (candidates flattened, one `topk`), and that the excluded lose 1e9 instead of falling out.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from .decoding import GenerationSettings, NextToken, Prompt, adjusted, ended

_EXCLUDED = -1.0e9


@dataclasses.dataclass
class _Beams:
    """n continuations of each of B prompts."""

    ids: Tensor
    """[B, n, P + new], filled up."""
    scores: Tensor
    """[B, n], float32."""
    facts: Tensor
    """[B, n], int64: the row that a running one continues; the length of one that has ended."""

    def chosen(self, index: Tensor) -> _Beams:
        """Those at index [B, m]."""
        ids = self.ids.take_along_dim(index[:, :, None], 1)
        return _Beams(ids, self.scores.gather(1, index), self.facts.gather(1, index))

    def joined(self, other: _Beams) -> _Beams:
        """Its own, then the other's."""
        return _Beams(
            torch.cat([self.ids, other.ids], 1),
            torch.cat([self.scores, other.scores], 1),
            torch.cat([self.facts, other.facts], 1),
        )


def beam_search(
    model: NextToken,
    ids: Tensor,
    prompt: Prompt,
    settings: GenerationSettings,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Prompts [B, P] and the best that follow, [B * num_return_sequences, P + new], int64."""
    batch, beams = ids.shape[0], settings.num_beams
    scores = model.scores(ids).repeat_interleave(beams, 0)
    model.repeat(beams)
    running, finished = _beginning(ids, prompt, settings)
    full = torch.zeros(batch, beams, dtype=torch.bool, device=ids.device)
    improving = torch.ones(batch, 1, dtype=torch.bool, device=ids.device)
    for length in range(prompt.length, prompt.final):
        flat = running.ids.flatten(0, 1)[:, :length]
        if length > prompt.length:
            model.reorder(running.facts.flatten())
            scores = model.scores(flat)
        scores = adjusted(scores.log_softmax(-1), flat, settings, prompt)
        candidates = _candidates(running, scores, length, settings, generator)
        new = length + 1 - prompt.length
        stop = ended(candidates.ids[:, :, length], settings) | (length + 1 == prompt.final)

        alive = candidates.scores + stop * _EXCLUDED
        running = dataclasses.replace(candidates, scores=alive).chosen(alive.topk(beams)[1])

        # The others are there only so that enough can go on.
        stop[:, beams:] = False
        over = ~improving | (full.all(-1, keepdim=True) & (settings.early_stopping is True))
        ending = candidates.scores / new**settings.length_penalty
        ending = ending + over * _EXCLUDED + ~stop * _EXCLUDED
        lengths = torch.full_like(candidates.facts, new)
        both = finished.joined(_Beams(candidates.ids, ending, lengths))
        best = both.scores.topk(beams)[1]
        finished, full = both.chosen(best), torch.cat([full, stop], 1).gather(1, best)

        improving = improving & _may_improve(running, finished, full, new, prompt, settings)
        if not improving.any() or (settings.early_stopping is True and full.all()):
            break
    wanted = settings.num_return_sequences
    longest = int(finished.facts[:, :wanted].max())
    return finished.ids[:, :wanted, : prompt.length + longest].flatten(0, 1)


def _beginning(ids: Tensor, prompt: Prompt, settings: GenerationSettings) -> tuple[_Beams, _Beams]:
    """What runs and what has ended before the first step: only the first beam counts."""
    batch, beams = ids.shape[0], settings.num_beams
    # Pad 0 does not fill here: transformers takes it for none.
    filler = settings.pad_token_id or next(iter(settings.ends), 0)
    filled = ids.new_full((batch, beams, prompt.final), filler)
    filled[:, :, : prompt.length] = ids[:, None]
    scores = torch.full((batch, beams), _EXCLUDED, device=ids.device)
    nothing = ids.new_zeros(batch, beams)
    finished = _Beams(filled, scores, nothing)
    return _Beams(filled, scores.index_fill(1, nothing[0, :1], 0.0), nothing), finished


def _candidates(
    running: _Beams,
    scores: Tensor,
    length: int,
    settings: GenerationSettings,
    generator: torch.Generator | None,
) -> _Beams:
    """The best continuations by one token, best first, or a sample of them.

    scores: [B * n, V]. So many are looked at that n go on even if each beam ends in every way.
    """
    (batch, beams), vocab = running.scores.shape, scores.shape[1]
    count = beams * max(2, 1 + len(settings.ends))
    every = (scores.unflatten(0, (batch, beams)) + running.scores[:, :, None]).flatten(1)
    if settings.do_sample:
        index = torch.multinomial(every.softmax(-1), count, generator=generator)
        best, order = every.gather(1, index).sort(descending=True)
        index = index.gather(1, order)
    else:
        best, index = every.topk(count)
    parents = index // vocab
    ids = running.ids.take_along_dim(parents[:, :, None], 1)
    ids[:, :, length] = index % vocab
    first = torch.arange(batch, device=index.device)[:, None] * beams
    return _Beams(ids, best, parents + first)


def _may_improve(
    running: _Beams,
    finished: _Beams,
    full: Tensor,
    new: int,
    prompt: Prompt,
    settings: GenerationSettings,
) -> Tensor:
    """[B, 1]: whether the best that runs may still beat the worst that has ended."""
    penalty = settings.length_penalty
    if settings.early_stopping == "never" and penalty > 0.0:
        new = prompt.final - prompt.length
    hope = running.scores[:, :1] / new**penalty
    worst = torch.where(full, finished.scores.min(1, keepdim=True)[0], _EXCLUDED)
    return torch.any(hope > worst, -1, keepdim=True)
