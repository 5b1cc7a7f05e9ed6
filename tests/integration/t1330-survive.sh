#!/bin/bash
# Tasks outlive the agent, and exit reports outlive both: agent and sluisd are killed, restarted and upgraded at
# random moments under running work. Without this a restart could be what loses a week of training. More of it:
# make survive [TASKS=1000] [KILLS=n] [SEED=n].
. "$(dirname "$0")/tap.sh"
needs bin/sluisd bin/sluis-agent bin/sluis-shim
needs_python_zmq

TAP=1 TASKS=60 DEVICES=8 KILLS=12 T=$T BIN=$B/bin PYTHONPATH=$ROOT/tests/lib PYTHONDONTWRITEBYTECODE=1 \
	"$python" "$ROOT/tests/lib/survive.py"
exit
