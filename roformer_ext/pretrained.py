"""`RoFormerPreTrained`: what the encoder and every head have in common.

The idea: a model is a body (`RoFormerModel`, which is its own) and, on a head, a few modules more;
everything here is said of the body once and holds for all of them. What must stay true: a class
adds computation, never another way to load, save, initialise or checkpoint.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn
from typing_extensions import Self

from .config import RoFormerConfig
from .layer import initialise
from .weights import load_model, save_model


class RoFormerPreTrained(nn.Module):
    """A module built from a configuration; new ones are in training mode, with random weights."""

    config: RoFormerConfig

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.config = config

    @classmethod
    def from_pretrained(
        cls,
        directory: str | os.PathLike[str],
        *,
        config: RoFormerConfig | None = None,
        dtype: torch.dtype | None = None,
        new_head: bool = False,
        **changes: Any,
    ) -> Self:
        """The model that a directory holds, in eval mode.

        directory: holds config.json and model.safetensors, shards of it with their index, or
            pytorch_model.bin, written by `save_pretrained` here or in transformers; V1, V2 and Sim.
        config: counts instead of config.json.
        dtype: of the parameters; None keeps that of the file.
        new_head: load the encoder from a directory of any head, and draw this head's weights anew
            unless the file holds all of them in this shape. Without it a missing tensor is an
            error. A bare `RoFormerModel` loads from any head's directory as it is.
        changes: fields of the configuration that count before those of the file, such as
            `num_labels=5`.

        FileNotFoundError names a file that is not there, ValueError what does not fit: the tensor,
        the byte of a damaged file, or the field of the configuration.
        """
        model: Self = load_model(
            cls, directory, config=config, dtype=dtype, new_head=new_head, changes=changes
        )
        return model

    def save_pretrained(
        self, directory: str | os.PathLike[str], *, max_shard_size: int | str = "5GB"
    ) -> None:
        """Write config.json and the weights, for `from_pretrained` here and in transformers.

        directory: made if missing; weights and a config.json in it are replaced at the end of a
            complete save, other files stay.
        max_shard_size: bytes of tensors to a file, or a text like "200MB".

        All devices must call it for a model that is divided among them (FSDP2, tensor parallelism);
        the first one writes whole tensors.
        """
        save_model(self, directory, max_shard_size=max_shard_size)

    def stand_ins(self) -> dict[str, str]:
        """Names that a file may lack where it has another one, each with that other."""
        return {}

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
