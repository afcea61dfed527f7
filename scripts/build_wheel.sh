#!/usr/bin/env bash
# Builds a source distribution and, from nothing else, a wheel into dist/; then uses the wheel.
#
#   scripts/build_wheel.sh                    with the torch of the environment
#   scripts/build_wheel.sh --torch VERSION    with another, which it installs: 2.11, 2.13.1, newest
#
# A wheel runs with one minor version of torch, says so in its metadata, and lies in a folder of that
# name. It is installed into an environment that holds torch alone, imported from a foreign folder,
# held to the reference, trained, saved and loaded; an application in C++ is built against it and
# run. Environment: ROFORMER_EXT_CUDA=AUTO|ON|OFF, CXX, MAX_JOBS. The last line says whether
# everything passed.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
. scripts/stages.sh

WORK=$ROOT/build-wheel
version=
case "${1:-}" in
  '') ;;
  --torch) version=${2:?--torch wants a version} ;;
  -h | --help)
    show_help
    exit
    ;;
  *) die "unknown argument $1; try --help" ;;
esac

# unpack SDIST: the sources alone, where CMake's build folder of the last run is kept.
unpack() {
  mkdir -p "$source"
  find "$source" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
  rm -rf "$source"/build/lib.* "$source"/build/bdist.*
  tar --extract --file="$1" --directory="$source" --strip-components=1
}

build_sdist() {
  rm -f dist/*.tar.gz
  "$PYTHON" -c 'from setuptools import build_meta; build_meta.build_sdist("dist")' >/dev/null &&
    unpack dist/*.tar.gz
}

build_wheel() {
  rm -rf "$wheels"
  "$PYTHON" -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir "$wheels" "$source"
}

install_wheel() {
  rm -rf "$clean"
  "$PYTHON" -m venv "$clean" && "$PYTHON" scripts/wheel_check/link_torch.py "$clean" &&
    "$clean/bin/python" -m pip install --quiet --no-index "$wheels"/*.whl &&
    "$clean/bin/python" -m pip check
}

# The libraries look for torch beside themselves, wherever they lie: no run path is absolute.
run_paths_are_relative() {
  local installed paths
  installed=$("$clean/bin/python" -Ic 'import sysconfig; print(sysconfig.get_path("platlib"))')
  paths=$(readelf -d "$installed"/roformer_ext/*.so "$installed"/roformer_ext/lib/*.so |
    grep -E 'R(UN)?PATH') || return
  ! grep -E '(:|\[)[^$ ]' <<<"$paths"
}

use_from_python() { (cd "$outside" && "$clean/bin/python" -I "$source/scripts/wheel_check/smoke.py" checkpoint); }

use_from_cpp() {
  local prefix
  prefix=$(cd "$outside" && "$clean/bin/python" -Ic \
    'import roformer_ext, torch; print(roformer_ext.cmake_prefix_path, torch.utils.cmake_prefix_path, sep=";")') &&
    cmake -S "$source/tests/consumer" -B "$outside/consumer" -G Ninja -DCMAKE_BUILD_TYPE=Release \
      "-DCMAKE_PREFIX_PATH=$prefix" >/dev/null &&
    cmake --build "$outside/consumer" && "$outside/consumer/consumer" &&
    "$outside/consumer/encoder_consumer" "$outside/checkpoint"
}

if [ -n "$version" ]; then
  make_environment "$version" "$WORK/$version/venv"
  use_python
else
  choose_python
fi
need compiler "a C++20 compiler with OpenMP is missing" has_compiler
need headers "Python.h of $("$PYTHON" --version) is missing" has_python_header
need json "nlohmann-json is missing" has_json
install_missing build run
minor=$("$PYTHON" -c 'from importlib.metadata import version as v; print(".".join(v("torch").split(".")[:2]))')
source=$WORK/$minor/source
clean=$WORK/$minor/clean
outside=$WORK/$minor/outside
wheels=$ROOT/dist/torch$minor
rm -rf "$outside"
mkdir -p "$outside" dist
export ROFORMER_EXT_CMAKE_ARGS="-DROFORMER_EXT_ENCODER=ON"
unset PYTHONPATH
note "set-up" $SECONDS

stage "source distribution" build_sdist
[ ${#failed[@]} = 0 ] || conclude
stage "wheel, torch $minor" build_wheel
[ ${#failed[@]} = 0 ] || conclude
stage "contents" "$PYTHON" scripts/wheel_check/contents.py dist/*.tar.gz "$wheels"/*.whl
stage "clean installation" install_wheel
stage "run paths" run_paths_are_relative
stage "use from Python" use_from_python
stage "use from C++" use_from_cpp
ls -l dist/*.tar.gz "$wheels"/*.whl
conclude
