#!/usr/bin/env python3
"""Disk space as real processes meet it: freed segments given back, full stores, thresholds."""
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import wait_for

from daemons import Daemons, allocated
from nbd import TRIM, Nbd

MIB = 1 << 20


def one_host(t, *args, size="512M"):
    """One host with one store, and a policy of one copy."""
    d = Daemons(t)
    d.store = d.format("store", size)
    d.start("h1", [d.store], *args)
    d.admin("policy", "create", "one", "copies=1", "compression=off")
    return d


def overwrite(nbd, n_mib, times, seed=1):
    rng = random.Random(seed)
    for _ in range(times):
        for at in range(n_mib):
            nbd.write(at * MIB, rng.randbytes(MIB))


def overwritten(t, *args):
    """A host whose store holds little after much was overwritten; the volume's first MiB."""
    d = one_host(t, *args)
    d.admin("volume", "create", "v", "--size", "64M", "--policy", "one")
    server = t.nbd(d)
    n = Nbd(server.sock, "v")
    overwrite(n, 32, 12)
    n.call(TRIM, MIB, 31 * MIB)
    return d, server, n, n.read(0, MIB)


def test_files_are_not_punched_unasked(t):
    d, _, n, _ = overwritten(t)
    overwrite(n, 4, 20)
    assert allocated(d.store) >= 512 * MIB
    n.close()


def test_store_discard_punches_holes(t):
    d, server, n, _ = overwritten(t, "--store-discard")
    wait_for("holes in the file",
             lambda: allocated(d.store) < 400 * MIB or overwrite(n, 4, 4), 60)
    head = n.read(0, MIB)
    n.close()
    t.stop(server)
    d.kill("h1")
    d.start("h1")
    n = Nbd(t.nbd(d).sock, "v")
    assert n.read(0, MIB) == head
    overwrite(n, 32, 2)
    n.close()
    d.admin("volume", "verify", "v")


harness.main(globals())
