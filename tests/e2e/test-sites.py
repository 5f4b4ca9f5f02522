#!/usr/bin/env python3
"""Where hosts are: regions and sites, and how far from each other."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import wait_for

from daemons import Daemons
from proxy import Net


def test_regions(t):
    c = Daemons(t)
    c.start("a", [c.format("a")], site="dc1,region=eu")
    c.start("b", [c.format("b")], site="dc2,region=eu")
    c.start("x", [c.format("x")], site="aws,region=us")
    regions = {h["name"]: h["region"] for h in c.json("host", "ls")["hosts"]}
    assert regions == {"a": "eu", "b": "eu", "x": "us"}, regions
    regions = {s["name"]: s["region"] for s in c.json("status")["sites"]}
    assert regions == {"dc1": "eu", "dc2": "eu", "aws": "us"}, regions
    assert "REGION" in c.admin("host", "ls").out
    assert "region eu, site dc1" in c.admin("host", "show", "a").out

    c.admin("volume", "create", "v", "--size", "16M")
    told = c.json("whatif", "--fail", "eu")["whatif"]
    assert sorted(told["disks"]) == ["dc1/a/store-0", "dc2/b/store-0"], told
    assert c.try_admin("whatif", "--fail", "eu").code == 2
    t.fails("causeway", "--cluster", c.addr, "whatif", "--fail", "moon", says="no region, site")

    r = t.fails("causewayd", "--host", "y", "--domain", "region=us,site=dc1", "--listen",
                "127.0.0.1:0", "--join", c.join, "--store", c.format("y"), code=1, says="a site lies in one region", timeout=20)
    assert "host a puts it into region eu" in r.err and "--domain region=eu,site=dc1" in r.err, r


def links(c, site):
    s = next(s for s in c.json("status")["sites"] if s["name"] == site)
    return {x["site"]: x for x in s["links"]}


def rtt_ms(c, site, to):
    return links(c, site).get(to, {"rtt_ns": 0})["rtt_ns"] / 1e6


def test_distance(t):
    net = Net(t)
    c = Daemons(t, net)
    net.set("a", "x", "to", delay_ms=30)
    net.set("x", "a", "to", delay_ms=30)
    net.set("b", "x", "to", delay_ms=30)
    net.set("x", "b", "to", delay_ms=30)
    for host, site in (("a", "dc1"), ("b", "dc1"), ("x", "aws")):
        c.start(host, [c.format(host)], site=site)
    wait_for("the way between the sites", lambda: rtt_ms(c, "dc1", "aws") >= 30, 40)
    wait_for("the way within dc1", lambda: rtt_ms(c, "dc1", "dc1") > 0, 40)
    assert rtt_ms(c, "dc1", "aws") == rtt_ms(c, "aws", "dc1") < 200, links(c, "dc1")
    assert rtt_ms(c, "dc1", "dc1") < 30, links(c, "dc1")
    lines = c.try_admin("status").out.splitlines()
    assert any(" dc1 " in x and " rtt " in x for x in lines), lines
    assert any("rtt 3" in x and " ms" in x for x in lines), lines
    assert "rtt" in c.admin("host", "show", "x").out
    told = c.json("policy", "check", "copies=3")
    assert 30e6 <= told["write_wait_ns"] < 200e6 and "each write waits for" in told["round_trips_text"], told
    net.heal()
    wait_for("a shorter way", lambda: 0 < rtt_ms(c, "dc1", "aws") < 30, 40)


def test_throughput(t):
    net = Net(t)
    c = Daemons(t, net)
    for host, site in (("a", "dc1"), ("x", "aws")):
        c.start(host, [c.format(host, "1G")], site=site)
    c.admin("policy", "create", "p", "copies=1", "sites=only:dc1")
    with open(t.path("image"), "wb") as f:
        f.write(os.urandom(64 << 20))
    c.admin("volume", "import", "v", t.path("image"), "--policy", "p")
    net.set("*", "a", "from", rate=10 << 20)
    net.set("*", "x", "to", rate=10 << 20)
    c.admin("policy", "set", "p", "copies=2", "sites=any")

    def speed():
        return links(c, "dc1").get("aws", {"link_bytes_per_second": 0})["link_bytes_per_second"]

    wait_for("the resync's speed", speed, 60)
    assert speed() < 40 << 20, links(c, "dc1")
    wait_for("it is in sync", lambda: c.protection("v") == "full" and c.volume("v")["compliant"], 90)
    assert any("link" in x and "b/s" in x for x in c.try_admin("status").out.splitlines())


def test_volatile_sites(t):
    c = Daemons(t)
    c.start("a", [c.format("a")], site="dc1")
    for host in ("x", "y"):
        c.start(host, [c.format(host)], "--site-kind", "cloud", "--site-attributes",
                "provider=aws,price=0.09,volatile=yes", site="aws")
    for h in c.json("host", "ls")["hosts"]:
        told = h["provider"], h["egress_price_per_gb"], h["volatile"]
        assert told == (("", "", False) if h["name"] == "a" else ("aws", "0.09", True)), h
    assert {s["name"]: s["volatile"] for s in c.json("status")["sites"]} == {"dc1": False, "aws": True}
    assert "0.09 per GB" in c.admin("host", "show", "x").out
    assert "every copy would lie on volatile" in c.admin("policy", "check", "copies=2", "sites=only:aws").out
    c.admin("policy", "create", "p", "copies=2", "sites=prefer:aws")
    for n in range(4):
        c.admin("volume", "create", f"v{n}", "--size", "16M", "--policy", "p")
        assert sorted(m["site"] for m in c.volume(f"v{n}")["shards"][0]["members"]) == ["aws", "dc1"]


harness.main(globals())
