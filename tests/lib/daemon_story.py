"""daemon_story.py - the story that t1000-daemon.sh tells; prints TAP

Environment: T a scratch folder, SLUISD the program.
"""
import ctypes
import hashlib
import json
import os
import random
import resource
import signal
import struct
import subprocess
import time

import msgpack
from zmq.utils import z85

from sluis_client import Client, Refused, frame, keypair, pack, token_hash, unpack, wait_for, NEVER, PATIENT_S
from tap import children, equal, ok, refused, tell

T, SLUISD = os.environ["T"], os.environ["SLUISD"]
SLUISCTL = os.path.join(os.path.dirname(SLUISD), "sluisctl")


class Daemon:
    def __init__(self, name="state", sets=(), config=None):
        self.dir = os.path.join(T, name)
        self.log_path = self.dir + ".log"
        self.local = "ipc://" + self.dir + ".sock"
        self.args = [SLUISD]
        if config:
            self.args += ["--config", config]
        for s in (f"state_dir={self.dir}", "listen.agents=tcp://127.0.0.1:*", "listen.users=tcp://127.0.0.1:*",
                  "listen.enrol=tcp://127.0.0.1:*", f"listen.local={self.dir}.sock", "liveness.heartbeat=200ms",
                  "liveness.suspect=3s", "liveness.unreachable=8s", "leases.rejoin_grace=0s", *sets):
            self.args += ["--set", s]
        self.proc = None

    def start(self):
        try:
            os.unlink(os.path.join(self.dir, "endpoints.json"))
        except FileNotFoundError:
            pass
        with open(self.log_path, "ab") as log:
            # SIGXFSZ stays ignored, as Python has it: a write beyond a limit then fails as on a full disk
            self.proc = subprocess.Popen(self.args, stderr=log, stdout=subprocess.DEVNULL, restore_signals=False)
        children.append(self.proc)

        def ready():
            if self.proc.poll() is not None:
                raise SystemExit(f"Bail out! sluisd ended with {self.proc.returncode}:\n{self.log()}")
            try:
                with open(os.path.join(self.dir, "endpoints.json"), encoding="utf-8") as f:
                    return json.load(f)
            except FileNotFoundError:
                return None
        self.at = wait_for(30, ready)
        return self

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def end(self, sig=signal.SIGTERM):
        self.proc.send_signal(sig)
        return self.proc.wait(60)

    def client(self, door="local", keys=None, server_key=None):
        if door == "local":
            return Client(self.at["local"])
        return Client(self.at[door], server_key or self.at["server_key"], *(keys or keypair()))

    def admin(self):
        c = self.client()
        c.greet()
        return c

    def once(self):
        """Start it as a second process on the same state; its exit status and what it said."""
        p = subprocess.run(self.args, capture_output=True, text=True, timeout=60)
        return p.returncode, p.stderr


def division(version=0, units=8):
    side = {"flavor": 1, "shape": "gpu", "borrowing": NEVER, "lending": NEVER}
    return {
        "expect_version": version,
        "flavors": [{"name": "h100", "vendor": "nvidia", "model": "*H100*", "weight_milli": 1000,
                     "devices_per_node": 8, "committed_units": units}],
        "qnodes": [
            {"kind": "root", "name": "root", "weight": 1},
            {"kind": "public", "name": "public", "parent": 1, "weight": 1},
            {"kind": "sector", "name": "health", "parent": 2, "weight": 1},
            {"kind": "project", "name": "lungnet", "parent": 3, "weight": 1, "pi": "eva",
             "members": [{"name": "eva"}], "quotas": [dict(side, nominal=units)]},
        ],
    }


def job(name="train", units=1, **more):
    spec = {"shape": "gpu", "klass": "normal", "mode": "script", "units": units, "units_max": units,
            "time_limit_ms": 600000, "name": name}
    spec.update(more)
    return {"spec": spec, "project": "lungnet", "flavor": "h100"}


SCRIPT = {"script": "#!/bin/sh\necho hello\n", "cwd": "/tmp"}


def invite(d, admin, role, name):
    """A token, an enrolment; returns (key pair, ENROLLED)."""
    secret = os.urandom(32)
    admin.command("token_create", {"hash": token_hash(secret), "role": role, "name": name, "uses": 1,
                                   "ttl_ms": 600000})
    keys = keypair()
    door = d.client("enrol", keys)
    done = door.enrol(secret, name)
    door.close()
    return keys, done, secret


# ---- chapters ------------------------------------------------------------------------------------

def starting():
    p = subprocess.run([SLUISD, "--check-config", "--set", "leases.ttl=soon"], capture_output=True, text=True,
                       timeout=60)
    ok(p.returncode == 2 and "leases.ttl" in p.stderr, "a bad configuration exits 2 and names the key", p)
    p = subprocess.run([SLUISD, "--check-config"], capture_output=True, text=True, timeout=60)
    equal(p.returncode, 0, "a good one exits 0")
    p = subprocess.run([SLUISD, "--frobnicate"], capture_output=True, text=True, timeout=60)
    equal(p.returncode, 2, "an unknown option exits 2")
    d = Daemon().start()
    equal(os.stat(os.path.join(d.dir, "keys/server.key")).st_mode & 0o777, 0o600, "the server's key is private")
    c = d.client()
    w = c.greet()
    equal((w["principal"], w["role"], w["cluster"]), ("admin", "admin", "cluster"), "the local door knows us by uid")
    status = c.query("status")
    equal(status["cluster"], "cluster", "status answers")
    ok(status["version"] and status["store_bytes"] > 0 and status["seq"] > 0, "with what only the shell knows", status)
    equal(c.ask("PING", {"nonce": 7})[1]["nonce"], 7, "PING is answered")
    refused(lambda: c.command("resume", {}, idem=bytes(16)) and c.command("recover", {"down_ms": 1}), "ERR_DENIED",
            "commands of sluisd's own are refused from a door")
    rc, text = d.once()
    ok(rc == 69 and "another sluisd holds" in text, "a second sluisd on the same state exits 69", (rc, text))
    return d, c


