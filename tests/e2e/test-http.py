#!/usr/bin/env python3
"""HTTP of the daemons: the objects of --json, both as docs/api says; keys, dry runs, streams, metrics, limits."""
import http.client
import json
import os
import re
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
import jsonschema_subset as schema
import prometheus_text
from harness import Failed, wait_for

JSON = {"Content-Type": "application/json"}


class Answer:
    def __init__(self, status, headers, text):
        self.status, self.headers, self.text = status, headers, text
        self.json = json.loads(text) if headers.get("Content-Type") == "application/json" else None


class Client:
    def __init__(self, addr):
        self.addr = addr

    def ask(self, method, path, body=None, headers=None, timeout=30):
        c = http.client.HTTPConnection(self.addr, timeout=timeout)
        try:
            text = json.dumps(body) if isinstance(body, (dict, list)) else body
            c.request(method, path, text, {**(JSON if text is not None else {}), **(headers or {})})
            r = c.getresponse()
            a = Answer(r.status, r.headers, r.read().decode())
        finally:
            c.close()
        if a.json is not None:
            schema.check(a.json)
        return a

    def get(self, path, **kw):
        return self.ask("GET", path, **kw)

    def want(self, status, method, path, *args, **kw):
        a = self.ask(method, path, *args, **kw)
        if a.status != status:
            raise Failed(f"{method} {path}: {a.status}, not {status}: {a.text[:500]}")
        return a.json

    def fails(self, status, code, method, path, *args, **kw):
        j = self.want(status, method, path, *args, **kw)
        assert j["error"]["code"] == code, j
        return j["error"]


def https_of(c):
    with open(os.path.join(c.dir, "cluster.json")) as f:
        conf = json.load(f)
    return {n["name"]: Client(n["http"]) for n in [conf["manager"], *conf["hosts"]]}


def raw(addr, data, timeout=15.0):
    """What the server says to these bytes until it closes."""
    host, port = addr.split(":")
    with socket.create_connection((host, int(port)), timeout) as s:
        s.sendall(data)
        got = b""
        while piece := s.recv(65536):
            got += piece
    return got.decode("utf-8", "replace")


def test_json_of_the_admin_client_is_as_described(t):
    c = t.cluster(store_size="512M")
    image = t.path("image")
    with open(image, "wb") as f:
        f.write(b"x" * 8192)

    def run(*args, code=0):
        r = c.try_admin("--json", *args)
        assert r.code == code, r
        schema.check(json.loads(r.out))

    for args in (("status",), ("volume", "create", "v", "--size", "64M"), ("volume", "ls"), ("volume", "show", "v"),
                 ("explain", "v"), ("volume", "resize", "v", "128M"), ("volume", "set", "v", "--policy", "default"),
                 ("volume", "import", "i", image), ("volume", "verify", "i"), ("volume", "export", "i", t.path("out")),
                 ("jobs", "ls"), ("volume", "rm", "v"), ("volume", "ls", "--trash"), ("volume", "restore", "v"),
                 ("volume", "rm", "v", "--now"), ("policy", "create", "p", "copies=2"), ("policy", "ls"),
                 ("policy", "check", "p", "copies=3"), ("policy", "check", "copies=1"),
                 ("policy", "show", "p"), ("policy", "set", "p", "degrade=off"), ("policy", "rm", "p"), ("host", "ls"),
                 ("host", "show", "aws-1"), ("disk", "ls"), ("disk", "show", "aws-1/store-0"), ("scrub", "start"),
                 ("scrub", "ls"), ("events",), ("doctor", c.addr), ("host", "add", "aws-1"), ("host", "add", "new"),
                 ("host", "maintain", "aws-1", "--plan"), ("disk", "drain", "aws-1/store-0", "--plan"),
                 ("repair", "ls"), ("repair", "pause"), ("repair", "resume"), ("repair", "limit", "20M"),
                 ("repair", "limit", "auto"), ("repair", "now")):
        run(*args)
    run("whatif", "--fail", "aws", code=1)
    run("policy", "check", "copies=5", code=1)
    for args in (("volume", "show", "none"), ("host", "show", "none"), ("jobs", "show", "1000000"),
                 ("host", "return", "aws-1"), ("host", "maintain", "none"), ("disk", "drain", "aws-1/none"),
                 ("disk", "rm", "aws-1/store-0"), ("whatif", "--fail", "none"), ("repair", "now", "--volume", "none"),
                 ("volume", "recover", "i"), ("host", "rm", "aws-1"), ("disk", "return", "aws-1/store-0")):
        run(*args, code=1)
    run("volume", "create", code=2)
    job = str(c.json("jobs", "ls")["jobs"][0]["id"])
    run("jobs", "show", job)
    run("jobs", "cancel", job)
    schema.check(json.loads(t.ok("causeway", "local", "ls", "--dir", c.dir, "--json").out))


