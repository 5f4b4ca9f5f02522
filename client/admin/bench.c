/* admin/bench.c - fio-like load through the engine, in process. */
#include <errno.h>
#include <stdlib.h>

#include "client/admin/args.h"
#include "client/admin/dispatch.h"
#include "client/admin/load.h"
#include "client/admin/out.h"
#include "client/admin/text.h"
#include "common/base/bits.h"
#include "proto/wire.h"

#define BS_MAX (32 * CW_MIB)
#define IN_FLIGHT_MAX 4096
#define BYTES_IN_FLIGHT_MAX (128 * CW_MIB)
#define PREFILL_DEPTH 8

struct bench {
    struct cw_cli *cli;
    const struct cw_cmd *cmd;
    const char *name, *rw;
    struct cw_load_opts load;
    uint64_t runtime_s;
    bool overwrite, prefill, force;
    bool acks_replicated; /* of the volume's policy */
};

/* ---- options ---- */

static int
bench_check(struct bench *b)
{
    struct cw_load_opts *o = &b->load;

    if (!cw_load_parse_rw(b->rw, &o->kind, &o->random))
        return cw_cli_usage(b->cli, b->cmd,
                            "--rw %s: choose from read, write, rw, randread, randwrite, randrw",
                            b->rw);
    if (o->bs_bytes < 512 || o->bs_bytes % 512 != 0 || o->bs_bytes > BS_MAX)
        return cw_cli_usage(b->cli, b->cmd, "--bs: a multiple of 512 from 512 to 32M");
    if (o->depth < 1 || o->jobs < 1 || o->depth > IN_FLIGHT_MAX || o->jobs > IN_FLIGHT_MAX ||
        o->depth * o->jobs > IN_FLIGHT_MAX)
        return cw_cli_usage(b->cli, b->cmd, "--iodepth times --numjobs is from 1 to %d",
                            IN_FLIGHT_MAX);
    if (o->depth * o->jobs * o->bs_bytes > BYTES_IN_FLIGHT_MAX)
        return cw_cli_usage(b->cli, b->cmd, "--bs times --iodepth times --numjobs is above 128M");
    if (o->read_percent > 100)
        return cw_cli_usage(b->cli, b->cmd, "--rwmixread is from 0 to 100");
    if (b->runtime_s == 0 || o->size_bytes == 0)
        return cw_cli_usage(b->cli, b->cmd, "--runtime and --size must not be 0");
    if ((o->kind != CW_LOAD_READ || b->prefill) && !b->overwrite)
        return cw_cli_usage(b->cli, b->cmd,
                            "this job writes: --overwrite says that the data of %s may be lost",
                            b->name);
    if (b->runtime_s == CW_NEVER && o->size_bytes == CW_NEVER)
        b->runtime_s = 10;
    o->runtime_ns = b->runtime_s > CW_NEVER / CW_NS_PER_S ? CW_NEVER : b->runtime_s * CW_NS_PER_S;
    return CW_ARGS_GO;
}

/* ---- what came out ---- */

static double
bench_per_s(uint64_t n, uint64_t took_ns)
{
    return took_ns > 0 ? (double)n * 1e9 / (double)took_ns : 0;
}

static json_t *
bench_side_json(const struct cw_load_side *s, uint64_t took_ns)
{
    const struct cw_histogram *h = &s->latency;

    return json_pack("{s:I,s:I,s:f,s:f,s:{s:I,s:I,s:I,s:I,s:I,s:I}}", "ops", (json_int_t)s->ops,
                     "total_bytes", (json_int_t)s->bytes, "iops", bench_per_s(s->ops, took_ns),
                     "bytes_per_second", bench_per_s(s->bytes, took_ns), "latency", "min_ns",
                     (json_int_t)(h->min_ns), "avg_ns", (json_int_t)cw_histogram_mean(h), "p50_ns",
                     (json_int_t)cw_histogram_percentile(h, 500), "p99_ns",
                     (json_int_t)cw_histogram_percentile(h, 990), "p999_ns",
                     (json_int_t)cw_histogram_percentile(h, 999), "max_ns", (json_int_t)h->max_ns);
}

static uint64_t
bench_cpu_per_op(const struct cw_load_result *r)
{
    uint64_t ops = r->read.ops + r->write.ops;

    return ops > 0 ? r->cpu_ns / ops : 0;
}

