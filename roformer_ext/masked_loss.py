"""Cross-entropy of a wide linear layer on labelled rows only, as one operator of fixed shapes.

In a masked-LM batch about one position in seven carries a label, and the vocabulary is some sixty
times as wide as the hidden states. So only labelled rows meet the decoder, a slice at a time, and
each slice of logits gives its gradients before it is dropped. What must stay true: logits exist
for one slice at a time, and no shape depends on the number of labels, so that a compiled graph
holds the whole as one node.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100
"""The label of a position that takes no part in a loss."""

_SLICE_ELEMENTS = 2**24
"""Most logits alive at once: 64 MiB in float32, enough rows for an efficient product."""


def masked_cross_entropy(
    rows: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, *, mean: bool = True
) -> Tensor:
    """Cross-entropy of `rows @ weight.T + bias` against `labels`, over rows with a label.

    rows: [N, E], floating point.
    weight: [V, E] in the dtype of `rows`.
    bias: [V] or None.
    labels: [N], int64, -100 or a class below V.
    mean: divide by the number of labelled rows (NaN when there are none), else the sum.

    Returns a scalar, float32 for the half types, else in the dtype of `rows`. It has a first
    derivative only; asking for a second one raises RuntimeError.
    """
    needs_grad = torch.is_grad_enabled() and (rows.requires_grad or weight.requires_grad)
    loss: Tensor = _operator(rows, weight, bias, labels, mean, needs_grad)[0]
    return loss


@torch.library.custom_op(
    "roformer_ext::masked_cross_entropy",
    mutates_args=(),
    schema="(Tensor rows, Tensor weight, Tensor? bias, Tensor labels, bool mean, bool needs_grad)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
)
def _operator(
    rows: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, mean: bool, needs_grad: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The loss and its gradients by rows, weight and bias; gradients nobody needs are empty."""
    exact = torch.promote_types(rows.dtype, torch.float32)
    labelled = (labels != IGNORED).nonzero().squeeze(1)
    count = labelled.numel()
    loss = torch.zeros((), dtype=exact, device=rows.device)
    d_rows, d_weight, d_bias = _gradients(rows, weight, bias, needs_grad, exact)
    scale = 1.0 / max(count, 1) if mean else 1.0
    # Autocast was the caller's business: the dtypes that arrive here are the ones to compute in.
    with torch.autocast(rows.device.type, enabled=False):
        for index in labelled.split(max(1, _SLICE_ELEMENTS // weight.shape[0])):
            inputs, targets = rows[index], labels[index, None]
            log_p = F.log_softmax(F.linear(inputs, weight, bias), dim=1, dtype=exact)
            loss -= log_p.gather(1, targets).sum()
            if not needs_grad:
                continue
            # d loss / d logits is p minus one at the target; it takes the memory of log_p.
            slope = log_p.exp_()
            slope.scatter_add_(1, targets, slope.new_full((), -1.0).expand_as(targets))
            slope = slope.mul_(scale)
            if bias is not None:
                d_bias += slope.sum(0)
            slope = slope.to(rows.dtype)
            d_rows[index] = slope @ weight
            if d_weight.dtype == slope.dtype:
                d_weight.addmm_(slope.t(), inputs)
            else:
                d_weight += slope.t() @ inputs
    loss *= scale if count or not mean else float("nan")
    return (
        loss,
        d_rows,
        d_weight.to(weight.dtype),
        d_bias if bias is None else d_bias.to(bias.dtype),
    )


def _gradients(
    rows: Tensor, weight: Tensor, bias: Tensor | None, needed: bool, exact: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Zeros to accumulate into: the weight's and the bias's in the exact dtype."""
    if not needed:
        return rows.new_empty(0), weight.new_empty(0), rows.new_empty(0)
    d_weight = torch.zeros(weight.shape, dtype=exact, device=weight.device)
    d_bias = (
        rows.new_empty(0)
        if bias is None
        else torch.zeros(bias.shape, dtype=exact, device=bias.device)
    )
    return torch.zeros(rows.shape, dtype=rows.dtype, device=rows.device), d_weight, d_bias


@_operator.register_fake
def _shapes(
    rows: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, mean: bool, needs_grad: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    exact = torch.promote_types(rows.dtype, torch.float32)
    d_rows, d_weight, d_bias = _gradients(rows, weight, bias, needs_grad, exact)
    d_bias = d_bias if bias is None else d_bias.to(bias.dtype)
    return rows.new_empty((), dtype=exact), d_rows, d_weight.to(weight.dtype), d_bias


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.has_bias = inputs[2] is not None
    ctx.save_for_backward(*output[1:])


def _backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    if torch.is_grad_enabled():
        raise RuntimeError(
            "masked_cross_entropy must be differentiated once at most, got a request for a second "
            "derivative, which output_logits=True allows"
        )
    d_rows, d_weight, d_bias = ctx.saved_tensors
    return grad * d_rows, grad * d_weight, grad * d_bias if ctx.has_bias else None, None, None, None


_operator.register_autograd(_backward, setup_context=_save)
