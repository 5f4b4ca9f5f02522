/* lib/standby.c - a volume that another client owns and is allowed to hand over.
 *
 *   STANDING --a request that is no read, a read that the owner does not answer,
 *     cw_engine_take--> TAKING --ours, taken over--> OURS
 *                                                             \--it cannot be had--> LOST
 *
 * OURS: the volume is OPEN and we are out of the way, but for reads that are under way here. LOST:
 * every request fails.
 *
 * Who stands by has no generation, so no copy may answer it: what it reads is what the owner reads,
 * a quarter of a MiB at a time by way of the manager. That is for the look that a hypervisor takes
 * at a disk before it runs the guest, not for work. While the volume is being taken requests wait.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/volume-internal.h"

#define AGAIN_NS (300 * CW_NS_PER_MS)
#define READ_TRIES 10u
#define READ_MS 5000
#define TAKE_RETRY_MS 5000

enum standby_state { STANDBY_STANDING, STANDBY_TAKING, STANDBY_OURS, STANDBY_LOST };

struct standby {
    struct cw_engine_volume *v;
    enum standby_state state;
    uint64_t id, size;
    struct cw_engine_open open; /* TAKING */
    struct cw_list reads;       /* struct standby_read: under way */
    struct cw_list held;        /* ios: TAKING */
    struct cw_list failed;      /* ios */
    struct cw_defer work;       /* failed, or closing */
    bool closing;
};

/* One read of the user's, part by part. */
struct standby_read {
    struct cw_list link;
    struct standby *b;
    struct cw_io *io;
    uint64_t at; /* bytes done */
    uint32_t n_tries;
    struct cw_timer again;
};

static struct cw_env *
env_of(const struct standby *b)
{
    return cw_reactor_env(b->v->engine->reactor);
}

/* ---- ends ---- */

static void
standby_look(struct standby *b)
{
    if (!cw_list_empty(&b->failed) || b->closing)
        cw_reactor_defer(b->v->engine->reactor, &b->work);
}

static void
standby_fail(struct standby *b, struct cw_io *io, int res)
{
    io->res = res;
    cw_list_push_back(&b->failed, &io->link);
    standby_look(b);
}

static void
fail_all(struct standby *b, struct cw_list *ios, int res)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(ios)) != NULL)
        standby_fail(b, cw_list_entry(node, struct cw_io, link), res);
}

static void
standby_work(struct cw_defer *w)
{
    struct standby *b = cw_container_of(w, struct standby, work);
    struct cw_list *node, now;

    cw_list_init(&now);
    cw_list_splice_back(&now, &b->failed);
    while ((node = cw_list_pop_front(&now)) != NULL) {
        struct cw_io *io = cw_list_entry(node, struct cw_io, link);

        io->done(io, io->res);
    }
    if (b->closing && b->state != STANDBY_TAKING && cw_list_empty(&b->reads) &&
        cw_list_empty(&b->failed))
        volume_closed(b->v, b->state == STANDBY_LOST ? -ESHUTDOWN : 0);
}

/* ---- reads ---- */

static void read_next(struct standby_read *r);

static void
read_end(struct standby_read *r, int res)
{
    struct standby *b = r->b;

    cw_timer_cancel(env_of(b), &r->again);
    cw_list_remove(&r->link);
    standby_fail(b, r->io, res); /* or not failed: told from the same place */
    free(r);
}

static void
copy_out(const struct cw_io *io, uint64_t at, const uint8_t *data, uint32_t len)
{
    for (uint32_t i = 0; i < io->n_iov && len > 0; i++) {
        uint64_t n = io->iov[i].iov_len;

        if (at >= n) {
            at -= n;
            continue;
        }
        n = cw_min_u64(n - at, len);
        if (data != NULL)
            memcpy((uint8_t *)io->iov[i].iov_base + at, data, n);
        else
            memset((uint8_t *)io->iov[i].iov_base + at, 0, n);
        data = data != NULL ? data + n : NULL;
        len -= (uint32_t)n;
        at = 0;
    }
}

/* Not asked of the owner any more. */
static struct cw_io *
read_take(struct standby_read *r)
{
    struct cw_io *io = r->io;

    cw_timer_cancel(env_of(r->b), &r->again);
    cw_list_remove(&r->link);
    free(r);
    return io;
}

