"""tests/lib/vhost.py - a small vhost-user front end with a guest's driver in it, so that tests can do
what virtual machines do, and what they never do.

The memory is a memfd in two regions: rings in the first, data in the second. It outlives connections, as a
machine's does: kill the back end, start it again and `connect` once more.
"""
import array
import mmap
import os
import select
import socket
import struct
import time

(GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE, SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE,
 GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL) = 1, 2, 3, 5, 8, 9, 10, 11, 12, 13
(GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, SET_VRING_ENABLE, SET_BACKEND_REQ_FD, GET_CONFIG,
 GET_INFLIGHT_FD, SET_INFLIGHT_FD, RESET_DEVICE) = 15, 16, 17, 18, 21, 24, 31, 32, 34
F_RO, F_FLUSH, F_DISCARD, F_ZEROES, F_INDIRECT, F_EVENT_IDX, F_PROTOCOL, F_VERSION_1, F_PACKED = \
    5, 9, 13, 14, 28, 29, 30, 32, 34
PF_MQ, PF_REPLY_ACK, PF_BACKEND_REQ, PF_CONFIG, PF_INFLIGHT = 0, 3, 5, 9, 12
IN, OUT, FLUSH, GET_ID, DISCARD, ZEROES = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPP = 0, 1, 2
NEXT, WRITE, INDIRECT = 1, 2, 4
USER = 0x7f0000000000  # what is added to a guest's address to make one of the front end's
RINGS, DATA = 0, 1 << 32  # guest addresses of the regions
RINGS_SIZE, DATA_MAX = 4 << 20, 1 << 20
QUEUE_STRIDE, SLOT_STRIDE = 64 << 10, DATA_MAX + 4096


class VhostError(Exception):
    pass


