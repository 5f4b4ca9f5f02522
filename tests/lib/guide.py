"""tests/lib/guide.py - docs/guide.md, read and done: what stands there for a host is run as if there.

A code block `sh on=h1` is run by bash on h1, `on=h1,h2,h3` on these at the same time, in order of the text;
`deployment=lmdb` is for that deployment only (without it a block is for the one of the first part, etcd).
`exit=1,2` is how it may end. A block without `on=` is not run. Behind a block a comment may say what an operator
would see or do next:

    <!-- test: until COMMAND -->          poll it on the host of the block, 30 s
    <!-- test: says TEXT -->              the block printed that
    <!-- test: h3 dies -->                every process there is killed

A host is a directory that stands for its root, an address of 127.0.0.0/8 for its own, and programs in place of
what needs a real machine: systemctl (guide_systemctl.py, which runs what the units say), scp, apt-get and the like.
"""
import os
import random
import re
import signal
import subprocess
import time

from harness import BIN, TOP, Failed, wait_for

GUIDE = os.path.join(TOP, "docs", "guide.md")
ROOTS = ("/etc/", "/var/lib/", "/run/", "/dev/nvme", "/root/")
BLOCK = re.compile(r"^```(sh[^\n]*)\n(.*?)^```\n|^<!-- test: (.*?) -->\n", re.M | re.S)
STUBS = {"apt-get": "", "chown": "", "chgrp": "", "systemd-sysusers": "", "ln": ""}


class Step:
    """A block, or what a comment says of the block before it."""

    def __init__(self, match, line):
        words = (match.group(1) or "").split()[1:]
        self.o = dict(w.split("=", 1) for w in words)
        self.hosts = self.o["on"].split(",") if "on" in self.o else []
        self.deployment = self.o.get("deployment", "etcd")
        self.text, self.check, self.line = match.group(2), match.group(3), line


def read():
    with open(GUIDE) as f:
        text = f.read()
    steps = [Step(m, text.count("\n", 0, m.start()) + 1) for m in BLOCK.finditer(text)]
    for before, s in zip(steps, steps[1:]):
        if s.check:
            s.o, s.hosts, s.deployment = before.o, before.hosts, before.deployment
    return steps


class Machine:
    """One host of the guide."""

    def __init__(self, world, name, addr):
        self.world, self.name, self.addr = world, name, addr
        self.root = world.t.path(name)
        for d in ("etc/default", "var/lib", "run/units", "dev", "root"):
            os.makedirs(os.path.join(self.root, d))

    def here(self, text):
        """Text of the guide, on this host: its addresses and paths are ours."""
        text = text.replace("127.0.0.1", self.addr).replace("10.0.0.", self.world.net)
        # a member of etcd is believed only if it calls from an address of its certificate; here all call from one
        text = text.replace("subjectAltName=IP:$2", "subjectAltName=IP:$2,IP:127.0.0.1")
        return re.sub(r"(?<![\w./])(" + "|".join(ROOTS) + ")", lambda m: self.root + m.group(1), text)

    def disk(self, name):
        with open(os.path.join(self.root, "dev", name), "wb") as f:
            f.truncate(1 << 30)

    def start(self, script):
        """Bash with what the blocks before exported."""
        state = os.path.join(self.root, "shell")
        script = (f"[ ! -e {state} ] || . {state}\nset -eu -o pipefail\n{self.here(script)}\n"
                  f"export -p >{state}\n")
        env = dict(self.world.t.env, PATH=f"{self.world.bin}:{BIN}:{os.environ['PATH']}", GUIDE_ROOT=self.root,
                   GUIDE_HOST=self.name, GUIDE_TOP=TOP, HOME=self.root + "/root")
        return subprocess.Popen(["bash", "-c", script], env=env, cwd=self.root, text=True, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)

    def run(self, script, timeout=60):
        p = self.start(script)
        return p, finish(p, timeout)

    def pids(self):
        units = os.path.join(self.root, "run", "units")
        for name in os.listdir(units):
            if name.endswith(".pid"):
                with open(os.path.join(units, name)) as f:
                    yield name, int(f.read())

    def die(self):
        for name, pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            os.unlink(os.path.join(self.root, "run", "units", name))


def finish(p, timeout):
    try:
        return p.communicate(timeout=timeout)[0]
    except subprocess.TimeoutExpired:
        os.killpg(p.pid, signal.SIGKILL)
        raise Failed(f"no end after {timeout} s: {p.communicate()[0]}")


class World:
    """The hosts of one deployment."""

    def __init__(self, t, deployment, numbers):
        self.t, self.deployment, self.bin = t, deployment, t.path("bin")
        self.net = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}."
        self.stubs()
        self.machines = {name: Machine(self, name, f"{self.net}{n}") for name, n in numbers.items()}
        t.at_end(lambda: [m.die() for m in self.machines.values()])

    def stub(self, name, text):
        path = os.path.join(self.bin, name)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, 0o755)

    def stubs(self):
        os.mkdir(self.bin)
        lib = os.path.join(TOP, "tests", "lib")
        for name, text in STUBS.items():
            self.stub(name, f"#!/bin/sh\n{text}\n")
        self.stub("systemctl", f"#!/bin/sh\nexec python3 {lib}/guide_systemctl.py \"$@\"\n")
        self.stub("systemd-tmpfiles", "#!/bin/sh\nsed -n 's/^d \\(\\S*\\) .*/\\1/p' "
                  "$GUIDE_TOP/packaging/systemd/causeway.tmpfiles | sed \"s|^|$GUIDE_ROOT|\" | xargs mkdir -p\n")
        self.stub("runuser", "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done; shift; exec \"$@\"\n")
        # scp FILE.. HOST:DIR, below the root of another host
        self.stub("scp", "#!/bin/sh\nset -e\nwhile [ $# -gt 1 ]; do files=\"$files $1\"; shift; done\n"
                  "cp $files $(dirname \"$GUIDE_ROOT\")/${1%%:*}${1#*$GUIDE_ROOT}\n")

    def do(self, step):
        if step.check:
            return self.look(step)
        if os.environ.get("CAUSEWAY_GUIDE_TIMES"):
            print(f"# {time.monotonic():.1f} line {step.line}", flush=True)
        procs = [(name, self.machines[name].start(step.text)) for name in step.hosts]
        self.said = ""
        for name, p in procs:
            out = finish(p, 60)
            self.said += out
            if str(p.returncode) not in step.o.get("exit", "0").split(","):
                raise Failed(f"guide.md:{step.line}: on {name} it ended with {p.returncode}\n{step.text}\n{out}")

    def look(self, step):
        verb, _, rest = step.check.partition(" ")
        if verb == "says":
            assert rest in self.said, f"guide.md:{step.line}: '{rest}' was not said but\n{self.said}"
        elif verb == "until":
            m = self.machines[step.hosts[0]]
            wait_for(f"guide.md:{step.line}: {rest}", lambda: m.run(rest)[0].returncode == 0, 30, 0.2)
        elif rest == "dies":
            self.machines[verb].die()
        elif verb == "disk":
            name, _, disk = rest.partition(" ")
            self.machines[name].disk(disk)
        else:
            raise Failed(f"guide.md:{step.line}: test: {step.check}: what is that?")
