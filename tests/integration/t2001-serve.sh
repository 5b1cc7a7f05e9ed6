#!/bin/bash
# The demo's service must really compute and really stop when told, or its "answers" prove nothing.
. "$(dirname "$0")/tap.sh"

SLUIS_RANK=3 python3 "$ROOT/demo/serve.py" 0 >"$T/out" 2>&1 &
pid=$!
started "$pid"
ok "it says where it serves" wait_for 20 grep -q '^serving on port' "$T/out"
port=$(sed -n 's/^serving on port \([0-9]*\),.*/\1/p' "$T/out")
get() { # get PATH: "STATUS BODY"
	python3 - "http://127.0.0.1:$port$1" <<'P'
import sys, urllib.request, urllib.error
try:
    r = urllib.request.urlopen(sys.argv[1], timeout=10)
    print(r.status, r.read().decode().strip())
except urllib.error.HTTPError as e:
    print(e.code)
P
}
is "it is healthy" "$(get /health)" "200 ok"
# (0.15, 0) is where arm 0 begins; mirrored, where arm 1 begins
is "a point of arm 0 is told from" "$(get '/infer?x=0.15&y=0')" \
	'200 {"replica": "3", "spiral": 0, "score": 1.0, "served": 1}'
is "a point of arm 1" "$(get '/infer?x=-0.15&y=0')" \
	'200 {"replica": "3", "spiral": 1, "score": 1.0, "served": 2}'
is "nonsense is refused" "$(get '/infer?x=nan&y=0')" 400
is "an unknown path too" "$(get /nothing)" 404
kill -TERM "$pid"
ends 60 "$pid"
is "SIGTERM ends it with 0" $? 0
python3 "$ROOT/demo/serve.py" >/dev/null 2>&1
is "without a port it says how to use it" $? 2
done_testing
