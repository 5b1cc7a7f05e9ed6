"""flood.py - renewals that sluisd reads late, and leases that fall due while it is flooded; prints TAP

Environment: T a scratch folder, BIN the folder of the programs. t1460-flood.sh says what would be lost without it.
"""
import multiprocessing
import os
import signal
import time

import zmq

from sluis_client import COMMANDS, Client, PATIENT_S, QUERIES, Refused, frame, keypair, pack, token_hash, wait_for
from story import Agent, Daemon, division, read, ready_nodes, submit, token
from tap import ok, tell

TTL_MS, GRACE_MS = 1500, 100
STALL_S = 2.2       # longer than ttl and grace, shorter than what counts as a standstill of sluisd (STANDSTILL_MS)
TRIES, TRIES_MAX, FLOODERS, AHEAD, JOBS = 4, 12, 4, 200, 1000


def enrol(d, admin, name):
    secret, keys = os.urandom(32), keypair()
    admin.command("token_create", {"hash": token_hash(secret), "role": "admin", "name": name, "uses": 1, "ttl_ms": 600000})
    door = Client(d.at["enrol"], d.at["server_key"], *keys)
    door.enrol(secret, name)
    door.close()
    return keys


class Lease:
    def __init__(self, d, admin, keys):
        self.admin, self.seq = admin, 0
        spec = {"shape": "gpu", "klass": "firm", "units": 1, "units_per_replica": 1, "term_ms": 3600000, "ttl_ms": TTL_MS,
                "grace_ms": GRACE_MS, "auto_accept": True, "name": "late"}
        self.id = admin.command("lease_request", {"spec": spec, "provider": "chat", "flavor": "h100"}, timeout_s=120)["result"]["id"]
        self.holder = Client(d.at["users"], d.at["server_key"], *keys)
        self.holder.greet(timeout_s=120)
        wait_for(20, lambda: self.state() == "active")

    def view(self):
        return self.admin.query("leases", id=self.id, all=True, timeout_s=120)["items"][0]

    def state(self):
        return self.view()["state"]

    def command(self):
        self.seq += 1
        item = {"lease": self.id, "fence": self.fence, "renew_seq": self.seq, "ttl_ms": TTL_MS}
        return {"type": COMMANDS["lease_renew"][0], "body": pack("cmd_lease_renew", {"items": [item]})}

    def renew(self):
        self.fence = self.view()["lease"]["fence"]
        return self.judge(self.holder.ask("COMMAND", self.command()))

    @staticmethod
    def judge(answer):
        results = answer[1]["result"]["renewals"] if not answer[1]["code"] else []
        return bool(results) and results[0]["code"] == 0


def late(d, admin, keys, others):
    """sluisd stands still while the lease runs out and its renewal arrives behind a queue of other questions. Returns
    whether it counted, or None when this machine was too slow: the lease had ended before, the renewal was not sent in
    time, or the standstill was one that counts against nobody."""
    lease = Lease(d, admin, keys)
    renewed = time.monotonic()
    if not lease.renew():
        lease.holder.close()
        return None
    logged = len(read(d.dir + ".log"))
    d.proc.send_signal(signal.SIGSTOP)
    begin = time.monotonic()
    for _ in range(AHEAD):
        for c in [*others, lease.holder]:
            c.send_raw(frame("QUERY", 1, {"type": QUERIES["nodes"][0]}))
    req = lease.holder.send("COMMAND", lease.command())
    in_time = time.monotonic() - renewed < TTL_MS / 1000
    time.sleep(max(0.0, begin + STALL_S - time.monotonic()))
    d.proc.send_signal(signal.SIGCONT)
    answer = None
    while answer is None or answer[1] != req:
        answer = lease.holder.recv()
        if answer is None:
            raise TimeoutError("no answer to a renewal")
    counted = lease.judge(answer[::2])
    lease.holder.close()
    try:
        admin.command("lease_release", {"id": lease.id})
    except Refused:     # it has ended by itself
        pass
    return None if not in_time or "standstill" in read(d.dir + ".log")[logged:] else counted


def in_time(d, admin, keys):
    others = [Client(d.at["users"], d.at["server_key"], *keys) for _ in range(FLOODERS)]
    for c in others:
        c.greet()
    tries = []
    while len(tries) < TRIES_MAX and len(tries) - tries.count(None) < TRIES:
        tries.append(late(d, admin, keys, others))
    for c in others:
        c.close()
    what = "a renewal that came in time counts, however late it is read"
    if True in tries or False in tries:
        ok(False not in tries, what, tries)
    else:
        ok(True, f"{what} # SKIP this machine is too slow")


def dear_renewals():
    """A message that costs sluisd much more than whoever sends it."""
    items = [{"lease": 1 << 40 | i, "fence": 1, "renew_seq": 1, "ttl_ms": TTL_MS} for i in range(1000)]
    return frame("COMMAND", 1, {"type": COMMANDS["lease_renew"][0], "body": pack("cmd_lease_renew", {"items": items})})


def dear_questions():
    return frame("QUERY", 1, {"type": QUERIES["jobs"][0], "all": True})


def flood(at, keys, data, pipe):
    """Ask and ask, and never listen."""
    sent = 0
    c = Client(at["users"], at["server_key"], *keys)
    c.greet(timeout_s=120)
    pipe.send("begun")
    while not pipe.poll():
        try:
            for _ in range(50):
                c.socket.send(data, zmq.NOBLOCK)
                sent += 1
        except zmq.Again:
            time.sleep(0.001)
    pipe.send(sent)
    os._exit(0)


def hear(pipe):
    if not pipe.poll(2 * PATIENT_S):
        raise TimeoutError("who is to flood says nothing")
    return pipe.recv()


def held_off(d, admin, keys, data, kind):
    pipes = []
    for _ in range(FLOODERS):
        ours, theirs = multiprocessing.Pipe()
        multiprocessing.get_context("spawn").Process(target=flood, args=(d.at, keys, data, theirs), daemon=True).start()
        theirs.close()      # so that the end of that process is heard here
        pipes.append(ours)
    for p in pipes:
        hear(p)
    time.sleep(0.5)     # no event shows that queues are full; with less of a flood the lease ends all the same
    since = time.monotonic()
    lease = Lease(d, admin, keys)
    gone = wait_for(90, lambda: lease.state() not in ("active", "due", "grace"))
    took, sent = time.monotonic() - since, 0
    for p in pipes:
        p.send("end")
    for p in pipes:
        sent += hear(p)
    ok(gone, f"a flood of {kind} does not keep a lease alive that nobody renews", (lease.state(), took, sent))
    print(f"# expired {took:.1f} s after it was asked for (ttl and grace {(TTL_MS + GRACE_MS) / 1000} s), {sent} messages sent")


def main():
    d = Daemon()
    d.args += ["--set", "log.level=notice"]
    d.start()
    admin = d.admin()
    admin.command("division_apply", division(8, per_node=8))
    Agent("n1", token(d, admin), "--synthetic", "package:1 core:8 pu:1", "--gpus", "8xH100").start()
    ready_nodes(admin, 1)
    keys = enrol(d, admin, "keeper")
    in_time(d, admin, keys)
    held_off(d, admin, keys, dear_renewals(), "renewals")
    for _ in range(JOBS):
        submit(admin, {"argv": ["true"]}, hold=True)
    held_off(d, admin, keys, dear_questions(), "questions")


if __name__ == "__main__":
    tell(main)
