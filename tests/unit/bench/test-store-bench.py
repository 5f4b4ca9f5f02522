#!/usr/bin/env python3
"""The program behind `bench/run store`, and the formulas that its figures are held against."""
import json
import os
import subprocess
import sys

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
sys.path[:0] = [os.path.join(TOP, "tests", "lib"), os.path.join(TOP, "bench")]
import formulas
import harness

PROGRAM = os.path.join(os.path.dirname(harness.BIN), "bench", "store-bench")


class Bench:
    def __init__(self, t, *options):
        self.path = t.path("store")
        self.proc = subprocess.Popen([PROGRAM, "--store", self.path, "--size", "512M", "--fill", "64M", *options],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        t.procs.append(self.proc)
        self.identity = json.loads(self.proc.stdout.readline() or "{}")

    def say(self, line):
        self.proc.stdin.write(line.encode() + b"\n")
        self.proc.stdin.flush()
        return json.loads(self.proc.stdout.readline() or "{}")

    def end(self):
        self.proc.stdin.close()
        return self.proc.wait(60), self.proc.stderr.read().decode()


def test_formulas_give_the_known_values(t):
    for used, share, cost in ((0.5, 0.203, 1.26), (0.7, 0.467, 1.88), (0.8, 0.629, 2.69), (0.9, 0.807, 5.18)):
        assert round(formulas.victim_share(used), 3) == share, used
        assert round(formulas.cleaning(used), 2) == cost, used
        assert abs(formulas.used_for(formulas.cleaning(used)) - used) < 1e-6, used
    for used, costs in ((0.7, (1.49, 1.22, 1.09)), (0.8, (2.00, 1.48, 1.20)), (0.9, (3.57, 2.34, 1.61))):
        for writes, cost in zip((0.8, 0.9, 0.95), costs):
            assert round(formulas.cleaning_hot_cold(used, writes, 1 - writes), 2) == cost, (used, writes)
    assert [round(formulas.log(n), 3) for n in (1, 4, 8, 32, 64)] == [2.0, 1.25, 1.125, 1.031, 1.016]
    assert round(formulas.map_pages(1 << 20, 64 << 30), 3) == 0.062
    # the best split is never worse than none, and equal rates leave nothing to gain
    assert abs(formulas.cleaning_hot_cold(0.8, 0.5, 0.5) - formulas.cleaning(0.8)) < 1e-6


def test_every_job_answers_and_the_counts_agree(t):
    b = Bench(t)
    assert b.identity["volume_bytes"] == 64 << 20, b.identity
    fill = b.say("rw=write bs=1M depth=8 bytes=64M")
    assert fill["ops"] == 64 and fill["blocks_written"] == 64 * 256, fill
    for job, size in (("rw=randwrite bs=4k depth=1", 4096), ("rw=randwrite bs=4k depth=32 skew=1", 4096),
                      ("rw=randread bs=4k depth=32 skew=1", 4096), ("rw=read bs=1m depth=2", 1 << 20)):
        r = b.say(job + " bytes=4M")
        assert r["ops"] == (4 << 20) / size and r["csum_errors"] == 0, (job, r)
        assert r["p50_ns"] <= r["p99_ns"] <= r["max_ns"], (job, r)
        # what was seen on the way to the disk is what the store says that it logged
        assert r["hot_bytes"] + r["cold_bytes"] + r["meta_bytes"] == r["bytes_logged"], (job, r)
        assert (r["hot_batches"] > 0) == ("write" in job), (job, r)
    assert b.end() == (0, "")
    assert not os.path.exists(b.path)


def test_what_can_be_compressed_is_and_reads_right(t):
    b = Bench(t, "--compressible", "75", "--compression", "inline")
    r = b.say("rw=write bs=1M depth=8 bytes=64M")
    assert r["packed_in"] == 64 << 20 and 0 < r["packed_out"] < (64 << 20) / 2, r
    assert r["used_bytes"] < (64 << 20) / 2, r
    assert b.say("rw=randread bs=4k depth=8 bytes=2M")["ops"] == 512
    assert b.end() == (0, "")
    b = Bench(t, "--compression", "inline")  # what cannot be compressed stays as it is
    r = b.say("rw=write bs=1M depth=8 bytes=64M")
    assert r["packed_in"] == r["packed_out"] == 0 and r["used_bytes"] == 64 << 20, r
    assert b.end() == (0, "")


def test_wrong_data_ends_in_failure(t):
    b = Bench(t)
    b.say("rw=write bs=1M depth=8 bytes=64M")
    with open(b.path, "r+b") as f:
        f.seek(1 << 20)
        while f.tell() < 200 << 20:
            f.write(b"\xa5" * (1 << 20))
        f.flush()
        os.fsync(f.fileno())
    assert b.say("rw=randread bs=4k depth=4 bytes=1M") == {}
    code, err = b.end()
    assert code == 1 and "is unreadable or corrupt" in err, (code, err)
    assert not os.path.exists(b.path)


def test_what_cannot_be_done_is_refused(t):
    for options, status, why in ((["--compression", "zip"], 2, "not understood"),
                                 (["--compressible", "101"], 2, "not understood"),
                                 (["--fill", "1G"], 1, "--fill"), (["--fill", "510M"], 1, "does not fit")):
        b = Bench(t, *options)
        code, err = b.end()
        assert code == status and why in err and not os.path.exists(b.path), (options, code, err)
    for line in ("rw=trim seconds=1", "rw=read", "rw=read bs=3000 seconds=1", "rw=read depth=0 bytes=1M"):
        b = Bench(t)
        assert b.say(line) == {}, line
        assert b.end()[0] == 1, line


harness.main(globals())
