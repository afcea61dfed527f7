"""Cross-entropy of a wide linear layer on labelled rows only, as operators of fixed shapes.

In a masked-LM batch about one position in seven carries a label, and the vocabulary is some sixty
times as wide as the hidden states. So only labelled rows meet the decoder, a slice at a time. The
backward gets the slope of the last slice, most often the only one, and computes the others again:
the gradient of the weight, the widest block of all, is then written where it is handed out. What
must stay true: logits exist for one slice at a time, and no shape depends on the number of labels,
so that a compiled graph holds each direction as one node.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100
"""The label of a position that takes no part in a loss."""

_TAGS = (torch.Tag.cudagraph_unsafe,)
"""Both directions wait for the number of labels, which a CUDA graph must not do: Inductor records
what comes before and what comes after."""

_SLICE_ELEMENTS = 2**24
"""Logits of a slice if the weight is small: 64 MiB in float32, enough for an efficient product."""


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
    needs_grad = torch.is_grad_enabled() and any(
        x is not None and x.requires_grad for x in (rows, weight, bias)
    )
    loss: Tensor = _forward(rows, weight, bias, labels, mean, needs_grad)[0]
    return loss


@torch.library.custom_op(
    "roformer_ext::masked_cross_entropy",
    mutates_args=(),
    schema="(Tensor rows, Tensor weight, Tensor? bias, Tensor labels, bool mean, bool needs_grad)"
    " -> (Tensor, Tensor, Tensor)",
    tags=_TAGS,
)
def _forward(
    rows: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, mean: bool, needs_grad: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, and for the backward the last slope and, on the CPU, the number of labels.

    Rows of the slope that have no label are not initialised.
    """
    loss, slope, count = _outputs(rows, weight, bias, labels, mean, True)
    labelled = (labels != IGNORED).nonzero().squeeze(1)
    count.fill_(labelled.numel())
    loss.zero_()
    for index in labelled.split(_slice_rows(weight)):
        targets = labels[index, None]
        log_p = _log_probabilities(rows[index], weight, bias, slope)
        loss -= log_p.gather(1, targets).sum()
    if mean:
        loss /= count
    if not needs_grad:
        return loss, slope.new_empty(0), count
    _to_slope(log_p, targets)
    return loss, slope, count


@_forward.register_fake
def _outputs(
    rows: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, mean: bool, needs_grad: bool
) -> tuple[Tensor, Tensor, Tensor]:
    exact = torch.promote_types(rows.dtype, torch.float32)
    size = [min(rows.shape[0], _slice_rows(weight)), weight.shape[0]] if needs_grad else [0]
    # Where the count is known to the host, the backward need not wait for the device.
    count = torch.empty((), dtype=torch.int64, device="cpu")
    return rows.new_empty((), dtype=exact), rows.new_empty(size, dtype=exact), count


@torch.library.custom_op(
    "roformer_ext::masked_cross_entropy_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor rows, Tensor weight, Tensor? bias, Tensor labels, bool mean,"
    " Tensor slope, Tensor count) -> (Tensor, Tensor, Tensor)",
    tags=_TAGS,
)
def _backward(
    grad: Tensor,
    rows: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    mean: bool,
    slope: Tensor,
    count: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients by rows, weight and bias; that of an absent bias is empty."""
    size = int(count)
    scale = grad / size if mean and size else grad
    labelled = torch.nonzero_static(labels != IGNORED, size=size).squeeze(1)
    d_rows, d_bias = torch.zeros_like(rows), slope.new_zeros(weight.shape[0])
    d_weight: Tensor | None = None
    *early, last = labelled.split(_slice_rows(weight))
    for index in (last, *early):
        inputs = rows[index]
        if index is last:
            part = slope[: len(index)]
        else:
            log_p = _log_probabilities(inputs, weight, bias, torch.empty_like(slope))
            part = _to_slope(log_p, labels[index, None])
        d_bias += part.sum(0)
        part = part.to(rows.dtype)
        with _exactly(rows):
            d_rows[index] = (part @ weight).mul_(scale)
            d_weight = _plus_product(d_weight, part.t(), inputs)
    assert d_weight is not None
    return (
        d_rows,
        d_weight.mul_(scale).to(weight.dtype),
        rows.new_empty(0) if bias is None else d_bias.mul_(scale).to(bias.dtype),
    )


@_backward.register_fake
def _gradients(
    grad: Tensor, rows: Tensor, weight: Tensor, bias: Tensor | None, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    d_bias = rows.new_empty(0) if bias is None else torch.empty_like(bias)
    return torch.empty_like(rows), weight.new_empty(weight.shape), d_bias


def _slice_rows(weight: Tensor) -> int:
    """So many that the logits of a slice take no more than the gradient of the weight does."""
    return max(weight.shape[1], _SLICE_ELEMENTS // weight.shape[0])


def _log_probabilities(rows: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> Tensor:
    """log softmax of the logits, in the first rows of `out`."""
    with _exactly(rows):
        logits = F.linear(rows, weight, bias)
        return torch.log_softmax(logits, 1, out.dtype, out=out[: len(rows)])


def _to_slope(log_p: Tensor, targets: Tensor) -> Tensor:
    """d loss / d logits, the probability minus one at the target, in the memory of `log_p`."""
    return log_p.exp_().scatter_add_(1, targets, log_p.new_full((), -1.0).expand_as(targets))


def _exactly(rows: Tensor) -> torch.autocast:
    """Autocast off: it was the caller's business, what arrives has the dtype to compute in."""
    return torch.autocast(rows.device.type, enabled=False)


def _plus_product(total: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
    """total + left @ right, in float32 at least where there is something to add."""
    if total is None:
        return left @ right
    total = total.to(torch.promote_types(total.dtype, torch.float32))
    return total.addmm_(left, right) if total.dtype == left.dtype else total.add_(left @ right)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.mean, _ = inputs
    ctx.save_for_backward(*tensors, *output[1:])
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    if torch.is_grad_enabled():
        raise RuntimeError(
            "masked_cross_entropy must be differentiated once at most, got a request for a second "
            "derivative, which output_logits=True allows"
        )
    *tensors, slope, count = ctx.saved_tensors
    d_rows, d_weight, d_bias = _backward(grad, *tensors, ctx.mean, slope, count)
    return d_rows, d_weight, None if tensors[2] is None else d_bias, None, None, None


_forward.register_autograd(_differentiate, setup_context=_save)
