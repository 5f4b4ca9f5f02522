/* lib/volume.c - a volume of the engine: attach, takeover, serve, release.
 *
 *   ATTACHING -granted-> OPENING -takeover done-> OPEN -close-> CLOSING -> freed
 *      \-- in use, no answer: again until retry_ms is over
 *
 * In use, but to be handed over: STANDBY (standby.c), and from there once more the same way to
 * OPEN.
 *
 * An OPEN volume may be fenced, or handed over when the manager asks (LET_GO): it stays OPEN, every
 * request fails, and it is not attached again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/lib/plain.h"
#include "client/lib/volume-internal.h"

#define ATTACH_MS 5000
#define AGAIN_NS (300 * CW_NS_PER_MS)
#define OPEN_MS 60000
#define OPEN_COLD_MS 180000
#define CLOSE_MS 10000
#define STANDBY_MS 3000
#define TAKE_MS 12000              /* the owner lets go, or the manager has given it up */
#define DRAIN_NS (5 * CW_NS_PER_S) /* an eject takes three */

static const struct cw_engine_volume_events no_events;

static struct cw_env *
env_of(const struct cw_engine_volume *v)
{
    return cw_reactor_env(v->engine->reactor);
}

static void
let_go_answer(struct cw_engine_volume *v, int res)
{
    while (v->n_let_go > 0)
        cw_control_answer(v->engine->control, v->let_go[--v->n_let_go], res);
}

static void
volume_free(struct cw_engine_volume *v)
{
    let_go_answer(v, -ENOENT);
    if (v->resize != NULL)
        cw_control_answer(v->engine->control, v->resize, -ENOENT);
    cw_timer_cancel(env_of(v), &v->timer);
    cw_list_remove(&v->link);
    if (v->vol != NULL)
        cw_volume_free(v->vol);
    owner_reads_drop(v);
    standby_free(v->standby);
    free(v);
}

/* ---- opening ---- */

/* A volume that stands by stays when it is not to be had. */
static void
open_undo(struct cw_engine_volume *v)
{
    if (v->standby == NULL) {
        volume_free(v);
        return;
    }
    if (v->vol != NULL)
        cw_volume_free(v->vol);
    v->vol = NULL;
    v->state = VOLUME_STANDBY;
}

static void
open_end(struct cw_engine_volume *v, int res, const char *error)
{
    struct cw_engine_open *o = v->open;
    bool stays = res == 0 || v->standby != NULL;

    v->open = NULL;
    o->priv = NULL;
    if (res != 0)
        open_undo(v);
    o->done(o, res, stays ? v : NULL, error);
}

static void
open_fail(struct cw_engine_volume *v, int res, const char *text)
{
    char error[CW_ENGINE_ERROR_SIZE];

    if (strstr(text, v->name) != NULL)
        snprintf(error, sizeof(error), "%s", text);
    else
        snprintf(error, sizeof(error), "volume %s: %.170s", v->name, text);
    open_end(v, res, error);
}

static void
on_ready(struct cw_volume *vol, void *user)
{
    struct cw_engine_volume *v = user;

    v->state = VOLUME_OPEN;
    open_end(v, 0, "");
}

static void
on_open_failed(struct cw_volume *vol, void *user, int res, const char *text)
{
    struct cw_engine_volume *v = user;

    if (v->open == NULL) /* cancelled: the release's answer comes */
        return;
    if (res == -ESHUTDOWN)
        open_fail(v, -EBUSY, "VOLUME_IN_USE: another client took it over meanwhile; try again");
    else
        open_fail(v, res, text);
}

static void
on_fenced(struct cw_volume *vol, void *user)
{
    struct cw_engine_volume *v = user;

    cw_log(env_of(v), CW_LOG_WARNING,
           "volume %s: another client took it over, this one may not write any more", v->name);
    if (v->state == VOLUME_OPEN && v->ev->on_fenced != NULL)
        v->ev->on_fenced(v->user, "another client took the volume over");
}

static void close_end(struct cw_engine_volume *v, int res);

/* To the user it is as if it were fenced. */
static void
handed_over(struct cw_engine_volume *v, bool clean)
{
    const char *why = clean ? "it was handed over to another client"
                            : "it was to be handed over, the manager did not confirm its release";

    cw_log(env_of(v), CW_LOG_NOTICE, "volume %s: %s", v->name, why);
    if (v->ev->on_fenced != NULL)
        v->ev->on_fenced(v->user, why);
}

