#!/usr/bin/env bash
# Sets up, builds, and trains a small RoFormer on English text, through our own operator.
#
#   scripts/demo.sh [ARGUMENT...]   for scripts/train_mlm.py: --steps, --size, --text, --device, ...
#   scripts/demo.sh --help          lists them, once set-up has been done
#
# Environment: ROFORMER_EXT_CUDA=AUTO|ON|OFF (ON: no nvcc is an error), CXX, VIRTUAL_ENV. A second
# run repeats nothing that is done already.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

if [ "${1:-}" = --help ] || [ "${1:-}" = -h ]; then
  show_help
  if [ -x .venv/bin/python ]; then .venv/bin/python scripts/train_mlm.py --help; fi
  exit
fi

choose_parts
set_up demo
say "training"
"$PYTHON" scripts/train_mlm.py "$@" || die "training stopped with status $?"
