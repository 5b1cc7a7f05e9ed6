#!/bin/bash
# sluisd is killed at random moments under load: nothing acknowledged is lost, nothing acts twice, and the
# log still verifies. `make kill9 TRIES=n` runs more of it. TRIES and SEED are taken from the environment.
. "$(dirname "$0")/tap.sh"
[ -x "$B/bin/sluisd" ] || skip_all "there is no $B/bin/sluisd"
needs_python_zmq

T=$T SLUISD=$B/bin/sluisd PYTHONPATH=$ROOT/tests/lib PYTHONDONTWRITEBYTECODE=1 \
	"$python" "$ROOT/tests/lib/kill9.py" "${TRIES:-5}" ${SEED:+"$SEED"} >"$T/figures" 2>&1
RC=$?
sed 's/^/# /' "$T/figures"
is "every try kept what was acknowledged, once" "$RC" 0
ok "and something was acknowledged" grep -Eq '^kill9_acknowledged: [1-9]' "$T/figures"
done_testing
