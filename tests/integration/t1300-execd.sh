#!/bin/bash
# sluis-execd without systemd: real tasks as another user in cgroups of execd's own, and every request it has
# to refuse. It is the one program of ours that is root: what it lets through by mistake, it lets through
# as root.
#
# Runs in a mount namespace, for two users that are in no other /etc/passwd, and in one cgroup of its own.
. "$(dirname "$0")/tap.sh"

AGENT=2001 USER_ID=2002 # and 2003, who is in group root
needs bin/sluis-shim bin/sluis-execd tests/test_exec_systemd
[ "$(id -u)" -eq 0 ] || skip_all "needs root"
command -v python3 >/dev/null || skip_all "python3 is not installed"
if [ "${1-}" != --inside ]; then
	unshare -m true 2>/dev/null || skip_all "mount namespaces are not permitted here"
	rm -rf "$T"
	exec unshare -m --propagation private "$0" --inside
fi
mount_at=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
C=$mount_at/sluis-t1300-$$
[ -n "$mount_at" ] && mkdir "$C" 2>/dev/null || skip_all "no cgroup2 mount that may be written"
remove_cgroups() { find "$C" -depth -type d -exec rmdir {} \; 2>/dev/null; }
end=0
trap 'end=$?; [ -e "$C/cgroup.kill" ] && echo 1 >"$C/cgroup.kill"; remove_cgroups; (exit $end); tap_end' EXIT
[ -w "$C/cgroup.kill" ] || skip_all "this kernel has no cgroup.kill (Linux 5.14)"

chmod 755 "$T"
{
	grep -v '^\(sluis-agent\|tina\|rob\):' /etc/passwd
	echo "sluis-agent:x:$AGENT:$AGENT::$T/agent:/bin/sh"
	echo "tina:x:$USER_ID:$USER_ID::/:/bin/sh"
	echo "rob:x:$((USER_ID + 1)):0::/:/bin/sh"
} >"$T/passwd"
{
	grep -v '^\(sluis-agent\|tina\):' /etc/group
	printf 'sluis-agent:x:%s:\ntina:x:%s:\n' $AGENT $USER_ID
} >"$T/group"
mount --bind "$T/passwd" /etc/passwd && mount --bind "$T/group" /etc/group || skip_all "bind mounts are not permitted here"
mkdir -p "$T/bin" "$T/agent"
chown $AGENT:$AGENT "$T/agent"
chmod 711 "$T/agent"
install -m 755 "$B/bin/sluis-shim" "$B/bin/sluis-execd" "$B/tests/test_exec_systemd" "$T/bin/"

execd() { # execd NAME FLAGS...: becomes it, so to be called with &
	local name=$1
	shift
	exec ${LIMITED-} "$T/bin/sluis-execd" --backend=cgroup2 --cgroup-root="$C/$name" --socket="$T/$name.sock" \
		--run-dir="$T/agent/run" --uid-min=2000 --uid-max=3000 "$@" >"$T/$name.log" 2>&1
}

# ---- what it does not even begin with ---------------------------------------------------------------------
status() { # status WANT WHAT FLAGS...
	local want=$1 what=$2
	shift 2
	LIMITED="timeout 60" execd early "$@" &
	wait $!
	is "does not run $what" "$?" "$want"
}
status 2 "for root as agent" --agent=0
status 2 "with root in the range" --uid-min=0
status 2 "with a range the wrong way round" --uid-min=3001
status 2 "with a flag it does not know" --allow-all=1
status 2 "with a relative run dir" --run-dir=run
install -m 775 "$T/bin/sluis-shim" "$T/bin/loose-shim"
status 2 "with a shim that others may change" --shim="$T/bin/loose-shim"
install -d -o $AGENT -g $AGENT -m 755 "$T/agent/bin"
install -m 755 "$T/bin/sluis-shim" "$T/agent/bin/sluis-shim"
ln -s "$T/agent/bin/sluis-shim" "$T/bin/linked-shim"
status 2 "with a shim where others may put another" --shim="$T/agent/bin/sluis-shim"
status 2 "or with a link to one" --shim="$T/bin/linked-shim"
ok "and says where" grep -q "in '$T/agent/bin', which not only root can change" "$T/early.log"
status 2 "with a socket where the agent may put something else" --socket="$T/agent/sock"
echo 'uid-max = 4000' >"$T/execd.conf"
chmod 666 "$T/execd.conf"
status 2 "with a configuration that others may change" --config="$T/execd.conf"
[ -d /run/systemd/system ] || status 69 "by systemd where there is none" --backend=systemd
is "does not run without root" "$(setpriv --reuid=$AGENT --clear-groups "$T/bin/sluis-execd" >/dev/null 2>&1
	echo $?)" 69
