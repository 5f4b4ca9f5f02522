"""tests/lib/nbd.py - a small NBD client, so that tests can do what well-behaved ones never do.

Fixed newstyle negotiation, NBD_OPT_GO, simple replies; requests may be pipelined: `send` returns at
once, `recv` returns the next answer in whatever order the server gives it.
"""
import socket
import struct

MAGIC, OPT_MAGIC = 0x4e42444d41474943, 0x49484156454f5054
OPT_REPLY, REQUEST, SIMPLE_REPLY = 0x3e889045565a9, 0x25609513, 0x67446698
OPT_EXPORT_NAME, OPT_ABORT, OPT_LIST, OPT_INFO, OPT_GO = 1, 2, 3, 6, 7
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES = 0, 1, 2, 3, 4, 5, 6
FUA = 1


class NbdError(Exception):
    pass


def serves(path, export):
    """Does the server take up the export? It may wait for it."""
    try:
        Nbd(path, export).close()
        return True
    except (NbdError, OSError):
        return False


class Nbd:
    def __init__(self, path=None, export="", addr=None, go=True, timeout=60):
        if path:
            self.s = socket.socket(socket.AF_UNIX)
            self.s.settimeout(timeout)
            self.s.connect(path)
        else:
            self.s = socket.create_connection(addr, timeout)
            self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.handle, self.waiting = 0, {}
        magic, opt, self.server_flags = struct.unpack(">QQH", self.exactly(18))
        if magic != MAGIC or opt != OPT_MAGIC:
            raise NbdError("not an NBD server")
        self.s.sendall(struct.pack(">I", 3))
        self.size = self.flags = None
        if go:
            self.go(export)

    def exactly(self, n):
        parts = []
        while n:
            part = self.s.recv(min(n, 1 << 20))
            if not part:
                raise NbdError("the server closed the connection")
            parts.append(part)
            n -= len(part)
        return b"".join(parts)

    def option(self, option, data=b""):
        """Sends an option and returns its replies as (type, data), up to and with the last one."""
        self.s.sendall(struct.pack(">QII", OPT_MAGIC, option, len(data)) + data)
        replies = []
        while True:
            magic, opt, kind, n = struct.unpack(">QIII", self.exactly(20))
            if magic != OPT_REPLY or opt != option:
                raise NbdError("bad option reply")
            replies.append((kind, self.exactly(n)))
            if kind == 1 or kind & 0x80000000:
                return replies

    def go(self, export):
        name = export.encode()
        replies = self.option(OPT_GO, struct.pack(">I", len(name)) + name + struct.pack(">H", 0))
        for kind, data in replies:
            if kind == 3 and struct.unpack(">H", data[:2])[0] == 0:
                self.size, self.flags = struct.unpack(">QH", data[2:12])
        kind, data = replies[-1]
        if kind != 1:
            raise NbdError(f"GO {export}: {data.decode('utf-8', 'replace')}")

    def list(self):
        names = []
        for kind, data in self.option(OPT_LIST):
            if kind == 2:
                n = struct.unpack(">I", data[:4])[0]
                names.append(data[4:4 + n].decode())
        return names

    def send(self, kind, offset=0, length=0, data=b"", flags=0):
        self.handle += 1
        self.waiting[self.handle] = (kind, length)
        self.s.sendall(struct.pack(">IHHQQI", REQUEST, flags, kind, self.handle, offset, length) + data)
        return self.handle

    def recv(self):
        """(handle, errno, data) of the next reply."""
        magic, error, handle = struct.unpack(">IIQ", self.exactly(16))
        if magic != SIMPLE_REPLY or handle not in self.waiting:
            raise NbdError("bad reply")
        kind, length = self.waiting.pop(handle)
        return handle, error, self.exactly(length) if kind == READ and error == 0 else b""

    def call(self, *args, **kw):
        handle = self.send(*args, **kw)
        got, error, data = self.recv()
        if got != handle:
            raise NbdError("reply to another request")
        if error:
            raise NbdError(f"errno {error}")
        return data

    def read(self, offset, length):
        return self.call(READ, offset, length)

    def write(self, offset, data, flags=0):
        self.call(WRITE, offset, len(data), data, flags)

    def flush(self):
        self.call(FLUSH)

    def close(self):
        try:
            self.s.sendall(struct.pack(">IHHQQI", REQUEST, 0, DISC, 0, 0, 0))
        except OSError:
            pass
        self.s.close()
