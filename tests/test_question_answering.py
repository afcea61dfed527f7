"""Question answering: parity, answers beyond the input, and padding, which takes part.

The one idea: a position is a class among all S of a row, padding included. What must stay true:
nothing that would change what a row holds is accepted, neither dropping padding nor packing.
"""

from __future__ import annotations

from typing import Any

import head_checks as checks
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from twins import random_fields

from roformer_ext import RoFormerForQuestionAnswering


def reader(**fields: Any) -> Any:
    return checks.make(RoFormerForQuestionAnswering, **fields)


def sample(vocab: int = 61) -> dict[str, Tensor]:
    """Four rows of eleven, one padded; no start in row 2, no end in row 0, no answer in row 3."""
    starts, ends = torch.tensor([2, -1, 30, 11]), torch.tensor([12, 8, 9, 11])
    return {**checks.rows((4, 11), vocab), "start_positions": starts, "end_positions": ends}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(3))
def test_equals_transformers(seed: int, dtype: torch.dtype) -> None:
    fields = {**random_fields(seed), "type_vocab_size": 2}
    theirs, ours = checks.pair(RoFormerForQuestionAnswering, dtype, **fields)
    checks.parity(theirs, ours, sample(fields["vocab_size"]))


def test_tuples_are_those_of_transformers() -> None:
    checks.tuples(*checks.pair(RoFormerForQuestionAnswering), sample())


def test_two_logits_whatever_num_labels_says() -> None:
    model = reader(num_labels=5)
    assert model.config.num_labels == 5
    assert model.qa_outputs.weight.shape == (2, 32)
    result = model(torch.ones(2, 7).long())
    assert result.start_logits.shape == result.end_logits.shape == (2, 7)
    assert result.loss is None and len(result) == 2


def test_positions_are_clamped_and_the_length_is_ignored() -> None:
    model, inputs = reader(), sample()
    result = model(**inputs)
    starts = F.cross_entropy(result.start_logits[:2], torch.tensor([2, 0]))
    ends = F.cross_entropy(result.end_logits[1:3], torch.tensor([8, 9]))
    torch.testing.assert_close(result.loss, (starts + ends) / 2)


def test_micro_batches_add_up_to_their_union() -> None:
    checks.union(reader(), sample(), 2)


def test_a_column_of_positions_is_a_row() -> None:
    model, inputs = reader(), sample()
    columns = {name: x[:, None] for name, x in inputs.items() if name.endswith("positions")}
    assert torch.equal(model(**{**inputs, **columns}).loss, model(**inputs).loss)


def test_dtypes() -> None:
    checks.dtypes(reader(), sample())


def test_compiles() -> None:
    checks.compiled(reader(num_hidden_layers=1), sample())


def test_checkpointing_changes_nothing() -> None:
    checks.checkpointing(reader(hidden_dropout_prob=0.2), sample())


def test_dropout_is_for_training() -> None:
    model, inputs = reader(hidden_dropout_prob=0.5), sample()
    assert torch.equal(model(**inputs).loss, model(**inputs).loss)
    model.train()
    assert not torch.equal(model(**inputs).loss, model(**inputs).loss)


def test_padding_is_read_and_never_dropped() -> None:
    model, inputs = reader(), sample()
    seen = checks.tokens_seen(model)
    result = model(**inputs)
    assert torch.equal(result.start_logits, model(**inputs, unpad=False).start_logits)
    assert seen == [(4, 11), (4, 11)]
    assert result.start_logits[inputs["attention_mask"] == 0].all()


def test_biases_whatever_use_bias_says() -> None:
    names = reader(use_bias=False, norm_type="rms_norm").state_dict()
    assert [name for name in names if name.endswith("bias")] == ["qa_outputs.bias"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unpad": True}, "unpad must not be True with a result that reads padding"),
        ({"cu_seqlens": torch.tensor([0, 44])}, "cu_seqlens must be None, because answers"),
        ({"end_positions": None}, "start_positions and end_positions must be given together"),
        ({"start_positions": None}, "start_positions and end_positions must be given together"),
        (
            {"start_positions": torch.zeros(4)},
            r"start_positions must be integers \[B\] = \[4\], got torch.float32 of shape \[4\]",
        ),
        (
            {"end_positions": torch.zeros(4, 2).long()},
            r"end_positions must be integers \[B\] = \[4\], got torch.int64 of shape \[4, 2\]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reader()(**{**sample(), **changes})
