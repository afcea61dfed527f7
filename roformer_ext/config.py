"""`RoFormerConfig`: every number and switch that decides what a RoFormer computes.

A plain dataclass. Its fields and defaults are those of transformers' RoFormer and a few of ours
(norm_type, use_bias, rope_parameters, ...), and it reads and writes the same `config.json` without
that library. What must stay true: a value that no model could mean is refused here in one
sentence, and a field that this version does not know is kept and written back.
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Mapping
from typing import Any

from .activations import activation

_CHOICES: dict[str, tuple[str | None, ...]] = {
    "norm_type": ("layer_norm", "rms_norm"),
    "attention": ("softmax", "linear"),
    "rope_type": ("default", "linear"),
    "summary_type": ("last", "first", "mean", "cls_index"),
    "problem_type": (
        None,
        "regression",
        "single_label_classification",
        "multi_label_classification",
    ),
}
_POSITIVE = (
    "vocab_size",
    "embedding_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)
_PROBABILITIES = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "summary_first_dropout",
    "summary_last_dropout",
)
# What transformers' base class writes into every config.json; no RoFormer computes with it.
_BOOKKEEPING = {
    "_name_or_path",
    "architectures",
    "attn_implementation",
    "dtype",
    "gradient_checkpointing",
    "is_encoder_decoder",
    "name_or_path",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "use_bfloat16",
}


@dataclasses.dataclass(kw_only=True)
class RoFormerConfig:
    """Configuration of a RoFormer. Keyword arguments only; an unknown one is a TypeError.

    ValueError names the argument where heads do not divide the hidden size, the head width is odd
    (Eq. 14 rotates pairs), a name is unknown, or a number is out of range. Fields may be changed
    afterwards; a model reads them when it is built.
    """

    vocab_size: int = 50000
    embedding_size: int | None = None
    """Width E of the word and type embeddings; None means hidden_size."""
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 1536
    """Rows of the position table in a checkpoint; no limit on the length of an input."""
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    rotary_value: bool = False
    """Rotate the values as well as the queries and keys."""
    use_cache: bool = True
    is_decoder: bool = False
    add_cross_attention: bool = False
    tie_word_embeddings: bool = True
    chunk_size_feed_forward: int = 0
    """Tokens that the feed-forward sublayer takes at a time; 0 means all."""
    num_labels: int | None = None
    """Classes of a classification head; None means len(id2label), or 2 without it."""
    id2label: dict[int, str] | None = None
    label2id: dict[str, int] | None = None
    problem_type: str | None = None
    summary_type: str = "last"
    summary_use_proj: bool = False
    summary_proj_to_labels: bool = False
    summary_activation: str | None = None
    summary_first_dropout: float = 0.0
    summary_last_dropout: float = 0.0
    norm_type: str = "layer_norm"
    """Or "rms_norm", without gain: x / sqrt(mean(x^2) + layer_norm_eps), as in RoFormer V2."""
    use_bias: bool = True
    rope_theta: float = 10000.0
    """Base of the angles pos * base^(-2i/D), i from 0 (Eq. 15)."""
    rope_parameters: dict[str, Any] | None = None
    """As transformers 5 writes them; `rope_theta` in here counts before the field."""
    prefix_lm: bool = False
    pooler_activation: str | None = None
    """Activation of the pooler; there is a pooler when this is set."""
    attention: str = "softmax"
    extra: dict[str, Any] = dataclasses.field(default_factory=dict, init=False)
    """Fields of a config.json that this version does not know."""

    def __post_init__(self) -> None:
        if self.embedding_size is None:
            self.embedding_size = self.hidden_size
        if self.id2label is not None:
            # JSON has turned the integer keys into strings.
            self.id2label = {int(index): label for index, label in self.id2label.items()}
        self._check_numbers()
        self._check_choices()
        labels = None if self.id2label is None else len(self.id2label)
        if self.num_labels is None:
            self.num_labels = 2 if labels is None else labels
        elif labels is not None and labels != self.num_labels:
            raise ValueError(
                f"num_labels must be the length of id2label, {labels}, got {self.num_labels}"
            )

    @property
    def head_dim(self) -> int:
        """Width D of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def embedding_width(self) -> int:
        """Width E of the embeddings, as an int whatever `embedding_size` was set to."""
        return self.hidden_size if self.embedding_size is None else self.embedding_size

    @property
    def rope_type(self) -> str:
        """How positions are scaled: "default" (not at all) or "linear"."""
        return str((self.rope_parameters or {}).get("rope_type", "default"))

    @property
    def rope_base(self) -> float:
        """The base that angles are computed with."""
        return float((self.rope_parameters or {}).get("rope_theta", self.rope_theta))

    @property
    def rope_factor(self) -> float:
        """What positions are divided by before they become angles."""
        if self.rope_type == "default":
            return 1.0
        return float((self.rope_parameters or {}).get("factor", 1.0))

    @property
    def model_type(self) -> str:
        """ "roformer"; "roformer_ext" where transformers would silently compute something else."""
        ours = (
            self.norm_type != "layer_norm"
            or not self.use_bias
            or self.attention != "softmax"
            or self.prefix_lm
            or self.rope_factor != 1.0
            or self.rope_base != 10000.0
        )
        return "roformer_ext" if ours else "roformer"

    def to_dict(self) -> dict[str, Any]:
        """`model_type`, every field by name, and the unknown fields of the file it came from."""
        fields = dataclasses.asdict(self)
        extra = fields.pop("extra")
        return {"model_type": self.model_type, **fields, **extra}

    def to_json(self) -> str:
        """The text of a `config.json`: `to_dict`, indented, keys sorted, with a final newline."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RoFormerConfig:
        """The configuration of a `config.json`, ours or that of transformers.

        Unknown fields go to `extra`, with one warning that names them; those that transformers'
        base class writes go there silently. ValueError for a `model_type` of another model.
        """
        values = dict(values)
        model_type = values.pop("model_type", "roformer")
        if model_type not in ("roformer", "roformer_ext"):
            raise ValueError(f"model_type must be 'roformer' or 'roformer_ext', got {model_type!r}")
        known = {field.name for field in dataclasses.fields(cls) if field.init}
        extra = {name: values.pop(name) for name in list(values) if name not in known}
        unknown = sorted(extra.keys() - _BOOKKEEPING)
        if unknown:
            names = ", ".join(unknown)
            warnings.warn(f"RoFormerConfig keeps but does not use: {names}", stacklevel=2)
        config = cls(**values)
        config.extra = extra
        return config

    @classmethod
    def from_json(cls, text: str) -> RoFormerConfig:
        """`from_dict` of the text of a `config.json`; ValueError if it is not a JSON object."""
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"text must be a JSON object, got {type(values).__name__}")
        return cls.from_dict(values)

    def _check_numbers(self) -> None:
        for name in _POSITIVE:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
        labels = self.num_labels
        if labels is not None and (not isinstance(labels, int) or labels < 1):
            raise ValueError(f"num_labels must be None or at least 1, got {labels!r}")
        for name in _PROBABILITIES:
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must be between 0 and 1, got {value!r}")
        heads = self.num_attention_heads
        if self.hidden_size % heads:
            raise ValueError(
                f"num_attention_heads must divide hidden_size = {self.hidden_size}, got {heads}"
            )
        if self.head_dim % 2:
            raise ValueError(
                "hidden_size / num_attention_heads must be even, because channels rotate in pairs, "
                f"got {self.hidden_size} / {heads} = {self.head_dim}"
            )
        if self.pad_token_id is not None and not 0 <= self.pad_token_id < self.vocab_size:
            raise ValueError(
                f"pad_token_id must be None or below vocab_size = {self.vocab_size}, "
                f"got {self.pad_token_id}"
            )
        if self.chunk_size_feed_forward < 0:
            raise ValueError(
                f"chunk_size_feed_forward must not be negative, got {self.chunk_size_feed_forward}"
            )
        for name, number in (("rope_theta", self.rope_base), ("factor", self.rope_factor)):
            if not number > 0.0:
                raise ValueError(f"{name} must be positive, got {number!r}")

    def _check_choices(self) -> None:
        activation(self.hidden_act)
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                names = ", ".join(map(repr, allowed))
                raise ValueError(f"{name} must be one of {names}, got {value!r}")
