#!/usr/bin/env python3
"""Time the rotary kernels on a CUDA device against a copy of the same bytes and against rivals.

    python scripts/bench_gpu.py                    all cases, about three minutes
    python scripts/bench_gpu.py --cases llama      those whose name matches
    python scripts/bench_gpu.py --seconds 60       no compilation is begun after a minute

Before it is timed, every contestant is checked against the float64 reference, and ours must equal
the CPU's result bit for bit. Writes benchmarks/<name of the GPU>.json and prints a table. Targets:
at least 0.90 of the speed of the copy, and no slower than torch.compile; a missed target is marked,
and is not an error.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import re
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
if importlib.util.find_spec("roformer_ext") is None:
    sys.path.insert(0, str(ROOT))

from gpu.cases import Case, all_cases  # noqa: E402
from gpu.contestants import CONTESTANTS, Absent, Call  # noqa: E402
from gpu.timing import measure  # noqa: E402

import roformer_ext  # noqa: E402

COPY_SHARE = 0.90
# Rivals round tables and products to the dtype of x as well.
ROUNDINGS = {"ours": 1.0}
OF_RIVALS = 8.0


def check(name: str, got: list[Tensor], wanted: list[Tensor]) -> None:
    """Raise AssertionError unless the norm of the error is within some roundings of the dtype."""
    for y, exact in zip(got, wanted, strict=True):
        error = ((y.double() - exact).norm() / exact.norm()).item()
        bound = ROUNDINGS.get(name, OF_RIVALS) * torch.finfo(y.dtype).eps
        assert error <= bound, f"{name} is wrong: relative error {error:.1e}, bound {bound:.1e}"


def check_bits(got: list[Tensor], on_cpu: list[Tensor]) -> None:
    """Raise AssertionError unless device and CPU agree in every bit."""
    for y, expected in zip(got, on_cpu, strict=True):
        word = {2: torch.int16, 4: torch.int32}[y.element_size()]
        same = y.contiguous().cpu().view(word) == expected.contiguous().view(word)
        assert same.all(), (
            f"ours: {int((~same).sum())} of {same.numel()} differ from the CPU's bits"
        )


def contest(case: Case, rounds: int, may_compile: bool) -> dict[str, Any]:
    """Times of all contestants of a case, and the reasons of those that are absent."""
    wanted = case.wanted()
    calls: dict[str, Call] = {}
    absent: dict[str, str] = {}
    for name, build in CONTESTANTS.items():
        try:
            if name == "compiled" and not may_compile:
                raise Absent("no time was left")
            call = build(case)
            if name != "copy":
                check(name, call(), wanted)
            if name == "ours":
                # Called anew: in place, the check has rotated once already.
                check_bits(build(case)(), case.on_cpu())
            calls[name] = call
        except Absent as reason:
            absent[name] = str(reason)
        except Exception as error:
            if name == "ours":
                raise
            absent[name] = f"failed: {type(error).__name__}: {str(error).splitlines()[0][:120]}"
    del wanted
    seconds = measure(calls, rounds)
    microseconds = {name: round(1e6 * value, 2) for name, value in seconds.items()}
    return {
        "case": case.name,
        "bytes": case.bytes,
        "microseconds": microseconds,
        "gigabytes_per_second": round(case.bytes / seconds["ours"] / 1e9, 1),
        "share_of_copy": round(seconds["copy"] / seconds["ours"], 3),
        "absent": absent,
    }


def missed(row: dict[str, Any]) -> list[str]:
    times = row["microseconds"]
    reasons = []
    if row["share_of_copy"] < COPY_SHARE:
        reasons.append(f"below {COPY_SHARE:.2f} of the copy")
    if times.get("compiled", float("inf")) < times["ours"]:
        reasons.append("slower than torch.compile")
    return reasons


def line(row: dict[str, Any]) -> str:
    times = row["microseconds"]
    rivals = "  ".join(
        f"{name} {times[name] / times['ours']:5.2f}x"
        for name in CONTESTANTS
        if name in times and name not in ("ours", "copy")
    )
    marks = "".join(f"  MISSED: {reason}" for reason in missed(row))
    return (
        f"{row['case']:52s} {times['ours']:8.1f} us {row['gigabytes_per_second']:7.0f} GB/s  "
        f"copy {row['share_of_copy']:5.2f}  {rivals}{marks}"
    )


def main() -> int:
    head, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=head, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", metavar="REGEX", default="", help="only cases that match")
    parser.add_argument("--rounds", type=int, default=30, help="samples per contestant (30)")
    parser.add_argument("--seconds", type=float, default=180, help="compile no more after (180)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures there")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("bench_gpu.py needs a CUDA device, and torch sees none.", file=sys.stderr)
        return 1

    began = time.monotonic()
    rows = []
    for arguments in all_cases():
        case = Case(*arguments)
        if not re.search(options.cases, case.name):
            continue
        row = contest(case, options.rounds, time.monotonic() - began < options.seconds)
        print(line(row), flush=True)
        rows.append(row)
        del case
    if not rows:
        print(f"No case matches {options.cases!r}.", file=sys.stderr)
        return 1
    for name, reason in sorted({pair for row in rows for pair in row["absent"].items()}):
        print(f"absent: {name} ({reason})")

    device = torch.cuda.get_device_properties(0)
    report = {
        "device": device.name,
        "multiprocessors": device.multi_processor_count,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "build": roformer_ext.build_info(),
        "rows": rows,
    }
    path = options.json or ROOT / "benchmarks" / (re.sub(r"\W+", "_", device.name) + ".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(f"{sum(not missed(row) for row in rows)} of {len(rows)} cases meet the targets: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
