"""The models of roformer_ext as models of transformers; needs that library, as nothing else does.

The idea: `from roformer_ext import hf` registers the model type "roformer_ext" with the Auto
classes, and `hf.RoFormerForMaskedLM` and the others stand where transformers' own would: in
Trainer, pipelines, `generate` and `from_pretrained`. What must stay true: importing it changes
nothing for the models that transformers has itself.
"""

from __future__ import annotations

import transformers as _transformers

from .config import RoFormerConfig
from .loading import register_conversions as _register_conversions
from .models import (
    RoFormerForCausalLM,
    RoFormerForMaskedLM,
    RoFormerForMultipleChoice,
    RoFormerForQuestionAnswering,
    RoFormerForSequenceClassification,
    RoFormerForTokenClassification,
    RoFormerModel,
)

__all__ = [
    "RoFormerConfig",
    "RoFormerForCausalLM",
    "RoFormerForMaskedLM",
    "RoFormerForMultipleChoice",
    "RoFormerForQuestionAnswering",
    "RoFormerForSequenceClassification",
    "RoFormerForTokenClassification",
    "RoFormerModel",
]

_register_conversions(RoFormerConfig.model_type)
_transformers.AutoConfig.register(RoFormerConfig.model_type, RoFormerConfig, exist_ok=True)
for _auto, _model in (
    (_transformers.AutoModel, RoFormerModel),
    (_transformers.AutoModelForPreTraining, RoFormerForMaskedLM),
    (_transformers.AutoModelForMaskedLM, RoFormerForMaskedLM),
    (_transformers.AutoModelForCausalLM, RoFormerForCausalLM),
    (_transformers.AutoModelForSequenceClassification, RoFormerForSequenceClassification),
    (_transformers.AutoModelForTokenClassification, RoFormerForTokenClassification),
    (_transformers.AutoModelForQuestionAnswering, RoFormerForQuestionAnswering),
    (_transformers.AutoModelForMultipleChoice, RoFormerForMultipleChoice),
):
    _auto.register(RoFormerConfig, _model, exist_ok=True)
_transformers.AutoTokenizer.register(RoFormerConfig, _transformers.RoFormerTokenizer, exist_ok=True)
