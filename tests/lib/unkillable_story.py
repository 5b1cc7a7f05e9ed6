"""unkillable_story.py - a task that SIGKILL does not end, as t1340-unkillable.sh tells it; prints TAP

Environment: as story.py, and FREEZER, a cgroup1 freezer of ours: what is frozen there feels no signal until it is
thawed, as a process in the hands of a dead file system or driver does.
"""
import os
import signal

from story import (Agent, Daemon, division, ended, equal, job, ok, output, ready_nodes, running, submit, tell, token,
                   wait_for)

FREEZER = os.environ["FREEZER"]


def freeze(state):
    with open(os.path.join(FREEZER, "freezer.state"), "w", encoding="ascii") as f:
        f.write(state)


def main():
    d = Daemon().start()
    admin = d.admin()
    admin.command("division_apply", division(4))
    a = Agent("n1", token(d, admin), "--synthetic", "package:1 numanode:1 core:8 pu:1", "--gpus", "4xH100", "--set",
              "exec.unkillable=3s").start()
    ready_nodes(admin, 1)
    n = submit(admin, {"argv": ["sh", "-c", "echo $$; exec sleep 600"]})
    pid = wait_for(20, lambda: running(admin, n) and output(admin, n).strip())
    if not ok(pid, "a job runs"):
        return

    def node():
        return admin.query("nodes")["items"][0]
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
    ok(not wait_for(1.5, lambda: job(admin, other)["state"] != "PD"), "nothing new goes to that node", job(admin, other))
    a.end(signal.SIGKILL)
    a.start()
    wait_for(20, lambda: a.log().count("connected cluster") > 1)
    ok(not wait_for(1.5, lambda: node()["used"] != 1), "also after the agent has died and come back", node())
    admin.command("node_uncordon", {"node": "n1"})
    equal(ended(admin, other)["state"], "CD", "an operator may use the rest of the node")
    equal((node()["node"]["admin"], node()["used"]), ("enabled", 1), "without being overruled, and the device is not handed out")
    freeze("THAWED")
    ok(wait_for(20, lambda: node()["used"] == 0), "once it dies, its device is free", node())
    equal(ended(admin, n)["state"], "CA", "and the job is over")
    equal(a.end(), 0, "the agent ends")


try:
    tell(main)
finally:
    freeze("THAWED")