static int
bench_print_json(const struct bench *b, const struct cw_load_result *r)
{
    const struct cw_load_opts *o = &b->load;
    json_t *out = json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:f,s:f,s:I}", "volume", b->name, "rw",
                            b->rw, "ack", b->acks_replicated ? "replicated" : "durable", "bs_bytes",
                            (json_int_t)o->bs_bytes, "iodepth", (json_int_t)o->depth, "numjobs",
                            (json_int_t)o->jobs, "seed", (json_int_t)o->seed, "took_seconds",
                            (double)r->took_ns / 1e9, "cpu_seconds", (double)r->cpu_ns / 1e9,
                            "cpu_per_op_ns", (json_int_t)bench_cpu_per_op(r));

    if (r->read.ops > 0)
        json_object_set_new(out, "read", bench_side_json(&r->read, r->took_ns));
    if (r->write.ops > 0)
        json_object_set_new(out, "write", bench_side_json(&r->write, r->took_ns));
    return cw_out_json(b->cli, json_pack("{s:o}", "bench", out));
}

static void
bench_print_side(FILE *out, const char *what, const struct cw_load_side *s, uint64_t took_ns)
{
    const struct cw_histogram *h = &s->latency;
    char rate[CW_TEXT_SIZE];

    if (s->ops == 0)
        return;
    fprintf(out, "  %-6s IOPS %.0f, %s, %llu requests in %.2f s\n", what,
            bench_per_s(s->ops, took_ns), cw_text_rate(bench_per_s(s->bytes, took_ns), rate),
            (unsigned long long)s->ops, (double)took_ns / 1e9);
    fprintf(out,
            "         latency us: min %.0f, avg %.0f, p50 %.0f, p99 %.0f, p99.9 %.0f, max %.0f\n",
            (double)h->min_ns / 1e3, (double)cw_histogram_mean(h) / 1e3,
            (double)cw_histogram_percentile(h, 500) / 1e3,
            (double)cw_histogram_percentile(h, 990) / 1e3,
            (double)cw_histogram_percentile(h, 999) / 1e3, (double)h->max_ns / 1e3);
}

static int
bench_print(const struct bench *b, const struct cw_load_result *r)
{
    const struct cw_load_opts *o = &b->load;
    FILE *out = b->cli->out;
    char bs[CW_TEXT_SIZE];

    if (b->cli->json)
        return bench_print_json(b, r);
    fprintf(out, "%s on %s: bs %s, iodepth %llu, numjobs %llu, seed %llu, checksums verified%s\n",
            b->rw, b->name, cw_text_size(o->bs_bytes, bs), (unsigned long long)o->depth,
            (unsigned long long)o->jobs, (unsigned long long)o->seed,
            o->kind == CW_LOAD_READ ? ""
            : b->acks_replicated    ? ", acknowledged in the memory of every copy (ack=replicated)"
                                    : ", durable on ack");
    bench_print_side(out, "read", &r->read, r->took_ns);
    bench_print_side(out, "write", &r->write, r->took_ns);
    fprintf(out, "  cpu    %.1f us per request, %.0f%% of one core (this process)\n",
            (double)bench_cpu_per_op(r) / 1e3,
            r->took_ns > 0 ? 100.0 * (double)r->cpu_ns / (double)r->took_ns : 0);
    fflush(out);
    return CW_EXIT_OK;
}

/* ---- the run ---- */

static int
bench_fail(const struct bench *b, const struct cw_load_result *r)
{
    struct cw_fail why = { .code = "IO", .object = b->name };

    if (r->res == -ETIMEDOUT) {
        why.code = "UNAVAILABLE";
        why.hint = "see: causeway status";
        return cw_cli_fail(b->cli, why, "volume %s does not serve: requests do not complete",
                           b->name);
    }
    return cw_cli_fail(b->cli, why, "volume %s: at byte %llu: %s", b->name,
                       (unsigned long long)r->fail_off, cw_volio_error(r->res));
}

static int
bench_load(struct bench *b, struct cw_volio *vio, const struct cw_load_opts *o,
           struct cw_load_result *r)
{
    if (vio->size_bytes / o->bs_bytes < o->jobs)
        return cw_cli_usage(b->cli, b->cmd, "volume %s is too small for these jobs", b->name);
    if (!cw_load_run(vio, o, r) || r->res != 0)
        return bench_fail(b, r);
    return CW_ARGS_GO;
}

