#!/usr/bin/env python3
"""Volumes as block devices of this host: file systems on them under load while hosts die and back ends are killed,
what is said when it does not work, what is left behind, a service manager that keeps the descriptors."""
import fcntl
import os
import signal
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from device import Device, FileLoad, need_devices, need_mkfs
from harness import wait_for

SIZE = 512 << 20


def setup(t, name, *create):
    need_devices()
    c = t.cluster(store_size="1G")
    d = Device(t, name)
    c.admin("volume", "create", d.name, "--size", str(SIZE), *create)
    return c, d


def attach(c, d, *more):
    path = c.admin("volume", "attach", d.name, "--device", *more).out.strip()
    assert path == d.path() and os.path.realpath(d.link) == path, (path, d.state())
    return path


def pread(path, n, off):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return os.pread(fd, n, off)
    finally:
        os.close(fd)


def pwrite(path, data, off):
    fd = os.open(path, os.O_WRONLY)
    try:
        assert os.pwrite(fd, data, off) == len(data)
        os.fsync(fd)
    finally:
        os.close(fd)


def used(c, d):
    return c.volume(d.name)["used_bytes"]


def play_file_system(t, kind, fsck):
    """The whole life of a file system: nothing that was written is missing, and space comes back."""
    need_mkfs(kind)
    c, d = setup(t, kind)
    c.admin("volume", "mount", d.name, d.mnt, "--mkfs", kind)
    load = FileLoad(d.mnt).start()
    load.goes_on()
    d.kill_back_end()
    load.goes_on()
    c.local("kill", "aws-1")
    load.goes_on()
    d.kill_back_end()
    load.goes_on()
    c.local("start", "aws-1")
    # Every host stands still: requests are under way for certain when the back end is killed.
    c.local("pause", "all")
    wait_for("requests wait", lambda: d.inflight() > 0)
    os.kill(d.pid("back-end"), signal.SIGKILL)
    c.local("resume", "all")
    wait_for("a third back end serves", lambda: len(d.made_again()) == 3, 60)
    assert d.made_again()[2] > 0, d.log()
    load.goes_on()
    load.stop()
    c.admin("volume", "unmount", d.name)
    assert d.left() == [], d.left()
    path = attach(c, d)
    t.ok(*fsck, path)
    c.admin("volume", "mount", d.name, d.mnt)
    load.verify(d.mnt)
    # Space: what was filled and removed is given back by fstrim.
    with open(os.path.join(d.mnt, "fill"), "wb") as f:
        for _ in range(96):
            f.write(os.urandom(1 << 20))
        f.flush()
        os.fsync(f.fileno())
    filled = wait_for("what was filled is seen", lambda: (lambda u: u if u > 96 << 20 else 0)(used(c, d)), 60)
    os.unlink(os.path.join(d.mnt, "fill"))
    t.ok("sync", "-f", d.mnt)
    t.ok("fstrim", d.mnt)
    wait_for("space comes back", lambda: used(c, d) < filled - (80 << 20), 60)
    load.verify(d.mnt)
    c.admin("volume", "unmount", d.name)
    t.ok("causeway", "--cluster", c.addr, "volume", "verify", d.name)
    assert d.left() == [], d.left()


def test_ext4_while_hosts_and_back_ends_die(t):
    play_file_system(t, "ext4", ("fsck.ext4", "-fn"))


def test_xfs_while_hosts_and_back_ends_die(t):
    play_file_system(t, "xfs", ("xfs_repair", "-n"))


