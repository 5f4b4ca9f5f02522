#!/usr/bin/env python3
"""Bits rot in store files while the daemons run and nobody reads: found by a scrub, and repaired."""
import errno
import json
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import Failed, wait_for

import misplace
from nbd import Nbd, NbdError
from rot import flip

BLOCK = 4096


def store(c, host):
    return os.path.join(c.dir, host, "store-0")


def filled(t, hosts="onprem:2,aws:1", n_blocks=512):
    """A volume of blocks that do not compress, and the server that has it attached."""
    c = t.cluster(hosts, store_size="512M")
    c.admin("volume", "create", "v", "--size", "64M")
    server = t.nbd(c)
    rng = random.Random(11)
    blocks = [rng.randbytes(BLOCK) for _ in range(n_blocks)]
    n = Nbd(server.sock, "v")
    for i, data in enumerate(blocks):
        n.write(i * BLOCK, data)
    n.flush()
    server.held = n  # a server lets go of a volume to which nobody is connected
    c.wait_full("v")
    # a pass that began by itself would meet a part of what rots before all of it does; the next is a week away
    passed(c, *{m["host"] for m in c.volume("v")["shards"][0]["members"]})
    return c, server, blocks


def scrub(c, host):
    """The host's line of `scrub ls`."""
    return next(s for s in c.json("scrub", "ls")["scrubs"] if s["host"] == host)


def passes(c, host):
    last = scrub(c, host)["last"]
    return last["pass"] if last else 0


def passed(c, *hosts):
    """A pass of each host's disk that ended after this call."""
    before = {h: passes(c, h) for h in hosts}
    for h in hosts:
        c.admin("scrub", "start", f"{h}/store-0")
    wait_for("a pass of every disk", lambda: all(passes(c, h) > before[h] for h in hosts), 60, 0.2)


def scrubbed(c, *hosts):
    """A pass that began after this call was over; what each host's found."""
    # one that runs already may be behind what has rotted just now: the second one is not
    for _ in range(2):
        passed(c, *hosts)
    return {h: scrub(c, h) for h in hosts}


def codes(c, object_part=""):
    return {f["code"] for f in c.json("status")["findings"] if object_part in f["object"]}


def verified(c, server, blocks):
    """No copy differs, and the volume holds what was written."""
    c.admin("volume", "verify", "v")
    n = Nbd(server.sock, "v")
    for i, data in enumerate(blocks):
        assert n.read(i * BLOCK, BLOCK) == data, f"block {i} is wrong"
    n.close()


def test_rot_under_an_attached_volume_is_repaired(t):
    c, server, blocks = filled(t)
    flip(store(c, "aws-1"), [blocks[3], blocks[4], blocks[400]])
    flip(store(c, "onprem-2"), [blocks[77]])
    c.admin("scrub", "start")
    for host, n in (("aws-1", 3), ("onprem-2", 1)):
        wait_for(f"{n} found on {host} and repaired",
                 lambda: scrub(c, host)["repaired"] >= n and scrub(c, host)["bad_blocks"] == 0, 60, 0.2)
    assert scrub(c, "onprem-1")["repaired"] == 0
    verified(c, server, blocks)
    assert not codes(c) & {"BLOCKS_BAD", "BLOCKS_LOST", "DISK_QUARANTINED"}, codes(c)


def test_rot_under_a_volume_that_nobody_has_attached_is_repaired(t):
    c, server, blocks = filled(t)
    t.stop(server)
    wait_for("detached", lambda: not c.volume("v").get("owner"), 30, 0.2)
    flip(store(c, "onprem-2"), [blocks[9], blocks[300]])
    r = c.json("scrub", "start", "onprem-2/store-0")
    assert r["started"] and not r["failed"], r
    wait_for("two found and repaired",
             lambda: scrub(c, "onprem-2")["repaired"] >= 2 and scrub(c, "onprem-2")["bad_blocks"] == 0,
             60, 0.2)
    verified(c, t.nbd(c), blocks)


def test_row_47_what_is_bad_on_every_copy_is_lost_alone_until_overwritten(t):
    c, server, blocks = filled(t)
    hosts = ("onprem-1", "onprem-2", "aws-1")
    for host in hosts:
        flip(store(c, host), [blocks[200]])
    c.admin("scrub", "start", "v")
    wait_for("the finding", lambda: "BLOCKS_LOST" in codes(c, "v"), 60, 0.2)
    n = Nbd(server.sock, "v")
    try:
        n.read(200 * BLOCK, BLOCK)
        raise Failed("a block that no copy has was read")
    except NbdError as e:
        assert str(e) == f"errno {errno.EIO}", e
    for i in (199, 201):
        assert n.read(i * BLOCK, BLOCK) == blocks[i], i
    blocks[200] = random.Random(12).randbytes(BLOCK)
    n.write(200 * BLOCK, blocks[200])
    n.close()
    wait_for("nothing is bad", lambda: all(scrub(c, h)["bad_blocks"] == 0 for h in hosts), 60, 0.2)
    verified(c, server, blocks)


def stopped(t, c, server):
    t.stop(server)
    wait_for("detached", lambda: not c.volume("v").get("owner"), 30, 0.2)
    c.local("down")


