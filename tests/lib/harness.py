"""tests/lib/harness.py - what end-to-end tests share: TAP, a cluster of their own, waiting.

A test file defines functions test_*(t), each one case, and ends with harness.main(globals()).
Every case gets a Test: a temporary directory, helpers to run programs, and clean-up that always runs.
Nothing here sleeps and hopes: wait_for polls a condition until a deadline.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.path.join(os.environ.get("CAUSEWAY_BUILD", os.path.join(TOP, "build")), "bin")


class Skip(Exception):
    pass


class Failed(Exception):
    pass


def need_tool(name):
    if shutil.which(name) is None:
        raise Skip(f"{name} is not installed")


def wait_for(what, condition, timeout=30.0, pause=0.05):
    """Polls until condition() is true and returns its value; fails after timeout seconds."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"not within {timeout:g} s: {what}")
        time.sleep(pause)


class Result:
    def __init__(self, args, code, out, err):
        self.args, self.code, self.out, self.err = args, code, out, err

    def __str__(self):
        return (f"{' '.join(self.args)}\n  exit {self.code}\n  stdout: {self.out[-2000:]}\n"
                f"  stderr: {self.err[-2000:]}")


class Test:
    def __init__(self, name):
        self.name = name
        self.dir = tempfile.mkdtemp(prefix="causeway-test-")
        self.clusters, self.procs, self.env = [], [], dict(os.environ)
        self.ends = []

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def run(self, *args, timeout=120, check=False, stdin=None, env=None):
        args = [os.path.join(BIN, args[0]) if os.path.exists(os.path.join(BIN, args[0])) else args[0],
                *map(str, args[1:])]
        p = subprocess.Popen(args, stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env=dict(self.env, **(env or {})), start_new_session=True)
        try:
            out, err = p.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGKILL)
            out, err = p.communicate()
            raise Failed(f"no end after {timeout} s: {' '.join(args)}\n{out.decode('utf-8', 'replace')}"
                         f"\n{err.decode('utf-8', 'replace')}")
        r = Result(args, p.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))
        if check and r.code != 0:
            raise Failed(str(r))
        return r

    def ok(self, *args, **kw):
        return self.run(*args, check=True, **kw)

    def fails(self, *args, code=None, says=None, **kw):
        """The program fails with one clear line, not with a crash."""
        r = self.run(*args, **kw)
        if r.code == 0 or r.code < 0 or (code is not None and r.code != code):
            raise Failed(f"expected exit {code or 'nonzero'}: {r}")
        for word in ([says] if isinstance(says, str) else says or []):
            if word.lower() not in (r.err + r.out).lower():
                raise Failed(f"expected '{word}' in what it says: {r}")
        return r

    def spawn(self, *args, log=None, env=None):
        args = [os.path.join(BIN, args[0]) if os.path.exists(os.path.join(BIN, args[0])) else args[0],
                *map(str, args[1:])]
        out = open(log or self.path(os.path.basename(args[0]) + ".log"), "ab")
        p = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                             env=dict(self.env, **(env or {})), start_new_session=True)
        out.close()
        p.log = out.name
        self.procs.append(p)
        return p

    def stop(self, p, sig=signal.SIGTERM, timeout=20):
        if p.poll() is None:
            p.send_signal(sig)
        try:
            return p.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGKILL)
            p.wait()
            raise Failed(f"{p.args[0]} did not stop on signal {sig} in {timeout} s")

    def cluster(self, hosts="onprem:2,aws:1", store_size="1G", memory=None, metadata=None):
        c = Cluster(self, hosts, store_size, memory, metadata)
        self.clusters.append(c)
        return c

    def nbd(self, cluster, *more):
        """Starts causeway-nbd on a unix socket and waits until it accepts."""
        sock = self.path(f"nbd{len(self.procs)}.sock")
        p = self.spawn("causeway-nbd", "--cluster", cluster.addr, "--socket", sock, *more)
        wait_for("the NBD socket", lambda: os.path.exists(sock) or p.poll() is not None)
        if p.poll() is not None:
            raise Failed(f"causeway-nbd ended: {open(p.log).read()[-2000:]}")
        p.sock = sock
        p.uri = lambda volume: f"nbd+unix:///{volume}?socket={sock}"
        return p

    def at_end(self, undo):
        """Called before anything is killed, whatever happens: what processes may wait for."""
        self.ends.append(undo)

    def cleanup(self, keep):
        for undo in reversed(self.ends):
            undo()
        for p in self.procs:
            if p.poll() is None:
                p.kill()
                p.wait()
        for c in self.clusters:
            c.down_hard()
        if keep:
            print(f"# files kept in {self.dir}")
        else:
            shutil.rmtree(self.dir, ignore_errors=True)


