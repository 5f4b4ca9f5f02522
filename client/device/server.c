#include "client/device/server.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "client/device/fuse.h"
#include "common/base/bits.h"
#include "common/owner/owner.h"
#include "common/reactor/fdwatch.h"
#include "common/reactor/reactor.h"

#define FIRST_RETRY_MS 10000 /* VOLUME_IN_USE when a device is made */
#define AGAIN_RETRY_MS 60000 /* .. when its requests wait already */

enum device_state { DEVICE_OPENING, DEVICE_SERVING, DEVICE_CLOSING, DEVICE_CLOSED };

/* Of a slot in use. */
struct device_req {
    struct cw_device_server *server;
    struct cw_list link; /* server->waiting */
    struct cw_fuse_todo todo;
    struct cw_io io;
    struct cw_buf *buf; /* READ: where iov points; WRITE: until it is submitted */
    struct iovec iov;
    uint32_t held_bytes;
};

struct cw_device_server {
    struct cw_device_server_opts opts;
    char volume[CW_ENGINE_NAME_SIZE];
    struct cw_reactor *reactor;
    struct cw_buf_pool *pool;
    struct cw_slots slots;
    struct cw_slots_past past;
    struct cw_fuse_disk disk;
    enum device_state state;
    struct cw_engine_volume *vol; /* SERVING; NULL then: it was not opened, errors are served */
    struct cw_engine_open open;
    struct cw_engine_close close;
    struct cw_fdwatch *watch;
    bool armed, unmounted;
    struct cw_list waiting; /* requests for whose data there is no memory now */
    struct cw_hook hook;
    uint64_t held_bytes, window_bytes;
    uint32_t n_free, free[CW_SLOTS_N]; /* slots, as a stack */
    bool stopping, clean, told;
    struct cw_defer start_work, stop_work;
    void (*stopped)(void *user, bool clean);
    void *user;
    struct device_req reqs[CW_SLOTS_N]; /* by slot */
};

static struct cw_env *
env_of(const struct cw_device_server *s)
{
    return cw_reactor_env(s->reactor);
}

static void server_check(struct cw_device_server *s);

/* ---- answers ---- */

static uint32_t
slot_of(const struct device_req *r)
{
    return (uint32_t)(r - r->server->reqs);
}

/* ENOENT: the kernel does not wait for it any more, or a predecessor was killed between answer and
 * clearing. */
static void
req_answer(struct device_req *r, int error, const void *data, size_t len)
{
    struct cw_device_server *s = r->server;
    struct fuse_out_header h = { .len = (uint32_t)(sizeof(h) + len),
                                 .error = error,
                                 .unique = r->todo.unique };
    struct iovec iov[2] = {
        { .iov_base = &h, .iov_len = sizeof(h) },
        { .iov_base = (void *)(uintptr_t)data, .iov_len = len },
    };

    if (writev(cw_fdwatch_fd(s->watch), iov, len > 0 ? 2 : 1) < 0 && errno != ENOENT &&
        errno != ENODEV)
        cw_log(env_of(s), CW_LOG_ERROR, "volume %s: the kernel does not take an answer: %s",
               s->volume, strerror(errno));
}

static void
req_free(struct device_req *r)
{
    struct cw_device_server *s = r->server;

    cw_buf_unref(r->buf);
    r->buf = NULL;
    s->held_bytes -= r->held_bytes;
    r->held_bytes = 0;
    cw_slots_clear(&s->slots, slot_of(r));
    s->free[s->n_free++] = slot_of(r);
}

/* What the owner says, as a block device's user understands it. */
static int
error_of(int res)
{
    return res == -ENOSPC || res == -EROFS || res == 0 ? res : -EIO;
}

static void
on_done(struct cw_io *io, int res)
{
    struct device_req *r = cw_container_of(io, struct device_req, io);
    struct cw_device_server *s = r->server;
    const uint8_t *data = r->todo.answer;
    size_t len = r->todo.answer_len;

    if (io->op == CW_IO_READ) {
        len = r->todo.len;
        data = r->buf->data;
        if (io->buf != NULL) { /* it is in the buffer that it came in */
            cw_buf_unref(r->buf);
            r->buf = io->buf;
            data = io->buf->data + io->buf_off;
        }
    }
    res = error_of(res);
    req_answer(r, res, data, res == 0 ? len : 0);
    req_free(r);
    server_check(s);
}

