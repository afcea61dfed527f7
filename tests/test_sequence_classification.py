"""Sequence classification, and the checks that the tests of every classification head share.

The one idea: a head is right when it equals transformers' with the same weights, and when neither
the layout of a batch, nor its split into micro-batches, nor a compiler, nor a shorter dtype changes
what it computes. What must stay true: the checks take any head, so that none is held to less.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_causal_lm import gradients, same_gradients
from torch import Tensor, nn
from twins import batch, random_fields, randomise, small

from roformer_ext import RoFormerForSequenceClassification
from roformer_ext.sequence_classification import RoFormerClassificationHead

SINGLE, MULTI = "single_label_classification", "multi_label_classification"
PROBLEMS = (
    *((None, 1), (None, 2), (None, 5), (SINGLE, 5)),
    *(("regression", 1), ("regression", 5), (MULTI, 1), (MULTI, 2)),
)


def make(kind: Any, **fields: Any) -> Any:
    """A head of ours in float64 and eval mode, every weight random."""
    model = kind(small(**fields)).double().eval()
    randomise(model)
    return model


def head_twins(kind: Any, dtype: torch.dtype = torch.float64, **fields: Any) -> tuple[Any, Any]:
    """(theirs, ours) of equal weights, in eval mode."""
    pytest.importorskip("transformers", reason="parity needs transformers")
    import hf_twins

    theirs = hf_twins.theirs(kind.__name__, **fields)
    ours = kind(small(**fields))
    ours.load_state_dict(theirs.state_dict())
    return theirs.to(dtype).eval(), ours.to(dtype).eval()


def check_parity(theirs: Any, ours: Any, inputs: dict[str, Tensor], **options: Any) -> None:
    """Loss, logits and gradients, in eval mode and in training without dropout."""
    before = ours.config.to_dict()
    expected = theirs(**inputs)
    expected.loss.backward()
    their_gradients = gradients(theirs)
    single = expected.loss.dtype == torch.float32
    tolerance, relative = (1e-5, 1e-4) if single else (1e-10, 1e-9)
    for training in (False, True):
        result = ours.train(training)(**inputs, **options)
        for name, value in expected.items():
            torch.testing.assert_close(result[name], value, rtol=tolerance, atol=tolerance)
        result.loss.backward()
        same_gradients(gradients(ours), their_gradients, relative)
    assert ours.config.to_dict() == before, "a configuration is read, never written"


def check_tuples(theirs: Any, ours: Any, inputs: dict[str, Tensor]) -> None:
    """`return_dict=False`, with and without all that can be asked for; then other inputs."""
    asked = {"output_hidden_states": True, "output_attentions": True}
    for options in ({}, asked):
        expected = theirs(**inputs, **options, return_dict=False)
        result = ours(**inputs, **options, return_dict=False)
        assert type(result) is tuple and len(result) == len(expected)
        torch.testing.assert_close(result, expected, rtol=0.0, atol=1e-10)
    assert [len(x) for x in result[-2:]] == [3, 2], "embeddings and two layers"
    named = ours(**inputs, **asked)
    assert torch.equal(named.hidden_states[-1], result[-2][-1])
    assert torch.equal(named.attentions[0], result[-1][0])
    words = ours.get_input_embeddings()(inputs["input_ids"])
    given = {**inputs, "input_ids": None, "inputs_embeds": words}
    positions = torch.arange(words.shape[-2])
    same, other = (ours(**given, position_ids=step * positions, unpad=False) for step in (1, 2))
    torch.testing.assert_close(tuple(same), tuple(ours(**inputs, unpad=False)))
    assert not torch.equal(other[1], same[1])


def check_union(model: Any, inputs: dict[str, Tensor], count: int) -> None:
    """Micro-batches of four rows with `count` labels add up to them; the last row has no label."""
    whole = model.train()(**inputs).loss
    whole.backward()
    expected = gradients(model)
    parts = (slice(0, 1), slice(1, 3), slice(3, 4))
    micro = [{name: x[rows] for name, x in inputs.items()} for rows in parts]
    for items in (count, torch.tensor(count)):
        losses = [model(**part, num_items_in_batch=items).loss for part in micro]
        for loss in losses:
            loss.backward()
        same_gradients(gradients(model), expected, 1e-9)
        torch.testing.assert_close(torch.stack(losses).sum(), whole)
        assert losses[-1] == 0.0
    assert model(**micro[-1]).loss.isnan()


def check_dtypes(model: Any, inputs: dict[str, Tensor]) -> None:
    """int32 as int64; the loss of a half-precision model, or under autocast, in float32."""
    exact = model(**inputs)
    short = {name: x.int() if x.dtype == torch.int64 else x for name, x in inputs.items()}
    assert torch.equal(model(**short).loss, exact.loss)
    assert exact.loss.dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        losses = [model.float()(**inputs).loss]
    for dtype in (torch.bfloat16, torch.float16):
        half = model.to(dtype)(**inputs)
        assert half[1].dtype == dtype
        losses.append(half.loss)
    for loss in losses:
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss.double(), exact.loss, rtol=0.05, atol=0.05)


def check_compiled(model: Any, inputs: dict[str, Tensor], **options: Any) -> None:
    """One graph gives loss, logits and gradients; a graph never drops padding."""
    torch._dynamo.reset()
    compiled = torch.compile(model.train(), fullgraph=True, backend="aot_eager")
    result, expected = compiled(**inputs), model(**inputs, **options)
    torch.testing.assert_close(tuple(result), tuple(expected))
    expected.loss.backward()
    their_gradients = gradients(model)
    result.loss.backward()
    same_gradients(gradients(model), their_gradients, 1e-9)


def check_checkpointing(model: Any, inputs: dict[str, Tensor]) -> None:
    """The same loss and gradients from layers that are computed a second time, dropout too."""
    calls: list[None] = []
    model.train().roformer.encoder.layer[0].register_forward_pre_hook(lambda *_: calls.append(None))
    runs = []
    for enable in (False, True):
        if enable:
            model.gradient_checkpointing_enable()
        torch.manual_seed(0)
        loss = model(**inputs).loss
        loss.backward()
        runs.append((loss.detach(), gradients(model)))
    assert len(calls) == 3
    torch.testing.assert_close(runs[0][0], runs[1][0])
    same_gradients(runs[1][1], runs[0][1], 1e-12)


def tokens_seen(model: Any) -> list[tuple[int, ...]]:
    """A list that fills with the shape [B, S], or [1, T], of each batch that enters the layers."""
    seen: list[tuple[int, ...]] = []
    model.roformer.encoder.layer[0].register_forward_pre_hook(
        lambda _, arguments: seen.append(tuple(arguments[0].shape[:2]))
    )
    return seen


def rows(sizes: tuple[int, int], vocab: int = 61) -> dict[str, Tensor]:
    """Ids, two token types, and a mask that pads the second half of row 1."""
    inputs = batch(vocab, sizes)
    inputs["token_type_ids"] = inputs.pop("labels") % 2
    return inputs


def classifier(**fields: Any) -> Any:
    return make(RoFormerForSequenceClassification, **fields)


def sample(problem: str | None, classes: int, vocab: int = 61) -> dict[str, Tensor]:
    """Four sequences, one padded; one without a class where a sequence has one class."""
    inputs = rows((4, 11), vocab)
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
    theirs, ours = head_twins(RoFormerForSequenceClassification, dtype, **fields)
    inputs = sample(problem, classes, fields["vocab_size"])
    if inputs["labels"].is_floating_point():
        inputs["labels"] = inputs["labels"].to(dtype)
    check_parity(theirs, ours, inputs)


def test_tuples_are_those_of_transformers() -> None:
    check_tuples(*head_twins(RoFormerForSequenceClassification), sample(None, 2))


def test_number_of_labels_is_that_of_their_names() -> None:
    names = {0: "no", 1: "perhaps", 2: "yes"}
    assert classifier(id2label=names)(torch.ones(2, 3).long()).logits.shape == (2, 3)


@pytest.mark.parametrize(("problem", "classes"), [(None, 1), (None, 2), (None, 5)])
def test_micro_batches_add_up_to_their_union(problem: str | None, classes: int) -> None:
    inputs = sample(problem, classes)
    inputs["labels"][3] = -100
    check_union(classifier(num_labels=classes), inputs, inputs["labels"][:3].numel())


def test_dtypes() -> None:
    check_dtypes(classifier(), sample(None, 2))


def test_compiles() -> None:
    check_compiled(classifier(num_labels=5, num_hidden_layers=1), sample(None, 5), unpad=False)


def test_checkpointing_changes_nothing() -> None:
    check_checkpointing(classifier(hidden_dropout_prob=0.2), sample(None, 2))


def test_padding_changes_nothing_dropped_or_not() -> None:
    model, inputs = classifier(), sample(None, 2)
    seen, runs = tokens_seen(model), []
    for unpad in (False, True, None):
        result = model(**inputs, unpad=unpad)
        result.loss.backward()
        runs.append((result, gradients(model)))
    assert seen == [(4, 11), (1, 38), (1, 38)]
    for result, found in runs[1:]:
        torch.testing.assert_close(result.logits, runs[0][0].logits, rtol=0.0, atol=1e-11)
        same_gradients(found, runs[0][1], 1e-11)


def test_padding_in_the_first_place_is_kept() -> None:
    theirs, ours = head_twins(RoFormerForSequenceClassification)
    inputs = sample(None, 2)
    inputs["attention_mask"] = inputs["attention_mask"].flip(1)
    seen = tokens_seen(ours)
    check_parity(theirs, ours, inputs)
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