def test_json_of_maintenance_and_removal(t):
    """What the admin client tells while hosts and disks go, and HTTP the same of it."""
    c = t.cluster("onprem:3,aws:2", store_size="512M")
    h = https_of(c)["onprem-1"]
    with open(t.path("image"), "wb") as f:
        f.write(b"x" * 65536)
    c.admin("volume", "import", "i", t.path("image"))

    def holders():
        return sorted({m["host"] for s in c.volume("i")["shards"] for m in s["members"]})

    def run(*args):
        j = json.loads(c.admin("--json", *args).out)
        schema.check(j)
        return j

    def same(*args, path, body=None):
        """The same object both ways."""
        told, got = run(*args), h.want(200, "GET" if body is None else "POST", path, body)
        assert told == got, (told, got)
        return told

    def keys_of(v):
        return {k: keys_of(x) for k, x in v.items()} if isinstance(v, dict) else None

    first, second = holders()[:2]
    disk = second + "/store-0"
    plan = same("host", "maintain", first, "--plan", path=f"/v1/hosts/{first}/maintain", body={"plan": True})
    assert [p["mode"] for p in plan["plans"]] == ["accessible", "full", "none"] and plan["host"] == first, plan
    assert plan["plans"][1]["moves"] == 1 and plan["plans"][1]["volumes"][0]["name"] == "i", plan
    plan = same("disk", "drain", disk, "--plan", path=f"/v1/disks/{disk}/drain", body={"plan": True})
    assert plan["disk"] == disk and plan["plans"][0]["moves"] == 1, plan
    same("policy", "check", "default", "copies=2", path="/v1/policies/default/check", body={"copies": 2})
    same("policy", "check", "copies=2", "spread=site", path="/v1/policies/check", body={"copies": 2, "spread": "site"})
    same("repair", "ls", path="/v1/repairs")

    maintained = run("host", "maintain", first)
    assert maintained["maintenance"]["ready"] and maintained["maintenance"]["mode"] == "accessible", maintained
    assert h.want(200, "GET", f"/v1/hosts/{first}")["host"]["maintenance"]["ready"]
    assert run("host", "ls").keys() == h.want(200, "GET", "/v1/hosts").keys()
    assert run("host", "return", first) == {"schema": 1, "returned": first}
    again = h.want(200, "POST", f"/v1/hosts/{first}/maintain", {"mode": "accessible"})
    assert keys_of(again) == keys_of(maintained), (again, maintained)
    assert h.want(200, "POST", f"/v1/hosts/{first}/return") == {"schema": 1, "returned": first}

    # A disk that is emptied over HTTP, and then removed.
    drain = h.want(200, "POST", f"/v1/disks/{disk}/drain")["drain"]
    assert drain["job"] > 0 and not drain["done"] and drain["disk"].endswith(disk), drain
    assert h.want(200, "GET", f"/v1/jobs/{drain['job']}")["job"]["kind"] == "drain"
    wait_for("it is empty", lambda: h.want(200, "POST", f"/v1/disks/{disk}/drain")["drain"]["done"], 60, 0.2)
    assert second not in holders(), holders()
    assert h.want(200, "GET", f"/v1/disks/{disk}")["disk"]["state"] == "draining"
    assert run("disk", "drain", disk)["drain"]["done"]
    assert h.want(200, "POST", f"/v1/disks/{disk}/drain", {"cancel": True})["drain"]["cancelled"]
    assert h.want(200, "DELETE", f"/v1/disks/{disk}?dry-run=true") == {"schema": 1, "dry_run": True}
    gone = h.want(200, "DELETE", f"/v1/disks/{disk}")
    assert gone["removed"].endswith(disk) and gone["copies"] == 0 and gone["lost"] == [], gone
    wait_for("its daemon is told", lambda: h.get(f"/v1/disks/{disk}").json.get("disk", {}).get("state") == "removed", 20, 0.2)
    assert run("disk", "show", disk)["disk"]["removed"]
    assert h.want(200, "POST", f"/v1/disks/{disk}/add?dry-run=true") == {"schema": 1, "dry_run": True}
    assert h.want(200, "POST", f"/v1/disks/{disk}/add") == {"schema": 1, "added": disk}
    wait_for("it is back", lambda: h.get(f"/v1/disks/{disk}").json.get("disk", {}).get("state") == "ok", 20, 0.2)
    assert run("disk", "rm", disk)["removed"].endswith(disk)
    assert run("disk", "add", disk) == {"schema": 1, "added": disk}
    t.fails("causeway", "--cluster", c.addr, "disk", "add", "none/none", says="no disk none/none was removed")

    # A host that is lost, and what follows from that.
    lost = next(x for x in holders() if x != "onprem-1")
    c.local("kill", lost)
    wait_for("it is absent", lambda: h.get(f"/v1/hosts/{lost}").json["host"]["state"] == "absent", 15, 0.2)
    fail = [x for x in holders() if x != lost][:1]
    told = json.loads(c.try_admin("--json", "whatif", "--fail", fail[0]).out)
    schema.check(told)
    whatif = h.want(200, "POST", "/v1/whatif", {"fail": fail})["whatif"]
    assert whatif["health"] == "error" and keys_of(whatif) == keys_of(told["whatif"]), (whatif, told)
    assert len(h.want(200, "POST", "/v1/whatif", {"fail": holders()})["whatif"]["disks"]) == len(holders())
    wait_for("its copy waits", lambda: run("repair", "ls")["repairs"], 20, 0.2)
    assert h.want(200, "GET", "/v1/repairs")["repairs"][0]["volume"] == "i"
    assert h.want(202, "POST", "/v1/repairs/now", {"host": lost})["job"]["kind"] == "repair"
    wait_for("it is made again elsewhere", lambda: lost not in holders(), 60, 0.2)
    c.wait_full("i")
    gone = h.want(200, "DELETE", f"/v1/hosts/{lost}")
    assert gone["removed"] == lost and gone["lost"] == [], gone
    assert lost not in [x["name"] for x in run("host", "ls")["hosts"]]
    c.local("kill", second)
    wait_for("it can be removed", lambda: c.try_admin("--json", "host", "rm", second).code == 0, 20, 0.2)
    wait_for("another host keeps the records", lambda: c.try_admin("status").code == 0, 30, 0.2)
    run("status"), run("jobs", "ls"), run("events"), run("explain", "i")


