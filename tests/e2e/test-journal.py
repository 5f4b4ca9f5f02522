#!/usr/bin/env python3
"""Two of three hosts away: a journal on a fourth keeps new writes, and makes an older copy whole."""
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import Failed, wait_for

from load import Load
from nbd import Nbd, NbdError


def make(t, journal="auto"):
    """A volume of three copies on four hosts, with an NBD server: (cluster, server, its hosts)."""
    c = t.cluster(hosts="onprem:4")
    c.admin("policy", "create", "strict", "copies=3", "min-insync=2", "degrade=off", f"journal={journal}")
    c.admin("volume", "create", "v", "--size", "64M", "--policy", "strict")
    hosts = [m["host"] for m in members(c)]
    return c, t.nbd(c), hosts


def members(c):
    return c.volume("v")["shards"][0]["members"]


def state_of(c, host):
    return next((m["state"] for m in members(c) if m["host"] == host), None)


def journals(c):
    return [m for m in members(c) if m["state"] == "JOURNAL"]


def at_risk_with_a_journal(c):
    v = c.volume("v")
    return v["protection"] == "at-risk" and "journal" in v["protection_why"]


def check(load, sock):
    wrong = load.verify(sock, "v")
    if wrong:
        raise Failed(f"{len(wrong)} blocks are wrong: {wrong[:5]}")


def lose_two(c, load, hosts):
    """Both are dead before either is given up; then the journal lets writes go on."""
    wait_for("writes", lambda: load.n_acked > 1000)
    for host in hosts[1:]:
        c.local("kill", host)
    before = load.n_acked
    wait_for("writes go on with a journal", lambda: load.n_acked > before + 2000, 30)
    (j,) = journals(c)
    assert j["host"] not in hosts, (j, hosts)


def try_open(sock):
    try:
        Nbd(sock, "v", timeout=60).close()
        return True
    except (NbdError, OSError):
        return False


def test_writes_go_on_and_the_journal_leaves_again(t):
    c, server, hosts = make(t)
    load = Load(server.sock, "v", 8192).start()
    lose_two(c, load, hosts)
    wait_for("told that writes rest on a journal", lambda: at_risk_with_a_journal(c))
    for host in hosts[1:]:
        c.local("start", host)
    c.wait_full("v")
    wait_for("the journal has left", lambda: not journals(c), 20)
    load.stop()
    assert not load.errors, load.errors
    check(load, server.sock)
    c.admin("volume", "verify", "v")


def test_a_policy_without_journals_waits(t):
    c, server, hosts = make(t, journal="off")
    load = Load(server.sock, "v", 1024).start()
    wait_for("writes", lambda: load.n_acked > 500)
    for host in hosts[1:]:
        c.local("kill", host)
    wait_for("suspended", lambda: c.protection("v") == "suspended", 30)
    assert not journals(c)
    for host in hosts[1:]:
        c.local("start", host)
    before = load.n_acked
    wait_for("resumed", lambda: load.n_acked > before + 500, 60)
    load.stop()
    assert not load.errors, load.errors
    check(load, server.sock)


def test_an_older_copy_is_made_whole(t):
    c, server, hosts = make(t)
    load = Load(server.sock, "v", 8192).start()
    lose_two(c, load, hosts)
    c.local("kill", hosts[0])
    before = load.n_acked
    c.local("start", hosts[1])
    wait_for("the older copy takes its place", lambda: state_of(c, hosts[1]) == "INSYNC", 60, 0.2)
    wait_for("the dead one is out", lambda: state_of(c, hosts[0]) == "OUT", 30)
    wait_for("writes go on", lambda: load.n_acked > before + 1000, 30)
    load.stop()
    assert not load.errors, load.errors
    check(load, server.sock)
    c.local("start", hosts[0])
    c.local("start", hosts[2])
    c.wait_full("v")
    check(load, server.sock)
    c.admin("volume", "verify", "v")


def test_it_is_made_whole_for_the_next_owner_too(t):
    c, server, hosts = make(t)
    load = Load(server.sock, "v", 8192).start()
    lose_two(c, load, hosts)
    c.local("kill", hosts[0])
    server.send_signal(signal.SIGKILL)
    server.wait()
    load.stop()
    c.local("start", hosts[2])
    server = t.nbd(c)
    wait_for("the volume serves again", lambda: try_open(server.sock), 90, 0.5)
    check(load, server.sock)
    wait_for("the older copy is in sync", lambda: state_of(c, hosts[2]) == "INSYNC", 30)
    c.local("start", hosts[0])
    c.local("start", hosts[1])
    c.wait_full("v")
    check(load, server.sock)


harness.main(globals())
