#!/usr/bin/env python3
"""A disk that fails, hangs or is pulled under a running daemon: its store goes, nothing else does."""
import os
import random
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import Failed, wait_for

from daemons import Daemons
from faultdisk import FaultDisk
from load import Load
from nbd import Nbd


def make(t, *behind):
    """Three hosts; the first store of h1 is on a disk that can fail, before those of `behind`."""
    c = Daemons(t)
    disk = FaultDisk(t, c.format("disk"))
    c.start("h1", [disk.path, *[c.format(x) for x in behind]])
    for host in ("h2", "h3"):
        c.start(host, [c.format(host + ".store")])
    return c, disk


def loaded(t, c, server, volume):
    load = Load(server.sock, volume, 2048, depth=4).start()
    wait_for(f"writes to {volume}", lambda: load.n_acked > 200)
    return load


def serving(t):
    c, disk = make(t)
    c.admin("volume", "create", "v", "--size", "64M")
    server = t.nbd(c)
    return c, disk, server, loaded(t, c, server, "v")


def goes_on(load, n=300, timeout=10):
    before = load.n_acked
    wait_for("writes go on", lambda: load.n_acked > before + n, timeout)


def rest(*loads):
    """Before a volume must be full: on a busy machine any copy may be slower than the others while there is a load."""
    for load in loads:
        load.stop()


def check(load, sock):
    """Nothing failed, and what was acknowledged is there."""
    load.stop()
    assert not load.errors, load.errors
    wrong = load.verify(sock, load.args[1])
    if wrong:
        raise Failed(f"{len(wrong)} blocks are wrong: {wrong[:5]}")


def finding(c, code, disk):
    """The finding and the disk as the programs of an operator read them, once it is there."""
    found = wait_for(code, lambda: c.findings(code), 10, 0.1)
    assert [f["object"] for f in found] == [f"dc1/{disk}"], found
    return found[0], c.json("disk", "show", disk)["disk"]


def says(c, code, disk, *words):
    """The same in words: an error, which disk, why, and what happens next."""
    r = c.try_admin("status")
    assert r.code == 2, r
    line = next(x for x in r.out.splitlines() if x.startswith(code))
    for word in (f"dc1/{disk}", "Effect:", "Next:", "Run:", *words):
        assert word in line, (word, line)
    return c.admin("disk", "show", disk).out.splitlines()[0]


def test_a_disk_that_fails(t):
    c, disk, server, load = serving(t)
    disk.fail()
    f, d = finding(c, "DISK_FAILED", "h1/store-0")
    assert d["state"] == "failed" and d["failed"] and d["io_errors"] >= 2, d
    assert d["why"] == f["cause"] == "an append failed twice", (d, f)
    assert says(c, "DISK_FAILED", "h1/store-0", f["cause"], "start").endswith("failed: " + f["cause"])
    assert f"store-0: {disk.path}: out of service: {f['cause']}" in c.log("h1")
    goes_on(load)

    # The disk is well again, and is not believed: what it lost while it failed, nobody knows.
    changed = disk.changed_ns()
    disk.mend()
    goes_on(load, 1000)
    assert disk.changed_ns() == changed, "it was written to after an append had failed"
    assert c.json("disk", "show", "h1/store-0")["disk"]["state"] == "failed"

    assert t.stop(c.process("h1")) == 1, "a store that was lost is not a clean end"
    c.start("h1")
    rest(load)
    c.wait_full("v")
    wait_for("nothing is left to say", lambda: not c.json("status")["findings"], 10)
    assert c.disk("h1")["state"] == "ok", c.disk("h1")
    check(load, server.sock)
    c.admin("volume", "verify", "v")


def test_a_disk_that_hangs(t):
    c, disk, server, load = serving(t)
    disk.hang()
    goes_on(load, 300, 8)  # 2 s until the disk calls itself stuck, and then the owner does without
    f, d = finding(c, "DISK_STUCK", "h1/store-0")
    assert d["state"] == "stuck" and d["stuck"] and not d["failed"], d
    assert says(c, "DISK_STUCK", "h1/store-0", f["cause"]).endswith("stuck")
    assert f"store-0: {disk.path}: disk is stuck" in c.log("h1")
    goes_on(load)
    disk.mend()
    wait_for("the disk is taken back", lambda: not c.findings("DISK_STUCK"), 10)
    rest(load)
    c.wait_full("v")
    assert c.process("h1").poll() is None
    check(load, server.sock)
    c.admin("volume", "verify", "v")


def member(c, volume, host):
    return next(m for s in c.volume(volume)["shards"] for m in s["members"] if m["host"] == host)


def test_row_24_a_disk_that_is_slow(t):
    """Set aside within seconds, so that writes do not wait for it, and taken back without a resync."""
    c, disk = make(t)
    c.admin("volume", "create", "v", "--size", "64M")
    server = t.nbd(c)
    load = Load(server.sock, "v", 2048, depth=1).start()
    goes_on(load)
    disk.slow()
    wait_for("the slow copy is set aside", lambda: member(c, "v", "h1")["state"] == "LAGGING", 20)
    goes_on(load)  # at most 50 of them if each waited for it
    cause = "the copy on h1/store-0 is slower than the others and is not waited for"
    wait_for("it is told", lambda: any(f["cause"] == cause for f in c.findings("VOLUME_REDUCED")), 10)
    disk.mend()
    wait_for("it is taken back", lambda: member(c, "v", "h1")["state"] == "INSYNC", 60)
    goes_on(load)
    changes = [e["text"] for e in c.json("events")["events"] if e["code"] == "COPY_STATE"]
    assert not any("SYNCING" in x or "=OUT" in x for x in changes), changes
    check(load, server.sock)
    c.admin("volume", "verify", "v")


