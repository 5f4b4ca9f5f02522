#!/usr/bin/env python3
"""The network of real processes breaks, link by link (tests/lib/proxy.py): rows of the acceptance catalogue."""
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import Failed, wait_for

from daemons import Daemons
from load import Load
from nbd import READ, WRITE, Nbd, NbdError
from proxy import NAME, Net
from rot import find

BLOCK = 4096
HOSTS = ("h1", "h2", "h3")


def make(t, *policy):
    """Three hosts, a copy of volume v on each of them."""
    net = Net(t)
    c = Daemons(t, net)
    for host in HOSTS:
        c.start(host, [c.format(host + ".store")])
    if policy:
        c.admin("policy", "create", "p", *policy)
    c.admin("volume", "create", "v", "--size", "64M", *(("--policy", "p") if policy else ()))
    return c, net


def some(seed):
    return random.Random(seed).randbytes(BLOCK)


def opened(sock, timeout=30):
    """A connection to the volume, once it is served there."""
    def attempt():
        try:
            return Nbd(sock, "v", timeout=60)
        except (NbdError, OSError):
            return None
    return wait_for(f"{os.path.basename(sock)} serves", attempt, timeout, 0.2)


def goes_on(load, n=300, timeout=20):
    before = load.n_acked
    wait_for("writes go on", lambda: load.n_acked > before + n, timeout)


def settled(c, load, sock):
    """Nothing failed, what was acknowledged is there, and on every copy."""
    load.stop()  # first, see in_sync
    assert not load.errors, load.errors
    c.wait_full("v")
    wrong = load.verify(sock, "v")
    if wrong:
        raise Failed(f"{len(wrong)} blocks are wrong: {wrong[:5]}")
    c.admin("volume", "verify", "v")


def is_fenced(n):
    """Every request of an owner that was replaced fails; those that waited for their answers as well."""
    for i in range(20):
        for kind, data in ((WRITE, some(9)), (READ, b"")):
            handle = n.send(kind, i * BLOCK, BLOCK, data)
            while True:
                got, error, _ = n.recv()
                assert error != 0, f"request {got} of the old owner was served"
                if got == handle:
                    break


def block_on(t, host, at):
    """A block of v as it is on the media of a host that was stopped."""
    return subprocess.run([os.path.join(harness.BIN, "causeway-store"), "dump", t.path(host + ".store"), "block",
                           "1/0", str(at), "--raw"], stdout=subprocess.PIPE, check=True).stdout


def all_same(c, t, at, data):
    """Every copy of v holds these data in block `at`: by what is on the media. All is down afterwards."""
    c.wait_full("v")
    c.admin("volume", "verify", "v")
    for host in HOSTS:
        t.stop(c.process(host))
        out = block_on(t, host, at)
        assert out == data, f"block {at} on {host}: {out[:16]}.."


# ---- the network itself ----

class Echo:
    """Says what is said to it, until it is closed."""

    def __init__(self):
        self.s = socket.create_server(("127.0.0.1", 0))
        self.addr = "127.0.0.1:%d" % self.s.getsockname()[1]
        threading.Thread(target=self.work, daemon=True).start()

    def work(self):
        while True:
            s, _ = self.s.accept()
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        try:
            while data := s.recv(1 << 16):
                s.sendall(data)
        except OSError:
            pass
        s.close()


def dialled(addr, timeout=10):
    host, port = addr.split(":")
    return socket.create_connection((host, int(port)), timeout)


def exactly(s, n):
    data = b""
    while len(data) < n:
        part = s.recv(n - len(data))
        assert part, "the connection ended"
        data += part
    return data


def hears_nothing(s):
    """For this moment; what matters is what is heard later."""
    s.settimeout(0.2)
    try:
        return s.recv(1) is None
    except TimeoutError:
        s.settimeout(10)
        return True


def is_reset(s):
    try:
        return s.recv(1) == b""
    except ConnectionResetError:
        return True


