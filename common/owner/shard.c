/* A shard: its members as the record and an unresolved change make them (I3, I4), and what follows
 * when acks arrive.
 *
 *   ack set, lease set: whoever is or may be INSYNC, and a joining copy
 *   read set:           whoever is INSYNC and stays so
 *   acked = min durable over the ack set; reads see what is up to it, and flushes wait for it
 *   told  = acked, or with ack=replicated min received over the ack set; writes complete in order
 *           up to it */
#include "common/owner/room.h"

#include <stdlib.h>

#define STUCK_NS CW_NS_PER_S /* on top of the 2 s after which a disk calls itself stuck */
#define FLAP_FORGET_NS (3600 * CW_NS_PER_S)
#define LAG_TIMES 10u
#define ASYNC_TIMES 100u /* five minutes, if what owners keep lasts as long */
#define KEEP_NS \
    (10 * CW_NS_PER_S)   /* what a copy lacked when it left, as long as memory is plenty */
#define CUT_RECORDS 256u /* behind, before memory is taken back from a copy */

/* ---- life ---- */

static bool
shard_add_copy(struct shard *s, const struct cw_member *m)
{
    struct copy *c;

    if (s->n_copies == CW_LEN(s->copies))
        return false;
    c = cw_own_copy_new(s, m);
    if (c == NULL)
        return false;
    if (m->state == CW_MEMBER_IN_RESYNC)
        c->sync = SYNC_WANTED;
    if (m->state == CW_MEMBER_LAGGING)
        cw_own_gray_suspect(c);
    s->copies[s->n_copies++] = c;
    return true;
}

struct shard *
cw_own_shard_new(struct cw_volume *v, const struct cw_shard_rec *rec)
{
    struct shard *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    s->v = v;
    s->rec = *rec;
    s->index = CW_SHARD_INDEX(rec->shard);
    s->first_seal_ns = s->below_since_ns = s->starved_since_ns = CW_NEVER;
    cw_list_init(&s->hash_node);
    cw_list_init(&s->dirty_node);
    cw_list_init(&s->queue);
    cw_list_init(&s->locks);
    cw_list_init(&s->readers);
    cw_list_init(&s->reading);
    cw_list_init(&s->flushes);
    cw_list_init(&s->notes);
    cw_own_spans_init(s);
    s->ring.first = s->ring.next = 1;
    for (uint32_t i = 0; i < rec->n_members; i++) {
        if (!shard_add_copy(s, &rec->members[i])) {
            cw_own_shard_free(s);
            return NULL;
        }
    }
    cw_own_hash_shard(v->o, s);
    return s;
}

void
cw_own_shard_free(struct shard *s)
{
    struct cw_owner *o = s->v->o;

    cw_list_remove(&s->dirty_node);
    cw_list_remove(&s->hash_node);
    cw_own_equalise_end(s);
    cw_own_notes_free(s);
    for (uint64_t seq = s->ring.first; seq < s->ring.next; seq++) {
        struct rec *r = cw_own_ring_at(&s->ring, seq);

        cw_own_spans_remove(s, r);
        r->part = NULL;
    }
    if (s->syncing != NULL)
        o->n_syncing--;
    cw_own_ring_fini(o, &s->ring);
    for (uint32_t i = 0; i < s->n_copies; i++)
        cw_own_copy_free(s->copies[i]);
    free(s->hist);
    free(s);
}

/* Ends every session. The requests have been dealt with. */
void
cw_own_shard_close(struct shard *s, bool orderly)
{
    s->state = SHARD_CLOSED;
    cw_own_equalise_end(s);
    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];

        if (c->sync != SYNC_IDLE)
            c->sync = SYNC_WANTED;
        if (orderly)
            cw_own_copy_close(c);
        else
            cw_own_copy_reset_stream(c);
        c->session = SESSION_NONE;
    }
    if (s->syncing != NULL)
        s->v->o->n_syncing--;
    s->syncing = NULL;
}

