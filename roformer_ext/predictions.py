"""From hidden states to scores over the vocabulary: the modules under `cls` in a checkpoint.

The idea: a transform to the width of the embeddings, then a decoder, which is the embedding matrix
again where weights are tied. What must stay true: the names are those of the checkpoints.
"""

from __future__ import annotations

from torch import Tensor, nn

from .activations import activation
from .config import RoFormerConfig
from .layer import norm


class RoFormerPredictionTransform(nn.Module):
    """Norm(activation(W x)), from the hidden width to that of the embeddings."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        width = config.embedding_width
        self.dense = nn.Linear(config.hidden_size, width, bias=config.use_bias)
        self.activation = activation(config.hidden_act)
        self.LayerNorm = norm(width, config)

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., C] to [..., E]."""
        result: Tensor = self.LayerNorm(self.activation(self.dense(hidden)))
        return result


class RoFormerPredictionProjection(nn.Module):
    """W x, from the hidden width to that of the embeddings, where V2 has two widths."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        width = config.embedding_width
        self.dense = nn.Linear(config.hidden_size, width, bias=config.use_bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., C] to [..., E]."""
        result: Tensor = self.dense(hidden)
        return result


class RoFormerPredictions(nn.Module):
    """Transform, then decoder; with "rms_norm" the decoder alone, as RoFormer V2 has it."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.transform: nn.Module = nn.Identity()
        if config.norm_type == "layer_norm":
            self.transform = RoFormerPredictionTransform(config)
        elif config.embedding_width != config.hidden_size:
            self.transform = RoFormerPredictionProjection(config)
        self.decoder = nn.Linear(config.embedding_width, config.vocab_size, bias=config.use_bias)
        # Checkpoints carry the decoder's bias under a second name.
        self.register_parameter("bias", self.decoder.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., C] to logits [..., V]."""
        logits: Tensor = self.decoder(self.transform(hidden))
        return logits


class RoFormerLanguageModelHead(nn.Module):
    """Holds the predictions under the name that checkpoints give them."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.predictions = RoFormerPredictions(config)
