#!/usr/bin/env python3
"""iofaults.py KIND[,KIND...] [LIMIT [SEED]] - one failing call at a time, over a whole life of sluisd or sluis-agent

KIND: malloc, write, sync, or full (writes fail with ENOSPC from the n-th on); a + behind write or sync lets all
that follow fail too. The story of mortal.py is told once to count what each of its processes calls, then
once per call (of malloc: once per place that calls, see tests/preload/faults.c) with that call failing; LIMIT of
them, drawn by the seed, when there are more. What may happen: the story goes on as if nothing had been; or
the process ends, with status 70 for the disk, for memory also 1 or by SIGABRT, saying that memory is out, and
the next one finds all that was acknowledged. A hang, any other end, and anything lost or doubled is a violation.

agent-malloc, agent-write, agent-sync: the same of sluis-agent, over the story of failpoints.py. It may end likewise and is
started again at once; a task whose files could not be written is begun again as another attempt, and the node that is
drained for it enabled again. The shim is linked statically: what it does at its end is in shimdeath.py.

Environment: T a scratch folder, BIN the folder of the programs, FAULTS_SO the preload library.
Prints `name: value unit`; exits 1 on any violation.
"""
import collections
import ctypes
import os
import random
import shutil
import signal
import sys
import threading
import time

os.environ["SLUISD"] = os.path.join(os.environ["BIN"], "sluisd")
os.environ["FP"] = os.environ["BIN"]
import failpoints  # noqa: E402
import mortal  # noqa: E402
from mortal import DaemonTale, Trap, in_processes  # noqa: E402
os.environ["SLUISD"] = os.path.join(os.environ["BIN"], "sluisd")

T, FAULTS_SO = os.environ["T"], os.environ["FAULTS_SO"]
ADDR_NO_RANDOMIZE = 0x0040000
EXIT_OTHER, EXIT_STORAGE = 1, 70


class Fault(Trap):
    """Process number `which` of the story (0: every one) runs with FAULTS=spec."""

    def __init__(self, folder, under, which=0, spec="count"):
        super().__init__(folder)
        self.under, self.which, self.spec, self.begun, self.ends = under, which, spec, 0, []

    def env(self):
        self.begin()
        self.begun += 1
        if self.which not in (0, self.begun):
            return dict(os.environ)
        return dict(os.environ, LD_PRELOAD=FAULTS_SO, FAULTS=self.spec, FAULTS_UNDER=self.under + "/",
                    FAULTS_LOG=self.log)

    def struck(self):
        return "struck" in self.lines()

    def allows(self, rc, text):
        self.ends.append(rc)
        if not self.struck():
            return False
        if self.spec.startswith("malloc"):
            # a library may abort without a word; that we ourselves lost our way (ENSURE) is another matter
            # or, as hwloc does, not look at all, or say that it cannot read what it was given: when an agent reads what
            # the machine has, before its first word
            hwloc = self.under.endswith("/n1") and (rc == -signal.SIGSEGV and not text or
                                                    rc == 2 and "is no synthetic topology" in text)
            return rc == -signal.SIGABRT and "invariant broken" not in text or rc in (EXIT_STORAGE, EXIT_OTHER) or hwloc
        return rc == EXIT_STORAGE

    def calls(self, kind):
        """(process, argument) of each call that could fail."""
        process, n, found, places = 0, 0, [], set()
        for line in self.lines():
            if line == "start":
                process, n = process + 1, 0
            elif kind == "malloc" and line.startswith("malloc ") and line not in places:
                places.add(line)
                found.append((process, line[7:]))
            elif line == {"write": "write", "write+": "write", "full": "write", "sync": "sync", "sync+": "sync"}.get(kind):
                n += 1
                found.append((process, f"{n}+" if kind.endswith("+") else str(n)))
        return found


def agent_told(folder, trap):
    """The story of an agent; somebody enables the node again if it was drained for what failed."""
    tale = failpoints.AgentTale(folder, trap)
    over = threading.Event()

    def enable():
        admin = tale.d.admin()
        while not over.wait(0.2):
            for n in admin.query("nodes")["items"]:
                if n["node"].get("admin", "enabled") != "enabled" and trap.struck():
                    admin.command("node_uncordon", {"node": n["node"]["name"]})
    thread = threading.Thread(target=enable, daemon=True)
    thread.start()
    try:
        tale.tell()
    finally:
        over.set()
    return 5


def run(task):
    number, name, which, arg = task
    kind = name.removeprefix("agent-")
    ctypes.CDLL(None).personality(ADDR_NO_RANDOMIZE)    # of this process and those it starts
    folder = os.path.join(T, f"{name}-{number}")
    own = os.path.join(folder, "n1") if name.startswith("agent-") else folder
    trap = Fault(folder + ".trap", own, which, f"{kind.rstrip('+')}:{arg}" if arg else "count")
    began = time.monotonic()
    if own != folder:
        told = agent_told(folder, trap)
    else:
        tale = DaemonTale(folder, trap)
        tale.tell()
        told = len(tale.acked)
    met = trap.struck() if arg else {k: trap.calls(k) for k in ("malloc", "write", "write+", "full", "sync", "sync+")}
    if not mortal.violations:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(folder + ".trap")
    return met, trap.ends, told, time.monotonic() - began


def name_of_end(ends):
    if not ends:
        return "went on"
    return f"signal {-ends[0]}" if ends[0] < 0 else f"exit {ends[0]}"


def main():
    kinds = sys.argv[1].split(",")
    unknown = set(kinds) - {"malloc", "write", "write+", "full", "sync", "sync+", "agent-malloc", "agent-write", "agent-sync"}
    if unknown:
        sys.exit(f"iofaults: no kind {', '.join(sorted(unknown))}")
    limit = int(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[2] else 0
    seed = int(sys.argv[3]) if len(sys.argv) > 3 and sys.argv[3] else int.from_bytes(os.urandom(4), "big")
    rng = random.Random(seed)
    print(f"# seed {seed}", flush=True)
    found, acked = [], 0
    calls = {}
    for who in sorted({"agent-" if k.startswith("agent-") else "" for k in kinds}):
        (_, counted, bad), = in_processes([(0, who + "count", 0, "")], run)
        found += bad
        calls.update({who + kind: those for kind, those in (counted[0] if counted else {}).items()})
    for kind in kinds:
        all_calls = calls.get(kind, [])
        some = all_calls if not limit or limit >= len(all_calls) else sorted(rng.sample(all_calls, limit))
        ends, struck = collections.Counter(), 0
        tasks = [(i + 1, kind, which, arg) for i, (which, arg) in enumerate(some)]
        for (n, _, which, arg), value, bad in in_processes(tasks, run):
            found += bad
            if bad:
                print(f"# at {kind}:{arg} in process {which}, story {kind}-{n}", flush=True)
            if value:
                struck += value[0]
                acked += value[2]
                if value[0]:
                    ends[name_of_end(value[1])] += 1
        name = kind.replace("+", "_and_after").replace("-", "_")
        print(f"iofaults_{name}: {struck} of {len(some)} struck, of {len(all_calls)} in the story")
        for end, n in sorted(ends.items()):
            print(f"iofaults_{name}_{end.replace(' ', '_')}: {n} stories")
        if not struck:
            found.append(f"no {kind} failed")
    print(f"iofaults_acknowledged: {acked} submissions")
    print(f"iofaults_violations: {len(found)} found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
