"""What the converter of TensorFlow checkpoints refuses, leaving everything as it was.

The one idea: each conversion is asked to write over an earlier model, which must not change by a
byte. What must stay true: a refusal is one line that names the variable, the field or the file, the
status is 2, and no variable is read before all of them fit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tf_bundle import data_file
from tf_release import converter, masked_lm, publish, variables
from torch import Tensor

from roformer_ext import RoFormerForMaskedLM

Variables = dict[str, Tensor]
LAYER = "bert/encoder/layer_1"


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    with converter() as module:
        yield module


@pytest.fixture
def refused(script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Converts over an earlier model, which must stay as it was, and returns what was said."""
    out = tmp_path / "out"
    masked_lm(num_hidden_layers=1).save_pretrained(out)
    before = {file.name: file.read_bytes() for file in out.iterdir()}

    def convert(tensors: Variables | None, *options: str, **config: Any) -> str:
        release = publish(tmp_path / "release", masked_lm(), tensors)
        path = release / "bert_config.json"
        stated = json.loads(path.read_text(encoding="utf-8"))
        text = config.get("text", json.dumps({**stated, **config.get("stated", {})}))
        path.unlink()
        if text is not None:
            path.write_text(text, encoding="utf-8")
        assert script.main([str(release), str(out), "--overwrite", "--quiet", *options]) == 2
        assert {file.name: file.read_bytes() for file in out.iterdir()} == before
        assert {file.name for file in tmp_path.iterdir()} == {"out", "release"}
        said = capsys.readouterr().err
        assert said.startswith("convert_tf.py: ") and said.count("\n") == 1
        return said

    return convert


def replaced(name: str, tensor: Tensor) -> Callable[[Variables], Variables]:
    return lambda some: {**some, name: tensor}


def without(*names: str) -> Callable[[Variables], Variables]:
    return lambda some: {name: x for name, x in some.items() if not name.endswith(names)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without(f"{LAYER}/output/dense/bias"), f"lacks {LAYER}/output/dense/bias"),
        (without("output_bias"), "lacks cls/predictions/output_bias"),
        (without("/word_embeddings"), "one variable .../embeddings/word_embeddings, got none"),
        (replaced("x/embeddings/word_embeddings", torch.ones(2)), "got bert, x"),
        (replaced("bert/encoder/layer_3/a", torch.ones(2)), "without a gap, got 0, 1, 3"),
        (replaced("bert/encoder/layer_2/a", torch.ones(2)), "must be the 3 layers"),
        (replaced(f"{LAYER}/extra", torch.ones(2)), f"no tensor of this model is {LAYER}/extra"),
        (
            replaced(f"{LAYER}/intermediate/dense/kernel", torch.ones(48, 32)),
            f"{LAYER}/intermediate/dense/kernel [32, 48], got [48, 32]",
        ),
        (replaced("cls/predictions/output_bias", torch.ones(60)), "output_bias [61], got [60]"),
        (replaced(f"{LAYER}/output/dense/bias", torch.ones(32).long()), "got int64"),
    ],
)
def test_variables_that_do_not_fit(
    refused: Callable[..., str], change: Callable[[Variables], Variables], said: str
) -> None:
    assert said in refused(change(variables(masked_lm())))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_attention_heads": None}, "must be a positive integer, got None"),
        ({"num_hidden_layers": 3}, "must be the 2 layers of the checkpoint, got 3"),
        ({"intermediate_size": 64}, "the shapes must be"),
        ({"vocab_size": 2**40}, "bert/embeddings/word_embeddings [1099511627776, 32], got [61"),
        ({"hidden_size": 2**62}, "this configuration makes no model"),
        ({"max_position_embeddings": 2**40}, "max_position_embeddings must be at most"),
        ({"hidden_act": "sine"}, "bert_config.json makes no RoFormer"),
        ({"hidden_dropout_prob": "much"}, "bert_config.json makes no RoFormer"),
        ({"id2label": ["a"]}, "bert_config.json makes no RoFormer"),
        ({"attention": "linear"}, "this configuration makes no model"),
        ({"tie_word_embeddings": False}, "lacks cls/predictions/decoder/kernel"),
    ],
)
def test_settings_that_do_not_fit(
    refused: Callable[..., str], changes: dict[str, Any], said: str
) -> None:
    options = [f"--set={name}={json.dumps(value)}" for name, value in changes.items()]
    assert said in refused(None, *options)
    assert said in refused(None, stated=changes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "must state num_attention_heads"),
        ("[1]", "must hold a JSON object, got list"),
        ("{", "must be JSON in UTF-8"),
        ("[" * 200_000, "must be JSON in UTF-8"),
        (None, "bert_config.json cannot be read"),
    ],
)
def test_a_configuration_that_cannot_be_read(
    refused: Callable[..., str], text: str | None, said: str
) -> None:
    assert said in refused(None, text=text)


