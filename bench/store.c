/* store-bench: the chunk store alone, on the reactor and a real file; bench/run drives it.
 *
 * Reads commands from stdin, one line each, and answers each with one line of JSON, so that a
 * measurement of something else may come between two of them.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench/load.h"
#include "common/base/size.h"

#define DEPTH_MAX 1024u

static const char usage[] =
    "Usage: store-bench --store FILE [OPTION]... < COMMANDS\n"
    "Makes FILE, formats it as a chunk store, runs jobs on it, removes it.\n"
    "\n"
    "  --store FILE         on the file system to be measured; must not exist\n"
    "  --size SIZE          of FILE (4G)\n"
    "  --fill SIZE|PCT%     of the volume on it (1G); in per cent of the store's capacity\n"
    "  --memory SIZE        buffers three quarters, map cache one quarter (256M)\n"
    "  --compressible PCT   share of each block that is zeroes (0)\n"
    "  --compression MODE   off, background or inline (off)\n"
    "  --seed N             (1)\n"
    "\n"
    "A command is one line; each is answered by one line of JSON:\n"
    "  rw=write|read|randwrite|randread bs=SIZE depth=N [seconds=S] [bytes=SIZE] [skew=1]\n"
    "What comes first ends a job. skew=1 sends four fifths of a random job to one fifth of the\n"
    "volume. Every read is compared with what was written last. The exit status is not 0 when "
    "data\n"
    "was wrong or an operation failed.\n";

/* ---- options ---- */

static bool
options_fail(const char *name, const char *value)
{
    return bench_fail("--%s: %s is not understood; see --help", name, value);
}

/* 1% to 100% */
static bool
percent_parse(uint32_t *ret, const char *value)
{
    char *end;
    unsigned long n = strtoul(value, &end, 10);

    *ret = n <= 100 ? (uint32_t)n : 0;
    return *ret > 0 && strcmp(end, "%") == 0;
}

static bool
option_set(struct bench_opts *o, const char *name, const char *value)
{
    uint64_t n = 0;

    if (strcmp(name, "store") == 0)
        o->path = value;
    else if (strcmp(name, "fill") == 0 && strchr(value, '%') != NULL)
        return percent_parse(&o->fill_pct, value) || options_fail(name, value);
    else if (strcmp(name, "compression") == 0)
        return cw_compression_parse(value, &o->compression) || options_fail(name, value);
    else if (!cw_size_parse(value, &n))
        return options_fail(name, value);
    else if (strcmp(name, "size") == 0)
        o->bytes = cw_align_down(n, CW_BLOCK_SIZE);
    else if (strcmp(name, "fill") == 0)
        o->fill_bytes = n;
    else if (strcmp(name, "memory") == 0)
        o->memory_bytes = n;
    else if (strcmp(name, "seed") == 0)
        o->seed = n;
    else if (n <= 100)
        o->compressible_pct = (uint32_t)n;
    else
        return options_fail(name, value);
    return true;
}

/* False: the status to exit with is set. */
static bool
options_read(struct bench_opts *o, int argc, char **argv, int *ret_status)
{
    static const struct option longs[] = {
        { "store", required_argument, NULL, 's' },
        { "size", required_argument, NULL, 's' },
        { "fill", required_argument, NULL, 's' },
        { "memory", required_argument, NULL, 's' },
        { "compressible", required_argument, NULL, 's' },
        { "compression", required_argument, NULL, 's' },
        { "seed", required_argument, NULL, 's' },
        { "help", no_argument, NULL, 'h' },
        { 0 },
    };
    int c, index = 0;

    *ret_status = 2;
    while ((c = getopt_long(argc, argv, "h", longs, &index)) != -1) {
        if (c == 'h') {
            fputs(usage, stdout);
            *ret_status = 0;
            return false;
        }
        if (c != 's' || !option_set(o, longs[index].name, optarg))
            return false;
    }
    if (o->path == NULL || optind < argc) {
        fputs(usage, stderr);
        return false;
    }
    *ret_status = 1;
    if (o->fill_pct == 0 && (o->fill_bytes < CW_MIB || o->fill_bytes > o->bytes))
        return bench_fail("--fill: not between 1M and --size");
    return access(o->path, F_OK) != 0 || bench_fail("%s: is there; remove it first", o->path);
}

