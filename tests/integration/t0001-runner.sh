#!/bin/bash
# The runner's count is what everybody believes. If it miscounted, a crashed, hanging or empty test
# program could pass for a good one; so it is shown each kind of bad program here.
. "$(dirname "$0")/tap.sh"

fake() { # fake FILE: a test program from stdin
	mkdir -p "$(dirname "$1")"
	{ echo '#!/bin/bash'; cat; } >"$1"
	chmod +x "$1"
}

# run_fakes [ENV=VALUE...]: runs the runner over $T/bin and $T/tap; output in $T/out, status in $rc
run_fakes() {
	env -u LIST -u MAKEFLAGS -u NEAR_MS -u TEST_TIMEOUT B="$T/build" UNIT_DIR="$T/bin" INTEGRATION_DIR="$T/tap" \
		PHASES="units sims integration" "$@" "$ROOT/tests/run" >"$T/out" 2>&1
	rc=$?
	last=$(tail -n 1 "$T/out")
}
fresh() { rm -rf "${T:?}/bin" "${T:?}/tap" && mkdir "$T/bin" "$T/tap"; }
said() { grep -qF -- "$1" "$T/out"; }

good='echo "[==========] Running 2 test(s)."
echo "[ RUN      ] one"; echo "[       OK ] one"
echo "[ RUN      ] two"; echo "[       OK ] two"
echo "[==========] 2 test(s) run."; echo "[  PASSED  ] 2 test(s)."'

fresh
fake "$T/bin/test_good" <<<"$good"
run_fakes
is "two cmocka cases that pass are two tests" "$last" "2 passed, 0 failed"
is "and the runner exits with 0" "$rc" 0
ok "nobody is near the time limit" sh -c '! grep -q "near the time limit" "$1"' - "$T/out"
run_fakes NEAR_MS=0
ok "who is, is named" said "test_good: "
is "which changes nothing" "$rc $last" "0 2 passed, 0 failed"

fresh
fake "$T/bin/test_mixed" <<'F'
echo "[==========] Running 3 test(s)."
echo "[ RUN      ] one"; echo "[       OK ] one"
echo "[ RUN      ] two"; echo "[  ERROR   ] --- 0x1 != 0x2"; echo "[  FAILED  ] two"
echo "[ RUN      ] three"; echo "skip: the moon is away"; echo "[  SKIPPED ] three"
echo "[==========] 3 test(s) run."; echo "[  PASSED  ] 1 test(s)."
echo "[  SKIPPED ] 1 test(s), listed below:"; echo "[  SKIPPED ] three"; echo " 1 SKIPPED TEST(S)"
echo "[  FAILED  ] group: 1 test(s), listed below:"; echo "[  FAILED  ] two"; echo " 1 FAILED TEST(S)"
exit 1
F
run_fakes
is "passed, failed and skipped cases count once each" "$last" "1 passed, 1 failed, 1 skipped"
is "a failure makes the runner fail" "$rc" 1
ok "the failing case is named" said "failed: two"
ok "its last lines are shown" said "--- 0x1 != 0x2"
ok "the command that replays it is shown" said "replay: B=$T/build VARIANT=${VARIANT:-release} $T/bin/test_mixed"
ok "the skip's reason is shown" said "test_mixed: three: the moon is away"

fresh
fake "$T/bin/test_crash" <<'F'
echo "[==========] Running 3 test(s)."
echo "[ RUN      ] one"; echo "[       OK ] one"
echo "[ RUN      ] two"
kill -SEGV $$
F
run_fakes
is "a crash fails the case that ran and those that never did" "$last" "1 passed, 2 failed"
ok "the case that did not return is named" said "failed: two (did not return)"

fresh
fake "$T/bin/test_late" <<<"$good
exit 23"
run_fakes
is "all cases good but a bad exit status (a leak, say) is a failure" "$last" "2 passed, 1 failed"

fresh
fake "$T/bin/test_liar" <<'F'
echo "[==========] Running 1 test(s)."; echo "[ RUN      ] one"; echo "[  FAILED  ] one"
exit 0
F
run_fakes
is "a failed case counts although the program exits with 0" "$last" "0 passed, 1 failed"

fresh
fake "$T/bin/test_empty" <<<'exit 0'
run_fakes
is "a program without a test is a failure" "$last" "0 passed, 1 failed"
ok "and says so" said "runs no test"

fresh
fake "$T/bin/test_hang" <<<'echo "[==========] Running 1 test(s)."; echo "[ RUN      ] one"; sleep 100'
run_fakes TEST_TIMEOUT=1
is "a program that hangs is ended and failed" "$last" "0 passed, 1 failed"

fresh
fake "$T/tap/t1-good.sh" <<<"echo 'ok 1 - a'; echo 1..1
echo 'ERROR: AddressSanitizer: of a daemon' >\"\$(tr : '\\n' <<<\"\$ASAN_OPTIONS\" | sed -n 's/^log_path=//p' | head -n 1).1\""
run_fakes VARIANT=asan
is "what a sanitizer says of a program that nobody looks at is a failure" "$last" "1 passed, 1 failed"
ok "and is shown" said "| ERROR: AddressSanitizer: of a daemon"

fresh
fake "$T/bin/sim_own" <<<'echo "seed 1"; echo "40 passed, 0 failed"'
run_fakes
is "a simulation's own summary counts" "$last" "40 passed, 0 failed"

fresh
fake "$T/tap/t1-good.sh" <<<'echo "ok 1 - a"; echo "ok 2 - b # SKIP no gpu"; echo "1..2"'
run_fakes
is "TAP lines count, skips apart" "$last" "1 passed, 0 failed, 1 skipped"
ok "with the reason" said "t1-good.sh: b: no gpu"

fresh
fake "$T/tap/t1-bad.sh" <<<'echo "1..2"; echo "not ok 1 - a"; echo "ok 2 - b"; exit 1'
run_fakes
is "not ok is a failure" "$last" "1 passed, 1 failed"

fresh
fake "$T/tap/t1-short.sh" <<<'echo "1..3"; echo "ok 1 - a"'
run_fakes
is "fewer tests than planned is a failure" "$last" "1 passed, 1 failed"

fresh
fake "$T/tap/t1-planless.sh" <<<'echo "ok 1 - a"; exit 0'
run_fakes
is "a script that stops before its plan is a failure" "$last" "1 passed, 1 failed"

fresh
fake "$T/tap/t1-skip.sh" <<<'echo "1..0 # SKIP nothing here"'
run_fakes
is "a script that skips itself counts as skipped" "$last" "0 passed, 0 failed, 1 skipped"
is "but a run in which nothing passed is not a success" "$rc" 1

fresh
fake "$T/bin/test_good" <<<"$good"
fake "$T/bin/test_other" <<<'exit 1'
rc=0
B="$T/build" UNIT_DIR="$T/bin" INTEGRATION_DIR="$T/tap" PHASES=units \
	"$ROOT/tests/run" test_good >"$T/out" 2>&1 || rc=$?
is "a pattern picks programs" "$rc $(tail -n 1 "$T/out")" "0 2 passed, 0 failed"
B="$T/build" UNIT_DIR="$T/bin" INTEGRATION_DIR="$T/tap" PHASES=units \
	"$ROOT/tests/run" test_nothing >"$T/out" 2>&1 && rc=0 || rc=$?
is "a pattern that matches nothing is not a success" "$rc" 1

done_testing
