"""State dicts of the models: names, exchange with transformers, and the ways torch loads them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
)
from twins import random_fields, randomise, small, twins

from roformer_ext import RoFormerForMaskedLM, RoFormerModel

POSITIONS = "roformer.encoder.embed_positions.weight"


def masked_lm(**fields: Any) -> RoFormerForMaskedLM:
    model = RoFormerForMaskedLM(small(**fields)).eval()
    randomise(model)
    return model


def table(length: int, width: int = 8, base: float = 10000.0) -> Tensor:
    """A checkpoint's position table, [sin | cos]."""
    theta = base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * theta
    return torch.cat([angles.sin(), angles.cos()], dim=-1).float()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_exchange_with_transformers(seed: int, tied: bool) -> None:
    theirs, ours = twins({**random_fields(seed), "tie_word_embeddings": tied}, seed=seed)
    written, expected = ours.state_dict(), theirs.state_dict()
    assert expected.keys() - written.keys() == {POSITIONS}
    assert not written.keys() - expected.keys()
    if not tied:
        # Only the decoder's bias counts there; the other one is never read.
        expected["cls.predictions.bias"] = expected["cls.predictions.decoder.bias"]
    assert all(torch.equal(written[name], expected[name]) for name in written)
    randomise(theirs, seed + 100)
    missing, unexpected = theirs.load_state_dict(written, strict=False)
    assert missing == [POSITIONS] and not unexpected
    assert all(torch.equal(theirs.state_dict()[name], written[name]) for name in written)


def test_names() -> None:
    names = set(RoFormerModel(small(num_hidden_layers=1, embedding_size=20)).state_dict())
    both = {
        f"{layer}.{kind}"
        for kind in ("weight", "bias")
        for layer in (
            "embeddings.LayerNorm",
            "embeddings_project",
            "encoder.layer.0.attention.self.query",
            "encoder.layer.0.attention.self.key",
            "encoder.layer.0.attention.self.value",
            "encoder.layer.0.attention.output.dense",
            "encoder.layer.0.attention.output.LayerNorm",
            "encoder.layer.0.intermediate.dense",
            "encoder.layer.0.output.dense",
            "encoder.layer.0.output.LayerNorm",
        )
    }
    tables = {"embeddings.word_embeddings.weight", "embeddings.token_type_embeddings.weight"}
    assert names == both | tables


@pytest.mark.parametrize("length", [1, 64, 1536])
@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_right_position_tables_pass(length: int, stored: torch.dtype) -> None:
    model = masked_lm()
    state = {**model.state_dict(), POSITIONS: table(length).to(stored)}
    model.load_state_dict(state)
    state[POSITIONS] = state[POSITIONS].float()
    model.load_state_dict(state)
    model.roformer.load_state_dict(
        {k.removeprefix("roformer."): v for k, v in state.items() if k.startswith("roformer.")}
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (table(64, base=500.0), r"embed_positions.weight must be \[sin \| cos\] of pos \* 10000\^"),
        (table(64).roll(4, dims=-1), r"\[sin \| cos\]"),
        (table(64).roll(1, dims=0), r"\[sin \| cos\]"),
        (table(64) * torch.nan, r"\[sin \| cos\]"),
        (table(64, width=6), r"embed_positions.weight must have shape \[P, 8\], got \[64, 6\]"),
    ],
)
def test_wrong_position_tables_are_refused(wrong: Tensor, message: str) -> None:
    model = masked_lm()
    with pytest.raises(RuntimeError, match=message):
        model.load_state_dict({**model.state_dict(), POSITIONS: wrong})


def test_distributed_checkpoint_finds_every_name() -> None:
    source, target = masked_lm(), RoFormerForMaskedLM(small())
    state = get_model_state_dict(source)
    assert same(state, source.state_dict())
    set_model_state_dict(target, state)
    assert same(target.state_dict(), source.state_dict())
    whole = StateDictOptions(full_state_dict=True)
    randomise(target, 5)
    set_model_state_dict(target, get_model_state_dict(source, options=whole), options=whole)
    assert same(target.state_dict(), source.state_dict())
    set_model_state_dict(target, {}, options=StateDictOptions(strict=False))


def test_meta_device_then_load() -> None:
    source = masked_lm()
    for assign in (False, True):
        with torch.device("meta"):
            target = RoFormerForMaskedLM(small())
        if not assign:
            target.to_empty(device="cpu")
        target.load_state_dict(source.state_dict(), assign=assign)
        decoder, words = target.get_output_embeddings(), target.get_input_embeddings()
        assert decoder.weight is words.weight
        x = torch.arange(10)[None]
        assert torch.equal(target.eval()(x).logits, source(x).logits)


def test_reset_after_to_empty() -> None:
    with torch.device("meta"):
        model = RoFormerForMaskedLM(small())
    model.to_empty(device="cpu").reset_parameters()
    assert model(torch.arange(10)[None]).logits.isfinite().all()
    assert model.cls.predictions.decoder.weight.std().item() == pytest.approx(0.02, rel=0.2)


def test_goes_through_safetensors(tmp_path: Any) -> None:
    safetensors = pytest.importorskip("safetensors.torch", reason="needs safetensors")
    source, target = masked_lm(), RoFormerForMaskedLM(small())
    tied = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
    state = {name: value for name, value in source.state_dict().items() if name not in tied}
    safetensors.save_file(state, tmp_path / "model.safetensors")
    target.load_state_dict(safetensors.load_file(tmp_path / "model.safetensors"))
    assert same(target.state_dict(), source.state_dict())


def test_either_name_of_a_tied_pair_is_enough() -> None:
    source = masked_lm()
    head, words = "cls.predictions.", "roformer.embeddings.word_embeddings.weight"
    pairs = [(words, f"{head}decoder.weight"), (f"{head}bias", f"{head}decoder.bias")]
    for pair in pairs:
        for name in pair:
            state = source.state_dict()
            del state[name]
            target = RoFormerForMaskedLM(small())
            target.load_state_dict(state)
            assert same(target.state_dict(), source.state_dict())
    for pair in pairs:
        state = {k: v for k, v in source.state_dict().items() if k not in pair}
        with pytest.raises(RuntimeError, match="Missing"):
            RoFormerForMaskedLM(small()).load_state_dict(state)


def test_tied_names_with_two_values_are_refused() -> None:
    model = masked_lm()
    state = model.state_dict()
    state["cls.predictions.decoder.weight"] = state["cls.predictions.decoder.weight"] + 1.0
    with pytest.raises(RuntimeError, match="are tied and must be equal, got two values"):
        model.load_state_dict(state)
    untied = masked_lm(tie_word_embeddings=False)
    untied.load_state_dict(state)
    assert torch.equal(
        untied.get_output_embeddings().weight, state["cls.predictions.decoder.weight"]
    )
