/* A volume: its shards' takeovers, its end, and what the manager is told and asked about it. */
#include "common/owner/room.h"

#define EVICT_NS (10 * CW_NS_PER_S)

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- where disks are ---- */

void
cw_own_volume_locate(struct cw_owner *o, const struct cw_disk_location *disks, uint32_t n)
{
    CW_LIST_EACH (it, &o->peers) {
        struct peer *p = cw_list_entry(it, struct peer, node);

        for (uint32_t i = 0; i < n; i++) {
            if (disks[i].format_id == p->loc.format_id &&
                cw_uuid_equal(&disks[i].disk_uuid, &p->loc.disk_uuid))
                cw_own_peer_locate(p, &disks[i]);
        }
    }
}

/* ---- open ---- */

static bool
desc_sane(const struct cw_volume_desc *d)
{
    uint64_t blocks = d->size_bytes / CW_BLOCK_SIZE;

    if (d->size_bytes == 0 || d->size_bytes % CW_BLOCK_SIZE != 0 || d->gen == 0 ||
        d->min_insync == 0)
        return false;
    if (d->n_shards != cw_div_up(blocks, CW_SHARD_BLOCKS))
        return false;
    for (uint32_t i = 0; i < d->n_shards; i++) {
        const struct cw_shard_rec *r = &d->shards[i];

        if (r->shard != CW_SHARD_ID(d->id, i) || r->n_members == 0 ||
            r->n_members > CW_MEMBERS_MAX ||
            r->n_blocks != cw_min_u64(CW_SHARD_BLOCKS, blocks - i * CW_SHARD_BLOCKS))
            return false;
    }
    return true;
}

static bool
volume_add_shard(struct cw_volume *v, const struct cw_shard_rec *rec)
{
    struct shard **shards = realloc(v->shards, (v->n_shards + 1) * sizeof(struct shard *));

    if (shards == NULL)
        return false;
    v->shards = shards;
    v->shards[v->n_shards] = cw_own_shard_new(v, rec);
    if (v->shards[v->n_shards] == NULL)
        return false;
    v->n_shards++;
    return true;
}

static struct cw_volume *
volume_new(struct cw_owner *o, const struct cw_volume_desc *d, const struct cw_volume_opts *opts)
{
    struct cw_volume *v = calloc(1, sizeof(*v));

    if (v == NULL)
        return NULL;
    v->o = o;
    v->opts = *opts;
    v->id = d->id;
    v->size_bytes = d->size_bytes;
    snprintf(v->name, sizeof(v->name), "%s", d->name);
    v->gen = d->gen;
    v->released_before = d->released;
    v->cold_start = d->cold_start;
    v->min_insync = d->min_insync;
    v->degrade_s = d->degrade_s;
    v->quorum_loss_error = d->quorum_loss_error;
    v->space_full_error = d->space_full_error;
    v->ack_replicated = d->ack_replicated;
    v->state = CW_VOLUME_OPENING;
    v->opened_ns = cw_own_now(o);
    cw_list_init(&v->repairs);
    cw_list_init(&v->limited);
    v->limit_timer.fn = cw_own_limit_fired;
    cw_limit_set(&v->limit, d->iops_limit, d->bandwidth_limit);
    cw_list_push_back(&o->volumes, &v->node);
    return v;
}

struct cw_volume *
cw_volume_open(struct cw_owner *o, const struct cw_volume_desc *d,
               const struct cw_volume_opts *opts)
{
    struct cw_volume *v = desc_sane(d) ? volume_new(o, d, opts) : NULL;

    if (v == NULL)
        return NULL;
    for (uint32_t i = 0; i < d->n_shards; i++) {
        if (!volume_add_shard(v, &d->shards[i])) {
            cw_own_volume_destroy(v);
            return NULL;
        }
    }
    cw_own_volume_locate(o, d->disks, d->n_disks);
    cw_own_resync_told(o, d);
    for (uint32_t i = 0; i < v->n_shards; i++)
        cw_own_takeover_begin(v->shards[i]);
    if (!cw_timer_armed(&o->tick))
        cw_timer_set(o->env, &o->tick, cw_own_now(o) + TICK_NS);
    return v;
}

