#!/bin/bash
# One living sluisd, and everything a person types: enrolment, the division, jobs, leases, the log. A screen that
# is right about a fake answer and wrong about the daemon's is worth nothing; so here every answer is real.
# shellcheck disable=SC2016 # $ in single quotes is for the shells that tasks and hooks run
. "$(dirname "$0")/tap.sh"
needs bin/sluisd bin/sluisctl
. "$(dirname "$0")/cluster.sh"

# says DESCRIPTION STATUS TEXT TRY COMMAND...: a mistake: its exit status, what is said, one way out, no answer
says() {
	local what=$1 status=$2 text=$3 try=$4 rc
	shift 4
	"$@" >"$T/out" 2>"$T/err"
	rc=$?
	if [ "$rc" -eq "$status" ] && grep -qF -- "$text" "$T/err" && grep -F -- '  try     ' "$T/err" | grep -qF -- "$try" &&
		[ "$(grep -c '^  try     ' "$T/err")" -eq 1 ] && [ ! -s "$T/out" ]; then
		tap_result 0 "$what"
	else
		tap_result 1 "$what"
		{ echo "exit status $rc, wanted $status"; cat "$T/err" "$T/out"; } | sed 's/^/# /'
	fi
}

# ---- what every program says of itself, as anybody and without a configuration
for p in sluisd sluis-agent sluis-execd sluis-sim; do
	[ -x "$B/bin/$p" ] || continue
	is "$p says how it is called and which it is" "$(for o in --help -h --version -V; do "$B/bin/$p" $o 2>&1 | head -n1 | grep -cE "^(usage: )?$p"; done | tr '\n' ' ')" "1 1 1 1 "
done

# ---- before there is a daemon
says "no daemon: nothing is waited for" 7 "no sluisd has written its endpoints" "sluisd --config" ctl status
says "no local door" 7 "sluisd does not listen" "systemctl status sluisd" "$CTL" --endpoint "$T/none.sock" status
ok "a key pair" "$CTL" -q key create "$T/server.key"
is "kept from others" "$(stat -c %a "$T/server.key")" 600
says "a key is never overwritten" 5 "cannot make a key" "another name" "$CTL" key create "$T/server.key"
sluisd --set leases.rejoin_grace=0s

# ---- the cluster and its division
is "who am I" "$(ctl cluster info --json | json 'o["item"]["role"]')" admin
ok "healthy" ctl cluster health
is "in JSON too" "$(ctl cluster health --json | json 'o["item"]["healthy"]')" True
is "no reservation is told" "$(ctl reservation list)" "nothing is reserved"
says "no division to export yet" 4 "no division was applied yet" "division apply" ctl division export
cat >"$T/division.yaml" <<'Y'
version: 0
cluster: t
flavors:
  h100-80g: {vendor: nvidia, model: "*H100*", weight: 1000, devices_per_node: 8, scrub_max: 1s}
committed:
  h100-80g: {gpus: 8}
defaults: {job: {notice: 5s}}
tree:
  public:
    nominal: {h100-80g: {gpus: 4}}
    recall_slo: 30s
    sectors:
      health:
        challenges:
          lung:
            projects:
              lungnet:
                pi: eva
                members: [eva]
                nominal: {h100-80g: {gpus: 4}}
                grant: {awarded: 10 gpuh, stages: [{name: pilot, amount: 4 gpuh, from: 2026-01-01}, {name: train, amount: 6 gpuh, from: 2026-01-01, after: pilot}]}
  private:
    nominal: {h100-80g: {gpus: 4}}
    recall_slo: 30s
    classes:
      company:
        concentration_cap: 100 %
        providers:
          chat:
            tenant: chat-bv
            nominal: {h100-80g: {gpus: 4}}
            borrowing_limit: {h100-80g: {gpus: 1}}
            windows: [{every: day, from: "00:00", to: "24:00", borrowing_limit: {h100-80g: {gpus: 3}}}]
Y
ctl division diff -f "$T/division.yaml" >"$T/diff"
ok "diff shows what is new" grep -qE '^\+ tree/public/health/lung/lungnet +nominal h100-80g 4 gpus$' "$T/diff"
ok "and the sums" grep -qF 'sums: h100-80g 8 of 8 devices committed, public 50.0 %, private 50.0 %' "$T/diff"
ctl division diff --exit-code -f "$T/division.yaml" >/dev/null
is "diff --exit-code: differs" $? 1
is "a dry run applies nothing" "$(ctl --dry-run division apply -f "$T/division.yaml" | head -n1 | cut -c1-9)$(ctl division show | head -n1)" \
	"would do:there is no division yet: sluisctl division apply -f division.yaml"
