#!/usr/bin/env python3
"""Disks that come back with an old, a foreign or a lost content: no copy is believed that misses a write."""
import os
import random
import signal
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import Failed, wait_for

from daemons import Daemons
from faultdisk import FaultDisk
from load import Load
from nbd import Nbd, NbdError

BLOCK, N = 4096, 64
HOSTS = ("h1", "h2", "h3")


def make(t):
    c = Daemons(t)
    for host in HOSTS:
        c.start(host, [c.format(host + ".store")])
    c.admin("volume", "create", "v", "--size", "64M")
    return c


def opened(sock, timeout=60):
    def attempt():
        try:
            return Nbd(sock, "v", timeout=60)
        except (NbdError, OSError):
            return None
    return wait_for(f"{os.path.basename(sock)} serves", attempt, timeout, 0.2)


def try_open(sock):
    try:
        Nbd(sock, "v", timeout=60).close()
    except (NbdError, OSError):
        pass


def says(process, what):
    with open(process.log, encoding="utf-8") as f:
        return what in f.read()


def some(seed):
    return random.Random(seed).randbytes(BLOCK)


def written(c, t, name, seed):
    """Blocks of an owner that was there only for them."""
    server = c.nbd(name)
    n = opened(server.sock)
    for i in range(N):
        n.write(i * BLOCK, some(seed + i))
    n.close()
    t.stop(server)


def are_read(c, t, name, seed, *args):
    server = c.nbd(name, *args)
    n = opened(server.sock)
    for i in range(N):
        assert n.read(i * BLOCK, BLOCK) == some(seed + i), f"block {i}"
    n.close()
    return server


def clone_of(c, t, host):
    """The disk of a host as it is now."""
    to = t.path(f"{host}.clone")
    t.stop(c.process(host))
    t.ok("cp", "--sparse=always", t.path(f"{host}.store"), to)
    c.start(host)
    wait_for("it is in sync", lambda: c.copy("v", host)["state"] in ("INSYNC", "LAGGING"), 60)
    return to


def on_media(t, host, at):
    return subprocess.run([os.path.join(harness.BIN, "causeway-store"), "dump", t.path(f"{host}.store"), "block",
                           "1/0", str(at), "--raw"], stdout=subprocess.PIPE, check=True).stdout


def resyncs(c, host):
    """How often a copy there was given what it lacked."""
    return sum(e["code"] == "COPY_STATE" and f"{host}/store-0=SYNCING" in e["text"]
               for e in c.json("events")["events"])


def test_row_14_an_old_clone_while_nobody_is_attached(t):
    c = make(t)
    written(c, t, "a", 1000)
    clone = clone_of(c, t, "h2")
    written(c, t, "b", 2000)
    before = resyncs(c, "h2")
    c.kill("h2")
    os.replace(clone, t.path("h2.store"))
    c.start("h2")
    server = are_read(c, t, "c", 2000, "--domain", "site=dc1,host=h2")  # reads there, if it may
    c.wait_full("v")
    wait_for("it was resynced", lambda: resyncs(c, "h2") > before, 10)
    t.stop(server)
    are_read(c, t, "d", 2000, "--domain", "site=dc1,host=h2")
    c.admin("volume", "verify", "v")
    t.stop(c.process("h2"))
    assert on_media(t, "h2", 5) == some(2005)


def test_row_15_a_disk_from_before_the_volume(t):
    """Alone, it cannot be told from one whose copy was never made: nobody is served from it, however often."""
    c = Daemons(t)
    for host in HOSTS:
        c.start(host, [c.format(host + ".store")])
    t.stop(c.process("h1"))
    t.ok("cp", "--sparse=always", t.path("h1.store"), t.path("h1.clone"))
    c.start("h1")
    c.admin("volume", "create", "v", "--size", "64M")
    written(c, t, "a", 1000)
    for host in HOSTS:
        c.kill(host)
    os.replace(t.path("h1.clone"), t.path("h1.store"))
    c.start("h1")
    for name in ("b", "c"):
        server = c.nbd(name)
        client = threading.Thread(target=try_open, args=(server.sock,))
        client.start()
        wait_for("it is missed", lambda: says(server, "its disk does not have it"), 20)
        server.send_signal(signal.SIGKILL)
        server.wait()
        client.join()
    assert all(m["state"] == "INSYNC" for m in c.volume("v")["shards"][0]["members"])
    c.start("h2")
    c.start("h3")
    are_read(c, t, "d", 1000)
    c.wait_full("v")
    wait_for("it was resynced", lambda: resyncs(c, "h1") > 0, 10)


