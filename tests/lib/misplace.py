"""tests/lib/misplace.py - what a write that lands elsewhere leaves: bytes of one place over another."""
import json
import os
import re

from harness import Failed

BLOCK = 4096
SEGMENTS_AT = 1 << 20
SEGMENT = 4 << 20  # of stores up to 4 GiB


def place(t, path, what, *where):
    """The offset in the store file where a block or a map page lies that is not packed."""
    found = json.loads(t.ok("causeway-store", "dump", path, what, *where, "--json").out)
    text = found["place"] if what == "block" else found["entry"]["page"]
    m = re.search(r"^RAW segment (\d+) \+ (\d+)", text)
    if m is None or "wrong" in found:
        raise Failed(f"{what} {where} in {path}: {found}")
    return SEGMENTS_AT + int(m[1]) * SEGMENT + int(m[2])


def copy(path, to, source, n=BLOCK):
    with open(path, "r+b") as f:
        f.seek(source)
        data = f.read(n)
        f.seek(to)
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