ok "apply" ctl division apply -f "$T/division.yaml"
ctl division diff --exit-code -f "$T/division.yaml" >/dev/null
is "then nothing differs" $? 0
ctl division export >"$T/export.yaml"
ok "export keeps the concentration cap" grep -qx ' *concentration_cap: 100 %' "$T/export.yaml"
ctl division show >"$T/show"
ok "show says the cap" grep -qxF 'company: one tenant may lease 100 % of what is promised to the private side' "$T/show"
ok "a new provider is shown with its limit and window" grep -qE '^\+ tree/private/company/chat .*nominal h100-80g 4 gpus, borrowing_limit h100-80g 1 gpu, windows day 00:00-24:00 UTC, 3 h100-80g' "$T/diff"
ok "a new class with its cap" grep -qE '^\+ tree/private/company .*concentration_cap 100 %' "$T/diff"
ok "show has the window, open" grep -qE '^chat: may borrow on day 00:00-24:00 UTC, 3 h100-80g: open until ' "$T/show"
ok "show says until when windows are counted out" grep -qE '^chat: its windows are counted out until 20[0-9-]+; apply the file again before$' "$T/show"
ok "provider show has the window, open" grep -qE '^  windows   may borrow on day 00:00-24:00 UTC, 3 h100-80g: open until ' <(ctl provider show chat)
ok "export keeps the window" grep -qF -- '- {every: day, from: "00:00", to: "24:00", borrowing_limit: {h100-80g: {gpus: 3}}}' "$T/export.yaml"
sed 's/from: "00:00", to/zone: Mars\/Olympus, from: "00:00", to/' "$T/division.yaml" >"$T/mars.yaml"
says "a zone that there is not" 2 "this machine knows no time zone 'Mars/Olympus'" "tzdata" ctl division apply -f "$T/mars.yaml"
sed 's/concentration_cap: 100 %/concentration_cap: 99 %/' "$T/division.yaml" >"$T/capped.yaml"
says "a tenant promised more than its cap" 2 "tenant 'chat-bv' is promised 4 devices of h100-80g" "raise the cap" \
	ctl division diff -f "$T/capped.yaml"
sed 's/^cluster: t$/cluster: u/' "$T/division.yaml" >"$T/foreign.yaml"
for verb in diff apply; do
	says "the division of another cluster is no matter for $verb" 5 "is the division of cluster 'u', this is 't'" "cluster: t in the file" \
		ctl division $verb -f "$T/foreign.yaml"
done
says "a token for a provider that there is not" 4 "there is no provider 'chatt'" "--provider chat" ctl token create user --role provider --provider chatt
is "export writes the version of now" "$(head -n1 "$T/export.yaml")" "version: 1"
ok "export can be applied again" ctl division apply -f "$T/export.yaml"
sed 's/^version: 0/version: 1/' "$T/division.yaml" >"$T/old.yaml"
says "a file written against an old version" 5 "the division is at version 2" "version: 2" ctl division apply -f "$T/old.yaml"
sed 's/gpus: 4}}$/gpus: 40}}/' "$T/division.yaml" >"$T/much.yaml"
ctl division apply -f "$T/much.yaml" 2>"$T/err"
is "promising more than there is" $? 2
ok "names the line and the inequality" grep -qE "much.yaml:[0-9]+:[0-9]+: error: " "$T/err"
sed 's/recall_slo/recal_slo/' "$T/division.yaml" >"$T/typo.yaml"
ctl division diff -f "$T/typo.yaml" 2>"$T/err"
is "a typo in the file" $? 2
ok "is named with the near miss" grep -qE '^  try     recall_slo' "$T/err"
is "project list" "$(ctl project list --plain --columns name,who,budget_left)" "lungnet	eva	4.0"
ok "project show has the stages" sh -c '"$0" --state-dir "$1" project show lungnet | grep -q "train  *locked  *6.0 GPU-hours"' "$CTL" "$T/d"
ok "release a stage" ctl project release-stage lungnet train
is "more is left" "$(ctl project list --plain --columns budget_left)" "10.0"
says "no such stage" 4 "has no stage 'trian'" "project show lungnet" ctl project release-stage lungnet trian
says "no such project" 4 "there is no project 'lungnut'" "sluisctl project show lungnet" ctl project show lungnut
is "provider show" "$(ctl provider show chat --json | json 'o["item"]["tenant"]')" chat-bv

