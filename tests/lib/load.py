"""tests/lib/load.py - a write load that remembers what was acknowledged, so that it can be looked for.

Each 4 KiB block written holds its own number and a counter, repeated; a block that was acknowledged
with counter c must later hold c, or a counter of a write to it that was sent after c and never
answered.
"""
import random
import struct
import threading
import time

from nbd import WRITE, Nbd, NbdError

BLOCK = 4096


def content(block, counter):
    return struct.pack("<QQ", block, counter) * (BLOCK // 16)


class Load:
    """With a rate, in writes a second, it leaves the machine to others: where it is a witness, not the test."""

    def __init__(self, path, export, n_blocks, depth=16, seed=1, rate=None):
        self.args, self.gap, self.due = (path, export), 1 / rate if rate else 0, 0
        self.n_blocks, self.depth, self.rng = n_blocks, depth, random.Random(seed)
        self.acked, self.sent = {}, {}
        self.counter, self.errors, self.n_acked = 0, [], 0
        self.stop_asked = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def start(self):
        self.thread.start()
        return self

    def work(self):
        try:
            nbd = Nbd(self.args[0], self.args[1], timeout=120)
            under_way = {}
            busy = set()
            while under_way or not self.stop_asked.is_set():
                while len(under_way) < self.depth and not self.stop_asked.is_set():
                    self.pace()
                    block = self.rng.randrange(self.n_blocks)
                    if block in busy:
                        continue
                    self.counter += 1
                    self.sent.setdefault(block, []).append(self.counter)
                    busy.add(block)
                    handle = nbd.send(WRITE, block * BLOCK, BLOCK, content(block, self.counter))
                    under_way[handle] = (block, self.counter)
                if not under_way:
                    break
                handle, error, _ = nbd.recv()
                block, counter = under_way.pop(handle)
                busy.discard(block)
                if error:
                    self.errors.append(f"errno {error} for block {block}")
                else:
                    self.acked[block] = counter
                    self.n_acked += 1
            nbd.close()
        except (NbdError, OSError) as e:
            self.errors.append(str(e))

    def pace(self):
        """Waits for the time of the next write; what could not be sent in time is not made up for."""
        if self.gap:
            now = time.monotonic()
            if now < self.due:
                time.sleep(self.due - now)
            self.due = max(self.due, now) + self.gap

    def stop(self):
        self.stop_asked.set()
        self.thread.join(180)
        if self.thread.is_alive():
            self.errors.append("requests were never answered")

    def verify(self, path, export):
        """Reads every block that was ever written; returns what is wrong, as a list of lines."""
        nbd = Nbd(path, export, timeout=120)
        wrong = []
        for block in sorted(self.sent):
            data = nbd.read(block * BLOCK, BLOCK)
            got_block, got = struct.unpack("<QQ", data[:16])
            acked = self.acked.get(block, 0)
            allowed = {c for c in self.sent[block] if c >= acked} | ({0} if acked == 0 else set())
            if data != content(got_block, got) or (got_block != block and got != 0) or got not in allowed:
                wrong.append(f"block {block}: holds {got}, acknowledged {acked}")
        nbd.close()
        return wrong
