#!/usr/bin/env python3
"""What bash offers behind a line typed so far: words, options and paths of causeway and causeway-store.

The words are compared with the tables in the programs, so that a new one is offered too.
"""
import os
import re
import subprocess
import sys
import tempfile

top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPT = os.path.join(top, "packaging", "causeway.bash-completion")
ASK = """source "$1"; shift
COMP_WORDS=("${@:2}"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
"$1"; printf '%s\\n' "${COMPREPLY[@]}"
"""


def offered(cwd, function, *words):
    r = subprocess.run(["bash", "-c", ASK, "bash", SCRIPT, function, *words], cwd=cwd, text=True,
                       capture_output=True, timeout=30)
    assert not r.stderr, (words, r.stderr)
    return set(r.stdout.split())


def source(path):
    with open(os.path.join(top, path)) as f:
        return f.read()


def main():
    kinds = set(re.findall(r'^    \{ "(\w+)", "[^"]*", \d, \d, cw_dump_', source("daemon/tool/dump.c"), re.M))
    names = re.findall(r"cw_tool_(\w+)_cmd\b", source("daemon/tool/tool.h"))
    commands = {{"rebuild": "rebuild-metadata"}.get(n, n) for n in names}
    errors = []
    with tempfile.TemporaryDirectory() as cwd:
        os.mkdir(os.path.join(cwd, "dir"))
        open(os.path.join(cwd, "store-0"), "w").close()
        both, one = {"store-0", "dir"}, {"dir"}
        for words, want in (
                (("",), commands),
                (("ch",), {"check"}),
                (("--h",), {"--help"}),
                (("check", ""), both),
                (("check", "st"), {"store-0"}),
                (("check", "store-0", ""), set()),
                (("check", "--json", ""), both),
                (("format", "-"), {"--force", "--json", "--help"}),
                (("dump", ""), both),
                (("dump", "store-0", ""), kinds),
                (("dump", "--json", "store-0", "seg"), {"segment"}),
                (("dump", "store-0", "page", ""), set()),
                (("dump", "store-0", "page", "--r"), {"--raw"}),
                (("rebuild-metadata", "store-0", ""), both),
                (("rebuild-metadata", "store-0", "--out", ""), one),
                (("rebuild-metadata", "--name", ""), set()),
                (("rebuild-metadata", "--leave-out", "7", ""), both),
                (("metadata", ""), {"export", "import"}),
                (("metadata", "import", "--from", ""), both),
                (("metadata", "import", "--to", "st"), {"store-0"})):
            got = offered(cwd, "_causeway_store", "causeway-store", *words)
            if got != want:
                errors.append(f"causeway-store {' '.join(words)}<TAB>: offers {got}, not {want}")
        tables = re.findall(r"const struct cw_cmd cw_cmds_\w+\[\] = \{(.*?)\n\};", "".join(
            source(f"client/admin/{f}") for f in sorted(os.listdir(os.path.join(top, "client", "admin")))
            if f.endswith(".c")), re.S)
        table = re.findall(r'^    \{ "(\w+)(?: (\w+))?"', "".join(tables), re.M)
        assert len(table) > 30, table
        for first in {a for a, _ in table}:
            if first not in offered(cwd, "_causeway", "causeway", ""):
                errors.append(f"causeway <TAB>: does not offer {first}")
        for first, second in table:
            if second and second not in offered(cwd, "_causeway", "causeway", first, ""):
                errors.append(f"causeway {first} <TAB>: does not offer {second}")
        for words, want in ((("vol",), {"volume"}), (("volume", "res"), {"resize", "restore"}),
                            (("local", "ki"), {"kill"}), (("volume", "import", "v", ""), both),
                            (("volume", "import", "v", "raw", ""), set()), (("volume", "mount", "v", ""), one),
                            (("volume", "mount", "v", "dir", "--mkfs", ""), {"ext4", "xfs"})):
            got = offered(cwd, "_causeway", "causeway", *words)
            if got != want:
                errors.append(f"causeway {' '.join(words)}<TAB>: offers {got}, not {want}")
    for e in errors:
        print("# " + e)
    print(f"{'not ok' if errors else 'ok'} 1 - completion offers what can stand there\n1..1")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
