"""agent_story.py - the story that t1100-agent.sh tells; prints TAP

Environment: as story.py.
"""
import fcntl
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

from sluis_client import Refused, pack, wait_for
from story import BIN, LONG, T, Agent, Daemon, division, ended, job, output, read, ready_nodes, running, submit, token
from tap import equal, ok, tell


# ---- chapters ------------------------------------------------------------------------------------

def mistakes():
    """What no other start could mend ends with 2, which the service manager does not restart from."""
    def put(name, text):
        path = os.path.join(T, name)
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        return path
    for what, given in (("a topology that is not there", ("--topology", os.path.join(T, "none.xml"))),
                        ("a folder", ("--topology", T)),
                        ("an empty file", ("--topology", put("empty.xml", ""))),
                        ("a file cut short", ("--topology", put("cut.xml", "<topology version=\"2.0\"><object type=\"Machine\""))),
                        ("one of a newer hwloc", ("--topology", put("newer.xml", "<topology version=\"3.0\"></topology>"))),
                        ("an invented machine that cannot be", ("--synthetic", "package:2 core:none"))):
        a = subprocess.run([os.path.join(BIN, "sluis-agent"), "--config", os.devnull, "--set", f"state_dir={T}/mistakes", *given],
                           stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        ok(a.returncode == 2 and "failed error=" in a.stderr, f"{what} ends the agent with 2", (a.returncode, a.stderr))


def joining(d, admin):
    text = token(d, admin)
    agents = [Agent(f"n{i}", text, "--synthetic", "package:1 numanode:1 core:8 pu:1", "--gpus", "2xH100").start()
              for i in (1, 2)]

    nodes = ready_nodes(admin, 2)
    if not ok(nodes, "two agents join by a token and are ready", agents[0].log() + agents[1].log()):
        raise SystemExit(1)
    equal([n["devices"] for n in nodes], [2, 2], "each with its two devices")
    p = subprocess.run(agents[0].args, capture_output=True, text=True, timeout=60)
    ok(p.returncode == 69 and "another sluis-agent" in p.stderr, "a second agent on one state_dir exits 69",
       (p.returncode, p.stderr))
    twin = Agent("twin", text)
    os.mkdir(twin.dir)
    for name in ("node.key", "daemon"):
        shutil.copy(os.path.join(agents[0].dir, name), twin.dir)
    p = subprocess.run(twin.args, capture_output=True, text=True, timeout=60)
    ok(p.returncode == 69 and "this node's key" in p.stderr, "nor does one with a copy of its key start beside it",
       (p.returncode, p.stderr))
    held_a_moment_longer(agents[0], admin)
    return agents


def held_a_moment_longer(agent, admin):
    """What the agent before held is still held by a child that has not quite begun: the next one waits for it."""
    agent.end()
    st = os.stat(os.path.join(agent.dir, "lock"))
    name = f"\0sluis-agent-{st.st_dev:x}-{st.st_ino:x}"
    lock = open(os.path.join(agent.dir, "lock"), "rb")
    fcntl.flock(lock, fcntl.LOCK_EX)
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    held.bind(name)
    began = time.monotonic()
    agent.start()
    time.sleep(0.3)
    lock.close()
    time.sleep(0.3)
    held.close()
    what = "an agent waits for what a child of the one before still holds"
    up = wait_for(20, lambda: agent.proc.poll() is not None or agent.log().count("connected ") >= 2)
    if up and agent.proc.poll() is not None and time.monotonic() - began > 2:   # agent/main.c gives it 3 s
        ok(True, f"{what} # SKIP it was held for too long: this machine stood still")
        agent.start()
    else:
        ok(up and agent.proc.poll() is None, what, agent.log()[-1500:])
    ready_nodes(admin, 2)


def environment(admin):
    n = submit(admin, {"argv": ["env"], "env": ["FOO=bar", "RANK=99", "CUDA_VISIBLE_DEVICES=0,1"]}, units=2,
               tasks_per_unit=1)
    j = ended(admin, n)
    equal((j["state"], j["job"]["exit_code"]), ("CD", 0), "a command that ends well is completed")
    env = [dict(line.split("=", 1) for line in output(admin, n, t).splitlines() if "=" in line) for t in (0, 1)]
    equal([e.get("RANK") for e in env], ["0", "1"], "each task has its rank, not the user's")
    equal([e.get("WORLD_SIZE") for e in env], ["2", "2"], "and the size of the world")
    equal(env[0].get("FOO"), "bar", "and what the user asked for")
    port = int(env[0].get("MASTER_PORT", "0"))
    ok(20000 <= port <= 29999 and env[0]["MASTER_PORT"] == env[1].get("MASTER_PORT"),
       "the rendezvous port comes from the agent's range", port)
    equal(env[0].get("MASTER_ADDR"), "127.0.0.1", "at the address of rank 0")
    equal(env[0].get("CUDA_VISIBLE_DEVICES"), env[0].get("SLUIS_DEVICES"), "the devices are the granted ones")
    ok(env[0].get("CUDA_VISIBLE_DEVICES", "").startswith("EMU-"), "named by UUID", env[0])
    equal(env[0].get("SLUIS_FENCE", "").split(".")[:2], [str(n), "1"], "the fence names job and attempt")


def outcomes(admin):
    n = submit(admin, {"script": "#!/bin/sh\necho to $1; echo on >&2; exit 3\n", "argv": ["you"]}, mode="script")
    j = ended(admin, n)
    equal((j["state"], j["job"]["exit_code"]), ("F", 3), "a script that fails is failed, with its code")
    equal(output(admin, n), "to you\non\n", "its arguments came, and both streams are read back")
    equal(output(admin, n, offset=-3), "on\n", "also from the end")
    n = submit(admin, {"argv": ["/no/such/program"]})
    equal(ended(admin, n)["job"]["exit_code"], 127, "a program that is not there is 127")
    n = submit(admin, {"argv": ["sh", "-c", "kill -9 $$"]})
    equal(ended(admin, n)["job"]["exit_signal"], 9, "a task ended by a signal says which")
    n = submit(admin, {"argv": ["sh", "-c", "echo hello"], "output": "out-%x-%4j_%t.txt"})
    equal(ended(admin, n)["state"], "CD", "output goes where -o says")
    equal(read(os.path.join(T, f"out-story-{n:04}_0.txt")), "hello\n", "with the pattern filled in")
    equal(output(admin, n), "hello\n", "and is read back from there")
    n = submit(admin, {"argv": ["true"], "output": "no/such/folder/x"})
    j = ended(admin, n)
    ok(j["state"] == "F" and j["job"]["exit_code"] == 126, "an output folder that is not there is 126", j["job"])


def gangs(admin):
    n = submit(admin, {"argv": ["sh", "-c", "[ $SLUIS_NODE_RANK = 1 ] && exit 4; exec sleep " + LONG]}, units=2,
               per_node=1)
    j = ended(admin, n)
    equal((j["state"], j["job"]["exit_code"]), ("F", 4), "one failing member ends the gang")
    ok(not subprocess.run(["pgrep", "-f", f"^sleep {LONG}$"], capture_output=True, text=True, check=False).stdout,
       "and nothing of it is left")


def notices(admin, agents):
    program = """import json, os, signal, sys
def asked(number, frame):
    with open(os.environ["SLUIS_NOTICE_FILE"]) as f:
        print("notice", f.read().strip(), flush=True)
    os.write(int(os.environ["SLUIS_REPORT_FD"]), b'{"step": 4200}\\n')
    sys.exit(0)
signal.signal(signal.SIGTERM, asked)
print("up", flush=True)
while True:
    signal.pause()
"""
    path = os.path.join(T, "trainer.py")
    with open(path, "w", encoding="utf-8") as f:
        f.write(program)
    n = submit(admin, {"argv": [sys.executable, path]})
    ok(wait_for(20, lambda: running(admin, n) and "up" in output(admin, n)), "a trainer runs")
    admin.command("job_cancel", {"job": n})
    j = ended(admin, n)
    equal(j["state"], "CA", "cancelled, it ends")
    line = [x for x in output(admin, n).splitlines() if x.startswith("notice ")]
    notice = json.loads(line[0][7:]) if line else {}
    ok(notice.get("cause") == "cancel" and 0 < notice.get("seconds", 0) <= 30, "it was told why and until when", line)
    equal(j["job"]["checkpoint_step"], 4200, "what it reported of its checkpoint arrived")
    program = """import os, sys, time
print(os.getpid(), flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.02)
fd = int(os.environ["SLUIS_REPORT_FD"])
for _ in range(4000):
    os.write(fd, b'{"loss": 1}' + b" " * 4000 + b"\\n")
os.write(fd, b'{"step": 77}\\n')
"""
    go = os.path.join(T, "report")
    n = submit(admin, {"argv": [sys.executable, "-c", program, go]})
    pid = wait_for(20, lambda: running(admin, n) and output(admin, n).strip())
    for a in agents:
        a.proc.send_signal(signal.SIGSTOP)
    with open(go, "w", encoding="ascii"):
        pass
    ok(pid and wait_for(30, lambda: not os.path.exists(f"/proc/{pid}")), "a task reports much while its agent stands still")
    for a in agents:
        a.proc.send_signal(signal.SIGCONT)
    j = ended(admin, n)
    equal((j["state"], j["job"]["checkpoint_step"]), ("CD", 77), "its end is told behind its last report")
    n = submit(admin, {"argv": ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"]}, notice_ms=3600000)
    ok(wait_for(20, lambda: running(admin, n) and "up" in output(admin, n)), "a stubborn task runs")
    admin.command("job_cancel", {"job": n, "now": True})
    equal(ended(admin, n)["state"], "CA", "killed, it ends too, without its notice when told so")


def inside(admin):
    n = submit(admin, {"argv": ["sleep", "300"], "env": ["COLOUR=blue"]})
    running(admin, n)
    v = admin.query("exec", id=n, payload=pack("payload", {"argv": ["sh", "-c", "echo $SLUIS_JOB_ID; exit 5"]}))
    ok(v["exec"], "a command enters the running job")

    def done():
        got = admin.query("exec", id=n, exec=v["exec"])
        return got if got["ended"] else None
    got = wait_for(20, done) or {"data": b"", "exit_code": None}
    equal((got["data"].decode(), got["exit_code"]), (f"{n}\n", 5), "its output and exit code come back")
    equal(admin.query("signal", id=n, signal=15)["text"], "delivered to 1 of 1 parts", "a signal is delivered")
    equal(ended(admin, n)["job"]["exit_signal"], 15, "and ends the job")


def deaths(admin, agents, d):
    n = submit(admin, {"argv": ["sh", "-c", "echo run >> survives; while [ ! -e go ]; do sleep 0.05; done; exit 7"]})
    wait_for(20, lambda: read(os.path.join(T, "survives")))
    for a in agents:
        a.end(signal.SIGKILL)
        a.start()
    equal(job(admin, n)["state"], "R", "the agents are killed and come back: the job runs on")
    for a in agents:
        a.end(signal.SIGKILL)
    with open(os.path.join(T, "go"), "w", encoding="utf-8"):
        pass
    for a in agents:
        a.start()
    j = ended(admin, n)
    equal((j["state"], j["job"]["exit_code"]), ("F", 7), "a task that ended while nobody looked kept its exit code")
    equal(read(os.path.join(T, "survives")), "run\n", "and it was started once")
    n = submit(admin, {"argv": ["sh", "-c", "echo run >> outlives; while [ ! -e gone ]; do sleep 0.05; done"]})
    wait_for(20, lambda: read(os.path.join(T, "outlives")))
    twice = submit(admin, {"argv": ["sh", "-c", "touch again; expr $(wc -l < again) + 1; echo run >> again; while [ ! -e gone ]; do sleep 0.05; done"]})
    wait_for(20, lambda: read(os.path.join(T, "again")))
    admin.command("job_requeue", {"job": twice})
    wait_for(20, lambda: read(os.path.join(T, "again")) == "run\nrun\n")
    d.proc.kill()
    d.proc.wait()
    port = {k: v for k, v in d.at.items() if k in ("agents", "users", "enrol")}
    for k, v in port.items():
        d.args += ["--set", f"listen.{k}={v}"]
    d.args += ["--set", "jobs.slurm_env=always"]
    d.start()
    admin = d.admin()

    def said(**which):
        try:
            return output(admin, twice, **which)
        except Refused: # its agent is not back yet
            return None
    equal([wait_for(20, said), wait_for(20, lambda: said(attempt=1))], ["2\n", "1\n"],
          "it knows which attempt of a job was the latest, and where the one before ran")
    equal(admin.query("signal", id=twice, signal=18)["text"], "delivered to 1 of 1 parts", "and signals reach that one")
    with open(os.path.join(T, "gone"), "w", encoding="utf-8"):
        pass
    equal(ended(admin, n)["state"], "CD", "sluisd is killed and comes back: the job ends well")
    equal(read(os.path.join(T, "outlives")), "run\n", "started once")
    n = submit(admin, {"argv": ["sh", "-c", "echo $SLURM_JOB_ID"]})
    equal((ended(admin, n)["state"], output(admin, n)), ("CD", f"{n}\n"), "jobs.slurm_env: always is for every job")
    return admin


def services(admin):
    spec = {"shape": "gpu", "klass": "firm", "units": 1, "units_per_replica": 1, "term_ms": 3600000, "ttl_ms": 600000,
            "grace_ms": 600000, "auto_accept": True, "name": "chat"}
    program = "import http.server,sys; print('up', flush=True); " \
              "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), http.server.SimpleHTTPRequestHandler)" \
              ".serve_forever()"
    check = "import sys,urllib.request; urllib.request.urlopen('http://127.0.0.1:%s/' % sys.argv[1], timeout=30)"
    payload = {"argv": [sys.executable, "-c", program, "{port}"], "cwd": T,
               "health": [sys.executable, "-c", check, "{port}"], "health_every_ms": 100, "health_timeout_ms": 60000,
               "health_after_ms": 120000, "health_fail": 3, "backoff_min_ms": 50, "backoff_max_ms": 100,
               "stop_within_ms": 5000}
    n = admin.command("lease_request", {"spec": spec, "provider": "chat", "flavor": "h100"},
                      payload=payload)["result"]["id"]

    def replica(judge):
        def look():
            lease = admin.query("leases", id=n)["items"][0]
            return lease["replicas"] and judge(lease["replicas"][0]) and lease["replicas"][0]
        return wait_for(30, look)
    r = replica(lambda x: x["healthy"])
    if not ok(r, "a service comes up and is healthy", admin.query("leases", id=n)["items"]):
        return
    out = subprocess.run(["pgrep", "-f", f"serve_forever.* {r['port']}$"], capture_output=True, text=True,
                         check=False).stdout.split()
    ok(out, "its port was put into its command", r)
    for pid in out:
        os.kill(int(pid), signal.SIGKILL)
    ok(replica(lambda x: x["healthy"] and x["restarts"] == 1), "killed, it is started again, and healthy again",
       admin.query("leases", id=n)["items"])
    admin.command("lease_release", {"id": n})
    ok(wait_for(30, lambda: admin.query("leases", id=n, all=True)["items"][0]["state"] in ("released", "ended")),
       "released, it ends", admin.query("leases", id=n, all=True)["items"])


def leaving(admin, agents):
    n = submit(admin, {"argv": ["sleep", LONG]})
    running(admin, n)
    equal([a.end() for a in agents], [0, 0], "asked to stop, the agents exit 0")
    ok(wait_for(10, lambda: subprocess.run(["pgrep", "-f", f"^sleep {LONG}$"], capture_output=True,
                                           check=False).returncode == 0), "and leave the work alone")
    for a in agents:
        a.start()
    admin.command("job_cancel", {"job": n, "now": True})
    equal(ended(admin, n)["state"], "CA", "come back, they take it up again")
    def left():
        return [f for a in agents for f in os.listdir(os.path.join(a.dir, "exec", "units")) if not f.startswith(".spare-")]
    wait_for(10, lambda: not left())
    equal(left(), [], "nothing of any task is left")
    equal([f for a in agents for f in glob.glob(f"/tmp/sluis-{a.tag()}-*")], [], "nor scratch files")


def main():
    mistakes()
    d = Daemon().start()
    admin = d.admin()
    admin.command("division_apply", division(4))
    agents = joining(d, admin)
    environment(admin)
    outcomes(admin)
    gangs(admin)
    notices(admin, agents)
    inside(admin)
    services(admin)
    admin = deaths(admin, agents, d)
    leaving(admin, agents)
    for a in agents:
        a.end()
    equal(d.proc.terminate() or d.proc.wait(60), 0, "sluisd exits 0")


tell(main)