/* ---- requests ---- */

static bool
req_buffer(struct device_req *r)
{
    struct cw_device_server *s = r->server;
    uint32_t len = (uint32_t)r->todo.len;

    if (s->held_bytes > 0 && s->held_bytes + len > s->window_bytes)
        return false;
    r->buf = cw_buf_get(s->pool, len);
    if (r->buf == NULL)
        return false;
    r->held_bytes = len;
    s->held_bytes += len;
    return true;
}

/* False: there is no memory for its data now. */
static bool
req_submit(struct device_req *r)
{
    const struct cw_fuse_todo *t = &r->todo;
    bool data = t->op == CW_IO_READ || t->op == CW_IO_WRITE;

    if (data && !req_buffer(r))
        return false;
    r->io = (struct cw_io){ .op = t->op, .off = t->off, .len = t->len, .done = on_done };
    if (t->op == CW_IO_READ) {
        r->iov = (struct iovec){ .iov_base = r->buf->data, .iov_len = t->len };
        r->io.iov = &r->iov;
        r->io.n_iov = 1;
        r->io.flags = CW_IO_TAKE_BUF;
    } else if (t->op == CW_IO_WRITE) {
        memcpy(r->buf->data, t->data, t->len);
        r->io.buf = r->buf; /* the reference goes with it */
        r->buf = NULL;
    }
    cw_engine_submit(r->server->vol, &r->io);
    return true;
}

/* len bytes lie in the slot, which is in use. */
static void
slot_take(struct cw_device_server *s, uint32_t slot, size_t len)
{
    struct device_req *r = &s->reqs[slot];

    cw_fuse_decode(&s->disk, cw_slots_at(&s->slots, slot), len, &r->todo);
    switch (r->todo.kind) {
    case CW_FUSE_ANSWER:
        req_answer(r, r->todo.error, r->todo.answer, r->todo.error == 0 ? r->todo.answer_len : 0);
        req_free(r);
        return;
    case CW_FUSE_DROP:
        req_free(r);
        return;
    case CW_FUSE_IO:
        if (!cw_list_empty(&s->waiting) || !req_submit(r))
            cw_list_push_back(&s->waiting, &r->link);
        return;
    }
    cw_unreachable();
}

static void
server_arm(struct cw_device_server *s)
{
    if (s->armed || s->unmounted || s->stopping || s->state != DEVICE_SERVING || s->n_free == 0 ||
        !cw_list_empty(&s->waiting))
        return;
    s->armed = true;
    cw_fdwatch_arm(s->watch);
}

/* ENODEV: the mount is gone, and so is everything that it wanted. EPERM: there is none yet. */
static void
server_read_failed(struct cw_device_server *s, int error)
{
    if (error == EAGAIN || error == EINTR || error == ENOENT)
        return;
    s->unmounted = true;
    if (error != ENODEV)
        cw_log(env_of(s), CW_LOG_ERROR, "volume %s: the kernel's requests cannot be read: %s",
               s->volume, strerror(error));
}

static void
on_readable(void *user)
{
    struct cw_device_server *s = user;

    s->armed = false;
    while (s->n_free > 0 && cw_list_empty(&s->waiting) && !s->stopping) {
        uint32_t slot = s->free[s->n_free - 1];
        ssize_t n =
            read(cw_fdwatch_fd(s->watch), cw_slots_at(&s->slots, slot), CW_FUSE_REQUEST_MAX);

        if (n < 0) {
            server_read_failed(s, errno);
            break;
        }
        s->n_free--;
        slot_take(s, slot, (size_t)n);
    }
    server_arm(s);
}

static void
server_turn(struct cw_hook *h)
{
    struct cw_device_server *s = cw_container_of(h, struct cw_device_server, hook);
    struct device_req *r;

    while ((r = cw_list_first(&s->waiting, struct device_req, link)) != NULL) {
        if (s->vol == NULL || s->disk.failed) {
            cw_list_remove(&r->link);
            req_answer(r, -EIO, NULL, 0);
            req_free(r);
        } else if (req_submit(r)) {
            cw_list_remove(&r->link);
        } else {
            return;
        }
    }
    server_arm(s);
    server_check(s);
}

