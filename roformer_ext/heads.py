"""`RoFormerWithHead`: the encoder under the name that checkpoints give it, for a head to stand on.

The idea: a head is a module that calls `encode` of the encoder, says what it will read, and works
on whatever layout comes back. What must stay true: the arguments that every head hands on are
named once, in `EncoderOptions`, and a head's parameters start where `initialise` says.
"""

from __future__ import annotations

from typing import Any, TypedDict

from torch import Tensor

from .config import RoFormerConfig
from .encoded import Encoded
from .layer import initialise
from .model import RoFormerModel
from .pretrained import RoFormerPreTrained


class EncoderOptions(TypedDict, total=False):
    """Keyword arguments of every head's `forward`; their contract is `RoFormerModel.forward`'s."""

    cu_seqlens: Tensor | None
    unpad: bool | None
    output_attentions: bool
    output_hidden_states: bool


class DecoderOptions(EncoderOptions, total=False):
    """Those of a head that may be a decoder."""

    encoder_hidden_states: Tensor | None
    encoder_attention_mask: Tensor | None
    past_key_values: Any
    cache: Any
    use_cache: bool | None


class RoFormerWithHead(RoFormerPreTrained):
    """Base of the heads: builds `roformer`.

    A subclass adds its modules in `__init__` and then calls `initialise_head`.
    """

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__(config)
        self.roformer = RoFormerModel(config)

    def encode_once(self, *inputs: Tensor | None, **options: Any) -> Encoded:
        """`RoFormerModel.encode` for a head that reads its input once, so that a cache is no use.

        ValueError with `use_cache=True`.
        """
        if options.pop("use_cache", None):
            raise ValueError(f"use_cache must be False for {type(self).__name__}, got True")
        encoded: Encoded = self.roformer.encode(*inputs, **options, use_cache=False)
        return encoded

    def initialise_head(self) -> None:
        """Draw the weights of everything but the encoder."""
        for child in self.children():
            if child is not self.roformer:
                child.apply(lambda module: initialise(module, self.config.initializer_range))

    def reset_parameters(self) -> None:
        """Draw all weights anew, with deviation `initializer_range`; see `layer.initialise`."""
        self.initialise_head()
        self.roformer.reset_parameters()