def routes_of_the_server():
    with open(os.path.join(harness.TOP, "daemon", "http", "routes.c")) as f:
        return {(m.lower(), p) for m, p in re.findall(r'\{ (GET|POST|PATCH|DELETE), "([^"]+)"', f.read())}


def test_every_path_answers_as_the_description_says(t):
    described = schema.load("openapi.json")
    ops = {(m, p): o for p, ms in described["paths"].items() for m, o in ms.items()}
    assert set(ops) == routes_of_the_server(), set(ops) ^ routes_of_the_server()
    c = t.cluster(store_size="512M")
    h = https_of(c)["onprem-1"]
    with open(t.path("image"), "wb") as f:
        f.write(b"x" * 8192)
    c.admin("volume", "import", "i", t.path("image"))
    disk = "/v1/disks/aws-1/store-0"
    job = h.want(202, "POST", "/v1/volumes/i/verify")["job"]["id"]
    did = {("post", "/v1/volumes/{name}/verify")}

    def do(method, template, path, body=None, status=None):
        op = ops[method, template]
        status = status or int(min(s for s in op["responses"] if s.startswith("2")
                                   and "dry run" not in op["responses"][s]["description"]))
        a = h.ask(method.upper(), path, body)
        assert a.status == status, (method, path, a.status, a.text[:400])
        if a.json is not None:
            answer = op["responses"].get(str(status), op["responses"]["default"])
            schema.check(a.json, answer["content"]["application/json"]["schema"])
        did.add((method, template))
        return a.json

    for path in ("/healthz", "/metrics", "/v1/status", "/v1/volumes", "/v1/policies", "/v1/hosts", "/v1/disks", "/v1/scrubs",
                 "/v1/jobs", "/v1/events", "/v1/metadata"):
        do("get", path, path)
    do("get", "/v1/jobs/{id}", f"/v1/jobs/{job}")
    do("delete", "/v1/jobs/{id}", f"/v1/jobs/{job}")
    do("post", "/v1/volumes", "/v1/volumes", {"name": "v", "size_bytes": 64 << 20})
    for sub in ("", "/explain"):
        do("get", "/v1/volumes/{name}" + sub, "/v1/volumes/v" + sub)
    do("post", "/v1/volumes/{name}/resize", "/v1/volumes/v/resize", {"size_bytes": 128 << 20})
    do("patch", "/v1/volumes/{name}", "/v1/volumes/v", {"policy": "default"})
    do("post", "/v1/volumes/{name}/migrate", "/v1/volumes/i/migrate", {"seconds": 60}, 409)  # nobody has it attached
    do("delete", "/v1/volumes/{name}/migrate", "/v1/volumes/i/migrate")
    do("post", "/v1/volumes/{name}/recover", "/v1/volumes/i/recover", {}, 400)
    do("delete", "/v1/volumes/{name}", "/v1/volumes/v?delay_seconds=600")
    assert [v["name"] for v in h.get("/v1/volumes?trash=true").json["volumes"]] == ["v"]
    do("post", "/v1/volumes/{name}/restore", "/v1/volumes/v/restore", {"new_name": "w"})
    h.want(200, "DELETE", "/v1/volumes/w?now=true")
    p = do("post", "/v1/policies", "/v1/policies", {"name": "p", "copies": 2, "degrade_seconds": None})["policy"]
    assert p["copies"] == 2 and p["degrade_seconds"] is None, p
    do("get", "/v1/policies/{name}", "/v1/policies/p")
    assert do("patch", "/v1/policies/{name}", "/v1/policies/p", {"degrade_seconds": 30})["policy"]["degrade_seconds"] == 30
    do("post", "/v1/policies/{name}/check", "/v1/policies/p/check", {"copies": 3})
    do("delete", "/v1/policies/{name}", "/v1/policies/p")
    assert not do("post", "/v1/policies/check", "/v1/policies/check", {"copies": 5})["can_be_met"]
    do("get", "/v1/hosts/{name}", "/v1/hosts/aws-1")
    do("delete", "/v1/hosts/{name}", "/v1/hosts/aws-1", status=409)
    do("get", "/v1/disks/{host}/{disk}", disk)
    m = do("post", "/v1/hosts/{name}/maintain", "/v1/hosts/aws-1/maintain", {"mode": "none"})["maintenance"]
    assert m == {"host": "aws-1", "mode": "none", "ready": True, "job": 0, "why": ""}, m
    do("post", "/v1/hosts/{name}/return", "/v1/hosts/aws-1/return")
    do("post", "/v1/disks/{host}/{disk}/drain", disk + "/drain", {"plan": True})
    do("delete", "/v1/disks/{host}/{disk}", disk, status=409)
    do("get", "/v1/repairs", "/v1/repairs")
    assert do("post", "/v1/repairs/pause", "/v1/repairs/pause")["repair"] == "paused"
    do("post", "/v1/repairs/limit", "/v1/repairs/limit", {"limit_bytes_per_second": 20 << 20})
    repairs = h.get("/v1/repairs").json
    assert repairs["limit_bytes_per_second"] == 20 << 20 and repairs["paused_since"], repairs
    h.fails(409, "CONFLICT", "POST", "/v1/repairs/now")
    assert do("post", "/v1/repairs/resume", "/v1/repairs/resume")["repair"] == "resumed"
    h.want(200, "POST", "/v1/repairs/limit", {"limit_bytes_per_second": 0})
    repairs = h.get("/v1/repairs").json
    assert repairs["limit_bytes_per_second"] == 0 and not repairs["paused_since"], repairs
    do("post", "/v1/repairs/now", "/v1/repairs/now", {"volume": "i"})
    do("post", "/v1/whatif", "/v1/whatif", {"fail": ["aws", "onprem-1/store-0"]})
    do("post", "/v1/disks/{host}/{disk}/return", disk + "/return", status=400)
    do("post", "/v1/disks/{host}/{disk}/add", disk + "/add", status=404)
    do("post", "/v1/scrubs", "/v1/scrubs", {"target": "aws-1/store-0"})
    assert did == set(ops), set(ops) - did
    for path, body in (("/v1/status", None), ("/v1/hosts", None), ("/v1/policies", None)):
        assert h.get(path).json.keys() == c.json(*{"/v1/status": ("status",), "/v1/hosts": ("host", "ls"),
                                                   "/v1/policies": ("policy", "ls")}[path]).keys()


