"""`bench/run store`: the chunk store alone against raw I/O on the same file system in the same run.

Three stores, one after the other: a young one (a quarter full, every segment used once) and two aged ones
(full to --fill per cent, then overwritten at random twice: uniformly, and four fifths of the writes to one
fifth of the blocks, scattered). Before and after each job on the store fio does its raw counterpart, for
half as long each, so that a drift of the machine falls out of the ratio.

Write amplification is what the store logged (headers, data, what the cleaner moved, map and checkpoints:
bytes_logged of cw_store_stats) for each byte of the user, after the two overwrites. It is judged against the
formula with U as users see it: live data / capacity, which is what the store offers, without its reserves and
the room of headers. Beside it stands the formula with U of all segments, of the segments in use, and the U at
which it gives what cleaning did cost: so the price of reserves, headers and gaps can be told from the price of
the choice of victims.
"""
import json
import os
import subprocess
import sys

import fio
import formulas

JOBS = {  # name: (rw, bs, depth), (what it is held against: rw, bs, depth)
    "4 KiB random write QD1": (("randwrite", "4k", 1), ("write", "8k", 1)),
    "4 KiB random write QD32": (("randwrite", "4k", 32), ("randwrite", "4k", 32)),
    "1 MiB write QD8": (("write", "1m", 8), ("write", "1m", 8)),
    "4 KiB random read QD1": (("randread", "4k", 1), ("randread", "4k", 1)),
    "4 KiB random read QD32": (("randread", "4k", 32), ("randread", "4k", 32)),
    "1 MiB read QD8": (("read", "1m", 8), ("read", "1m", 8)),
}
TARGETS = {  # name: (figure, least or most)
    "4 KiB random write QD1": ("mean latency / raw 8 KiB append", "most", 1.3),
    "4 KiB random write QD32": ("rate / raw", "least", 1.5),
    "4 KiB random read QD1": ("rate / raw", "least", 0.85),
    "4 KiB random read QD32": ("rate / raw", "least", 0.85),
}
YOUNG = ["1 MiB write QD8", "1 MiB read QD8", "4 KiB random read QD1", "4 KiB random read QD32",
         "4 KiB random write QD1", "4 KiB random write QD32"]
AGED = ["4 KiB random write QD32", "4 KiB random write QD1", "4 KiB random read QD1", "4 KiB random read QD32",
        "1 MiB read QD8", "1 MiB write QD8"]
WA_TOLERANCE = 0.15
PASS_SECONDS = 25  # for each of the two overwrites: on a busy machine they end early, and that is said


def size_bytes(text):
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
    return int(float(text[:-1]) * units[text[-1].upper()]) if text[-1].upper() in units else int(text)


