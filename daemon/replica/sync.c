/* replica/sync.c - this copy as the target of a resync (1.10), from JOIN to SYNC_DONE.
 *
 *   JOIN --durable--> LIST --all chunks compared--> COPY --nothing BEHIND or COPYING--> FINISHING
 *     --SYNC_DONE durable--> told to the owner; the copy is like any other from here on
 *
 * A JOIN voids everything that was here for an earlier one: its struct cw_sync is dead at once, its
 * answers are dropped by join_id and tag, its steps at the store end for nobody. The same for a
 * SEAL. A broken link to the owner changes nothing as long as its next session continues the
 * stream.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "common/base/mutation.h"
#include "daemon/replica/internal.h"

#define STATE_EVERY_NS CW_NS_PER_S

static void sync_on_timer(struct cw_timer *t);

void
cw_sync_unref(struct cw_sync *s)
{
    cw_assert(s->refs > 0);
    if (--s->refs > 0)
        return;
    cw_assert(s->dead && cw_list_empty(&s->slots));
    free(s);
}

static struct cw_sync *
sync_new(struct cw_copy *c, const struct cw_frame *f)
{
    struct cw_sync *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    s->r = c->r;
    s->copy = c;
    s->refs = 1;
    s->gen = f->hdr->gen;
    s->join_tag = f->hdr->tag;
    s->s0 = f->hdr->seq;
    s->join_id = f->hdr->stable;
    s->timer.fn = sync_on_timer;
    s->state_ns = cw_now_ns(c->r->env) + STATE_EVERY_NS;
    cw_list_init(&s->in_source);
    cw_list_init(&s->slots);
    cw_list_push_back(&c->r->syncs, &s->in_replica);
    return s;
}

void
cw_sync_stop(struct cw_copy *c)
{
    struct cw_sync *s = c->sync;

    c->sync = NULL;
    s->dead = true;
    cw_timer_cancel(s->r->env, &s->timer);
    cw_source_leave(s);
    cw_list_remove(&s->in_replica);
    CW_LIST_EACH_SAFE (it, &s->slots) {
        struct cw_slot *sl = cw_list_entry(it, struct cw_slot, in_sync);

        if (!sl->under_way)
            cw_slot_free(sl);
    }
    cw_sync_unref(s);
}

/* The world is gone. */
void
cw_sync_forget(struct cw_sync *s)
{
    cw_sync_stop(s->copy);
}

/* ---- numbers ---- */

uint64_t
cw_sync_chunks_left(const struct cw_sync *s)
{
    uint64_t n = s->n_behind;

    CW_LIST_EACH (it, &s->slots)
        n += cw_list_entry(it, struct cw_slot, in_sync)->state != CW_SLOT_SKIPPING;
    return n;
}

uint32_t
cw_sync_phase(const struct cw_sync *s)
{
    if (s->step == CW_SYNC_FINISHING)
        return CW_SYNC_COPYING;
    if (s->answers == s->answers_told && (s->source == NULL || s->source->link == NULL || s->why))
        return CW_SYNC_STALLED;
    return s->step == CW_SYNC_COPY ? CW_SYNC_COPYING : CW_SYNC_LISTING;
}

static void
sync_send_state(struct cw_sync *s, uint32_t phase)
{
    struct cw_wire_hdr h = {
        .type = CW_FT_SYNC_STATE, .shard = s->copy->shard, .gen = s->gen, .stable = s->join_id
    };
    struct cw_wire_sync_state st = {
        .phase = phase,
        .why = phase == CW_SYNC_STALLED ? s->why : 0,
        .chunks_left = cw_sync_chunks_left(s),
        .chunks_total = s->chunks_total,
        .bytes_moved = s->bytes_moved,
    };

    if (s->copy->session != NULL)
        cw_peer_send(s->copy->session->peer, cw_frame_opaque(s->r->pool, h, NULL, &st, sizeof(st)));
}

void
cw_sync_check(const struct cw_sync *s)
{
    uint32_t n = 0, n_slots = 0;

    for (size_t i = 0; i < CW_LEN(s->behind); i++)
        n += cw_popcount(s->behind[i]);
    cw_assert(s->step == CW_SYNC_LIST || s->step == CW_SYNC_JOINING || n == s->n_behind);
    CW_LIST_EACH (it, &s->slots) {
        const struct cw_slot *sl = cw_list_entry(it, struct cw_slot, in_sync);

        n_slots++;
        cw_assert(!cw_bit_get(s->behind, sl->chunk));
        cw_assert(sl->state != CW_SLOT_SKIPPING || sl->q > s->copy->info->last_seq);
    }
    cw_assert(n_slots == s->n_slots && n_slots <= CW_SYNC_SLOTS_MAX);
    /* before the record of a JOIN is applied, after that of its end is and before that is durable
     */
    cw_assert(s->copy->info->syncing || s->step == CW_SYNC_JOINING || s->step == CW_SYNC_FINISHING);
}

