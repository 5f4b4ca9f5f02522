#!/usr/bin/env python3
"""Compares every #include of the tree with the arrows drawn in ARCHITECTURE.md.

The arrows are the rows of the table under the heading "The arrows": a room, what it may include of
ours, and which outside libraries. A room that is not in the table, or an arrow that nobody uses any
more, is an error too.
"""
import os
import re
import sys

top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.MULTILINE)
LIBRARIES = {  # header prefix -> library
    "liburing": "liburing", "event2/": "libevent", "event.h": "libevent", "lmdb.h": "lmdb",
    "jansson.h": "jansson", "libsmartcols": "libsmartcols", "blkid/": "libblkid",
    "xxhash.h": "libxxhash", "zstd.h": "libzstd", "protobuf-c/": "libprotobuf-c",
    "openssl/": "libssl",
}


def read_arrows():
    rooms = {}
    with open(os.path.join(top, "ARCHITECTURE.md")) as f:
        text = f.read().split("## The arrows", 1)[1]
    for line in text.splitlines():
        m = re.match(r"^\| `([^`]+)` \| ([^|]*) \| ([^|]*) \|", line)
        if m:
            names = lambda cell: set(re.findall(r"`([^`]+)`", cell))
            rooms[m.group(1)] = (names(m.group(2)), names(m.group(3)))
        elif rooms and line.startswith("## "):
            break
    return rooms


def room_of(path, rooms):
    best = None
    for room in rooms:
        if (path == room or path.startswith(room + "/")) and (best is None or len(room) > len(best)):
            best = room
    return best


def main():
    rooms = read_arrows()
    errors, used = [], set()
    n = 0
    for base in ("common", "daemon", "client", "proto", "bench"):
        for folder, _, files in os.walk(os.path.join(top, base)):
            for name in sorted(files):
                if not name.endswith((".c", ".h")):
                    continue
                path = os.path.relpath(os.path.join(folder, name), top)
                room = room_of(path, rooms)
                if room is None:
                    errors.append(f"{path}: its room is not in the table of ARCHITECTURE.md")
                    continue
                with open(os.path.join(top, path)) as f:
                    text = f.read()
                for kind, target in INCLUDE.findall(text):
                    n += 1
                    errors += judge(path, room, kind, target, rooms, used)
    for room, (ours, libs) in sorted(rooms.items()):
        for arrow in sorted(ours | libs):
            if (room, arrow) not in used:
                errors.append(f"ARCHITECTURE.md: {room} -> {arrow} is drawn and nobody uses it")
    print("1..1")
    for e in errors:
        print("# " + e)
    print(f"{'not ok' if errors else 'ok'} 1 - {n} includes follow the arrows")
    return 1 if errors else 0


def judge(path, room, kind, target, rooms, used):
    ours, libs = rooms[room]
    if kind == "<":
        for prefix, lib in LIBRARIES.items():
            if target.startswith(prefix):
                used.add((room, lib))
                return [] if lib in libs else [f"{path}: {room} may not include {lib} (<{target}>)"]
        return []
    if target.endswith(".pb-c.h"):
        used.add((room, "protobuf messages"))
        return [] if "protobuf messages" in ours else [f"{path}: {room} may not include {target}"]
    other = room_of(os.path.dirname(target), rooms) if "/" in target else None
    if other is None:
        return [f'{path}: "{target}" is not relative to the top of the tree, or not in a room']
    if other == room:
        return []
    used.add((room, other))
    return [] if other in ours else [f"{path}: {room} may not include {other} ({target})"]


if __name__ == "__main__":
    sys.exit(main())