/* ---- the end of requests ---- */

static void
list_fail(struct cw_list *list, int res)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(list)) != NULL)
        cw_own_part_done(cw_list_entry(node, struct part, node), res);
}

static void
shard_fail_parts(struct shard *s, int res)
{
    for (uint64_t seq = s->ring.first; seq < s->ring.next; seq++) {
        struct rec *r = cw_own_ring_at(&s->ring, seq);
        struct part *p = r->part;

        cw_own_spans_remove(s, r);
        r->part = NULL;
        if (p != NULL)
            cw_own_part_done(p, res);
    }
    /* a lock's end starts its waiters, which find the shard closed */
    list_fail(&s->queue, res);
    list_fail(&s->readers, res);
    list_fail(&s->reading, res);
    list_fail(&s->flushes, res);
    list_fail(&s->queue, res);
    cw_assert(cw_list_empty(&s->readers) && cw_list_empty(&s->reading));
}

/* No shard serves any more. */
static void
volume_close_shards(struct cw_volume *v, int res, bool orderly)
{
    for (uint32_t i = 0; i < v->n_shards; i++)
        cw_own_shard_close(v->shards[i], orderly);
    cw_own_limit_fail(v, res);
    cw_own_verify_stop(v, "the volume is not owned here any more");
    for (uint32_t i = 0; i < v->n_shards; i++)
        shard_fail_parts(v->shards[i], res);
    for (uint32_t i = 0; i < v->n_shards; i++) {
        struct ring *r = &v->shards[i]->ring;

        cw_own_ring_reset(v->o, r, r->next);
        for (uint32_t k = 0; k < v->shards[i]->n_copies; k++)
            v->shards[i]->copies[k]->streaming = false;
    }
}

/* ---- events ---- */

void
cw_own_volume_fire(struct cw_volume *v, enum volume_event e)
{
    v->events |= e;
    v->o->events_due = true;
}

static enum volume_event
event_take(struct cw_volume *v)
{
    enum volume_event e = (enum volume_event)(v->events & -v->events);

    v->events &= ~(uint32_t)e;
    return e;
}

/* One event; the volume may be gone afterwards. */
bool
cw_own_volume_fire_events(struct cw_volume *v)
{
    const struct cw_volume_events *ev = v->opts.ev;
    void *user = v->opts.user;

    switch (event_take(v)) {
    case EV_READY:
        if (ev->on_ready != NULL)
            ev->on_ready(v, user);
        break;
    case EV_FAILED:
        if (ev->on_open_failed != NULL)
            ev->on_open_failed(v, user, v->fail_res, v->fail_text);
        break;
    case EV_FENCED:
        if (ev->on_fenced != NULL)
            ev->on_fenced(v, user);
        break;
    case EV_RELEASED:
        if (ev->on_released != NULL)
            ev->on_released(v, user, v->release_clean);
        break;
    case EV_KEPT:
        if (ev->on_kept != NULL)
            ev->on_kept(v, user);
        break;
    case EV_RESIZED:
        if (ev->on_resized != NULL)
            ev->on_resized(v, user, v->size_bytes);
        break;
    }
    return true;
}

void
cw_own_volume_fail(struct cw_volume *v, int res, const char *text)
{
    if (v->state != CW_VOLUME_OPENING)
        return;
    v->state = CW_VOLUME_FAILED;
    v->fail_res = res;
    snprintf(v->fail_text, sizeof(v->fail_text), "volume %s: %s", v->name, text);
    volume_close_shards(v, -ESHUTDOWN, true);
    cw_own_volume_fire(v, EV_FAILED);
}

void
cw_own_volume_fence(struct cw_volume *v, const char *why)
{
    enum cw_volume_state was = v->state;

    if (was == CW_VOLUME_OPENING) {
        cw_own_volume_fail(v, -ESHUTDOWN, why);
        return;
    }
    if (was != CW_VOLUME_READY && was != CW_VOLUME_RELEASING)
        return;
    cw_log(v->o->env, CW_LOG_WARNING, "volume %s: fenced: %s", v->name, why);
    v->state = CW_VOLUME_FENCED;
    volume_close_shards(v, -ESHUTDOWN, false);
    if (was == CW_VOLUME_READY) {
        cw_own_volume_fire(v, EV_FENCED);
    } else if (!v->give_up_busy) {
        v->release_clean = false;
        cw_own_volume_fire(v, EV_RELEASED);
    }
}

