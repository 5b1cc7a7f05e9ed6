#!/bin/bash
# sluisd is killed at random moments under load: nothing acknowledged is lost, nothing acts twice, and the
# log still verifies. `make kill9 TRIES=n` runs more of it. TRIES and SEED are taken from the environment.
. "$(dirname "$0")/tap.sh"
[ -x "$B/bin/sluisd" ] || skip_all "there is no $B/bin/sluisd"
for python in python3 /usr/bin/python3; do
	"$python" -c 'import zmq, msgpack; assert zmq.has("curve")' 2>/dev/null && break
	python=
done
[ -n "$python" ] || skip_all "python3-zmq and python3-msgpack are missing"

T=$T SLUISD=$B/bin/sluisd PYTHONPATH=$ROOT/tests/lib PYTHONDONTWRITEBYTECODE=1 \
	"$python" "$ROOT/tests/lib/kill9.py" "${TRIES:-5}" ${SEED:+"$SEED"} >"$T/figures" 2>&1
RC=$?
sed 's/^/# /' "$T/figures"
is "every try kept what was acknowledged, once" "$RC" 0
ok "and something was acknowledged" grep -Eq '^kill9_acknowledged: [1-9]' "$T/figures"
done_testing
