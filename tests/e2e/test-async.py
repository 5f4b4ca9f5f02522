#!/usr/bin/env python3
"""A copy that follows in another site: over a slow way, behind a cut, and when it is all that is left."""
import os
import random
import sys
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import Failed, wait_for

import prometheus_text
from daemons import Daemons, free_port
from load import Load
from nbd import Nbd, NbdError
from proxy import Net

BLOCK, N = 4096, 256


def make(t, net=None):
    """Volume v: two copies in dc1, one that follows in aws."""
    c = Daemons(t, net)
    c.http = f"127.0.0.1:{free_port()}"
    for host, site in (("h1", "dc1"), ("h2", "dc1"), ("a1", "aws")):
        c.start(host, [c.format(host + ".store")], *(["--http", c.http] if host == "h1" else []), site=site)
    c.admin("policy", "create", "dr", "copies=2", "sites=only:dc1", "min-insync=1", "async=aws", "rpo=2")
    c.admin("volume", "create", "v", "--size", "64M", "--policy", "dr")
    return c


def opened(sock, timeout=60):
    def attempt():
        try:
            return Nbd(sock, "v", timeout=60)
        except (NbdError, OSError):
            return None
    return wait_for(f"{os.path.basename(sock)} serves", attempt, timeout, 0.2)


def follows(c):
    copy = c.copy("v", "a1")
    return copy is not None and copy["async"] and copy["state"] == "LAGGING" and copy["lag_ns"] < 10 ** 9


def goes_on(load, n=500, timeout=10):
    before = load.n_acked
    wait_for("writes go on", lambda: load.n_acked > before + n, timeout)


def metric(c, name):
    """Of volume v; None: there is none now."""
    with urllib.request.urlopen(f"http://{c.http}/metrics?scope=cluster", timeout=20) as r:
        m = prometheus_text.parse(r.read().decode())
    return m.one(f"causeway_volume_async_{name}", volume="v") if m.has(f"causeway_volume_async_{name}") else None


def some(seed):
    return random.Random(seed).randbytes(BLOCK)


def is_right(load, sock):
    load.stop()
    assert not load.errors, load.errors
    wrong = load.verify(sock, "v")
    if wrong:
        raise Failed(f"{len(wrong)} blocks are wrong: {wrong[:5]}")


def changes(c):
    """Of the copy that follows."""
    return [e for e in c.json("events")["events"] if e["code"] == "COPY_STATE" and "a1/store-0=" in e["text"]]


def test_it_may_be_behind(t):
    """The way is slower than what is written, then cut: what is written waits for nothing, and status, volume show and
    the metrics tell by how much it is behind; it catches up from where it was."""
    net = Net(t)
    c = make(t, net)
    owner = c.nbd("a")
    opened(owner.sock).close()
    load = Load(owner.sock, "v", 4096, depth=16, rate=200).start()
    wait_for("it follows", lambda: follows(c), 60)
    assert c.protection("v") == "full" and c.volume("v")["compliant"], c.volume("v")
    assert not c.findings("ASYNC_BEHIND") and metric(c, "follows") == 1
    so_far = len(changes(c))

    net.set("a", "a1", "to", rate=600_000)  # three quarters of what is written
    wait_for("status says so", lambda: c.findings("ASYNC_BEHIND"), 60)
    wait_for("it is told by how much", lambda: c.copy("v", "a1")["lag_bytes"] >= 4096 and
             c.copy("v", "a1")["lag_ns"] >= 10 ** 9 and " behind" in c.admin("volume", "show", "v").out, 20)
    wait_for("so say the metrics", lambda: (metric(c, "lag_bytes") or 0) >= 4096 and
             (metric(c, "lag_seconds") or 0) >= 1, 20)
    goes_on(load)
    assert c.protection("v") == "full"

    net.cut("a", "a1")
    net.set("a", "a1", refuse=True)
    at = load.n_acked
    wait_for("longer than a copy that counts is waited for", lambda: load.n_acked > at + 200 * 5, 60)
    net.heal()
    wait_for("it follows again", lambda: follows(c), 60)
    wait_for("the finding ends", lambda: not c.findings("ASYNC_BEHIND"), 20)
    assert len(changes(c)) == so_far, changes(c)
    is_right(load, owner.sock)


