# shellcheck shell=bash
# cluster.sh - a small cluster among the living, as a person starts one: after tap.sh
#
#   sluisd [OPTION...]          started, and it answers; again where it was before. $daemon is its pid, $T/d its state,
#                               $T/d.out what it says, $T/server.key its key, made when it is missing
#   endpoint agents|users|enrol|local      where it listens
#   agent NODE [OPTION...]      started; joins by a token of its own the first time. $agent is its pid, $T/NODE its state,
#                               $T/NODE.out what it says
#   h100 NODE [OPTION...]       an agent with the eight devices of a recorded machine
#   ctl ARGUMENT...             sluisctl as the first admin: by uid, through the local socket
#   member NAME...              people who may submit, each with a key; as NAME ARGUMENT...: sluisctl as one of them
#   json EXPRESSION             of what comes in, called o: `ctl status --json | json 'o["item"]["state"]'`
#   quiet COMMAND...            what it answers does not matter
#
# HOME is a folder of the test's own, and no setting of whoever runs it gets in.

unset SLUIS_ENDPOINT SLUIS_KEY SLUIS_SERVER_KEY SLUIS_CLUSTER SLUIS_PROJECT SLUIS_TIMEOUT SLUIS_CONFIG SLUIS_JOB_ID XDG_CONFIG_HOME
export HOME=$T/home TZ=UTC LC_ALL=C.UTF-8
mkdir "$HOME"
CTL=$B/bin/sluisctl

ctl() { "$CTL" --state-dir "$T/d" "$@"; }
quiet() { "$@" >/dev/null; }
json() { python3 -c 'import json,sys; o=json.load(sys.stdin); v=eval(sys.argv[1],{"o":o}); print(v if v is not None else "null")' "$1"; }
endpoint() { json "o[\"$1\"]" <"$T/d/endpoints.json"; }

sluisd() {
	local agents='tcp://127.0.0.1:*' users='tcp://127.0.0.1:*'
	[ -s "$T/server.key" ] || "$CTL" -q key create "$T/server.key" >/dev/null
	[ ! -s "$T/d/endpoints.json" ] || { agents=$(endpoint agents) users=$(endpoint users); }
	rm -f "$T/d/endpoints.json"
	"$B/bin/sluisd" --set cluster=t --set "state_dir=$T/d" --set "listen.agents=$agents" --set "listen.users=$users" \
		--set 'listen.enrol=tcp://127.0.0.1:*' --set "listen.local=$T/d.sock" --set "server_key=$T/server.key" \
		--set map_size=256MiB --set "local_admins=[$(id -u)]" "$@" >>"$T/d.out" 2>&1 &
	daemon=$!
	started "$daemon"
	wait_for 30 test -s "$T/d/endpoints.json" || { echo "Bail out! sluisd did not start"; sed 's/^/# /' "$T/d.out"; exit 1; }
}

agent() {
	local node=$1 join=()
	shift
	[ -e "$T/$node" ] || join=(--join "$(ctl -q token create node --name "$node")")
	"$B/bin/sluis-agent" --config /dev/null --node "$node" "${join[@]}" --set "state_dir=$T/$node" --set address=127.0.0.1 \
		--set exec.backend=plain --set reserve.cores=0 --set reserve.memory=0MiB --reconnect-max 200ms "$@" >>"$T/$node.out" 2>&1 &
	agent=$!
	started "$agent"
}
h100() { agent "$1" --topology "$ROOT/demo/topologies/oci-bm-h100.xml" "${@:2}"; }

member() {
	local name
	for name in "$@"; do
		quiet "$CTL" -q user accept "$(ctl -q token create user --name "$name" --role member)" --name "$name"
	done
}
as() { "$CTL" --state-dir "$T/d" --key "$HOME/.config/sluis/keys/$1.key" "${@:2}"; }
