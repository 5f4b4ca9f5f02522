#!/usr/bin/env python3
"""Nine hosts and more that are added, emptied, drained, killed, returned and removed, one after the other and at
random, under a verifying load on several volumes: at the end all is full, and each number adds up.

    tests/run --build build --name e2e-hosts          half a minute of it, in ./check
    tests/run --build build --suite hosts [--long]    ten minutes of one seed, or of 3
    tests/e2e/test-hosts.py test_seed_123             one; CW_TEST_SECONDS says how long. What is done is the same
                                                      again, unless the cluster stood otherwise when it was its turn
"""
import collections
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import Failed, wait_for

from load import Load

SECONDS = int(os.environ.get("CW_TEST_SECONDS", 25))
SITES = ("dc1", "dc2", "aws")
VOLUMES = {"a": "quick", "b": "quick", "c": "sites", "d": "pair", "e": "pair"}
MOST, LEAST = 12, 7  # hosts
DOWN_MOST = 2        # at a time; more than a third, and nothing would be built anew
DOWN_S = 20          # then it comes back, or is removed: requests wait for it
STOPS = ("suspended", "unavailable", "lost")


def recount(c):
    """What `status`, and every other list, says against what the lists say one by one. Returns what differs; numbers
    are told some seconds late and change under way, so that only what stays is wrong."""
    s, hosts, disks = c.json("status"), c.json("host", "ls")["hosts"], c.json("disk", "ls")["disks"]
    volumes = [c.volume(v["name"]) for v in c.json("volume", "ls")["volumes"]]
    jobs, repairs = c.json("jobs", "ls")["jobs"], c.json("repair", "ls")["repairs"]
    members = [(v, m) for v in volumes for x in v["shards"] for m in x["members"]]
    words = collections.Counter(v["protection"] for v in volumes)
    codes = collections.Counter(f["code"] for f in s["findings"])
    reduced = {v["name"] for v in volumes if v["protection"] != "full"}
    wrong = []

    def same(what, told, counted):
        if told != counted:
            wrong.append(f"{what}: {told}, by recount {counted}")

    same("volumes", s["volumes"], len(volumes))
    same("volumes that serve", s["volumes_serving"], sum(v["protection"] not in STOPS for v in volumes))
    same("protection", {w: n for w, n in s["protection"].items() if n}, dict(words))
    same("health", s["health"], "error" if any(f["severity"] == "error" for f in s["findings"])
         else "warning" if s["findings"] else "ok")
    same("sites", {x["name"] for x in s["sites"]}, {h["site"] for h in hosts})
    for x in s["sites"]:
        name, there = x["name"], [h for h in hosts if h["site"] == x["name"]]
        size = [sum(d["size_bytes"] for d in disks if d["host"] == h["name"]) for h in there]
        same(f"hosts of {name}", x["hosts"], len(there))
        same(f"hosts up of {name}", x["hosts_up"], sum(h["up"] for h in there))
        same(f"size of {name}", x["size_bytes"], sum(size))
        same(f"size of {name} without its worst host", x["size_without_worst_host_bytes"], sum(size) - max(size))
        same(f"used of {name}", x["used_bytes"], sum(d["used_bytes"] for d in disks if d["site"] == name))
    for h in hosts:
        same(f"copies on {h['name']}", h["copies"], sum(m["host"] == h["name"] for _, m in members))
        same(f"size of {h['name']}", h["size_bytes"], sum(d["size_bytes"] for d in disks if d["host"] == h["name"]))
        same(f"used of {h['name']}", h["used_bytes"], sum(d["used_bytes"] for d in disks if d["host"] == h["name"]))
    for d in disks:
        if d["state"] in ("ok", "draining"):
            same(f"shards on {d['host']}/{d['name']}", d["shards"], sum(m["disk_uuid"] == d["uuid"] for _, m in members))
    same("absent hosts that are told of", codes["HOST_ABSENT"], sum(h["state"] == "absent" for h in hosts))
    same("volumes that are told of", {f["object"] for f in s["findings"] if f["code"].startswith("VOLUME_")}, reduced)
    same("reduced volumes without a repair", reduced - {r["volume"] for r in repairs}, set())
    open_jobs = [j for j in jobs if j["state"] in ("running", "waiting")]
    same("maintenance under way", sum(j["kind"] == "maintain" for j in open_jobs),
         sum(h["maintenance"] is not None and not h["maintenance"]["ready"] for h in hosts))
    return wrong


