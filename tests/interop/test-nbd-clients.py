#!/usr/bin/env python3
"""Unmodified NBD clients against causeway-nbd: qemu-img, qemu-io, nbdinfo, nbdcopy, fio."""
import json
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from daemons import free_port
from harness import need_tool, wait_for

SIZE = 48 << 20


def image(t):
    rng = random.Random(4)
    path = t.path("image.raw")
    with open(path, "wb") as f:
        for at in range(0, SIZE, 1 << 20):
            if rng.random() < 0.5:
                f.seek(at)
                f.write(rng.randbytes(1 << 20))
        f.truncate(SIZE)
    return path


def serve(t, *names):
    c = t.cluster(store_size="512M")
    for name in names:
        c.admin("volume", "create", name, "--size", str(SIZE))
    return c, t.nbd(c)


def test_qemu_img_convert_info_compare(t):
    need_tool("qemu-img")
    c, server = serve(t, "v")
    raw = image(t)
    t.ok("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", raw, server.uri("v"))
    t.ok("qemu-img", "compare", "-f", "raw", "-F", "raw", raw, server.uri("v"))
    info = json.loads(t.ok("qemu-img", "info", "--output=json", server.uri("v")).out)
    assert info["virtual-size"] == SIZE, info
    t.ok("qemu-img", "convert", "-f", "raw", "-O", "qcow2", server.uri("v"), t.path("out.qcow2"))
    t.ok("qemu-img", "compare", "-f", "raw", "-F", "qcow2", server.uri("v"), t.path("out.qcow2"))
    t.ok("qemu-img", "map", "--output=json", server.uri("v"))


def test_qemu_img_bench(t):
    need_tool("qemu-img")
    c, server = serve(t, "v")
    t.ok("qemu-img", "bench", "-w", "-c", "2000", "-d", "16", "-s", "4096", "-f", "raw", server.uri("v"))


def test_qemu_io_patterns(t):
    need_tool("qemu-io")
    c, server = serve(t, "v")
    commands = ["write -P 0x11 0 64k", "write -P 0x22 4k 4k", "write -P 0x33 5000 100", "read -P 0x11 0 4k",
                "read -P 0x22 4k 904", "read -P 0x33 5000 100", "read -P 0x22 5100 3092",
                "write -z 16k 8k", "read -P 0 16k 8k", "discard 32k 8k", "flush",
                "write -f -P 0x44 1M 1M", "read -P 0x44 1M 1M", "write -P 0x55 2093056 16k",
                "read -P 0x55 2093056 16k", "aio_write -P 0x66 3M 64k", "aio_read 3M 64k", "aio_flush",
                "read -P 0x66 3M 64k"]
    args = []
    for command in commands:
        args += ["-c", command]
    r = t.ok("qemu-io", "-f", "raw", *args, server.uri("v"))
    assert "Pattern verification failed" not in r.out + r.err, r
    again = t.ok("qemu-io", "-f", "raw", "-c", "read -P 0x44 1M 1044480", server.uri("v"))
    assert "failed" not in again.out, again


def test_nbdinfo(t):
    need_tool("nbdinfo")
    c, server = serve(t, "v", "w")
    info = json.loads(t.ok("nbdinfo", "--json", server.uri("v")).out)
    e = info["exports"][0]
    assert e["export-size"] == SIZE, e
    for flag in ("can_flush", "can_fua", "can_trim", "can_zero", "can_multi_conn"):
        assert e[flag] is True, (flag, e)
    assert e["is_read_only"] is False
    listed = json.loads(t.ok("nbdinfo", "--json", "--list", "nbd+unix://?socket=" + server.sock).out)
    assert sorted(x["export-name"] for x in listed["exports"]) == ["v", "w"], listed


def test_nbdcopy_both_ways(t):
    need_tool("nbdcopy")
    c, server = serve(t, "v")
    raw = image(t)
    t.ok("nbdcopy", raw, server.uri("v"))
    t.ok("nbdcopy", server.uri("v"), t.path("back.raw"))
    with open(raw, "rb") as a, open(t.path("back.raw"), "rb") as b:
        assert a.read() == b.read()


def test_fio_verifies(t):
    need_tool("fio")
    if "nbd" not in t.run("fio", "--enghelp").out:
        raise harness.Skip("fio is built without its nbd engine")
    c, server = serve(t, "v")
    t.ok("fio", "--name=j", "--ioengine=nbd", f"--uri={server.uri('v')}", "--rw=randwrite", "--bs=4k",
         "--iodepth=32", "--size=16M", "--verify_state_save=0", "--verify=crc32c", "--verify_fatal=1", "--do_verify=1")
    t.ok("fio", "--name=j", "--ioengine=nbd", f"--uri={server.uri('v')}", "--rw=randrw", "--bsrange=4k-256k",
         "--iodepth=8", "--size=32M", "--verify_state_save=0", "--verify=xxhash", "--verify_fatal=1", "--verify_backlog=64")


def test_tcp_and_unix_serve_the_same(t):
    need_tool("qemu-img")
    c = t.cluster(store_size="512M")
    c.admin("volume", "create", "v", "--size", str(SIZE))
    import socket
    port = free_port()
    p = t.spawn("causeway-nbd", "--cluster", c.addr, "--listen", f"127.0.0.1:{port}")

    def answers():
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            return False

    wait_for("the TCP port", answers, 15)
    raw = image(t)
    t.ok("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", raw, f"nbd://127.0.0.1:{port}/v")
    t.ok("qemu-img", "compare", "-f", "raw", "-F", "raw", raw, f"nbd://127.0.0.1:{port}/v")
    assert t.stop(p) == 0


harness.main(globals())
