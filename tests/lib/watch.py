"""tests/lib/watch.py - whatever happens to the control plane: I/O goes on, there is one owner, nothing goes backwards."""
import threading

from harness import Failed, wait_for
from load import Load
from nbd import serves

HOSTS = ("h1", "h2", "h3")


class Watch:
    """Asks for the epoch and the generation of v all the time: neither ever falls."""

    def __init__(self, c):
        self.wrong, self.n, self.epoch, self.gen = [], 0, 0, 0
        self.resume(c)

    def resume(self, c):
        self.c, self.ended = c, threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        while not self.ended.is_set():
            try:
                e, g = self.c.json("status").get("epoch"), self.c.json("volume", "show", "v").get("volume", {}).get("gen")
            except Failed:
                continue
            if e is not None and g is not None:
                if e < self.epoch or g < self.gen:
                    self.wrong.append(f"epoch {self.epoch} -> {e}, gen {self.gen} -> {g}")
                self.epoch, self.gen, self.n = e, g, self.n + 1
            self.ended.wait(0.2)

    def end(self):
        wait_for("the watch has looked", lambda: self.n > 0, 60)
        self.ended.set()
        self.thread.join(60)
        assert not self.wrong, self.wrong


def populate(c, everywhere=False):
    """Three hosts, a copy of v on each, a write load, and somebody who watches. everywhere: the owner looks for
    the manager on the hosts too."""
    for host in HOSTS:
        c.start(host, [c.format(host + ".store")])
    c.admin("volume", "create", "v", "--size", "64M")
    more = ("--cluster", c.join + "," + c.addresses()) if everywhere else ()
    a = c.nbd("a", *more)
    wait_for("v serves", lambda: serves(a.sock, "v"), 30)
    return a, Load(a.sock, "v", 2048, rate=2000).start(), Watch(c)


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
