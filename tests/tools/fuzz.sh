#!/bin/sh
# fuzz.sh SECONDS NAME... - build and run the fuzz targets NAME, print their figures as "name: value unit"
#
# Exit status: 0 nothing found, 1 something found or the build failed. See make/fuzz.mk.
set -u
seconds=$1
shift
cd "$(dirname "$0")/../.." || exit 1
[ $# -gt 0 ] || { echo "no tests/fuzz/fuzz_*.c here"; exit 1; }
command -v clang >/dev/null || { echo "fuzzing needs clang: apt-get install clang"; exit 1; }
make -s VARIANT=fuzz fuzz-bins || exit 1

sum=0 findings=0 ran=0
for name in "$@"; do
	mkdir -p "build/fuzz/corpus/$name" "tests/fuzz/corpus/$name"
	log=build/fuzz/$name.log
	"build/fuzz/fuzz_$name" -max_total_time="$seconds" -print_final_stats=1 -timeout=10 -rss_limit_mb=2048 \
		-max_len=65536 -artifact_prefix="build/fuzz/crash-$name-" \
		"build/fuzz/corpus/$name" "tests/fuzz/corpus/$name" >"$log" 2>&1
	status=$?
	done_n=$(awk '/stat::number_of_executed_units/ { n = $2 } END { print n + 0 }' "$log")
	# a target that never ran has shown nothing
	[ "$done_n" -gt 0 ] || [ "$status" -ne 0 ] || status=1
	awk -v n="fuzz_$name" -v done_n="$done_n" '
		/stat::average_exec_per_sec/ { speed = $2 }
		/ cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") cov = $(i + 1) }
		END {
			print n "_executions: " done_n " executions"
			print n "_speed: " speed + 0 " executions/s"
			print n "_coverage: " cov + 0 " edges"
		}' "$log"
	echo "fuzz_${name}_findings: $((status != 0)) inputs"
	sum=$((sum + done_n)) ran=$((ran + 1))
	if [ "$status" -ne 0 ]; then
		findings=$((findings + 1))
		grep -aE 'ERROR|SUMMARY|runtime error|Test unit written' "$log" | sed 's/^/  | /'
		echo "  replay: build/fuzz/fuzz_$name build/fuzz/crash-$name-..."
	fi
done
echo "fuzz_targets: $ran targets"
echo "fuzz_executions: $sum executions"
echo "fuzz_findings: $findings inputs"
[ "$findings" -eq 0 ]