class Cluster:
    """`causeway local` in a directory of the test."""

    def __init__(self, test, hosts, store_size, memory=None, metadata=None):
        self.test = test
        self.dir = test.path(f"cluster{len(test.clusters)}")
        r = test.ok("causeway", "local", "up", "--dir", self.dir, "--hosts", hosts,
                    "--store-size", store_size, *(("--memory", memory) if memory else ()),
                    *(("--metadata", metadata) if metadata else ()))
        self.addr = r.out.strip().splitlines()[-1].strip()

    def local(self, verb, *args, **kw):
        return self.test.ok("causeway", "local", verb, *args, "--dir", self.dir, **kw)

    def up(self):
        r = self.local("up")
        self.addr = r.out.strip().splitlines()[-1].strip()

    def admin(self, *args, **kw):
        return self.test.ok("causeway", "--cluster", self.addr, *args, **kw)

    def try_admin(self, *args, **kw):
        return self.test.run("causeway", "--cluster", self.addr, *args, **kw)

    def json(self, *args):
        r = self.test.run("causeway", "--cluster", self.addr, "--json", *args)
        try:
            return json.loads(r.out)
        except ValueError:
            raise Failed(f"no JSON: {r}")

    def volume(self, name):
        return self.json("volume", "show", name)["volume"]

    def protection(self, name):
        return self.volume(name)["protection"]

    def wait_full(self, name, timeout=90):
        wait_for(f"{name} is full", lambda: self.protection(name) == "full", timeout, 0.2)

    def down_hard(self):
        self.test.run("causeway", "local", "kill", "all", "--dir", self.dir)


def main(names):
    cases = [(n, f) for n, f in names.items() if n.startswith("test_") and callable(f)]
    only = sys.argv[1:]
    keep = bool(os.environ.get("CAUSEWAY_TEST_KEEP"))
    failed = 0
    print(f"1..{len(cases)}", flush=True)
    for i, (name, fn) in enumerate(cases, 1):
        if only and name not in only:
            print(f"ok {i} - {name} # SKIP not asked for", flush=True)
            continue
        t = Test(name)
        bad, begun = False, time.monotonic()
        try:
            fn(t)
            print(f"ok {i} - {name}", flush=True)
        except Skip as e:
            print(f"ok {i} - {name} # SKIP {e}", flush=True)
        except BaseException as e:
            bad = True
            failed += 1
            text = str(e) if isinstance(e, Failed) else traceback.format_exc()
            print(f"not ok {i} - {name}")
            for line in text.splitlines():
                print("# " + line)
            dump_logs(t)
            if not isinstance(e, Exception):
                t.cleanup(False)
                raise
        finally:
            t.cleanup(keep and bad)
        print(f"# {name}: {time.monotonic() - begun:.1f} s", flush=True)
    return sys.exit(1 if failed else 0)


def by_seed(make, play, short, long):
    """Cases test_seed_N, those that were asked for, else so many: play(make(t, N)). What failed tells what was done to
    it (told), for the same seed does the same again."""
    def case(seed):
        def test(t):
            x = make(t, seed)
            try:
                play(x)
            except BaseException:
                print(f"# seed {seed}:", *x.told, sep="\n#   ")
                raise
        return test

    asked = [x for x in sys.argv[1:] if x.startswith("test_seed_")]
    names = asked or [f"test_seed_{i}" for i in range(1, (long if os.environ.get("CW_TEST_LONG") else short) + 1)]
    main({name: case(int(name.rsplit("_", 1)[1])) for name in names})


def dump_logs(t):
    for base, _, files in os.walk(t.dir):
        for name in sorted(files):
            if name == "log" or name.endswith(".log"):
                path = os.path.join(base, name)
                with open(path, errors="replace") as f:
                    tail = f.read()[-2500:]
                print(f"# ---- {os.path.relpath(path, t.dir)}")
                for line in tail.splitlines()[-25:]:
                    print("# " + line)
