"""Multiple choice: parity for every summary, padding that is read, and packed choices.

The one idea: a score is that of one sequence, so the choices of a question, one at a time, are the
oracle of every layout. What must stay true: a summary at the last position of a padded row is what
transformers computes there, and a packed one is that of the sequence's own tokens.
"""

from __future__ import annotations

import itertools
from typing import Any

import head_checks as checks
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from twins import gradients, random_fields, same_gradients

from roformer_ext import RoFormerForMultipleChoice

SUMMARIES = ("last", "first", "mean", "cls_index")
PROJECTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"summary_use_proj": True},
    {"summary_use_proj": True, "summary_activation": "tanh"},
    {"summary_activation": "gelu", "summary_proj_to_labels": True},
)
BOUNDS = (0, 4, 5, 11, 13, 16, 20)


def chooser(**fields: Any) -> Any:
    return checks.make(RoFormerForMultipleChoice, **fields)


def sample(vocab: int = 61) -> dict[str, Tensor]:
    """Four questions of three choices, two choices padded; the last question has no answer."""
    inputs = checks.rows((12, 7), vocab)
    inputs["attention_mask"][8, 2:] = 0
    choices = {name: x.view(4, 3, 7) for name, x in inputs.items()}
    return {**choices, "labels": torch.tensor([2, 0, 1, -100])}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("summary_type", SUMMARIES)
def test_equals_transformers(summary_type: str, dtype: torch.dtype) -> None:
    for seed, projection in enumerate(PROJECTIONS):
        fields = {**random_fields(seed), "type_vocab_size": 2, **projection}
        fields["summary_type"] = summary_type
        theirs, ours = checks.pair(RoFormerForMultipleChoice, dtype, **fields)
        checks.parity(theirs, ours, sample(fields["vocab_size"]))


def test_tuples_are_those_of_transformers() -> None:
    checks.tuples(*checks.pair(RoFormerForMultipleChoice), sample())


def test_micro_batches_add_up_to_their_union() -> None:
    checks.union(chooser(), sample(), 3)


def test_a_column_of_labels_is_a_row() -> None:
    model, inputs = chooser(), sample()
    column = {**inputs, "labels": inputs["labels"][:, None]}
    assert torch.equal(model(**column).loss, model(**inputs).loss)


def test_dtypes() -> None:
    checks.dtypes(chooser(), sample())


def test_compiles() -> None:
    checks.compiled(chooser(summary_type="mean", num_hidden_layers=1), sample())


def test_checkpointing_changes_nothing() -> None:
    checks.checkpointing(chooser(hidden_dropout_prob=0.2), sample())


@pytest.mark.parametrize("summary_type", SUMMARIES)
def test_packed_choices_equal_each_alone(summary_type: str) -> None:
    model, ids = chooser(summary_type=summary_type), torch.arange(1, 21)[None]
    labels = torch.tensor([1, 2])
    scores = [model(ids[None, :, a:b]).logits for a, b in itertools.pairwise(BOUNDS)]
    alone = torch.cat(scores).view(2, 3)
    F.cross_entropy(alone, labels).backward()
    their_gradients = gradients(model)
    bounds = torch.tensor(BOUNDS, dtype=torch.int32)
    result = model(ids, labels=labels, cu_seqlens=bounds, num_choices=3)
    torch.testing.assert_close(result.logits, alone, rtol=0.0, atol=1e-11)
    result.loss.backward()
    same_gradients(gradients(model), their_gradients, 1e-9)


