#!/bin/bash
# A task that cannot be killed keeps its device, drains its node and is an alarm that can be seen; nothing else is
# handed what it still holds. So does what a health command, prolog or epilog leaves. Without this a hung driver would show up as the failure of the next job.
. "$(dirname "$0")/tap.sh"
needs bin/sluisd bin/sluis-agent bin/sluis-shim
needs_python_zmq
mount_at=$(awk '$3 == "cgroup" && $4 ~ /(^|,)freezer(,|$)/ { print $2; exit }' /proc/mounts)
F=$mount_at/sluis-t1340-$$
[ -n "$mount_at" ] && mkdir "$F" 2>/dev/null || skip_all "no cgroup1 freezer that may be written"
end=0
trap 'end=$?; echo THAWED >"$F/freezer.state"; rmdir "$F"; (exit $end); tap_end' EXIT

T=$T BIN=$B/bin FREEZER=$F PYTHONPATH=$ROOT/tests/lib PYTHONDONTWRITEBYTECODE=1 \
	"$python" "$ROOT/tests/lib/unkillable_story.py"
rc=$?
for _ in {1..150}; do # a folder of it that is not empty cannot be removed
	[ -s "$F/cgroup.procs" ] || break
	sleep 0.2
done
exit $rc
