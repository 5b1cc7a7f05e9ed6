"""bench_jobs.py - how many jobs of /bin/true a second one sluisd with one real agent takes from submission to end

    BIN=build/release/bin T=FOLDER [JOBS=2000] [DEVICES=32] [BACKEND=plain] python3 tests/bench/bench_jobs.py

One array, every element a job of its own: decided, committed, sent, its intent synced, a shim, the task, its exit status
synced, reported, committed, acknowledged. Beside it, on the same machine at the same time: /bin/true started
and waited for without any of that, one after the other and as many at a time as the array.
"""
import os
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
from story import Agent, Daemon, division, read, ready_nodes, submit, token  # noqa: E402
from tap import children  # noqa: E402

JOBS = int(os.environ.get("JOBS", "2000"))
DEVICES = int(os.environ.get("DEVICES", "32"))


def bare(n, at_once):
    begin, live, made = time.monotonic(), 0, 0
    while made < n or live:
        while made < n and live < at_once:
            os.posix_spawn("/bin/true", ["true"], {})
            made, live = made + 1, live + 1
        os.wait()
        live -= 1
    return n / (time.monotonic() - begin)


def own_children():
    t = os.times()
    return t.children_user + t.children_system


def cpu_seconds(pid):
    """Of a process, and of those that it has waited for: shims and their tasks, for the agent."""
    try:
        fields = read(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()
        tick = os.sysconf("SC_CLK_TCK")
        return (int(fields[11]) + int(fields[12])) / tick, (int(fields[13]) + int(fields[14])) / tick
    except IndexError:
        return 0.0, 0.0


def main():
    one = bare(JOBS // 2, 1)
    before_bare = own_children()
    many = bare(JOBS // 2, DEVICES)
    bare_us = (own_children() - before_bare) / (JOBS // 2) * 1e6
    d = Daemon().start()
    admin = d.admin()
    admin.command("division_apply", division(2 * DEVICES, per_node=DEVICES))
    a = Agent("n1", token(d, admin), "--synthetic", f"package:1 numanode:1 core:{DEVICES} pu:1", "--gpus",
              f"{DEVICES}xH100", "--set", f"exec.scratch={os.environ['T']}", "--set", f"exec.backend={os.environ.get('BACKEND', 'plain')}").start()
    if not ready_nodes(admin, 1):
        sys.exit("the agent is not ready:\n" + a.log())
    before = [cpu_seconds(p.proc.pid) for p in (d, a)]
    begin = time.monotonic()
    n = submit(admin, {"argv": ["/bin/true"]}, array_first=0, array_last=JOBS - 1, array_step=1)
    while True:
        parent = admin.query("jobs", id=n, all=True)["items"][0]
        if parent["state"] not in ("PD", "R", "CF", "CG", "EM"):
            break
        if time.monotonic() - begin > 300:
            sys.exit(f"not done after 300 s: {parent['state']}\n" + a.log()[-2000:])
        time.sleep(0.1)
    took = time.monotonic() - begin
    after = [cpu_seconds(p.proc.pid) for p in (d, a)]
    print(f"jobs_rate: {JOBS / took:.0f} jobs/s")
    print(f"jobs_state: {parent['state']}")
    for name, who, which in (("sluisd", 0, 0), ("agent", 1, 0), ("shim", 1, 1)):
        print(f"jobs_{name}_cpu: {(after[who][which] - before[who][which]) / JOBS * 1e6:.0f} us/job")
    print(f"jobs_bare_cpu: {bare_us:.0f} us/task")
    print(f"jobs_bare_spawn: {one:.0f} tasks/s")
    print(f"jobs_bare_spawn_parallel: {many:.0f} tasks/s")
    print(f"jobs_of_bare: {100 * JOBS / took / many:.1f} percent")
    a.end()
    d.proc.terminate()
    d.proc.wait(30)


try:
    main()
finally:
    for p in children:
        if p.poll() is None:
            p.kill()
