"""The training script under torchrun: two processes draw the curves of one.

What must stay true: the same numbers in loss.csv to the digits that it has, one voice, and an
interrupted training goes on, with another number of processes too.
"""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from scripts_path import importable

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = str(ROOT / "scripts" / "train_mlm.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
FEW = ["--batch", "5", "--seq-len", "32", "--device", "cpu", "--positions", "rotary,learned"]


def start(out: Path, processes: int, *more: str, **options: Any) -> subprocess.Popen[str]:
    pytest.importorskip("tqdm")
    pytest.importorskip("matplotlib")
    launcher = TORCHRUN if processes == 2 else []
    command = [sys.executable, *launcher, SCRIPT, "--out", str(out), *FEW, *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, text=True, **options)


def finish(out: Path, processes: int, *more: str) -> tuple[int, str, str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start(out, processes, *more, **pipes) as process:
        said, errors = process.communicate(timeout=600)  # much of it waiting, on a busy machine
    return process.returncode, said, errors


def same_curves(one: Path, other: Path, until: int) -> None:
    """Equal to rounding up to a step: sums are in another order, and Adam magnifies that."""
    rows = [list(csv.DictReader((out / "loss.csv").open())) for out in (one, other)]
    assert len(rows[0]) == len(rows[1])
    for left, right in zip(*rows, strict=True):
        assert (left["step"], left["positions"]) == (right["step"], right["positions"])
        for name in ("train_loss", "validation_loss", "validation_accuracy"):
            if left[name] and int(left["step"]) <= until:
                assert float(left[name]) == pytest.approx(float(right[name]), abs=3e-4), left


def test_two_processes_draw_the_curves_of_one(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert finish(one, 1, "--steps", "8")[0] == 0
    status, said, errors = finish(two, 2, "--steps", "8")
    assert status == 0, errors
    assert "2 processes of" in said
    assert said.count("lowest validation loss") == 1
    same_curves(one, two, until=8)
    # Complete for one process too.
    assert "complete (--restart starts over)" in finish(two, 1, "--steps", "8")[1]


@pytest.mark.slow
def test_an_interrupted_training_goes_on_with_any_number(tmp_path: Path) -> None:
    """torchrun hands the signal on, both processes stop after the same step, and one goes on."""
    steps = ("--steps", "400")
    one, two = tmp_path / "one", tmp_path / "two"
    with start(two, 2, *steps, stdout=subprocess.PIPE) as process:
        for _ in range(1200):
            if (two / "checkpoint.pt").exists():
                break
            time.sleep(0.1)
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    stopped = torch.load(two / "checkpoint.pt", weights_only=True)["state"]["step"]
    assert 0 < stopped < 400
    assert said.count("stopped after step") == 1
    assert f"stopped after step {stopped} of 400" in said
    shutil.copytree(two, one)
    for out, processes in ((one, 1), (two, 2)):
        status, said, errors = finish(out, processes, *steps)
        assert status == 0, errors
        assert f"holds step {stopped}, going on" in said
    same_curves(one, two, until=stopped + 40)


@pytest.mark.slow
def test_word_pieces_are_learned_once(tmp_path: Path) -> None:
    """Chance decides among equally frequent pieces, so one process must decide for both."""
    pytest.importorskip("tokenizers")
    status, _, errors = finish(tmp_path, 2, "--steps", "2", "--tokens", "wordpiece")
    assert status == 0, errors
    assert (tmp_path / "rotary" / "vocab.txt").exists()


def test_no_process_ends_before_the_first_has_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """torchrun ends the others as soon as one has ended."""
    pytest.importorskip("tqdm")
    heard: list[str] = []
    with importable():
        from loop import command

        def fails() -> int:
            raise command.BadSetting("no")

        monkeypatch.setattr(command.time, "sleep", lambda _: heard.append(capsys.readouterr().err))
        for rank, waits in (("0", 0), ("1", 1)):
            monkeypatch.setenv("LOCAL_RANK", rank)
            assert command.run("script", fails) == command.BAD
            assert capsys.readouterr().err == "script: no\n"
            assert heard == [""] * waits


@pytest.mark.slow
def test_a_bad_setting_is_told_once(tmp_path: Path) -> None:
    status, _, errors = finish(tmp_path, 2, "--batch", "1")
    assert status != 0
    told = "train_mlm.py: --batch must be at least the number of processes, 2, got 1"
    assert errors.count(told) == 1