class Queue:
    """A ring and the slots of its requests; a slot has four descriptors and room for DATA_MAX bytes."""

    def __init__(self, index, size):
        self.index, self.size = index, size
        self.desc = index * QUEUE_STRIDE
        self.avail, self.used = self.desc + 16 * size, self.desc + 16 * size + 8192
        self.kick = os.eventfd(0, os.EFD_NONBLOCK)
        self.call = os.eventfd(0, os.EFD_NONBLOCK)
        self.free = list(range(size // 4))
        self.busy = {}  # slot -> (kind, length)
        self.avail_at = self.used_at = 0
        self.avail_wrap = self.used_wrap = 1


class Vhost:
    def __init__(self, path, queues=1, size=128, packed=False, event_idx=True, indirect=False, inflight=True,
                 timeout=30):
        self.path, self.packed, self.event_idx, self.indirect = path, packed, event_idx, indirect
        self.want_inflight, self.timeout = inflight, timeout
        size = size - 5 if packed else size  # a packed ring may have any size
        self.queues = [Queue(i, size) for i in range(queues)]
        slots = sum(len(q.free) for q in self.queues)
        self.total = RINGS_SIZE + slots * SLOT_STRIDE
        self.fd = os.memfd_create("guest")
        os.ftruncate(self.fd, self.total)
        self.mem = mmap.mmap(self.fd, self.total)
        self.inflight = None  # (fd, payload)
        self.connect()

    # ---- messages ----

    def send(self, request, payload=b"", fds=(), flags=1):
        head = struct.pack("<III", request, flags, len(payload))
        extra = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.s.sendmsg([head + payload], extra)

    def receive(self, request):
        head, extra, _, _ = self.s.recvmsg(12, socket.CMSG_SPACE(32))
        if len(head) < 12:
            raise VhostError("the back end closed the connection")
        got, flags, n = struct.unpack("<III", head)
        if got != request or flags & 7 != 5:
            raise VhostError(f"an answer to {got} with flags {flags} instead of one to {request}")
        body = b""
        while len(body) < n:
            body += self.s.recv(n - len(body))
        fds = array.array("i")
        for level, kind, data in extra:
            fds.frombytes(data[:len(data) - len(data) % 4])
        return body, list(fds)

    def ask(self, request, payload=b""):
        self.send(request, payload)
        return self.receive(request)[0]

    def tell(self, request, payload=b"", fds=()):
        """True: the back end says that it was done."""
        self.send(request, payload, fds, flags=9)
        return struct.unpack("<Q", self.receive(request)[0])[0] == 0

    def must(self, *args):
        if not self.tell(*args):
            raise VhostError(f"request {args[0]} was refused")

    # ---- the beginning ----

    def connect(self):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(self.timeout)
        self.s.connect(self.path)
        self.offered = struct.unpack("<Q", self.ask(GET_FEATURES))[0]
        wanted = [F_FLUSH, F_DISCARD, F_ZEROES, F_RO, F_PROTOCOL, F_VERSION_1] + [F_PACKED] * self.packed + \
            [F_EVENT_IDX] * self.event_idx + [F_INDIRECT] * self.indirect
        self.features = self.offered & sum(1 << f for f in wanted)
        protocol = struct.unpack("<Q", self.ask(GET_PROTOCOL_FEATURES))[0]
        wanted = [PF_MQ, PF_REPLY_ACK, PF_BACKEND_REQ, PF_CONFIG] + [PF_INFLIGHT] * self.want_inflight
        self.send(SET_PROTOCOL_FEATURES, struct.pack("<Q", protocol & sum(1 << f for f in wanted)))
        self.queue_max = struct.unpack("<Q", self.ask(GET_QUEUE_NUM))[0]
        self.must(SET_OWNER)
        self.must(SET_FEATURES, struct.pack("<Q", self.features))
        self.news, theirs = socket.socketpair()
        self.must(SET_BACKEND_REQ_FD, b"", [theirs.fileno()])
        theirs.close()
        self.start()

    def start(self):
        if self.want_inflight:
            self.keep_inflight()
        self.must(SET_MEM_TABLE, struct.pack("<II4Q4Q", 2, 0, RINGS, RINGS_SIZE, RINGS + USER, 0, DATA,
                                             self.total - RINGS_SIZE, DATA + USER, RINGS_SIZE), [self.fd, self.fd])
        for q in self.queues:
            self.start_queue(q)

    def keep_inflight(self):
        if self.inflight is None:
            self.send(GET_INFLIGHT_FD, struct.pack("<QQHHI", 0, 0, len(self.queues), self.queues[0].size, 0))
            body, fds = self.receive(GET_INFLIGHT_FD)
            self.inflight = fds[0], body
        self.must(SET_INFLIGHT_FD, self.inflight[1], [self.inflight[0]])

    def in_flight(self):
        """Requests that the back end has taken and not answered, as its area says (client/vhost/spec.h)."""
        fd, body = self.inflight
        size, at, n_queues, n = struct.unpack("<QQHH", body[:20])
        head, each = (32, 32) if self.packed else (16, 16)
        with mmap.mmap(fd, size, offset=at) as m:
            return sum(m[q * (size // n_queues) + head + i * each] == 1 for q in range(n_queues) for i in range(n))

    def start_queue(self, q):
        base = self.u16(q.used + 2)  # as QEMU does when the back end could not tell
        if self.packed:
            base = q.used_at | q.used_wrap << 15 | q.used_at << 16 | q.used_wrap << 31
        self.must(SET_VRING_NUM, struct.pack("<II", q.index, q.size))
        self.must(SET_VRING_BASE, struct.pack("<II", q.index, base))
        self.must(SET_VRING_ADDR, struct.pack("<IIQQQQ", q.index, 0, q.desc + USER, q.used + USER, q.avail + USER, 0))
        self.must(SET_VRING_KICK, struct.pack("<Q", q.index), [q.kick])
        self.must(SET_VRING_CALL, struct.pack("<Q", q.index), [q.call])
        self.must(SET_VRING_ENABLE, struct.pack("<II", q.index, 1))

    def stop_queue(self, q):
        """Waits until nothing is under way; where the ring stands."""
        return struct.unpack("<II", self.ask(GET_VRING_BASE, struct.pack("<II", q.index, 0)))[1]

    def config(self):
        body = self.ask(GET_CONFIG, struct.pack("<III", 0, 60, 0) + bytes(60))
        return dict(zip(("capacity", "size_max", "seg_max", "blk_size", "num_queues"),
                        struct.unpack_from("<QII", body, 12) + struct.unpack_from("<I", body, 32) +
                        struct.unpack_from("<H", body, 46)))

    def hang_up(self):
        self.s.close()
        self.news.close()

    # ---- memory ----

    def u16(self, at, value=None):
        if value is None:
            return struct.unpack_from("<H", self.mem, at)[0]
        struct.pack_into("<H", self.mem, at, value & 0xffff)

    def data_at(self, q, slot):
        """Offset in the memory of a slot's data; header and status lie in the page behind."""
        return RINGS_SIZE + (sum(x.size // 4 for x in self.queues[:q.index]) + slot) * SLOT_STRIDE

    def guest(self, at):
        return DATA + at - RINGS_SIZE

    # ---- requests ----

    def chain(self, q, slot, kind, sector, data, n):
        at = self.data_at(q, slot)
        behind = at + DATA_MAX
        struct.pack_into("<IIQ", self.mem, behind, kind, 0, sector)
        self.mem[behind + 16] = 0xee
        if data:
            self.mem[at:at + len(data)] = data
        flags = WRITE if kind in (IN, GET_ID) else 0
        parts = [(self.guest(behind), 16, 0)]
        if n > 8192:  # in two parts, so that requests are put together
            parts += [(self.guest(at), 4096, flags), (self.guest(at + 4096), n - 4096, flags)]
        elif n:
            parts += [(self.guest(at), n, flags)]
        return parts + [(self.guest(behind + 16), 1, WRITE)]

    def submit(self, kind, sector=0, data=b"", n=0, queue=0, kick=True):
        """Makes a request available; returns its slot."""
        q = self.queues[queue]
        n = n or len(data)
        slot = q.free.pop(0)
        parts = self.chain(q, slot, kind, sector, data, n)
        if self.indirect:
            table = self.data_at(q, slot) + DATA_MAX + 32
            parts = [(self.guest(table), 16 * self.table(table, parts), INDIRECT)]
        q.busy[slot] = kind, n
        (self.add_packed if self.packed else self.add_split)(q, slot, parts)
        if kick:
            self.kick(q)
        return slot

    def table(self, at, parts):
        for i, (addr, n, flags) in enumerate(parts):
            more = i + 1 < len(parts)
            tail = (0, flags) if self.packed else (flags | NEXT * more, i + 1)
            struct.pack_into("<QIHH", self.mem, at + 16 * i, addr, n, *tail)
        return len(parts)

    def add_split(self, q, slot, parts):
        head = 4 * slot
        for i, (addr, n, flags) in enumerate(parts):
            more = i + 1 < len(parts)
            struct.pack_into("<QIHH", self.mem, q.desc + 16 * (head + i), addr, n, flags | NEXT * more, head + i + 1)
        self.u16(q.avail + 4 + 2 * (q.avail_at % q.size), head)
        q.avail_at = (q.avail_at + 1) & 0xffff
        self.u16(q.avail + 2, q.avail_at)

    def add_packed(self, q, slot, parts):
        first, flags_of_first = q.avail_at, 0
        for i, (addr, n, flags) in enumerate(parts):
            flags |= NEXT * (i + 1 < len(parts)) | (0x80 if q.avail_wrap else 0x8000)
            struct.pack_into("<QIH", self.mem, q.desc + 16 * q.avail_at, addr, n, slot)
            if i == 0:
                flags_of_first = flags
            else:
                self.u16(q.desc + 16 * q.avail_at + 14, flags)
            q.avail_at += 1
            if q.avail_at == q.size:
                q.avail_at, q.avail_wrap = 0, 1 - q.avail_wrap
        q.n_parts = getattr(q, "n_parts", {})
        q.n_parts[slot] = len(parts)
        self.u16(q.desc + 16 * first + 14, flags_of_first)

    def kick(self, q):
        os.eventfd_write(q.kick, 1)

    def reap_split(self, q):
        if self.u16(q.used + 2) == q.used_at:
            return None
        head = struct.unpack_from("<I", self.mem, q.used + 4 + 8 * (q.used_at % q.size))[0]
        q.used_at = (q.used_at + 1) & 0xffff
        if self.event_idx:
            self.u16(q.avail + 4 + 2 * q.size, q.used_at)
        return head // 4

    def reap_packed(self, q):
        at = q.desc + 16 * q.used_at
        flags = self.u16(at + 14)
        if (flags >> 7 & 1) != q.used_wrap or (flags >> 15 & 1) != q.used_wrap:
            return None
        slot = self.u16(at + 12)
        q.used_at += q.n_parts[slot]
        if q.used_at >= q.size:
            q.used_at, q.used_wrap = q.used_at - q.size, 1 - q.used_wrap
        return slot

    def reap(self, queue=0):
        """A request that came back, as (slot, status, data); None."""
        q = self.queues[queue]
        slot = self.reap_packed(q) if self.packed else self.reap_split(q)
        if slot is None:
            return None
        kind, n = q.busy.pop(slot)
        at = self.data_at(q, slot)
        status = self.mem[at + DATA_MAX + 16]
        data = self.mem[at:at + n] if kind in (IN, GET_ID) else b""
        q.free.append(slot)
        return slot, status, data

    def wait(self, queue=0, timeout=None):
        """The next request that comes back. Sleeps until it is told, so that a lost signal is found."""
        q = self.queues[queue]
        end = time.monotonic() + (timeout or self.timeout)
        while True:
            done = self.reap(queue)
            if done:
                return done
            if not select.select([q.call], [], [], max(0, end - time.monotonic()))[0]:
                raise VhostError(f"no request of queue {queue} came back, {len(q.busy)} are under way")
            os.eventfd_read(q.call)

    def do(self, kind, sector=0, data=b"", n=0, queue=0):
        self.submit(kind, sector, data, n, queue)
        _, status, data = self.wait(queue)
        return status, data

    def read(self, off, n, queue=0):
        status, data = self.do(IN, off // 512, n=n, queue=queue)
        if status != OK:
            raise VhostError(f"a read at {off} ended with status {status}")
        return data

    def write(self, off, data, queue=0):
        status, _ = self.do(OUT, off // 512, data, queue=queue)
        if status != OK:
            raise VhostError(f"a write at {off} ended with status {status}")

    def flush(self):
        return self.do(FLUSH)[0]

    def id(self):
        return self.do(GET_ID, n=20)[1].rstrip(b"\0").decode()

    def ranges(self, kind, *ranges, flags=0):
        return self.do(kind, data=b"".join(struct.pack("<QII", off // 512, n // 512, flags) for off, n in ranges))[0]
