#!/bin/bash
# sluisd reads late, or cannot read all that comes. Without these a renewal that arrived in time could count as late
# because sluisd was slow, and whoever floods a door could keep leases alive that nobody renews, and so their devices.
. "$(dirname "$0")/tap.sh"
needs bin/sluisd bin/sluis-agent bin/sluis-shim
needs_python_zmq

T=$T BIN=$B/bin PYTHONPATH=$ROOT/tests/lib PYTHONDONTWRITEBYTECODE=1 "$python" "$ROOT/tests/lib/flood.py"
exit
