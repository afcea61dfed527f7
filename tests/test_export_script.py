"""scripts/export.py: what it refuses, and files that it checks before it says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import scripts_path
from twins import randomise, small

import roformer_ext

with scripts_path.importable():
    import export as script


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    model = roformer_ext.RoFormerForMaskedLM(small(num_hidden_layers=1))
    randomise(model, deviation=0.1)
    model.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_what_is_refused(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main([str(checkpoint), str(checkpoint / "model.bin")]) == 2
    assert "OUT must end in .pt2 or .onnx" in capsys.readouterr().err
    assert script.main([str(checkpoint / "none"), str(checkpoint / "model.pt2")]) == 2


def test_a_file_that_differs_is_not_called_done(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(model: Any, options: Any) -> None:
        pass

    def runner(path: Path) -> Any:
        return lambda inputs: [options_model(**inputs).logits + 1]

    options_model = roformer_ext.RoFormerForMaskedLM.from_pretrained(checkpoint)
    monkeypatch.setattr(script, "write", write)
    monkeypatch.setattr(script, "runner", runner)
    assert script.main([str(checkpoint), str(checkpoint / "model.pt2")]) == 1
    assert "DIFFERS from the model" in capsys.readouterr().out


def test_onnx(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="needs the extra onnx")
    assert script.main([str(checkpoint), str(checkpoint / "model.onnx")]) == 0
    assert "agrees with the model" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--decompose"]], ids=["op", "decomposed"])
def test_package(checkpoint: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main([str(checkpoint), str(checkpoint / "model.pt2"), *options]) == 0
    assert "agrees with the model" in capsys.readouterr().out
