#!/usr/bin/env python3
"""failpoints.py [ROUNDS [SEED [NAME...]]] - SIGKILL at every failpoint of sluisd and sluis-agent, and what is left

The names are read from the source (proto/base/failpoint.h); each is died at ROUNDS times, at a hit drawn by
the seed from those that an undisturbed run of the same story made. The story of sluisd is in mortal.py. That
of sluis-agent: a long task, short ones with exit codes of their own, one that is cancelled; the agent is
started again at once while sluisd and the tasks live. At its end every task ran once per attempt, the long one
only once, with a prolog and an epilog each, once; every exit code is the one that the task left with, and nothing is
left on the node.
A name that was never died at is a violation: nothing is tested there.

Environment: T a scratch folder, FP the folder of the failpoint programs, BIN that of the ordinary ones.
Prints `name: value unit`; exits 1 on any violation.
"""
import collections
import glob
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

T, BIN, FP = os.environ["T"], os.environ["BIN"], os.environ["FP"]
os.environ["SLUISD"] = os.path.join(FP, "sluisd")
import story  # noqa: E402
from mortal import DaemonTale, Failpoint, in_processes, violation, violations  # noqa: E402
from sluis_client import PATIENT_S, wait_for  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDERS = {"sluisd": ("daemon", "proto/link", "proto/logfile"), "sluis-agent": ("agent",)}


def names_of(program):
    found = collections.Counter()
    for folder in FOLDERS[program]:
        for path in glob.glob(os.path.join(ROOT, folder, "**", "*.c"), recursive=True):
            if "/agent/shim/" in path:
                continue    # shimdeath.py
            with open(path, encoding="utf-8") as f:
                found.update(re.findall(r'FAILPOINT\("([^"]+)"\)', f.read()))
    for name, n in found.items():
        if n > 1:
            violation(f"{name} stands at {n} places")
    return sorted(found)


class AgentTale:
    """Tasks on an agent that dies once and is started again at once, while sluisd lives."""

    def __init__(self, folder, trap):
        self.folder, self.trap = folder, trap
        os.makedirs(folder)
        story.T = folder
        self.d = story.Daemon().start()
        self.admin = self.d.admin()
        self.agent = story.Agent("n1", story.token(self.d, self.admin), "--synthetic",
                                 "package:1 numanode:1 core:8 pu:1", "--gpus", "2xH100", "--set",
                                 f"exec.prolog={self.hook('prolog')}", "--set", f"exec.epilog={self.hook('epilog')}",
                                 base=folder, program=os.path.join(FP, "sluis-agent"))
        self.over, self.deaths, self.began = False, 0, 0

    def hook(self, phase):
        """The folder of a program that leaves a line for each fence it ran for."""
        path = os.path.join(self.folder, phase)
        os.mkdir(path, 0o755)
        with open(os.path.join(path, "10-note"), "w", encoding="ascii") as f:
            f.write(f"#!/bin/sh\necho \"$SLUIS_FENCE\" >> {self.folder}/{phase}-$SLUIS_JOB_ID\n")
            os.fchmod(f.fileno(), 0o755)
        return path

    def nurse(self):
        """Starts the agent whenever it is not there."""
        while not self.over:
            with open(self.agent.dir + ".log", "ab") as log:
                self.began = log.tell()
                self.agent.proc = subprocess.Popen(self.agent.args, stderr=log, stdout=subprocess.DEVNULL,
                                                   env=self.trap.env())
            rc = self.agent.proc.wait()
            self.deaths += rc == -signal.SIGKILL
            if rc not in (0, -signal.SIGKILL) and not self.trap.allows(rc, self.agent.log()):
                violation(f"sluis-agent ended with {rc}:\n{self.agent.log()[-2000:]}")
                return

    def submit(self, code, wait="sleep 0.1"):
        script = f"#!/bin/sh\necho \"$SLUIS_FENCE\" >> {self.folder}/starts-$SLUIS_JOB_ID\n{wait}\nexit {code}\n"
        return story.submit(self.admin, {"script": script}, mode="script")

    def listens(self):
        """The agent that was started last takes signals: it does so before it says that it is ready."""
        with open(self.agent.dir + ".log", "rb") as log:
            log.seek(self.began)
            return b"ready node=" in log.read()

    def tell(self):
        thread = threading.Thread(target=self.nurse)
        thread.start()
        try:
            self.chapters()
        finally:
            self.over = True
            until = time.monotonic() + PATIENT_S
            while thread.is_alive():    # the nurse may just have started another one
                if self.agent.proc.poll() is None and time.monotonic() >= until:
                    self.agent.proc.kill()
                elif self.agent.proc.poll() is None and self.listens():
                    self.agent.proc.terminate()
                thread.join(0.5)
            if time.monotonic() >= until:
                violation(f"sluis-agent did not end when it was asked to:\n{self.agent.log()[-2000:]}")
            self.d.proc.terminate()
            self.d.proc.wait(PATIENT_S)
        if self.deaths > 1:
            violation(f"sluis-agent died {self.deaths} times")

    def runs(self, number):
        if wait_for(30, lambda: story.job(self.admin, number)["state"] == "R"):
            return True
        violation(f"job {number} does not run: {story.job(self.admin, number)}\n{self.agent.log()[-1500:]}")
        return False

    def chapters(self):
        admin = self.admin
        admin.command("division_apply", story.division(2, public=2))
        gate = os.path.join(self.folder, "gate")
        want = {}
        long = self.submit(5, f"while [ ! -e {gate} ]; do sleep 0.05; done")
        if not self.runs(long):
            return
        if not self.trap.struck():
            self.agent.proc.terminate()     # so that starting with tasks is among what it dies at
        for code in (0, 3, 7):
            number = self.submit(code)
            want[number] = code
            story.ended(admin, number, 30)
        victim = self.submit(9, "exec sleep 600")
        if self.runs(victim):
            admin.command("job_cancel", {"job": victim, "now": True})
            story.ended(admin, victim, 30)
        with open(gate, "w", encoding="ascii"):
            pass
        want[long] = 5
        for number, code in want.items():
            j = story.ended(admin, number, 30)
            if j["state"] not in ("CD", "F") or j["job"]["exit_code"] != code:
                violation(f"job {number} is {j['state']} with {j['job']['exit_code']}, it left with {code}")
        for number in list(want) + [victim]:
            fences = story.read(f"{self.folder}/starts-{number}").split()
            for fence, times in collections.Counter(fences).items():
                if times > 1:
                    violation(f"job {number}: fence {fence} started {times} times")
            for phase in ("prolog", "epilog"):
                ran = story.read(f"{self.folder}/{phase}-{number}").split()
                if len(set(ran)) != len(ran) or not set(fences) <= set(ran):
                    violation(f"job {number}: {phase} ran for {ran}, tasks started for {fences}")
            if number == long and len(fences) != 1:
                violation(f"the long task was started {len(fences)} times")
        units = os.path.join(self.agent.dir, "exec", "units")
        if not wait_for(30, lambda: all(x.startswith(".") for x in os.listdir(units))):  # but spare ones
            violation("units are left on the node")


