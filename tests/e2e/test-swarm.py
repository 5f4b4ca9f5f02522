#!/usr/bin/env python3
"""Random faults of processes, links and disks under load, one after the other: nothing that was acknowledged is lost.

    tests/run --build build --suite swarm [--long]     5 seeds, or 100
    tests/e2e/test-swarm.py test_seed_123              one; the faults are the same again, their timing is not

Not in ./check: it finds what nobody thought of, in its own time.
"""
import os
import random
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import Failed, Skip, wait_for

from daemons import Daemons
from faultdisk import FaultDisk
from load import Load
from nbd import serves
from proxy import Net

HOSTS = ("h1", "h2", "h3")
N_FAULTS = 10


class Swarm:
    def __init__(self, t, seed):
        self.t, self.rng, self.told = t, random.Random(seed), []
        self.net = Net(t)
        self.c = Daemons(t, self.net)
        self.disks = {}
        for host in HOSTS:
            path = self.c.format(host + ".disk")
            try:
                self.disks[host] = FaultDisk(t, path)
            except Skip:
                pass
            self.c.start(host, [self.disks[host].path if host in self.disks else path])
        self.c.admin("volume", "create", "v", "--size", "64M")
        self.load = self.owner = None
        self.attach()

    def tell(self, *what):
        self.told.append(" ".join(str(x) for x in (time.strftime("%H:%M:%S"), *what)))

    def passes(self, most):
        end = time.monotonic() + self.rng.uniform(0, most)
        wait_for("time passes", lambda: time.monotonic() > end, most + 5)

    def attach(self):
        """An owner, and load on top of what is known of earlier loads."""
        self.owner = self.c.nbd("a", "--force")
        wait_for("the volume is served", lambda: serves(self.owner.sock, "v"), 60, 0.2)
        before, self.load = self.load, Load(self.owner.sock, "v", 1024, depth=self.rng.choice((1, 4, 16)),
                                            seed=self.rng.random())
        if before:
            self.load.acked, self.load.sent, self.load.counter = before.acked, before.sent, before.counter
        self.load.start()

    # ---- faults: each begins, lasts, and is over ----

    def link(self):
        host = self.rng.choice(HOSTS)
        one, other = self.rng.choice((("a", host), (host, "manager"), ("a", "manager"),
                                      (host, self.rng.choice([x for x in HOSTS if x != host]))))
        way = self.rng.choice(("to", "from", "both"))
        rule = self.rng.choice(({"hold": True}, {"hold": True}, {"delay_ms": self.rng.choice((5, 50, 300))},
                                {"rate": self.rng.choice((20000, 2000000))}, {"flip": 200000}, {"refuse": True}))
        self.tell(one, other, way, rule)
        self.net.set(one, other, way, **rule)
        if self.rng.random() < 0.3:
            self.net.cut(one, other)
        self.passes(6)
        if self.rng.random() < 0.3:
            self.net.cut(one, other)
        self.net.heal()

    def crash(self):
        host = self.rng.choice(HOSTS)
        self.tell("kill", host)
        self.c.kill(host)
        self.passes(5)
        self.c.start(host)

    def power(self):
        if not self.disks:
            return
        host = self.rng.choice(HOSTS)
        self.tell("power", host)
        self.disks[host].cut_power()
        self.c.kill(host)
        wait_for("the power is off", self.disks[host].is_off)
        self.passes(3)
        self.disks[host].plug_again()
        self.c.start(host)

    def pause(self):
        who = self.rng.choice((*[self.c.process(h) for h in HOSTS], self.c.manager, self.owner))
        self.tell("pause", who.args[-1], who.pid)
        who.send_signal(signal.SIGSTOP)
        self.passes(6)
        who.send_signal(signal.SIGCONT)

    def manager(self):
        self.tell("kill manager")
        self.c.manager.send_signal(signal.SIGKILL)
        self.c.manager.wait()
        self.passes(3)
        self.c.start_manager()

    def takeover(self):
        self.tell("kill owner")
        self.owner.send_signal(self.rng.choice((signal.SIGKILL, signal.SIGTERM)))
        self.owner.wait()
        self.load.stop()
        self.attach()

    def run(self, n):
        faults = (self.link, self.link, self.link, self.crash, self.power, self.pause, self.manager, self.takeover)
        for _ in range(n):
            self.rng.choice(faults)()
            if self.rng.random() < 0.5:
                self.settle()

    def settle(self):
        """All is well again: what was under way is answered."""
        before = self.load.n_acked
        self.tell("settle")
        wait_for("writes go on", lambda: self.load.n_acked > before + 50, 60)

    def judge(self):
        self.settle()
        self.load.stop()
        assert not self.load.errors, self.load.errors
        self.c.wait_full("v")
        wrong = self.load.verify(self.owner.sock, "v")
        if wrong:
            raise Failed(f"{len(wrong)} blocks are wrong: {wrong[:5]}")
        self.c.admin("volume", "verify", "v")


def play(s):
    s.run(N_FAULTS)
    s.judge()


harness.by_seed(Swarm, play, 5, 100)
