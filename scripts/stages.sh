# Named stages with a summary at the end; sourced after setup.sh, never run by itself.
#
# The one idea: a stage that fails does not stop the script, so that one run shows everything that
# is wrong; `conclude` prints the times and verdicts, and ends the script with one line that says
# whether everything passed.

failed=()
report=()

# stage NAME COMMAND...: runs COMMAND, notes its time and whether it failed, and goes on.
stage() {
  local name=$1 began=$SECONDS verdict=passed
  shift
  say "$name"
  if ! "$@"; then
    verdict=FAILED
    failed+=("$name")
  fi
  report+=("$(printf '%-24s %5d s  %s' "$name" $((SECONDS - began)) "$verdict")")
}

# note NAME SECONDS: a line of the summary about what cannot fail without ending the script.
note() { report+=("$(printf '%-24s %5d s' "$1" "$2")"); }

conclude() {
  say "summary"
  printf '%s\n' "${report[@]}"
  if [ ${#failed[@]} -gt 0 ]; then
    die "FAILED: $(printf '%s, ' "${failed[@]}" | sed 's/, $//') (all in all $SECONDS s)"
  fi
  say "everything passed in $SECONDS s"
}
