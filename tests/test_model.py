"""The encoder: parity with transformers, positions, masks, and what may be passed in."""

from __future__ import annotations

import copy
import io
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from twins import SMALL, batch, random_fields, randomise, small, twins

from roformer_ext import RoFormerConfig, RoFormerModel

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def model(**fields: Any) -> RoFormerModel:
    encoder = RoFormerModel(small(**fields)).eval()
    randomise(encoder)
    return encoder


def ids(*size: int, vocab: int = 61) -> Tensor:
    return torch.randint(vocab, size, generator=torch.Generator().manual_seed(2))


def close(result: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(result, expected, rtol=0.0, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(6))
def test_equals_transformers(seed: int, dtype: torch.dtype) -> None:
    fields = random_fields(seed)
    theirs, ours = twins(fields, dtype, seed)
    inputs = batch(fields["vocab_size"], seed=seed)
    del inputs["labels"]
    inputs["attention_mask"][2] = 0
    inputs["token_type_ids"] = ids(3, 13, vocab=fields["type_vocab_size"])
    asked = {"output_hidden_states": True, "output_attentions": True}
    expected = theirs.roformer(**inputs, **asked)
    fused = ours.roformer(**inputs, unpad=False, output_hidden_states=True)
    stepwise = ours.roformer(**inputs, **asked)
    for result in (fused, stepwise):
        assert len(result.hidden_states) == fields["num_hidden_layers"] + 1
        close(result.last_hidden_state, expected.last_hidden_state, TOLERANCE[dtype])
        for state, their_state in zip(result.hidden_states, expected.hidden_states):
            close(state, their_state, TOLERANCE[dtype])
    assert fused.attentions is None
    for weights, their_weights in zip(stepwise.attentions, expected.attentions):
        close(weights, their_weights, TOLERANCE[dtype])


def test_field_names_and_tuples_are_those_of_transformers() -> None:
    theirs, ours = twins(SMALL)
    asked = {"output_hidden_states": True, "output_attentions": True, "return_dict": False}
    expected, result = theirs.roformer(ids(2, 5), **asked), ours.roformer(ids(2, 5), **asked)
    assert isinstance(result, tuple)
    assert [type(x) for x in result] == [type(x) for x in expected]
    named = ours.roformer(ids(2, 5))
    known = theirs.roformer(ids(2, 5))
    assert all(hasattr(known, name) for name in vars(named).keys() - {"pooler_output"})


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_types_stay_near(half: torch.dtype) -> None:
    encoder, x, mask = model(), ids(3, 13), torch.ones(3, 13)
    mask[1, 6:], mask[2] = 0, 0
    expected = encoder(x, mask).last_hidden_state
    with torch.autocast("cpu", half):
        automatic = encoder(x, mask).last_hidden_state
    encoder.to(half)
    result = encoder(x, mask).last_hidden_state
    assert result.dtype == half
    for got in (result, automatic):
        assert (got.float() - expected).abs().mean() < 0.05 and got.isfinite().all()
    result.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


def test_padding_neither_gives_nor_takes() -> None:
    encoder, x = model(), ids(2, 9)
    mask = torch.ones(2, 9)
    mask[:, 6:] = 0
    other = x.clone()
    other[:, 6:] = 5
    result, changed = (encoder(y, mask).last_hidden_state[:, :6] for y in (x, other))
    assert torch.equal(result, changed)
    close(result, encoder(x[:, :6]).last_hidden_state)


def test_embeddings_may_be_given() -> None:
    encoder, x = model(embedding_size=20), ids(2, 7)
    words = encoder.get_input_embeddings()(x)
    expected = encoder(x).last_hidden_state
    assert torch.equal(encoder(inputs_embeds=words).last_hidden_state, expected)
    assert torch.equal(encoder(x.int()).last_hidden_state, expected)
    assert torch.equal(encoder(x, token_type_ids=torch.zeros_like(x))[0], expected)


@pytest.mark.parametrize("rotary_value", [False, True])
def test_position_ids(rotary_value: bool) -> None:
    encoder, x = model(rotary_value=rotary_value).double(), ids(2, 7)
    positions = torch.arange(7)
    expected = encoder(x).last_hidden_state
    for form in (positions, positions.int(), positions[None], positions.expand(2, 7)):
        close(encoder(x, position_ids=form).last_hidden_state, expected, 1e-6)
    # Eq. 11: scores see distances only. Float32 tables are off by up to 6e-8 in every entry.
    far = encoder(x, position_ids=positions + 100_000).last_hidden_state
    assert ((far - expected).abs().max() < 1e-5) == (not rotary_value)
    order = torch.tensor([3, 1, 0, 6, 5, 2, 4])
    shuffled = encoder(x[:, order], position_ids=order).last_hidden_state
    close(shuffled, expected[:, order], 1e-6)


def test_longer_than_the_table_of_the_checkpoint() -> None:
    encoder = model(max_position_embeddings=4)
    x = ids(1, 50)
    close(encoder(x)[0], model(max_position_embeddings=64)(x)[0], 1e-6)


def test_rotation_can_be_switched_off() -> None:
    encoder, x = model(), ids(2, 7)
    still = encoder(x, position_ids=torch.full((7,), -1)).last_hidden_state
    rotated = encoder(x).last_hidden_state
    encoder.rotary = None
    expected = encoder(x).last_hidden_state
    assert torch.equal(still, expected)
    assert not torch.allclose(rotated, expected, atol=1e-2)
    order = torch.tensor([3, 1, 0, 6, 5, 2, 4])
    close(encoder(x[:, order]).last_hidden_state, expected[:, order])


def test_a_position_term_can_be_added() -> None:
    encoder, x = model(), ids(2, 7)
    expected = encoder(x).last_hidden_state
    encoder.embeddings.position_term = nn.Embedding(16, 32)
    with_term = encoder(x).last_hidden_state
    assert not torch.allclose(with_term, expected, atol=1e-2)
    close(encoder(x, position_ids=torch.arange(7).expand(2, 7))[0], with_term)
    nn.init.zeros_(encoder.embeddings.position_term.weight)
    close(encoder(x).last_hidden_state, expected)


def test_linear_scaling_divides_positions() -> None:
    scaled = model(rope_parameters={"rope_type": "linear", "factor": 2.0})
    x = ids(2, 7)
    close(scaled(x, position_ids=2 * torch.arange(7))[0], model()(x)[0])


def test_base_of_the_angles() -> None:
    x = ids(2, 7)
    assert not torch.allclose(model(rope_theta=100.0)(x)[0], model()(x)[0], atol=1e-2)


def test_gradient_checkpointing_changes_nothing() -> None:
    encoder, x, results = model().train(), ids(2, 7), []
    for switch in (encoder.gradient_checkpointing_disable, encoder.gradient_checkpointing_enable):
        switch()
        encoder(x).last_hidden_state.square().sum().backward()
        results.append([p.grad for p in encoder.parameters()])
        encoder.zero_grad(set_to_none=True)
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_look_up_gives_the_padding_row_no_gradient() -> None:
    encoder = model(pad_token_id=3)
    encoder(torch.tensor([[3, 4, 3, 5]])).last_hidden_state.sum().backward()
    gradient = encoder.embeddings.word_embeddings.weight.grad
    assert not gradient[3].any()
    assert model(pad_token_id=None).embeddings.word_embeddings.padding_idx is None


def test_copies_and_pickles() -> None:
    encoder, x = model(), ids(2, 7)
    expected = encoder(x)[0]
    file = io.BytesIO()
    torch.save(encoder, file)
    file.seek(0)
    for other in (copy.deepcopy(encoder), torch.load(file, weights_only=False)):
        assert torch.equal(other(x)[0], expected)
        other.load_state_dict(encoder.state_dict())


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "one of input_ids and inputs_embeds must be given, got neither"),
        ({"input_ids": ids(2, 7), "inputs_embeds": torch.zeros(2, 7, 32)}, "exclude.* got both"),
        ({"input_ids": ids(7)}, r"input_ids must be \[B, S\], got \[7\]"),
        ({"inputs_embeds": torch.zeros(7, 32)}, r"inputs_embeds must be \[B, S, E\], got \[7, 32"),
        (
            {"input_ids": ids(2, 7), "token_type_ids": ids(2, 6)},
            r"token_type_ids must be .* got \[2, 6\]",
        ),
        (
            {"input_ids": ids(2, 7), "position_ids": ids(8)},
            r"position_ids must be \[S\] = \[7\] or \[B, S\] = \[2, 7\], got \[8\]",
        ),
        (
            {"input_ids": ids(2, 7), "attention_mask": torch.ones(2, 8)},
            r"attention_mask must be .* got \[2, 8\]",
        ),
    ],
)
def test_bad_input_is_refused(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model()(**inputs)


def test_hidden_states_are_kept_only_when_asked_for() -> None:
    encoder, seen = model(num_hidden_layers=3), []
    for layer in encoder.encoder.layer:
        layer.register_forward_hook(lambda _, __, result: seen.append(weakref.ref(result[0])))
    with torch.no_grad():
        result = encoder(ids(2, 7))
        assert [each() is not None for each in seen] == [False, False, True]
        seen.clear()
        result = encoder(ids(2, 7), output_hidden_states=True)
    assert [each() for each in seen] == list(result.hidden_states[1:])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"attention": "linear"}, "attention must be 'softmax' in this version, got 'linear'"),
        ({"add_cross_attention": True}, "add_cross_attention must come with is_decoder"),
        ({"prefix_lm": True, "is_decoder": True}, "prefix_lm must not come with is_decoder"),
    ],
)
def test_what_no_model_could_be_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RoFormerModel(small(**fields))


