#include "common/reactor/reactor.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>

#include "common/base/bits.h"
#include "common/reactor/internal.h"

/* Work that defers work again gets so many rounds per turn, then the rest of the loop is heard. */
#define WORK_ROUNDS_MAX 64

/* ---- env ---- */

uint64_t
cw_reactor_clock_ns(void)
{
    struct timespec ts;

    cw_assert(clock_gettime(CLOCK_BOOTTIME, &ts) == 0);
    return (uint64_t)ts.tv_sec * CW_NS_PER_S + (uint64_t)ts.tv_nsec;
}

static struct cw_reactor *
env_reactor(struct cw_env *env)
{
    return cw_container_of(env, struct cw_reactor, env);
}

static uint64_t
env_now_ns(struct cw_env *env)
{
    return env_reactor(env)->now_ns;
}

static uint64_t
env_random(struct cw_env *env)
{
    return cw_prng_next(&env_reactor(env)->prng);
}

static void
env_timer_set(struct cw_env *env, struct cw_timer *t, uint64_t at_ns)
{
    cw_timerheap_set(&env_reactor(env)->timers, t, at_ns);
}

static void
env_timer_cancel(struct cw_env *env, struct cw_timer *t)
{
    cw_timerheap_cancel(&env_reactor(env)->timers, t);
}

static void
env_log(struct cw_env *env, enum cw_log_level level, const char *line)
{
    struct cw_reactor *r = env_reactor(env);

    if (r->opts.log != NULL)
        r->opts.log(r->opts.log_user, level, line);
}

static const struct cw_env_ops env_ops = {
    .now_ns = env_now_ns,
    .random = env_random,
    .timer_set = env_timer_set,
    .timer_cancel = env_timer_cancel,
    .log = env_log,
};

/* ---- waking up ---- */

static void
wake_arm(struct cw_reactor *r)
{
    struct io_uring_sqe *sqe = cw_ring_sqe(&r->ring, &r->wake_op);

    io_uring_prep_poll_add(sqe, cw_inbox_fd(r->inbox), POLLIN);
    io_uring_sqe_set_data(sqe, &r->wake_op);
}

static void
reactor_on_wake(struct cw_op *op, int res, uint32_t flags)
{
    struct cw_reactor *r = cw_container_of(op, struct cw_reactor, wake_op);

    cw_inbox_hush(r->inbox);
    wake_arm(r);
}

static void
reactor_on_stop(struct cw_inbox_item *item)
{
    /* The flag does it; the item only ends the sleep. */
}

void
cw_reactor_stop(struct cw_reactor *r)
{
    if (!__atomic_exchange_n(&r->stop, true, __ATOMIC_ACQ_REL))
        cw_inbox_post(r->inbox, &r->stop_item); /* full: it is awake anyhow */
}

bool
cw_reactor_post(struct cw_reactor *r, struct cw_inbox_item *item)
{
    return cw_inbox_post(r->inbox, item);
}

/* ---- birth and death ---- */

static void
reactor_fill_opts(struct cw_reactor_opts *o)
{
    if (o->memory_bytes == 0)
        o->memory_bytes = 256 * CW_MIB;
    if (o->sq_entries == 0)
        o->sq_entries = 1024;
    if (o->recv_buffers == 0)
        o->recv_buffers = 64;
    if (o->inbox_items == 0)
        o->inbox_items = 4096;
}

static void
pages_give_back(void *mem, size_t len)
{
    (void)madvise(mem, len, MADV_DONTNEED);
}

static void
starved_timer_fn(struct cw_timer *t)
{
    /* The turn that it makes tries again. */
}

static int
reactor_init(struct cw_reactor *r, const struct cw_reactor_opts *opts)
{
    uint64_t seed;
    int err;

    r->opts = *opts;
    reactor_fill_opts(&r->opts);
    r->env = (struct cw_env){ .ops = &env_ops, .log_level = opts->log_level };
    r->wake_op.fn = reactor_on_wake;
    r->stop_item.fn = reactor_on_stop;
    r->starved_timer.fn = starved_timer_fn;
    r->now_ns = cw_reactor_clock_ns();
    cw_timerheap_init(&r->timers);
    cw_list_init(&r->hooks);
    cw_list_init(&r->works);
    cw_list_init(&r->flushes);
    cw_list_init(&r->links);
    cw_list_init(&r->starved);
    if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
        return -EIO;
    cw_prng_init(&r->prng, seed);
    err = cw_ring_init(&r->ring, r->opts.sq_entries, r->opts.recv_buffers, r->opts.plain);
    if (err != 0)
        return err;
    r->inbox = cw_inbox_new(r->opts.inbox_items);
    r->pool = cw_buf_pool_new(r->opts.memory_bytes);
    if (r->inbox == NULL || r->pool == NULL) {
        cw_inbox_free(r->inbox);
        cw_buf_pool_free(r->pool);
        cw_ring_fini(&r->ring);
        return -ENOMEM;
    }
    cw_buf_pool_set_give_back(r->pool, pages_give_back);
    wake_arm(r);
    return 0;
}

int
cw_reactor_new(const struct cw_reactor_opts *opts, struct cw_reactor **ret_r)
{
    struct cw_reactor *r = calloc(1, sizeof(*r));
    int err = r != NULL ? reactor_init(r, opts) : -ENOMEM;

    if (err != 0) {
        free(r);
        return err;
    }
    *ret_r = r;
    return 0;
}

