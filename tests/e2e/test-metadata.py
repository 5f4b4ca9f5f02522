#!/usr/bin/env python3
"""The manager's records: kept by two hosts beside it, saved, lost and restored; what is older is noticed."""
import json
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import wait_for

import jsonschema_subset as schema
from daemons import Daemons
from load import Load
from nbd import Nbd

SITES = {"h1": "dc1", "h2": "dc1", "h3": "dc2"}
MIB = 1 << 20


def make(t):
    c = Daemons(t)
    for host, site in SITES.items():
        c.start(host, [c.format(host + ".store")], site=site)
    return c


def backups(c):
    return c.json("metadata", "show")["metadata"]["backups"]


def saved(c, timeout=30):
    """Two hosts in two sites have the records as they are now; which."""
    def look():
        b = backups(c)
        well = all(x["current"] and x["epoch"] > 0 for x in b) and len({x["site"] for x in b}) == 2
        return [x["host"] for x in b] if well else None
    return wait_for("hosts in two sites have the metadata", look, timeout, 0.2)


def kept(c, host):
    return c.hosts[host][1][0] + ".metadata"


def daemons(c):
    return ",".join(f"127.0.0.1:{h[0]}" for h in c.hosts.values())


def lose(t, c):
    """The manager dies, and its directory is gone."""
    c.kill_manager()
    shutil.rmtree(t.path("records"))


def restore(t, c, path):
    t.ok("causeway-store", "metadata", "import", "--from", path, "--to", "lmdb:" + t.path("records"))
    before = {h: c.log(h).count("registered with cluster") for h in c.hosts}
    c.start_manager()
    for host in c.hosts:
        wait_for(f"{host} is back", lambda h=host: c.log(h).count("registered with cluster") > before[h], 30)


def test_a_lost_directory_is_restored_from_a_host(t):
    """Data flows all the time; names, policies, owners are as they were, and nothing is lost."""
    c = make(t)
    c.admin("policy", "create", "two", "copies=2")
    c.admin("volume", "create", "v", "--size", "64M")
    c.admin("volume", "create", "w", "--size", "32M", "--policy", "two")
    a = c.nbd("a")
    n = Nbd(a.sock, "w", timeout=60)
    n.write(0, b"w" * MIB)
    n.flush()
    load = Load(a.sock, "v", 2048).start()
    wait_for("v is written", lambda: load.n_acked > 100)
    saved(c)
    assert "has the metadata as it is" in c.try_admin("status").out
    schema.check(c.json("metadata", "show"))
    schema.check(c.json("metadata", "export", t.path("running")))
    before = c.json("metadata", "show")["metadata"]
    lose(t, c)
    t.fails("causewayd", "--role", "manager", "--metadata", "lmdb:" + t.path("records"), "--listen", c.addr,
            says="metadata import")
    path = t.path("cluster.meta")
    t.fails("causeway", "metadata", "fetch", path, "--from", "127.0.0.1:1", says="keeps a backup", timeout=60)
    r = json.loads(t.ok("causeway", "--json", "metadata", "fetch", path, "--from", daemons(c)).out)["metadata_saved"]
    assert r["epoch"] >= before["epoch"] and r["size_bytes"] == os.path.getsize(path), (r, before)
    t.fails("causeway", "metadata", "fetch", path, "--from", daemons(c), says="--force")
    t.fails("causeway", "metadata", "import", path, says="causeway-store metadata import")
    n_acked = load.n_acked
    restore(t, c, path)
    wait_for("v is written", lambda: load.n_acked > n_acked + 100)
    now = c.json("metadata", "show")["metadata"]
    assert now["cluster_id"] == before["cluster_id"] and now["restored"], now
    assert now["restored_epoch"] == r["epoch"] < now["epoch"], now
    assert any(e["code"] == "METADATA_RESTORED" for e in c.json("events")["events"])
    assert c.volume("w")["policy"] == "two" and c.volume("w")["gen"] == 1
    assert not c.findings("METADATA_WENT_BACK") and not c.findings("METADATA_BEHIND")
    n.write(MIB, b"x" * MIB)
    load.stop()
    assert not load.errors, load.errors
    n.close()
    t.stop(a)
    # an id that may have been given since the backup is not given again
    c.admin("volume", "create", "x", "--size", "16M")
    assert c.volume("x")["id"] > 1000, c.volume("x")
    a = c.nbd("b")
    assert not load.verify(a.sock, "v")
    n = Nbd(a.sock, "w", timeout=60)
    assert n.read(0, 2 * MIB) == b"w" * MIB + b"x" * MIB
    n.close()
    saved(c)
    for v in "vw":
        c.wait_full(v)
        c.admin("volume", "verify", v)


