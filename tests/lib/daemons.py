"""tests/lib/daemons.py - a cluster of causewayd processes started one by one, for what `causeway local`
does not offer: several stores per host, options of their own, stores on odd devices.
"""
import os
import random
import signal
import socket

from harness import Cluster, Failed, wait_for
from proxy import NAME


def free_port():
    """One that the kernel gives to nobody who dials: a host must find it free again whenever it starts."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        end = int(f.read().split()[0])
    for _ in range(1000):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", random.randrange(max(1024, end - 20000), end)))
                return s.getsockname()[1]
            except OSError:
                pass  # somebody listens there
    raise Failed("no port is free")


class Daemons(Cluster):
    def __init__(self, test, net=None):
        """With a net (proxy.py), daemons and owners reach each other and the manager only through it, under
        the names of the hosts, "manager", and what owners are called; admin commands reach it directly."""
        self.test, self.port, self.hosts, self.net = test, free_port(), {}, net
        self.addr = f"127.0.0.1:{self.port}"
        self.join = self.seen_as("manager", self.addr)
        self.start_manager("--bootstrap")

    def start_manager(self, *more):
        self.manager = self.test.spawn("causewayd", "--role", "manager", "--metadata",
                                       f"lmdb:{self.test.path('records')}", "--listen", self.addr,
                                       "--advertise", self.join, *more, log=self.test.path("manager.log"))
        wait_for("the manager", lambda: self.try_admin("status").code in (0, 1, 2))

    def kill_manager(self):
        self.manager.send_signal(signal.SIGKILL)
        self.manager.wait()

    def seen_as(self, name, addr):
        return self.net.link(name, addr) if self.net else addr

    def addresses(self):
        """Of all hosts, as daemons and owners know them."""
        return ",".join(self.seen_as(name, f"127.0.0.1:{h[0]}") for name, h in self.hosts.items())

    def nbd(self, name, *more, sock=None):
        """An owner to be, called so in the network; does not wait until it serves."""
        sock = sock or self.test.path(f"{name}.sock")
        if os.path.exists(sock):
            os.unlink(sock)
        p = self.test.spawn("causeway-nbd", "--cluster", self.join, "--socket", sock, *more, env={NAME: name},
                            log=self.test.path(f"{name}.log"))
        wait_for("the NBD socket", lambda: os.path.exists(sock) or p.poll() is not None)
        p.sock = sock
        return p

    def format(self, name, size="512M"):
        path = self.test.path(name)
        self.test.ok("causewayd", "--format", "--store", f"{path}:{size}")
        return path

    def start(self, host, stores=None, *args, site="dc1", wait=True):
        """Starts (or starts again; as before, if no stores are named) a host, waits until it is up. Without
        that it may take up its duties later, as when there is no manager."""
        if stores is not None:
            port = self.hosts[host][0] if host in self.hosts else free_port()
            self.hosts[host] = [port, stores, args, site, None]
        log = self.test.path(f"{host}.log")
        before = os.path.getsize(log) if os.path.exists(log) else 0
        p = self.test.spawn("causewayd", *self.args(host), log=log, env={NAME: host})
        self.hosts[host][4] = p
        if not wait:
            return p
        # one that was up a moment ago is up for the manager until it has been missed for a while
        wait_for(f"host {host}", lambda: p.poll() is not None or
                 "registered with cluster" in self.log(host, before) and self.is_up(host), 60)
        if p.poll() is not None:
            raise Failed(f"causewayd of {host} ended: {open(p.log).read()[-2000:]}")
        return p

    def args(self, host):
        port, stores, args, site, _ = self.hosts[host]
        more = [x for path in stores for x in ("--store", path)]
        addr = f"127.0.0.1:{port}"
        domain = site if site.startswith("auto") else f"site={site}"
        return ["--host", host, "--domain", domain, "--listen", addr, "--advertise",
                self.seen_as(host, addr), "--join", self.join, *more, *args]

    def is_up(self, host):
        """False as well while no manager answers."""
        try:
            return any(h["name"] == host and h["state"] == "up" for h in self.json("host", "ls")["hosts"])
        except Failed:
            return False

    def process(self, host):
        return self.hosts[host][4]

    def kill(self, host):
        p = self.process(host)
        p.send_signal(signal.SIGKILL)
        p.wait()

    def log(self, host, after=0):
        with open(self.process(host).log, "rb") as f:
            f.seek(after)
            return f.read().decode("utf-8", "replace")

    def disk(self, host, name="store-0"):
        """The disk as `disk ls --json` shows it."""
        for d in self.json("disk", "ls")["disks"]:
            if d["host"] == host and d["name"] == name:
                return d
        return None

    def copy(self, volume, host):
        """The member of a volume's only shard on that host, as `volume show --json` has it; None if it has none."""
        return next((m for m in self.volume(volume)["shards"][0]["members"] if m["host"] == host), None)

    def findings(self, code=None):
        return [f for f in self.json("status")["findings"] if code is None or f["code"] == code]

    def down_hard(self):
        pass  # the test kills what it spawned


def allocated(path):
    return os.stat(path).st_blocks * 512