# ---- people
token=$(ctl -q token create user --name eva --role member)
is "a token is one line" "${token%%.*}" sluis-join-1
is "listed until it is used" "$(ctl token list --plain --columns role,name,uses)" "member	eva	1"
says "under another login name" 3 "this token is for eva" "user accept --name eva" "$CTL" --key "$T/other.key" user accept "$token" --name zoe
ok "accept it" "$CTL" user accept "$token" --name eva
is "the key is private" "$(stat -c %a "$HOME/.config/sluis/keys/eva.key")" 600
is "and gone from the list" "$(ctl token list --plain)" ""
says "a token works once" 3 "the token is unknown, used up or expired" "token create" "$CTL" --key "$T/second.key" user accept "$token" --name eva
is "the context is in use" "$("$CTL" cluster info --json | json 'o["item"]["principal"]+" "+o["item"]["role"]')" "eva member"
says "eva is no admin" 3 "eva has no right to 'node drain'" "ask an admin" "$CTL" node drain n1 --reason x
says "and reads no tokens" 3 "eva may not read this" "ask an admin" "$CTL" token list
is "but her own key, and no other" "$("$CTL" key list --plain --columns name,role,state)" "eva	member	valid"
is "of the two there are" "$(ctl key list --plain | wc -l)" 2
says "a key that nobody knows" 3 "" "try" "$CTL" --key "$T/server.key" status
ok "-v says where it looked" sh -c '"$0" -v cluster info 2>&1 | grep -q "^endpoint .*context t of"' "$CTL"
ok "rotate the key" "$CTL" key rotate
is "the old one has an end" "$("$CTL" key list --plain --columns state | cut -d ' ' -f 1 | sort | tr '\n' ' ')" "until valid "
is "the new one works" "$("$CTL" cluster info --json | json 'o["item"]["principal"]')" eva
chmod 644 "$HOME/.config/sluis/keys/eva.key"
says "a key that others may read" 3 "" "chmod" "$CTL" status
chmod 600 "$HOME/.config/sluis/keys/eva.key"
mkdir "$T/closed" && ln -s . "$T/closed/endpoints.json" # root may read all files, but no folder as a file
says "endpoints that cannot be read are not called missing" 1 "cannot read '$T/closed/endpoints.json'" "sluisctl context list" "$CTL" --state-dir "$T/closed" status
echo rubbish >"$T/rubbish.key" && chmod 600 "$T/rubbish.key"
says "a key file that is none" 2 "does not hold one public-key" "sluisctl user accept TOKEN" "$CTL" --key "$T/rubbish.key" status
says "no such context" 4 "there is no context 'u'" "context list" "$CTL" --cluster u status
ok "contexts" "$CTL" context add other --endpoint tcp://127.0.0.1:1 --server-key "$("$CTL" key create "$T/o.key" 2>/dev/null)" --key "$T/o.key"
says "a second one of that name" 5 "there is a context 'other' already" "context remove other" "$CTL" context add other --endpoint ipc:///x
ok "are listed" sh -c '"$0" context list --plain | cut -f2 | tr "\n" " " | grep -q "^t other "' "$CTL"
ok "and forgotten" "$CTL" -q context remove other
says "nobody answers there" 7 "no answer from tcp://127.0.0.1:1" "check that sluisd runs" \
	"$CTL" --endpoint tcp://127.0.0.1:1 --server-key "$("$CTL" key create "$T/p.key" 2>/dev/null)" --key "$T/p.key" --timeout 300ms status

