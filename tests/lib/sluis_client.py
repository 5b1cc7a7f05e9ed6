"""sluis_client.py - a second implementation of the wire, for tests

Written against proto/PROTOCOL.md alone, and reading its tables (numbers, structs, enums) from there: if
this program and sluisd understand each other, the document is enough for somebody else's client.
Needs python3-zmq and python3-msgpack.

    c = Client("ipc:///run/sluis/sluisd.sock")
    c.greet()
    c.query("status")["cluster"]
    c.command("job_submit", {"project": "lungnet", ...}, payload={"script": "#!/bin/sh\ntrue\n"})
"""
import hashlib
import os
import re
import struct
import time

import msgpack
import zmq

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NEVER = 2**63 - 1
PATIENT_S = 60      # for an answer that is to come: a bound, not a promise of speed


class Refused(Exception):
    """sluisd answered with a code other than 0."""

    def __init__(self, code, message, hint="", reason=0):
        super().__init__(f"{ERRORS.get(code, code)}: {message} [{hint}]")
        self.code, self.name, self.message, self.hint, self.reason = (
            code, ERRORS.get(code, str(code)), message, hint, reason)


def wait_for(seconds, call):
    """Polls until `call` returns something true; returns it, or None. The bound ends what hangs, and is never below
    PATIENT_S: nothing fails for a slow machine."""
    seconds, late = max(seconds, PATIENT_S), False
    until = time.monotonic() + seconds
    while True:
        got = call()
        if got:
            return got
        if late:    # asked once more after the end: we may have stood still between asking and looking at the clock
            code = getattr(call, "__code__", None)
            where = f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}" if code else call
            print(f"# gave up after {seconds} s: {where}", flush=True)
            return None
        late = time.monotonic() >= until
        time.sleep(0.02)