class Store:
    """The program that holds the store, asked job by job."""

    def __init__(self, program, path, size, fill, args):
        self.proc = subprocess.Popen(
            [program, "--store", path, "--size", str(size), "--fill", fill, "--memory", args.memory,
             "--compressible", str(args.compressible), "--compression", args.compression],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.identity = self.answer()

    def answer(self):
        line = self.proc.stdout.readline()
        if not line:
            sys.exit(f"bench: store-bench ended with {self.proc.wait()}")
        return json.loads(line)

    def job(self, rw, bs, depth, skew=False, **end):
        words = [f"rw={rw}", f"bs={bs}", f"depth={depth}", f"skew={int(skew)}"]
        self.proc.stdin.write(" ".join(words + [f"{k}={v}" for k, v in end.items()]) + "\n")
        self.proc.stdin.flush()
        return figures(self.answer())

    def close(self):
        self.proc.stdin.close()
        if self.proc.wait(60) != 0:
            sys.exit(f"bench: store-bench ended with {self.proc.returncode}")


def figures(r):
    """Adds what people read to what the program counted."""
    n, s = max(1, r["ops"]), r["elapsed_ns"] / 1e9
    r.update(iops=r["ops"] / s, mb_s=r["bytes"] / s / 1e6, cpu_us=(r["cpu_user_us"] + r["cpu_sys_us"]) / n)
    r.update({f"{k}_us": r[f"{k}_ns"] / 1e3 for k in ("mean", "p50", "p99", "p999", "max")})
    return r


def beside(folder, store, name, seconds, skew):
    """One job on the store with fio's raw figures before and after it."""
    mine, theirs = JOBS[name]
    sequential = {}
    halves = [fio.raw(folder, *theirs, seconds / 2)]
    if name == "4 KiB random write QD1":
        sequential = {"raw_4k_append": fio.raw(folder, "write", "4k", 1, seconds / 2)}
    got = store.job(*mine, skew=skew and mine[0].startswith("rand"), seconds=seconds)
    halves.append(fio.raw(folder, *theirs, seconds / 2))
    return dict({"job": name, "store": got, "raw": fio.mean(halves), "skew": skew}, **sequential)


def judge(row):
    """(ratio, the verdict as text)."""
    got, base = row["store"], row["raw"]
    ratio = got["mb_s"] / base["mb_s"]
    if row["job"] not in TARGETS:
        return ratio, ""
    figure, side, limit = TARGETS[row["job"]]
    if "latency" in figure:
        ratio = got["mean_us"] / base["mean_us"]
    ok = ratio <= limit if side == "most" else ratio >= limit
    return ratio, f"at {side} {limit:g}: {'PASS' if ok else 'below'}"


def show(row):
    got, base = row["store"], row["raw"]
    rate = (lambda f: f"{f['mb_s']:7.0f} MB/s") if "1 MiB" in row["job"] else (lambda f: f"{f['iops']:7.0f} /s  ")
    ratio, verdict = judge(row)
    row["ratio"], row["verdict"] = ratio, verdict
    print(f"  {row['job']:24}{rate(got)} {got['mean_us']:7.0f} {got['p50_us']:7.0f} {got['p99_us']:7.0f} "
          f"{got['p999_us']:7.0f} {got['cpu_us']:7.2f}   {rate(base)} {base['mean_us']:7.0f} {base['p99_us']:7.0f} "
          f"{base['cpu_us']:7.2f}   {ratio:5.2f}  {verdict}", flush=True)


def head(title, store, args):
    i = store.identity
    print(f"\n{title}: {i['store_bytes'] / 2**30:.1f} GiB in {i['segments']} segments of "
          f"{i['segment_bytes'] >> 20} MiB, volume of {i['volume_bytes'] / 2**30:.2f} GiB "
          f"({100 * i['volume_bytes'] / i['store_bytes']:.0f} % of the file, "
          f"{100 * i['volume_bytes'] / i['capacity_bytes']:.0f} % of the capacity)")
    print(f"  {'':24}{'store':>9}    {'mean':>7} {'p50':>7} {'p99':>7} {'p99.9':>7} {'CPU us':>7}   {'raw':>9}    "
          f"{'mean':>7} {'p99':>7} {'CPU us':>7}   ratio  target", flush=True)


def packed(results):
    plain, small = (sum(r[k] for r in results) for k in ("packed_in", "packed_out"))
    if plain > 0:
        print(f"  compressed: {plain / 2**20:.0f} MiB to {small / 2**20:.0f} MiB ({small / plain:.2f}); live data takes "
              f"{results[-1]['used_bytes'] / 2**20:.0f} MiB", flush=True)


def memory(rows, store):
    last = rows[-1]["store"]
    pool = max(r["store"]["pool_peak"] for r in rows)
    pages = max(r["store"]["map_cache_bytes"] for r in rows)
    print(f"  memory: RSS {last['rss'] / 2**20:.0f} MiB, of it {last['rss_of_bench'] / 2**20:.0f} MiB the "
          f"benchmark's checksums; buffers at most {pool / 2**20:.1f} of {last['pool_limit'] / 2**20:.0f} MiB, map "
          f"cache {pages / 2**20:.1f} MiB for {store.identity['chunks']} chunks", flush=True)


# ---- write amplification ----

def amplification(store, r, skew):
    """Measured in job r, and what the formulas of formulas.py say for the same batches and the same U."""
    i, user = store.identity, r["bytes"]
    n = r["blocks_written"] / max(1, r["hot_batches"])
    interval = min(64 << 30, i["store_bytes"] // 8)
    space = i["segments"] * i["segment_bytes"]
    clean = (lambda u: formulas.cleaning_hot_cold(u, 0.8, 0.2)) if skew else formulas.cleaning
    used = {"capacity": r["used_bytes"] / i["capacity_bytes"], "device": r["used_bytes"] / space,
            "in_use": r["used_bytes"] / (space - r["free_mean"] * i["segment_bytes"])}
    wa = {"measured": r["bytes_logged"] / user, "moved": r["bytes_cleaned"] / user, "writes_per_batch": n,
          "hot_log": r["hot_bytes"] / user, "cold_log": r["cold_bytes"] / user, "map_log": r["meta_bytes"] / user,
          "beside_log": (r["other_bytes"] + r["zero_bytes"]) / user,
          "checkpoint_interval_bytes": r["bytes_logged"] / max(1, r["checkpoints"])}
    wa["implied_used"] = formulas.used_for(1 + wa["moved"], clean)
    for name, u in used.items():
        total = formulas.log(n) * clean(u) + formulas.map_pages(i["chunks"], interval)
        wa[name] = {"used": u, "cleaning": clean(u), "formula": total, "ratio": wa["measured"] / total}
    return wa


def show_amplification(wa):
    verdict = "PASS" if wa["capacity"]["ratio"] <= 1 + WA_TOLERANCE else "above"
    print(f"  write amplification {wa['measured']:.2f} = user's batches {wa['hot_log']:.2f} ({wa['writes_per_batch']:.1f} "
          f"writes each) + moved by the cleaner {wa['cold_log']:.2f} + map and checkpoints {wa['map_log']:.2f}; "
          f"beside the log {wa['beside_log']:.3f}; a checkpoint every {wa['checkpoint_interval_bytes'] / 2**20:.0f} MiB")
    for name, what in (("capacity", "of the capacity"), ("device", "of all segments"), ("in_use", "of the segments in use")):
        w = wa[name]
        print(f"    U {w['used']:.3f} {what:23} formula {w['formula']:.2f} (cleaning {w['cleaning']:.2f})   measured / "
              f"formula {w['ratio']:.2f}" + (f"   within {WA_TOLERANCE:.0%}: {verdict}" if name == "capacity" else ""),
              flush=True)
    lost = 1 - wa["device"]["used"] / wa["implied_used"]
    print(f"    1 + {wa['moved']:.2f} for cleaning is what U {wa['implied_used']:.3f} would cost: as if {lost:.1%} of the "
          f"device could hold no data", flush=True)
    wa["verdict"] = verdict


# ---- the stores ----

def young(program, args):
    size = size_bytes(args.size)
    store = Store(program, os.path.join(args.dir, "young"), size, str(size // 4), args)
    head("young store", store, args)
    before = store.job("write", "1m", 8, bytes=size + size // 16)  # once round: each segment was used
    rows = []
    for name in YOUNG:
        rows.append(beside(args.dir, store, name, args.seconds, False))
        show(rows[-1])
        if "raw_4k_append" in rows[-1]:
            base = rows[-1]["raw_4k_append"]
            print(f"    a raw 4 KiB append takes {base['mean_us']:.0f} us, p99 {base['p99_us']:.0f}")
    packed([before] + [r["store"] for r in rows])
    memory(rows, store)
    store.close()
    return {"store": "young", "identity": store.identity, "rows": rows}


def aged(program, args, skew):
    size = size_bytes(args.size)
    title = "80/20" if skew else "uniform"
    store = Store(program, os.path.join(args.dir, "aged"), size, f"{args.fill}%", args)
    volume = store.identity["volume_bytes"]
    head(f"store overwritten twice, {title}", store, args)
    passes = [store.job("write", "1m", 8, bytes=volume)]
    for _ in range(2):
        passes.append(store.job("randwrite", "4k", 32, skew=skew, bytes=volume, seconds=PASS_SECONDS))
        p = passes[-1]
        print(f"  overwrite {len(passes) - 1}: {p['iops']:.0f} /s, p99.9 {p['p999_us'] / 1e3:.1f} ms, longest "
              f"{p['max_us'] / 1e3:.0f} ms, logged {p['bytes_logged'] / p['bytes']:.2f} x, free segments at least "
              f"{p['free_min']}, -EAGAIN {p['refused_again']}, -ENOSPC {p['refused_space']}, no credit "
              f"{p['waited_credit']}"
              + (f"; only {p['bytes'] / volume:.2f} of it in {PASS_SECONDS} s" if p["bytes"] < volume else ""),
              flush=True)
    steady = store.job("randwrite", "4k", 32, skew=skew, bytes=volume // 4, seconds=PASS_SECONDS / 2)
    rows = []
    for name in AGED:
        rows.append(beside(args.dir, store, name, args.seconds, skew))
        show(rows[-1])
    wa = amplification(store, steady, skew)
    show_amplification(wa)
    packed(passes + [steady] + [r["store"] for r in rows])
    memory(rows, store)
    store.close()
    return {"store": title, "identity": store.identity, "passes": passes, "steady": steady, "rows": rows,
            "write_amplification": wa}


def bench(args, program):
    if not os.path.exists(program):
        sys.exit(f"bench: no {program}; run ./check --fast or ./quickstart first")
    need = size_bytes(args.size) + (2 << 30)
    free = os.statvfs(args.dir)
    if free.f_bavail * free.f_frsize < need:
        sys.exit(f"bench: {args.dir} has no {need >> 20} MiB free; give a smaller --size or another --dir")
    fio.fill(args.dir, 1)
    print("latencies in us; CPU is user + system of the process for each operation, checksums included")
    stores = {"young": lambda: young(program, args), "uniform": lambda: aged(program, args, False),
              "skewed": lambda: aged(program, args, True)}
    wanted = args.stores.split(",")
    if not set(wanted) <= set(stores):
        sys.exit(f"bench: --stores {args.stores}: known are {', '.join(stores)}")
    return [stores[name]() for name in stores if name in wanted]
