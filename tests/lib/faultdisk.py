"""tests/lib/faultdisk.py - a store on a disk that fails, hangs or is pulled (faultfs.c)."""
import os
import signal
import subprocess

from harness import Skip, wait_for

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.join(os.environ.get("CAUSEWAY_BUILD", os.path.join(TOP, "build")), "tests", "lib", "faultfs")


class FaultDisk:
    """A file of the test, seen through a mount that can be told to fail."""

    def __init__(self, test, backing):
        if not os.path.exists(PROGRAM):
            raise Skip("faultfs is not built: libfuse3-dev was not there")
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            raise Skip("/dev/fuse cannot be opened")
        self.test, self.backing, self.dir = test, backing, backing + ".mnt"
        self.file = os.path.join(self.dir, "store")
        self.path = backing + ".link"  # a host keeps its key beside its first store
        os.mkdir(self.dir)
        os.symlink(self.file, self.path)
        test.at_end(self.unmount)
        self.plug()

    def plug(self):
        self.server = self.test.spawn(PROGRAM, self.backing, self.dir, log=self.dir + ".log")
        wait_for("the mount", lambda: self.there() or self.server.poll() is not None, 10)
        if self.server.poll() is not None:
            with open(self.server.log) as f:
                raise Skip(f"no FUSE mount here: {f.read().strip()[-200:]}")

    def there(self):
        try:
            return os.path.ismount(self.dir) and os.path.exists(self.file)
        except OSError:
            return False

    def fail(self):
        self.server.send_signal(signal.SIGUSR1)

    def hang(self):
        self.server.send_signal(signal.SIGUSR2)

    def rot(self):
        self.server.send_signal(signal.SIGRTMIN)

    def busy(self):
        self.server.send_signal(signal.SIGRTMIN + 1)

    def slow(self):
        self.server.send_signal(signal.SIGRTMIN + 2)

    def lie(self):
        self.server.send_signal(signal.SIGRTMIN + 4)

    def cut_power(self):
        """What was not synced is lost, here and there; it is gone as if pulled once `is_off`."""
        self.server.send_signal(signal.SIGRTMIN + 3)

    def is_off(self):
        return self.server.poll() is not None

    def mend(self):
        self.server.send_signal(signal.SIGHUP)

    def pull(self):
        """Whatever hung fails now, and what held the file open finds it dead."""
        self.server.kill()
        self.server.wait()

    def unmount(self):
        self.pull()  # only this ends processes that wait for a disk that hangs
        for _ in range(3):
            if subprocess.run(["fusermount3", "-u", "-z", self.dir], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode != 0:
                break  # not mounted any more

    def plug_again(self):
        self.unmount()
        self.plug()

    def changed_ns(self):
        """When its content was last written."""
        return os.stat(self.backing).st_mtime_ns
