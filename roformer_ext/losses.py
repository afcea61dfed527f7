"""The losses of the classification heads.

The idea: a loss is a sum over whatever carries a label, divided by how many there are, here or,
with gradient accumulation, in all micro-batches of an update. What must stay true: it is computed
in at least float32, labels of -100 take no part, and labels that do not fit are refused.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .masked_loss import IGNORED


def class_loss(
    logits: Tensor,
    labels: Tensor,
    num_items_in_batch: int | Tensor | None = None,
    ignored: int = IGNORED,
) -> Tensor:
    """Cross-entropy of one class among C.

    logits: [N, C].
    labels: [N], int32 or int64, a class or `ignored`.
    num_items_in_batch: divides the sum; None takes the mean, NaN when there is no label.
    """
    if not is_integer(labels):
        raise ValueError(f"labels must be int32 or int64, got {labels.dtype}")
    total = F.cross_entropy(_exact(logits), labels.long(), ignore_index=ignored, reduction="sum")
    count = (labels != ignored).sum() if num_items_in_batch is None else num_items_in_batch
    return total / count


def sequence_loss(
    logits: Tensor,
    labels: Tensor,
    problem_type: str | None,
    num_items_in_batch: int | Tensor | None = None,
) -> Tensor:
    """The loss that `problem_type` says, for one row of C logits to a sequence.

    logits: [N, C].
    labels: [N] or [N, 1] classes for "single_label_classification"; [N, C] numbers for
        "regression" (also [N] when C is 1) and for "multi_label_classification", where 1 = yes.
    problem_type: None means regression when C is 1, else a single label if labels are integers,
        else several.
    num_items_in_batch: labels in all micro-batches of an update, every element of a row counted;
        divides the sum, None takes the mean.
    """
    count, classes = logits.shape
    if problem_type is None:
        problem_type = _problem_type(classes, labels)
    if problem_type == "single_label_classification":
        labels = single_labels(labels, count, "labels")
        return class_loss(logits, labels, num_items_in_batch)
    if classes == 1 and labels.shape == (count,):
        labels = labels.unsqueeze(1)
    if labels.shape != logits.shape:
        raise ValueError(
            f"labels must be [B, num_labels] = [{count}, {classes}] for {problem_type}, "
            f"got {list(labels.shape)}"
        )
    logits = _exact(logits)
    labels = labels.to(logits.dtype)
    labelled = labels != IGNORED
    if problem_type == "regression":
        losses = F.mse_loss(logits, labels, reduction="none")
    else:
        losses = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    total = torch.where(labelled, losses, 0.0).sum()
    return total / (labelled.sum() if num_items_in_batch is None else num_items_in_batch)


def single_labels(labels: Tensor, count: int, name: str) -> Tensor:
    """Integer labels [N] of [N] or [N, 1]; ValueError names what does not fit."""
    if labels.dim() == 2 and labels.shape[1] == 1:
        labels = labels.squeeze(1)
    if labels.shape != (count,) or not is_integer(labels):
        raise ValueError(
            f"{name} must be integers [B] = [{count}], "
            f"got {labels.dtype} of shape {list(labels.shape)}"
        )
    return labels


def is_integer(x: Tensor) -> bool:
    """Whether x holds ids or classes."""
    return x.dtype in (torch.int64, torch.int32)


def _problem_type(classes: int, labels: Tensor) -> str:
    if classes == 1:
        return "regression"
    return "single_label_classification" if is_integer(labels) else "multi_label_classification"


def _exact(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