/* ---- ready, resized ---- */

static bool
all_active(const struct cw_volume *v)
{
    for (uint32_t i = 0; i < v->n_shards; i++) {
        if (v->shards[i]->state != SHARD_ACTIVE)
            return false;
    }
    return true;
}

/* ---- release ---- */

static void
volume_keep(struct cw_volume *v)
{
    v->keep_at_ns = 0;
    v->state = CW_VOLUME_READY;
    cw_own_volume_fire(v, EV_KEPT);
    for (uint32_t i = 0; i < v->n_shards; i++)
        cw_own_mark_dirty(v->shards[i]);
}

static void
give_up_on_done(struct cw_volume_give_up *call)
{
    struct cw_volume *v = cw_container_of(call, struct cw_volume, give_up);

    v->give_up_busy = false;
    if (cw_mutated(CW_MUTATION_RELEASE_SERVES) && !v->doomed && call->res == CW_CALL_UNKNOWN) {
        volume_keep(v);
    } else if (!v->doomed) {
        v->release_clean = call->res == CW_CALL_OK && v->state == CW_VOLUME_RELEASING;
        if (v->state == CW_VOLUME_RELEASING)
            v->state = CW_VOLUME_RELEASED;
        cw_own_volume_fire(v, EV_RELEASED);
    }
    cw_own_volume_put(v);
}

#define FOLLOW_NS (2 * CW_NS_PER_S)

/* Nobody will send it the rest once we have gone: it gets a moment, if nobody waits for the volume,
 * and another for the manager to note that it is OUT, so that somebody brings it back. */
static bool
follower_is_done(struct copy *c)
{
    const struct cw_volume *v = c->s->v;
    uint64_t now = cw_own_now(v->o);

    if (!c->async || c->state != CW_MEMBER_LAGGING || v->keep_at_ns != 0 ||
        (c->streaming && c->durable + 1 == c->s->ring.next) || now >= v->release_ns + 2 * FOLLOW_NS)
        return true;
    if (!c->streaming || c->session != SESSION_OPEN || now >= v->release_ns + FOLLOW_NS)
        cw_own_copy_fault(c, "it does not have all when the volume is released");
    return false;
}

static bool
shard_drained(struct shard *s)
{
    bool drained = true;

    if (s->state != SHARD_ACTIVE || !cw_own_change_idle(s) || s->acked + 1 != s->ring.next)
        return false;
    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];

        drained &= follower_is_done(c) && (!cw_own_counts(c) || c->durable + 1 == s->ring.next);
    }
    return drained;
}

/* All equal, nothing in doubt, no read to complete: now the manager may hand the volume on without
 * a lease wait. There is no way back: the request may take effect even if its answer is lost. */
static void
release_try(struct cw_volume *v)
{
    if (v->give_up_busy || v->n_parts > 0)
        return;
    for (uint32_t i = 0; i < v->n_shards; i++) {
        if (!shard_drained(v->shards[i]))
            return;
    }
    for (uint32_t i = 0; i < v->n_shards && !cw_mutated(CW_MUTATION_RELEASE_SERVES); i++)
        cw_own_shard_close(v->shards[i], true);
    v->give_up =
        (struct cw_volume_give_up){ .volume = v->id, .gen = v->gen, .done = give_up_on_done };
    v->give_up_busy = true;
    v->n_calls++;
    v->o->ops->release(v->o->world, &v->give_up);
}