/* The owner's history: that of the copy it continues, and our own beginning. */
void
cw_own_shard_history(struct shard *s, const struct seal_info *src, uint32_t gen, uint64_t start)
{
    uint32_t n = src->n_hist;
    struct cw_wire_hist *hist = calloc(n + 1, sizeof(*hist));

    if (hist == NULL)
        return; /* late LAGGING copies then fail the test: safe */
    if (n > 0)
        memcpy(hist, src->hist, n * sizeof(*hist));
    if (n == 0 || hist[n - 1].gen != gen)
        hist[n++] = (struct cw_wire_hist){ .start_seq = start, .gen = gen };
    free(s->hist);
    s->hist = hist;
    s->n_hist = n;
}

/* ---- the record ---- */

static struct copy *
shard_find_copy(struct shard *s, const struct cw_member *m)
{
    for (uint32_t i = 0; i < s->n_copies; i++) {
        if (s->copies[i]->format_id == m->format_id &&
            cw_uuid_equal(&s->copies[i]->disk_uuid, &m->disk_uuid))
            return s->copies[i];
    }
    return NULL;
}

static void
copy_leave_sync(struct copy *c)
{
    if (c->s->syncing == c) {
        c->s->syncing = NULL;
        c->s->v->o->n_syncing--;
    }
    c->sync = SYNC_IDLE;
    c->joining = false;
}

/* Each time it has to wait longer before it is taken back. */
static void
copy_back_off(struct copy *c)
{
    struct cw_owner *o = c->s->v->o;
    uint64_t now = cw_own_now(o);

    if (c->s->state != SHARD_ACTIVE)
        return; /* it was away before we came: no fault of its own under us */
    if (c->state == CW_MEMBER_INSYNC && now - c->insync_since_ns > FLAP_FORGET_NS)
        c->n_flaps = 0;
    c->add_after_ns = now + cw_min_u64(o->tun.flap_min_ns << (c->n_flaps < 20 ? c->n_flaps : 20),
                                       o->tun.flap_max_ns);
    c->n_flaps++;
}

/* A journal is of most use if it begins where this copy ends, and those that left just before. */
static void
copy_keep_rest(struct copy *c)
{
    struct shard *s = c->s;
    uint64_t now = cw_own_now(s->v->o);
    bool others = now < s->keep_until_ns && s->keep_seq + 1 >= s->ring.first;

    if (c->state != CW_MEMBER_INSYNC || s->state != SHARD_ACTIVE || !c->streaming)
        return;
    s->keep_seq = others ? cw_min_u64(s->keep_seq, c->durable) : c->durable;
    s->keep_until_ns = now + KEEP_NS;
}

static void
copy_becomes_out(struct copy *c)
{
    copy_keep_rest(c);
    cw_own_read_forget_copy(c->s, c);
    copy_leave_sync(c);
    cw_own_copy_close(c);
    c->faulty = c->disk_failed = false;
    copy_back_off(c);
}

static void
copy_becomes_lagging(struct copy *c)
{
    cw_own_read_forget_copy(c->s, c);
    cw_own_gray_suspect(c);
    copy_back_off(c);
}

static void
copy_take_state(struct copy *c, enum cw_member_state state, uint64_t since_seq)
{
    if (state == CW_MEMBER_JOURNAL && since_seq != 0 && c->since_seq == 0)
        cw_log(c->s->v->o->env, CW_LOG_NOTICE, "shard %llx: journal on %s since %llu",
               (unsigned long long)c->s->rec.shard, c->peer->loc.addr,
               (unsigned long long)since_seq);
    if (state != c->state) {
        cw_log(c->s->v->o->env, CW_LOG_NOTICE, "shard %llx: copy on %s: %s -> %s",
               (unsigned long long)c->s->rec.shard, c->peer->loc.addr,
               cw_member_state_name(c->state), cw_member_state_name(state));
        if (state == CW_MEMBER_OUT || state == CW_MEMBER_DEAD)
            copy_becomes_out(c);
        if (state == CW_MEMBER_OUT)
            c->away_ns = cw_own_now(c->s->v->o);
        if (state == CW_MEMBER_LAGGING)
            copy_becomes_lagging(c);
        if (state == CW_MEMBER_INSYNC) {
            copy_leave_sync(c);
            c->insync_since_ns = cw_own_now(c->s->v->o);
        }
        if (state == CW_MEMBER_IN_RESYNC)
            c->sync = SYNC_WANTED;
    }
    c->state = c->want = state;
    c->since_seq = c->want_since = since_seq;
    c->maybe = (uint32_t)CW_BIT(state);
    if (state != CW_MEMBER_IN_RESYNC && (state != CW_MEMBER_JOURNAL || since_seq != 0))
        c->joining = false;
    cw_own_copy_pump(c); /* it may not be held behind a journal any more */
}

