#!/usr/bin/env python3
"""Plant the bugs of tests/sim/mutations one at a time in a copy of the tree and see each found.

    tests/tools/mutate.py [--seeds N] [--jobs K] [--dir build/mutate] [--check] [--draw N --key TEXT] [NAME...]

--draw takes N of those that a quick unit test finds, others with another key, and starts from what is built here.
Prints per mutation how many seeds the simulation took, or which unit test found it, then the figures. Exits 1 when one
survives, when its text is not in the tree any more, or when the tree fails without any.
"""
import argparse
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def read_mutations(path):
    found, now = [], None
    for number, line in enumerate(open(path, encoding="utf-8"), 1):
        line = line.rstrip("\n")
        word, _, rest = line.partition(" ")
        if not line.strip() or line.startswith("#"):
            continue
        if word == "mutation":
            now = {"name": rest, "old": [], "new": []}
            found.append(now)
        elif word in ("in", "by"):
            now[word] = rest
        elif word == "-":
            now["old"].append(rest)
        elif word == "+":
            now["new"].append(rest)
        else:
            sys.exit(f"{path}:{number}: '{word}' is none of mutation, in, by, -, +")
    return found


def shell(tree, *command, timeout=None):
    return subprocess.run(command, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL, errors="replace")


class Failed(Exception):
    pass


def build(tree, target):
    done = shell(tree, "make", "-s", f"build/release/tests/{target}")
    if done.returncode:
        raise Failed("does not build:\n" + "\n".join(done.stdout.splitlines()[-8:]))


def find(tree, by, seeds):
    """None if nothing is found, else (seeds, what)."""
    build(tree, "sim_cluster" if by == "sim" else by)
    if by == "sim":
        done = shell(tree, "build/release/tests/sim_cluster", f"--hunt={seeds}")
        last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""
        if done.returncode == 0:
            return None
        if done.returncode != 1 or not last.startswith("caught by seed "):
            raise Failed(f"sim_cluster ended with {done.returncode}: {last}")
        number, _, what = last[len("caught by seed "):].partition(": ")
        return int(number), what
    try:
        done = shell(tree, f"build/release/tests/{by}", timeout=300)
    except subprocess.TimeoutExpired:
        return 0, "does not come to an end"
    if done.returncode == 0:
        return None
    failed = [line.split("] ", 1)[1] for line in done.stdout.splitlines() if line.startswith("[  FAILED  ] ")]
    return 0, failed[0] if failed else f"{by} ends with {done.returncode}"


def text_of(tree, mutation):
    text = open(os.path.join(tree, mutation["in"]), encoding="utf-8").read()
    times = text.count("\n".join(mutation["old"]))
    if times != 1:
        raise Failed(f"its text is {times} times in {mutation['in']}: write it anew")
    return text


def plant(tree, mutation, seeds):
    path = os.path.join(tree, mutation["in"])
    text = text_of(tree, mutation)
    try:
        open(path, "w", encoding="utf-8").write(text.replace("\n".join(mutation["old"]), "\n".join(mutation["new"])))
        return find(tree, mutation["by"], seeds)
    finally:
        open(path, "w", encoding="utf-8").write(text)


SLOW = ("sim", "sim_leases", "test_store", "test_store_crash", "test_core_reservation")


def draw(mutations, n, key):
    quick = [m for m in mutations if m["by"] not in SLOW]
    return sorted(quick, key=lambda m: hashlib.sha256((key + m["name"]).encode()).digest())[:n]


def copy_tree(to, built=False):
    """The sources only, those that changed; what was built there before stays. `built`: with what was built here, so
    that all times are kept."""
    os.makedirs(to, exist_ok=True)
    if built:
        shutil.copytree(os.path.join(HERE, "build", "release"), os.path.join(to, "build", "release"), dirs_exist_ok=True,
                        symlinks=True, ignore=shutil.ignore_patterns("bin", "test_*", "bench_*", "sim_*", "log"))
    names = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=HERE, check=True,
                           stdout=subprocess.PIPE).stdout.decode().split("\0")
    for name in filter(None, names):
        source, target = os.path.join(HERE, name), os.path.join(to, name)
        if not os.path.isfile(source):
            continue
        if os.path.isfile(target) and open(source, "rb").read() == open(target, "rb").read():
            continue
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy2(source, target)
        if not built:
            os.utime(target)


def check(mutations):
    bad = 0
    for m in mutations:
        try:
            text_of(HERE, m)
        except Failed as why:
            bad += 1
            print(f"{m['name']}: {why}")
    return bad > 0


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--seeds", type=int, default=400, help="that a bug may take")
    p.add_argument("--jobs", type=int, default=1)
    p.add_argument("--dir", default=os.path.join(HERE, "build", "mutate"))
    p.add_argument("--check", action="store_true", help="only see that each text is in the tree, once")
    p.add_argument("--draw", type=int, default=0)
    p.add_argument("--key", default="")
    p.add_argument("names", nargs="*")
    opts = p.parse_args()
    mutations = read_mutations(os.path.join(HERE, "tests", "sim", "mutations"))
    strange = set(opts.names) - {m["name"] for m in mutations}
    if strange:
        sys.exit(f"no mutation {', '.join(sorted(strange))}")
    if opts.names:
        mutations = [m for m in mutations if m["name"] in opts.names]
    if opts.check:
        return check(mutations)
    if opts.draw:
        mutations = draw(mutations, opts.draw, opts.key)
    start = time.monotonic()
    trees = [os.path.join(opts.dir, f"tree{i}") for i in range(max(1, opts.jobs))]
    for tree in trees:
        copy_tree(tree, built=opts.draw > 0)
    for by in sorted({m["by"] for m in mutations}):
        try:
            found = find(trees[0], by, opts.seeds)
        except Failed as why:
            sys.exit(f"without any bug {by} {why}")
        if found:
            sys.exit(f"without any bug {by} fails: {found[1]}")
    print("without any bug: " + ("" if opts.draw else f"{opts.seeds} seeds and ") + "the unit tests pass", flush=True)
    lock, todo, results = threading.Lock(), list(mutations), {}

    def work(tree):
        while True:
            with lock:
                if not todo:
                    return
                m = todo.pop(0)
            try:
                found = plant(tree, m, opts.seeds)
                results[m["name"]] = found
                said = "SURVIVES" if not found else \
                    f"found by {m['by']}" + (f", seed {found[0]}" if m["by"] == "sim" else "") + f": {found[1]}"
            except Failed as why:
                results[m["name"]] = None
                said = str(why)
            with lock:
                print(f"{m['name']}: {said}", flush=True)

    threads = [threading.Thread(target=work, args=(tree,)) for tree in trees]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    found = [m for m in mutations if results.get(m["name"])]
    by_sim = sorted(results[m["name"]][0] for m in found if m["by"] == "sim")
    print(f"mutations_found: {len(found)} of {len(mutations)}")
    print(f"mutations_by_simulation: {len(by_sim)} mutations")
    if by_sim:
        print(f"seeds_to_find_median: {statistics.median(by_sim):g} seeds")
        print(f"seeds_to_find_most: {by_sim[-1]} seeds")
    print(f"mutation_time: {time.monotonic() - start:.0f} s")
    return len(found) != len(mutations)


if __name__ == "__main__":
    sys.exit(main())
