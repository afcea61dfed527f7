"""Fails on an include or import that goes up or sideways; run by scripts/lint.sh.

The one idea: a file may use its own floor and those below, so the order of the floors is the
architecture, and a table of it can be checked. The folder says the floor of a C++ file, the name
the floor of a Python module.

What must stay true: every file of csrc, tests/csrc and roformer_ext/*.py stands on a known floor,
and each violation is one line `file:line: what is wrong and which rule it breaks`.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

FLOOR = {"core": 0, "cpu": 1, "cuda": 1, "io": 1, "ops": 2, "nn": 3, "python": 4}
# A public header counts as the folder that it is named after or that this table says, else as ops.
PUBLIC = "include/roformer_ext"
PUBLIC_FOLDER = {"export": "core", "config": "io", "encoder": "nn"}
# What of tests/csrc mirrors no folder of csrc, and the floor whose rules it follows.
TEST_FOLDER = {"main.cpp": "core", "catch.h": "core", "bench": "ops"}
SOURCE = {".h", ".hpp", ".cuh", ".cpp", ".cc", ".cu"}

TORCH = re.compile(r"(torch|ATen|c10|caffe2)/")
PYTHON = re.compile(
    r"(Python\.h|pybind11/|torch/(extension|python)\.h|torch/csrc/(.*/)?(python_\w+|pybind\w*)\.h)"
)
ENCODER = re.compile(r"torch/(torch\.h|(nn|optim|serialize)([/.]|$))")
CUDA = re.compile(r"(cuda|cuda_\w+|cooperative_groups|mma)\.h$|(cub|thrust|cuda/std)/")
# Compiled once per instruction set, so an inline function of the standard library would be linked
# once for all of them, perhaps in the form that this machine cannot run.
ISA_FILE = re.compile(r"\w+_(default|avx2|avx512|neon)\.cpp")
ISA_MAY = re.compile(
    r"c(stdint|stddef|string|math|float|limits)|(stdint|stddef|string|math|float|limits)\.h"
    r"|bit|concepts|limits|type_traits|utility|\w*intrin\.h|arm_\w+\.h"
)

INCLUDE = re.compile(r'\s*#\s*include\s*(?:(["<])([^">]+)[">]|(\w+))')

# Lowest first; modules of one line do not know each other. The package's own name is the top.
MODULES = [
    {"_C", "reference", "activations", "masked_loss", "outputs", "autocast", "cache"},
    {"_library", "decomposition", "packing", "losses", "tensor_file"},
    {"compile_mode", "sharding"},
    {"ops", "mask", "encoded", "files"},
    {"rotary"},
    {"config"},
    {"attention", "inputs"},
    {"layer", "position_table"},
    {"embeddings"},
    {"variants"},
    {"weights"},
    {"pretrained"},
    {"model"},
    {"heads", "predictions"},
    {"language_model"},
    {"decoding"},
    {"sampling", "beam"},
    {"generation"},
    {
        "masked_lm",
        "causal_lm",
        "sequence_classification",
        "token_classification",
        "question_answering",
        "multiple_choice",
    },
    {"segmentation", "vocabulary", "truncation", "token_batch"},
    {"encoding", "token_table"},
    {"tokenizer", "collate"},
    {"export", "distributed"},
    {"onnx"},
    {"__init__"},
    {"hf"},
]
RANK = {name: rank for rank, names in enumerate(MODULES) for name in names}


def includes(path: Path) -> Iterator[tuple[int, str, str]]:
    """(line, quote, target) of each include; the quote of an include through a macro is empty."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"/\*.*?\*/", lambda found: "\n" * found.group().count("\n"), text, flags=re.S)
    for number, line in enumerate(text.splitlines(), 1):
        if found := INCLUDE.match(line):
            yield number, found[1] or "", found[2] or found[3]


def resolve(csrc: Path, path: Path, quote: str, target: str) -> Path | None:
    """The file of ours that an include means, also one that is not there yet; None: not ours."""
    places = [csrc / target, csrc / "include" / target]
    if quote == '"':
        places.insert(0, path.parent / target)
    for place in places:
        if place.is_file():
            return place.resolve()
    if quote == '"' and target.startswith(".."):
        return Path(os.path.normpath(path.parent / target))
    return csrc / target if quote == '"' and target.split("/")[0] in FLOOR else None


def folder(csrc: Path, path: Path) -> str | None:
    """The key of FLOOR under which a file of csrc or tests/csrc stands; None: on no floor."""
    for root in (csrc, csrc.parent / "tests/csrc"):
        if path.is_relative_to(root):
            parts = path.relative_to(root).parts
            break
    else:
        return None
    if "/".join(parts[:2]) == PUBLIC:
        name = parts[2].split(".")[0]
        return PUBLIC_FOLDER.get(name, name if name in FLOOR else "ops")
    if root != csrc and (len(parts) == 1 or parts[0] not in FLOOR):
        return TEST_FOLDER.get(parts[0])
    return parts[0] if parts[0] in FLOOR and len(parts) > 1 else None


