"""Padding on either side, labels on padding, and batches whose padding has been dropped.

The one idea: transformers computes every position, so it says both what a token must give when
padding was dropped and what padding must give when something reads it. What must stay true: padding
is dropped exactly where nothing reads it, which is counted in tokens that reach the first layer.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from parity.cases import TASKS, TOKENS, fields_of, inputs, pair
from torch import Tensor

READS_PADDING = {"answers", "choices", "choices by their mean"}
OF_TOKENS = {None, "words", "token classes"}


def batch(task: str, fields: dict[str, Any], *, left: bool, labelled: bool) -> dict[str, Tensor]:
    """Row 1 half padding on the right, row 2 a quarter on one side, labels there or not."""
    given = inputs(task, fields)
    mask = given["attention_mask"]
    quarter = TOKENS // 4
    mask[2, ..., slice(0, quarter) if left else slice(-quarter, None)] = 0
    if "labels" in given and given["labels"].shape == mask.shape:
        given["labels"] = given["input_ids"] % fields.get("num_labels", fields["vocab_size"])
        if not labelled:
            given["labels"][mask == 0] = -100
    return given


def close(result: Any, expected: Any, chosen: Tensor | None = None) -> None:
    names = {"loss", "logits", "start_logits", "end_logits", "last_hidden_state"}
    for name in names & set(expected.keys()):
        got, wanted = getattr(result, name).double(), expected[name].double()
        if chosen is not None and wanted.shape[:2] == chosen.shape:
            got, wanted = got[chosen], wanted[chosen]
        # Theirs computes the loss of next words in float32.
        tolerance = 1e-6 if name == "loss" else 1e-10
        torch.testing.assert_close(got, wanted, rtol=0.0, atol=tolerance, msg=name)


@pytest.mark.parametrize("architecture", ["width 6", "narrow embeddings"])
@pytest.mark.parametrize("task", TASKS)
def test_labels_on_padding_of_either_side(task: str, architecture: str) -> None:
    fields = fields_of(architecture, task)
    theirs, ours = pair(task, fields)
    given = batch(task, fields, left=True, labelled=True)
    with torch.no_grad():
        expected = theirs(**given)
        close(ours(**given, unpad=False), expected)
        if "labels" in given:
            assert ours(**given).loss.item() == pytest.approx(expected.loss.item(), abs=1e-6)


@pytest.mark.parametrize("task", [t for t in TASKS if "add_cross_attention" not in TASKS[t].fields])
def test_padding_is_dropped_where_nothing_reads_it(task: str) -> None:
    fields = {**fields_of("narrow embeddings", task), "use_cache": False}
    theirs, ours = pair(task, fields)
    seen: list[int] = []
    ours.body.encoder.layer[0].register_forward_hook(
        lambda *call: seen.append(call[2][0].shape[:2].numel())
    )
    by_token = TASKS[task].labels in OF_TOKENS
    for labelled in (False, True) if "labels" in inputs(task, fields) and by_token else (False,):
        given = batch(task, fields, left=False, labelled=labelled)
        mask = given["attention_mask"]
        keeps = task in READS_PADDING or labelled
        with torch.no_grad():
            close(ours(**given), theirs(**given), None if keeps else mask.bool())
        assert seen.pop() == (mask.numel() if keeps else int(mask.sum()))


@pytest.mark.parametrize("labels", ["a column", "one row"])
@pytest.mark.parametrize("task", ["one class", "one number", "several classes"])
def test_labels_of_unusual_shapes(task: str, labels: str) -> None:
    """Where the reference squeezes, or reads the problem off the labels."""
    fields = fields_of("plain", task)
    theirs, ours = pair(task, fields)
    given = inputs(task, fields)
    if labels == "one row":
        given = {name: value[:1] for name, value in given.items()}
    elif task == "one class":
        given["labels"] = given["labels"][:, None].int()
        theirs.config.problem_type = "single_label_classification"
    elif task == "one number":
        given["labels"] = given["labels"][:, 0]
    expected_labels = given["labels"].long() if task == "one class" else given["labels"]
    with torch.no_grad():
        close(ours(**given), theirs(**{**given, "labels": expected_labels}))
