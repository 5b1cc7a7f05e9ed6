#!/bin/bash
# sluisd as a process, asked by a client that was written from PROTOCOL.md alone: what it acknowledged is
# there after kill -9, nobody acts twice, nobody gets in who should not, and nothing a stranger sends
# ends it. Without this the parts could all be right and the daemon still wrong.
. "$(dirname "$0")/tap.sh"
[ -x "$B/bin/sluisd" ] || skip_all "there is no $B/bin/sluisd"
for python in python3 /usr/bin/python3; do
	"$python" -c 'import zmq, msgpack; assert zmq.has("curve")' 2>/dev/null && break
	python=
done
[ -n "$python" ] || skip_all "python3-zmq and python3-msgpack are missing"

T=$T SLUISD=$B/bin/sluisd PYTHONPATH=$ROOT/tests/lib PYTHONDONTWRITEBYTECODE=1 "$python" "$ROOT/tests/lib/daemon_story.py"
exit
