#!/usr/bin/env python3
"""Real processes, real faults: nothing that was acknowledged is lost."""
import random
import signal
import time
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import Failed, wait_for

from load import Load
from nbd import READ, WRITE, Nbd, NbdError
from rot import flip


def make(t, size="64M", store="1G"):
    c = t.cluster(store_size=store)
    c.admin("volume", "create", "v", "--size", size)
    return c, t.nbd(c)


def check(load, sock):
    wrong = load.verify(sock, "v")
    if wrong:
        raise Failed(f"{len(wrong)} blocks are wrong: {wrong[:5]}")


def test_host_killed_under_load(t):
    c, server = make(t)
    load = Load(server.sock, "v", 8192).start()
    wait_for("writes", lambda: load.n_acked > 2000)
    c.local("kill", "onprem-1")
    before = load.n_acked
    wait_for("writes go on without the host", lambda: load.n_acked > before + 2000, 15)
    c.local("start", "onprem-1")
    c.wait_full("v")
    load.stop()
    assert not load.errors, load.errors
    check(load, server.sock)
    c.admin("volume", "verify", "v")


def test_short_restart_needs_no_resync(t):
    c, server = make(t)
    load = Load(server.sock, "v", 8192).start()
    wait_for("writes", lambda: load.n_acked > 1000)
    cfg = c.volume("v")["shards"][0].get("cfg")
    c.local("kill", "onprem-2")
    c.local("start", "onprem-2")
    before = load.n_acked
    wait_for("writes go on", lambda: load.n_acked > before + 2000, 15)
    load.stop()
    assert not load.errors, load.errors
    assert c.volume("v")["shards"][0].get("cfg") == cfg, "a short restart changed the configuration"
    c.wait_full("v")
    check(load, server.sock)


def test_acknowledged_in_memory(t):
    """ack=replicated: a killed daemon and a killed owner, one after the other, lose nothing."""
    c = t.cluster(store_size="1G")
    c.admin("policy", "create", "fast", "--ack", "replicated")
    c.admin("volume", "create", "v", "--size", "64M", "--policy", "fast")
    server = t.nbd(c)
    load = Load(server.sock, "v", 8192, depth=16).start()
    wait_for("writes", lambda: load.n_acked > 2000)
    c.local("kill", "onprem-1")
    before = load.n_acked
    wait_for("writes go on without the host", lambda: load.n_acked > before + 2000, 15)
    server.send_signal(signal.SIGKILL)
    server.wait()
    load.stop()
    c.local("start", "onprem-1")
    server = t.nbd(c)
    c.wait_full("v")
    check(load, server.sock)
    c.admin("volume", "verify", "v")


def test_everything_killed_at_once(t):
    c, server = make(t)
    load = Load(server.sock, "v", 8192, depth=32).start()
    wait_for("writes", lambda: load.n_acked > 3000)
    c.local("kill", "all")
    server.send_signal(signal.SIGKILL)
    server.wait()
    load.stop()
    c.up()
    server = t.nbd(c)
    wait_for("the volume serves again", lambda: try_open(server.sock), 60, 0.5)
    check(load, server.sock)
    c.wait_full("v")
    disks = wait_for("all disks are heard", lambda: heard(c), 30)
    assert any(d["start_batches"] > 0 for d in disks), disks  # the log was replayed
    shown = c.admin("disk", "show", disks[0]["host"] + "/" + disks[0]["name"]).out
    assert "batches replayed" in shown and "layers    1\n" in shown, shown
    c.admin("volume", "verify", "v")


def heard(c):
    """The disks, once each of their hosts said how its store started."""
    disks = c.json("disk", "ls")["disks"]
    return all(d["start_ns"] > 0 for d in disks) and disks


def try_open(sock):
    try:
        Nbd(sock, "v", timeout=60).close()
        return True
    except (NbdError, OSError):
        return False


def test_server_killed_and_another_takes_over(t):
    c, server = make(t)
    load = Load(server.sock, "v", 8192).start()
    wait_for("writes", lambda: load.n_acked > 1000)
    server.send_signal(signal.SIGKILL)
    server.wait()
    load.stop()
    server = t.nbd(c)
    wait_for("takeover", lambda: try_open(server.sock), 20, 0.2)
    check(load, server.sock)
    first = load.verify(server.sock, "v")
    assert first == load.verify(server.sock, "v") == []


def test_row_04_a_paused_owner_is_fenced(t):
    c, server = make(t)
    load = Load(server.sock, "v", 1024).start()
    late = Nbd(server.sock, "v")
    wait_for("writes", lambda: load.n_acked > 500)
    server.send_signal(signal.SIGSTOP)
    other = t.nbd(c)
    wait_for("the other server takes over", lambda: try_open(other.sock), 30, 0.5)
    n = Nbd(other.sock, "v")
    for block in range(1024):
        n.write(block * 4096, b"\xee" * 4096)
    if os.environ.get("CW_TEST_LONG"):
        time.sleep(60)  # not a wait for something: the pause itself
    server.send_signal(signal.SIGCONT)
    load.stop()
    assert load.errors, "the fenced owner went on"
    for block in range(100):
        for args in ((WRITE, block * 4096, 4096, b"\xdd" * 4096), (READ, block * 4096, 4096)):
            late.send(*args)
            assert late.recv()[1] != 0, f"the fenced owner served {args[:2]}"
    late.close()
    for block in range(1024):
        assert n.read(block * 4096, 4096) == b"\xee" * 4096, block
    n.close()
    c.wait_full("v")
    c.admin("volume", "verify", "v")


