#!/usr/bin/env python3
"""check_layers.py [ROOT] - includes point one way

Reads every #include of every .c, .h and .def file under ROOT (default: the current folder) and fails
with "file:line: why" if

 - a folder includes one it may not know (RULES below, longest matching folder decides),
 - a "..." path is not spelled from the root of the tree, or names a file that does not exist,
 - a library is entered through another door than its own (DOORS),
 - a folder with C files has no rule.

tests/ may include everything, library headers too: they look at all of it.
"""
import os
import re
import sys

# folder: folders whose headers it may include, besides its own files directly in it
RULES = {
    "proto/base": [],
    "proto/model": ["proto/base"],
    "proto/wire": ["proto/model", "proto/base"],
    "proto/config": ["proto/model", "proto/base"],
    "proto/link": ["proto/base"],
    "proto/client": ["proto"],
    "proto/logfile": ["proto/base"],
    "daemon/core": ["proto/model", "proto/base"],
    "daemon/store": ["proto/logfile", "proto/wire", "proto/model", "proto/base", "daemon/core/fact.h"],
    "daemon/sim": ["daemon/core", "daemon/store", "proto/wire", "proto/model", "proto/base"],
    "daemon/sim/main": ["daemon/sim", "daemon/core", "daemon/store", "proto"],
    "daemon": ["daemon/core", "daemon/store", "proto"],
    "agent/core": ["proto"],
    "agent/probe": ["proto"],
    "agent/exec": ["proto"],
    "agent/shim": ["agent/exec", "proto/base"],
    "agent/execd": ["agent/exec", "proto/link", "proto/base"],
    "agent": ["agent/core", "agent/probe", "agent/exec", "proto"],
    "ctl": ["proto"],
    "tests": ["tests", "proto", "daemon", "agent", "ctl"],
}

# library header: folders that may include it
DOORS = {
    r"zmq(_utils)?\.h": ["proto/link"],
    r"lmdb\.h": ["daemon/store"],
    r"hwloc(\.h|/.*)": ["agent/probe"],
    r"msgpack(\.h|/.*)": ["proto/wire", "daemon/store"],
    r"yaml\.h": ["proto/config"],
    r"systemd/.*": ["agent/exec"],
    r"cmocka\.h": [],
}

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')
SKIP = {".git", "build"}


def under(path, folder):
    return path == folder or path.startswith(folder + "/")


def rule_of(path):
    """The longest folder of RULES that `path` lies in, or None."""
    fitting = [f for f in RULES if under(path, f)]
    return max(fitting, key=len, default=None)


def check_file(root, path):
    """Yield (line, message) for each include of `path` (relative to root) that breaks a rule."""
    rule = rule_of(path)
    if rule is None:
        yield 0, "no rule for this folder; add it to RULES in tests/tools/check_layers.py"
        return
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as f:
        for number, text in enumerate(f, 1):
            m = INCLUDE.match(text)
            if not m:
                continue
            own, system = m.groups()
            if system is not None:
                for pattern, doors in DOORS.items():
                    if re.fullmatch(pattern, system) and rule != "tests" and rule not in doors:
                        door = " and ".join(doors) or "tests"
                        yield number, f"<{system}> belongs to {door}, not to {rule}"
                continue
            if not os.path.isfile(os.path.join(root, own)):
                yield number, f'"{own}" is not a path from the root of the tree'
                continue
            target = rule_of(own)
            if target == rule:
                continue
            if not any(allows(a, own, target) for a in RULES[rule]):
                yield number, f'{rule} may not know {target} ("{own}")'


def allows(allowed, path, target):
    """Does the entry `allowed` of a rule cover `path`, whose own rule is `target`?

    "proto" and the entries of tests stand for all below them; any other folder for itself only,
    so that "daemon/sim" does not open "daemon/sim/main"."""
    if allowed.endswith(".h"):
        return path == allowed
    if allowed == "proto" or target is None:
        return under(path, allowed)
    return target == allowed or (allowed in ("tests", "daemon", "agent", "ctl") and under(path, allowed))


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else "."
    bad = files = 0
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(d for d in folders if d not in SKIP)
        for name in sorted(names):
            if not name.endswith((".c", ".h", ".def")):
                continue
            path = os.path.relpath(os.path.join(folder, name), root)
            files += 1
            for line, message in check_file(root, path):
                print(f"{path}:{line}: {message}")
                bad += 1
    if files == 0:
        print(f"{root}: no C file found")
        return 1
    print(f"{files} files, {bad} includes against the rules")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