@pytest.mark.parametrize("summary_type", SUMMARIES)
def test_padding_is_dropped_only_where_the_first_token_counts(summary_type: str) -> None:
    model, inputs = chooser(summary_type=summary_type), sample()
    seen = checks.tokens_seen(model)
    kept = model(**inputs, unpad=False)
    torch.testing.assert_close(model(**inputs).logits, kept.logits, rtol=0.0, atol=1e-11)
    if summary_type == "first":
        dropped = model(**inputs, unpad=True)
        torch.testing.assert_close(dropped.logits, kept.logits, rtol=0.0, atol=1e-11)
        torch.testing.assert_close(dropped.loss, kept.loss)
        assert seen == [(12, 7), (1, 75), (1, 75)]
        return
    assert seen == [(12, 7), (12, 7)]
    with pytest.raises(ValueError, match="unpad must not be True with a result that reads padding"):
        model(**inputs, unpad=True)


def test_embeddings_and_positions_are_those_of_each_choice() -> None:
    model, inputs = chooser(), sample()
    expected = model(**inputs).logits
    words = model.get_input_embeddings()(inputs.pop("input_ids"))
    for positions in (torch.arange(7), torch.arange(7).expand(4, 3, 7)):
        result = model(**inputs, inputs_embeds=words, position_ids=positions).logits
        torch.testing.assert_close(result, expected, rtol=0.0, atol=1e-11)
    positions = torch.arange(7).expand(4, 3, 7).clone()
    positions[0, 1] *= 3
    result = model(**inputs, inputs_embeds=words, position_ids=positions).logits
    changed = (result - expected).abs() > 1e-6
    assert changed.nonzero().tolist() == [[0, 1]]


def test_dropout_of_the_summary_is_for_training() -> None:
    ids = torch.arange(1, 13).view(2, 3, 2)
    for field in ("summary_first_dropout", "summary_last_dropout"):
        model = chooser(**{field: 1.0}, summary_use_proj=True, summary_activation="tanh")
        bias = model.classifier.bias
        if field == "summary_first_dropout":
            bias = model.classifier(model.sequence_summary.summary.bias.tanh())
        assert (model(ids).logits != bias).all()
        torch.testing.assert_close(model.train()(ids).logits, bias.expand(2, 3))


def test_biases_whatever_use_bias_says() -> None:
    names = chooser(use_bias=False, norm_type="rms_norm", summary_use_proj=True).state_dict()
    biases = [name for name in names if name.endswith("bias")]
    assert biases == ["sequence_summary.summary.bias", "classifier.bias"]


def test_a_projection_to_labels_must_fit_the_score() -> None:
    fields = {"summary_use_proj": True, "summary_proj_to_labels": True}
    with pytest.raises(ValueError, match=r"summary_proj_to_labels must be False .* num_labels = 2"):
        chooser(**fields)
    assert chooser(**fields, num_labels=32)(**sample()).logits.shape == (4, 3)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"input_ids must be \[B, N, S\], or inputs_embeds \[B, N, S, E\], got None"),
        ({"input_ids": torch.ones(2, 7).long()}, r"input_ids must be \[B, N, S\].* got \[2, 7\]"),
        ({"inputs_embeds": torch.ones(2, 3, 7)}, r"inputs_embeds \[B, N, S, E\], got \[2, 3, 7\]"),
        ({**sample(), "num_choices": 3}, "num_choices must be given with cu_seqlens, and only"),
        (
            {"input_ids": torch.ones(1, 20).long(), "cu_seqlens": torch.tensor(BOUNDS)},
            "num_choices must be given with cu_seqlens, and only then",
        ),
        (
            {
                "input_ids": torch.ones(1, 20).long(),
                "cu_seqlens": torch.tensor(BOUNDS),
                "num_choices": 4,
            },
            "num_choices must divide the 6 sequences, got 4",
        ),
        (
            {
                "input_ids": torch.ones(1, 20).long(),
                "cu_seqlens": torch.tensor(BOUNDS),
                "num_choices": 0,
            },
            "num_choices must divide the 6 sequences, got 0",
        ),
        (
            {**sample(), "labels": torch.zeros(4, 3).long()},
            r"labels must be integers \[B\] = \[4\], got torch.int64 of shape \[4, 3\]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chooser()(**inputs)
