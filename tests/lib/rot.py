"""tests/lib/rot.py - bits that rot in a store file, while its daemon runs or not."""
import mmap
import os

from harness import Failed

SECTOR = 512
KEY = 64  # so many bytes at the start of a sector tell a block from all others


def flip(path, blocks):
    """Flips one bit of every place in the file where one of the blocks lies; says how many."""
    needles = {bytes(b[:KEY]) for b in blocks}
    found = 0
    with open(path, "r+b") as f:
        at = 0
        while part := f.read(4 << 20):
            for k in range(0, len(part), SECTOR):
                if part[k:k + KEY] in needles:
                    os.pwrite(f.fileno(), bytes([part[k + KEY // 2] ^ 0x40]), at + k + KEY // 2)
                    found += 1
            at += len(part)
        os.fsync(f.fileno())
    if found < len(needles):
        raise Failed(f"{found} of {len(needles)} blocks found in {path}")
    return found


def find(path, block):
    """Does the block lie anywhere in the file?"""
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m:
        return m.find(bytes(block[:KEY])) >= 0