def people(d, admin):
    secret = os.urandom(32)
    admin.command("token_create", {"hash": token_hash(secret), "role": "member", "name": "eva", "uses": 1,
                                   "ttl_ms": 600000})
    keys = keypair()
    door = d.client("enrol", keys)
    refused(lambda: door.enrol(os.urandom(32), "eva"), "ERR_BADTOKEN", "a wrong token is refused")
    done = door.enrol(secret, "eva")
    equal((done["role"], done["cluster"], done["users"]), ("member", "cluster", d.at["users"]), "a token enrols eva")
    equal(done["server_key"].hex(), z85.decode(d.at["server_key"].encode()).hex(),
          "and tells her the server's key")
    equal(door.enrol(secret, "eva")["cred"], done["cred"], "asked again, it is the same credential")
    other = d.client("enrol")
    refused(lambda: other.enrol(secret, "eva"), "ERR_BADTOKEN", "the token is used up for another key")
    message, body = other.ask("QUERY", {"type": 1})
    ok(message == "REPLY" and body["code"] == -10, "the enrolment door answers no questions", (message, body))
    eva = d.client("users", keys)
    w = eva.greet()
    equal((w["principal"], w["role"]), ("eva", "member"), "eva is let in at the users' door")
    stranger = d.client("users")
    stranger.send("HELLO", {"version_min": 1, "version_max": 1})
    ok(stranger.recv(0.5) is None, "a key nobody knows is not")
    wrong = d.client("users", keys, server_key=keypair()[0])
    wrong.send("HELLO", {"version_min": 1, "version_max": 1})
    ok(wrong.recv(0.5) is None, "nor is a known key talking to another server")
    agents = d.client("agents", keys)
    agents.send("HELLO", {"version_min": 1, "version_max": 1})
    ok(agents.recv(0.5) is None, "nor is eva at the agents' door")
    refused(lambda: eva.command("token_create", {"hash": token_hash(b"x"), "role": "admin", "uses": 1,
                                                 "ttl_ms": 1000}), "ERR_DENIED", "eva makes no tokens")
    refused(lambda: eva.query("log"), "ERR_DENIED", "and does not read the log")
    return keys, eva


def work(eva, admin):
    e = refused(lambda: eva.command("job_submit", job(), payload=SCRIPT), "ERR_NOTFOUND",
                "without a division there is nothing to submit to")
    ok(e.hint, "and the refusal says what to do", e.hint)
    text = b"# the division as a file\n"
    reply = admin.command("division_apply", division(), payload=text)
    view = admin.query("division")
    equal(view["version"], 1, "the division is applied")
    equal(admin.query("payload", hash=view["payload"])["data"], text, "its text is kept")
    ok(view["view_seq"] >= reply["seq"] > 0, "a query sees what was answered before", (view["view_seq"], reply["seq"]))
    refused(lambda: eva.command("job_submit", job()), "ERR_INVAL", "a job needs something to run")
    refused(lambda: eva.command("job_submit", job(payload=b"\1" * 32), payload=SCRIPT), "ERR_INVAL",
            "a payload that does not match its hash is refused")
    refused(lambda: eva.command("job_submit", job(), payload=b"\x81\x01"), "ERR_TRUNCATED",
            "a payload that agents could not read is refused")
    before = admin.query("status")["seq"]
    eva.command("job_submit", job(), payload=SCRIPT, dry_run=True)
    equal(admin.query("status")["seq"], before, "a dry run leaves nothing behind")
    uid = eva.greet()["uid"]
    other = bytes([uid[0] ^ 1]) + uid[1:]
    for who, name in ((eva, "users"), (admin, "local")):
        e = refused(lambda: who.command("job_submit", job(), payload=SCRIPT, cluster=other), "ERR_DENIED",
                    f"what was asked of another cluster is not done here, door {name}")
        ok("another cluster" in e.message and e.hint, "and the refusal says so", e)
    equal(admin.query("status")["seq"], before, "nothing has happened")
    eva.command("job_submit", job("ours"), payload=SCRIPT, cluster=uid)
    key = os.urandom(16)
    first = eva.command("job_submit", job("keep"), payload=SCRIPT, idem=key)
    again = eva.command("job_submit", job("keep"), payload=SCRIPT, idem=key)
    equal(again["result"]["id"], first["result"]["id"], "a command repeated under its key acts once")
    refused(lambda: eva.command("job_submit", job("other"), payload=SCRIPT, idem=key), "ERR_IDEM_CONFLICT",
            "another command under that key is refused")
    ids = [eva.send("COMMAND", {"type": 60, "idem_key": os.urandom(16), "payload": pack("payload", SCRIPT),
                                "body": pack("cmd_job_submit", job(f"p{i}"))}) for i in range(200)]
    replies = {}
    while len(replies) < len(ids):
        got = eva.recv()
        if got is None:
            break
        replies[got[1]] = got[2]
    ok(sorted(replies) == ids and all(r["code"] == 0 for r in replies.values()),
       "200 submissions in flight are all accepted", len(replies))
    ok(len({r["result"]["id"] for r in replies.values()}) == 200, "each with a job of its own")
    return key, first["result"]["id"]


