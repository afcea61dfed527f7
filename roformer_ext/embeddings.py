"""Both ends of the encoder: word and type embeddings below, and the pooler of RoFormer-Sim above.

The idea: what is in a checkpoint beside the layers. What must stay true: positions are no part of
the embeddings, unless a script asks for a `position_term`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .activations import activation
from .config import RoFormerConfig
from .layer import norm
from .sharding import local


class RoFormerEmbeddings(nn.Module):
    """Norm(word + type), with dropout.

    `position_term`, None here, may be set to a module that maps position ids ([S] or [B, S]) to a
    term [..., S, E], added before the norm: learned or sinusoidal positions (Eq. 3 and 4).
    """

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        width = config.embedding_width
        self.word_embeddings = nn.Embedding(config.vocab_size, width, config.pad_token_id)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.position_term: nn.Module | None = None
        self.LayerNorm = norm(width, config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        input_ids: Tensor | None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Tensor:
        """Embed ids [B, S], or take word embeddings [B, S, E]; tokens without a type are type 0."""
        words = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        if token_type_ids is None:
            term = local(self.token_type_embeddings.weight)[0]
        else:
            term = self.token_type_embeddings(token_type_ids)
        if self.position_term is not None:
            if position_ids is None:
                position_ids = torch.arange(words.shape[1], device=words.device)
            term = term + self.position_term(position_ids)
        result: Tensor = self.dropout(self.LayerNorm(words + term))
        return result


class RoFormerPooler(nn.Module):
    """activation(W x) of the first token, as RoFormer-Sim has it."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, bias=config.use_bias)
        self.activation = activation(config.pooler_activation or "linear")

    def forward(self, first: Tensor) -> Tensor:
        """[B, C] to [B, C]."""
        return self.activation(self.dense(first))
