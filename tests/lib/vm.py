"""tests/lib/vm.py - a small real machine: QEMU in software with Debian's kernel and a file system in memory made here.

The guest says what it does on its console, in lines that begin with GUEST.
"""
import glob
import json
import lzma
import os
import re
import shutil
import socket
import subprocess

from harness import Failed, Skip, need_tool, wait_for

MODULES = ["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"]

# Writes a pattern all over the disk, reads it back, round after round; and at the end once more.
INIT = r"""#!/bin/sh
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
for m in %(modules)s; do insmod /$m.ko || echo GUEST insmod $m failed; done
fail() { echo "GUEST FAILED $1"; dmesg | tail -20; poweroff -f; }
[ -b /dev/vda ] || fail "no disk"
echo GUEST disk $(cat /sys/block/vda/size) sectors queues $(ls /sys/block/vda/mq | wc -l) serial $(cat /sys/block/vda/serial)
dd if=/dev/urandom of=/pattern bs=64k count=16 2>/dev/null
round=0
while [ $round -lt %(rounds)d ]; do
    at=$((round %% 32))
    dd if=/pattern of=/dev/vda bs=64k seek=$((at * 16)) oflag=direct conv=notrunc 2>/dev/null || fail "write $round"
    dd if=/dev/vda of=/back bs=64k skip=$((at * 16)) count=16 iflag=direct 2>/dev/null || fail "read $round"
    cmp /pattern /back || fail "round $round differs"
    sync; round=$((round + 1))
    echo GUEST round $round
done
for at in $(seq 0 31); do
    dd if=/dev/vda of=/back bs=64k skip=$((at * 16)) count=16 iflag=direct 2>/dev/null || fail "read again $at"
    cmp /pattern /back || fail "piece $at differs"
done
blkdiscard -z -o 0 -l 1048576 /dev/vda 2>/dev/null && blkdiscard -o 1048576 -l 1048576 /dev/vda 2>/dev/null
echo GUEST last size $(cat /sys/block/vda/size)
dmesg | grep -i "I/O error" && fail "the kernel saw an error"
echo GUEST DONE
poweroff -f
"""


def kernel(t):
    """Unpacks Debian's kernel for virtual machines; its image and folder of modules."""
    for tool in ("apt-get", "dpkg-deb", "busybox", "file"):
        need_tool(tool)
    folder = t.path("kernel")
    os.mkdir(folder)
    os.chmod(folder, 0o777)
    os.chmod(t.dir, 0o755)
    deb = os.environ.get("CW_TEST_KERNEL_DEB")
    if deb:
        shutil.copy(deb, folder)
    else:
        found = t.run("apt-cache", "search", "--names-only", r"^linux-image-.*-cloud-amd64$").out
        names = [x.split()[0] for x in found.splitlines()]
        if not names or t.run("sh", "-c", f"cd {folder} && timeout 60 apt-get download {max(names, key=version)}").code:
            raise Skip("no kernel for the guest can be had (apt-get download linux-image-*-cloud-amd64)")
    t.ok("sh", "-c", f"dpkg-deb -x {folder}/*.deb {folder}/x")
    return glob.glob(f"{folder}/x/boot/vmlinuz-*")[0], f"{folder}/x/lib/modules"


def version(name):
    return [int(x) for x in re.findall(r"\d+", name)]


def initramfs(t, modules, rounds):
    root = t.path("root")
    for d in ("bin", "proc", "sys", "dev"):
        os.makedirs(os.path.join(root, d))
    busybox = shutil.which("busybox")
    if b"dynamically linked" in subprocess.run(["file", "-bL", busybox], stdout=subprocess.PIPE).stdout:
        raise Skip("busybox is not static")
    shutil.copy(busybox, f"{root}/bin/busybox")
    for applet in subprocess.check_output([busybox, "--list"], text=True).split():
        if applet != "busybox":
            os.symlink("busybox", f"{root}/bin/{applet}")
    for m in MODULES:
        found = glob.glob(f"{modules}/**/{m}.ko*", recursive=True)
        if found:  # else it is in the kernel
            with (lzma.open if found[0].endswith(".xz") else open)(found[0], "rb") as f:
                data = f.read()
            with open(f"{root}/{m}.ko", "wb") as f:
                f.write(data)
    have = " ".join(m for m in MODULES if os.path.exists(f"{root}/{m}.ko"))
    with open(f"{root}/init", "w") as f:
        f.write(INIT % {"modules": have, "rounds": rounds})
    os.chmod(f"{root}/init", 0o755)
    t.ok("sh", "-c", f"cd {root} && busybox find . | busybox cpio -o -H newc > {t.path('initrd')}")
    return t.path("initrd")


def machine(t, name, rounds, *devices):
    """Begins to boot; what it says is in its log. QMP is at t.path(name + ".qmp")."""
    need_tool("qemu-system-x86_64")
    if not os.path.exists(t.path("initrd")):
        image, modules = kernel(t)
        os.symlink(image, t.path("vmlinuz"))
        initramfs(t, modules, rounds)
    return t.spawn("qemu-system-x86_64", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio",
                   "-m", "256M", "-smp", "2", "-object", "memory-backend-memfd,id=mem,size=256M,share=on",
                   "-machine", "q35,memory-backend=mem", "-kernel", t.path("vmlinuz"), "-initrd", t.path("initrd"),
                   "-append", "console=ttyS0 panic=-1 quiet", "-qmp", f"unix:{t.path(name + '.qmp')},server=on,wait=off",
                   *devices, log=t.path(f"{name}.log"))


class Qmp:
    def __init__(self, t, name):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(60)
        wait_for("QMP", lambda: self.s.connect_ex(t.path(name + ".qmp")) == 0, 30)
        self.lines = self.s.makefile()
        self("qmp_capabilities")

    def __call__(self, command, **arguments):
        self.s.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while True:
            answer = json.loads(self.lines.readline())
            if "error" in answer:
                raise Failed(f"{command}: {answer['error']}")
            if "return" in answer:
                return answer["return"]

    def close(self):
        self.lines.close()
        self.s.close()


def said(vm):
    return re.findall(r"GUEST ([^\r\n]*)", open(vm.log, errors="replace").read())


def wait_said(vm, what, timeout=120):
    wait_for(f"the guest says {what}", lambda: what in said(vm) or vm.poll() is not None or
             any(x.startswith("FAILED") for x in said(vm)), timeout)
    if what not in said(vm):
        raise Failed(f"the guest said {said(vm)[-5:]}")
