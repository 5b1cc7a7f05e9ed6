#!/usr/bin/env python3
"""storm.py AGENTS | --hostile [SECONDS] | --soak SECONDS AGENTS - many agents against the real sluisd, in peace and under attack

AGENTS: each a DEALER with a CURVE key of its own, enrolled at the real door with one token, spread over
client processes of 2,500 at most. They greet (cold start), sluisd is killed with SIGKILL and started again
on the same ports, and the time counts from that start until every agent has a WELCOME of the new process.
These agents are written anew here, their back-off too, after that of the agent. With BIN, the folder of the
programs, REAL sluis-agents are among them, whose back-off is their own.
--hostile: 100 agents go on, and admins come, while rubbish arrives at every door, the local one too: bytes that
are no ZMTP, 500 connections that never speak, senders of a byte at a time, and, from peers with good keys, frames
that are too large, nested too deep, or announce millions of elements in five bytes.
--soak: every five seconds somebody is killed or paused; memory and descriptors stay where they are.

Prints `name: value unit`; exits 1 when a bound does not hold: t100 of the restart 20 s and 60 kB per agent;
under attack a heartbeat p99 of twice the quiet one (or 50 ms, where that is more), no session lost, 64 MiB.
With PATIENT, as a test has it, 120 s and 5 s: speed is for benchmarks.
"""
import heapq
import multiprocessing
import os
import random
import re
import resource
import select
import signal
import socket
import struct
import sys
import time

import msgpack
import zmq

from daemon_story import Daemon, invite
from sluis_client import MESSAGES, STRUCTS, Client, frame, keypair, pack, token_hash, unframe

PER_PROCESS, HEARTBEAT_S = 2500, 10.0     # sluisd.conf(5)
GREET_S, RECONNECT_S = 10, 30              # agent/core/agent.c
HALF_OPEN, SLOW, REAL = 500, 40, 3
GOOD_T100_S, GOOD_KB, GOOD_GROWTH_KB, GOOD_LOG_LINES = 20.0, 60.0, 64 << 10, 300
GOOD_P99_S = 0.05
ROUNDS = 20         # of the attacker, at least, however slow the machine
if os.environ.get("PATIENT"):   # a test: what takes so long does not end, or is starved by what it should refuse
    GOOD_T100_S, GOOD_P99_S = 120.0, 5.0


