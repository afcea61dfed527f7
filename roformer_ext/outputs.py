"""What the models return: dataclasses that also unpack as tuples.

A field that was not asked for is None and the tuple leaves it out, so `loss, logits = model(...)`
and `model(...).logits` both work. What must stay true: field names are those of transformers, and
each class is registered with torch's pytrees, so that export and wrappers find the tensors inside.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


@dataclasses.dataclass
class ModelOutput:
    """What outputs share: the fields that are not None, by position, by name, by iteration."""

    def to_tuple(self) -> tuple[Any, ...]:
        """The fields that are not None, in the order of their declaration."""
        values = (getattr(self, field.name) for field in dataclasses.fields(self))
        return tuple(value for value in values if value is not None)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.to_tuple())

    def __len__(self) -> int:
        return len(self.to_tuple())

    def __getitem__(self, key: int | slice | str) -> Any:
        if not isinstance(key, str):
            return self.to_tuple()[key]
        value = getattr(self, key, None) if key in self.__dict__ else None
        if value is None:
            raise KeyError(key)
        return value


@dataclasses.dataclass
class EncoderOutput(ModelOutput):
    """Of `RoFormerModel`: B sequences of S tokens, width C, H heads, L layers."""

    last_hidden_state: Tensor
    """[B, S, C]."""
    pooler_output: Tensor | None = None
    """[B, C], of a model with a pooler."""
    past_key_values: Any = None
    """The cache, of a decoder that was asked for one; also under the name `cache`."""
    hidden_states: tuple[Tensor, ...] | None = None
    """L + 1 tensors [B, S, C]: the embeddings, then the output of each layer."""
    attentions: tuple[Tensor, ...] | None = None
    """L tensors [B, H, S, K]: the weights of each layer, after softmax and dropout."""
    cross_attentions: tuple[Tensor, ...] | None = None
    """Likewise of cross-attention, K the tokens of the encoder."""

    @property
    def cache(self) -> Any:
        """`past_key_values`."""
        return self.past_key_values


@dataclasses.dataclass
class MaskedLMOutput(ModelOutput):
    """Of `RoFormerForMaskedLM`: V is the size of the vocabulary."""

    loss: Tensor | None = None
    """Scalar, at least float32; present when labels were given."""
    logits: Tensor | None = None
    """[B, S, V]; absent in training with labels unless `output_logits=True`."""
    hidden_states: tuple[Tensor, ...] | None = None
    """As in `EncoderOutput`."""
    attentions: tuple[Tensor, ...] | None = None
    """As in `EncoderOutput`."""


@dataclasses.dataclass
class CausalLMOutput(ModelOutput):
    """Of `RoFormerForCausalLM`: V is the size of the vocabulary."""

    loss: Tensor | None = None
    """Scalar, at least float32; present when labels were given."""
    logits: Tensor | None = None
    """[B, S, V]; absent in training with labels unless `output_logits=True`."""
    past_key_values: Any = None
    """As in `EncoderOutput`."""
    hidden_states: tuple[Tensor, ...] | None = None
    """As in `EncoderOutput`."""
    attentions: tuple[Tensor, ...] | None = None
    """As in `EncoderOutput`."""
    cross_attentions: tuple[Tensor, ...] | None = None
    """As in `EncoderOutput`."""

    @property
    def cache(self) -> Any:
        """`past_key_values`."""
        return self.past_key_values


@dataclasses.dataclass
class SequenceClassifierOutput(ModelOutput):
    """Of `RoFormerForSequenceClassification`."""

    loss: Tensor | None = None
    """Scalar, at least float32; present when labels were given."""
    logits: Tensor | None = None
    """[B, num_labels]."""
    hidden_states: tuple[Tensor, ...] | None = None
    """As in `EncoderOutput`."""
    attentions: tuple[Tensor, ...] | None = None
    """As in `EncoderOutput`."""


@dataclasses.dataclass
class TokenClassifierOutput(ModelOutput):
    """Of `RoFormerForTokenClassification`."""

    loss: Tensor | None = None
    """Scalar, at least float32; present when labels were given."""
    logits: Tensor | None = None
    """[B, S, num_labels]."""
    hidden_states: tuple[Tensor, ...] | None = None
    """As in `EncoderOutput`."""
    attentions: tuple[Tensor, ...] | None = None
    """As in `EncoderOutput`."""


@dataclasses.dataclass
class QuestionAnsweringModelOutput(ModelOutput):
    """Of `RoFormerForQuestionAnswering`."""

    loss: Tensor | None = None
    """Scalar, at least float32; present when positions were given."""
    start_logits: Tensor | None = None
    """[B, S]: is this the first token of the answer?"""
    end_logits: Tensor | None = None
    """[B, S]: is this the last?"""
    hidden_states: tuple[Tensor, ...] | None = None
    """As in `EncoderOutput`."""
    attentions: tuple[Tensor, ...] | None = None
    """As in `EncoderOutput`."""


@dataclasses.dataclass
class MultipleChoiceModelOutput(ModelOutput):
    """Of `RoFormerForMultipleChoice`: N choices."""

    loss: Tensor | None = None
    """Scalar, at least float32; present when labels were given."""
    logits: Tensor | None = None
    """[B, N]."""
    hidden_states: tuple[Tensor, ...] | None = None
    """As in `EncoderOutput`."""
    attentions: tuple[Tensor, ...] | None = None
    """As in `EncoderOutput`."""


for _output in (
    EncoderOutput,
    MaskedLMOutput,
    CausalLMOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
    QuestionAnsweringModelOutput,
    MultipleChoiceModelOutput,
):
    torch.export.register_dataclass(
        _output, serialized_type_name=f"{_output.__module__}.{_output.__qualname__}"
    )
