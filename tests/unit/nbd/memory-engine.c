#include "tests/unit/nbd/memory-engine.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "client/lib/mailbox.h"
#include "common/owner/owner.h"
#include "common/reactor/reactor.h"

#define N_DISKS 4

struct disk {
    const char *name;
    uint64_t size;
    uint8_t *data;
};

struct cw_engine_volume {
    struct cw_list link;
    struct cw_engine *engine;
    struct disk *disk;
    struct cw_engine_open *open;
    struct cw_engine_close *close;
    const struct cw_engine_volume_events *ev;
    void *user;
    struct cw_defer work;
    int res;
    bool fenced;
};

struct cw_engine {
    struct cw_reactor *reactor;
    pthread_t thread;
    struct cw_mailbox inbox;
    struct cw_inbox_item drain;
    struct cw_defer io_work;
    struct cw_list ios, held, volumes, lists;
    struct disk disks[N_DISKS];
    struct memory_engine_stats stats;
};

static void
drain(struct cw_inbox_item *i)
{
    cw_mailbox_run(&cw_container_of(i, struct cw_engine, drain)->inbox);
}

static void
wake(void *arg)
{
    struct cw_engine *e = arg;

    cw_reactor_post(e->reactor, &e->drain);
}

static void *
thread_main(void *arg)
{
    struct cw_engine *e = arg;

    cw_reactor_run(e->reactor);
    return NULL;
}

/* ---- requests ---- */

static void
io_do(struct cw_engine_volume *v, struct cw_io *io)
{
    uint8_t *at = v->disk->data + io->off;
    int res = v->fenced ? -ESHUTDOWN : 0;

    if (res == 0 && io->op == CW_IO_READ)
        memcpy(io->iov[0].iov_base, at, io->len);
    if (res == 0 && io->op == CW_IO_WRITE)
        memcpy(at, io->buf != NULL ? io->buf->data + io->buf_off : io->iov[0].iov_base, io->len);
    if (res == 0 && (io->op == CW_IO_TRIM || io->op == CW_IO_ZERO) &&
        (io->off % 4096 != 0 || io->len % 4096 != 0 || madvise(at, io->len, MADV_DONTNEED) != 0))
        memset(at, 0, io->len);
    if (io->op == CW_IO_WRITE)
        cw_buf_unref(io->buf);
    io->done(io, res);
}

static void
io_work(struct cw_defer *d)
{
    struct cw_engine *e = cw_container_of(d, struct cw_engine, io_work);
    struct cw_list now;
    struct cw_list *node;

    cw_list_init(&now);
    cw_list_splice_back(&now, &e->ios);
    while ((node = cw_list_pop_front(&now)) != NULL) {
        struct cw_io *io = cw_list_entry(node, struct cw_io, link);

        io_do((struct cw_engine_volume *)(void *)io->volume, io);
    }
}

void
cw_engine_submit(struct cw_engine_volume *v, struct cw_io *io)
{
    struct cw_engine *e = v->engine;

    io->volume = (struct cw_volume *)(void *)v;
    if (strcmp(v->disk->name, "slow") == 0) {
        e->stats.n_waiting++;
        cw_list_push_back(&e->held, &io->link);
        return;
    }
    cw_list_push_back(&e->ios, &io->link);
    cw_reactor_defer(e->reactor, &e->io_work);
}

/* ---- volumes ---- */

static struct disk *
disk_find(struct cw_engine *e, const char *name)
{
    for (int i = 0; i < N_DISKS; i++) {
        if (strcmp(e->disks[i].name, name) == 0)
            return &e->disks[i];
    }
    return NULL;
}

static void
open_end(struct cw_defer *d)
{
    struct cw_engine_volume *v = cw_container_of(d, struct cw_engine_volume, work);
    struct cw_engine_open *o = v->open;
    int res = v->res;
    char error[CW_ENGINE_ERROR_SIZE];

    o->priv = NULL;
    snprintf(error, sizeof(error), "volume %s: %s", o->volume,
             res == -EBUSY    ? "VOLUME_IN_USE by vm on host7 since 10:00"
             : res == -ENOENT ? "there is no such volume"
                              : "cancelled");
    if (res != 0) {
        cw_list_remove(&v->link);
        free(v);
        v = NULL;
    } else {
        v->engine->stats.n_open_now++;
    }
    o->done(o, res, v, error);
}

