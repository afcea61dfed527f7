"""Rotary position embedding as one operator, and a RoFormer that trains with it."""

from ._library import build_info, cmake_prefix_path
from .config import RoFormerConfig
from .heads import RoFormerForMaskedLM
from .model import RoFormerModel
from .ops import rope, rope_, rope_full_width
from .reference import decay_curve
from .rotary import RotaryEmbedding

__version__: str = build_info()["version"]

__all__ = [
    "RoFormerConfig",
    "RoFormerForMaskedLM",
    "RoFormerModel",
    "RotaryEmbedding",
    "build_info",
    "cmake_prefix_path",
    "decay_curve",
    "rope",
    "rope_",
    "rope_full_width",
]
