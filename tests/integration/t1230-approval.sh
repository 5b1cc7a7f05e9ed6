#!/bin/bash
# Two people for what one must not do alone, as they would do it: with their own keys, over the wire, across a restart
# of sluisd. Without it dual control could be a table that nobody's command ever meets.
. "$(dirname "$0")/tap.sh"
needs bin/sluisd bin/sluisctl
. "$(dirname "$0")/cluster.sh"
bea() { "$CTL" --cluster bea "$@"; } # the second admin, by key; the first is ctl
daemon_start() { sluisd --set leases.rejoin_grace=0s --set 'dual_control=[division_apply, user_disable]'; }

"$B/bin/sluisd" --set 'dual_control=[division_aply]' --set "state_dir=$T/x" --check-config 2>"$T/err"
is "a setting that is none is an error" $? 2
ok "which says what may be there" grep -q "division_aply.*no command that can take two" "$T/err"
daemon_start

division() { # division MINE THEIRS
	cat >"$T/division.yaml" <<Y
version: $3
cluster: t
flavors:
  h100-80g: {vendor: nvidia, model: "*H100*", weight: 1000, devices_per_node: 8, scrub_max: 1s}
committed:
  h100-80g: {gpus: 8}
defaults: {job: {notice: 5s}}
tree:
  public:
    nominal: {h100-80g: {gpus: $1}}
    recall_slo: 30s
    sectors: {health: {challenges: {lung: {projects: {lungnet: {pi: eva, members: [eva], nominal: {h100-80g: {gpus: $1}}}}}}}}
  private:
    nominal: {h100-80g: {gpus: $2}}
    recall_slo: 30s
    classes: {company: {providers: {chat: {tenant: chat-bv, nominal: {h100-80g: {gpus: $2}}}}}}
Y
}
division 2 6 0
ok "the first division takes one person" ctl division apply -f "$T/division.yaml"
token=$(ctl -q token create user --name bea --role admin)
ok "a second admin" "$CTL" user accept "$token" --name bea --context bea
token=$(ctl -q token create user --name tom --role operator)
ok "and an operator" "$CTL" user accept "$token" --name tom --context tom

# ---- the ratio is changed by two
division 4 4 1
ctl division apply -f "$T/division.yaml" >"$T/out"
is "proposed, with a status of its own" $? 11
ok "and says what is next" grep -q 'approval grant 1' "$T/out"
is "nothing has changed" "$(ctl division export | head -n1)" "version: 1"
is "it is listed" "$(bea approval list --plain --columns id,command,who)" "1	division_apply	admin"
bea approval show 1 --file >"$T/proposed.yaml"
ok "the file is there to read" grep -q 'gpus: 4' "$T/proposed.yaml"
ok "and to compare" sh -c '"$0" --cluster bea division diff -f "$1" | grep -q lungnet' "$CTL" "$T/proposed.yaml"
ctl approval grant 1 --yes 2>"$T/err"
is "nobody agrees with himself" $? 3
ok "and is told so" grep -q 'your own proposal' "$T/err"
"$CTL" --cluster tom approval grant 1 --yes 2>"$T/err"
is "an operator cannot even read it" $? 3

kill -9 "$daemon"; ends 60 "$daemon"
daemon_start
is "it survives a kill -9" "$(bea approval list --plain --columns id)" 1
bea approval grant 1 --yes >"$T/out" 2>&1
is "the second person agrees" $? 0
is "and it is done" "$(ctl division export | head -n1)" "version: 2"
is "nothing waits any more" "$(bea approval list --plain)" ""
bea approval grant 1 --yes 2>"$T/err"
is "once" $? 4

# ---- refused, and repeated under its key
ctl user disable tom --reason left >/dev/null
is "another proposal" $? 11
ok "is refused" bea approval refuse 2 --reason "he is back"
is "and tom still speaks" "$("$CTL" --cluster tom cluster info --json | json 'o["item"]["role"]')" operator
key=00112233445566778899aabbccddeeff
first=$(ctl -q --idempotency-key $key user disable tom)
second=$(ctl -q --idempotency-key $key user disable tom)
is "asked again under its key it is one proposal" "$first $second" "3 3"
is "JSON says so" "$(ctl --json --dry-run user disable tom | json 'o["kind"]')" proposed

# ---- the log tells who and who
ok "export the log" ctl log export "$T/log"
ok "verified" "$CTL" log verify "$T/log"
ok "and applied again" "$CTL" log replay "$T/log"

done_testing
