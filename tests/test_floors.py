"""scripts/floors.py finds each kind of violation, and nothing in this tree or in a clean one.

The one idea: a small tree is written to a temporary folder, one file of it breaks one rule, and
exactly that file and line must be named. Every rule of csrc/README.md has a case here.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]

CLEAN = {
    "csrc/core/pair.h": "#include <cstdint>\n#include <bit>\n",
    "csrc/cpu/rows.h": '#include "core/pair.h"\n#include <immintrin.h>\n',
    "csrc/cpu/rope_avx2.cpp": '#include "rows.h"\n#include <cmath>\n',
    "csrc/cpu/level.cpp": '#include "cpu/rows.h"\n#include <vector>\n#include <string>\n',
    "csrc/cuda/rope.cu": '#include "core/pair.h"\n#include <cuda_runtime.h>\n',
    "csrc/io/config.cpp": "#include <string>\n",
    "csrc/include/roformer_ext/ops.h": "#include <ATen/core/Tensor.h>\n",
    "csrc/ops/rope/cpu.cpp": '#include <roformer_ext/ops.h>\n#include "cpu/rows.h"\n',
    "csrc/include/roformer_ext/nn.h": "#include <roformer_ext/ops.h>\n",
    "csrc/include/roformer_ext/config.h": '#include "roformer_ext/export.h"\n#include <string>\n',
    "csrc/include/roformer_ext/encoder.h": "#include <torch/nn/module.h>\n",
    "csrc/nn/encoder.cpp": '#include "roformer_ext/ops.h"\n#include <torch/torch.h>\n',
    "csrc/python/module.cpp": "#include <Python.h>\n#include <pybind11/pybind11.h>\n",
    "tests/csrc/main.cpp": "#include <catch2/catch.hpp>\n",
    "tests/csrc/bench/noop.cpp": "#include <torch/library.h>\n",
    "tests/csrc/core/pair_test.cpp": '#include "core/pair.h"\n#include <vector>\n',
    "roformer_ext/__init__.py": "from .ops import rope\nfrom .heads import Head\n",
    "roformer_ext/_library.py": "import torch\n",
    "roformer_ext/reference.py": "import math\nimport torch\n",
    "roformer_ext/ops.py": "from . import _library\n",
    "roformer_ext/rotary.py": "from roformer_ext.ops import rope\n",
    "roformer_ext/config.py": "",
    "roformer_ext/model.py": "from .rotary import x\nfrom .config import y\n",
    "roformer_ext/heads.py": "from .model import x\n",
    "roformer_ext/weights.py": "from .config import x\n",
    "roformer_ext/export.py": "import roformer_ext.model\n",
    "roformer_ext/hf/__init__.py": "from .models import x\n",
    "roformer_ext/hf/models.py": "from .. import model\nfrom .calls import y\n",
    "roformer_ext/hf/calls.py": "from ..config import x\n",
}

VIOLATIONS = {
    "up from core": ("csrc/core/a.h", '\n#include "cpu/rows.h"', 2, "upwards"),
    "up by a relative path": ("csrc/cpu/a.h", '#include "../ops/rope/checks.h"', 1, "upwards"),
    "up to a public header": ("csrc/cpu/a.h", "#include <roformer_ext/ops.h>", 1, "upwards"),
    "up from ops": ("csrc/ops/rope/a.cpp", '#include "nn/encoder.h"', 1, "upwards"),
    "up in a test": ("tests/csrc/core/a_test.cpp", '#include "cpu/rows.h"', 1, "upwards"),
    "cpu to io": ("csrc/cpu/a.cpp", '#include "io/config.h"', 1, "sideways"),
    "io to cpu": ("csrc/io/a.cpp", '#include "cpu/rows.h"', 1, "sideways"),
    "cuda to cpu": ("csrc/cuda/a.cu", '/* a\n b */\n#include "cpu/rows.h"', 3, "sideways"),
    "torch in core": ("csrc/core/a.h", "#include <c10/util/Half.h>", 1, "floor 2"),
    "torch in cpu": ("csrc/cpu/a.cpp", "# include <ATen/Parallel.h>", 1, "floor 2"),
    "torch in io": ("csrc/io/a.cpp", "#include <torch/types.h>", 1, "floor 2"),
    "torch in a header of io": (
        "csrc/include/roformer_ext/config.h",
        "#include <torch/types.h>",
        1,
        "floor 2",
    ),
    "torch::nn in ops": ("csrc/ops/rope/a.cpp", "#include <torch/torch.h>", 1, "floor 3"),
    "torch in cuda": ("csrc/cuda/a.cpp", "#include <c10/cuda/CUDAStream.h>", 1, "floor 2"),
    "torch in a .cu of ops": ("csrc/ops/a/a.cu", "#include <ATen/ATen.h>", 1, "nvcc never"),
    "ours with torch in a .cu": ("csrc/ops/a/a.cu", "#include <roformer_ext/ops.h>", 1, "nvcc"),
    "up in a public header": (
        "csrc/include/roformer_ext/version.h",
        "#include <roformer_ext/nn.h>",
        1,
        "upwards",
    ),
    "Python in nn": ("csrc/nn/a.cpp", "#include <Python.h>", 1, "floor 4"),
    "pybind11 in ops": ("csrc/ops/rope/a.cpp", "#include <pybind11/pybind11.h>", 1, "floor 4"),
    "torch's Python in ops": ("csrc/ops/a/a.cpp", "#include <torch/extension.h>", 1, "floor 4"),
    "CUDA in core": ("csrc/core/a.h", "#include <cuda_fp16.h>", 1, "CUDA runtime"),
    "CUDA in cpu": ("csrc/cpu/a.cpp", "#include <cuda_runtime.h>", 1, "CUDA runtime"),
    "container per ISA": ("csrc/cpu/a_avx512.cpp", "#include <vector>", 1, "must not reach"),
    "container below ISA": ("csrc/core/pair.h", "#include <string>", 1, "must not reach"),
    "algorithm per ISA": ("csrc/cpu/a_default.cpp", "#include <algorithm>", 1, "must not reach"),
    "macro": ("csrc/cpu/a.cpp", "#define A <vector>\n#include A", 2, "macro A"),
    "folder of no floor": ("csrc/gpu/a.cpp", "", 1, "stands on no floor"),
    "file of no floor": ("csrc/a.cpp", "#include <vector>", 1, "stands on no floor"),
    "module up": ("roformer_ext/rotary.py", "\n\nfrom .model import x", 3, "upwards"),
    "module up by name": ("roformer_ext/ops.py", "import roformer_ext.heads", 1, "upwards"),
    "module up, late": ("roformer_ext/ops.py", "def f():\n    from . import rotary", 2, "upwards"),
    "module to the package": ("roformer_ext/model.py", "from . import rope", 1, "__init__"),
    "package by name": ("roformer_ext/model.py", "import roformer_ext", 1, "__init__"),
    "module to a folder above": ("roformer_ext/model.py", "from .hf import x", 1, "upwards"),
    "file of a folder by name": ("roformer_ext/ops.py", "import roformer_ext.hf.calls", 1, "upw"),
    "module sideways": ("roformer_ext/tokenizer.py", "from .collate import x", 1, "sideways"),
    "reference": ("roformer_ext/reference.py", "from ._library import x", 1, "nothing of ours"),
    "unknown module": ("roformer_ext/misc.py", "", 1, "no place in MODULES"),
}


@pytest.fixture(scope="module")
def floors() -> ModuleType:
    """The script as a module; `scripts` is no package."""
    spec = importlib.util.spec_from_file_location("floors", ROOT / "scripts/floors.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def grow(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_this_tree_is_clean(floors: ModuleType) -> None:
    assert floors.check(ROOT) == []


def test_a_clean_tree(floors: ModuleType, tmp_path: Path) -> None:
    assert floors.check(grow(tmp_path, CLEAN)) == []


@pytest.mark.parametrize("case", VIOLATIONS)
def test_violation(floors: ModuleType, tmp_path: Path, case: str) -> None:
    name, text, line, rule = VIOLATIONS[case]
    found = floors.check(grow(tmp_path, {**CLEAN, name: text}))
    assert found, "the violation went unnoticed"
    assert all(message.startswith(f"{name}:{line}: ") for message in found)
    assert any(rule in message for message in found)
