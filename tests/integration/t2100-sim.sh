#!/bin/bash
# sluis-sim as it is typed: an admin plans by it, so what it cannot read is named, what it writes is whole, and every
# policy that a result is held against is there.
. "$(dirname "$0")/tap.sh"
S=$B/bin/sluis-sim
[ -x "$S" ] || skip_all "there is no $S"
json() { python3 -c 'import json,sys; o=json.load(sys.stdin); print(eval(sys.argv[1],{"o":o}))' "$1"; }
# says STATUS TEXT COMMAND...: exit status and what is on standard error, nothing on standard output
says() {
	local status=$1 text=$2 rc
	shift 2
	"$@" >"$T/out" 2>"$T/err"
	rc=$?
	if [ "$rc" -eq "$status" ] && grep -qF -- "$text" "$T/err" && [ ! -s "$T/out" ]; then
		tap_result 0 "$text"
	else
		tap_result 1 "$text"
		{ echo "exit status $rc, wanted $status"; cat "$T/err" "$T/out"; } | sed 's/^/# /'
	fi
}

job() { echo "$1 $2 -1 $3 $4 -1 -1 $4 $3 -1 1 $5 1 -1 -1 -1 -1 -1"; }
{ job 1 0 600 3 1; job 2 10 60 4 2; echo "3 20 -1 sixty"; job 4 30 60 1 3; } >"$T/log.swf"
printf 'sn,cpu_milli,memory_mib,gpu,model\na,64000,262144,8,X\nb,64000,262144,9,X\n' >"$T/nodes.csv"
printf 'name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\np,1000,1024,1,500,\nq,1000,1024,2,500,\n' >"$T/pods.csv"
printf 'provider,at_s,devices\nchat,0,2\nchat,600,lots\nchat,1200,4\nchat,86400,2\n' >"$T/demand.csv"
printf 'provider,at_s,devices\nchat,0,2\n' >"$T/one.csv"

# ---- bad input
says 1 "log.swf:3: field 4 (run time) is not a number" "$S" jobs --trace "$T/log.swf" --procs 4 --policy easy
ok "with the way out" grep -qF -- "--bad-lines skip leaves such lines out and counts them" "$T/err"
says 1 "nodes.csv:3: field 4 (gpu) is not a number from 0 to 8" "$S" pack --nodes "$T/nodes.csv" --pods "$T/pods.csv" --policy fgd
says 1 "demand.csv:3:" "$S" divide --nodes 2x8 --jobs "$T/log.swf" --demand "$T/demand.csv" --policy static
says 2 "--bad-lines takes refuse or skip, not 'ignore'" "$S" jobs --trace "$T/log.swf" --procs 4 --policy easy --bad-lines ignore
says 2 "'sjf' is not a policy: fcfs, easy, easy-sjbf, sluis or core" "$S" jobs --trace "$T/log.swf" --procs 4 --policy sjf
says 2 "--public takes a number from 1 to 99, not '99999999999999999999'" "$S" divide --public 99999999999999999999
says 2 "--nodes takes NxD" "$S" divide --nodes 4294967297x8
says 2 "--nodes takes NxD, up to 100000 nodes of up to 64 devices and 1000000 devices in all, not '100000x11'" "$S" divide --nodes 100000x11
says 2 "--rate-device takes a number above 0 and below 1000000, not '1e30'" "$S" divide --rate-device 1e30
says 2 "--procs takes a number from 1 to 100000000, not '100000001'" "$S" jobs --procs 100000001
for size in 9223372036854775807 99999999999 -5; do
	{ echo "; MaxProcs: $size"; job 1 0 600 3 1; } >"$T/size.swf"
	says 1 "size.swf:1: the size of the machine is not from 1 to 100000000" "$S" jobs --trace "$T/size.swf" --policy easy
done
{ echo "; MaxProcs: 2000000"; job 1 0 600 3 1; } >"$T/size.swf"
says 1 "2000000 processors are too many to simulate: policy core takes up to 1000000" "$S" jobs --trace "$T/size.swf" --policy core
{ echo "; MaxProcs: 100"; job 1 9000000000 9000000000 4 1; job 2 0 600 4 1; } >"$T/far.swf"
for c in "jobs --trace $T/far.swf --policy core" "divide --nodes 2x8 --public 50 --jobs $T/far.swf --demand $T/one.csv --policy sluis"; do
	says 1 "far.swf:2: field 2 (submit time) is beyond 3000000000 s, the longest that is simulated" "$S" $c
	ok "and runs without it: ${c%% *}" sh -c '"$@" >/dev/null' "$S" "$S" $c --bad-lines skip