def checked(t, c, host):
    """What causeway-store finds in a store that is not in use."""
    r = t.run("causeway-store", "check", store(c, host), "--json")
    return json.loads(r.out)["faults"]


def test_row_40_a_block_over_another_is_repaired_by_the_read_that_meets_it(t):
    c, server, blocks = filled(t)
    hosts = ("onprem-1", "onprem-2", "aws-1")
    stopped(t, c, server)
    # whatever copy is read, two of three blocks are those of others there, and good elsewhere
    for i, well in enumerate(hosts):
        for host in hosts:
            if host != well:
                at = misplace.place(t, store(c, host), "block", "1/0", str(300 + i))
                misplace.copy(store(c, host), at, misplace.place(t, store(c, host), "block", "1/0", "5"))
    for host in hosts:
        assert len(checked(t, c, host)) == 2, checked(t, c, host)
    c.up()
    c.wait_full("v")
    server = t.nbd(c)
    n = Nbd(server.sock, "v")
    for i, data in enumerate(blocks):
        assert n.read(i * BLOCK, BLOCK) == data, f"block {i} is wrong"
    n.close()
    wait_for("what was read is repaired", lambda: any(
        s["repaired"] >= 2 and s["bad_blocks"] == 0 for s in (scrub(c, h) for h in hosts)), 30, 0.2)
    stopped(t, c, server)
    assert any(not checked(t, c, h) for h in hosts), [checked(t, c, h) for h in hosts]


def test_row_40_what_lies_over_map_pages_and_blocks_is_repaired_by_a_scrub(t):
    c, server, blocks = filled(t)
    stopped(t, c, server)
    for host, what, victim, other in (("aws-1", "page", "1", "0"), ("onprem-1", "page", "0", "1"),
                                      ("onprem-2", "block", "300", "5")):
        path = store(c, host)
        at = misplace.place(t, path, what, "1/0", victim)
        misplace.copy(path, at, misplace.place(t, path, what, "1/0", other))
        kinds = {f["kind"] for f in checked(t, c, host)}
        assert ("map-page" if what == "page" else "block") in kinds, kinds
    c.up()
    c.wait_full("v")
    server = t.nbd(c)
    c.admin("scrub", "start")
    for host, n in (("aws-1", 256), ("onprem-1", 256), ("onprem-2", 1)):
        wait_for(f"{n} found on {host} and repaired",
                 lambda: scrub(c, host)["repaired"] >= n and scrub(c, host)["bad_blocks"] == 0, 60, 0.2)
    verified(c, server, blocks)
    stopped(t, c, server)
    assert not checked(t, c, "onprem-2"), checked(t, c, "onprem-2")
    for host in ("aws-1", "onprem-1"):
        # what was lost with a page stays counted, and the older checkpoint says that it was bad
        kinds = {f["kind"] for f in checked(t, c, host)}
        assert kinds <= {"segment-count", "marked-bad"}, checked(t, c, host)


def test_a_disk_that_rots_is_emptied_until_it_is_returned(t):
    c, server, blocks = filled(t, "onprem:2,aws:2")

    def holders():
        return [m["host"] for m in c.volume("v")["shards"][0]["members"]]

    host = holders()[0]
    flip(store(c, host), blocks[:12])
    c.admin("scrub", "start", f"{host}/store-0")
    wait_for("quarantine", lambda: "DISK_QUARANTINED" in codes(c, host), 60, 0.2)
    wait_for("the copy is elsewhere",
             lambda: host not in holders() and c.protection("v") == "full", 90, 0.2)
    assert len(holders()) == 3, holders()
    verified(c, server, blocks)
    c.local("kill", "manager")
    c.local("start", "manager")
    wait_for("the manager knows it still", lambda: "DISK_QUARANTINED" in codes(c, host), 30, 0.2)
    assert scrub(c, host)["quarantined"]
    r = t.fails("causeway", "--cluster", c.addr, "disk", "return", "nohost/store-0", code=1)
    assert "nohost/store-0" in r.err, r
    c.admin("disk", "return", f"{host}/store-0")
    assert not scrub(c, host)["quarantined"]
    # the manager has just started: what its host says of the disk from now on is old
    wait_for("the disk is heard", lambda: not c.json("scrub", "start", f"{host}/store-0")["failed"], 30, 0.2)
    scrubbed(c, host)
    assert not scrub(c, host)["quarantined"]
    assert "DISK_QUARANTINED" not in codes(c), codes(c)


def test_passes_are_counted_over_a_restart(t):
    c, server, blocks = filled(t)
    flip(store(c, "aws-1"), [blocks[50]])
    found = scrubbed(c, "aws-1")["aws-1"]
    wait_for("repaired", lambda: scrub(c, "aws-1")["bad_blocks"] == 0, 60, 0.2)
    c.local("down")
    c.up()
    wait_for("the disk says how far it is", lambda: passes(c, "aws-1") > 0, 30, 0.2)
    assert passes(c, "aws-1") == found["last"]["pass"], (found, scrub(c, "aws-1"))
    again = scrubbed(c, "aws-1")["aws-1"]
    assert again["last"]["pass"] > found["last"]["pass"] and again["last"]["found"] == 0, again


if __name__ == "__main__":
    harness.main(globals())
