"""A saved model fills gaps in held-out sentences, printed for a person to judge.

The one idea: the model is read back from the folder that it was saved to, as anybody would use it,
and sees a sentence in its context with single characters and short stretches replaced by [MASK].
Sentences and gaps depend on the text and the seed alone.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mlm.text import MASK, Text, Vocabulary
from roformer_ext import RoFormerConfig, RoFormerForMaskedLM

SENTENCES = 4
LONGEST = 88
SENTENCE = re.compile(r"(?:(?<=[.:] )|(?<=  ))[A-Z](?:[^.:\"*_ ]| (?! )){39,}\.(?= |$)")
PROSE = re.compile(r"[A-Za-z, '’-]")
GAP, RIGHT, WRONG = "_", "+", "x"


@dataclass(frozen=True)
class Sentence:
    """Ids of a window [seq] and the part of it that is shown."""

    window: Tensor
    start: int
    stop: int


def save(model: RoFormerForMaskedLM, vocabulary: Vocabulary, folder: Path) -> None:
    """Write config.json, model.safetensors (tied names once) and vocab.json."""
    folder.mkdir(parents=True, exist_ok=True)
    config = model.config.to_dict() | {"architectures": ["RoFormerForMaskedLM"]}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tensors: dict[str, Tensor] = {}
    storages = set()
    for name, tensor in model.state_dict().items():
        # Only a name that repeats a whole tensor is left out; q, k and v share a storage in parts.
        place = (tensor.data_ptr(), tensor.shape)
        if place not in storages:
            storages.add(place)
            tensors[name] = tensor.detach().cpu().contiguous().clone()
    assert model.roformer.rotary is not None
    cos, sin = model.roformer.rotary.tables(model.config.max_position_embeddings)
    # Our models do not need this table, but transformers misses it.
    tensors["roformer.encoder.embed_positions.weight"] = torch.cat((sin, cos), dim=-1).cpu()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    vocabulary.save(folder / "vocab.json")


def load(folder: Path) -> tuple[RoFormerForMaskedLM, Vocabulary]:
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    model = RoFormerForMaskedLM(RoFormerConfig.from_dict(content))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval(), Vocabulary.load(folder / "vocab.json")


def sentences(text: Text, seq_len: int) -> list[Sentence]:
    """Complete English sentences where the held-out text has enough of them, else stretches."""
    found, plain = [], []
    longest = min(LONGEST, seq_len)
    for block in text.held_out:
        if len(block) < seq_len:
            continue
        plain.append(around(block, 0, longest, seq_len))
        shown = text.vocabulary.show(block)
        for match in SENTENCE.finditer(shown):
            start, stop = match.span()
            letters = len(PROSE.findall(match.group()))
            if stop - start <= longest and letters > 0.95 * (stop - start):
                found.append(around(block, start, stop, seq_len))
    chosen = found if len(found) >= SENTENCES else plain
    places = torch.linspace(0, len(chosen) - 1, min(SENTENCES, len(chosen))).long()
    return [chosen[place] for place in places.tolist()]


def around(block: Tensor, start: int, stop: int, seq_len: int) -> Sentence:
    """The window of seq_len tokens that has the stretch as near its middle as the block allows."""
    first = min(max(0, (start + stop - seq_len) // 2), len(block) - seq_len)
    return Sentence(block[first : first + seq_len], start - first, stop - first)


def choose_gaps(length: int, random: torch.Generator) -> Tensor:
    """Bool [length]: stretches of one to four tokens with four to ten between them."""
    gaps = torch.zeros(length, dtype=torch.bool)
    place = 3
    while place < length - 1:
        size = int(torch.randint(1, 5, (), generator=random))
        gaps[place : place + size] = True
        place += size + int(torch.randint(4, 11, (), generator=random))
    gaps[-1] = False
    return gaps


@torch.no_grad()
def fill(folder: Path, text: Text, seq_len: int, seed: int) -> str:
    """Fill the gaps of a few held-out sentences with the likeliest token each, and mark them."""
    model, vocabulary = load(folder)
    random = torch.Generator().manual_seed(seed)
    lines, right, asked = [], 0, 0
    for sentence in sentences(text, seq_len):
        shown = slice(sentence.start, sentence.stop)
        gaps = torch.zeros(seq_len, dtype=torch.bool)
        gaps[shown] = choose_gaps(sentence.stop - sentence.start, random)
        masked = sentence.window.masked_fill(gaps, MASK)
        likeliest = model(masked[None]).logits[0].argmax(-1)
        filled = torch.where(gaps, likeliest, sentence.window)
        correct = filled == sentence.window
        right += int((correct & gaps).sum())
        asked += int(gaps.sum())
        original = vocabulary.show(sentence.window[shown])
        hidden = gaps[shown].tolist()
        holes = "".join(GAP if gap else c for gap, c in zip(hidden, original, strict=True))
        marks = "".join(
            (RIGHT if good else WRONG) if gap else " "
            for gap, good in zip(hidden, correct[shown].tolist(), strict=True)
        )
        lines += [
            f"  original  {original}",
            f"  masked    {holes}",
            f"  filled    {vocabulary.show(filled[shown])}",
            f"            {marks.rstrip()}",
            "",
        ]
    lines.append(f"  {right} of {asked} right ({RIGHT} right, {WRONG} wrong)")
    return "\n".join(lines)
