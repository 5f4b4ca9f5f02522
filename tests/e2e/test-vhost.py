#!/usr/bin/env python3
"""causeway-vhost with a cluster behind it and a driver of our own before it: requests of every kind, both forms of
rings, nonsense, a back end that is killed with requests under way, hosts that die, a volume that grows."""
import os
import random
import signal
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
import vhost
from harness import wait_for
from vhost import Vhost, VhostError

SIZE = 64 << 20


def start(t, cluster, *more, volume="v"):
    """Waits until it serves."""
    sock = t.path("vhost.sock")
    p = t.spawn("causeway-vhost", "--cluster", cluster.addr, "--socket", sock, "--volume", volume, *more)
    p.sock = sock
    before = os.path.getsize(p.log)
    wait_for("the vhost socket", lambda: p.poll() is not None or "serving on" in open(p.log).read()[before:], 60)
    if p.poll() is not None:
        raise harness.Failed(f"causeway-vhost ended: {open(p.log).read()[-2000:]}")
    return p


def serve(t, *more):
    c = t.cluster(store_size="512M")
    c.admin("volume", "create", "v", "--size", str(SIZE))
    return c, start(t, c, *more)


def kill(p):
    p.send_signal(signal.SIGKILL)
    p.wait()


def exercise(v, seed):
    """Random requests, several under way, against a copy of the volume in memory."""
    rng = random.Random(seed)
    disk = bytearray(SIZE)
    for _ in range(60):
        off, n = rng.randrange(0, 2000) * 512, rng.choice([512, 1024, 4096, 8192, 20480, 65536, 1 << 20])
        data = rng.randbytes(n)
        v.write(off, data)
        disk[off:off + n] = data
        off, n = rng.randrange(0, 2000) * 512, rng.choice([512, 4096, 12288, 1 << 20])
        assert v.read(off, n) == bytes(disk[off:off + n]), f"at {off}, {n} bytes"
    assert v.flush() == vhost.OK
    for kind, flags in ((vhost.DISCARD, 0), (vhost.ZEROES, 1), (vhost.ZEROES, 0)):
        off, n = rng.randrange(0, 400) * 4096, rng.randrange(1, 20) * 4096
        assert v.ranges(kind, (off, n), flags=flags) == vhost.OK
        disk[off:off + n] = bytes(n)
    assert v.ranges(vhost.ZEROES, (512, 1024)) == vhost.OK
    disk[512:1536] = bytes(1024)
    return disk


def check(v, disk, n=2 << 20):
    for off in range(0, n, 1 << 20):
        assert v.read(off, 1 << 20) == bytes(disk[off:off + (1 << 20)]), f"at {off}"


def test_requests(t):
    c, p = serve(t)
    for packed in (False, True):
        for indirect in (False, True):
            v = Vhost(p.sock, packed=packed, indirect=indirect, event_idx=not indirect)
            conf = v.config()
            assert conf["capacity"] == SIZE // 512 and conf["blk_size"] == 512 and conf["seg_max"] == 126, conf
            assert v.id() == "v", v.id()
            c.admin("volume", "show", "v")
            assert v.ranges(vhost.ZEROES, (0, SIZE), flags=1) == vhost.OK
            check(v, exercise(v, packed * 2 + indirect))
            v.hang_up()
    assert t.stop(p) == 0
    assert c.json("volume", "show", "v")["volume"]["size_bytes"] == SIZE


def test_queues_with_much_under_way(t):
    c, p = serve(t, "--queues", "4")
    v = Vhost(p.sock, queues=4)
    assert v.queue_max == 4 and v.config()["num_queues"] == 4
    rng, blocks = random.Random(1), {}
    for turn in range(20):
        for q in range(4):
            for _ in range(len(v.queues[q].free)):
                at = rng.randrange(0, 1000) * 4 + q  # queues do not meet
                if any(at == b for b, _ in v.queues[q].__dict__.setdefault("under", {}).values()):
                    continue
                data = rng.randbytes(4096)
                v.queues[q].under[v.submit(vhost.OUT, at * 8, data, queue=q, kick=False)] = at, data
            v.kick(v.queues[q])
        for q in range(4):
            while v.queues[q].busy:
                slot, status, _ = v.wait(q)
                at, data = v.queues[q].under.pop(slot)
                assert status == vhost.OK
                blocks[at] = data
    for at, data in blocks.items():
        assert v.read(at * 4096, 4096, queue=at % 4) == data
    v.hang_up()
    assert t.stop(p) == 0


