#!/usr/bin/env python3
"""execd_refusals.py SOCKET RUN_DIR AGENT USER - everything sluis-execd must refuse, one TAP line each

Starts as root, because some units must be somebody else's; asks as AGENT. Each case is a whole and right
start but for the one thing its name says, so that no check can hide behind another.
"""
import os
import socket
import sys

SOCKET, RUN, AGENT, USER = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
INVAL, NOTFOUND, TIMEOUT, FORMAT, TOOBIG, UNKNOWN, DENIED = -1, -5, -11, -20, -22, -24, -40


def rec(**fields):
    out = b""
    for key, value in fields.items():
        for v in value if isinstance(value, list) else [value]:
            out += f"{key}={v}".encode() + b"\0"
    return out


def start(name="good", uid=USER, **more):
    return rec(op="start", name=name, uid=uid, **more)


def make_unit(name, owner=AGENT, mode=0o700):
    path = f"{RUN}/units/{name}"
    os.mkdir(path)
    with open(f"{path}/task", "w", encoding="ascii"):
        pass
    os.chown(f"{path}/task", owner, owner)
    os.chown(path, owner, owner)
    os.chmod(path, mode)
    return path


def listener(kind=socket.SOCK_SEQPACKET, listening=True):
    s = socket.socket(socket.AF_UNIX, kind)
    s.bind(f"{RUN}/s{listener.n}")
    listener.n += 1
    if listening:
        s.listen(1)
    return s.fileno(), s


listener.n = 0


def ask(data, fds=()):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.settimeout(60)
        s.connect(SOCKET)
        try:
            if data is not None:
                socket.send_fds(s, [data], list(fds))
        except BrokenPipeError:
            pass  # answered before it was asked: who we are is enough
        answer = s.recv(8192).decode()
    code, text = answer.split(" ", 1)
    return int(code), text


def main():
    for d in (RUN, f"{RUN}/units"):
        os.mkdir(d)
        os.chown(d, AGENT, AGENT)
        os.chmod(d, 0o711)
    good = make_unit("good")
    make_unit("other")
    make_unit("of-root", owner=0)
    make_unit("open", mode=0o770)
    os.symlink(good, f"{RUN}/units/link")
    bare = make_unit("bare")
    os.unlink(f"{bare}/task")
    linked = make_unit("linked")
    os.unlink(f"{linked}/task")
    os.symlink(f"{good}/task", f"{linked}/task")
    lock = {n: os.open(f"{RUN}/units/{n}/task", os.O_RDONLY) for n in ("good", "other", "of-root", "open")}
    sock, keep = listener()
    deaf, keep2 = listener(listening=False)
    stream, keep3 = listener(kind=socket.SOCK_STREAM)
    ok = (lock["good"], sock)
    cases = [("root is not the agent", DENIED, rec(op="hello"), ())]
    n = failed = 0

    def run(list_of_cases):
        nonlocal n, failed
        for what, want, data, fds in list_of_cases:
            code, text = ask(data, fds)
            n += 1
            good_code = code == want
            failed += not good_code
            print(f"{'ok' if good_code else 'not ok'} {n} - refused: {what}", flush=True)
            if not good_code:
                print(f"# got {code} {text!r}, expected {want}")

    run(cases)
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setgid(USER)
        os.setuid(USER)
        try:
            ask(rec(op="hello"))
            os._exit(1)
        except PermissionError:
            os._exit(0)
    n += 1
    shut = os.waitpid(pid, 0)[1] == 0
    failed += not shut
    print(f"{'ok' if shut else 'not ok'} {n} - refused: another user, by the mode of the socket", flush=True)
    os.setgroups([])
    os.setgid(AGENT)
    os.setuid(AGENT)
    run([
        ("silence", TIMEOUT, None, ()),
        ("no records", FORMAT, b"hello", ()),
        ("an open record", FORMAT, b"op=hello", ()),
        ("another operation", INVAL, rec(op="reboot"), ()),
        ("a field nobody knows", UNKNOWN, start(argv="/bin/sh"), ok),
        ("a field twice", UNKNOWN, start() + b"uid=0\0", ok),
        ("too much of it", TOOBIG, start(cpus="1" * 9000), ok),
        ("a name that climbs", INVAL, start(name="../units/good"), ok),
        ("a hidden name", INVAL, start(name=".good"), ok),
        ("a start as root", DENIED, start(uid=0), ok),
        ("a user below the range", DENIED, start(uid=1), ok),
        ("a user above the range", DENIED, start(uid=65534), ok),
        ("a user that does not exist", NOTFOUND, start(uid=USER + 7), ok),
        ("a user in group root", DENIED, start(uid=USER + 1), ok),
        ("a disk as device", DENIED, start(devices=1, device="/dev/sda"), ok),
        ("memory as device", DENIED, start(devices=1, device="/dev/mem"), ok),
        ("a device by a way around", DENIED, start(devices=1, device="/dev/dri/../mem"), ok),
        ("65 devices", TOOBIG, start(devices=1, device=[f"/dev/nvidia{i}" for i in range(65)]), ok),
        ("cpus that are no list", INVAL, start(cpus="0-"), ok),
        ("no descriptors", FORMAT, start(), ()),
        ("one descriptor", FORMAT, start(), ok[:1]),
        ("three descriptors", FORMAT, start(), ok + (0,)),
        ("a hundred descriptors", TOOBIG, start(), (0,) * 100),
        ("a kill with descriptors", FORMAT, rec(op="kill", name="good"), ok),
        ("a kill with a user", UNKNOWN, rec(op="kill", name="good", uid=USER), ()),
        ("a unit that is not there", NOTFOUND, start(name="none"), ok),
        ("a unit that is a symbolic link", DENIED, start(name="link"), ok),
        ("a unit of root's", DENIED, start(name="of-root"), (lock["of-root"], sock)),
        ("a unit others may write", DENIED, start(name="open"), (lock["open"], sock)),
        ("a unit without description", DENIED, start(name="bare"), ok),
        ("a description elsewhere", DENIED, start(name="linked"), ok),
        ("the lock of another unit", DENIED, start(), (lock["other"], sock)),
        ("the two swapped", DENIED, start(), ok[::-1]),
        ("a socket that does not listen", DENIED, start(), (lock["good"], deaf)),
        ("a stream", DENIED, start(), (lock["good"], stream)),
    ])
    os.rename(f"{RUN}/units", f"{RUN}/real")
    os.symlink(f"{RUN}/real", f"{RUN}/units")
    run([("a symbolic link on the way", DENIED, start(), ok)])
    os.unlink(f"{RUN}/units")
    os.rename(f"{RUN}/real", f"{RUN}/units")
    # Whole and right: the shim is started, finds an empty description and leaves.
    code, text = ask(start(), ok)
    n += 1
    failed += code != 0
    print(f"{'ok' if code == 0 else 'not ok'} {n} - and what is right in all of this is not refused")
    if code:
        print(f"# {code} {text}")
    print(f"ASKED {n - 1}")  # one of them could not even connect
    del keep, keep2, keep3
    return 1 if failed else 0


sys.exit(main())
