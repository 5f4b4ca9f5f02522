"""tests/lib/etcd.py - a cluster of causewayd processes whose records are in three members of etcd: any host may lead.

Members reach each other, and hosts reach them, only through the network of proxy.py, under the names
etcd-1 to 3.
"""
import json
import signal
import urllib.request

from daemons import Daemons, free_port
from harness import Failed, need_tool, wait_for
from proxy import NAME

MEMBERS = ("etcd-1", "etcd-2", "etcd-3")


class EtcdDaemons(Daemons):
    def __init__(self, test, net, hosts=None):
        """With hosts, those of a cluster that moves here: started again they are of this one."""
        need_tool("etcd")
        self.test, self.hosts, self.net, self.members = test, {} if hosts is None else hosts, net, {}
        ports = {m: (free_port(), free_port()) for m in MEMBERS}
        self.client = {m: f"127.0.0.1:{ports[m][0]}" for m in MEMBERS}
        self.real_peer = {m: f"127.0.0.1:{ports[m][1]}" for m in MEMBERS}
        self.peer = {m: net.link(m, self.real_peer[m]) for m in MEMBERS}
        self.urls = ",".join("http://" + net.link(m + "-client", self.client[m]) for m in MEMBERS)
        self.bootstrap = hosts is None
        for m in MEMBERS:
            self.start_member(m)
        wait_for("etcd", self.all_members_are_well, 30)

    @property
    def addr(self):
        return ",".join(f"127.0.0.1:{h[0]}" for h in self.hosts.values())

    @property
    def join(self):
        return self.addresses()

    def start_member(self, m):
        self.members[m] = self.test.spawn(
            "etcd", "--name", m, f"--data-dir={self.test.path(m)}", "--logger", "zap",
            "--listen-client-urls", "http://" + self.client[m], "--advertise-client-urls", "http://" + self.client[m],
            "--listen-peer-urls", "http://" + self.real_peer[m], "--initial-advertise-peer-urls",
            "http://" + self.peer[m], "--initial-cluster", ",".join(f"{x}=http://{self.peer[x]}" for x in MEMBERS),
            log=self.test.path(m + ".log"), env={NAME: m})

    def kill_member(self, m, sig=signal.SIGKILL):
        self.members[m].send_signal(sig)
        if sig == signal.SIGKILL:
            self.members[m].wait()

    def is_well(self, m):
        """Can it read what was agreed on?"""
        try:
            with urllib.request.urlopen(f"http://{self.client[m]}/health", timeout=2) as f:
                return json.load(f)["health"] in (True, "true")
        except (OSError, ValueError):
            return False

    def all_members_are_well(self):
        return all(self.is_well(m) for m in MEMBERS)

    def args(self, host):
        port, stores, args, site, _ = self.hosts[host]
        more = [x for path in stores for x in ("--store", path)]
        addr = f"127.0.0.1:{port}"
        if self.bootstrap:
            more.append("--bootstrap")
        return ["--host", host, "--domain", f"site={site}", "--listen", addr, "--advertise",
                self.seen_as(host, addr), "--metadata", "etcd:" + self.urls, *more, *args]

    def start(self, host, *args, **kw):
        p = super().start(host, *args, **kw)
        self.bootstrap = False
        return p

    def leader(self):
        """The host that says of itself that it leads; None if none answers for it."""
        r = self.test.run("causeway", "--cluster", self.addr, "--json", "status")
        try:
            manager = json.loads(r.out)["manager"]
        except (ValueError, KeyError):
            return None
        for name, h in self.hosts.items():
            if manager in (self.seen_as(name, f"127.0.0.1:{h[0]}"), f"127.0.0.1:{h[0]}"):
                return name
        raise Failed(f"the manager {manager} is no host of this cluster")
