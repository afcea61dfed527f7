"""Every CPU level that this machine can run gives the same bits, for one thread and two, in place
or not.

Each level runs in a process of its own (`cpu_level_digests.py`), forced by `ROFORMER_EXT_CPU`;
the digests of all outputs are then compared. That the common bits are the right ones is the
business of `test_ops_forward.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import roformer_ext

HERE = Path(__file__).parent
LEVELS: list[str] = list(roformer_ext.build_info()["cpu_levels"])


def _run(level: str | None, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("ROFORMER_EXT_CPU", "OMP_NUM_THREADS")
    }
    environment["PYTHONPATH"] = os.pathsep.join(
        (str(HERE), str(HERE.parent), environment.get("PYTHONPATH", ""))
    )
    if level is not None:
        environment["ROFORMER_EXT_CPU"] = level
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False
    )


def _digests(level: str) -> dict[str, Any]:
    done = _run(level, str(HERE / "cpu_level_digests.py"))
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def default_level() -> dict[str, str]:
    found = _digests("default")
    assert found["level"] == "default"
    return found["digests"]


def test_variants_of_the_default_level(default_level: dict[str, str]) -> None:
    """Scalar code: threads and in-place form change nothing."""
    assert len(default_level) > 900
    assert not {
        name: text for name, text in default_level.items() if text.startswith("variants differ")
    }


@pytest.mark.parametrize("level", [level for level in LEVELS if level != "default"])
def test_levels_agree(level: str, default_level: dict[str, str]) -> None:
    """Each further level against the default one, over all samples, dtypes and widths."""
    found = _digests(level)
    assert found["level"] == level
    assert found["digests"].keys() == default_level.keys()
    differing = {
        name: (text, default_level[name])
        for name, text in found["digests"].items()
        if text != default_level[name]
    }
    assert not differing, f"{len(differing)} cases differ: {dict(list(differing.items())[:8])}"


def test_levels_are_named() -> None:
    """The level in use is one of the levels that can run, and without being forced it is the best
    of them.
    """
    info = roformer_ext.build_info()
    assert info["cpu_level"] in LEVELS and LEVELS[0] == "default"
    done = _run(None, "-c", "import roformer_ext; print(roformer_ext.build_info()['cpu_level'])")
    assert done.stdout.strip() == LEVELS[-1], done.stderr


@pytest.mark.parametrize("word", ["sse9", "AVX2 ", "0"])
def test_unknown_level_is_an_error_at_import(word: str) -> None:
    """The message names the variable, the word, and the words that are known."""
    done = _run(word, "-c", "import roformer_ext")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    for part in ("ROFORMER_EXT_CPU", word, "default", "avx2", "avx512"):
        assert part in last, last


def test_level_that_the_machine_lacks_is_an_error_at_import() -> None:
    """A level is never silently replaced by a lesser one."""
    lacking = [level for level in ("avx2", "avx512") if level not in LEVELS]
    if not lacking:
        pytest.skip("this machine runs every level, so none can be lacking")
    done = _run(lacking[0], "-c", "import roformer_ext")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "ROFORMER_EXT_CPU" in last and lacking[0] in last, last


def test_two_threads_are_used() -> None:
    """Trap 8: a large call runs on more than one thread, seen in processor time (1.0 for one)."""
    if (os.cpu_count() or 1) < 2:
        pytest.skip("this machine has one processor")
    script = (
        "import time, torch, roformer_ext\n"
        "torch.set_num_threads(2)\n"
        "x = torch.randn(4, 512, 16, 64)\n"
        "cos, sin = torch.rand(2, 512, 32)\n"
        "for _ in range(20): roformer_ext.rope_(x, cos, sin, seq_dim=1)\n"
        "mine, all_threads = time.thread_time(), time.process_time()\n"
        "for _ in range(200): roformer_ext.rope_(x, cos, sin, seq_dim=1)\n"
        "print((time.process_time() - all_threads) / (time.thread_time() - mine))\n"
    )
    done = _run(None, "-c", script)
    # Processor time, not wall time, so that a busy machine cannot turn the answer round.
    assert float(done.stdout) > 1.2, done.stderr
