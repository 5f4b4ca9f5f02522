#!/usr/bin/env python3
"""Row 31: a volume goes from one live client to another and back, with real daemons; and from one causeway-nbd to
another that stood by, as when a virtual machine migrates."""
import os
import random
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
import nbd
from harness import wait_for

PROGRAM = os.path.join(os.path.dirname(harness.BIN), "tests", "e2e", "hand-over")
ROUNDS = 6
MIB = 1 << 20
SIZE = 64 * MIB


def events(c, code):
    return [e["text"] for e in c.json("events")["events"] if e["code"] == code]


def test_row_31_a_volume_is_handed_to_and_fro(t):
    c = t.cluster()
    c.admin("volume", "create", "v", "--size", "64M")
    r = t.ok(PROGRAM, c.addr, "v", str(ROUNDS))
    print(f"# ms until the target serves: {' '.join(r.out.split())}")
    assert len(r.out.split()) == ROUNDS, r
    handed = [x for x in events(c, "VOLUME_ATTACHED") if "(handed over)" in x]
    assert len(handed) == ROUNDS, handed
    wait_for("it is released", lambda: c.volume("v")["state"] != "attached", 20)
    c.admin("volume", "verify", "v")


def two_servers(t):
    """A volume, its server with a client, and another server that may not have it."""
    c = t.cluster()
    c.admin("volume", "create", "v", "--size", str(SIZE))
    first, second = t.nbd(c), t.nbd(c)
    return c, nbd.Nbd(first.sock, "v"), first, second


def fails(fn):
    try:
        fn()
    except (nbd.NbdError, OSError) as e:
        return str(e)
    raise AssertionError("it did not fail")


def test_a_server_stands_by_and_takes_it(t):
    c, a, first, second = two_servers(t)
    rng = random.Random(31)
    data = rng.randbytes(3 * MIB)
    a.write(0, data)
    c.admin("volume", "migrate", "v", "--allow")
    b = nbd.Nbd(second.sock, "v")
    assert b.size == SIZE, b.size
    assert b.read(0, 3 * MIB) == data  # what the owner has, in pieces
    assert b.read(5 * MIB + 100, 700) == bytes(700)
    a.write(1000, b"newer")
    assert b.read(998, 9) == data[998:1000] + b"newer" + data[1005:1007]
    assert c.volume("v")["gen"] == 1
    assert fails(lambda: b.read(SIZE - 4, 8)) == "errno 22"

    n = [a.send(nbd.WRITE, 4 * MIB + i * 4096, 4096, bytes([i + 1]) * 4096) for i in range(32)]
    b.send(nbd.WRITE, 8 * MIB, 4096, b"b" * 4096)  # asks for it: the first one finishes what it has begun
    got = dict((h, e) for h, e, _ in (a.recv() for _ in n))
    _, error, _ = b.recv()
    assert error == 0, error
    for i, handle in enumerate(n):
        if got[handle] == 0:
            assert b.read(4 * MIB + i * 4096, 4096) == bytes([i + 1]) * 4096, i
    assert b.read(1000, 5) == b"newer"
    assert fails(lambda: a.write(0, b"x" * 4096)) == "errno 108"
    assert fails(lambda: a.read(0, 4096)) == "errno 108"
    assert c.volume("v")["gen"] == 2
    assert len([x for x in events(c, "VOLUME_ATTACHED") if "(handed over)" in x]) == 1
    # and back, because the migration is to be undone
    c.admin("volume", "migrate", "v", "--allow", "--seconds", "60")
    a = nbd.Nbd(first.sock, "v")
    assert a.read(8 * MIB, 4096) == b"b" * 4096
    a.flush()  # is enough
    assert c.volume("v")["gen"] == 3
    assert fails(lambda: b.write(0, b"x" * 4096)) == "errno 108"
    a.write(0, b"y" * 4096)
    a.close()
    assert t.stop(first) == 0 and t.stop(second) == 0
    c.admin("volume", "verify", "v")


def test_the_permission_ends(t):
    c, a, first, second = two_servers(t)
    a.write(0, b"a" * 4096)
    c.admin("volume", "migrate", "v", "--allow")
    b = nbd.Nbd(second.sock, "v")
    assert b.read(0, 4096) == b"a" * 4096
    c.admin("volume", "migrate", "v", "--cancel")
    assert fails(lambda: b.read(0, 4096)) == "errno 108"
    b.close()
    c.admin("volume", "migrate", "v", "--allow", "--seconds", "2")
    b = nbd.Nbd(second.sock, "v")
    assert b.read(0, 4096) == b"a" * 4096
    wait_for("it may not read any more", lambda: not ok(lambda: b.read(0, 4096)), 20)
    assert fails(lambda: b.write(0, b"b" * 4096)) == "errno 108"
    a.write(0, b"a" * 4096)
    b.close()
    assert c.volume("v")["gen"] == 1
    r = c.try_admin("volume", "migrate", "v")
    assert r.code == 2 and "--allow or --cancel" in r.err, r
    r = c.try_admin("volume", "migrate", "nope", "--allow")
    assert r.code == 1 and "no volume nope" in r.err, r
    a.close()
    assert t.stop(first) == 0
    wait_for("it is released", lambda: c.volume("v")["state"] != "attached", 20)
    r = c.try_admin("volume", "migrate", "v", "--allow")
    assert r.code == 1 and "not attached" in r.err, r


def ok(fn):
    try:
        fn()
        return True
    except (nbd.NbdError, OSError):
        return False


def test_the_source_dies(t):
    """Whatever it acknowledged is there: the one that stood by takes it over as after any death."""
    c, a, first, second = two_servers(t)
    c.admin("volume", "migrate", "v", "--allow")
    b = nbd.Nbd(second.sock, "v")
    a.write(0, b"a" * MIB)
    first.send_signal(signal.SIGKILL)
    first.wait()
    b.write(MIB, b"b" * 4096)
    assert b.read(0, MIB) == b"a" * MIB
    b.close()
    assert t.stop(second) == 0
    c.admin("volume", "verify", "v")


def test_the_source_ends(t):
    """Nobody is left to read for it: it takes the volume over, whatever the time says."""
    c, a, first, second = two_servers(t)
    c.admin("volume", "migrate", "v", "--allow", "--seconds", "3")
    b = nbd.Nbd(second.sock, "v")
    a.write(0, b"a" * 4096)
    a.close()
    assert t.stop(first) == 0
    assert b.read(0, 4096) == b"a" * 4096
    assert c.volume("v")["gen"] == 2
    b.close()
    assert t.stop(second) == 0


def test_who_stands_by_ends_cleanly(t):
    """Its end, and its death, are nothing to the owner."""
    c, a, first, second = two_servers(t)
    c.admin("volume", "migrate", "v", "--allow")
    b = nbd.Nbd(second.sock, "v")
    assert b.read(0, 4096) == bytes(4096)
    assert t.stop(second) == 0
    third = t.nbd(c)
    b = nbd.Nbd(third.sock, "v")
    assert b.read(0, 4096) == bytes(4096)
    third.send_signal(signal.SIGKILL)
    third.wait()
    a.write(0, b"a" * 4096)
    assert c.volume("v")["gen"] == 1
    a.close()
    assert t.stop(first) == 0


harness.main(globals())
