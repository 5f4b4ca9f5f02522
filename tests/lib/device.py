"""tests/lib/device.py - volumes as block devices of this host, in tests: what they need, what they leave, a load."""
import hashlib
import os
import random
import shutil
import signal
import threading

from harness import Failed, Skip, wait_for


def need_devices():
    """Root, FUSE, loop devices, or a skip that says what is missing."""
    if os.geteuid() != 0:
        raise Skip("only root makes block devices")
    for path in ("/dev/fuse", "/dev/loop-control"):
        try:
            os.close(os.open(path, os.O_RDWR))
        except OSError as e:
            raise Skip(f"{path}: {e.strerror}")


class Device:
    """What a test knows of a volume's device, and its end whatever happens. The name is this test's alone, since
    /dev/causeway is shared."""

    def __init__(self, t, name):
        self.t, self.name = t, f"{name}-{os.getpid()}"
        self.root = t.path("devices")
        t.env["CAUSEWAY_DEVICE_DIR"] = self.root
        self.link = f"/dev/causeway/{self.name}"
        self.mnt = t.path("mnt-" + name)
        os.makedirs(self.mnt, exist_ok=True)
        t.at_end(self.remove)

    def state(self):
        try:
            lines = open(os.path.join(self.root, self.name, "state")).read().splitlines()
        except FileNotFoundError:
            return {}
        return dict((x.split("=", 1) + [""])[:2] for x in lines)

    def pid(self, which):
        return int(self.state().get(which, "0").split()[0])

    def path(self):
        return self.state().get("device", "")

    def log(self):
        try:
            return open(os.path.join(self.root, self.name, "log")).read()
        except FileNotFoundError:
            return ""

    def size(self):
        return int(open(f"/sys/class/block/{os.path.basename(self.path())}/size").read()) * 512

    def inflight(self):
        return sum(map(int, open(f"/sys/class/block/{os.path.basename(self.path())}/inflight").read().split()))

    def kill_back_end(self):
        """Returns once another has taken its place and serves."""
        pid, before = self.pid("back-end"), self.log().count("serves again")
        os.kill(pid, signal.SIGKILL)
        wait_for("another back end serves", lambda: self.log().count("serves again") > before, 60)
        if self.pid("back-end") == pid:
            raise Failed("the back end is the same")

    def made_again(self):
        """Requests that later back ends found, one number for each of them."""
        return [int(x.split(" serves again, ")[1].split()[0]) for x in self.log().splitlines() if "serves again" in x]

    def left(self):
        """What is still there of it."""
        found = []
        if os.path.lexists(self.link):
            found.append(self.link)
        if os.path.exists(os.path.join(self.root, self.name)):
            found.append(os.path.join(self.root, self.name))
        if f"{self.root}/{self.name}/disk" in open("/proc/mounts").read():
            found.append("a FUSE mount")
        for block in os.listdir("/sys/block"):
            try:
                if f"{self.root}/{self.name}/" in open(f"/sys/block/{block}/loop/backing_file").read():
                    found.append(block)
            except OSError:
                pass
        return found

    @staticmethod
    def signal(state, which, number):
        pid = int(state.get(which, "0").split()[0])
        if pid > 0:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def remove(self):
        """Whatever state it is in. Without its processes the kernel ends what waits for them."""
        state = self.state()
        for which in ("holder", "back-end"):
            self.signal(state, which, signal.SIGCONT)
        if self.mnt in open("/proc/mounts").read():
            self.t.run("umount", self.mnt, timeout=60)
        if self.t.run("causeway-device", "--detach", "--volume", self.name, timeout=90).code == 0 or not self.left():
            return
        for which in ("holder", "back-end"):
            self.signal(state, which, signal.SIGKILL)
        self.t.run("umount", "-l", self.mnt, timeout=60)
        self.t.run("causeway-device", "--detach", "--volume", self.name, timeout=90)


class FileLoad:
    """Writes files over and over, each with fsync, and knows what each must hold once it has stopped."""

    def __init__(self, directory, n_threads=3, n_files=8, size=192 << 10, seed=1):
        self.dir, self.n_files, self.size = directory, n_files, size
        self.sums, self.errors, self.writes = {}, [], 0
        self.stop_asked, self.lock = threading.Event(), threading.Lock()
        self.threads = [threading.Thread(target=self.work, args=(i, random.Random(seed * 100 + i)), daemon=True)
                        for i in range(n_threads)]

    def start(self):
        for x in self.threads:
            x.start()
        return self

    def work(self, number, rng):
        try:
            while not self.stop_asked.is_set():
                name = f"{number}-{rng.randrange(self.n_files)}"
                data = rng.randbytes(rng.randrange(1, self.size))
                fd = os.open(os.path.join(self.dir, name), os.O_WRONLY | os.O_CREAT, 0o644)
                try:
                    if os.write(fd, data) != len(data):
                        raise OSError("a short write")
                    os.ftruncate(fd, len(data))
                    os.fsync(fd)
                finally:
                    os.close(fd)
                with self.lock:
                    self.sums[name] = hashlib.sha256(data).hexdigest()
                    self.writes += 1
        except OSError as e:
            self.errors.append(f"{e}")

    def goes_on(self, timeout=60):
        """Writes come to an end that began later than now."""
        at = self.writes + 2 * len(self.threads)
        wait_for("writes go on", lambda: self.errors or self.writes >= at, timeout)
        if self.errors:
            raise Failed(f"the load failed: {self.errors}")

    def stop(self):
        self.stop_asked.set()
        for x in self.threads:
            x.join(120)
            if x.is_alive():
                raise Failed("a write does not end")
        if self.errors:
            raise Failed(f"the load failed: {self.errors}")

    def verify(self, directory):
        bad = [name for name, want in self.sums.items()
               if hashlib.sha256(open(os.path.join(directory, name), "rb").read()).hexdigest() != want]
        if bad or len(self.sums) < 4:
            raise Failed(f"of {len(self.sums)} files these are not what was written: {bad}")


def need_mkfs(kind):
    if shutil.which(f"mkfs.{kind}", path="/usr/sbin:/sbin:" + os.environ.get("PATH", "")) is None:
        raise Skip(f"mkfs.{kind} is not installed")
