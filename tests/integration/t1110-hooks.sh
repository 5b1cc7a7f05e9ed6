#!/bin/bash
# The site's programs around a job run in order and once, also when the agent dies in the middle; a node whose prolog
# or epilog fails takes nothing new and says why, and what an epilog has not undone is handed to nobody. Without this a
# node that cannot mount its file system would eat a queue, one job after the other.
. "$(dirname "$0")/tap.sh"
needs bin/sluisd bin/sluis-agent bin/sluis-shim
needs_python_zmq

T=$T BIN=$B/bin PYTHONPATH=$ROOT/tests/lib PYTHONDONTWRITEBYTECODE=1 "$python" "$ROOT/tests/lib/hooks_story.py"
exit
