#!/usr/bin/env python3
"""causeway-store on the stores of real daemons: what it refuses, what it finds, what it leaves alone."""
import hashlib
import json
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness

from nbd import Nbd
from rot import flip

BLOCK = 4096


def store(c, host):
    return os.path.join(c.dir, host, "store-0")


def digest(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while part := f.read(4 << 20):
            h.update(part)
    return h.hexdigest()


def filled(t):
    """A volume that was written by daemons, and the blocks in it; it is still up."""
    c = t.cluster("onprem:2,aws:1", store_size="512M")
    c.admin("volume", "create", "v", "--size", "64M")
    server = t.nbd(c)
    rng = random.Random(5)
    blocks = [rng.randbytes(BLOCK) for _ in range(400)]
    n = Nbd(server.sock, "v")
    for i, data in enumerate(blocks):
        n.write(i * BLOCK, data)
    n.flush()
    n.close()
    c.wait_full("v")
    t.stop(server)
    return c, blocks


def check(t, path, code):
    r = t.run("causeway-store", "check", path, "--json")
    assert r.code == code, r
    return json.loads(r.out)


def test_a_store_in_use_is_refused(t):
    c, _ = filled(t)
    for command in ("info", "check"):
        r = t.fails("causeway-store", command, store(c, "aws-1"), code=1)
        assert "another process has this store open" in r.err and store(c, "aws-1") in r.err, r
    r = t.fails("causeway-store", "check", store(c, "aws-1"), "--json", code=1)
    assert json.loads(r.out)["error"]["code"] == "STORE_IN_USE", r
    r = t.fails("causeway-store", "format", store(c, "aws-1"), "--force", code=1)
    assert "open" in r.err, r


def test_stores_of_a_clean_stop_and_of_a_kill_are_fine_and_untouched(t):
    c, blocks = filled(t)
    c.local("kill", "aws-1")
    c.local("down")
    for host, clean in (("onprem-1", True), ("onprem-2", True), ("aws-1", False)):
        before = digest(store(c, host))
        r = check(t, store(c, host), 0)
        assert r["ok"] and r["clean"] == clean and not r["faults"] and not r["notes"], r
        assert r["copies"] == 1 and r["blocks"] == len(blocks), r
        info = json.loads(t.ok("causeway-store", "info", store(c, host), "--json").out)
        assert info["clean"] == clean and info["recovery"]["opens"], info
        assert info["copies"][0]["mapped_blocks"] == len(blocks), info
        assert info["copies"][0]["state"] == "INSYNC", info
        assert digest(store(c, host)) == before, host


def test_a_rotten_block_is_named(t):
    c, blocks = filled(t)
    c.local("down")
    flip(store(c, "onprem-1"), [blocks[300]])
    r = check(t, store(c, "onprem-1"), 1)
    assert len(r["faults"]) == 1, r
    fault = r["faults"][0]
    assert fault["kind"] == "block" and "chunk 1 block 44" in fault["what"], fault
    assert fault["shard"] == 0 and fault["segment"] >= 0 and fault["offset"] > 0, fault
    said = t.fails("causeway-store", "check", store(c, "onprem-1"), code=1).out
    assert "found block" in said and "1 faults" in said, said
    shown = json.loads(t.ok("causeway-store", "dump", store(c, "onprem-1"), "block", "1/0", "300",
                            "--json").out)
    assert "does not match" in shown["wrong"], shown
    shown = json.loads(t.ok("causeway-store", "dump", store(c, "onprem-2"), "block", "1/0", "300",
                            "--json").out)
    assert "wrong" not in shown, shown


def test_a_rotten_superblock_is_named_and_the_daemon_starts_all_the_same(t):
    c, _ = filled(t)
    c.local("down")
    path = store(c, "aws-1")
    with open(path, "r+b") as f:
        f.seek(4096 + 200)
        was = f.read(1)
        f.seek(4096 + 200)
        f.write(bytes([was[0] ^ 1]))
    r = check(t, path, 1)
    assert [f["kind"] for f in r["faults"]] == ["superblock"] and "slot 1" in r["faults"][0]["what"], r
    c.up()
    c.wait_full("v")


def test_format_makes_what_check_passes(t):
    path = t.path("new")
    t.ok("causeway-store", "format", f"{path}:512M")
    r = check(t, path, 0)
    assert r["ok"] and r["copies"] == 0, r
    r = t.fails("causeway-store", "format", path, code=1)
    assert "is a Causeway store already" in r.err and path in r.err, r
    t.ok("causeway-store", "format", path, "--force")
    r = t.fails("causeway-store", "check", t.path("missing"), code=1)
    assert "missing" in r.err, r
    t.fails("causeway-store", "check", code=2)
    t.ok("causeway-store", "--help")


if __name__ == "__main__":
    harness.main(globals())