# ---- jobs, before there is a node
says "more than is installed" 6 "more than is installed (reason 102)" "sluisctl node list" "$CTL" submit -A lungnet --gpus 99 -- true
says "unknown flavor" 4 "there is no flavor 'v100'" "flavors here: h100-80g" "$CTL" submit -A lungnet --flavor v100 --gpus 1 -- true
says "unknown job" 4 "there is no job 99" "queue --all" ctl explain 99
says "cancel nothing" 4 "there is no job 99" "queue --all" ctl cancel 99
says "logs of nothing" 4 "there is no job 99" "queue --all" ctl logs 99
says "unknown lease" 4 "there is no lease 99" "lease list" ctl lease show 99
says "deficit of a node that is not there" 4 "there is no node 'n99'" "node list" ctl deficit show --if-lost n99
says "unknown node" 4 "n99" "node list" ctl node uncordon n99
is "an empty queue" "$(ctl queue)" "0 jobs: 0 running, 0 waiting"
is "in JSON" "$(ctl queue --json | json 'o["items"]')" "[]"
says "of a project that there is not" 4 "there is no project 'lungnut'" "project list" ctl queue -p lungnut
is "of one that there is" "$(ctl queue -p lungnet)" "0 jobs: 0 running, 0 waiting"
cat >"$T/train.sh" <<'S'
#!/bin/sh
#SLUIS --project lungnet --flavor h100-80g --gpus 2
#SBATCH --job-name=lungseg --time=2:00 --mail-type=END
echo "starts"
sleep 0.2
echo "to standard error" >&2
echo "ends"
exit 3
S
says "a script with a bad line" 2 "" "try" "$CTL" submit "$T/division.yaml"
sed 's/--mail-type=END/--licenses=matlab/' "$T/train.sh" >"$T/bad.sh"
"$CTL" submit "$T/bad.sh" 2>"$T/err"
is "a directive that cannot be kept" $? 2
ok "is refused with its line" grep -qF "$T/bad.sh:3: error: '--licenses=matlab': sluis has no licenses" "$T/err"
printf '#!/bin/sh\n# srun is what Slurm has\n  OMP_NUM_THREADS=1 srun -n 4 ./a.out\nsrun ./b.out\n' >"$T/steps.sh"
"$CTL" submit -A lungnet --gpus 1 --test-only "$T/steps.sh" >"$T/out" 2>"$T/err"
is "a script that calls srun is taken" "$?$(cut -c1-16 "$T/out" | head -n1)" "0would submit job"
is "and told once, by its line, that there is none" "$(grep -c 'srun' "$T/err")$(grep -cF "$T/steps.sh:3: srun: there are no job steps here" "$T/err")" 11
"$CTL" submit -A lungnet --gpus 1 --test-only "$T/train.sh" 2>&1 | grep -q srun
is "others are not" $? 1
key=$(python3 -c 'print("5f"*16)')

if [ -x "$B/bin/sluis-agent" ] && [ -x "$B/bin/sluis-shim" ]; then
	h100 n1
	ready() { [ "$(ctl node list --plain --columns node,state,free)" = "n1	ready	8" ]; }
	ok "a node joins with a token" wait_for 30 ready
	# ---- jobs
	id=$("$CTL" -q submit "$T/train.sh")
	is "submit prints the id" "$id" 1
	"$CTL" wait "$id" --timeout 120s >"$T/out" 2>/dev/null
	is "wait exits as the job did" $? 3
	is "and says so" "$(cat "$T/out")" "job 1 failed, exit 3"
	says "a dependency that can never be met" 6 "job 1 failed: afterok:1 can never be met (reason 106)" "explain 1" \
		"$CTL" submit -A lungnet --gpus 1 --dependency afterok:1 -- true
	says "a child of what is no array" 4 "there is no job 1_1" "a task of it is 1.1" "$CTL" logs 1_1
	says "a task that there is not" 2 "job 1 has no task 7" "counted from 0" "$CTL" logs 1.7
	says "an attempt that never was" 4 "job 1 has had 1 attempt, no attempt 3" "--attempt 1" "$CTL" logs 1 --attempt 3
	is "its output" "$("$CTL" logs "$id")" "starts
