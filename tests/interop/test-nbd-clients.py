#!/usr/bin/env python3
"""Unmodified NBD clients against causeway-nbd: qemu-img, qemu-io, nbdinfo, nbdcopy, nbddump, nbd-client, fio."""
import json
import os
import random
import shutil
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
import nbd
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


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


MIB = 1 << 20
# (offset, length, data?) of what test_maps.. writes
PATCHES = [(0, MIB, True), (MIB, 7 * MIB, False), (8 * MIB, 5 * MIB, True), (13 * MIB, 3 * MIB, False),
           (16 * MIB, 128 << 10, True), ((16 * MIB) + (128 << 10), SIZE - 16 * MIB - (128 << 10), False)]


def nbd_map(t, uri):
    """[(offset, length, data?)], neighbours of a kind joined."""
    runs = []
    for x in json.loads(t.ok("nbdinfo", "--map", "--json", uri).out):
        assert x["type"] in (0, 3), x
        runs.append((x["offset"], x["length"], x["type"] == 0))
    return joined(runs)


def joined(runs):
    out = []
    for at, n, data in runs:
        assert at == (out[-1][0] + out[-1][1] if out else 0), runs
        if out and out[-1][2] == data:
            out[-1] = (out[-1][0], out[-1][1] + n, data)
        else:
            out.append((at, n, data))
    return out


def write_patches(t, uri):
    args = []
    for at, n, data in PATCHES:
        if data:
            args += ["-c", f"write -P 0x5a {at} {n}"]
    t.ok("qemu-io", "-f", "raw", *args, uri)


def test_maps_show_holes(t):
    need_tool("nbdinfo")
    need_tool("qemu-io")
    c, server = serve(t, "v", "empty")
    uri = server.uri("v")
    assert nbd_map(t, server.uri("empty")) == [(0, SIZE, False)]
    write_patches(t, uri)
    assert nbd_map(t, uri) == PATCHES, nbd_map(t, uri)
    totals = t.ok("nbdinfo", "--map", "--totals", "--json", uri)
    assert {x["type"]: x["size"] for x in json.loads(totals.out)}[0] == 6 * MIB + (128 << 10), totals
    contexts = t.ok("nbdinfo", "--json", "--list", "nbd+unix://?socket=" + server.sock)
    for e in json.loads(contexts.out)["exports"]:
        assert e["contexts"] == ["base:allocation"], e


def test_qemu_img_map_shows_holes(t):
    need_tool("qemu-img")
    c, server = serve(t, "v")
    write_patches(t, server.uri("v"))
    runs = json.loads(t.ok("qemu-img", "map", "-f", "raw", "--output=json", server.uri("v")).out)
    assert joined([(x["start"], x["length"], x["data"]) for x in runs]) == PATCHES, runs
    assert all(x["zero"] is not x["data"] for x in runs), runs


def test_discards_and_zeroes_become_holes(t):
    need_tool("nbdinfo")
    need_tool("qemu-io")
    c, server = serve(t, "v")
    uri = server.uri("v")
    t.ok("qemu-io", "-f", "raw", "-d", "unmap", "-c", "write -P 1 0 8M", "-c", "discard 1M 1M", "-c", "write -z 3M 64k",
         "-c", "write -z -u 4M 64k", "-c", "write -P 0 5M 1M", uri)
    k = 1 << 10
    assert nbd_map(t, uri) == [(0, MIB, True), (MIB, MIB, False), (2 * MIB, MIB, True), (3 * MIB, 64 * k, False),
                               (3 * MIB + 64 * k, MIB - 64 * k, True), (4 * MIB, 64 * k, False),
                               (4 * MIB + 64 * k, MIB - 64 * k, True), (5 * MIB, MIB, False), (6 * MIB, 2 * MIB, True),
                               (8 * MIB, SIZE - 8 * MIB, False)], nbd_map(t, uri)


def test_copies_keep_holes(t):
    need_tool("nbdcopy")
    c, server = serve(t, "v", "w")
    write_patches(t, server.uri("v"))
    t.ok("nbdcopy", server.uri("v"), t.path("sparse.raw"))
    assert os.stat(t.path("sparse.raw")).st_blocks * 512 <= 7 * MIB
    t.ok("qemu-img", "compare", "-f", "raw", "-F", "raw", t.path("sparse.raw"), server.uri("v"))
    t.ok("nbdcopy", server.uri("v"), server.uri("w"))
    t.ok("qemu-img", "compare", "-f", "raw", "-F", "raw", server.uri("v"), server.uri("w"))
    assert nbd_map(t, server.uri("w")) == PATCHES


