"""`hf.RoFormerConfig`: a configuration of ours that transformers can load, save and register.

The idea: the fields and what they may be stand once, in `roformer_ext.RoFormerConfig`; this class
takes them over by name and has the life of a `PreTrainedConfig` around them. What must stay true:
a model of ours reads from it what it reads from its own configuration, and what that refuses is
refused here.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from transformers import GenerationConfig, PreTrainedConfig

from .. import config as core

_FIELDS = {field.name: field for field in dataclasses.fields(core.RoFormerConfig) if field.init}
# The base class keeps these two as one.
_LABELS = ("num_labels", "id2label")
_OF_THE_BASE = {field.name for field in dataclasses.fields(PreTrainedConfig)} | {
    "attn_implementation",
    "experts_implementation",
    "name_or_path",
    "output_attentions",
    "rope_scaling",
    "torch_dtype",
}
# Written into older files by the base class itself; it moves them to a file of their own.
_OF_GENERATION = set(GenerationConfig().to_dict())


def _belongs_to_base(name: str) -> bool:
    known = name in _OF_THE_BASE or name in _OF_GENERATION or name.startswith("_")
    return known and name not in _FIELDS


class RoFormerConfig(PreTrainedConfig):  # type: ignore[misc, unused-ignore]
    """`roformer_ext.RoFormerConfig` as a `PreTrainedConfig` of model type "roformer_ext".

    Keyword arguments are the fields of both; one that neither knows is kept, with a warning.
    ValueError as in `roformer_ext.RoFormerConfig`.
    """

    model_type = "roformer_ext"
    keys_to_ignore_at_inference = ["cache", "past_key_values"]  # noqa: RUF012

    head_dim = core.RoFormerConfig.head_dim
    embedding_width = core.RoFormerConfig.embedding_width
    rope_type = core.RoFormerConfig.rope_type
    rope_base = core.RoFormerConfig.rope_base
    rope_factor = core.RoFormerConfig.rope_factor

    def __init__(self, **fields: Any) -> None:
        if fields.get("id2label") is not None:
            # The base class lets the labels win over their number, which callers may override.
            fields.pop("num_labels", None)
        if isinstance(fields.get("rope_parameters"), dict):
            fields["rope_parameters"] = dict(fields["rope_parameters"])
        rest = {name: fields.pop(name) for name in list(fields) if _belongs_to_base(name)}
        own = core.RoFormerConfig.from_dict(fields)
        rest |= own.extra
        for name in _FIELDS:
            value = getattr(own, name)
            if name in _LABELS:
                if fields.get(name) is not None:
                    rest[name] = value
            elif name in _OF_THE_BASE:
                rest[name] = value
            else:
                setattr(self, name, value)
        super().__init__(**rest)

    @classmethod
    def of(cls, config: Any) -> RoFormerConfig:
        """A configuration of transformers' RoFormer, or ours without that library, as one of these.

        One of these is returned as it is, after its fields have been checked again.
        """
        if isinstance(config, cls):
            core.RoFormerConfig(
                **{name: getattr(config, name) for name in _FIELDS if name not in _LABELS}
            )
            return config
        if not isinstance(config, (PreTrainedConfig, core.RoFormerConfig)):
            raise TypeError(
                "config must be a RoFormerConfig of roformer_ext, roformer_ext.hf or transformers, "
                f"got {type(config).__name__}"
            )
        if config.model_type not in ("roformer", "roformer_ext"):
            raise ValueError(
                f"config must be that of a RoFormer, got model_type {config.model_type!r}"
            )
        fields = config.to_dict()
        fields.pop("transformers_version", None)
        if isinstance(config, PreTrainedConfig):
            fields["name_or_path"] = config.name_or_path
        return cls(**fields)

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: Any, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """As in the base class; what a file says of a "roformer" is said of one of ours."""
        fields, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if fields.get("model_type", "roformer") == "roformer":
            fields["model_type"] = cls.model_type
        return fields, kwargs

    @property
    def _attn_implementation(self) -> str:
        """Attention is ours, whatever is asked for, and knows its weights as "eager" does."""
        return "eager"

    @_attn_implementation.setter
    def _attn_implementation(self, value: Any) -> None:
        pass

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PreTrainedConfig) and self.__dict__ == other.__dict__