/* ---- the end ---- */

static void
sync_tell_done(struct cw_copy *c)
{
    struct cw_wire_hdr h = { .type = CW_FT_SYNC_DONE,
                             .shard = c->shard,
                             .seq = c->info->durable_seq,
                             .stable = c->done_join };

    if (c->session == NULL)
        return;
    h.gen = c->session->gen;
    cw_peer_send(c->session->peer, cw_frame_plain(c->r->pool, h));
}

static void
sync_op_forget(struct cw_op *op)
{
    cw_sync_unref(cw_container_of(op, struct cw_sync, op));
}

static void
sync_finished(struct cw_op *op, int res)
{
    struct cw_sync *s = cw_container_of(op, struct cw_sync, op);
    struct cw_copy *c = op->copy;

    if (!s->dead && res == 0) {
        s->n_behind = 0;
        sync_send_state(s, CW_SYNC_COMPLETE);
        c->done_join = s->join_id;
        cw_sync_stop(c);
        sync_tell_done(c);
        if (c->session != NULL)
            cw_ack_owe(c->session); /* its health changed */
        cw_note_on_open(c);         /* what was found bad meanwhile matters now */
        cw_sync_pump_all(c->r);
    }
    cw_sync_unref(s);
}

/* The owner's history as far as this copy shares it: the present generation. Older copies than that
 * resync instead of being continued from here, which is always safe. */
static void
sync_finish(struct cw_sync *s)
{
    struct cw_store_hist hist = { .start_seq = s->s0 - 1, .gen = s->gen };

    s->step = CW_SYNC_FINISHING;
    s->refs++;
    cw_op_begin(s->copy, &s->op, sync_finished, sync_op_forget);
    cw_store_sync_done(s->copy->sh, &hist, 1, &s->op.ticket);
}

void
cw_sync_on_open(struct cw_copy *c)
{
    if (c->done_join != 0 && !c->info->syncing)
        sync_tell_done(c);
    if (c->sync != NULL)
        cw_sync_pump(c->sync);
}

/* ---- what to do next ---- */

static uint64_t
slots_wake_ns(const struct cw_sync *s)
{
    uint64_t at = CW_NEVER;

    CW_LIST_EACH (it, &s->slots) {
        const struct cw_slot *sl = cw_list_entry(it, struct cw_slot, in_sync);

        if (sl->state == CW_SLOT_READY || sl->state == CW_SLOT_ASKED)
            at = cw_min_u64(at, sl->retry_ns);
    }
    return at;
}

static void
sync_arm(struct cw_sync *s)
{
    uint64_t now = cw_now_ns(s->r->env), at = cw_min_u64(s->state_ns, slots_wake_ns(s));

    if (s->source != NULL && s->source->link == NULL && s->source->dial == 0)
        at = cw_min_u64(at, s->source->redial_ns);
    if (s->step == CW_SYNC_LIST)
        at = cw_min_u64(at, s->list_retry_ns);
    if (s->step == CW_SYNC_COPY && s->ask_ns > now)
        at = cw_min_u64(at, s->ask_ns);
    cw_timer_set(s->r->env, &s->timer, cw_max_u64(at, now + CW_NS_PER_MS));
}

static void
sync_pump_slots(struct cw_sync *s)
{
    CW_LIST_EACH_SAFE (it, &s->slots)
        cw_slot_pump(cw_list_entry(it, struct cw_slot, in_sync));
    while (s->n_slots < CW_SYNC_SLOTS_MAX && cw_slot_begin(s))
        ;
}

void
cw_sync_pump(struct cw_sync *s)
{
    if (s->dead || s->r->closing)
        return;
    if (s->source != NULL)
        cw_source_pump(s->source);
    if (s->step == CW_SYNC_LIST)
        cw_sync_list_pump(s);
    if (s->step == CW_SYNC_COPY)
        sync_pump_slots(s);
    if (s->step == CW_SYNC_COPY && s->n_behind == 0 &&
        (cw_list_empty(&s->slots) || cw_mutated(CW_MUTATION_DONE_EARLY)))
        sync_finish(s);
    sync_arm(s);
}