done
for c in jobs pack divide golden; do
	says 2 "sluis-sim: '--frob' is not an option of $c" "$S" $c --frob
	ok "with the way out" grep -qF "'sluis-sim $c --help' lists its options" "$T/err"
done
says 2 "sluis-sim: '-x' is not an option of jobs" "$S" jobs -x
says 2 "sluis-sim: --policy: the value is missing" "$S" divide --policy
says 1 "cannot open '$T/none.swf'" "$S" jobs --trace "$T/none.swf" --procs 4 --policy easy
is "left out and counted: jobs" "$("$S" jobs --trace "$T/log.swf" --procs 4 --policy easy --bad-lines skip --json |
	json '"%d of %d, %d bad" % (o["jobs_simulated"], o["jobs_read"], o["bad_lines"]), o["bad_lines_first"]')" \
	"('3 of 3, 1 bad', '$T/log.swf:3: field 4 (run time) is not a number')"
is "pack: in both lists" "$("$S" pack --nodes "$T/nodes.csv" --pods "$T/pods.csv" --policy fgd --bad-lines skip --json |
	json '"%d nodes, %d pods, %d bad" % (o["nodes"], o["pods"], o["bad_lines"]) + o["bad_lines_first"]')" \
	"1 nodes, 1 pods, 2 bad$T/nodes.csv:3: field 4 (gpu) is not a number from 0 to 8"
is "divide: in both files" "$("$S" divide --nodes 2x8 --public 50 --jobs "$T/log.swf" --demand "$T/demand.csv" --days 1 --policy static \
	--bad-lines skip --json | json '"%d %s" % (o["bad_lines"], o["bad_lines_first"])')" \
	"2 $T/demand.csv:3: field 3 (devices) is not a number from 0 to 1000000000000"
ok "and told in the text" sh -c '"$0" jobs --trace "$1" --procs 4 --policy easy --bad-lines skip | grep -qF "bad lines          1 left out; the first: $1:3: field 4"' \
	"$S" "$T/log.swf"
is "no bad line: none is first" "$("$S" jobs --trace "$T/size.swf" --procs 4 --policy easy --json | json 'o["bad_lines"], o["bad_lines_first"]')" "(0, None)"

# ---- what is read, but not as it was meant
printf '\357\273\277provider,devices,at_s\nchat,4,0\nchat,2,86400\n' >"$T/mark.csv"
is "columns in another order, behind a mark of UTF-8" "$("$S" divide --nodes 2x8 --public 50 --jobs "$T/size.swf" --demand "$T/mark.csv" \
	--days 1 --peak 50 --policy static --json | json 'o["demand"]["peak"], o["demand"]["span_s"]')" "(4, 86400)"
printf 'provider,at_s,devices\nhuge,0,1000000\nmail,0,4\n' >"$T/huge.csv"
says_so='asks for 1000004 devices at once, the machine has 16: all of it is scaled by'
divided() { "$S" divide --nodes 2x8 --public 50 --jobs "$T/size.swf" --days 1 --policy static "$@"; }
ok "a demand beyond the machine is told" sh -c 'echo "$0" | grep -qF "warning     huge.csv $1"' "$(divided --demand "$T/huge.csv")" "$says_so"
ok "and in JSON" sh -c 'echo "$0" | grep -qF "$1"' "$(divided --demand "$T/huge.csv" --json | json 'o["warnings"][0]')" "$says_so"
is "a demand within it is not" "$(divided --demand "$T/one.csv" --json | json 'o["warnings"]')" "[]"
says 2 "the policy 'sluis' is named twice" "$S" divide --policy sluis,sluis
says 2 "the policy 'lyra' is named twice" "$S" divide --policy lyra --policy all