def crash(d, key, job_id, keys):
    before = {j["job"]["id"] for j in d.admin().query("jobs")["items"]}
    head = d.admin().query("log", limit=1)["head_seq"]
    equal(d.end(signal.SIGKILL), -9, "kill -9")
    d.start()
    admin = d.admin()
    after = {j["job"]["id"] for j in admin.query("jobs")["items"]}
    ok(before <= after, "every acknowledged job is there after the restart", before - after)
    ok(admin.query("log", limit=1)["head_seq"] > head, "the log goes on")
    eva = d.client("users", keys)
    eva.greet()
    equal(eva.command("job_submit", job("keep"), payload=SCRIPT, idem=key)["result"]["id"], job_id,
          "the repeated command still acts once")
    equal(admin.query("explain", id=job_id)["jobs"][0]["job"]["spec"]["name"], "keep", "and the job is whole")
    return admin, eva


def log_chain(admin):
    """Section "log file" of FORMAT.md: 'R', length, record, hash; the record holds the hash before it."""
    prev, seq, n = bytes(32), 1, 0
    while True:
        piece = admin.query("log", id=seq)
        data = piece["data"]
        if not data:
            break
        at = 0
        while at < len(data):
            kind, length = struct.unpack_from(">cI", data, at)
            record, digest = data[at + 5:at + 5 + length - 32], data[at + 5 + length - 32:at + 5 + length]
            at += 5 + length
            n += 1
            if kind != b"R" or hashlib.sha256(record).digest() != digest or prev not in record:
                return ok(False, "the log is one chain", f"record {n}")
            prev = digest
        seq = piece["next_seq"]
    ok(n == piece["head_seq"] and prev == piece["head_hash"], "the log is one chain up to its head", (n, piece["head_seq"]))


