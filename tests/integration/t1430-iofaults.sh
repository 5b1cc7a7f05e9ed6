#!/bin/bash
# One allocation, write or sync of sluisd, or of sluis-agent, fails, at a place drawn by SEED: it goes on, or ends with
# status 70 (for memory: SIGABRT, no invariant broken), and the next start has all that was acknowledged, no task started
# twice. KINDS and LIMIT choose more; `make faults` fails every one of them.
. "$(dirname "$0")/tap.sh"
needs bin/sluisd bin/sluis-agent bin/sluis-shim
[ -e "$B/tests/faults.so" ] || skip_all "there is no $B/tests/faults.so"
[ "${VARIANT:-release}" = release ] || skip_all "a sanitizer has its own malloc"
needs_python_zmq

T=$T BIN=$B/bin FAULTS_SO=$B/tests/faults.so PYTHONPATH=$ROOT/tests/lib PYTHONDONTWRITEBYTECODE=1 \
	"$python" "$ROOT/tests/lib/iofaults.py" "${KINDS:-malloc,write,write+,full,sync,sync+,agent-malloc,agent-write,agent-sync}" "${LIMIT:-4}" "${SEED:-}" \
	>"$T/figures" 2>&1
RC=$?
sed 's/^\(# \)\{0,1\}/# /' "$T/figures"
is "every failure was survived, or ended as the manual says" "$RC" 0
done_testing