# ---- every policy by its name
sed -i 3d "$T/log.swf" "$T/demand.csv" "$T/nodes.csv"
sed -i 3d "$T/pods.csv"
for p in fcfs easy easy-sjbf sluis; do
	for e in requested perfect tsafrir; do
		ok "jobs --policy $p --estimate $e" sh -c '"$0" "$@" >/dev/null' "$S" jobs --trace "$T/log.swf" --procs 4 --policy $p --estimate $e
	done
done
ok "jobs --policy core" sh -c '"$0" "$@" >/dev/null' "$S" jobs --trace "$T/log.swf" --procs 4 --policy core
says 2 "the core goes by requested times" "$S" jobs --trace "$T/log.swf" --procs 4 --policy core --estimate tsafrir
for p in random bestfit fgd sluis; do
	ok "pack --policy $p" sh -c '"$0" "$@" >/dev/null' "$S" pack --nodes "$T/nodes.csv" --pods "$T/pods.csv" --policy $p --seed 7 --until 1.3
done
is "divide --policy all" "$("$S" divide --nodes 2x8 --public 50 --jobs "$T/log.swf" --demand "$T/demand.csv" --days 1 --policy all -o "$T/all" \
	--json | json '" ".join(r["policy"] for r in o["runs"])')" "static walled cohort lyra sluis clairvoyant"

# ---- a cluster as it stands: what runs on loan counts, up to what the leases leave
cat >"$T/now.json" <<'J'
{"snapshot": 1, "cluster": "t", "seq": 7, "t_ms": 1000000, "flavors": [{"name": "h100", "installed": 24, "out": 0}],
 "sides": [{"flavor": "h100", "side": "public", "nominal": 4}, {"flavor": "h100", "side": "private", "nominal": 20}],
 "nodes": [{"name": "a", "flavor": "h100", "devices": 8, "out": 0}, {"name": "b", "flavor": "h100", "devices": 8, "out": 0},
  {"name": "c", "flavor": "h100", "devices": 8, "out": 0}],
 "jobs": [{"id": 1, "project": "p", "flavor": "h100", "state": "running", "devices": 16, "limit_ms": 7200000, "start_ms": 900000},
  {"id": 2, "project": "p", "flavor": "h100", "state": "waiting", "devices": 20, "limit_ms": 7200000, "start_ms": 0},
  {"id": 3, "project": "p", "flavor": "h100", "state": "waiting", "devices": 21, "limit_ms": 7200000, "start_ms": 0},
  {"id": 4, "project": "p", "flavor": "h100", "state": "waiting", "devices": 2, "limit_ms": 7200000, "start_ms": 0}],
 "leases": [{"provider": "chat", "flavor": "h100", "devices": 4}]}
J
counted() { "$S" divide --snapshot "$T/now.json" --json "$@" | json '"%d of %d, waited %d s" % (o["jobs"]["simulated"], o["jobs"]["read"], o["runs"][0]["wait_s"]["max"])'; }
for p in sluis cohort clairvoyant; do
	ok "divide --snapshot --policy $p: a job of all that is not leased runs" sh -c 'echo "$0" | grep -qE "^3 of 4, waited 720[0-9] s$"' "$(counted --policy $p)"
done
is "a policy that lends nothing runs what the public side has" "$(counted --policy static)" "1 of 4, waited 0 s"
is "and so do those that are held against it" "$(counted --policy static,sluis | cut -d, -f1)" "1 of 4"
is "whole nodes are lent" "$(counted --policy lyra | cut -d, -f1)" "1 of 4"
is "more leases leave less" "$(counted --policy sluis --peak 50 | cut -d, -f1)" "1 of 4"

# ---- what it writes
"$S" jobs --trace "$T/log.swf" --procs 4 --policy sluis -o "$T/one" >/dev/null
"$S" jobs --trace "$T/log.swf" --procs 4 --policy sluis -o "$T/two" >/dev/null
ok "equal input gives equal files" diff -r "$T/one" "$T/two"
is "the files of jobs" "$(cd "$T/one" && echo *)" "busy.svg gantt.svg jobs.csv minutes.csv queue.svg summary.json wait.svg"
"$S" pack --nodes "$T/nodes.csv" --pods "$T/pods.csv" --policy sluis -o "$T/pack" >/dev/null
"$S" pack --nodes "$T/nodes.csv" --pods "$T/pods.csv" --policy sluis -o "$T/pack2" >/dev/null
is "those of pack" "$(cd "$T/pack" && echo *)" "curve.csv curve.svg pods.csv summary.json"
ok "the same to the byte each time" diff -r "$T/pack" "$T/pack2"
is "a line per arrival" "$(($(wc -l <"$T/pack/pods.csv") - 1))" "$(json 'o["arrived"]' <"$T/pack/summary.json")"
ok "those of divide" sh -c 'cd "$0" && ls summary.json jobs-sluis.csv minutes-sluis.csv division-sluis.svg gantt-sluis.svg queue.svg wait.svg \
	lost.svg compare.svg >/dev/null' "$T/all"
