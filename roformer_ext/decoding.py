"""`GenerationSettings`: how the next token is chosen, and what that does to the scores.

The idea: a search (greedy, sampling, beams) sees a model only as `NextToken`, ids in and scores
out, and bends the scores by `adjusted` before it chooses. What must stay true: names, defaults and
the order of the changes are those of transformers' GenerationConfig, so that the same call chooses
the same tokens.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import torch
from torch import Tensor


class NextToken(Protocol):
    """A model in the middle of a generation."""

    def scores(self, ids: Tensor) -> Tensor:
        """Float32 logits [R, V] of what follows ids [R, P], which begin with those of last time."""

    def repeat(self, times: int) -> None:
        """Each row becomes `times` rows, one after another."""

    def reorder(self, rows: Tensor) -> None:
        """Row i continues row rows[i], which belongs to the same prompt."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """What `generate` may be told; ValueError names the argument that does not fit."""

    max_new_tokens: int | None = None
    """Tokens to add at most; None: what `max_length` leaves, or 20, and fewer where the whole
    would pass the configuration's max_position_embeddings, unless the prompt does so already."""
    max_length: int | None = None
    """Prompt and new tokens together; `max_new_tokens` counts before it."""
    min_new_tokens: int = 0
    """No end of sequence among the first so many."""
    do_sample: bool = False
    """Draw tokens, rather than take the best."""
    num_beams: int = 1
    """Continuations that are pursued at a time; 1 is no beam search."""
    temperature: float | None = 1.0
    """Divides the scores when sampling."""
    top_k: int | None = 50
    """Sample among so many best; 0 or None: among all."""
    top_p: float | None = 1.0
    """Sample among the fewest best whose probabilities reach this sum."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that are there already, the prompt's too, become less likely."""
    no_repeat_ngram_size: int = 0
    """No so many tokens in a row come twice; 0: they may."""
    length_penalty: float = 1.0
    """Beams compare their log-probability divided by length^length_penalty."""
    early_stopping: bool | str = False
    """When `num_beams` continuations have ended: True stops, False stops when none that runs is
    better at its present length, "never" when none can become better."""
    num_return_sequences: int = 1
    """Continuations returned for each prompt."""
    eos_token_id: int | list[int] | None = None
    """A continuation ends with one of these; None: the configuration's, and [] is no such token."""
    pad_token_id: int | None = None
    """Fills up rows that have ended; None: the configuration's, or else the first of the ends."""
    use_cache: bool = True
    """Keep keys and values rather than compute every earlier token anew."""

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "max_length", "num_beams", "num_return_sequences"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name in ("min_new_tokens", "no_repeat_ngram_size", "top_k"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("temperature", "repetition_penalty"):
            value = getattr(self, name)
            if value is not None and not value > 0.0:
                raise ValueError(f"{name} must be positive, got {value}")
        if self.top_p is not None and not 0.0 <= self.top_p <= 1.0:
            raise ValueError(f"top_p must be between 0 and 1, got {self.top_p}")
        if self.early_stopping not in (True, False, "never"):
            raise ValueError(
                f"early_stopping must be True, False or 'never', got {self.early_stopping!r}"
            )
        most = self.num_beams if self.num_beams > 1 else None if self.do_sample else 1
        if most is not None and self.num_return_sequences > most:
            raise ValueError(
                f"num_return_sequences must be at most {most}, the number of beams, without which "
                f"greedy search finds one, got {self.num_return_sequences}"
            )

    @property
    def ends(self) -> list[int]:
        """The tokens that end a continuation."""
        ids = self.eos_token_id
        return [] if ids is None else [ids] if isinstance(ids, int) else list(ids)

    @property
    def kept(self) -> int:
        """Candidates that `top_k` and `top_p` leave at least: enough for beams to go on."""
        return max(2, len(self.ends) + 1) if self.num_beams > 1 else 1


@dataclasses.dataclass(frozen=True)
class Prompt:
    """What a generation started from."""

    length: int
    """Tokens of each row."""
    final: int
    """Tokens of the longest possible result."""
    padding: Tensor | None
    """[B], tokens of padding on the left of each prompt; None: there is none."""


def adjusted(scores: Tensor, ids: Tensor, settings: GenerationSettings, prompt: Prompt) -> Tensor:
    """Scores [R, V] of what follows ids [R, P], as the settings want them: -inf = never."""
    if settings.repetition_penalty != 1.0:
        scores = _without_repetition(scores, ids, settings.repetition_penalty, prompt)
    size = settings.no_repeat_ngram_size
    if 0 < size <= ids.shape[1]:
        scores = scores.masked_fill(_completes_ngram(scores, ids, size), -torch.inf)
    if settings.ends and ids.shape[1] < prompt.length + settings.min_new_tokens:
        vocabulary = torch.arange(scores.shape[1], device=scores.device)
        scores = scores.masked_fill(ended(vocabulary, settings), -torch.inf)
    if settings.do_sample:
        scores = _warped(scores, settings)
    return scores


def ended(tokens: Tensor, settings: GenerationSettings) -> Tensor:
    """Which of the tokens, int64 of any shape, end a continuation."""
    return torch.isin(tokens, torch.tensor(settings.ends, dtype=torch.int64, device=tokens.device))


def _without_repetition(scores: Tensor, ids: Tensor, penalty: float, prompt: Prompt) -> Tensor:
    seen = torch.zeros(scores.shape[0], scores.shape[1] + 1, dtype=torch.bool, device=scores.device)
    if prompt.padding is not None:
        # Padding is no token: it goes to a column of its own, which is dropped.
        padding = prompt.padding.repeat_interleave(ids.shape[0] // prompt.padding.shape[0])
        places = torch.arange(ids.shape[1], device=ids.device)
        ids = ids.masked_fill(places < padding[:, None], scores.shape[1])
    seen = seen.scatter(1, ids, True)[:, :-1]
    return torch.where(seen, torch.where(scores < 0, scores * penalty, scores / penalty), scores)


def _completes_ngram(scores: Tensor, ids: Tensor, size: int) -> Tensor:
    """[R, V], the tokens that would end a run of `size` that is there already."""
    runs = ids.unfold(1, size, 1)
    last = ids[:, ids.shape[1] - size + 1 :]
    again = (runs[:, :, :-1] == last[:, None]).all(-1)
    banned = torch.zeros_like(scores, dtype=torch.int64)
    return banned.scatter_add(1, runs[:, :, -1], again.long()) > 0


def _warped(scores: Tensor, settings: GenerationSettings) -> Tensor:
    if settings.temperature not in (None, 1.0):
        scores = scores / settings.temperature
    if settings.top_k:
        count = min(max(settings.top_k, settings.kept), scores.shape[1])
        scores = scores.masked_fill(scores < scores.topk(count)[0][:, -1:], -torch.inf)
    if settings.top_p is not None and settings.top_p < 1.0:
        rising, order = scores.sort()
        unlikely = rising.softmax(-1).cumsum(-1) <= 1.0 - settings.top_p
        unlikely[:, -settings.kept :] = False
        scores = scores.masked_fill(unlikely.scatter(1, order, unlikely), -torch.inf)
    return scores
