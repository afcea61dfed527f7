"""What the tests of every classification head share: checks that take any head.

The one idea: a head is right when it equals transformers' with the same weights, and when neither
the layout of a batch, nor its split into micro-batches, nor a compiler, nor a shorter dtype changes
what it computes. What must stay true: the checks take any head, so that none is held to less.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from twins import batch, gradients, randomise, same_gradients, small

KINDS = (
    "RoFormerModel",
    "RoFormerForMaskedLM",
    "RoFormerForCausalLM",
    "RoFormerForSequenceClassification",
    "RoFormerForTokenClassification",
    "RoFormerForQuestionAnswering",
    "RoFormerForMultipleChoice",
)
"""Every class of model."""


def make(kind: Any, **fields: Any) -> Any:
    """A head of ours in float64 and eval mode, every weight random."""
    model = kind(small(**fields)).double().eval()
    randomise(model)
    return model


def pair(kind: Any, dtype: torch.dtype = torch.float64, **fields: Any) -> tuple[Any, Any]:
    """(theirs, ours) of equal weights, in eval mode."""
    pytest.importorskip("transformers", reason="parity needs transformers")
    import hf_twins

    theirs = hf_twins.theirs(kind.__name__, **fields)
    ours = kind(small(**fields))
    ours.load_state_dict(theirs.state_dict())
    return theirs.to(dtype).eval(), ours.to(dtype).eval()


def parity(theirs: Any, ours: Any, inputs: dict[str, Tensor], **options: Any) -> None:
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


def tuples(theirs: Any, ours: Any, inputs: dict[str, Tensor]) -> None:
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


def union(model: Any, inputs: dict[str, Tensor], count: int) -> None:
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


def dtypes(model: Any, inputs: dict[str, Tensor]) -> None:
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


def compiled(model: Any, inputs: dict[str, Tensor], **options: Any) -> None:
    """One graph gives loss, logits and gradients; a graph never drops padding."""
    torch._dynamo.reset()
    compiled = torch.compile(model.train(), fullgraph=True, backend="aot_eager")
    result, expected = compiled(**inputs), model(**inputs, **options)
    torch.testing.assert_close(tuple(result), tuple(expected))
    expected.loss.backward()
    their_gradients = gradients(model)
    result.loss.backward()
    same_gradients(gradients(model), their_gradients, 1e-9)


def checkpointing(model: Any, inputs: dict[str, Tensor]) -> None:
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