def test_errors_keys_and_dry_runs(t):
    c = t.cluster(store_size="512M")
    h = https_of(c)["onprem-1"]
    v = {"name": "v", "size_bytes": 64 << 20}
    h.fails(404, "NOT_FOUND", "GET", "/v1/volumes/none")
    h.fails(404, "NOT_FOUND", "GET", "/v1/hosts/none")
    h.fails(404, "NOT_FOUND", "GET", "/v2/volumes")
    a = h.ask("PUT", "/v1/volumes", "{}")
    assert a.status == 405 and a.headers["Allow"] == "GET, POST", a.headers
    for body in ("{", "[]", '{"name":"v","name":"w"}', '{"name":"v","size_bytes":"2G"}', '{"name":"v","sise_bytes":1}',
                 '{"name":"v","size_bytes":-4096}', '{"name":"v","size_bytes":4097}', '{"name":"../v","size_bytes":4096}'):
        h.fails(400, "BAD_REQUEST", "POST", "/v1/volumes", body)
    h.fails(400, "BAD_REQUEST", "GET", "/v1/volumes?bad=1")
    h.fails(400, "BAD_REQUEST", "GET", "/v1/jobs/x")
    h.fails(400, "BAD_REQUEST", "DELETE", "/v1/volumes/v", "{}")
    h.fails(415, "BAD_REQUEST", "POST", "/v1/volumes", "{}", headers={"Content-Type": "text/plain"})
    h.fails(403, "FORBIDDEN", "POST", "/v1/volumes", v, headers={"Origin": "http://elsewhere.example"})

    # A dry run says what the real one would say, and does nothing.
    events = len(h.get("/v1/events").json["events"])
    assert h.want(200, "POST", "/v1/volumes?dry-run=true", v) == {"schema": 1, "dry_run": True}
    h.fails(400, "BAD_REQUEST", "POST", "/v1/volumes?dry-run=maybe", v)
    assert h.get("/v1/volumes").json["volumes"] == []
    assert len(h.get("/v1/events").json["events"]) == events
    for path in ("/v1/volumes/v?dry-run", "/v1/volumes/v?now=1&dry-run=1"):
        h.fails(404, "NOT_FOUND", "DELETE", path)

    # The same key and the same request: the same answer, done once.
    key = {"Idempotency-Key": "a-1"}
    first = h.ask("POST", "/v1/volumes", v, key)
    again = h.ask("POST", "/v1/volumes", v, key)
    assert (first.status, first.text) == (again.status, again.text) and first.status == 201, again.text
    assert again.headers["Idempotency-Replayed"] == "true" and "Idempotency-Replayed" not in first.headers
    h.fails(422, "CONFLICT", "POST", "/v1/volumes", dict(v, name="w"), headers=key)
    h.fails(422, "CONFLICT", "POST", "/v1/policies", {"name": "w"}, headers=key)
    h.fails(409, "EXISTS", "POST", "/v1/volumes", v)
    h.fails(409, "EXISTS", "POST", "/v1/volumes?dry-run=true", v)
    h.fails(400, "BAD_REQUEST", "POST", "/v1/volumes", v, headers={"Idempotency-Key": "k" * 129})

    for method, path, body in (("DELETE", "/v1/volumes/v", None), ("POST", "/v1/volumes/v/resize", {"size_bytes": 1 << 30}),
                               ("PATCH", "/v1/volumes/v", {"policy": "default"}), ("POST", "/v1/policies", {"name": "p"}),
                               ("PATCH", "/v1/policies/default", {"repair_delay_seconds": 5}), ("POST", "/v1/scrubs", {})):
        h.want(200, method, path + "?dry-run=true", body)
    got = h.get("/v1/volumes/v").json["volume"]
    assert got["size_bytes"] == 64 << 20, got
    assert h.get("/v1/policies/default").json["policy"]["repair_delay_seconds"] == 3600
    assert len(h.get("/v1/policies").json["policies"]) == 1
    h.fails(400, "BAD_REQUEST", "POST", "/v1/volumes/v/resize?dry-run=true", {"size_bytes": 4096})
    h.fails(400, "BAD_REQUEST", "POST", "/v1/volumes/v/recover?dry-run=true", {"accept_loss": True})

    for path, body in (("/v1/hosts/aws-1/maintain", {"mode": "gone"}), ("/v1/hosts/aws-1/maintain", {}),
                       ("/v1/hosts/aws-1/return", None), ("/v1/repairs/limit", {}), ("/v1/repairs/limit", None),
                       ("/v1/repairs/limit", {"limit_bytes_per_second": 1}), ("/v1/repairs/limit", {"limit_bytes_per_second": None}),
                       ("/v1/repairs/now", {"host": "aws-1", "volume": "v"}), ("/v1/whatif", {}), ("/v1/whatif", {"fail": []}),
                       ("/v1/whatif", {"fail": "aws"}), ("/v1/whatif", {"fail": [1]}), ("/v1/whatif", {"fail": ["a\0b"]}),
                       ("/v1/whatif", {"fail": {"a": "b"}}), ("/v1/whatif?dry-run=true", {"fail": ["aws"]}),
                       ("/v1/policies/check", {"copies": 9}), ("/v1/disks/aws-1/store-0/drain", {"cancel": True})):
        h.fails(400, "BAD_REQUEST", "POST", path, body)
    for path, body in (("/v1/hosts/none/maintain", {"mode": "full"}), ("/v1/hosts/none/maintain", {"plan": True}),
                       ("/v1/hosts/none/return", None), ("/v1/disks/aws-1/none/drain", {"plan": True}),
                       ("/v1/repairs/now", {"volume": "none"}), ("/v1/whatif", {"fail": ["aws", "none"]}),
                       ("/v1/policies/none/check", {})):
        h.fails(404, "NOT_FOUND", "POST", path, body)
    h.fails(400, "BAD_REQUEST", "DELETE", "/v1/hosts/aws-1?accept_loss=perhaps")
    jobs, events = h.get("/v1/jobs").json, len(h.get("/v1/events").json["events"])
    for path, body in (("/v1/hosts/aws-1/maintain", {"mode": "full"}), ("/v1/disks/aws-1/store-0/drain", {}),
                       ("/v1/repairs/now", {}), ("/v1/repairs/pause", None), ("/v1/repairs/limit", {"limit_bytes_per_second": 1 << 20})):
        assert h.want(200, "POST", path + "?dry-run=true", body) == {"schema": 1, "dry_run": True}
    assert h.get("/v1/jobs").json == jobs and len(h.get("/v1/events").json["events"]) == events
    assert h.get("/v1/hosts/aws-1").json["host"]["maintenance"] is None


