#!/usr/bin/env bash
# Format, lint, types and floors of every file: all checks run, and the last line says which failed.
#
#   scripts/lint.sh             checks only
#   scripts/lint.sh --fix       lets clang-format and ruff rewrite the files first
#   scripts/lint.sh --no-tidy   leaves out clang-tidy, which takes most of the time
#
# The tools are pinned in pyproject.toml (extra "lint") and installed when missing. clang-tidy reads
# build/compile_commands.json, so it runs after a build (scripts/test.sh) and is left out, with a
# word, before one; the example is only configured for it.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

fix=
tidy=1
for argument in "$@"; do
  case "$argument" in
    --fix) fix=1 ;;
    --no-tidy) tidy= ;;
    -h | --help)
      show_help
      exit
      ;;
    *) die "unknown argument $argument; try --help" ;;
  esac
done

failed=()

# check NAME COMMAND...: runs COMMAND, prints its time, notes a failure and goes on.
check() {
  local name=$1 began=$SECONDS verdict=passed
  shift
  "$@" || verdict=FAILED
  [ $verdict = passed ] || failed+=("$name")
  printf '%-22s %5d s  %s\n' "$name" $((SECONDS - began)) $verdict
}

cpp_files() {
  find csrc examples tests -type f \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \) -print0
}

format_cpp() {
  local -a mode=(--dry-run -Werror)
  [ -z "$fix" ] || mode=(-i)
  cpp_files | xargs -0 clang-format "${mode[@]}"
}

# compiled_files BUILD: the host sources of ours that are compiled in this folder, one a line.
compiled_files() {
  "$PYTHON" - "$1" <<'PYTHON'
import json
import sys
from pathlib import Path

ours = [Path.cwd() / top for top in ("csrc", "tests", "examples")]
for entry in json.loads(Path(sys.argv[1], "compile_commands.json").read_text()):
    path = Path(entry["directory"], entry["file"])
    if path.suffix == ".cpp" and any(path.is_relative_to(top) for top in ours):
        print(path)
PYTHON
}

# The compile commands are g++'s: clang has no omp.h of its own here and does not know every option.
tidy_cpp() {
  compiled_files "$1" | sort -u | xargs -P "$(getconf _NPROCESSORS_ONLN)" -n 1 \
    clang-tidy --quiet -p "$1" --header-filter="^$ROOT/(csrc|tests|examples)/" \
    --extra-arg=-fno-openmp --extra-arg=-Wno-unknown-warning-option \
    --extra-arg=-Wno-ignored-optimization-argument --extra-arg=-Wno-deprecated-declarations \
    2> >(grep -Ev '^[0-9]+ warnings? (generated|treated)|^Suppressed|^Use -' >&2)
}

tidy_example() { configure_example "$1" >/dev/null && tidy_cpp "build/$1"; }

choose_python
install_missing run lint

[ -z "$fix" ] || ruff check --fix --quiet . || true
[ -z "$fix" ] || ruff format --quiet .
check "clang-format" format_cpp
check "ruff check" ruff check --quiet .
check "ruff format" ruff format --check --quiet .
check "mypy" mypy
check "floors" "$PYTHON" scripts/floors.py
if [ -z "$tidy" ]; then
  say "clang-tidy left out, as asked"
elif [ -f build/compile_commands.json ]; then
  check "clang-tidy" tidy_cpp build
  if [ -f roformer_ext/lib/libroformer_ext_encoder.so ]; then
    check "clang-tidy, fill_mask" tidy_example fill_mask
  else
    say "clang-tidy left out for fill_mask, which needs the C++ encoder"
  fi
else
  say "clang-tidy left out: no build/compile_commands.json; scripts/test.sh makes it"
  [ "${CI:-}" != true ] || failed+=("clang-tidy")
fi

[ ${#failed[@]} = 0 ] || die "FAILED: ${failed[*]} (all in all $SECONDS s)"
say "every check passed in $SECONDS s"