def test_a_mapping_of_embeddings_has_one_name(refused: Callable[..., str]) -> None:
    """Two spellings are known, and a checkpoint that has both could mean either."""
    source = masked_lm(embedding_size=20)
    both = {**variables(source), "bert/embeddings_project/kernel": torch.ones(20, 32)}
    said = refused(both, "--set=embedding_size=20")
    assert "one of bert/embeddings_project/kernel, bert/encoder/embedding_hidden" in said


def test_nothing_is_read_before_everything_fits(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tf.bundle import Bundle

    read = list[str]()
    monkeypatch.setattr(Bundle, "read", lambda bundle, name: read.append(name))
    refused({**variables(masked_lm()), "cls/predictions/output_bias": torch.ones(60)})
    assert not read


def test_a_damaged_last_variable_leaves_nothing(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = publish(tmp_path / "release", masked_lm())
    data = data_file(release / "bert_model.ckpt")
    whole = data.read_bytes()
    out = tmp_path / "out"
    for damaged, said in (
        (whole[:-1] + b"?", "does not have the checksum"),
        (whole[:-1], f"which has {len(whole) - 1}"),
        (None, f"{data} is missing"),
    ):
        data.unlink()
        if damaged is not None:
            data.write_bytes(damaged)
        else:
            assert not data.exists()
        assert script.main([str(release), str(out), "--quiet"]) == 2
        assert said in capsys.readouterr().err
        assert not out.exists()
        data.touch()


def test_out_is_written_over_only_when_told(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = masked_lm()
    arguments = [str(publish(tmp_path / "release", source)), str(tmp_path / "out"), "--quiet"]
    out = tmp_path / "out"
    masked_lm(num_hidden_layers=1).save_pretrained(out, max_shard_size="4KB")
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    before = sorted(out.iterdir())
    assert script.main(arguments) == 2
    assert "--overwrite writes there" in capsys.readouterr().err
    assert sorted(out.iterdir()) == before
    assert script.main([*arguments, "--overwrite"]) == 0
    names = {file.name for file in out.iterdir()}
    assert names == {"config.json", "model.safetensors", "vocab.txt", "notes.txt"}
    assert RoFormerForMaskedLM.from_pretrained(out).config.num_hidden_layers == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--vocab", "nowhere.txt"], "--vocab must be a file, got nowhere.txt"),
        (["--config", "nowhere.json"], "nowhere.json cannot be read"),
        (["--set", "heads=4"], "unexpected keyword argument 'heads'"),
        (["--sim"], "lacks bert/pooler/dense/bias, bert/pooler/dense/kernel"),
        (["--ignore", "query"], "lacks bert/encoder/layer_0/attention/self/query/bias, bert/"),
    ],
)
def test_options_that_do_not_fit(
    refused: Callable[..., str], options: list[str], said: str
) -> None:
    assert said in refused(None, *options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set", "heads"], "must be NAME=VALUE, got 'heads'"),
        (["--ignore", "("], "must be a regular expression"),
        (["--dtype", "int8"], "invalid choice"),
    ],
)
def test_options_that_cannot_be_read(
    script: Any, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        script.main(["release", "out", *options])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_paths_that_do_not_fit(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = publish(tmp_path / "release", masked_lm())
    file = tmp_path / "file"
    file.touch()
    (tmp_path / "two").mkdir()
    for name in ("a.index", "b.index"):
        (tmp_path / "two" / name).touch()
    for path, out, said in (
        (release, file, "OUT must be a folder, got the file"),
        (release, file / "out", "Not a directory"),
        (tmp_path / "two", tmp_path / "out", "got a.index, b.index"),
        (tmp_path / "nothing", tmp_path / "out", "nothing.index, and there is none"),
    ):
        assert script.main([str(path), str(out), "--quiet"]) == 2
        assert said in capsys.readouterr().err
