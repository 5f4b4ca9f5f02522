#!/usr/bin/env python3
"""Row 31: a volume goes from one live client to another and back, with real daemons."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness

PROGRAM = os.path.join(os.path.dirname(harness.BIN), "tests", "e2e", "hand-over")
ROUNDS = 6


def test_row_31_a_volume_is_handed_to_and_fro(t):
    c = t.cluster()
    c.admin("volume", "create", "v", "--size", "64M")
    r = t.ok(PROGRAM, c.addr, "v", str(ROUNDS))
    print(f"# ms until the target serves: {' '.join(r.out.split())}")
    assert len(r.out.split()) == ROUNDS, r
    events = [e for e in c.json("events")["events"] if e["object"] == "v"]
    handed = [e for e in events if e["code"] == "VOLUME_ATTACHED" and "(handed over)" in e["text"]]
    assert len(handed) == ROUNDS, events
    harness.wait_for("it is released", lambda: c.volume("v")["state"] != "attached", 20)
    c.admin("volume", "verify", "v")


harness.main(globals())
