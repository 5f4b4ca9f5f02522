#!/usr/bin/env python3
"""Every C file is as clang-format leaves it, every shell script passes shellcheck, every room that
has code has a README."""
import os
import shutil
import subprocess
import sys

top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
os.chdir(top)


def files():
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if listed.returncode == 0:
        return [f for f in listed.stdout.splitlines() if os.path.isfile(f)]
    return [os.path.relpath(os.path.join(d, f), top) for d, _, fs in os.walk(top) for f in fs
            if "/build" not in d and "/.git" not in d]


def is_shell(path):
    with open(path, "rb") as f:
        first = f.readline(80)
    return first.startswith((b"#!/bin/sh", b"#!/bin/bash", b"#!/usr/bin/env bash"))


def run(n, what, tool, args):
    if shutil.which(tool) is None:
        print(f"ok {n} - {what} # SKIP {tool} is not installed")
        return 0
    p = subprocess.run([tool] + args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in p.stdout.splitlines()[:60]:
        print("# " + line)
    print(f"{'ok' if p.returncode == 0 else 'not ok'} {n} - {what}")
    return p.returncode != 0


def rooms_have_readmes(listed):
    rooms = {os.path.dirname(f) for f in listed
             if f.startswith(("common/", "daemon/", "client/")) and f.endswith(".c")}
    return sorted(r for r in rooms if not os.path.exists(os.path.join(r, "README.md")))


def main():
    listed = files()
    c = [f for f in listed if f.endswith((".c", ".h"))]
    print("1..3")
    failed = run(1, f"{len(c)} C files are formatted", "clang-format", ["--dry-run", "-Werror"] + c)
    shell = [f for f in listed if is_shell(f)]
    failed += run(2, f"{len(shell)} scripts pass shellcheck", "shellcheck", shell)
    missing = rooms_have_readmes(listed)
    for room in missing:
        print(f"# {room} has code and no README.md")
    print(f"{'not ok' if missing else 'ok'} 3 - rooms have a README")
    return 1 if failed or missing else 0


if __name__ == "__main__":
    sys.exit(main())
