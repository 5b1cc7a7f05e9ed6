"""isolation_story.py - what a job of one user may be, open and use; told by t1320 and t1310, prints TAP

Environment: as story.py, and EXECD the socket of sluis-execd; AGENT, the uid that the agent runs as; BASE, a
folder of that user; LIBRARY, a libnvidia-ml of tests/fake; XML, the topology it fits. In /etc/passwd there are tina
(an ordinary user), rob (of group root) and low (a uid of the system); /dev/nvidia0..7 exist, of a
major number that no driver has: to open one that is allowed is ENXIO, one that is not EPERM.
"""
import glob
import os
import pwd
import subprocess
import sys

from sluis_client import Refused, wait_for
from story import T, Agent, Daemon, division, ended, job, output, read, ready_nodes, running, submit, token
from tap import equal, ok, tell

AGENT = int(os.environ["AGENT"])
BITS = {"known": 1, "user": 2, "devices": 4, "memory": 8, "cpu": 16, "cpuset": 32, "tasks": 64, "track": 128}
TINA = pwd.getpwnam("tina")
NVML = os.path.join(T, "nvml")  # what the driver says now (tests/fake/fake_nvml.c)


def agent(d, admin, *more):
    return Agent("n1", token(d, admin), "--topology", os.environ["XML"], "--set", "libraries.nvml=" + os.environ["LIBRARY"],
                 "--set", "exec.execd=" + os.environ["EXECD"], "--set", "exec.unkillable=6s", "--set", "exec.tasks_max=40", "--set", "exec.uid_min=2000",
                 "--set", "exec.uid_max=3000", "--set", "exec.users={eva: tina}", *more, base=os.environ["BASE"],
                 program=os.path.join(T, "bin", "sluis-agent"), as_uid=AGENT, env={"FAKE_NVML": "file", "FAKE_NVML_FILE": NVML})


def as_user(admin, user, payload, **spec):
    return submit(admin, dict({"cwd": "/"}, **payload), user=user, **spec)


def sh(text):
    return {"argv": ["sh", "-c", text]}


def refused_to_start(d, admin):
    a = agent(d, admin)
    args = [x for i, x in enumerate(a.args) if not x.startswith("exec.execd") and
            not (x == "--set" and a.args[i + 1].startswith("exec.execd"))]
    p = subprocess.run(args + ["--set", "exec.run_as=user"], capture_output=True, text=True, timeout=60, check=False,
                       env=a.env, **a.identity)
    ok(p.returncode == 2 and "cannot switch users" in p.stderr and "exec.execd" in p.stderr,
       "an agent that is to run work as its submitters and cannot does not start, and says what to do",
       (p.returncode, p.stderr))


def who(admin, a):
    status = dict(line.split(":\t", 1) for line in read(f"/proc/{a.proc.pid}/status").splitlines() if ":\t" in line)
    equal((status["Uid"].split(), int(status["CapEff"], 16)), ([str(AGENT)] * 4, 0), "the agent has no privilege")
    n = as_user(admin, "tina", sh("id -u; id -G; echo $HOME; echo $USER; pwd; umask; "
                                  "grep -h ^CapBnd /proc/self/status | tr -d '\\t'"))
    equal(ended(admin, n)["state"], "CD", "a job of tina's ends well")
    out = output(admin, n).splitlines()
    equal(out[:1], [str(TINA.pw_uid)], "it ran as tina")
    groups = sorted(os.getgrouplist("tina", TINA.pw_gid))
    equal(sorted(map(int, out[1].split())) if len(out) > 1 else None, groups, "with her groups")
    equal(out[2:4], [TINA.pw_dir, "tina"], "and her home")
    n = as_user(admin, "eva", sh("id -u"))
    equal((ended(admin, n)["state"], output(admin, n)), ("CD", f"{TINA.pw_uid}\n"), "exec.users maps a name to an account")


