#!/bin/bash
# A unit with a typo is only noticed on the machine it was to protect. So systemd reads all units here,
# and the exposure of the two daemons has a ceiling (systemd-analyze security, in tenths: 15 and 35).
. "$(dirname "$0")/tap.sh"
cd "$ROOT" || exit 1

mkdir -p "$T/sbin" "$T/bin" "$T/libexec" "$T/units"
for p in sbin/sluisd sbin/sluis-agent bin/sluisctl libexec/sluis-execd; do
	printf '#!/bin/sh\n' >"$T/$p"
	chmod +x "$T/$p"
done
for f in systemd/*.in; do
	u=$T/units/$(basename "$f" .in)
	sed -e "s#@sbindir@#$T/sbin#g" -e "s#@bindir@#$T/bin#g" -e "s#@libexecdir@#$T/libexec#g" "$f" >"$u"
done
is "every placeholder is known" "$(grep -l '@[a-z]*dir@' "$T"/units/*)" ""

if command -v systemd-analyze >/dev/null; then
	# One instance of each template. The manuals are not installed here, hence --man=no.
	for t in "$T"/units/*@.*; do cp "$t" "${t/@./@77.}"; done
	for u in "$T"/units/*; do
		case $u in *@.*) continue ;; esac
		out=$(systemd-analyze verify --man=no "$u" 2>&1)
		# what this machine's own units are blamed for is not about ours
		is "systemd reads $(basename "$u") without a complaint" "$(grep -F "$(basename "$u")" <<<"$out")" ""
	done
	sed 's/^\[Service\]/&\nNoNewPriveleges=yes/' "$T/units/sluisd.service" >"$T/units/typo.service"
	ok "and complains about a misspelt setting" bash -c \
		"systemd-analyze verify --man=no '$T/units/typo.service' 2>&1 | grep -q typo.service"
	for want in sluisd:15 sluis-agent:35 sluis-execd:20 sluis-lease@:20 sluis-lease-renew@:20 sluis-backup:20; do
		ok "exposure of ${want%:*}.service is at most ${want#*:} tenths" bash -c \
			"systemd-analyze security --no-pager --offline=true --threshold=${want#*:} '$T/units/${want%:*}.service' >'$T/out' 2>&1"
		sed -n '/Overall/s/^/# /p' "$T/out"
	done
	printf '[Service]\nExecStart=/bin/true\n' >"$T/bare.service"
	ok "an unprotected unit is over the ceiling" bash -c \
		"! systemd-analyze security --offline=true --threshold=35 '$T/bare.service' >/dev/null 2>&1"
else
	skip "systemd reads the units" "systemd-analyze is not installed"
fi

# The local door needs the caller's uid; in a user namespace it would be 65534 for everybody.
ok "sluisd has no PrivateUsers=" bash -c "! grep -q '^PrivateUsers=' systemd/sluisd.service.in"
for u in sluisd sluis-agent; do
	ok "$u is not restarted where a restart cannot help" \
		grep -qx 'RestartPreventExitStatus=2 69 70 78' "systemd/$u.service.in"
done
ok "stopping the agent kills no work" grep -qx 'KillMode=process' systemd/sluis-agent.service.in
ok "nor removes its tasks' sockets" grep -qx 'StateDirectory=sluis-agent' systemd/sluis-agent.service.in

if command -v systemd-sysusers >/dev/null; then
	ok "sysusers.d is read" bash -c "systemd-sysusers --dry-run '$ROOT/systemd/sluis.sysusers' >/dev/null 2>&1"
	mkdir -p "$T/root/etc"
	echo 'root:x:0:0::/:/bin/sh' >"$T/root/etc/passwd"
	n=0
	for u in root sluis sluis-agent; do echo "$u:x:$((n += 1)):"; done >"$T/root/etc/group"
	for u in sluis sluis-agent; do echo "$u:x:$(id -u):$(id -g)::/:/bin/sh"; done >>"$T/root/etc/passwd"
	ok "tmpfiles.d is read" systemd-tmpfiles --root="$T/root" --create "$ROOT/systemd/sluis.tmpfiles"
	ok "and makes the state folder private" test "$(stat -c %a "$T/root/var/lib/sluis/state")" = 700
else
	skip "sysusers.d and tmpfiles.d are read" "systemd-sysusers is not installed"
fi

# ---- make install, with a blank in the path ----
dest="$T/dest dir"
ok "make install works below a path with a blank" bash -c \
	"make -s install B='$B' VARIANT='${VARIANT:-release}' DESTDIR='$dest' PREFIX=/usr >'$T/install.log' 2>&1 || { cat '$T/install.log'; exit 1; }"
is "the units name the installed programs" \
	"$(sed -n 's/^ExecStart=//p' "$dest/usr/lib/systemd/system/sluisd.service")" /usr/sbin/sluisd
is "nothing is installed outside PREFIX" "$(ls "$dest")" usr
for p in sbin/sluisd sbin/sluis-agent bin/sluisctl bin/sluis-sim lib/sluis/sluis-shim lib/sluis/sluis-execd; do
	[ -x "$B/bin/${p##*/}" ] || continue
	ok "$p is installed" test -x "$dest/usr/$p"
done
done_testing
