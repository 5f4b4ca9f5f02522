#!/usr/bin/env python3
"""Policies that change while their volume is in use: copies come, and then others go."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import Failed, wait_for

from load import Load


def sites(c):
    return sorted(m["site"] for m in c.volume("v")["shards"][0]["members"])


def settle(c, load, want):
    """Waits until the volume complies with just these copies, all in sync, and writes went on."""
    before = load.n_acked

    def done():
        v = c.volume("v")
        members = v["shards"][0]["members"]
        return v["compliant"] and v["protection"] == "full" and sites(c) == want and \
            all(m["state"] == "INSYNC" for m in members)

    wait_for(f"copies in {want}", done, 90, 0.2)
    wait_for("writes went on", lambda: load.n_acked > before + 200, 15)
    if load.errors:
        raise Failed(f"the load met errors: {load.errors[:3]}")


def test_a_volume_moves_under_load(t):
    c = t.cluster(hosts="dc1:3,aws:2")
    c.admin("policy", "create", "p", "copies=2", "sites=only:dc1")
    c.admin("volume", "create", "v", "--size", "64M", "--policy", "p")
    server = t.nbd(c)
    load = Load(server.sock, "v", 8192, rate=2000).start()
    wait_for("writes", lambda: load.n_acked > 2000)
    settle(c, load, ["dc1"] * 2)
    wait_for("all three are there for it", lambda: c.try_admin("policy", "set", "p", "copies=3").code == 0, 30, 0.2)
    settle(c, load, ["dc1"] * 3)
    c.admin("policy", "set", "p", "copies=2")
    settle(c, load, ["dc1"] * 2)
    c.admin("policy", "set", "p", "sites=only:aws")
    settle(c, load, ["aws"] * 2)
    c.admin("policy", "create", "home", "copies=2", "sites=only:dc1")
    c.admin("volume", "set", "v", "--policy", "home")
    settle(c, load, ["dc1"] * 2)
    c.admin("policy", "set", "home", "sites=each:1 dc1,aws")
    settle(c, load, ["aws", "dc1"])
    load.stop()
    assert not load.errors, load.errors
    wrong = load.verify(server.sock, "v")
    assert not wrong, wrong[:5]
    c.admin("volume", "verify", "v")
    assert sites(c) == ["aws", "dc1"], sites(c)


def acked_in(load, seconds):
    """Not a wait for something: the rate itself is looked at."""
    before = load.n_acked
    time.sleep(seconds)
    return (load.n_acked - before) / seconds


def test_a_limit_counts_while_in_use(t):
    c = t.cluster()
    c.admin("policy", "create", "p")
    c.admin("volume", "create", "v", "--size", "64M", "--policy", "p")
    server = t.nbd(c)
    load = Load(server.sock, "v", 8192).start()
    wait_for("writes", lambda: load.n_acked > 1000)
    c.admin("policy", "set", "p", "iops-limit=50")
    wait_for("the limit is felt", lambda: acked_in(load, 2) < 75, 30)
    assert acked_in(load, 3) > 25
    c.admin("policy", "set", "p", "iops-limit=0", "bandwidth-limit=400K")
    wait_for("another limit is felt", lambda: 75 < acked_in(load, 2) < 150, 30)
    c.admin("policy", "set", "p", "bandwidth-limit=0")
    wait_for("none is felt", lambda: acked_in(load, 1) > 300, 30)
    load.stop()
    assert not load.errors, load.errors
    wrong = load.verify(server.sock, "v")
    assert not wrong, wrong[:5]


def test_what_cannot_be_met_is_refused(t):
    c = t.cluster(hosts="dc1:2,aws:1")
    c.admin("policy", "create", "p", "copies=2", "sites=only:dc1")
    c.admin("volume", "create", "v", "--size", "16M", "--policy", "p")
    r = t.fails("causeway", "--cluster", c.addr, "policy", "set", "p", "copies=3", code=1,
                says="add 1 host")
    assert "--force" in r.err, r
    c.admin("policy", "set", "p", "copies=3", "--force")
    wait_for("it says so", lambda: not c.volume("v")["compliant"], 10)
    assert "2 of 3 copies" in c.volume("v")["compliant_why"], c.volume("v")
    c.local("add", "dc1:1")
    wait_for("it is met once there is a host", lambda: c.volume("v")["compliant"], 60, 0.2)
    assert sites(c) == ["dc1"] * 3, sites(c)


harness.main(globals())