/* One that was to follow, and is to be a copy like the others now, is promoted as any that lags. */
static void
copy_take_member(struct copy *c, const struct cw_member *m)
{
    c->async = m->async;
    copy_take_state(c, m->state, m->since_seq);
}

static void
shard_drop_copy(struct shard *s, uint32_t i)
{
    struct copy *c = s->copies[i];

    cw_own_read_forget_copy(s, c);
    copy_leave_sync(c);
    cw_own_copy_close(c);
    for (uint32_t k = 0; k < s->n_copies; k++) {
        if (s->copies[k]->source == c)
            s->copies[k]->source = NULL;
    }
    s->copies[i] = s->copies[--s->n_copies];
    cw_own_copy_free(c);
}

/* A journal begins where there is no copy: ours went, and we were not told of that record. */
static bool
is_another(const struct copy *c, const struct cw_member *m)
{
    return m->state == CW_MEMBER_JOURNAL && m->since_seq == 0 &&
           (c->state != CW_MEMBER_JOURNAL || c->since_seq != 0);
}

/* Takes the record as it is now. Ends any doubt: whoever calls has seen a cfg above the compared
 * one. */
void
cw_own_shard_adopt(struct shard *s, const struct cw_shard_rec *rec)
{
    bool streams_changed = false;

    s->rec = *rec;
    for (uint32_t i = s->n_copies; i-- > 0;) {
        struct copy *c = s->copies[i];
        const struct cw_member *m = cw_shard_rec_find(rec, &c->disk_uuid, c->format_id);
        bool streamed = c->streaming, gone = m == NULL || is_another(c, m);

        if (gone)
            shard_drop_copy(s, i);
        else
            copy_take_member(c, m);
        streams_changed |= streamed && (gone || !c->streaming);
    }
    for (uint32_t i = 0; i < rec->n_members; i++) {
        if (shard_find_copy(s, &rec->members[i]) == NULL)
            shard_add_copy(s, &rec->members[i]);
    }
    for (uint32_t i = 0; i < s->n_copies; i++) {
        cw_own_copy_send_rec(s->copies[i]);
        if (s->state != SHARD_CLOSED)
            cw_own_copy_session(s->copies[i]);
    }
    if (streams_changed && (s->state == SHARD_EQUALISING || s->state == SHARD_GEN_START))
        cw_own_takeover_begin(s);
    cw_own_mark_dirty(s);
}

/* ---- sets ---- */

static uint32_t
shard_n_insync(const struct shard *s)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->n_copies; i++)
        n += s->copies[i]->state == CW_MEMBER_INSYNC;
    return n;
}

uint32_t
cw_own_shard_min_insync(const struct shard *s)
{
    const struct cw_volume *v = s->v;

    if (v->degrade_s >= 0 && s->below_since_ns != CW_NEVER &&
        cw_own_now(v->o) - s->below_since_ns >= (uint64_t)v->degrade_s * CW_NS_PER_S)
        return 1;
    return v->min_insync;
}

/* Copies that have each new write, if there is one to read it from. */
static uint32_t
shard_n_durable(const struct shard *s)
{
    uint32_t n_insync = shard_n_insync(s), n = n_insync;

    for (uint32_t i = 0; i < s->n_copies && n_insync > 0; i++)
        n += cw_own_is_log(s->copies[i]);
    return n;
}