/* A volume that was never written answers reads without touching a disk. */
static int
bench_prefill(struct bench *b, struct cw_volio *vio, struct cw_load_result *r)
{
    struct cw_load_opts o = {
        .kind = CW_LOAD_WRITE,
        .bs_bytes = cw_min_u64(CW_MIB, vio->size_bytes),
        .depth = PREFILL_DEPTH,
        .jobs = 1,
        .seed = ~b->load.seed,
        .runtime_ns = CW_NEVER,
        .what = "prefill",
    };
    int status;

    o.size_bytes = vio->size_bytes / o.bs_bytes * o.bs_bytes;
    status = bench_load(b, vio, &o, r);
    if (status == CW_ARGS_GO && o.size_bytes < vio->size_bytes)
        cw_cli_note(b->cli, "the last %llu bytes of %s are not prefilled",
                    (unsigned long long)(vio->size_bytes - o.size_bytes), b->name);
    return status;
}

static int
bench_go(struct bench *b, struct cw_load_result *r)
{
    struct cw_volio vio;
    int status = cw_volio_open(&vio, b->cli, b->name, b->force);

    if (status != CW_ARGS_GO)
        return status;
    b->acks_replicated = vio.acks_replicated;
    if (b->prefill)
        status = bench_prefill(b, &vio, r);
    if (status == CW_ARGS_GO && !cw_cli_interrupted())
        status = bench_load(b, &vio, &b->load, r);
    cw_volio_close(&vio);
    return status == CW_ARGS_GO ? bench_print(b, r) : status;
}

static int
bench_run(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct bench b = {
        .cli = cli,
        .cmd = cmd,
        .rw = "randread",
        .runtime_s = CW_NEVER,
        .load = { .bs_bytes = CW_BLOCK_SIZE,
                  .depth = 32,
                  .jobs = 1,
                  .seed = 1,
                  .read_percent = 50,
                  .size_bytes = CW_NEVER,
                  .what = "bench" },
    };
    const struct cw_opt opts[] = {
        { "rw", 0, CW_OPT_TEXT, &b.rw, "KIND",
          "read, write, rw, randread, randwrite or randrw; randread" },
        { "bs", 0, CW_OPT_SIZE, &b.load.bs_bytes, "SIZE", "of a request; 4K" },
        { "iodepth", 0, CW_OPT_NUMBER, &b.load.depth, "N", "requests in flight per job; 32" },
        { "numjobs", 0, CW_OPT_NUMBER, &b.load.jobs, "N", "1" },
        { "runtime", 0, CW_OPT_SECONDS, &b.runtime_s, "TIME", "10, unless --size is given" },
        { "size", 0, CW_OPT_SIZE, &b.load.size_bytes, "SIZE", "end after so many bytes" },
        { "rwmixread", 0, CW_OPT_NUMBER, &b.load.read_percent, "PERCENT", "of rw, randrw; 50" },
        { "seed", 0, CW_OPT_NUMBER, &b.load.seed, "N", "same seed, same offsets; 1" },
        { "prefill", 0, CW_OPT_FLAG, &b.prefill, NULL, "write the whole volume first" },
        { "overwrite", 0, CW_OPT_FLAG, &b.overwrite, NULL,
          "needed by what writes: the volume's data is lost" },
        { "force", 0, CW_OPT_FLAG, &b.force, NULL,
          "take the volume over now, also from an owner that is alive" },
        { 0 },
    };
    struct cw_args a = { .opts = opts, .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    struct cw_load_result *r;

    if (status != CW_ARGS_GO)
        return status;
    b.cmd = cmd;
    b.name = a.operand[0];
    if ((status = bench_check(&b)) != CW_ARGS_GO)
        return status;
    if (cli->cluster == NULL)
        return cw_cli_no_cluster(cli);
    r = calloc(1, sizeof(*r));
    if (r == NULL)
        abort();
    cw_cli_catch_signals();
    status = bench_go(&b, r);
    free(r);
    return status;
}

const struct cw_cmd cw_cmds_bench[] = {
    { "bench", "VOLUME [--rw KIND] [--bs SIZE] [--iodepth N]", "measure a volume, in process",
      "Attaches the volume and runs a load through the same engine that libcauseway and\n"
      "causeway-nbd use, without a guest in between. A volume that was never written answers\n"
      "reads without a disk: use --prefill once.\n\n"
      "  causeway bench t1 --overwrite --prefill --rw randwrite --iodepth 32 --runtime 10\n"
      "  causeway bench t1 --rw randread --iodepth 1\n"
      "  causeway bench t1 --rw write --bs 1M --iodepth 8 --overwrite\n",
      bench_run },
    { 0 },
};
