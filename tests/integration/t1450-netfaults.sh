#!/bin/bash
# Partitions (both ways, one way), pauses and crashes between a real sluisd, agents and a holder, each with a
# network and clocks of its own: the lease lives, its replicas and the jobs run on, no device is given twice. Needs
# root for the namespaces. RUNS and SEED choose more; `make netfaults RUNS=n`.
if [ -z "${SLUIS_IN_NS-}" ] && unshare --mount --net --propagation private true 2>/dev/null; then
	exec env SLUIS_IN_NS=1 unshare --mount --net --propagation private "$0" "$@"
fi
. "$(dirname "$0")/tap.sh"
needs bin/sluisd bin/sluis-agent bin/sluis-shim bin/sluisctl
[ -n "${SLUIS_IN_NS-}" ] || skip_all "no network namespace can be made here (root is needed)"
command -v ip >/dev/null || skip_all "there is no ip (iproute2)"
unshare --time --monotonic 1 --boottime 1 --fork true 2>/dev/null || skip_all "no time namespace can be made here"
needs_python_zmq
mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns || skip_all "no tmpfs can be mounted here"
ip link set lo up && ip link add veth-a type veth peer name veth-b 2>/dev/null && ip link del veth-a || skip_all "no veth can be made here"
ip rule add iif lo blackhole 2>/dev/null && ip rule del iif lo blackhole || skip_all "this kernel has no rules for routes"
sysctl -qw net.ipv4.ip_forward=1 2>/dev/null || skip_all "net.ipv4.ip_forward cannot be set here"

T=$T BIN=$B/bin PYTHONPATH=$ROOT/tests/lib PYTHONDONTWRITEBYTECODE=1 \
	"$python" "$ROOT/tests/lib/netfaults.py" "${RUNS:-3}" "${SEED:-}" >"$T/figures" 2>&1
RC=$?
sed 's/^\(# \)\{0,1\}/# /' "$T/figures"
is "the lease lived, the work ran on, nothing was given twice" "$RC" 0
done_testing
