"""Builds the C++ library with CMake and packages its install tree.

There is no source list and no compiler flag here: CMakeLists.txt has both. The build directory
`build/` is kept, so a second build does only what changed. What is built asks for the minor version
of torch that it was compiled against. Environment variables: ROFORMER_EXT_CUDA=AUTO|ON|OFF, and
ROFORMER_EXT_CMAKE_ARGS for further arguments of cmake."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

ROOT = Path(__file__).resolve().parent
BUILD = ROOT / "build"


def torch_root() -> Path:
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        sys.exit(
            "roformer_ext is compiled against the torch that it will run with, which "
            f"{sys.executable} cannot import: install torch there, then use "
            "pip install --no-build-isolation."
        )
    return Path(spec.submodule_search_locations[0])


def supported_torch() -> str:
    """The requirement in pyproject.toml, read as text because Python 3.10 knows no TOML."""
    found = re.search(r'^run = \["(.+)"\]$', (ROOT / "pyproject.toml").read_text("utf-8"), re.M)
    if found is None:
        sys.exit('pyproject.toml must say run = ["torch>=..."] in one line, and does not.')
    return found[1]


def required_torch() -> str:
    """The torch that a build of now can run with; any that is supported where there is none."""
    if importlib.util.find_spec("torch") is None:
        return supported_torch()
    major, minor, *_ = metadata.version("torch").split(".")
    return f"torch=={major}.{minor}.*"


def cmake_arguments() -> list[str]:
    arguments = [
        f"-DLIBTORCH_ROOT={torch_root()}",
        # Read by nobody: another torch in the same place makes the arguments differ.
        f"-DLIBTORCH_RELEASE={metadata.version('torch')}",
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-DROFORMER_EXT_CUDA={os.environ.get('ROFORMER_EXT_CUDA', 'AUTO')}",
        *shlex.split(os.environ.get("ROFORMER_EXT_CMAKE_ARGS", "")),
    ]
    if shutil.which("ninja"):
        arguments.append("-GNinja")
    return arguments


def run_cmake(prefix: Path) -> None:
    cmake = shutil.which("cmake")
    if cmake is None:
        sys.exit(
            "roformer_ext is built with CMake, which is not on the PATH: pip install cmake ninja."
        )
    arguments = cmake_arguments()
    stamp = BUILD / "arguments.txt"
    configured = (BUILD / "CMakeCache.txt").exists() and stamp.exists()
    if not configured or stamp.read_text() != "\n".join(arguments):
        if BUILD.exists():
            (BUILD / "CMakeCache.txt").unlink(missing_ok=True)
        subprocess.run([cmake, "-S", ROOT, "-B", BUILD, *arguments], check=True)
        stamp.write_text("\n".join(arguments))
    jobs = os.environ.get("MAX_JOBS", str(os.cpu_count() or 1))
    subprocess.run([cmake, "--build", BUILD, "--parallel", jobs], check=True)
    subprocess.run(
        [cmake, "--install", BUILD, "--prefix", prefix], check=True, stdout=subprocess.DEVNULL
    )


class CMakeBuild(build_ext):
    """Installs CMake's tree into the package: the source tree when editable, else the wheel."""

    def run(self) -> None:
        in_source = self.inplace or getattr(self, "editable_mode", False)
        run_cmake((ROOT if in_source else Path(self.build_lib).resolve()) / "roformer_ext")

    def get_outputs(self) -> list[str]:
        return []

    def get_output_mapping(self) -> dict[str, str]:
        return {}


class SourceDistribution(sdist):
    """Sources have not been compiled against a torch yet."""

    def run(self) -> None:
        self.distribution.install_requires = [supported_torch()]
        super().run()


setup(
    ext_modules=[Extension("roformer_ext._C", sources=[])],
    cmdclass={"build_ext": CMakeBuild, "sdist": SourceDistribution},
    install_requires=[required_torch()],
)