cat >"$T/svg.py" <<'P'
import sys, xml.etree.ElementTree as ET
NS = "{http://www.w3.org/2000/svg}"
for path in sys.argv[1:]:
	root = ET.parse(path).getroot()
	assert root.tag == NS + "svg" and root.find(NS + "title").text and root.find(NS + "desc").text, path
	assert not root.findall(f".//{NS}script") and len(open(path).read()) < 200000, path
	width, height = (float(x) for x in root.get("viewBox").split()[2:])
	for t in root.iter(NS + "text"):
		assert 0 <= float(t.get("x", 1)) <= width and 0 <= float(t.get("y", 1)) <= height, (path, t.text)
print(len(sys.argv) - 1)
P
is "every picture is well-formed, says what it shows and keeps its text inside" \
	"$(python3 "$T/svg.py" "$T"/one/*.svg "$T"/all/*.svg "$T"/pack/*.svg)" "$(cat "$T"/one/*.svg "$T"/all/*.svg "$T"/pack/*.svg | grep -c '</svg>')"
ok "a table has a line per job" test "$(wc -l <"$T/one/jobs.csv")" -eq 4
touch "$T/file"
says 1 "cannot make '$T/file/x'" "$S" jobs --trace "$T/log.swf" --procs 4 --policy sluis -o "$T/file/x"
ok "a full disk is told" sh -c '"$0" jobs --trace "$1" --procs 4 --policy easy >/dev/full 2>"$2"; [ $? -eq 1 ] && grep -q "cannot write the result" "$2"' \
	"$S" "$T/log.swf" "$T/err"

# ---- progress: on a terminal only
awk 'BEGIN { for (i = 1; i <= 1200000; i++) print i, i * 3, -1, 50 + i % 97, 1 + i % 32, -1, -1, 1 + i % 32, 60 + i % 997, -1, 1, i % 50, 1, -1, -1, -1, -1, -1 }' >"$T/long.swf"
{ echo sn,cpu_milli,memory_mib,gpu,model; for i in {1..500}; do echo "n$i,64000,262144,8,X"; done; } >"$T/many.csv"
awk 'BEGIN { for (i = 1; i <= 240000; i++) print i, i * 5, -1, 50 + i % 97, 1 + i % 4, -1, -1, 1 + i % 4, 60 + i % 997, -1, 1, i % 50, 1, -1, -1, -1, -1, -1 }' >"$T/dense.swf"
cat >"$T/terminal.py" <<'P'
import os, pty, sys
seen = b""
def read(fd):
	global seen
	data = os.read(fd, 65536)
	seen += data
	return data
name, result = (x.encode() for x in sys.argv[1:3])
status = pty.spawn(sys.argv[3:], read)
shown, gone = seen.find(name + b" ["), seen.rfind(b"\r\x1b[K")  # drawn, and wiped before the result
sys.exit(status or not (0 <= shown < gone < seen.find(result) and b" s left" in seen))
P
long() { ok "a long run shows how far it is: $1" sh -c 'python3 "$0" "$@" </dev/null >/dev/null' "$T/terminal.py" "$@"; }
long jobs utilisation "$S" jobs --trace "$T/long.swf" --procs 1000 --policy sluis
long "milli-GPU asked" fragmentation "$S" pack --nodes "$T/many.csv" --pods "$T/pods.csv" --policy fgd --until 1000
long sluis "JCT, mean" "$S" divide --nodes 16x8 --public 50 --jobs "$T/dense.swf" --demand "$T/one.csv" --policy sluis
"$S" jobs --trace "$T/long.swf" --procs 1000 --policy sluis >/dev/null 2>"$T/err"
ok "not into a file" test ! -s "$T/err"
done_testing
