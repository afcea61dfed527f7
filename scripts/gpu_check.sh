#!/usr/bin/env bash
# Everything that needs a GPU, in one call of less than nine minutes: builds with CUDA, runs every
# test on the device, compares CUDA with the CPU bit for bit, and times the kernels.
#
#   scripts/gpu_check.sh               build, tests, bits, times; writes benchmarks/<GPU>.json
#   scripts/gpu_check.sh --sanitize    build, then compute-sanitizer on the tests of the kernels
#
# Works in the python3 that is active, as it is, and without a network: it needs torch with CUDA,
# pytest, hypothesis, cmake and nvcc there. Environment: PYTHON; CATCH2_INCLUDE, a folder that
# holds catch2/catch.hpp (version 2), where Catch2 is not installed; OUT, a folder that receives the
# log and the figures as well. The last line says whether everything passed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

case "${1:-}" in
  '') sanitize= ;;
  --sanitize) sanitize=1 ;;
  *)
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "scripts/${0##*/}"
    exit 2
    ;;
esac

PYTHON=${PYTHON:-python3}
LIMIT=520 # seconds for everything
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ -z "${OUT:-}" ] || exec > >(tee "$OUT/gpu_check.log") 2>&1
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-4} TOKENIZERS_PARALLELISM=false
failed=()
report=()

say() { printf '== %s\n' "$*"; }

die() {
  printf 'gpu_check.sh: %s\n' "$*" >&2
  exit 1
}

# stage NAME SECONDS COMMAND...: runs COMMAND for SECONDS at most, notes time and verdict, goes on.
stage() {
  local name=$1 most=$2 began=$SECONDS verdict=passed status left
  left=$((LIMIT - SECONDS))
  shift 2
  say "$name"
  timeout --kill-after=5 "$((most < left ? most : left > 1 ? left : 1))" "$@"
  status=$?
  if [ $status != 0 ]; then
    verdict="FAILED (status $status$([ $status = 124 ] && printf ': out of time'))"
    failed+=("$name")
  fi
  report+=("$(printf '%-24s %5d s  %s' "$name" $((SECONDS - began)) "$verdict")")
}

has_catch2() {
  printf '#if !__has_include(<catch2/%s>) && !__has_include(<catch2/%s>)\n#error\n#endif\n' \
    catch.hpp catch_all.hpp | "${CXX:-c++}" -x c++ -fsyntax-only - 2>/dev/null
}

# A folder of headers is not a package that CMake finds: give it the few lines that make it one.
package_catch2() {
  cat >"$work/Catch2Config.cmake" <<CMAKE
add_library(Catch2::Catch2 INTERFACE IMPORTED)
target_include_directories(Catch2::Catch2 INTERFACE "$CATCH2_INCLUDE")
CMAKE
}

architecture=$("$PYTHON" - <<'PY'
import torch
if not torch.cuda.is_available():
    raise SystemExit(f"torch {torch.__version__} sees no CUDA device")
print("%d%d" % torch.cuda.get_device_capability())
PY
) || die "this machine has no GPU that $PYTHON can use"
command -v nvcc >/dev/null || export PATH=$PATH:/usr/local/cuda/bin
command -v nvcc >/dev/null || die "nvcc is not on the PATH, and not in /usr/local/cuda/bin"
PATH=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("scripts"))'):$PATH
"$PYTHON" -c 'import torch; print("==", torch.cuda.get_device_name(), "torch", torch.__version__)'

cpp_tests=
arguments="-DROFORMER_EXT_CUDA_ARCHS=$architecture-real"
if [ -n "${CATCH2_INCLUDE:-}" ]; then
  package_catch2
  cpp_tests=1
  arguments+=" -DCatch2_DIR=$work"
elif has_catch2; then
  cpp_tests=1
fi
arguments+=" -DROFORMER_EXT_TESTS=$([ -n "$cpp_tests" ] && echo ON || echo OFF)"

export ROFORMER_EXT_CUDA=ON ROFORMER_EXT_CMAKE_ARGS="$arguments"
stage "build" 240 "$PYTHON" setup.py build_ext --inplace
[ ${#failed[@]} = 0 ] || die "the build failed; the first error is above"

parallel=()
"$PYTHON" -c 'import xdist' 2>/dev/null && parallel=(-n 6 --dist worksteal)

if [ -n "$sanitize" ]; then
  command -v compute-sanitizer >/dev/null || die "compute-sanitizer is not on the PATH"
  # Status 86 tells a finding from a failed test. Without torch's cache of memory every tensor is an
  # allocation of its own, so that one byte beyond it is noticed.
  stage "memcheck" 280 env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool memcheck \
    --error-exitcode 86 --kernel-name kns=rope_kernel \
    "$PYTHON" -m pytest -q -x tests/test_ops_forward.py tests/test_ops_inplace.py \
    -k "bits_of_cpu_on_the_gpu or (cuda and (same_bits_as_out_of_place or result_form))"
else
  stage "CUDA equals CPU" 90 "$PYTHON" -m pytest -q -m gpu -k bits tests
  stage "bad ids" 90 "$PYTHON" scripts/gpu/bad_ids.py
  stage "times" 200 "$PYTHON" scripts/bench_gpu.py --seconds 100
  [ -z "${OUT:-}" ] || cp benchmarks/*.json "$OUT"/
  if [ -n "$cpp_tests" ]; then
    stage "C++ tests" 60 ctest --test-dir build --output-on-failure --no-tests=error
  else
    say "C++ TESTS SKIPPED: no Catch2 headers here, and CATCH2_INCLUDE names no folder with them"
    report+=("$(printf '%-24s %7s  SKIPPED, no Catch2' "C++ tests" "")")
  fi
  stage "Python tests" 300 "$PYTHON" -m pytest -q -m "gpu or not slow" "${parallel[@]}" tests
fi

say "summary"
printf '%s\n' "${report[@]}"
if [ ${#failed[@]} != 0 ]; then
  die "FAILED: $(printf '%s, ' "${failed[@]}" | sed 's/, $//') (all in all $SECONDS s)"
fi
say "everything passed in $SECONDS s"