void
cw_engine_open(struct cw_engine *e, struct cw_engine_open *o)
{
    struct cw_engine_volume *v = calloc(1, sizeof(*v));

    e->stats.n_opens++;
    e->stats.n_forced += o->force;
    v->engine = e;
    v->open = o;
    v->ev = o->ev;
    v->user = o->user;
    v->disk = disk_find(e, o->volume);
    v->res = v->disk == NULL ? -ENOENT : strcmp(o->volume, "busy") == 0 && !o->force ? -EBUSY : 0;
    v->work.fn = open_end;
    o->priv = v;
    cw_list_push_back(&e->volumes, &v->link);
    cw_reactor_defer(e->reactor, &v->work);
}

void
cw_engine_open_cancel(struct cw_engine_open *o)
{
    struct cw_engine_volume *v = o->priv;

    if (v != NULL)
        v->res = -ECANCELED;
}

static void
close_end(struct cw_defer *d)
{
    struct cw_engine_volume *v = cw_container_of(d, struct cw_engine_volume, work);
    struct cw_engine_close *c = v->close;
    int res = v->fenced ? -ESHUTDOWN : 0;

    v->engine->stats.n_closes++;
    v->engine->stats.n_open_now--;
    cw_list_remove(&v->link);
    free(v);
    c->done(c, res);
}

void
cw_engine_close(struct cw_engine_volume *v, struct cw_engine_close *c)
{
    v->close = c;
    v->work.fn = close_end;
    cw_reactor_defer(v->engine->reactor, &v->work);
}

uint32_t
cw_engine_volume_gen(const struct cw_engine_volume *v)
{
    return v->engine->stats.n_opens;
}

uint64_t
cw_engine_volume_size(const struct cw_engine_volume *v)
{
    return v->disk->size;
}

struct list_work {
    struct cw_engine_task task;
    struct cw_engine *engine;
    struct cw_engine_list *list;
};

static void
list_end(struct cw_engine_task *t)
{
    struct list_work *w = cw_container_of(t, struct list_work, task);
    struct cw_engine_volume_info v[N_DISKS];
    size_t n = 0;

    for (int i = 0; i < N_DISKS; i++) {
        struct disk *d = &w->engine->disks[i];

        if (w->list->name == NULL || strcmp(w->list->name, d->name) == 0)
            v[n++] = (struct cw_engine_volume_info){ d->name, d->size };
    }
    if (n == 0)
        w->list->done(w->list, -ENOENT, NULL, 0, "there is no such volume");
    else
        w->list->done(w->list, 0, v, n, "");
    free(w);
}

void
cw_engine_list(struct cw_engine *e, struct cw_engine_list *l)
{
    struct list_work *w = calloc(1, sizeof(*w));

    e->stats.n_lists++;
    w->task.fn = list_end;
    w->engine = e;
    w->list = l;
    cw_engine_post(e, &w->task);
}

/* ---- the engine ---- */

int
cw_engine_new(const struct cw_engine_opts *opts, char error[static CW_ENGINE_ERROR_SIZE],
              struct cw_engine **ret_e)
{
    struct cw_engine *e = calloc(1, sizeof(*e));
    struct cw_reactor_opts r = { .log_level = opts->log_level,
                                 .log = opts->log,
                                 .log_user = opts->log_user,
                                 .memory_bytes = opts->memory_bytes };
    static const struct disk disks[N_DISKS] = { { "mem", 64 << 20, NULL },
                                                { "big", UINT64_C(4) << 30, NULL },
                                                { "busy", 4096, NULL },
                                                { "slow", 8 << 20, NULL } };
    int res = cw_reactor_new(&r, &e->reactor);

