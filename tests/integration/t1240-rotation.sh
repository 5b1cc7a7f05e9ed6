#!/bin/bash
# Keys change while work goes on: the server's key is announced, then put in place, and agents and people find it by
# themselves; a node gets a new key and its old one opens nothing. Without it a leaked key could only be cured by
# visiting every machine.
. "$(dirname "$0")/tap.sh"
needs bin/sluisd bin/sluisctl bin/sluis-agent bin/sluis-shim
. "$(dirname "$0")/cluster.sh"
with_key() { # with_key KEY [OPTION...]: sluisd
	sluisd --set "server_key=$1" --set leases.rejoin_grace=0s --set liveness.heartbeat=500ms --set liveness.suspect=5s \
		--set liveness.unreachable=10s "${@:2}"
}
stop() { kill "$daemon"; ends 60 "$daemon"; }
node_state() { ctl node list --plain --columns state 2>/dev/null; }
heard() { [ "$(node_state)" = ready ]; }
mkdir "$T/n1" "$T/bob"
"$CTL" -q key create "$T/one.key"
"$CTL" -q key create "$T/two.key"
public() { sed -n 's/^public-key: //p' "$1"; }
with_key "$T/one.key"
ctl_token=$(ctl -q token create user --name eva --role auditor)
ok "a person" "$CTL" user accept "$ctl_token" --name eva --context t
node_token=$(ctl -q token create node --name n1)
agent n1 --join "$node_token" --reconnect-max 300ms --fence-after 1s
ok "a node" wait_for 30 heard

# ---- the server's key: announced, then in place
stop
with_key "$T/one.key" --set "server_key_next=$T/two.key"
ok "it greets again" wait_for 90 grep -qF -- "next=$(public "$T/two.key")" "$T/n1.out"
ok "the node keeps the next key" wait_for 60 grep -qxF -- "server-next: $(public "$T/two.key")" "$T/n1/daemon"
is "a person asks something" "$("$CTL" cluster info --json | json 'o["item"]["role"]')" auditor
in_context() { # in_context SETTING: quoted or not
	sed -nE "s/^    $1: \"?([^\"]*)\"?\$/\1/p" "$HOME/.config/sluis/sluisctl.conf"
}
is "and has learnt it by that" "$(in_context server_key_next)" "$(public "$T/two.key")"
stop
with_key "$T/two.key"
is "under the new key people get through" "$("$CTL" --timeout 30s cluster info --json | json 'o["item"]["role"]')" auditor
is "and keep it as the server's" "$(in_context server_key)" "$(public "$T/two.key")"
is "nothing is to come any more" "$(in_context server_key_next)" ""
ok "the node comes back by itself" wait_for 60 grep -qF -- "key=$(public "$T/two.key") next=-" "$T/n1.out"
ok "and is heard" wait_for 30 heard
"$CTL" --timeout 2s --endpoint "$(endpoint users)" --key "$HOME/.config/sluis/keys/eva.key" --server-key "$(public "$T/one.key")" cluster info >/dev/null 2>"$T/err"
is "who only knows the old key gets no answer" $? 7

# ---- a node's key
cp "$T/n1/node.key" "$T/stolen.key"
kill "$agent"; ends 60 "$agent"
"$B/bin/sluis-agent" --node n1 --set "state_dir=$T/n1" --join sluis-join-1.wrong --join-only --new-key >"$T/out" 2>&1
is "a bad token" $? 1
ok "leaves the old key where it was" cmp -s "$T/n1/node.key" "$T/stolen.key"
node_token=$(ctl -q token create node --name n1)
"$B/bin/sluis-agent" --node n1 --set "state_dir=$T/n1" --join "$node_token" --join-only --new-key >"$T/out" 2>&1
is "a new key" $? 0
ok "is another one" sh -c '! cmp -s "$1" "$2"' - "$T/n1/node.key" "$T/stolen.key"
is "the old one is revoked" "$(ctl key list --plain --columns name,state | sort | tr '\n' ' ' | tr '\t' =)" "admin=valid eva=valid n1=revoked n1=valid "
agent n1 --reconnect-max 300ms --fence-after 1s
ok "the node is back with it" wait_for 30 heard

# ---- a person's key
token=$(ctl -q token create user --name bob --role auditor)
ok "a key file elsewhere, and no folder of one's own yet" env HOME="$T/bob" "$CTL" --key "$T/bob.key" user accept "$token" --name bob --context t
before=$(public "$HOME/.config/sluis/keys/eva.key")
ok "key rotate" "$CTL" key rotate
is "and it works" "$("$CTL" cluster info --json | json 'o["item"]["role"]')" auditor
ok "with another key" test "$before" != "$(public "$HOME/.config/sluis/keys/eva.key")"

done_testing
