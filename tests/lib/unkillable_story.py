"""unkillable_story.py - a task, a health command, a prolog and an epilog that SIGKILL does not end, as t1340-unkillable.sh
tells it; prints TAP

Environment: as story.py, and FREEZER, a cgroup1 freezer of ours: what is frozen there feels no signal until it is
thawed, as a process in the hands of a dead file system or driver does.
"""
import os
import signal

from sluis_client import stays, wait_for
from story import LONG, T, Agent, Daemon, division, ended, job, output, read, ready_nodes, running, submit, token
from tap import equal, ok, tell

FREEZER = os.environ["FREEZER"]


def freeze(state):
    with open(os.path.join(FREEZER, "freezer.state"), "w", encoding="ascii") as f:
        f.write(state)


def task(admin, a, node):
    n = submit(admin, {"argv": ["sh", "-c", "echo $$; exec sleep 600"]})
    pid = wait_for(20, lambda: running(admin, n) and output(admin, n).strip())
    if not ok(pid, "a job runs"):
        return
    with open(os.path.join(FREEZER, "cgroup.procs"), "w", encoding="ascii") as f:
        f.write(pid)
    freeze("FROZEN")
    admin.command("job_cancel", {"job": n, "now": True})
    got = wait_for(20, lambda: node()["node"]["admin"] == "draining" and node())
    ok(got, "killed and still there, it makes its node drain", node())
    reason = node()["node"]["admin_reason"]
    ok(f"job-{n} cannot be ended" in reason and "SIGKILL" in reason, "which says why", reason)
    ok(f"job-{n}" in node()["note"], "also in the list of nodes", node()["note"])
    equal((node()["used"], job(admin, n)["state"]), (1, "CG"), "it keeps its device, and is completing")
    other = submit(admin, {"argv": ["true"]})
    ok(stays(1.5, lambda: job(admin, other)["state"] == "PD"), "nothing new goes to that node", job(admin, other))
    a.end(signal.SIGKILL)
    a.start()
    a.connected()
    ok(stays(1.5, lambda: node()["used"] == 1), "also after the agent has died and come back", node())
    admin.command("node_uncordon", {"node": "n1"})
    equal(ended(admin, other)["state"], "CD", "an operator may use the rest of the node")
    equal((node()["node"]["admin"], node()["used"]), ("enabled", 1), "without being overruled, and the device is not handed out")
    freeze("THAWED")
    ok(wait_for(20, lambda: node()["used"] == 0), "once it dies, its device is free", node())
    equal(ended(admin, n)["state"], "CA", "and the job is over")


UNDONE = os.path.join(T, "undone")
# a child that is frozen before the program ends well
STUCK = f"""sleep {LONG} & echo $! >{FREEZER}/cgroup.procs; echo FROZEN >{FREEZER}/freezer.state
until grep -q FROZEN {FREEZER}/freezer.state; do sleep 0.05; done"""


def health(admin, a, node):
    admin.command("node_uncordon", {"node": "n1"})
    once = os.path.join(T, "asked")
    payload = {"argv": ["sleep", LONG], "cwd": T, "health": ["sh", "-c", f"[ ! -e {once} ] || exit 0\n: >{once}\n{STUCK}"],
               "health_every_ms": 100, "health_timeout_ms": 20000, "health_fail": 1000}
    spec = {"shape": "gpu", "klass": "firm", "units": 1, "units_per_replica": 1, "term_ms": 3600000, "ttl_ms": 600000,
            "grace_ms": 600000, "auto_accept": True, "name": "chat"}
    n = admin.command("lease_request", {"spec": spec, "provider": "chat", "flavor": "h100"}, payload=payload)["result"]["id"]

    def lease():
        return admin.query("leases", id=n, all=True)["items"][0]
    ok(wait_for(30, lambda: lease()["replicas"] and lease()["replicas"][0]["healthy"]),
       "a service whose health command leaves such a process is healthy", lease())
    admin.command("lease_release", {"id": n})
    ok(wait_for(40, lambda: node()["node"]["admin"] == "draining"), "released, its node drains", node())
    equal(node()["node"]["admin_reason"], f"lease-{n} cannot be ended: processes of its health command are left after SIGKILL",
          "and says so")
    equal(node()["used"], 1, "the device is kept")
    restart(a, a.args, signal.SIGKILL)
    ok(stays(1.5, lambda: node()["used"] == 1), "also after the agent has died and come back", node())
    freeze("THAWED")
    ok(wait_for(20, lambda: node()["used"] == 0), "once it dies, the device is free", node())
    ok(wait_for(20, lambda: lease()["state"] in ("released", "ended")), "and the lease is over", lease())
    ok(wait_for(10, lambda: not left_files(a)), "nothing of it is left", left_files(a))