def test_maps_while_writes_go_on(t):
    """A written block is never called a hole: what was acknowledged before the question is data in the answer."""
    need_tool("nbdinfo")
    c, server = serve(t, "v")
    n = nbd.Nbd(server.sock, "v")
    for i in range(12):
        n.write(i * 4 * MIB, b"\1" * 4096)
        later = n.send(nbd.WRITE, i * 4 * MIB + MIB, 65536, b"\2" * 65536)
        runs = nbd_map(t, server.uri("v"))
        for j in range(i + 1):
            at = j * 4 * MIB
            assert any(a <= at and at + 4096 <= a + m and data for a, m, data in runs), (j, runs)
        assert n.recv()[:2] == (later, 0)
    n.close()


def test_a_grown_volume_is_seen(t):
    """Who connects after it sees the new size; who is connected may use it, if it knows."""
    need_tool("nbdinfo")
    c, server = serve(t, "v")
    n = nbd.Nbd(server.sock, "v")
    assert n.size == SIZE
    n.write(0, b"\1" * 4096)
    c.admin("volume", "resize", "v", str(2 * SIZE))

    def grown():
        try:
            n.write(2 * SIZE - 4096, b"\2" * 4096)
            return True
        except nbd.NbdError:
            return False

    wait_for("the new size on the old connection", grown, 30)
    assert int(t.ok("nbdinfo", "--size", server.uri("v")).out) == 2 * SIZE
    runs = nbd_map(t, server.uri("v"))
    assert runs == [(0, 4096, True), (4096, 2 * SIZE - 8192, False), (2 * SIZE - 4096, 4096, True)], runs
    assert n.read(2 * SIZE - 4096, 4096) == b"\2" * 4096
    n.close()


def test_limits_are_told(t):
    need_tool("qemu-img")
    c = t.cluster(store_size="512M")
    for name in ("v", "w"):
        c.admin("volume", "create", name, "--size", str(SIZE))
    port = free_port()
    t.spawn("causeway-nbd", "--cluster", c.addr, "--listen", f"127.0.0.1:{port}", "--export-connections", "1",
            "--connections", "3", "--in-flight", "2M")
    wait_for("the TCP port", lambda: listens(port), 15)
    n = nbd.Nbd(addr=("127.0.0.1", port), export="v")
    r = t.run("qemu-img", "info", f"nbd://127.0.0.1:{port}/v")
    assert r.code != 0 and "v: 1 connections to one export are the limit" in r.out + r.err, r
    t.ok("qemu-img", "info", f"nbd://127.0.0.1:{port}/w")
    n.close()


def test_nbd_client_lists(t):
    """All that nbd-client can do without the kernel's device: negotiate and list."""
    tool = shutil.which("nbd-client", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if tool is None:
        raise harness.Skip("nbd-client is not installed")
    c = t.cluster(store_size="512M")
    for name in ("v", "w"):
        c.admin("volume", "create", name, "--size", str(SIZE))
    port = free_port()
    t.spawn("causeway-nbd", "--cluster", c.addr, "--listen", f"127.0.0.1:{port}")
    wait_for("the TCP port", lambda: listens(port), 15)
    out = t.ok(tool, "-l", "127.0.0.1", str(port)).out
    assert {"v", "w"} <= set(out.split()), out


def test_nbddump(t):
    need_tool("nbddump")
    c, server = serve(t, "v")
    t.ok("qemu-io", "-f", "raw", "-c", "write -P 0x41 4096 16", server.uri("v"))
    out = t.ok("nbddump", server.uri("v")).out
    assert "0000001000: 41 41 41 41" in out, out


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
    port = free_port()
    p = t.spawn("causeway-nbd", "--cluster", c.addr, "--listen", f"127.0.0.1:{port}")
    wait_for("the TCP port", lambda: listens(port), 15)
    raw = image(t)
    t.ok("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", raw, f"nbd://127.0.0.1:{port}/v")
    t.ok("qemu-img", "compare", "-f", "raw", "-F", "raw", raw, f"nbd://127.0.0.1:{port}/v")
    assert t.stop(p) == 0


harness.main(globals())
