#!/usr/bin/env python3
"""Nonsense from users, disks and peers: one clear line that names the thing, the exit status as
documented, no crash, and everything else goes on."""
import random
import shutil
import socket
import struct
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import Failed, wait_for

from nbd import Nbd, NbdError


def test_usage_errors_exit_2(t):
    for args in (["causeway", "--nonsense"], ["causeway", "nonsense"], ["causeway", "volume"],
                 ["causeway", "volume", "create"], ["causeway", "local", "up"],
                 ["causeway", "local", "up", "--dir", t.path("c"), "--hosts", "a:0"],
                 ["causeway", "local", "up", "--dir", t.path("c"), "--hosts", "x"],
                 ["causeway", "local", "up", "--dir", t.path("c"), "--store-size", "12x"],
                 ["causewayd", "--nonsense"], ["causewayd"], ["causewayd", "--host", "x"],
                 ["causeway-nbd"], ["causeway-nbd", "--nonsense"],
                 ["causeway-nbd", "--cluster", "127.0.0.1:1"]):
        t.fails(*args, code=2, timeout=20)
    for program in ("causeway", "causewayd", "causeway-nbd"):
        assert "sage" in t.ok(program, "--help").out
        t.ok(program, "--version")


def test_no_cluster_there(t):
    t.fails("causeway", "--cluster", "127.0.0.1:9", "status", says="127.0.0.1:9", timeout=20)
    t.fails("causeway", "--cluster", "127.0.0.1:9", "volume", "ls", code=1, says="127.0.0.1:9", timeout=20)
    t.fails("causeway", "--cluster", "nonsense", "volume", "ls", says="nonsense", timeout=20)


def test_bad_sizes_and_names(t):
    c = t.cluster(store_size="512M")
    for size in ("0", "-1", "1.5G", "12Q", "", "99999999999999999999"):
        t.fails("causeway", "--cluster", c.addr, "volume", "create", "v", "--size", size)
    for name in ("", "-x", ".x", "a/b", "a b", "x" * 64):
        t.fails("causeway", "--cluster", c.addr, "volume", "create", "--size", "4M", "--", name)
    assert c.json("volume", "ls")["volumes"] == []
    t.fails("causeway", "--cluster", c.addr, "volume", "import", "v", t.path("missing"), code=1,
            says="missing")
    for magic, kind in ((b"QFI\xfb", "qcow2"), (b"KDMV", "vmdk"), (b"vhdxfile", "vhdx"), (b"<<< QEMU", "vdi")):
        with open(t.path("image"), "wb") as f:
            f.write(magic + bytes(8192))
        t.fails("causeway", "--cluster", c.addr, "volume", "import", "v", t.path("image"), code=1,
                says=f"is a {kind} image, not a raw one; convert it first: qemu-img convert")
    assert c.json("volume", "ls")["volumes"] == []
    t.fails("causeway", "--cluster", c.addr, "volume", "create", "v", "--size", "4M", "--policy", "none",
            code=1, says="none")


def test_stores_that_cannot_be_used(t):
    c = t.cluster(store_size="512M")
    base = ["causewayd", "--host", "x", "--domain", "site=s", "--listen", "127.0.0.1:0", "--join", c.addr]
    t.fails(*base, "--store", t.path("missing"), code=1, says="missing", timeout=20)
    with open(t.path("garbage"), "wb") as f:
        f.write(random.Random(1).randbytes(1 << 20))
        f.truncate(512 << 20)
    t.fails(*base, "--store", t.path("garbage"), code=1, says="garbage", timeout=20)
    t.fails("causewayd", "--format", "--store", t.path("small") + ":16M", code=1, says="small")
    t.ok("causewayd", "--format", "--store", t.path("good") + ":512M")
    t.fails("causewayd", "--format", "--store", t.path("good"), code=1, says="force")
    with open(t.path("good"), "r+b") as f:
        f.truncate(300 << 20)
    t.fails(*base, "--store", t.path("good"), code=1, says="good", timeout=20)


def test_store_of_another_cluster_is_refused(t):
    a = t.cluster("onprem:1", "512M")
    b = t.cluster("onprem:1", "512M")
    a.local("down")
    shutil.copy(os.path.join(a.dir, "onprem-1", "store-0"), t.path("foreign"))
    r = t.run("causewayd", "--host", "y", "--domain", "site=s", "--listen", "127.0.0.1:0", "--join", b.addr,
              "--store", t.path("foreign"), timeout=20)
    assert r.code == 1 and "cluster" in (r.err + r.out).lower(), str(r)


def test_port_in_use(t):
    c = t.cluster("onprem:1", "512M")
    t.ok("causewayd", "--format", "--store", t.path("s") + ":512M")
    t.fails("causewayd", "--host", "x", "--domain", "site=s", "--listen", c.addr, "--join", c.addr,
            "--store", t.path("s"), code=1, says=c.addr.split(":")[1], timeout=20)