class Hosts:
    def __init__(self, t, seed):
        self.t, self.rng, self.told = t, random.Random(seed), []
        self.c = t.cluster(hosts=",".join(f"{site}:3" for site in SITES), store_size="512M", memory="128M")
        self.site = {h["name"]: h["site"] for h in self.c.json("host", "ls")["hosts"]}
        self.down, self.emptied, self.drained = {}, set(), set()  # down: since when
        self.c.admin("policy", "create", "quick", "repair-delay=2s")
        self.c.admin("policy", "create", "sites", "spread=site", "repair-delay=2s")
        self.c.admin("policy", "create", "pair", "copies=2", "repair-delay=2s")
        for name, policy in VOLUMES.items():
            self.c.admin("volume", "create", name, "--size", "16M", "--policy", policy)
        self.server = t.nbd(self.c)
        self.loads = {v: Load(self.server.sock, v, 4096, depth=4, seed=self.rng.random(), rate=100).start()
                      for v in VOLUMES}

    def tell(self, *what):
        self.told.append(" ".join(str(x) for x in (time.strftime("%H:%M:%S"), *what)))

    def passes(self, most):
        end = time.monotonic() + self.rng.uniform(0, most)
        wait_for("time passes", lambda: time.monotonic() > end, most + 5)

    def pick(self, names):
        names = sorted(names)
        return self.rng.choice(names) if names else None

    def usable(self):
        return set(self.site) - set(self.down) - self.emptied - self.drained

    def refused(self, says, *args):
        """Done, or refused for a reason that may be."""
        r = self.c.try_admin(*args)
        self.tell(*args, r.code, r.err.strip()[:160])
        if r.code != 0 and not any(word in r.err for word in says):
            raise Failed(str(r))
        return r.code != 0

    # ---- what is done ----

    def add(self):
        if len(self.site) >= MOST:
            return
        site = self.rng.choice(SITES)
        before = set(self.site)
        self.c.local("add", site + ":1")
        self.site = {h["name"]: h["site"] for h in self.c.json("host", "ls")["hosts"]}
        self.tell("added", *set(self.site) - before)

    def empty(self):
        host = self.pick(self.usable())
        if host and len(self.usable()) >= LEAST and not self.refused(
                ("take service away", "together", "in maintenance"), "host", "maintain", host, "--mode", "full",
                "--no-wait"):
            self.emptied.add(host)

    def give_back(self):
        host = self.pick(self.emptied)
        if host:
            self.tell("return", host)
            self.c.admin("host", "return", host)
            self.emptied.discard(host)

    def drain(self):
        host = self.pick(self.usable())
        if host and len(self.usable()) >= LEAST:
            self.tell("drain", host)
            self.c.admin("disk", "drain", host + "/store-0", "--no-wait")
            self.drained.add(host)

    def undrain(self):
        host = self.pick(self.drained - set(self.down))
        if host:
            self.tell("no more drained:", host)
            self.c.admin("disk", "return", host + "/store-0")
            self.drained.discard(host)

    def kill(self):
        host = self.pick(set(self.site) - set(self.down))
        if len(self.down) < DOWN_MOST:
            self.tell("kill", host)
            self.c.local("kill", host)
            self.down[host] = time.monotonic()

    def start(self, host=None):
        host = host or self.pick(self.down)
        if host:
            self.tell("start", host)
            self.c.local("start", host)
            del self.down[host]

    def manager(self):
        self.tell("kill manager")
        self.c.local("kill", "manager")
        self.passes(2)
        self.c.local("start", "manager")

    def remove(self):
        """One that is down, or that was emptied: it goes for good, or comes again with an empty store."""
        host = self.pick(set(self.down) | self.emptied)
        if not host or len(self.site) <= LEAST or sum(s == self.site[host] for s in self.site.values()) < 3:
            return
        if host not in self.down:
            self.c.local("kill", host)
            self.down[host] = time.monotonic()
        wait_for(f"{host} is not up", lambda: not next(h for h in self.c.json("host", "ls")["hosts"]
                                                      if h["name"] == host)["up"], 20)
        if self.refused(("the last in-sync copy",), "host", "rm", host):
            return
        site = self.site.pop(host)
        for names in (self.emptied, self.drained):
            names.discard(host)
        del self.down[host]
        if self.rng.random() < 0.5:
            self.tell("again, from nothing:", host)
            store = os.path.join(self.c.dir, host, "store-0")
            os.remove(store)
            self.t.ok("causewayd", "--format", "--store", store + ":512M")
            self.c.local("start", host)
            self.site[host] = site

    def run(self, seconds):
        ways = (self.add, self.empty, self.empty, self.give_back, self.drain, self.drain, self.undrain, self.kill, self.kill,
                self.kill, self.start, self.remove, self.remove, self.manager)
        end, look = time.monotonic() + seconds, time.monotonic() + 60
        while time.monotonic() < end:
            self.rng.choice(ways)()
            self.passes(3)
            for host in [h for h, at in self.down.items() if time.monotonic() - at > DOWN_S]:
                self.start(host)
            self.looks_well()
            if time.monotonic() > look:
                self.adds_up()
                look = time.monotonic() + 60

    # ---- what must hold ----

    def looks_well(self):
        for name, load in self.loads.items():
            assert not load.errors, (name, load.errors)

    def adds_up(self):
        end = time.monotonic() + 30
        while wrong := recount(self.c):
            if time.monotonic() > end:
                raise Failed("it does not add up:\n" + "\n".join(wrong))
        self.tell("it adds up")

    def end(self):
        """Whatever is away comes back; all is full, as written, and as counted."""
        for host in sorted(self.down):
            self.start(host)
        for host in sorted(self.emptied):
            self.give_back()
        for host in sorted(self.drained):
            self.undrain()
        for name, load in self.loads.items():
            before = load.n_acked
            wait_for(f"writes to {name} go on", lambda: load.errors or load.n_acked > before + 20, 90)
        for name in VOLUMES:
            self.c.wait_full(name, 120)
        for load in self.loads.values():
            load.stop()
        self.looks_well()
        wait_for("nothing is left to be done", lambda: not self.c.json("repair", "ls")["repairs"] and not any(
            j["state"] in ("running", "waiting") for j in self.c.json("jobs", "ls")["jobs"]), 90, 0.5)
        wait_for("all is well", lambda: self.c.json("status")["health"] == "ok", 90, 0.5)
        self.adds_up()
        for name, load in self.loads.items():
            wrong = load.verify(self.server.sock, name)
            if wrong:
                raise Failed(f"{name}: {len(wrong)} blocks are wrong: {wrong[:5]}")
            self.c.admin("volume", "verify", name)
            assert self.c.protection(name) == "full"
        print(f"# {len(self.told)} lines of history, {sum(x.n_acked for x in self.loads.values())} writes, "
              f"{len(self.site)} hosts at the end")


def play(h):
    h.run(SECONDS)
    h.end()


harness.by_seed(Hosts, play, 1, 3)
