"""V1, V2 and Sim as they are published: what config.json leaves open, names and shapes decide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_weights import HEADS, IDS, V2, make, reconfigure, rewrite, same

from roformer_ext import RoFormerForMaskedLM, RoFormerForSequenceClassification, RoFormerModel
from roformer_ext.files import read_config

SILENT = ("norm_type", "use_bias", "hidden_act", "num_attention_heads", "vocab_size", "hidden_size")
SIZES = ("embedding_size", "num_hidden_layers", "intermediate_size", "type_vocab_size")


@pytest.mark.parametrize("fields", [{}, V2, {"embedding_size": 20}])
def test_names_and_shapes_decide_what_is_not_stated(tmp_path: Path, fields: Any) -> None:
    model = make(RoFormerForMaskedLM, max_position_embeddings=12, **fields)
    model.save_pretrained(tmp_path)
    kept = {"model_type": "roformer"}
    (tmp_path / "config.json").write_text(json.dumps(kept))
    loaded = RoFormerForMaskedLM.from_pretrained(tmp_path)
    assert same(loaded, model)
    for name in (*SILENT, *SIZES, "max_position_embeddings"):
        assert getattr(loaded.config, name) == getattr(model.config, name), name
    assert torch.equal(loaded(IDS).logits, model(IDS).logits)


def test_a_decoder_shows_its_cross_attention(tmp_path: Path) -> None:
    model = make(RoFormerModel, is_decoder=True, add_cross_attention=True)
    model.save_pretrained(tmp_path)
    reconfigure(tmp_path, is_decoder=..., add_cross_attention=...)
    assert RoFormerModel.from_pretrained(tmp_path).config.add_cross_attention


def test_v2_computes_what_its_formulas_say(tmp_path: Path) -> None:
    """No biases, x / sqrt(mean(x^2) + eps), ReLU, and the embeddings as the decoder."""
    model = make(RoFormerForMaskedLM, **V2, num_hidden_layers=1).double()
    model.save_pretrained(tmp_path)
    assert read_config(tmp_path)["model_type"] == "roformer_ext"
    model = RoFormerForMaskedLM.from_pretrained(tmp_path)
    weights = {name.removeprefix("roformer."): x for name, x in model.state_dict().items()}
    assert not any("bias" in name or "LayerNorm" in name for name in weights)

    def norm(x: torch.Tensor) -> torch.Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-12).sqrt()

    words = weights["embeddings.word_embeddings.weight"]
    x = norm(words[IDS] + weights["embeddings.token_type_embeddings.weight"][0])
    layer = {n.removeprefix("encoder.layer.0."): w for n, w in weights.items() if "layer.0" in n}
    q, k, v = (
        (x @ layer[f"attention.self.{name}.weight"].T).view(2, 5, 4, 8).transpose(1, 2)
        for name in ("query", "key", "value")
    )
    cos, sin = model.roformer.rotary.tables(5)
    cos, sin = cos.double(), sin.double()

    def rotate(x: torch.Tensor) -> torch.Tensor:
        even, odd = x[..., ::2], x[..., 1::2]
        return torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1).flatten(-2)

    context = (rotate(q) @ rotate(k).mT / 8**0.5).softmax(-1) @ v
    context = context.transpose(1, 2).reshape(2, 5, 32)
    x = norm(x + context @ layer["attention.output.dense.weight"].T)
    inner = (x @ layer["intermediate.dense.weight"].T).relu()
    x = norm(x + inner @ layer["output.dense.weight"].T)
    torch.testing.assert_close(model(IDS).logits, x @ words.T, rtol=1e-10, atol=1e-10)


def test_v2_files_with_the_one_bias(tmp_path: Path) -> None:
    model = make(RoFormerForSequenceClassification, **V2, embedding_size=20)
    model.save_pretrained(tmp_path)
    bias = torch.randn(32)
    rewrite(tmp_path, roformer__embeddings_project__bias=bias)
    loaded = RoFormerForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(loaded.roformer.embeddings_project.bias, bias)
    assert not torch.equal(loaded(IDS).logits, model(IDS).logits)
    loaded.save_pretrained(tmp_path / "again")
    assert same(loaded, RoFormerForSequenceClassification.from_pretrained(tmp_path / "again"))


@pytest.mark.parametrize("model_class", HEADS, ids=lambda model: model.__name__)
def test_known_extras_are_ignored_with_one_warning(tmp_path: Path, model_class: Any) -> None:
    model = make(model_class)
    model.save_pretrained(tmp_path)
    prefix = "" if model_class is RoFormerModel else "roformer__"
    extras = {
        f"{prefix}embeddings_project__weight": torch.ones(32, 32),
        f"{prefix}embeddings_project__bias": torch.ones(32),
        f"{prefix}pooler__dense__weight": torch.ones(32, 32),
        f"{prefix}pooler__dense__bias": torch.ones(32),
    }
    rewrite(tmp_path, **extras)
    with pytest.warns(UserWarning, match="holds tensors without a use: ") as caught:
        loaded = model_class.from_pretrained(tmp_path)
    assert len(caught) == 1 and same(loaded, model)


def test_sim_pools_its_first_token_and_masks_by_prefix(tmp_path: Path) -> None:
    model = make(RoFormerModel, pooler_activation="linear")
    model.save_pretrained(tmp_path)
    # Published files name neither of the two.
    reconfigure(tmp_path, pooler_activation=..., prefix_lm=..., model_type="roformer")
    with pytest.warns(UserWarning, match=r"pooler.dense.weight"):
        assert RoFormerModel.from_pretrained(tmp_path)(IDS).pooler_output is None
    sim = RoFormerModel.from_pretrained(tmp_path, pooler_activation="linear", prefix_lm=True)
    types = torch.tensor([[0, 0, 0, 1, 1]] * 2)
    output = sim(IDS, token_type_ids=types)
    dense = sim.pooler.dense
    expected = output.last_hidden_state[:, 0] @ dense.weight.T + dense.bias
    torch.testing.assert_close(output.pooler_output, expected)
    changed = IDS.clone()
    changed[:, 4] = 50  # the last token of the answer
    later = sim(changed, token_type_ids=types).last_hidden_state
    torch.testing.assert_close(later[:, :4], output.last_hidden_state[:, :4])
    changed[:, 1] = 50  # a token of the question, which all of it sees
    later = sim(changed, token_type_ids=types).last_hidden_state
    assert ((later - output.last_hidden_state).abs().amax((0, 2)) > 1e-3).all()