class Stream:
    """Server-sent events as they come."""

    def __init__(self, addr, last=None):
        self.c = http.client.HTTPConnection(addr, timeout=30)
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": str(last)} if last is not None else {})}
        self.c.request("GET", "/v1/events", headers=headers)
        self.r = self.c.getresponse()
        assert self.r.status == 200 and self.r.headers["Content-Type"] == "text/event-stream", self.r.headers

    def next(self):
        """(id, event), a comment as (None, text), or None at the end."""
        number = data = comment = None
        while True:
            line = self.r.readline().decode()
            if not line:
                return None
            line = line.rstrip("\n")
            if line.startswith(":"):
                comment = line[1:].strip()
            elif line.startswith("id:"):
                number = int(line[3:])
            elif line.startswith("data:"):
                data = json.loads(line[5:])
            elif not line and (data is not None or comment is not None):
                return (None, comment) if data is None else (number, data)

    def event(self):
        while (got := self.next()) is not None:
            if got[0] is not None:
                schema.check(got[1])
                assert got[1]["event"]["number"] == got[0]
                return got[1]["event"]
        raise Failed("the stream ended")


def test_events_stream_and_resume(t):
    c = t.cluster(store_size="512M")
    h = https_of(c)["onprem-1"]
    all_events = h.get("/v1/events").json["events"]
    s = Stream(h.addr)
    assert [s.event()["number"] for _ in all_events] == [e["number"] for e in all_events]
    c.admin("volume", "create", "v", "--size", "64M")
    seen = s.event()
    assert seen["code"] == "VOLUME_CREATED" and seen["object"] == "v", seen
    s.c.close()
    c.admin("volume", "rm", "v")
    resumed = Stream(h.addr, last=seen["number"])
    assert resumed.event()["code"] == "VOLUME_TRASHED"
    got = resumed.next()
    assert got[0] is None and got[1], got # silence is filled with comments
    h.fails(400, "BAD_REQUEST", "GET", "/v1/events", headers={"Accept": "text/event-stream", "Last-Event-ID": "x"})

    # The manager goes and comes back; the stream goes on.
    c.local("kill", "manager")
    while resumed.next()[1] != "the manager does not answer":
        pass
    c.local("start", "manager")
    wait_for("w is created", lambda: c.try_admin("volume", "create", "w", "--size", "64M").code == 0, 20, 0.2)
    while resumed.event()["code"] != "VOLUME_CREATED":
        pass

    # The daemon stops: the stream ends as it should, not in the middle.
    pid = next(p["pid"] for p in json.loads(t.ok("causeway", "local", "ls", "--dir", c.dir, "--json").out)["processes"]
               if p["name"] == "onprem-1")
    os.kill(pid, 15)
    while resumed.next() is not None: # IncompleteRead if it broke off
        pass


