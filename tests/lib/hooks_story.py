"""hooks_story.py - the site's programs before and after a job, as t1110-hooks.sh tells it; prints TAP

Environment: as story.py. Each program of the folders writes a line to a file, so that order, repetition and what was
killed show.
"""
import os
import signal

from sluis_client import stays, wait_for
from story import T, Agent, Daemon, division, ended, job, read, ready_nodes, submit, token
from tap import equal, ok, tell

SEEN = os.path.join(T, "seen")


def put(folder, name, text, mode=0o755):
    path = os.path.join(T, folder, name)
    with open(path + ".part", "w", encoding="ascii") as f:
        f.write("#!/bin/sh\n" + text + "\n")
    os.chmod(path + ".part", mode)
    os.rename(path + ".part", path)
    return path


def seen():
    return read(SEEN).splitlines()


def forget():
    if os.path.exists(SEEN):
        os.unlink(SEEN)


def alive(pid):
    try:
        os.kill(int(pid), 0)
        return read(f"/proc/{pid}/stat").rsplit(")", 1)[-1].split()[:1] not in ([], ["Z"])
    except (ProcessLookupError, ValueError):
        return False


def documented():
    """What sluis-agent(8) says that they find."""
    page = read(os.path.join(os.path.dirname(__file__), "..", "..", "agent", "sluis-agent.8"))
    section = page.split(".Sh PROLOG AND EPILOG", 1)[1].split("\n.Sh ", 1)[0]
    return {name for line in section.splitlines() if line.startswith(".It Ev ") for name in line[7:].split(" , ")}


def order_and_environment(admin, a):
    keep = f"tr '\\0' '\\n' </proc/$$/environ >{T}/env.$SLUIS_PHASE"  # as it was started with
    say = f'echo "{{}} $SLUIS_PHASE $SLUIS_JOB_ID" >>{SEEN}'
    put("prolog", "20-second", say.format("second") + "; echo hello from second")
    put("prolog", "10-first", say.format("first") + "; " + keep)
    put("prolog", "30-data", say.format("data"), mode=0o644)
    put("prolog", ".hidden", say.format("hidden"))
    put("prolog", "10-first~", say.format("backup"))
    put("prolog", "15-loud", "yes | head -c 1000000")
    put("epilog", "10-undo", say.format("undo") + f"; {keep}; sleep 0.3; echo done >>{SEEN}")
    n = submit(admin, {"argv": ["sh", "-c", f"echo task - $SLUIS_JOB_ID >>{SEEN}; exit 4"], "env": ["RUDE=1"]})
    j = ended(admin, n)
    equal((j["state"], j["job"]["exit_code"], j["job"]["attempt"]), ("F", 4, 1), "the job ran, once")
    ok(wait_for(10, lambda: admin.query("nodes")["items"][0]["used"] == 0), "and has given its device back")
    equal(seen(), [f"first prolog {n}", f"second prolog {n}", f"task - {n}", f"undo epilog {n}", "done"],
          "first the prolog's programs by name, then the task, then the epilog, and then the device is free")
    log = a.log()
    ok("30-data: passed over, it is not executable" in log and ".hidden: passed over" in log
       and "10-first~: passed over, it is a backup" in log, "what was passed over is in the log", log[-3000:])
    ok("20-second: hello from second" in log, "and what they print")
    ok("15-loud: (9999" in log and len(log) < 200000, "bounded", len(log))
    for phase in ("prolog", "epilog"):
        env = dict(x.split("=", 1) for x in read(f"{T}/env.{phase}").splitlines() if "=" in x)
        equal((env.get("SLUIS_JOB_ID"), env.get("SLUIS_ATTEMPT"), env.get("SLUIS_PHASE"), "RUDE" in env), (str(n), "1", phase, False),
              f"the {phase} knows whom it is for, and nothing of the user's")
        ok(env.get("SLUIS_DEVICES", "") and env.get("CUDA_VISIBLE_DEVICES") == env["SLUIS_DEVICES"] and env.get("SLUIS_USER") is not None
           and "MASTER_ADDR" not in env, "and which devices", env)
        equal(sorted(set(env) - documented()), [], "and nothing that sluis-agent(8) does not list")
        equal(env.get("SLUIS_UID"), str(os.geteuid()), "and as whom the work runs: as the agent, where it cannot switch users")


