/* lib/causeway.c - the public API: connections, volumes, requests.
 *
 * A request is checked on its caller's thread, crosses to the library's thread as one task, and is
 * done there. From the library's own thread it does not cross at all.
 */
#include "client/lib/causeway.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/engine.h"
#include "common/base/bits.h"
#include "common/owner/owner.h"

#define QUEUE_MAX 1024 /* requests of one connection that are not done */
#define REQ_BYTES_MAX (32 * CW_MIB)
#define CONNECT_MS 10000
#define RETRY_MS 0

struct causeway {
    struct cw_engine *engine;
    void (*log)(void *user, int level, const char *line);
    void *log_user;

    atomic_uint n_queued;
    pthread_mutex_t lock;
    pthread_cond_t room; /* n_queued fell, and somebody waits */
    unsigned n_waiting;
};

struct causeway_volume {
    struct causeway *c;
    char name[CW_ENGINE_NAME_SIZE];
    struct cw_engine_volume *vol;
    _Atomic uint64_t size;
    uint32_t gen;
    bool readonly;

    /* the library's thread's */
    uint32_t n_ios;
    struct closing *closing;
    void (*on_resize)(void *user, uint64_t size_bytes);
    void *on_resize_user;
};

/* A request on its way, found through causeway_req.priv[0]. */
struct lib_req {
    struct cw_engine_task task;
    struct cw_io io;
    struct iovec iov;
    struct causeway_volume *v;
    struct causeway_req *req;
    int res; /* of one that is refused */
};

/* The one mutable thing that is not in a struct: the text belongs to the thread that called. */
static _Thread_local char last_error[CW_ENGINE_ERROR_SIZE];

__attribute__((format(printf, 2, 3))) static int
fail(int res, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(last_error, sizeof(last_error), fmt, ap);
    va_end(ap);
    return res;
}

const char *
causeway_last_error(void)
{
    return last_error;
}

const char *
causeway_version(void)
{
    return CW_VERSION;
}

/* ---- connections ---- */

static void
log_line(void *user, enum cw_log_level level, const char *line)
{
    static const int syslog_level[] = { 3, 4, 5, 6, 7 };
    struct causeway *c = user;

    if (c->log != NULL)
        c->log(c->log_user, syslog_level[level], line);
    else
        fprintf(stderr, "causeway: %s\n", line);
}

/* What the caller's version of the struct has; the rest is zero. */
static struct causeway_opts
opts_of(const struct causeway_opts *opts)
{
    struct causeway_opts o = { 0 };

    if (opts != NULL)
        memcpy(&o, opts, opts->struct_size < sizeof(o) ? opts->struct_size : sizeof(o));
    return o;
}

int
causeway_connect(const char *cluster, const struct causeway_opts *opts, struct causeway **ret_c)
{
    struct causeway_opts o = opts_of(opts);
    struct causeway *c;
    struct cw_engine_opts e = {
        .cluster = cluster,
        .name = o.name,
        .domain = o.domain,
        .memory_bytes = o.memory_bytes,
        .log_level = o.log != NULL ? CW_LOG_INFO : CW_LOG_WARNING,
        .log = log_line,
    };
    int res;

    if (cluster == NULL || cluster[0] == 0)
        return fail(-EINVAL, "no cluster address was given");
    if (opts != NULL && opts->struct_size < offsetof(struct causeway_opts, name))
        return fail(-EINVAL, "causeway_opts.struct_size is not set");
    c = calloc(1, sizeof(*c));
    if (c == NULL)
        return fail(-ENOMEM, "out of memory");
    c->log = o.log;
    c->log_user = o.log_user;
    e.log_user = c;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->room, NULL);
    res = cw_engine_new(&e, last_error, &c->engine);
    if (res == 0)
        res = cw_engine_wait_cluster(c->engine, CONNECT_MS, last_error);
    if (res != 0) {
        causeway_disconnect(c);
        return res;
    }
    *ret_c = c;
    return 0;
}

void
causeway_disconnect(struct causeway *c)
{
    if (c == NULL)
        return;
    cw_engine_free(c->engine);
    pthread_cond_destroy(&c->room);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* ---- waiting for something that happens on the library's thread ---- */

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;
    int res;
};

