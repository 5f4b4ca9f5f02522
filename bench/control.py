"""`bench/run control`: the control plane with many volumes on a cluster of this machine.

What is measured, once with every volume attached (50 to a causeway-nbd), once with none attached:

rest    CPU of the manager, of the daemons' control threads and of all else, over --seconds in which nobody asks
        for anything (from the scheduler's nanoseconds, so that less than a tick counts too)
status  `causeway status`, --asks times one after the other: each a process of its own that dials, asks and ends
loss    a host is killed. Its volumes' policy has repair-delay=1s, so that every copy that it held gets a new place as
        soon as the host is absent (4 s of silence). Told apart are the time until it is absent, from there until the
        last of the new places is in the records, and how many transactions of the store the changes took (the
        epoch's rise; what raises no epoch is not seen)

Times of changes are those at which `causeway events -f` prints them: after the transaction, not before.
"""
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

from fio import run

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "lib"))
from nbd import Nbd

TARGET_STATUS_MS, TARGET_LOSS_S, TARGET_REST_PERCENT = 200, 2, 0.5
ABSENT_S = 4  # a host that is silent for so long is absent
EACH = 50  # volumes that one causeway-nbd serves


def wait_for(what, condition, timeout, pause=0.1):
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"bench: not within {timeout} s: {what}")
        time.sleep(pause)


class Events(threading.Thread):
    """What happens from now on, with the time at which it was heard of."""

    def __init__(self, program, addr):
        super().__init__(daemon=True)
        self.seen, after = [], 0
        while more := json.loads(run(program, "--cluster", addr, "--json", "events", "--after", after))["events"]:
            after = more[-1]["number"]
        self.proc = subprocess.Popen([program, "--cluster", addr, "--json", "events", "-f", "--after", str(after)],
                                     stdout=subprocess.PIPE, text=True)
        self.start()

    def run(self):
        for line in self.proc.stdout:
            try:
                self.seen.append((time.monotonic(), json.loads(line)["event"]))
            except (KeyError, ValueError):
                pass

    def end(self):
        self.proc.terminate()
        self.proc.wait()

    def of(self, code, text=""):
        return [at for at, e in self.seen if e["code"] == code and re.search(text, e["text"])]


def cpu_ns(pids):
    """{(pid, is it the first thread): nanoseconds on a CPU}"""
    took = {}
    for pid in pids:
        for tid in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{tid}/schedstat") as f:
                key = (pid, int(tid) == pid)
                took[key] = took.get(key, 0) + int(f.read().split()[0])
    return took