def is_refused(addr):
    try:
        return is_reset(dialled(addr))
    except ConnectionResetError:
        return True  # before it was told that it had been accepted


def test_the_network_itself(t):
    net = Net(t)
    addr = net.link("echo", Echo().addr)
    s = dialled(addr)
    big = os.urandom(3 << 20)
    threading.Thread(target=s.sendall, args=(big,)).start()
    assert exactly(s, len(big)) == big
    assert net.seen("*", "echo")["to"] == net.seen("*", "echo")["from"] == len(big)

    for way in ("to", "from"):
        net.set("*", "echo", way, hold=True)
        s.sendall(b"late")
        wait_for("it is held", lambda: net.seen("*", "echo")["held_" + way] == 4)
        assert hears_nothing(s)
        net.heal()
        assert exactly(s, 4) == b"late", way

    net.set("*", "echo", hold=True)
    new = dialled(addr)  # accepted, and nothing more
    new.sendall(b"hello")
    assert hears_nothing(new)
    net.heal()
    assert exactly(new, 5) == b"hello"

    net.set("*", "echo", delay_ms=150)
    begun = time.monotonic()
    s.sendall(b"slow")
    assert exactly(s, 4) == b"slow" and time.monotonic() - begun >= 0.3
    net.heal()
    net.set("*", "echo", "to", rate=100000)
    begun = time.monotonic()
    s.sendall(big[:50000])
    assert exactly(s, 50000) == big[:50000] and time.monotonic() - begun >= 0.3
    net.heal()

    net.set("*", "echo", "to", refuse=True)
    assert is_refused(addr)
    net.heal()
    net.set("*", "echo", "to", hold=True)
    s.sendall(b"lost")
    assert net.cut("*", "echo") == 2
    assert is_reset(s) and is_reset(new)
    net.heal()
    s = dialled(addr)
    s.sendall(b"found")
    assert exactly(s, 5) == b"found"


# ---- owners ----

def written_on_h1_only(t, c, net, new):
    """Owner a, which cannot tell anybody, died with a write of block 0 on one copy; old data, what it wrote before."""
    a = c.nbd("a")
    n = opened(a.sock)
    old = some(1)
    n.write(0, old)
    for other in ("h2", "h3", "manager"):
        net.set("a", other, "to", hold=True)
    n.send(WRITE, 0, BLOCK, new)
    wait_for("the first copy has it", lambda: find(t.path("h1.store"), new))
    wait_for("it is on its way to the others",
             lambda: all(net.seen("a", x)["held_to"] >= BLOCK for x in ("h2", "h3")))
    assert hears_nothing(n.s), "one copy was enough for an answer"
    a.send_signal(signal.SIGKILL)
    a.wait()
    return old


def test_row_01_an_owner_dies_with_a_write_on_one_copy(t):
    c, net = make(t)
    new = some(2)
    old = written_on_h1_only(t, c, net, new)
    b = c.nbd("b")
    n = opened(b.sock)
    first = n.read(0, BLOCK)
    assert first in (old, new)
    net.heal()  # what the dead owner had sent arrives now
    wait_for("it arrived", lambda: net.seen("a", "*")["held_to"] == 0)
    n.write(BLOCK, some(3))
    assert n.read(0, BLOCK) == first
    n.close()
    t.stop(b)
    n = opened(c.nbd("c").sock)
    assert n.read(0, BLOCK) == first
    n.close()
    all_same(c, t, 0, first)


def test_row_02_and_that_copy_is_away_during_takeover(t):
    c, net = make(t)
    new = some(2)
    old = written_on_h1_only(t, c, net, new)
    c.kill("h1")
    n = opened(c.nbd("b").sock)
    assert c.copy("v", "h1")["state"] != "INSYNC", "served before the lost tail was out"
    assert n.read(0, BLOCK) == old
    net.heal()
    c.start("h1")
    c.wait_full("v")
    assert n.read(0, BLOCK) == old
    n.close()
    all_same(c, t, 0, old)


