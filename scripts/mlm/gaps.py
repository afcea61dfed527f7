"""A saved model fills gaps in held-out sentences, printed for a person to judge.

The one idea: the model is read back from the folder that it was saved to, as anybody would use it,
and sees a sentence in its context with single tokens and short stretches replaced by [MASK].
Sentences and gaps depend on the text and the seed alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mlm.text import Text, Vocabulary, load_vocabulary
from roformer_ext import RoFormerForMaskedLM

SENTENCES = 4
GAP, RIGHT, WRONG = "_", "+", "x"


@dataclass(frozen=True)
class Sentence:
    """Ids of a window [seq] and the part of it that is shown."""

    window: Tensor
    start: int
    stop: int


def save(model: RoFormerForMaskedLM, vocabulary: Vocabulary, folder: Path) -> None:
    """Write what `from_pretrained` reads, and the vocabulary."""
    model.save_pretrained(folder)
    vocabulary.save(folder)


def sentences(text: Text, seq_len: int) -> list[Sentence]:
    """Complete sentences where the held-out text has enough of them, else stretches."""
    found, plain = [], []
    longest = min(text.vocabulary.longest_passage, seq_len)
    for block in text.held_out:
        if len(block) < seq_len:
            continue
        plain.append(around(block, 0, longest, seq_len))
        found += [
            around(block, start, stop, seq_len)
            for start, stop in text.vocabulary.passages(block)
            if stop - start <= longest
        ]
    chosen = found if len(found) >= SENTENCES else plain
    places = torch.linspace(0, len(chosen) - 1, min(SENTENCES, len(chosen))).long()
    return [chosen[place] for place in places.tolist()]


def around(block: Tensor, start: int, stop: int, seq_len: int) -> Sentence:
    """The window of seq_len tokens that has the stretch as near its middle as the block allows."""
    first = min(max(0, (start + stop - seq_len) // 2), len(block) - seq_len)
    return Sentence(block[first : first + seq_len], start - first, stop - first)


def choose_gaps(length: int, longest: int, random: torch.Generator) -> Tensor:
    """Bool [length]: stretches of one to `longest` tokens with four to ten between them."""
    gaps = torch.zeros(length, dtype=torch.bool)
    place = min(3, length // 2)
    while place < length - 1:
        size = int(torch.randint(1, longest + 1, (), generator=random))
        gaps[place : place + size] = True
        place += size + int(torch.randint(4, 11, (), generator=random))
    gaps[-1] = False
    return gaps


@torch.no_grad()
def fill(folder: Path, text: Text, seq_len: int, seed: int) -> str:
    """Fill the gaps of a few held-out sentences with the likeliest token each, and mark them."""
    model, vocabulary = RoFormerForMaskedLM.from_pretrained(folder), load_vocabulary(folder)
    random = torch.Generator().manual_seed(seed)
    lines, right, asked = [], 0, 0
    for sentence in sentences(text, seq_len):
        shown = slice(sentence.start, sentence.stop)
        window = vocabulary.window(sentence.window)
        gaps = torch.zeros(seq_len, dtype=torch.bool)
        gaps[shown] = choose_gaps(sentence.stop - sentence.start, vocabulary.longest_gap, random)
        gaps &= window >= vocabulary.specials
        masked = window.masked_fill(gaps, vocabulary.mask)
        likeliest = model(masked[None]).logits[0].argmax(-1)
        filled = torch.where(gaps, likeliest, window)
        correct = filled == window
        right += int((correct & gaps).sum())
        asked += int(gaps.sum())
        lines += table(
            vocabulary.show(window[shown]),
            vocabulary.show(filled[shown]),
            gaps[shown].tolist(),
            correct[shown].tolist(),
            vocabulary.joint,
        )
    lines.append(f"  {right} of {asked} right ({RIGHT} right, {WRONG} wrong)")
    return "\n".join(lines)


def table(
    original: Sequence[str],
    filled: Sequence[str],
    gaps: Sequence[bool],
    correct: Sequence[bool],
    joint: str,
) -> list[str]:
    """The lines of one sentence, a column for each token."""
    widths = [max(map(len, pair)) for pair in zip(original, filled, strict=True)]
    holes = [GAP * len(token) if gap else token for gap, token in zip(gaps, original, strict=True)]
    marks = [
        (RIGHT if good else WRONG) if gap else "" for gap, good in zip(gaps, correct, strict=True)
    ]
    rows = {"original": original, "masked": holes, "filled": filled, "": marks}
    return [
        f"  {name:<10}" + joint.join(map(str.ljust, tokens, widths)).rstrip()
        for name, tokens in rows.items()
    ] + [""]