/* The one that was asked first goes last the next time, so that all get their share of slots. */
void
cw_sync_pump_all(struct cw_replica *r)
{
    struct cw_list turn;

    cw_list_init(&turn);
    cw_list_splice_back(&turn, &r->syncs);
    while (!cw_list_empty(&turn)) {
        struct cw_sync *s = cw_list_first(&turn, struct cw_sync, in_replica);

        cw_list_remove(&s->in_replica);
        cw_list_push_back(&r->syncs, &s->in_replica);
        cw_sync_pump(s);
    }
    if (!cw_list_empty(&r->syncs)) {
        struct cw_list *first = r->syncs.next;

        cw_list_remove(first);
        cw_list_push_back(&r->syncs, first);
    }
}

static void
sync_on_timer(struct cw_timer *t)
{
    struct cw_sync *s = cw_container_of(t, struct cw_sync, timer);
    uint64_t now = cw_now_ns(s->r->env);

    if (now >= s->state_ns) {
        s->state_ns = now + STATE_EVERY_NS;
        sync_send_state(s, cw_sync_phase(s));
        s->answers_told = s->answers;
    }
    cw_sync_pump(s);
}

/* ---- frames of the owner ---- */

static void
sync_joined(struct cw_op *op, int res)
{
    struct cw_sync *s = cw_container_of(op, struct cw_sync, op);
    struct cw_copy *c = op->copy;
    struct cw_wire_hdr h = { .type = CW_FT_JOIN_OK, .shard = c->shard, .tag = s->join_tag };

    if (!s->dead && res == 0) {
        s->step = CW_SYNC_LIST;
        h.gen = s->gen;
        h.seq = s->s0;
        h.stable = s->join_id;
        if (c->session != NULL)
            cw_peer_send(c->session->peer, cw_frame_plain(s->r->pool, h));
        cw_sync_pump(s);
    }
    cw_sync_unref(s);
}

static void
sync_join(struct cw_session *ses, const struct cw_frame *f)
{
    struct cw_copy *c = ses->copy;
    struct cw_sync *s = sync_new(c, f);

    if (s == NULL) {
        cw_peer_nack_copy(ses->peer, c, f->hdr->tag, CW_NACK_NO_SPACE, 0);
        return;
    }
    cw_hold_drop(c);
    if (c->sync != NULL)
        cw_sync_stop(c);
    c->sync = s;
    c->done_join = 0;
    c->starved = false;
    ses->told_seq = 0;
    s->refs++;
    cw_op_begin(c, &s->op, sync_joined, sync_op_forget);
    cw_store_join(c->sh, s->gen, s->s0, s->join_id, &s->op.ticket);
    c->next_seq = s->s0;
    cw_assert(c->info->last_seq + 1 == s->s0);
    sync_arm(s);
}

/* The same JOIN again is the owner that missed our answer. */
static void
sync_join_again(struct cw_session *ses, struct cw_sync *s, const struct cw_frame *f)
{
    struct cw_wire_hdr h = { .type = CW_FT_JOIN_OK,
                             .shard = s->copy->shard,
                             .gen = s->gen,
                             .seq = s->s0,
                             .tag = f->hdr->tag,
                             .stable = s->join_id };

    if (s->s0 != f->hdr->seq)
        cw_peer_nack_copy(ses->peer, s->copy, f->hdr->tag, CW_NACK_STATE, 0);
    else if (s->step == CW_SYNC_JOINING)
        s->join_tag = f->hdr->tag;
    else
        cw_peer_send(ses->peer, cw_frame_plain(s->r->pool, h));
}

/* What a JOIN of that kind may not be for this copy. */
static bool
sync_may_not(const struct cw_copy *c, uint64_t join_id)
{
    const struct cw_store_shard_info *info = c->info;

    if (CW_JOIN_KIND(join_id) != CW_JOIN_OVERLAY)
        return false;
    /* all but what the journal has must be here: also after a JOIN of that kind that was broken off
     */
    return info->damaged || info->journal || (info->last_gen == 0 && info->last_seq == 0) ||
           (info->syncing && CW_JOIN_KIND(info->join_id) != CW_JOIN_OVERLAY);
}