def well(m):
    """The metrics, once they say that one volume is on three copies in sync and nothing else is to be said."""
    return m.one("causeway_volumes", protection="full") == 1 and m.one("causeway_copies", state="INSYNC") == 3 and \
        m.one("causeway_health", health="ok") == 1 and m


def test_health_and_metrics(t):
    c = t.cluster(store_size="512M")
    https = https_of(c)
    c.admin("volume", "create", "v", "--size", "64M")
    nbd = t.nbd(c)
    import nbd as client
    n = client.Nbd(nbd.sock, "v")
    for i in range(8):
        n.write(i * 4096, bytes([i + 1]) * 4096)
    for name, h in https.items():
        a = h.get("/healthz")
        assert a.status == 200 and a.json["daemon"]["serving"] and a.json["daemon"]["name"] == name, a.text

    def metrics(name, query=""):
        a = https[name].get("/metrics" + query)
        assert a.status == 200 and a.headers["Content-Type"].startswith("text/plain; version=0.0.4"), a.headers
        return prometheus_text.parse(a.text)

    c.wait_full("v")
    m = wait_for("all is well", lambda: well(metrics("onprem-1")), 30, 0.2)
    for family in m.families.values():
        assert family.name.startswith("causeway_"), family.name
        assert family.kind != "counter" or family.name.endswith("_total"), family.name
    assert m.one("causeway_disk_size_bytes", host="onprem-1", disk="store-0") == 512 << 20
    assert m.one("causeway_volumes", protection="lost") == 0 and m.one("causeway_manager_up") == 1
    wait_for("writes are counted", lambda: metrics("onprem-1").one(
        "causeway_volume_operations_total", volume="v", direction="write") >= 8, 10)
    assert not metrics("onprem-1", "?scope=local").has("causeway_volumes")
    assert not metrics("onprem-1", "?scope=cluster").has("causeway_disk_size_bytes")
    wait_for("the manager says the same", lambda: well(metrics("manager")), 30, 0.2)

    # Another owner counts from nothing; what is told does not go back.
    before = metrics("onprem-1")
    n.close()
    t.stop(nbd)
    nbd = t.nbd(c)
    n = client.Nbd(nbd.sock, "v")
    n.write(0, b"z" * 4096)
    wait_for("the new owner reports", lambda: c.volume("v")["writes"] == 1, 10)
    after = metrics("onprem-1")
    for (name, labels), value in before.counters().items():
        assert after.samples[name, labels] >= value, (name, labels)

    # Without the manager: the daemon serves and says so, what only the manager knows fails in time.
    c.local("kill", "manager")
    h = https["onprem-1"]
    begin = time.monotonic()
    e = h.fails(503, "UNAVAILABLE", "GET", "/v1/status")
    assert time.monotonic() - begin < 4 and c.addr in e["message"], e
    m = metrics("onprem-1")
    assert m.one("causeway_manager_up") == 0 and m.has("causeway_disk_size_bytes") and not m.has("causeway_volumes")
    assert h.get("/healthz").status == 200
    n.write(4096, b"y" * 4096)
    n.close()


