#!/usr/bin/env bash
# Builds against several releases of torch and runs the fast tests with each; prints a table.
#
#   scripts/test_torch_versions.sh               torch 2.11 and the newest
#   scripts/test_torch_versions.sh VERSION...    these: 2.11, 2.13.1, newest
#   scripts/test_torch_versions.sh --folder DIR [VERSION...]
#
# Every version has a folder of its own in build-versions/ (or DIR): an environment, a copy of this
# tree as it stands, which is a checkout of git as well, and the log of scripts/test.sh, which does
# the work there. They are kept, so that a second run installs nothing and compiles what changed;
# "newest" asks the package index each time. Environment: ROFORMER_EXT_CUDA=AUTO|ON|OFF, CXX,
# MAX_JOBS.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

folder=build-versions
parent=$ROOT
versions=()
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help)
      show_help
      exit
      ;;
    --folder)
      folder=${2:?--folder wants a directory}
      parent=$CALLER
      shift
      ;;
    newest | [0-9]*.[0-9]*) versions+=("$1") ;;
    *) die "a version reads 2.11, 2.13.1 or newest, got $1; try --help" ;;
  esac
  shift
done
[ ${#versions[@]} -gt 0 ] || versions=(2.11 newest)
folder=$(cd "$parent" && mkdir -p "$folder" && cd "$folder" && pwd)

# run_tests HOME: scripts/test.sh of the copy, in its environment.
run_tests() {
  env -u CONDA_PREFIX -u PYTHONPATH VIRTUAL_ENV="$1/venv" bash "$1/tree/scripts/test.sh" 2>&1 |
    tee "$1/test.log"
}

# row VERSION HOME SECONDS: a line of the table, from what was installed and what the log says.
row() {
  "$2/venv/bin/python" - "$@" <<'PYTHON'
import platform
import re
import sys
from importlib import metadata
from pathlib import Path

version, home, seconds = sys.argv[1:]
log = Path(home, "test.log")
text = log.read_text(errors="replace") if log.exists() else ""


def last(pattern: str, absent: str) -> str:
    found = re.findall(pattern, text, flags=re.MULTILINE)
    return found[-1] if found else absent


try:
    torch = metadata.version("torch")
except metadata.PackageNotFoundError:
    torch = f"{version}: not installed"
built = last(r"^== the build took (\d+) s", "")
cpp = last(r"^(\d+% tests passed.* out of \d+)$", "did not run")
python = last(r"^=+ (\d+ .*?) in [\d.]+s", "did not run")
cells = (torch, platform.python_version(), f"{built} s" if built else "FAILED", cpp, python)
print("|", " | ".join((*cells, f"{int(seconds) / 60:.0f} min")), "|")
PYTHON
}

git rev-parse --is-inside-work-tree >/dev/null 2>&1 ||
  die "the tree is copied by git's list of files, and this is no checkout"
failed=()
rows=()
for version in "${versions[@]}"; do
  home=$folder/$version
  began=$SECONDS
  mkdir -p "$home"
  rm -f "$home/test.log"
  say "torch $version in $home"
  # In a shell of its own: a version that cannot be installed ends that, and the others have their turn.
  (make_environment "$version" "$home/venv") &&
    "$home/venv/bin/python" scripts/copy_tree.py "$home/tree" && run_tests "$home" ||
    failed+=("$version")
  rows+=("$(row "$version" "$home" $((SECONDS - began)))")
done

say "summary"
echo "| torch | Python | build | C++ tests | Python tests | all in all |"
echo "|---|---|---|---|---|---|"
printf '%s\n' "${rows[@]}"
[ ${#failed[@]} = 0 ] || die "FAILED: torch ${failed[*]}"
say "everything passed in $SECONDS s"
