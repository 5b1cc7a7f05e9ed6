#!/bin/bash
# Reservations, from what is typed to what runs: a living sluisd, two living agents with eight emulated devices
# each. A calendar that only its own tables believe in is worth nothing to a course that begins at nine.
# shellcheck disable=SC2016 # $ in single quotes is for the shells that tasks and checks run
. "$(dirname "$0")/tap.sh"
needs bin/sluisd bin/sluisctl bin/sluis-agent bin/sluis-shim
. "$(dirname "$0")/cluster.sh"
says() { # says DESCRIPTION STATUS TEXT COMMAND...: a refusal: its exit status and what is said
	local what=$1 status=$2 text=$3 rc
	shift 3
	"$@" >"$T/out" 2>"$T/err"
	rc=$?
	if [ "$rc" -eq "$status" ] && grep -qF -- "$text" "$T/err"; then
		tap_result 0 "$what"
	else
		tap_result 1 "$what"
		{ echo "exit status $rc, wanted $status"; cat "$T/err" "$T/out"; } | sed 's/^/# /'
	fi
}
daemon_start() {
	sluisd --set leases.bind_timeout=20s --set recall.kill_margin=1s --set recall.cooldown=2s
}
daemon_start
cat >"$T/division.yaml" <<'Y'
version: 0
cluster: t
flavors:
  h100-80g: {vendor: nvidia, model: "*H100*", weight: 1000, devices_per_node: 8, scrub_max: 1s}
committed:
  h100-80g: {gpus: 16}
defaults: {job: {notice: 2s}}
tree:
  public:
    nominal: {h100-80g: {gpus: 16}}
    recall_slo: 30s
    sectors:
      health:
        challenges:
          lung:
            projects:
              lungnet: {pi: eva, members: [eva], nominal: {h100-80g: {gpus: 8}}}
              heartnet: {pi: bob, members: [bob], nominal: {h100-80g: {gpus: 8}}}
  private:
    nominal: {h100-80g: {gpus: 0}}
    recall_slo: 30s
    classes: {}
Y
ok "a division" quiet ctl -q division apply -f "$T/division.yaml"
member eva bob
eva() { as eva "$@"; }
bob() { as bob "$@"; }
for n in n1 n2; do h100 $n; done
ready() { [ "$(ctl node list --plain --columns node,state,free | sort | tr '\n' ' ')" = "n1	ready	8 n2	ready	8 " ]; }
ok "two nodes" wait_for 120 ready
state() { ctl reservation show "$1" --json | json 'o["item"]["state"]'; }
is_state() { [ "$(state "$1")" = "$2" ]; }
job_state() { ctl job show "$1" --json | json 'o["item"]["state"]'; }
job_is() { [ "$(job_state "$1")" = "$2" ]; }
job_nodes() { ctl job show "$1" --json | json 'o["item"]["nodes"]'; }

# ---- mistakes
says "no end" 2 "until when" ctl reservation create x --nodes n1 --flags maint
says "an end before its beginning" 2 "end before it begins" ctl reservation create x --nodes n1 --from now+2hour --to now+1hour
says "neither nodes nor devices" 2 "which devices" ctl reservation create x --duration 1h
says "an unknown flag" 2 "'mant' is none" ctl reservation create x --nodes n1 --duration 1h --flags mant
ok "names the near one" grep -qF -- "--flags maint" "$T/err"
says "no such node" 4 "there is no node 'n9'" ctl reservation create x --nodes n9 --duration 1h --flags maint
says "for nobody" 2 "nobody could use it" ctl reservation create x --nodes n1 --duration 1h
says "more than the project was granted" 6 "more than its projects can ever be guaranteed: 8" ctl reservation create x \
	--flavor h100-80g --gpus 9 --project lungnet --duration 1h
says "no such reservation" 4 "there is no reservation 'x'" ctl reservation show x
says "a job for it" 4 "there is no reservation 'x'" eva submit -A lungnet --flavor h100-80g --gpus 1 --reservation x -- true

