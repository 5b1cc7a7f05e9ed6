#!/bin/bash
# The disk of sluisd fills up, first by submissions, then from outside: new work is refused before anything
# fails, renewals and completions still pass, a disk without a byte ends sluisd with status 70, and when there
# is room again nothing that was acknowledged is missing. A file system of its own, so root is needed.
if [ -z "${SLUIS_IN_NS-}" ] && unshare --mount --propagation private true 2>/dev/null; then
	exec env SLUIS_IN_NS=1 unshare --mount --propagation private "$0" "$@"
fi
. "$(dirname "$0")/tap.sh"
needs bin/sluisd bin/sluis-agent bin/sluis-shim bin/sluisctl
[ -n "${SLUIS_IN_NS-}" ] || skip_all "no mount namespace can be made here (root is needed)"
mkdir "$T/disk"
mount -t tmpfs -o size=120m tmpfs "$T/disk" || skip_all "no tmpfs can be mounted here"
end=0
trap 'end=$?; umount -l "$T/disk"; (exit $end); tap_end' EXIT # a folder that something is mounted on cannot be removed

cat >"$T/division.yaml" <<CONF
version: 0
cluster: full
flavors: {g: {vendor: nvidia, model: "*", weight: 1000, devices_per_node: 4, scrub_max: 1s}}
committed: {g: {gpus: 4}}
tree:
  public: {nominal: {g: {gpus: 2}}, recall_slo: 5m, 
    sectors: {health: {challenges: {c: {projects: {p: {nominal: {g: {gpus: 2}}}}}}}}}
  private: {nominal: {g: {gpus: 2}}, recall_slo: 5m,
    classes: {company: {providers: {chat: {tenant: chat-bv, nominal: {g: {gpus: 2}}}}}}}
CONF
ctl() { "$B/bin/sluisctl" --state-dir "$S" "$@"; }
answers() { ctl cluster ping >/dev/null 2>&1; }
sluisd() { # sluisd SETTING...: in $S
	local set args=()
	for set in "state_dir=$S" "listen.agents=tcp://127.0.0.1:*" "listen.users=tcp://127.0.0.1:*" \
		cluster=full "listen.enrol=tcp://127.0.0.1:*" "listen.local=$S.sock" leases.rejoin_grace=0s "$@"; do
		args+=(--set "$set")
	done
	rm -f "$S/endpoints.json"
	"$B/bin/sluisd" "${args[@]}" 2>>"$T/sluisd.log" &
	daemon=$!
	started $daemon
	wait_for 20 answers
}
key() { printf %s "$1" | md5sum | cut -d' ' -f1; }
big() { # a script of 700 kB, as no other
	printf '#!/bin/sh\n# %s\n' "$1"
	head -c 525000 /dev/urandom | base64 -w 0 | sed 's/^/# /'
}
submit() { big "$1" >"$T/script" && ctl -q --idempotency-key "$(key "$1")" submit --project p --flavor g --gpus 2 --job-name "$1" "$T/script" 2>"$T/refused"; }
until_refused() { # submissions until one is refused: acked[name]=id
	local i id
	for i in $(seq 1 400); do
		id=$(submit "$1-$i") || return 0
		acked[$1-$i]=$id
	done
	return 1
}
lease_is() { [ "$(ctl --plain lease list --all --columns state 2>>"$T/err")" = "$1" ]; }
node_ready() { ctl --plain node list --columns state 2>>"$T/err" | grep -qx ready; }
job_is() { [ "$(ctl --plain queue --all --columns id,state 2>>"$T/err" | awk -v id="$1" '$1 == id { print $2 }')" = "$2" ]; }
fill() { # all that is free but $1 KiB
	local free
	free=$(df --output=avail -k "$T/disk" | tail -1)
	[ "$free" -le "$1" ] || fallocate -l "$((free - $1))K" "$T/disk/filler"
}
fill_up() { # to the last byte, however much sluisd takes or gives back meanwhile (fallocate would take nothing then)
	cat /dev/zero 2>/dev/null >>"$T/disk/filler"
	[ "$(df --output=avail -k "$T/disk" | tail -1)" -eq 0 ]
}
all_there() {
	local name
	ctl --plain queue --all --columns name,id >"$T/there"
	for name in "${!acked[@]}"; do
		grep -qx "$name	${acked[$name]}" "$T/there" || { echo "# $name (${acked[$name]}) is not there"; return 1; }
	done
}
declare -A acked=()