printf '# comment\nuid-max = many\n' >"$T/execd.conf"
chmod 644 "$T/execd.conf"
status 2 "with a number that is none" --config="$T/execd.conf"
ok "and names the line" grep -q 'execd.conf:2' "$T/early.log"

# ---- stories --------------------------------------------------------------------------------------------------
# A session of keys, as of a login of root's; becomes what follows with SLUIS_TEST_KEY in it where there are such.
cat >"$T/keyed.py" <<-'EOF'
	import ctypes, os, sys
	call = ctypes.CDLL(None).syscall
	ADD_KEY, KEYCTL = {"x86_64": (248, 250), "aarch64": (217, 219)}.get(os.uname().machine, (0, 0))
	JOIN, SESSION = 1, -3
	if KEYCTL and call(KEYCTL, JOIN, None) > 0 and call(ADD_KEY, b"user", b"sluis-t1300", b"secret", 6, SESSION) > 0:
	    open(sys.argv[1], "w").write("sluis-t1300")
	os.execv(sys.argv[2], sys.argv[2:])
EOF
LIMITED="python3 $T/keyed.py $T/key" execd stories &
pid=$!
started $pid
wait_for 10 grep -q ready "$T/stories.log" || sed 's/^/# /' "$T/stories.log"
if [ -s "$T/key" ]; then
	SLUIS_TEST_KEY=$(cat "$T/key")
	export SLUIS_TEST_KEY
fi
SLUIS_TEST_BACKEND=execd SLUIS_TEST_DIR=$T/agent SLUIS_TEST_EXECD=$T/stories.sock SLUIS_TEST_USER=$USER_ID \
	SLUIS_SHIM=$T/bin/sluis-shim setpriv --reuid=$AGENT --regid=$AGENT --clear-groups \
	"$T/bin/test_exec_systemd" >"$T/told.log" 2>&1
is "the stories end well" "$?" 0
why="no reason given"
while read -r line; do
	name=$(sed 's/^\[[^]]*\] *//; s/_/ /g' <<<"$line")
	case $line in
	"[       OK ] "*) tap_result 0 "execd: $name" ;;
	"[  SKIPPED ] "*) skip "execd: $name" "$why" ;;
	"[  FAILED  ] "*) tap_result 1 "execd: $name" ;;
	"skip: "*) why=${line#skip: } ;;
	esac
done < <(awk '/listed below/ { exit } { print }' "$T/told.log")
grep -q '^\[  FAILED' "$T/told.log" && sed 's/^/# /' "$T/told.log" "$T/stories.log"
kill $pid
ends 60 $pid
is "SIGTERM ends it quietly" "$?" 0
ok "and its socket is gone" test ! -e "$T/stories.sock"

# ---- refusals ---------------------------------------------------------------------------------------------------
rm -rf "$T/agent/run"
execd refusals &
pid=$!
started $pid
wait_for 10 grep -q ready "$T/refusals.log"
descriptors() { find /proc/$pid/fd -mindepth 1 | wc -l; }
before=$(descriptors)
python3 "$ROOT/tests/lib/execd_refusals.py" "$T/refusals.sock" "$T/agent/run" $AGENT $USER_ID >"$T/refused.log" 2>&1
rc=$?
while read -r line; do
	case $line in
	"ok "*) tap_result 0 "${line#* - }" ;;
	"not ok "*) tap_result 1 "${line#* - }" ;;
	"ASKED "*) asked=${line#ASKED } ;;
	*) echo "# $line" ;;
	esac
done <"$T/refused.log"
is "the table was gone through" "$rc" 0
logged() { [ "$(grep -c '^<[0-9]>request' "$T/refusals.log")" = "${asked-?}" ]; }
ok "one line of log for each request" wait_for 10 logged
ok "it is still there" kill -0 $pid
as_before() { [ "$(descriptors)" = "$before" ]; } # the last connection is closed behind its answer
ok "and has kept no descriptor" wait_for 10 as_before
kill $pid
ends 60 $pid
no_cgroups() { remove_cgroups; [ ! -e "$C" ]; } # a process that was killed may be in one a moment longer
ok "no cgroup is left behind" wait_for 10 no_cgroups
done_testing