def test_row_03_a_stalled_write_of_a_connection_that_is_gone(t):
    c, net = make(t)
    a = c.nbd("a")
    one, blocks = opened(a.sock), range(64)
    for x in (*HOSTS, "manager"):
        net.set("a", x, "to", hold=True)
    for i in blocks:
        one.send(WRITE, i * BLOCK, BLOCK, some(1000 + i))
    # one more of which only a part came
    one.s.sendall(b"\x25\x60\x95\x13\0\0\0\1" + b"\0" * 7 + b"\x63" + (64 * BLOCK).to_bytes(8, "big") +
                  BLOCK.to_bytes(4, "big") + b"part")
    wait_for("it is stalled", lambda: all(net.seen("a", x)["held_to"] >= BLOCK for x in HOSTS))
    one.s.close()
    two = Nbd(a.sock, "v")
    handles = [two.send(WRITE, i * BLOCK, BLOCK, some(2000 + i)) for i in blocks]
    net.heal()
    for _ in handles:
        assert two.recv()[1] == 0
    for i in blocks:
        assert two.read(i * BLOCK, BLOCK) == some(2000 + i), i
    assert two.read(64 * BLOCK, BLOCK) == b"\0" * BLOCK
    two.close()
    all_same(c, t, 5, some(2005))


def test_row_03_a_stalled_write_of_an_owner_that_was_replaced(t):
    c, net = make(t)
    one = opened(c.nbd("a").sock)
    one.write(0, some(1))
    for x in HOSTS:
        net.set("a", x, "to", hold=True)
    for _ in range(32):  # more than the next owner will have sent, or their numbers alone would refuse them
        one.send(WRITE, 0, BLOCK, some(2))
    wait_for("they are stalled", lambda: all(net.seen("a", x)["held_to"] >= 32 * BLOCK for x in HOSTS))
    two = opened(c.nbd("b", "--force").sock)
    two.write(0, some(3))
    net.heal()
    wait_for("they arrived", lambda: net.seen("a", "*")["held_to"] == 0)
    is_fenced(one)
    assert two.read(0, BLOCK) == some(3)
    two.close()
    all_same(c, t, 0, some(3))


def test_row_05_an_old_owner_with_one_copy_reads_nothing_old(t):
    c, net = make(t)
    one = opened(c.nbd("a", "--domain", "site=dc1,host=h1").sock)  # reads there, if it may
    one.write(0, some(1))
    net.part("a", "h2", "h3", "manager")
    for x in ("b", "h2", "h3", "manager"):
        net.part("h1", x)  # with a alone
    assert one.read(0, BLOCK) == some(1)  # within its lease, or it would wait
    two = opened(c.nbd("b", "--force").sock)
    assert c.copy("v", "h1")["state"] != "INSYNC"
    two.write(0, some(2))
    handle = one.send(READ, 0, BLOCK)
    assert hears_nothing(one.s), "a read was answered without a lease"
    net.heal()
    got, error, data = one.recv()
    assert got == handle and (error or data == some(2)), (error, data[:16])
    is_fenced(one)
    c.wait_full("v")
    assert two.read(0, BLOCK) == some(2)
    two.close()
    all_same(c, t, 0, some(2))


def cfg(c):
    return c.volume("v")["shards"][0]["cfg"]


def in_sync(c, host):
    """Or only slower than the others, as any copy may be for a while on a busy machine."""
    wait_for("the copy has it all", lambda: c.copy("v", host)["state"] in ("INSYNC", "LAGGING"), 60)


def changes(c, host):
    """Of the state of the copy there."""
    return [e["text"] for e in c.json("events")["events"] if e["code"] == "COPY_STATE" and f"{host}/" in e["text"]]


