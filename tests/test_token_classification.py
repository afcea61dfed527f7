"""Token classification: parity, and labels wherever they stand in whatever layout.

The one idea: each token has a result of its own, so a packed or unpadded batch must give each token
what it gets alone. What must stay true: a label on padding counts, as in transformers, and is the
only thing that keeps padding from being dropped.
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

from roformer_ext import RoFormerForTokenClassification


def tagger(**fields: Any) -> Any:
    return checks.make(RoFormerForTokenClassification, **fields)


def sample(classes: int = 2, vocab: int = 61, on_padding: bool = False) -> dict[str, Tensor]:
    """Four sequences, one padded, a class on two tokens of three."""
    inputs = checks.rows((4, 11), vocab)
    draw = torch.randint(3 * classes, (4, 11), generator=torch.Generator().manual_seed(1))
    labels = (draw % classes).where(draw < 2 * classes, -100)
    if not on_padding:
        labels = labels.where(inputs["attention_mask"] > 0, -100)
    return {**inputs, "labels": labels}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [1, 2, 5])
def test_equals_transformers(classes: int, dtype: torch.dtype) -> None:
    fields = {**random_fields(classes), "num_labels": classes, "type_vocab_size": 2}
    theirs, ours = checks.pair(RoFormerForTokenClassification, dtype, **fields)
    inputs = sample(classes, fields["vocab_size"])
    checks.parity(theirs, ours, inputs, unpad=False)
    inputs = sample(classes, fields["vocab_size"], on_padding=True)
    checks.parity(theirs, ours, inputs)


def test_tuples_are_those_of_transformers() -> None:
    twins = checks.pair(RoFormerForTokenClassification)
    checks.tuples(*twins, sample(on_padding=True))


def test_number_of_labels_is_that_of_their_names() -> None:
    names = {0: "outside", 1: "begin", 2: "inside"}
    assert tagger(id2label=names)(torch.ones(2, 4).long()).logits.shape == (2, 4, 3)


@pytest.mark.parametrize("on_padding", [False, True])
def test_micro_batches_add_up_to_their_union(on_padding: bool) -> None:
    inputs = sample(on_padding=on_padding)
    inputs["labels"][3] = -100
    count = int((inputs["labels"] != -100).sum())
    checks.union(tagger(), inputs, count)


def test_dtypes() -> None:
    checks.dtypes(tagger(), sample())


def test_compiles() -> None:
    checks.compiled(tagger(num_hidden_layers=1), sample(), unpad=False)


def test_checkpointing_changes_nothing() -> None:
    checks.checkpointing(tagger(hidden_dropout_prob=0.2), sample())


def test_padding_changes_nothing_dropped_or_not() -> None:
    model, inputs = tagger(num_labels=5), sample(5)
    tokens = inputs["attention_mask"].bool()
    seen, runs = checks.tokens_seen(model), []
    for unpad in (False, True, None):
        result = model(**inputs, unpad=unpad)
        result.loss.backward()
        runs.append((result, gradients(model)))
    assert seen == [(4, 11), (1, 38), (1, 38)]
    kept = runs[0][0].logits
    for result, found in runs[1:]:
        torch.testing.assert_close(result.logits[tokens], kept[tokens], rtol=0.0, atol=1e-11)
        assert not result.logits[~tokens].any() and kept[~tokens].all()
        torch.testing.assert_close(result.loss, runs[0][0].loss)
        same_gradients(found, runs[0][1], 1e-11)


def test_a_label_on_padding_keeps_it() -> None:
    model, inputs = tagger(), sample(on_padding=True)
    seen = checks.tokens_seen(model)
    result = model(**inputs)
    assert seen == [(4, 11)]
    torch.testing.assert_close(result.loss, model(**inputs, unpad=False).loss)
    with pytest.raises(ValueError, match="unpad must not be True where a label stands on padding"):
        model(**inputs, unpad=True)
    model(inputs["input_ids"], inputs["attention_mask"])
    assert seen[-1] == (1, 38), "without labels nothing is read there"


def test_packed_sequences_equal_each_alone() -> None:
    model, ids, bounds = tagger(), torch.arange(1, 12)[None], [0, 5, 6, 11]
    labels = torch.tensor([[1, 0, -100, 1, 1, 0, 0, 1, 0, -100, 1]])
    alone = [model(ids[:, a:b]).logits for a, b in itertools.pairwise(bounds)]
    expected = F.cross_entropy(torch.cat(alone, dim=1)[0], labels[0])
    expected.backward()
    their_gradients = gradients(model)
    result = model(ids, labels=labels, cu_seqlens=torch.tensor(bounds, dtype=torch.int32))
    torch.testing.assert_close(result.logits, torch.cat(alone, dim=1), rtol=0.0, atol=1e-11)
    torch.testing.assert_close(result.loss, expected)
    result.loss.backward()
    same_gradients(gradients(model), their_gradients, 1e-9)


def test_dropout_is_for_training() -> None:
    model, ids = tagger(hidden_dropout_prob=1.0), torch.arange(1, 7).view(2, 3)
    bias = model.classifier.bias.expand(2, 3, 2)
    assert (model(ids).logits != bias).all()
    assert torch.equal(model.train()(ids).logits, bias)


def test_biases_whatever_use_bias_says() -> None:
    names = tagger(use_bias=False, norm_type="rms_norm").state_dict()
    assert [name for name in names if name.endswith("bias")] == ["classifier.bias"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(4, 10).long(), r"labels must be \[B, S\] = \[4, 11\], got \[4, 10\]"),
        (torch.zeros(44).long(), r"labels must be \[B, S\] = \[4, 11\], got \[44\]"),
        (torch.zeros(4, 11), "labels must be int32 or int64, got torch.float32"),
    ],
)
def test_misfit_labels_are_refused(labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tagger()(**{**sample(), "labels": labels})