def test_two_hosts_away_suspends_and_resumes(t):
    c = t.cluster()
    c.admin("policy", "create", "strict", "copies=3", "min-insync=2", "degrade=off")
    c.admin("volume", "create", "v", "--size", "64M", "--policy", "strict")
    server = t.nbd(c)
    load = Load(server.sock, "v", 4096).start()
    wait_for("writes", lambda: load.n_acked > 500)
    c.local("kill", "onprem-1")
    c.local("kill", "onprem-2")
    wait_for("suspended", lambda: c.protection("v") == "suspended", 30)
    stalled = load.n_acked
    time.sleep(1)  # not a wait for something: an ack in this second would be one below min-insync
    assert load.n_acked == stalled
    c.local("start", "onprem-1")
    wait_for("resumed", lambda: load.n_acked > stalled + 500, 60)
    c.local("start", "onprem-2")
    c.wait_full("v")
    load.stop()
    assert not load.errors, load.errors
    check(load, server.sock)


def test_reformatted_store_under_load_is_a_new_copy(t):
    c, server = make(t)
    load = Load(server.sock, "v", 8192).start()
    wait_for("writes", lambda: load.n_acked > 1000)
    c.local("kill", "onprem-2")
    store = os.path.join(c.dir, "onprem-2", "store-0")
    wait_for("the dead process's lock is gone", lambda: t.run(
        "causewayd", "--format", "--force", "--store", store).code == 0, 15, 0.2)
    c.local("start", "onprem-2")
    wait_for("the empty copy is not taken for a full one", lambda: c.protection("v") != "full", 20)
    c.wait_full("v")
    load.stop()
    assert not load.errors, load.errors
    check(load, server.sock)
    c.admin("volume", "verify", "v")


def test_flipped_byte_is_found_and_repaired(t):
    c = t.cluster()
    c.admin("volume", "create", "v", "--size", "32M")
    server = t.nbd(c)
    rng = random.Random(7)
    blocks = [rng.randbytes(4096) for _ in range(512)]
    n = Nbd(server.sock, "v")
    for i, data in enumerate(blocks):
        n.write(i * 4096, data)
    n.close()
    t.stop(server)
    c.local("down")
    for host in ("onprem-1", "onprem-2"):
        flip(os.path.join(c.dir, host, "store-0"), [blocks[3], blocks[400]])
    c.up()
    server = t.nbd(c)
    wait_for("serves", lambda: try_open(server.sock), 60, 0.5)
    n = Nbd(server.sock, "v")
    for i, data in enumerate(blocks):
        assert n.read(i * 4096, 4096) == data, f"block {i} is wrong"
    n.close()
    t.stop(server)
    wait_for("what was found is repaired", lambda: c.try_admin("volume", "verify", "v").code == 0, 10)


def test_verify_alone_finds_a_flipped_byte(t):
    c = t.cluster()
    c.admin("volume", "create", "v", "--size", "32M")
    server = t.nbd(c)
    data = random.Random(8).randbytes(1 << 20)
    n = Nbd(server.sock, "v")
    n.write(0, data)
    n.close()
    t.stop(server)
    c.local("down")
    flip(os.path.join(c.dir, "aws-1", "store-0"), [data[4096 * 77:4096 * 78]])
    c.up()
    c.wait_full("v")
    r = c.try_admin("volume", "verify", "v")
    if r.code == 0:  # the store's own work in the background met it first
        wait_for("that is told", lambda: next(
            d["csum_errors"] for d in c.json("disk", "ls")["disks"] if d["host"] == "aws-1") == 1, 10)
    else:
        assert r.code == 1 and "1" in r.out + r.err, r
    wait_for("it is repaired", lambda: c.try_admin("volume", "verify", "v").code == 0, 10)
    c.admin("volume", "export", "v", t.path("out"))
    with open(t.path("out"), "rb") as f:
        assert f.read(1 << 20) == data


def test_a_full_store_suspends_and_a_removed_volume_resumes(t):
    c = t.cluster(store_size="512M")
    c.admin("volume", "create", "filler", "--size", "400M")
    c.admin("volume", "create", "v", "--size", "400M")
    server = t.nbd(c)
    f = Nbd(server.sock, "filler")
    rng = random.Random(9)
    chunk = rng.randbytes(1 << 20)
    for i in range(250):
        f.write(i << 20, chunk[i:] + chunk[:i])
    f.close()
    n = Nbd(server.sock, "v")
    sent = 0
    n.s.settimeout(0.2)
    handles = set()
    stalled_at = None
    end = time.monotonic() + 120
    while time.monotonic() < end and sent < 400:
        handles.add(n.send(1, sent << 20, 1 << 20, chunk[sent:] + chunk[:sent]))
        sent += 1
        try:
            n.s.settimeout(8)
            got, error, _ = n.recv()
            assert error == 0, error
            handles.discard(got)
        except TimeoutError:
            stalled_at = sent
            break
    assert stalled_at, "the stores never filled"
    wait_for("it is told", lambda: c.json("status")["health"] != "ok", 10)
    c.admin("volume", "ls")
    wait_for("filler is released", lambda: c.try_admin("volume", "rm", "filler", "--now").code == 0, 20)
    n.s.settimeout(60)
    while handles:
        got, error, _ = n.recv()
        assert error == 0, error
        handles.discard(got)
    for i in (0, stalled_at // 2, stalled_at - 1):
        assert n.read(i << 20, 1 << 20) == chunk[i:] + chunk[:i], i
    n.close()


harness.main(globals())
