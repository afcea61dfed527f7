"""The adapter's models: results, names, configurations, and what any PreTrainedModel can do."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
from hf_twins import HEADS, hf, inputs, is_causal, pair, transformers
from torch import Tensor
from twins import SMALL

import roformer_ext


def differences(one: Any, other: Any) -> dict[str, float]:
    return {
        name: float((value - other[name]).detach().abs().max())
        for name, value in one.items()
        if isinstance(value, Tensor)
    }


@pytest.mark.parametrize("head", HEADS)
def test_names_and_results_are_those_of_transformers(head: str) -> None:
    reference, ours = pair(head, embedding_size=20, is_decoder=head == "RoFormerForCausalLM")
    assert ours.state_dict().keys() == reference.state_dict().keys()
    batch = inputs(head)
    asked = {"output_hidden_states": True, "output_attentions": True}
    expected, result = reference(**batch, **asked), ours(**batch, **asked)
    assert type(result).__bases__ == type(expected).__bases__
    assert list(result.keys()) == list(expected.keys())
    if head != "RoFormerForCausalLM" or is_causal(reference):
        assert all(value < 1e-5 for value in differences(expected, result).values())
    assert len(result.attentions) == len(expected.attentions)
    plain = ours(**batch, return_dict=False)
    assert isinstance(plain, tuple)
    assert [type(x) for x in plain] == [type(x) for x in reference(**batch, return_dict=False)]


@pytest.mark.parametrize("head", HEADS[1:])
def test_gradients_are_those_of_transformers(head: str) -> None:
    reference, ours = pair(head)
    for model in (reference, ours):
        model.train()(**inputs(head)).loss.backward()
    assert ours.roformer.embeddings.word_embeddings.weight.grad is not None
    for name, parameter in reference.named_parameters():
        # One packed parameter stands for three of theirs.
        if ".self." not in name and parameter.grad is not None:
            torch.testing.assert_close(
                ours.get_parameter(name).grad, parameter.grad, rtol=1e-4, atol=1e-5
            )


def test_arguments_are_named_in_the_signature() -> None:
    names = set(inspect.signature(hf.RoFormerForCausalLM.forward).parameters)
    assert names >= {"labels", "position_ids", "encoder_hidden_states", "use_cache", "cache"}
    names = set(inspect.signature(hf.RoFormerForQuestionAnswering.forward).parameters)
    assert "start_positions" in names and "use_cache" not in names
    with pytest.raises(TypeError, match="nonsense"):
        hf.RoFormerModel(hf.RoFormerConfig(**SMALL))(torch.ones(1, 3).long(), nonsense=1)


def test_takes_every_kind_of_configuration() -> None:
    torch.manual_seed(0)
    fields = {**SMALL, "rotary_value": True, "num_labels": 3}
    given = [
        hf.RoFormerConfig(**fields),
        transformers.RoFormerConfig(**fields),
        roformer_ext.RoFormerConfig(**fields),
    ]
    for config in given:
        own = hf.RoFormerForSequenceClassification(config).config
        assert (own.rotary_value, own.num_labels, own.model_type) == (True, 3, "roformer_ext")
    with pytest.raises(ValueError, match="bert"):
        hf.RoFormerModel(transformers.BertConfig())
    with pytest.raises(TypeError, match="dict"):
        hf.RoFormerModel(fields)


def test_configuration_refuses_what_ours_refuses() -> None:
    for field, value in (("hidden_size", 33), ("hidden_act", "gulp"), ("norm_type", "batch")):
        with pytest.raises(ValueError, match=str(value)):
            hf.RoFormerConfig(**{field: value})
    config = hf.RoFormerConfig(**SMALL)
    config.hidden_act = "gulp"
    with pytest.raises(ValueError, match="gulp"):
        hf.RoFormerModel(config)
    with pytest.warns(UserWarning, match="nonsense"):
        assert hf.RoFormerConfig(nonsense=3).nonsense == 3


def test_configuration_survives_a_file(tmp_path: Any) -> None:
    config = hf.RoFormerConfig(
        **SMALL,
        norm_type="rms_norm",
        rope_parameters={"rope_type": "linear", "factor": 4.0},
        id2label={0: "a", 1: "b", 2: "c"},
    )
    config.save_pretrained(tmp_path)
    for again in (
        hf.RoFormerConfig.from_pretrained(tmp_path),
        transformers.AutoConfig.from_pretrained(tmp_path),
        roformer_ext.RoFormerConfig.from_json((tmp_path / "config.json").read_text()),
    ):
        assert (again.norm_type, again.rope_factor, again.num_labels) == ("rms_norm", 4.0, 3)
        assert again.id2label == {0: "a", 1: "b", 2: "c"}
    changed = hf.RoFormerConfig.from_pretrained(tmp_path, is_decoder=True)
    assert changed.is_decoder and changed != config
    assert copy.deepcopy(config) == config


def test_configuration_decides_as_late_as_in_transformers() -> None:
    reference, ours = pair()
    ids = inputs()["input_ids"]
    for name in ("output_hidden_states", "output_attentions"):
        for model in (reference, ours):
            setattr(model.config, name, True)
    assert ours(ids).keys() == reference(ids).keys() == {"logits", "hidden_states", "attentions"}
    ours.config.return_dict = False
    assert isinstance(ours(ids), tuple)


@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_can_be_resized(tied: bool) -> None:
    _, ours = pair(tie_word_embeddings=tied)
    ids = inputs()["input_ids"]
    with torch.no_grad():
        before = ours(ids).logits
    ours.resize_token_embeddings(70, mean_resizing=False)
    assert ours.config.vocab_size == 70 and ours(ids).logits.shape[-1] == 70
    torch.testing.assert_close(ours(ids).logits[..., :61], before)
    predictions = ours.cls.predictions
    assert predictions.bias is predictions.decoder.bias
    assert (predictions.decoder.weight is ours.get_input_embeddings().weight) is tied
    ours(ids + 9, labels=ids).loss.backward()
    ours.set_input_embeddings(torch.nn.Embedding(70, 32))
    assert ours.get_input_embeddings().weight is ours.roformer.embeddings.word_embeddings.weight


def test_gradient_checkpointing_changes_nothing() -> None:
    _, ours = pair()
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            ours.gradient_checkpointing_enable({"use_reentrant": False})
            assert ours.roformer.gradient_checkpointing
        ours.zero_grad()
        ours.train()(**inputs()).loss.backward()
        gradients.append([p.grad.clone() for p in ours.parameters()])
    for one, other in zip(*gradients):
        torch.testing.assert_close(one, other)
    ours.gradient_checkpointing_disable()
    assert not ours.roformer.gradient_checkpointing


@pytest.mark.parametrize("name", ["eager", "sdpa", "flash_attention_2", "flex_attention"])
def test_any_attention_may_be_asked_for(name: str) -> None:
    config = hf.RoFormerConfig(**SMALL)
    model = transformers.AutoModelForMaskedLM.from_config(config, attn_implementation=name)
    assert isinstance(model, hf.RoFormerForMaskedLM)
    model.set_attn_implementation("eager")
    assert model(inputs()["input_ids"], output_attentions=True).attentions[0].shape[1] == 4


def test_new_weights_start_as_ours_do() -> None:
    torch.manual_seed(0)
    model = hf.RoFormerForMaskedLM(hf.RoFormerConfig(**{**SMALL, "initializer_range": 0.5}))
    words = model.get_input_embeddings().weight
    assert words[0].abs().max() == 0 and 0.45 < words[1:].std() < 0.55
    assert model.cls.predictions.decoder.weight is words
    assert model.num_parameters() == sum(p.numel() for p in model.parameters())
    with torch.device("meta"):
        assert hf.RoFormerForMaskedLM(hf.RoFormerConfig(**SMALL)).device.type == "meta"


def test_a_distributed_state_dict_has_the_same_names() -> None:
    from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict

    reference, ours = pair()
    state = get_model_state_dict(ours)
    assert state.keys() == reference.state_dict().keys()
    other = hf.RoFormerForMaskedLM(ours.config).eval()
    set_model_state_dict(other, state)
    ids = inputs()["input_ids"]
    assert torch.equal(other(ids).logits, ours(ids).logits)


def test_a_configuration_of_another_model_is_refused(tmp_path: Any) -> None:
    transformers.BertConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="bert"):
        hf.RoFormerConfig.from_pretrained(tmp_path)
    rope = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 64}
    yarn = transformers.RoFormerConfig(**SMALL, rope_parameters=rope)
    with pytest.raises(ValueError, match="yarn"):
        hf.RoFormerModel(yarn)
