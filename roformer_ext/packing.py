"""Sequences without padding: `Packing` says how tokens lie, and how to get there and back.

The idea: tokens of n sequences stand one after another in a single row [1, T], and `cu_seqlens`
[n + 1] says where each begins and ends. A user may pack by himself; a padded batch is packed by
`drop_padding`, once, before the embedding. What must stay true: whether padding may be dropped is
decided in one read of the mask, and nothing that somebody reads is dropped.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from .masked_loss import IGNORED


class Packing(NamedTuple):
    """n sequences of T tokens in one row."""

    cu_seqlens: Tensor
    """[n + 1], int32: sequence i takes the places cu_seqlens[i] to cu_seqlens[i + 1] of T."""
    lengths: tuple[int, ...] | None
    """Tokens of each sequence; None where they are known to the device only."""
    places: Tensor | None
    """[T], int64: where in the padded batch, B * S long, each token stood; None: never padded."""
    shape: tuple[int, int]
    """(B, S) of the padded batch, or (1, T)."""

    def pack(self, x: Tensor) -> Tensor:
        """[B, S, ...] to [1, T, ...]."""
        if self.places is None:
            return x
        return x.expand(*self.shape, *x.shape[2:]).flatten(0, 1)[self.places].unsqueeze(0)

    def pad(self, x: Tensor) -> Tensor:
        """[1, T, ...] to [B, S, ...], zero on padding."""
        if self.places is None:
            return x
        batch, seq = self.shape
        padded = x.new_zeros(batch * seq, *x.shape[2:]).index_copy(0, self.places, x.squeeze(0))
        return padded.view(batch, seq, *padded.shape[1:])

    def first(self, x: Tensor) -> Tensor:
        """[1, T, ...] to [n, ...]: the first token of each sequence."""
        return x[0, self.cu_seqlens[:-1].long()]

    def last(self, x: Tensor) -> Tensor:
        """[1, T, ...] to [n, ...]: the last token of each sequence."""
        return x[0, self.cu_seqlens[1:].long() - 1]

    def mean(self, x: Tensor) -> Tensor:
        """[1, T, ...] to [n, ...]: the mean over each sequence."""
        lengths = self.cu_seqlens.diff()
        # A half-precision sum of many tokens may overflow where their mean does not.
        exact = torch.promote_types(x.dtype, torch.float32)
        sums = x.new_zeros(len(lengths), *x.shape[2:], dtype=exact)
        sums = sums.index_add(0, self.segments(), x[0].to(exact))
        return (sums / lengths.to(exact).view(-1, *[1] * (x.dim() - 2))).to(x.dtype)

    def segments(self) -> Tensor:
        """[T], the number of each token's sequence."""
        total = self.shape[1] if self.places is None else self.places.shape[0]
        places = torch.arange(total, device=self.cu_seqlens.device)
        return torch.searchsorted(self.cu_seqlens[1:].long(), places, right=True)

    def position_ids(self) -> Tensor:
        """[1, T], the index of each token in its sequence, or in its row before padding fell."""
        if self.places is not None:
            return (self.places % self.shape[1]).unsqueeze(0)
        starts = self.cu_seqlens.long()[self.segments()]
        return (torch.arange(self.shape[1], device=starts.device) - starts).unsqueeze(0)


def packing_of(cu_seqlens: Tensor, shape: tuple[int, int]) -> Packing:
    """A user's own packing of an input [1, T]; ValueError says what does not fit.

    On CUDA, and under a compiler, the values are not looked at.
    """
    if (
        cu_seqlens.dim() != 1
        or len(cu_seqlens) < 2
        or cu_seqlens.dtype not in (torch.int32, torch.int64)
    ):
        raise ValueError(
            "cu_seqlens must be int32 [n + 1], "
            f"got {cu_seqlens.dtype} of shape {list(cu_seqlens.shape)}"
        )
    if shape[0] != 1:
        raise ValueError(f"cu_seqlens needs an input of one row, [1, T], got {list(shape)}")
    lengths = None
    if cu_seqlens.device.type == "cpu" and not is_traced(cu_seqlens):
        bounds = cu_seqlens.tolist()
        lengths = tuple(end - start for start, end in itertools.pairwise(bounds))
        if bounds[0] != 0 or bounds[-1] != shape[1] or min(lengths, default=0) < 1:
            raise ValueError(f"cu_seqlens must rise from 0 to T = {shape[1]}, got {bounds}")
    return Packing(cu_seqlens.to(torch.int32), lengths, None, shape)


def drop_padding(
    mask: Tensor, unpad: bool | None, targets: Tensor | None, reads_first: bool
) -> Packing | None:
    """The packing of a padded batch, or None where it had better stay as it is.

    mask: [B, S], nonzero = token.
    unpad: True drops any padding, and is a ValueError where padding is read; None drops it when
        it is at least a tenth of the positions and nothing on it is read.
    targets: [B, S], read wherever they are not -100.
    reads_first: position 0 of every row is read.
    """
    tokens = mask != 0
    facts = [tokens.sum(1)]
    if reads_first:
        facts.append((~tokens[:, 0]).sum()[None])
    if targets is not None:
        facts.append(((targets != IGNORED) & ~tokens).sum()[None])
    counts = torch.cat(facts).tolist()  # the one read
    lengths, read = counts[: mask.shape[0]], any(counts[mask.shape[0] :])
    total = sum(lengths)
    if unpad and read:
        what = "a label" if targets is not None else "the first token of a sequence"
        raise ValueError(f"unpad must not be True where {what} stands on padding")
    dropped = mask.numel() - total
    if read or total == 0 or dropped == 0 or (not unpad and 10 * dropped < mask.numel()):
        return None
    places = torch.nonzero_static(tokens.flatten(), size=total).squeeze(1)
    bounds = torch.tensor([0, *lengths]).cumsum(0, dtype=torch.int32).to(mask.device)
    return Packing(bounds, tuple(lengths), places, (mask.shape[0], mask.shape[1]))


def is_traced(x: Tensor) -> bool:
    """Whether x has no values to look at: under a compiler, a dispatch mode, or functorch."""
    return (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._functorch.is_functorch_wrapped_tensor(x)
    )
