# Set-up for test.sh, demo.sh, lint.sh and others; sourced by them, never run by itself.
#
# The one idea: look first, act only on what is missing. Every question takes milliseconds (package
# metadata, a one-line compile), so a second run goes straight to the build, where ninja finds
# nothing to do. What needs the system's package manager is installed where nobody has to be asked
# (root with apt-get); elsewhere the script stops before anything long begins and names the command.

CALLER=$PWD
SCRIPT=$(cd "$(dirname "$0")" && pwd)/${0##*/}
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT" || exit 1
export PIP_DISABLE_PIP_VERSION_CHECK=1 DEBIAN_FRONTEND=noninteractive

say() { printf '== %s\n' "$*"; }

# Prints the comment that a script begins with, which is its help.
show_help() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$SCRIPT"; }

# Ends the script; the message is its last line.
die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  trap - EXIT
  exit 1
}
trap '[ $? = 0 ] || die "stopped before it was done; the reason is above"' EXIT

# install_command WHAT: the command that installs compiler, python, headers, venv, catch2, json, icu or
# valgrind here.
install_command() {
  local manager version=3
  if [ -n "${PYTHON:-}" ]; then
    version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  fi
  for manager in apt-get dnf zypper pacman apk brew none; do
    command -v "$manager" >/dev/null && break
  done
  case "$manager:$1" in
    apt-get:compiler) echo "apt-get install -y g++" ;;
    apt-get:python) echo "apt-get install -y python3 python3-venv python3-dev" ;;
    apt-get:headers) echo "apt-get install -y python$version-dev" ;;
    apt-get:venv) echo "apt-get install -y python$version-venv" ;;
    apt-get:catch2) echo "apt-get install -y catch2" ;;
    apt-get:json) echo "apt-get install -y nlohmann-json3-dev" ;;
    apt-get:icu) echo "apt-get install -y libicu-dev" ;;
    apt-get:valgrind) echo "apt-get install -y valgrind libc6-dbg" ;;
    dnf:compiler) echo "dnf install -y gcc-c++" ;;
    dnf:python | dnf:venv) echo "dnf install -y python3" ;;
    dnf:headers) echo "dnf install -y python$version-devel" ;;
    dnf:catch2) echo "dnf install -y catch-devel" ;;
    dnf:json) echo "dnf install -y json-devel" ;;
    dnf:icu) echo "dnf install -y libicu-devel" ;;
    zypper:compiler) echo "zypper install -y gcc-c++" ;;
    zypper:headers) echo "zypper install -y python3-devel" ;;
    zypper:catch2) echo "zypper install -y Catch2-devel" ;;
    zypper:json) echo "zypper install -y nlohmann_json-devel" ;;
    zypper:icu) echo "zypper install -y libicu-devel" ;;
    pacman:compiler) echo "pacman -S gcc" ;;
    pacman:catch2) echo "pacman -S catch2" ;;
    pacman:json) echo "pacman -S nlohmann-json" ;;
    pacman:icu) echo "pacman -S icu" ;;
    apk:compiler) echo "apk add g++" ;;
    apk:headers) echo "apk add python3-dev" ;;
    apk:catch2) echo "apk add catch2-3" ;;
    apk:json) echo "apk add nlohmann-json" ;;
    apk:icu) echo "apk add icu-dev" ;;
    brew:compiler) echo "brew install gcc" ;;
    brew:catch2) echo "brew install catch2" ;;
    brew:json) echo "brew install nlohmann-json" ;;
    brew:icu) echo "brew install icu4c" ;;
    none:*) echo "the package manager of this system (wanted: $1)" ;;
    *:valgrind) echo "$manager install valgrind" ;;
    *) echo "$manager install python3" ;;
  esac
}

