"""mortal.py - the life of a sluisd that meets a fault on its way, told so that nothing may be lost

A Trap says what the processes of one story meet, once: a place to die at (Failpoint) or a call that fails.
DaemonTale goes through a life in chapters: start, people, submissions, a backup, a clean stop, archived log, a
restore, and the way back. A chapter that was cut off is told again from its beginning, its requests under the
same idempotency keys, as a client would. At the end every acknowledged submission is there under the id that
was told, none twice; the daemon's own check finds log and state intact; and an acknowledged backup restores,
into safe mode, with what it promised.

Environment: T a scratch folder, SLUISD the program.
"""
import collections
import glob
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time

import daemon_story
from daemon_story import SCRIPT, division, job
from sluis_client import COMMANDS, QUERIES, Refused, keypair, pack, token_hash, wait_for

T = os.environ["T"]
JOBS, BIG_JOBS, BIG_BYTES = 24, 30, 900_000     # a story's big ones fill the first map (MAP_FIRST_BYTES) by themselves
SILENT_S = 120      # sluisd lives and says nothing for so long: it hangs
STORY_S = 200       # a story takes some seconds; a runner ends its program after 300
violations = []


def violation(text):
    violations.append(text)
    print(f"# VIOLATION {text}", flush=True)


class Died(Exception):
    """The process has met what the trap had for it."""


class Trap:
    """What the processes of one story meet. This one: nothing."""

    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        self.log = os.path.join(folder, "reached")

    def begin(self):
        """Another process begins: a line between what one and the next have passed by."""
        with open(self.log, "a", encoding="ascii") as f:
            f.write("start\n")

    def lines(self):
        try:
            with open(self.log, encoding="ascii") as f:
                return f.read().splitlines()
        except FileNotFoundError:
            return []

    def struck(self):
        return False

    def env(self):
        self.begin()
        return dict(os.environ)

    def allows(self, rc, text):
        """May a process end with `rc`, having said `text`, for what it met?"""
        return False


class Failpoint(Trap):
    """SIGKILL when `name` is reached for the nth time; None: only count."""

    def __init__(self, folder, name=None, nth=1):
        super().__init__(folder)
        self.name, self.nth = name, nth

    def env(self):
        self.begin()
        env = dict(os.environ, SLUIS_FAILPOINT_LOG=self.log)
        if self.name and not self.struck():
            env["SLUIS_FAILPOINT"] = f"{self.name}:{self.nth}"
        return env

    def struck(self):
        return bool(self.name) and f"died {self.name}" in self.lines()

    def allows(self, rc, text):
        return rc == -signal.SIGKILL and self.struck()

    def most(self):
        """name -> most hits in one process."""
        best, now = collections.Counter(), collections.Counter()
        for line in self.lines():
            if line == "start":
                now = collections.Counter()
            elif line.startswith("reached "):
                now[line[8:]] += 1
                best[line[8:]] = max(best[line[8:]], now[line[8:]])
        return best


class Mortal(daemon_story.Daemon):
    """A daemon that may end on its way."""

    def __init__(self, name, trap, sets=()):
        super().__init__(name, sets)
        self.trap = trap

    def start(self):
        path = os.path.join(self.dir, "endpoints.json")
        if os.path.exists(path):
            os.unlink(path)
        with open(self.log_path, "ab") as log:
            self.log_from = log.tell()
            self.proc = subprocess.Popen(self.args, stderr=log, stdout=subprocess.DEVNULL, env=self.trap.env())
        self.at = wait_for(60, lambda: self.alive() and self.endpoints(path))
        if not self.at:
            raise SystemExit(f"FAILED: sluisd does not start:\n{self.log()}")
        return self

    def said(self):
        """What this process has logged."""
        with open(self.log_path, "rb") as f:
            f.seek(self.log_from)
            return f.read().decode(errors="replace")

    @staticmethod
    def endpoints(path):
        try:
            with open(path, encoding="utf-8") as f:
                return json.load(f)
        except FileNotFoundError:
            return None

    def ended(self, rc):
        """It has ended with rc, and that was not asked for."""
        if not self.trap.allows(rc, self.said()):
            violation(f"sluisd ended with {rc}:\n{self.log()[-2000:]}")
        raise Died

    def alive(self):
        rc = self.proc.poll()
        return True if rc is None else self.ended(rc)

    def end(self, sig=signal.SIGTERM):
        self.proc.send_signal(sig)
        rc = self.proc.wait(60)
        if sig != signal.SIGKILL and rc != 0:
            self.ended(rc)
        return rc