def test_row_14_an_old_clone_under_load(t):
    """So soon that the host was never missed."""
    c = make(t)
    server = c.nbd("a")
    opened(server.sock).close()
    load = Load(server.sock, "v", 2048, depth=4).start()
    wait_for("writes", lambda: load.n_acked > 300)
    clone = clone_of(c, t, "h2")
    acked, before = load.n_acked, resyncs(c, "h2")
    wait_for("writes", lambda: load.n_acked > acked + 1000)
    c.kill("h2")
    os.replace(clone, t.path("h2.store"))
    c.start("h2")
    wait_for("it is resynced", lambda: resyncs(c, "h2") > before, 60)
    acked = load.n_acked
    wait_for("writes go on", lambda: load.n_acked > acked + 500)
    load.stop()  # first: on a busy machine any copy may be slower than the others for a while
    assert not load.errors, load.errors
    c.wait_full("v")
    wrong = load.verify(server.sock, "v")
    if wrong:
        raise Failed(f"{len(wrong)} blocks are wrong: {wrong[:5]}")
    c.admin("volume", "verify", "v")


def test_row_14_disks_that_changed_places(t):
    """Each is known by what is on it, not by where it is."""
    c = make(t)
    written(c, t, "a", 1000)
    for host in ("h2", "h3"):
        t.stop(c.process(host))
    uuids = [c.disk(h)["uuid"] for h in ("h2", "h3")]
    os.rename(t.path("h2.store"), t.path("x"))
    os.rename(t.path("h3.store"), t.path("h2.store"))
    os.rename(t.path("x"), t.path("h3.store"))
    for host in ("h2", "h3"):
        c.start(host)
    assert [c.disk(h)["uuid"] for h in ("h3", "h2")] == uuids
    for host in HOSTS:
        t.stop(are_read(c, t, host + ".nbd", 1000, "--domain", f"site=dc1,host={host}"))
    written(c, t, "b", 2000)
    c.wait_full("v")
    c.admin("volume", "verify", "v")
    for host in HOSTS:
        t.stop(c.process(host))
        assert on_media(t, host, 5) == some(2005), host


def test_row_14_a_clone_beside_its_disk(t):
    c = make(t)
    written(c, t, "a", 1000)
    clone = clone_of(c, t, "h2")
    written(c, t, "b", 2000)
    p = c.start("h4", [clone], wait=False)
    wait_for("it is refused", lambda: f"refuses {clone}" in c.log("h4") or p.poll() is not None, 20)
    assert sorted(d["host"] for d in c.json("disk", "ls")["disks"]) == list(HOSTS)
    t.stop(are_read(c, t, "c", 2000))
    c.wait_full("v")
    c.admin("volume", "verify", "v")


# ---- power ----

def powered(t):
    """Three hosts whose disks lose what they were not told to sync."""
    c = Daemons(t)
    disks = {host: FaultDisk(t, c.format(host + ".disk")) for host in HOSTS}
    for host in HOSTS:
        c.start(host, [disks[host].path])
    c.admin("volume", "create", "v", "--size", "64M")
    return c, disks


def cut_power(c, disks, owner):
    for disk in disks.values():
        disk.cut_power()
    for p in (owner, c.manager, *[c.process(host) for host in HOSTS]):
        p.send_signal(signal.SIGKILL)
    for disk in disks.values():
        wait_for("the power is off", disk.is_off)
    for p in (owner, c.manager, *[c.process(host) for host in HOSTS]):
        p.wait()
    for disk in disks.values():
        disk.plug_again()


