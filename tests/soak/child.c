/* A life: open, resolve, verify, load, and maybe an orderly end. */
#include "tests/soak/child.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/bits.h"

#define VERIFY_EVERY 16u

void
child_fail(struct child *c, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(c->k->why, sizeof(c->k->why), fmt, args);
    va_end(args);
    _exit(3);
}

uint64_t
child_now_ns(struct child *c)
{
    return cw_now_ns(cw_reactor_env(c->r));
}

uint64_t
child_random(struct child *c, uint64_t below)
{
    return cw_prng_below(&c->rnd, below);
}

void
child_wait(struct child *c, const bool *done)
{
    while (!*done) {
        if (cw_reactor_turn(c->r, CW_NS_PER_MS) != 0)
            child_fail(c, "the ring broke");
        if (c->store != NULL)
            cw_store_turn_end(c->store);
    }
}

static void
child_on_log(void *user, enum cw_log_level level, const char *line)
{
    struct child *c = user;
    char text[1200];
    int n = snprintf(text, sizeof(text), "%.3f life %u [%d] %s\n",
                     (double)cw_reactor_clock_ns() / 1e9, c->k->life.number, (int)level, line);

    if (c->log_fd >= 0 && write(c->log_fd, text, (size_t)n) < 0)
        c->log_fd = -1;
}

static void
child_on_done(void *user, int res)
{
    struct child *c = user;

    c->done = true;
    c->res = res;
}

static void
child_on_durable(void *user, struct cw_store_shard *sh)
{
    load_on_durable(user, sh);
}

static void
child_on_health(void *user)
{
}

static const struct cw_store_events child_events = {
    .on_durable = child_on_durable,
    .on_health = child_on_health,
};

static void
hook_on_load(struct cw_hook *h)
{
    load_turn(cw_container_of(h, struct child, load_hook));
}

static void
hook_on_store(struct cw_hook *h)
{
    cw_store_turn_end(cw_container_of(h, struct child, store_hook)->store);
}

/* ---- begin ---- */

static void
child_start(struct child *c, struct soak *k)
{
    struct cw_reactor_opts opts = {
        .log_level = CW_LOG_INFO,
        .log = child_on_log,
        .log_user = c,
        .memory_bytes = k->life.pool_bytes,
    };
    struct cw_disk_opts disk = { .path = k->store_path };
    int err;

    c->k = k;
    c->m = k->model;
    c->log_fd = open(k->log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    cw_prng_init(&c->rnd, k->life.seed);
    err = cw_reactor_new(&opts, &c->r);
    if (err != 0)
        child_fail(c, "no ring: %s", strerror(-err));
    if (cw_disk_open(c->r, &disk, &c->disk, k->why) != 0)
        _exit(3);
}

int
child_format(struct soak *k)
{
    static struct child c;
    struct cw_store_format_opts opts = {
        .disk_uuid = cw_uuid_from_random(k->life.seed, 1),
        .format_id = k->life.seed * 2 + 1,
    };

    child_start(&c, k);
    cw_store_format(cw_reactor_env(c.r), c.disk, cw_reactor_pool(c.r), opts, child_on_done, &c);
    child_wait(&c, &c.done);
    if (c.res != 0)
        child_fail(&c, "format: %d", c.res);
    cw_disk_close(c.disk);
    cw_reactor_free(c.r);
    return 0;
}

static void
child_check_recovery(struct child *c)
{
    const struct cw_store_recovery *r = cw_store_recovery(c->store);
    struct soak *k = c->k;

    k->opens++;
    k->clean_opens += r->clean;
    k->replayed += r->replayed_records;
    k->replayed_max = cw_max_u64(k->replayed_max, r->replayed_records);
    k->dropped += r->dropped_batches;
    k->open_ns_max = cw_max_u64(k->open_ns_max, r->took_ns);
    if (r->damaged_copies > 0 || r->bad_blocks > 0)
        child_fail(c, "open: %llu damaged copies, %llu bad blocks",
                   (unsigned long long)r->damaged_copies, (unsigned long long)r->bad_blocks);
}

static void
child_open(struct child *c)
{
    struct resolved n = { 0 };
    const char *why;

    c->store = cw_store_new((struct cw_store_opts){
        .env = cw_reactor_env(c->r),
        .disk = c->disk,
        .pool = cw_reactor_pool(c->r),
        .map_cache_bytes = c->k->life.map_cache,
        .ev = &child_events,
        .user = c,
    });
    cw_assert(c->store != NULL);
    cw_store_open(c->store, child_on_done, c);
    child_wait(c, &c->done);
    if (c->res != 0)
        child_fail(c, "open: result %d", c->res);
    child_check_recovery(c);
    why = model_resolve(c->m, c->store, &n);
    if (why != NULL)
        child_fail(c, "after a crash: %s", why);
    c->k->kept += n.kept;
    c->k->lost += n.lost;
    for (uint32_t i = 0; i < SLOTS; i++) {
        struct cw_store_shard *sh = cw_store_shard_find(c->store, slot_shard(i));

        if (sh != NULL)
            cw_store_shard_info(sh)->user = &c->m->slot[i];
    }
}

/* ---- end ---- */

static void
child_close(struct child *c)
{
    cw_reactor_hook_remove(c->r, &c->load_hook);
    cw_reactor_hook_remove(c->r, &c->store_hook);
    cw_timer_cancel(cw_reactor_env(c->r), &c->sample_timer);
    verify_all(c, VERIFY_EVERY);
    cw_store_check(c->store);
    c->done = false;
    cw_store_close(c->store, child_on_done, c);
    child_wait(c, &c->done);
    if (c->res != 0)
        child_fail(c, "close: result %d", c->res);
    cw_store_free(c->store);
    cw_disk_close(c->disk);
    if (cw_buf_pool_used(cw_reactor_pool(c->r)) != 0)
        child_fail(c, "close: %llu bytes of buffers did not come back",
                   (unsigned long long)cw_buf_pool_used(cw_reactor_pool(c->r)));
    cw_reactor_free(c->r);
}

int
child_run(struct soak *k)
{
    static struct child c;

    child_start(&c, k);
    child_open(&c);
    verify_all(&c, k->life.verify_all ? 1 : VERIFY_EVERY);
    cw_store_check(c.store);
    c.began_ns = child_now_ns(&c);
    load_start(&c);
    sample_start(&c);
    c.load_hook = (struct cw_hook){ .fn = hook_on_load, .order = CW_HOOK_DECIDER };
    c.store_hook = (struct cw_hook){ .fn = hook_on_store, .order = CW_HOOK_STORE };
    cw_reactor_hook_add(c.r, &c.load_hook);
    cw_reactor_hook_add(c.r, &c.store_hook);
    k->ready = true;
    while (!load_is_over(&c)) {
        c.load.stopping = k->stop;
        if (cw_reactor_turn(c.r, CW_NS_PER_MS) != 0)
            child_fail(&c, "the ring broke");
    }
    child_close(&c);
    return 0;
}