def run(task):
    """One story; what it passed by, whether it died, how much was acknowledged, and the time it took."""
    number, program, name, nth = task
    folder = os.path.join(T, f"{program}-{number}")
    trap = Failpoint(folder + ".trap", name, nth)
    began = time.monotonic()
    if program == "sluisd":
        tale = DaemonTale(folder, trap, big=name is None or name.startswith("store.grow"))
        tale.tell()
        told = len(tale.acked)
    else:
        AgentTale(folder, trap).tell()
        told = 5
    met = trap.most() if name is None else trap.struck()
    if not violations:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(folder + ".trap")
    return met, told, time.monotonic() - began


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    seed = int(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[2] else int.from_bytes(os.urandom(4), "big")
    rng = random.Random(seed)
    print(f"# seed {seed}", flush=True)
    names = {p: [n for n in names_of(p) if not sys.argv[3:] or n in sys.argv[3:]] for p in FOLDERS}
    most, acked, deaths, hit, found = {}, 0, 0, set(), list(violations)
    for (_, program, _, _), value, bad in in_processes([(i, p, None, 1) for i, p in enumerate(names) if names[p]], run):
        found += bad
        most[program] = value[0] if value else collections.Counter()
        print(f"# {program}: {len(names[program])} failpoints, {sum(most[program].values())} hits undisturbed", flush=True)

    def die(tasks):
        nonlocal acked, deaths
        missed = []
        for (n, program, name, nth), value, bad in in_processes(tasks, run):
            found.extend(bad)
            died, told, took = value or (False, 0, 0.0)
            acked += told
            deaths += died
            hit.update([name] if died else [])
            if not died:
                missed.append((n + 10000, program, name, 1))
            print(f"# {name}:{nth} of {most[program][name]}: {'died' if died else 'not reached'} ({took:.1f} s)", flush=True)
        return missed

    tasks = [(10 + i, p, name, rng.randint(1, max(1, most[p][name])))
             for i, (p, name) in enumerate((p, n) for _ in range(rounds) for p in names for n in names[p])]
    die(die(tasks))     # what a story has less often than thought dies at its first hit instead
    for program, some in names.items():
        print(f"failpoints_{program.replace('-', '_')}: {len(hit & set(some))} of {len(some)} died at")
        for name in set(some) - hit:
            found.append(f"{name} was never died at")
    print(f"failpoints_deaths: {deaths} kills")
    print(f"failpoints_acknowledged: {acked} submissions and tasks")
    for text in found:      # once more where a reader of the end sees them
        print("# VIOLATION " + text.replace("\n", "\n#   "))
    print(f"failpoints_violations: {len(found)} found")
    return 1 if found or not deaths else 0


if __name__ == "__main__":
    sys.exit(main())
