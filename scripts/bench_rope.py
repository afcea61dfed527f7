#!/usr/bin/env python3
"""Time the rotary operator against copies of the same bytes and against its installed rivals.

    python scripts/bench_rope.py                  about four minutes: what the targets speak of
    python scripts/bench_rope.py --full           every shape, dtype, kind of use and thread count
    python scripts/bench_rope.py --quick          seconds: does everything still run and agree
    python scripts/bench_rope.py --cases 'in_place float32'

Every contestant is checked against the float64 reference before it is timed. Each allocator setting
is a process of its own, because the C library reads it once at start: `default` is what a user has,
`keep` (MALLOC_MMAP_MAX_=0, MALLOC_TRIM_THRESHOLD_=100000000000) makes freed blocks stay with the
process, so that a fresh output costs no page faults. Figures are ratios within one run; times are
of this machine.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import machine

if TYPE_CHECKING:
    from bench.cases import Case

ROOT = Path(__file__).resolve().parent.parent
# A source tree that was built in place and not installed works as well.
if importlib.util.find_spec("roformer_ext") is None:
    sys.path.insert(0, str(ROOT))


def main() -> int:
    options = _options()
    if options.child:
        _child(options)
        return 0
    if options.list:
        for case in _cases(options):
            print(case.name)
        return 0
    results = []
    names = ("default", "keep") if options.allocator == "both" else (options.allocator,)
    for allocator in names:
        result = _in_process(options, allocator)
        if result is None:
            return 1
        results.append(result)
    return _finish(options, results)


def _options() -> argparse.Namespace:
    head, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=head, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", action="store_true", help="all cases; allow two hours")
    size.add_argument("--quick", action="store_true", help="a smoke run on tiny tensors")
    parser.add_argument(
        "--allocator",
        choices=("default", "keep", "both"),
        help="memory setting of the process (both; with --quick: default)",
    )
    parser.add_argument(
        "--cases", metavar="REGEX", default="", help="only cases whose name matches"
    )
    parser.add_argument("--list", action="store_true", help="print the names of the cases and stop")
    parser.add_argument("--seconds", type=float, help="time per case (2.5; with --quick 0.02)")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--markdown", action="store_true", help="print tables as Markdown")
    parser.add_argument("--child", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.allocator = options.allocator or ("default" if options.quick else "both")
    options.seconds = options.seconds or (0.02 if options.quick else 2.5)
    return options


def _cases(options: argparse.Namespace) -> list[Case]:
    from bench import cases

    chosen = cases.full() if options.full else cases.quick() if options.quick else cases.default()
    if options.allocator == "keep" and not options.full:
        # Memory reuse changes nothing for a call, a cached tensor, or our own work in place.
        chosen = [c for c in chosen if c.kind in ("fresh", "fwd_bwd")]
    # One table per kind of use.
    chosen.sort(key=lambda case: cases.KINDS.index(case.kind))
    return [c for c in chosen if re.search(options.cases, c.name)]


def _in_process(options: argparse.Namespace, allocator: str) -> dict[str, Any] | None:
    """Run one allocator setting in a fresh process; None when that failed, in words of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rows.json")
        command = [sys.executable, __file__, "--child", str(file), "--allocator", allocator]
        command += ["--cases", options.cases, "--seconds", str(options.seconds)]
        command += [f"--{flag}" for flag in ("full", "quick", "markdown") if getattr(options, flag)]
        if subprocess.run(command, env=machine.environment(allocator)).returncode != 0:
            return None
        result = json.loads(file.read_text())
        assert isinstance(result, dict)
        return result


def _child(options: argparse.Namespace) -> None:
    import torch
    from bench import match, report

    import roformer_ext

    info = roformer_ext.build_info()
    built_for = {"build": info, "torch": torch.__version__, "allocator": options.allocator}
    built = f"kernels {info['cpu_level']}; torch {torch.__version__}"
    print(f"\nallocator {options.allocator}; {machine.processor()}; {built}")
    table, done = report.Table(options.markdown), []
    chosen = _cases(options)
    for number, case in enumerate(chosen):
        _progress(number, len(chosen), case.name)
        found = match.play(case, options.allocator, options.seconds)
        _progress(None, len(chosen), "")
        for row in found:
            table.add(row)
        done += [row.to_json() for row in found]
    table.close()
    Path(options.child).write_text(json.dumps({"machine": built_for, "rows": done}))


def _finish(options: argparse.Namespace, results: list[dict[str, Any]]) -> int:
    from bench import report, rows, targets

    every = [rows.Row.from_json(row) for result in results for row in result["rows"]]
    verdicts = targets.judge(every)
    if verdicts:
        report.targets(verdicts, options.markdown)
    if options.json:
        machines = [result["machine"] for result in results]
        judged = [targets.to_json(verdict) for verdict in verdicts]
        content = {
            "processor": machine.processor(),
            "machines": machines,
            "rows": [row.to_json() for row in every],
            "targets": judged,
        }
        Path(options.json).write_text(json.dumps(content, indent=1) + "\n")
    return 0


def _progress(number: int | None, total: int, name: str) -> None:
    """A bar on stderr where a person watches; `None` wipes it before a line is printed."""
    if not sys.stderr.isatty():
        return
    bar = ""
    if number is not None:
        filled = 20 * number // max(total, 1)
        bar = f"[{'=' * filled}{' ' * (20 - filled)}] {number + 1}/{total} {name}"
    print(f"\r\033[K{bar}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