bool
cw_own_shard_may_ack(const struct shard *s)
{
    return shard_n_durable(s) >= cw_own_shard_min_insync(s) || cw_mutated(CW_MUTATION_BELOW_MIN);
}

bool
cw_own_shard_lease(const struct shard *s)
{
    uint64_t now = cw_own_now(s->v->o);

    if (s->state != SHARD_ACTIVE)
        return false;
    for (uint32_t i = 0; i < s->n_copies; i++) {
        if (cw_mutated(CW_MUTATION_LEASE_ONE) && cw_own_copy_lease(s->copies[i], now))
            return true;
        if (cw_mutated(CW_MUTATION_LEASE_OLD) && s->copies[i]->state != CW_MEMBER_INSYNC)
            continue;
        if (cw_own_in_ack(s->copies[i]) && !cw_own_copy_lease(s->copies[i], now))
            return false;
    }
    return true;
}

/* ---- acks ---- */

static void
shard_tell(struct shard *s, uint64_t to)
{
    while (s->told < to) {
        struct rec *r = cw_own_ring_at(&s->ring, s->told + 1);
        struct part *p = r->part;

        s->told++;
        r->part = NULL;
        if (cw_mutated(CW_MUTATION_READ_TOLD))
            cw_own_spans_remove(s, r);
        if (p != NULL)
            cw_own_part_done(p, 0);
    }
}

static void
shard_settle(struct shard *s, uint64_t to)
{
    shard_tell(s, to);
    while (s->acked < to)
        cw_own_spans_remove(s, cw_own_ring_at(&s->ring, ++s->acked));
    s->stable = s->acked;
}

/* Copies that are not waited for may not hold the buffer for ever. */
static bool
shard_cut(struct shard *s, struct copy *c)
{
    struct cw_owner *o = s->v->o;

    if (s->ring.next - s->ring.first < CW_TAIL_MAX / 4 * 3 &&
        o->retained_bytes < o->tun.retain_bytes / 4 * 3 &&
        (s->ring.next - c->durable < CUT_RECORDS ||
         cw_buf_pool_used(o->pool) < cw_buf_pool_limit(o->pool) / 8 * 7))
        return false;
    if (c->state == CW_MEMBER_IN_RESYNC)
        cw_own_resync_stop(c, "it fell behind the stream");
    else
        cw_own_copy_fault(c, "it fell behind the stream");
    cw_own_copy_cut_stream(c);
    return true;
}

static bool
shard_keeps(const struct shard *s)
{
    const struct cw_owner *o = s->v->o;

    return cw_own_now(o) < s->keep_until_ns && s->ring.next - s->ring.first < CW_TAIL_MAX / 2 &&
           o->retained_bytes < o->tun.retain_bytes / 2;
}

void
cw_own_shard_trim(struct shard *s)
{
    uint64_t to = shard_keeps(s) ? cw_min_u64(s->stable, s->keep_seq) : s->stable;

    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];

        if ((!c->streaming && c->state != CW_MEMBER_INSYNC) || c->durable >= to)
            continue;
        if (cw_own_in_ack(c) || !shard_cut(s, c))
            to = c->durable;
    }
    cw_own_ring_trim(s->v->o, &s->ring, to);
}

static uint64_t
copy_received(const struct copy *c)
{
    return cw_max_u64(c->received, c->durable);
}

void
cw_own_shard_advance(struct shard *s)
{
    uint64_t min = UINT64_MAX, got = UINT64_MAX;

    if (s->state != SHARD_ACTIVE)
        return;
    for (uint32_t i = 0; i < s->n_copies; i++) {
        const struct copy *c = s->copies[i];

        if (cw_own_in_ack(c)) {
            min = cw_min_u64(min, c->durable);
            got = cw_min_u64(got, copy_received(c));
        }
        if (cw_mutated(CW_MUTATION_ACK_ONE) && c->durable > s->acked)
            min = c->durable;
        if (cw_mutated(CW_MUTATION_RECEIPT_EARLY) && copy_received(c) > s->told)
            got = copy_received(c);
    }
    if (min == UINT64_MAX || !cw_own_shard_may_ack(s))
        return;
    if (s->v->ack_replicated && got != UINT64_MAX)
        shard_tell(s, got);
    if (min > s->acked)
        shard_settle(s, min);
}