def test_nobody_keeps_others_out(t):
    c = t.cluster("onprem:1", "512M")
    h = https_of(c)["onprem-1"]
    head = b"Host: x\r\n\r\n"

    def status(data):
        return int(raw(h.addr, data).split(" ", 2)[1])

    assert status(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n" + head) == 200
    for want, data in ((400, b"\0\1\2\r\n\r\n"), (400, b"GET /healthz HTTP/1.1\r\nNo colon\r\n\r\n"),
                       (400, b"GET /healthz HTTP/1.1\r\n\r\n"), (400, b"GET http://x/ HTTP/1.1\r\n" + head),
                       (505, b"GET /healthz HTTP/3.0\r\n" + head), (400, b"GET /%zz HTTP/1.1\r\n" + head),
                       (400, b"GET /%00 HTTP/1.1\r\n" + head), (431, b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + head),
                       (431, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 60 + head),
                       (400, b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n" + head),
                       (400, b"POST / HTTP/1.1\r\nContent-Length: -1\r\n" + head),
                       (501, b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + head),
                       (413, b"POST /v1/volumes HTTP/1.1\r\nContent-Length: 70000\r\n" + head + b"a" * 70000),
                       (417, b"POST / HTTP/1.1\r\nExpect: miracles\r\n" + head)):
        got = raw(h.addr, data)
        assert got.startswith(f"HTTP/1.1 {want} "), (data[:60], got[:200])
        schema.check(json.loads(got.split("\r\n\r\n", 1)[1]))
    both = raw(h.addr, b"GET /healthz HTTP/1.1\r\n" + head + b"GET /v1/jobs HTTP/1.1\r\nConnection: close\r\n" + head)
    assert both.count("HTTP/1.1 200") == 2, both
    assert raw(h.addr, b"HEAD /v1/status HTTP/1.1\r\nConnection: close\r\n" + head).endswith("\r\n\r\n")

    # Idle connections give way; those in the middle of a request are cut off after ten seconds.
    host, port = h.addr.split(":")
    idle = [socket.create_connection((host, int(port)), 10) for _ in range(200)]
    assert h.get("/healthz").status == 200
    for s in idle:
        s.close()
    slow = [socket.create_connection((host, int(port)), 30) for _ in range(140)]
    for s in slow:
        try:
            s.sendall(b"GET /v1/st")
        except OSError:
            pass # one too many, turned away
    wait_for("slow ones are cut off", lambda: not isinstance(try_get(h), OSError) and try_get(h).status == 200, 25, 0.2)
    for s in slow:
        s.close()
    assert c.json("host", "ls")["hosts"][0]["state"] == "up"


def try_get(h):
    try:
        return h.get("/healthz", timeout=5)
    except (OSError, http.client.HTTPException) as e:
        return OSError(str(e))


harness.main(globals())
