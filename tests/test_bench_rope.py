"""The benchmark runs, checks its contestants, and writes what it measured.

Nothing here judges a speed: a smoke run on tiny tensors says only that every kind of use still
runs, that whoever takes part agrees with the reference, and that the figures are complete and
finite.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "bench_rope.py"


def run(*arguments: str) -> str:
    command = [sys.executable, str(SCRIPT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("bench") / "rope.json"
    printed = run("--quick", "--markdown", "--json", str(file))
    content = json.loads(file.read_text())
    assert isinstance(content, dict)
    return content | {"printed": printed}


def test_every_kind_is_measured_in_both_layouts(quick: dict[str, Any]) -> None:
    seen = {(row["kind"], row["layout"].split(", ")[-1]) for row in quick["rows"]}
    kinds = ("in_place", "fresh", "fwd_bwd", "call", "threads")
    assert seen == {(kind, layout) for kind in kinds for layout in ("adjacent", "half")}


def test_figures_are_finite_and_positive(quick: dict[str, Any]) -> None:
    for row in quick["rows"]:
        pairs = [*row["floors"].values(), *row["rivals"].values()]
        figures = [row["seconds"], row["gb_per_s"], *(figure for pair in pairs for figure in pair)]
        assert all(math.isfinite(figure) and figure > 0 for figure in figures), row


def test_each_rival_took_part_or_says_why_not(quick: dict[str, Any]) -> None:
    for row in quick["rows"]:
        if row["kind"] == "threads":
            continue
        known = row["rivals"].keys() | row["absent"].keys()
        assert {"complex", "eager pair", "eager half", "onnx", "lucidrains"} <= known, row
        assert all(row["absent"].values())


def test_targets_are_judged_and_printed(quick: dict[str, Any]) -> None:
    assert any(verdict["target"] == "x one thread" for verdict in quick["targets"])
    assert "Targets" in quick["printed"]


def test_markdown_rows_have_as_many_cells_as_their_head(quick: dict[str, Any]) -> None:
    tables = [part for part in quick["printed"].split("\n\n") if part.startswith("|")]
    assert len(tables) == 6
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1, table


def test_cases_can_be_chosen() -> None:
    assert run("--cases", "^fresh float64", "--list").split("\n") == ["fresh float64 llama t1", ""]


def test_full_list_has_every_shape_and_dtype() -> None:
    names = run("--full", "--list").split("\n")
    for shape in ("bhsd", "bshd", "packed", "llama", "long"):
        for dtype in ("float32", "bfloat16", "float16", "float64"):
            assert f"in_place {dtype} {shape} t2" in names