void
cw_volume_release(struct cw_volume *v)
{
    v->keep_at_ns = 0;
    switch (v->state) {
    case CW_VOLUME_READY:
        cw_own_limit_flush(v); /* they were there before */
        v->state = CW_VOLUME_RELEASING;
        v->release_ns = cw_own_now(v->o);
        cw_own_verify_stop(v, "the volume is released");
        for (uint32_t i = 0; i < v->n_shards; i++) {
            struct shard *s = v->shards[i];

            for (uint32_t k = 0; k < s->n_copies; k++) {
                /* a promotion that was not asked for is dropped, one that was is withdrawn */
                if (cw_popcount(s->copies[k]->maybe) == 1)
                    s->copies[k]->joining = false;
            }
            if (s->change.state == CHANGE_DOUBT)
                cw_own_change_withdraw(s);
            cw_own_mark_dirty(s);
        }
        return;
    case CW_VOLUME_OPENING: /* nothing was promised to anybody: the next attach takes over */
        v->state = CW_VOLUME_RELEASED;
        volume_close_shards(v, -ESHUTDOWN, true);
        v->release_clean = false;
        cw_own_volume_fire(v, EV_RELEASED);
        return;
    case CW_VOLUME_FENCED:
    case CW_VOLUME_FAILED:
        v->release_clean = false;
        cw_own_volume_fire(v, EV_RELEASED);
        return;
    case CW_VOLUME_RELEASING:
        return;
    case CW_VOLUME_RELEASED: /* handed over before: the same answer again */
        cw_own_volume_fire(v, EV_RELEASED);
        return;
    }
}

int
cw_volume_hand_over(struct cw_volume *v, uint64_t drain_ns)
{
    if (v->state == CW_VOLUME_RELEASING)
        return 0;
    if (v->state != CW_VOLUME_READY)
        return v->state == CW_VOLUME_OPENING ? -EBUSY : -ESHUTDOWN;
    cw_volume_release(v);
    v->keep_at_ns = cw_own_now(v->o) + drain_ns;
    return 0;
}

/* The manager knows nothing of it yet: nobody can have taken the volume, it goes on. */
static void
release_look(struct cw_volume *v)
{
    if (v->keep_at_ns == 0 || v->give_up_busy || cw_own_now(v->o) < v->keep_at_ns)
        return;
    volume_keep(v);
}

void
cw_own_volume_run(struct cw_volume *v)
{
    if (v->state == CW_VOLUME_RELEASING) {
        release_try(v);
        return;
    }
    if (v->state != CW_VOLUME_OPENING && v->state != CW_VOLUME_READY)
        return;
    if (!all_active(v))
        return;
    if (v->state == CW_VOLUME_OPENING) {
        v->state = CW_VOLUME_READY;
        cw_own_volume_fire(v, EV_READY);
    }
    if (v->resize.pending) {
        v->resize.pending = false;
        v->size_bytes = v->resize.size_bytes;
        cw_own_volume_fire(v, EV_RESIZED);
    }
}

/* ---- the records, read again ---- */

/* The manager knows no such volume. As long as a copy serves, that may be the manager's fault,
 * which lost its records; the volume of an owner that has none was deleted. */
static void
volume_is_gone(struct cw_volume *v)
{
    for (uint32_t i = 0; i < v->n_shards; i++) {
        for (uint32_t k = 0; k < v->shards[i]->n_copies; k++) {
            if (v->shards[i]->copies[k]->session == SESSION_OPEN)
                return;
        }
    }
    cw_own_volume_fence(v, "it was deleted");
}

static void
get_on_done(struct cw_volume_get *call)
{
    struct cw_volume *v = cw_container_of(call, struct cw_volume, get);
    const struct cw_volume_desc *d = call->desc;

    v->get_busy = false;
    if (!v->doomed && call->res == CW_CALL_OK) {
        for (uint32_t i = 0; i < d->n_shards && i < v->n_shards; i++)
            cw_own_change_saw(v->shards[i], &d->shards[i], d->gen);
        cw_own_volume_locate(v->o, d->disks, d->n_disks); /* now new members' disks are known */
        cw_own_resync_told(v->o, d);
    }
    if (!v->doomed && call->res == CW_CALL_REFUSED)
        volume_is_gone(v);
    if (!v->doomed && v->get_again) {
        v->get_again = false;
        cw_own_volume_get(v);
    }
    cw_own_volume_put(v);
}