def files(admin, a):
    mine = os.path.join(T, "tinas")
    os.mkdir(mine, 0o700)
    os.chown(mine, TINA.pw_uid, TINA.pw_gid)
    n = as_user(admin, "tina", {"script": "#!/bin/sh\necho from $(id -un): $1; echo x >$TMPDIR/x; ls -ld $TMPDIR "
                                          "| cut -c1-10; cat $SLUIS_HOSTFILE; echo $TMPDIR >place\n", "argv": ["you"],
                                "cwd": mine, "output": "out.txt"}, mode="script")
    equal(ended(admin, n)["state"], "CD", "her script ran in a folder that only she may enter")
    out = read(os.path.join(mine, "out.txt")).splitlines()
    equal(out[:2], ["from tina: you", "drwx------"], "with scratch space that is hers alone")
    ok(len(out) == 3 and "slots=" in out[2], "and her host file", out)
    equal(os.stat(os.path.join(mine, "out.txt")).st_uid, TINA.pw_uid, "her output file is hers")
    place = read(os.path.join(mine, "place")).strip()
    ok(place.startswith("/tmp/sluis-") and wait_for(10, lambda: not os.path.exists(place)),
       "the scratch space has gone with the job", place)
    try:
        ok(False, "the agent cannot read her file", output(admin, n))
    except Refused as e:
        ok("cannot read" in e.message and "out.txt" in e.message, "the agent may not read that file, and says where it is", e)
    other = as_user(admin, "tina", sh(f"cat {a.dir}/node.key {a.dir}/table {a.dir}/units/* {a.dir}/payloads/* "
                                      f"2>/dev/null | wc -c; ls {a.dir} {a.dir}/exec/units 2>/dev/null | wc -l"))
    ended(admin, other)
    equal(output(admin, other), "0\n0\n", "nothing of the agent's can be read or listed by her")
    n = as_user(admin, "tina", {"argv": ["true"], "output": "/proc/nowhere/x"})
    j = ended(admin, n)
    equal((j["state"], j["job"]["exit_code"]), ("F", 126), "an output file that she cannot make is 126")
    kept = [p for p in glob.glob(f"{a.dir}/units/*.out") if not os.path.islink(p) and os.path.getsize(p)]
    for what, path in (("the key of the node", f"{a.dir}/node.key"), ("what a job wrote", kept[0]), ("a system file", "/etc/passwd")):
        n = as_user(admin, "tina", {"argv": ["true"], "output": path})
        equal(ended(admin, n)["job"]["exit_code"], 126, f"{what} is not made her output")
        try:
            got = output(admin, n)
        except Refused as e:
            got = e.message
        ok("passwd" in path or "not everybody's" in got, f"nor does the agent read it for her: {what}", got)
        ok("passwd" not in path or got == read(path), "but for what everybody may read", got)


def notices(admin):
    n = as_user(admin, "tina", sh("trap 'cat $SLUIS_NOTICE_FILE; exit 0' TERM; echo up; while :; do sleep 0.05; done"))
    ok(wait_for(20, lambda: running(admin, n) and "up" in output(admin, n)), "a job of hers runs")
    admin.command("job_cancel", {"job": n})
    equal(ended(admin, n)["state"], "CA", "told to stop, it stops")
    ok('"cause":"cancel"' in output(admin, n), "having read its notice", output(admin, n))


def nobody(admin):
    for user, why in (("ghost", "has no account"), ("low", "outside exec.uid_min"), ("rob", "group root"),
                      ("root", "outside exec.uid_min")):
        n = as_user(admin, user, sh(f"touch {T}/was-here-{user}"))

        def told():
            j = job(admin, n)
            return why in j["job"]["end_text"] and j
        j = wait_for(20, told) or job(admin, n)
        ok(why in j["job"]["end_text"], f"work of '{user}' is not started: {why}", j["job"]["end_text"])
        admin.command("job_cancel", {"job": n, "now": True})
        ended(admin, n)
        ok(not os.path.exists(f"{T}/was-here-{user}"), f"and nothing of it ran, as whoever ({user})")


TRY = """import errno, glob, os
for path in sorted(glob.glob("/dev/nvidia*")) + ["/dev/null", "/dev/urandom", "/dev/sluis-test"]:
    try:
        os.close(os.open(path, os.O_RDWR))
        print(path, "open")
    except OSError as e:
        print(path, errno.errorcode[e.errno])
"""