/* ---- who must go ---- */

/* Why this copy is of no use to anybody; NULL: it is. */
const char *
cw_own_copy_bad(const struct copy *c, uint64_t now)
{
    bool follows = c->async && c->state == CW_MEMBER_LAGGING && c->streaming;
    uint64_t limit = c->s->v->o->tun.eject_ns * (follows ? ASYNC_TIMES : 1);
    uint64_t silent = cw_own_peer_silent_since(c->peer);

    if (c->faulty)
        return c->why;
    if (c->lost_ns != CW_NEVER && (now - c->lost_ns >= limit || (c->peer->hint_down && !follows)))
        return "cannot be reached";
    if (c->lost_ns == CW_NEVER && silent < now && now - silent >= limit)
        return "does not answer heartbeats";
    if (c->peer->stuck_since_ns != CW_NEVER && now - c->peer->stuck_since_ns >= STUCK_NS)
        return "its disk is stuck";
    return NULL;
}

/* Alive, but a record has been waiting for it for too long; a copy that nobody waits for has more
 * time. */
static bool
copy_overdue(const struct copy *c, uint64_t now)
{
    uint64_t limit = c->s->v->o->tun.eject_ns;

    if (c->async)
        limit *= ASYNC_TIMES;
    else if (c->state == CW_MEMBER_LAGGING)
        limit *= LAG_TIMES;
    return cw_own_copy_waits_ns(c, now) >= limit;
}

/* Whoever does not is not slow: its heartbeats will soon have been silent for too long. */
static bool
copy_answers(const struct copy *c, uint64_t now)
{
    uint64_t silent = cw_own_peer_silent_since(c->peer);

    return silent >= now || now - silent < 2 * c->s->v->o->tun.heartbeat_ns;
}

/* Enough copies in sync that a journal would add nothing to what each write has. */
static bool
enough_without_journal(const struct shard *s, uint32_t n_good)
{
    return n_good >= cw_max_u64(s->v->min_insync, 2);
}

/* A journal is given up when it is not needed or of no use; not the one on which alone, with a copy
 * that may return, the volume rests. */
static enum cw_member_state
journal_verdict(const struct copy *c, uint64_t now, uint32_t n_good, const char **ret_why)
{
    const char *why = cw_own_copy_bad(c, now);

    if (why == NULL && copy_overdue(c, now))
        why = "does not make records durable";
    if (why == NULL && now < c->evict_until_ns)
        why = "it is to leave";
    if (why == NULL && enough_without_journal(c->s, n_good))
        why = "enough copies are in sync";
    if (why == NULL || (cw_own_is_log(c) && n_good == 0))
        return c->state;
    *ret_why = why;
    return CW_MEMBER_DEAD;
}

/* In sync, and there is nothing to be said against it but that it may be slow. */
static bool
copy_is_good(const struct copy *c, uint64_t now)
{
    return c->state == CW_MEMBER_INSYNC && c->session == SESSION_OPEN && now >= c->evict_until_ns &&
           cw_own_copy_bad(c, now) == NULL && !copy_overdue(c, now);
}

