#!/bin/bash
# What reads bytes from outside, under libFuzzer with sanitizers: some seconds for each decoder, from the corpus on. The
# corpus itself is replayed without clang by every `make check`; `make fuzz` runs all targets for longer.
. "$(dirname "$0")/tap.sh"
cd "$ROOT" || exit 1
DECODERS=(frame msgpack message record)
[ -n "${CI-}${FUZZ-}" ] || skip_all "for build machines (CI=1), or make fuzz"
[ "${VARIANT:-release}" = release ] || skip_all "one build is enough"
command -v clang >/dev/null || skip_all "clang is not installed"
ok "the decoders build with clang and sanitizers" make -s -j"$(nproc)" VARIANT=fuzz "${DECODERS[@]/#/build/fuzz/fuzz_}"
for name in "${DECODERS[@]}"; do
	mkdir "$T/$name"
	ok "$name: nothing breaks it" sh -c '"build/fuzz/fuzz_$1" -max_total_time=5 -timeout=60 -rss_limit_mb=2048 -max_len=65536 \
		-print_final_stats=1 -artifact_prefix="$2/crash-" "$2/$1" "tests/fuzz/corpus/$1" >"$2/$1.log" 2>&1' - "$name" "$T"
	n=$(awk '/stat::number_of_executed_units/ { print $2 }' "$T/$name.log")
	# the whole corpus at least; how much more is a matter of the machine
	ok "$name: it ran" test "${n:-0}" -ge "$(find "tests/fuzz/corpus/$name" -type f | wc -l)"
	echo "# fuzz_$name: ${n:-0} executions"
	grep -aE 'ERROR|SUMMARY|runtime error' "$T/$name.log" | sed 's/^/# /'
done
done_testing
