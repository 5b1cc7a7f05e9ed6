#!/bin/bash
# One real sluisd, one real agent, real tasks: what is submitted runs once, in the place and environment it
# was promised, survives the death of the agent, hears that it has to stop, and leaves its output behind.
# Without this both programs could be right about a contract that they do not share.
. "$(dirname "$0")/tap.sh"
needs bin/sluisd bin/sluis-agent bin/sluis-shim
needs_python_zmq

T=$T BIN=$B/bin PYTHONPATH=$ROOT/tests/lib PYTHONDONTWRITEBYTECODE=1 "$python" "$ROOT/tests/lib/agent_story.py"
exit
