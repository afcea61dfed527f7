"""The adapter's generation: that of transformers, on our decoder, with that library's caches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hf_twins import hf, inputs, is_causal, pair, transformers
from torch import Tensor
from twins import SMALL

import roformer_ext

SETTINGS: list[dict[str, Any]] = [
    {},
    {"use_cache": False},
    {"cache_implementation": "static"},
    {"do_sample": True, "top_k": 5, "temperature": 0.7},
    {"num_beams": 3, "num_return_sequences": 2},
    {"num_beams": 2, "length_penalty": 2.0, "no_repeat_ngram_size": 2},
]


def prompts() -> tuple[Tensor, Tensor]:
    """Three prompts, the second padded on the left."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(4, 61, (3, 7), generator=generator)
    mask = torch.ones_like(ids)
    ids[1, :3], mask[1, :3] = 0, 0
    return ids, mask


def decoders(**fields: Any) -> Any:
    """(theirs, ours, ours without transformers), with equal weights."""
    reference, adapter = pair("RoFormerForCausalLM", is_decoder=True, eos_token_id=3, **fields)
    config = roformer_ext.RoFormerConfig(**SMALL, is_decoder=True, eos_token_id=3, **fields)
    core = roformer_ext.RoFormerForCausalLM(config).eval()
    core.load_state_dict(reference.state_dict())
    return reference, adapter, core


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("rotary_value", [False, True])
def test_generates_what_the_others_generate(settings: dict[str, Any], rotary_value: bool) -> None:
    reference, adapter, core = decoders(rotary_value=rotary_value)
    ids, mask = prompts()
    results = []
    for model in (reference, adapter):
        torch.manual_seed(1)
        results.append(model.generate(ids, attention_mask=mask, max_new_tokens=12, **settings))
    known = {name: value for name, value in settings.items() if name != "cache_implementation"}
    torch.manual_seed(1)
    assert torch.equal(
        results[1], core.generate(ids, attention_mask=mask, max_new_tokens=12, **known)
    )
    if is_causal(reference):
        assert torch.equal(*results)
    assert is_causal(adapter)


@pytest.mark.parametrize("beams", [1, 3])
def test_generates_from_an_encoder(beams: int) -> None:
    reference, adapter, core = decoders(add_cross_attention=True)
    ids, mask = prompts()
    states = torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(2))
    settings = {"attention_mask": mask, "max_new_tokens": 8, "num_beams": beams}
    result = adapter.generate(ids, encoder_hidden_states=states, **settings)
    assert torch.equal(result, core.generate(ids, encoder_hidden_states=states, **settings))
    if is_causal(reference):
        # Its own cache mixes up what it keeps of the encoder and of the prompt.
        settings["use_cache"] = False
        expected = reference.generate(ids, encoder_hidden_states=states, **settings)
        assert torch.equal(result, expected)


def test_caches_are_those_of_transformers() -> None:
    _, model, _ = decoders(add_cross_attention=True)
    ids, _ = prompts()
    states = torch.randn(3, 5, 32)
    assert isinstance(model(ids)[1], transformers.DynamicCache)
    first = model(ids[:, :4], encoder_hidden_states=states)[1]
    assert isinstance(first, transformers.EncoderDecoderCache)
    assert first.get_seq_length() == 4
    whole = model(ids, encoder_hidden_states=states, use_cache=False)
    for name in ("cache", "past_key_values"):
        cache = model(ids[:, :4], encoder_hidden_states=states)[1]
        rest = model(ids[:, 4:], encoder_hidden_states=states, **{name: cache})
        torch.testing.assert_close(rest.logits, whole.logits[:, 4:], rtol=0.0, atol=1e-5)
    assert len(whole.to_tuple()) == 1
    assert len(model.train()(ids).to_tuple()) == 1


def test_generation_keeps_what_it_was_asked_for() -> None:
    _, model, _ = decoders()
    ids, mask = prompts()
    result = model.generate(
        ids,
        attention_mask=mask,
        max_new_tokens=3,
        eos_token_id=[],
        output_attentions=True,
        output_scores=True,
        return_dict_in_generate=True,
    )
    assert len(result.scores) == len(result.attentions) == 3
    assert result.attentions[0][0].shape == (3, 4, 7, 7)


def test_masked_lm_batches_never_bring_a_cache() -> None:
    _, model = pair()
    assert list(model(**inputs(), use_cache=True).keys()) == ["loss", "logits"]
    assert hf.RoFormerForMaskedLM.can_generate() is False
    assert hf.RoFormerForCausalLM.can_generate() is True