def agent_dies(admin, a):
    """In the middle of a prolog, and of an epilog: each runs on and is waited for."""
    go = os.path.join(T, "go")
    for name in os.listdir(os.path.join(T, "prolog")):
        os.unlink(os.path.join(T, "prolog", name))
    for phase, name in (("prolog", "10-wait"), ("epilog", "10-undo")):
        put(phase, name, f"echo {phase} >>{SEEN}; while [ ! -e {go}.$SLUIS_PHASE ]; do sleep 0.05; done; echo {phase} over >>{SEEN}")
    forget()
    n = submit(admin, {"argv": ["sh", "-c", f"echo task >>{SEEN}; exit 0"]})
    ok(wait_for(10, lambda: seen() == ["prolog"]), "a prolog runs", seen())
    a.end(signal.SIGKILL)
    a.start()
    a.connected()
    ok(stays(0.5, lambda: seen() == ["prolog"]), "kill -9 of the agent: no second prolog, and no task yet", seen())
    a.end(signal.SIGKILL)
    open(f"{go}.prolog", "w", encoding="ascii").close()
    wait_for(10, lambda: "prolog over" in seen())
    a.start()
    ok(wait_for(20, lambda: "epilog" in seen()), "one that ends while no agent is there counts", seen())
    a.end(signal.SIGKILL)
    a.start()
    a.connected()
    ok(stays(0.5, lambda: admin.query("nodes")["items"][0]["used"] == 1), "a device stays until the epilog is over")
    open(f"{go}.epilog", "w", encoding="ascii").close()
    equal(ended(admin, n)["job"]["attempt"], 1, "the job needed one attempt")
    ok(wait_for(10, lambda: admin.query("nodes")["items"][0]["used"] == 0), "then it is free")
    equal(seen(), ["prolog", "prolog over", "task", "epilog", "epilog over"], "each of it happened once")
    os.unlink(os.path.join(T, "prolog", "10-wait"))
    put("epilog", "10-undo", f"echo undo $SLUIS_JOB_ID >>{SEEN}")


def node(admin):
    return admin.query("nodes")["items"][0]


def prolog_fails(admin):
    put("prolog", "10-check", f"echo check >>{SEEN}; exit 3")
    put("prolog", "20-never", f"echo never >>{SEEN}")
    forget()
    n = submit(admin, {"argv": ["sh", "-c", f"echo task >>{SEEN}"]})
    ok(wait_for(10, lambda: node(admin)["node"]["admin"] == "draining"), "a prolog that fails drains its node", node(admin))
    reason = node(admin)["node"]["admin_reason"]
    ok(f"job-{n}" in reason and "prolog 10-check: exited with 3" in reason, "which says why", reason)
    ok(wait_for(10, lambda: node(admin)["used"] == 0), "the devices go back")
    equal(seen(), ["check", f"undo {n}"], "nothing after it ran, but the epilog")
    equal(job(admin, n)["state"], "PD", "the job waits for another node")
    ok("prolog 10-check" in job(admin, n)["job"]["end_text"], "and says what happened", job(admin, n)["job"]["end_text"])
    os.unlink(os.path.join(T, "prolog", "20-never"))
    admin.command("job_cancel", {"job": n, "now": True})


def prolog_hangs(admin):
    put("prolog", "10-check", f"sleep 600 & echo $! >>{SEEN}; setsid sleep 600 & echo $! >>{SEEN}; echo $$ >>{SEEN}; wait")
    forget()
    admin.command("node_uncordon", {"node": "n1"})
    n = submit(admin, {"argv": ["true"]})
    ok(wait_for(20, lambda: node(admin)["node"]["admin"] == "draining"), "so does one that takes too long", node(admin))
    ok("10-check: ran longer than 4.000 s" in node(admin)["node"]["admin_reason"], "at its limit", node(admin)["node"]["admin_reason"])
    ok(wait_for(10, lambda: node(admin)["used"] == 0), "the devices go back")
    pids = seen()[:3]
    ok(len(pids) == 3 and not any(alive(p) for p in pids), "and nothing of it is left, not even in another session", pids)
    admin.command("job_cancel", {"job": n, "now": True})
    os.unlink(os.path.join(T, "prolog", "10-check"))