def opened(admin, units):
    n = as_user(admin, "tina", {"argv": [sys.executable, "-c", TRY]}, units=units)
    if not equal(ended(admin, n)["state"], "CD", f"a job with {units} GPUs tries to open all device nodes"):
        return {}
    return dict(line.split() for line in output(admin, n).splitlines())


def devices(admin, node):
    if not node["node"]["isolation"] & BITS["devices"]:
        ok(True, "device filter # SKIP this kernel lets nobody attach one")
        return
    for units in (1, 3):
        got = opened(admin, units)
        gpus = {p: how for p, how in got.items() if p[len("/dev/nvidia"):].isdigit()}
        equal(sorted(gpus.values()), ["ENXIO"] * units + ["EPERM"] * (8 - units), f"it can open {units} of the 8 GPUs")
        equal((got.get("/dev/nvidiactl"), got.get("/dev/null"), got.get("/dev/urandom")), ("ENXIO", "open", "open"),
              "and what every program needs")
        equal(got.get("/dev/sluis-test"), "EPERM", "and nothing else")


HOG = """import sys
x = []
for i in range(300):
    x.append(bytearray(1 << 20))
print("held", len(x))
"""
FORKS = """import os, time
n = 0
try:
    while n < 200:
        if os.fork() == 0:
            time.sleep(300)
            os._exit(0)
        n += 1
except OSError as e:
    print("refused", e.errno, flush=True)
print("made", n, flush=True)
time.sleep(600)
"""


def limits(admin, node):
    bits = node["node"]["isolation"]
    if bits & BITS["memory"]:
        n = as_user(admin, "tina", {"argv": [sys.executable, "-c", HOG]}, memory_mib=100)
        equal(ended(admin, n, 60)["state"], "OOM", "at its memory limit a job is ended, and called out of memory")
    else:
        ok(True, "memory limit # SKIP no memory controller here")
    if bits & BITS["tasks"]:
        n = as_user(admin, "tina", {"argv": [sys.executable, "-c", FORKS]})
        wait_for(20, lambda: "made" in output(admin, n))
        out = output(admin, n).split()
        ok(out[:2] == ["refused", "11"] and int(out[3]) < 40, "at its limit of processes a job cannot fork", out)
        admin.command("job_cancel", {"job": n, "now": True})
        equal(ended(admin, n)["state"], "CA", "and it can be ended")
    else:
        ok(True, "limit of processes # SKIP no pids controller here")


def driver_says(*lines):
    with open(NVML + ".new", "w", encoding="utf-8") as f:
        f.write("".join(line + "\n" for line in lines))
    os.chmod(NVML + ".new", 0o644)
    os.rename(NVML + ".new", NVML)


def shown():
    """What an operator sees of the node."""
    return subprocess.run([os.path.join(os.environ["BIN"], "sluisctl"), "--state-dir", os.path.join(T, "d"), "node", "show",
                           "n1"], capture_output=True, text=True, timeout=60, check=False).stdout


def node_of(admin):
    return admin.query("nodes")["items"][0]


def scrub(admin, a):
    driver_says(*(f"{n} busy 4711" for n in range(8)))
    n = as_user(admin, "tina", sh("exit 3"))
    ok(wait_for(20, lambda: "device_in_use" in a.log()), "work has ended, and its device is found in use", a.log()[-500:])
    equal(node_of(admin)["used"], 1, "so it stays with that job")
    got = wait_for(40, lambda: node_of(admin)["node"]["admin"] == "draining" and node_of(admin))
    ok(got and "4711" in got["node"]["admin_reason"] and f"job-{n}" in got["note"],
       "after a while the node drains, and says which job and which process", (got or node_of(admin)))
    driver_says()
    ok(wait_for(30, lambda: node_of(admin)["used"] == 0), "once it is idle it is given back", a.log()[-500:])
    j = job(admin, n)
    equal((j["state"], j["job"]["exit_code"]), ("F", 3), "and the job's end is what it was")
    admin.command("node_uncordon", {"node": "n1"})

    driver_says(*(f"{n} mode 3" for n in range(8)))
    n = as_user(admin, "tina", sh("echo $SLUIS_DEVICES"))
    equal(ended(admin, n)["state"], "CD", "a job ends on a device that is not as it was")
    sick = wait_for(20, lambda: [x for x in node_of(admin)["node"]["devices"] if x["health"] == "failed"])
    driver_says()
    ok(sick and len(sick) == 1 and sick[0]["reason"] == "its compute mode is exclusive process" and
       sick[0]["uuid"] == output(admin, n).strip(), "that device is failed, and says why", sick)
    ok("why: its compute mode is exclusive process" in shown(), "sluisctl node show has it too", shown())
    equal((node_of(admin)["out"], node_of(admin)["used"]), (1, 0), "it is out, and held by nobody")
    a.end()
    a.start()
    a.connected()
    n = as_user(admin, "tina", sh("echo $SLUIS_DEVICES"), units=7)
    equal(ended(admin, n)["state"], "CD", "the other seven still work")
    ok(sick and sick[0]["uuid"] not in output(admin, n), "also after a restart of the agent, without the broken one",
       output(admin, n))


