#!/bin/bash
# A join token lets in whoever has its text. What sluisd and the agent keep of it is a hash: neither the text nor the
# secret in it is found in a state folder, a log, an export or a backup, before it was used or after. Without it whoever
# reads a backup could join as the next node.
. "$(dirname "$0")/tap.sh"
needs bin/sluisd bin/sluisctl bin/sluis-agent bin/sluis-shim
. "$(dirname "$0")/cluster.sh"
sluisd

eva=$(ctl -q token create user --name eva --role auditor)
n1=$(ctl -q token create node --name n1)
unused=$(ctl -q token create node --name n2)
ok "a person comes in" "$CTL" user accept "$eva" --name eva --context t
mkdir "$T/n1" # it has its token
agent n1 --join "$n1"
n1_ready() { [ "$(ctl node list --plain --columns state 2>/dev/null)" = ready ]; }
ok "a node comes in" wait_for 30 n1_ready
"$B/bin/sluis-agent" --node n3 --set "state_dir=$T/n3" --set address=127.0.0.1 --join "$n1" --join-only >"$T/n3.out" 2>&1
is "a token that was used lets nobody in" $? 1
ok "the log is exported" ctl -q log export "$T/export"
ok "a backup is made" ctl -q backup create b1
ctl token list --json >"$T/tokens"
ctl log show --json >"$T/shown" 2>&1 || true
kill "$daemon"
ends 60 "$daemon"

# where HASH|SECRET TOKEN...: files below the scratch folder that hold the hash of a token's secret, or the secret itself:
# as text, raw or in hex. The environment and arguments of programs are no files of ours.
where() {
	python3 - "$T" "$@" <<'P'
import base64, hashlib, os, sys
top, what, tokens = sys.argv[1], sys.argv[2], sys.argv[3:]
needles = []
for token in tokens:
    text = token.split(".")[2]
    raw = base64.urlsafe_b64decode(text + "=")
    assert len(raw) == 32
    if what == "hash":
        needles += [hashlib.sha256(raw).digest()]
    else:
        needles += [text.encode(), raw, raw.hex().encode(), base64.b64encode(raw)]
for folder, _, names in os.walk(top):
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isfile(path) and any(n in open(path, "rb").read() for n in needles):
            print(os.path.relpath(path, top))
P
}
is "no secret of a token is in a file, used or not" "$(where secret "$eva" "$n1" "$unused")" ""
ok "their hashes are in the state" grep -q '^d/' <(where hash "$eva" "$n1" "$unused")
ok "and in the backup" grep -qx 'd/backup/b1' <(where hash "$unused")
# the search itself
echo "x${n1}x" >"$T/leak"
is "the search finds one that was written down" "$(where secret "$n1")" leak
done_testing
