#!/usr/bin/env python3
"""netfaults.py [RUNS [SEED]] - partitions, pauses and wrong clocks between real programs in namespaces

Run as root inside `unshare --mount --net` with a tmpfs of its own on /run/netns: everything made here is gone
with the process. Each program has a network namespace, joined by veth to a router in the middle that only
forwards, and a time namespace with a monotonic and a boot clock of its own, up to a day ahead or so; sluisd is
sometimes started again with others, ahead or behind, as on another machine:

    sluisd 10.77.0.2 ── router ── n1 10.77.1.2, n2 10.77.2.2 (agents, two devices each)
                              └── holder 10.77.3.2 (sluisctl lease keep, for a service of two replicas)

A link is cut in the router, by a blackhole route: towards a program, away from it, or both. Nothing else
notices; open connections stay open and say nothing. A run draws some faults by its seed, waits, heals, and
then asks:
  - two live processes on one device, ever: each task holds a lock per device while it lives
  - a lease that is not active although its holder was never away for longer than the ttl
  - a replica or a job that was stopped, or started twice, by what only the network or the clock did
  - a job without the exit code it left with; a node that does not come back
  - a log that does not verify
Prints `name: value unit`; exits 1 on any violation.
"""
import json
import os
import random
import signal
import subprocess
import sys
import time

T, BIN = os.environ["T"], os.environ["BIN"]
import story  # noqa: E402
import tap  # noqa: E402
from sluis_client import Client, wait_for  # noqa: E402


TTL_S, GRACE_S = 10, 5      # a connection that was cut for 3 s may speak again after 6 (RTO doubles)
HOSTS = {"sluisd": 0, "n1": 1, "n2": 2, "holder": 3}
violations, injected = [], {}

TASK = """#!/bin/bash
# one process per device, ever: the lock goes when the last of us is dead
echo "$SLUIS_FENCE" >> {t}/starts/$SLUIS_FENCE
for d in ${{SLUIS_DEVICES//,/ }}; do
	exec {{fd}}>>{t}/devices/$d
	flock -n $fd || echo "$d $SLUIS_FENCE" >> {t}/overlap
done
{work}
"""


def violation(text):
    violations.append(text)
    print(f"# VIOLATION {text}", flush=True)


def sh(*args):
    subprocess.run(args, check=True, stdout=subprocess.DEVNULL)


# ---- the network -----------------------------------------------------------------------------------

def build():
    sh("ip", "netns", "add", "router")
    sh("ip", "netns", "exec", "router", "sysctl", "-qw", "net.ipv4.ip_forward=1")
    for name, n in HOSTS.items():
        sh("ip", "netns", "add", name)
        sh("ip", "link", "add", f"v{n}", "netns", name, "type", "veth", "peer", "name", f"r{n}", "netns", "router")
        for ns, dev, last in ((name, f"v{n}", 2), ("router", f"r{n}", 1)):
            sh("ip", "-n", ns, "addr", "add", f"10.77.{n}.{last}/24", "dev", dev)
            sh("ip", "-n", ns, "link", "set", dev, "up")
        sh("ip", "-n", name, "link", "set", "lo", "up")
        sh("ip", "-n", name, "route", "add", "default", "via", f"10.77.{n}.1")


def cut(name, way):
    """Towards `name`, away from it, or both; `away` means away from it to sluisd (or, for sluisd, to all)."""
    n = HOSTS[name]
    if way in ("to", "both"):
        sh("ip", "-n", "router", "route", "add", "blackhole", f"10.77.{n}.2/32")
    if way in ("from", "both"):
        sh("ip", "-n", "router", "rule", "add", "iif", f"r{n}", "blackhole")


def heal(name, way):
    n = HOSTS[name]
    if way in ("to", "both"):
        sh("ip", "-n", "router", "route", "del", "blackhole", f"10.77.{n}.2/32")
    if way in ("from", "both"):
        sh("ip", "-n", "router", "rule", "del", "iif", f"r{n}", "blackhole")


class Program:
    """A program in its network and time namespace."""

    def __init__(self, name, args, rng):
        self.name, self.program = name, args
        self.other_clocks(rng)
        self.log = os.path.join(T, name + ".log")
        self.proc = None

    def other_clocks(self, rng):
        """From its next start on."""
        clocks = ["--monotonic", str(rng.randrange(0, 100000)), "--boottime", str(rng.randrange(0, 100000))]
        # unshare forks for a time namespace: with --kill-child what it runs dies with it
        self.args = ["ip", "netns", "exec", self.name, "unshare", "--time", *clocks, "--fork", "--kill-child", "--",
                     *self.program]

    def start(self):
        with open(self.log, "ab") as log:
            self.proc = subprocess.Popen(self.args, stderr=log, stdout=log)
        tap.children.append(self.proc)

    def pid(self):
        """Of the program itself, below ip and unshare."""
        def child():
            some = subprocess.run(["pgrep", "-P", str(self.proc.pid)], capture_output=True, text=True).stdout.split()
            return int(some[0]) if some else None
        return wait_for(5, child)

    def send(self, signo):
        os.kill(self.pid(), signo)

    def end(self, signo=signal.SIGTERM):
        if self.proc and self.proc.poll() is None:
            self.send(signo)
            self.proc.wait(60)

    def text(self):
        return story.read(self.log)


