#!/bin/bash
# A small storm: two hundred agents greet at once, sluisd is killed and started again, and all are back in time, three real
# agents among them. `make storm` has thousands.
. "$(dirname "$0")/tap.sh"
needs bin/sluisd bin/sluis-agent bin/sluis-shim
needs_python_zmq
[ "${VARIANT:-release}" = release ] || skip_all "the bound on memory is not meant for a sanitizer"

PATIENT=1 T=$T BIN=$B/bin SLUISD=$B/bin/sluisd PYTHONPATH=$ROOT/tests/lib PYTHONDONTWRITEBYTECODE=1 \
	"$python" "$ROOT/tests/lib/storm.py" "${AGENTS:-200}" >"$T/figures" 2>&1
RC=$?
sed 's/^/# /' "$T/figures"
is "all are back within the bound, in bounded memory" "$RC" 0
is "real agents, whose back-off is the agent's own, as well" "$(sed -n 's/^storm_real_agents_back: \([0-9]*\) .*/\1/p' "$T/figures")" 3
done_testing