class Agent:
    """As much of an agent as the story needs: one node with eight devices."""

    def __init__(self, d, keys, boot="boot-1", incarnation=1):
        self.link = d.client("agents", keys)
        self.incarnation, self.boot, self.counter, self.rev, self.units = incarnation, boot, 0, 0, {}
        self.inbox = []

    def hello(self, units=(), **more):
        devices = [{"pci": f"0000:{i:02x}:00.0", "uuid": f"GPU-{i}", "vendor": "nvidia",
                    "model": "NVIDIA H100 80GB HBM3", "memory_mib": 81920, "cores": [0xf << (4 * i)]}
                   for i in range(8)]
        node = {"boot_id": self.boot, "incarnation": self.incarnation, "address": "127.0.0.1", "emulated": True,
                "digest": b"\7" * 32, "cores_n": 32, "memory_mib": 65536, "devices": devices, "units": list(units)}
        node.update(more)
        req = self.link.send("HELLO", {"version_min": 1, "version_max": 1, "program": "story",
                                       "node": pack("cmd_node_hello", node)})
        got = self.until(lambda m: m[1] == req or (m[0] == "GOODBYE" and m[1] in (0, req)))
        if got[0] != "WELCOME":
            raise Refused(got[2]["code"], got[2].get("message", got[2].get("text", "")), got[2].get("hint", ""))
        self.epoch, self.session = got[2]["epoch"], got[2]["session"]
        return got[2]

    def take(self, timeout_s):
        got = self.link.recv(timeout_s)
        if got and got[0] == "DESIRED" and got[2]["session"] == getattr(self, "session", got[2]["session"]):
            self.rev = got[2]["rev"]
            self.units = {(u["alloc"], u["part"]): u for u in got[2]["units"]}
        return got

    def until(self, cond, timeout_s=PATIENT_S):
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            got = self.take(end - time.monotonic())
            if got and cond(got):
                return got
        raise TimeoutError("the agent waits for something that does not come")

    def desired(self, cond, timeout_s=PATIENT_S):
        """Heartbeats, as an agent does, until the desired units fit."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if cond(self.units):
                return True
            self.heartbeat()
            self.take(0.1)
        return False

    def envelope(self):
        self.counter += 1
        return {"rev_seen": self.rev, "epoch": self.epoch, "session": self.session,
                "incarnation": self.incarnation, "counter": self.counter}

    def heartbeat(self):
        self.link.send("HEARTBEAT", self.envelope())

    def asked(self):
        return self.until(lambda m: m[0] == "PING")

    def pong(self):
        self.link.send("PONG", {"nonce": self.asked()[2]["nonce"]})

    def report(self, *units):
        req = self.link.send("REPORT", dict(self.envelope(), units=list(units)))
        got = self.until(lambda m: m[1] == req)
        return got if got[0] != "REPORT_ACK" else [(r["alloc"], r["part"], r["state"]) for r in got[2]["rows"]]


def node(d, admin, eva, job_id):
    keys, done, _ = invite(d, admin, "node", "n1")
    ok(done["node"] > 0 and done["role"] == "node", "a node is enrolled", done)
    user = d.client("users", keys)
    user.send("HELLO", {"version_min": 1, "version_max": 1})
    ok(user.recv(0.5) is None, "a node's key does not open the users' door")
    a = Agent(d, keys)
    w = a.hello()
    ok(w["session"] > 0 and w["node"] == done["node"] and w["hb_ms"] == 200, "its agent is welcomed", w)
    ok(a.desired(lambda u: len(u) > 0), "and gets something to do")
    mine = [u for u in a.units.values() if u["owner"] == job_id]
    ok(mine and mine[0]["phase"] == "prepare" and mine[0]["project"] == "public/health/lungnet",
       "the first job is to be prepared", a.units.keys())
    u = mine[0]
    row = {"alloc": u["alloc"], "part": u["part"], "checkpoint_ago_ms": -1}
    rest = [{"alloc": x["alloc"], "part": x["part"], "state": "prepared", "checkpoint_ago_ms": -1}
            for x in a.units.values() if x["owner"] != job_id]
    req = a.link.send("PAYLOAD_GET", {"hash": u["payload"]})
    got = a.until(lambda m: m[1] == req)[2]
    equal(unpack("payload", got["data"])["script"], SCRIPT["script"], "the agent fetches what to run")
    req = a.link.send("PAYLOAD_GET", {"hash": b"\2" * 32})
    equal(a.until(lambda m: m[1] == req)[2]["code"], -5, "an unknown payload is said to be unknown")
    a.report(dict(row, state="prepared", port=29500), *rest)
    ok(a.desired(lambda us: us.get((u["alloc"], u["part"]), {}).get("phase") == "run"),
       "prepared everywhere: run")
    a.report(dict(row, state="running", port=29500), *rest)
    equal([j["state"] for j in admin.query("jobs", id=job_id)["items"] if j["job"]["id"] == job_id], ["R"],
          "the job runs")
    heard = time.monotonic()
    a.report(dict(row, state="running", port=29500), *rest)
    ago_ms = admin.query("nodes")["items"][0]["heard_ago_ms"]
    ok(0 <= ago_ms <= (time.monotonic() - heard) * 1000 + 1, "the node was just heard", ago_ms)

    relayed(d, a, admin, eva, u, job_id, row, rest)

    newest = max(a.units)[0]
    acks = a.report(dict(row, state="exited", exit_code=3), *rest)
    ok((u["alloc"], u["part"], "exited") in acks, "an exit is acknowledged when it is on the disk", acks)
    acks = a.report(dict(row, state="released", exit_code=3), *rest)
    ok((u["alloc"], u["part"], "released") in acks, "and the release", acks)
    ok(a.desired(lambda us: max(us)[0] > newest), "the next job is put on what became free", (newest, a.units.keys()))
    j = wait_for(5, lambda: [x for x in admin.query("jobs", all=True)["items"]
                             if x["job"]["id"] == job_id and x["state_long"] == "failed"])
    ok(j and j[0]["job"]["exit_code"] == 3, "the job has failed with its exit code", j)
    req = eva.send("QUERY", {"type": 14, "id": job_id})
    relay = a.until(lambda m: m[0] == "OUTPUT_READ")
    a.link.send("OUTPUT", {"output": {"data": b"late", "ended": True}}, req=relay[1])
    got = eva.recv()
    equal(unpack("view_output", got[2]["body"])["data"], b"late", "its output can be read after its end")
    stale(a, admin, u, rest)
    return keys, a


def relayed(d, a, admin, eva, u, job_id, row, rest):
    req = eva.send("QUERY", {"type": 14, "id": job_id, "task": 0})
    relay = a.until(lambda m: m[0] == "OUTPUT_READ")
    equal((relay[2]["alloc"], relay[2]["part"]), (u["alloc"], u["part"]), "a question for output reaches the right part")
    a.link.send("OUTPUT", {"output": {"data": b"hello\n", "size": 6, "ended": False}}, req=relay[1] + 1000)
    a.link.send("OUTPUT", {"output": {"data": b"hello\n", "size": 6, "ended": False}}, req=relay[1])
    got = eva.recv()
    ok(got and got[1] == req and unpack("view_output", got[2]["body"])["data"] == b"hello\n", "and the answer its asker",
       got)
    req = eva.send("QUERY", {"type": 19, "id": job_id, "signal": 10})
    relay = a.until(lambda m: m[0] == "SIGNAL")
    a.link.send("REPLY", {"code": 0}, req=relay[1])
    got = eva.recv()
    ok(got[1] == req and "delivered" in unpack("view_text", got[2]["body"])["text"], "a signal is delivered", got)
    eva.send("QUERY", {"type": 18, "id": job_id})
    relay = a.until(lambda m: m[0] == "EXEC")
    a.link.send("OUTPUT", {"code": -10, "message": "no exec here"}, req=relay[1])
    equal(eva.recv()[2]["code"], -10, "an agent's refusal is handed back")
    tom_keys, _, _ = invite(d, admin, "member", "tom")
    tom = d.client("users", tom_keys)
    tom.greet()
    refused(lambda: tom.query("output", id=job_id), "ERR_DENIED", "others do not read her output")
    refused(lambda: eva.query("output", id=job_id, task=99), "ERR_RANGE", "a task that is not there is said so")
    # no answer at all: the asker hears it, nobody waits for ever
    eva.send("QUERY", {"type": 14, "id": job_id})
    a.until(lambda m: m[0] == "OUTPUT_READ")
    got = None
    for _ in range(80):
        a.report(dict(row, state="running", port=29500), *rest)
        got = eva.recv(0.2)
        if got:
            break
    ok(got and got[2]["code"] == -84, "a silent agent is answered for after a while", got)


def stale(a, admin, u, rest):
    a.report({"alloc": u["alloc"], "part": u["part"], "state": "running", "checkpoint_ago_ms": -1}, *rest)
    ok(a.desired(lambda us: us.get((u["alloc"], u["part"]), {}).get("phase") == "stop"),
       "work that the state no longer knows is told to stop")
    foreign = {"alloc": 10**9, "part": 0, "state": "running", "checkpoint_ago_ms": -1}
    a.report(foreign, *rest)
    ok(a.desired(lambda us: (u["alloc"], u["part"]) not in us) and (10**9, 0) not in a.units,
       "what sluisd has never heard of is left alone")
    equal(a.report(dict(foreign, state="released"), *rest), [], "and never acknowledged")
    acks = a.report({"alloc": u["alloc"], "part": u["part"], "state": "released", "checkpoint_ago_ms": -1}, *rest)
    ok((u["alloc"], u["part"], "released") in acks, "the release of stopped work is", acks)


def sessions(d, keys, a, admin):
    newer = Agent(d, keys, incarnation=2)
    newer.hello()
    bye = a.until(lambda m: m[0] == "GOODBYE")
    equal(bye[2]["code"], -43, "a newer agent of the node supersedes the older one")
    older = Agent(d, keys, incarnation=1)
    refused(older.hello, "ERR_SUPERSEDED", "an older one is not let in")
    a.heartbeat()
    equal(a.until(lambda m: m[0] == "GOODBYE")[2]["code"], -43, "and is not listened to")
    twin = Agent(d, keys, boot="boot-2", incarnation=9)
    refused(twin.hello, "ERR_CONFLICT", "another machine with the same key does not take over a living one")
    older.link.send("PONG", {"nonce": newer.asked()[2]["nonce"]})
    note = lambda: admin.query("nodes")["items"][0]["note"]
    time.sleep(0.2)
    equal(note(), "emulated", "which a stranger's word does not make two")
    newer.pong()
    ok(wait_for(5, lambda: "another machine has its key: boot boot-2" in note()), "once the living one has answered it is told", note())
    for _ in range(3):
        refused(twin.hello, "ERR_CONFLICT", "the other one is refused as often as it tries")
        newer.pong()
    equal(d.log().count("two machines with one key"), 1, "and the journal says it once")
    copy = Agent(d, keys, incarnation=2)
    copy.hello()
    newer.pong()
    ok(wait_for(5, lambda: "another machine has its key: boot boot-1" in note()), "a copy that is the same in everything is told, too")
    ok(newer.until(lambda m: m[0] == "GOODBYE")[2]["code"] == -43, "and the older connection is sent away")
    newer.link.close()
    newer = copy
    refused(twin.hello, "ERR_CONFLICT", "(the first twin is noticed again)")
    newer.pong()
    ok(wait_for(5, lambda: "boot boot-2" in note()), "(and told)", note())
    newer.link.close()
    state = wait_for(10, lambda: [n["state"] for n in admin.query("nodes")["items"] if n["state"] == "unreachable"])
    ok(state, "a silent node becomes unreachable", admin.query("nodes")["items"][0]["state"])
    refused(twin.hello, "ERR_CONFLICT", "nor does the twin take over a silent one: it was heard beside it, so it is no reboot")
    back = Agent(d, keys, incarnation=3)
    back.hello()
    equal(admin.query("nodes")["items"][0]["state"], "ready", "and ready when it greets again")
    ok(wait_for(10, lambda: [n for n in admin.query("nodes")["items"] if n["state"] == "suspect"]),
       "silent again, it is suspect first")
    back.heartbeat()
    ok(wait_for(5, lambda: [n for n in admin.query("nodes")["items"] if n["state"] == "ready"]),
       "one heartbeat is enough to be ready")
    bad = dict(back.envelope(), session=back.session + 5)
    back.link.send("HEARTBEAT", bad)
    equal(back.until(lambda m: m[0] == "GOODBYE")[2]["code"], -8, "an unknown session has to greet again")
    return back


def hostile(d, admin, eva, agent_keys):
    rng = random.Random(4711)
    good = frame("QUERY", 99, {"type": 1})
    deep = good[:16] + b"\x81\x01" * 40 + b"\x01"
    frames = [b"", b"\0", b"SLUI", b"S" * 1000, good[:-1], good + b"\0", good[:4] + b"\x09" + good[5:], deep,
              good[:16] + b"\xdd\xff\xff\xff\xff", good[:16] + b"\xc6\xff\xff\xff\xff", good[:16] + b"\xc1",
              good[:16] + msgpack.packb({1: 1, 99: 1}), good[:16] + b"\x82\x01\x01\x01\x01", b"SLUI" + bytes(12)]
    frames += [rng.randbytes(rng.randrange(200)) for _ in range(300)]
    for _ in range(700):
        f = bytearray(good if rng.random() < 0.5 else frame("COMMAND", 5, {
            "type": rng.choice([1, 2, 3, 20, 21, 30, 31, 40, 60, 80, 83, 9999]), "idem_key": b"\5" * 16,
            "body": rng.randbytes(rng.randrange(60))}))
        for _ in range(rng.randrange(4)):
            f[rng.randrange(len(f))] = rng.randrange(256)
        frames.append(bytes(f))
    for who in (eva, admin):
        for f in frames:
            who.send_raw(f)
        who.socket.send_multipart([b"two", b"frames"])
    a = Agent(d, agent_keys, incarnation=9)
    for f in frames:
        a.link.send_raw(f)
    newcomer = d.client("enrol")
    for f in frames[:100]:
        newcomer.send_raw(f)
    fresh = d.admin()
    ok(fresh.query("status")["cluster"] == "cluster" and d.proc.poll() is None,
       f"{len(frames)} hostile frames at each door leave it alive")
    big = d.client()
    big.send_raw(frame("QUERY", 1, {"type": 1}) + bytes(5 * 1024 * 1024))
    ok(fresh.query("status")["cluster"] == "cluster", "and so does one that is too large")
    v = d.client()
    v.send_raw(good[:4] + b"\x09" + good[5:])
    got = v.recv()
    ok(got and got[0] == "REPLY" and got[1] == 99 and got[2]["code"] == -23, "a later version is refused by name", got)
    equal(v.ask("HELLO", {"version_min": 2, "version_max": 9})[1]["code"], -23, "also in the greeting")
    return fresh


def revoked(d, admin):
    keys, done, _ = invite(d, admin, "member", "mallory")
    m = d.client("users", keys)
    m.greet()
    m.query("status")
    admin.command("key_revoke", {"id": done["cred"], "reason": "left"})
    message, body = m.ask("QUERY", {"type": 1})
    equal((message, body["code"]), ("GOODBYE", -41), "a revoked key hears ERR_REVOKED on its standing connection")
    m.send("QUERY", {"type": 1})
    ok(m.recv(0.5) is None, "and then nothing")
    again = d.client("users", keys)
    again.send("HELLO", {"version_min": 1, "version_max": 1})
    ok(again.recv(0.5) is None, "a new connection with it is refused")


def keeping(d, admin, eva):
    v = admin.query("verify", timeout_s=PATIENT_S)
    ok(v["text"].startswith("intact:"), "the store verifies itself", v["text"])
    ok(not [f for f in os.listdir(os.path.join(d.dir, "backup")) if "verify" in f], "and leaves nothing behind")
    refused(lambda: admin.query("backup", name="../evil"), "ERR_INVAL", "a backup goes nowhere else")
    refused(lambda: eva.query("backup", name="mine"), "ERR_DENIED", "eva makes no backups")
    b = admin.query("backup", name="first.sluis", timeout_s=PATIENT_S)
    ok(os.path.isfile(b["text"]) and b["seq"] > 0, "a backup is written", b)
    refused(lambda: admin.query("backup", name="first.sluis"), "ERR_EXISTS", "and not over an older one")
    # events: waits for the log to grow; it may grow by itself (nodes fall silent), so ask until it is quiet
    for _ in range(50):
        head = admin.query("events")["head_seq"]
        req = admin.send("QUERY", {"type": 20, "id": head + 1})
        first = admin.recv(0.2)
        if first is None:
            break
    eva.command("job_submit", job("event"), payload=SCRIPT)
    got = admin.recv()
    ok(first is None and got and got[1] == req and unpack("view_log", got[2]["body"])["first_seq"] == head + 1,
       "a question for events waits for one", got)
    return b["text"]


def reload(d, conf):
    log = len(d.log())
    seq = d.admin().query("status")["seq"]
    with open(conf, "w", encoding="utf-8") as f:
        f.write("leases: {ttl: 7m}\nmap_size: 2GiB\n")
    d.proc.send_signal(signal.SIGHUP)
    ok(wait_for(10, lambda: "reloaded" in d.log()[log:]), "SIGHUP reads the configuration again", d.log()[log:])
    ok("restart needed key=map_size" in d.log()[log:], "what needs a restart is named", d.log()[log:])
    ok(wait_for(10, lambda: d.admin().query("status")["seq"] > seq), "what may change does, as a logged command")
    with open(conf, "w", encoding="utf-8") as f:
        f.write("log: {level: nonsense}\n")
    d.proc.send_signal(signal.SIGHUP)
    ok(wait_for(10, lambda: "reload failed" in d.log()[log:]), "a bad one is told and the old one kept", d.log()[log:])
    equal(d.admin().query("status")["cluster"], "cluster", "it goes on serving")


def archived():
    """Old records leave for files that follow each other, and the log goes on."""
    d = Daemon("archived", sets=(f"log.archive_dir={T}/archive", "log.archive_after=1s")).start()
    admin = d.admin()
    for version in range(3):
        admin.command("division_apply", division(version, units=8 + version))
    head = admin.query("log", limit=1)["head_seq"]
    time.sleep(1.1)  # age is what is tested: archive_after has no smaller value
    equal(d.end(), 0, "a daemon with an archive ends")
    d.start()
    admin = d.admin()

    def archive():
        """What is there, first and last of each; a file that is being written has another name."""
        names = sorted(os.listdir(f"{T}/archive")) if os.path.isdir(f"{T}/archive") else []
        return [tuple(map(int, n[4:-6].split("-"))) for n in names if n.startswith("log-") and n.endswith(".sluis")]
    files = wait_for(10, archive) or [(0, 0)]
    last = files[0][1]
    # of what this start has written, some may be old enough, if it was a slow one
    ok(len(files) == 1 and files[0][0] == 1 and last >= head, "records that are old enough go to one file", (files, head))
    ok(wait_for(10, lambda: admin.query("log")["first_seq"] == last + 1), "and the store has forgotten them",
       admin.query("log")["first_seq"])
    refused(lambda: admin.query("log", id=1), "ERR_GONE", "who asks for them hears that they are gone")
    equal(admin.query("division")["version"], 3, "the state is what it was")
    ok(admin.query("verify", timeout_s=PATIENT_S)["text"].startswith("intact"), "and whole")
    equal(d.end(signal.SIGKILL), -9, "(killed)")
    time.sleep(1.1)
    d.start()
    ok(wait_for(10, lambda: len(archive()) == 2), "the next file", archive())
    equal(archive()[1][0], last + 1, "begins where the first one ended")
    d.end()
    offline(d, [f"{T}/archive/log-{a:020}-{b:020}.sluis" for a, b in archive()])


def ctl(*args):
    """Its exit status, and all it said."""
    p = subprocess.run([SLUISCTL, *args], capture_output=True, text=True, timeout=PATIENT_S, check=False)
    return p.returncode, p.stdout + p.stderr


def offline(d, files):
    """What the archive holds and what the store still has are one log, for somebody without the daemon."""
    quiet = Daemon("archived").start()    # without an archive: nothing moves while it is read
    admin = quiet.admin()
    admin.command("division_apply", division(3, units=11))
    rest = f"{T}/rest.sluis"
    rc, text = ctl("--state-dir", quiet.dir, "log", "export", rest, "--from", str(admin.query("log")["first_seq"]))
    ok(rc == 0, "what is not archived is exported", text)
    kept = admin.query("verify", timeout_s=PATIENT_S)
    equal(quiet.end(), 0, "(sluisd ends)")
    for f in (*files, rest):
        rc, text = ctl("log", "verify", f)
        ok(rc == 0, f"{os.path.basename(f)} is intact", text)
    rc, text = ctl("log", "replay", "--json", *files, rest)
    got = json.loads(text)["item"] if rc == 0 else text
    ok(rc == 0 and (got["digest"], got["head"]) == (kept["digest"].hex(), kept["hash"].hex()),
       "applied again, one after the other, they are the state of the daemon", (got, kept))
    rc, text = ctl("log", "replay", files[0], rest)
    ok(rc == 1 and "rest.sluis" in text, "one that is left out is missed", (rc, text))
    damaged = os.path.basename(files[-1])    # of a long path the beginning is left out
    with open(files[-1], "rb") as f:
        whole = f.read()
    with open(files[-1], "wb") as f:
        f.write(whole[:len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1:])
    for name, args in (("verify", files[-1:]), ("replay", (*files, rest))):
        rc, text = ctl("log", name, *args)
        ok(rc == 1 and damaged in text, f"one flipped byte, and log {name} names the file", (rc, text))
    log = len(d.log())
    d.start()
    ok(wait_for(10, lambda: "archive failed" in d.log()[log:]) and damaged in d.log()[log:],
       "so does a sluisd that is to go on from it", d.log()[log:])
    equal(sorted(os.listdir(f"{T}/archive")), [os.path.basename(f) for f in files], "which adds nothing to it")
    d.end()


def idle_node():
    """A node with nothing to do is told at once when there is something, and when sluisd goes."""
    d = Daemon("idle").start()
    admin = d.admin()
    admin.command("division_apply", division())
    keys, _, _ = invite(d, admin, "node", "n1")
    a = Agent(d, keys)
    a.hello()
    got = a.until(lambda m: m[0] == "DESIRED")
    equal(got[2]["units"], [], "nothing is wanted of an idle node")
    job_id = admin.command("job_submit", job(), payload=SCRIPT)["result"]["id"]
    got = a.until(lambda m: m[0] == "DESIRED")
    equal([(u["owner"], u["phase"]) for u in got[2]["units"]], [(job_id, "prepare")], "a job reaches it unasked")
    equal(d.end(), 0, "sluisd ends")
    ok(a.until(lambda m: m[0] == "GOODBYE")[2]["code"] == -13, "and says so to its agents")


def disk_fails():
    """No write succeeds any more, in the middle of the run."""
    d = Daemon("failing").start()
    admin = d.admin()
    admin.command("division_apply", division())
    kept = admin.command("job_submit", job("kept"), payload=SCRIPT)["result"]["id"]
    key = os.urandom(16)
    resource.prlimit(d.proc.pid, resource.RLIMIT_FSIZE, (0, 0))
    try:
        got = admin.command("job_submit", job("lost"), payload=SCRIPT, idem=key, timeout_s=3)
    except TimeoutError:
        got = None
    equal(got, None, "nobody is answered when the disk did not take it")
    equal(d.proc.wait(PATIENT_S), 70, "a failed write ends it with 70")
    d.start()
    admin = d.admin()
    jobs = {j["job"]["spec"]["name"]: j["job"]["id"] for j in admin.query("jobs")["items"]}
    equal(jobs, {"kept": kept}, "the next start has what was acknowledged, and no more")
    admin.command("job_submit", job("lost"), payload=SCRIPT, idem=key)
    equal(len(admin.query("jobs")["items"]), 2, "the same command is then accepted")
    equal(d.end(), 0, "and all is well")


def unheard(backup):
    """The copy says of its node that it is ready; in safe mode only what is heard counts."""
    r = Daemon("unheard", sets=("liveness.suspect=60s", "liveness.unreachable=120s"))
    subprocess.run([SLUISD, "--restore", backup, "--state-dir", r.dir], check=True, capture_output=True, timeout=60)
    r.start()
    ready = [n["node"]["name"] for n in r.admin().query("nodes")["items"] if n["state"] == "ready"]
    ok("traveller" in ready, "a copy has a node as ready", ready)  # perhaps also the one that fell silent before
    status = r.admin().query("status")
    equal(status["nodes_ready"], 0, "which does not count as ready before it is heard")
    ok(any(n.startswith(f"not heard since sluisd started: {len(ready)} of ") for n in status["notes"]), "and a note says so",
       status["notes"])
    equal(r.end(), 0, "(it ends)")


def restored(backup, jobs):
    r, started = Daemon("restored"), time.time()
    p = subprocess.run([SLUISD, "--restore", backup, "--state-dir", r.dir], capture_output=True, text=True, timeout=60)
    ok(p.returncode == 0 and "safe mode" in p.stdout, "a backup is restored", p)
    p = subprocess.run([SLUISD, "--restore", backup, "--state-dir", r.dir], capture_output=True, text=True, timeout=60)
    equal(p.returncode, 2, "and not over a state that is there")
    r.start()
    c = r.admin()
    p = subprocess.run([SLUISD, "--restore", backup, "--state-dir", r.dir], capture_output=True, text=True, timeout=60)
    equal(p.returncode, 69, "nor over one that a sluisd holds")
    status = c.query("status")
    ok(status["safe_mode"], "it starts in safe mode")
    ok(jobs <= {j["job"]["id"] for j in c.query("jobs", all=True)["items"]}, "with what the backup had")
    keys, _, _ = invite(r, c, "node", "traveller")
    first = Agent(r, keys)
    epoch = first.hello()["epoch"]
    ok(epoch >= int(started * 1000) << 18, "its epoch is of this moment: two restores of one copy part ways", epoch)
    seen = epoch + (1 << 40)    # the copy was restored before, by a clock that was ahead, and nodes obeyed that one
    second = Agent(r, keys, incarnation=2)
    raised = second.hello(epoch_seen=seen)["epoch"]
    ok(raised > seen + (1 << 32) - 1, "a node that has obeyed another one obeys this, as it is the latest", (raised, seen))
    second.heartbeat()
    ok(second.until(lambda m: m[0] == "HEARTBEAT_ACK"), "and is listened to")
    equal(c.query("status")["nodes_ready"], 1, "a node that it has heard is ready")
    unheard(c.query("backup", name="with-a-node.sluis", timeout_s=PATIENT_S)["text"])
    refused(lambda: Agent(r, keys, incarnation=3).hello(epoch_seen=1 << 62), "ERR_SUPERSEDED", "a number made up is not believed")
    c.command("resume", {})
    ok(not c.query("status")["safe_mode"], "until an admin resumes it")
    refused(lambda: Agent(r, keys, incarnation=4).hello(epoch_seen=raised + 1), "ERR_SUPERSEDED",
            "from then on a node that has obeyed a later one is not greeted")
    ok("later sluisd" in r.log(), "and the journal says so")
    equal(Agent(r, keys, incarnation=5).hello(epoch_seen=raised)["epoch"], raised, "all others are")
    equal(r.end(), 0, "SIGTERM ends it with 0")
    r.start()
    ok(not r.admin().query("status")["safe_mode"], "and it stays resumed")
    equal(r.end(signal.SIGINT), 0, "so does SIGINT")
    newer(r)


def newer(d):
    """Raise the schema version in the store's meta table, as a later sluisd would."""
    lmdb = ctypes.CDLL("liblmdb.so.0")

    class Val(ctypes.Structure):
        _fields_ = [("size", ctypes.c_size_t), ("data", ctypes.c_void_p)]

    env, txn, dbi, cursor = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_uint(), ctypes.c_void_p()
    lmdb.mdb_env_create(ctypes.byref(env))
    lmdb.mdb_env_set_maxdbs(env, 16)
    lmdb.mdb_env_set_mapsize(env, ctypes.c_size_t(1 << 30))
    path = os.path.join(d.dir, "data.mdb").encode()
    assert lmdb.mdb_env_open(env, path, 0x4000, 0o600) == 0  # MDB_NOSUBDIR
    assert lmdb.mdb_txn_begin(env, None, 0, ctypes.byref(txn)) == 0
    assert lmdb.mdb_dbi_open(txn, b"meta", 0, ctypes.byref(dbi)) == 0
    assert lmdb.mdb_cursor_open(txn, dbi, ctypes.byref(cursor)) == 0
    key, val, found = Val(), Val(), False
    while lmdb.mdb_cursor_get(cursor, ctypes.byref(key), ctypes.byref(val), 8) == 0:  # MDB_NEXT
        if ctypes.string_at(key.data, key.size).startswith(b"schema"):
            raw = bytearray(ctypes.string_at(val.data, val.size))
            found = raise_version(raw)
            buf = ctypes.create_string_buffer(bytes(raw), len(raw))
            k = ctypes.create_string_buffer(ctypes.string_at(key.data, key.size), key.size)
            kv, vv = Val(key.size, ctypes.cast(k, ctypes.c_void_p)), Val(len(raw), ctypes.cast(buf, ctypes.c_void_p))
            assert lmdb.mdb_put(txn, dbi, ctypes.byref(kv), ctypes.byref(vv), 0) == 0
            break
    lmdb.mdb_cursor_close(cursor)
    assert lmdb.mdb_txn_commit(txn) == 0
    lmdb.mdb_env_close(env)
    ok(found, "(the state now says that a newer sluisd wrote it)")
    rc, text = d.once()
    ok(rc == 78 and "newer" in text, "a state of a newer version exits 78", (rc, text))


