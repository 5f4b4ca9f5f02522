#!/usr/bin/env python3
"""Where hosts are: regions and sites."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness

from daemons import Daemons


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


harness.main(globals())