def test_a_device_from_beginning_to_end(t):
    c, d = setup(t, "life")
    for _ in range(3):
        path = attach(c, d)
        assert d.size() == SIZE
        queue = f"/sys/class/block/{os.path.basename(path)}/queue/"
        assert open(queue + "write_cache").read() == "write back\n"
        assert open(queue + "discard_granularity").read() == "4096\n"
        assert open(queue + "logical_block_size").read() == "512\n"
        pwrite(path, b"Q" * 4608, 1 << 20)
        c.admin("volume", "detach", d.name)
        assert d.left() == [], d.left()
    path = attach(c, d, "--block-size", "4096")
    assert pread(path, 8192, 1 << 20) == b"Q" * 4608 + bytes(3584)
    assert open(f"/sys/class/block/{os.path.basename(path)}/queue/logical_block_size").read() == "4096\n"
    t.ok("blkdiscard", "-o", str(1 << 20), "-l", "4096", path)
    assert pread(path, 4096, 1 << 20) == bytes(4096)
    t.ok("blkdiscard", "-z", "-o", "0", "-l", str(2 << 20), path)
    assert pread(path, 2 << 20, 0) == bytes(2 << 20)
    # It grows while in use, also when its back end was replaced in between.
    c.admin("volume", "resize", d.name, str(SIZE + (64 << 20)))
    wait_for("the device grows", lambda: d.size() == SIZE + (64 << 20))
    pid = d.pid("back-end")
    os.kill(d.pid("holder"), signal.SIGHUP)
    wait_for("a new back end serves", lambda: d.pid("back-end") not in (pid, 0) and d.made_again())
    pwrite(path, b"R" * 4096, SIZE + (32 << 20))
    c.admin("volume", "resize", d.name, str(SIZE + (128 << 20)))
    wait_for("the device grows again", lambda: d.size() == SIZE + (128 << 20))
    c.admin("volume", "detach", d.name)
    # A size that is not the file's any more when it is attached again.
    path = attach(c, d, "--read-only")
    assert d.size() == SIZE + (128 << 20)
    assert pread(path, 4096, SIZE + (32 << 20)) == b"R" * 4096
    try:
        pwrite(path, b"S" * 4096, 0)
        raise harness.Failed("a read-only device was written to")
    except PermissionError:
        pass
    c.admin("volume", "detach", d.name)
    assert d.left() == [], d.left()


def test_errors_say_what_to_do(t):
    c, d = setup(t, "errors")
    say = lambda *args, **kw: t.fails("causeway", "--cluster", c.addr, *args, code=1, **kw)  # noqa: E731
    say("volume", "attach", "nope", "--device", says="no volume nope")
    say("volume", "detach", d.name, says="not attached to this host")
    say("volume", "unmount", d.name, says="not attached to this host")
    say("volume", "mount", d.name, t.path("no-dir"), says=["no-dir", "mkdir -p"])
    say("volume", "mount", d.name, d.mnt, says="--mkfs")
    assert d.left() == [], d.left()
    path = attach(c, d)
    say("volume", "attach", d.name, "--device", says=["already", path, f"pid {d.pid('holder')}", "volume detach"])
    assert c.json("volume", "attach", d.name, "--device")["error"]["code"] == "VOLUME_IN_USE"
    fd = os.open(path, os.O_RDONLY)
    say("volume", "detach", d.name, says=["in use", f"pid {os.getpid()}"])
    os.close(fd)
    t.ok("mkfs.ext4", "-q", path)
    c.admin("volume", "mount", d.name, d.mnt)
    say("volume", "detach", d.name, says=[f"mounted on {d.mnt}", "volume unmount"])
    with open(os.path.join(d.mnt, "busy"), "w"):
        say("volume", "unmount", d.name, says=f"pid {os.getpid()}")
    c.admin("volume", "unmount", d.name)
    say("volume", "mount", d.name, d.mnt, "--mkfs", "xfs", says=["not blank", "ext4"])
    assert d.left() == [], d.left()
    # Somebody else has it: an NBD client in use.
    nbd = t.nbd(c, "--volume", d.name)
    hold = subprocess.Popen(["qemu-io", "-f", "raw", nbd.uri(d.name)], stdin=subprocess.PIPE,
                            stdout=subprocess.DEVNULL)
    wait_for("NBD has the volume", lambda: c.volume(d.name)["owner"])
    say("volume", "attach", d.name, "--device", says=["in use by causeway-nbd"], timeout=60)
    assert c.json("volume", "attach", d.name, "--device")["error"]["code"] == "VOLUME_IN_USE"
    hold.communicate(b"quit\n")
    t.stop(nbd)
    t.fails("causeway", "volume", "attach", d.name, "--device", code=2, env={"CAUSEWAY_CLUSTER": ""})
    t.fails("causeway", "--cluster", c.addr, "volume", "attach", d.name, code=2, says="--device")
    r = t.run("setpriv", "--reuid", "65534", "--clear-groups", os.path.join(harness.BIN, "causeway"), "--cluster",
              c.addr, "volume", "attach", d.name, "--device")
    assert r.code == 1 and "only root" in r.err, r
    # Without FUSE: in a mount namespace whose /dev has none.
    r = t.run("unshare", "-m", "sh", "-c", "mount -t tmpfs none /dev && mknod /dev/null c 1 3 && exec \"$@\"", "sh",
              os.path.join(harness.BIN, "causeway"), "--cluster", c.addr, "volume", "attach", d.name, "--device")
    assert r.code == 1 and "/dev/fuse" in r.err and "modprobe fuse" in r.err, r
    assert d.left() == [], d.left()


