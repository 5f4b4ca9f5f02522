#!/usr/bin/env python3
"""A running virtual machine that writes and verifies moves from one QEMU to another, and its volume with it."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import Failed, need_tool, wait_for
from vm import Qmp, machine, said, wait_said

SIZE = 64 << 20


def rounds(vm):
    return [int(x.split()[1]) for x in said(vm) if x.startswith("round ")]


def migrate(t, name, to, uri, timeout=120):
    """The guest is in the middle of its work, and held for the time of the copy: QEMU without KVM now and then misses
    what the processor stores into a page while the page is on its way, whatever disk there is. The disks change
    hands as ever: drained and inactive here, then active there. The source stays, stopped."""
    qmp = Qmp(t, name)
    qmp("stop")
    qmp("migrate", uri=uri)
    status = {}

    def ended():
        status.update(qmp("query-migrate"))
        return status.get("status") in ("completed", "failed", "cancelled")

    wait_for("the migration ends", ended, timeout)
    if status["status"] != "completed":
        raise Failed(f"migration: {status}")
    qmp.close()
    print(f"# {name}: {status['total-time']} ms")
    qmp = Qmp(t, to)
    qmp("cont")
    qmp.close()


def play(t, serve, devices, left):
    """serve(c) starts a server, devices(server) is what a machine needs to use it, left the exit status of a server
    whose volume has gone."""
    need_tool("qemu-system-x86_64")
    c = t.cluster(store_size="512M")
    c.admin("volume", "create", "vm", "--size", str(SIZE))
    servers = [serve(c)]
    vm = machine(t, "vm0", 60, *devices(servers[0]))
    wait_said(vm, "round 5")
    for i in (1, 2):
        c.admin("volume", "migrate", "vm", "--allow")
        servers.append(serve(c))
        uri = f"unix:{t.path(f'incoming{i}')}"
        to = machine(t, f"vm{i}", 60, "-incoming", uri, *devices(servers[i]))
        wait_for("it waits for the guest", lambda: os.path.exists(t.path(f"incoming{i}")) or to.poll() is not None, 30)
        if to.poll() is not None:
            raise Failed(f"QEMU ended: {open(to.log).read()[-2000:]}")
        migrate(t, f"vm{i - 1}", f"vm{i}", uri)
        at = max(rounds(vm))
        wait_for("the guest goes on over there",
                 lambda: any(x > at + 2 for x in rounds(to)) or to.poll() is not None, 60)
        assert c.volume("vm")["gen"] == i + 1
        qmp = Qmp(t, f"vm{i - 1}")
        qmp("quit")
        wait_for("the source ends", lambda: vm.poll() is not None, 30)
        assert t.stop(servers[i - 1]) == left, left
        vm = to
        if i == 1:
            c.local("kill", "onprem-1")  # and a storage host less from here on
    wait_said(vm, "DONE")
    wait_for("the machine is off", lambda: vm.poll() is not None, 30)
    assert t.stop(servers[-1]) == 0


def test_a_guest_migrates_nbd(t):
    play(t, t.nbd, lambda p: ["-blockdev", f"nbd,node-name=disk,server.type=unix,server.path={p.sock},export=vm,"
                              "cache.direct=on,reconnect-delay=30",
                              "-device", "virtio-blk-pci,drive=disk,serial=vm,num-queues=2"], 0)


def test_a_guest_migrates_vhost(t):
    n = iter(range(9))

    def serve(c):
        sock = t.path(f"vhost{next(n)}.sock")
        p = t.spawn("causeway-vhost", "--cluster", c.addr, "--socket", sock, "--volume", "vm")
        p.sock = sock
        wait_for("the vhost socket", lambda: os.path.exists(sock) or p.poll() is not None, 60)
        if p.poll() is not None:
            raise Failed(f"causeway-vhost ended: {open(p.log).read()[-2000:]}")
        return p

    play(t, serve, lambda p: ["-chardev", f"socket,id=c,path={p.sock},reconnect=1",
                              "-device", "vhost-user-blk-pci,chardev=c,num-queues=2"], 3)


harness.main(globals())