static void
on_released(struct cw_volume *vol, void *user, bool clean)
{
    struct cw_engine_volume *v = user;

    let_go_answer(v, clean ? 0 : -EIO);
    if (v->state == VOLUME_OPEN)
        handed_over(v, clean);
    else if (v->state == VOLUME_CLOSING && clean)
        close_end(v, 0);
    else if (v->state == VOLUME_CLOSING)
        close_end(v, cw_volume_state(vol) == CW_VOLUME_FENCED ? -ESHUTDOWN : -ETIMEDOUT);
}

static void
on_kept(struct cw_volume *vol, void *user)
{
    struct cw_engine_volume *v = user;

    cw_log(env_of(v), CW_LOG_WARNING,
           "volume %s: not handed over: what was under way did not end in time", v->name);
    let_go_answer(v, -EBUSY);
}

static void
on_resized(struct cw_volume *vol, void *user, uint64_t size_bytes)
{
    struct cw_engine_volume *v = user;

    if (v->resize != NULL)
        cw_control_answer(v->engine->control, v->resize, 0);
    v->resize = NULL;
    if (v->state == VOLUME_OPEN && v->ev->on_resize != NULL)
        v->ev->on_resize(v->user, size_bytes);
}

static const struct cw_volume_events volume_events = {
    .on_ready = on_ready,
    .on_open_failed = on_open_failed,
    .on_fenced = on_fenced,
    .on_released = on_released,
    .on_kept = on_kept,
    .on_resized = on_resized,
};

static void
drop_call(struct cw_ctl_call *call)
{
    free(call);
}

/* Gives back a generation that we will not use, so that the next owner need not wait. */
static void
give_back(struct cw_engine *e, const struct cw_volume_desc *desc)
{
    struct cw_ctl_call *call = engine_ask_new(e, CW_CTL_RELEASE, drop_call, NULL);

    if (call == NULL)
        return;
    call->volume = desc->id;
    call->gen = desc->gen;
    cw_control_call(e->control, call);
}

static uint64_t
open_timeout_ns(const struct cw_engine_open *o, bool cold_start)
{
    uint64_t ms = o->timeout_ms != 0 ? o->timeout_ms : cold_start ? OPEN_COLD_MS : OPEN_MS;

    return ms * CW_NS_PER_MS;
}

static void
volume_granted(struct cw_engine_volume *v, struct cw_ctl_call *call)
{
    struct cw_engine *e = v->engine;
    struct cw_owner *o = engine_owner(e, call);
    struct cw_volume_opts opts = {
        .ev = &volume_events,
        .user = v,
        .open_timeout_ns = open_timeout_ns(v->open, call->vol->desc.cold_start),
    };

    v->state = VOLUME_OPENING;
    v->vol = o != NULL ? cw_volume_open(o, &call->vol->desc, &opts) : NULL;
    if (v->vol != NULL)
        return;
    give_back(e, &call->vol->desc);
    open_fail(v, -ENOMEM, "out of memory, or the manager sent records that make no sense");
}

static void
try_again(struct cw_timer *t)
{
    struct cw_engine_volume *v = cw_container_of(t, struct cw_engine_volume, timer);

    if (v->state == VOLUME_PAUSING)
        volume_attach(v);
    else if (v->state == VOLUME_CLOSING)
        close_end(v, -ETIMEDOUT);
}

static void
attach_again(struct cw_engine_volume *v, int res, const char *error)
{
    uint64_t now = cw_now_ns(env_of(v));
    bool may_pass = res == -EBUSY || res == -ETIMEDOUT;

    if (may_pass && now + AGAIN_NS < v->begun_ns + v->open->retry_ms * CW_NS_PER_MS) {
        v->state = VOLUME_PAUSING;
        cw_timer_set(env_of(v), &v->timer, now + AGAIN_NS);
        return;
    }
    open_fail(v, res, error);
}

static void
standby_done(struct cw_ctl_call *call)
{
    struct cw_engine_volume *v = call->user;

    if (v->cancelled) {
        open_fail(v, -ECANCELED, "cancelled");
    } else if (call->res != 0) {
        attach_again(v, -EBUSY, v->refusal);
    } else if ((v->standby = standby_new(v, &call->vol->desc)) == NULL) {
        open_fail(v, -ENOMEM, "out of memory");
    } else {
        v->state = VOLUME_STANDBY;
        cw_log(env_of(v), CW_LOG_NOTICE, "volume %s: standing by, another client owns it", v->name);
        open_end(v, 0, "");
    }
    free(call->vol);
    free(call);
}

