#!/usr/bin/env python3
"""Explores the models of the replication protocol with Spin (spin, gcc): every state within the bounds given.

  explore.py                         the cases of cases.txt, as TAP: each must come out as expected
  explore.py MODEL [-DNAME[=N] ..]   one configuration, one line

Options of one configuration: --trail FILE writes the counterexample step by step, --shortest looks for the shortest one
(breadth first), --compact samples by hash compaction what does not fit into memory.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


class Result:
    def __init__(self, outcome, states=0, seconds=0.0, what=""):
        self.outcome, self.states, self.seconds, self.what = outcome, states, seconds, what

    def __str__(self):
        return f"{self.outcome}, {self.states} states, {self.seconds:.0f} s" + (f": {self.what}" if self.what else "")


def number(pattern, text):
    found = re.search(pattern, text, re.M)
    return float(found.group(1)) if found else 0


def run(args, directory, timeout):
    """Its output; None: it took too long."""
    try:
        done = subprocess.run(args, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout


def judge(log):
    states, seconds = int(number(r"^ *(\d+) states, stored", log)), number(r"elapsed time ([\d.]+)", log)
    violated = re.search(r"assertion violated .*", log)
    if violated:
        return Result("caught", states, seconds, violated.group(0))
    cut = re.search(r"depth too small|out of memory|not completed|reached -DMEMLIM", log)
    return Result("ok" if "errors: 0" in log and not cut else "unfinished", states, seconds, cut.group(0) if cut else "")


def explore(model, defines, opts):
    with tempfile.TemporaryDirectory(prefix="causeway-model-") as d:
        shutil.copy(os.path.join(HERE, model + ".pml"), os.path.join(d, "m.pml"))
        short = ["-DSHORT"] if opts.shortest else []
        log = run(["spin", "-a", *short, *defines, "m.pml"], d, 60)
        if not os.path.exists(os.path.join(d, "pan.c")):
            return Result("unfinished", what=log or "spin took too long")
        flags = ["-DSAFETY", "-DVECTORSZ=2048", f"-DMEMLIM={opts.memory}"]
        flags += ["-DBFS"] if opts.shortest else []
        flags += ["-DHC4"] if opts.compact else []
        log = run(["gcc", "-O2", "-w", *flags, "-o", "pan", "pan.c"], d, 300)
        log = run(["./pan", "-E", "-n", "-w25", "-m3000000"], d, opts.seconds)
        if log is None:
            return Result("unfinished", seconds=opts.seconds, what="it took too long")
        if opts.trail and os.path.exists(os.path.join(d, "m.pml.trail")):
            with open(opts.trail, "w", encoding="utf-8") as f:
                f.write(run(["spin", "-t", "-p", "-g", *short, *defines, "m.pml"], d, 300) or "")
        return judge(log)


def all_cases(opts):
    with open(os.path.join(HERE, "cases.txt"), encoding="utf-8") as f:
        cases = [line.split() for line in f if line.strip() and not line.startswith("#")]
    failed = 0
    print(f"1..{len(cases)}", flush=True)
    for n, (expected, model, *defines) in enumerate(cases, 1):
        r = explore(model, defines, opts)
        good = r.outcome == expected
        failed += not good
        print(f"{'ok' if good else 'not ok'} {n} - {model} {' '.join(defines)} - {r}"
              f"{'' if good else f', expected: {expected}'}", flush=True)
    return 1 if failed else 0


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model", nargs="?")
    ap.add_argument("--trail")
    ap.add_argument("--shortest", action="store_true")
    ap.add_argument("--compact", action="store_true")
    ap.add_argument("--memory", type=int, default=8000, help="MiB at most")
    ap.add_argument("--seconds", type=int, default=900, help="of one configuration at most")
    opts, defines = ap.parse_known_args()
    if shutil.which("spin") is None:
        print("explore: spin is not installed; run as root: packaging/install-deps model", file=sys.stderr)
        return 2
    if opts.model is None:
        return all_cases(opts)
    r = explore(opts.model, defines, opts)
    print(f"{opts.model} {' '.join(defines)}: {r}")
    return 0 if r.outcome == "ok" else 1


if __name__ == "__main__":
    sys.exit(main())
