#!/bin/bash
# sluisd is stopped (SIGSTOP) for longer than ttl and grace together: nobody could renew meanwhile, so when
# it goes on nothing may expire. Without the guard a busy or suspended daemon would end leases that their
# holders were about to renew.
. "$(dirname "$0")/tap.sh"
needs bin/sluisd bin/sluis-agent bin/sluis-shim bin/sluisctl

cat >"$T/sluisd.conf" <<CONF
cluster: standstill
state_dir: $T/state
map_size: 64MiB
listen: {agents: "tcp://127.0.0.1:*", users: "tcp://127.0.0.1:*", enrol: "tcp://127.0.0.1:*", local: $T/local}
leases: {ttl: 5s, grace: 3s, rejoin_grace: 30s}
CONF
cat >"$T/agent.conf" <<CONF
node: n1
address: 127.0.0.1
state_dir: $T/n1
exec: {backend: plain}
CONF
cat >"$T/division.yaml" <<CONF
version: 0
cluster: standstill
flavors: {g: {vendor: nvidia, model: "*", weight: 1000, devices_per_node: 8, scrub_max: 1s}}
committed: {g: {gpus: 8}}
tree:
  private:
    nominal: {g: {gpus: 8}}
    recall_slo: 5m
    classes: {company: {providers: {chat: {tenant: chat-bv, nominal: {g: {gpus: 8}}}}}}
CONF
ctl() { "$B/bin/sluisctl" --state-dir "$T/state" "$@"; }
lease_state() { ctl --plain lease list --all --columns state 2>>"$T/err"; }
is_state() { [ "$(lease_state)" = "$1" ]; }
node_ready() { ctl --plain node list --columns state 2>>"$T/err" | grep -qx ready; }

"$B/bin/sluisd" --config "$T/sluisd.conf" 2>"$T/sluisd.log" &
DAEMON=$!
started $DAEMON
ok "sluisd answers" wait_for 20 ctl cluster ping
TOKEN=$(ctl -q token create node --name n1)
"$B/bin/sluis-agent" --config "$T/agent.conf" --join "$TOKEN" --synthetic "package:1 core:8 pu:1" --gpus 8xH100 \
	2>"$T/agent.log" &
started $!
ok "the node is ready" wait_for 20 node_ready
ok "the division is applied" ctl division apply -f "$T/division.yaml" --yes
ok "a lease is requested" ctl lease request --provider chat --flavor g --gpus 2 --auto-accept
ok "the lease is active" wait_for 20 is_state active
ok "it is renewed" ctl lease renew 1

kill -STOP $DAEMON
sleep 10 # longer than ttl and grace: the standstill itself is what is tested
kill -CONT $DAEMON
ok "sluisd noticed that it had stood still" wait_for 10 grep -q standstill "$T/sluisd.log"
is "the lease has not expired" "$(lease_state)" active
ok "its holder can renew it" ctl lease renew 1
ok "left alone, it does expire: the guard is no amnesty" wait_for 90 is_state expired
ok "the log verifies" ctl log verify
done_testing
