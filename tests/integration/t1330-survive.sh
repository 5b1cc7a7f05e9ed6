#!/bin/bash
# Tasks outlive the agent, and exit reports outlive both: agent and sluisd are killed, restarted and upgraded at
# random moments under running work. Without this a restart could be what loses a week of training. More of it:
# make survive [TASKS=1000] [KILLS=n] [SEED=n].
. "$(dirname "$0")/tap.sh"
for program in sluisd sluis-agent sluis-shim; do
	[ -x "$B/bin/$program" ] || skip_all "there is no $B/bin/$program"
done
for python in python3 /usr/bin/python3; do
	"$python" -c 'import zmq, msgpack; assert zmq.has("curve")' 2>/dev/null && break
	python=
done
[ -n "$python" ] || skip_all "python3-zmq and python3-msgpack are missing"

TAP=1 TASKS=60 DEVICES=8 KILLS=12 T=$T BIN=$B/bin PYTHONPATH=$ROOT/tests/lib PYTHONDONTWRITEBYTECODE=1 \
	"$python" "$ROOT/tests/lib/survive.py"
exit
