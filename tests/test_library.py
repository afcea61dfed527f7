"""Loading: the build describes itself, and a torch that it was not built for is refused by name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import roformer_ext
from roformer_ext import _library

ROOT = Path(__file__).resolve().parent.parent


def test_build_info() -> None:
    """Version and torch are those of this installation; a copy is handed out."""
    info = roformer_ext.build_info()
    assert info["version"] == roformer_ext.__version__
    assert torch.__version__.startswith(info["torch"].rsplit(".", 1)[0])
    info.clear()  # type: ignore[attr-defined]
    assert roformer_ext.build_info()["compiler"]


@pytest.mark.parametrize("built_for", ["2.1.0", "3.15.0", "2.0"])
def test_another_minor_version_is_refused(built_for: str) -> None:
    """One sentence with both versions, before anything is loaded."""
    with pytest.raises(ImportError) as refusal:
        _library._check_torch(built_for)
    text = str(refusal.value)
    assert built_for.rsplit(".", 1)[0] in text and torch.__version__ in text
    assert len(text) < 400


def test_another_patch_version_is_welcome() -> None:
    """Patch releases and local labels make no difference."""
    minor = ".".join(torch.__version__.split("+")[0].split(".")[:2])
    _library._check_torch(f"{minor}.99")
    _library._check_torch(f"{minor}.0+cpu")


def test_a_missing_library_is_one_sentence(tmp_path: Path) -> None:
    """The package without its compiled part says what is missing and how to make it."""
    package = tmp_path / "roformer_ext"
    shutil.copytree(
        Path(roformer_ext.__file__).parent, package, ignore=shutil.ignore_patterns("lib", "*.so")
    )
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.path.insert(0, sys.argv[1]); import roformer_ext",
         str(tmp_path)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode != 0
    assert last.startswith("ImportError: the compiled library") and "pip install" in last


def test_cmake_finds_the_package_here() -> None:
    """`cmake_prefix_path` names the folder with the package configuration."""
    folder = Path(roformer_ext.cmake_prefix_path) / "roformer_ext"
    assert (folder / "roformer_extConfig.cmake").exists()


@pytest.mark.slow
def test_cuda_on_without_nvcc_is_an_error(tmp_path: Path) -> None:
    """ROFORMER_EXT_CUDA=ON never becomes a build without CUDA; other words are refused."""
    tools = {name: shutil.which(name) for name in ("cmake", "ninja", "c++", "ld", "as")}
    if None in tools.values():
        pytest.skip(f"not on the PATH: {[name for name, path in tools.items() if path is None]}")
    for name, path in tools.items():
        (tmp_path / name).symlink_to(str(path))
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("CUDACXX", "CUDA_PATH", "CUDA_HOME", "PATH")
    }
    for word, reason in (("ON", "nvcc|without CUDA"), ("MAYBE", "AUTO, ON or OFF")):
        done = subprocess.run(
            [
                str(tools["cmake"]), "-S", str(ROOT), "-B", str(tmp_path / word), "-GNinja",
                f"-DROFORMER_EXT_CUDA={word}", "-DROFORMER_EXT_PYTHON=OFF",
                f"-DLIBTORCH_ROOT={Path(torch.__file__).parent}",
            ],
            env={**environment, "PATH": str(tmp_path)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode != 0
        message = " ".join(done.stderr.split())
        assert any(part in message for part in reason.split("|")), message