static bool
reactor_is_quiet(const struct cw_reactor *r)
{
    return r->ring.n_under_way <= 1 && r->n_helpers == 0 && cw_list_empty(&r->works) &&
           cw_list_empty(&r->links) && r->stats.streams == 0;
}

void
cw_reactor_free(struct cw_reactor *r)
{
    if (r == NULL)
        return;
    while (!reactor_is_quiet(r) && cw_reactor_turn(r, 100 * CW_NS_PER_MS) == 0)
        ;
    cw_ring_fini(&r->ring);
    cw_inbox_free(r->inbox);
    cw_buf_pool_free(r->pool);
    cw_timerheap_fini(&r->timers);
    free(r);
}

struct cw_env *
cw_reactor_env(struct cw_reactor *r)
{
    return &r->env;
}

struct cw_buf_pool *
cw_reactor_pool(struct cw_reactor *r)
{
    return r->pool;
}

void
cw_reactor_stats(const struct cw_reactor *r, struct cw_reactor_stats *ret)
{
    *ret = r->stats;
    ret->sqes = r->ring.n_sqes;
    ret->completions = r->ring.n_cqes;
}

/* ---- work, hooks, flushes ---- */

void
cw_reactor_defer(struct cw_reactor *r, struct cw_defer *w)
{
    if (w->queued)
        return;
    w->queued = true;
    cw_list_push_back(&r->works, &w->link);
}

void
cw_reactor_defer_cancel(struct cw_reactor *r, struct cw_defer *w)
{
    if (!w->queued)
        return;
    w->queued = false;
    cw_list_remove(&w->link);
}

static void
reactor_run_works(struct cw_reactor *r)
{
    for (int round = 0; round < WORK_ROUNDS_MAX && !cw_list_empty(&r->works); round++) {
        struct cw_list now, *node;

        cw_list_init(&now);
        cw_list_splice_back(&now, &r->works);
        while ((node = cw_list_pop_front(&now)) != NULL) {
            struct cw_defer *w = cw_list_entry(node, struct cw_defer, link);

            w->queued = false;
            w->fn(w);
        }
    }
}

void
cw_reactor_hook_add(struct cw_reactor *r, struct cw_hook *h)
{
    struct cw_list *at = r->hooks.next;

    while (at != &r->hooks && cw_list_entry(at, struct cw_hook, link)->order <= h->order)
        at = at->next;
    cw_list_insert_before(at, &h->link);
}

void
cw_reactor_hook_remove(struct cw_reactor *r, struct cw_hook *h)
{
    cw_list_remove(&h->link);
}

static void
reactor_run_hooks(struct cw_reactor *r)
{
    CW_LIST_EACH_SAFE (it, &r->hooks) {
        struct cw_hook *h = cw_list_entry(it, struct cw_hook, link);

        h->fn(h);
    }
}

void
cw_flush_queue(struct cw_reactor *r, struct cw_flush *f)
{
    if (f->queued)
        return;
    f->queued = true;
    cw_list_push_back(&r->flushes, &f->link);
}

void
cw_flush_cancel(struct cw_flush *f)
{
    if (!f->queued)
        return;
    f->queued = false;
    cw_list_remove(&f->link);
}

static void
reactor_run_flushes(struct cw_reactor *r)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(&r->flushes)) != NULL) {
        struct cw_flush *f = cw_list_entry(node, struct cw_flush, link);

        f->queued = false;
        f->fn(f);
    }
}

/* ---- the turn ---- */

static uint64_t
reactor_wait_ns(struct cw_reactor *r, uint64_t wait_ns)
{
    uint64_t at = cw_timerheap_next(&r->timers), now;

    if (!cw_list_empty(&r->works))
        return 0;
    if (at != CW_NEVER) {
        now = cw_reactor_clock_ns();
        wait_ns = cw_min_u64(wait_ns, at > now ? at - now : 0);
    }
    return wait_ns > 0 && cw_inbox_sleep(r->inbox) ? wait_ns : 0;
}

static void
reactor_run_timers(struct cw_reactor *r)
{
    struct cw_timer *t;
    uint32_t n = r->timers.n; /* those that are set for now from here on wait a turn */

    while (n-- > 0 && (t = cw_timerheap_pop(&r->timers, r->now_ns)) != NULL)
        t->fn(t);
}

int
cw_reactor_turn(struct cw_reactor *r, uint64_t wait_ns)
{
    int err = cw_ring_wait(&r->ring, reactor_wait_ns(r, wait_ns));

    cw_inbox_awake(r->inbox);
    r->now_ns = cw_reactor_clock_ns();
    if (err != 0)
        return err;
    r->stats.turns++;
    cw_ring_reap(&r->ring);
    reactor_run_timers(r);
    cw_inbox_run_awake(r->inbox);
    if (!cw_list_empty(&r->starved))
        cw_links_feed_starved(r);
    reactor_run_works(r);
    reactor_run_hooks(r);
    reactor_run_flushes(r);
    return 0;
}

int
cw_reactor_run(struct cw_reactor *r)
{
    int err = 0;

    while (err == 0 && !__atomic_load_n(&r->stop, __ATOMIC_ACQUIRE))
        err = cw_reactor_turn(r, CW_NEVER);
    __atomic_store_n(&r->stop, false, __ATOMIC_RELEASE);
    return err;
}
