#!/bin/bash
# The backends that a node in production uses, under a real systemd: as PID 1 of namespaces of its own, with
# cgroup trees of its own, so that neither this machine's init nor its root cgroups are touched. Without it
# nobody would know whether systemd does what the properties we send are meant to say.
#
# The stories in tests/unit/test_exec_systemd.c, as root by systemd itself, and as an unprivileged agent by
# sluis-execd, whose unit is the shipped one (by execd's own cgroups: t1300). Then the story of t1320, a whole
# cluster, with the limits that systemd sets.
. "$(dirname "$0")/tap.sh"

AGENT=2001 USER_ID=2002 # as in the private /etc/passwd below
HIERARCHIES="unified systemd memory pids devices cpu"

if [ "${1-}" = --inside ]; then # PID 1 of the new namespaces, about to become systemd
	trap - EXIT
	rm -rf "$T"
	T=$2
	mount --make-rprivate / && mount -t proc proc /proc && mount -t tmpfs tmpfs /run || exit 1
	mount --bind "$T/passwd" /etc/passwd && mount --bind "$T/group" /etc/group || exit 1
	mount -t tmpfs tmpfs /sys/fs/cgroup && cd /sys/fs/cgroup || exit 1
	for h in $3; do # what this cgroup namespace was rooted in; nothing above it can be seen
		mkdir "$h" || exit 1
		case $h in
		unified) mount -t cgroup2 cgroup2 "$h" ;;
		systemd) mount -t cgroup -o none,name=systemd cgroup "$h" ;;
		*) mount -t cgroup -o "$h" cgroup "$h" ;;
		esac || exit 1
	done
	# systemd takes cpu and cpuacct for one tree, and removes what it made in cpu where cpuacct is elsewhere
	[ ! -d cpu ] || ln -s cpu cpuacct || exit 1
	cd / || exit 1
	mount --bind "$(tty)" /dev/console || exit 1 # of script(1): where it says why it cannot
	exec env -i PATH="$PATH" container=sluis-test SYSTEMD_UNIT_PATH="$T/units:/run/systemd/transient" \
		SYSTEMD_GENERATOR_PATH="$T/none" /lib/systemd/systemd --system --unit=test.target --log-target=console \
		--show-status=no --log-level="${LOG_LEVEL:-notice}"
fi

[ "$(id -u)" -eq 0 ] || skip_all "needs root for namespaces"
[ -x /lib/systemd/systemd ] || skip_all "systemd is not installed"
needs bin/sluis-shim bin/sluis-execd tests/test_exec_systemd bin/sluisd bin/sluis-agent tests/fake_nvml.so
needs_python_zmq
command -v script >/dev/null || skip_all "script(1) is not installed"
[ "${VARIANT-}" = asan ] && skip_all "the sandbox of sluis-execd.service does not hold a sanitizer"
unshare -m -p -f -C -i true 2>/dev/null || skip_all "namespaces are not permitted here"

# A cgroup of ours in each hierarchy there is; the namespace is rooted in it.
G=sluis-t1310-$$ HAVE=""
for h in $HIERARCHIES; do
	mkdir "/sys/fs/cgroup/$h/$G" 2>/dev/null && HAVE="$HAVE $h"
done
remove_cgroups() { # all but processes are gone by now: deepest first
	local h
	for h in $HAVE; do
		[ -d "/sys/fs/cgroup/$h/$G" ] || continue
		find "/sys/fs/cgroup/$h/$G" -depth -type d -exec rmdir {} \; 2>/dev/null
	done
}
end=0
trap 'end=$?; remove_cgroups; (exit $end); tap_end' EXIT
case $HAVE in *unified*systemd*) ;; *) skip_all "no writable hybrid cgroup trees below /sys/fs/cgroup" ;; esac

# ---- the small world: two users, programs, units --------------------------------------------------------
chmod 755 "$T"
{
	grep -v '^\(sluis-agent\|tina\):' /etc/passwd
	echo "sluis-agent:x:$AGENT:$AGENT::$T/agent:/bin/sh"
	echo "tina:x:$USER_ID:$USER_ID::/:/bin/sh"
} >"$T/passwd"
{
	grep -v '^\(sluis-agent\|tina\|render\):' /etc/group
	printf 'sluis-agent:x:%s:\ntina:x:%s:\nrender:x:2003:tina\n' $AGENT $USER_ID
} >"$T/group"
mkdir -p "$T/bin" "$T/units" "$T/none" "$T/agent" "$T/root"
chmod 711 "$T/agent"
chown $AGENT:$AGENT "$T/agent"
# copies of root's: the tree may belong to whoever built it, and lie where others cannot look
install -m 755 "$B/bin/sluis-shim" "$B/bin/sluis-execd" "$B/tests/test_exec_systemd" "$T/bin/"
for u in systemd/sluis.slice systemd/sluis-execd.socket systemd/sluis-execd.service; do
	sed -e "s#@libexecdir@#$T/bin#g" "$ROOT/$u.in" >"$T/units/${u#*/}"
done
# The shipped sandbox hides /tmp, where this test lies; nothing else of it is loosened.
mkdir "$T/units/sluis-execd.service.d"
printf '[Service]\nPrivateTmp=no\nExecStart=\nExecStart=%s/bin/sluis-execd --backend=systemd --run-dir=%s/agent/run\n' \
	"$T" "$T" >"$T/units/sluis-execd.service.d/test.conf"
cat >"$T/units/test.target" <<-EOF
	[Unit]
	AllowIsolate=yes
	DefaultDependencies=no
	Requires=sluis-execd.socket direct.service execd.service whole.service
	After=sluis-execd.socket
