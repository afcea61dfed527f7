"""Texts as word pieces, laid out as a checkpoint of RoFormer reads them.

The one idea: a line of the text ends with [SEP] and a window begins with [CLS], so a window looks
like the row that a fine-tuning will show the model: [CLS] A [SEP] B [SEP]. Lines that belong
together, such as the two sentences of a pair, should follow each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from loop import wordpiece
from torch import Tensor

from roformer_ext import RoFormerTokenizer

FILE = "vocab.txt"
SHORTEST_PASSAGE = 6


@dataclass(frozen=True)
class Pieces:
    """A tokenizer, seen as the vocabulary of running text."""

    tokenizer: RoFormerTokenizer

    specials = len(wordpiece.SPECIALS)
    joint = " "
    longest_passage, longest_gap = 20, 1

    @staticmethod
    def of(text: str, size: int) -> Pieces:
        return Pieces(wordpiece.learn(text.splitlines(), size))

    @property
    def mask(self) -> int:
        return self.tokenizer.convert_tokens_to_ids("[MASK]")

    def __len__(self) -> int:
        return len(self.tokenizer)

    def encode(self, text: str) -> Tensor:
        """Ids, int64 [tokens], with the id of [SEP] after each line that holds anything."""
        lines = [line for line in text.splitlines() if line.strip()]
        rows = self.tokenizer(
            lines,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        ids = [token for row in rows for token in (*row, self.tokenizer.sep_token_id)]
        return torch.tensor(ids, dtype=torch.int64)

    def window(self, ids: Tensor) -> Tensor:
        """Windows [..., seq] as the model reads them: the first token gives way to [CLS]."""
        ids = ids.clone()
        ids[..., 0] = self.tokenizer.cls_token_id
        return ids

    def show(self, ids: Tensor) -> list[str]:
        """The pieces, for the terminal."""
        shown: list[str] = self.tokenizer.convert_ids_to_tokens(ids.tolist())
        return shown

    def passages(self, ids: Tensor) -> list[tuple[int, int]]:
        """Where lines that are neither very short nor very long begin and end."""
        ends = (ids == self.tokenizer.sep_token_id).nonzero().flatten().tolist()
        return [
            (first + 1, last)
            for first, last in pairwise(ends)
            if SHORTEST_PASSAGE < last - first <= self.longest_passage
        ]

    def save(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)

    @staticmethod
    def load(folder: Path) -> Pieces:
        return Pieces(RoFormerTokenizer.from_pretrained(folder))
