#!/usr/bin/env python3
"""Volumes as an operator handles them: create, list, import, export, trash, policies, verify."""
import random
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import Failed, wait_for


def random_file(path, n_bytes, seed=1, holes=True):
    rng = random.Random(seed)
    with open(path, "wb") as f:
        for at in range(0, n_bytes, 1 << 20):
            if not holes or rng.random() < 0.6:
                f.seek(at)
                f.write(rng.randbytes(min(1 << 20, n_bytes - at)))
        f.truncate(n_bytes)
    return path


def test_create_show_ls_rm_restore(t):
    c = t.cluster()
    c.admin("volume", "create", "v1", "--size", "64M")
    v = c.volume("v1")
    assert v["size_bytes"] == 64 << 20 and v["policy"] == "default", v
    assert len(v["shards"][0]["members"]) == 3, v
    assert len({m["host"] for m in v["shards"][0]["members"]}) == 3, v
    c.wait_full("v1")
    assert c.try_admin("volume", "create", "v1", "--size", "64M").code == 1
    c.admin("volume", "rm", "v1")
    assert c.json("volume", "ls")["volumes"] == []
    c.admin("volume", "create", "v1", "--size", "4M")
    c.admin("volume", "rm", "v1", "--now")
    c.admin("volume", "restore", "v1")
    assert c.volume("v1")["size_bytes"] == 64 << 20
    c.admin("volume", "rm", "v1", "--now")
    t.fails("causeway", "--cluster", c.addr, "volume", "show", "v1", code=1, says="v1")


def test_import_export_are_the_same(t):
    c = t.cluster()
    image = random_file(t.path("image"), (40 << 20) + 12345)
    c.admin("volume", "import", "img", image)
    assert c.volume("img")["size_bytes"] == ((40 << 20) + 12345 + 4095) // 4096 * 4096
    c.admin("volume", "export", "img", t.path("out"))
    with open(image, "rb") as a, open(t.path("out"), "rb") as b:
        want, got = a.read(), b.read()
    assert got[:len(want)] == want and not any(got[len(want):])
    assert os.stat(t.path("out")).st_blocks * 512 < len(got), "export is not sparse"
    assert c.try_admin("volume", "import", "img", image).code == 1
    c.admin("volume", "import", "img", image, "--overwrite")


def test_policies(t):
    c = t.cluster()
    names = [p["name"] for p in c.json("policy", "ls")["policies"]]
    assert "default" in names, names
    c.admin("policy", "create", "two", "copies=2", "spread=site")
    c.admin("volume", "create", "v", "--size", "16M", "--policy", "two")
    sites = {m["site"] for m in c.volume("v")["shards"][0]["members"]} if "site" in \
        c.volume("v")["shards"][0]["members"][0] else None
    hosts = [m["host"] for m in c.volume("v")["shards"][0]["members"]]
    assert len(hosts) == 2 and {h.split("-")[0] for h in hosts} == {"onprem", "aws"}, (hosts, sites)
    c.admin("policy", "create", "five", "copies=5")
    r = t.fails("causeway", "--cluster", c.addr, "volume", "create", "w", "--size", "16M", "--policy",
                "five", code=1)
    assert "5" in r.err, r


def test_compression_follows_the_policy_while_in_use(t):
    c = t.cluster()
    import nbd as client
    c.admin("volume", "create", "v", "--size", "16M")
    shard = lambda: c.volume("v")["shards"][0]
    assert c.json("policy", "show", "default")["policy"]["compression"] == "background"
    assert shard()["compression"] == "background", shard()
    server = t.nbd(c)
    n = client.Nbd(server.sock, "v")
    n.write(0, b"a" * 65536)
    cfg = shard()["cfg"]
    c.admin("policy", "set", "default", "compression=inline")
    wait_for("the record follows the policy", lambda: shard()["compression"] == "inline")
    n.write(65536, b"b" * 65536)
    assert shard()["cfg"] == cfg + 1, shard()
    assert n.read(0, 131072) == b"a" * 65536 + b"b" * 65536
    c.local("kill", "aws-1")
    c.admin("policy", "set", "default", "compression=off")
    wait_for("the record follows again", lambda: shard()["compression"] == "off")
    n.write(131072, b"c" * 65536)
    c.local("start", "aws-1")
    c.wait_full("v")
    assert n.read(65536, 131072) == b"b" * 65536 + b"c" * 65536
    c.admin("volume", "verify", "v")
    n.close()
    t.fails("causeway", "--cluster", c.addr, "policy", "set", "default", "compression=lz4", code=2,
            says="background")


def test_attached_volume_is_in_use(t):
    c = t.cluster()
    import nbd as client
    c.admin("volume", "create", "v", "--size", "16M")
    server = t.nbd(c)
    n = client.Nbd(server.sock, "v")
    n.write(0, b"x" * 4096)
    t.fails("causeway", "--cluster", c.addr, "volume", "export", "v", t.path("o"), code=1, says="in use")
    assert not os.path.exists(t.path("o"))
    assert c.try_admin("volume", "rm", "v").code == 1
    n.close()
    wait_for("released after the last connection",
             lambda: c.try_admin("volume", "export", "v", t.path("o")).code == 0, 20)


def test_verify_is_clean_and_attached_volumes_can_be_verified(t):
    c = t.cluster()
    import nbd as client
    image = random_file(t.path("image"), 24 << 20)
    c.admin("volume", "import", "v", image)
    c.admin("volume", "verify", "v")
    server = t.nbd(c)
    n = client.Nbd(server.sock, "v")
    n.write(0, b"x" * 8192)
    c.admin("volume", "verify", "v")
    assert n.read(4096, 4096) == b"x" * 4096
    n.close()


def test_resize_grows_an_attached_volume(t):
    c = t.cluster()
    import nbd as client
    c.admin("volume", "create", "v", "--size", "16M")
    server = t.nbd(c)
    n = client.Nbd(server.sock, "v")
    n.write((16 << 20) - 4096, b"e" * 4096)
    c.admin("volume", "resize", "v", "--size", "32M")
    assert c.volume("v")["size_bytes"] == 32 << 20
    m = client.Nbd(server.sock, "v")
    assert m.size == 32 << 20, m.size
    m.write((32 << 20) - 4096, b"f" * 4096)
    assert n.read((16 << 20) - 4096, 4096) == b"e" * 4096
    m.close()
    n.close()


harness.main(globals())