def boot(c, order):
    """One after the other; the next when the one before does what it can without those that are missing."""
    for name in order:
        if name == "manager":
            c.start_manager()
            continue
        if name == "owner":
            owner = c.nbd("a")
            continue
        before = len(c.log(name))
        c.start(name, wait=False)
        wait_for(f"{name} serves", lambda: "1 stores serve" in c.log(name, before), 30)
    return owner


def more_load(server, before):
    """The same blocks again, on top of what is known of them."""
    load = Load(server.sock, "v", 2048, depth=16)
    if before:
        load.acked, load.sent, load.counter = before.acked, before.sent, before.counter
    load.start()
    wait_for("writes", lambda: load.n_acked > 500)
    return load


def test_row_16_power_is_lost_and_all_boot_in_any_order(t):
    c, disks = powered(t)
    owner, load = c.nbd("a"), None
    opened(owner.sock).close()
    for order in (("manager", "h1", "h2", "h3", "owner"), ("owner", "h3", "h1", "manager", "h2"),
                  ("h2", "manager", "owner", "h3", "h1")):
        load = more_load(owner, load)
        cut_power(c, disks, owner)
        load.stop()
        owner = boot(c, order)
        opened(owner.sock).close()
        for _ in range(2):  # what an unanswered write left stays as it is
            wrong = load.verify(owner.sock, "v")
            if wrong:
                raise Failed(f"{order}: {len(wrong)} blocks are wrong: {wrong[:5]}")
        c.wait_full("v")
        assert sum(resyncs(c, host) for host in HOSTS) == 0, (order, c.json("events")["events"])
        c.admin("volume", "verify", "v")
    for host in HOSTS:
        assert t.stop(c.process(host)) == 0
        t.ok("causeway-store", "check", disks[host].path)


def test_row_29_a_flush_on_one_connection_covers_the_others(t):
    """Acknowledged in memory only, as the policy says; the flush comes on a connection that wrote nothing."""
    c, disks = powered(t)
    c.admin("policy", "create", "fast", "--ack", "replicated")
    c.admin("volume", "set", "v", "--policy", "fast")
    owner = c.nbd("a")
    for turn, order in enumerate((("manager", "h1", "h2", "h3", "owner"), ("h3", "manager", "owner", "h2", "h1"))):
        flusher = opened(owner.sock)
        writers = [opened(owner.sock) for _ in range(3)]
        for i in range(N):
            writers[i % 3].write(i * BLOCK, some(9000 + turn * N + i))
        flusher.flush()
        for i in range(N):  # these nobody flushes
            writers[i % 3].write((N + i) * BLOCK, some(i))
        cut_power(c, disks, owner)
        owner = boot(c, order)
        n = opened(owner.sock)
        for i in range(N):
            assert n.read(i * BLOCK, BLOCK) == some(9000 + turn * N + i), f"turn {turn}: block {i}"
        n.close()
        c.wait_full("v")
    c.admin("volume", "verify", "v")


def test_row_42_a_disk_that_lies_loses_power(t):
    """Alone: the others know what it should have."""
    c, disks = powered(t)
    owner = c.nbd("a")
    opened(owner.sock).close()
    load = more_load(owner, None)
    disks["h2"].lie()
    acked = load.n_acked
    wait_for("writes", lambda: load.n_acked > acked + 500)
    disks["h2"].cut_power()
    c.kill("h2")
    wait_for("the power is off", disks["h2"].is_off)
    disks["h2"].plug_again()
    c.start("h2")
    assert "was durable" in c.log("h2"), c.log("h2")  # it tells a lie from a torn end
    wait_for("it is resynced", lambda: resyncs(c, "h2") > 0, 60)
    load.stop()
    assert not load.errors, load.errors
    c.wait_full("v")
    wrong = load.verify(owner.sock, "v")
    if wrong:
        raise Failed(f"{len(wrong)} blocks are wrong: {wrong[:5]}")
    first = c.try_admin("volume", "verify", "v")  # what the disk lost of what it had said was there is mended
    assert ", 0 unrepairable" in first.out or first.code == 0, first.out
    c.admin("volume", "verify", "v")


harness.main(globals())