/* ---- commands ---- */

static bool
job_set(struct bench_job *j, const char *key, const char *value)
{
    uint64_t n = 0;
    char *end;
    double seconds;

    if (strcmp(key, "rw") == 0) {
        j->random = strncmp(value, "rand", 4) == 0;
        value += j->random ? 4 : 0;
        j->write = strcmp(value, "write") == 0;
        return j->write || strcmp(value, "read") == 0;
    }
    if (strcmp(key, "seconds") == 0) {
        seconds = strtod(value, &end);
        j->time_ns = (uint64_t)(seconds * 1e9);
        return *end == '\0' && seconds > 0 && seconds < 86400;
    }
    if (!cw_size_parse(value, &n))
        return false;
    if (strcmp(key, "bs") == 0)
        j->nblk = (uint32_t)cw_min_u64(n / CW_BLOCK_SIZE, UINT32_MAX);
    else if (strcmp(key, "depth") == 0)
        j->depth = (uint32_t)cw_min_u64(n, UINT32_MAX);
    else if (strcmp(key, "bytes") == 0)
        j->bytes = n;
    else if (strcmp(key, "skew") == 0)
        j->skewed = n != 0;
    else
        return false;
    return true;
}

static bool
job_parse(struct bench_job *j, char *line)
{
    char *save = NULL;

    *j = (struct bench_job){ .nblk = 1, .depth = 1 };
    for (char *word = strtok_r(line, " \n", &save); word != NULL;
         word = strtok_r(NULL, " \n", &save)) {
        char *value = strchr(word, '=');

        if (value == NULL)
            return bench_fail("command: %s is not understood", word);
        *value++ = '\0';
        if (!job_set(j, word, value))
            return bench_fail("command: %s=%s is not understood", word, value);
    }
    if (j->nblk == 0 || !cw_is_pow2(j->nblk) || j->nblk > CW_IO_BLOCKS_MAX)
        return bench_fail("command: bs is a power of two between 4K and 1M");
    if (j->depth == 0 || j->depth > DEPTH_MAX)
        return bench_fail("command: depth is between 1 and 1024");
    return j->time_ns != 0 || j->bytes != 0 || bench_fail("command: give seconds or bytes");
}

/* ---- answers ---- */

static void
print_field(const char *name, uint64_t value)
{
    printf(", \"%s\": %" PRIu64, name, value);
}

static uint64_t
rss_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    unsigned long long pages = 0;

    if (f == NULL || fscanf(f, "%*u %llu", &pages) != 1)
        pages = 0;
    if (f != NULL)
        fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void
print_latency(const struct cw_histogram *h)
{
    print_field("mean_ns", cw_histogram_mean(h));
    print_field("p50_ns", cw_histogram_percentile(h, 500));
    print_field("p99_ns", cw_histogram_percentile(h, 990));
    print_field("p999_ns", cw_histogram_percentile(h, 999));
    print_field("max_ns", h->max_ns);
}

static void
print_store(const struct cw_store_stats *from, const struct cw_store_stats *to)
{
    print_field("batches", to->batches - from->batches);
    print_field("records", to->records - from->records);
    print_field("blocks_written", to->blocks_written - from->blocks_written);
    print_field("bytes_logged", to->bytes_logged - from->bytes_logged);
    print_field("bytes_cleaned", to->bytes_cleaned - from->bytes_cleaned);
    print_field("checkpoints", to->checkpoints - from->checkpoints);
    print_field("csum_errors", to->csum_errors - from->csum_errors);
    print_field("io_errors", to->io_errors - from->io_errors);
    print_field("packed_in", to->packed_in - from->packed_in);
    print_field("packed_out", to->packed_out - from->packed_out);
    print_field("used_bytes", to->used_bytes);
    print_field("map_pages", to->map_pages);
    print_field("map_cache_bytes", to->map_cache_bytes);
}