/* The owner is about to let go, or the manager is away. Or it is ours by now. */
static void
read_failed(struct standby_read *r, int res)
{
    struct standby *b = r->b;

    if (b->state == STANDBY_TAKING) {
        cw_list_push_back(&b->held, &read_take(r)->link);
    } else if (b->state == STANDBY_OURS) {
        cw_engine_submit(b->v, read_take(r));
    } else if (b->state == STANDBY_LOST || b->closing) {
        read_end(r, -ESHUTDOWN);
    } else if (res != -ETIMEDOUT || ++r->n_tries == READ_TRIES) { /* it has gone, or may not */
        cw_list_push_back(&b->held, &read_take(r)->link);
        standby_take(b);
    } else {
        cw_timer_set(env_of(b), &r->again, cw_now_ns(env_of(b)) + AGAIN_NS);
    }
}

static void
read_done(struct cw_ctl_call *call)
{
    struct standby_read *r = call->user;

    if (r->b == NULL) { /* the volume is gone, and the request was answered */
        free(r);
    } else if (call->res == 0) {
        copy_out(r->io, r->at, call->data, call->len);
        r->at += call->len;
        if (r->at == r->io->len)
            read_end(r, 0);
        else
            read_next(r);
    } else {
        cw_log(env_of(r->b), CW_LOG_NOTICE, "volume %s, standing by: %s", r->b->v->name,
               call->error);
        read_failed(r, call->res);
    }
    free(call->data);
    free(call);
}

static void
read_next(struct standby_read *r)
{
    struct standby *b = r->b;
    struct cw_ctl_call *call = engine_ask_new(b->v->engine, CW_CTL_READ, read_done, r);

    if (call == NULL) {
        read_failed(r, -ETIMEDOUT);
        return;
    }
    call->timeout_ms = READ_MS;
    call->volume = b->id;
    call->off = r->io->off + r->at;
    call->len = (uint32_t)cw_min_u64(r->io->len - r->at, CW_CTL_READ_MAX);
    cw_control_call(b->v->engine->control, call);
}

static void
read_again(struct cw_timer *t)
{
    struct standby_read *r = cw_container_of(t, struct standby_read, again);

    if (r->b->state == STANDBY_STANDING)
        read_next(r);
    else
        read_failed(r, -ETIMEDOUT);
}

static void
standby_read(struct standby *b, struct cw_io *io)
{
    struct standby_read *r = calloc(1, sizeof(*r));

    if (r == NULL) {
        standby_fail(b, io, -EIO);
        return;
    }
    r->b = b;
    r->io = io;
    r->again.fn = read_again;
    cw_list_push_back(&b->reads, &r->link);
    io->buf = NULL;
    read_next(r);
}

/* ---- taking ---- */

static void
take_done(struct cw_engine_open *o, int res, struct cw_engine_volume *v, const char *error)
{
    struct standby *b = cw_container_of(o, struct standby, open);
    struct cw_list *node;

    if (res != 0) {
        b->state = STANDBY_LOST;
        fail_all(b, &b->held, -ESHUTDOWN);
        standby_look(b);
        if (!b->closing)
            cw_log(env_of(b), CW_LOG_WARNING, "volume %s, standing by, was not taken: %s", v->name,
                   error);
        if (!b->closing && v->ev->on_fenced != NULL)
            v->ev->on_fenced(v->user, error);
        return;
    }
    cw_log(env_of(b), CW_LOG_NOTICE, "volume %s: handed over to us", v->name);
    b->state = STANDBY_OURS;
    CW_LIST_EACH_SAFE (it, &b->reads) { /* the others are asked for as soon as they are answered */
        struct standby_read *r = cw_list_entry(it, struct standby_read, link);

        if (cw_timer_armed(&r->again))
            cw_engine_submit(v, read_take(r));
    }
    while ((node = cw_list_pop_front(&b->held)) != NULL)
        cw_engine_submit(v, cw_list_entry(node, struct cw_io, link));
    if (cw_engine_volume_size(v) != b->size && v->ev->on_resize != NULL)
        v->ev->on_resize(v->user, cw_engine_volume_size(v));
}

void
standby_take(struct standby *b)
{
    if (b->state != STANDBY_STANDING || b->closing)
        return;
    b->state = STANDBY_TAKING;
    b->open = (struct cw_engine_open){
        .volume = b->v->name, .take = true, .retry_ms = TAKE_RETRY_MS, .done = take_done
    };
    b->v->open = &b->open;
    b->open.priv = b->v;
    b->v->begun_ns = cw_now_ns(env_of(b));
    cw_log(env_of(b), CW_LOG_NOTICE, "volume %s: asking its owner to hand it over", b->v->name);
    volume_attach(b->v);
}