# ---- maintenance ahead
ok "maintenance of n1 from an hour from now" quiet ctl -q reservation create disks --nodes n1 --from now+1hour --duration 4h --flags maint
is "confirmed" "$(state disks)" confirmed
ok "the node says so" sh -c '"$0" --state-dir "$1" node list --plain --columns node,note | grep -q "^n1	maintenance 1 (disks) from "' "$CTL" "$T/d"
long=$(eva -q submit -A lungnet --flavor h100-80g --gpus 8 -t 3h -- sleep 600)
ok "what would outlive its start runs elsewhere" wait_for 60 job_is "$long" running
is "on n2" "$(job_nodes "$long")" n2
late=$(bob -q submit -A heartnet --flavor h100-80g --gpus 8 -t 3h -- sleep 600)
waits() { ctl queue "$late" --plain --columns why | grep -q '^605 held for maintenance 1 (disks) until '; }
ok "or waits, and says for what" wait_for 60 waits
short=$(bob -q submit -A heartnet --flavor h100-80g --gpus 8 -t 10m -- sleep 1)
ok "what is short enough passes" wait_for 60 job_is "$short" completed
says "who is in the way is named" 5 "job $long has n2 until" ctl reservation create other --nodes n2 --from now+30min --duration 1h --flags maint
says "and who was promised a start" 5 "job $late was promised its start by" ctl reservation create other --nodes n2 --from now+4hour --duration 1h --flags maint
says "a running job is not extended into one" 5 "reservation" sh -c '"$0" --state-dir "$1" -q reservation create later --nodes n2 --from now+7hour --duration 1h --flags maint && "$0" --state-dir "$1" job update "$2" --time 8h' "$CTL" "$T/d" "$long"
ok "deleted" quiet ctl -q reservation delete disks later
ok "deleting again is no error" quiet ctl -q reservation delete disks
is "it is over" "$(state disks)" cancelled
ok "and who waited for it runs" wait_for 60 job_is "$late" running
is "gone from the list" "$(ctl reservation list --plain)" ""
is "but not from the list of all" "$(ctl reservation list --all --plain --columns name,state | head -n1)" "disks	cancelled"
quiet eva -q cancel "$long" --now; quiet bob -q cancel "$late" --now
idle() { [ "$(ctl node list --plain --columns used | sort -u)" = 0 ]; }
ok "all idle" wait_for 60 idle

# ---- a course, asked for by a member
ok "eva asks for eight devices" quiet eva -q reservation create course --flavor h100-80g --gpus 8 --project lungnet --from now+45s --duration 85s
is "nothing is held yet" "$(state course)" requested
says "not for others" 3 "your own projects" eva reservation create theirs --flavor h100-80g --gpus 8 --project heartnet --duration 1h
says "and she does not confirm it herself" 3 "eva has no right to 'reservation update'" eva reservation confirm course
ok "the admin does" quiet ctl -q reservation confirm course
ok "twice is once" quiet ctl -q reservation confirm course
is "confirmed" "$(state course)" confirmed
in=$(eva -q submit -A lungnet --flavor h100-80g --gpus 4 -t 60s --reservation course -- sh -c 'trap "echo told; exit 0" TERM; sleep 600 & wait')
says "bob is no member" 3 "is for neither bob nor project heartnet" bob submit -A heartnet --flavor h100-80g --gpus 1 --reservation course -- true
loan=$(bob -q submit -A heartnet --flavor h100-80g --gpus 16 -t 1h --loan only --notice 2s -- sh -c 'trap "exit 0" TERM; sleep 600 & wait')
ok "a loan runs there until then" wait_for 25 job_is "$loan" running
opens() { ctl queue "$in" --plain --columns why | grep -q '^303 reservation [0-9]* (course) opens at '; }
ok "its own work waits for it to open" wait_for 25 opens
ok "it opens" wait_for 60 is_state course active
ok "the loan was told to go in time" job_is "$loan" pending
ok "and the work inside starts" wait_for 60 job_is "$in" running
ok "where it is reserved" sh -c '[ "$("$0" --state-dir "$1" reservation show course --json | python3 -c "import json,sys; print(json.load(sys.stdin)[\"item\"][\"jobs\"])")" = "$2" ]' "$CTL" "$T/d" "$in"
kill -KILL "$daemon"
ends 60 "$daemon"
daemon_start
ok "the daemon was killed and is back: still active" is_state course active
ok "the job inside, too" job_is "$in" running
ok "it ends" wait_for 150 is_state course ended
ok "and nothing of it is left" wait_for 20 sh -c '! "$0" --state-dir "$1" node list --plain --columns holders | grep -q "job-$2"' "$CTL" "$T/d" "$in"
ok "the loan comes back" wait_for 120 job_is "$loan" running
quiet bob -q cancel "$loan" --now

# ---- windows that repeat
ok "weekdays at nine, in a zone with clock changes" quiet env TZ=Europe/Amsterdam "$CTL" --state-dir "$T/d" -q reservation create class \
	--flavor h100-80g --gpus 4 --project lungnet --from 2027-03-22T09:00 --duration 2h --repeat weekdays --times 6
is "nine is nine before and after the change, in UTC an hour apart" \
	"$(ctl reservation show class --json | json '[w["from_ms"]//3600000%24 for w in o["item"]["windows"]]')" "[8, 8, 8, 8, 8, 7]"
ok "daily in UTC" quiet ctl -q reservation create nightly --flavor h100-80g --gpus 4 --project lungnet --from 2027-05-01T02:00 --duration 1h --repeat daily
is "four hundred days ahead, and on" "$(ctl reservation show nightly --json | json '[len(o["item"]["windows"]), o["item"]["repeat_ms"]]')" "[400, 86400000]"
ok "show says so" sh -c '"$0" --state-dir "$1" reservation show nightly | grep -q "396 more, the last to .*, and on"' "$CTL" "$T/d"
ok "the log bears it all" quiet ctl -q log verify
done_testing
