#!/bin/bash
# Tests that a bug passes by guard nothing. Two of the known bugs (tests/sim/mutations), others with each commit, are
# planted in a copy of the tree: the unit test that is named for each has to fail. `make mutate` plants all of them.
. "$(dirname "$0")/tap.sh"
cd "$ROOT" || exit 1
ok "each planted bug still has its place in the source" tests/tools/mutate.py --check
[ -n "${CI-}${MUTATE-}" ] || { skip "two of them are found" "for build machines (CI=1), or make mutate"; done_testing; exit; }
[ "${VARIANT:-release}" = release ] || { skip "two of them are found" "one build is enough"; done_testing; exit; }
key=$(git rev-parse HEAD 2>/dev/null || date +%F)
ok "two of them are found" sh -c 'tests/tools/mutate.py --draw 2 --key "$1" --dir "$2" >"$2.log" 2>&1' - "$key" "$T/mutate"
sed 's/^/# /' "$T/mutate.log"
done_testing
