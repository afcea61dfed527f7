#!/usr/bin/env bash
# Builds fill_mask, and what it needs, where that has not been done, and runs it.
#
#   scripts/demo.sh                                       # leaves a model in runs/mlm/rotary
#   echo 'The query t[MASK]rns.' | examples/cpp/fill_mask/run.sh runs/mlm/rotary
#
# Arguments are those of fill_mask; --help lists them. The program itself is build/fill_mask/fill_mask.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../../../scripts/setup.sh"

# Standard input and output are those of fill_mask.
{
  need compiler "a C++20 compiler with OpenMP is missing" has_compiler
  need json "nlohmann-json is missing" has_json
  need icu "ICU is missing" has_icu
  choose_parts ENCODER
  set_up
  configure_example fill_mask
  cmake --build build/fill_mask
} >&2 </dev/null

cd "$CALLER"
trap - EXIT
exec "$ROOT/build/fill_mask/fill_mask" "$@"