def test_it_falls_behind_for_good(t):
    """More is written than is kept for it: it is given up, tries in vain, and is taken for no broken disk."""
    net = Net(t)
    c = make(t, net)
    owner = c.nbd("a")
    opened(owner.sock).close()
    load = Load(owner.sock, "v", 4096, depth=16, rate=2000).start()
    wait_for("it follows", lambda: follows(c), 60)
    net.set("a", "a1", "to", rate=300_000)  # a twentieth of what is written
    wait_for("it is given up", lambda: any("a1/store-0=OUT" in e["text"] for e in changes(c)), 60)
    wait_for("so say the metrics", lambda: metric(c, "follows") == 0 and metric(c, "lag_seconds") is None, 60, 0.1)
    goes_on(load, 40000, 60)
    assert c.protection("v") == "full" and not c.findings("DISK_QUARANTINED"), c.findings()
    assert c.copy("v", "a1") is not None, c.volume("v")
    net.heal()
    wait_for("it follows again", lambda: follows(c), 120)

    for x in ("a", "h1", "h2"):  # what is under way stays so
        net.set(x, "a1", hold=True)
        net.set("a1", x, hold=True)
    goes_on(load, 4000)
    wait_for("it is given up for now", lambda: c.copy("v", "a1")["state"] == "OUT", 60)
    assert c.protection("v") == "full"
    net.heal()
    wait_for("it follows again", lambda: follows(c), 120)
    is_right(load, owner.sock)


def test_the_policy_changes_in_use(t):
    """It goes, comes back, and becomes a copy like the others, without an error."""
    c = make(t)
    owner = c.nbd("a")
    opened(owner.sock).close()
    load = Load(owner.sock, "v", 4096, depth=16, rate=2000).start()
    wait_for("it follows", lambda: follows(c), 60)
    c.admin("policy", "set", "dr", "async=none")
    wait_for("it has gone", lambda: c.copy("v", "a1") is None, 60)
    c.admin("policy", "set", "dr", "async=aws")
    wait_for("it follows", lambda: follows(c), 60)
    c.admin("policy", "set", "dr", "async=none", "copies=3", "sites=any")
    wait_for("it is one of three", lambda: c.copy("v", "a1") is not None and not c.copy("v", "a1")["async"]
             and c.copy("v", "a1")["state"] == "INSYNC", 90)
    c.wait_full("v")
    assert c.volume("v")["compliant"], c.volume("v")
    is_right(load, owner.sock)
    c.admin("volume", "verify", "v")


def test_it_is_all_that_is_left(t):
    """The site with the copies burns down: nothing is served by the other without somebody's word; by it, all is there."""
    c = make(t)
    owner = c.nbd("a")
    n = opened(owner.sock)
    for i in range(N):
        n.write(i * BLOCK, some(i))
    wait_for("it follows", lambda: follows(c), 60)
    for i in range(0, N, 3):
        n.write(i * BLOCK, some(1000 + i))
    n.close()
    assert t.stop(owner) == 0  # the rest is sent first
    c.kill("h1")
    c.kill("h2")
    wait_for("it is unavailable", lambda: c.protection("v") == "unavailable", 30)
    told = c.try_admin("volume", "recover", "v")
    assert told.code == 1 and "a1/store-0" in told.out + told.err, (told.out, told.err)
    wait_for("its host has named the copy, and it is gone on from",
             lambda: c.try_admin("volume", "recover", "v", "--copy", "a1/store-0", "--accept-loss").code == 0, 30)
    owner = c.nbd("b")
    n = opened(owner.sock)
    for i in range(N):
        assert n.read(i * BLOCK, BLOCK) == some(1000 + i if i % 3 == 0 else i), f"block {i}"
    n.close()
    assert not c.copy("v", "a1")["async"] and c.copy("v", "a1")["state"] == "INSYNC", c.volume("v")


harness.main(globals())