def test_the_process_that_keeps_the_device_is_killed(t):
    """Its back end goes on, the next attach takes the device over; a detach without that works, too."""
    c, d = setup(t, "holder")
    c.admin("volume", "mount", d.name, d.mnt, "--mkfs", "ext4")
    path, load = d.path(), FileLoad(d.mnt).start()
    load.goes_on()
    for _ in range(2):
        holder, back_end = d.pid("holder"), d.pid("back-end")
        os.kill(holder, signal.SIGKILL)
        load.goes_on()
        assert attach(c, d) == path
        assert d.pid("holder") != holder and d.pid("back-end") != back_end
        load.goes_on()
        d.kill_back_end()
        load.goes_on()
    os.kill(d.pid("holder"), signal.SIGKILL)
    load.goes_on()
    load.stop()
    c.admin("volume", "unmount", d.name)
    assert d.left() == [], d.left()
    c.admin("volume", "mount", d.name, d.mnt)
    load.verify(d.mnt)
    c.admin("volume", "unmount", d.name)


def test_all_processes_are_killed(t):
    """The device gives errors, says so to who tries again, and is taken away by the next attach."""
    c, d = setup(t, "all")
    c.admin("volume", "mount", d.name, d.mnt, "--mkfs", "ext4")
    load = FileLoad(d.mnt).start()
    load.goes_on()
    load.stop()
    pids = d.pid("holder"), d.pid("back-end")
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    r = t.fails("causeway", "--cluster", c.addr, "volume", "attach", d.name, "--device", code=1,
                says=["in the way", d.mnt])
    assert "killed" in r.err
    t.ok("umount", d.mnt)
    path = attach(c, d)
    c.admin("volume", "mount", d.name, d.mnt)
    load.verify(d.mnt)
    t.ok("umount", d.mnt)
    t.ok("fsck.ext4", "-fn", path)
    c.admin("volume", "mount", d.name, d.mnt)
    for pid in d.pid("holder"), d.pid("back-end"):
        os.kill(pid, signal.SIGKILL)
    t.ok("umount", d.mnt)
    c.admin("volume", "detach", d.name)
    assert d.left() == [], d.left()