def raise_version(raw):
    """Big-endian number at the start of the value: one more."""
    width = 8 if len(raw) >= 8 else 4 if len(raw) >= 4 else len(raw)
    raw[width - 1] += 1
    return True


def main():
    conf = os.path.join(T, "sluisd.conf")
    with open(conf, "w", encoding="utf-8") as f:
        f.write("log: {level: info}\n")
    d, admin = starting()
    equal(d.end(), 0, "SIGTERM ends it with 0")
    d = Daemon(config=conf).start()
    admin = d.admin()
    keys, eva = people(d, admin)
    key, job_id = work(eva, admin)
    admin, eva = crash(d, key, job_id, keys)
    log_chain(admin)
    agent_keys, agent = node(d, admin, eva, job_id)
    sessions(d, agent_keys, agent, admin)
    admin = hostile(d, admin, eva, agent_keys)
    eva = d.client("users", keys)
    eva.greet()
    revoked(d, admin)
    backup = keeping(d, admin, eva)
    jobs = {j["job"]["id"] for j in admin.query("jobs", all=True)["items"]}
    reload(d, conf)
    log = d.log()
    ok("job submitted job=" in log and "node ready node=n1" in log and "key revoked key=" in log,
       "the journal tells what was committed")
    ok("message without identity" not in log, "no message came without an identity")
    ok(not [line for line in log.splitlines() if not line.startswith("<")], "every line of it has its priority",
       [line for line in log.splitlines() if not line.startswith("<")][:3])
    equal(d.end(), 0, "it ends when asked to")
    restored(backup, jobs - {max(jobs)})
    archived()
    idle_node()
    disk_fails()


if __name__ == "__main__":
    tell(main)