static void
print_disk(const struct bench_counts *n)
{
    print_field("disk_reads", n->reads);
    print_field("disk_read_bytes", n->read_bytes);
    print_field("hot_batches", n->batches[CW_SEG_HOT]);
    print_field("hot_bytes", n->batch_bytes[CW_SEG_HOT]);
    print_field("cold_batches", n->batches[CW_SEG_COLD]);
    print_field("cold_bytes", n->batch_bytes[CW_SEG_COLD]);
    print_field("meta_batches", n->batches[CW_SEG_META]);
    print_field("meta_bytes", n->batch_bytes[CW_SEG_META]);
    print_field("other_bytes", n->other_bytes);
    print_field("zero_bytes", n->zero_bytes);
    print_field("flushes", n->flushes);
}

static void
print_result(const struct bench_subject *b, const struct bench_job *j, const struct bench_result *r)
{
    printf("{\"ops\": %" PRIu64, r->ops);
    print_field("bytes", r->ops * j->nblk * CW_BLOCK_SIZE);
    print_field("elapsed_ns", r->elapsed_ns);
    print_field("cpu_user_us", r->cpu_user_us);
    print_field("cpu_sys_us", r->cpu_sys_us);
    print_field("turns", r->turns);
    print_latency(&r->latency);
    print_field("refused_again", r->refused_again);
    print_field("refused_space", r->refused_space);
    print_field("waited_credit", r->waited_credit);
    print_store(&r->before, &r->after);
    print_disk(&r->disk);
    print_field("free_min", r->free_min);
    print_field("free_mean", r->n_samples == 0 ? 0 : r->free_sum / r->n_samples);
    print_field("dirty_peak", r->dirty_peak);
    print_field("pool_peak", r->pool_peak);
    print_field("pool_limit", cw_buf_pool_limit(cw_reactor_pool(b->r)));
    print_field("rss", rss_bytes());
    print_field("rss_of_bench", b->blocks * sizeof(*b->want));
    puts("}");
    fflush(stdout);
}

static void
print_subject(const struct bench_subject *b)
{
    const struct cw_store_identity *id = cw_store_identity(b->store);
    struct cw_store_stats s;

    cw_store_stats(b->store, &s);
    printf("{\"store_bytes\": %" PRIu64, id->bytes);
    print_field("segment_bytes", id->segment_bytes);
    print_field("segments", id->segment_count);
    print_field("capacity_bytes", s.used_bytes + s.free_bytes);
    print_field("volume_bytes", b->blocks * CW_BLOCK_SIZE);
    print_field("chunks", b->blocks / CW_CHUNK_BLOCKS);
    print_field("shards", b->n_shards);
    print_field("open_ns", b->open_ns);
    puts("}");
    fflush(stdout);
}

/* ---- main ---- */

static bool
serve(struct bench_subject *b)
{
    static struct bench_result result;
    char line[512];

    print_subject(b);
    while (fgets(line, sizeof(line), stdin) != NULL) {
        struct bench_job job;

        if (!job_parse(&job, line) || !bench_load_run(b, &job, &result) || !bench_subject_settle(b))
            return false;
        print_result(b, &job, &result);
    }
    return true;
}

int
main(int argc, char **argv)
{
    struct bench_opts o = {
        .bytes = 4 * CW_GIB, .fill_bytes = CW_GIB, .memory_bytes = 256 * CW_MIB, .seed = 1
    };
    struct bench_subject b;
    int status;

    if (!options_read(&o, argc, argv, &status))
        return status;
    if (bench_subject_init(&b, &o) && serve(&b))
        return bench_subject_fini(&b) ? 0 : 1;
    if (b.raw != NULL)
        (void)unlink(o.path);
    _exit(1); /* I/O is under way into memory that nobody may free: the kernel ends both */
}