def test_a_volume_that_was_taken_over_gives_errors(t):
    """Whoever has the device mounted knows an older content: nothing is written any more, also by later back ends."""
    c, d = setup(t, "fenced")
    path = attach(c, d)
    pwrite(path, b"A" * 4096, 0)
    t.ok("causeway", "--cluster", c.addr, "volume", "export", d.name, t.path("raw"), "--force")
    wait_for("it is said", lambda: "gives errors" in d.log())

    def write_fails():
        try:
            pwrite(path, b"B" * 4096, 0)
        except OSError:
            return True
        return False

    assert write_fails()
    d.kill_back_end()
    assert write_fails()
    c.admin("volume", "detach", d.name)
    assert d.left() == [], d.left()
    path = attach(c, d)
    assert pread(path, 4096, 0) == b"A" * 4096
    # The same when it happens while no back end is there: its next one sees another generation.
    os.kill(d.pid("holder"), signal.SIGSTOP)
    os.kill(d.pid("back-end"), signal.SIGKILL)
    t.ok("causeway", "--cluster", c.addr, "volume", "export", d.name, t.path("raw2"), "--force")
    os.kill(d.pid("holder"), signal.SIGCONT)
    wait_for("it is said", lambda: "somebody else had the volume" in d.log(), 60)
    assert write_fails()
    c.admin("volume", "detach", d.name)
    assert d.left() == [], d.left()


class Manager:
    """The part of a service manager that keeps descriptors and starts a service again with them."""

    def __init__(self, t, args):
        self.t, self.args, self.kept, self.words = t, args, {}, []
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(t.path("notify"))
        self.sock.setblocking(False)

    def start(self):
        """Descriptors from 3 on, as their names say."""
        names, fds = list(self.kept), list(self.kept.values())
        env = dict(self.t.env, NOTIFY_SOCKET=self.t.path("notify"), LISTEN_FDNAMES=":".join(names),
                   LISTEN_FDS=str(len(fds)))
        script = 'export LISTEN_PID=$$; exec "$@" ' + " ".join(f"{3 + i}<&{fd}" for i, fd in enumerate(fds))
        self.words = []
        self.p = subprocess.Popen(["bash", "-c", script, "bash", *self.args], env=env, pass_fds=fds,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
        self.t.procs.append(self.p)
        wait_for("it is ready", self.ready, 60)

    def ready(self):
        assert self.p.poll() is None, "it ended"
        while True:
            try:
                text, fds, _, _ = socket.recv_fds(self.sock, 4096, 8)
            except BlockingIOError:
                return any("READY=1" in x for x in self.words)
            self.words.append(text.decode())
            if fds and "FDSTORE=1" in self.words[-1]:
                name = self.words[-1].split("FDNAME=")[1].split()[0]
                if name in self.kept:
                    os.close(self.kept[name])
                # High, so that none is overwritten by another on its way to its place.
                self.kept[name] = fcntl.fcntl(fds[0], fcntl.F_DUPFD_CLOEXEC, 100)
                for fd in fds:
                    os.close(fd)


def test_a_service_manager_keeps_what_the_device_lives_by(t):
    """Even if all of its processes are killed at once nothing is lost: it goes on from the descriptors."""
    c, d = setup(t, "service")
    m = Manager(t, [os.path.join(harness.BIN, "causeway-device"), "--cluster", c.addr, "--volume", d.name])
    m.start()
    assert sorted(m.kept) == ["causeway-fuse", "causeway-requests"], m.kept
    t.ok("mkfs.ext4", "-q", d.path())
    t.ok("mount", d.path(), d.mnt)
    path, load = d.path(), FileLoad(d.mnt).start()
    load.goes_on()
    for _ in range(2):
        c.local("pause", "all")
        wait_for("requests wait", lambda: d.inflight() > 0)
        for pid in d.pid("holder"), d.pid("back-end"):
            os.kill(pid, signal.SIGKILL)
        m.p.wait()
        c.local("resume", "all")
        m.start()
        assert d.path() == path
        load.goes_on()
    load.stop()
    t.ok("umount", d.mnt)
    m.p.send_signal(signal.SIGTERM)
    assert m.p.wait(60) == 0
    for fd in m.kept.values():
        os.close(fd)
    assert d.left() == [], d.left()
    c.admin("volume", "mount", d.name, d.mnt)
    load.verify(d.mnt)
    c.admin("volume", "unmount", d.name)


if __name__ == "__main__":
    harness.main(globals())
