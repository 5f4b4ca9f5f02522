/* The soak: a store that is filled, overwritten, snapshot, killed and opened again, for as long as
 * asked. What it shows and how: tests/soak/README.md. */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "common/base/size.h"
#include "common/reactor/disk.h"
#include "common/reactor/reactor.h"
#include "tests/soak/parent.h"

#define CHECK_EVERY 5u /* lives */

static bool
file_is_sound(const struct parent *p)
{
    struct stat st;

    return stat(p->k->store_path, &st) == 0 && (uint64_t)st.st_size == p->report.bytes;
}

static const char *
soak_format(struct parent *p)
{
    static char why[CW_WHY_SIZE];
    int status;
    pid_t pid;

    if (cw_disk_create_file(p->k->store_path, p->report.bytes, why) != 0)
        return why;
    p->k->life = (struct life){ .seed = p->report.seed, .pool_bytes = 32 * CW_MIB };
    pid = child_fork(p, child_format);
    waitpid(pid, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? NULL : child_ended(p, status);
}

static void
soak_progress(const struct parent *p)
{
    const struct soak *k = p->k;

    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\rlife %u, %" PRIu64 " GiB written, %u stalls ", k->life.number,
                k->blocks_written * CW_BLOCK_SIZE / CW_GIB, k->n_stalls);
}

static void
soak_run(struct parent *p)
{
    p->report.failure = soak_format(p);
    p->end_ns = cw_reactor_clock_ns() + (uint64_t)(p->report.minutes * 60e9);
    while (p->report.failure == NULL && cw_reactor_clock_ns() < p->end_ns) {
        p->report.failure = life_run(p, false);
        p->report.file_ok = p->report.file_ok && file_is_sound(p);
        if (p->report.failure == NULL && p->k->life.number % CHECK_EVERY == 0)
            p->report.failure = file_check(p);
        soak_progress(p);
    }
    /* the last one reads every block from the disk */
    if (p->report.failure == NULL)
        p->report.failure = file_check(p);
    if (p->report.failure == NULL)
        p->report.failure = life_run(p, true);
    if (p->report.failure == NULL)
        p->report.failure = file_check(p);
}

static int
probe_main(struct soak *k)
{
    probe_run(k);
    return 1;
}

static void
parent_start(struct parent *p, const char *dir)
{
    static char path[3][512];
    static const char *const names[] = { "store", "probe", "log" };
    uint32_t blocks = (uint32_t)(p->report.bytes / CW_BLOCK_SIZE * 2475 / 10000);

    for (size_t i = 0; i < CW_LEN(path); i++)
        snprintf(path[i], sizeof(path[i]), "%s/%s", dir, names[i]);
    p->k = mmap(NULL, sizeof(*p->k), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cw_assert(p->k != MAP_FAILED);
    p->k->store_path = path[0];
    p->k->probe_path = path[1];
    p->k->log_path = path[2];
    p->k->model = model_new((uint32_t)cw_align_down(blocks, 64));
    cw_prng_init(&p->rnd, p->report.seed);
    p->probe = child_fork(p, probe_main);
}

static void
parent_end(struct parent *p)
{
    int status;

    kill(p->probe, SIGKILL);
    waitpid(p->probe, &status, 0);
}

static int
usage(const char *what)
{
    fprintf(stderr, "soak: %s\nsoak --dir DIR [--minutes 30] [--seed N] [--size 1G]\n", what);
    return 2;
}

int
main(int argc, char **argv)
{
    static const struct option options[] = {
        { "minutes", required_argument, NULL, 'm' },
        { "seed", required_argument, NULL, 's' },
        { "size", required_argument, NULL, 'b' },
        { "dir", required_argument, NULL, 'd' },
        { 0 },
    };
    struct parent p = { .report = { .minutes = 30, .bytes = CW_GIB, .file_ok = true } };
    const char *dir = NULL;
    bool ok;
    int opt;

    p.report.seed = (uint64_t)time(NULL);
    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (opt == 'm')
            p.report.minutes = strtod(optarg, NULL);
        else if (opt == 's')
            p.report.seed = strtoull(optarg, NULL, 0);
        else if (opt == 'd')
            dir = optarg;
        else if (opt != 'b' || !cw_size_parse(optarg, &p.report.bytes))
            return usage("unknown option or size");
    }
    if (dir == NULL || optind != argc || p.report.minutes <= 0)
        return usage("where, and for how long?");
    if (p.report.bytes < 512 * CW_MIB || p.report.bytes > 4 * CW_GIB || p.report.bytes % 4096 != 0)
        return usage("a store of 512M to 4G");
    parent_start(&p, dir);
    soak_run(&p);
    parent_end(&p);
    ok = report_print(p.k, &p.report);
    return ok ? 0 : 1;
}