/* May its owner be asked to hand it over? */
static void
attach_refused(struct cw_engine_volume *v, const struct cw_ctl_call *call)
{
    struct cw_ctl_call *ask = NULL;

    if (v->open->standby && call->res == -EBUSY)
        ask = engine_ask_new(v->engine, CW_CTL_ATTACH, standby_done, v);
    if (ask == NULL) {
        attach_again(v, call->res, call->error);
        return;
    }
    memcpy(v->refusal, call->error, sizeof(v->refusal));
    ask->timeout_ms = STANDBY_MS;
    ask->standby = true;
    memcpy(ask->name, v->name, sizeof(ask->name));
    cw_control_call(v->engine->control, ask);
}

static void
attach_done(struct cw_ctl_call *call)
{
    struct cw_engine_volume *v = call->user;

    if (v->cancelled) {
        if (call->res == 0)
            give_back(v->engine, &call->vol->desc);
        open_fail(v, -ECANCELED, "cancelled");
    } else if (call->res == 0) {
        volume_granted(v, call);
    } else {
        attach_refused(v, call);
    }
    free(call->vol);
    free(call);
}

void
volume_attach(struct cw_engine_volume *v)
{
    struct cw_ctl_call *call = engine_ask_new(v->engine, CW_CTL_ATTACH, attach_done, v);
    uint64_t timeout = cw_max_u64(v->open->take ? TAKE_MS : ATTACH_MS, v->open->retry_ms);

    v->state = VOLUME_ATTACHING;
    if (call == NULL) {
        v->state = VOLUME_PAUSING;
        cw_timer_set(env_of(v), &v->timer, cw_now_ns(env_of(v)) + AGAIN_NS);
        return;
    }
    call->timeout_ms =
        v->open->timeout_ms != 0 ? cw_min_u64(timeout, v->open->timeout_ms) : timeout;
    call->force = v->open->force;
    call->take = v->open->take;
    memcpy(call->name, v->name, sizeof(call->name));
    cw_control_call(v->engine->control, call);
}

static void
open_refused(struct cw_engine_task *t)
{
    struct cw_engine_open *o = cw_container_of(t, struct cw_engine_open, task);
    char error[CW_ENGINE_ERROR_SIZE];

    if (o->priv != NULL) { /* a name too long to exist */
        snprintf(error, sizeof(error), "volume %.80s..: there is no such volume", o->volume);
        o->done(o, -ENOENT, NULL, error);
    } else {
        o->done(o, -ENOMEM, NULL, "out of memory");
    }
}

void
cw_engine_open(struct cw_engine *e, struct cw_engine_open *o)
{
    bool fits = strlen(o->volume) < CW_ENGINE_NAME_SIZE;
    struct cw_engine_volume *v = fits ? calloc(1, sizeof(*v)) : NULL;

    if (v == NULL) {
        o->priv = fits ? NULL : o;
        o->task.fn = open_refused;
        cw_engine_post(e, &o->task);
        return;
    }
    snprintf(v->name, sizeof(v->name), "%s", o->volume);
    v->engine = e;
    v->open = o;
    v->ev = o->ev != NULL ? o->ev : &no_events;
    v->user = o->user;
    v->timer.fn = try_again;
    cw_list_init(&v->reads);
    v->begun_ns = cw_now_ns(env_of(v));
    o->priv = v;
    cw_list_push_back(&e->volumes, &v->link);
    if (!cw_timer_armed(&e->tick))
        cw_timer_set(env_of(v), &e->tick, v->begun_ns + CW_NS_PER_S);
    volume_attach(v);
}

static void
cancel_arrived(struct cw_engine_task *t)
{
    struct cw_engine_open *o = cw_container_of(t, struct cw_engine_open, task);
    struct cw_engine_volume *v = o->priv;

    if (v != NULL && v->open == o)
        open_fail(v, -ECANCELED, "cancelled");
}

void
cw_engine_open_cancel(struct cw_engine_open *o)
{
    struct cw_engine_volume *v = o->priv;

    if (v == NULL || v->cancelled)
        return;
    v->cancelled = true;
    if (v->state == VOLUME_ATTACHING)
        return; /* attach_done sees it */
    cw_timer_cancel(env_of(v), &v->timer);
    o->task.fn = cancel_arrived;
    cw_engine_post(v->engine, &o->task);
}