def quantile(sorted_values, percent):
    return sorted_values[max(0, (len(sorted_values) * percent + 99) // 100 - 1)]


def figure(name, value, unit):
    print(f"{name}: {value:.3f} {unit}" if isinstance(value, float) else f"{name}: {value} {unit}", flush=True)


# ---- one client process ----------------------------------------------------------------------------

# What a storm reads of an answer: three numbers, by key. All of a client that did more would compete with sluisd.
READ = {name: {field: int(key) for key, field, _ in STRUCTS[MESSAGES[name][1]]}
        for name in ("WELCOME", "DESIRED", "REPLY", "GOODBYE")}
NAMES = {number: name for name, (number, _) in MESSAGES.items()}


def glance(data):
    """(message, request id, a function from a field's name to its value) of a frame."""
    number, req = struct.unpack_from(">HQ", data, 6)
    name = NAMES[number]
    body = msgpack.unpackb(data[16:], strict_map_key=False) if name in READ else {}
    return name, req, lambda field: body.get(READ[name][field], 0)


class Node:
    """As much of an agent as a storm needs."""

    def __init__(self, number):
        self.number, self.keys = number, keypair()
        self.socket = self.monitor = None
        self.epoch = self.session = self.rev = self.incarnation = 0
        self.welcomed = 0.0
        self.next_at = 0.0      # the next heartbeat, or when to try a new socket
        self.backoff = 1.0      # seconds, doubled by each greeting that nobody answered
        self.sent = {}          # heartbeat -> when
        self.req = 0

    def body(self):
        devices = [{"pci": f"0000:{i:02x}:00.0", "uuid": f"GPU-{self.number}-{i}", "vendor": "nvidia",
                    "model": "NVIDIA H100 80GB HBM3", "memory_mib": 81920, "cores": [0xf << (4 * i)]}
                   for i in range(2)]
        return {"boot_id": f"boot-{self.number}", "incarnation": self.incarnation, "address": "127.0.0.1", "emulated": True,
                "digest": b"\7" * 32, "cores_n": 8, "memory_mib": 65536, "devices": devices, "units": []}

    def begin(self):
        """A new agent of the node: what it will say is the same from now on."""
        self.incarnation += 1
        self.greeting = pack("msg_hello", {"version_min": 1, "version_max": 1, "program": "storm",
                                           "node": pack("cmd_node_hello", self.body())})

    def hello(self, now):
        self.session = 0
        self.sent.clear()
        self.req += 1
        self.put(frame("HELLO", self.req, self.greeting))

    def heartbeat(self, now):
        self.req += 1
        self.sent[self.req] = now
        self.put(frame("HEARTBEAT", self.req, {"epoch": self.epoch, "session": self.session, "rev_seen": self.rev,
                                               "incarnation": self.incarnation}))

    def put(self, data):
        try:
            self.socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            pass


class Process:
    """The agents of one process and their loop."""

    def __init__(self, at, numbers, every, pipe):
        self.at, self.every, self.pipe = at, every, pipe
        self.nodes = [Node(n) for n in numbers]
        self.place = {n.number: i for i, n in enumerate(self.nodes)}
        self.context = zmq.Context(io_threads=1)
        self.context.max_sockets = 4 * PER_PROCESS + 100
        self.rtt, self.lost, self.fds = [], 0, {}
        self.epoll = select.epoll()
        self.due = []           # (when, place in nodes), the earliest first; some are out of date
        self.waiting = None     # welcomes before this do not count
        self.missing = 0        # of those that do

    def dealer(self, door, keys, connect=True):
        s = self.context.socket(zmq.DEALER)
        s.linger, s.reconnect_ivl, s.reconnect_ivl_max = 0, 100, 1000 * RECONNECT_S
        s.curve_serverkey = self.at["server_key"].encode()
        s.curve_publickey, s.curve_secretkey = keys
        if connect:
            s.connect(self.at[door])
        return s

    def enrol(self, secret):
        for first in range(0, len(self.nodes), 100):
            some = self.nodes[first:first + 100]
            doors = [self.dealer("enrol", n.keys) for n in some]
            for door, n in zip(doors, some):
                door.send(frame("ENROL", 1, {"secret": secret, "name": f"node-{n.number}", "program": "storm"}))
            for door in doors:
                if not door.poll(60000):
                    raise SystemExit("no answer at the enrolment door")
                message, _, body = unframe(door.recv())
                if message != "ENROLLED":
                    raise SystemExit(f"not enrolled: {body}")
                door.close()

    def drain(self, n):
        while True:
            try:
                message, req, field = glance(n.socket.recv(zmq.NOBLOCK))
            except zmq.Again:
                return
            now = time.monotonic()
            if message == "WELCOME":
                if self.waiting is not None and n.welcomed <= self.waiting:
                    self.missing -= 1
                n.epoch, n.session, n.welcomed, n.backoff = field("epoch"), field("session"), now, 1.0
                n.rev = 0
                self.wake(n, now + random.uniform(0, self.every))
            elif message == "DESIRED":
                n.rev = field("rev")
            elif message == "HEARTBEAT_ACK" and req in n.sent:
                self.rtt.append(now - n.sent.pop(req))
            elif message == "GOODBYE" and n.session:
                self.lost += 1
                self.greet(n, now)
            elif message == "REPLY" and field("code"):
                raise SystemExit(f"refused: {field('message')}")

    def wake(self, n, at):
        n.next_at = at
        heapq.heappush(self.due, (at, self.place[n.number]))

    def greet(self, n, now):
        n.hello(now)
        self.wake(n, now + GREET_S)

    def open(self, n):
        n.socket = self.dealer("agents", n.keys, connect=False)
        n.monitor = n.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        for s in (n.socket, n.monitor):
            fd = s.getsockopt(zmq.FD)
            self.fds[fd] = n
            self.epoll.register(fd, select.EPOLLIN | select.EPOLLET)
        n.socket.connect(self.at["agents"])
        n.session = 0
        self.wake(n, time.monotonic() + GREET_S + RECONNECT_S)

    def drop(self, n):
        for s in (n.socket, n.monitor):
            fd = s.getsockopt(zmq.FD)
            self.epoll.unregister(fd)
            del self.fds[fd]
        n.socket.disable_monitor()
        n.socket.close()
        self.open(n)

    def events(self, n):
        """Greet when the connection stands, be silent when it does not."""
        while True:
            try:
                event, _ = n.monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            now = time.monotonic()
            if struct.unpack_from("=H", event)[0] == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.greet(n, now)
            else:
                n.session = 0
                self.wake(n, now + RECONNECT_S)

    def turn(self):
        if self.waiting is not None and not self.missing:
            self.pipe.send(sorted(n.welcomed - self.waiting for n in self.nodes))
            self.waiting = None
        for fd, _ in self.epoll.poll(0.01):
            if fd in self.fds:
                self.look(self.fds[fd])
        now = time.monotonic()
        while self.due and self.due[0][0] <= now:
            at, place = heapq.heappop(self.due)
            n = self.nodes[place]
            if at != n.next_at:
                continue
            if n.session and len(n.sent) < 3:
                n.heartbeat(now)
                self.wake(n, now + self.every)
                self.look(n)    # its descriptor tells of edges only
            else:
                self.drop(n)
                self.wake(n, now + GREET_S + n.backoff * random.uniform(0.5, 1.5))
                n.backoff = min(RECONNECT_S, 2 * n.backoff)

    def look(self, n):
        self.events(n)
        self.drain(n)

    def wait(self, since):
        self.waiting, self.missing = since, len(self.nodes)

    def run(self):
        while True:
            while self.pipe.poll():
                order, arg = self.pipe.recv()
                if order == "end":
                    os._exit(0)     # thousands of sockets are closed by the kernel
                if order == "enrol":
                    self.enrol(arg)
                    self.pipe.send("enrolled")
                elif order == "connect":
                    self.wait(arg)
                    for n in self.nodes:
                        n.begin()
                        self.open(n)
                elif order == "drop":       # as many as `arg` percent die and are started again
                    for n in self.nodes:
                        if random.randrange(100) < arg:
                            n.begin()
                            self.drop(n)
                elif order == "restarted":
                    self.wait(arg)
                elif order == "rtt":
                    self.pipe.send((sorted(self.rtt), self.lost))
                    self.rtt, self.lost = [], 0
            self.turn()


class Fleet:
    def __init__(self, d, n, every, per_process=PER_PROCESS):
        self.pipes, self.processes = [], []
        count = max(2, -(-n // per_process))
        for i in range(count):
            ours, theirs = multiprocessing.Pipe()
            p = multiprocessing.Process(target=lambda i=i, t=theirs: Process(d.at, range(i, n, count), every, t).run(),
                                        daemon=True)
            p.start()
            self.pipes.append(ours)
            self.processes.append(p)

    def tell(self, order, arg=None):
        for p in self.pipes:
            p.send((order, arg))

    def hear(self, timeout_s):
        until, said = time.monotonic() + timeout_s, []
        for p in self.pipes:
            if not p.poll(max(0.0, until - time.monotonic())):
                raise SystemExit("FAILED: not every agent was answered in time")
            said.append(p.recv())
        return said


def enrol(d, fleet, n):
    secret, begin = os.urandom(32), time.monotonic()
    admin = d.admin()
    admin.command("token_create", {"hash": token_hash(secret), "role": "node", "uses": n, "ttl_ms": 3600000})
    fleet.tell("enrol", secret)
    fleet.hear(900)
    admin.close()
    figure("enrolled", n / (time.monotonic() - begin), "agents/s")


def status_kb(d, field):
    with open(f"/proc/{d.proc.pid}/status", encoding="ascii") as f:
        return int(next(line for line in f if line.startswith(field + ":")).split()[1])


def cpu_s(*pids):
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            ticks += sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def print_times(name, times):
    for percent in (50, 99, 100):
        figure(f"{name}_t{percent}", quantile(times, percent), "s")
    return times[-1]


# ---- storm -----------------------------------------------------------------------------------------

class RealAgents:
    """Some sluis-agents among the others; when each is connected again."""

    def __init__(self, d):
        import story    # needs BIN
        self.agents = [story.Agent(f"real{i}", story.token(d, d.admin()), "--synthetic",
                                   "package:1 numanode:1 core:2 pu:1") for i in range(REAL)]
        for a in self.agents:
            a.args = [x for x in a.args if x not in ("--reconnect-max", "200ms")]
            a.start()
        self.wait_for = story.wait_for
        if not self.back(1):
            raise SystemExit("FAILED: a real agent does not connect:\n" + "".join(a.log() for a in self.agents))

    def back(self, times):
        """Are all connected for this often? In how many seconds, or None."""
        begin = time.monotonic()
        if self.wait_for(120, lambda: all(a.log().count("connected ") >= times for a in self.agents)):
            return time.monotonic() - begin
        return None

    def end(self):
        for a in self.agents:
            a.end()


def storm(n):
    d = Daemon("storm", sets=(f"liveness.heartbeat={HEARTBEAT_S:.0f}s", "liveness.suspect=60s",
                              "liveness.unreachable=120s", "log.level=warning")).start()
    fleet = Fleet(d, n, HEARTBEAT_S)
    figure("storm_agents", n, f"agents in {len(fleet.processes)} processes")
    enrol(d, fleet, n)
    real = RealAgents(d) if "BIN" in os.environ else None
    clients = [p.pid for p in fleet.processes]
    empty_kb, cpu, client_cpu = status_kb(d, "VmRSS"), cpu_s(d.proc.pid), cpu_s(*clients)
    fleet.tell("connect", time.monotonic())
    print_times("storm_cold", sorted(sum(fleet.hear(300), [])))
    figure("storm_cold_cpu", cpu_s(d.proc.pid) - cpu, "s")
    figure("storm_cold_client_cpu", cpu_s(*clients) - client_cpu, "s of all client processes")
    cold_kb = max(0, status_kb(d, "VmHWM") - empty_kb) / n
    figure("storm_cold_memory", cold_kb, "kB/agent above the daemon without agents")
    for door in ("agents", "users", "enrol"):
        d.args += ["--set", f"listen.{door}={d.at[door]}"]
    d.end(signal.SIGKILL)
    begin, client_cpu = time.monotonic(), cpu_s(*clients)
    fleet.tell("restarted", begin)
    d.start()
    figure("storm_restart_listening", time.monotonic() - begin, "s")
    last = print_times("storm_back", sorted(sum(fleet.hear(300), [])))
    if real:
        if real.back(2) is None:
            raise SystemExit("FAILED: a real agent is not back")
        figure("storm_real_agents_back", REAL, f"agents within {time.monotonic() - begin:.3f} s")
        last = max(last, time.monotonic() - begin)
        real.end()
    figure("storm_back_cpu", cpu_s(d.proc.pid), "s")
    figure("storm_back_client_cpu", cpu_s(*clients) - client_cpu, "s of all client processes")
    back_kb = status_kb(d, "VmHWM") / n
    figure("storm_back_memory", back_kb, "kB/agent of the whole daemon")
    fleet.tell("end")
    d.end()
    # below a thousand agents the daemon itself weighs more than they do
    good = last < GOOD_T100_S and cold_kb < GOOD_KB and (n < 1000 or back_kb < GOOD_KB)
    return 0 if good else 1


# ---- hostile ---------------------------------------------------------------------------------------

FRAME_LIMIT = {"users": 4 << 20, "local": 4 << 20, "agents": 1 << 20, "enrol": 1 << 20}    # proto/base/limits.h
SPOKEN = {"users": "COMMAND", "local": "COMMAND", "agents": "REPORT", "enrol": "ENROL"}     # taken at that door


def rubbish(door):
    """(what, frame): bodies of a message that belongs to the door, so that its decoder has to refuse them
    without believing what they announce."""
    number = MESSAGES[SPOKEN[door]][0]
    head = b"SLUI" + struct.pack(">BBHQ", 1, 0, number, 7)
    yield "nested", head + b"\x81\x01" + b"\x91" * 4000 + b"\xc0"
    yield "array_of_2e9", head + b"\xdd\x7f\xff\xff\xff"
    yield "array_of_1e6", head + b"\x81\x01" + b"\xdd\x00\x0f\x42\x40"
    yield "map_of_1e7", head + b"\xdf\x00\x98\x96\x80"
    yield "bytes_of_4e9", head + b"\xc6\xff\xff\xff\xff"
    yield "random_body", head + b"\x81" + os.urandom(random.randrange(1, 2000))
    yield "strange_type", b"SLUI" + struct.pack(">BBHQ", 1, 0, 0x7ff, 7) + b"\x80"
    yield "no_frame", b"SLUJ" + os.urandom(random.randrange(0, 60))


class Abuser:
    """Somebody with a good key at one door, who talks rubbish; and one who sends more than a frame may hold."""

    def __init__(self, door, peer):
        self.door, self.sent, self.refused, self.too_large, self.cut = door, 0, 0, 0, 0
        self.link, self.big = Client(*peer), Client(*peer)
        self.events = self.big.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self.next_big = 0.0

    def turn(self, now):
        for _, data in rubbish(self.door):
            try:
                self.link.socket.send(data, zmq.NOBLOCK)
                self.sent += 1
            except zmq.Again:
                pass
        while self.link.socket.poll(0):
            message, _, body = unframe(self.link.socket.recv())
            self.refused += message == "GOODBYE" or bool(body.get("code"))
        if now >= self.next_big:
            self.next_big = now + 0.5
            try:
                self.big.socket.send(b"SLUI" + bytes(FRAME_LIMIT[self.door]), zmq.NOBLOCK)
                self.too_large += 1
            except zmq.Again:
                pass
        while self.events.poll(0):
            self.events.recv_multipart()
            self.cut += 1


def stranger(endpoint):
    """A connection to that door by somebody who speaks no ZMTP."""
    if endpoint.startswith("ipc://"):
        s = socket.socket(socket.AF_UNIX)
        s.connect(endpoint.removeprefix("ipc://"))      # no time-out yet: with one, a full queue is an error
    else:
        host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
        s = socket.create_connection((host, int(port)), timeout=60)
    s.settimeout(10)
    return s


def attack(at, peers, seconds, pipe):
    """Everything at once for so long; tells how much was sent. On machines of their own, so to speak: what
    they burn here must not be what the agents lack."""
    os.nice(0 if os.environ.get("PATIENT") else 19)
    doors = list(peers)
    sent = {f"{door}_{what}": 0 for door in doors for what in ("half_open", "garbage_connections", "slow_bytes")}
    idle, slow = [], []
    for i in range(HALF_OPEN):
        door = doors[i % len(doors)]
        idle.append(stranger(at[door]))
        sent[f"{door}_half_open"] += 1
    for i in range(SLOW):
        slow.append(stranger(at[doors[i % len(doors)]]))
    greeting = {door: b"\xff" + bytes(8) + b"\x7f\x03\x00" + (b"NULL" if door == "local" else b"CURVE").ljust(20, b"\0") +
                b"\x00" + bytes(31) for door in doors}
    abusers = [Abuser(door, peer) for door, peer in peers.items()]
    n, until = 0, time.monotonic() + seconds
    while n < ROUNDS or time.monotonic() < until:
        n += 1
        for door in doors:
            try:
                with stranger(at[door]) as s:
                    s.sendall(os.urandom(4096) if n % 2 else greeting[door] + os.urandom(2048))
                    sent[f"{door}_garbage_connections"] += 1
            except OSError:
                pass    # cut off while it speaks: as it should be
        for i, s in enumerate(slow):
            door = doors[i % len(doors)]
            try:
                s.sendall(greeting[door][n % len(greeting[door]):][:1])
                sent[f"{door}_slow_bytes"] += 1
            except OSError:
                s.close()
                slow[i] = stranger(at[door])
        for a in abusers:
            a.turn(time.monotonic())
        time.sleep(0.02)
    for a in abusers:
        sent[f"{a.door}_bad_frames"], sent[f"{a.door}_refused"] = a.sent, a.refused
        sent[f"{a.door}_too_large"], sent[f"{a.door}_cut_off"] = a.too_large, a.cut
    pipe.send(sent)
    os._exit(0)


def hostile(seconds):
    d = Daemon("hostile", sets=("liveness.suspect=5s", "liveness.unreachable=10s")).start()
    fleet = Fleet(d, 100, 0.2)
    enrol(d, fleet, 100)
    keys, _, _ = invite(d, d.admin(), "member", "eva")
    node_keys, _, _ = invite(d, d.admin(), "node", "rogue")
    fleet.tell("connect", time.monotonic())
    fleet.hear(60)
    time.sleep(1)
    fleet.tell("rtt")
    fleet.hear(60)
    time.sleep(seconds)
    fleet.tell("rtt")
    before = fleet.hear(60)
    rss = status_kb(d, "VmRSS")
    peers = {"users": (d.at["users"], d.at["server_key"], *keys), "local": (d.at["local"],),
             "agents": (d.at["agents"], d.at["server_key"], *node_keys),
             "enrol": (d.at["enrol"], d.at["server_key"], *keypair())}
    logged = d.log().count("\n")
    ours, theirs = multiprocessing.Pipe()
    Client.context = None   # the attacker makes its own
    p = multiprocessing.Process(target=attack, args=(d.at, peers, seconds, theirs))
    p.start()
    theirs.close()
    end, admins = time.monotonic() + seconds + 150, 0
    while not ours.poll(0.2):
        if time.monotonic() > end:
            raise SystemExit("FAILED: the attacker did not end")
        admin = d.admin()   # where strangers stand and say nothing
        admin.query("status")
        admin.close()
        admins += 1
    sent = ours.recv()
    p.join()
    fleet.tell("rtt")
    during = fleet.hear(60)
    growth = status_kb(d, "VmHWM") - rss
    quiet = quantile(sorted(sum((r for r, _ in before), [])), 99)
    loaded = sorted(sum((r for r, _ in during), []))
    lost = sum(n for _, n in during)
    for name, value in sent.items():
        figure(f"hostile_{name}", value, "sent")
    figure("hostile_admins", admins, "came through door local meanwhile, and were answered")
    figure("hostile_heartbeats", len(loaded), "answered under attack")
    figure("hostile_p99_before", quiet * 1000, "ms")
    figure("hostile_p99_during", quantile(loaded, 99) * 1000, "ms")
    figure("hostile_p99_ratio", quantile(loaded, 99) / quiet, "times the quiet one")
    figure("hostile_sessions_lost", lost, "sessions")
    figure("hostile_memory_growth", growth, "kB")
    fleet.tell("end")
    alive = d.proc.poll() is None and d.end() == 0
    figure("hostile_daemon_died", int(not alive), "times")
    lines = d.log().count("\n") - logged
    figure("hostile_log_lines", lines, "lines, refusals summed up in them")
    summed = sum(int(n) for n in re.findall(r"^<4>refused .*count=(\d+)", d.log(), re.M))
    figure("hostile_refusals_in_log", summed, "refusals")
    good = alive and admins and not lost and growth < GOOD_GROWTH_KB and quantile(loaded, 99) < max(2 * quiet, GOOD_P99_S)
    # every kind has struck, everything that was answered was a refusal, and all are in a few lines of the log
    aimed = min(sent.values()) > 0 and all(sent[f"{x}_refused"] >= sent[f"{x}_bad_frames"] / 2 for x in peers)
    return 0 if good and aimed and lines < GOOD_LOG_LINES and summed >= sum(sent[f"{x}_refused"] for x in peers) else 1


# ---- soak ------------------------------------------------------------------------------------------

def slope(samples):
    """Per minute, of (seconds, value): least squares."""
    n = len(samples)
    mx, my = sum(x for x, _ in samples) / n, sum(y for _, y in samples) / n
    square = sum((x - mx) ** 2 for x, _ in samples)
    return 60 * sum((x - mx) * (y - my) for x, y in samples) / square if square else 0.0


def ready(d):
    """How many nodes are; asked anew each time, as sluisd may be another."""
    admin = d.admin()
    nodes = admin.query("nodes", timeout_s=30)["items"]
    admin.close()
    return sum(n["state"] == "ready" for n in nodes)


def soak(seconds, n):
    """Every five seconds somebody is killed or paused: some of the agents, one of their processes, sluisd. It
    is killed in the first third only; from then on its memory and descriptors have to stay where they are."""
    d = Daemon("soak", sets=("liveness.heartbeat=1s", "liveness.suspect=5s", "liveness.unreachable=15s",
                             "log.level=warning")).start()
    for door in ("agents", "users", "enrol"):
        d.args += ["--set", f"listen.{door}={d.at[door]}"]
    fleet = Fleet(d, n, 1.0)
    enrol(d, fleet, n)
    fleet.tell("connect", time.monotonic())
    fleet.hear(120)
    done, samples, begin, bad = {}, [], time.monotonic(), 0
    while (now := time.monotonic() - begin) < seconds:
        what = random.choice(("drop some", "drop all", "pause agents", "pause sluisd") +
                             (("kill sluisd",) if now < seconds / 3 else ()))
        done[what] = done.get(what, 0) + 1
        if what.startswith("drop"):
            random.choice(fleet.pipes).send(("drop", 20 if what == "drop some" else 100))
        elif what == "kill sluisd":
            d.end(signal.SIGKILL)
            d.start()
            samples = []
        else:
            pid = d.proc.pid if what == "pause sluisd" else random.choice(fleet.processes).pid
            os.kill(pid, signal.SIGSTOP)
            time.sleep(random.uniform(0.2, 4))
            os.kill(pid, signal.SIGCONT)
        time.sleep(5)
        if d.proc.poll() is not None:
            print(f"FAILED: sluisd ended with {d.proc.returncode}\n{d.log()[-2000:]}")
            return 1
        if now > seconds / 2:
            # The heap, not what of it has been touched (that creeps up to it for minutes), nor the mapped
            # file, which grows by what it is told.
            samples.append((now, status_kb(d, "VmData"), len(os.listdir(f"/proc/{d.proc.pid}/fd"))))
    until = time.monotonic() + 60
    while ready(d) < n and time.monotonic() < until:
        time.sleep(0.5)
    bad = n - ready(d)
    admin = d.admin()
    intact = admin.query("verify", timeout_s=120)["text"].startswith("intact")
    figure("soak_seconds", seconds, "s")
    figure("soak_agents", n, "agents")
    for what, times in sorted(done.items()):
        figure(f"soak_{what.replace(' ', '_')}", times, "times")
    heap = slope([(x, y) for x, y, _ in samples]) if len(samples) > 1 else 0.0
    figure("soak_rss", status_kb(d, "RssAnon"), "kB")
    figure("soak_heap_slope", heap, "kB/minute over the second half")
    figure("soak_fd_slope", slope([(x, y) for x, _, y in samples]) if len(samples) > 1 else 0.0, "descriptors/minute")
    figure("soak_nodes_not_back", bad, "nodes")
    figure("soak_log_intact", int(intact), "yes")
    fleet.tell("end")
    clean = d.end()
    figure("soak_exit", clean, "status")
    # an arena that grows is a step, not a slope: what leaks goes on
    return 0 if not bad and intact and clean == 0 and (seconds < 300 or heap < 256) else 1


def main():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    multiprocessing.set_start_method("fork")
    os.environ.pop("LD_PRELOAD", None)    # for the clients, see storm.mk; sluisd runs as it is
    if sys.argv[1:2] == ["--soak"]:
        return soak(float(sys.argv[2]), int(sys.argv[3]))
    if sys.argv[1:2] == ["--hostile"]:
        return hostile(float(sys.argv[2]) if len(sys.argv) > 2 else 10.0)
    return storm(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)


if __name__ == "__main__":
    sys.exit(main())
