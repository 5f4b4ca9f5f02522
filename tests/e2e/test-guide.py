#!/usr/bin/env python3
"""docs/guide.md, done word for word on three hosts of one machine: see tests/lib/guide.py."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import guide
import harness
from harness import need_tool

DISKS = ("nvme1n1", "nvme2n1")
GROUPS = ("volume", "host", "disk", "policy", "repair", "scrub", "jobs", "local")


def follow(t, deployment, numbers):
    world = guide.World(t, deployment, numbers)
    for name, m in world.machines.items():
        for disk in DISKS if name != "m1" else ():
            m.disk(disk)
    for step in guide.read():
        if step.deployment == deployment and step.hosts:
            world.do(step)


def test_three_hosts_with_etcd(t):
    for tool in ("etcd", "etcdctl", "openssl", "nbdinfo", "qemu-img"):
        need_tool(tool)
    follow(t, "etcd", {"h1": 11, "h2": 12, "h3": 13})


def test_one_manager_with_lmdb(t):
    follow(t, "lmdb", {"m1": 10, "h1": 11, "h2": 12, "h3": 13})


def test_every_command_is_known(t):
    """Also of what is not run: every command that the guide names has a help page."""
    with open(guide.GUIDE) as f:
        text = f.read()
    lines = [x for pair in re.findall(r"`causeway ([^`\n]+)`|^causeway ([^-].+)$", text, re.M) for x in pair if x]
    names = {" ".join(line.split()[:2 if line.split()[0] in GROUPS else 1]) for line in lines if line[0] != "-"}
    assert len(names) > 15, names
    for name in sorted(names):
        t.ok("causeway", *name.split(), "--help")


if __name__ == "__main__":
    harness.main(globals())
