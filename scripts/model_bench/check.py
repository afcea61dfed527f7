"""Is everybody right? Results and gradients against transformers' RoFormer, eager, in float32.

The one idea: what is compared is what is timed, on real tokens, tensor by tensor, as the norm of
the difference over the norm of the reference. What must stay true: nobody is timed before this has
passed; BERT and ModernBERT have no reference here and must only give finite numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model_bench.contestants import Entry
from model_bench.inputs import Inputs

# Hidden states and losses, then gradients.
BOUNDS = {"float32": (1e-4, 1e-3), "bfloat16": (5e-2, 1.5e-1)}
# A tensor whose norm is a smaller share of the largest one is noise of what it is the sum of.
NEGLIGIBLE = 1e-4

Outcome = dict[str, Tensor]


def outcome(entry: Entry, inputs: Inputs) -> Outcome:
    """Hidden states of tokens, or the loss and every gradient under the name of a checkpoint."""
    if entry.loss is None:
        return {"hidden states": inputs.tokens_of(entry.run()).float()}
    entry.model.zero_grad()
    for leaf in entry.leaves.values():
        leaf.grad = None
    loss = entry.loss()
    loss.backward()
    found = {"loss": loss.detach()}
    named = {**dict(entry.model.named_parameters()), **entry.leaves}
    for name, parameter in named.items():
        if parameter.grad is not None:
            found.update(_by_checkpoint(name, parameter.grad.clone()))
    entry.model.zero_grad()
    return found


def _by_checkpoint(name: str, grad: Tensor) -> Outcome:
    """The decoder's bias has two names, and our three projections are one parameter."""
    name = name.replace("predictions.decoder.bias", "predictions.bias")
    if ".qkv." not in name:
        return {f"gradient of {name}": grad}
    parts = zip(("query", "key", "value"), grad.chunk(3))
    return {f"gradient of {name.replace('qkv', part)}": rows for part, rows in parts}


def compare(name: str, got: Outcome, wanted: Outcome, dtype: str) -> float:
    """The largest error beside its bound (1 = at the bound); AssertionError names what is wrong."""
    if got.keys() != wanted.keys():
        odd = ", ".join(sorted(got.keys() ^ wanted.keys()))
        raise AssertionError(f"{name} and the reference must have the same tensors, apart: {odd}")
    largest = max(value.norm().item() for value in wanted.values())
    worst = 0.0
    for key, reference in wanted.items():
        bound = BOUNDS[dtype]["gradient" in key]
        scale = max(reference.norm().item(), NEGLIGIBLE * largest)
        error = (got[key] - reference).norm().item() / scale
        # `not <=` so that a NaN fails as well.
        if not error <= bound:
            raise AssertionError(f"{name}: {key} is off by {error:.2g}, allowed {bound:g}")
        worst = max(worst, error / bound)
    return worst


def finite(name: str, got: Outcome) -> None:
    """AssertionError unless every element is a number."""
    for key, value in got.items():
        if not torch.isfinite(value).all():
            raise AssertionError(f"{name}: {key} must be finite, got infinities or NaN")
