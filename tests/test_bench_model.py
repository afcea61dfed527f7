"""The benchmark of the encoder runs, refuses a wrong contestant, and does its sums right.

Nothing here judges a speed. The one idea: tiny models go through everything that base goes through,
and figures are checked on samples that were made up. What must stay true: a weight that differs
from the reference's is found before anybody is timed.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scripts_path import SCRIPTS, importable

SAMPLES = {
    "ours": [1.0, 2.0, 3.0],
    "transformers": [4.0, 5.0, 3.0],
    "addmm": [0.5, 0.5, 0.25],
}


@pytest.fixture(scope="module")
def bench() -> Any:
    """The parts of the script, which it finds beside itself, as when it is run."""
    pytest.importorskip("transformers", reason="the benchmark compares with transformers")
    pytest.importorskip("tqdm")
    with importable():
        names = [path.stem for path in Path(SCRIPTS, "model_bench").glob("[a-z]*.py")]
        parts = {name: importlib.import_module(f"model_bench.{name}") for name in names}
        yield SimpleNamespace(**parts, script=importlib.import_module("bench_model"))


def quiet(text: str) -> None:
    """Hears what a match tells."""


def made_up(bench: Any, case: Any = None, **fields: Any) -> Any:
    """A result of a case with SAMPLES, fields replaced."""
    case = case or bench.cases.Case("forward", 8, 512)
    return replace(bench.results.Result.of(case, "default", SAMPLES, {}), **fields)


@pytest.mark.parametrize("number", range(7))
def test_every_tiny_case_agrees_and_is_timed(bench: Any, number: int) -> None:
    case = bench.cases.tiny()[number]
    result = bench.match.play(case, "default", 0.0, 2, quiet)
    wanted = {"float32", "bfloat16"} if case.mode == "attention" else set(case.who)
    assert {"addmm", *wanted} == result.samples.keys()
    assert all(len(rounds) == 2 and min(rounds) > 0 for rounds in result.samples.values())
    lines = [line for line in bench.report.table(result).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(result.samples)
    assert len({line.count("|") for line in lines}) == 1


@pytest.mark.parametrize("mode", ["forward", "train", "head"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_disturbed_weight_is_found(
    bench: Any, monkeypatch: pytest.MonkeyPatch, mode: str, dtype: str
) -> None:
    build = bench.contestants.build

    def wrong(name: str, *arguments: Any) -> Any:
        model = build(name, *arguments)
        layers = "cls.predictions" if mode == "head" else "encoder.layer.1.output"
        if name == "ours":
            with torch.no_grad():
                for parameter, value in model.named_parameters():
                    if layers in parameter and "dense.weight" in parameter:
                        value[0] += 1.0
        return model

    monkeypatch.setattr(bench.contestants, "build", wrong)
    case = bench.cases.Case(mode, 3, 16, dtype, size=bench.cases.TINY)
    with pytest.raises(AssertionError, match=r"ours: .* is off by"):
        bench.match.play(case, "default", 0.0, 2, quiet)


def test_a_wrong_gradient_alone_is_found(bench: Any) -> None:
    wanted = {"loss": torch.tensor(2.0), "gradient of a": torch.ones(3)}
    got = {"loss": torch.tensor(2.0), "gradient of a": torch.tensor([1.0, 1.0, 1.1])}
    with pytest.raises(AssertionError, match="gradient of a is off"):
        bench.check.compare("ours", got, wanted, "float32")
    with pytest.raises(AssertionError, match="apart: gradient of a"):
        bench.check.compare("ours", {"loss": wanted["loss"]}, wanted, "float32")
    with pytest.raises(AssertionError, match="loss is off by nan"):
        bench.check.compare("ours", {**wanted, "loss": torch.tensor(torch.nan)}, wanted, "float32")


def test_a_model_that_cannot_be_compiled_is_absent(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile(model: Any, **_: Any) -> Any:
        def refuse(**_: Any) -> Any:
            raise RuntimeError("no compiler\nhere")

        return refuse

    monkeypatch.setattr(torch, "compile", compile)
    case = bench.cases.Case("forward", 3, 16, who=bench.cases.ROFORMERS, size=bench.cases.TINY)
    result = bench.match.play(case, "default", 0.0, 2, quiet)
    assert result.absent == {"ours compiled": "no compiler", "transformers compiled": "no compiler"}
    assert "ours compiled is absent: no compiler" in bench.report.table(result)


def test_operations_count_real_tokens_only(bench: Any) -> None:
    full = bench.cases.Case("forward", 2, 10, size=bench.cases.Size(7, 4, 3, 2, 5, 10))
    weights = 4 * 16 + 2 * 20
    assert full.operations == 3 * (2 * weights * 20 + 4 * 4 * 200)
    partly = replace(full, fill=0.6)
    assert partly.lengths == [10, 2]
    assert partly.operations == 3 * (2 * weights * 12 + 4 * 4 * 104)
    head = 2 * 2 * 4 * (4 + 7)
    assert replace(partly, mode="head").operations == 3 * head
    assert replace(partly, mode="train").operations == 3 * (partly.operations + head)


def test_a_batch_is_filled_and_labelled_as_the_case_says(bench: Any) -> None:
    case = bench.cases.Case("train", 8, 50, fill=0.6, size=bench.cases.TINY)
    data = bench.inputs.make(case)
    assert data.mask.sum() == case.tokens == 240
    labelled = data.labels != -100
    assert labelled.sum() == case.labelled == 36
    assert data.mask[labelled].all()
    assert (data.labels[labelled] == data.ids[labelled]).all()


def test_figures_follow_from_the_samples(bench: Any) -> None:
    result = made_up(bench, tokens=100, operations=8 * 10**12, product_operations=10**12)
    assert result.over("transformers") == (2.0, 2.5)
    assert result.over("transformers compiled") is None
    assert result.tokens_per_second("ours") == 50
    assert result.tflops("ours") == 4
    # The addmm runs at 2 TFLOP/s, at which the operations would take 4 s; ours takes 2.
    assert result.of_floor("ours") == 0.5
    assert "| transformers | 4.000 s" in bench.report.table(result)


def test_targets_are_judged_by_case_and_allocator(bench: Any) -> None:
    verdicts = bench.targets.judge([made_up(bench), made_up(bench, allocator="keep")])
    texts = [(v.target.allocator, v.target.bound, v.text) for v in verdicts]
    assert texts == [
        ("default", 1.4, "met"),
        ("default", 1.05, "not measured"),
        ("keep", 1.12, "met"),
    ]
    slow = made_up(bench, samples={**SAMPLES, "transformers": [2.1, 2.1, 2.1]})
    assert bench.targets.judge([slow])[0].text == "missed by 25.0%"
    assert "0 of 1 met, 1 not measured" in bench.report.targets(bench.targets.judge([slow]))


def test_a_bound_from_above_is_judged_from_above(bench: Any) -> None:
    case = bench.cases.Case("memory", 8, 512)
    for ours, text in ((40.0, "met"), (60.0, "missed by 20.0%")):
        samples = {"ours": [ours], "transformers": [100.0]}
        assert bench.targets.judge([made_up(bench, case, samples=samples)])[0].text == text


def test_every_target_speaks_of_a_default_case(bench: Any) -> None:
    for allocator in ("default", "keep"):
        options = bench.script._options([])
        known = {case.name: case.who for case in bench.script._cases(options, allocator)}
        for target in bench.targets.TARGETS:
            if target.allocator == allocator:
                assert target.case in known


def test_memory_grows_with_the_batch_and_losses_agree(bench: Any) -> None:
    size = bench.cases.Size(2000, 64, 2, 4, 256, 128)
    small, large = (bench.cases.Case("memory", rows, 64, size=size) for rows in (2, 64))
    found = {}
    for name in bench.cases.EAGER:
        found[name] = json.loads(bench.memory.of_this_process(small, name))["losses"]
    bench.memory.agree(found, "float32")
    assert json.loads(bench.memory.of_this_process(large, "transformers"))["bytes"] > 2**24
    found["ours"][1] += 1e-2
    with pytest.raises(AssertionError, match="ours: loss of step 1"):
        bench.memory.agree(found, "float32")


def test_the_script_from_end_to_end(
    bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(command: list[str], env: dict[str, str]) -> SimpleNamespace:
        assert env["MALLOC_MMAP_MAX_"] == "0"
        return SimpleNamespace(returncode=bench.script.main(command[2:]))

    # A process of its own would spend seconds on imports.
    monkeypatch.setattr(subprocess, "run", run)
    report, data = tmp_path / "model.md", tmp_path / "model.json"
    flags = ["--tiny", "--cases", "16$", "--allocator", "keep", "--layers", "1"]
    threads = torch.get_num_threads()
    assert bench.script.main([*flags, "--output", str(report), "--json", str(data)]) == 0
    torch.set_num_threads(threads)
    text, heading = report.read_text(), "**forward float32 3x16**"
    assert text.startswith("# The encoder on a CPU")
    assert heading in text and heading in capsys.readouterr().out
    (result,) = json.loads(data.read_text())["results"]
    assert result["allocator"] == "keep"
    assert all(min(seconds) > 0 for seconds in result["samples"].values())


def test_cases_can_be_listed_and_chosen() -> None:
    command = [sys.executable, str(SCRIPTS / "bench_model.py"), "--list", "--cases", "^mem|1536"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["forward float32 1x1536", "memory float32 8x512"], done