static void
waiter_init(struct waiter *w)
{
    *w = (struct waiter){ .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
}

static void
waiter_done(struct waiter *w, int res)
{
    pthread_mutex_lock(&w->lock);
    w->done = true;
    w->res = res;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static int
waiter_wait(struct waiter *w)
{
    pthread_mutex_lock(&w->lock);
    while (!w->done)
        pthread_cond_wait(&w->changed, &w->lock);
    pthread_mutex_unlock(&w->lock);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    return w->res;
}

/* ---- volumes ---- */

struct opening {
    struct cw_engine_open open;
    struct causeway_volume *v;
    struct waiter waiter;
    char error[CW_ENGINE_ERROR_SIZE];
};

static void
on_resize(void *user, uint64_t size_bytes)
{
    struct causeway_volume *v = user;

    atomic_store(&v->size, size_bytes);
    if (v->on_resize != NULL)
        v->on_resize(v->on_resize_user, size_bytes);
}

static const struct cw_engine_volume_events volume_events = { .on_resize = on_resize };

static void
open_done(struct cw_engine_open *o, int res, struct cw_engine_volume *vol, const char *error)
{
    struct opening *op = cw_container_of(o, struct opening, open);

    if (res == 0) {
        op->v->vol = vol;
        op->v->gen = cw_engine_volume_gen(vol);
        atomic_store(&op->v->size, cw_engine_volume_size(vol));
    }
    snprintf(op->error, sizeof(op->error), "%s", error);
    waiter_done(&op->waiter, res);
}

static int
open_begin(void *arg)
{
    struct opening *op = arg;

    cw_engine_open(op->v->c->engine, &op->open);
    return 0;
}

int
causeway_open(struct causeway *c, const char *volume, int flags, struct causeway_volume **ret_v)
{
    struct causeway_volume *v;
    struct opening op;
    int res;

    if (volume == NULL || (flags & ~(CAUSEWAY_OPEN_FORCE | CAUSEWAY_OPEN_READONLY)) != 0)
        return fail(-EINVAL, "no volume was named, or unknown flags were given");
    if (cw_engine_is_reactor(c->engine))
        return fail(-EDEADLK, "volume %.80s: causeway_open would block the library's thread",
                    volume);
    v = calloc(1, sizeof(*v));
    if (v == NULL)
        return fail(-ENOMEM, "out of memory");
    v->c = c;
    v->readonly = (flags & CAUSEWAY_OPEN_READONLY) != 0;
    snprintf(v->name, sizeof(v->name), "%s", volume);
    op = (struct opening){ .v = v };
    op.open = (struct cw_engine_open){
        .volume = volume,
        .force = (flags & CAUSEWAY_OPEN_FORCE) != 0,
        .retry_ms = RETRY_MS,
        .ev = &volume_events,
        .user = v,
        .done = open_done,
    };
    waiter_init(&op.waiter);
    cw_engine_run(c->engine, open_begin, &op);
    res = waiter_wait(&op.waiter);
    if (res != 0) {
        free(v);
        return fail(res, "%s", op.error);
    }
    *ret_v = v;
    return 0;
}

struct closing {
    struct cw_engine_close close;
    struct causeway_volume *v;
    struct waiter waiter;
};

static void
close_done(struct cw_engine_close *close, int res)
{
    waiter_done(&cw_container_of(close, struct closing, close)->waiter, res);
}

static int
close_begin(void *arg)
{
    struct closing *cl = arg;

    cl->v->closing = cl;
    if (cl->v->n_ios == 0) /* else the last one begins it */
        cw_engine_close(cl->v->vol, &cl->close);
    return 0;
}

int
causeway_close(struct causeway_volume *v)
{
    struct closing cl = { .v = v, .close.done = close_done };
    int res;

    if (v == NULL)
        return 0;
    if (cw_engine_is_reactor(v->c->engine))
        return fail(-EDEADLK, "volume %s: causeway_close would block the library's thread",
                    v->name);
    waiter_init(&cl.waiter);
    cw_engine_run(v->c->engine, close_begin, &cl);
    res = waiter_wait(&cl.waiter);
    if (res != 0)
        fail(res, "volume %s: its release was not confirmed; the next open may have to wait 2 s",
             v->name);
    free(v);
    return res;
}

int
causeway_stat(struct causeway_volume *v, struct causeway_info *ret)
{
    *ret = (struct causeway_info){
        .size_bytes = atomic_load(&v->size),
        .block_bytes = CW_BLOCK_SIZE,
        .io_bytes_max = CW_IO_BLOCKS_MAX * CW_BLOCK_SIZE,
        .gen = v->gen,
        .readonly = v->readonly,
    };
    return 0;
}

struct resize_set {
    struct causeway_volume *v;
    void (*fn)(void *user, uint64_t size_bytes);
    void *user;
};

static int
resize_set(void *arg)
{
    struct resize_set *s = arg;

    s->v->on_resize = s->fn;
    s->v->on_resize_user = s->user;
    return 0;
}

void
causeway_on_resize(struct causeway_volume *v, void (*fn)(void *user, uint64_t size_bytes),
                   void *user)
{
    struct resize_set s = { v, fn, user };

    if (cw_engine_is_reactor(v->c->engine))
        resize_set(&s);
    else
        cw_engine_run(v->c->engine, resize_set, &s);
}

/* ---- the bounded queue ---- */

static bool
queue_try(struct causeway *c)
{
    if (atomic_fetch_add(&c->n_queued, 1) < QUEUE_MAX)
        return true;
    atomic_fetch_sub(&c->n_queued, 1);
    return false;
}

static void
queue_enter(struct causeway *c)
{
    if (queue_try(c))
        return;
    pthread_mutex_lock(&c->lock);
    c->n_waiting++;
    while (!queue_try(c))
        pthread_cond_wait(&c->room, &c->lock);
    c->n_waiting--;
    pthread_mutex_unlock(&c->lock);
}

static void
queue_leave(struct causeway *c)
{
    if (atomic_fetch_sub(&c->n_queued, 1) < QUEUE_MAX)
        return;
    pthread_mutex_lock(&c->lock);
    pthread_cond_broadcast(&c->room);
    pthread_mutex_unlock(&c->lock);
}

/* ---- requests ---- */

static void
req_done(struct lib_req *r, int res)
{
    struct causeway_volume *v = r->v;
    struct causeway_req *req = r->req;

    free(r);
    queue_leave(v->c);
    req->done(req, res);
    v->n_ios--;
    if (v->closing != NULL && v->n_ios == 0)
        cw_engine_close(v->vol, &v->closing->close);
}

static void
io_done(struct cw_io *io, int res)
{
    req_done(cw_container_of(io, struct lib_req, io), res);
}

static void
req_refused(struct cw_engine_task *t)
{
    struct lib_req *r = cw_container_of(t, struct lib_req, task);

    req_done(r, r->res);
}

/* On the library's thread. */
static void
req_begin(struct lib_req *r)
{
    r->v->n_ios++;
    if (r->res != 0) {
        r->task.fn = req_refused;
        cw_engine_post(r->v->c->engine, &r->task);
        return;
    }
    cw_engine_submit(r->v->vol, &r->io);
}

static void
req_arrived(struct cw_engine_task *t)
{
    req_begin(cw_container_of(t, struct lib_req, task));
}

static int
req_check(struct causeway_volume *v, const struct causeway_req *req)
{
    uint64_t size = atomic_load(&v->size);

    if ((int)req->op < CAUSEWAY_READ || req->op > CAUSEWAY_ZERO || req->done == NULL)
        return fail(-EINVAL, "volume %s: unknown operation, or no completion callback", v->name);
    if (req->op == CAUSEWAY_FLUSH)
        return 0;
    if (req->offset > size || req->len > size - req->offset)
        return fail(-EINVAL, "volume %s: %llu bytes at %llu are not within its %llu bytes", v->name,
                    (unsigned long long)req->len, (unsigned long long)req->offset,
                    (unsigned long long)size);
    if (req->op != CAUSEWAY_READ && req->op != CAUSEWAY_WRITE)
        return 0;
    if (req->len > REQ_BYTES_MAX || (req->buf == NULL && req->len > 0))
        return fail(-EINVAL, "volume %s: a request has at most 32 MiB, and a buffer", v->name);
    return 0;
}

static struct lib_req *
req_new(struct causeway_volume *v, struct causeway_req *req)
{
    static const enum cw_io_op op[] = {
        [CAUSEWAY_READ] = CW_IO_READ,   [CAUSEWAY_WRITE] = CW_IO_WRITE,
        [CAUSEWAY_FLUSH] = CW_IO_FLUSH, [CAUSEWAY_TRIM] = CW_IO_TRIM,
        [CAUSEWAY_ZERO] = CW_IO_ZERO,
    };
    struct lib_req *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return NULL;
    r->task.fn = req_arrived;
    r->v = v;
    r->req = req;
    r->iov = (struct iovec){ .iov_base = req->buf, .iov_len = req->len };
    r->io.op = op[req->op];
    r->io.off = req->offset;
    r->io.len = req->len;
    r->io.iov = &r->iov;
    r->io.n_iov = 1;
    r->io.done = io_done;
    if (req->op == CAUSEWAY_FLUSH || req->len == 0) { /* nothing to move, but an order to keep */
        r->io.op = CW_IO_FLUSH;
        r->io.off = r->io.len = 0;
    }
    if (v->readonly && req->op != CAUSEWAY_READ && req->op != CAUSEWAY_FLUSH)
        r->res = -EROFS;
    return r;
}

int
causeway_submit(struct causeway_volume *v, struct causeway_req *req)
{
    bool own_thread = cw_engine_is_reactor(v->c->engine);
    int res = req_check(v, req);
    struct lib_req *r;

    if (res != 0)
        return res;
    if (own_thread && !queue_try(v->c))
        return fail(-EAGAIN, "volume %s: %d requests are under way", v->name, QUEUE_MAX);
    if (!own_thread)
        queue_enter(v->c);
    r = req_new(v, req);
    if (r == NULL) {
        queue_leave(v->c);
        return fail(-ENOMEM, "out of memory");
    }
    if (own_thread)
        req_begin(r);
    else
        cw_engine_post(v->c->engine, &r->task);
    return 0;
}

/* ---- synchronous forms ---- */

struct sync_req {
    struct causeway_req req;
    struct waiter waiter;
};

static void
sync_done(struct causeway_req *req, int res)
{
    waiter_done(&cw_container_of(req, struct sync_req, req)->waiter, res);
}

static int
sync_one(struct causeway_volume *v, enum causeway_op op, void *buf, uint64_t len, uint64_t offset)
{
    struct sync_req s = {
        .req = { .op = op, .buf = buf, .offset = offset, .len = len, .done = sync_done },
    };
    int res;

    if (cw_engine_is_reactor(v->c->engine))
        return fail(-EDEADLK, "volume %s: the library's thread may not wait for itself", v->name);
    waiter_init(&s.waiter);
    res = causeway_submit(v, &s.req);
    if (res != 0)
        return res;
    res = waiter_wait(&s.waiter);
    if (res != 0)
        return fail(res, "volume %s: %llu bytes at %llu: %s", v->name, (unsigned long long)len,
                    (unsigned long long)offset, strerror(-res));
    return 0;
}

static int
sync_all(struct causeway_volume *v, enum causeway_op op, void *buf, size_t len, uint64_t offset)
{
    uint8_t *at = buf;
    int res;

    do {
        size_t n = len < REQ_BYTES_MAX ? len : REQ_BYTES_MAX;

        res = sync_one(v, op, at, n, offset);
        at += n;
        offset += n;
        len -= n;
    } while (res == 0 && len > 0);
    return res;
}

int
causeway_pread(struct causeway_volume *v, void *buf, size_t len, uint64_t offset)
{
    return sync_all(v, CAUSEWAY_READ, buf, len, offset);
}

int
causeway_pwrite(struct causeway_volume *v, const void *buf, size_t len, uint64_t offset)
{
    return sync_all(v, CAUSEWAY_WRITE, (void *)(uintptr_t)buf, len, offset);
}

int
causeway_flush(struct causeway_volume *v)
{
    return sync_one(v, CAUSEWAY_FLUSH, NULL, 0, 0);
}

int
causeway_trim(struct causeway_volume *v, uint64_t offset, uint64_t len)
{
    return sync_one(v, CAUSEWAY_TRIM, NULL, len, offset);
}

int
causeway_zero(struct causeway_volume *v, uint64_t offset, uint64_t len)
{
    return sync_one(v, CAUSEWAY_ZERO, NULL, len, offset);
}
