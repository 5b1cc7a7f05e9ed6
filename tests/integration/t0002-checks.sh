#!/bin/bash
# The walls between the parts hold only as long as somebody notices a hole. Each hole is made here, in a
# scratch tree, and the checker has to find it.
. "$(dirname "$0")/tap.sh"

layers="$ROOT/tests/tools/check_layers.py"
core="$ROOT/tests/tools/check_core.py"

# a small tree with one header per folder
dirs="proto/base proto/model proto/wire proto/config proto/link proto/client daemon/core daemon/store daemon/sim
	daemon/sim/main daemon agent/core agent/probe agent/exec agent/shim agent ctl tests/unit"
fresh() {
	local d
	rm -rf "$T/tree"
	for d in $dirs; do
		mkdir -p "$T/tree/$d"
		echo "/* x */" >"$T/tree/$d/x.h"
	done
	echo "/* x */" >"$T/tree/daemon/core/fact.h"
}
# judge FILE INCLUDE-LINE: the tree with this one file; prints good or bad
judge() {
	fresh
	printf '%s\n' "$2" >"$T/tree/$1"
	if python3 "$layers" "$T/tree" >"$T/out" 2>&1; then echo good; else echo bad; fi
}
found() { grep -qF -- "$1" "$T/out"; }

fresh
ok "a tree without includes is in order" python3 "$layers" "$T/tree"

while read -r verdict file include; do
	is "$file including $include is $verdict" "$(judge "$file" "#include $include")" "$verdict"
done <<'CASES'
good daemon/core/a.c "proto/model/x.h"
bad daemon/core/a.c "proto/wire/x.h"
bad daemon/core/a.c "daemon/store/x.h"
bad daemon/core/a.c "proto/link/x.h"
good daemon/store/a.c "daemon/core/fact.h"
bad daemon/store/a.c "daemon/core/x.h"
bad daemon/store/a.c "daemon/x.h"
good daemon/sim/a.c "daemon/core/x.h"
bad daemon/sim/a.c "daemon/sim/main/x.h"
bad daemon/a.c "daemon/sim/x.h"
bad daemon/a.c "agent/x.h"
good daemon/a.c "proto/link/x.h"
bad proto/base/a.c "proto/model/x.h"
bad proto/model/a.c "proto/wire/x.h"
bad proto/link/a.c "proto/wire/x.h"
good proto/client/a.c "proto/link/x.h"
bad proto/client/a.c "ctl/x.h"
good agent/probe/a.c "proto/model/x.h"
bad agent/probe/a.c "agent/exec/x.h"
bad agent/core/a.c "agent/probe/x.h"
good agent/shim/a.c "proto/base/x.h"
bad agent/shim/a.c "proto/wire/x.h"
good agent/shim/a.c "agent/exec/x.h"
bad agent/exec/a.c "agent/shim/x.h"
bad ctl/a.c "daemon/x.h"
good ctl/a.c "proto/client/x.h"
good tests/unit/a.c "daemon/core/x.h"
good proto/link/a.c <zmq.h>
bad daemon/a.c <zmq.h>
bad daemon/core/a.c <lmdb.h>
good daemon/store/a.c <lmdb.h>
bad daemon/a.c <hwloc.h>
good agent/probe/a.c <hwloc/glibc-sched.h>
bad proto/link/a.c <msgpack.h>
good proto/wire/a.c <msgpack.h>
bad ctl/a.c <yaml.h>
bad ctl/a.c <cmocka.h>
good ctl/a.c <stdio.h>
CASES

is "an include not spelled from the root is refused" "$(judge proto/base/a.c '#include "x.h"')" bad
ok "with file and line" found "proto/base/a.c:1:"
mkdir -p "$T/tree/attic" && echo >"$T/tree/attic/a.c"
ok "a folder without a rule is refused" test "$(python3 "$layers" "$T/tree" | grep -c 'attic/a.c:0: no rule')" = 1
ok "an empty tree is no success" bash -c "mkdir '$T/none' && ! python3 '$layers' '$T/none' >/dev/null"

# ---- check_core ----
CC=${CC:-cc}
lib=$T/lib
mkdir -p "$lib" "$T/core"
if ! command -v "$CC" >/dev/null; then
	skip "check_core finds what the core must not use" "no C compiler"
	done_testing
fi
# core_with CODE [FLAGS]: an archive of this code; prints good or bad
core_with() {
	rm -f "$lib/daemon-core.a" "$T"/core/*
	printf '%s\n' "$1" >"$T/core/a.c"
	# shellcheck disable=SC2086 # flags are words
	"$CC" -w -O1 ${2-} -c -o "$T/a.o" "$T/core/a.c" && ar rcs "$lib/daemon-core.a" "$T/a.o" || return
	if python3 "$core" "$lib/daemon-core.a" "$T/core" >"$T/out" 2>&1; then echo good; else echo bad; fi
}
printf '%s\n' 'int getpid(void); int base_pure(int x) { return x + 1; }' >"$T/pure.c"
printf '%s\n' 'int getpid(void); int base_impure(void) { return getpid(); }' >"$T/impure.c"
"$CC" -c -o "$T/pure.o" "$T/pure.c" && "$CC" -c -o "$T/impure.o" "$T/impure.c" &&
	ar rcs "$lib/proto-base.a" "$T/pure.o" "$T/impure.o"

is "memory and strings are the core's to use" \
	"$(core_with '#include <string.h>
#include <stdlib.h>
void *f(const char *s) { void *p = malloc(strlen(s) + 1); if (!p) abort(); return memcpy(p, s, strlen(s)); }')" good
is "a fortified and stack-protected build too" \
	"$(core_with '#include <stdio.h>
int f(char *s, unsigned n, int x) { char t[64]; snprintf(t, sizeof t, "%d", x); return snprintf(s, n, "%s", t); }' \
		"-O2 -D_FORTIFY_SOURCE=2 -fstack-protector-all")" good
is "an instrumented build too" "$(core_with 'int f(int *p, int i) { return p[i] + i; }' "-fsanitize=undefined")" good
is "a pure helper of proto/base too" "$(core_with 'int base_pure(int); int f(void) { return base_pure(1); }')" good
is "a clock is not" "$(core_with '#include <time.h>
long f(void) { return time(0); }')" bad
ok "and is named" found "needs time"
is "nor is a file" "$(core_with '#include <stdio.h>
int f(void) { return fopen("x", "r") != 0; }')" bad
is "nor is printing" "$(core_with '#include <stdio.h>
int f(int x) { return printf("%d", x); }' "-O2 -D_FORTIFY_SOURCE=2")" bad
is "nor is a socket" "$(core_with '#include <sys/socket.h>
int f(void) { return socket(1, 1, 0); }')" bad
is "nor is randomness" "$(core_with '#include <stdlib.h>
int f(void) { return rand(); }')" bad
is "nor is a helper that reaches out itself" "$(core_with 'int base_impure(void); int f(void) { return base_impure(); }')" bad
ok "and the way there is named" found "through base_impure"
is "floating point is found in the source" "$(core_with 'int f(int x) { return (int)(x * 1.5); }')" bad
is "but not in a comment or a string" "$(core_with '/* double 1.5 */ const char *f(void) { return "float 2.5"; }')" good
ok "a missing archive is no success" bash -c "! python3 '$core' '$T/absent.a' >/dev/null"

ok "each mutation has its text in the tree, once" python3 "$ROOT/tests/tools/mutate.py" --check

done_testing
