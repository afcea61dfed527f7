#!/usr/bin/env python3
"""Time the RoFormer encoder against transformers' RoFormer, BERT and ModernBERT, and weigh it.

    python scripts/bench_model.py                    a quarter of an hour: what the targets speak of
    python scripts/bench_model.py --output benchmarks/model_cpu.md
    python scripts/bench_model.py --layers 12        the same cases, all of base's layers everywhere
    python scripts/bench_model.py --full             every mode, dtype and batch; allow half a day
    python scripts/bench_model.py --tiny             seconds: does everything still run and agree
    python scripts/bench_model.py --cases 'train float32'

Results and gradients are checked against transformers' RoFormer with the same weights before
anybody is timed. The allocator is that of a user, and in a process of its own (`keep`:
MALLOC_MMAP_MAX_=0, MALLOC_TRIM_THRESHOLD_=100000000000) one that gives nothing back, so that nobody
pays page faults. Figures are ratios within one run; times are of this machine. A missed target is
marked, and is not an error. Where a CPU has no bfloat16 products, training in it takes ten minutes
more: leave it out with --cases '^(?!train bfloat16)'.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import machine
from model_bench import cases, report, results, targets

ROOT = Path(__file__).resolve().parent.parent
# A source tree that was built in place and not installed works as well.
if importlib.util.find_spec("roformer_ext") is None:
    sys.path.insert(0, str(ROOT))


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    if options.list:
        for case in _cases(options):
            print(case.name)
        return 0
    if options.peak_of:
        _weigh(options)
        return 0
    if options.child:
        _child(options)
        return 0
    names = ("default", "keep") if options.allocator == "both" else (options.allocator,)
    found: list[results.Result] = []
    for allocator in names:
        if _cases(options, allocator):
            part = _in_process(options, allocator)
            if part is None:
                return 1
            found += part
    _finish(options, found)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    head, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=head, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", action="store_true", help="every case with twelve layers")
    size.add_argument("--tiny", action="store_true", help="a smoke run on tiny models")
    parser.add_argument("--cases", metavar="REGEX", default="", help="only names that match")
    parser.add_argument("--list", action="store_true", help="print the names of the cases and stop")
    parser.add_argument("--layers", type=int, help="layers of every model, the head's apart")
    parser.add_argument("--rounds", type=int, default=2, help="fewest rounds per case (2)")
    parser.add_argument("--seconds", type=float, help="time per case if the rounds allow it (20)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (1)")
    parser.add_argument(
        "--allocator",
        choices=("default", "keep", "both"),
        help="memory setting of the process (both; with --tiny: default)",
    )
    parser.add_argument("--output", metavar="FILE", help="write the report there, as Markdown")
    parser.add_argument("--json", metavar="FILE", help="write every sample there")
    parser.add_argument("--child", metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--peak-of", metavar="NAME", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.allocator = options.allocator or ("default" if options.tiny else "both")
    options.seconds = options.seconds or (0.05 if options.tiny else 20.0)
    return options


def _cases(options: argparse.Namespace, allocator: str = "default") -> list[cases.Case]:
    chosen = cases.full() if options.full else cases.tiny() if options.tiny else cases.default()
    if allocator == "keep" and not options.full:
        # A target speaks of one of these; elsewhere page faults are a smaller share.
        chosen = [replace(case, who=cases.EAGER) for case in chosen if _keeps(case)]
    if options.layers:
        chosen = [
            case
            if case.mode == "head"
            else replace(case, size=replace(case.size, layers=options.layers))
            for case in chosen
        ]
    return [case for case in chosen if re.search(options.cases, case.name)]


def _keeps(case: cases.Case) -> bool:
    return case.mode == "forward" and case.dtype == "float32" and case.fill == 1 and case.batch > 1


def _command(options: argparse.Namespace, allocator: str) -> list[str]:
    """How a process of this script starts that measures the same cases."""
    command = [sys.executable, __file__, "--allocator", allocator]
    command += ["--rounds", str(options.rounds), "--seconds", str(options.seconds)]
    command += ["--threads", str(options.threads)]
    command += ["--layers", str(options.layers)] if options.layers else []
    return command + [f"--{flag}" for flag in ("full", "tiny") if getattr(options, flag)]


def _in_process(options: argparse.Namespace, allocator: str) -> list[results.Result] | None:
    """Run one allocator setting in a fresh process; None when that failed, in words of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "results.json")
        command = [*_command(options, allocator), "--child", str(file), "--cases", options.cases]
        if subprocess.run(command, env=machine.environment(allocator)).returncode != 0:
            return None
        return [results.Result(**values) for values in json.loads(file.read_text())]


def _child(options: argparse.Namespace) -> None:
    import torch
    from model_bench import match, memory
    from tqdm import tqdm

    torch.set_num_threads(options.threads)
    allocator, found = options.allocator, []
    watched = sys.stderr.isatty()
    with tqdm(_cases(options, allocator), unit="case", dynamic_ncols=True, leave=False) as bar:
        for case in bar:

            def tell(text: str, case: cases.Case = case) -> None:
                bar.set_postfix_str(f"{case.name}: {text}", refresh=watched)

            if case.mode == "memory":
                result = memory.play(case, allocator, _command(options, allocator), tell)
            else:
                result = match.play(case, allocator, options.seconds, options.rounds, tell)
            found.append(result)
            bar.write(report.table(result), file=sys.stdout)
            sys.stdout.flush()
    Path(options.child).write_text(json.dumps([result.to_json() for result in found]))


def _weigh(options: argparse.Namespace) -> None:
    import torch
    from model_bench import memory

    # How much memory a step takes hardly depends on the threads, and how long it takes does.
    torch.set_num_threads(os.cpu_count() or 1)
    (case,) = _cases(options)
    print(memory.of_this_process(case, options.peak_of))


def _finish(options: argparse.Namespace, found: list[results.Result]) -> None:
    judged = targets.judge(found)
    closing = report.targets(judged) if judged else ""
    print(closing)
    print(report.LEGEND)
    if options.output:
        parts = [_heading(options), *map(report.table, found), closing, report.LEGEND]
        Path(options.output).write_text("\n".join(part for part in parts if part))
    if options.json:
        content: dict[str, Any] = {"processor": machine.processor(), "threads": options.threads}
        content["results"] = [result.to_json() for result in found]
        Path(options.json).write_text(json.dumps(content, indent=1) + "\n")


def _heading(options: argparse.Namespace) -> str:
    from importlib.metadata import version

    flags = " --full" if options.full else " --tiny" if options.tiny else ""
    flags += f" --layers {options.layers}" if options.layers else ""
    flags += f" --cases '{options.cases}'" if options.cases else ""
    versions = f"torch {version('torch')}, transformers {version('transformers')}"
    return (
        f"# The encoder on a CPU\n\nMade by `python scripts/bench_model.py{flags}` on "
        f"{machine.processor()}, {options.threads} thread(s), {versions}.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
