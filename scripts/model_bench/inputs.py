"""The batch of a case: ids, a mask where rows differ in length, labels for masked positions.

The one idea: everybody gets the same tensors. What must stay true: a full batch goes without a
mask, which is the form in which the reference has least to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model_bench.cases import Case


@dataclass(frozen=True)
class Inputs:
    """ids and labels are [B, S]; mask is [B, S] or None; hidden is [B, S, C], what a head gets."""

    ids: Tensor
    mask: Tensor | None
    labels: Tensor
    hidden: Tensor

    @property
    def arguments(self) -> dict[str, Any]:
        """What a body takes."""
        return {"input_ids": self.ids, "attention_mask": self.mask}

    def tokens_of(self, x: Tensor) -> Tensor:
        """[B, S, C] to [tokens, C], without padding."""
        return x.flatten(0, 1) if self.mask is None else x[self.mask.bool()]


def make(case: Case) -> Inputs:
    """Tensors of a fixed seed; exactly `case.labelled` positions carry a label."""
    generator = torch.Generator().manual_seed(20)
    shape = (case.batch, case.length)
    # From 4 on: every rival has its padding and its marks below.
    ids = torch.randint(4, case.size.vocab, shape, generator=generator)
    real = torch.arange(case.length) < torch.tensor(case.lengths)[:, None]
    places = real.flatten().nonzero().squeeze(1)
    chosen = places[torch.randperm(case.tokens, generator=generator)[: case.labelled]]
    labels = torch.full((case.batch * case.length,), -100)
    labels[chosen] = ids.flatten()[chosen]
    hidden = torch.randn(*shape, case.size.hidden, generator=generator)
    mask = None if case.fill == 1 else real.long()
    return Inputs(ids.masked_fill(~real, 0), mask, labels.view(shape), hidden)