/* ---- the volume ---- */

static void
on_resize(void *user, uint64_t size_bytes)
{
    struct cw_device_server *s = user;

    s->disk.size_bytes = s->past.size_bytes = size_bytes;
    cw_slots_set_past(&s->slots, &s->past);
    cw_log(env_of(s), CW_LOG_NOTICE, "volume %s: now has %llu bytes", s->volume,
           (unsigned long long)size_bytes);
    if (s->state == DEVICE_SERVING)
        s->opts.resized(s->opts.user, size_bytes);
}

static void
server_fence(struct cw_device_server *s, const char *why)
{
    if (s->disk.failed)
        return;
    s->disk.failed = true;
    s->past.fenced = true;
    cw_slots_set_past(&s->slots, &s->past);
    cw_log(env_of(s), CW_LOG_ERROR, "volume %s: every request fails: %s", s->volume, why);
    s->opts.fenced(s->opts.user, why);
}

static void
on_fenced(void *user, const char *why)
{
    struct cw_device_server *s = user;

    if (s->state == DEVICE_SERVING)
        server_fence(s, why);
}

static const struct cw_engine_volume_events volume_events = {
    .on_resize = on_resize,
    .on_fenced = on_fenced,
};

/* What a predecessor took first, then what the kernel has. */
static void
server_start(struct cw_device_server *s)
{
    uint32_t left[CW_SLOTS_N], n = cw_slots_left(&s->slots, left);

    s->state = DEVICE_SERVING;
    s->n_free = 0;
    for (uint32_t i = CW_SLOTS_N; i-- > 0;) {
        if (cw_slots_unique(&s->slots, i) == 0)
            s->free[s->n_free++] = i;
    }
    for (uint32_t i = 0; i < n; i++)
        slot_take(s, left[i], CW_FUSE_REQUEST_MAX);
    s->opts.serving(s->opts.user, s->disk.size_bytes, n);
    server_arm(s);
}

static void
gen_check(struct cw_device_server *s, uint32_t gen)
{
    char why[CW_DEVICE_WHY_SIZE];

    if (!cw_slots_gen_fits(&s->past, gen)) {
        snprintf(why, sizeof(why),
                 "somebody else had the volume while its back end was away (generation %u, it was "
                 "%u here); unmount what is mounted of the device, detach and attach again",
                 gen, s->past.gen);
        server_fence(s, why);
        return;
    }
    s->past.gen = gen;
    s->past.tries = 0;
    cw_slots_set_past(&s->slots, &s->past);
}

static void
open_done(struct cw_engine_open *o, int res, struct cw_engine_volume *v, const char *error)
{
    struct cw_device_server *s = cw_container_of(o, struct cw_device_server, open);

    if (res == -ENOENT && s->past.gen != 0 && !s->stopping) {
        server_fence(s, error); /* it was removed, and nobody else may have what waits for it */
        server_start(s);
        return;
    }
    if (res != 0) {
        char why[CW_DEVICE_WHY_SIZE];

        snprintf(why, sizeof(why), "%s%s", res == -EBUSY ? "VOLUME_IN_USE: " : "", error);
        s->state = DEVICE_CLOSED;
        if (!s->stopping)
            s->opts.failed(s->opts.user, why);
        server_check(s);
        return;
    }
    s->vol = v;
    s->disk.size_bytes = s->past.size_bytes = cw_engine_volume_size(v);
    gen_check(s, cw_engine_volume_gen(v));
    server_start(s);
    server_check(s);
}

static void
volume_open(struct cw_device_server *s)
{
    bool again = s->past.gen != 0;

    s->past.tries++;
    cw_slots_set_past(&s->slots, &s->past);
    s->open = (struct cw_engine_open){
        .volume = s->volume,
        .force = s->opts.force && !again,
        .retry_ms = again ? AGAIN_RETRY_MS : FIRST_RETRY_MS,
        .timeout_ms = again ? 2 * AGAIN_RETRY_MS : 0,
        .ev = &volume_events,
        .user = s,
        .done = open_done,
    };
    cw_engine_open(s->opts.engine, &s->open);
}

/* ---- the end ---- */

