"""Rotary position embedding as one operator, and a RoFormer that trains with it."""

from ._library import build_info, cmake_prefix_path
from .causal_lm import RoFormerForCausalLM
from .collate import PackingCollator, TokenBudgetSampler
from .config import RoFormerConfig
from .masked_lm import RoFormerForMaskedLM
from .model import RoFormerModel
from .ops import rope, rope_, rope_full_width
from .reference import decay_curve
from .rotary import RotaryEmbedding
from .tokenizer import RoFormerTokenizer

__version__: str = build_info()["version"]

__all__ = [
    "PackingCollator",
    "RoFormerConfig",
    "RoFormerForCausalLM",
    "RoFormerForMaskedLM",
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
]
