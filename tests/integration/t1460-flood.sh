#!/bin/bash
# sluisd reads late, or cannot read all that comes. Without these a renewal that arrived in time could count as late
# because sluisd was slow, and whoever floods a door could keep leases alive that nobody renews, and so their devices.
. "$(dirname "$0")/tap.sh"
for program in sluisd sluis-agent sluis-shim; do
	[ -x "$B/bin/$program" ] || skip_all "there is no $B/bin/$program"
done
for python in python3 /usr/bin/python3; do
	"$python" -c 'import zmq, msgpack; assert zmq.has("curve")' 2>/dev/null && break
	python=
done
[ -n "$python" ] || skip_all "python3-zmq and python3-msgpack are missing"

T=$T BIN=$B/bin PYTHONPATH=$ROOT/tests/lib PYTHONDONTWRITEBYTECODE=1 "$python" "$ROOT/tests/lib/flood.py"
exit
