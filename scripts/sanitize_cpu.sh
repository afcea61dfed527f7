#!/usr/bin/env bash
# Looks for errors of memory and undefined behaviour on the CPU, and for leaks.
#
#   scripts/sanitize_cpu.sh                both parts
#   scripts/sanitize_cpu.sh --sanitizers   AddressSanitizer with its search for leaks, and
#                                          UndefinedBehaviorSanitizer, over every C++ test, then
#                                          over examples/cpp/fill_mask in all its Python tests
#   scripts/sanitize_cpu.sh --valgrind     memcheck over the applications of tests/consumer
#
# The first part compiles everything of ours into build-asan/ with ROFORMER_EXT_SANITIZE=ON; LibTorch
# stays as it is. The second runs what scripts/test.sh builds. What is not ours is listed with its
# reason in tests/csrc/lsan.supp and tests/consumer/valgrind.supp. Environment: CXX, VIRTUAL_ENV,
# MAX_JOBS, ROFORMER_EXT_CPU (level of the kernels). The last line says whether anything was found.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
. scripts/stages.sh

sanitizers=1
valgrind=1
case "${1:-}" in
  '') ;;
  --sanitizers) valgrind= ;;
  --valgrind) sanitizers= ;;
  -h | --help)
    show_help
    exit
    ;;
  *) die "unknown argument $1; try --help" ;;
esac

links_sanitizers() {
  echo 'int main() {}' | $CXX -fsanitize=address,undefined -x c++ - -o /dev/null 2>/dev/null
}

has_valgrind() { command -v valgrind >/dev/null; }

build_with_sanitizers() {
  cmake -S . -B build-asan -G Ninja -DROFORMER_EXT_SANITIZE=ON -DROFORMER_EXT_TESTS=ON \
    -DROFORMER_EXT_ENCODER=ON -DROFORMER_EXT_CUDA=OFF "-DPython_EXECUTABLE=$PYTHON" \
    "-DLIBTORCH_ROOT=$("$PYTHON" -c 'import torch; print(torch.__path__[0])')" &&
    cmake --build build-asan --parallel "${MAX_JOBS:-$(getconf _NPROCESSORS_ONLN)}"
}

# With flags as in csrc/cmake/Sanitizers.cmake, which make a start twice as long. The program's own
# status for a refusal is 1.
test_fill_mask() {
  [ -e roformer_ext/lib/libroformer_ext_encoder.so ] &&
    CXXFLAGS="-g1 -fno-omit-frame-pointer -Wno-maybe-uninitialized -fsanitize=address,undefined \
      -fno-sanitize=vptr -fno-sanitize-recover=all" \
      ASAN_OPTIONS=exitcode=99:detect_stack_use_after_return=1:strict_string_checks=1:check_initialization_order=1 \
      UBSAN_OPTIONS=exitcode=99:print_stacktrace=1 LSAN_OPTIONS=print_suppressions=0 \
      ROFORMER_EXT_FILL_MASK_BUILD=build-asan/fill_mask \
      "$PYTHON" -m pytest -m "" -k "not under_a_second" -q tests/test_fill_mask*.py
}

# Memcheck's status 99 tells a finding from a failed check. It knows no AVX-512 and hides it from
# programs, so that the kernels are those of AVX2.
memcheck() {
  valgrind --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite \
    --show-leak-kinds=definite --num-callers=40 --suppressions=tests/consumer/valgrind.supp "$@"
}

choose_python
need compiler "a C++20 compiler with OpenMP is missing" has_compiler
if [ -n "$sanitizers" ]; then
  need compiler "the sanitizers of $CXX are missing" links_sanitizers
fi
if [ -n "$valgrind" ]; then
  need valgrind "valgrind is missing" has_valgrind
fi
export ROFORMER_EXT_CMAKE_ARGS="${ROFORMER_EXT_CMAKE_ARGS:--DROFORMER_EXT_TESTS=ON -DROFORMER_EXT_ENCODER=ON}"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
set_up test
note "set-up" "$SECONDS"

if [ -n "$sanitizers" ]; then
  stage "build with sanitizers" build_with_sanitizers
  [ ${#failed[@]} = 0 ] || conclude
  stage "tests with sanitizers" ctest --test-dir build-asan --output-on-failure --no-tests=error
  stage "fill_mask with sanitizers" test_fill_mask
fi
if [ -n "$valgrind" ]; then
  stage "applications" ctest --test-dir build --output-on-failure --no-tests=error -R consumer
  [[ " ${failed[*]} " != *" applications "* ]] || conclude
  stage "memcheck, operators" memcheck build/tests/csrc/consumer/consumer
  stage "memcheck, encoder" memcheck build/tests/csrc/consumer/encoder_consumer \
    build/tests/csrc/checkpoints/masked_lm_v1
fi
conclude