def ports_of(c):
    """Every TCP port that a process of the cluster listens on."""
    inodes = set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as f:
                if c.dir.encode() not in f.read():
                    continue
            for fd in os.listdir(f"/proc/{entry}/fd"):
                link = os.readlink(f"/proc/{entry}/fd/{fd}")
                if link.startswith("socket:["):
                    inodes.add(link[8:-1])
        except OSError:
            continue
    ports = set()
    with open("/proc/net/tcp") as f:
        for line in f.readlines()[1:]:
            w = line.split()
            if w[3] == "0A" and w[9] in inodes:
                ports.add(int(w[1].split(":")[1], 16))
    return sorted(ports)


def test_garbage_on_every_port(t):
    c = t.cluster(store_size="512M")
    c.admin("volume", "create", "v", "--size", "16M")
    server = t.nbd(c)
    n = Nbd(server.sock, "v")
    n.write(0, b"1" * 4096)
    rng = random.Random(2)
    ports = ports_of(c)
    assert len(ports) >= 4, ports
    wire_magic = struct.pack("<I", 0x31575743)
    for port in ports:
        for text in (b"", b"\x00", b"GET / HTTP/1.0\r\n\r\n", rng.randbytes(64), rng.randbytes(5000),
                     wire_magic + rng.randbytes(60), wire_magic + b"\x01\x01" + b"\xff" * 58,
                     wire_magic + b"\x01\x02\x00\x00\xff\xff\xff\xff" + bytes(52)):
            s = socket.create_connection(("127.0.0.1", port), 5)
            s.settimeout(0.05)
            try:
                s.sendall(text)
                s.recv(100)
            except OSError:
                pass
            s.close()
    for i in range(64):
        n.write(i * 4096, bytes([i]) * 4096)
    assert n.read(8192, 4096) == b"\x02" * 4096
    n.close()
    assert all(h["state"] == "up" for h in c.json("host", "ls")["hosts"])
    c.admin("volume", "verify", "v")


def test_nbd_clients_that_misbehave(t):
    c = t.cluster(store_size="512M")
    c.admin("volume", "create", "v", "--size", "16M")
    server = t.nbd(c)
    good = Nbd(server.sock, "v")
    good.write(0, b"g" * 4096)
    rng = random.Random(3)
    for cut in (0, 1, 3, 10, 28, 28 + 100, 28 + 4095):
        bad = Nbd(server.sock, "v")
        request = struct.pack(">IHHQQI", 0x25609513, 0, 1, 1, 8192, 4096) + b"h" * 4096
        bad.s.sendall(request[:cut])
        bad.s.close()
    for _ in range(20):
        bad = Nbd(server.sock, "v")
        bad.s.sendall(rng.randbytes(200))
        bad.s.close()
    bad = Nbd(server.sock, "v")
    bad.s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 1, 1, 0, 0xffffffff))
    bad.s.close()
    for _ in range(5):
        s = socket.socket(socket.AF_UNIX)
        s.connect(server.sock)
        s.sendall(rng.randbytes(300))
        s.close()
    lazy = Nbd(server.sock, "v")
    for i in range(256):
        try:
            lazy.s.settimeout(1)
            lazy.send(0, 0, 1 << 20)
        except OSError:
            break
    for kind, offset, length in ((0, 16 << 20, 4096), (0, (16 << 20) - 4096, 8192), (1, 1 << 62, 4096),
                                 (4, 1 << 63, 4096), (99, 0, 4096)):
        handle = good.send(kind, offset, length, b"z" * length if kind == 1 else b"")
        got, error, _ = good.recv()
        assert got == handle and error in (22, 28, 75, 95), (kind, error)
    assert good.read(0, 4096) == b"g" * 4096
    assert good.read(8192, 4096) in (bytes(4096), b"h" * 4096)
    lazy.s.close()
    good.close()
    try:
        Nbd(server.sock, "missing")
        raise Failed("an export that does not exist was opened")
    except NbdError as e:
        assert "missing" in str(e), e
    assert server.poll() is None
    assert t.stop(server) == 0


def test_nbd_starts_before_the_cluster(t):
    c = t.cluster("onprem:1", "512M")
    c.admin("policy", "create", "one", "copies=1")
    c.admin("volume", "create", "v", "--size", "16M", "--policy", "one")
    c.local("kill", "all")
    server = t.nbd(c)
    c.up()
    def opened():
        try:
            Nbd(server.sock, "v").close()
            return True
        except (NbdError, OSError):
            return False
    wait_for("the export opens", opened, 60, 0.5)
    assert t.stop(server) == 0


harness.main(globals())
