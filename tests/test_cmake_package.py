"""The CMake package: which versions it accepts, of itself and of torch, and what it says otherwise.

The one idea: a project without a language asks for the package, which takes a fraction of a second
and compiles nothing. tests/consumer, which CTest builds, is the project that uses it.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

import roformer_ext

PROJECT = """cmake_minimum_required(VERSION 3.25)
project(stranger LANGUAGES NONE)
find_package(roformer_ext {version} CONFIG REQUIRED)
get_target_property(kind roformer_ext::ops TYPE)
message(STATUS "found ${{roformer_ext_VERSION}} as ${{kind}}")
"""
TORCH = Path(torch.__file__).parent


def configure(folder: Path, version: str = "", torch_root: Path = TORCH) -> tuple[int, str]:
    """Status and words of CMake on a project that wants this version and has this torch."""
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("no cmake on the PATH")
    (folder / "CMakeLists.txt").write_text(PROJECT.format(version=version))
    done = subprocess.run(
        [
            cmake, "-S", str(folder), "-B", str(folder / "build"),
            f"-DCMAKE_PREFIX_PATH={roformer_ext.cmake_prefix_path}",
            f"-DLIBTORCH_ROOT={torch_root}",
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def another_torch(folder: Path, major: int, minor: int) -> Path:
    """As much of a torch as says which one it is."""
    header = folder / "include/torch/headeronly/version.h"
    lines = zip(("MAJOR", "MINOR", "PATCH"), (major, minor, 0))
    for path in (header, folder / "include/ATen/core/Tensor.h"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    header.write_text("".join(f"#define TORCH_VERSION_{name} {n}\n" for name, n in lines))
    return folder


def test_this_version_is_found(tmp_path: Path) -> None:
    for version in ("", roformer_ext.__version__, roformer_ext.__version__.rsplit(".", 1)[0]):
        status, words = configure(tmp_path, version)
        assert status == 0, words
        assert f"found {roformer_ext.__version__} as SHARED_LIBRARY" in words


def test_another_minor_version_is_refused(tmp_path: Path) -> None:
    """A later minor version may have changed its functions."""
    major, minor, *_ = (int(part) for part in roformer_ext.__version__.split("."))
    for version in (f"{major}.{minor + 1}", f"{major + 1}.0"):
        status, words = configure(tmp_path, version)
        assert status != 0
        assert f'compatible with requested version "{version}"' in words, words


def test_a_torch_of_another_minor_version_is_refused(tmp_path: Path) -> None:
    built = roformer_ext.build_info()["torch"]
    major, minor, *_ = (int(part) for part in built.split("."))
    status, words = configure(tmp_path, torch_root=another_torch(tmp_path, major, minor + 1))
    assert status != 0
    assert f"built for torch {major}.{minor}, but torch {major}.{minor + 1}.0 was found" in words
    assert str(tmp_path) in words


def test_another_patch_of_torch_is_welcome(tmp_path: Path) -> None:
    major, minor, patch = (int(part) for part in roformer_ext.build_info()["torch"].split("."))
    root = another_torch(tmp_path, major, minor)
    header = root / "include/torch/headeronly/version.h"
    header.write_text(header.read_text().replace("PATCH 0", f"PATCH {patch + 1}"))
    status, words = configure(tmp_path, torch_root=root)
    assert status == 0, words
