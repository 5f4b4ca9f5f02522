#!/usr/bin/env python3
"""The units of packaging/systemd: systemd accepts them, they are exposed little, and programs know their options."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
UNITS = os.path.join(top, "packaging", "systemd")
WAYS_IN = ("causeway-nbd@.service", "causeway-vhost@.service")
# Root's: what they mount is for the whole host, so they have no view of it of their own.
MOUNTS = ("causeway-device@.service", "causeway-mount@.service")
EXPOSURE_MAX = 25  # of systemd's 100; 100 is no protection at all


def known_options():
    with open(os.path.join(top, "daemon", "shell", "options.c")) as f:
        keys = set(re.findall(r'^    \{ "([a-z-]+)", offsetof', f.read(), re.M))
    return keys | {"config", "store"}


def source_errors(name, text):
    found = [f"{name}: --{o} is no option of causewayd" for o in re.findall(r"causewayd.*? --([a-z-]+)", text)
             if name not in WAYS_IN + MOUNTS and o not in known_options() | {"bootstrap"}]
    found += [f"{name}: '{k}' is no key of causewayd" for k in re.findall(r"^#   ([a-z-]+) = ", text, re.M)
              if k not in known_options()]
    if name in MOUNTS:
        return found + [f"{name}: {x} hides its mounts" for x in ("ProtectSystem=", "PrivateTmp=", "PrivateMounts=",
                                                                 "ProtectHome=") if x in text]
    for line in ("NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet=\n", "RestartSec="):
        if line not in text:
            found.append(f"{name}: {line.strip()} is missing")
    if name not in WAYS_IN and not ("Type=notify" in text and "WatchdogSec=" in text):
        found.append(f"{name}: no watchdog")
    return found


def analyze(*args):
    r = subprocess.run(["systemd-analyze", *args], text=True, capture_output=True, timeout=60)
    return r.returncode, r.stdout + r.stderr


def main():
    errors, skipped = [], None
    names = sorted(n for n in os.listdir(UNITS) if n.endswith(".service"))
    with tempfile.TemporaryDirectory() as d:
        paths = []
        for name in names:
            with open(os.path.join(UNITS, name)) as f:
                text = f.read()
            errors += source_errors(name, text)
            paths.append(os.path.join(d, name.replace("@.", "@x.")))
            with open(paths[-1], "w") as f: # the programs need not be installed, nor the user exist
                f.write(re.sub(r"/usr/bin/causeway\S*", shutil.which("true"), text)
                        .replace("=causeway\n", "=root\n").replace("=disk\n", "=root\n"))
        if shutil.which("systemd-analyze") is None:
            skipped = "systemd-analyze is not installed"
        for path in paths if not skipped else []:
            code, text = analyze("verify", "--man=no", path)
            lines = [x for x in text.splitlines() if os.path.basename(path) in x]
            if code != 0 or lines:
                errors.append(f"{os.path.basename(path)}: systemd-analyze verify: {text.strip()}")
            if os.path.basename(path).replace("@x.", "@.") in MOUNTS:
                continue
            code, text = analyze("security", "--offline=yes", f"--threshold={EXPOSURE_MAX}", path)
            if code != 0:
                errors.append(f"{os.path.basename(path)}: {text.strip().splitlines()[-1]}")
    print("1..2")
    for e in errors:
        print("# " + e)
    print(f"{'not ok' if errors else 'ok'} 1 - {len(names)} units say what they must")
    print(f"ok 2 - systemd accepts them{' # SKIP ' + skipped if skipped else ''}")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