class DaemonTale:
    """One life of a cluster in chapters."""

    def __init__(self, folder, trap, big=False):
        os.makedirs(folder, exist_ok=True)
        self.trap, self.big, self.archive_dir = trap, big, os.path.join(folder, "archive")
        self.own = self.d = Mortal(os.path.relpath(os.path.join(folder, "d"), T), trap,
                                   [f"log.archive_dir={self.archive_dir}", "log.archive_after=1s"])
        self.restored = Mortal(os.path.relpath(os.path.join(folder, "r"), T), trap)
        for d in (self.own, self.restored):     # beside the folder: a fault below it must not eat what is said
            d.log_path = f"{folder}.{os.path.basename(d.dir)}.log"
        self.keys, self.secret = keypair(), os.urandom(32)
        self.idem = collections.defaultdict(lambda: os.urandom(16))
        self.acked = {}         # name -> job id
        self.backed_up = {}     # of those, what was acknowledged before the backup began
        self.backup = os.path.join(self.d.dir, "backup", "story")
        self.clients = []

    # ---- asking ----

    def connect(self, door="local", keys=None):
        c = self.d.client(door, keys)
        self.clients.append(c)
        return c

    def ask(self, call):
        """`call`, which has a short time limit, again and again while the daemon lives."""
        until = time.monotonic() + SILENT_S
        while time.monotonic() < until:
            self.d.alive()
            try:
                return call()
            except TimeoutError:
                pass
        raise SystemExit(f"FAILED: sluisd lives and does not answer:\n{self.d.log()[-2000:]}")

    def admin(self):
        c = self.connect()
        self.ask(lambda: c.greet(timeout_s=0.3))
        return c

    def command(self, c, name, body, **more):
        return self.ask(lambda: c.command(name, body, idem=self.idem[name], timeout_s=0.3, **more))

    # ---- chapters ----

    def begin(self):
        self.d.start()

    def people(self):
        admin = self.admin()
        self.command(admin, "division_apply", division(units=64))
        self.command(admin, "token_create", {"hash": token_hash(self.secret), "role": "member", "name": "eva",
                                             "uses": 1, "ttl_ms": 600000})
        door = self.connect("enrol", self.keys)
        self.ask(lambda: door.ask("ENROL", {"secret": self.secret, "name": "eva", "program": "mortal"}, 0.5))

    def submit(self, tag):
        c = self.connect("users", self.keys)
        self.ask(lambda: c.greet(timeout_s=0.3))
        number, struct = COMMANDS["job_submit"]
        left = [n for n in (f"{tag}-{i}" for i in range(BIG_JOBS if self.big else JOBS)) if n not in self.acked]
        waiting, last, heard = {}, time.monotonic(), time.monotonic()
        while left or waiting:
            while left and len(waiting) < 8:
                name = left.pop()
                script = SCRIPT
                if self.big:
                    noise = random.Random(name).randbytes(BIG_BYTES // 2).hex()
                    script = dict(SCRIPT, script=f"#!/bin/sh\n# {noise}\n")
                waiting[c.send("COMMAND", {"type": number, "idem_key": self.idem[name], "dry_run": False,
                                           "body": pack(struct, job(name)), "payload": pack("payload", script)})] = name
            got = c.recv(0.1)
            if got and got[1] in waiting:
                last = heard = time.monotonic()
                name = waiting.pop(got[1])
                if got[0] != "REPLY" or got[2].get("code"):
                    raise Refused(got[2].get("code", 0), str(got))
                self.acked[name] = got[2]["result"]["id"]
                continue
            self.d.alive()
            if time.monotonic() - heard > SILENT_S:
                raise SystemExit(f"FAILED: sluisd lives and takes no submission:\n{self.d.log()[-2000:]}")
            if time.monotonic() - last > 20:    # an answer that got lost is asked for again
                left, waiting, last = left + list(waiting.values()), {}, time.monotonic()

    def copy(self):
        before = dict(self.acked)
        admin = self.admin()
        if not os.path.exists(self.backup):     # else it was made, and the answer lost
            req = admin.send("QUERY", {"type": QUERIES["backup"][0], "name": "story"})
            until = time.monotonic() + SILENT_S
            while True:
                got = admin.recv(0.3)
                if got and got[1] == req:
                    admin._judge(got[2])
                    break
                self.d.alive()
                if time.monotonic() > until:
                    raise SystemExit(f"FAILED: sluisd lives and makes no backup:\n{self.d.log()[-2000:]}")
        self.backed_up = self.backed_up or before

    def restart(self):
        self.d.end()
        self.d.start()

    def archive(self):
        """Started again, it archives what is older than a second."""
        time.sleep(1.1)
        self.restart()

        def archived():
            self.d.alive()
            if "archive failed" in self.d.said():
                raise Refused(0, "the archive failed")
            return glob.glob(os.path.join(self.archive_dir, "log-*.sluis"))
        if not wait_for(20, archived):
            raise SystemExit(f"FAILED: no log was archived:\n{self.d.log()}")

    def restore(self):
        args = [os.environ["SLUISD"], "--restore", self.backup, "--state-dir", self.restored.dir]
        p = subprocess.run(args, capture_output=True, text=True, timeout=60, env=self.trap.env())
        if p.returncode and "holds a store" not in p.stderr:
            if not self.trap.allows(p.returncode, p.stderr):
                violation(f"restore ended with {p.returncode}: {p.stderr}")
            raise Died

    def resume(self):
        if self.d is self.own:
            if self.d.proc.poll() is None:
                self.d.end()
            self.d = self.restored
        if self.d.proc is None or self.d.proc.poll() is not None:
            self.d.start()
        admin = self.admin()
        if not self.ask(lambda: admin.query("status", timeout_s=0.5))["safe_mode"] and not self.trap.struck():
            violation("a restored daemon is not in safe mode")
        self.command(admin, "resume", {})
        self.check(self.backed_up, "restored")
        self.d.end()
        self.d = self.own

    def check(self, promised, what):
        admin = self.admin()
        have = {}
        for item in self.ask(lambda: admin.query("jobs", all=True, timeout_s=2))["items"]:
            name = item["job"]["spec"]["name"]
            if name in have:
                violation(f"{what}: {name} is there twice, as {have[name]} and {item['job']['id']}")
            have[name] = item["job"]["id"]
        for name, number in promised.items():
            if have.get(name) != number:
                violation(f"{what}: {name} was acknowledged as {number}, is {have.get(name)}")
        text = self.ask(lambda: admin.query("verify", timeout_s=30))["text"]
        if not text.startswith("intact"):
            violation(f"{what}: verify says {text}")

    def last(self):
        self.d = self.own
        if self.d.proc.poll() is not None:
            self.d.start()
        self.check(self.acked, "at the end")
        self.d.end()

    # ---- all of it ----

    def again(self, chapter):
        """What a chapter needs before it is told once more."""
        if chapter == self.restore and self.d.proc.poll() is None:
            return
        if self.d.proc and self.d.proc.poll() is None:
            self.d.end(signal.SIGKILL)
        if chapter != self.begin:
            self.d.start()

    def tell(self):
        chapters = [self.begin, self.people, lambda: self.submit("a"), self.copy, self.restart,
                    lambda: self.submit("b"), self.archive, self.restore, self.resume, self.last]
        troubles = 0
        try:
            for chapter in chapters:
                while True:
                    try:
                        chapter()
                        break
                    except (Died, Refused) as e:
                        troubles += 1
                        if troubles > 1 or not self.trap.struck():
                            violation(f"trouble {troubles}: {e or 'sluisd ended again'}")
                            return
                        self.again(chapter)
        finally:
            for d in (self.own, self.restored):
                if d.proc and d.proc.poll() is None:
                    d.proc.kill()
                    d.proc.wait()
            for c in self.clients:
                c.close()


def in_processes(tasks, work, jobs=2):
    """(task, result) of work(task) for each, `jobs` at a time, each in a process of its own: what a story
    leaves in memory is not the next one's. A result is (value, violations). Forked by nobody but the one
    thread there is: a pool forks from threads of its own, and its child may wait for a lock for ever."""
    context = multiprocessing.get_context("fork")
    guarded = _Guarded(work)

    def tell(task, theirs):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(f"it has not ended after {STORY_S} s"))
        theirs.send(guarded(task))

    def begin(task):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=tell, args=(task, theirs))
        process.start()
        theirs.close()
        return task, process, ours

    def end(task, process, ours):
        told = (task, None, [f"{task}: its process ended without a word"])
        if not ours.poll(STORY_S):
            process.terminate()     # which lets it end what it has begun, and say where it stood
        try:
            if ours.poll(60):
                told = ours.recv()
        except EOFError:
            pass
        process.join(60)
        process.kill()
        process.join()
        return told

    running = collections.deque()
    for task in tasks:
        if len(running) == jobs:
            yield end(*running.popleft())
        running.append(begin(task))
    while running:
        yield end(*running.popleft())


class _Guarded:
    def __init__(self, work):
        self.work = work

    def __call__(self, task):
        value = None
        try:
            value = self.work(task)
        except SystemExit as e:
            violation(f"{task}: {e}")
        except Exception:   # noqa: BLE001 - a broken story is a finding too
            import traceback
            violation(f"{task}: {traceback.format_exc()}")
        sys.stdout.flush()
        return task, value, list(violations)
