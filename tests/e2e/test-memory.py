#!/usr/bin/env python3
"""--memory is an end: a daemon under a load that would take more stays below it."""
import glob
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import wait_for

from nbd import READ, WRITE, Nbd

MIB = 1 << 20


def pids_of(c):
    """Host name -> pid of its causewayd, by its command line."""
    found = {}
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            argv = open(path, "rb").read().split(b"\0")
        except OSError:
            continue
        if b"--host" in argv and any(c.dir.encode() in a for a in argv):
            found[argv[argv.index(b"--host") + 1].decode()] = int(path.split("/")[2])
    return found


def resident(pid):
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


class Pusher(threading.Thread):
    """Keeps `depth` writes and reads of all sizes under way, all over a volume."""

    def __init__(self, sock, volume, size, depth, seed):
        super().__init__(daemon=True)
        self.nbd, self.size, self.depth = Nbd(sock, volume, timeout=300), size, depth
        self.rng, self.n, self.stopped, self.errors = random.Random(seed), 0, False, []
        self.start()

    def push(self):
        n = self.rng.choice((4096, 4096, 4096, 16384, 65536, MIB))
        at = self.rng.randrange(self.size // n) * n
        if self.rng.random() < 0.3:
            self.nbd.send(READ, at, n)
        else:
            self.nbd.send(WRITE, at, n, os.urandom(4096) * (n // 4096))

    def run(self):
        try:
            under_way = 0
            while under_way or not self.stopped:
                while under_way < self.depth and not self.stopped:
                    self.push()
                    under_way += 1
                if under_way:
                    _, error, _ = self.nbd.recv()
                    under_way -= 1
                    self.n += 1
                    if error:
                        self.errors.append(error)
            self.nbd.close()
        except Exception as e:
            self.errors.append(repr(e))


def test_load_stays_below_memory(t):
    """Two dozen volumes of eight owners, deep queues of all sizes, a host that hangs for a while."""
    c = t.cluster(store_size="4G", memory="64M")
    c.admin("policy", "set", "default", "min-insync=1")  # a slow machine is not what is tested
    servers = [t.nbd(c) for _ in range(8)]
    pids, most, pushers = pids_of(c), {}, []
    assert len(pids) == 3, pids
    for i in range(24):
        c.admin("volume", "create", f"v{i}", "--size", "8G")
        pushers.append(Pusher(servers[i % 8].sock, f"v{i}", 8 << 30, 32, i))
    paused = False
    end = time.monotonic() + 60
    while sum(p.n for p in pushers) < 12000 and time.monotonic() < end:
        for host, pid in pids.items():
            most[host] = max(most.get(host, 0), resident(pid))
        if not paused and sum(p.n for p in pushers) > 4000:
            c.local("pause", "aws-1")
            time.sleep(2)
            c.local("resume", "aws-1")
            paused = True
        time.sleep(0.1)
    for p in pushers:
        p.stopped = True
    for p in pushers:
        p.join(300)
        assert not p.is_alive() and not p.errors, p.errors
    assert paused and sum(p.n for p in pushers) > 6000
    print("#", {h: f"{v / MIB:.1f}M" for h, v in most.items()}, "of 64M")
    # beside the 64M may come: tables of 196,608 chunks (9 MiB), receive buffers, code
    assert max(most.values()) < (64 + 16) * MIB, most
    assert max(most.values()) > 40 * MIB, f"this was no load: {most}"
    wait_for("what is told", lambda: told(c))


def told(c):
    for name in ("onprem-1", "onprem-2", "aws-1"):
        host = c.json("host", "show", name)["host"]
        m, d = host["memory"], host["disks"][0]
        assert m["limit_bytes"] == 64 * MIB and m["pool_bytes"] <= 32 * MIB, m
        assert m["pool_used_bytes"] <= m["pool_bytes"], m
        # 16M, and pages that are being read or changed; copies that a checkpoint holds count too
        assert d["map_cache_bytes"] <= 18 * MIB, d
        if not (m["resident_bytes"] > 16 * MIB and d["table_bytes"] > MIB):
            return False
    return True


harness.main(globals())
