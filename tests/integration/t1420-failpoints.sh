#!/bin/bash
# sluisd and sluis-agent are killed at every failpoint there is in their source, one death per story: nothing
# acknowledged is lost or doubled, no task starts twice or loses its exit code. `make failpoints ROUNDS=n` dies
# more often. Without it a crash between two steps would first be tried by an operator.
. "$(dirname "$0")/tap.sh"
FP=$B/failpoints/bin
for program in sluisd sluis-agent; do
	[ -x "$FP/$program" ] || skip_all "there is no $FP/$program"
done
needs_python_zmq

none() { ! nm -a "$1" 2>/dev/null | grep -q failpoint && ! grep -aq SLUIS_FAILPOINT "$1"; }
ok "the ordinary sluisd knows of no failpoint" none "$B/bin/sluisd"
ok "nor does the ordinary sluis-agent" none "$B/bin/sluis-agent"

T=$T BIN=$B/bin FP=$FP PYTHONPATH=$ROOT/tests/lib PYTHONDONTWRITEBYTECODE=1 \
	"$python" "$ROOT/tests/lib/failpoints.py" "${ROUNDS:-1}" "${SEED:-}" >"$T/figures" 2>&1
RC=$?
sed 's/^\(# \)\{0,1\}/# /' "$T/figures"
is "every failpoint was died at, and nothing was lost" "$RC" 0
done_testing
