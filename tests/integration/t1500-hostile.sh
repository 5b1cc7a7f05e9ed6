#!/bin/bash
# Rubbish at every door while a hundred agents work: their heartbeats stay quick, no session is lost, memory
# stays bounded. SECONDS_EACH lengthens the quiet and the hostile stretch.
. "$(dirname "$0")/tap.sh"
[ -x "$B/bin/sluisd" ] || skip_all "there is no $B/bin/sluisd"
needs_python_zmq

PATIENT=${PATIENT-1} T=$T SLUISD=$B/bin/sluisd PYTHONPATH=$ROOT/tests/lib PYTHONDONTWRITEBYTECODE=1 \
	"$python" "$ROOT/tests/lib/storm.py" --hostile "${SECONDS_EACH:-4}" >"$T/figures" 2>&1
RC=$?
sed 's/^/# /' "$T/figures"
is "the agents go on as before, in bounded memory" "$RC" 0
ok "and sluisd ended only when it was asked to" grep -q '^hostile_daemon_died: 0' "$T/figures"
done_testing