def stays(seconds, call):
    """`call` is true now and for some seconds on, as far as one can see."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not call():
            return False
        time.sleep(0.02)
    return True


# ---- the tables of PROTOCOL.md -----------------------------------------------------------------

def _tables():
    with open(os.path.join(ROOT, "proto", "PROTOCOL.md"), encoding="utf-8") as f:
        text = f.read()
    section = {m.group(1): m.group(2) for m in
               re.finditer(r"^### (\w+)\n(.*?)(?=^### |^## |\Z)", text, re.M | re.S)}

    def rows(name):
        for line in section[name].splitlines():
            cells = [c.strip().strip("`") for c in line.strip().strip("|").split("|")]
            if re.match(r"-?(0x)?[0-9a-f]+$", cells[0]) and len(cells) > 1:
                yield cells

    def block(name):
        body = re.search(r"```\n(.*?)```", section[name], re.S).group(1)
        return re.sub(r"\n\s+", " ", body).splitlines()

    messages = {c[1]: (int(c[0], 16), c[2]) for c in rows("Messages")}
    commands = {c[1]: (int(c[0]), c[2]) for c in rows("Commands")}
    queries = {c[1]: (int(c[0]), c[2]) for c in rows("Queries")}
    errors = {int(c[0]): c[1] for c in rows("Errors")}
    enums = {}
    for line in block("Enums"):
        name, values = line.split(": ", 1)
        enums[name] = {w: int(n) for n, w in (v.split(" ", 1) for v in values.split(", "))}
    structs = {}
    for line in block("Structs"):
        name, fields = line.split(": ", 1)
        structs[name.split()[0]] = [tuple(f.strip().split(" ", 2)) for f in fields.split(", ")]
    bare = {line.split(": ", 1)[0].split()[0] for line in block("Structs") if "(bare)" in line.split(": ", 1)[0]
            or " bare" in line.split(": ", 1)[0]}
    return messages, commands, queries, errors, enums, structs, bare


MESSAGES, COMMANDS, QUERIES, ERRORS, ENUMS, STRUCTS, BARE = _tables()
MESSAGE_OF = {number: (name, body) for name, (number, body) in MESSAGES.items()}


def _value_out(kind, value):
    if kind.startswith("{"):
        return to_wire(kind[1:-1], value)
    if kind.startswith("["):
        name = re.match(r"\[(\w+)\]", kind).group(1)
        return [_element_out(name, v) for v in value]
    if kind.startswith("enum("):
        return ENUMS[kind[5:-1]][value] if isinstance(value, str) else value
    return value


def _element_out(name, value):
    if name in BARE:
        return value
    return to_wire(name, value)


def to_wire(name, value):
    """A dict by field names → a map by keys, ascending, without what is zero or empty."""
    out = {}
    left = dict(value)
    for key, field, kind in STRUCTS[name]:
        if field not in left:
            continue
        v = _value_out(kind, left.pop(field))
        if v in (0, False, "", b"", [], {}, None) or (kind.startswith("bin=") and not any(v)):
            continue
        out[int(key)] = v
    if left:
        raise KeyError(f"{name} has no {', '.join(left)}")
    return out


def _value_in(kind, v):
    if kind.startswith("{"):
        return from_wire(kind[1:-1], v)
    if kind.startswith("["):
        name = re.match(r"\[(\w+)\]", kind).group(1)
        return [e if name in BARE else from_wire(name, e) for e in v]
    if kind.startswith("enum("):
        return {n: w for w, n in ENUMS[kind[5:-1]].items()}[v]
    return v


def _zero(kind):
    if kind.startswith("{"):
        return from_wire(kind[1:-1], {})
    if kind.startswith("["):
        return []
    if kind.startswith("enum("):
        return {n: w for w, n in ENUMS[kind[5:-1]].items()}[0]
    if kind.startswith(("str", "text")):
        return ""
    if kind.startswith("bin="):
        return bytes(int(kind[4:]))
    if kind.startswith("bin"):
        return b""
    if kind.startswith("words"):
        return []
    return False if kind == "bool" else 0


def from_wire(name, wire):
    wire = dict(wire)
    out = {}
    for key, field, kind in STRUCTS[name]:
        out[field] = _value_in(kind, wire.pop(int(key))) if int(key) in wire else _zero(kind)
    if wire:
        raise ValueError(f"{name}: unknown keys {sorted(wire)}")
    return out


def pack(name, value):
    return msgpack.packb(to_wire(name, value), use_bin_type=True)


def unpack(name, data):
    return from_wire(name, msgpack.unpackb(data, raw=False, strict_map_key=False)) if data else from_wire(name, {})


def frame(message, req, body):
    """`body`: a dict, or bytes that are taken as they are."""
    number, struct_name = MESSAGES[message]
    data = body if isinstance(body, bytes) else pack(struct_name, body)
    return b"SLUI" + struct.pack(">BBHQ", 1, 0, number, req) + data


def unframe(data):
    if data[:4] != b"SLUI":
        raise ValueError("no frame")
    _, _, number, req = struct.unpack(">BBHQ", data[4:16])
    name, body = MESSAGE_OF[number]
    return name, req, unpack(body, data[16:])


def keypair():
    """(public, secret), both Z85."""
    return zmq.curve_keypair()


class Client:
    """One DEALER. server_key, public, secret are Z85; all None for ipc."""

    context = None

    def __init__(self, endpoint, server_key=None, public=None, secret=None):
        if Client.context is None:
            Client.context = zmq.Context()
        self.socket = Client.context.socket(zmq.DEALER)
        self.socket.linger = 0
        if server_key:
            self.socket.curve_serverkey = server_key if isinstance(server_key, bytes) else server_key.encode()
            self.socket.curve_publickey, self.socket.curve_secretkey = public, secret
        self.socket.connect(endpoint)
        self.req = 0

    def close(self):
        self.socket.close()

    def send_raw(self, data):
        self.socket.send(data)

    def send(self, message, body, req=None):
        if req is None:
            self.req += 1
            req = self.req
        self.socket.send(frame(message, req, body))
        return req

    def recv(self, timeout_s=PATIENT_S):
        """(message, request id, body), or None when nothing came."""
        if not self.socket.poll(int(timeout_s * 1000)):
            return None
        return unframe(self.socket.recv())

    def ask(self, message, body, timeout_s=PATIENT_S):
        req = self.send(message, body)
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            got = self.recv(until - time.monotonic())
            if got is None:
                break
            if got[1] == req:
                return got[0], got[2]
        raise TimeoutError(f"no answer to {message}")

    @staticmethod
    def _judge(body):
        if body.get("code"):
            raise Refused(body["code"], body.get("message", body.get("text", "")), body.get("hint", ""),
                          body.get("reason", 0))
        return body

    def greet(self, timeout_s=PATIENT_S, **more):
        name, body = self.ask("HELLO", dict(version_min=1, version_max=1, program="sluis_client.py", **more),
                              timeout_s)
        if name != "WELCOME":
            self._judge(body)
            raise ValueError(f"{name} is no answer to HELLO")
        return body

    def command(self, command, body, payload=b"", idem=None, dry_run=False, cluster=b"", timeout_s=PATIENT_S):
        """`payload`: bytes, or a dict of struct payload; `cluster`: the uid of the one it is for. Returns the REPLY."""
        number, struct_name = COMMANDS[command]
        if isinstance(payload, dict):
            payload = pack("payload", payload)
        name, reply = self.ask("COMMAND", {"type": number, "idem_key": idem or os.urandom(16), "dry_run": dry_run,
                                           "body": pack(struct_name, body), "payload": payload, "cluster": cluster}, timeout_s)
        if name not in ("REPLY", "GOODBYE"):
            raise ValueError(f"{name} is no answer to COMMAND")
        return self._judge(reply)

    def query(self, query, timeout_s=PATIENT_S, **more):
        """The view, lists of further frames joined; "view_seq" is the position it is true at."""
        number, struct_name = QUERIES[query]
        req = self.send("QUERY", dict(type=number, **more))
        view = None
        while True:
            got = self.recv(timeout_s)
            if got is None:
                raise TimeoutError(f"no answer to {query}")
            if got[1] != req:
                continue
            body = self._judge(got[2])
            piece = unpack(struct_name, body["body"])
            if view is None:
                view = piece
                view["view_seq"] = body["seq"]
            else:
                for field, value in piece.items():
                    if isinstance(value, list):
                        view[field] += value
            if not body["more"]:
                return view

    def enrol(self, secret, name):
        message, body = self.ask("ENROL", {"secret": secret, "name": name, "program": "sluis_client.py"})
        if message != "ENROLLED":
            self._judge(body)
        return body


def token_hash(secret):
    return hashlib.sha256(secret).digest()
