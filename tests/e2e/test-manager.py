#!/usr/bin/env python3
"""The control plane on LMDB, with real processes: its one manager dies, sleeps, stops, loses its store; I/O goes on."""
import os
import shutil
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import wait_for

from daemons import Daemons
from proxy import Net
from watch import HOSTS, goes_on, manages, populate, settled


def make(t):
    net = Net(t)
    c = Daemons(t, net)
    return c, net, *populate(c)


def is_missed(c, hosts=HOSTS):
    """Each of the hosts has noticed that the manager is away."""
    for host in hosts:
        wait_for(f"{host} misses the manager", lambda h=host: "lost the manager" in c.log(h), 30)


def all_up(c):
    for host in HOSTS:
        wait_for(f"{host} is up", lambda h=host: c.is_up(h), 60)


def test_the_manager_dies_again_and_again(t):
    c, _, a, load, watch = make(t)
    for i in range(3):
        c.kill_manager()
        is_missed(c)
        goes_on(load)
        t.fails("causeway", "--cluster", c.addr, "policy", "create", "x", timeout=60)
        c.start_manager()
        all_up(c)
        manages(c, f"p{i}")
    settled(c, load, a, watch)


def test_the_manager_stops(t):
    c, _, a, load, watch = make(t)
    assert t.stop(c.manager) == 0
    is_missed(c)
    goes_on(load)
    c.start_manager()
    all_up(c)
    manages(c, "then")
    settled(c, load, a, watch)


def test_the_manager_sleeps(t):
    """Nobody can take its store meanwhile; woken up, it goes on as if nothing had been."""
    c, _, a, load, watch = make(t)
    c.manager.send_signal(signal.SIGSTOP)
    t.at_end(lambda: c.manager.send_signal(signal.SIGCONT))
    is_missed(c)
    goes_on(load)
    t.fails("causewayd", "--role", "manager", "--metadata", "lmdb:" + t.path("records"), "--listen", "127.0.0.1:0",
            says="in use by another process")
    t.fails("causeway-store", "metadata", "export", "--from", "lmdb:" + t.path("records"), "--to", t.path("x"),
            says="in use by another process")
    c.manager.send_signal(signal.SIGCONT)
    all_up(c)
    manages(c, "then")
    settled(c, load, a, watch)


def test_the_manager_is_cut_off(t):
    """From all hosts and owners, which look alive to it for a while."""
    c, net, a, load, watch = make(t)
    net.set("*", "manager", hold=True)
    is_missed(c)
    goes_on(load)
    net.heal()
    all_up(c)
    manages(c, "then")
    settled(c, load, a, watch)


def test_the_store_of_the_manager_is_lost(t):
    """With the manager, under load; a host gives it back, while a copy is out of sync as well."""
    c, _, a, load, watch = make(t)
    c.kill("h2")
    wait_for("h2 is not in sync", lambda: c.copy("v", "h2")["state"] == "OUT", 30)
    goes_on(load)
    wait_for("the others have the metadata", lambda: sorted(
        b["host"] for b in c.json("metadata", "show")["metadata"]["backups"] if b["current"]) == ["h1", "h3"], 30, 0.2)
    c.kill_manager()
    shutil.rmtree(t.path("records"))
    is_missed(c, [h for h in HOSTS if h != "h2"])
    goes_on(load)
    addrs = ",".join(f"127.0.0.1:{h[0]}" for h in c.hosts.values())
    t.ok("causeway", "metadata", "fetch", t.path("m"), "--from", addrs)
    t.ok("causeway-store", "metadata", "import", "--from", t.path("m"), "--to", "lmdb:" + t.path("records"))
    c.start_manager()
    assert c.copy("v", "h2")["state"] != "INSYNC"
    c.start("h2")
    all_up(c)
    assert not c.findings("METADATA_BEHIND") and not c.findings("METADATA_WENT_BACK"), c.findings()
    manages(c, "then")
    settled(c, load, a, watch)


harness.main(globals())