def hooks(admin, a):
    """The site's programs are the agent's, whoever they run for, and learn whose account that is."""
    seen, folder = os.path.join(T, "hooks.seen"), os.path.join(T, "hooks.d")
    os.mkdir(folder, 0o755)
    with open(os.path.join(folder, "10-who"), "w", encoding="ascii") as f:
        f.write(f'#!/bin/sh\necho "$SLUIS_PHASE $SLUIS_USER $(id -u) $(id -g) ${{SLUIS_UID-none}}" >>{seen}\n')
        os.fchmod(f.fileno(), 0o755)
    with open(seen, "w", encoding="ascii") as f:
        os.fchown(f.fileno(), AGENT, AGENT)
    a.end()
    a.args += ["--set", f"exec.prolog={folder}", "--set", f"exec.epilog={folder}"]
    a.start()
    for user, uid in (("tina", TINA.pw_uid), ("eva", TINA.pw_uid), ("ghost", "none"), ("low", "none")):
        with open(seen, "r+", encoding="ascii") as f:
            f.truncate()
        n = as_user(admin, user, {"argv": ["true"]})
        want = [f"{phase} {user} {AGENT} {AGENT} {uid}" for phase in ("prolog", "epilog")]
        wait_for(20, lambda: len(read(seen).splitlines()) >= 2)
        equal(read(seen).splitlines()[:2], want, f"what runs around a job of '{user}' is the agent's, and is told of the account: {uid}")
        if uid == "none":
            admin.command("job_cancel", {"job": n, "now": True})
        ended(admin, n)
        wait_for(20, lambda: node_of(admin)["used"] == 0)


def main():
    driver_says()
    d = Daemon().start()
    admin = d.admin()
    admin.command("division_apply", division(8, per_node=8, public=8))
    refused_to_start(d, admin)
    a = agent(d, admin).start()
    nodes = ready_nodes(admin, 1)
    if not ok(nodes, "an agent without privilege, with sluis-execd, is ready", a.log()):
        return
    bits = nodes[0]["node"]["isolation"]
    ok(bits & BITS["known"] and bits & BITS["user"], "the node says what it enforces", bits)
    equal(a.log().count("event=isolation") + a.log().count("<6>isolation"), 1, "and so does the log, once")
    line = [x for x in shown().splitlines() if x.startswith("  isolation ")]
    names = line[0].split(";")[0].replace("isolation", "").replace(",", "").split() if line else None
    equal(names, [n for n in ("user", "devices", "memory", "cpu", "cpuset", "tasks", "track") if bits & BITS[n]],
          "sluisctl node show names it")
    ok(bits == sum(BITS.values()) or "not enforced here: " in line[0], "also what is not", line)
    print("# isolation:", *(name for name, bit in BITS.items() if bits & bit and name != "known"))
    who(admin, a)
    files(admin, a)
    notices(admin)
    devices(admin, nodes[0])
    limits(admin, nodes[0])
    nobody(admin)
    scrub(admin, a)
    hooks(admin, a)
    left = f"/tmp/sluis-{a.tag()}-*"
    ok(wait_for(10, lambda: not glob.glob(left)), "no scratch folder is left", glob.glob(left))
    equal(a.end(), 0, "the agent ends")
    equal(d.proc.terminate() or d.proc.wait(60), 0, "and sluisd")


tell(main)
