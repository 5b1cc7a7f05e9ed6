"""story.py - one real sluisd, real agents, and what a story about them needs; prints TAP

Environment: T a scratch folder, BIN the folder of the programs. A story calls its chapters and then tell().
"""
import base64
import hashlib
import json
import os
import signal
import subprocess
import sys

from zmq.utils import z85

from sluis_client import Client, token_hash, wait_for, NEVER, PATIENT_S
from tap import children

T, BIN = os.environ["T"], os.environ["BIN"]
LONG = f"600.{os.getpid()}"  # seconds that nobody else sleeps


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except FileNotFoundError:
        return ""


class Daemon:
    def __init__(self):
        self.dir = os.path.join(T, "d")
        self.args = [os.path.join(BIN, "sluisd")]
        for s in (f"state_dir={self.dir}", "listen.agents=tcp://127.0.0.1:*", "listen.users=tcp://127.0.0.1:*",
                  "listen.enrol=tcp://127.0.0.1:*", f"listen.local={self.dir}.sock", "liveness.heartbeat=200ms",
                  "liveness.suspect=60s", "liveness.unreachable=120s", "leases.rejoin_grace=0s"):
            self.args += ["--set", s]

    def start(self):
        path = os.path.join(self.dir, "endpoints.json")
        if os.path.exists(path):
            os.unlink(path)
        with open(self.dir + ".log", "ab") as log:
            self.proc = subprocess.Popen(self.args, stderr=log, stdout=subprocess.DEVNULL)
        children.append(self.proc)
        text = wait_for(30, lambda: read(path))
        if not text:
            raise SystemExit("Bail out! sluisd did not start:\n" + read(self.dir + ".log"))
        self.at = json.loads(text)
        return self

    def admin(self):
        c = Client(self.at["local"])
        c.greet()
        return c


class Agent:
    """`as_uid`: not as ourselves; its state_dir must be that user's to make."""

    def __init__(self, name, token, *more, base=T, program=None, as_uid=None, env=None):
        self.dir = os.path.join(base, name)
        self.args = [program or os.path.join(BIN, "sluis-agent"), "--config", os.devnull, "--node", name, "--join",
                     token, "--set", f"state_dir={self.dir}", "--set", "exec.backend=plain", "--set", "reserve.cores=0",
                     "--set", "reserve.memory=0MiB", "--set", "address=127.0.0.1", "--reconnect-max", "200ms", *more]
        self.identity = {"user": as_uid, "group": as_uid, "extra_groups": []} if as_uid else {}
        self.env = dict(os.environ, **(env or {}))
        self.starts = 0
        self.log_path = os.path.join(T, os.path.basename(self.dir)) + ".log"
        self.log_from = 0

    def start(self):
        self.log_from = len(self.log())
        with open(os.path.join(T, os.path.basename(self.dir)) + ".log", "ab") as log:
            self.proc = subprocess.Popen(self.args, stderr=log, stdout=subprocess.DEVNULL, env=self.env, **self.identity)
        self.starts += 1
        children.append(self.proc)
        return self

    def end(self, sig=signal.SIGTERM):
        self.proc.send_signal(sig)
        return self.proc.wait(PATIENT_S)

    def tag(self):
        """What its scratch folders in /tmp have in their names."""
        digest = hashlib.sha256(os.path.realpath(self.dir).encode()).digest()
        return f"{int.from_bytes(digest[:4], sys.byteorder):08x}"

    def log(self):
        return read(self.log_path)

    def connected(self):
        """Waits until it is, since its last start."""
        return wait_for(30, lambda: "connected cluster" in self.log()[self.log_from:])


def b64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def token(d, admin, uses=4):
    secret = os.urandom(32)
    admin.command("token_create", {"hash": token_hash(secret), "role": "node", "uses": uses, "ttl_ms": 600000})
    return f"sluis-join-1.{b64(z85.decode(d.at['server_key'].encode()))}.{b64(secret)}.{d.at['enrol']}"


def division(units, per_node=2, public=None):
    """Half public, half private, unless `public` says how much of it is public."""
    public = units // 2 if public is None else public
    side = {"flavor": 1, "shape": "gpu", "borrowing": NEVER, "lending": NEVER}
    return {
        "expect_version": 0,
        "flavors": [{"name": "h100", "vendor": "nvidia", "model": "*H100*", "weight_milli": 1000,
                     "devices_per_node": per_node, "committed_units": units}],
        "qnodes": [
            {"kind": "root", "name": "root", "weight": 1},
            {"kind": "public", "name": "public", "parent": 1, "weight": 1},
            {"kind": "sector", "name": "health", "parent": 2, "weight": 1},
            {"kind": "project", "name": "lungnet", "parent": 3, "weight": 1, "pi": "eva",
             "quotas": [dict(side, nominal=public)]},
            {"kind": "private", "name": "private", "parent": 1, "weight": 1},
            {"kind": "class", "name": "company", "parent": 5, "weight": 1},
            {"kind": "provider", "name": "chat", "parent": 6, "weight": 1, "tenant": "chat",
             "quotas": [dict(side, nominal=units - public)]},
        ],
    }


def submit(admin, payload, units=1, user="", **spec):
    spec = dict({"shape": "gpu", "klass": "normal", "mode": "command", "units": units, "units_max": units,
                 "time_limit_ms": 600000, "name": "story", "notice_ms": 5000}, **spec)
    payload = dict({"cwd": T}, **payload)
    return admin.command("job_submit", {"spec": spec, "project": "lungnet", "flavor": "h100", "user": user},
                         payload=payload)["result"]["id"]


def job(admin, number):
    return admin.query("jobs", id=number, all=True)["items"][0]


def ended(admin, number, seconds=20):
    """The job once it is over, or as it stands."""
    over = ("CD", "F", "TO", "CA", "NF", "PR", "OOM", "DL")

    def look():
        j = job(admin, number)
        return j if j["state"] in over else None
    return wait_for(seconds, look) or job(admin, number)


def running(admin, number):
    return wait_for(20, lambda: job(admin, number)["state"] == "R")


def output(admin, number, task=0, **more):
    return admin.query("output", id=number, task=task, **more)["data"].decode()


def ready_nodes(admin, n):
    """The nodes, once there are n and all are ready."""
    def look():
        nodes = admin.query("nodes")["items"]
        return len(nodes) == n and all(x["state"] == "ready" for x in nodes) and nodes
    return wait_for(30, look)
