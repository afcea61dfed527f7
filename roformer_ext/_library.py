"""Finds and loads the shared library, and refuses a torch that it was not built for.

A C++ extension of torch works with one minor version of torch only; the check runs before anything
is loaded, because the loader's own message about a missing symbol helps nobody."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import TypedDict, cast

import torch

_PACKAGE = Path(__file__).resolve().parent

cmake_prefix_path: str = str(_PACKAGE / "share" / "cmake")
"""Where CMake finds this package: pass it as CMAKE_PREFIX_PATH, beside torch's."""


class BuildInfo(TypedDict):
    """What `build_info` returns."""

    version: str
    torch: str
    cuda: bool
    cpu_level: str
    cpu_levels: list[str]
    compiler: str


def _minor(version: str) -> str:
    return ".".join(version.split("+")[0].split(".")[:2])


def _check_torch(built_for: str) -> None:
    if _minor(built_for) != _minor(torch.__version__):
        raise ImportError(
            f"roformer_ext was built for torch {_minor(built_for)}, but torch {torch.__version__} "
            "is installed: reinstall it with pip install --no-build-isolation."
        )


def _load() -> BuildInfo:
    library = _PACKAGE / "lib" / "libroformer_ext.so"
    description = _PACKAGE / "lib" / "build.json"
    if not library.exists() or not description.exists():
        raise ImportError(
            f"the compiled library of roformer_ext must be at {library}, got no such file: build "
            "it with pip install --no-build-isolation -e ."
        )
    _check_torch(json.loads(description.read_text())["torch"])
    torch.ops.load_library(str(library))
    module = importlib.import_module("roformer_ext._C")
    return cast(BuildInfo, module.build_info())


_info = _load()


def build_info() -> BuildInfo:
    """What the compiled library is, and which CPU kernels run.

    The keys are version, torch (that it was built for), cuda (whether CUDA kernels are in),
    cpu_level (in use), cpu_levels (that this machine can run, ascending) and compiler. The
    environment variable ROFORMER_EXT_CPU (default, avx2, avx512) forces a level. It is read at
    import, where an unknown word or a level that the machine lacks is a RuntimeError.
    """
    return cast(BuildInfo, dict(_info))
