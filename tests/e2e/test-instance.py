#!/usr/bin/env python3
"""--domain auto: a host asks the metadata service of its cloud instance where it is."""
import http.server
import os
import random
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness

from daemons import Daemons, free_port

AZURE = "/metadata/instance/compute/%s?api-version="


class Service(http.server.ThreadingHTTPServer):
    """Of one provider; answers nothing that the provider would not."""
    daemon_threads = True

    def __init__(self, t, answer):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.asked = answer, []
        self.addr = "127.0.0.1:%d" % self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()
        t.at_end(self.shutdown)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one(self):
        self.server.asked.append((self.command, self.path))
        status, body, *more = self.server.answer(self.command, self.path, self.headers)
        self.send_response(status)
        for name, value in more:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    do_GET = do_PUT = handle_one

    def log_message(self, *args):
        pass


def aws(method, path, head):
    if method == "PUT" and path == "/latest/api/token" and head["X-aws-ec2-metadata-token-ttl-seconds"]:
        return 200, "AQAEA=="
    if head["X-aws-ec2-metadata-token"] != "AQAEA==":
        return 401, "Unauthorized"
    return {"/latest/meta-data/placement/availability-zone": (200, "eu-central-1a"),
            "/latest/meta-data/placement/region": (200, "eu-central-1")}.get(path, (404, "no"))


def azure(method, path, head, zone="2"):
    if method != "GET" or head["Metadata"] != "true":
        return 400, "Bad Request"
    if path.startswith(AZURE % "location"):
        return 200, "westeurope"
    return (200, zone) if path.startswith(AZURE % "zone") else (404, "no")


def gcp(method, path, head):
    if head["Metadata-Flavor"] != "Google" or head["Host"] != "metadata.google.internal":
        return 403, "Forbidden"
    if path != "/computeMetadata/v1/instance/zone":
        return 404, "no", ("Metadata-Flavor", "Google")
    return 200, "projects/12345/zones/europe-west3-c", ("Metadata-Flavor", "Google")


def started(t, c, host, answer, domain="auto", *more):
    service = Service(t, answer)
    c.start(host, [c.format(host)], "--instance-metadata", service.addr, *more, site=domain)
    h = next(h for h in c.json("host", "ls")["hosts"] if h["name"] == host)
    return h["region"], h["site"], h["rack"], h["site_kind"]


def test_providers(t):
    c = Daemons(t)
    where = started(t, c, "a", aws)
    assert where == ("eu-central-1", "aws-eu-central-1", "eu-central-1a", "cloud"), where
    where = started(t, c, "b", azure)
    assert where == ("westeurope", "azure-westeurope", "westeurope-2", "cloud"), where
    where = started(t, c, "c", gcp)
    assert where == ("europe-west3", "gcp-europe-west3", "europe-west3-c", "cloud"), where
    where = started(t, c, "d", lambda *a: azure(*a, zone=""))
    assert where == ("westeurope", "azure-westeurope", "", "cloud"), where


def test_what_is_given_wins(t):
    c = Daemons(t)
    where = started(t, c, "a", aws, "auto,rack=r2")
    assert where == ("eu-central-1", "aws-eu-central-1", "r2", "cloud"), where
    where = started(t, c, "b", aws, "auto,site=mine", "--site-kind", "on-premise")
    assert where == ("", "mine", "eu-central-1a", "on-premise"), where
    where = started(t, c, "c", aws, "auto,region=eu,site=other")
    assert where == ("eu", "other", "eu-central-1a", "cloud"), where


def refused(t, addr, *says):
    before = time.monotonic()
    r = t.fails("causewayd", "--host", "x", "--domain", "auto", "--listen", "127.0.0.1:0", "--join", "127.0.0.1:1",
                "--store", t.path("none"), "--instance-metadata", addr, code=1,
                says=["--domain auto", "--domain site=SITE", *says], timeout=20)
    assert time.monotonic() - before < 8, r
    return r


def raw(t, fn):
    """A listener that gives each connection to fn."""
    s = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                conn, _ = s.accept()
            except OSError:
                return
            threading.Thread(target=fn, args=(conn,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    t.at_end(s.close)
    return "127.0.0.1:%d" % s.getsockname()[1]


def test_nobody_knows(t):
    refused(t, f"127.0.0.1:{free_port()}", "aws: Connection refused", "gcp: Connection refused")
    refused(t, Service(t, lambda *a: (404, "no")).addr, "azure: it answers 404")
    refused(t, Service(t, lambda *a: (302, "", ("Location", "http://127.0.0.1/"))).addr, "aws: it answers 302")


def test_garbage(t):
    def noise(conn):
        with conn:
            conn.recv(4096)
            conn.sendall(random.Random(3).randbytes(100000))

    def endless(conn):
        with conn:
            try:
                conn.sendall(b"HTTP/1.1 200 OK\r\n")
                while True:
                    conn.sendall(b"X: " + b"a" * 1000 + b"\r\n")
            except OSError:
                pass

    refused(t, raw(t, noise))
    refused(t, raw(t, endless), "makes no sense")
    # names that are no names, a token that would be a header, and what is not of Google
    for body in ("../../etc", "eu central", "a" * 64, "x\r\nEvil: 1", "-", "", "é"):
        refused(t, Service(t, lambda *a, body=body: (200, body)).addr, "makes no sense")
    refused(t, Service(t, lambda m, p, h: gcp(m, p, h)[:2]).addr, "gcp: an answer that makes no sense")


def test_silence(t):
    def silent(conn):
        time.sleep(15)
        conn.close()

    def drip(conn):
        with conn:
            try:
                for c in b"HTTP/1.1 200 OK\r\n" + b"a" * 1000:
                    conn.sendall(bytes([c]))
                    time.sleep(0.05)
            except OSError:
                pass

    refused(t, raw(t, silent), "aws: silent for 2 s")
    refused(t, raw(t, drip), "silent for 2 s")


harness.main(globals())
