#!/usr/bin/env python3
"""cov_report.py BUILD - lines and branches that ran, per folder, from gcov's JSON

Reads every .gcda below BUILD. A line counts as reached if any program reached it. Tests themselves and
system headers are left out. Figures: "coverage_FOLDER_lines: 93.1 %".
"""
import json
import os
import subprocess
import sys


def gcov(gcda):
    """The documents gcov prints for one .gcda: one JSON object per line."""
    out = subprocess.run(["gcov", "--json-format", "--branch-probabilities", "--stdout", gcda],
                         capture_output=True, text=True, check=False).stdout
    for line in out.splitlines():
        if line.startswith("{"):
            yield json.loads(line)


def main():
    if len(sys.argv) != 2:
        print(__doc__.splitlines()[0])
        return 2
    lines, branches = {}, {}            # (file, line[, index]) -> times
    for folder, _, names in os.walk(sys.argv[1]):
        for name in names:
            if not name.endswith(".gcda"):
                continue
            for document in gcov(os.path.join(folder, name)):
                for f in document["files"]:
                    path = os.path.normpath(f["file"])
                    if os.path.isabs(path) or path.startswith(("..", "tests" + os.sep)):
                        continue
                    for entry in f["lines"]:
                        key = (path, entry["line_number"])
                        lines[key] = lines.get(key, 0) + entry["count"]
                        for i, branch in enumerate(entry["branches"]):
                            if not branch["throw"]:
                                b = key + (i,)
                                branches[b] = branches.get(b, 0) + branch["count"]
    if not lines:
        print(f"{sys.argv[1]}: no coverage data; make cov builds and runs the tests first")
        return 1

    def figures(name, belongs):
        for what, table in (("lines", lines), ("branches", branches)):
            counts = [n for key, n in table.items() if belongs(key[0])]
            if counts:
                share = 1000 * sum(n > 0 for n in counts) // len(counts)
                print(f"coverage_{name}_{what}: {share // 10}.{share % 10} %")

    for folder in sorted({os.path.dirname(key[0]) for key in lines}):
        figures(folder.replace(os.sep, "_"), lambda path, f=folder: os.path.dirname(path) == f)
    figures("all", lambda path: True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
