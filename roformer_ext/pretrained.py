"""`RoFormerPreTrained`: what the encoder and every head have in common.

The idea: a model is a body (`RoFormerModel`, which is its own) and, on a head, a few modules more;
everything here is said of the body once and holds for all of them. What must stay true: a class
adds computation, never another way to load, save, initialise or checkpoint.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from .config import RoFormerConfig
from .layer import initialise


class RoFormerPreTrained(nn.Module):
    """A module built from a configuration; new ones are in training mode, with random weights."""

    config: RoFormerConfig

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.config = config

    @property
    def body(self) -> Any:
        """The encoder: `roformer` on a head."""
        return self.roformer

    def reset_parameters(self) -> None:
        """Draw all weights anew, with deviation `initializer_range`; see `layer.initialise`."""
        self.apply(lambda module: initialise(module, self.config.initializer_range))

    def get_input_embeddings(self) -> nn.Module:
        """The word embeddings."""
        embeddings: nn.Module = self.body.embeddings.word_embeddings
        return embeddings

    def gradient_checkpointing_enable(self) -> None:
        """In training keep only the input of each layer, and compute the rest anew in backward."""
        self.body.gradient_checkpointing = True

    def gradient_checkpointing_disable(self) -> None:
        """Keep every activation again."""
        self.body.gradient_checkpointing = False
