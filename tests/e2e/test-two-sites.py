#!/usr/bin/env python3
"""Two sites, a copy in each, and the link between them is cut under load: the side with the majority goes on, the other
waits; afterwards all is in sync and nothing is lost."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import Failed, wait_for

from daemons import Daemons
from etcd import EtcdDaemons
from load import Load
from nbd import serves
from proxy import Net
from watch import goes_on, manages

SITES = {"h1": "dc1", "h2": "dc1", "h3": "dc2", "h4": "dc2"}
LONG_S = 20  # after that nobody is given the benefit of the doubt: a caretaker would take what it may


class Sites:
    """a writes v in dc1, b writes w in dc2; each volume has a copy in both."""

    def __init__(self, t, c, net, in_dc1, in_dc2):
        self.t, self.c, self.net = t, c, net
        self.dc1, self.dc2 = {"h1", "h2", "a", *in_dc1}, {"h3", "h4", "b", *in_dc2}
        for host, site in SITES.items():
            c.start(host, [c.format(host + ".store")], site=site)
        c.admin("policy", "create", "two", "copies=2", "sites=each:1 dc1,dc2", "min-insync=1")
        self.server, self.load = {}, {}
        for owner, v, site in (("a", "v", "dc1"), ("b", "w", "dc2")):
            c.admin("volume", "create", v, "--size", "64M", "--policy", "two")
            assert sorted(m["site"] for m in c.volume(v)["shards"][0]["members"]) == ["dc1", "dc2"], c.volume(v)
            self.server[v] = c.nbd(owner, "--domain", f"site={site}")
            wait_for(f"{v} serves", lambda: serves(self.server[v].sock, v), 30)
            self.load[v] = Load(self.server[v].sock, v, 2048, rate=1000).start()
            goes_on(self.load[v])

    def cut(self):
        """Whatever is under way stays so: to both sides the other just falls silent."""
        for x in self.dc1:
            for y in self.dc2:
                self.net.set(x, y, hold=True)
                self.net.set(y, x, hold=True)

    def members(self, v):
        return {m["site"]: m["state"] for m in self.c.volume(v)["shards"][0]["members"]}

    def waits(self, v, seconds=3):
        """Nothing is acknowledged any more, and nothing fails."""
        load = self.load[v]

        def still():
            before = load.n_acked
            time.sleep(seconds)
            return load.n_acked == before
        wait_for(f"{v} waits", still, 30)
        assert not load.errors, load.errors

    def settled(self, v):
        """In sync, in both sites, and what was acknowledged is there."""
        goes_on(self.load[v], timeout=90)
        self.load[v].stop()
        assert not self.load[v].errors, (v, self.load[v].errors)
        self.c.wait_full(v)
        assert self.members(v) == {"dc1": "INSYNC", "dc2": "INSYNC"}, self.members(v)
        wrong = self.load[v].verify(self.server[v].sock, v)
        if wrong:
            raise Failed(f"{v}: {len(wrong)} blocks are wrong: {wrong[:5]}")
        self.c.admin("volume", "verify", v)


def link_is_cut(s):
    s.cut()
    wait_for("the copy in dc2 is not in sync", lambda: s.members("v")["dc2"] == "OUT", 40)
    goes_on(s.load["v"], timeout=60)
    s.waits("w")
    manages(s.c, "without-dc2")
    time.sleep(LONG_S)
    goes_on(s.load["v"], timeout=60)
    assert s.c.volume("w")["gen"] == 1, "the volume was taken from the owner that waits"
    assert not s.load["w"].errors, s.load["w"].errors
    s.net.heal()
    for host in SITES:
        wait_for(f"{host} is up", lambda h=host: s.c.is_up(h), 60)
    for v in "vw":
        s.settled(v)


def test_the_site_of_the_manager_goes_on(t):
    net = Net(t)
    link_is_cut(Sites(t, Daemons(t, net), net, {"manager"}, set()))


def test_the_site_that_reaches_the_witness_goes_on(t):
    """A member of etcd in each site and one in a third, which only dc1 reaches."""
    net = Net(t)
    c = EtcdDaemons(t, net)
    s = Sites(t, c, net, {"etcd-1", "etcd-1-client", "etcd-3", "etcd-3-client"}, {"etcd-2", "etcd-2-client"})
    link_is_cut(s)


harness.main(globals())