def parent(pid):
    return int(read(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()[1])


def shim_dies(admin):
    """Nobody but the agent is left to end what runs."""
    put("prolog", "10-check", f"setsid sleep 600 & echo $! >>{SEEN}; echo $$ >>{SEEN}; wait")
    forget()
    admin.command("node_uncordon", {"node": "n1"})
    n = submit(admin, {"argv": ["sh", "-c", f"echo task >>{SEEN}"]})
    ok(wait_for(10, lambda: len(seen()) == 2), "a prolog runs", seen())
    pids = seen()
    os.kill(parent(parent(pids[1])), signal.SIGKILL)
    ok(wait_for(20, lambda: node(admin)["node"]["admin"] == "draining"), "a prolog whose shim dies has failed", node(admin))
    ok("prolog lost its shim" in node(admin)["node"]["admin_reason"], "which is said", node(admin)["node"]["admin_reason"])
    ok(not any(alive(p) for p in pids), "and it is over then, with all that it began", pids)
    ok(wait_for(10, lambda: node(admin)["used"] == 0), "the devices go back")
    ok("task" not in seen(), "nothing else began", seen())
    admin.command("job_cancel", {"job": n, "now": True})
    os.unlink(os.path.join(T, "prolog", "10-check"))


def not_ours(admin):
    path = put("prolog", "10-open", f"echo open >>{SEEN}")
    os.chmod(path, 0o777)
    forget()
    admin.command("node_uncordon", {"node": "n1"})
    n = submit(admin, {"argv": ["true"]})
    ok(wait_for(10, lambda: "may change it" in node(admin)["node"]["admin_reason"]), "a program that anybody may change is not run",
       node(admin)["node"])
    ok("open" not in seen(), "indeed", seen())
    os.unlink(path)
    admin.command("job_cancel", {"job": n, "now": True})
    wait_for(10, lambda: node(admin)["used"] == 0)


def epilog_fails(admin, a):
    broken = os.path.join(T, "broken")  # with what it holds: the number of a job that cannot be undone
    put("epilog", "10-undo", f'echo undo $SLUIS_JOB_ID >>{SEEN}; [ "$(cat {broken})" != $SLUIS_JOB_ID ] || exit 9')
    forget()
    admin.command("node_uncordon", {"node": "n1"})
    n = submit(admin, {"argv": ["sh", "-c", "exit 0"]}, hold=True)
    with open(broken, "w", encoding="ascii") as f:
        f.write(f"{n}\n")
    admin.command("job_release", {"job": n})
    ok(wait_for(20, lambda: node(admin)["node"]["admin"] == "draining"), "an epilog that fails drains its node", node(admin))
    ok("epilog 10-undo: exited with 9" in node(admin)["node"]["admin_reason"], "which says why", node(admin)["node"]["admin_reason"])
    equal(node(admin)["used"], 1, "the device stays where it was")
    admin.command("node_uncordon", {"node": "n1"})
    other = submit(admin, {"argv": ["true"]})
    equal(ended(admin, other)["state"], "CD", "an operator may use the rest")
    equal((node(admin)["node"]["admin"], node(admin)["used"]), ("enabled", 1), "without being overruled, and the device is not handed out")
    os.truncate(broken, 0)
    ok(wait_for(30, lambda: node(admin)["used"] == 0), "mended, it is tried again, and the device is free", seen())
    equal((ended(admin, n)["state"], node(admin)["node"]["admin"]), ("CD", "enabled"), "and the job is over")
    names = [x for x in os.listdir(os.path.join(a.dir, "exec", "units")) if not x.startswith(".")]
    equal(names, [], "nothing of any of it is left")


def without_epilog(admin, a):
    """The way out that sluis-agent(8) names, and it leaves nothing behind."""
    units = os.path.join(a.dir, "exec", "units")
    put("epilog", "10-undo", f"echo undo >>{SEEN}; exit 9")
    n = submit(admin, {"argv": ["sh", "-c", "exit 0"]})
    ok(wait_for(20, lambda: node(admin)["node"]["admin"] == "draining"), "an epilog fails again", node(admin))
    a.end()
    at = a.args.index(f"exec.epilog={T}/epilog")
    del a.args[at - 1:at + 1]
    a.start()
    ok(wait_for(20, lambda: node(admin)["used"] == 0), "an agent without one gives the device back", node(admin))
    equal(ended(admin, n)["state"], "CD", "the job is over")
    ok(wait_for(10, lambda: all(x.startswith(".") for x in os.listdir(units))), "and nothing of it is left", os.listdir(units))


def again(a, limit):
    """The agent goes on with another time limit for hooks."""
    a.end()
    a.args[-1] = f"exec.prolog_timeout={limit}"
    a.start()
    a.connected()


def main():
    for folder in ("prolog", "epilog"):
        os.mkdir(os.path.join(T, folder), 0o755)
    d = Daemon().start()
    admin = d.admin()
    admin.command("division_apply", division(4, public=4))
    args = ["--synthetic", "package:1 numanode:1 core:8 pu:1", "--gpus", "4xH100", "--set", f"exec.prolog={T}/prolog", "--set",
            f"exec.epilog={T}/epilog", "--set", "exec.prolog_timeout=1500ms"]
    os.chmod(os.path.join(T, "prolog"), 0o777)
    a = Agent("n1", token(d, admin), *args).start()
    equal(a.proc.wait(60), 2, "a folder that anybody may change is not taken")
    ok("exec.prolog" in a.log() and "may be changed by others" in a.log(), "and named", a.log())
    os.chmod(os.path.join(T, "prolog"), 0o755)
    a = Agent("n1", token(d, admin), *args[:-1], "exec.prolog_timeout=5m").start()
    a.starts = 1
    ready_nodes(admin, 1)
    order_and_environment(admin, a)
    agent_dies(admin, a)
    prolog_fails(admin)
    again(a, "4s")
    prolog_hangs(admin)
    again(a, "5m")
    shim_dies(admin)
    not_ours(admin)
    epilog_fails(admin, a)
    without_epilog(admin, a)
    equal(a.end(), 0, "the agent ends")


tell(main)
