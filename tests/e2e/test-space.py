#!/usr/bin/env python3
"""Disk space as real processes meet it: freed segments given back, full stores, thresholds."""
import errno
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import Failed, wait_for

from daemons import Daemons, allocated
from nbd import TRIM, WRITE, Nbd, NbdError

MIB = 1 << 20


def one_host(t):
    """One host with one store, and a policy of one copy."""
    d = Daemons(t)
    d.store = d.format("store")
    d.start("h1", [d.store])
    d.admin("policy", "create", "one", "copies=1", "compression=off")
    return d


def overwrite(nbd, n_mib, times, seed=1):
    rng = random.Random(seed)
    for _ in range(times):
        for at in range(n_mib):
            nbd.write(at * MIB, rng.randbytes(MIB))


def test_holes_are_punched_where_asked_and_only_there(t):
    d = one_host(t)
    punched = d.format("punched")
    d.start("h2", [punched], "--store-discard", site="dc2")
    server = t.nbd(d)
    both = []
    for name, site in (("v", "dc1"), ("w", "dc2")):
        d.admin("policy", "create", name, "copies=1", "sites=only:" + site, "compression=off")
        d.admin("volume", "create", name, "--size", "64M", "--policy", name)
        both.append(Nbd(server.sock, name))

    def more(n_mib, times):
        for n in both:
            overwrite(n, n_mib, times)

    more(32, 7)
    for n in both:
        n.call(TRIM, MIB, 31 * MIB)
    wait_for("holes in the file", lambda: allocated(punched) < 400 * MIB or more(4, 4), 60)
    assert allocated(d.store) >= 512 * MIB
    heads = [n.read(0, MIB) for n in both]
    for n in both:
        n.close()
    t.stop(server)
    d.kill("h2")
    d.start("h2")
    server = t.nbd(d)
    both = [Nbd(server.sock, "v"), Nbd(server.sock, "w")]
    assert [n.read(0, MIB) for n in both] == heads
    more(32, 1)
    for n in both:
        n.close()
    d.admin("volume", "verify", "v")
    d.admin("volume", "verify", "w")


class Writer(threading.Thread):
    """Writes pieces of 256 KiB one after another until it is stopped, refused or at the end."""
    PIECE = 256 << 10

    def __init__(self, sock, volume, size):
        super().__init__(daemon=True)
        self.nbd, self.volume, self.size = Nbd(sock, volume, timeout=600), volume, size
        self.n, self.errno, self.stopped = 0, 0, False
        self.start()

    def piece(self, i):
        return random.Random(f"{self.volume} {i}").randbytes(self.PIECE)

    def run(self):
        while not self.stopped and self.errno == 0 and (self.n + 1) * self.PIECE <= self.size:
            handle = self.nbd.send(WRITE, self.n * self.PIECE, self.PIECE, self.piece(self.n))
            got, self.errno, _ = self.nbd.recv()
            assert got == handle
            self.n += self.errno == 0

    def stalls(self):
        """Has it written nothing for two seconds?"""
        before = self.n
        time.sleep(2)
        return self.n == before

    def stop(self):
        self.stopped = True
        self.join(60)
        assert not self.is_alive()

    def check(self, start=0):
        for i in range(start, self.n):
            assert self.nbd.read(i * self.PIECE, self.PIECE) == self.piece(i), i


def says(c, volume, word, why):
    v = c.volume(volume)
    return v["protection"] == word and why in v["protection_why"]


def test_full_stores_suspend_and_resume(t):
    c = t.cluster(store_size="512M")
    c.admin("policy", "set", "default", "compression=off")
    c.admin("volume", "create", "other", "--size", "256M")
    c.admin("volume", "create", "v", "--size", "1G")
    c.admin("volume", "create", "idle", "--size", "4M")
    server = t.nbd(c)
    other = Writer(server.sock, "other", 200 * MIB)
    other.join()
    other.nbd.close()
    idle = Nbd(server.sock, "idle")
    idle.write(0, b"i" * 65536)
    w = Writer(server.sock, "v", 1 << 30)
    wait_for("the writer waits", w.stalls, 120)
    assert w.is_alive() and w.errno == 0
    assert 150 * MIB < w.n * w.PIECE < 250 * MIB, w.n
    wait_for("DISK_FULL", lambda: len([f for f in c.json("status")["findings"] if
                                       f["code"] == "DISK_FULL"]) == 3)
    wait_for("the word", lambda: says(c, "v", "suspended", "space"))
    assert c.try_admin("volume", "create", "w", "--size", "16M").code == 1

    # a daemon that starts while full: nothing is lost, and copies that left are not brought back
    c.local("kill", "onprem-1")
    out = lambda: [m for m in c.volume("idle")["shards"][0]["members"] if m["state"] == "OUT"]
    wait_for("its copies leave", out)
    c.local("start", "onprem-1")
    wait_for("the word", lambda: says(c, "idle", "reduced-stuck", "% full"))
    assert w.stalls() and w.is_alive() and w.errno == 0
    assert out()

    c.admin("volume", "rm", "other", "--now")
    before = w.n
    wait_for("the writer goes on", lambda: w.n > before + 250, 120)
    wait_for("no disk is full", lambda: not [f for f in c.json("status")["findings"]
                                             if f["code"] == "DISK_FULL"], 60)
    w.stop()
    w.check()
    assert idle.read(0, 65536) == b"i" * 65536
    w.nbd.close()
    c.wait_full("v")
    c.wait_full("idle")
    idle.close()
    c.admin("volume", "verify", "v")


def test_trim_frees_a_full_store_for_its_own_writer(t):
    d = one_host(t)
    d.admin("volume", "create", "v", "--size", "1G", "--policy", "one")
    server = t.nbd(d)
    w = Writer(server.sock, "v", 1 << 30)
    wait_for("the writer waits", w.stalls, 120)
    before = w.n
    assert before * w.PIECE > 380 * MIB, before
    again = Nbd(server.sock, "v")
    again.call(TRIM, 0, 100 * MIB)
    wait_for("the writer goes on", lambda: w.n > before + 250, 120)
    w.stop()
    w.check(100 * MIB // w.PIECE)
    assert again.read(0, MIB) == bytes(MIB)
    again.close()
    w.nbd.close()
    t.stop(server)
    d.admin("volume", "verify", "v")


def test_space_full_error_tells_the_guest(t):
    d = one_host(t)
    d.admin("policy", "set", "one", "space-full=error")
    d.admin("volume", "create", "other", "--size", "256M", "--policy", "one")
    d.admin("volume", "create", "v", "--size", "1G", "--policy", "one")
    server = t.nbd(d)
    other = Writer(server.sock, "other", 200 * MIB)
    other.join()
    other.nbd.close()
    w = Writer(server.sock, "v", 1 << 30)
    w.join(120)
    assert w.errno == errno.ENOSPC, (w.errno, w.n)
    assert w.n * w.PIECE > 150 * MIB, w.n
    w.nbd.flush()
    w.check()
    try:
        w.nbd.write(0, b"x" * w.PIECE)
        raise Failed("an overwrite found space on a full store")
    except NbdError as e:
        assert str(e) == f"errno {errno.ENOSPC}", e
    d.admin("volume", "rm", "other", "--now")

    def writes():
        try:
            w.nbd.write(0, w.piece(0))
            return True
        except NbdError as e:
            assert str(e) == f"errno {errno.ENOSPC}", e

    wait_for("writes succeed again", writes, 60)
    w.check()
    d.admin("policy", "set", "one", "space-full=wait")
    w.nbd.close()


harness.main(globals())