def left_files(a):
    return [x for x in os.listdir(os.path.join(a.dir, "exec", "units")) if not x.startswith(".")]


def put(phase, text):
    os.makedirs(os.path.join(T, phase), 0o755, exist_ok=True)
    path = os.path.join(T, phase, "10-it")
    with open(path + ".part", "w", encoding="ascii") as f:
        f.write(f"#!/bin/sh\n{text}\n")
    os.chmod(path + ".part", 0o755)
    os.rename(path + ".part", path)


def restart(a, args, sig=signal.SIGTERM):
    a.end(sig)
    a.args = args
    a.start()
    a.connected()


def prolog(admin, a, node):
    n = submit(admin, {"argv": ["true"]})
    ok(wait_for(40, lambda: node()["node"]["admin"] == "draining"), "a prolog that leaves such a process has failed", node())
    equal(node()["node"]["admin_reason"], f"job-{n} could not start: prolog left processes that SIGKILL does not end",
          "its node says so")
    equal((node()["used"], read(UNDONE)), (1, ""), "the device is kept, and no epilog has run on top of it")
    equal(job(admin, n)["state"], "PD", "the job waits for another node")
    restart(a, a.args, signal.SIGKILL)
    ok(stays(1.5, lambda: node()["used"] == 1), "also after the agent has died and come back", node())
    freeze("THAWED")
    ok(wait_for(20, lambda: node()["used"] == 0), "once it dies, the device is free", node())
    equal(read(UNDONE), "undone\n", "after the epilog, which has run once")
    admin.command("job_cancel", {"job": n, "now": True})


def epilog(admin, a, node, without):
    admin.command("node_uncordon", {"node": "n1"})
    n = submit(admin, {"argv": ["true"]})
    ok(wait_for(40, lambda: node()["node"]["admin"] == "draining"), "so has an epilog", node())
    equal(node()["node"]["admin_reason"], f"job-{n} cannot be ended: processes of its epilog are left after SIGKILL",
          "its node says so")
    restart(a, without)
    ok(stays(4.5, lambda: node()["used"] == 1), "an agent without an epilog gives no device back before its time", node())
    freeze("THAWED")
    ok(wait_for(20, lambda: node()["used"] == 0), "once it dies, the device is free", node())
    equal(ended(admin, n)["state"], "CD", "and the job is over")
    ok(wait_for(10, lambda: not left_files(a)), "nothing of it is left", left_files(a))


def main():
    d = Daemon().start()
    admin = d.admin()
    admin.command("division_apply", division(4))
    a = Agent("n1", token(d, admin), "--synthetic", "package:1 numanode:1 core:8 pu:1", "--gpus", "4xH100", "--set",
              "exec.unkillable=3s").start()
    ready_nodes(admin, 1)

    def node():
        return admin.query("nodes")["items"][0]
    task(admin, a, node)
    health(admin, a, node)
    without = a.args
    admin.command("node_uncordon", {"node": "n1"})
    put("prolog", STUCK)
    put("epilog", f"echo undone >>{UNDONE}")
    restart(a, without + ["--set", f"exec.prolog={T}/prolog", "--set", f"exec.epilog={T}/epilog"])
    prolog(admin, a, node)
    put("prolog", "true")
    put("epilog", STUCK)
    epilog(admin, a, node, without)
    equal(a.end(), 0, "the agent ends")


try:
    tell(main)
finally:
    freeze("THAWED")
