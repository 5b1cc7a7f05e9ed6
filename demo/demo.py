#!/usr/bin/env python3
"""demo.py BIN - the story of a divided cluster, told live by the real programs

One daemon, the agent of this machine and four agents that stand for recorded machines; a provider with a
service, a researcher who trains; a recall, a kill -9, a log that proves it all. Everything lives in one
folder that is removed at the end. Each promise is checked; a broken one is named and the exit status is 1.

  HOLD=1         keep the cluster up at the end and print how to talk to it
  DEMO_DIR=DIR   use this folder (default: a new one under build/)
  NO_COLOR=1     plain text
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
TTY = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
PROGRAMS = []           # what we started: stopped in reverse at the end
KEPT, BROKEN = [], []   # promises
T0 = time.monotonic()

DAEMON_CONF = """\
cluster: demo
state_dir: {d}/state
map_size: 256MiB
listen:
  agents: {agents}
  users:  {users}
  enrol:  {enrol}
  local:  {d}/sluisd.sock
liveness: {{heartbeat: 1s, suspect: 10s, unreachable: 30s}}
leases: {{ttl: 10s, grace: 10s, rejoin_grace: 5s, offer: 60s, bind_timeout: 20s}}
recall: {{kill_margin: 2s, cooldown: 5s}}
"""
AGENT_CONF = """\
node: {name}
address: 127.0.0.1
state_dir: {d}/{name}
labels: {{site: demo, leaf: {leaf}}}
fabric: {{ports: {first}-{last}}}
exec: {{backend: plain}}
"""
SERVICE = """\
command: [{python}, {serve}, "{{port}}"]
replicas: 2
devices_per_replica: 4
health: {{command: [{python}, {health}, "{{port}}"], every: 1s, timeout: 2s, after: 1s, fail: 3}}
restart: {{backoff: 1s..10s}}
stop: {{signal: TERM, within: 3s}}
"""
HEALTH = """\
import sys, urllib.request
urllib.request.urlopen("http://127.0.0.1:%s/health" % sys.argv[1], timeout=1).read()
"""
TRAIN = """\
#!/bin/bash
#SBATCH --job-name=train
#SBATCH --account=lungnet
#SLUIS --flavor h100-80g --nodes 2 --gpus-per-node 2
#SBATCH --time=10 --mail-type=END          # mail is kept with the job and has no effect here
exec "$@"
"""


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if TTY else text


def say(text, note="", at=None):
    stamp = f"[{(at if at is not None else time.monotonic()) - T0:5.1f}s]"
    line = f" {paint('2', stamp)} {text}"
    if note:
        pad = max(1, 66 - len(text))
        line += " " * pad + paint("2", note)
    print(line, flush=True)


def promise(what, kept, detail=""):
    (KEPT if kept else BROKEN).append(what)
    if not kept:
        print(paint("31", f"         PROMISE BROKEN: {what}" + (f" ({detail})" if detail else "")), flush=True)


class Failed(Exception):
    pass


class Sampler(threading.Thread):
    """Asks once a second who holds how many H100, for the picture at the end; a dark daemon leaves a gap."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.c, self.rows, self.ended = cluster, [], threading.Event()

    def run(self):
        start = time.monotonic()
        while not self.ended.wait(1):
            row = None
            try:
                r = self.c.ctl("--json", "status", "--timeout", "1s", check=False)
                sides = {x["side"]: x for x in json.loads(r.stdout)["item"]["sides"] if x["flavor"] == "h100-80g"}
                row = (sides["public"].get("guaranteed", 0), sides["public"].get("loan", 0),
                       sides["private"].get("guaranteed", 0))
            except (ValueError, KeyError, subprocess.SubprocessError):
                pass
            while len(self.rows) < int(time.monotonic() - start):  # a dead daemon takes its time not to answer
                self.rows.append(row)

    def picture(self):
        self.ended.set()
        blocks = " ▁▂▃▄▅▆▇█"
        print("\n         who held the 20 H100, second by second ('x': sluisd was dead, the work was not)")
        for i, (name, full) in enumerate((("public, its own", 4), ("public, on loan", 16), ("private", 16))):
            line = "".join("x" if r is None else blocks[min(8, -(-8 * r[i] // full))] for r in self.rows)
            print(f"         {name:16} 0..{full:<2} {line}")


def wait_for(what, fn, seconds=60, every=0.1):
    """fn() until it returns something true; what it waited for is printed when it never does."""
    end = time.monotonic() + seconds
    last = None
    while time.monotonic() < end:
        try:
            last = fn()
            if last:
                return last
        except (OSError, KeyError, ValueError, IndexError, subprocess.CalledProcessError) as e:
            last = e
        time.sleep(every)
    raise Failed(f"waited {seconds} s for: {what} (last seen: {str(last)[:300]})")


class Cluster:
    def __init__(self, bindir, d):
        self.bin, self.d = bindir, d
        self.log = open(os.path.join(d, "programs.log"), "ab", buffering=0)
        self.sluisd = None

    def path(self, *p):
        return os.path.join(self.d, *p)

    def start(self, name, *args, **kw):
        p = subprocess.Popen([os.path.join(self.bin, name), *args], stdout=self.log, stderr=self.log,
                             stdin=subprocess.DEVNULL, cwd=self.d, **kw)
        PROGRAMS.append(p)
        return p

    def configure(self, **listen):
        with open(self.path("sluisd.conf"), "w") as f:
            f.write(DAEMON_CONF.format(d=self.d, **listen))

    def start_daemon(self):
        before = os.path.exists(self.path("state", "endpoints.json")) and \
            os.stat(self.path("state", "endpoints.json")).st_mtime_ns
        self.sluisd = self.start("sluisd", "--config", self.path("sluisd.conf"))

        def up():
            if self.sluisd.poll() is not None:
                raise Failed(f"sluisd ended with status {self.sluisd.returncode}; see {self.path('programs.log')}")
            f = self.path("state", "endpoints.json")
            if not os.path.exists(f) or os.stat(f).st_mtime_ns == before:
                return None
            return self.ctl("cluster", "ping", check=False).returncode == 0

        wait_for("sluisd to answer", up, 30)
        with open(self.path("state", "endpoints.json")) as f:
            return json.load(f)

    def ctl(self, *args, user=None, check=True, timeout=60):
        env = dict(os.environ, HOME=self.path("home", user or "admin"), LC_ALL="C.UTF-8")
        for k in list(env):
            if k.startswith(("SLUIS_", "XDG_", "SBATCH_")):
                del env[k]
        os.makedirs(env["HOME"], exist_ok=True)
        where = [] if user else ["--state-dir", self.path("state")]
        r = subprocess.run([os.path.join(self.bin, "sluisctl"), *where, *args], env=env, cwd=self.d,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
        if check and r.returncode:
            raise Failed(f"sluisctl {' '.join(args)}\n{r.stdout}{r.stderr}(status {r.returncode})")
        return r

    def json(self, *args, user=None):
        return json.loads(self.ctl("--json", *args, user=user).stdout)

    def join(self, name, leaf, topology=None):
        first = 21000 + 200 * len([p for p in PROGRAMS])
        conf = self.path(f"{name}.conf")
        with open(conf, "w") as f:
            f.write(AGENT_CONF.format(name=name, d=self.d, leaf=leaf, first=first, last=first + 199))
        token = self.ctl("-q", "token", "create", "node", "--name", name).stdout.strip()
        extra = ["--topology", os.path.join(HERE, "topologies", topology)] if topology else []
        self.start("sluis-agent", "--config", conf, "--join", token, *extra)

    def enrol(self, name, role, *extra):
        token = self.ctl("-q", "token", "create", "user", "--name", name, "--role", role, *extra).stdout.strip()
        self.ctl("user", "accept", token, "--name", name, user=name)

    def job(self, jid, user="eva"):
        return self.json("job", "show", str(jid), user=user)

    def lease(self, lid):
        return self.json("lease", "show", str(lid), user="chat")

    def bar(self):
        for s in self.json("status")["item"].get("sides", []):
            if s["flavor"] != "h100-80g":
                continue
            n, g, l = s.get("nominal", 0), s.get("guaranteed", 0), s.get("loan", 0)
            lent = min(s.get("lent", 0), max(0, n - g))
            cells = "█" * g + "▒" * lent + "·" * max(0, n - g - lent) + "░" * l
            print(f"         {s['side']:8} {cells}", flush=True)


def item(doc):
    """The one object of a listing or a show, whichever the command prints."""
    return doc["item"] if "item" in doc else doc["items"][0]


def field(obj, *names):
    for n in names:
        if isinstance(obj, dict) and n in obj:
            return obj[n]
    for v in obj.values() if isinstance(obj, dict) else ():
        if isinstance(v, dict):
            for n in names:
                if n in v:
                    return v[n]
    return None


def state_of(doc):
    it = item(doc)
    return it.get("state_long") or it.get("state")


def log_text(c, jid, user="eva"):
    return c.ctl("logs", str(jid), user=user, check=False).stdout


def last_step(text):
    found = re.findall(r"step (\d+).*?loss ([0-9.]+)", text)
    return (int(found[-1][0]), float(found[0][1]), float(found[-1][1])) if found else None


def pids_of(needle, folder):
    """Processes of the demo whose command line holds `needle`."""
    out = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                cmd = f.read().replace(b"\0", b" ").decode("utf-8", "replace")
            with open(f"/proc/{pid}/environ", "rb") as f:
                env = f.read().decode("utf-8", "replace")
        except OSError:
            continue
        if needle in cmd and folder in env and "sluis-shim" not in cmd:
            out.append(int(pid))
    return sorted(out)


def story(c):
    python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
    torch = subprocess.run([python, "-c", "import torch"], stderr=subprocess.DEVNULL).returncode == 0

    anywhere = "tcp://127.0.0.1:*"
    c.configure(agents=anywhere, users=anywhere, enrol=anywhere)
    ends = c.start_daemon()
    c.configure(**{k: ends[k] for k in ("agents", "users", "enrol")})  # the same ports after a restart
    say("sluisd up", f"users at {ends.get('users', '?')} (port chosen by the kernel)")

    c.join("here", "leaf0")
    for n, leaf, xml in (("h1", "leaf1", "oci-bm-h100.xml"), ("h2", "leaf1", "oci-bm-h100.xml"),
                         ("h3", "leaf2", "oci-bm-h100.xml"), ("mi1", "leaf3", "tioga-mi250x.xml")):
        c.join(n, leaf, xml)
    nodes = wait_for("five nodes to be ready", lambda: [
        n for n in c.json("node", "list")["items"] if n.get("state") == "ready"] if len([
            n for n in c.json("node", "list")["items"] if n.get("state") == "ready"]) == 5 else None, 60)
    say("nodes joined by one-time tokens: here h1 h2 h3 mi1", "here is this machine; 4 emulated from recordings")
    promise("five nodes joined by tokens", len(nodes) == 5)

    here = next(n for n in nodes if n["name"] == "here")
    say(f"this machine, read by hwloc: cores {here.get('cores', '?')}, GPUs {here.get('devices', 0)}; "
        f"h1: {next(n for n in nodes if n['name'] == 'h1').get('devices', 0)} H100, mi1: "
        f"{next(n for n in nodes if n['name'] == 'mi1').get('devices', 0)} MI250X")
    sampler = Sampler(c)
    sampler.start()

    division = os.path.join(HERE, "division.yaml")
    diff = c.ctl("division", "diff", "-f", division).stdout
    c.ctl("division", "apply", "-f", division, "--yes")
    share = re.search(r"public [0-9.]+ ?%.*private [0-9.]+ ?%", diff)
    say("division applied  " + (share.group(0) if share else "public 20 %, private 80 %"), "h100-80g 20: 4 + 16")
    c.bar()

    c.enrol("eva", "member")
    c.enrol("lisa", "member")
    c.enrol("chat", "provider", "--provider", "chat")
    say("people enrolled: eva, lisa (researchers), chat (provider)", "each made a key of their own")

    with open(c.path("health.py"), "w") as f:
        f.write(HEALTH)
    with open(c.path("chat.service.yaml"), "w") as f:
        f.write(SERVICE.format(python=python, serve=json.dumps(os.path.join(HERE, "serve.py")),
                               health=json.dumps(c.path("health.py"))))
    doc = c.json("lease", "request", "--provider", "chat", "--flavor", "h100-80g", "--gpus", "8", "--ttl", "10s",
                 "--grace", "10s", "--term", "1d", "--name", "chat", "--service", c.path("chat.service.yaml"),
                 "--auto-accept", "--wait=30s", user="chat")
    lid = field(item(doc), "id")
    env = dict(os.environ, HOME=c.path("home", "chat"))
    keep = subprocess.Popen([os.path.join(c.bin, "sluisctl"), "lease", "keep", str(lid), "--state-file",
                             c.path("lease.json")], stdout=open(c.path("keep.log"), "ab"), stderr=subprocess.STDOUT,
                            stdin=subprocess.DEVNULL, env=env, cwd=c.d)
    PROGRAMS.append(keep)

    def replicas():
        eps = c.json("lease", "endpoints", str(lid), user="chat")["items"]
        ok = [e for e in eps if urllib.request.urlopen(
            f"http://{e['address']}:{e['port']}/health", timeout=1).status == 200]
        return ok if len(ok) >= 2 else None
    answering = wait_for("two replicas to answer over HTTP", replicas, 40)
    t_active = time.monotonic()
    say(f"lease {lid} (chat, firm, 8 gpu) active, {len(answering)} replicas answer", "ttl 10 s, renewed every ~3 s")
    promise("the lease's service answers", len(answering) >= 2)
    c.bar()

    train = [python, os.path.join(HERE, "train.py")]
    ckpt = c.path("ckpt")
    os.makedirs(os.path.join(ckpt, "train"))
    os.makedirs(os.path.join(ckpt, "sweep"))
    job1 = field(item(c.json("submit", "-A", "lungnet", "-J", "train", "--flavor", "h100-80g", "-N", "2",
                             "--gpus-per-node", "2", "-t", "10m", "--checkpoint-dir", os.path.join(ckpt, "train"), "--",
                             *train, "--steps", "100000", "--step-seconds", "0.1", "--checkpoint-every", "50",
                             user="eva")), "id")

    def learning(jid, steps, user="eva"):
        def look():
            s = last_step(log_text(c, jid, user))
            return s if s and s[0] >= steps else None
        return look
    s1 = wait_for("job 1 to learn", learning(job1, 20), 90)
    say(f"job {job1} (train, 2 nodes x 2 gpu, guaranteed) step {s1[0]}  loss {s1[1]:.2f} -> {s1[2]:.2f}",
        "PyTorch DDP over gloo" if torch else "built-in trainer: no python3-torch here")

    job2 = field(item(c.json("submit", "-A", "gridopt", "-J", "sweep", "--flavor", "h100-80g", "--gpus", "8",
                             "--loan", "ok", "--notice", "5s", "-t", "10m", "--retries", "3",
                             "--checkpoint-dir", os.path.join(ckpt, "sweep"), "--",
                             *train, "--steps", "100000", "--step-seconds", "0.05", "--checkpoint-every", "40",
                             user="lisa")), "id")
    s2 = wait_for("job 2 to learn on borrowed devices", learning(job2, 60, "lisa"), 90)
    j2 = item(c.job(job2, "lisa"))
    say(f"job {job2} (sweep, 8 gpu, on loan from private) step {s2[0]} loss {s2[2]:.2f}", "idle capacity at work")
    promise("a job runs on idle private capacity as a loan", bool(field(j2, "loan")))
    c.bar()

    t_ask = time.monotonic()
    promised = 20.0
    c.ctl("lease", "resize", str(lid), "--gpus", "16", user="chat")
    say("provider asks for 16: 4 are free at once, 4 by a claim on job %s" % job2, f"promised within {promised:.0f} s")

    def grown():
        it = item(c.lease(lid))
        return it if (field(it, "units_here") or 0) >= 16 else None

    t_notice = []

    def watch():
        if not t_notice and state_of(c.job(job2, "lisa")) in ("stopping", "CG"):
            t_notice.append(time.monotonic() - t_ask)
        return grown()
    wait_for("the lease to hold 16", watch, 60)
    took = time.monotonic() - t_ask
    it2 = item(c.job(job2, "lisa"))
    saved = field(it2, "checkpoint_step") or 0
    say(f"lease {lid} holds 16 after {took:.1f} s; job {job2} saved step {saved} and went back to the queue",
        "kept" if took <= promised else "LATE")
    promise(f"the recall kept its time ({took:.1f} s of {promised:.0f} s)", took <= promised)
    promise("the recalled job had saved a checkpoint", saved > 0)
    promise("the recalled job waits under its own id", state_of(c.job(job2, "lisa")) in ("pending", "PD"),
            str(state_of(c.job(job2, "lisa"))))
    c.bar()

    before = pids_of("train.py", c.d)
    serving = pids_of("serve.py", c.d)
    acked = c.json("status")["item"].get("seq", 0)
    renewals0 = field(item(c.lease(lid)), "renewals") or 0
    late = field(item(c.json("submit", "-A", "lungnet", "-J", "late", "--flavor", "h100-80g", "--gpus", "4", "-t", "5m", "--loan", "never",
                             "--", "true", user="eva")), "id")
    c.sluisd.send_signal(signal.SIGKILL)
    c.sluisd.wait()
    t_dark = time.monotonic()
    say("kill -9 sluisd ... 12 s without a daemon (the ttl is 10 s)")
    time.sleep(12)
    c.start_daemon()
    dark = time.monotonic() - t_dark
    st = c.json("status")["item"]
    wait_for("the nodes to come back", lambda: c.json("status")["item"].get("nodes_ready", 0) == 5, 60)
    after = pids_of("train.py", c.d)
    lease = item(c.lease(lid))
    say(f"started again after {dark:.1f} s; lease {lid} {state_of(c.lease(lid))}, tasks {len(after)} of {len(before)} "
        "with the same pids", f"seq {st.get('seq', 0)} follows {acked}")
    promise("no task died with the daemon", before and before == after, f"{before} {after}")
    promise("the service outlived the daemon", set(serving) <= set(pids_of("serve.py", c.d)))
    promise("the lease was not expired by downtime", state_of(c.lease(lid)) == "active")
    promise("nothing acknowledged was lost", st.get("seq", 0) > acked and
            state_of(c.job(late)) in ("pending", "PD"), str(state_of(c.job(late))))
    more = wait_for("renewals to go on", lambda: (field(item(c.lease(lid)), "renewals") or 0) > renewals0 + 1, 30)
    promise("renewals went on", bool(more))

    why = c.ctl("explain", str(late), user="eva").stdout
    line = next((ln.strip() for ln in why.splitlines() if re.search(r"\b[1-8]\d\d\b", ln)), why.strip().splitlines()[0])
    say(f"why does job {late} wait?  {re.sub(' +', ' ', line)[:90]}")
    promise("a waiting job has a reason", bool(re.search(r"\b[1-8]\d\d\b", why)))

    c.ctl("lease", "resize", str(lid), "--gpus", "8", user="chat")
    resumed = wait_for("job 2 to resume", lambda: re.search(r"resum\w* (?:at|from) step (\d+)", log_text(c, job2, "lisa")), 90)
    at = int(resumed.group(1))
    say(f"provider gives 8 back; job {job2} resumed at step {at} (saved {saved})", "same id, second attempt")
    promise("the recalled job resumed where it had stopped", at == saved, f"{at} != {saved}")
    c.bar()

    c.ctl("cancel", str(job1), user="eva")
    c.ctl("cancel", str(job2), user="lisa")
    lived = time.monotonic() - t_active - dark  # ttl/3, spread by 10 %, one at either end
    renewed = field(item(c.lease(lid)), "renewals") or 0
    say(f"lease {lid} was renewed {renewed} times by its automation, sluisctl lease keep", "and never late")
    promise("the automation renewed the lease about every 3 s", renewed >= lived / (10 / 3 * 1.1) - 1, f"{renewed} in {lived:.1f} s")
    c.ctl("lease", "release", str(lid), user="chat")
    wait_for("lease keep to notice that its lease is gone", lambda: keep.poll() is not None, 30)
    promise("lease keep ended with status 9: do not restart, ask anew", keep.returncode == 9, str(keep.returncode))
    ended = wait_for("the late job to run and end", lambda: state_of(c.job(late)) in ("completed", "CD"), 40)
    promise("the waiting job ran as soon as its quota was free", bool(ended))
    wait_for("all devices to come back", lambda: all(
        not n.get("used") for n in c.json("node", "list")["items"]), 60)

    sampler.picture()
    print()
    print(c.ctl("usage", "--by", "project").stdout.rstrip())
    print(c.ctl("usage", "--by", "provider").stdout.rstrip())
    own = c.ctl("log", "verify").stdout.strip().splitlines()[0]
    say("the daemon checks its own log: " + own.replace("the daemon says: ", ""))
    c.ctl("log", "export", c.path("sluis.log"))
    offline = c.ctl("log", "verify", c.path("sluis.log"))
    replay = c.ctl("log", "replay", c.path("sluis.log")).stdout
    live = re.search(r"\b[0-9a-f]{16,}\b", replay)
    say("exported, verified offline, applied again: " + offline.stdout.strip().splitlines()[0])
    promise("the log verifies offline", offline.returncode == 0)
    promise("re-applying the log gives the daemon's own digest", digest_equal(c, replay), replay.strip()[:200])
    say("digest " + (live.group(0)[:16] if live else "?"), "equal")
    return keep


def digest_equal(c, replay):
    """The digest of the replay against the one the daemon reports for the same records."""
    found = set(re.findall(r"\b[0-9a-f]{32,}\b", replay))
    daemon = set(re.findall(r"\b[0-9a-f]{32,}\b", json.dumps(c.json("log", "verify"))))
    return bool(found & daemon)


def stop_all():
    for p in reversed(PROGRAMS):
        if p.poll() is None:
            p.terminate()
    for p in reversed(PROGRAMS):
        try:
            p.wait(5)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()


def kill_tasks(d):
    """Tasks outlive their agents by design; at the end of a demo they must not."""
    for sig in (signal.SIGTERM, signal.SIGKILL):
        left = 0
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as f:
                    mine = d.encode() in f.read()
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    cmd = f.read()
                if (mine or d.encode() in cmd) and int(pid) != os.getpid():
                    os.kill(int(pid), sig)
                    left += 1
            except (OSError, ValueError):
                continue
        if not left:
            return
        time.sleep(1)


def main():
    bindir = os.path.abspath(sys.argv[1])
    d = os.environ.get("DEMO_DIR")
    if d:
        os.makedirs(d)
    else:
        os.makedirs(os.path.join(ROOT, "build"), exist_ok=True)
        d = tempfile.mkdtemp(prefix="demo.", dir=os.path.join(ROOT, "build"))
    c = Cluster(bindir, d)
    print(f"sluis demo · 5 nodes (1 live machine, 4 emulated from recorded topologies) · everything in {d}\n", flush=True)
    failed = None
    try:
        story(c)
        if os.environ.get("HOLD"):
            ctl = f"{bindir}/sluisctl --state-dir {d}/state"
            print(f"\n the cluster stays up; talk to it:\n   {ctl} status\n   {ctl} node list\n"
                  f"   HOME={d}/home/eva {bindir}/sluisctl submit -A lungnet --flavor h100-80g --gpus 1 -t 5m -- hostname\n"
                  f"   HOME={d}/home/eva {bindir}/sluisctl queue --all\n   {ctl} division show\n"
                  " Ctrl-C ends it and removes everything", flush=True)
            signal.pause()
    except Failed as e:
        failed = str(e)
    except subprocess.TimeoutExpired as e:
        failed = f"no answer within {e.timeout} s: {' '.join(map(str, e.cmd))}"
    except KeyboardInterrupt:
        print()
    finally:
        stop_all()
        kill_tasks(d)
        bad = failed or BROKEN
        if bad and not os.environ.get("DEMO_DIR"):
            kept = os.path.join(ROOT, "build", "demo-failed.log")
            shutil.copyfile(os.path.join(d, "programs.log"), kept)
            print(paint("31", f" the programs' own messages: {kept}"))
        shutil.rmtree(d, ignore_errors=True)
    if failed:
        print(paint("31", f" the demo could not go on: {failed}"))
    for b in BROKEN:
        print(paint("31", f" broken: {b}"))
    print(f" promises kept: {len(KEPT)} of {len(KEPT) + len(BROKEN)}"
          + ("" if not failed else ", and the story did not reach its end"))
    return 1 if failed or BROKEN or not KEPT else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    sys.exit(main())
