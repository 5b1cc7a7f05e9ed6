#!/usr/bin/env python3
"""compile_commands.py CC FLAGS - print compile_commands.json for every .c file of the tree

FLAGS is one string as a shell would read it. tests/fuzz and the rest are all built with the same flags.
"""
import json
import os
import shlex
import sys


def main():
    compiler, flags = shlex.split(sys.argv[1]), shlex.split(sys.argv[2])
    root = os.getcwd()
    entries = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(d for d in folders if d not in (".git", "build"))
        for name in sorted(names):
            if name.endswith(".c"):
                path = os.path.relpath(os.path.join(folder, name), root)
                entries.append({"directory": root, "file": path,
                                "arguments": compiler + flags + ["-c", path]})
    json.dump(entries, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
