#!/usr/bin/env python3
"""`causeway local`: a cluster on this machine comes up, loses and regains its parts, goes down."""
import json
import signal
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import Failed, wait_for


def test_up_prints_the_address_last_and_down_leaves_files(t):
    c = t.cluster()
    assert ":" in c.addr and " " not in c.addr, c.addr
    hosts = c.json("host", "ls")["hosts"]
    assert sorted(h["name"] for h in hosts) == ["aws-1", "onprem-1", "onprem-2"], hosts
    assert {h["site"] for h in hosts} == {"onprem", "aws"}, hosts
    assert all(h["state"] == "up" for h in hosts), hosts
    c.admin("volume", "create", "v", "--size", "64M")
    c.local("down")
    assert os.path.exists(os.path.join(c.dir, "onprem-1", "store-0"))
    assert c.try_admin("host", "ls").code == 1
    c.up()
    c.wait_full("v")
    assert [v["name"] for v in c.json("volume", "ls")["volumes"]] == ["v"]


def test_kill_start_pause_resume(t):
    c = t.cluster()
    state = lambda name: {h["name"]: h["state"] for h in c.json("host", "ls")["hosts"]}[name]
    c.local("kill", "onprem-2")
    wait_for("onprem-2 absent", lambda: state("onprem-2") == "absent", 6)
    r = c.json("status")
    assert r["health"] in ("warning", "error"), r["health"]
    assert any(f["object"].endswith("onprem-2") for f in r["findings"]), r["findings"]
    c.local("start", "onprem-2")
    wait_for("onprem-2 up", lambda: state("onprem-2") == "up", 10)
    c.local("pause", "aws-1")
    wait_for("aws-1 absent", lambda: state("aws-1") == "absent", 8)
    c.local("resume", "aws-1")
    wait_for("aws-1 up", lambda: state("aws-1") == "up", 10)
    wait_for("health ok", lambda: c.json("status")["health"] == "ok", 30)


def test_manager_away_does_not_stop_data(t):
    c = t.cluster()
    c.admin("volume", "create", "v", "--size", "64M")
    nbd = t.nbd(c)
    import nbd as client
    n = client.Nbd(nbd.sock, "v")
    n.write(0, b"a" * 4096)
    c.local("kill", "manager")
    for i in range(50):
        n.write(i * 4096, bytes([i]) * 4096)
    assert n.read(4096, 4096) == b"\x01" * 4096
    c.local("start", "manager")
    wait_for("the manager answers", lambda: c.try_admin("host", "ls").code == 0, 15)
    n.write(0, b"b" * 4096)
    n.close()


def test_add_hosts(t):
    c = t.cluster("onprem:1", "512M")
    c.local("add", "aws:2")
    names = sorted(h["name"] for h in c.json("host", "ls")["hosts"])
    assert names == ["aws-1", "aws-2", "onprem-1"], names


def test_processes_killed_from_outside(t):
    c = t.cluster()
    import subprocess
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as f:
                line = f.read().decode("utf-8", "replace")
        except OSError:
            continue
        if c.dir in line and "onprem-1" in line and "causewayd" in line:
            os.kill(int(entry), signal.SIGKILL)
    c.local("start", "onprem-1")
    wait_for("up again", lambda: all(h["state"] == "up" for h in c.json("host", "ls")["hosts"]), 15)


harness.main(globals())