to standard error
ends"
	is "the last line" "$("$CTL" logs "$id" --tail 1)" "ends"
	is "it is in the list of all" "$("$CTL" queue --all --plain --columns id,name,state)" "1	lungseg	F"
	ok "explain has what was kept without effect" sh -c '"$0" explain 1 | grep -q "train.sh:3: --mail-type=END"' "$CTL"
	is "in JSON" "$("$CTL" job show 1 --json | json 'o["item"]["state"]+" "+o["item"]["project"]')" "failed public/health/lung/lungnet"
	is "where it ran is known" "$("$CTL" queue --all --plain --columns id,nodes)" "1	n1"
	# what it runs: for those who may read its output, too. Who knows the hash of a payload could fetch it, with the environment
	ok "what it runs is shown" sh -c '"$0" job show 1 | grep -qx "  script    8 lines: sluisctl job show 1 --script"' "$CTL"
	is "the script as it was" "$("$CTL" job show 1 --script)" "$(cat "$T/train.sh")"
	mkdir "$T/zoe"
	zoe() { HOME=$T/zoe "$CTL" "$@"; }
	ok "another person" zoe -q user accept "$(ctl -q token create user --name zoe --role member)" --name zoe
	says "is not shown the script" 3 "the script of job 1 is not yours to see" "its submitter" zoe job show 1 --script
	is "is not told the hash that fetches it" "$(zoe queue --all --json | json 'o["items"][0]["payload"].strip("0")')" ""
	is "nor what it runs" "$(zoe job show 1 --json | json 'o["item"]["script"]')$(zoe job show 1 | grep -c '^  script')" null0
	is "an admin is" "$(ctl queue --all --json | json 'len(o["items"][0]["payload"].strip("0")) > 0')" True
	timeout 120 "$CTL" submit -A lungnet --gpus 2 --tasks-per-gpu 1 --follow -t 1m -- sh -c 'echo "rank $RANK of $WORLD_SIZE"' >"$T/out" 2>/dev/null
	is "a command runs in every task, followed" "$(head -n1 "$T/out")" "rank 0 of 2"
	is "a command is shown as a shell would read it" "$("$CTL" job show 2 | sed -n 's/^  command   //p')" "sh -c 'echo \"rank \$RANK of \$WORLD_SIZE\"'"
	is "and in JSON" "$("$CTL" job show 2 --json | json 'o["item"]["argv"][1]+o["item"]["cwd"]')" "-c$PWD"
	says "which has no script" 4 "job 2 has no script" "job show 2" "$CTL" job show 2 --script
	is "the other task" "$("$CTL" logs 2.1)" "rank 1 of 2"
	id=$(timeout 120 "$CTL" -q submit -A lungnet --gpus 1 -t 1m --wait --wrap 'echo "$SLURM_JOB_ID is $SLUIS_JOB_ID"' 2>/dev/null | head -n1)
	is "--wrap finds SLURM_*, as #SBATCH lines do" "$("$CTL" logs "$id")" "$id is $id"
	id=$(timeout 120 "$CTL" -q submit -A lungnet --gpus 1 -t 1m --wait -- sh -c 'echo "${SLURM_JOB_ID-none}"' 2>/dev/null | head -n1)
	is "a command does not" "$("$CTL" logs "$id")" none
	"$CTL" submit -A lungnet --gpus 1 -t 1m --wait -- ./not-there >"$T/out" 2>/dev/null
	is "a program that there is not is told at once" "$?$(grep -c ': cannot execute .*No such file or directory$' "$T/out")" 1271
	long=$("$CTL" -q submit -A lungnet --gpus 4 -t 10m --idempotency-key "$key" -- sleep 600)
	again=$("$CTL" -q submit -A lungnet --gpus 4 -t 10m --idempotency-key "$key" -- sleep 600)
	is "the same idempotency key never acts twice" "$again" "$long"
	says "another command under it is refused" 5 "" "try" "$CTL" submit -A lungnet --gpus 1 --idempotency-key "$key" -- true
	ok "wait --for running" "$CTL" -q wait "$long" --for running --timeout 120s
	is "what is in use adds up to the root" "$(ctl division show --plain --columns in_use | sort | uniq -c | tr -s ' \n' ' ')" " 3 0 h100-80g 5 4 h100-80g "
	"$CTL" wait "$long" --timeout 200ms >/dev/null 2>"$T/err"
	is "wait --timeout" $? 8
	waiting=$("$CTL" -q submit -A lungnet --gpus 4 -t 10m -- true)
	why() { "$CTL" queue "$waiting" --plain --columns why | grep -q '^501 '; }
	ok "the next one waits for quota" wait_for 10 why
	dead=$("$CTL" -q submit -A lungnet --gpus 4 -t 10m -- true)
	ok "cancel it" "$CTL" -q cancel "$dead"
	is "it says by whom" "$("$CTL" queue --all "$dead" --plain --columns why)" "cancelled by eva"
	says "and has no output" 5 "job $dead ended before it started" "explain $dead" "$CTL" logs "$dead"
	ok "explain says what would start it" sh -c '"$0" explain "$1" | grep -qE "^    --loan ok "' "$CTL" "$waiting"
	says "a budget that does not suffice" 3 "the budget does not cover it" "project show" "$CTL" submit -A lungnet --gpus 4 -t 300h -- true
	ok "a snapshot of it" ctl snapshot "$T/now.json"
	is "has what runs and waits" "$(json '",".join(j["state"]+str(j["devices"]) for j in o["jobs"])+" "+str(o["sides"][0]["nominal"])' <"$T/now.json")" "running4,waiting4 4"
	is "the same on standard output" "$(ctl snapshot | json 'o["nodes"][0]["name"]+" "+o["nodes"][0]["flavor"]')" "n1 h100-80g"
	ok "and names nobody" sh -c '! grep -qi eva "$0"' "$T/now.json"
	is "who sees all leases is told of none" "$(ctl snapshot "$T/all.json" 2>&1 | grep -c 'not yours to see')" 0
	says "a folder that is not there" 1 "cannot write '$T/none/now.json'" "" ctl snapshot "$T/none/now.json"
	# what if the private side grew from 50 % to 85 %, and leased all of it: the jobs no longer fit the public side
	is "what if: as it is" "$("$B/bin/sluis-sim" divide --snapshot "$T/now.json" --policy sluis --json | json '"%d of %d, public %d" % (o["jobs"]["simulated"], o["jobs"]["read"], o["machine"]["public"])')" "2 of 2, public 4"
	"$B/bin/sluis-sim" divide --snapshot "$T/now.json" --public 15 --peak 100 --policy sluis 2>"$T/err"
	is "what if: the private side grows to 85 %" $? 1
	ok "says what it means" grep -qF "2 read, 2 too large" "$T/err"
	is "when would they start, one after the other" "$("$B/bin/sluis-sim" jobs --snapshot "$T/now.json" --procs 4 --policy fcfs --json | json '"%d %s" % (o["jobs_simulated"], 300 < o["wait_s"]["max"] <= 600)')" "2 True"
	ok "hold" "$CTL" -q job hold "$waiting"
	is "held" "$("$CTL" queue "$waiting" --json=code | json 'o["items"][0]["code"]')" PD
	says "hold what runs" 5 "is not waiting" "sluisctl job show $long" "$CTL" job hold "$long"
	ok "release" "$CTL" -q job release "$waiting"
	ok "update" "$CTL" -q job update "$waiting" --time 5m --name later
	is "updated" "$("$CTL" job show "$waiting" --json | json 'str(o["item"]["time_limit_ms"])+o["item"]["name"]')" 300000later
	later=$("$CTL" -q submit -A lungnet --gpus 1 -t 1m --begin now+1h -- true)
	begins() { "$CTL" queue "$later" --plain --columns starts,why | grep -qE '^from 20[^	]*	301 '; }
	ok "a begin time is where it starts from" wait_for 10 begins
	after=$("$CTL" -q submit -A lungnet --gpus 1 -t 1m --dependency "afterok:$later" -- true)
	depends() { "$CTL" explain "$after" | grep -qx "  starts  once the jobs it depends on have come so far: sluisctl queue --all $later"; }
	ok "what has to come first is told" wait_for 10 depends
	ok "signal" "$CTL" -q job signal "$long" --signal CONT
	sweep=$("$CTL" -q submit -A lungnet --gpus 1 -t 1m --array 3-4 --hold -- true)
	says "logs of an array" 5 "is an array" "sluisctl logs ${sweep}_3" "$CTL" logs "$sweep"
	says "nor can it be followed" 2 "--follow: each job of an array" "--wait" "$CTL" submit -A lungnet --gpus 1 --array 0-1 --follow -- true
	"$CTL" submit -A lungnet --gpus 1 -t 1m --hold --follow -- true >"$T/out" 2>"$T/err" &
	following=$!
	started "$following"
	ok "a job is followed before it starts" wait_for 10 grep -q '^submitted job' "$T/err"
	ok "and cancelled" "$CTL" -q cancel "$(sed -n 's/^submitted job \([0-9]*\) .*/\1/p' "$T/err")"
	ends 60 "$following"
	is "following it ends with it, and with its status" "$?$(grep -c 'ended before it started' "$T/err")" 11
	ok "its end is told once" sh -c '"$0" -q cancel "$1" && "$0" wait "$1" --timeout 120s 2>&1 | grep -c "job $1 cancelled" | grep -qx 1' "$CTL" "$sweep"
	ok "checkpointed" "$CTL" -q job checkpointed "$long" --step 210
	is "noted" "$("$CTL" job show "$long" --json | json 'o["item"]["checkpoint_step"]')" 210
	ok "cancel all of mine" "$CTL" -q cancel --me --now
	"$CTL" wait "$long" --timeout 120s >"$T/out" 2>&1
	is "an ended job has a status" "$([ $? -ne 0 ] && tail -n1 "$T/out" | cut -d , -f 1)" "job $long cancelled"
	# ---- leases
	lease=$(ctl -q lease request --provider chat --flavor h100-80g --gpus 2 --ttl 8s --grace 10m --auto-accept --wait=120s 2>/dev/null)
	is "lease request --wait" "$lease" 1
	says "decline what is not on offer" 5 "is not on offer" "sluisctl lease show 1" ctl lease decline 1
	is "lease show" "$(ctl lease show 1 --json | json 'o["item"]["state"]')" active
	is "a member's snapshot says that leases lack" "$("$CTL" snapshot "$T/mine.json" 2>&1 >/dev/null)" \
		"sluisctl: 1 of 1 leases are not yours to see: the snapshot lacks them, an admin's has them"
	is "an extension that moves nothing says so" "$(ctl lease extend 1 --term 1h | grep -c "as before: that is later than 1h from now")" 1
	timeout 120 "$CTL" --state-dir "$T/d" lease exec 1 -- sh -c 'echo inside; exit 5' >"$T/out" 2>&1
	is "lease exec exits as the command did" $? 5
	is "and prints what it printed" "$(cat "$T/out")" inside
	says "more than its provider can have" 6 "can ever hold: 4" "--class loan could have up to 7" ctl lease request --provider chat --flavor h100-80g --gpus 5
	says "who is that" 4 "" "division show" ctl lease request --provider chta --flavor h100-80g --gpus 1
	ctl lease keep 1 --state-file "$T/lease.json" --on-change 'echo "$SLUIS_LEASE $SLUIS_LEASE_STATE $SLUIS_LEASE_UNITS" >>'"$T/hook" >"$T/keep" 2>"$T/keep.err" &
	keeper=$!
	started "$keeper"
	ok "lease keep renews" wait_for 20 grep -q '^lease 1 renewed seq 2, ttl ' "$T/keep"
	is "the state file" "$(json 'str(o["lease"])+o["state"]+o["holder"]+o["devices"][0]["node"]' <"$T/lease.json")" 1activeheldn1
	is "the hook ran once" "$(cat "$T/hook")" "1 active 2"
	ok "grow it" ctl -q lease resize 1 --gpus 4 --wait=120s
	ok "the hook hears of it" wait_for 20 grep -qx '1 active 4' "$T/hook"
	two() { [ "$(json 'sum(d["devices"] for d in o["devices"])' <"$T/lease.json")" = 4 ]; }
	ok "and the file" wait_for 20 two
	kill -KILL "$daemon"
	wait "$daemon" 2>/dev/null
	says "a socket that a dead daemon left is told at once" 7 "nobody listens at $T/d.sock" "systemctl status sluisd" \
		ctl --timeout 1h status
	ctl --timeout 1h --json status 2>&1 | json 'o["error"]["retry"]' >"$T/out"
	is "and as worth another try" "$(cat "$T/out")" True
	says "one renewal does not say that it tries on" 7 "cannot renew lease 1: nobody listens" "systemctl status sluisd" ctl lease renew 1
	is "and its error is one object" "$(ctl --json lease renew 1 2>&1 | json 'o["error"]["name"]')$(grep -c 'trying on' "$T/err")" UNREACHABLE0
	ok "the daemon dies: keep says so and stays" wait_for 20 grep -q 'trying on' "$T/keep.err"
	ok "past its deadline it claims nothing" wait_for 20 sh -c 'python3 -c "import json,sys; o=json.load(open(sys.argv[1])); sys.exit(o[\"holder\"] != \"lapsed\" or o[\"deadline_unix\"] is not None)" "$0"' "$T/lease.json"
	sluisd --set leases.rejoin_grace=0s
	ok "the daemon is back: keep goes on" wait_for 30 grep -q 'sluisd answers again' "$T/keep.err"
	held() { [ "$(json 'o["holder"]' <"$T/lease.json")" = held ]; }
	ok "and holds again" wait_for 20 held
	is "nothing expired" "$(ctl status --json | json 'o["item"]["expiries"]')" 0
	is "what has no state to tell tells none" "$(ctl lease extend 1 --term 1h --json | json 'o["item"].get("state")')" null
	is "nor does growing, which repeated under its key would not know it" "$(ctl lease resize 1 --gpus 4 --json | json 'o["item"].get("state")')" null
	ok "release it" ctl -q lease release 1
	ends 60 "$keeper"
	is "keep ends with 9" $? 9
	ok "and says why" grep -q '^lease 1 has ended (releas' "$T/keep"
	says "renew what is gone" 9 "lease 1 is gone" "lease request --like 1" ctl lease renew 1
	says "resize what is gone" 5 "" "try" ctl lease resize 1 --gpus 1
	ctl lease request --like 1 --ttl 10m --wait=120s -q >"$T/out" 2>/dev/null
	is "a new one like it" "$(cat "$T/out")" 2
	ok "declining needs an offer" sh -c '! "$0" --state-dir "$1" lease decline 2 2>/dev/null' "$CTL" "$T/d"
	# ---- screens
	ctl status >"$T/out"
	ok "status shows the bar" grep -qE '^  private +4 \(50 %\) +████ +4$' "$T/out"
	ok "plain ASCII when asked" sh -c '! "$0" --state-dir "$1" --color never status | LC_ALL=C grep -q "[^ -~]"' "$CTL" "$T/d"
	timeout 120 "$CTL" --state-dir "$T/d" top --interval 300ms >"$T/out" 2>/dev/null &
	watching=$!
	started "$watching"
	redrawn() { [ "$(grep -c 'healthy' "$T/out")" -ge 2 ]; }
	ok "top redraws" wait_for 60 redrawn
	kill -INT "$watching"
	ends 60 "$watching"
	is "until it is interrupted" $? 130
	is "usage" "$(ctl usage --by provider --json | json 'o["items"][-1]["path"]')" private/company/chat
	says "a dead node is proven by its boot id" 2 "runs another boot" "its last boot id" ctl node declare-dead n1 --boot-id 00 --yes
	ok "explain a node" sh -c '"$0" --state-dir "$1" explain n1 | grep -q "lease-2"' "$CTL" "$T/d"
	ok "if it were lost" sh -c '"$0" --state-dir "$1" deficit show --if-lost n1 | grep -q "lease-2"' "$CTL" "$T/d"
	says "a node that is up is not removed by mistake" 5 "n1 is up" "node drain n1" ctl node remove n1
	ok "drain, and back" sh -c '"$0" --state-dir "$1" -q node drain n1 --reason t && "$0" --state-dir "$1" node list --plain | cut -f2 | grep -qx draining && "$0" --state-dir "$1" -q node uncordon n1' "$CTL" "$T/d"