def waits(n, kind=WRITE):
    """A request that is not answered now, where the load does not write; its handle."""
    handle = n.send(kind, 8192 * BLOCK, BLOCK, some(7) if kind == WRITE else b"")
    assert hears_nothing(n.s), "it was answered"
    return handle


def answered(n, handle, timeout=60):
    n.s.settimeout(timeout)
    got, error, _ = n.recv()
    assert (got, error) == (handle, 0), (got, error)


def test_row_28_a_guest_changes_what_it_is_writing(t):
    """Every copy gets the same bytes, and checksums that fit, though they leave for one of them much later."""
    c, net = make(t)
    net.set("guest", "h3", "to", rate=20 << 20)
    guest = os.path.join(os.path.dirname(harness.BIN), "tests", "e2e", "bad-guest")
    t.ok(guest, c.join, "v", env={NAME: "guest"})
    assert net.seen("guest", "h3")["to"] > 16 << 20
    c.wait_full("v")
    c.admin("volume", "verify", "v")
    copies = set()
    for host in HOSTS:
        t.stop(c.process(host))
        copies.add(b"".join(block_on(t, host, i) for i in range(0, 1024, 61)))
    assert len(copies) == 1


# ---- copies and the manager ----

def loaded(t, c):
    a = c.nbd("a")
    opened(a.sock).close()
    load = Load(a.sock, "v", 2048, depth=4).start()
    goes_on(load)
    return a, load


def test_row_20_the_manager_is_cut_off_and_then_a_copy_dies(t):
    """Without a manager nothing changes; a copy that dies then is waited for, until it or the manager is back."""
    c, net = make(t, "copies=3", "min-insync=2")
    a, load = loaded(t, c)
    before = net.seen("*", "manager")["conns"]
    net.set("*", "manager", hold=True)
    wait_for("all noticed", lambda: net.seen("*", "manager")["conns"] >= before + 4, 30)
    before = cfg(c)
    goes_on(load, 1000)

    for back in ("copy", "manager"):
        c.kill("h2")
        n = Nbd(a.sock, "v")
        handle = waits(n)
        if back == "copy":
            c.start("h2", wait=False)
        else:
            net.heal()
        answered(n, handle)
        n.close()
        goes_on(load)
        if back == "copy":
            assert cfg(c) == before, "it changed without a manager"
    c.start("h2")
    settled(c, load, a.sock)


def passes(seconds):
    end = time.monotonic() + seconds
    wait_for("time passes", lambda: time.monotonic() > end, seconds + 5)


def is_down_for(seconds, net, i, meanwhile):
    """The link from a to h2, so long and as long as that takes; then it is up for half of that."""
    end = time.monotonic() + seconds
    net.set("a", "h2", hold=True)
    meanwhile()
    passes(max(end - time.monotonic(), 0))
    if i % 2:
        net.cut("a", "h2")  # what was on its way is lost, or arrives late
    net.heal()
    passes(seconds / 2)


def told(c, code):
    return [e["text"] for e in c.json("events")["events"] if e["code"] == code]


def test_row_23_a_link_that_flaps(t):
    """A guest waits for it a few times; then its copy is set aside, and stays so until the link is steady."""
    c, net = make(t)
    a, load = loaded(t, c)
    n = 0
    while not any("its link flaps" in x for x in changes(c, "h2")):
        assert n < 10, changes(c, "h2")
        is_down_for(2, net, n, lambda: None)
        goes_on(load, 20)
        n += 1
    assert n >= 3, changes(c, "h2")
    cause = wait_for("it is told", lambda: c.findings("VOLUME_REDUCED"), 10)[0]["cause"]
    assert "has a link that flaps" in cause, cause
    n = 0
    while not told(c, "DISK_FLAPS"):  # one during which the machine lets others wait as well is not counted
        assert n < 10, changes(c, "h2")
        is_down_for(1.6, net, n, lambda: goes_on(load))
        n += 1
    assert "no place elsewhere" in told(c, "DISK_FLAPS")[0]
    assert len(changes(c, "h2")) <= 6, changes(c, "h2")
    settled(c, load, a.sock)


