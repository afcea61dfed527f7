"""`roformer_ext.export`: programs of every head, and the packages that AOTInductor makes of them.

A program is held to the model at sizes that it was not exported with, one token and one row
among them. Packages take a compiler, so they are slow, and the C++ program that loads them is
`tests/consumer`.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from head_checks import KINDS as EVERY_KIND
from torch import Tensor
from twins import randomise, small

import roformer_ext
from roformer_ext import export

OTHERS = [kind for kind in EVERY_KIND if kind != "RoFormerForMaskedLM"]
KINDS = ("RoFormerForMaskedLM", *(pytest.param(kind, marks=pytest.mark.slow) for kind in OTHERS))
LAYERS = 2


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield


def _model(kind: str, **fields: Any) -> Any:
    model = getattr(roformer_ext, kind)(small(num_hidden_layers=LAYERS, **fields))
    randomise(model, deviation=0.1)
    return model.eval()


def _inputs(kind: str, batch: int, seq: int) -> dict[str, Tensor]:
    sizes = (batch, 3, seq) if kind.endswith("MultipleChoice") else (batch, seq)
    ids = torch.randint(5, 61, sizes)
    mask = torch.ones_like(ids)
    mask[0, ..., seq - seq // 3 :] = 0
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids % 2}


def _same(actual: Any, model: Any, inputs: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    with torch.no_grad():
        expected = model(**inputs, unpad=False, return_dict=False)
    expected = [value for value in expected if isinstance(value, Tensor)]
    found = [value for value in actual if isinstance(value, Tensor)]
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("decompose", [False, True], ids=["op", "decomposed"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_head(kind: str, decompose: bool) -> None:
    """Any batch and length; the operator is one node a layer, or gone."""
    model = _model(kind).train()
    program = export.export(model, decompose=decompose)
    assert all(module.training for module in model.modules())
    assert export.rotations(program) == (0 if decompose else LAYERS)
    model.eval()
    for batch, seq in ((1, 1), (5, 9), (2, 70)):
        inputs = _inputs(kind, batch, seq)
        _same(program.module()(**inputs), model, inputs)


def test_decoder_and_positions_of_its_own() -> None:
    model = _model("RoFormerForCausalLM", is_decoder=True)
    ids = torch.arange(14).view(2, 7)
    program = export.export(model, {"input_ids": ids, "position_ids": ids + 100})
    assert export.rotations(program) == LAYERS
    other = torch.randint(61, (3, 5))
    inputs = {"input_ids": other, "position_ids": torch.randint(2**31, (3, 5))}
    with torch.no_grad():
        expected = model(**inputs, use_cache=False).logits
    torch.testing.assert_close(program.module()(**inputs)[0], expected, rtol=1e-5, atol=1e-5)


def test_saved_and_loaded() -> None:
    model = _model("RoFormerForMaskedLM")
    buffer = io.BytesIO()
    torch.export.save(export.export(model, strict=True), buffer)
    buffer.seek(0)
    program = torch.export.load(buffer)
    assert export.rotations(program) == LAYERS
    inputs = _inputs("", 3, 11)
    _same(program.module()(**inputs), model, inputs)


def test_what_is_refused(tmp_path: Path) -> None:
    model = _model("RoFormerModel")
    with pytest.raises(ValueError, match="must have input_ids or inputs_embeds, got nothing"):
        export.export(model, {})
    with pytest.raises(ValueError, match=r"must be named \*\.pt2"):
        export.package(export.export(model), tmp_path / "model.zip")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[bool, Path]]:
    """A model, and its packages with and without decomposition."""
    folder = tmp_path_factory.mktemp("packages")
    model = _model("RoFormerForMaskedLM")
    return model, {
        decompose: export.package(
            export.export(model, decompose=decompose), folder / f"{decompose}.pt2"
        )
        for decompose in (False, True)
    }


@pytest.mark.slow
@pytest.mark.parametrize("decompose", [False, True], ids=["op", "decomposed"])
def test_packages_in_python(packages: Any, decompose: bool) -> None:
    model, paths = packages
    loaded = torch._inductor.aoti_load_package(str(paths[decompose]))
    for batch, seq in ((1, 1), (5, 9), (2, 70)):
        inputs = _inputs("", batch, seq)
        _same(loaded(**inputs), model, inputs)


_WITHOUT_US = """
import sys, torch
path, ids = sys.argv[1], torch.arange(18).view(2, 9)
loaded = torch._inductor.aoti_load_package(path)
print(loaded(input_ids=ids, attention_mask=ids * 0 + 1, token_type_ids=ids * 0)[0].shape)
assert "roformer_ext" not in sys.modules
"""


@pytest.mark.slow
@pytest.mark.parametrize("decompose", [False, True], ids=["op", "decomposed"])
def test_which_package_needs_our_library(packages: Any, decompose: bool) -> None:
    """In a process that has torch alone."""
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_US, str(packages[1][decompose])],
        capture_output=True,
        text=True,
        cwd="/",
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert (done.returncode == 0) == decompose, done.stderr
    assert decompose or "roformer_ext::rope" in done.stderr


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the C++ programs that load a package, built against the installed library."""
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("needs cmake")
    build = tmp_path_factory.mktemp("consumer")
    source = Path(__file__).parent / "consumer"
    prefixes = f"{roformer_ext.cmake_prefix_path};{torch.utils.cmake_prefix_path}"
    for command in (
        [cmake, "-S", source, "-B", build, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefixes}"],
        [cmake, "--build", build, "--target", "package", "package_without_us", "-j", "1"],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return build


@pytest.mark.slow
@pytest.mark.parametrize("program", ["package", "package_without_us"])
@pytest.mark.parametrize("decompose", [False, True], ids=["op", "decomposed"])
def test_packages_in_cpp(
    packages: Any, programs: Path, decompose: bool, program: str, tmp_path: Path
) -> None:
    """A program without Python gets the model's results, without our library where it may."""
    model, paths = packages
    out = tmp_path / "logits"
    done = subprocess.run(
        [programs / program, paths[decompose], "2", "9", out], capture_output=True, text=True
    )
    if program == "package_without_us" and not decompose:
        assert done.returncode == 1 and "roformer_ext::rope" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    ids = torch.arange(18).view(2, 9)
    with torch.no_grad():
        expected = model(ids, torch.ones_like(ids), torch.zeros_like(ids)).logits
    found = torch.frombuffer(bytearray(out.read_bytes()), dtype=torch.float32)
    torch.testing.assert_close(found.view(expected.shape), expected, rtol=1e-5, atol=1e-5)
