#!/bin/bash
# One real sluisd, one real agent, real tasks: what is submitted runs once, in the place and environment it
# was promised, survives the death of the agent, hears that it has to stop, and leaves its output behind.
# Without this both programs could be right about a contract that they do not share.
. "$(dirname "$0")/tap.sh"
for program in sluisd sluis-agent sluis-shim; do
	[ -x "$B/bin/$program" ] || skip_all "there is no $B/bin/$program"
done
for python in python3 /usr/bin/python3; do
	"$python" -c 'import zmq, msgpack; assert zmq.has("curve")' 2>/dev/null && break
	python=
done
[ -n "$python" ] || skip_all "python3-zmq and python3-msgpack are missing"

T=$T BIN=$B/bin PYTHONPATH=$ROOT/tests/lib PYTHONDONTWRITEBYTECODE=1 "$python" "$ROOT/tests/lib/agent_story.py"
exit
