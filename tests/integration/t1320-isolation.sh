#!/bin/bash
# A job of one user, from submission to end, under an agent without privilege and sluis-execd: it runs as its
# submitter, sees none of the agent's files, opens no device but its own, and stays within its limits. Without
# this every part could keep its promise and the whole none.
#
# Runs in a mount namespace, for its own /etc/passwd and device nodes, and in one cgroup of its own. The same
# story under systemd is in t1310.
. "$(dirname "$0")/tap.sh"

export AGENT=2001
needs bin/sluisd bin/sluis-agent bin/sluis-shim bin/sluis-execd bin/sluisctl tests/fake_nvml.so
[ "$(id -u)" -eq 0 ] || skip_all "needs root"
[ "${VARIANT-}" = asan ] && skip_all "a library preloaded by path does not go with another user's sanitizer"
needs_python_zmq
if [ "${1-}" != --inside ]; then
	unshare -m true 2>/dev/null || skip_all "mount namespaces are not permitted here"
	rm -rf "$T"
	exec unshare -m --propagation private "$0" --inside
fi
mount_at=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
C=$mount_at/sluis-t1320-$$
[ -n "$mount_at" ] && mkdir "$C" 2>/dev/null || skip_all "no cgroup2 mount that may be written"
remove_cgroups() { find "$C" -depth -type d -exec rmdir {} \; 2>/dev/null; }
unmount() { awk -v t="$T/" 'index($2, t) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount -l; }
end=0
trap 'end=$?; [ -e "$C/cgroup.kill" ] && echo 1 >"$C/cgroup.kill"; remove_cgroups; unmount; (exit $end); tap_end' EXIT
[ -w "$C/cgroup.kill" ] || skip_all "this kernel has no cgroup.kill (Linux 5.14)"

. "$ROOT/tests/lib/isolation_world.sh"
isolation_world || skip_all "bind mounts or device nodes are not permitted here"

"$T/bin/sluis-execd" --backend=cgroup2 --cgroup-root="$C/tasks" --socket="$T/execd.sock" \
	--run-dir="$T/agent/n1/exec" --uid-min=2000 --uid-max=3000 >"$T/execd.log" 2>&1 &
pid=$!
started $pid
wait_for 10 grep -q ready "$T/execd.log" || sed 's/^/# /' "$T/execd.log"
env EXECD="$T/execd.sock" BASE="$T/agent" LIBRARY="$T/bin/fake_nvml.so" XML="$T/bin/oci-bm-h100.xml" T="$T" BIN="$B/bin" \
	PYTHONPATH="$ROOT/tests/lib" PYTHONDONTWRITEBYTECODE=1 "$python" "$ROOT/tests/lib/isolation_story.py"
rc=$?
[ $rc -eq 0 ] || sed 's/^/# /' "$T/execd.log" "$T/n1.log"
kill $pid
ends 60 $pid
exit $rc