EOF
for t in sysinit basic shutdown sockets; do # what units name by default, and nothing of this machine's
	printf '[Unit]\nDefaultDependencies=no\n' >"$T/units/$t.target"
done
stories() { # stories UNIT USER ENVIRONMENT...: the unit that runs them, and tells when it has
	local unit=$1 user=$2
	shift 2
	cat >"$T/units/$unit.service" <<-EOF
		[Unit]
		DefaultDependencies=no
		After=sluis-execd.socket ${AFTER-}
		[Service]
		Type=oneshot
		User=$user
		Environment=$* SLUIS_SHIM=$T/bin/sluis-shim
		ExecStart=$T/bin/test_exec_systemd
		StandardOutput=file:$T/$unit.log
		StandardError=file:$T/$unit.log
		TimeoutStartSec=200
		${LAST-}
	EOF
}
stories direct root SLUIS_TEST_BACKEND=systemd "SLUIS_TEST_DIR=$T/root"
AFTER=direct.service stories execd sluis-agent SLUIS_TEST_BACKEND=execd "SLUIS_TEST_DIR=$T/agent" \
	SLUIS_TEST_EXECD=/run/sluis-execd/socket SLUIS_TEST_USER=$USER_ID

# The whole cluster has users, programs and a /dev of its own, which stay to the end.
mkdir "$T/whole"
cat >"$T/whole.sh" <<-EOF
	T=$T/whole B=$B ROOT=$ROOT AGENT=$AGENT
	. $ROOT/tests/lib/isolation_world.sh
	isolation_world || exit 1
	$T/bin/sluis-execd --backend=systemd --socket=\$T/execd.sock --run-dir=\$T/agent/n1/exec --uid-min=2000 \\
		--uid-max=3000 2>\$T/execd.log &
	for i in {1..120}; do grep -q ready \$T/execd.log && break || sleep 0.5; done
	export T AGENT EXECD=\$T/execd.sock BASE=\$T/agent LIBRARY=\$T/bin/fake_nvml.so XML=\$T/bin/oci-bm-h100.xml
	export BIN=$B/bin PYTHONPATH=$ROOT/tests/lib PYTHONDONTWRITEBYTECODE=1
	$python $ROOT/tests/lib/isolation_story.py
	rc=\$?
	kill %1
	[ \$rc -eq 0 ] || sed 's/^/# /' \$T/execd.log \$T/n1.log
EOF
cat >"$T/units/whole.service" <<-EOF
	[Unit]
	DefaultDependencies=no
	After=execd.service
	[Service]
	Type=oneshot
	ExecStart=/bin/bash $T/whole.sh
	StandardOutput=file:$T/whole.log
	StandardError=file:$T/whole.log
	TimeoutStartSec=200
	ExecStopPost=+/bin/systemctl exit --force
EOF

# ---- boot ------------------------------------------------------------------------------------------------
cat >"$T/boot" <<-EOF
	for h in $HAVE; do echo \$\$ >/sys/fs/cgroup/\$h/$G/cgroup.procs || exit 1; done
	exec unshare -m -p -f -C -i --kill-child=KILL '$ROOT/tests/integration/t1310-systemd.sh' --inside '$T' '$HAVE'
EOF
script -qec "sh '$T/boot'" "$T/console" >"$T/script" 2>&1 </dev/null &
init=$!
started $init
ended() { ! kill -0 $init 2>/dev/null; }
wait_for 250 ended
ok "systemd boots in namespaces of its own, and ends" ended
ended || kill -KILL $init # and with it all that is in there
wait $init 2>/dev/null

tell() { # tell UNIT WHAT: a TAP line for each case of a cmocka log
	local line name n=0
	while read -r line; do
		name="$2: $(sed 's/^\[[^]]*\] *//; s/_/ /g' <<<"$line")"
		case $line in
		"[       OK ] "*) tap_result 0 "$name" n=$((n += 1)) ;;
		"[  SKIPPED ] "*test*listed*) ;;
		"[  SKIPPED ] "*) [ -n "$why" ] && skip "$name" "$why" && why="" ;;
		"[  FAILED  ] "*listed*) ;;
		"[  FAILED  ] "*) tap_result 1 "$name" ;;
		"skip: "*) why=${line#skip: } ;;
		esac
	done < <(awk '/listed below/ { exit } { print }' "$1")
	ok "$2: the stories were told to their end" grep -q '^\[==========\].*test(s) run' "$1"
	grep -q '^\[  FAILED' "$1" && sed 's/^/# /' "$1"
}
why=""
tell "$T/direct.log" systemd
tell "$T/execd.log" "execd by systemd"
while read -r line; do
	name=${line#* - }
	case $line in
	"ok "*"# SKIP"*) skip "whole: ${name% # SKIP*}" "${line#*# SKIP }" ;;
	"ok "*) tap_result 0 "whole: $name" ;;
	"not ok "*) tap_result 1 "whole: $name" ;;
	1..*) told=yes ;;
	"#"*) echo "$line" ;;
	esac
done <"$T/whole.log"
is "whole: the story was told to its end" "${told-}" yes
grep -E 'sluis-execd|execd\.service' "$T/console" | tail -n 3 | sed 's/^/# /'
[ "$TAP_FAILED" -eq 0 ] || sed 's/^/# /' "$T/console"
removed() { # a process that was killed may be in one a moment longer
	local h
	remove_cgroups
	for h in $HAVE; do [ ! -d "/sys/fs/cgroup/$h/$G" ] || return 1; done
}
wait_for 10 removed
left=""
for h in $HAVE; do [ -d "/sys/fs/cgroup/$h/$G" ] && left="$left $h"; done
is "no cgroup is left behind" "$left" ""
done_testing
