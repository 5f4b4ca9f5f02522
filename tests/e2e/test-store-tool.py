#!/usr/bin/env python3
"""causeway-store on the stores of real daemons: what it refuses, what it finds, what it leaves alone."""
import hashlib
import json
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness

from faultdisk import FaultDisk
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
    error = json.loads(r.out)["error"]
    assert error["code"] == "STORE_IN_USE" and "if its daemon runs" in error["hint"], r
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
    assert "found block" in said and "1 fault," in said, said
    r = t.fails("causeway-store", "dump", store(c, "onprem-1"), "block", "1/0", "300", "--json", code=1)
    assert "does not match" in json.loads(r.out)["wrong"], r
    assert "block 300 of shard 1/0" in r.err and "from another copy" in r.err, r
    # what lies behind the end of the volume is no block of it
    r = t.fails("causeway-store", "dump", store(c, "onprem-1"), "block", "1/0", "16384", "--raw", code=1)
    assert "it has 16384, 0 to 16383" in r.err, r
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


def test_a_store_whose_disk_grew_goes_on(t):
    c, _ = filled(t)
    c.local("kill", "aws-1")
    c.local("down")
    path = store(c, "aws-1")
    before = json.loads(t.ok("causeway-store", "info", path, "--json").out)
    os.truncate(path, 700 << 20)
    after = json.loads(t.ok("causeway-store", "info", path, "--json").out)
    assert after.pop("disk_bytes") == 700 << 20 and before.pop("disk_bytes") == 512 << 20, after
    assert after == before, (before, after)
    check(t, path, 0)
    c.up()
    c.wait_full("v")
    c.admin("volume", "verify", "v")
    c.local("down")
    info = json.loads(t.ok("causeway-store", "info", path, "--json").out)
    assert info["bytes"] == 512 << 20 and info["incarnation"] == before["incarnation"] + 1, info
    log = "".join(open(os.path.join(base, f), errors="replace").read()
                  for base, _, files in os.walk(os.path.join(c.dir, "aws-1")) for f in files
                  if f.endswith("log"))
    assert "has grown to 700M, the store on it keeps its 512M" in log, log[-2000:]
    os.truncate(path, 512 << 20)
    assert check(t, path, 0)["clean"]
    os.truncate(path, 400 << 20)
    r = t.fails("causeway-store", "check", path, code=1)
    assert "restore its size" in r.err and "format" not in r.err, r


# ---- rebuild-metadata ----

HOSTS = ("onprem-1", "onprem-2", "aws-1")


def metadata(c):
    """The manager's directory, as it was told in its command line."""
    found = [os.path.join(base, d) for base, dirs, _ in os.walk(c.dir) for d in dirs
             if os.path.exists(os.path.join(base, d, "data.mdb"))]
    assert len(found) == 1, found
    return found[0]


def lost(t):
    """A cluster that is down, and has lost its manager's directory; that one's path."""
    c, blocks = filled(t)
    c.local("down")
    path = metadata(c)
    os.rename(path, t.path("lost"))
    return c, blocks, path


def reads_back(t, c, name, blocks):
    n = Nbd(t.nbd(c).sock, name)
    for i, data in enumerate(blocks):
        assert n.read(i * BLOCK, BLOCK) == data, f"block {i} is wrong"
    n.write(0, blocks[1])
    n.flush()
    assert n.read(0, BLOCK) == blocks[1]
    n.close()


def test_lost_metadata_is_rebuilt_and_the_volume_reads_back(t):
    c, blocks, path = lost(t)
    before = {h: digest(store(c, h)) for h in HOSTS}
    r = json.loads(t.ok("causeway-store", "rebuild-metadata", *(store(c, h) for h in HOSTS), "--out",
                        path, "--name", "1=v", "--json").out)
    assert r["written"] and not r["notes"] and not r["refused"], r
    assert [(v["id"], v["name"], v["size_bytes"], v["policy"]) for v in r["volumes"]] == \
        [(1, "v", 64 << 20, "default")], r
    assert {h: digest(store(c, h)) for h in HOSTS} == before
    c.up()
    reads_back(t, c, "v", blocks)
    c.wait_full("v")
    hosts = {h["name"] for h in c.json("host", "ls")["hosts"]}
    assert hosts == set(HOSTS), hosts
    # numbers of volumes that are not known any more are not given again
    c.admin("volume", "create", "w", "--size", "64M")
    assert c.volume("w")["id"] > 1, c.volume("w")
    c.admin("volume", "verify", "v")


