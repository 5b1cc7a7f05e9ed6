#!/usr/bin/env python3
"""kill9.py TRIES [SEED] - kill -9 of sluisd at random moments while a client submits as fast as it can

Each try: submissions flow over a CURVE socket, 64 in flight, each with a name and an idempotency key of its
own; after a random time sluisd is killed; it is started again on its state. Then, of all tries so far,
  - every acknowledged submission is there, under the id that was told (D1);
  - every unanswered one, repeated under its key, names exactly one job (D2);
  - the daemon's own check finds its log and state intact.
Prints `name: value unit` lines and exits 1 if anything was lost, doubled or damaged.
"""
import os
import random
import signal
import sys
import threading
import time

from daemon_story import SCRIPT, Daemon, division, invite, job
from sluis_client import COMMANDS, pack, wait_for

WINDOW = 64


class Submitter:
    """Keeps WINDOW submissions in flight until the connection dies."""

    def __init__(self, client, tag):
        self.client, self.tag = client, tag
        self.sent, self.acked = {}, {}   # name -> idem key; name -> job id
        self.stop = False

    def send(self, n):
        name = f"{self.tag}-{n}"
        self.sent[name] = os.urandom(16)
        number, struct = COMMANDS["job_submit"]
        return self.client.send("COMMAND", {"type": number, "idem_key": self.sent[name], "dry_run": False,
                                            "body": pack(struct, job(name)), "payload": pack("payload", SCRIPT)}), name

    def run(self):
        waiting, n = {}, 0
        while not self.stop:
            while len(waiting) < WINDOW:
                req, name = self.send(n)
                waiting[req] = name
                n += 1
            got = self.client.recv(0.05)
            if got and got[1] in waiting and got[0] == "REPLY" and not got[2].get("code"):
                self.acked[waiting.pop(got[1])] = got[2]["result"]["id"]


def main():
    tries = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int.from_bytes(os.urandom(4), "big")
    rng = random.Random(seed)
    print(f"# seed {seed}", flush=True)
    d = Daemon("kill9").start()
    admin = d.admin()
    admin.command("division_apply", division())
    keys, _, _ = invite(d, admin, "member", "eva")
    lost = doubled = damaged = 0
    acked, unanswered, told = {}, 0, 0
    for n in range(tries):
        eva = d.client("users", keys)
        eva.greet()
        s = Submitter(eva, f"t{n}")
        thread = threading.Thread(target=s.run)
        thread.start()
        if n % 2 == 0:  # on a slow machine the other tries may end before anything is on the disk
            wait_for(30, lambda: s.acked)
        time.sleep(rng.uniform(0.005, 0.25))
        told += bool(s.acked)
        d.end(signal.SIGKILL)
        s.stop = True
        thread.join()
        eva.close()
        d.start()
        admin = d.admin()
        acked.update(s.acked)
        have = {}
        for item in admin.query("jobs", all=True)["items"]:
            j = item["job"]
            doubled += j["spec"]["name"] in have
            have[j["spec"]["name"]] = j["id"]
        lost += sum(have.get(name) != jid for name, jid in acked.items())
        eva = d.client("users", keys)
        eva.greet()
        for name, key in s.sent.items():
            if name in s.acked:
                continue
            unanswered += 1
            acked[name] = eva.command("job_submit", job(name), payload=SCRIPT, idem=key)["result"]["id"]
            doubled += name in have and acked[name] != have[name]
        eva.close()
        damaged += not admin.query("verify", timeout_s=60)["text"].startswith("intact")
    d.end()
    print(f"kill9_tries: {tries} kills")
    print(f"kill9_acknowledged: {len(acked)} submissions")
    print(f"kill9_unanswered_repeated: {unanswered} submissions")
    print(f"kill9_lost: {lost} submissions")
    print(f"kill9_doubled: {doubled} submissions")
    print(f"kill9_damaged: {damaged} stores")
    return 1 if lost or doubled or damaged or not told else 0


if __name__ == "__main__":
    sys.exit(main())
