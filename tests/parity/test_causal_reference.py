"""transformers' decoder shows that it is causal before anything of ours is compared with it.

The one idea: transformers 5.9 to about 5.17 lost the causal mask of its RoFormer decoder, and a
comparison with one of those would teach ours the same mistake. What must stay true: such a version
fails here under its name, and every decoder of this folder is skipped with the same reason; its
encoder under an explicit causal mask is a reference in all versions.
"""

from __future__ import annotations

import pytest
import torch
from parity import cases
from twins import SMALL

from roformer_ext import RoFormerConfig, RoFormerModel


def test_the_reference_is_causal() -> None:
    pytest.importorskip("transformers", reason="parity needs transformers")
    reason = cases.reason_against_reference()
    assert reason is None, f"{reason}: decoders were compared with nothing"


def test_the_proof_sees_what_is_not_causal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not cases.is_causal(cases.reference("RoFormerModel", SMALL))
    ours = RoFormerModel(RoFormerConfig(**SMALL, **cases.DECODER)).eval()
    assert cases.is_causal(ours)
    assert not cases.is_causal(RoFormerModel(RoFormerConfig(**SMALL)).eval())
    monkeypatch.setattr(cases, "DECODER", {})
    cases.reason_against_reference.cache_clear()
    with pytest.raises(pytest.skip.Exception, match=r"RoFormerModel of transformers \d.* is not"):
        cases.pair("decoder", {**SMALL, "is_decoder": True})
    cases.reason_against_reference.cache_clear()


@torch.no_grad()
def test_our_decoder_is_their_encoder_under_a_causal_mask() -> None:
    theirs = cases.reference("RoFormerModel", {**SMALL, "rotary_value": True}).double()
    fields = {**SMALL, "rotary_value": True, "is_decoder": True}
    ours = RoFormerModel(RoFormerConfig(**fields)).double().eval()
    ours.load_state_dict(theirs.state_dict())
    ids = cases.inputs("decoder", fields)["input_ids"]
    hidden = torch.ones(cases.TOKENS, cases.TOKENS).triu(1).bool()
    added = torch.zeros(hidden.shape, dtype=torch.float64).masked_fill(hidden, -1e30)[None, None]
    expected = theirs(ids, attention_mask=added).last_hidden_state
    result = ours(ids).last_hidden_state
    torch.testing.assert_close(result, expected, rtol=0.0, atol=1e-10)
