# shellcheck shell=bash
# isolation_world.sh - users, programs and device nodes that isolation_story.py is told among
#
# Sourced inside a mount namespace of the test's own, with T, B, ROOT and AGENT set.

isolation_world() { # 0, or something is not permitted here
	local p i
	chmod 755 "$T"
	{
		grep -v '^\(sluis-agent\|tina\|rob\|low\|ghost\|eva\):' /etc/passwd
		echo "sluis-agent:x:$AGENT:$AGENT::$T/agent:/bin/sh"
		echo "tina:x:2002:2002::$T/home:/bin/sh"
		echo "rob:x:2003:0::/:/bin/sh"
		echo "low:x:500:500::/:/bin/sh"
	} >"$T/passwd"
	{
		grep -v '^\(sluis-agent\|tina\|render\|low\):' /etc/group
		printf 'sluis-agent:x:%s:\ntina:x:2002:\nrender:x:2004:tina\nlow:x:500:\n' "$AGENT"
	} >"$T/group"
	mkdir -p "$T/bin" "$T/agent" "$T/home" "$T/dev"
	chown "$AGENT:$AGENT" "$T/agent"
	chown 2002:2002 "$T/home"
	chmod 711 "$T/agent"
	# copies of root's: the tree may belong to whoever built it, and lie where others cannot look
	for p in bin/sluis-agent bin/sluis-shim bin/sluis-execd tests/fake_nvml.so; do
		install -m 755 "$B/$p" "$T/bin/" || return 1
	done
	install -m 644 "$ROOT/demo/topologies/oci-bm-h100.xml" "$T/bin/"
	mount --bind "$T/passwd" /etc/passwd && mount --bind "$T/group" /etc/group || return 1
	# A /dev of our own, with GPUs that have no driver: major 240 is for local use.
	mount -t tmpfs -o mode=755 tmpfs "$T/dev" || return 1
	for p in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0" "ptmx 5 2" "kmsg 1 11" \
		"sluis-test 240 99" "nvidiactl 240 255" "nvidia-uvm 240 200"; do
		# shellcheck disable=SC2086
		set -- $p
		mknod -m 666 "$T/dev/$1" c "$2" "$3" || return 1
	done
	for i in 0 1 2 3 4 5 6 7; do mknod -m 666 "$T/dev/nvidia$i" c 240 $i || return 1; done
	ln -s /proc/self/fd "$T/dev/fd"
	mkdir "$T/dev/pts" "$T/dev/shm"
	[ ! -e /dev/pts/ptmx ] || mount --rbind /dev/pts "$T/dev/pts" || return 1
	mount -t tmpfs tmpfs "$T/dev/shm" || return 1
	[ ! -e /dev/console ] || { touch "$T/dev/console" && mount --bind /dev/console "$T/dev/console"; }
	mount --rbind "$T/dev" /dev
}