def test_metadata_that_went_back_is_noticed(t):
    """Restored from a backup that is too old: it is said, what is newer stays, and attaches are refused."""
    c = make(t)
    c.admin("volume", "create", "v", "--size", "64M")
    saved(c)
    old = t.path("old.meta")
    c.admin("metadata", "export", old)
    a = c.nbd("a")
    n = Nbd(a.sock, "v", timeout=60)
    n.write(0, b"1" * MIB)
    n.close()
    t.stop(a)
    c.admin("volume", "create", "later", "--size", "16M")
    hosts = saved(c)
    lose(t, c)
    newer = {h: open(kept(c, h), "rb").read() for h in hosts}
    restore(t, c, old)
    wait_for("it is noticed", lambda: len(c.findings("METADATA_WENT_BACK")) == 2 and
             [f["object"] for f in c.findings("METADATA_BEHIND")] == ["v"], 30)
    assert c.try_admin("status").code == 2
    assert all("metadata fetch" in f["command"] for f in c.findings("METADATA_WENT_BACK"))
    t.fails("causeway", "--cluster", c.addr, "volume", "show", "later", code=1)
    # the third host takes it; what is newer is not overwritten
    wait_for("the third host has it", lambda: [b["host"] for b in backups(c) if b["current"]] ==
             [h for h in SITES if h not in hosts], 30, 0.2)
    assert all(open(kept(c, h), "rb").read() == newer[h] for h in hosts)
    # restored once more, from the newest
    c.kill_manager()
    shutil.rmtree(t.path("records"))
    path = t.path("newest.meta")
    t.ok("causeway", "metadata", "fetch", path, "--from", ",".join(f"127.0.0.1:{c.hosts[h][0]}" for h in hosts))
    restore(t, c, path)
    saved(c)
    assert not c.findings("METADATA_WENT_BACK") and not c.findings("METADATA_BEHIND"), c.findings()
    assert c.volume("later")["size_bytes"] == 16 * MIB
    a = c.nbd("b")
    n = Nbd(a.sock, "v", timeout=60)
    assert n.read(0, MIB) == b"1" * MIB
    n.close()


def test_backups_move_when_hosts_go(t):
    c = make(t)
    hosts = saved(c)
    c.kill(hosts[0])
    c.admin("policy", "create", "p", "copies=2")
    rest = [h for h in SITES if h != hosts[0]]
    wait_for("the others have it", lambda: sorted(b["host"] for b in backups(c) if b["current"]) == rest, 30, 0.2)
    # a damaged one is not handed out: the one before it is
    path, other = kept(c, rest[0]), t.path("x.meta")
    c.admin("policy", "create", "q", "copies=2")
    wait_for("there are two", lambda: os.path.exists(path + ".1"))
    wait_for("all is saved", lambda: sum(b["current"] for b in backups(c)) == 2)
    with open(path, "r+b") as f:
        f.seek(100)
        f.write(b"\xff\xff\xff\xff")
    addr = f"127.0.0.1:{c.hosts[rest[0]][0]}"
    t.ok("causeway", "metadata", "fetch", other, "--from", addr)
    t.ok("causeway-store", "metadata", "import", "--from", other, "--to", "lmdb:" + t.path("elsewhere"))
    t.fails("causeway-store", "metadata", "import", "--from", path, "--to", "lmdb:" + t.path("nowhere"), says="damaged")
    # a host that cannot write it says why
    os.remove(path)
    os.mkdir(path)
    c.admin("policy", "create", "r", "copies=2")
    wait_for("it is said why", lambda: any(b["host"] == rest[0] and "directory" in b["why"].lower() for b in backups(c)))


harness.main(globals())