S=$T/disk/state
ok "sluisd serves from the small disk" sluisd
TOKEN=$(ctl -q token create node --name n1)
"$B/bin/sluis-agent" --config /dev/null --node n1 --set "state_dir=$T/n1" --set address=127.0.0.1 \
	--set exec.backend=plain --set reserve.cores=0 --set reserve.memory=0MiB --reconnect-max 200ms \
	--join "$TOKEN" --synthetic "package:1 core:8 pu:1" --gpus 4xH100 2>"$T/agent.log" &
started $!
ok "a node is ready" wait_for 20 node_ready
ok "the division is applied" ctl division apply -f "$T/division.yaml" --yes
ok "a lease is asked for" ctl -q lease request --provider chat --flavor g --gpus 2 --auto-accept
ok "and active" wait_for 20 lease_is active
printf '#!/bin/sh\nwhile [ ! -e %s/gate ]; do sleep 0.1; done\nexit 3\n' "$T" >"$T/waits"
JOB=$(ctl -q submit --project p --flavor g --gpus 2 --job-name waits "$T/waits")
ok "a job runs" wait_for 20 job_is "$JOB" R

first=(--project p --flavor g --gpus 2 --job-name first "$T/waits")
FIRST=$(ctl -q --idempotency-key "$(key same)" submit "${first[@]}")

ok "submissions go on until one is refused" until_refused a
echo "# ${#acked[@]} submissions of 700 kB; $(df --output=avail -k "$T/disk" | tail -1) KiB left"
ok "the refusal says that the disk is nearly full" grep -q "nearly full" "$T/refused"
ok "and what to do" grep -q "makes room below" "$T/refused"
ok "so does the status" eval 'ctl status | grep -q "disk is nearly full"'
ok "a renewal passes" ctl lease renew 1
ok "the end of a running job passes" eval 'touch "$T/gate"; wait_for 20 job_is "$JOB" F'
ok "the end of a waiting one" ctl cancel "${acked[a-1]}"
is "an acknowledged submission is told again under its key" \
	"$(ctl -q --idempotency-key "$(key same)" submit "${first[@]}")" "$FIRST"

fill "$(($(df --output=size -k "$T/disk" | tail -1) / 100))" # not to the last byte: that ends it before it has looked
ok "a disk filled from outside takes the ballast" wait_for 10 grep -q "disk space.*state=critical" "$T/sluisd.log"
ok "which leaves room for renewals" ctl lease renew 1
renewed=0
until_ended() { # renewals on a full disk, until sluisd ends by them
	local until=$((SECONDS + 60))
	while kill -0 $daemon 2>/dev/null; do
		[ $SECONDS -lt $until ] || { echo "# sluisd runs on after $renewed renewals"; kill -KILL $daemon; }
		fill_up
		ctl lease renew 1 >/dev/null 2>&1 && renewed=$((renewed + 1))
	done
}
ok "the disk is filled to the last byte" fill_up
until_ended
wait $daemon
is "without a byte left sluisd ends with status 70" $? 70
echo "# $renewed renewals passed before"
ok "it says that the store failed" grep -q "store failed" "$T/sluisd.log"

rm -f "$T/disk/filler"
mount -o remount,size=400m "$T/disk"
ok "with room again it starts" sluisd
ok "all that was acknowledged is there" all_there
ok "the lease is" lease_is active
ok "the log is intact" ctl log verify
ok "and submissions pass" submit b-1
kill -TERM $daemon
ends 60 $daemon
is "a clean stop" $? 0

S=$T/map
acked=()
ok "sluisd with a map of 64 MiB" sluisd map_size=64MiB
ok "the division is applied" ctl division apply -f "$T/division.yaml" --yes
ok "submissions go on until one is refused" until_refused m
echo "# ${#acked[@]} submissions of 700 kB"
ok "the refusal speaks of map_size" grep -q map_size "$T/refused"
ok "what ends work still passes" ctl cancel "${acked[m-1]}"
kill -KILL $daemon
wait $daemon 2>/dev/null
ok "with a larger map it starts" sluisd map_size=1GiB
ok "all that was acknowledged is there" all_there
ok "the log is intact" ctl log verify
ok "and submissions pass" submit m-last
done_testing