def test_a_disk_that_hangs_and_then_fails(t):
    c, disk, server, load = serving(t)
    disk.hang()
    finding(c, "DISK_STUCK", "h1/store-0")
    disk.fail()
    finding(c, "DISK_FAILED", "h1/store-0")
    assert not c.findings("DISK_STUCK")
    goes_on(load)
    check(load, server.sock)


def copies_on(c, volume, host):
    return [m["disk"] for s in c.volume(volume)["shards"] for m in s["members"] if m["host"] == host
            and m["state"] == "INSYNC"]


def beside_a_good_one(t):
    """h1 has a good store-1 behind store-0, and on each of them lies a copy of a volume under load."""
    c, disk = make(t, "good")
    server = t.nbd(c)
    on = {}
    for i in range(8):
        c.admin("volume", "create", f"v{i}", "--size", "32M")
        on.setdefault(copies_on(c, f"v{i}", "h1")[0], f"v{i}")
        if len(on) == 2:
            return c, disk, server, [loaded(t, c, server, on[d]) for d in ("store-1", "store-0")]
    raise Failed(f"all copies went to one disk: {on}")


def test_a_disk_that_is_pulled(t):
    c, disk, server, loads = beside_a_good_one(t)
    stays, moves = [load.args[1] for load in loads]
    disk.pull()
    finding(c, "DISK_FAILED", "h1/store-0")
    says(c, "DISK_FAILED", "h1/store-0")
    for load in loads:
        goes_on(load)
    c.wait_full(moves)  # the same host has another place for it
    for volume in (moves, stays):
        wait_for(f"{volume} is on the good disk", lambda: copies_on(c, volume, "h1") == ["store-1"], 60)

    t.stop(c.process("h1"))
    r = t.fails("causewayd", *c.args("h1"), code=1, says=[disk.path, "not connected", "without this one"])
    assert "--format" not in r.err, r  # its data may be all there
    c.start("h1", [t.path("good")])
    c.wait_full(stays)
    finding(c, "DISK_FAILED", "h1/store-0")  # the good one is still store-1, though it comes first now
    for load in loads:
        goes_on(load)

    disk.plug_again()
    t.stop(c.process("h1"))
    c.start("h1", [disk.path, t.path("good")])
    rest(*loads)
    for volume, load in zip((stays, moves), loads):
        c.wait_full(volume)
        check(load, server.sock)
        c.admin("volume", "verify", volume)
    wait_for("nothing is left to say", lambda: not c.json("status")["findings"], 10)


def test_a_daemon_is_stopped_while_a_disk_hangs(t):
    c, disk, server, loads = beside_a_good_one(t)
    disk.hang()
    finding(c, "DISK_STUCK", "h1/store-0")
    p = c.process("h1")
    p.send_signal(signal.SIGTERM)
    wait_for("the disk is given up", lambda: f"store-0: {disk.path} does not answer" in c.log("h1"), 12)
    # The kernel keeps what is left of the process until the I/O is over.
    disk.pull()
    assert p.wait(10) == 1
    disk.plug_again()
    before = len(c.log("h1"))
    c.start("h1")
    assert f"store-1: {t.path('good')} opened clean" in c.log("h1", before), "the other store was not closed"
    rest(*loads)
    for load in loads:
        c.wait_full(load.args[1])
        check(load, server.sock)


def test_a_daemon_is_stopped_while_it_opens_a_disk_that_hangs(t):
    c, disk, server, load = serving(t)
    t.stop(c.process("h1"))
    disk.hang()
    p = t.spawn("causewayd", *c.args("h1"), log=t.path("again.log"))
    wait_for("it says what it waits for",
             lambda: f"store-0: {disk.path}: disk is stuck" in open(p.log).read(), 10)
    p.send_signal(signal.SIGTERM)
    wait_for("it does not wait", lambda: "stopped before" in open(p.log).read(), 5)
    disk.pull()
    assert p.wait(10) == 0  # nothing was served, nothing was lost
    disk.plug_again()
    c.start("h1")
    c.wait_full("v")
    check(load, server.sock)


def test_blocks_that_cannot_be_read(t):
    c, disk = make(t)
    c.admin("volume", "create", "v", "--size", "32M")
    server = t.nbd(c)
    rng = random.Random(5)
    blocks = [rng.randbytes(4096) for _ in range(256)]  # about four of them lie on bad places
    n = Nbd(server.sock, "v")
    for i, data in enumerate(blocks):
        n.write(i * 4096, data)
    n.flush()
    disk.rot()
    assert n.read(0, 256 * 4096) == b"".join(blocks)
    c.try_admin("volume", "verify", "v")  # of every copy; the read above may have found some already
    wait_for("they were met", lambda: c.disk("h1")["io_errors"] > 0, 10)
    # a repair may meet a bad place again
    wait_for("all is repaired", lambda: c.try_admin("volume", "verify", "v").code == 0, 10)
    assert c.disk("h1")["state"] == "ok", c.disk("h1")
    c.wait_full("v")
    assert n.read(0, 256 * 4096) == b"".join(blocks)
    n.close()


def test_row_43_a_disk_that_is_busy(t):
    """Half of its answers are "try again", and what it reads it reads by halves."""
    c, disk = make(t)
    c.admin("volume", "create", "v", "--size", "64M")
    server = t.nbd(c)
    disk.busy()
    load = loaded(t, c, server, "v")
    goes_on(load, 1000)
    c.admin("volume", "verify", "v")
    assert c.disk("h1")["state"] == "ok" and c.disk("h1")["io_errors"] == 0, c.disk("h1")
    assert t.stop(c.process("h1")) == 0
    c.start("h1")  # recovers from it as well
    rest(load)
    c.wait_full("v")
    check(load, server.sock)
    c.admin("volume", "verify", "v")


harness.main(globals())
