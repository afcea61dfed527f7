"""The shell scripts say what they are, refuse what they do not know, and hide no finding of ours.

The scripts themselves build and download, so they are not run further than that here.
"""

from __future__ import annotations

import re
import subprocess

import pytest
from scripts_path import SCRIPTS

ROOT = SCRIPTS.parent
NAMES = ("build_wheel.sh", "lint.sh", "sanitize_cpu.sh", "test_torch_versions.sh")
SUPPRESSIONS = ("tests/csrc/lsan.supp", "tests/consumer/valgrind.supp")


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPTS / name), *arguments], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("name", NAMES)
def test_help_is_the_opening_comment(name: str) -> None:
    done = run(name, "--help")
    assert done.returncode == 0, done.stderr
    opening = (SCRIPTS / name).read_text(encoding="utf-8").splitlines()[1]
    assert done.stdout.splitlines()[0] == opening.removeprefix("# ")
    assert f"scripts/{name} " in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_argument_is_named(name: str) -> None:
    done = run(name, "--nonsense")
    assert done.returncode != 0
    assert "--nonsense" in done.stderr.splitlines()[-1]
    assert "--help" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", SUPPRESSIONS)
def test_suppressions_name_what_is_not_ours(name: str) -> None:
    """Each with its reason above it; none with a name of ours, nor of a whole library of torch,
    whose frames stand in the stack of everything that we allocate."""
    text = (ROOT / name).read_text(encoding="utf-8")
    entries = re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
    assert "roformer" not in entries
    assert not re.search(r"^leak:\*?(lib)?(torch|c10)[\w*]*(\.so)?\*?$", entries, re.MULTILINE)
    starts = re.findall(r"(.*)\n(?:leak:|\{)", text)
    assert starts or not entries.strip()
    for before in starts:
        assert before.startswith(("#", "leak:")), f"an entry of {name} has no reason above it"
