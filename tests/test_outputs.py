"""Outputs behave as dataclasses, as tuples and as pytrees."""

from __future__ import annotations

import pytest
import torch

from roformer_ext.outputs import EncoderOutput, MaskedLMOutput

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