def judge(csrc: Path, path: Path, quote: str, target: str) -> str | None:
    """What one include breaks, or None."""
    own = folder(csrc, path)
    if own is None:
        return f"stands on no floor; the floors of csrc are {', '.join(FLOOR)}"
    if not quote:
        return f"includes through the macro {target}, which hides the floor"
    floor = f"{own} is floor {FLOOR[own]}"
    ours = resolve(csrc, path, quote, target)
    if ours is not None:
        other = folder(csrc, ours)
        if other is None:
            return f'includes "{target}", which stands on no floor'
        if FLOOR[other] > FLOOR[own]:
            return f'includes "{target}" upwards: {floor}, {other} is floor {FLOOR[other]}'
        if FLOOR[other] == FLOOR[own] and other != own:
            return f'includes "{target}" sideways: {own} and {other} do not know each other'
        if path.suffix in {".cu", ".cuh"} and FLOOR[other] >= FLOOR["ops"]:
            return f'includes "{target}" in a CUDA source: nvcc never sees a torch header'
    elif PYTHON.match(target) and FLOOR[own] < FLOOR["python"]:
        return f"includes <{target}>: Python and pybind11 begin at floor 4, {floor}"
    elif TORCH.match(target) and FLOOR[own] < FLOOR["ops"]:
        return f"includes <{target}>: torch headers begin at floor 2, {floor}"
    elif ENCODER.match(target) and FLOOR[own] < FLOOR["nn"]:
        return f"includes <{target}>: torch::nn belongs to floor 3, {floor}"
    elif TORCH.match(target) and path.suffix in {".cu", ".cuh"}:
        return f"includes <{target}> in a CUDA source: nvcc never sees a torch header"
    elif CUDA.match(target) and own in {"core", "cpu", "io"}:
        return f"includes <{target}>: the CUDA runtime belongs to the folder cuda, {floor}"
    return None


def judge_isa(csrc: Path, root: Path) -> Iterator[tuple[Path, int, str]]:
    """Whatever a file compiled per instruction set reaches beyond core, intrinsics and plain C."""
    seen, queue = {root}, [root]
    while queue:
        path = queue.pop()
        for number, quote, target in includes(path):
            ours = resolve(csrc, path, quote, target)
            if ours is not None and ours not in seen and ours.is_file():
                seen.add(ours)
                queue.append(ours)
            elif ours is None and quote and not ISA_MAY.fullmatch(target):
                yield path, number, f"includes <{target}>, which {root.name} must not reach"


def check_cpp(root: Path) -> Iterator[tuple[Path, int, str]]:
    """Violations of every C++ and CUDA file under csrc and tests/csrc."""
    csrc = (root / "csrc").resolve()
    files = [p for top in (csrc, root.resolve() / "tests/csrc") for p in sorted(top.rglob("*"))]
    for path in files:
        if path.suffix not in SOURCE:
            continue
        if folder(csrc, path) is None:
            yield path, 1, f"stands on no floor; the floors are {', '.join(FLOOR)}"
            continue
        for number, quote, target in includes(path):
            if message := judge(csrc, path, quote, target):
                yield path, number, message
        if path.parent == csrc / "cpu" and ISA_FILE.fullmatch(path.name):
            yield from judge_isa(csrc, path)


def imported(node: ast.AST, modules: set[str], depth: int) -> Iterator[str]:
    """Those of our modules that a statement imports; `__init__` for the package itself.

    depth: folders between the package and the file of the statement.
    """
    if isinstance(node, ast.Import):
        names = [alias.name.split(".") for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        if 0 < node.level <= depth:
            return
        start = ["roformer_ext"] if node.level else []
        start += node.module.split(".") if node.module else []
        names = [[*start, alias.name] for alias in node.names]
    else:
        return
    for first, *rest in names:
        if first == "roformer_ext":
            yield rest[0] if rest and rest[0] in modules else "__init__"


def check_python(root: Path) -> Iterator[tuple[Path, int, str]]:
    """Violations of every module of the package."""
    package = root / "roformer_ext"
    files = sorted(package.rglob("*.py"))
    modules = {path.relative_to(package).parts[0].removesuffix(".py") for path in files}
    modules |= RANK.keys()
    for path in files:
        # A folder of modules stands on one floor, whose files know each other.
        *folders, name = path.relative_to(package).parts
        own, depth = (*folders, name)[0].removesuffix(".py"), len(folders)
        if own not in RANK:
            yield path, 1, f"{own} has no place in MODULES of scripts/floors.py: give it one"
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for other in imported(node, modules, depth):
                if other == own or other not in RANK:
                    continue
                if own == "reference":
                    message = f"reference imports {other}: it imports torch and nothing of ours"
                elif RANK[other] > RANK[own]:
                    message = f"{own} imports {other} upwards"
                elif RANK[other] == RANK[own]:
                    message = f"{own} imports {other} sideways: the two do not know each other"
                else:
                    continue
                yield path, node.lineno, message


def check(root: Path) -> list[str]:
    """All violations of the tree at `root`, sorted, as `file:line: message`."""
    found = {*check_cpp(root), *check_python(root)}
    base = root.resolve()
    return [f"{p.resolve().relative_to(base)}:{line}: {what}" for p, line, what in sorted(found)]


if __name__ == "__main__":
    violations = check(Path(__file__).resolve().parents[1])
    print(*violations, f"floors: {len(violations)} violations", sep="\n")
    sys.exit(1 if violations else 0)