    if (res != 0) {
        snprintf(error, CW_ENGINE_ERROR_SIZE, "reactor: %s", strerror(-res));
        free(e);
        return res;
    }
    for (int i = 0; i < N_DISKS; i++) {
        e->disks[i] = disks[i];
        e->disks[i].data = mmap(NULL, disks[i].size, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    }
    e->inbox = (struct cw_mailbox){ .wake = wake, .arg = e };
    e->drain.fn = drain;
    e->io_work.fn = io_work;
    cw_list_init(&e->ios);
    cw_list_init(&e->held);
    cw_list_init(&e->volumes);
    pthread_create(&e->thread, NULL, thread_main, e);
    *ret_e = e;
    return 0;
}

void
cw_engine_free(struct cw_engine *e)
{
    cw_reactor_stop(e->reactor);
    pthread_join(e->thread, NULL);
    cw_reactor_free(e->reactor);
    for (int i = 0; i < N_DISKS; i++)
        munmap(e->disks[i].data, e->disks[i].size);
    free(e);
}

void
cw_engine_post(struct cw_engine *e, struct cw_engine_task *t)
{
    cw_mailbox_post(&e->inbox, t);
}

struct run {
    struct cw_engine_task task;
    int (*fn)(void *);
    void *arg;
    int res;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;
};

static void
run_arrived(struct cw_engine_task *t)
{
    struct run *r = cw_container_of(t, struct run, task);
    int res = r->fn(r->arg);

    pthread_mutex_lock(&r->lock);
    r->res = res;
    r->done = true;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

int
cw_engine_run(struct cw_engine *e, int (*fn)(void *arg), void *arg)
{
    struct run r = { .task.fn = run_arrived,
                     .fn = fn,
                     .arg = arg,
                     .lock = PTHREAD_MUTEX_INITIALIZER,
                     .changed = PTHREAD_COND_INITIALIZER };

    cw_engine_post(e, &r.task);
    pthread_mutex_lock(&r.lock);
    while (!r.done)
        pthread_cond_wait(&r.changed, &r.lock);
    pthread_mutex_unlock(&r.lock);
    return r.res;
}

int
cw_engine_wait_cluster(struct cw_engine *e, uint64_t timeout_ms,
                       char error[static CW_ENGINE_ERROR_SIZE])
{
    return 0;
}

bool
cw_engine_is_reactor(const struct cw_engine *e)
{
    return pthread_equal(pthread_self(), e->thread);
}

struct cw_reactor *
cw_engine_reactor(struct cw_engine *e)
{
    return e->reactor;
}

struct cw_buf_pool *
cw_engine_pool(struct cw_engine *e)
{
    return cw_reactor_pool(e->reactor);
}

/* ---- for tests ---- */

struct stats_ask {
    struct cw_engine *e;
    struct memory_engine_stats *ret;
};

static int
stats_get(void *arg)
{
    struct stats_ask *a = arg;

    *a->ret = a->e->stats;
    return 0;
}

void
memory_engine_stats(struct cw_engine *e, struct memory_engine_stats *ret)
{
    struct stats_ask a = { e, ret };

    cw_engine_run(e, stats_get, &a);
}

static int
let_go(void *arg)
{
    struct cw_engine *e = arg;

    cw_list_splice_back(&e->ios, &e->held);
    cw_reactor_defer(e->reactor, &e->io_work);
    return 0;
}

void
memory_engine_let_go(struct cw_engine *e)
{
    cw_engine_run(e, let_go, e);
}

static int
fence(void *arg)
{
    struct cw_engine *e = arg;

    CW_LIST_EACH_SAFE (it, &e->volumes) {
        struct cw_engine_volume *v = cw_list_entry(it, struct cw_engine_volume, link);

        v->fenced = true;
        v->ev->on_fenced(v->user, "fenced by the test");
    }
    return 0;
}

void
memory_engine_fence(struct cw_engine *e)
{
    cw_engine_run(e, fence, e);
}

uint8_t *
memory_engine_disk(struct cw_engine *e, const char *name)
{
    return disk_find(e, name)->data;
}