# need WHAT MESSAGE CHECK...: when CHECK fails, install WHAT if nobody has to be asked, else stop and say how.
need() {
  local what=$1 message=$2 command
  shift 2
  "$@" && return
  command=$(install_command "$what")
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    die "$message; install it with: $command"
  fi
  say "$message; running: $command"
  if [ -z "${APT_UPDATED:-}" ]; then
    apt-get update -qq || die "$message, and apt-get update failed; install it with: $command"
    APT_UPDATED=1
  fi
  # shellcheck disable=SC2086 # the command is a list of words
  $command || die "$message, and this failed: $command"
  "$@" || die "$message, also after: $command"
}

has_python3() { command -v python3 >/dev/null; }

has_compiler() {
  local compiler
  for compiler in ${CXX:+"$CXX"} c++ g++ clang++; do
    if printf '#include <concepts>\n#include <omp.h>\nstatic_assert(__cplusplus >= 202002L);\n' |
      $compiler -std=c++20 -fopenmp -x c++ -fsyntax-only - 2>/dev/null; then
      export CXX=$compiler
      return
    fi
  done
  return 1
}

has_python_header() {
  [ -f "$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ]
}

has_venv_module() { "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; }

has_catch2() {
  local prefix
  [ -n "${Catch2_DIR:-}" ] && return
  for prefix in $(tr ':;' '  ' <<<"${CMAKE_PREFIX_PATH:-}"); do
    [ -d "$prefix/include/catch2" ] && return
  done
  printf '#if !__has_include(<catch2/%s>) && !__has_include(<catch2/%s>)\n#error\n#endif\n' \
    catch.hpp catch_all.hpp | $CXX -x c++ -fsyntax-only - 2>/dev/null
}

has_json() {
  local prefix
  for prefix in $(tr ':;' '  ' <<<"${CMAKE_PREFIX_PATH:-}"); do
    [ -f "$prefix/include/nlohmann/json.hpp" ] && return
  done
  printf '#if !__has_include(<nlohmann/json.hpp>)\n#error\n#endif\n' |
    $CXX -x c++ -fsyntax-only - 2>/dev/null
}

has_icu() {
  local prefix
  for prefix in $(tr ':;' '  ' <<<"${CMAKE_PREFIX_PATH:-}"); do
    [ -f "$prefix/include/unicode/normalizer2.h" ] && return
  done
  printf '#if !__has_include(<unicode/normalizer2.h>)\n#error\n#endif\n' |
    $CXX -x c++ -fsyntax-only - 2>/dev/null
}

# Sets PYTHON to the interpreter that a new .venv is made from. The newest torch needs Python 3.11.
choose_base_python() {
  local candidate
  PYTHON=
  need python "python3 is missing" has_python3
  for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      PYTHON=$(command -v "$candidate")
      return
    fi
  done
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    die "$(python3 --version) is too old: at least Python 3.10 is needed, and 3.11 for the newest torch"
  PYTHON=$(command -v python3)
  say "The newest torch needs Python 3.11; for $(python3 --version) pip takes an older one."
}

# Sets PYTHON: the active environment when torch can be imported there, else .venv, which it makes.
choose_python() {
  local active=python3
  if [ -n "${VIRTUAL_ENV:-}" ]; then active=$VIRTUAL_ENV/bin/python
  elif [ -n "${CONDA_PREFIX:-}" ]; then active=$CONDA_PREFIX/bin/python; fi
  if "$active" scripts/environment.py usable 2>/dev/null &&
    { "$active" scripts/environment.py editable || "$active" -c 'import torch' 2>/dev/null; }; then
    PYTHON=$("$active" -c 'import sys; print(sys.executable)')
  elif .venv/bin/python -m pip --version >/dev/null 2>&1; then
    PYTHON=$ROOT/.venv/bin/python
  else
    [ "$active" = python3 ] || say "$active has no torch that serves here: working in .venv instead"
    choose_base_python
    need venv "the venv module of $PYTHON is missing" has_venv_module
    say "making .venv with $("$PYTHON" --version)"
    "$PYTHON" -m venv --clear .venv || die "python -m venv could not make .venv"
    PYTHON=$ROOT/.venv/bin/python
  fi
  use_python
}

# The build and the tests find cmake, ctest and ninja of PYTHON's environment by name.
use_python() {
  PATH=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("scripts"))'):$PATH
  export PATH PYTHON
}

# make_environment VERSION FOLDER: an environment with this torch (2.11, 2.13.1, newest), unless it is
# there; sets PYTHON to its interpreter.
make_environment() {
  local -a wanted=("torch==$1.*")
  [ "$1" != newest ] || wanted=(--upgrade torch)
  if ! "$2/bin/python" -m pip --version >/dev/null 2>&1; then
    choose_base_python
    need venv "the venv module of $PYTHON is missing" has_venv_module
    "$PYTHON" -m venv --clear "$2" || die "python -m venv could not make $2"
  fi
  PYTHON=$2/bin/python
  "$PYTHON" -m pip install --quiet --prefer-binary "${wanted[@]}" ||
    die "pip could not install torch $1: is a Python package index reachable?"
  "$PYTHON" scripts/environment.py usable || die "torch $1 is not one that pyproject.toml allows"
}

# install_missing GROUP...: installs what pyproject.toml asks for in these groups and the environment lacks.
install_missing() {
  local list
  local -a missing
  list=$("$PYTHON" scripts/environment.py missing "$@") || die "pyproject.toml could not be read"
  if [ -n "$list" ]; then
    mapfile -t missing <<<"$list"
    say "installing into $("$PYTHON" -c 'import sys; print(sys.prefix)'): ${missing[*]}"
    "$PYTHON" -m pip install --prefer-binary "${missing[@]}" ||
      die "pip could not install ${missing[*]}: is a Python package index reachable?"
  fi
}

# choose_parts [PART...]: what to build, ENCODER or TESTS, where the caller has set no options. What the
# tree was built with stays: without it everything would only be configured anew.
choose_parts() {
  local part options=
  for part in TESTS ENCODER; do
    if [[ " $* " == *" $part "* ]] ||
      grep -qs "^ROFORMER_EXT_$part:[A-Z]*=ON" build/CMakeCache.txt; then
      options+=" -DROFORMER_EXT_$part=ON"
    fi
  done
  export ROFORMER_EXT_CMAKE_ARGS="${ROFORMER_EXT_CMAKE_ARGS:-${options# }}"
}

# Builds the extension into roformer_ext/, makes `import roformer_ext` find this tree, and sets
# BUILD_SECONDS.
build_extension() {
  local began=$SECONDS
  say "building the extension (CUDA: ${ROFORMER_EXT_CUDA:-AUTO})"
  "$PYTHON" setup.py build_ext --inplace || die "the build failed; the first error is above"
  if ! "$PYTHON" scripts/environment.py editable; then
    "$PYTHON" -m pip install --quiet --no-build-isolation --no-deps -e . ||
      die "pip could not install this tree in editable form"
  fi
  BUILD_SECONDS=$((SECONDS - began))
  say "the build took $BUILD_SECONDS s"
}

# configure_example NAME: build/NAME for examples/cpp/NAME, against the built extension.
configure_example() {
  local prefixes
  prefixes=$("$PYTHON" -c 'import roformer_ext, torch
print(roformer_ext.cmake_prefix_path, torch.utils.cmake_prefix_path, sep=";")') &&
    cmake -S "examples/cpp/$1" -B "build/$1" -G Ninja "-DCMAKE_PREFIX_PATH=$prefixes"
}

# set_up GROUP...: everything up to a built extension, cheapest questions first.
set_up() {
  choose_python
  need compiler "a C++20 compiler with OpenMP is missing" has_compiler
  need headers "Python.h of $("$PYTHON" --version) is missing" has_python_header
  case " $* " in
    *" test "*)
      need catch2 "Catch2 (version 2 or 3) is missing" has_catch2
      need json "nlohmann-json is missing" has_json
      need icu "ICU is missing" has_icu
      ;;
  esac
  install_missing build run "$@"
  build_extension
}