/* What a member should become that cannot be waited for any longer; its state: it can. */
static enum cw_member_state
copy_verdict(const struct copy *c, uint64_t now, uint32_t n_good, const char **ret_why)
{
    bool in = c->state == CW_MEMBER_INSYNC && n_good > 0;
    /* a SYNCING one that waits for its turn has no session and need not have one */
    bool extra = (c->state == CW_MEMBER_IN_RESYNC &&
                  (c->peer->state != PEER_UP || c->faulty || c->s->syncing == c)) ||
                 (c->state == CW_MEMBER_LAGGING && n_good > 0);
    const char *bad = cw_own_copy_bad(c, now);

    if (c->state == CW_MEMBER_JOURNAL)
        return journal_verdict(c, now, n_good, ret_why);
    if (!in && !extra)
        return c->state;
    if (c->since_seq != 0 && n_good == 0 && !c->faulty)
        return c->state; /* with the journal it is all there is: it may come back */
    if (bad != NULL) {
        *ret_why = bad;
        return CW_MEMBER_OUT;
    }
    if (copy_overdue(c, now)) {
        bool spared = c->state == CW_MEMBER_INSYNC && n_good >= c->s->v->min_insync;

        if (spared && !(copy_answers(c, now) && cw_own_may_set_aside(c, n_good)))
            return c->state;
        *ret_why = "does not make records durable";
        return spared ? CW_MEMBER_LAGGING : CW_MEMBER_OUT;
    }
    if ((cw_own_gray_is_slow(c) || c->peer->flaps.shaky) &&
        cw_own_may_set_aside(c, n_good - copy_is_good(c, now))) {
        *ret_why = c->peer->flaps.shaky ? "its link flaps" : "slower than the others";
        return CW_MEMBER_LAGGING;
    }
    return c->state;
}

/* Members that cannot be waited for leave the ack set in one change, as long as one good in-sync
 * copy stays; slow ones one at a time. */
void
cw_own_shard_judge(struct shard *s)
{
    uint64_t now = cw_own_now(s->v->o);
    const char *why = NULL;
    uint32_t n_good = 0, n_out = 0;

    if (s->state != SHARD_ACTIVE || !cw_own_change_idle(s))
        return;
    for (uint32_t i = 0; i < s->n_copies; i++)
        n_good += copy_is_good(s->copies[i], now);
    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];

        c->want = copy_verdict(c, now, n_good, &why);
        c->want_since = c->since_seq;
        if (c->want == CW_MEMBER_LAGGING)
            n_good -= copy_is_good(c, now);
        if (now < c->evict_until_ns && c->state != CW_MEMBER_DEAD &&
            c->state != CW_MEMBER_JOURNAL && cw_own_are_enough(s, n_good)) {
            why = "it is to leave";
            c->want = CW_MEMBER_DEAD;
        }
        n_out += c->want != c->state;
    }
    if (n_out > 0)
        cw_own_change_begin(s, why);
}

/* ---- turns and ticks ---- */

/* Whatever was wrong with a copy that is OUT already, nobody needs to eject it: after a while it is
 * tried again. */
static void
shard_forgive_out(struct shard *s)
{
    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];

        if (!c->faulty || c->maybe != CW_BIT(CW_MEMBER_OUT))
            continue;
        c->faulty = c->disk_failed = false;
        copy_back_off(c);
    }
}

void
cw_own_shard_run(struct shard *s)
{
    if (s->state == SHARD_CLOSED)
        return;
    if (s->state != SHARD_ACTIVE)
        cw_own_takeover_run(s);
    if (s->state != SHARD_ACTIVE)
        return;
    for (uint32_t i = 0; i < s->n_copies; i++) {
        if (s->copies[i]->faulty) {
            cw_own_shard_judge(s);
            break;
        }
    }
    shard_forgive_out(s);
    cw_own_shard_advance(s);
    cw_own_shard_trim(s);
    if (!cw_list_empty(&s->flushes))
        cw_own_flush_kick(s);
    if (!cw_list_empty(&s->queue))
        cw_own_write_kick(s);
    if (!cw_list_empty(&s->readers))
        cw_own_read_kick(s);
    if (!cw_list_empty(&s->notes))
        cw_own_notes_run(s);
    if (s->rec.n_members > 1) {
        cw_own_gray_run(s);
        cw_own_journal_run(s);
        cw_own_resync_run(s);
    }
    if (s->v->state == CW_VOLUME_RELEASING)
        cw_own_volume_run(s->v);
}

