#!/usr/bin/env python3
"""tests/lib/proxy.py - the network of a test: every TCP connection of a cluster goes through it and can be broken there.

    net = Net(test)
    addr = net.link("h1", "127.0.0.1:7001")      what others are told instead of the real address
    net.set("a", "h1", "to", hold=True)          what a sends to h1 stays in the network
    net.set("*", "h1", delay_ms=50)              both ways, whoever dials
    net.cut("a", "h1")                           connections end with a reset; what was held is lost
    net.heal()                                   no rule any more: what was held arrives, late

A rule is for a dialer, a target and a direction: "to" the target, "from" it, or both. "*" is anybody. Later
rules win. What can be set:

    hold      nothing is forwarded, not even an end: to both sides the connection looks alive. New
              connections are accepted and get no further. Up to 4 MiB are kept, then the sender has to wait
    delay_ms  each piece arrives so much later
    rate      bytes per second
    flip      one bit is wrong in so many bytes
    refuse    (not per direction) new connections are reset at once

The dialer is the process that holds the other end of the connection: it is called what its environment
says in NAME ("?" if it says nothing). So one address per target is enough to tell links apart.

The proxy is a process of its own, asked through its standard input, one JSON line each way; it ends
when that does.
"""
import collections
import json
import os
import selectors
import socket
import struct
import subprocess
import sys
import time

NAME = "CAUSEWAY_TEST_NAME"
KEEP_BYTES = 4 << 20
PIECE_BYTES = 256 << 10
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


# ---- the side of the test ----

class Net:
    def __init__(self, test):
        self.p = subprocess.Popen([sys.executable, os.path.abspath(__file__)], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True, start_new_session=True)
        test.procs.append(self.p)

    def ask(self, what, *args):
        self.p.stdin.write(json.dumps([what, *args]) + "\n")
        self.p.stdin.flush()
        answer = json.loads(self.p.stdout.readline())
        if "error" in answer:
            raise RuntimeError(f"proxy: {what} {args}: {answer['error']}")
        return answer["ok"]

    def link(self, name, target):
        """An address that leads to target; the same again for a name that is known."""
        return self.ask("link", name, target)

    def set(self, dialer, target, way="both", **rule):
        for one in ("to", "from") if way == "both" else (way,):
            self.ask("set", dialer, target, one, rule)

    def part(self, one, *others):
        """Nothing passes between the one and the others, whoever dials."""
        for x in others:
            self.set(one, x, hold=True)
            self.set(x, one, hold=True)

    def cut(self, dialer, target):
        """How many connections that were."""
        return self.ask("cut", dialer, target)

    def heal(self):
        self.ask("heal")

    def seen(self, dialer, target):
        """Of this pair since ever: {"conns", "open", "flips", "to", "from", "held_to", "held_from"}, the last four in bytes."""
        return self.ask("seen", dialer, target)


# ---- the side of the network ----

def hex_addr(addr):
    host, port = addr
    return "%08X:%04X" % (struct.unpack("=I", socket.inet_aton(host))[0], port)


def inode_of(local, remote):
    want = [hex_addr(local), hex_addr(remote)]
    with open("/proc/net/tcp") as f:
        for line in f:
            fields = line.split()
            if fields[1:3] == want:
                return fields[9]
    return None


