#!/bin/bash
# The core decides the same whoever compiled it. A branch that hangs on an uninitialised byte, on evaluation order or on
# an address shows nowhere else: every test passes, and a replay of the log ends in another state.
#
# Here the build under test beside clang -O0; make determinism has the other compilers, sanitizers and 10^6 commands.
. "$(dirname "$0")/tap.sh"
[ -x "$B/tests/stream" ] || skip_all "there is no $B/tests/stream"
cd "$ROOT" || exit 1
field() { sed -n "s/^$1: //p" "$2"; }

ok "a stream of commands is recorded" sh -c '"$1/tests/stream" record "$2/stream" 20000 >"$2/recorded"' - "$B" "$T"
ok "of so many" test "$(field record_events "$T/recorded" | cut -d' ' -f1)" -ge 20000
ok "and decided again from nothing" sh -c '"$1/tests/stream" replay "$2/stream" >"$2/replayed"' - "$B" "$T"
for hash in state_hash facts_hash; do
	is "$hash: the replay comes to what was recorded" "$(field $hash "$T/replayed")" "$(field $hash "$T/recorded")"
done
echo "# replay: $(field replay_speed "$T/replayed")"

# the guard itself: one byte of one command changed is not the same stream
python3 - "$T/stream" "$T/other" <<'P'
import struct, sys
d = bytearray(open(sys.argv[1], "rb").read())
at, n, last = 0, 0, None
while at < len(d):
    kind, size = struct.unpack_from("<H", d, at + 8)[0], struct.unpack_from("<I", d, at + 27)[0]
    if n > 15000 and kind and size > 20:
        last = at
    at += 31 + size
    n += 1
struct.pack_into("<q", d, last, struct.unpack_from("<q", d, last)[0] + 1)  # a millisecond later
open(sys.argv[2], "wb").write(d)
P
"$B/tests/stream" replay "$T/other" >"$T/differs" 2>/dev/null
ok "another stream comes to something else" test "$(field facts_hash "$T/differs")" != "$(field facts_hash "$T/recorded")"

if ! command -v clang >/dev/null; then
	skip "clang -O0 decides the same" "clang is not installed"
else
	ok "the core builds with clang -O0" make -s -j"$(nproc)" VARIANT=clang0 build/clang0/tests/stream
	ok "which takes the stream" sh -c 'build/clang0/tests/stream replay "$1/stream" >"$1/clang0"' - "$T"
	for hash in state_hash facts_hash; do
		is "$hash under clang -O0" "$(field $hash "$T/clang0")" "$(field $hash "$T/recorded")"
	done
fi
done_testing
