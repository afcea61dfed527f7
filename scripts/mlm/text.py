"""The text of the masked language models: tokens, what is held out, batches and their masks.

The one idea: the batch of a step is a function of the seed and the step alone. So every position
scheme reads the same tokens under the same masks in the same order, and a resumed training goes on
with exactly the batches that the uninterrupted one would have seen.
Held-out tokens are never part of a training batch, and their masks are the same for every seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from loop.command import BadSetting
from torch import Tensor

from mlm.characters import Characters
from mlm.pieces import Pieces

# What a token is, and what several of them are called.
KINDS = {"char": "characters", "byte": "bytes", "wordpiece": "word pieces"}
IGNORED = -100
MASKED_SHARE = 0.15
BLOCK = 4096


class Vocabulary(Protocol):
    """What is asked of tokens, whatever they are; ids below `specials` are no part of a text."""

    @property
    def mask(self) -> int: ...
    @property
    def specials(self) -> int: ...
    @property
    def joint(self) -> str:
        """What stands between two tokens on a terminal."""

    @property
    def longest_passage(self) -> int: ...
    @property
    def longest_gap(self) -> int: ...
    def __len__(self) -> int: ...
    def encode(self, text: str) -> Tensor: ...
    def window(self, ids: Tensor) -> Tensor: ...
    def show(self, ids: Tensor) -> list[str]: ...
    def passages(self, ids: Tensor) -> list[tuple[int, int]]: ...
    def save(self, folder: Path) -> None: ...


def load_vocabulary(folder: Path) -> Vocabulary:
    """The vocabulary that was saved in a folder."""
    from mlm import pieces

    return (Pieces if (folder / pieces.FILE).exists() else Characters).load(folder)


def help_topics() -> str:
    """The help texts of the interpreter, sorted by topic, each paragraph once.

    Topics quote each other at length; without the second rule most of the held-out text would
    have been read in training.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise BadSetting(
            "--text must name a file here, because this Python lacks its help topics (pydoc_data)"
        ) from None
    paragraphs: dict[str, str] = {}
    for name in sorted(topics):
        for paragraph in topics[name].split("\n\n"):
            paragraphs.setdefault(" ".join(paragraph.split()), paragraph.strip("\n"))
    return "\n\n".join(paragraph for paragraph in paragraphs.values() if paragraph)


@dataclass(frozen=True)
class Text:
    """A text cut into a training part and held-out blocks, as ids (int64)."""

    source: str
    vocabulary: Vocabulary
    train: Tensor
    held_out: list[Tensor]

    def batch(self, seed: int, step: int, batch: int, seq_len: int) -> tuple[Tensor, Tensor]:
        """Masked ids and labels of one step, both int64 [batch, seq_len]."""
        random = torch.Generator().manual_seed(seed * 1_000_003 + step)
        starts = torch.randint(len(self.train) - seq_len + 1, (batch, 1), generator=random)
        return self._mask(self.train[starts + torch.arange(seq_len)], random)

    def validation(self, windows: int, seq_len: int) -> tuple[Tensor, Tensor]:
        """The same masked windows, spread over the held-out text, for every seed and scheme."""
        held_out = torch.cat(self.held_out)
        rows = held_out[: len(held_out) // seq_len * seq_len].view(-1, seq_len)
        chosen = torch.linspace(0, len(rows) - 1, min(windows, len(rows))).long()
        return self._mask(rows[chosen], torch.Generator().manual_seed(0))

    def _mask(self, ids: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """BERT's rule: of 15 % chosen tokens 80 % become [MASK], 10 % any symbol, 10 % stay."""
        ids, specials = self.vocabulary.window(ids), self.vocabulary.specials
        chosen = torch.rand(ids.shape, generator=random) < MASKED_SHARE
        chosen &= ids >= specials
        fate = torch.rand(ids.shape, generator=random)
        any_symbol = torch.randint(specials, len(self.vocabulary), ids.shape, generator=random)
        masked = torch.where(chosen & (fate < 0.8), self.vocabulary.mask, ids)
        masked = torch.where(chosen & (fate >= 0.9), any_symbol, masked)
        return masked, torch.where(chosen, ids, IGNORED)


def read(
    paths: Sequence[Path],
    kind: str,
    vocab_size: int,
    seq_len: int,
    known: Vocabulary | None = None,
) -> Text:
    """Load the help topics or some files, and hold out every tenth block of them.

    known: the vocabulary of a training that is taken up again; None makes one of this text.

    Raises BadSetting when a file cannot be read, is not UTF-8 (bytes may be anything), or all are
    too short for one window of seq_len tokens on either side.
    """
    if paths:
        source = ", ".join(path.name for path in paths)
        text = "\n".join(_read_file(path, kind) for path in paths)
    else:
        source = "help topics of Python (pydoc_data)"
        text = help_topics()
        if kind == "byte":
            text = text.encode().decode("latin-1")
    vocabulary = known or _vocabulary(text, kind, vocab_size)
    ids = vocabulary.encode(text)
    block = min(BLOCK, len(ids) // 10)
    if block < seq_len:
        raise BadSetting(
            f"--text must hold at least {10 * seq_len} tokens for --seq-len {seq_len}, "
            f"got {len(ids)} in {source}"
        )
    blocks = ids.split(block)
    return Text(
        source,
        vocabulary,
        torch.cat([ids for number, ids in enumerate(blocks) if number % 10 != 9]),
        [ids for number, ids in enumerate(blocks) if number % 10 == 9],
    )


def _vocabulary(text: str, kind: str, size: int) -> Vocabulary:
    return Pieces.of(text, size) if kind == "wordpiece" else Characters.of(kind, text)


def _read_file(path: Path, kind: str) -> str:
    try:
        return path.read_bytes().decode("latin-1" if kind == "byte" else "utf-8")
    except OSError as error:
        raise BadSetting(
            f"--text must name a readable file, got {path} ({error.strerror})"
        ) from None
    except UnicodeDecodeError as error:
        raise BadSetting(
            f"--text must be UTF-8 for --tokens {kind}, got a byte that is not at {error.start} of "
            f"{path} (--tokens byte reads any file)"
        ) from None