void
cw_own_volume_get(struct cw_volume *v)
{
    if (v->get_busy) {
        v->get_again = true; /* what is under way may show an older state */
        return;
    }
    v->get = (struct cw_volume_get){ .volume = v->id, .done = get_on_done };
    v->get_busy = true;
    v->n_calls++;
    v->o->ops->get_volume(v->o->world, &v->get);
}

void
cw_volume_reread(struct cw_volume *v)
{
    if (v->state == CW_VOLUME_OPENING || v->state == CW_VOLUME_READY)
        cw_own_volume_get(v);
}

/* ---- resize, policy ---- */

static bool
grown_sane(const struct cw_volume *v, uint64_t size, const struct cw_shard_rec *shards, uint32_t n)
{
    struct cw_volume_desc d = { .id = v->id,
                                .size_bytes = size,
                                .gen = v->gen,
                                .min_insync = 1,
                                .shards = shards,
                                .n_shards = n };

    return desc_sane(&d) && size >= v->size_bytes && n >= v->n_shards;
}

int
cw_volume_resize(struct cw_volume *v, uint64_t size_bytes, const struct cw_shard_rec *shards,
                 uint32_t n_shards, const struct cw_disk_location *disks, uint32_t n_disks)
{
    uint32_t had = v->n_shards;

    if ((v->state != CW_VOLUME_READY && v->state != CW_VOLUME_OPENING) ||
        !grown_sane(v, size_bytes, shards, n_shards))
        return -EINVAL;
    for (uint32_t i = 0; i < had; i++) {
        struct shard *s = v->shards[i];

        cw_own_change_saw(s, &shards[i], v->gen);
        s->rec.n_blocks =
            s->rec.n_blocks > shards[i].n_blocks ? s->rec.n_blocks : shards[i].n_blocks;
    }
    for (uint32_t i = had; i < n_shards; i++) {
        if (!volume_add_shard(v, &shards[i]))
            return -ENOMEM;
    }
    cw_own_volume_locate(v->o, disks, n_disks);
    for (uint32_t i = had; i < n_shards; i++)
        cw_own_takeover_begin(v->shards[i]);
    v->resize = (struct resize_wait){ .pending = true, .size_bytes = size_bytes };
    cw_own_volume_run(v);
    return 0;
}

int
cw_volume_evict(struct cw_volume *v, uint64_t shard, const struct cw_uuid *disk_uuid)
{
    struct shard *s = cw_own_find_shard(v->o, shard, v->gen);

    if (v->state != CW_VOLUME_OPENING && v->state != CW_VOLUME_READY)
        return -ESHUTDOWN;
    for (uint32_t i = 0; s != NULL && s->v == v && i < s->n_copies; i++) {
        if (!cw_uuid_equal(&s->copies[i]->disk_uuid, disk_uuid))
            continue;
        s->copies[i]->evict_until_ns = cw_own_now(v->o) + EVICT_NS;
        cw_own_mark_dirty(s);
        return 0;
    }
    return -ENOENT;
}

void
cw_volume_set_policy(struct cw_volume *v, uint32_t min_insync, int32_t degrade_s,
                     bool quorum_loss_error, bool space_full_error)
{
    v->min_insync = min_insync > 0 ? min_insync : 1;
    v->degrade_s = degrade_s;
    v->quorum_loss_error = quorum_loss_error;
    v->space_full_error = space_full_error;
    for (uint32_t i = 0; i < v->n_shards; i++)
        cw_own_mark_dirty(v->shards[i]);
}

bool
cw_volume_acks_replicated(const struct cw_volume *v)
{
    return v->ack_replicated;
}

void
cw_volume_set_ack(struct cw_volume *v, bool replicated)
{
    if (v->ack_replicated == replicated)
        return;
    v->ack_replicated = replicated;
    for (uint32_t i = 0; i < v->n_shards; i++) {
        struct shard *s = v->shards[i];

        for (uint32_t k = 0; k < s->n_copies; k++)
            cw_own_copy_ask_receipts(s->copies[k]);
        cw_own_mark_dirty(s);
    }
}

/* ---- time ---- */

