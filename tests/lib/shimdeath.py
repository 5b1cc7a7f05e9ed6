"""shimdeath.py - sluis-shim is killed at each of its failpoints, as t1425-shimdeath.sh tells it; prints TAP

Environment: as story.py, and FP, the folder of the failpoint programs. The agent's shim is a script that hands the name of
one failpoint to the first shim after it was set, and to no other.
"""
import collections
import glob
import os
import re
import shutil

from sluis_client import wait_for
from story import T, Agent, Daemon, division, ended, read, ready_nodes, submit, token
from tap import equal, ok, tell

FP = os.environ["FP"]
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TRAP, LOG = os.path.join(T, "trap"), os.path.join(T, "hits")

# What becomes of a task whose shim dies there. "again": it certainly never began, and does now. "unborn": it may have begun,
# so it is not started, and its exit is reported lost. "lost": it ran, its exit status is nowhere. "kept": it is known.
FATE = {
    "shim.start.unclaimed": "again",
    "shim.start.claimed": "unborn",
    "shim.start.forked": "lost",
    "shim.running.before_status": "lost",
    "shim.exit.before_write": "lost",
    "shim.exit.before_sync": "kept",
    "shim.exit.before_status": "kept",
    "shim.exit.before_bell": "kept",
    "shim.empty.before_write": "kept",
}


def names():
    found = []
    for path in glob.glob(os.path.join(ROOT, "agent", "shim", "*.c")):
        found += re.findall(r'FAILPOINT\("([^"]+)"\)', read(path))
    return sorted(found)


def programs():
    """A folder with the agent and that script beside it."""
    folder = os.path.join(T, "programs")
    os.mkdir(folder)
    shutil.copy(os.path.join(FP, "sluis-agent"), folder)
    script = os.path.join(folder, "sluis-shim")
    with open(script, "w", encoding="ascii") as f:
        f.write(f"#!/bin/sh\nexport SLUIS_FAILPOINT_LOG={LOG}\n"
                f"if /bin/mv {TRAP} {TRAP}.taken 2>/dev/null; then\n\tread name <{TRAP}.taken\n"
                f"\texport SLUIS_FAILPOINT=$name\nfi\nexec {FP}/sluis-shim \"$@\"\n")
    os.chmod(script, 0o755)
    return os.path.join(folder, "sluis-agent")


def one(admin, a, name):
    with open(TRAP + ".new", "w", encoding="ascii") as f:
        f.write(name + "\n")
    os.rename(TRAP + ".new", TRAP)
    # something outlives the leader, so that its end and that of all are two moments
    script = f"#!/bin/sh\necho $SLUIS_FENCE >>{T}/starts-$SLUIS_JOB_ID\nsleep 0.4 &\nsleep 0.2\nexit 5\n"
    n = submit(admin, {"script": script}, mode="script")
    j = ended(admin, n, 30)
    ok(f"died {name}" in read(LOG).splitlines(), f"{name}: the shim died there", read(LOG)[-500:])
    starts = collections.Counter(read(f"{T}/starts-{n}").split())
    fate = FATE[name]
    equal((j["job"]["attempt"], sum(starts.values())), (1, 0 if fate == "unborn" else 1), f"{name}: not one start too many")
    what = (j["state"], j["job"]["exit_code"], j["job"]["exit_signal"])
    if fate in ("again", "kept"):
        equal(what, ("F", 5, 0), f"{name}: its exit code is told")
    else:
        equal(what, ("F", 0, 9), f"{name}: it is told as killed")
        ok("the shim of task 0 is gone" in j["job"]["end_text"], f"{name}: and why is said", j["job"]["end_text"])
    ok(wait_for(20, lambda: admin.query("nodes")["items"][0]["used"] == 0), f"{name}: the device is free")
    ok(wait_for(20, lambda: all(x.startswith(".") for x in os.listdir(os.path.join(a.dir, "exec", "units")))),
       f"{name}: and nothing is left on the node")


def main():
    equal(names(), sorted(FATE), "every failpoint of the shim has its fate")
    d = Daemon().start()
    admin = d.admin()
    admin.command("division_apply", division(2, public=2))
    a = Agent("n1", token(d, admin), "--synthetic", "package:1 numanode:1 core:8 pu:1", "--gpus", "2xH100",
              program=programs()).start()
    ready_nodes(admin, 1)
    for name in FATE:
        one(admin, a, name)
    equal(a.end(), 0, "the agent ends")


tell(main)
