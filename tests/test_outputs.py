"""Outputs behave as dataclasses, as tuples and as pytrees."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from roformer_ext import outputs
from roformer_ext.outputs import EncoderOutput, MaskedLMOutput

HEADS = {
    "SequenceClassifierOutput": ("logits",),
    "TokenClassifierOutput": ("logits",),
    "QuestionAnsweringModelOutput": ("start_logits", "end_logits"),
    "MultipleChoiceModelOutput": ("logits",),
}
LOSS, LOGITS = torch.tensor(1.0), torch.zeros(1, 2, 3)


def test_unpacks_what_is_there() -> None:
    loss, logits = MaskedLMOutput(loss=LOSS, logits=LOGITS)
    assert loss is LOSS and logits is LOGITS
    (only,) = MaskedLMOutput(logits=LOGITS)
    assert only is LOGITS
    assert len(EncoderOutput(LOGITS, hidden_states=(LOGITS,))) == 2


def test_indexes_by_position_and_name() -> None:
    output = MaskedLMOutput(logits=LOGITS)
    assert output[0] is LOGITS and output["logits"] is LOGITS and output[:1] == (LOGITS,)
    with pytest.raises(KeyError, match="loss"):
        output["loss"]
    with pytest.raises(KeyError, match="to_tuple"):
        output["to_tuple"]


def test_is_a_pytree() -> None:
    doubled = torch.utils._pytree.tree_map(lambda x: 2 * x, MaskedLMOutput(LOSS, LOGITS))
    assert isinstance(doubled, MaskedLMOutput)
    assert doubled.loss == 2.0 and doubled.hidden_states is None


@pytest.mark.parametrize("name", HEADS)
def test_output_of_a_head_is_that_of_transformers(name: str) -> None:
    transformers = pytest.importorskip("transformers", reason="parity needs transformers")
    theirs = getattr(transformers.modeling_outputs, name)
    names = [field.name for field in dataclasses.fields(getattr(outputs, name))]
    assert names == [field.name for field in dataclasses.fields(theirs)]
    assert names == ["loss", *HEADS[name], "hidden_states", "attentions"]


@pytest.mark.parametrize("name", HEADS)
def test_output_of_a_head_leaves_out_what_is_absent(name: str) -> None:
    kind, results = getattr(outputs, name), {key: LOGITS.clone() for key in HEADS[name]}
    full = kind(loss=LOSS, **results, hidden_states=(LOGITS,) * 3, attentions=(LOGITS,) * 2)
    assert [type(x) for x in full] == [torch.Tensor] * (1 + len(results)) + [tuple] * 2
    bare = kind(**results)
    assert all(one is other for one, other in zip(bare, results.values(), strict=True))
    leaves, spec = torch.utils._pytree.tree_flatten(full)
    assert len(leaves) == len(full) - 2 + 5
    again = torch.utils._pytree.tree_unflatten(leaves, spec)
    assert type(again) is kind and again.loss is LOSS and len(again.attentions) == 2
