#include "bench/subject.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/load.h"
#include "common/base/size.h"

#define SETTLE_NS (200 * CW_NS_PER_MS)
#define SETTLE_MAX_NS (2 * CW_NS_PER_S)

bool
bench_fail(const char *fmt, ...)
{
    va_list args;

    fputs("store-bench: ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    return false;
}

/* The watchdog would speak of I/O that was under way while this program waited for a command. */
static void
subject_log(void *user, enum cw_log_level level, const char *line)
{
    const struct bench_subject *b = user;

    if (!b->waking)
        fprintf(stderr, "store-bench: %s\n", line);
}

/* ---- turns ---- */

bool
bench_turn(struct bench_subject *b, uint64_t wait_ns)
{
    int err = cw_reactor_turn(b->r, wait_ns);

    return err == 0 || bench_fail("io_uring: %s", strerror(-err));
}

struct step {
    bool done;
    int res;
};

static void
step_on_done(void *user, int res)
{
    struct step *st = user;

    *st = (struct step){ .done = true, .res = res };
}

static bool
step_wait(struct bench_subject *b, const struct step *st, const char *what)
{
    while (!st->done) {
        if (!bench_turn(b, CW_NEVER))
            return false;
        if (b->store != NULL)
            cw_store_turn_end(b->store);
    }
    return st->res == 0 || bench_fail("%s: %s failed (%d)", b->opts.path, what, st->res);
}

bool
bench_subject_wake(struct bench_subject *b)
{
    bool ok;

    b->waking = true;
    ok = bench_turn(b, 0) && bench_turn(b, 0);
    b->waking = false;
    return ok;
}

bool
bench_subject_settle(struct bench_subject *b)
{
    uint64_t begun_ns = cw_reactor_clock_ns(), busy_ns = begun_ns, now_ns = begun_ns;

    while (now_ns - busy_ns < SETTLE_NS && now_ns - begun_ns < SETTLE_MAX_NS) {
        if (!bench_turn(b, SETTLE_NS / 4))
            return false;
        cw_store_turn_end(b->store);
        now_ns = cw_reactor_clock_ns();
        if (cw_disk_busy(b->raw) > 0)
            busy_ns = now_ns;
    }
    return true;
}

/* ---- events ---- */

static void
subject_on_durable(void *user, struct cw_store_shard *sh)
{
    struct bench_subject *b = user;

    b->poked = true;
    if (b->load != NULL)
        bench_load_on_durable(b->load, sh);
}

static void
subject_on_health(void *user)
{
    struct bench_subject *b = user;

    b->poked = true;
}

static const struct cw_store_events subject_events = {
    .on_durable = subject_on_durable,
    .on_health = subject_on_health,
};

/* ---- birth ---- */

static bool
subject_make_disk(struct bench_subject *b)
{
    struct cw_disk_opts opts = { .path = b->opts.path };
    char why[CW_WHY_SIZE];

    if (cw_disk_create_file(b->opts.path, b->opts.bytes, why) != 0 ||
        cw_disk_open(b->r, &opts, &b->raw, why) != 0)
        return bench_fail("%s", why);
    bench_counter_init(&b->counter, b->raw);
    return true;
}

static bool
subject_open_store(struct bench_subject *b)
{
    struct cw_env *env = cw_reactor_env(b->r);
    struct cw_store_format_opts format = { .disk_uuid = cw_uuid_from_random(1, b->opts.seed),
                                           .format_id = b->opts.seed | 1 };
    uint64_t begun_ns = cw_reactor_clock_ns();
    struct step st = { 0 };

    cw_store_format(env, &b->counter.disk, cw_reactor_pool(b->r), format, step_on_done, &st);
    if (!step_wait(b, &st, "format"))
        return false;
    b->store = cw_store_new((struct cw_store_opts){
        .env = env,
        .disk = &b->counter.disk,
        .pool = cw_reactor_pool(b->r),
        .map_cache_bytes = b->opts.memory_bytes / 4,
        .ev = &subject_events,
        .user = b,
    });
    if (b->store == NULL)
        return bench_fail("out of memory");
    st = (struct step){ 0 };
    cw_store_open(b->store, step_on_done, &st);
    if (!step_wait(b, &st, "open"))
        return false;
    b->open_ns = cw_reactor_clock_ns() - begun_ns;
    return true;
}

struct create {
    struct cw_store_ticket ticket;
    struct step st;
};

static void
create_on_done(struct cw_store_ticket *t, int res)
{
    step_on_done(&cw_container_of(t, struct create, ticket)->st, res);
}

static bool
subject_make_shard(struct bench_subject *b, uint32_t i)
{
    uint64_t first = i * b->shard_blocks;
    struct cw_shard_rec rec = {
        .shard = CW_SHARD_ID(1, i),
        .gen = 1,
        .cfg = 1,
        .lineage = 1,
        .n_blocks = (uint32_t)cw_min_u64(b->shard_blocks, b->blocks - first),
        .compression = b->opts.compression,
        .n_members = 1,
    };
    struct create c = { .ticket.done = create_on_done };
    int err = 0;

    rec.members[0] = (struct cw_member){
        .disk_uuid = cw_store_identity(b->store)->disk_uuid,
        .format_id = cw_store_identity(b->store)->format_id,
        .state = CW_MEMBER_INSYNC,
    };
    b->shard[i] = cw_store_shard_create(b->store, &rec, &c.ticket, &err);
    if (b->shard[i] == NULL)
        return bench_fail("%s: no shard: %s", b->opts.path, strerror(-err));
    cw_store_shard_info(b->shard[i])->user = (void *)(uintptr_t)i;
    cw_store_turn_end(b->store);
    return step_wait(b, &c.st, "shard");
}

static bool
subject_make_volume(struct bench_subject *b)
{
    char volume[CW_SIZE_TEXT_SIZE], most[CW_SIZE_TEXT_SIZE];
    struct cw_store_stats s;

    cw_store_stats(b->store, &s);
    if (b->opts.fill_pct > 0)
        b->opts.fill_bytes = s.free_bytes / 100 * b->opts.fill_pct;
    b->blocks = cw_align_down(b->opts.fill_bytes / CW_BLOCK_SIZE, CW_CHUNK_BLOCKS);
    if (b->blocks * CW_BLOCK_SIZE > s.free_bytes / 100 * 94) /* at 95 % credit ends */
        return bench_fail("a volume of %s does not fit; at most %s",
                          cw_size_format(b->opts.fill_bytes, volume),
                          cw_size_format(s.free_bytes / 100 * 94, most));
    b->shard_blocks = CW_SHARD_BLOCKS;
    b->n_shards = (uint32_t)cw_div_up(b->blocks, b->shard_blocks);
    b->want = calloc(b->blocks, sizeof(*b->want));
    b->shard = calloc(b->n_shards, sizeof(*b->shard));
    if (b->want == NULL || b->shard == NULL)
        return bench_fail("out of memory");
    for (uint32_t i = 0; i < b->n_shards; i++) {
        if (!subject_make_shard(b, i))
            return false;
    }
    return true;
}

bool
bench_subject_init(struct bench_subject *b, const struct bench_opts *opts)
{
    struct cw_reactor_opts ro = {
        .log_level = CW_LOG_WARNING,
        .log = subject_log,
        .log_user = b,
        .memory_bytes = opts->memory_bytes / 4 * 3,
    };
    int err;

    *b = (struct bench_subject){ .opts = *opts };
    err = cw_reactor_new(&ro, &b->r);
    if (err != 0)
        return bench_fail("io_uring: %s", strerror(-err));
    return subject_make_disk(b) && subject_open_store(b) && subject_make_volume(b);
}

/* ---- death ---- */

bool
bench_subject_fini(struct bench_subject *b)
{
    struct step st = { 0 };
    bool ok = true;

    if (b->shard != NULL) {
        if (!bench_subject_wake(b))
            return false;
        cw_store_close(b->store, step_on_done, &st);
        ok = step_wait(b, &st, "close");
    }
    cw_store_free(b->store);
    cw_disk_close(b->raw);
    if (b->raw != NULL)
        (void)unlink(b->opts.path);
    cw_reactor_free(b->r);
    free(b->shard);
    free(b->want);
    return ok;
}