static void
p99_rotate(struct cw_histogram *now, uint64_t *p99_ns)
{
    if (now->n == 0)
        return;
    *p99_ns = cw_histogram_percentile(now, 990);
    cw_histogram_reset(now);
}

static void
volume_rotate(struct cw_volume *v)
{
    uint64_t reads = v->read_now.n, writes = v->write_now.n;

    p99_rotate(&v->read_now, &v->read_p99_ns);
    p99_rotate(&v->write_now, &v->write_p99_ns);
    v->busy_p99_ns = cw_max_u64(reads > 0 ? v->read_p99_ns : 0, writes > 0 ? v->write_p99_ns : 0);
}

void
cw_own_volume_tick(struct cw_volume *v)
{
    uint64_t now = cw_own_now(v->o);

    for (uint32_t i = 0; i < v->n_shards; i++)
        cw_own_shard_tick(v->shards[i]);
    if (now >= v->rotate_ns) {
        v->rotate_ns = now + CW_NS_PER_S;
        volume_rotate(v);
    }
    if (v->state == CW_VOLUME_OPENING && v->opts.open_timeout_ns != 0 &&
        now - v->opened_ns >= v->opts.open_timeout_ns) {
        const char *why = NULL;

        cw_volume_suspended(v, &why);
        cw_own_volume_fail(v, -EHOSTUNREACH, why != NULL ? why : "no in-sync copy can be reached");
    }
    cw_own_verify_tick(v);
    cw_own_notes_tick(v);
    if (v->state == CW_VOLUME_RELEASING) {
        release_try(v);
        release_look(v);
    }
}

/* ---- memory ---- */

/* Requests of the volume that are complete but not told yet are forgotten with it. */
static void
forget_done(struct cw_volume *v)
{
    CW_LIST_EACH_SAFE (it, &v->o->done) {
        struct cw_io *io = cw_list_entry(it, struct cw_io, link);

        if (io->volume == v)
            cw_list_remove(&io->link);
    }
}

void
cw_own_volume_destroy(struct cw_volume *v)
{
    cw_list_remove(&v->node);
    cw_timer_cancel(v->o->env, &v->limit_timer);
    cw_own_repairs_forget(v);
    cw_own_verify_stop(v, NULL);
    volume_close_shards(v, -ESHUTDOWN, false); /* gives buffers back; nobody is told */
    forget_done(v);
    for (uint32_t i = 0; i < v->n_shards; i++)
        cw_own_shard_free(v->shards[i]);
    free(v->shards);
    free(v);
}

void
cw_own_volume_put(struct cw_volume *v)
{
    cw_assert(v->n_calls > 0);
    if (--v->n_calls == 0 && v->doomed)
        cw_own_volume_destroy(v);
}

void
cw_volume_free(struct cw_volume *v)
{
    if (v == NULL)
        return;
    if (v->state == CW_VOLUME_OPENING || v->state == CW_VOLUME_READY ||
        v->state == CW_VOLUME_RELEASING) {
        v->state = CW_VOLUME_FAILED;
        volume_close_shards(v, -ESHUTDOWN, true);
    }
    cw_own_verify_stop(v, "the volume was closed");
    cw_own_repairs_forget(v);
    forget_done(v);
    v->doomed = true;
    if (v->n_calls == 0)
        cw_own_volume_destroy(v);
}

/* ---- looking ---- */

enum cw_volume_state
cw_volume_state(const struct cw_volume *v)
{
    return v->state;
}

uint64_t
cw_volume_id(const struct cw_volume *v)
{
    return v->id;
}

uint64_t
cw_volume_size(const struct cw_volume *v)
{
    return v->size_bytes;
}

uint32_t
cw_volume_gen(const struct cw_volume *v)
{
    return v->gen;
}

void *
cw_volume_user(const struct cw_volume *v)
{
    return v->opts.user;
}

bool
cw_volume_suspended(const struct cw_volume *v, const char **ret_why)
{
    for (uint32_t i = 0; i < v->n_shards; i++) {
        if (v->shards[i]->why != NULL && v->shards[i]->state != SHARD_CLOSED) {
            *ret_why = v->shards[i]->why;
            return true;
        }
    }
    return false;
}
