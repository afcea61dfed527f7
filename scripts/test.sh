#!/usr/bin/env bash
# Sets up, builds, and runs every test: C++ by CTest, Python by pytest.
#
#   scripts/test.sh              the fast suite (with CI=true the slow one too, while there is time)
#   scripts/test.sh --all        the slow sweeps too
#   scripts/test.sh ARGUMENT...  builds, then runs pytest alone, in one process, with these arguments
#
# Environment: ROFORMER_EXT_CUDA=AUTO|ON|OFF (ON: no nvcc is an error), CXX, VIRTUAL_ENV, MAX_JOBS
# (compilers, and workers of pytest, at a time). A second run repeats nothing that is done already.
# The last line says whether everything passed.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
. scripts/stages.sh

SLOW_ENDS_AT=1320 # seconds; CI has half an hour, and lint comes after: no slow test begins later

if [ "${1:-}" = --help ] || [ "${1:-}" = -h ]; then
  show_help
  exit
fi
all=
if [ "${1:-}" = --all ]; then
  all=1
  shift
fi

# One worker per core and one thread per worker; tests of threading set their own number.
parallel_pytest() {
  local cores
  cores=${MAX_JOBS:-$(getconf _NPROCESSORS_ONLN)}
  OMP_NUM_THREADS=1 TORCHINDUCTOR_COMPILE_THREADS=1 \
    "$PYTHON" -m pytest -n "$((cores < 8 ? cores : 8))" --dist worksteal "$@"
}

# pytest's status 5 says that no test is marked slow.
slow_pytest() { parallel_pytest -m slow || [ $? = 5 ]; }

export ROFORMER_EXT_CMAKE_ARGS="${ROFORMER_EXT_CMAKE_ARGS:--DROFORMER_EXT_TESTS=ON -DROFORMER_EXT_ENCODER=ON}"
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
set_up test demo
note "set-up" $((SECONDS - BUILD_SECONDS))
note "build" "$BUILD_SECONDS"

if [ $# -gt 0 ]; then
  stage "pytest $*" "$PYTHON" -m pytest ${all:+-m ""} "$@"
else
  stage "C++ tests" ctest --test-dir build --output-on-failure --no-tests=error
  stage "Python tests" parallel_pytest
  if [ -n "$all" ]; then
    stage "slow Python tests" slow_pytest
  elif [ "${CI:-}" = true ]; then
    ROFORMER_EXT_TESTS_END=$(($(date +%s) + SLOW_ENDS_AT - SECONDS)) \
      stage "slow Python tests" slow_pytest
  fi
fi

conclude