@pytest.mark.parametrize(
    ("fields", "parameters"),
    [
        ({}, 123_457_536),
        (
            {
                "hidden_size": 384,
                "num_hidden_layers": 6,
                "num_attention_heads": 6,
                "intermediate_size": 1536,
            },
            29_848_320,
        ),
    ],
)
def test_number_of_parameters(fields: dict[str, Any], parameters: int) -> None:
    with torch.device("meta"):
        encoder = RoFormerModel(RoFormerConfig(**fields))
    assert sum(p.numel() for p in encoder.parameters()) == parameters


def test_new_models_start_as_described() -> None:
    encoder = RoFormerModel(small(hidden_size=128, initializer_range=0.05, embedding_size=64))
    for name, parameter in encoder.named_parameters():
        if name.endswith("LayerNorm.weight"):
            assert torch.equal(parameter, torch.ones_like(parameter))
        elif name.endswith("bias"):
            assert not parameter.any()
        elif "token_type" not in name:
            assert parameter.std().item() == pytest.approx(0.05, rel=0.1), name
    assert not encoder.embeddings.word_embeddings.weight[0].any()


def test_without_biases_and_with_rms_norm() -> None:
    encoder = model(norm_type="rms_norm", use_bias=False, hidden_act="relu", embedding_size=20)
    assert not [name for name in encoder.state_dict() if "bias" in name or "LayerNorm" in name]
    state = encoder(ids(2, 7)).last_hidden_state
    close(state.square().mean(-1), torch.ones(2, 7), 1e-4)
