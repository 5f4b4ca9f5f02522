#!/usr/bin/env python3
"""What `meson install` leaves behind: programs run, units name them, others can compile against the library."""
import json
import os
import re
import stat
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import BIN, TOP, Failed, Skip, need_tool

BUILD = os.path.dirname(BIN)
PROGRAMS = ("causeway", "causewayd", "causeway-device", "causeway-nbd", "causeway-store", "causeway-vhost")


def options():
    text = subprocess.run(["meson", "introspect", "--buildoptions", BUILD], check=True, capture_output=True).stdout
    return {o["name"]: o["value"] for o in json.loads(text)}


class Tree:
    """An installation below a directory of the test."""

    def __init__(self, t):
        need_tool("meson")
        self.root = t.path("root")
        t.ok("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", self.root)
        self.o = options()
        self.prefix = self.o["prefix"]

    def at(self, *parts):
        """Where it is now; a part that begins with / as it will be."""
        return self.root + os.path.join(self.prefix, *parts)

    def text(self, *parts):
        with open(self.at(*parts)) as f:
            return f.read()


def test_what_is_there(t):
    tree = Tree(t)
    data, units = tree.o["datadir"], tree.o["systemdunitdir"] or "lib/systemd/system"
    for name in PROGRAMS:
        path = tree.at(tree.o["bindir"], name)
        assert t.ok(path, "--version").out.strip().endswith("0.1.0"), path
        assert os.path.exists(tree.at(data, "bash-completion/completions", name)), name
    for page in ("man1/causeway.1", "man1/causeway-nbd.1", "man8/causewayd.8", "man8/causeway-store.8",
                 "man1/causeway-vhost.1", "man8/causeway-device.8"):
        assert "SYNOPSIS" in tree.text(tree.o["mandir"], page), page
    for unit in ("causewayd.service", "causeway-manager.service", "causeway-device@.service", "causeway-nbd@.service",
                 "causeway-vhost@.service"):
        start = re.search(r"^ExecStart=(\S+)", tree.text(units, unit), re.M).group(1)
        assert os.access(tree.root + start, os.X_OK), f"{unit}: {start} is not there"
    assert "u causeway " in tree.text("lib/sysusers.d/causeway.conf")
    assert "d /etc/causeway " in tree.text("lib/tmpfiles.d/causeway.conf")
    for doc in ("guide.md", "http.md", "vhost.md", "api/openapi.json", "examples/hello-volume.c", "LICENSE"):
        assert os.path.getsize(tree.at(data, "doc/causeway", doc)) > 0, doc


def test_nothing_else_is_there(t):
    """No program of tests, no library of ours but the public one, nothing that only the owner may read."""
    tree = Tree(t)
    for base, _, files in os.walk(tree.root):
        for name in files:
            path = os.path.join(base, name)
            assert "test" not in name and not name.startswith("libcw"), path
            assert os.path.islink(path) or stat.S_IMODE(os.stat(path).st_mode) & 0o444 == 0o444, path
    assert sorted(os.listdir(tree.at(tree.o["bindir"]))) == sorted(PROGRAMS)


def test_others_compile_against_it(t):
    """As hello-volume.c says, with pkg-config; linked with the shared library and with the archive."""
    need_tool("cc")
    need_tool("pkg-config")
    tree = Tree(t)
    if tree.o.get("b_sanitize", "none") not in ("none", []):
        raise Skip("the library wants the sanitizer's runtime")
    lib = tree.at(tree.o["libdir"])
    env = {"PKG_CONFIG_SYSROOT_DIR": tree.root,
           "PKG_CONFIG_PATH": os.path.join(lib, "pkgconfig")}
    hello = tree.at(tree.o["datadir"], "doc/causeway/examples/hello-volume.c")
    flags = t.ok("pkg-config", "--cflags", "--libs", "causeway", env=env).out.split()
    t.ok("cc", hello, *flags, "-o", t.path("hello"))
    c = t.cluster(hosts="onprem:1", store_size="512M")
    c.admin("policy", "create", "one", "copies=1")
    c.admin("volume", "create", "v", "--size", "8M", "--policy", "one")
    t.ok(t.path("hello"), c.addr, "v", env={"LD_LIBRARY_PATH": lib})
    private = t.ok("pkg-config", "--libs", "libxxhash", "libzstd", "liburing", "libprotobuf-c", "libevent").out.split()
    cflags = t.ok("pkg-config", "--cflags", "causeway", env=env).out.split()
    t.ok("cc", hello, *cflags, os.path.join(lib, "libcauseway.a"), *private, "-pthread", "-o", t.path("hello-static"))
    t.ok(t.path("hello-static"), c.addr, "v")


if __name__ == "__main__":
    harness.main(globals())
