"""Sequence classification: parity for every problem, and the first token, which speaks for all.

The one idea: a result belongs to a sequence, so a packed or padded batch must give each sequence
what it gets alone. What must stay true: the loss is the one that `problem_type` says, and that it
is guessed as transformers guesses it.
"""

from __future__ import annotations

import itertools
from typing import Any

import head_checks as checks
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from twins import gradients, random_fields, same_gradients, small

from roformer_ext import RoFormerForSequenceClassification
from roformer_ext.sequence_classification import RoFormerClassificationHead

SINGLE, MULTI = "single_label_classification", "multi_label_classification"
PROBLEMS = (
    *((None, 1), (None, 2), (None, 5), (SINGLE, 5)),
    *(("regression", 1), ("regression", 5), (MULTI, 1), (MULTI, 2)),
)


def classifier(**fields: Any) -> Any:
    return checks.make(RoFormerForSequenceClassification, **fields)


def sample(problem: str | None, classes: int, vocab: int = 61) -> dict[str, Tensor]:
    """Four sequences, one padded; one without a class where a sequence has one class."""
    inputs = checks.rows((4, 11), vocab)
    numbers = torch.randn(4, classes, generator=torch.Generator().manual_seed(1)).double()
    if problem == "regression" or (problem is None and classes == 1):
        labels = numbers.squeeze(1)
    elif problem == MULTI or (problem is None and classes > 2):
        labels = (numbers > 0).double()
    else:
        labels = numbers.argmax(1)
        labels[3] = -100
    return {**inputs, "labels": labels}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("problem", "classes"), PROBLEMS)
def test_equals_transformers(problem: str | None, classes: int, dtype: torch.dtype) -> None:
    fields = random_fields(PROBLEMS.index((problem, classes)))
    fields.update(num_labels=classes, problem_type=problem, type_vocab_size=2)
    theirs, ours = checks.pair(RoFormerForSequenceClassification, dtype, **fields)
    inputs = sample(problem, classes, fields["vocab_size"])
    if inputs["labels"].is_floating_point():
        inputs["labels"] = inputs["labels"].to(dtype)
    checks.parity(theirs, ours, inputs)


def test_tuples_are_those_of_transformers() -> None:
    checks.tuples(*checks.pair(RoFormerForSequenceClassification), sample(None, 2))


def test_number_of_labels_is_that_of_their_names() -> None:
    names = {0: "no", 1: "perhaps", 2: "yes"}
    assert classifier(id2label=names)(torch.ones(2, 3).long()).logits.shape == (2, 3)


@pytest.mark.parametrize(("problem", "classes"), [(None, 1), (None, 2), (None, 5)])
def test_micro_batches_add_up_to_their_union(problem: str | None, classes: int) -> None:
    inputs = sample(problem, classes)
    inputs["labels"][3] = -100
    checks.union(classifier(num_labels=classes), inputs, inputs["labels"][:3].numel())


def test_dtypes() -> None:
    checks.dtypes(classifier(), sample(None, 2))


def test_compiles() -> None:
    checks.compiled(classifier(num_labels=5, num_hidden_layers=1), sample(None, 5), unpad=False)


def test_checkpointing_changes_nothing() -> None:
    checks.checkpointing(classifier(hidden_dropout_prob=0.2), sample(None, 2))


def test_padding_changes_nothing_dropped_or_not() -> None:
    model, inputs = classifier(), sample(None, 2)
    seen, runs = checks.tokens_seen(model), []
    for unpad in (False, True, None):
        result = model(**inputs, unpad=unpad)
        result.loss.backward()
        runs.append((result, gradients(model)))
    assert seen == [(4, 11), (1, 38), (1, 38)]
    for result, found in runs[1:]:
        torch.testing.assert_close(result.logits, runs[0][0].logits, rtol=0.0, atol=1e-11)
        same_gradients(found, runs[0][1], 1e-11)


def test_padding_in_the_first_place_is_kept() -> None:
    theirs, ours = checks.pair(RoFormerForSequenceClassification)
    inputs = sample(None, 2)
    inputs["attention_mask"] = inputs["attention_mask"].flip(1)
    seen = checks.tokens_seen(ours)
    checks.parity(theirs, ours, inputs)
    assert set(seen) == {(4, 11)}
    with pytest.raises(ValueError, match="first token of a sequence stands on padding"):
        ours(**inputs, unpad=True)


def test_packed_sequences_equal_each_alone() -> None:
    model, ids, bounds = classifier(), torch.arange(1, 12)[None], [0, 5, 6, 11]
    labels = torch.tensor([1, 0, 1])
    alone = torch.cat([model(ids[:, a:b]).logits for a, b in itertools.pairwise(bounds)])
    expected = F.cross_entropy(alone, labels)
    expected.backward()
    their_gradients = gradients(model)
    result = model(ids, labels=labels, cu_seqlens=torch.tensor(bounds, dtype=torch.int32))
    torch.testing.assert_close(result.logits, alone, rtol=0.0, atol=1e-11)
    result.loss.backward()
    same_gradients(gradients(model), their_gradients, 1e-9)


@pytest.mark.parametrize(
    ("hidden_act", "expected"),
    [
        ("gelu", [-0.158655, 0.0, 0.345731, 1.954500]),
        ("tanh", [-0.761594, 0.0, 0.462117, 0.964028]),
        ("relu", [0.0, 0.0, 0.5, 2.0]),
    ],
)
def test_activation_of_the_classifier(hidden_act: str, expected: list[float]) -> None:
    fields = {"hidden_size": 4, "num_attention_heads": 2, "num_labels": 4}
    head = RoFormerClassificationHead(small(hidden_act=hidden_act, **fields))
    for layer in (head.dense, head.out_proj):
        nn.init.eye_(layer.weight)
        nn.init.zeros_(layer.bias)
    result = head(torch.tensor([[-1.0, 0.0, 0.5, 2.0]]))
    torch.testing.assert_close(result, torch.tensor([expected]), rtol=0.0, atol=1e-5)


def test_dropout_is_for_training() -> None:
    model, ids = classifier(hidden_dropout_prob=1.0), torch.arange(1, 7).view(2, 3)
    head, dropped = model.classifier, []
    head.dense.register_forward_pre_hook(lambda _, arguments: dropped.append(arguments[0]))
    assert (model(ids).logits != head.out_proj.bias).all() and dropped[0].all()
    result = model.train()(ids).logits
    assert not dropped[1].any(), "before the first layer"
    assert torch.equal(result, head.out_proj.bias.expand(2, 2)), "before the second"


def test_biases_whatever_use_bias_says() -> None:
    model = classifier(use_bias=False, norm_type="rms_norm")
    biases = [name for name in model.state_dict() if name.endswith("bias")]
    assert biases == ["classifier.dense.bias", "classifier.out_proj.bias"]


def test_misfit_labels_are_refused() -> None:
    inputs = {**sample(None, 2), "labels": torch.zeros(3, dtype=torch.long)}
    with pytest.raises(ValueError, match=r"labels must be integers \[B\] = \[4\], got .*\[3\]"):
        classifier()(**inputs)