void
standby_submit(struct standby *b, struct cw_io *io)
{
    if (b->state == STANDBY_LOST) {
        standby_fail(b, io, -ESHUTDOWN);
    } else if (io->op == CW_IO_READ && b->state == STANDBY_STANDING) {
        if (io->len == 0 || io->off > b->size || io->len > b->size - io->off)
            standby_fail(b, io, -EINVAL);
        else
            standby_read(b, io);
    } else {
        cw_list_push_back(&b->held, &io->link);
        standby_take(b);
    }
}

/* ---- life ---- */

struct standby *
standby_new(struct cw_engine_volume *v, const struct cw_volume_desc *desc)
{
    struct standby *b = calloc(1, sizeof(*b));

    if (b == NULL)
        return NULL;
    b->v = v;
    b->id = desc->id;
    b->size = desc->size_bytes;
    b->work.fn = standby_work;
    cw_list_init(&b->reads);
    cw_list_init(&b->held);
    cw_list_init(&b->failed);
    return b;
}

void
standby_close(struct standby *b)
{
    b->closing = true;
    if (b->state == STANDBY_TAKING)
        cw_engine_open_cancel(&b->open);
    standby_look(b);
}

uint64_t
standby_size(const struct standby *b)
{
    return b->size;
}

void
standby_free(struct standby *b)
{
    struct cw_list *node;

    if (b == NULL)
        return;
    cw_assert(cw_list_empty(&b->held));
    cw_reactor_defer_cancel(b->v->engine->reactor, &b->work);
    CW_LIST_EACH_SAFE (it, &b->reads) {
        struct standby_read *r = cw_list_entry(it, struct standby_read, link);
        bool asked = !cw_timer_armed(&r->again);

        cw_timer_cancel(env_of(b), &r->again);
        cw_list_remove(&r->link);
        r->io->res = -ESHUTDOWN;
        cw_list_push_back(&b->failed, &r->io->link);
        r->b = NULL;
        if (!asked)
            free(r);
    }
    while ((node = cw_list_pop_front(&b->failed)) != NULL) {
        struct cw_io *io = cw_list_entry(node, struct cw_io, link);

        io->done(io, io->res);
    }
    free(b);
}

/* ---- the owner's side ---- */

struct owner_read {
    struct cw_list link;
    struct cw_engine_volume *v;
    struct cw_ctl_event *ev;
    struct cw_io io;
    struct iovec iov;
};

static bool
is_zero(const uint8_t *data, size_t n)
{
    return data[0] == 0 && memcmp(data, data + 1, n - 1) == 0;
}

static void
owner_read_end(struct owner_read *r, int res)
{
    struct cw_ctl_event *ev = r->ev;

    if (res == 0 && is_zero(ev->data, ev->len)) {
        free(ev->data);
        ev->data = NULL;
    }
    cw_list_remove(&r->link);
    cw_control_answer(r->v->engine->control, ev, res == -ESHUTDOWN ? -EBUSY : res);
    free(r);
}

static void
owner_read_done(struct cw_io *io, int res)
{
    owner_read_end(cw_container_of(io, struct owner_read, io), res);
}

void
owner_read(struct cw_engine_volume *v, struct cw_ctl_event *take_ev)
{
    struct owner_read *r = calloc(1, sizeof(*r));

    take_ev->data = r != NULL ? malloc(take_ev->len) : NULL;
    if (take_ev->data == NULL) {
        free(r);
        cw_control_answer(v->engine->control, take_ev, -EBUSY);
        return;
    }
    r->v = v;
    r->ev = take_ev;
    r->iov = (struct iovec){ take_ev->data, take_ev->len };
    r->io = (struct cw_io){ .op = CW_IO_READ,
                            .off = take_ev->off,
                            .len = take_ev->len,
                            .iov = &r->iov,
                            .n_iov = 1,
                            .done = owner_read_done };
    cw_list_push_back(&v->reads, &r->link);
    cw_engine_submit(v, &r->io);
}

void
owner_reads_drop(struct cw_engine_volume *v)
{
    CW_LIST_EACH_SAFE (it, &v->reads)
        owner_read_end(cw_list_entry(it, struct owner_read, link), -ENOENT);
}
