#!/usr/bin/env python3
"""tests/lib/guide_systemctl.py - as much of systemctl as docs/guide.md needs, for a host of guide.py.

Starts what ExecStart of a unit says, with its environment, and returns when systemd would: once the program has
said READY=1, or, where it does not, once its socket is there (a person types slower than that).
"""
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
ROOT, TOP = os.environ["GUIDE_ROOT"], os.environ["GUIDE_TOP"]
UNITS = os.path.join(ROOT, "run", "units")
GLOBAL = os.path.join(UNITS, "environment.json")
ROOTS = ("/etc/", "/var/lib/", "/run/")
# As Debian's package etcd-server has it.
ETCD = """[Service]
Type=notify
Environment=ETCD_NAME=%H
Environment=ETCD_DATA_DIR=/var/lib/etcd/default
EnvironmentFile=-/etc/default/etcd
ExecStart=/usr/bin/etcd $DAEMON_ARGS
"""


def here(text):
    return re.sub(r"(?<![\w./])(" + "|".join(ROOTS) + ")", lambda m: ROOT + m.group(1), text)


def unit_text(name):
    if name == "etcd":
        return ETCD
    stem, at, instance = name.partition("@")
    with open(os.path.join(TOP, "packaging", "systemd", f"{stem}{at}.service")) as f:
        return f.read().replace("%i", instance)


def values(text, key):
    return re.findall(rf"^{key}=(.*)$", text, re.M)


def environment():
    if not os.path.exists(GLOBAL):
        return {}
    with open(GLOBAL) as f:
        return json.load(f)


def unit_environment(text):
    env = dict(environment())
    for line in values(text, "Environment"):
        env.update(w.split("=", 1) for w in shlex.split(line))
    for path in values(text, "EnvironmentFile"):
        path = here(path.lstrip("-"))
        if os.path.exists(path):
            with open(path) as f:
                env.update(line.strip().split("=", 1) for line in f if "=" in line and line[0] != "#")
    return env


def arguments(line, env):
    """${X} is one argument whatever is in it; $X as many words as there are."""
    args = []
    for word in line.split():
        if re.fullmatch(r"\$\w+", word):
            args += env.get(word[1:], "").split()
        else:
            args.append(re.sub(r"\$\{(\w+)\}", lambda m: env.get(m.group(1), ""), word))
    program = os.path.basename(args[0])
    return [program, *map(here, args[1:])]


def pid_of(name):
    try:
        with open(os.path.join(UNITS, name + ".pid")) as f:
            pid = int(f.read())
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as f:
            return pid if f.read().rpartition(")")[2].split()[0] != "Z" else None
    except (OSError, ValueError):
        return None


def wait_until(what, condition, timeout):
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"systemctl: {what}: not within {timeout} s")
        time.sleep(0.02)


def fail(name, code):
    with open(os.path.join(UNITS, name + ".log"), errors="replace") as f:
        sys.exit(f"Job for {name}.service failed ({code}); its log ends:\n" + f.read()[-1500:])


def start(name):
    if pid_of(name):
        return
    text = unit_text(name)
    env = unit_environment(text)
    runtime = [os.path.join(ROOT, "run", d) for d in values(text, "RuntimeDirectory")]
    for d in runtime:
        os.makedirs(d, exist_ok=True)
    for d in (env.get("ETCD_DATA_DIR"),):
        os.makedirs(os.path.dirname(here(d)), exist_ok=True) if d else None
    env = {k: here(v) for k, v in env.items()}
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    path = os.path.join(UNITS, name + ".notify")
    if os.path.exists(path):
        os.unlink(path)
    notify.bind(path)
    notify.settimeout(0.1)
    with open(os.path.join(UNITS, name + ".log"), "ab") as log:
        p = subprocess.Popen(arguments(values(text, "ExecStart")[0], env), stdin=subprocess.DEVNULL, stdout=log,
                             stderr=log, start_new_session=True,
                             env=dict(PATH=os.environ["PATH"], NOTIFY_SOCKET=path, **env))
    with open(os.path.join(UNITS, name + ".pid"), "w") as f:
        f.write(str(p.pid))

    def ready():
        if p.poll() is not None:
            fail(name, p.returncode)
        if "notify" not in values(text, "Type"):
            return any(os.path.exists(os.path.join(d, "nbd.sock")) for d in runtime)
        try:
            return b"READY=1" in notify.recv(4096)
        except TimeoutError:
            return False

    wait_until(f"{name} is ready", ready, 30)


def stop(name):
    pid = pid_of(name)
    if pid:
        os.kill(pid, signal.SIGTERM)
        wait_until(f"{name} has ended", lambda: pid_of(name) is None, 30)


def main():
    args = [a for a in sys.argv[1:] if not a.startswith("--")]
    verb, names = args[0], [a.removesuffix(".service") for a in args[1:]]
    if verb in ("set-environment", "unset-environment"):
        env = environment()
        for word in names:
            key, _, value = word.partition("=")
            env.pop(key, None)
            if verb == "set-environment":
                env[key] = value
        with open(GLOBAL, "w") as f:
            json.dump(env, f)
        return
    for name in names:
        if verb in ("stop", "restart", "disable") and (verb != "disable" or "--now" in sys.argv):
            stop(name)
        if verb in ("start", "restart") or verb == "enable" and "--now" in sys.argv:
            start(name)
        if verb == "is-active" and not pid_of(name):
            sys.exit("inactive")
    if verb not in ("start", "stop", "restart", "enable", "disable", "is-active", "daemon-reload"):
        sys.exit(f"systemctl {verb}: the guide's test does not know that")


if __name__ == "__main__":
    main()