def holds(pid, link):
    try:
        return any(os.readlink(f"/proc/{pid}/fd/{fd}") == link for fd in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False  # it ended meanwhile, or is not ours


def name_of(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as f:
            for x in f.read().split(b"\0"):
                if x.startswith(NAME.encode() + b"="):
                    return x.split(b"=", 1)[1].decode()
    except OSError:
        pass
    return "?"


class Names:
    """Who dialled? Processes that did so before are looked at first."""

    def __init__(self):
        self.known = []

    def find(self, sock):
        inode = inode_of(sock.getpeername(), sock.getsockname())
        if inode is None or inode == "0":
            return "?"
        link = f"socket:[{inode}]"
        others = [x for x in os.listdir("/proc") if x.isdigit() and x not in self.known]
        for pid in self.known + others:
            if holds(pid, link):
                if pid not in self.known:
                    self.known.append(pid)
                return name_of(pid)
        return "?"


class Rules:
    def __init__(self):
        self.list = []

    def of(self, dialer, target, way):
        rule = {}
        for d, t, w, more in self.list:
            if d in ("*", dialer) and t in ("*", target) and w == way:
                rule.update(more)
        return rule


class Pipe:
    """One direction of a connection: what came in at src and has not left at dst."""

    def __init__(self, conn, way, src, dst):
        self.conn, self.way, self.src, self.dst = conn, way, src, dst
        self.pieces, self.n_held = collections.deque(), 0
        self.ended = False    # src said that nothing follows, or was reset
        self.reset = False
        self.broken = False   # dst takes no more: what comes is thrown away
        self.over = False     # the end was passed on
        self.blocked = False  # dst is full
        self.next_at = 0      # when the rate allows the next piece
        self.n_taken = 0      # bytes that came in
        self.learn()

    def learn(self):
        self.rule = self.conn.net.rules.of(self.conn.dialer, self.conn.target, self.way)

    def held(self):
        return bool(self.rule.get("hold"))

    def wants_input(self):
        return not self.ended and self.n_held < KEEP_BYTES

    def take(self, now):
        try:
            data = self.src.recv(PIECE_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.ended = self.reset = True
            return
        if not data:
            self.ended = True
        elif not self.broken:
            data = self.rotten(bytearray(data))
            self.pieces.append([now + self.rule.get("delay_ms", 0) / 1000, memoryview(data)])
            self.n_held += len(data)

    def rotten(self, data):
        """Every so often a bit is wrong; where does not depend on how the bytes come in."""
        every = self.rule.get("flip", 0)
        for at in range(every - 1 - self.n_taken % every, len(data), every) if every else ():
            data[at] ^= 1 << (self.n_taken + at) // every % 8
            self.conn.net.count(self.conn, "flips", 1)
        self.n_taken += len(data)
        return data

    def give(self, now):
        """Passes on what may leave now; returns when to come again, or None."""
        rate = self.rule.get("rate")
        while self.pieces and not self.held() and not self.blocked and self.conn.up:
            due, data = self.pieces[0]
            due = max(due, self.next_at if rate else 0)
            if due > now:
                return due
            try:
                n = self.dst.send(data[:max(1, rate // 50)] if rate else data)
            except (BlockingIOError, InterruptedError):
                self.blocked = True
                return None
            except OSError:
                self.broken = True
                self.pieces.clear()
                self.n_held = 0
                return None
            if rate:
                self.next_at = max(self.next_at, now - 0.02) + n / rate
            self.n_held -= n
            self.conn.net.count(self.conn, self.way, n)
            if n < len(data):
                self.pieces[0][1] = data[n:]
            else:
                self.pieces.popleft()
        return None

    def finish(self):
        """The end of src becomes that of dst, after all that came before it."""
        if self.over or not self.ended or self.pieces or self.held() or not (self.conn.up or self.reset):
            return
        self.over = True
        try:
            if not self.reset:
                self.dst.shutdown(socket.SHUT_WR)
        except OSError:
            pass


class Conn:
    def __init__(self, net, dialer, target, near, address):
        self.net, self.dialer, self.target, self.near, self.address = net, dialer, target, near, address
        self.far = socket.socket()
        self.up = self.dialling = False
        for s in (self.near, self.far):
            s.setblocking(False)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.to = Pipe(self, "to", self.near, self.far)
        self.back = Pipe(self, "from", self.far, self.near)
        self.masks = {self.near: 0, self.far: 0}

    def dial(self):
        """Only once the target would hear of it."""
        if not self.dialling and not self.to.held():
            self.dialling = True
            self.far.connect_ex(self.address)

    def event(self, sock, mask, now):
        if sock is self.far and not self.up:
            if not mask & WRITE:
                return
            if self.far.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0:
                self.back.ended = self.back.reset = True
                return
            self.up = True
        if mask & WRITE:
            (self.to if sock is self.far else self.back).blocked = False
        if mask & READ:
            (self.to if sock is self.near else self.back).take(now)

    def step(self, now):
        """Does what can be done; returns when to come again, or None. Afterwards it may be closed."""
        self.dial()
        dues = [x for x in (p.give(now) for p in (self.to, self.back)) if x is not None]
        for p in (self.to, self.back):
            p.finish()
        if any(p.over and p.reset for p in (self.to, self.back)):
            self.close()
        elif self.to.over and self.back.over:
            self.close()
        else:
            self.watch()
        return min(dues, default=None)

    def watch(self):
        self.mask(self.near, self.to.wants_input(), self.back.blocked)
        if self.dialling:
            self.mask(self.far, self.up and self.back.wants_input(), not self.up and not self.back.ended or
                      self.to.blocked)

    def mask(self, sock, read, write):
        mask = (READ if read else 0) | (WRITE if write else 0)
        if mask == self.masks[sock]:
            return
        if self.masks[sock] == 0:
            self.net.sel.register(sock, mask, self)
        elif mask == 0:
            self.net.sel.unregister(sock)
        else:
            self.net.sel.modify(sock, mask, self)
        self.masks[sock] = mask

    def close(self, reset=False):
        for s in (self.near, self.far):
            self.mask(s, False, False)
            if reset:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
        self.net.conns.discard(self)
        self.net.due.pop(self, None)


class Proxy:
    def __init__(self):
        self.sel = selectors.DefaultSelector()
        self.rules, self.names = Rules(), Names()
        self.links, self.conns, self.due = {}, set(), {}
        self.counts = collections.defaultdict(collections.Counter)
        self.sel.register(sys.stdin.fileno(), READ, None)
        self.input = b""

    def count(self, conn, what, n):
        self.counts[conn.dialer, conn.target][what] += n

    def step(self, conn, now):
        due = conn.step(now)
        if due is not None and conn in self.conns:
            self.due[conn] = due
        else:
            self.due.pop(conn, None)

    def accept(self, listener, name):
        try:
            near, _ = listener.accept()
        except OSError:
            return
        dialer = self.names.find(near)
        conn = Conn(self, dialer, name, near, self.links[name][1])
        self.conns.add(conn)
        self.count(conn, "conns", 1)
        if self.rules.of(dialer, name, "to").get("refuse"):
            conn.close(reset=True)
        else:
            self.step(conn, time.monotonic())

    def matching(self, dialer, target):
        return [c for c in self.conns if dialer in ("*", c.dialer) and target in ("*", c.target)]

    # what can be asked

    def link(self, name, target):
        host, port = target.rsplit(":", 1)
        if not host.startswith("127."):
            raise ValueError("only on this machine")
        if name in self.links:
            self.links[name][1] = (host, int(port))
        else:
            listener = socket.create_server(("127.0.0.1", 0), backlog=128)
            listener.setblocking(False)
            self.links[name] = [listener, (host, int(port))]
            self.sel.register(listener, READ, name)
        return "127.0.0.1:%d" % self.links[name][0].getsockname()[1]

    def set(self, dialer, target, way, rule):
        self.rules.list.append((dialer, target, way, rule))
        self.apply()

    def heal(self):
        self.rules.list.clear()
        self.apply()

    def apply(self):
        for conn in list(self.conns):
            conn.to.learn()
            conn.back.learn()
            self.step(conn, time.monotonic())

    def cut(self, dialer, target):
        conns = self.matching(dialer, target)
        for conn in conns:
            conn.close(reset=True)
        return len(conns)

    def seen(self, dialer, target):
        total = collections.Counter(conns=0, open=0, flips=0, held_to=0, held_from=0, **{"to": 0, "from": 0})
        for (d, t), counts in self.counts.items():
            if dialer in ("*", d) and target in ("*", t):
                total.update(counts)
        for conn in self.matching(dialer, target):
            total.update(open=1, held_to=conn.to.n_held, held_from=conn.back.n_held)
        return total

    def command(self, line):
        try:
            what, *args = json.loads(line)
            if what not in ("link", "set", "heal", "cut", "seen"):
                raise ValueError("not known")
            answer = {"ok": getattr(self, what)(*args)}
        except (ValueError, TypeError, OSError) as e:
            answer = {"error": str(e)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()

    def commands(self):
        data = os.read(sys.stdin.fileno(), 65536)
        *lines, self.input = (self.input + data).split(b"\n")
        for line in lines:
            self.command(line)
        return bool(data)

    def run(self):
        while True:
            first = min(self.due.values(), default=None)
            events = self.sel.select(None if first is None else max(0, first - time.monotonic()))
            now = time.monotonic()
            touched = {c for c, due in self.due.items() if due <= now}
            for key, mask in events:
                if key.data is None:
                    if not self.commands():
                        return
                elif isinstance(key.data, str):
                    self.accept(key.fileobj, key.data)
                elif key.data in self.conns:
                    key.data.event(key.fileobj, mask, now)
                    touched.add(key.data)
            for conn in touched:
                if conn in self.conns:
                    self.step(conn, now)


if __name__ == "__main__":
    Proxy().run()
