#!/usr/bin/env python3
"""causeway-vhost under a real machine: QEMU (in software, no KVM) with Debian's kernel. The guest writes and verifies
while the back end is killed and started again and a storage host dies, and sees no error."""
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
import vm as machines
from harness import Failed, Skip, need_tool, wait_for
from vm import said, wait_said

SIZE = 64 << 20


def vhost(t, c):
    sock = t.path("vm.sock")
    log = t.path("causeway-vhost.log")
    before = os.path.getsize(log) if os.path.exists(log) else 0
    p = t.spawn("causeway-vhost", "--cluster", c.addr, "--socket", sock, "--volume", "vm")
    p.sock = sock
    wait_for("the vhost socket", lambda: p.poll() is not None or "serving on" in open(log).read()[before:], 60)
    if p.poll() is not None:
        raise Failed(f"causeway-vhost ended: {open(log).read()[-2000:]}")
    return p


def machine(t, p, rounds, packed):
    return machines.machine(t, "guest", rounds, "-chardev", f"socket,id=c,path={p.sock},reconnect=1",
                            "-device", f"vhost-user-blk-pci,chardev=c,num-queues=2{',packed=on' if packed else ''}")


def pause_and_go_on(t):
    """As for a snapshot: the rings stop, and begin again where they were."""
    qmp = machines.Qmp(t, "guest")
    qmp("stop")
    qmp("cont")
    qmp.close()


def play(t, packed):
    need_tool("qemu-system-x86_64")
    c = t.cluster(store_size="512M")
    c.admin("volume", "create", "vm", "--size", str(SIZE))
    p = vhost(t, c)
    vm = machine(t, p, 60, packed)
    wait_said(vm, "round 5")
    assert f"disk {SIZE // 512} sectors queues 2 serial vm" in said(vm), said(vm)
    pause_and_go_on(t)
    wait_said(vm, "round 8")
    p.send_signal(signal.SIGKILL)
    p.wait()
    p = vhost(t, c)
    at = len(said(vm))
    wait_for("the guest goes on", lambda: len(said(vm)) > at + 3 or vm.poll() is not None, 60)
    c.local("kill", "onprem-1")
    c.admin("volume", "resize", "vm", "--size", str(2 * SIZE))
    wait_said(vm, "DONE")
    assert f"last size {2 * SIZE // 512}" in said(vm), said(vm)
    wait_for("the machine is off", lambda: vm.poll() is not None, 30)
    assert t.stop(p) == 0


def test_guest_sees_no_error_split(t):
    play(t, False)


def test_guest_sees_no_error_packed(t):
    if not os.environ.get("CW_TEST_LONG"):
        raise Skip("the same with packed rings: with CW_TEST_LONG")
    play(t, True)


harness.main(globals())
