"""Texts as bytes or as characters: nothing to learn and nothing unknown, but long windows.

The one idea: a symbol is a number in a sorted list. What must stay true: exactly one printable
character is shown for every token, so that columns on a terminal stay aligned.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SPECIALS = ("[PAD]", "[UNK]", "[MASK]")
UNKNOWN, MASK = 1, 2
FILE = "vocab.json"
SENTENCE = re.compile(r"(?:(?<=[.:] )|(?<=  ))[A-Z](?:[^.:\"*_ ]| (?! )){39,}\.(?= |$)")
PROSE = re.compile(r"[A-Za-z, '’-]")


@dataclass(frozen=True)
class Characters:
    """One id per byte or character; ids 0 to 2 are padding, unknown and mask.

    Bytes are held as the characters of Latin-1; the symbols are sorted.
    """

    kind: str
    symbols: tuple[str, ...]

    mask, specials = MASK, len(SPECIALS)
    joint = ""
    longest_passage, longest_gap = 88, 4

    @staticmethod
    def of(kind: str, text: str) -> Characters:
        if kind == "byte":
            return Characters(kind, tuple(chr(byte) for byte in range(256)))
        return Characters(kind, tuple(sorted(set(text))))

    def __len__(self) -> int:
        return len(SPECIALS) + len(self.symbols)

    def encode(self, text: str) -> Tensor:
        """Ids, int64 [tokens]; a byte vocabulary takes its bytes decoded as Latin-1."""
        points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
        known = np.array([ord(symbol) for symbol in self.symbols], dtype=np.uint32)
        places = np.searchsorted(known, points).clip(max=len(known) - 1)
        ids = np.where(known[places] == points, places + len(SPECIALS), UNKNOWN)
        return torch.from_numpy(ids.astype(np.int64))

    def window(self, ids: Tensor) -> Tensor:
        """Windows as the model reads them: as they are."""
        return ids

    def show(self, ids: Tensor) -> list[str]:
        """Exactly one printable character per token, for the terminal."""
        shown = []
        for number in ids.tolist():
            symbol = self.symbols[number - len(SPECIALS)] if number >= len(SPECIALS) else "?"
            if symbol.isspace():
                symbol = " "
            wide = self.kind == "byte" and not symbol.isascii()
            shown.append("?" if wide or not symbol.isprintable() else symbol)
        return shown

    def passages(self, ids: Tensor) -> list[tuple[int, int]]:
        """Where complete English sentences begin and end."""
        found = []
        for match in SENTENCE.finditer("".join(self.show(ids))):
            start, stop = match.span()
            if len(PROSE.findall(match.group())) > 0.95 * (stop - start):
                found.append((start, stop))
        return found

    def save(self, folder: Path) -> None:
        content = {"tokens": self.kind, "specials": SPECIALS, "symbols": self.symbols}
        text = json.dumps(content, indent=1) + "\n"
        (folder / FILE).write_text(text, encoding="utf-8")

    @staticmethod
    def load(folder: Path) -> Characters:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return Characters(content["tokens"], tuple(content["symbols"]))
