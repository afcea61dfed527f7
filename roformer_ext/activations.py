"""The activation functions that `hidden_act` may name.

One table from a name to a function of one tensor. What must stay true: the names are those of
transformers' `ACT2FN`, and each computes what it computes there, so that a configuration written
there is understood here.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Activation = Callable[[Tensor], Tensor]


def gelu_tanh(x: Tensor) -> Tensor:
    """0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), an approximation (arXiv 1606.08415)."""
    return F.gelu(x, approximate="tanh")


def gelu_clipped(x: Tensor) -> Tensor:
    """The exact gelu, limited to [-10, 10] (arXiv 2004.09602, for quantization)."""
    return F.gelu(x).clamp(-10.0, 10.0)


def quick_gelu(x: Tensor) -> Tensor:
    """x sigmoid(1.702 x)."""
    return x * torch.sigmoid(1.702 * x)


def laplace(x: Tensor, mean: float = 0.707107, deviation: float = 0.282095) -> Tensor:
    """The cumulative Laplace attention function of Mega (arXiv 2209.10655), Eq. 14."""
    return 0.5 * (1.0 + torch.erf((x - mean) / (deviation * math.sqrt(2.0))))


def relu_squared(x: Tensor) -> Tensor:
    """max(x, 0)^2 (Primer, arXiv 2109.08668)."""
    return F.relu(x).square()


def linear(x: Tensor) -> Tensor:
    """x itself."""
    return x


ACTIVATIONS: dict[str, Activation] = {
    "gelu": F.gelu,
    "gelu_10": gelu_clipped,
    "gelu_accurate": gelu_tanh,
    "gelu_fast": gelu_tanh,
    "gelu_new": gelu_tanh,
    "gelu_python": F.gelu,
    "gelu_python_tanh": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "hardswish": F.hardswish,
    "laplace": laplace,
    "leaky_relu": F.leaky_relu,
    "linear": linear,
    "mish": F.mish,
    "quick_gelu": quick_gelu,
    "relu": F.relu,
    "relu2": relu_squared,
    "relu6": F.relu6,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": torch.tanh,
}

# The same functions in the memory of their argument, where torch has them.
_IN_PLACE: dict[Activation, Activation] = {
    F.gelu: torch.ops.aten.gelu_.default,
    gelu_tanh: functools.partial(torch.ops.aten.gelu_.default, approximate="tanh"),
    F.relu: torch.relu_,
    F.silu: functools.partial(F.silu, inplace=True),
    torch.sigmoid: torch.sigmoid_,
    torch.tanh: torch.tanh_,
}

# The derivatives of these are read from their results.
_KNOWN_BY_RESULT = frozenset({linear, F.relu, torch.sigmoid, torch.tanh})


def activation(name: str) -> Activation:
    """The function that `name` stands for; ValueError with the known names if there is none."""
    if name not in ACTIVATIONS:
        raise ValueError(
            f"hidden_act must be one of {', '.join(sorted(ACTIVATIONS))}, got {name!r}"
        )
    return ACTIVATIONS[name]


def in_place(function: Activation) -> Activation:
    """`function`, written into its argument if torch can; for a tensor that nobody else reads."""
    return _IN_PLACE.get(function, function)


def keeps_argument(function: Activation) -> bool:
    """Whether the backward of `function` needs its argument, not its result."""
    return function not in _KNOWN_BY_RESULT
