"""The converter of TensorFlow checkpoints: a converted model computes what the source computes.

The one idea: a release is made of a model whose weights are known (`tf_release`), and equality of
logits is the judge, bit for bit. What must stay true: each option changes just what it names.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from scripts_path import SCRIPTS
from tf_release import SIM, V2, converter, masked_lm, publish, training, variables
from twins import batch, randomise, small

from roformer_ext import RoFormerForMaskedLM, RoFormerModel


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    with converter() as module:
        yield module


def converted(script: Any, release: Path, *options: str) -> Path:
    """The folder of a conversion that must succeed."""
    out = release.with_name("out")
    assert script.main([str(release), str(out), "--quiet", *options]) == 0
    return out


def same(first: Any, second: Any) -> None:
    """Equal outputs, padding, types and pooler included."""
    inputs = batch(first.config.vocab_size)
    del inputs["labels"]
    inputs["token_type_ids"] = inputs["input_ids"] % first.config.type_vocab_size
    with torch.no_grad():
        for one, other in zip(first(**inputs).to_tuple(), second(**inputs).to_tuple(), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("embedding_size", [None, 20])
@pytest.mark.parametrize("shards", [1, 2])
def test_v1(script: Any, tmp_path: Path, embedding_size: int | None, shards: int) -> None:
    source = masked_lm(embedding_size=embedding_size, rotary_value=False)
    weights = variables(source)
    release = publish(tmp_path / "v1", source, {**weights, **training(weights)}, shards)
    out = converted(script, release)
    model = RoFormerForMaskedLM.from_pretrained(out)
    assert model.config.model_type == "roformer"
    assert model.config.max_position_embeddings == source.config.max_position_embeddings
    same(model, source)
    assert (out / "vocab.txt").read_bytes() == (release / "vocab.txt").read_bytes()
    assert {file.name for file in out.iterdir()} == {
        "config.json",
        "model.safetensors",
        "vocab.txt",
    }


def test_transformers_loads_a_converted_v1(script: Any, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="parity needs transformers")
    source = masked_lm(embedding_size=20)
    out = converted(script, publish(tmp_path / "v1", source))
    theirs = transformers.RoFormerForMaskedLM.from_pretrained(out).eval()
    ids = batch(source.config.vocab_size)["input_ids"]
    torch.testing.assert_close(theirs(ids).logits, source(ids).logits, rtol=1e-4, atol=1e-4)


def test_v2_is_seen_by_what_it_lacks(script: Any, tmp_path: Path) -> None:
    source = masked_lm(**V2)
    assert not any("bias" in name or "LayerNorm" in name for name in variables(source))
    release = publish(tmp_path / "v2", source)
    stated = json.loads((release / "bert_config.json").read_text(encoding="utf-8"))
    del stated["hidden_act"]
    (release / "bert_config.json").write_text(json.dumps(stated), encoding="utf-8")
    model = RoFormerForMaskedLM.from_pretrained(converted(script, release))
    for name, value in V2.items():
        assert getattr(model.config, name) == value
    same(model, source)


def test_sim(script: Any, tmp_path: Path) -> None:
    source = masked_lm(**SIM)
    out = converted(script, publish(tmp_path / "sim", source), "--sim")
    model = RoFormerForMaskedLM.from_pretrained(out)
    assert (model.config.prefix_lm, model.config.eos_token_id) == (True, 102)
    same(model, source)
    body = RoFormerModel.from_pretrained(out)
    assert body.pooler is not None
    same(body, source.roformer)


def test_a_pooler_without_an_activation_is_asked_for(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = masked_lm(pooler_activation="tanh")
    release = publish(tmp_path / "bert", source)
    assert script.main([str(release), str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "pooler" in said and "--sim" in said and "--set pooler_activation=tanh" in said
    body = RoFormerModel.from_pretrained(
        converted(script, release, "--set", "pooler_activation=tanh")
    )
    same(body, source.roformer)
    without = converted(script, release, "--ignore", "^bert/pooler/", "--overwrite")
    assert RoFormerModel.from_pretrained(without).pooler is None


def test_an_encoder_without_a_head(script: Any, tmp_path: Path) -> None:
    source = RoFormerModel(small(embedding_size=20))
    randomise(source)
    out = converted(script, publish(tmp_path / "bare", source.eval()))
    same(RoFormerModel.from_pretrained(out), source)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_keeps_the_dtype_unless_another_is_asked_for(
    script: Any, tmp_path: Path, dtype: torch.dtype
) -> None:
    source = masked_lm(dtype)
    release = publish(tmp_path / "release", source)
    model = RoFormerForMaskedLM.from_pretrained(converted(script, release))
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == dtype and torch.equal(tensor, source.state_dict()[name]), name
    out = converted(script, release, "--dtype", "float32", "--overwrite")
    model = RoFormerForMaskedLM.from_pretrained(out)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, source.state_dict()[name].float()), name


def test_options_say_what_the_release_does_not(script: Any, tmp_path: Path) -> None:
    source = masked_lm(num_attention_heads=2, layer_norm_eps=1e-3)
    release = publish(tmp_path / "release", masked_lm(), variables(source))
    for name in ("bert_config.json", "vocab.txt"):
        (release / name).rename(tmp_path / name)
    files = [f"--config={tmp_path / 'bert_config.json'}", f"--vocab={tmp_path / 'vocab.txt'}"]
    changes = ["--set", "num_attention_heads=2", "--set", "layer_norm_eps=1e-3"]
    out = converted(script, release / "bert_model.ckpt.index", *files, *changes)
    same(RoFormerForMaskedLM.from_pretrained(out), source)
    assert (out / "vocab.txt").is_file()


def test_names_may_begin_differently(script: Any, tmp_path: Path) -> None:
    source = masked_lm()
    renamed = {name.replace("bert/", "my/net/", 1): x for name, x in variables(source).items()}
    out = converted(script, publish(tmp_path / "release", source, renamed))
    same(RoFormerForMaskedLM.from_pretrained(out), source)


def test_says_what_it_wrote(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = masked_lm()
    weights = {**variables(source), "extra/scale": torch.ones(1), "global_step": torch.tensor(1)}
    release = publish(tmp_path / "release", source, weights)
    (release / "vocab.txt").unlink()
    prefix, out = str(release / "bert_model.ckpt"), str(tmp_path / "out")
    assert script.main([prefix, out, "--ignore", "^extra/"]) == 0
    said = capsys.readouterr().out
    parameters = sum(weight.numel() for weight in source.parameters())
    assert f"RoFormerForMaskedLM, 2 layers x 32, vocabulary of 61, {parameters:,}" in said
    assert "left out 2 variables" in said
    assert "directionality" in said and "without it there is no tokenizer" in said
    assert not (tmp_path / "out/vocab.txt").exists()


def test_help(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        script.main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("CHECKPOINT", "OUT", "--sim", "--set", "--ignore"))


def test_run_as_a_program(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "convert_tf.py"), str(tmp_path), str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("convert_tf.py: CHECKPOINT must be a folder with one *.index")
    assert ended.stderr.count("\n") == 1