void
cw_sync_on_join(struct cw_peer *p, const struct cw_frame *f)
{
    struct cw_session *ses = cw_peer_session(p, f);

    if (ses == NULL)
        return;
    if (f->hdr->seq == 0 || f->hdr->stable == 0)
        cw_peer_offend(p, f, "no position or no join id");
    else if (CW_JOIN_KIND(f->hdr->stable) == CW_JOIN_JOURNAL)
        cw_journal_on_join(ses, f);
    else if (sync_may_not(ses->copy, f->hdr->stable))
        cw_peer_nack_copy(p, ses->copy, f->hdr->tag, CW_NACK_STATE, 0);
    else if (ses->copy->sync != NULL && ses->copy->sync->join_id == f->hdr->stable)
        sync_join_again(ses, ses->copy->sync, f);
    else
        sync_join(ses, f);
}

void
cw_sync_on_sync_from(struct cw_peer *p, const struct cw_frame *f)
{
    struct cw_session *ses = cw_peer_session(p, f);
    struct cw_wire_sync_from at;
    struct cw_sync *s;

    if (ses == NULL)
        return;
    if (f->data_len != sizeof(at)) {
        cw_peer_offend(p, f, "not a location");
        return;
    }
    memcpy(&at, f->data, sizeof(at));
    if (memchr(at.addr, 0, sizeof(at.addr)) == NULL ||
        memchr(at.unix_path, 0, sizeof(at.unix_path)) == NULL) {
        cw_peer_offend(p, f, "not a location");
        return;
    }
    s = ses->copy->sync;
    if (s == NULL || s->join_id != f->hdr->stable)
        return; /* of a join that is over */
    s->rate_bytes = at.rate_bytes;
    s->since_seq = at.since_seq;
    cw_source_set(s, &at);
    cw_sync_pump(s);
}

/* ---- frames of the source ---- */

static struct cw_sync *
source_find_sync(struct cw_source *src, uint64_t shard)
{
    CW_LIST_EACH (it, &src->syncs) {
        struct cw_sync *s = cw_list_entry(it, struct cw_sync, in_source);

        if (s->copy->shard == shard)
            return s;
    }
    return NULL;
}

static struct cw_slot *
sync_find_slot(struct cw_sync *s, uint32_t tag)
{
    CW_LIST_EACH (it, &s->slots) {
        struct cw_slot *sl = cw_list_entry(it, struct cw_slot, in_sync);

        if (sl->state == CW_SLOT_ASKED && sl->tag == tag)
            return sl;
    }
    return NULL;
}

void
cw_sync_refused(struct cw_sync *s, uint32_t code)
{
    s->why = code;
}

static void
sync_on_nack(struct cw_sync *s, struct cw_slot *sl, const struct cw_frame *f)
{
    struct cw_wire_nack n;

    if (f->data_len != sizeof(n))
        return;
    memcpy(&n, f->data, sizeof(n));
    cw_sync_refused(s, n.code);
    if (sl != NULL) {
        cw_slot_ask_again(sl, 200 * CW_NS_PER_MS);
    } else if (s->list_tag == f->hdr->tag) {
        s->list_tag = 0;
        s->list_retry_ns = cw_now_ns(s->r->env) + 200 * CW_NS_PER_MS;
    }
}

/* Everything here is for one request that is still wanted: its tag is out on this very link, its
 * join is the present one, and that one's generation is still the promised one (1.10 step 3). */
void
cw_sync_on_answer(struct cw_source *src, const struct cw_frame *f)
{
    const struct cw_wire_hdr *h = f->hdr;
    struct cw_sync *s = source_find_sync(src, h->shard);
    struct cw_slot *sl;

    if (s == NULL || h->tag == 0 || s->gen != s->copy->fence_gen)
        return;
    sl = sync_find_slot(s, h->tag);
    if (h->type == CW_FT_NACK)
        sync_on_nack(s, sl, f);
    else if (h->stable != s->join_id)
        return;
    else if (h->type == CW_FT_VER_DATA &&
             (h->tag == s->list_tag || cw_mutated(CW_MUTATION_LIST_OLD)))
        cw_sync_list_on_data(s, f);
    else if (h->type == CW_FT_CHUNK_DATA && sl != NULL)
        cw_slot_on_data(sl, f);
    cw_sync_pump(s);
}

void
cw_sync_on_source_down(struct cw_sync *s)
{
    s->why = 0;
    s->list_tag = 0;
    s->list_retry_ns = 0;
    CW_LIST_EACH_SAFE (it, &s->slots) {
        struct cw_slot *sl = cw_list_entry(it, struct cw_slot, in_sync);

        if (sl->state == CW_SLOT_ASKED)
            cw_slot_ask_again(sl, 0);
    }
    sync_arm(s);
}