/* ---- open ---- */

uint64_t
cw_engine_volume_size(const struct cw_engine_volume *v)
{
    return v->vol != NULL ? cw_volume_size(v->vol) : standby_size(v->standby);
}

uint32_t
cw_engine_volume_gen(const struct cw_engine_volume *v)
{
    return v->vol != NULL ? cw_volume_gen(v->vol) : 0;
}

bool
cw_engine_volume_acks_replicated(const struct cw_engine_volume *v)
{
    return v->vol != NULL && cw_volume_acks_replicated(v->vol);
}

const char *
cw_engine_volume_name(const struct cw_engine_volume *v)
{
    return v->name;
}

void
cw_engine_submit(struct cw_engine_volume *v, struct cw_io *io)
{
    if (v->state != VOLUME_OPEN) {
        standby_submit(v->standby, io);
        return;
    }
    cw_io_submit(v->vol, io);
    cw_reactor_defer(v->engine->reactor, &v->engine->awake); /* the owner's hook may be past */
}

void
cw_engine_take(struct cw_engine_volume *v)
{
    if (v->standby != NULL)
        standby_take(v->standby);
}

bool
cw_engine_volume_stands_by(const struct cw_engine_volume *v)
{
    return v->state != VOLUME_OPEN;
}

/* ---- closing ---- */

static void
close_end(struct cw_engine_volume *v, int res)
{
    struct cw_engine_close *c = v->close;

    if (res == -ETIMEDOUT)
        cw_log(env_of(v), CW_LOG_WARNING,
               "volume %s: its release was not confirmed; the next attach may wait 2 s", v->name);
    volume_free(v);
    c->done(c, res);
}

void
cw_engine_close(struct cw_engine_volume *take_v, struct cw_engine_close *c)
{
    struct cw_engine_volume *v = take_v;
    uint64_t timeout_ms = c->timeout_ms != 0 ? c->timeout_ms : CLOSE_MS;

    cw_assert(v->state == VOLUME_OPEN || v->standby != NULL);
    v->close = c;
    if (v->open != NULL) { /* it is being taken: that ends first */
        standby_close(v->standby);
        return;
    }
    if (v->state == VOLUME_STANDBY)
        standby_close(v->standby);
    v->state = VOLUME_CLOSING;
    cw_timer_set(env_of(v), &v->timer, cw_now_ns(env_of(v)) + timeout_ms * CW_NS_PER_MS);
    if (v->verifying)
        cw_verify_cancel(&v->verify); /* its end begins the release */
    else if (v->vol != NULL)
        cw_volume_release(v->vol);
}

void
volume_closed(struct cw_engine_volume *v, int res)
{
    close_end(v, res);
}

/* ---- what the manager wants ---- */

static struct cw_engine_volume *
volume_find(struct cw_engine *e, uint64_t id)
{
    CW_LIST_EACH (it, &e->volumes) {
        struct cw_engine_volume *v = cw_list_entry(it, struct cw_engine_volume, link);

        if (v->vol != NULL && v->state != VOLUME_CLOSING && cw_volume_id(v->vol) == id)
            return v;
    }
    return NULL;
}

static void
on_verify_progress(struct cw_verify *j)
{
    struct cw_engine_volume *v = j->user;

    cw_control_verify_progress(v->engine->control, cw_volume_id(v->vol), j);
    if (!j->finished)
        return;
    v->verifying = false;
    if (v->state == VOLUME_CLOSING)
        cw_volume_release(v->vol);
}

static int
volume_verify(struct cw_engine_volume *v, const struct cw_ctl_event *ev)
{
    int res;

    if (ev->cancel) {
        if (v->verifying && v->verify.job == ev->job)
            cw_verify_cancel(&v->verify);
        return 0;
    }
    if (v->verifying)
        return v->verify.job == ev->job ? 0 : -EBUSY;
    v->verify = (struct cw_verify){ .job = ev->job, .on_progress = on_verify_progress, .user = v };
    res = cw_verify_start(v->vol, &v->verify);
    v->verifying = res == 0;
    return res;
}

