"""fio's raw figures of a file system, measured beside ours in the same run."""
import json
import subprocess
import sys


def run(*args, timeout=1800):
    p = subprocess.run(list(map(str, args)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                       timeout=timeout)
    if p.returncode != 0:
        sys.exit(f"bench: {' '.join(map(str, args))} ended with {p.returncode}:\n{p.stdout}{p.stderr}")
    return p.stdout


def parse(text):
    return json.loads(text[text.index("{"):])


def figures(job):
    kind = max(("read", "write"), key=lambda k: job[k]["total_ios"])
    took = job[kind]["lat_ns"]  # with the call that submits: ours has it too
    pct = took.get("percentile", {})
    cpu_s = (job["usr_cpu"] + job["sys_cpu"]) / 100 * job["job_runtime"] / 1e3
    return {"iops": job[kind]["iops"], "mb_s": job[kind]["bw_bytes"] / 1e6,
            "mean_us": took["mean"] / 1e3, "p50_us": pct.get("50.000000", 0) / 1e3,
            "p99_us": pct.get("99.000000", 0) / 1e3, "p999_us": pct.get("99.900000", 0) / 1e3,
            "cpu_us": cpu_s * 1e6 / max(1, job[kind]["total_ios"])}


def mean(several):
    return {k: sum(f[k] for f in several) / len(several) for k in several[0]}


def fill(folder, files, size="1g"):
    """The files that raw() works on: written once, as a store's segments are before they count."""
    for i in range(files):
        run("fio", "--name=fill", f"--filename={folder}/raw{i}", f"--size={size}", "--rw=write", "--bs=1m",
            "--direct=1", "--ioengine=io_uring", "--iodepth=4", "--end_fsync=1")


def raw(folder, rw, bs, depth, seconds, files=1, size="1g"):
    """`files` prefilled files at once, O_DIRECT, O_DSYNC when writing: figures of one file."""
    args = ["fio", "--output-format=json", "--group_reporting=0", "--direct=1", "--ioengine=io_uring",
            f"--rw={rw}", f"--bs={bs}", f"--iodepth={depth}", "--time_based=1", f"--runtime={int(seconds * 1000)}ms",
            f"--size={size}", "--randrepeat=0", "--lat_percentiles=1"]
    if "write" in rw:
        args.append("--sync=dsync")
    for i in range(files):
        args += [f"--name=raw{i}", f"--filename={folder}/raw{i}"]
    return mean([figures(j) for j in parse(run(*args))["jobs"]])
