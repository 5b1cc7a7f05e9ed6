#!/bin/bash
# sluisd as a process, asked by a client that was written from PROTOCOL.md alone: what it acknowledged is
# there after kill -9, nobody acts twice, nobody gets in who should not, and nothing a stranger sends
# ends it. Without this the parts could all be right and the daemon still wrong.
. "$(dirname "$0")/tap.sh"
[ -x "$B/bin/sluisd" ] || skip_all "there is no $B/bin/sluisd"
needs_python_zmq

T=$T SLUISD=$B/bin/sluisd PYTHONPATH=$ROOT/tests/lib PYTHONDONTWRITEBYTECODE=1 "$python" "$ROOT/tests/lib/daemon_story.py"
exit