def test_a_volume_whose_in_sync_copy_is_not_there_is_refused_unless_forced(t):
    c, blocks, path = lost(t)
    two = [store(c, h) for h in HOSTS[:2]]
    r = t.fails("causeway-store", "rebuild-metadata", *two, "--out", path, code=1)
    assert "volume 1 shard 0: its in-sync copy" in r.out and "nothing was written" in r.out, r
    assert not os.path.exists(path)
    r = t.fails("causeway-store", "rebuild-metadata", *two, "--out", path, "--leave-out", "1",
                "--leave-out", "7", code=1)
    assert "--leave-out: no volume 7 was found" in r.out and not os.path.exists(path), r
    r = t.ok("causeway-store", "rebuild-metadata", *two, "--out", path, "--leave-out", "1", "--json")
    assert json.loads(r.out)["volumes"] == [], r
    t.fails("causeway-store", "rebuild-metadata", *two, "--out", path, code=1, says="not empty")
    os.rename(path, t.path("without"))
    t.ok("causeway-store", "rebuild-metadata", *two, "--out", path, "--force")
    # the copy that was not found comes back, and is brought up to date
    c.up()
    reads_back(t, c, "recovered-1", blocks)
    c.wait_full("recovered-1")
    c.admin("volume", "verify", "recovered-1")


def test_rebuild_says_what_it_needs(t):
    c, _, path = lost(t)
    t.fails("causeway-store", "rebuild-metadata", "--out", path, code=2)
    t.fails("causeway-store", "rebuild-metadata", store(c, "aws-1"), code=2)
    r = t.fails("causeway-store", "rebuild-metadata", store(c, "aws-1"), store(c, "aws-1"), "--out",
                path, code=1)
    assert "are the same disk" in r.out, r
    t.ok("causeway-store", "format", t.path("new") + ":512M")
    r = t.fails("causeway-store", "rebuild-metadata", *(store(c, h) for h in HOSTS), t.path("new"),
                "--out", path, code=1)
    assert "belongs to no cluster" in r.out and t.path("new") in r.out, r
    assert not os.path.exists(path)


def test_format_makes_what_check_passes(t):
    path = t.path("new")
    t.ok("causeway-store", "format", f"{path}:512M")
    r = check(t, path, 0)
    assert r["ok"] and r["copies"] == 0, r
    r = t.fails("causeway-store", "format", path, code=1)
    assert "is a Causeway store already" in r.err and path in r.err, r
    t.ok("causeway-store", "format", path, "--force")
    t.fails("causewayd", "--format", "--store", f"{path}:1G", "--force", code=1, says="is there with")
    t.ok("causewayd", "--format", "--store", f"{path}:{(512 << 20) + 1}", "--force")
    r = t.fails("causeway-store", "check", t.path("missing"), code=1)
    assert "missing" in r.err, r
    t.fails("causeway-store", "check", code=2)
    t.ok("causeway-store", "--help")


def test_format_does_not_overwrite_a_file_system(t):
    harness.need_tool("mkfs.ext4")
    path = t.path("ext4")
    with open(path, "wb") as f:
        f.truncate(512 << 20)
    t.ok("mkfs.ext4", "-q", "-F", path)
    before = digest(path)
    for args in (("causeway-store", "format", path), ("causewayd", "--format", "--store", path)):
        r = t.fails(*args, code=1)
        assert f"{path}: holds a file system (ext4); --force overwrites it" in r.err, r
    r = t.fails("causeway-store", "info", path, code=1)
    assert "no Causeway store, but a file system (ext4)" in r.err and "format" not in r.err, r
    assert digest(path) == before
    t.ok("causewayd", "--format", "--store", path, "--force")
    assert check(t, path, 0)["ok"]


def test_format_does_not_overwrite_what_it_cannot_read(t):
    path = t.path("store")
    t.ok("causeway-store", "format", f"{path}:512M")
    disk = FaultDisk(t, path)
    disk.fail()
    for args in (("causeway-store", "format", disk.path), ("causewayd", "--format", "--store", disk.path)):
        r = t.fails(*args, code=1)
        assert f"{disk.path}: cannot be read where a store would show" in r.err, r
        assert "--force overwrites it all the same" in r.err, r
    disk.mend()
    assert check(t, disk.path, 0)["ok"]


def test_a_store_under_a_new_file_system_is_not_given_up(t):
    harness.need_tool("mkfs.ext4")
    c, _ = filled(t)
    c.local("down")
    path = store(c, "aws-1")
    t.ok("mkfs.ext4", "-q", "-F", "-E", "nodiscard", path)
    r = t.fails("causeway-store", "info", path, "--json", code=1)
    error = json.loads(r.out)["error"]
    assert error["code"] == "SUPERBLOCKS_LOST" and "(ext4)" in error["message"], error
    assert "do not format" in error["hint"], error
    r = t.fails("causewayd", "--format", "--store", path, code=1)
    assert "whose superblocks are lost, and holds a file system (ext4)" in r.err, r


if __name__ == "__main__":
    harness.main(globals())