def kind_of(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as f:
        words = f.read().decode().split("\0")
    name = os.path.basename(words[0])
    return "manager" if name == "causewayd" and "manager" in words else name


class Control:
    def __init__(self, args, cluster, program):
        self.args, self.c, self.program, self.rows = args, cluster, program, []
        self.names = [f"v{i:03}" for i in range(args.volumes)]
        self.owners, self.open = [], []

    def ask(self, *what):
        """Its exit status tells how well all is: no failure of ours."""
        return subprocess.run([self.program, "--cluster", self.c.addr, *what], stdout=subprocess.PIPE,
                              timeout=120, check=False).stdout

    def json(self, *what):
        return json.loads(self.ask("--json", *what))

    def say(self, what, value, unit, target=None):
        self.rows.append({"what": what, "value": value, "unit": unit, "target": target})
        print(f"{what:66} {value:10.2f} {unit:6}" + (f"  target {target:g}" if target is not None else ""), flush=True)

    # ---- volumes ----

    def create(self):
        self.c.admin("policy", "create", "quick", "repair-delay=1s")
        begun = time.monotonic()
        for name in self.names:
            self.c.admin("volume", "create", name, "--size", "64M", "--policy", "quick")
        self.say(f"{len(self.names)} volumes created, one command each", time.monotonic() - begun, "s")

    def serve(self, part):
        """A causeway-nbd, and a connection to each of these volumes."""
        sock = os.path.join(self.args.dir, f"{part[0]}.sock")
        self.owners.append(subprocess.Popen([self.program + "-nbd", "--cluster", self.c.addr, "--socket", sock],
                                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        wait_for("the NBD socket", lambda: os.path.exists(sock), 20, 0.01)
        return [Nbd(sock, name) for name in part]

    def attach(self):
        parts = [self.names[i:i + EACH] for i in range(0, len(self.names), EACH)]
        begun = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(len(parts)) as pool:
            self.open = [nbd for some in pool.map(self.serve, parts) for nbd in some]
        self.say(f"all attached, by {len(parts)} clients at once", time.monotonic() - begun, "s")
        for nbd in self.open:
            nbd.write(0, b"x" * 4096)

    def detach(self):
        for nbd in self.open:
            nbd.close()
        for p in self.owners:
            p.send_signal(signal.SIGTERM)
        for p in self.owners:
            p.wait(60)
        self.owners, self.open = [], []

    def settled(self):
        s = self.json("status")
        return s["protection"].get("full") == len(self.names) and \
            not any(f["code"].startswith(("VOLUME", "HOST")) for f in s["findings"])

    # ---- figures ----

    def rest(self, how):
        pids = self.c.pids() + [p.pid for p in self.owners]
        kinds = {pid: kind_of(pid) for pid in pids}
        begun, before = time.monotonic(), cpu_ns(pids)
        time.sleep(self.args.seconds)
        took, after = time.monotonic() - begun, cpu_ns(pids)
        share = {}
        for (pid, first), ns in after.items():
            part = kinds[pid]
            if part in ("causewayd", "causeway-nbd"):
                part += ", control" if first else ", data"
            share[part] = share.get(part, 0) + (ns - before.get((pid, first), ns)) / took / 1e7
        plane = share.get("manager", 0) + share.get("causewayd, control", 0)
        for part in sorted(share):
            self.say(f"at rest, {how}: {part}, all of them", share[part], "% CPU")
        self.say(f"at rest, {how}: control plane", plane, "% CPU", TARGET_REST_PERCENT)

    def status(self, how):
        took = []
        for _ in range(self.args.asks):
            begun = time.monotonic()
            self.ask("status")
            took.append((time.monotonic() - begun) * 1e3)
        took.sort()
        self.say(f"causeway status, {how}: median", took[len(took) // 2], "ms")
        self.say(f"causeway status, {how}: worst of {len(took)}", took[-1], "ms", TARGET_STATUS_MS)

    def loss(self, how, host):
        held = sum(d["shards"] for d in self.json("disk", "ls")["disks"] if d["host"] == host)
        epoch = self.json("status")["epoch"]
        events = Events(self.program, self.c.addr)
        try:
            self.lose(how, host, held, epoch, events)
        finally:
            events.end()
        self.c.local("start", host)
        wait_for("all is well again", self.settled, 600, 0.5)

    def lose(self, how, host, held, epoch, events):
        begun = time.monotonic()
        self.c.local("kill", host)
        wait_for(f"{held} copies have a new place", lambda: len(events.of("COPY_REPLACED")) >= held, 300, 0.05)
        took = self.json("status")["epoch"] - epoch
        placed, out = events.of("COPY_REPLACED"), events.of("COPY_STATE", host + "/.*=OUT")
        self.say(f"{host} lost, {how}: copies that it held", held, "")
        self.say(f"{host} lost, {how}: the first volume goes on without it after", out[0] - begun, "s")
        self.say(f"{host} lost, {how}: the last one", out[-1] - begun, "s")
        self.say(f"{host} lost, {how}: the first new place after", placed[0] - begun, "s")
        self.say(f"{host} lost, {how}: the last one", placed[-1] - begun, "s")
        self.say(f"{host} lost, {how}: the last one, after {ABSENT_S} s of silence", placed[-1] - begun - ABSENT_S, "s",
                 TARGET_LOSS_S)
        self.say(f"{host} lost, {how}: transactions until then", took, "")
        begun = time.monotonic()
        self.ask("status")
        self.say(f"causeway status, {how}: while copies are made", (time.monotonic() - begun) * 1e3, "ms",
                 TARGET_STATUS_MS)


def rest_alone(control):
    try:
        control.attach()
        wait_for("all is well", control.settled, 120)
        control.rest("all attached")
    finally:
        control.detach()
    wait_for("all is well", control.settled, 120)
    control.rest("none attached")
    return control.rows


def bench(args, cluster, program):
    control = Control(args, cluster, program)
    hosts = [h["name"] for h in control.json("host", "ls")["hosts"]]
    control.create()
    if args.rest:
        return rest_alone(control)
    try:
        control.attach()
        wait_for("all is well", control.settled, 120)
        control.rest("all attached")
        control.status("all attached")
        control.loss("all attached", hosts[0])
    finally:
        control.detach()
    wait_for("all is well", control.settled, 120)
    control.rest("none attached")
    control.status("none attached")
    control.loss("none attached", hosts[1])
    return control.rows