def test_row_27_a_link_that_is_dead_one_way(t):
    """Only the owner does not reach the copy: it is ejected once, and tried again at longer and longer intervals."""
    c, net = make(t)
    a, load = loaded(t, c)
    net.set("a", "h2", "to", hold=True)
    wait_for("the copy is out", lambda: c.copy("v", "h2")["state"] != "INSYNC", 20)
    goes_on(load)
    passes(5)
    goes_on(load)
    assert c.is_up("h2") and 1 <= len(changes(c, "h2")) <= 3, changes(c, "h2")
    net.heal()
    settled(c, load, a.sock)


def resyncing(t):
    """Under load h3 takes up what it missed, slowly, from the other host that is named."""
    c, net = make(t)
    a, load = loaded(t, c)
    c.kill("h3")
    wait_for("the copy is out", lambda: c.copy("v", "h3")["state"] == "OUT", 20)
    n = Nbd(a.sock, "v")
    for i in range(16, 32):  # MiB; the load is in the first 8
        n.write(i << 20, random.Random(i).randbytes(1 << 20))
    n.close()
    net.set("h3", "*", "from", rate=2 << 20)
    c.start("h3")
    source = wait_for("data comes", lambda: next((x for x in HOSTS if net.seen("h3", x)["from"] > 2 << 20), None), 30)
    return c, net, a, load, source


def resynced(t, c, net, a, load):
    in_sync(c, "h3")
    goes_on(load)
    for host in HOSTS:
        if c.process(host).poll() is not None:
            c.start(host)
    n = Nbd(a.sock, "v")
    for i in range(16, 32):
        assert n.read(i << 20, 1 << 20) == random.Random(i).randbytes(1 << 20), i
    n.close()
    settled(c, load, a.sock)


def test_row_10_the_target_of_a_resync_dies(t):
    c, net, a, load, source = resyncing(t)
    c.kill("h3")
    c.start("h3")
    net.heal()
    resynced(t, c, net, a, load)


def test_row_12_the_source_of_a_resync_dies(t):
    c, net, a, load, source = resyncing(t)
    c.kill(source)
    net.heal()
    resynced(t, c, net, a, load)


def test_row_12_the_source_of_a_resync_falls_silent(t):
    """To its target only: their link looks alive."""
    c, net, a, load, source = resyncing(t)
    net.heal()
    net.set("h3", source, hold=True)
    resynced(t, c, net, a, load)


def test_row_13_the_answer_to_an_eject_is_lost(t):
    """And the copy that it was about comes back before anybody knows, and the manager with a fresh memory."""
    c, net = make(t)
    a, load = loaded(t, c)
    before = cfg(c)
    net.set("a", "manager", "from", hold=True)
    c.kill("h2")
    wait_for("it was ejected", lambda: c.copy("v", "h2")["state"] != "INSYNC", 30)
    n = Nbd(a.sock, "v")
    handle = waits(n)
    c.start("h2")
    c.manager.send_signal(signal.SIGKILL)
    c.manager.wait()
    net.cut("a", "manager")
    c.start_manager()
    net.heal()
    answered(n, handle)
    n.close()
    goes_on(load)
    assert cfg(c) > before
    settled(c, load, a.sock)


def test_bits_that_flip_on_their_way(t):
    """What is damaged on a link is never taken for data: the link ends, and the copy has what it should."""
    c, net = make(t)
    a, load = loaded(t, c)
    for host in ("h2", "h3"):
        net.set("a", host, flip=200000)
        wait_for("bits flipped", lambda: net.seen("a", host)["flips"] >= 2, 60)
        net.heal()
        in_sync(c, host)
    goes_on(load)
    settled(c, load, a.sock)


harness.main(globals())