static void
close_done(struct cw_engine_close *c, int res)
{
    struct cw_device_server *s = cw_container_of(c, struct cw_device_server, close);

    if (res != 0 && res != -ESHUTDOWN) /* who was fenced has nothing to release */
        s->clean = false;
    s->state = DEVICE_CLOSED;
    server_check(s);
}

static void
tell_stopped(struct cw_defer *d)
{
    struct cw_device_server *s = cw_container_of(d, struct cw_device_server, stop_work);

    s->stopped(s->user, s->clean);
}

static void
server_check(struct cw_device_server *s)
{
    if (!s->stopping || s->told)
        return;
    if (s->state == DEVICE_SERVING && s->n_free == CW_SLOTS_N) {
        s->state = DEVICE_CLOSING;
        if (s->vol != NULL) {
            s->close = (struct cw_engine_close){ .done = close_done };
            cw_engine_close(s->vol, &s->close);
            s->vol = NULL;
        } else {
            s->state = DEVICE_CLOSED;
        }
    }
    if (s->state != DEVICE_CLOSED)
        return;
    s->told = true;
    cw_reactor_defer(s->reactor, &s->stop_work);
}

void
cw_device_server_stop(struct cw_device_server *s, void (*stopped)(void *user, bool clean),
                      void *user)
{
    cw_assert(!s->stopping);
    s->stopping = true;
    s->stopped = stopped;
    s->user = user;
    s->stop_work.fn = tell_stopped;
    if (s->state == DEVICE_OPENING && !s->start_work.queued)
        cw_engine_open_cancel(&s->open);
    server_check(s);
}

void
cw_device_server_free(struct cw_device_server *s)
{
    if (s == NULL)
        return;
    cw_assert(s->state == DEVICE_CLOSED);
    cw_reactor_hook_remove(s->reactor, &s->hook);
    cw_fdwatch_close(s->watch);
    cw_slots_unmap(&s->slots);
    free(s);
}

/* ---- the beginning ---- */

/* It was fenced before: there is no volume to wait for. */
static void
start_failed(struct cw_defer *d)
{
    struct cw_device_server *s = cw_container_of(d, struct cw_device_server, start_work);

    server_start(s);
    server_check(s);
}

int
cw_device_server_new(const struct cw_device_server_opts *opts, struct cw_device_server **ret_s,
                     char why[static CW_DEVICE_WHY_SIZE])
{
    struct cw_device_server *s = calloc(1, sizeof(*s));
    int res;

    if (s == NULL) {
        snprintf(why, CW_DEVICE_WHY_SIZE, "%s", strerror(ENOMEM));
        return -ENOMEM;
    }
    res = cw_slots_map(opts->slots_fd, &s->slots, why);
    if (res != 0) {
        free(s);
        return res;
    }
    s->opts = *opts;
    s->reactor = cw_engine_reactor(opts->engine);
    s->pool = cw_engine_pool(opts->engine);
    s->window_bytes = cw_buf_pool_limit(s->pool) / 2; /* the rest is for what replicas send */
    snprintf(s->volume, sizeof(s->volume), "%s", opts->volume);
    s->clean = true;
    cw_list_init(&s->waiting);
    for (uint32_t i = 0; i < CW_SLOTS_N; i++)
        s->reqs[i].server = s;
    cw_slots_past(&s->slots, &s->past);
    s->disk = (struct cw_fuse_disk){ .size_bytes = s->past.size_bytes,
                                     .depth = CW_SLOTS_N,
                                     .read_only = opts->read_only,
                                     .failed = s->past.fenced };
    s->watch = cw_fdwatch_new(s->reactor, opts->take_fuse_fd, on_readable, s);
    if (s->watch == NULL) {
        cw_slots_unmap(&s->slots);
        free(s);
        snprintf(why, CW_DEVICE_WHY_SIZE, "%s", strerror(ENOMEM));
        return -ENOMEM;
    }
    s->hook = (struct cw_hook){ .fn = server_turn, .order = CW_HOOK_LAST };
    cw_reactor_hook_add(s->reactor, &s->hook);
    s->start_work.fn = start_failed;
    if (s->past.fenced)
        cw_reactor_defer(s->reactor, &s->start_work);
    else
        volume_open(s);
    *ret_s = s;
    return 0;
}
