#!/usr/bin/env python3
"""The program behind `bench/run placement`, at a size that takes no time."""
import json
import os
import subprocess
import sys

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
sys.path[:0] = [os.path.join(TOP, "tests", "lib")]
import harness

PROGRAM = os.path.join(os.path.dirname(harness.BIN), "bench", "placement-bench")


def test_a_lost_host_moves_no_more_than_it_held(t):
    row = json.loads(subprocess.run([PROGRAM, "--json", "--hosts", "80", "--volumes", "4000"], check=True, timeout=50,
                                    stdout=subprocess.PIPE).stdout)
    assert row["lost_host_moved_over_least_ratio"] == 1, row
    assert row["placed_max_over_mean_ratio"] < 1.2, row
    assert row["after_loss_max_over_mean_ratio"] < 1.25, row
    assert row["added_host_moves_count"] > 0, row


harness.main(globals())
