"""Checks what a source distribution and the wheel built from it hold: all that they must, no more.

The idea: both lists follow from the source tree, so they are compared as sets. The sdist holds what
git tracks; the wheel the package's modules, the libraries, the public headers and the CMake files.
What must stay true: a wheel asks for the minor version of torch that its libraries were built for,
and has the version of pyproject.toml.

    python scripts/wheel_check/contents.py SDIST WHEEL
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GENERATED = re.compile(r"PKG-INFO|setup\.cfg|roformer_ext\.egg-info/.+")
LIBRARIES = ("build.json", "libroformer_ext.so", "libroformer_ext_encoder.so")
CMAKE = (
    "FindLibTorch.cmake",
    "roformer_extConfig.cmake",
    "roformer_extConfigVersion.cmake",
    "roformer_extTargets.cmake",
    "roformer_extTargets-release.cmake",
)


def tracked_files(root: Path = ROOT) -> set[str]:
    """What git tracks or would add, as far as it is there."""
    names = subprocess.check_output(
        ["git", "-C", root, "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        text=True,
    )
    return {name for name in names.split("\0") if name and (root / name).exists()}


def sdist_files(sdist: Path) -> set[str]:
    """The files of a source distribution without its top folder and what packaging adds."""
    with tarfile.open(sdist) as archive:
        names = {m.name.split("/", 1)[1] for m in archive.getmembers() if m.isfile()}
    return {name for name in names if not GENERATED.fullmatch(name)}


def expected_wheel(sources: set[str]) -> set[str]:
    """The wheel's files that follow from the sources: not the metadata, nor the Python module."""
    modules = {n for n in sources if n.startswith("roformer_ext/")}
    headers = {n.removeprefix("csrc/") for n in sources if n.startswith("csrc/include/")}
    return (
        modules
        | {f"roformer_ext/{name}" for name in headers}
        | {f"roformer_ext/lib/{name}" for name in LIBRARIES}
        | {f"roformer_ext/share/cmake/roformer_ext/{name}" for name in CMAKE}
    )


def differences(what: str, found: set[str], expected: set[str]) -> Iterator[str]:
    yield from (f"{what} lacks {name}" for name in sorted(expected - found))
    yield from (f"{what} must not hold {name}" for name in sorted(found - expected))


def version() -> str:
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.M)
    assert found is not None
    return found[1]


def check_wheel(wheel: Path, sources: set[str]) -> Iterator[str]:
    """Every complaint about the wheel, one sentence each."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        texts = {n: archive.read(n).decode() for n in names if re.search(r"\.(cmake|json)$", n)}
        (metadata,) = (n for n in names if n.endswith(".dist-info/METADATA"))
        fields = Parser().parsestr(archive.read(metadata).decode())
    package = {n for n in names if not n.startswith(metadata.split("/")[0])}
    modules = {n for n in package if re.fullmatch(r"roformer_ext/_C\.[\w.-]+\.so", n)}
    if len(modules) != 1:
        yield f"the wheel must hold one Python module roformer_ext/_C.*.so, got {sorted(modules)}"
    yield from differences("the wheel", package - modules, expected_wheel(sources))
    for name, text in texts.items():
        yield from (
            f"{name} names {path}, of the machine that built it"
            for path in (str(ROOT), sys.prefix)
            if path in text
        )

    built = json.loads(texts["roformer_ext/lib/build.json"])
    for place, found in (("METADATA", fields["Version"]), ("build.json", built["version"])):
        if found != version():
            yield f"{place} says version {found}, pyproject.toml {version()}"
    required = [r for r in fields.get_all("Requires-Dist", []) if "extra ==" not in r]
    minor = ".".join(built["torch"].split(".")[:2])
    if required != [f"torch=={minor}.*"]:
        yield f"the wheel must ask for torch=={minor}.* and nothing else, and asks for {required}"


def main() -> int:
    sdist, wheel = map(Path, sys.argv[1:])
    sources = sdist_files(sdist)
    complaints = [*differences("the sdist", sources, tracked_files())]
    complaints += check_wheel(wheel, sources)
    print(*complaints, f"{sdist.name}, {wheel.name}: {len(complaints)} complaints", sep="\n")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
