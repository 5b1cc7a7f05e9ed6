#!/bin/bash
# An elastic job among the living: a sluisd, three agents of eight emulated devices. It grows into what is idle,
# its tasks are told, what it borrowed goes back the moment somebody entitled asks, and it never stops for that.
# shellcheck disable=SC2016 # $ in single quotes is for the shells that tasks and checks run
. "$(dirname "$0")/tap.sh"
needs bin/sluisd bin/sluisctl bin/sluis-agent bin/sluis-shim
. "$(dirname "$0")/cluster.sh"
sluisd --set jobs.resize_interval=2s --set recall.kill_margin=1s
cat >"$T/division.yaml" <<'Y'
version: 0
cluster: t
flavors:
  h100-80g: {vendor: nvidia, model: "*H100*", weight: 1000, devices_per_node: 8, scrub_max: 1s}
committed:
  h100-80g: {gpus: 24}
defaults: {job: {notice: 4s}}
tree:
  public:
    nominal: {h100-80g: {gpus: 24}}
    recall_slo: 30s
    sectors:
      health:
        challenges:
          lung:
            projects:
              lungnet: {pi: eva, members: [eva], nominal: {h100-80g: {gpus: 8}}}
              heartnet: {pi: bob, members: [bob], nominal: {h100-80g: {gpus: 16}}}
  private:
    nominal: {h100-80g: {gpus: 0}}
    recall_slo: 30s
    classes: {}
Y
ok "a division" quiet ctl division apply -f "$T/division.yaml"
member eva bob
eva() { as eva "$@"; }
bob() { as bob "$@"; }
for n in n1 n2 n3; do h100 $n; done
ready() { [ "$(ctl node list --plain --columns state,free | sort -u)" = "ready	8" ]; }
ok "three nodes" wait_for 120 ready

# ---- it grows
task='echo "rank $RANK of $WORLD_SIZE nodes $SLUIS_NUM_NODES_MIN:$SLUIS_NUM_NODES_MAX pet $PET_NNODES class $SLUIS_CLASS at $MASTER_ADDR:$MASTER_PORT"
trap : TERM # the signal that comes with a notice must not end it before it has said what it read
while read -r line; do echo "notice $line"; done <&"$SLUIS_NOTICE_FD"'
job=$(eva -q submit -A lungnet --flavor h100-80g --gpus 8-24 -t 1h -- bash -c "$task")
size() { ctl queue "$job" --plain --columns size; }
size_is() { [ "$(size)" = "$1" ]; }
ok "8 for certain, 16 on loan" wait_for 90 size_is "8+16 h100-80g"
is "on all three nodes" "$(ctl job show "$job" --json | json 'sorted(o["item"]["nodes"].split(","))')" "['n1', 'n2', 'n3']"
ok "show says what is certain" sh -c '"$0" --state-dir "$1" job show "$2" | grep -q "elastic   8 to 24; 24 now: 8 for certain, 16 on loan"' "$CTL" "$T/d" "$job"
logs() { eva logs "$job.$1" 2>/dev/null; }
said() { logs "$1" | grep -qF -- "$2"; }
ok "the core began alone, and knows how far it may go" wait_for 60 said 0 "rank 0 of 1 nodes 1:3 pet 1:3 class guaranteed at 127.0.0.1:"
ok "who came has a rank of its own" wait_for 60 said 2 "rank 2 of"
ok "is on loan" said 2 "class loan"
port() { logs "$1" | sed -n 's/^rank .*:\([0-9]*\)$/\1/p'; }
is "and finds the same place to meet" "$(port 1) $(port 2)" "$(port 0) $(port 0)"
ok "the core was told" wait_for 60 said 0 '"cause":"resize","nodes":3,"units":24,"world":3'
is "nobody was told to stop" "$(logs 0 | grep -c deadline)" 0

# ---- and gives back
mine=$(bob -q submit -A heartnet --flavor h100-80g --gpus 16 -t 1h -- sleep 600)
job_is() { [ "$(ctl job show "$1" --json | json 'o["item"]["state"]')" = "$2" ]; }
ok "who is entitled gets all 16" wait_for 90 job_is "$mine" running
ok "the job went on with its 8" size_is "8+0 h100-80g"
is "in its first attempt" "$(ctl job show "$job" --json | json '[o["item"]["state"], o["item"]["attempt"], o["item"]["recalls"]]')" "['running', 1, 0]"
ok "the core was told" wait_for 60 said 0 '"cause":"resize","nodes":1,"units":8,"world":1'
ok "those that went had their notice" wait_for 30 said 1 '"cause":"recall"'
waiting=$(eva -q submit -A lungnet --flavor h100-80g --gpus 4-8 -t 1h -- sleep 600)
ok "one that waits shows its range" sh -c '[ "$("$0" --state-dir "$1" queue "$2" --plain --columns size)" = "4-8 h100-80g" ]' "$CTL" "$T/d" "$waiting"
quiet eva cancel "$waiting"
quiet bob cancel "$mine" --now
ok "idle again, it grows again" wait_for 90 size_is "8+16 h100-80g"

# ---- its end
quiet eva cancel "$job"
idle() { [ "$(ctl node list --plain --columns used | sort -u)" = 0 ]; }
ok "cancelled, nothing of it is left" wait_for 90 idle
is "it is cancelled" "$(ctl job show "$job" --json | json 'o["item"]["state"]')" cancelled
is "used in both ways" "$(ctl job show "$job" --json | json '[o["item"]["used_guaranteed_rums"] > 0, o["item"]["used_loan_rums"] > 0]')" "[True, True]"
ok "the log bears it all" quiet ctl log verify
done_testing
