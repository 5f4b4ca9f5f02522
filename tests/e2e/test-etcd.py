#!/usr/bin/env python3
"""The control plane on etcd, with real processes: whoever dies, I/O goes on, one leads, nothing goes backwards."""
import os
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import Failed, wait_for

from etcd import MEMBERS, EtcdDaemons
from load import Load
from nbd import Nbd
from proxy import Net

HOSTS = ("h1", "h2", "h3")


class Watch:
    """Asks for the epoch and the generation of v all the time: neither ever falls."""

    def __init__(self, c):
        self.c, self.wrong, self.n, self.ended = c, [], 0, threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        epoch = gen = 0
        while not self.ended.is_set():
            try:
                e, g = self.c.json("status").get("epoch"), self.c.json("volume", "show", "v").get("volume", {}).get("gen")
            except Failed:
                continue
            if e is not None and g is not None:
                if e < epoch or g < gen:
                    self.wrong.append(f"epoch {epoch} -> {e}, gen {gen} -> {g}")
                epoch, gen, self.n = e, g, self.n + 1
            self.ended.wait(0.2)

    def end(self):
        self.ended.set()
        self.thread.join(60)
        assert not self.wrong, self.wrong
        assert self.n > 0


def make(t):
    """Three hosts, a copy of v on each, a write load, and somebody who watches."""
    net = Net(t)
    c = EtcdDaemons(t, net)
    for host in HOSTS:
        c.start(host, [c.format(host + ".store")])
    c.admin("volume", "create", "v", "--size", "64M")
    a = c.nbd("a")
    wait_for("v serves", lambda: serves(a.sock), 30)
    return c, net, a, Load(a.sock, "v", 2048, rate=2000).start(), Watch(c)


def serves(sock):
    try:
        Nbd(sock, "v", timeout=60).close()
        return True
    except Exception:
        return False


def goes_on(load, n=300, timeout=20):
    before = load.n_acked
    wait_for("writes go on", lambda: load.n_acked > before + n, timeout)


def settled(c, load, a, watch):
    """Nothing failed, what was acknowledged is there and on every copy, and there was one owner all the time."""
    v = c.volume("v")
    attached = [e for e in c.json("events")["events"] if e["code"] == "VOLUME_ATTACHED" and e["object"] == "v"]
    assert v["gen"] == 1 and len(attached) == 1, (v["gen"], attached)
    load.stop()
    assert not load.errors, load.errors
    watch.end()
    c.wait_full("v")
    wrong = load.verify(a.sock, "v")
    if wrong:
        raise Failed(f"{len(wrong)} blocks are wrong: {wrong[:5]}")
    c.admin("volume", "verify", "v")


def manages(c, name, timeout=30):
    """Something can be changed, however few hosts are up."""
    wait_for(f"a policy {name} can be made", lambda: c.try_admin("policy", "create", name).code == 0, timeout, 0.2)


def test_members_of_etcd_die_in_turn(t):
    c, _, a, load, watch = make(t)
    for m in MEMBERS:
        c.kill_member(m)
        goes_on(load)
        manages(c, "while-" + m)
        c.start_member(m)
        wait_for(f"{m} is back", c.all_members_are_well, 30)
    settled(c, load, a, watch)


def test_all_of_etcd_dies(t):
    """Data flows; what needs the records says why it cannot be; afterwards all is as before."""
    c, _, a, load, watch = make(t)
    epoch = c.json("status")["epoch"]
    for m in MEMBERS:
        c.kill_member(m)
    n = iter(range(1000))
    wait_for("that etcd is away is said", lambda: "etcd" in c.try_admin("policy", "create", f"p{next(n)}").err, 60)
    t.fails("causeway", "--cluster", c.addr, "policy", "create", "x", timeout=60)
    for _ in range(5):
        goes_on(load, 1000)
    for m in MEMBERS:
        c.start_member(m)
    manages(c, "after", 60)
    assert c.json("status")["epoch"] > epoch
    settled(c, load, a, watch)


def test_the_host_that_leads_dies(t):
    c, _, a, load, watch = make(t)
    old = wait_for("one leads", c.leader)
    c.kill(old)
    goes_on(load)
    now = wait_for("another leads", lambda: c.leader() not in (None, old) and c.leader(), 30)
    manages(c, "then")
    c.start(old)
    assert c.leader() == now
    settled(c, load, a, watch)


def test_the_host_that_leads_sleeps(t):
    """Another leads meanwhile; woken up, it is not heard any more."""
    c, _, a, load, watch = make(t)
    old = wait_for("one leads", c.leader)
    c.process(old).send_signal(signal.SIGSTOP)
    now = wait_for("another leads", lambda: c.leader() not in (None, old) and c.leader(), 30)
    manages(c, "meanwhile")
    goes_on(load)
    c.process(old).send_signal(signal.SIGCONT)
    wait_for("it is up again", lambda: c.is_up(old), 30)
    assert c.leader() == now
    wait_for("it has noticed", lambda: "leads no more" in c.log(old), 30)
    settled(c, load, a, watch)


def test_the_host_that_leads_stops(t):
    """Asked to end, it lets another lead at once."""
    c, _, a, load, watch = make(t)
    old = wait_for("one leads", c.leader)
    t.stop(c.process(old))
    wait_for("another leads", lambda: c.leader() not in (None, old), 30)
    manages(c, "then")
    c.start(old)
    settled(c, load, a, watch)


def test_a_member_of_etcd_is_cut_off(t):
    """It still answers whoever dials it, but knows nothing new: nobody hears old things of it."""
    c, net, a, load, watch = make(t)
    for m in MEMBERS:
        for x in MEMBERS:
            if x != m:
                net.set(x, m, hold=True)
                net.set(m, x, hold=True)
        manages(c, "without-" + m, 60)
        goes_on(load)
        net.heal()
        wait_for(f"{m} is back", c.all_members_are_well, 60)
    settled(c, load, a, watch)


def test_the_host_that_leads_is_cut_off_from_etcd(t):
    c, net, a, load, watch = make(t)
    old = wait_for("one leads", c.leader)
    for m in MEMBERS:
        net.set(old, m + "-client", hold=True)
    wait_for("another leads", lambda: c.leader() not in (None, old), 30)
    manages(c, "meanwhile")
    goes_on(load)
    net.heal()
    wait_for("it is up", lambda: c.is_up(old), 30)
    settled(c, load, a, watch)


def test_local_with_etcd(t):
    """`causeway local` starts, kills and starts its members again."""
    harness.need_tool("etcd")
    c = t.cluster(metadata="etcd")
    assert len(c.addr.split(",")) == 3, c.addr
    c.admin("volume", "create", "v", "--size", "64M")
    c.local("kill", "etcd-1", "onprem-1")
    wait_for("another leads", lambda: c.try_admin("volume", "show", "v").code == 0, 30)
    c.local("start", "etcd-1", "onprem-1")
    c.local("kill", "all")
    c.up()
    assert c.volume("v")["name"] == "v"
    c.local("down")
    c.up()
    assert c.volume("v")["name"] == "v"
    assert "etcd" in c.json("status")["metadata"]


harness.main(globals())