else
	skip "jobs, leases and screens with a node" "there is no $B/bin/sluis-agent"
fi

# ---- what is remembered
ok "log export" ctl -q log export "$T/log"
says "never over another file" 5 "exists already" "another name" ctl log export "$T/log"
no_progress() { [ -s "$T/err" ] && ! grep -q '^record ' "$T/err" && ! compgen -G "$T/nolog*"; }
says "nor beyond its end" 2 "there is no record 999999: the log ends at " "--to " ctl log export "$T/nolog" --to 999999
ok "no record is told as fetched, and no file is left" no_progress
says "nor for a member" 3 "eva may not read this" "ask an admin" "$CTL" log export "$T/nolog"
ok "no record is told as fetched then, either" no_progress
ok "log verify, offline" "$CTL" log verify "$T/log"
ctl log verify --json >"$T/daemon.json"
is "the daemon says the same head" "$(json 'o["item"]["hash"]' <"$T/daemon.json")" "$("$CTL" log verify "$T/log" --json | json 'o["item"]["head"]')"
is "re-applied: the same digest" "$("$CTL" log replay "$T/log" --json | json 'o["item"]["digest"]')" "$(json 'o["item"]["digest"]' <"$T/daemon.json")"
python3 - "$T/log" "$T/forged" <<'P'
import sys
b = bytearray(open(sys.argv[1], "rb").read())
b[len(b) // 2] ^= 1
open(sys.argv[2], "wb").write(b)
P
says "one flipped bit" 1 "not intact" "another copy" "$CTL" log verify "$T/forged"
ok "backup" ctl -q backup create b1
is "listed" "$(ctl backup list --plain --columns file)" b1
ok "verified" "$CTL" -q backup verify "$T/d/backup/b1"
head -c 5000 "$T/d/backup/b1" >"$T/cut"
says "a backup cut short" 1 "is not intact" "backup list" "$CTL" backup verify "$T/cut"
says "a backup is never written over" 5 "exists already" "sluisctl backup list" ctl backup create b1
says "a backup has a plain name" 2 "no name for a backup" "plain file name" ctl backup create ../b2
ok "disable eva" ctl -q user disable eva --reason left
says "refused from the next message on" 3 "" "try" "$CTL" status
kill -TERM "$daemon"
ends 60 "$daemon"
is "sluisd stops when asked" $? 0
sluisd --set leases.rejoin_grace=0s
is "the next one counts what has happened since its start, not what it has loaded" "$(ctl status --json | json 'o["item"]["renewals"]')" 0
done_testing
