"""`Encoded`: what the encoder hands to a head.

The idea: a head works on hidden states in whatever layout they were computed, padded or packed, and
brings its own tensors in and its results out by two methods. What must stay true: a head that uses
only these methods is right in either layout.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from .packing import Packing


class Encoded(NamedTuple):
    """Hidden states in whatever layout they were computed, for a head to work on."""

    hidden: Tensor
    """[B, S, C]; [1, T, C] where padding was dropped or the user packed."""
    packing: Packing | None
    """How the T tokens lie; None for [B, S, C]."""
    cache: Any
    hidden_states: tuple[Tensor, ...] | None
    attentions: tuple[Tensor, ...] | None
    cross_attentions: tuple[Tensor, ...] | None

    def laid_out(self, x: Tensor | None) -> Tensor | None:
        """A user's per-token tensor [B, S, ...] in the layout of `hidden`."""
        return x if x is None or self.packing is None else self.packing.pack(x)

    def padded(self, x: Tensor | None) -> Tensor | None:
        """A per-token result in the layout that the user gave, zero on dropped padding."""
        return x if x is None or self.packing is None else self.packing.pad(x)

    def first(self) -> Tensor:
        """[n, C], the first token of every row or packed sequence."""
        return self.hidden[:, 0] if self.packing is None else self.packing.first(self.hidden)

    def last(self) -> Tensor:
        """[n, C], the last token of every row or packed sequence."""
        return self.hidden[:, -1] if self.packing is None else self.packing.last(self.hidden)

    def mean(self) -> Tensor:
        """[n, C], the mean over every row, padding too, or over every packed sequence."""
        return self.hidden.mean(1) if self.packing is None else self.packing.mean(self.hidden)
