#!/usr/bin/env python3
"""Hosts that go down for a while, that are emptied, and that are gone for good, under a verifying load."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import Failed, wait_for

from load import Load


def host(c, name):
    return next((h for h in c.json("host", "ls")["hosts"] if h["name"] == name), None)


def holders(c, volume):
    return {m["host"] for s in c.volume(volume)["shards"] for m in s["members"]}


def codes(c):
    return {f["code"] for f in c.json("status")["findings"]}


def begin(t, hosts="onprem:3,aws:2", size="64M", policy="default"):
    c = t.cluster(hosts=hosts)
    c.admin("volume", "create", "v", "--size", size, "--policy", policy)
    server = t.nbd(c)
    load = Load(server.sock, "v", 4096, rate=2000).start()
    wait_for("writes", lambda: load.n_acked > 1000)
    return c, server, load


def more(load, n=500, timeout=30):
    before = load.n_acked
    wait_for("writes go on", lambda: load.errors or load.n_acked > before + n, timeout)
    assert not load.errors, load.errors


def end(c, server, load):
    load.stop()  # first: on a busy machine any copy may be slower than the others for a while
    c.wait_full("v")
    assert not load.errors, load.errors
    wrong = load.verify(server.sock, "v")
    if wrong:
        raise Failed(f"{len(wrong)} blocks are wrong: {wrong[:5]}")
    c.admin("volume", "verify", "v")


def test_a_host_goes_down_for_a_while(t):
    c, server, load = begin(t)
    name = sorted(holders(c, "v"))[0]
    plan = c.json("host", "maintain", name, "--plan")["plans"]
    assert [p["mode"] for p in plan] == ["accessible", "full", "none"], plan
    assert plan[0]["volumes_unavailable"] == 0 and plan[1]["moves"] == 1, plan
    assert host(c, name)["state"] == "up"
    c.admin("host", "maintain", name, "--mode", "accessible")
    assert host(c, name)["state"] == "maintenance", host(c, name)
    c.local("kill", name)
    wait_for("it is seen to be down", lambda: not host(c, name)["up"], 15)
    more(load)
    assert "HOST_ABSENT" not in codes(c), codes(c)
    c.local("kill", "manager")
    c.local("start", "manager")
    wait_for("the manager knows it still", lambda: host(c, name)["state"] == "maintenance", 15)
    assert name in holders(c, "v")
    more(load)
    c.local("start", name)
    c.admin("host", "return", name)
    wait_for("it is up", lambda: host(c, name)["state"] == "up", 15)
    end(c, server, load)
    assert name in holders(c, "v"), "its copy was made again"


def test_a_volume_that_cannot_spare_a_copy_gets_one_first(t):
    c = t.cluster(hosts="onprem:2,aws:1")
    c.admin("policy", "create", "both", "copies=2", "min-insync=2", "degrade=off")
    c.admin("volume", "create", "v", "--size", "64M", "--policy", "both")
    server = t.nbd(c)
    load = Load(server.sock, "v", 4096, rate=2000).start()
    wait_for("writes", lambda: load.n_acked > 1000)
    name, other = sorted(holders(c, "v"))
    c.admin("host", "maintain", name)
    assert len(holders(c, "v")) == 3, c.volume("v")
    r = c.try_admin("host", "maintain", other)
    assert r.code == 1 and "volume v" in r.err, r
    c.local("kill", name)
    more(load)
    wait_for("it serves", lambda: c.protection("v") != "suspended", 10)
    assert host(c, name)["state"] == "maintenance"
    c.local("start", name)
    c.admin("host", "return", name)
    wait_for("the one too many leaves", lambda: len(holders(c, "v")) == 2, 60)
    end(c, server, load)


def test_a_host_is_emptied_and_removed(t):
    c, server, load = begin(t)
    name = sorted(holders(c, "v"))[0]
    c.admin("host", "maintain", name, "--mode", "full")
    assert name not in holders(c, "v"), c.volume("v")
    c.wait_full("v")
    more(load)
    t.fails("causeway", "--cluster", c.addr, "host", "rm", name, says="is up")
    c.local("kill", name)
    wait_for("it is removed", lambda: c.try_admin("host", "rm", name).code == 0, 15)
    assert host(c, name) is None
    jobs = [j for j in c.json("jobs", "ls")["jobs"] if j["kind"] == "maintain"]
    assert [j["state"] for j in jobs] == ["done"], jobs
    end(c, server, load)


def test_a_host_that_is_lost_is_removed(t):
    c, server, load = begin(t)
    name = sorted(holders(c, "v"))[0]
    c.local("kill", name)
    wait_for("it is absent", lambda: host(c, name)["state"] == "absent", 15)
    told = c.json("whatif", "--fail", sorted(holders(c, "v"))[1])
    assert told["whatif"]["volumes"][0]["protection"] in ("at-risk", "suspended"), told
    c.admin("host", "rm", name)
    wait_for("its copy is made again elsewhere",
             lambda: len(holders(c, "v")) == 3 and name not in holders(c, "v"), 60)
    end(c, server, load)
    # the same host, from nothing, under its old name
    os.remove(os.path.join(c.dir, name, "store-0"))
    t.ok("causewayd", "--format", "--store", os.path.join(c.dir, name, "store-0") + ":1G")
    c.local("start", name)
    wait_for("it has joined again", lambda: host(c, name) is not None, 20)


def test_a_disk_is_drained(t):
    c, server, load = begin(t)
    name = sorted(holders(c, "v"))[0]
    c.admin("disk", "drain", name + "/store-0")
    assert name not in holders(c, "v"), c.volume("v")
    c.admin("disk", "rm", name + "/store-0")
    stays_removed(t, c, name)
    end(c, server, load)


def disk_state(c, path):
    return next((d["state"] for d in c.json("disk", "ls")["disks"] if f'{d["host"]}/{d["name"]}' == path), None)


def stays_removed(t, c, name):
    """Its daemon has the store open, is restarted, and the manager too: the disk is used again once it is added again."""
    path = name + "/store-0"
    wait_for("its daemon was told", lambda: disk_state(c, path) == "removed", 20)
    t.fails("causeway", "--cluster", c.addr, "disk", "rm", path, says="no disk")
    for part in (name, "manager"):
        c.local("kill", part)
        c.local("start", part)
        wait_for("its daemon reports it", lambda: c.try_admin("disk", "ls").code == 0 and
                 disk_state(c, path) is not None and host(c, name)["state"] == "up", 30)
        assert disk_state(c, path) == "removed", c.json("disk", "ls")
    assert "disk add" in c.admin("disk", "ls").out
    assert name not in holders(c, "v")
    c.admin("disk", "add", path)
    wait_for("it is used again", lambda: disk_state(c, path) == "ok", 20)
    happened = [e["code"] for e in c.json("events")["events"]]
    assert happened.count("DISK_NOT_USED") == 1 and "DISK_TAKEN_BACK" in happened, happened


def stuck_by_pause(c):
    v = c.volume("v")
    return v["protection"] == "reduced-stuck" and "paused" in v["protection_why"]


def test_repair_waits_when_it_is_paused(t):
    c, server, load = begin(t)
    name = sorted(holders(c, "v"))[0]
    c.admin("repair", "pause")
    c.local("kill", name)
    wait_for("it is absent", lambda: host(c, name)["state"] == "absent", 15)
    t.fails("causeway", "--cluster", c.addr, "repair", "now", says="paused")
    c.local("start", name)
    wait_for("it says why", lambda: stuck_by_pause(c), 20)
    more(load)
    assert next(m["state"] for m in c.volume("v")["shards"][0]["members"] if m["host"] == name) == "OUT"
    wait_for("it says so still", lambda: stuck_by_pause(c), 20)
    c.admin("repair", "resume")
    c.wait_full("v")
    c.local("kill", name)
    wait_for("it is absent", lambda: host(c, name)["state"] == "absent", 15)
    c.admin("repair", "now", "--host", name)
    wait_for("its copy is made again elsewhere", lambda: name not in holders(c, "v"), 60)
    end(c, server, load)


harness.main(globals())
