#!/bin/bash
# run.sh VARIANT... - one digest under all builds, or exit status 1 and the first difference
#
# The first variant records a stream of EVENTS commands (20,000); each one, the first too, decides it again from
# nothing and says what the state and all facts came to. Then each runs the same simulations (a batch log, a packing,
# a division) and its output, floating point and all, has to be the same bytes. Environment: EVENTS, DET_KEEP=1 keeps
# the working folder.
set -u
export LC_ALL=C
cd "$(dirname "$0")/../.." || exit 1
[ $# -gt 0 ] || { echo "usage: run.sh VARIANT..."; exit 2; }
T=$(mktemp -d "${TMPDIR:-/tmp}/determinism.XXXXXX") || exit 1
[ -n "${DET_KEEP-}" ] || trap 'rm -rf "$T"' EXIT
# the jobserver of a calling make is not ours to use
MAKEFLAGS=$(printf '%s' "${MAKEFLAGS-}" | sed -E 's/--jobserver-(auth|fds)=[^ ]*//g')
export MAKEFLAGS

# Inputs from a generator of our own: the same on every machine.
awk 'function r(n) { x = (x * 1103515245 + 12345) % 2147483648; return int(x / 65536) % n }
	BEGIN { x = 42; t = 0
		for (i = 1; i <= 4000; i++) { t += r(300); run = 1 + r(60) * r(60); p = 2 ^ r(6)
			print i, t, -1, run, p, -1, -1, p, run + r(3600), -1, 1, r(12), 1, -1, -1, -1, -1, -1 > ARGV[1] "/log.swf" }
		print "sn,cpu_milli,memory_mib,gpu,model" > ARGV[1] "/nodes.csv"
		for (i = 0; i < 60; i++) print "n" i "," 32000 + 32000 * r(3) "," 262144 "," 2 ^ r(4) "," "m" r(3) > ARGV[1] "/nodes.csv"
		print "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec" > ARGV[1] "/pods.csv"
		for (i = 0; i < 400; i++) { g = r(4) ? 1 : 2 ^ r(4); m = g == 1 && r(2) ? 100 + 10 * r(80) : 1000
			print "p" i "," 1000 + 500 * r(20) "," 4096 "," g "," m "," (r(5) ? "" : "m" r(3)) > ARGV[1] "/pods.csv" }
		print "provider,at_s,devices" > ARGV[1] "/demand.csv"
		for (k = 0; k < 6; k++) for (t = 0; t < 86400; t += 900) print "p" k "," t "," r(20) > ARGV[1] "/demand.csv" }' "$T"

simulate() { # simulate PROGRAM FOLDER
	"$1" jobs --trace "$T/log.swf" --procs 64 --policy sluis -o "$2/jobs" --json >"$2/jobs.json" &&
		"$1" pack --nodes "$T/nodes.csv" --pods "$T/pods.csv" --policy sluis --json >"$2/pack.json" &&
		"$1" divide --nodes 16x8 --jobs "$T/log.swf" --demand "$T/demand.csv" --days 2 --policy all --check -o "$2/divide" --json \
			>"$2/divide.json" &&
		(cd "$2" && find . -type f ! -name stream -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
}

bad=0 first=''
for v in "$@"; do
	b=build/$v
	make -s VARIANT="$v" "$b/tests/stream" "$b/bin/sluis-sim" >"$T/make.log" 2>&1 || { tail -20 "$T/make.log"; exit 1; }
	mkdir "$T/$v"
	if [ -z "$first" ]; then
		"$b/tests/stream" record "$T/stream" "${EVENTS:-20000}" >"$T/recorded" || exit 1
		grep _events "$T/recorded"
	fi
	"$b/tests/stream" replay "$T/stream" >"$T/$v/stream" || { echo "$v: the stream cannot be replayed"; bad=1; continue; }
	sims=$(simulate "$b/bin/sluis-sim" "$T/$v") || { echo "$v: a simulation failed"; bad=1; continue; }
	sed -n "s/^replay_speed/${v}_replay_speed/p" "$T/$v/stream"
	digest=$(sed -n 's/^.*_hash: //p' "$T/$v/stream" | tr '\n' ' ')$sims
	echo "${v}_digest: $digest"
	[ -n "$first" ] || first=$digest
	if [ "$digest" != "$first" ]; then
		bad=1
		echo "$v decides differently from $1:"
		diff <(sed '/speed/d' "$T/$1/stream") <(sed '/speed/d' "$T/$v/stream")
		diff -rq -x stream "$T/$1" "$T/$v"
	fi
done
recorded=$(sed -n 's/^.*_hash: //p' "$T/recorded" | tr '\n' ' ')
case $first in
"$recorded"*) ;;
*) echo "the recording itself came to $recorded"; bad=1 ;;
esac
echo "determinism_builds: $# builds"
echo "determinism_differences: $bad"
exit "$bad"