def test_what_is_wrong_is_refused(t):
    c, p = serve(t)
    v = Vhost(p.sock)
    assert v.do(vhost.IN, SIZE // 512, n=512)[0] == vhost.IOERR
    assert v.do(vhost.OUT, SIZE // 512 - 1, bytes(1024))[0] == vhost.IOERR
    assert v.do(vhost.OUT, 1 << 60, bytes(1024))[0] == vhost.IOERR
    assert v.do(vhost.OUT, 0, bytes(100))[0] == vhost.IOERR
    assert v.do(77)[0] == vhost.UNSUPP
    assert v.ranges(vhost.DISCARD, (0, 4096), flags=1) == vhost.UNSUPP
    assert v.ranges(vhost.DISCARD, (SIZE, 4096)) == vhost.IOERR
    second = socket.socket(socket.AF_UNIX)
    second.settimeout(10)
    second.connect(p.sock)
    assert second.recv(1) == b"", "a second front end was taken"
    v.write(0, b"x" * 512)
    assert not v.tell(vhost.SET_VRING_NUM, struct.pack("<II", 99, 128))
    assert not v.tell(200)
    v.hang_up()
    for garbage in (b"GET / HTTP/1.0\r\n\r\n" * 10, struct.pack("<III", 1, 1, 1 << 30), struct.pack("<III", 1, 2, 0),
                    struct.pack("<III", 999, 1, 0)):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(10)
        s.connect(p.sock)
        s.sendall(garbage)
        try:
            assert s.recv(1) == b"", garbage
        except ConnectionResetError:
            pass
    v = Vhost(p.sock)
    v.u16(v.queues[0].avail + 2, 5000)  # the index jumps: that ring is lost, the back end is not
    v.kick(v.queues[0])
    wait_for("the complaint", lambda: "available index jumped" in open(p.log).read())
    v.hang_up()
    v = Vhost(p.sock)
    assert v.read(0, 512) == b"x" * 512
    os.ftruncate(v.fd, 4096)  # the guest's memory goes
    v.kick(v.queues[0])
    try:
        while v.s.recv(100):
            pass
        assert "became shorter" in open(p.log).read()
    except VhostError:
        pass
    v.hang_up()
    v = Vhost(p.sock)
    assert v.read(0, 512) == b"x" * 512
    v.hang_up()
    fds = len(os.listdir(f"/proc/{p.pid}/fd"))
    for _ in range(20):
        Vhost(p.sock).hang_up()
    wait_for("descriptors are closed", lambda: len(os.listdir(f"/proc/{p.pid}/fd")) <= fds)
    assert t.stop(p) == 0


def test_stop_and_start_of_a_ring(t):
    c, p = serve(t)
    for packed in (False, True):
        v = Vhost(p.sock, packed=packed)
        for i in range(50):
            v.write(i * 4096, bytes([i]) * 4096)
        q = v.queues[0]
        base = v.stop_queue(q)
        if packed:
            assert base == q.used_at | q.used_wrap << 15 | q.used_at << 16 | q.used_wrap << 31
        else:
            assert base == 50
        v.start_queue(q)
        for i in range(50):
            assert v.read(i * 4096, 4096) == bytes([i]) * 4096
        v.hang_up()
    assert t.stop(p) == 0


def test_read_only_and_large_blocks(t):
    c, p = serve(t, "--read-only", "--block-size", "4096")
    v = Vhost(p.sock)
    assert v.offered >> vhost.F_RO & 1 and not v.offered >> vhost.F_DISCARD & 1
    assert v.config()["blk_size"] == 4096
    assert v.do(vhost.OUT, 0, bytes(4096))[0] == vhost.IOERR
    assert v.read(0, 4096) == bytes(4096)
    v.hang_up()
    assert t.stop(p) == 0


def play_kill(t, packed):
    """Writes under way, the back end is killed and started again: every write comes back once, in the end all of it
    can be read. Also a host dies."""
    c, p = serve(t)
    v = Vhost(p.sock, packed=packed, queues=2, timeout=60)
    rng, want, under = random.Random(packed), {}, {}

    def fill():
        for q in (0, 1):
            while v.queues[q].free:
                at = rng.randrange(0, 500) * 2 + q
                if at in [b for b, _ in under.values()]:
                    continue
                data = rng.randbytes(4096)
                under[q, v.submit(vhost.OUT, at * 8, data, queue=q, kick=False)] = at, data
            v.kick(v.queues[q])

    def drain(keep):
        for q in (0, 1):
            while len(v.queues[q].busy) > keep:
                slot, status, _ = v.wait(q)
                at, data = under.pop((q, slot))
                assert status == vhost.OK
                want[at] = data

    for turn in range(3):
        for _ in range(10):
            fill()
            drain(rng.randrange(0, 20))
        if turn < 2:  # writes wait for this host
            c.local("pause", "onprem-2")
        fill()
        if turn == 2:  # an upgrade: what is under way is answered, what is not taken stays
            assert t.stop(p) == 0
        else:
            wait_for("requests are in flight", v.in_flight)
            kill(p)
            c.local("resume", "onprem-2")
        v.hang_up()
        if turn == 1:
            c.local("kill", "onprem-1")
        p = start(t, c)
        v.connect()
        drain(0)
        if turn < 2:
            with open(p.log, encoding="utf-8") as f:
                assert "were in flight and are made again" in f.read(), f"turn {turn}"
    for at, data in want.items():
        assert v.read(at * 4096, 4096, queue=at % 2) == data, f"block {at}"
    v.hang_up()
    assert t.stop(p) == 0


def test_killed_with_requests_in_flight_split(t):
    play_kill(t, False)


def test_killed_with_requests_in_flight_packed(t):
    play_kill(t, True)


def test_resize_reaches_the_guest(t):
    c, p = serve(t)
    v = Vhost(p.sock)
    assert v.do(vhost.IN, SIZE // 512, n=512)[0] == vhost.IOERR
    c.admin("volume", "resize", "v", "--size", str(2 * SIZE))
    v.news.settimeout(30)
    assert struct.unpack("<III", v.news.recv(12)) == (2, 1, 0)
    assert v.config()["capacity"] == 2 * SIZE // 512
    assert v.do(vhost.IN, SIZE // 512, n=512)[0] == vhost.OK
    v.hang_up()
    assert t.stop(p) == 0


def test_taken_over_while_in_use(t):
    """The guest gets errors: its disk is somebody else's now. The back end that was fenced ends with its front end."""
    c, p = serve(t)
    v = Vhost(p.sock)
    v.write(0, b"a" * 4096)
    other = t.spawn("causeway-vhost", "--cluster", c.addr, "--socket", t.path("other.sock"), "--volume", "v", "--force",
                    log=t.path("other.log"))
    wait_for("the other serves", lambda: "serving on" in open(other.log).read(), 60)
    w = Vhost(t.path("other.sock"))
    assert v.do(vhost.OUT, 0, b"b" * 4096)[0] == vhost.IOERR
    wait_for("it is known", lambda: "every request fails" in open(p.log).read())
    assert v.do(vhost.IN, 0, n=4096)[0] == vhost.IOERR and v.flush() == vhost.IOERR
    assert w.read(0, 4096) == b"a" * 4096
    assert p.poll() is None
    v.hang_up()
    wait_for("the first ends", lambda: p.poll() is not None, 60)
    assert p.returncode == 3
    assert open(p.log).read().count("not served") == 1
    w.hang_up()
    assert t.stop(other) == 0


def test_front_end_that_reconnects(t):
    """What was under way when the connection broke comes back once, over the next one."""
    c, p = serve(t)
    for packed in (False, True):
        v = Vhost(p.sock, packed=packed)
        for turn in range(20):
            data = {}
            while v.queues[0].free:
                data[v.submit(vhost.OUT, len(data) * 8, bytes([turn, len(data)]) * 2048, kick=False)] = len(data)
            v.kick(v.queues[0])
            if turn % 2:
                v.wait()
            v.s.close()
            v.connect()
            while v.queues[0].busy:
                assert v.wait()[1] == vhost.OK
            assert v.reap() is None
            for at in range(len(data)):
                assert v.read(at * 4096, 4096) == bytes([turn, at]) * 2048
        v.hang_up()
    assert t.stop(p) == 0


def test_options(t):
    t.fails("causeway-vhost", code=2, says="--cluster")
    t.fails("causeway-vhost", "--cluster", "127.0.0.1:1", code=2, says="--socket")
    t.fails("causeway-vhost", "--cluster", "127.0.0.1:1", "--socket", "x", code=2, says="--volume")
    t.fails("causeway-vhost", "--block-size", "1024", code=2, says="512 or 4096")
    assert "block" in t.ok("causeway-vhost", "--print-capabilities").out
    c = t.cluster(store_size="512M")
    t.fails("causeway-vhost", "--cluster", c.addr, "--socket", t.path("s"), "--volume", "none", code=1, says="none")
    assert not os.path.exists(t.path("s"))


harness.main(globals())
