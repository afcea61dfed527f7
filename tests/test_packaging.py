"""What is packaged: one version, a complete source distribution, a wheel with all it must hold.

The one idea: nothing is built here. setuptools lists what the source distribution would hold, and
scripts/wheel_check/contents.py judges a wheel made of empty files, right but for one thing.
`scripts/build_wheel.sh` builds and uses the real ones.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import scripts_path

with scripts_path.importable():
    from wheel_check import contents

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    """The files that git knows."""
    try:
        return contents.tracked_files()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no checkout of git, whose list is the measure")


def test_the_version_stands_in_one_place(tracked: set[str]) -> None:
    """The change log names it too, because it names every one."""
    pattern = re.compile(rf"(?<![\w.]){re.escape(contents.version())}(?![\w.])")
    holders = {
        name
        for name in tracked
        if pattern.search((ROOT / name).read_text(encoding="utf-8", errors="ignore"))
    }
    assert holders == {"pyproject.toml", "CHANGELOG.md"}


def test_the_source_distribution_is_complete(tracked: set[str], tmp_path: Path) -> None:
    """All that git tracks and nothing else, by setuptools' own reading of MANIFEST.in."""
    pytest.importorskip("setuptools")
    subprocess.run(
        [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    listed = (tmp_path / "roformer_ext.egg-info/SOURCES.txt").read_text().splitlines()
    assert {name for name in listed if not name.startswith(str(tmp_path))} == tracked


def a_wheel(path: Path, sources: set[str], **changes: str | None) -> Path:
    """A wheel of empty files; `changes` are further files, or None to leave one out."""
    folder = f"roformer_ext-{contents.version()}.dist-info"
    files: dict[str, str | None] = dict.fromkeys(contents.expected_wheel(sources), "")
    files["roformer_ext/_C.cpython-311-x86_64-linux-gnu.so"] = ""
    build = {"version": contents.version(), "torch": "2.13.1"}
    files["roformer_ext/lib/build.json"] = json.dumps(build)
    files[f"{folder}/RECORD"] = ""
    files[f"{folder}/METADATA"] = (
        f"Version: {contents.version()}\n"
        "Requires-Dist: torch==2.13.*\nRequires-Dist: tqdm; extra == 'demo'\n"
    )
    files |= {name.replace("DIST_INFO", folder): text for name, text in changes.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            if text is not None:
                archive.writestr(name, text)
    return path


def test_a_right_wheel(tracked: set[str], tmp_path: Path) -> None:
    assert not [*contents.check_wheel(a_wheel(tmp_path / "a.whl", tracked), tracked)]


METADATA = "Version: {}\nRequires-Dist: torch{}\n"
WRONG: dict[str, tuple[dict[str, str | None], str]] = {
    "a header is missing": (
        {"roformer_ext/include/roformer_ext/ops.h": None},
        "lacks roformer_ext/include/roformer_ext/ops.h",
    ),
    "py.typed is missing": ({"roformer_ext/py.typed": None}, "lacks roformer_ext/py.typed"),
    "a library of the tests": (
        {"roformer_ext/lib/libroformer_ext_bench.so": ""},
        "must not hold roformer_ext/lib/libroformer_ext_bench.so",
    ),
    "a test": ({"tests/test_ops.py": ""}, "must not hold tests/test_ops.py"),
    "the module of two Pythons": (
        {"roformer_ext/_C.cpython-312-x86_64-linux-gnu.so": ""},
        "one Python module",
    ),
    "any torch": (
        {"DIST_INFO/METADATA": METADATA.format(contents.version(), ">=2.11")},
        "must ask for torch==2.13.*",
    ),
    "another version": (
        {"DIST_INFO/METADATA": METADATA.format("7.8", "==2.13.*")},
        "METADATA says version 7.8",
    ),
    "a folder of the builder": (
        {"roformer_ext/share/cmake/roformer_ext/roformer_extTargets.cmake": f'"{ROOT}/lib"'},
        "of the machine that built it",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_wheel(tracked: set[str], tmp_path: Path, case: str) -> None:
    """One complaint, about what is wrong."""
    changes, words = WRONG[case]
    (complaint,) = contents.check_wheel(a_wheel(tmp_path / "a.whl", tracked, **changes), tracked)
    assert words in complaint
