#!/usr/bin/env python3
"""The control plane on etcd, with real processes: whoever dies, I/O goes on, one leads, nothing goes backwards."""
import json
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import wait_for

from daemons import Daemons
from etcd import MEMBERS, EtcdDaemons
from proxy import Net
from watch import HOSTS, goes_on, manages, populate, settled


def make(t):
    net = Net(t)
    c = EtcdDaemons(t, net)
    return c, net, *populate(c)


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


def is_up_now(c, host):
    """Also while others send whoever asks to a manager that is gone."""
    r = c.test.run("causeway", "--cluster", f"127.0.0.1:{c.hosts[host][0]}", "--json", "host", "ls")
    return r.code == 0 and any(h["name"] == host and h["state"] == "up" for h in json.loads(r.out)["hosts"])


def test_a_cluster_moves_from_lmdb(t):
    """With its volumes attached: data flows, hosts are restarted one by one, nothing is another."""
    net = Net(t)
    old = Daemons(t, net)
    a, load, watch = populate(old, everywhere=True)
    old.admin("policy", "create", "mine", "copies=2")
    wait_for("somebody watches", lambda: watch.n > 0)
    before = old.json("metadata", "show")["metadata"]
    t.stop(old.manager)
    watch.end()
    goes_on(load)
    c = EtcdDaemons(t, net, old.hosts)
    t.fails("causeway", "--cluster", old.addr, "metadata", "import", "x", says="causeway-store metadata import")
    t.ok("causeway-store", "metadata", "export", "--from", "lmdb:" + t.path("records"), "--to", t.path("m"))
    t.ok("causeway-store", "metadata", "import", "--from", t.path("m"), "--to", "etcd:" + c.urls)
    for host in HOSTS:
        t.stop(c.process(host))
        c.start(host, wait=False)
        wait_for(f"{host} is up", lambda h=host: is_up_now(c, h), 60)
        goes_on(load)
    after = c.json("metadata", "show")["metadata"]
    assert after["cluster_id"] == before["cluster_id"] and after["epoch"] >= before["epoch"], (before, after)
    assert after["store"].startswith("etcd") and not after["backups"] and not after["backed_up"], after
    assert any(p["name"] == "mine" for p in c.json("policy", "ls")["policies"])
    manages(c, "then")
    c.admin("metadata", "export", t.path("again"))
    t.fails("causeway-store", "metadata", "import", "--from", t.path("again"), "--to", "etcd:" + c.urls, says="manages")
    watch.resume(c)
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