# ---- the world -------------------------------------------------------------------------------------

class World:
    def __init__(self, rng):
        self.rng, self.state = rng, os.path.join(T, "state")
        self.ran, self.jobs, self.sampled = 0, {}, 0
        for folder in ("starts", "devices", ".config/sluis"):
            os.makedirs(os.path.join(T, folder))
        sets = []
        for s in (f"state_dir={self.state}", "listen.agents=tcp://10.77.0.2:8471", "listen.users=tcp://10.77.0.2:8472",
                  "listen.enrol=tcp://10.77.0.2:8473", f"listen.local={T}/local", "liveness.heartbeat=300ms",
                  "liveness.suspect=1s", "liveness.unreachable=2s", f"leases.ttl={TTL_S}s", f"leases.grace={GRACE_S}s",
                  "leases.rejoin_grace=5s"):
            sets += ["--set", s]
        self.programs = {"sluisd": Program("sluisd", [os.path.join(BIN, "sluisd"), *sets], rng)}

    def boot(self):
        path = os.path.join(self.state, "endpoints.json")
        if os.path.exists(path):
            os.unlink(path)
        self.programs["sluisd"].start()
        text = wait_for(30, lambda: story.read(path))
        if not text:
            raise SystemExit("FAILED: sluisd does not start\n" + self.programs["sluisd"].text())
        self.at = json.loads(text)

    def admin(self):
        """By the local door, which no network is between."""
        c = Client(self.at["local"])
        c.greet()
        return c

    def ctl(self, *args):
        return subprocess.run([os.path.join(BIN, "sluisctl"), "--state-dir", self.state, *args], check=True,
                              capture_output=True, text=True, timeout=60).stdout

    def lease(self):
        return self.ctl("--plain", "lease", "list", "--all", "--columns", "state").strip()

    def submit(self, code, work):
        script = TASK.format(t=T, work=f"{work}\nexit {code}")
        admin = self.admin()
        number = story.submit(admin, {"script": script}, mode="script")
        admin.close()
        self.jobs[number] = code
        return number

    def populate(self):
        self.boot()
        admin = self.admin()
        admin.command("division_apply", story.division(8, per_node=4))
        text = story.token(self, admin)
        for name in ("n1", "n2"):
            a = story.Agent(name, text, "--synthetic", "package:1 numanode:1 core:8 pu:1", "--gpus", "4xH100")
            args = [x.replace("address=127.0.0.1", f"address=10.77.{HOSTS[name]}.2") for x in a.args]
            self.programs[name] = Program(name, args, self.rng)
            self.programs[name].start()
        if not story.ready_nodes(admin, 2):
            raise SystemExit("FAILED: the agents do not join\n" + self.programs["n1"].text())
        replica = os.path.join(T, "replica.sh")
        with open(replica, "w", encoding="utf-8") as f:
            f.write(TASK.format(t=T, work="while :; do sleep 0.5; done"))
        with open(os.path.join(T, "service.yaml"), "w", encoding="utf-8") as f:
            f.write(f"command: [/bin/bash, {replica}]\nreplicas: 2\ndevices_per_replica: 1\n")
        self.ctl("lease", "request", "--provider", "chat", "--flavor", "h100", "--gpus", "2", "--auto-accept",
                 "--service", os.path.join(T, "service.yaml"))
        if not wait_for(20, lambda: self.lease() == "active"):
            raise SystemExit(f"FAILED: the lease is {self.lease()}\n{self.programs['sluisd'].text()}")
        key = os.path.join(T, "holder.key")
        invitation = self.ctl("-q", "token", "create", "user", "--name", "keeper", "--role", "admin").strip()
        door = ["--endpoint", self.at["users"], "--server-key", self.at["server_key"], "--key", key]
        ctl = os.path.join(BIN, "sluisctl")
        sh("ip", "netns", "exec", "holder", "env", f"HOME={T}", ctl, "--key", key, "user", "accept", invitation,
           "--name", "keeper")
        self.programs["holder"] = Program("holder", [ctl, *door, "lease", "keep", "1"], self.rng)
        self.programs["holder"].start()
        long = self.submit(5, f"while [ ! -e {T}/gate ]; do sleep 0.1; done")
        if not story.running(admin, long):
            raise SystemExit(f"FAILED: the long job does not run: {story.job(admin, long)}")
        admin.close()

    # ---- faults ----

    def draw(self):
        """(kind, program, way, seconds): the holder and sluisd never away for longer than the ttl allows."""
        kind = self.rng.choice(("cut", "cut", "cut", "pause", "kill"))
        name = self.rng.choice(("sluisd", "n1", "n2", "holder"))
        if kind == "kill" and name == "holder":
            kind = "cut"
        way = self.rng.choice(("to", "from", "both")) if kind == "cut" else ""
        longest = {("cut", "sluisd"): 3, ("cut", "holder"): 3, ("pause", "holder"): 3,
                   ("pause", "sluisd"): 12, ("kill", "sluisd"): 12}.get((kind, name), 8)
        return kind, name, way, self.rng.uniform(0.3, longest)

    def strike(self, kind, name, way):
        p = self.programs[name]
        if kind == "cut":
            cut(name, way)
        elif kind == "pause":
            p.send(signal.SIGSTOP)
        else:
            p.end(signal.SIGKILL)

    def mend(self, kind, name, way):
        p = self.programs[name]
        if kind == "cut":
            heal(name, way)
        elif kind == "pause":
            p.send(signal.SIGCONT)
        elif name == "sluisd":
            if self.rng.random() < 0.5:     # an agent's clocks and boot id change together, with a reboot: not here
                p.other_clocks(self.rng)
                injected["other_clocks"] = injected.get("other_clocks", 0) + 1
            self.boot()
        else:
            p.start()

    def watch(self, seconds, sluisd_hears):
        """Let time pass; look at the lease while somebody can answer."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if sluisd_hears:
                state = self.lease()
                self.sampled += 1
                if state not in ("active", "due", "grace"):
                    violation(f"the lease is {state}\n{self.programs['sluisd'].text()[-1500:]}")
            time.sleep(min(0.3, max(0.0, until - time.monotonic())))

    def run(self):
        """One fault, or two at once of different programs, then peace and the questions."""
        first = self.draw()
        faults = [first]
        if self.rng.random() < 0.5:
            second = self.draw()
            if second[1] != first[1] and {first[1], second[1]} != {"sluisd", "holder"}:
                faults.append(second)
        if "sluisd" not in (f[1] for f in faults if f[0] != "cut"):
            self.submit(self.rng.choice((0, 3, 7)), f"sleep {self.rng.uniform(0.1, 3):.1f}")
        print("# " + ", ".join(f"{k} {n}{' ' + w if w else ''} {s:.1f} s" for k, n, w, s in faults), flush=True)
        for kind, name, way, _ in faults:
            what = f"{kind}_{way}" if way else kind
            injected[what] = injected.get(what, 0) + 1
            self.strike(kind, name, way)
        hears = all(n != "sluisd" or k == "cut" for k, n, _, _ in faults)
        gone = 0.0
        for kind, name, way, seconds in sorted(faults, key=lambda f: f[3]):
            self.watch(seconds - gone, hears)
            gone = seconds
            self.mend(kind, name, way)
        self.ran += 1
        self.after()

    def after(self):
        admin = self.admin()
        ready = wait_for(30, lambda: all(n["state"] == "ready" for n in admin.query("nodes")["items"]))
        if not ready:
            violation(f"a node does not come back: {[(n['node']['name'], n['state']) for n in admin.query('nodes')['items']]}")
        admin.close()
        self.watch(TTL_S / 3 + 1, True)     # the holder renews at a third of the ttl
        if not wait_for(10, lambda: self.lease() == "active"):
            violation(f"the lease is {self.lease()} after peace")
        if self.programs["holder"].proc.poll() is not None:
            violation(f"lease keep has ended: {self.programs['holder'].text()[-500:]}")
            self.programs["holder"].start()
        self.overlaps()

    def overlaps(self):
        path = os.path.join(T, "overlap")
        if os.path.exists(path):
            violation(f"two live processes on one device: {story.read(path)}")
            os.unlink(path)
        for fence in os.listdir(os.path.join(T, "starts")):
            times = len(story.read(os.path.join(T, "starts", fence)).split())
            if times != (2 if fence.split(".")[1] == "0" else 1):   # the lease has two replicas and no attempt
                violation(f"fence {fence} started {times} times")

    def finish(self):
        admin = self.admin()
        with open(os.path.join(T, "gate"), "w", encoding="ascii"):
            pass
        for number, code in self.jobs.items():
            j = story.ended(admin, number, 60)
            if j["state"] not in ("CD", "F") or j["job"]["exit_code"] != code:
                violation(f"job {number} is {j['state']} with {j['job']['exit_code']}, it left with {code}: {j['job']}")
        self.overlaps()
        text = admin.query("verify", timeout_s=60)["text"]
        if not text.startswith("intact"):
            violation(f"verify says {text}")
        for name in ("holder", "n1", "n2", "sluisd"):
            self.programs[name].end()


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    seed = int(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[2] else int.from_bytes(os.urandom(4), "big")
    print(f"# seed {seed}", flush=True)
    build()
    w = World(random.Random(seed))
    try:
        w.populate()
        for _ in range(runs):
            w.run()
        w.finish()
    finally:
        for p in w.programs.values():
            if p.proc and p.proc.poll() is None:
                p.proc.kill()
    print(f"netfaults_runs: {w.ran} runs")
    for what, n in sorted(injected.items()):
        print(f"netfaults_{what}: {n} injected")
    print(f"netfaults_jobs: {len(w.jobs)} jobs with the exit code they left with")
    print(f"netfaults_lease_looked_at: {w.sampled} times")
    print(f"netfaults_violations: {len(violations)} found")
    return 1 if violations or not w.ran else 0


if __name__ == "__main__":
    sys.exit(main())
