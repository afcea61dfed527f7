"""The text of the masked language models: tokens, what is held out, batches and their masks.

The one idea: the batch of a step is a function of the seed and the step alone. So every position
scheme reads the same tokens under the same masks in the same order, and a resumed training goes on
with exactly the batches that the uninterrupted one would have seen.
Held-out tokens are never part of a training batch, and their masks are the same for every seed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mlm import BadSetting

SPECIALS = ("[PAD]", "[UNK]", "[MASK]")
PAD, UNKNOWN, MASK = range(3)
IGNORED = -100
MASKED_SHARE = 0.15
BLOCK = 4096


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
class Vocabulary:
    """One id per byte or character; ids 0 to 2 are padding, unknown and mask.

    Bytes are held as the characters of Latin-1; the symbols are sorted.
    """

    kind: str
    symbols: tuple[str, ...]

    @staticmethod
    def of(kind: str, text: str) -> Vocabulary:
        if kind == "byte":
            return Vocabulary(kind, tuple(chr(byte) for byte in range(256)))
        return Vocabulary(kind, tuple(sorted(set(text))))

    def __len__(self) -> int:
        return len(SPECIALS) + len(self.symbols)

    def encode(self, text: str) -> Tensor:
        """Ids, int64 [tokens]; a byte vocabulary takes its bytes decoded as Latin-1."""
        points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
        known = np.array([ord(symbol) for symbol in self.symbols], dtype=np.uint32)
        places = np.searchsorted(known, points).clip(max=len(known) - 1)
        ids = np.where(known[places] == points, places + len(SPECIALS), UNKNOWN)
        return torch.from_numpy(ids.astype(np.int64))

    def show(self, ids: Tensor) -> str:
        """Exactly one printable character per token, for the terminal."""
        shown = []
        for number in ids.tolist():
            symbol = self.symbols[number - len(SPECIALS)] if number >= len(SPECIALS) else "?"
            if symbol.isspace():
                symbol = " "
            wide = self.kind == "byte" and not symbol.isascii()
            shown.append("?" if wide or not symbol.isprintable() else symbol)
        return "".join(shown)

    def save(self, path: Path) -> None:
        content = {"tokens": self.kind, "specials": SPECIALS, "symbols": self.symbols}
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def load(path: Path) -> Vocabulary:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Vocabulary(content["tokens"], tuple(content["symbols"]))


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
        chosen = torch.rand(ids.shape, generator=random) < MASKED_SHARE
        fate = torch.rand(ids.shape, generator=random)
        any_symbol = torch.randint(len(SPECIALS), len(self.vocabulary), ids.shape, generator=random)
        masked = torch.where(chosen & (fate < 0.8), MASK, ids)
        masked = torch.where(chosen & (fate >= 0.9), any_symbol, masked)
        return masked, torch.where(chosen, ids, IGNORED)


def read(path: Path | None, kind: str, seq_len: int) -> Text:
    """Load the help topics or a file, and hold out every tenth block of it.

    Raises BadSetting when the file cannot be read, is not UTF-8 (characters only), or is too
    short for one window of seq_len tokens on either side.
    """
    if path is None:
        raw, source = help_topics().encode(), "help topics of Python (pydoc_data)"
    else:
        source = str(path)
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise BadSetting(
                f"--text must name a readable file, got {path} ({error.strerror})"
            ) from None
    try:
        text = raw.decode("latin-1" if kind == "byte" else "utf-8")
    except UnicodeDecodeError as error:
        raise BadSetting(
            f"--text must be UTF-8 for --tokens char, got a byte that is not at {error.start} of "
            f"{path} (--tokens byte reads any file)"
        ) from None
    vocabulary = Vocabulary.of(kind, text)
    block = min(BLOCK, len(text) // 10)
    if block < seq_len:
        raise BadSetting(
            f"--text must hold at least {10 * seq_len} tokens for --seq-len {seq_len}, "
            f"got {len(text)} in {source}"
        )
    blocks = vocabulary.encode(text).split(block)
    return Text(
        source,
        vocabulary,
        torch.cat([ids for number, ids in enumerate(blocks) if number % 10 != 9]),
        [ids for number, ids in enumerate(blocks) if number % 10 == 9],
    )
