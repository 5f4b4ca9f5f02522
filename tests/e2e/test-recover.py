#!/usr/bin/env python3
"""Every in-sync copy is lost, and an operator goes on from a stale one; then the lost ones return."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import Failed, wait_for

from nbd import Nbd, NbdError

MIB = 1 << 20


def members(c):
    return c.volume("v")["shards"][0]["members"]


def state_of(c, host):
    return next((m["state"] for m in members(c) if m["host"] == host), None)


def host_state(c, host):
    return next(h["state"] for h in c.json("host", "ls")["hosts"] if h["name"] == host)


def fill(n, first, last, byte):
    for mib in range(first, last):
        n.write(mib * MIB, byte * MIB)
    n.flush()


def make(t):
    """Three copies, one of them stale: (cluster, the host of the stale one, those of the others)."""
    c = t.cluster()
    c.admin("policy", "create", "one", "copies=3", "min-insync=1", "journal=off")
    c.admin("volume", "create", "v", "--size", "64M", "--policy", "one")
    hosts = [m["host"] for m in members(c)]
    stale, others = hosts[0], hosts[1:]
    server = t.nbd(c)
    n = Nbd(server.sock, "v")
    fill(n, 0, 16, b"a")
    c.local("kill", stale)
    fill(n, 8, 24, b"b")
    wait_for(f"{stale} is out", lambda: state_of(c, stale) == "OUT", 30)
    n.close()
    wait_for("released", lambda: c.volume("v")["state"] != "attached", 20)
    t.stop(server)
    return c, stale, others


def lose(c, stale, others):
    for host in others:
        c.local("kill", host)
    c.local("start", stale)
    wait_for("the stale one is up", lambda: host_state(c, stale) == "up", 30)
    for host in others:
        wait_for(f"{host} is away", lambda h=host: host_state(c, h) == "absent", 30)


def plan(t, c, *more, code=1):
    import json
    r = t.fails("causeway", "--cluster", c.addr, "--json", "volume", "recover", "v", *more, code=code)
    return json.loads(r.out)


def same(sock, want):
    n = Nbd(sock, "v", timeout=60)
    for mib in range(64):
        got = n.read(mib * MIB, MIB)
        if got != want(mib) * MIB:
            raise Failed(f"MiB {mib} is {got[:8]!r}, not {want(mib)!r}")
    n.close()


def after(mib):
    """The stale copy's, and what was written since; nothing of what it missed."""
    return b"c" if 4 <= mib < 12 else b"a" if mib < 16 else b"\0"


def test_on_from_a_stale_copy(t):
    c, stale, others = make(t)
    r = t.fails("causeway", "--cluster", c.addr, "volume", "recover", "v", "--accept-loss", code=1,
                says="nothing is lost")
    lose(c, stale, others)
    told = plan(t, c)["recover"]
    assert not told["recovered"], told
    (shard,) = told["shards"]
    usable = [x for x in shard["copies"] if x["usable"]]
    assert [x["host"] for x in usable] == [stale], shard
    assert usable[0]["state"] == "OUT" and usable[0]["last_seq"] > 0, usable
    assert all(x["why_not"] for x in shard["copies"] if not x["usable"]), shard
    r = t.fails("causeway", "--cluster", c.addr, "volume", "recover", "v", code=1)
    assert "--accept-loss" in r.out and stale in r.out and "lost would be" in r.out, r
    away = f"{others[0]}/store-0"
    t.fails("causeway", "--cluster", c.addr, "volume", "recover", "v", "--copy", away, "--accept-loss",
            code=1, says="down")
    assert state_of(c, stale) == "OUT", members(c)
    c.admin("volume", "recover", "v", "--copy", f"{stale}/store-0", "--accept-loss")
    assert [(m["host"], m["state"]) for m in members(c)] == [(stale, "INSYNC")], members(c)
    assert any(e["code"] == "VOLUME_RECOVERED" for e in c.json("events")["events"])
    server = t.nbd(c)
    n = Nbd(server.sock, "v", timeout=60)
    fill(n, 4, 12, b"c")
    for host in others:
        c.local("start", host)
    c.wait_full("v")
    assert sorted(m["host"] for m in members(c)) == sorted([stale] + others), members(c)
    n.close()
    same(server.sock, after)
    c.admin("volume", "verify", "v")
    c.local("kill", stale)
    same(server.sock, after)


def test_a_client_that_waits_is_fenced(t):
    c, stale, others = make(t)
    c.local("start", stale)
    c.wait_full("v")
    server = t.nbd(c)
    n = Nbd(server.sock, "v", timeout=90)
    fill(n, 0, 4, b"x")
    c.local("kill", stale)
    fill(n, 0, 4, b"y")
    lose(c, stale, others)
    c.admin("volume", "recover", "v", "--accept-loss")
    try:
        n.write(0, b"z" * 4096)
        raise Failed("a fenced client's write was answered")
    except (NbdError, OSError):
        pass
    t.stop(server)
    server = t.nbd(c)
    n = Nbd(server.sock, "v", timeout=60)
    assert n.read(0, MIB) == b"x" * MIB
    n.write(0, b"z" * MIB)
    for host in others:
        c.local("start", host)
    c.wait_full("v")
    assert n.read(0, MIB) == b"z" * MIB
    n.close()
    c.admin("volume", "verify", "v")


harness.main(globals())