static void
shard_note_below(struct shard *s)
{
    if (shard_n_durable(s) >= s->v->min_insync)
        s->below_since_ns = CW_NEVER;
    else if (s->below_since_ns == CW_NEVER)
        s->below_since_ns = cw_own_now(s->v->o);
}

static const char *
shard_suspended_why(struct shard *s)
{
    if (s->state != SHARD_ACTIVE)
        return s->why != NULL ? s->why : "the takeover is under way";
    if (!cw_own_shard_may_ack(s))
        return "fewer in-sync copies than min-insync";
    if (s->starved_since_ns != CW_NEVER && cw_own_now(s->v->o) - s->starved_since_ns > CW_NS_PER_S)
        return "no space for more on an in-sync copy";
    for (uint32_t i = 0; i < s->n_copies; i++) {
        const struct copy *c = s->copies[i];

        if (cw_own_in_ack(c) && c->lost_ns != CW_NEVER)
            return cw_own_change_idle(s) ? "an in-sync copy cannot be reached"
                                         : "the manager has not confirmed a change of members";
    }
    return NULL;
}

void
cw_own_shard_tick(struct shard *s)
{
    if (s->state == SHARD_CLOSED)
        return;
    shard_note_below(s);
    cw_own_journal_tick(s);
    for (uint32_t i = 0; i < s->n_copies; i++) {
        cw_own_copy_session(s->copies[i]);
        cw_own_copy_ask_receipts(s->copies[i]);
    }
    cw_own_change_tick(s);
    cw_own_shard_judge(s);
    cw_own_read_tick(s);
    s->why = shard_suspended_why(s);
    if (s->state != SHARD_ACTIVE || !cw_list_empty(&s->queue) || !cw_list_empty(&s->readers) ||
        !cw_list_empty(&s->flushes) || s->syncing != NULL || shard_n_insync(s) < s->rec.n_members ||
        !cw_list_empty(&s->notes))
        cw_own_mark_dirty(s);
}

/* ---- checks ---- */

void
cw_own_shard_check(const struct shard *s)
{
    const struct ring *r = &s->ring;
    uint32_t spans = 0;

    cw_assert(r->first <= r->next && r->next - r->first <= CW_TAIL_MAX);
    cw_assert(s->n_copies <= CW_LEN(s->copies));
    if (s->state == SHARD_ACTIVE) {
        cw_assert(s->told < r->next && s->acked <= s->told && s->stable <= s->acked);
        cw_assert(r->next - s->stable <= CW_TAIL_MAX);
    }
    for (uint64_t seq = r->first; seq < r->next; seq++) {
        const struct rec *rec = cw_own_ring_at(r, seq);

        cw_assert(rec->seq == seq && rec->msg != NULL);
        cw_assert(s->state != SHARD_ACTIVE || seq > s->told || rec->part == NULL);
        cw_assert(s->state != SHARD_ACTIVE || seq > s->acked || rec->n_span == 0);
        spans += rec->n_span > 0;
    }
    cw_assert(spans == s->n_spans);
    for (uint32_t i = 0; i < s->n_copies; i++) {
        const struct copy *c = s->copies[i];

        cw_assert(c->s == s && (c->maybe & CW_BIT(c->state)) != 0);
        cw_assert(cw_popcount(c->maybe) == 1 || s->change.state != CHANGE_IDLE);
        cw_assert(!c->joining || c->state == CW_MEMBER_IN_RESYNC || c->state == CW_MEMBER_LAGGING ||
                  (c->state == CW_MEMBER_JOURNAL && c->since_seq == 0));
        cw_assert((c->session == SESSION_OPEN) == (c->lost_ns == CW_NEVER) ||
                  s->state == SHARD_CLOSED);
        cw_assert(!c->streaming || s->state != SHARD_ACTIVE || c->durable < r->next);
        cw_assert(!c->streaming || s->state != SHARD_ACTIVE || c->faulty ||
                  c->durable + 1 >= r->first);
    }
}
