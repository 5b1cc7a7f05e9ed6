#!/bin/bash
# The demo's promises ("resumed at the step it saved") are only worth something if the trainer really
# learns, really exchanges gradients and really stops and resumes as it says. Here it does so by hand,
# two ranks on loopback, without sluis; with PyTorch too where it is installed.
. "$(dirname "$0")/tap.sh"
train="$ROOT/demo/train.py"

free_port() { # below those that the kernel hands out, so that nobody is given it before rank 0 listens
	python3 -c 'import random, socket
while True:
    s = socket.socket()
    try:
        s.bind(("127.0.0.1", random.randrange(10000, 20000)))
        print(s.getsockname()[1])
        break
    except OSError:
        pass'
}

# gang NAME COUNT OPTION...: start COUNT ranks; output in $T/NAME.RANK, pids in pids[], each rank with a notice
# pipe on fd 5 ($T/NAME.RANK.notice) and its reports in $T/NAME.RANK.report. $py and $engine say with what.
gang() {
	local name=$1 count=$2 r port
	shift 2
	port=$(free_port)
	pids=()
	for ((r = 0; r < count; r++)); do
		mkfifo "$T/$name.$r.notice"
		RANK=$r WORLD_SIZE=$count MASTER_ADDR=127.0.0.1 MASTER_PORT=$port SLUIS_CHECKPOINT_DIR="$T/$name.ckpt" \
			SLUIS_NOTICE_FD=5 SLUIS_REPORT_FD=6 "$py" "$train" --engine "$engine" "$@" \
			>"$T/$name.$r" 2>&1 5<>"$T/$name.$r.notice" 6>>"$T/$name.$r.report" &
		pids+=($!)
		started $!
	done
}
again() { rm -f "$T/$1".*.notice; }
codes() { # waits for all ranks; their exit statuses are in $codes
	local p
	codes=
	for p in "${pids[@]}"; do
		ends 60 "$p"
		codes="$codes${codes:+ }$?"
	done
}
has_step() { grep -qE "^step $2 " "$T/$1.0"; }
saved() { # saved NAME: the step in its checkpoint
	python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["step"])' "$T/$1.ckpt/checkpoint.json"
}
loss_at() { awk -v s="$2" '$1 == "step" && $2 == s { print $4 }' "$T/$1.0"; }
less() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a != "" && b != "" && a < b) }'; }

story() {
	local e=$engine n
	gang "$e-whole" 2 --steps 200 --checkpoint-every 100
	codes
	is "$e: two ranks train to the end" "$codes" "0 0"
	ok "$e: and learn: the loss falls below a third" less "$(loss_at "$e-whole" 200)" \
		"$(awk -v l="$(loss_at "$e-whole" 10)" 'BEGIN { print l / 3 }')"
	is "$e: every checkpoint is reported" "$(cat "$T/$e-whole.0.report")" \
		$'{"checkpoint": {"step": 100}}\n{"checkpoint": {"step": 200}}'

	# a notice to a rank that is not rank 0 stops both, with all that was learnt saved
	gang "$e-part" 2 --steps 200 --step-seconds 0.2 --checkpoint-every 1000
	ok "$e: the run has begun" wait_for 60 has_step "$e-part" 20
	echo '{"cause":"recall","deadline_unix":1795454074,"seconds":120,"attempt":1,"claim":91}' >"$T/$e-part.1.notice"
	codes
	is "$e: after a notice to one rank both leave with 143" "$codes" "143 143"
	n=$(saved "$e-part")
	ok "$e: a checkpoint was saved at step $n, before the end" test "$n" -ge 20 -a "$n" -lt 200
	is "$e: and reported" "$(cat "$T/$e-part.0.report")" "{\"checkpoint\": {\"step\": $n}}"
	ok "$e: no half-written file is left" test "$(ls "$T/$e-part.ckpt")" = checkpoint.json

	again "$e-part"
	gang "$e-part" 2 --steps 200 --checkpoint-every 1000
	codes
	is "$e: the next attempt ends well" "$codes" "0 0"
	ok "$e: it resumed at the saved step" grep -qx "resumed at step $n, 2 ranks, engine $e" "$T/$e-part.0"
	is "$e: and ends with the very loss of a run never stopped" \
		"$(loss_at "$e-part" 200)" "$(loss_at "$e-whole" 200)"

	# SIGTERM during a long pause between steps
	gang "$e-term" 1 --steps 50 --step-seconds 30 --log-every 1
	ok "$e: a slow run has begun" wait_for 60 has_step "$e-term" 1
	kill -TERM "${pids[0]}"
	codes
	is "$e: SIGTERM ends it with 143" "$codes" 143
	ok "$e: and cuts the pause short: one more step, not thirty seconds" test "$(saved "$e-term")" -eq 2

	# a rank that is killed takes the other with it; the last checkpoint stands
	gang "$e-lost" 2 --steps 400 --step-seconds 0.1 --checkpoint-every 10
	ok "$e: a run with checkpoints has begun" wait_for 60 has_step "$e-lost" 20
	kill -KILL "${pids[1]}"
	codes
	is "$e: the other rank of a killed one gives up with 1" "$codes" "1 137"
	n=$(saved "$e-lost")
	ok "$e: the last checkpoint stands" test "$((n % 10))" -eq 0 -a "$n" -ge 20
}

py=python3 engine=python
story

# different ranks really see different data: one rank and two do not learn the same numbers
gang alone 1 --steps 100
codes
ok "a gang's loss is not that of a single rank" test "$(loss_at alone 100)" != "$(loss_at python-whole 100)"

py=
for p in python3 /usr/bin/python3; do
	"$p" -c 'import torch.distributed as d; assert d.is_available()' 2>/dev/null && py=$p && break
done
if [ -n "$py" ]; then
	engine=torch
	story
	is "both engines learn the same" "$(loss_at torch-whole 200)" "$(loss_at python-whole 200)"
else
	skip "the same with PyTorch" "python3-torch absent"
fi
done_testing
