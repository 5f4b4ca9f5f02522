#!/usr/bin/env python3
"""Deciders see time, chance, disk and network only through what they are handed.

Greps the pure rooms for system headers and calls that would let the world in, and for mutable
globals; comments are ignored. Nobody else may wait by the wall clock, which people set (row 6).
"""
import os
import re
import sys

top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PURE = ["common/base", "common/mem", "common/codec", "common/owner", "daemon/store", "daemon/replica",
        "daemon/manager"]
HEADERS = {"stddef.h", "stdint.h", "stdbool.h", "string.h", "stdlib.h", "errno.h", "limits.h",
           "stdarg.h", "stdio.h", "ctype.h", "inttypes.h", "sys/uio.h", "xxhash.h", "zstd.h",
           "assert.h", "stdalign.h"}
CALLS = re.compile(r"\b(time|clock_gettime|gettimeofday|rand|random|srand|getrandom|getpid|open|read|"
                   r"write|pread|pwrite|close|socket|send|recv|ioctl|usleep|nanosleep|sleep|getenv|"
                   r"pthread_\w+|fopen|fread|fwrite|fprintf|printf|puts|system|fork|localtime|gmtime)"
                   r"\s*\(")
FLOAT = re.compile(r"\b(float|double)\b")
GLOBAL = re.compile(r"^(?:static\s+)?(?!.*\b(?:const|typedef|extern|struct cw_\w+;)\b)"
                    r"[A-Za-z_][\w\s\*]*?\b\w+(?:\[[^\]]*\])*\s*(?:=[^;{]*|=\s*\{.*)?;\s*$")

DECLARED = re.compile(r"^(?:(?:struct|enum|union)\s+\w+|\w+_fn\s+\w+)\s*;")  # forward declarations


def strip(text):
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group(0).count("\n"), text, flags=re.DOTALL)
    text = re.sub(r"//[^\n]*", "", text)
    return re.sub(r'"(?:\\.|[^"\\])*"', '""', text)


def check_file(path):
    with open(os.path.join(top, path)) as f:
        raw = f.read()
    errors = []
    for header in re.findall(r"#\s*include\s+<([^>]+)>", raw):
        if header not in HEADERS:
            errors.append(f"{path}: a decider may not include <{header}>")
    text = strip(raw)
    depth, mutations = 0, False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#"):
            mutations = "CW_MUTATION" in line if line.startswith("#if") else mutations and "#endif" not in line
            continue
        if mutations:  # test builds only: the switch that takes a rule away
            continue
        allowed = path in ("common/base/assert.c",)
        member = re.search(r"(->|\.)\s*\w+\s*\(", line)
        m = CALLS.search(line)
        before = line[:m.start()].rstrip() if m else ""
        if m and not allowed and not member and not before.endswith((".", "->", "*", "(*")):
            errors.append(f"{path}:{number}: a decider may not call {m.group(1)}()")
        if path.endswith(".c") and FLOAT.search(line):
            errors.append(f"{path}:{number}: no floating point in decisions")
        if depth == 0 and GLOBAL.match(line) and "(" not in line and not DECLARED.match(line):
            errors.append(f"{path}:{number}: a mutable global: {line.strip()}")
        depth += line.count("{") - line.count("}")
    return errors


WALL_MAY = {"common/obs/log.c"}  # the time of a line
ROOMS = ["common", "daemon", "client", "bench"]


def check_wall():
    errors = []
    for room in ROOMS:
        for folder, _, files in os.walk(os.path.join(top, room)):
            for name in sorted(files):
                path = os.path.relpath(os.path.join(folder, name), top)
                if not name.endswith((".c", ".h")) or path in WALL_MAY:
                    continue
                with open(os.path.join(top, path)) as f:
                    text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.DOTALL)
                if re.search(r"\bCLOCK_REALTIME\b|\bsem_timedwait\b", text):
                    errors.append(f"{path}: a wait that ends by itself goes by CLOCK_MONOTONIC")
    return errors


# Compiled once more as a whole for causeway-sim-mutated; elsewhere meson.build lists the files.
MUTATED = {"common/owner", "daemon/replica", "common/base"}


def check_mutated():
    """A rule that can be taken away is compiled so (tests/sim/meson.build)."""
    errors = []
    for room in PURE:
        with open(os.path.join(top, room, "meson.build")) as f:
            listed = re.search(r"_mutated_files = files\(([^)]*)\)", f.read())
        names = set(re.findall(r"'([^']+)'", listed.group(1))) if listed else set()
        for name in sorted(os.listdir(os.path.join(top, room))):
            if not name.endswith((".c", ".h")) or room in MUTATED:
                continue
            with open(os.path.join(top, room, name)) as f:
                if "cw_mutated(" in f.read() and name not in names:
                    errors.append(f"{room}/{name}: has a rule that can be taken away, and is not in *_mutated_files")
    return errors


def main():
    errors, n = [], 0
    for room in PURE:
        for folder, _, files in os.walk(os.path.join(top, room)):
            for name in sorted(files):
                if name.endswith((".c", ".h")):
                    n += 1
                    errors += check_file(os.path.relpath(os.path.join(folder, name), top))
    wall = check_wall()
    mutated = check_mutated()
    print("1..3")
    for e in errors + wall + mutated:
        print("# " + e)
    print(f"{'not ok' if errors else 'ok'} 1 - {n} files of the deciders are pure")
    print(f"{'not ok' if wall else 'ok'} 2 - nobody waits by the wall clock")
    print(f"{'not ok' if mutated else 'ok'} 3 - rules that can be taken away are compiled so")
    return 1 if errors or wall or mutated else 0


if __name__ == "__main__":
    sys.exit(main())