/* True: answered later. */
static bool
volume_resize(struct cw_engine_volume *v, struct cw_ctl_event *ev, int *ret_res)
{
    *ret_res = v->resize != NULL ? -EBUSY
                                 : cw_volume_resize(v->vol, ev->size_bytes, ev->shards,
                                                    ev->n_shards, ev->disks, ev->n_disks);
    if (*ret_res != 0)
        return false;
    v->resize = ev;
    return true;
}

/* True: answered later. */
static bool
volume_let_go(struct cw_engine *e, struct cw_ctl_event *ev, int *ret_res)
{
    struct cw_engine_volume *v = NULL;

    CW_LIST_EACH (it, &e->volumes) { /* one that closes lets go too */
        struct cw_engine_volume *at = cw_list_entry(it, struct cw_engine_volume, link);

        if (at->vol != NULL && cw_volume_id(at->vol) == ev->volume &&
            cw_volume_gen(at->vol) == ev->gen)
            v = at;
    }
    *ret_res = v == NULL                   ? -ENOENT
               : v->n_let_go == LET_GO_MAX ? -EBUSY
                                           : cw_volume_hand_over(v->vol, DRAIN_NS);
    if (*ret_res == -ESHUTDOWN)
        *ret_res = -ENOENT; /* lost, or handed over: whichever, it is not ours */
    if (*ret_res != 0)
        return false;
    v->let_go[v->n_let_go++] = ev;
    return true;
}

static void
take_hint(struct cw_engine *e, struct cw_engine_volume *v, const struct cw_ctl_event *ev)
{
    if (e->owner != NULL && ev->n_disks > 0)
        cw_owner_hint_locations(e->owner, ev->disks, ev->n_disks);
    if (e->owner != NULL && ev->host[0] != 0)
        cw_owner_hint_host(e->owner, ev->host, ev->up);
    if (v != NULL)
        cw_volume_reread(v->vol);
}

void
engine_on_event(struct cw_engine *e, struct cw_ctl_event *take_ev)
{
    struct cw_engine_volume *v = take_ev->volume != 0 ? volume_find(e, take_ev->volume) : NULL;
    int res = v != NULL ? 0 : -ENOENT;

    switch (take_ev->kind) {
    case CW_CTL_ON_HINT:
        take_hint(e, v, take_ev);
        break;
    case CW_CTL_ON_VERIFY:
        if (v != NULL)
            res = volume_verify(v, take_ev);
        break;
    case CW_CTL_ON_RESIZED:
        if (v != NULL && volume_resize(v, take_ev, &res))
            return;
        break;
    case CW_CTL_ON_EVICT:
        if (v != NULL)
            res = cw_volume_evict(v->vol, take_ev->shard, &take_ev->disk_uuid);
        break;
    case CW_CTL_ON_READ:
        if (v != NULL && v->state == VOLUME_OPEN && cw_volume_gen(v->vol) == take_ev->gen) {
            owner_read(v, take_ev);
            return;
        }
        res = -ENOENT;
        break;
    case CW_CTL_ON_LET_GO:
        if (volume_let_go(e, take_ev, &res))
            return;
        break;
    }
    cw_control_answer(e->control, take_ev, res);
}

void
engine_policy(struct cw_engine *e, const struct cw_volume_desc *desc)
{
    struct cw_engine_volume *v = volume_find(e, desc->id);

    if (v == NULL || desc->gen != cw_volume_gen(v->vol))
        return;
    cw_volume_set_policy(v->vol, desc->min_insync, desc->degrade_s, desc->quorum_loss_error,
                         desc->space_full_error);
    cw_volume_set_ack(v->vol, desc->ack_replicated);
    cw_volume_set_limits(v->vol, desc->iops_limit, desc->bandwidth_limit);
}

static void
volume_report(struct cw_engine_volume *v)
{
    struct cw_volume_report sum;
    struct cw_ctl_report *r;

    cw_volume_report(v->vol, &sum);
    r = malloc(sizeof(*r) + sum.n_shards * sizeof(r->shard[0]));
    if (r == NULL)
        return; /* the next second has another one */
    r->volume = sum;
    for (uint32_t i = 0; i < sum.n_shards; i++)
        cw_volume_report_shard(v->vol, i, &r->shard[i]);
    cw_control_report(v->engine->control, r);
}

void
engine_volumes_report(struct cw_engine *e)
{
    CW_LIST_EACH (it, &e->volumes) {
        struct cw_engine_volume *v = cw_list_entry(it, struct cw_engine_volume, link);

        if (v->vol != NULL)
            volume_report(v);
    }
}
