"""Rotary position embedding as one operator, and a RoFormer that trains with it."""

from ._library import build_info, cmake_prefix_path
from .causal_lm import RoFormerForCausalLM
from .collate import PackingCollator, TokenBudgetSampler
from .compile_mode import set_compile_mode
from .config import RoFormerConfig
from .masked_lm import RoFormerForMaskedLM
from .model import RoFormerModel
from .multiple_choice import RoFormerForMultipleChoice
from .ops import rope, rope_, rope_full_width
from .question_answering import RoFormerForQuestionAnswering
from .reference import decay_curve
from .rotary import RotaryEmbedding
from .sequence_classification import RoFormerForSequenceClassification
from .token_classification import RoFormerForTokenClassification
from .tokenizer import RoFormerTokenizer

__version__: str = build_info()["version"]

__all__ = [
    "PackingCollator",
    "RoFormerConfig",
    "RoFormerForCausalLM",
    "RoFormerForMaskedLM",
    "RoFormerForMultipleChoice",
    "RoFormerForQuestionAnswering",
    "RoFormerForSequenceClassification",
    "RoFormerForTokenClassification",
    "RoFormerModel",
    "RoFormerTokenizer",
    "RotaryEmbedding",
    "TokenBudgetSampler",
    "build_info",
    "cmake_prefix_path",
    "decay_curve",
    "rope",
    "rope_",
    "rope_full_width",
    "set_compile_mode",
]
