# shellcheck shell=bash
# tap.sh - what the integration tests share: TAP lines, a scratch folder, children that are ended
#
#   . "$(dirname "$0")/tap.sh"
#   ok "what should hold" test -s file      passes if the command exits 0
#   is "what" "$got" "$expected"            passes if both are equal
#   wait_for SECONDS COMMAND...             polls every 50 ms; waiting is for events, this bounds it, at 60 s or more, and
#                                           says so when it gives up: no test depends on how fast the machine is
#   started PID                             ended when the script ends, by its id
#   ends SECONDS PID                        a child of ours ends in time; its exit status (killed, and said so: 137)
#   skip_all REASON                         the whole script cannot run here
#   needs PROGRAM...                        below $B, else skip_all
#   needs_python_zmq                        "$python" has zmq with CURVE and msgpack, else skip_all
#   done_testing                            last line: the plan, and the exit status
#
# $T is a fresh folder, removed at the end unless KEEP is set. $B is the build folder, absolute.

set -u
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
B=${B:-build/release}
case $B in /*) ;; *) B=$ROOT/$B ;; esac
export B
TAP_N=0 TAP_FAILED=0 TAP_CHILDREN=()
T=$(mktemp -d "${TMPDIR:-/tmp}/sluis-test.XXXXXX") || exit 1

tap_end() {
	local status=$? pid
	for pid in "${TAP_CHILDREN[@]-}"; do
		[ -n "$pid" ] && kill -KILL "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
	done
	if [ -n "${KEEP-}" ]; then
		echo "# kept: $T"
	else
		# what was killed just now, or a task that nobody told yet, may still make a file
		for _ in {1..50}; do
			rm -rf "$T" 2>/dev/null && break
			sleep 0.1
		done
		[ ! -e "$T" ] || rm -rf "$T" || true # says what it is that stays
	fi
	exit "$status"
}
trap tap_end EXIT
trap 'exit 143' TERM INT HUP

started() { TAP_CHILDREN+=("$1"); }

tap_result() { # tap_result RC DESCRIPTION
	TAP_N=$((TAP_N + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $TAP_N - $2"
	else
		TAP_FAILED=$((TAP_FAILED + 1))
		echo "not ok $TAP_N - $2"
	fi
}

ok() {
	local what=$1 rc
	shift
	"$@"
	rc=$?
	[ "$rc" -eq 0 ] || echo "# exit status $rc: $*"
	tap_result "$rc" "$what"
}

is() {
	if [ "$2" = "$3" ]; then
		tap_result 0 "$1"
	else
		tap_result 1 "$1"
		printf '%s\n' "got:      $2" "expected: $3" | sed 's/^/# /'
	fi
}

skip() { # skip DESCRIPTION REASON: one test that cannot run here
	TAP_N=$((TAP_N + 1))
	echo "ok $TAP_N - $1 # SKIP $2"
}

skip_all() {
	echo "1..0 # SKIP $1"
	exit 0
}

needs() {
	local program
	for program in "$@"; do
		[ -x "$B/$program" ] || skip_all "there is no $B/$program"
	done
}

needs_python_zmq() {
	for python in python3 /usr/bin/python3; do
		"$python" -c 'import zmq, msgpack; assert zmq.has("curve")' 2>/dev/null && return
	done
	skip_all "python3-zmq and python3-msgpack are missing"
}

# Seconds since boot, times 100: no clock that somebody may set, and no process to read it.
uptime_cs() {
	local up
	read -r up _ </proc/uptime
	REPLY=$((10#${up/./}))
}

wait_for() { # its own names begin with wait_: the command sees them, and may have some of its own
	local wait_s=$(($1 < 60 ? 60 : $1)) wait_until wait_last=
	shift
	uptime_cs
	wait_until=$((REPLY + 100 * wait_s))
	until "$@"; do
		# asked once more after the end: we may have stood still between asking and looking at the clock
		[ -z "$wait_last" ] || { echo "# gave up after $wait_s s: $*" >&2; return 1; }
		uptime_cs
		[ "$REPLY" -lt "$wait_until" ] || wait_last=yes
		sleep 0.05
	done
}

gone() { # gone PID: it has ended, waited for or not
	local state
	state=$(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null)
	[ -z "$state" ] || [ "$state" = Z ]
}

ends() {
	wait_for "$1" gone "$2" || kill -KILL "$2"
	wait "$2" 2>/dev/null
}

done_testing() {
	echo "1..$TAP_N"
	[ "$TAP_FAILED" -eq 0 ]
	exit
}
