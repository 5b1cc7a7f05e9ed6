#!/usr/bin/env python3
"""check_core.py ARCHIVE [SOURCES] - the core reaches for no clock, file, socket or library

Reads ARCHIVE (daemon-core.a) with `nm`: every symbol that it needs and does not define itself must be
pure (PURE), put there by the compiler (COMPILER), or defined by proto-base.a or proto-model.a beside it.
What it needs from those two is followed as far as `nm` sees: the whole object file
that defines a needed symbol must need only what the core may need (and HELPERS_MAY).

Then greps SOURCES (default daemon/core) for floating point, which nm cannot see.
"""
import os
import re
import subprocess
import sys

# Functions of libc whose result depends on their arguments alone. qsort chooses its algorithm by the
# machine's memory (glibc), and with it the order of ties: a comparison in the core ends with an id.
PURE = set("""
memcpy memmove memset memcmp memchr
strlen strnlen strcmp strncmp strchr strrchr strstr strspn strcspn
malloc calloc realloc free abort
qsort bsearch
snprintf vsnprintf
""".split())

COMPILER = re.compile(
    r"^(__stack_chk_fail(_local)?|_GLOBAL_OFFSET_TABLE_|"
    r"__(asan|ubsan|tsan|sanitizer|gcov|sancov|llvm_prf|start_|stop_)\w*|"
    r"__(popcount|clz|ctz|ffs|parity|bswap)[sdt]i2|__udivti3|__umodti3|__divti3|__modti3|__muloti4|__udivmodti4)$")

# Helpers of proto/base that print where an invariant broke, then abort: the one thing that may write.
LAST_WORDS = {"ensure_failed", "memory_out"}

# What an object of proto/base may need for a function that the core does not call (err_set_errno).
HELPERS_MAY = {"strerror", "strerror_r", "__xpg_strerror_r", "__errno_location"}

FLOAT = re.compile(r"\b(float|double|_Float\d+|long\s+double)\b|\b\d+(?:\.\d+(?:[eE][+-]?\d+)?|[eE][+-]?\d+)|<(math|float|tgmath|complex)\.h>")


def nm(archive):
    """{object: (defined, needed)} of an archive."""
    out = subprocess.run(["nm", "-A", archive], check=True, capture_output=True, text=True).stdout
    objects = {}
    for line in out.splitlines():
        where, _, rest = line.partition(".o:")
        words = rest.split()
        if len(words) < 2:
            continue
        defined, needed = objects.setdefault(where.rsplit(":", 1)[-1], (set(), set()))
        kind, name = words[-2], words[-1]
        if kind in "Uw":
            needed.add(name)
        elif kind.isupper() or kind in "vu":
            defined.add(name)
    return objects


def is_pure(symbol):
    checked = re.fullmatch(r"__(\w+)_chk", symbol)
    return symbol in PURE or bool(COMPILER.match(symbol)) or bool(checked and checked.group(1) in PURE)


def check_symbols(archive):
    core = nm(archive)
    if not core:
        yield f"{archive}: no object in it"
        return
    helpers = {}
    for name in ("proto-base.a", "proto-model.a"):
        beside = os.path.join(os.path.dirname(archive), name)
        if os.path.exists(beside):
            for obj, (defined, needed) in nm(beside).items():
                for symbol in defined:
                    helpers[symbol] = (f"{name}({obj}.o)", needed)
    own = set().union(*(defined for defined, _ in core.values()))
    todo = [(f"{obj}.o", s) for obj, (_, needed) in sorted(core.items()) for s in sorted(needed)]
    followed = set()
    while todo:
        user, symbol = todo.pop(0)
        if symbol in own or symbol in followed or is_pure(symbol) or symbol in LAST_WORDS:
            continue
        if symbol in helpers:
            followed.add(symbol)
            helper, needed = helpers[symbol]
            todo += [(f"{user}, through {symbol} of {helper},", s) for s in sorted(needed)]
        elif "through" not in user or symbol not in HELPERS_MAY:
            yield f"{user} needs {symbol}, which is not among what the core may use"


def strip_comments(text):
    """C without comments and strings, line numbers kept."""
    def blank(m):
        return re.sub(r"[^\n]", " ", m.group(0))
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)


def check_floats(folder):
    for where, _, names in sorted(os.walk(folder)):
        for name in sorted(names):
            if not name.endswith((".c", ".h", ".def")):
                continue
            path = os.path.join(where, name)
            with open(path, encoding="utf-8") as f:
                lines = strip_comments(f.read()).split("\n")
            for number, line in enumerate(lines, 1):
                m = FLOAT.search(line)
                if m:
                    yield f"{path}:{number}: floating point in the core: {m.group(0)}"


def main():
    if len(sys.argv) not in (2, 3):
        print(__doc__.splitlines()[0])
        return 2
    archive, sources = sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else "daemon/core"
    if not os.path.exists(archive):
        print(f"{archive} does not exist: build it first")
        return 1
    faults = list(check_symbols(archive)) + list(check_floats(sources))
    print("\n".join(faults + [f"{archive}: {len(faults)} faults"]))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
