#!/bin/bash
# A shim is killed at each of its critical moments: its task is not started twice, and its exit code is kept or reported
# as lost, with the reason. Without this the one program that nobody watches would be the one that nobody has seen die.
. "$(dirname "$0")/tap.sh"
FP=$B/failpoints/bin
[ -x "$FP/sluis-shim" ] && [ -x "$FP/sluis-agent" ] || skip_all "there is no $FP/sluis-shim"
needs bin/sluisd
needs_python_zmq

T=$T BIN=$B/bin FP=$FP PYTHONPATH=$ROOT/tests/lib PYTHONDONTWRITEBYTECODE=1 "$python" "$ROOT/tests/lib/shimdeath.py"
exit
