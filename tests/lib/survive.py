"""survive.py - tasks outlive the agent: killed, restarted and upgraded at random moments, and sluisd too

Environment: as story.py; TASKS (1000), KILLS (0: as many as fit), SEED, SECONDS that a task runs at most (1.0), DEVICES
(64). Prints figures as "name: value unit"; exits 1 on a violation. With TAP=1 it prints TAP instead.

Every task leaves a line in a file of its own when it starts and has an exit status of its own, so a second
start, a task killed by us, and an exit status lost or mixed up all show.
"""
import os
import random
import shutil
import signal
import sys
import time

import tap
from sluis_client import wait_for
from story import BIN, T, Agent, Daemon, division, read, ready_nodes, submit, token
from tap import children, equal, ok

TASKS = int(os.environ.get("TASKS", "1000"))
KILLS = int(os.environ.get("KILLS") or "0")
DEVICES = int(os.environ.get("DEVICES", "64"))
LONGEST = float(os.environ.get("SECONDS", "1.0"))
SEED = int(os.environ.get("SEED", str(random.randrange(1 << 32))), 0)
OVER = ("CD", "F", "TO", "CA", "NF", "PR", "OOM", "DL")


def elements(admin, parent):
    return {j["job"]["array_index"]: j for j in admin.query("jobs", all=True)["items"] if j["job"]["array"] == parent}


def done(admin, parent):
    return admin.query("jobs", id=parent, all=True)["items"][0]["state"] in OVER


class Havoc:
    def __init__(self, rng, d, a):
        self.rng, self.d, self.a = rng, d, a
        self.count = {"killed": 0, "restarted": 0, "upgraded": 0, "daemon_killed": 0}
        self.homes = [os.path.join(BIN, "sluis-agent"), os.path.join(T, "next", "sluis-agent")]
        os.mkdir(os.path.join(T, "next"))
        for program in ("sluis-agent", "sluis-shim"):
            shutil.copy(os.path.join(BIN, program), os.path.join(T, "next"))

    def total(self):
        return sum(self.count.values())

    def one(self):
        what = self.rng.choices(("killed", "restarted", "upgraded", "daemon_killed"), (6, 2, 3, 1))[0]
        self.count[what] += 1
        if what == "daemon_killed":
            self.d.proc.kill()
            self.d.proc.wait()
            time.sleep(self.rng.uniform(0, 0.2))
            self.d.start()
            return
        self.a.end(signal.SIGTERM if what == "restarted" else signal.SIGKILL)
        if what == "upgraded":
            self.homes.reverse()
            self.a.args[0] = self.homes[0]
        time.sleep(self.rng.uniform(0, 0.1))
        self.a.start()


def main():
    rng = random.Random(SEED)
    runs = os.path.join(T, "runs")
    os.mkdir(runs)
    d = Daemon().start()
    admin = d.admin()
    admin.command("division_apply", division(2 * DEVICES, per_node=DEVICES))
    a = Agent("n1", token(d, admin), "--synthetic", f"package:1 numanode:1 core:{DEVICES} pu:1", "--gpus",
              f"{DEVICES}xH100", "--set", "heartbeat=200ms").start()
    if not ready_nodes(admin, 1):
        sys.exit("the agent is not ready:\n" + a.log())
    for k, v in d.at.items():  # the same doors after a restart
        if k in ("agents", "users", "enrol"):
            d.args += ["--set", f"listen.{k}={v}"]
    script = ("#!/bin/bash\n"
              f"echo $SLUIS_ATTEMPT >>{runs}/$SLUIS_ARRAY_INDEX\n"
              f"sleep $(( ($SLUIS_ARRAY_INDEX * 7919) % {int(LONGEST * 1000) + 1} ))e-3\n"
              "exit $(( $SLUIS_ARRAY_INDEX % 100 ))\n")
    n = submit(admin, {"script": script}, mode="script", array_first=0, array_last=TASKS - 1, array_step=1)
    havoc = Havoc(rng, d, a)
    begin = time.monotonic()
    while True:
        try:
            admin = d.admin()
            if done(admin, n):
                break
        finally:
            admin.close()
        if time.monotonic() - begin > 90 + TASKS:
            break
        time.sleep(rng.uniform(0.05, 0.5))
        if not KILLS or havoc.total() < KILLS:
            havoc.one()
    took = time.monotonic() - begin
    admin = d.admin()
    wait_for(60, lambda: done(admin, n))
    jobs = elements(admin, n)
    started = {i: len(read(os.path.join(runs, str(i))).splitlines()) for i in range(TASKS)}
    double = [i for i, times in started.items() if times > 1]
    never = [i for i, times in started.items() if times == 0]
    lost = [i for i in range(TASKS) if i not in jobs or jobs[i]["state"] not in ("CD", "F")]
    killed = [i for i, j in jobs.items() if j["job"]["exit_signal"]]
    wrong = [i for i, j in jobs.items() if j["state"] in ("CD", "F") and not j["job"]["exit_signal"]
             and j["job"]["exit_code"] != i % 100]
    again = [i for i, j in jobs.items() if j["job"]["attempt"] > 1]
    left = wait_for(20, lambda: not [f for f in os.listdir(os.path.join(a.dir, "exec", "units"))
                                           if not f.startswith(".spare-")])
    if os.environ.get("TAP"):
        ok(havoc.total() > 0, f"{havoc.total()} deaths among {TASKS} tasks (SEED={SEED})", havoc.count)
        equal(double, [], "no task was started twice")
        equal(killed, [], "none was killed")
        equal((lost, never), ([], []), "every exit was kept and told")
        equal(wrong, [], "each with its own status")
        ok(left, "nothing of any task is left")
        a.end()
        return
    print(f"survive_seed: {SEED}")
    print(f"survive_tasks: {TASKS} tasks")
    for what, times in havoc.count.items():
        print(f"survive_{what}: {times} times")
    print(f"survive_took: {took:.0f} s")
    print(f"survive_second_attempts: {len(again)} tasks, whose first one never began"
          f" {sorted({jobs[i]['job']['end_text'] for i in again})}")
    bad = 0
    for what, which in (("double_starts", double), ("tasks_killed", killed), ("lost_exits", lost + never),
                        ("wrong_exits", wrong)):
        print(f"survive_{what}: {len(which)} tasks{' ' + str(which[:10]) if which else ''}")
        bad += len(which)
    if bad or not left:
        print("replay: make survive SEED=%d TASKS=%d" % (SEED, TASKS))
        tap.failures += 1
    a.end()


if os.environ.get("TAP"):
    tap.tell(main)
try:
    main()
finally:
    for p in children:
        if p.poll() is None:
            p.kill()
sys.exit(tap.failures > 0)
