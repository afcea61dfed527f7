"""Sizes of a model that starts from nothing, by name."""

from __future__ import annotations

from typing import NamedTuple

from roformer_ext import RoFormerConfig


class Architecture(NamedTuple):
    """The numbers that make one RoFormer larger than another."""

    layers: int
    width: int
    heads: int

    def __str__(self) -> str:
        return f"{self.layers} layers x {self.width}, {self.heads} heads"


# base is that of the paper.
ARCHITECTURES = {
    "tiny": Architecture(2, 128, 4),
    "mini": Architecture(4, 256, 4),
    "small": Architecture(6, 384, 6),
    "base": Architecture(12, 768, 12),
}


def configuration(size: str, vocabulary: int, seq_len: int, dropout: float) -> RoFormerConfig:
    """The configuration of a new model with `vocabulary` tokens, the first of them padding.

    It has one token type: two texts of a row are told apart by the [SEP] between them.
    """
    layers, width, heads = ARCHITECTURES[size]
    return RoFormerConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        max_position_embeddings=seq_len,
        type_vocab_size=1,
        pad_token_id=0,
    )
