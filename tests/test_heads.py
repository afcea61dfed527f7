"""What every task head shares with its encoder: positions, what is returned, how weights start.

The one idea: the heads differ in what they compute from hidden states, and in nothing before that,
so each check runs over all of them. What must stay true: positions are relative in every layout,
and a head begins as small as `initializer_range` says.
"""

from __future__ import annotations

from typing import Any

import pytest
import test_multiple_choice
import test_question_answering
import test_sequence_classification
import test_token_classification
import torch
from head_checks import make
from twins import small

import roformer_ext

SAMPLES: dict[str, Any] = {
    "RoFormerForSequenceClassification": lambda: test_sequence_classification.sample(None, 2),
    "RoFormerForTokenClassification": lambda: test_token_classification.sample(on_padding=True),
    "RoFormerForQuestionAnswering": test_question_answering.sample,
    "RoFormerForMultipleChoice": test_multiple_choice.sample,
}
every_head = pytest.mark.parametrize("name", SAMPLES)


def kind(name: str) -> Any:
    return getattr(roformer_ext, name)


@every_head
@pytest.mark.parametrize("unpad", [None, False])
def test_positions_are_handed_on(name: str, unpad: bool | None) -> None:
    model, inputs = make(kind(name)), SAMPLES[name]()
    counted = torch.arange(inputs["input_ids"].shape[-1])
    expected = model(**inputs, unpad=unpad)
    result = model(**inputs, unpad=unpad, position_ids=counted + 1000)
    torch.testing.assert_close(tuple(result), tuple(expected), rtol=0.0, atol=1e-4)
    spread = model(**inputs, unpad=unpad, position_ids=3 * counted)
    assert not torch.allclose(spread.loss, expected.loss, rtol=1e-3)


@pytest.mark.parametrize("name", ["RoFormerForSequenceClassification", "RoFormerForMultipleChoice"])
def test_a_first_token_that_is_padding_is_not_dropped(name: str) -> None:
    model, inputs = make(kind(name), summary_type="first"), SAMPLES[name]()
    inputs["attention_mask"] = inputs["attention_mask"].flip(-1)
    kept = model(**inputs, unpad=False)
    torch.testing.assert_close(tuple(model(**inputs)), tuple(kept))
    with pytest.raises(ValueError, match="the first token of a sequence stands on padding"):
        model(**inputs, unpad=True)


@every_head
def test_hidden_states_and_weights_come_when_asked_for(name: str) -> None:
    model, inputs = make(kind(name)), SAMPLES[name]()
    asked = model(**inputs, output_hidden_states=True, output_attentions=True)
    rows, width = inputs["input_ids"].flatten(0, -2).shape
    assert [x.shape for x in asked.hidden_states] == [(rows, width, 32)] * 3
    assert [x.shape for x in asked.attentions] == [(rows, 4, width, width)] * 2
    plain = model(**inputs)
    assert plain.hidden_states is None and plain.attentions is None


@every_head
def test_there_is_no_cache(name: str) -> None:
    """A decoder's neither; scripts that say so themselves are right."""
    model, inputs = make(kind(name), is_decoder=True), SAMPLES[name]()
    plain = model(**inputs)
    assert "past_key_values" not in plain
    torch.testing.assert_close(tuple(model(**inputs, use_cache=False)), tuple(plain))
    with pytest.raises(ValueError, match=f"use_cache must be False for {name}, got True"):
        model(**inputs, use_cache=True)


@every_head
def test_a_new_head_starts_as_the_encoder_does(name: str) -> None:
    torch.manual_seed(0)
    fields = small(initializer_range=0.5, summary_use_proj=True, num_labels=20)
    model = kind(name)(fields)
    for _ in range(2):
        head = {key: x for key, x in model.named_parameters() if not key.startswith("roformer.")}
        weights = torch.cat([x.flatten() for key, x in head.items() if key.endswith("weight")])
        assert 0.35 < weights.std() < 0.65
        assert not any(x.any() for key, x in head.items() if key.endswith("bias"))
        with torch.no_grad():
            for x in head.values():
                x.fill_(7.0)
        model.reset_parameters()
