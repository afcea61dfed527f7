"""Four ways to tell the model where a token stands; everything else about it stays equal.

rotary      the model as it is: queries and keys are turned by their positions (paper Eq. 14)
learned     a trained vector per position joins the embedding, as in BERT (Eq. 3)
sinusoidal  the fixed vectors of Eq. 4 join the embedding
none        nothing at all: the model sees its window as a bag of tokens

Every scheme starts from the same weights: the model is built from the seed first, and what a scheme
adds is drawn by a generator of its own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from roformer_ext import RoFormerConfig, RoFormerForMaskedLM

SCHEMES = ("rotary", "learned", "sinusoidal", "none")


def build(scheme: str, config: RoFormerConfig, seq_len: int, seed: int) -> RoFormerForMaskedLM:
    """A new model in float32 on the CPU; the added schemes know positions below seq_len only."""
    torch.manual_seed(seed)
    model = RoFormerForMaskedLM(config)
    if scheme != "rotary":
        model.roformer.rotary = None
    if scheme in ("learned", "sinusoidal"):
        width, deviation = config.embedding_width, config.initializer_range
        if scheme == "learned":
            random = torch.Generator().manual_seed(seed)
            table = torch.empty(seq_len, width).normal_(std=deviation, generator=random)
        else:
            # Words start with this deviation, and bare sinusoids would be 35 times as loud.
            table = sinusoids(seq_len, width) * math.sqrt(2.0) * deviation
        model.roformer.embeddings.position_term = nn.Embedding.from_pretrained(
            table, freeze=scheme == "sinusoidal"
        )
    return model


def sinusoids(seq_len: int, width: int) -> Tensor:
    """Eq. 4, float32 [seq_len, width]: sines in the even columns, cosines in the odd ones."""
    positions = torch.arange(seq_len, dtype=torch.float64)[:, None]
    angles = positions * 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1).float()
