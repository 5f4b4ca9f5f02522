/* Bringing a copy back, replication.md 1.10, from the owner's side.
 *
 *   OUT --CAS--> SYNCING: WANTED --session, JOIN--> JOINING --JOIN_OK, SYNC_FROM--> COPYING
 * --SYNC_DONE--> DONE --from p = next_seq on in ack and lease set; p-1 durable everywhere--CAS-->
 * INSYNC
 *
 * One copy of a shard at a time, and a few shards at a time: those with the fewest copies in sync
 * begin first; what has begun is not interrupted for them. Chunks flow from the source to the
 * copy without us; the stream of new records is ours. Where no copy in sync is left, a journal is
 * the source of a copy that has all the rest (journal.c). */
#include "common/owner/room.h"

#include <stdio.h>

#define RETRY_NS CW_NS_PER_S
#define SOURCE_NS (2 * CW_NS_PER_S) /* a stalled source is changed at most so often */
#define STALL_NS (10 * CW_NS_PER_S) /* without progress */
#define RATE_MIN (256 * CW_KIB)     /* of one resync: a chunk well within STALL_NS */

/* ---- slots ---- */

static void
slot_take(struct copy *c)
{
    cw_assert(c->s->syncing == NULL);
    c->s->syncing = c;
    c->s->v->o->n_syncing++;
    c->lost_ns = c->session == SESSION_OPEN ? CW_NEVER : cw_own_now(c->s->v->o);
}

static void
slot_give(struct shard *s)
{
    s->syncing = NULL;
    s->v->o->n_syncing--;
}

void
cw_own_resync_stop(struct copy *c, const char *why)
{
    struct shard *s = c->s;

    cw_assert(!(c->maybe & CW_BIT(CW_MEMBER_INSYNC)));
    cw_log(s->v->o->env, CW_LOG_NOTICE, "shard %llx: resync of %s begins again: %s",
           (unsigned long long)s->rec.shard, c->peer->loc.addr, why);
    cw_own_copy_reset_stream(c);
    c->sync = SYNC_WANTED;
    c->join_id = 0;
    c->add_after_ns = cw_own_now(s->v->o) + RETRY_NS;
}

/* ---- the source ---- */

static bool
source_serves(const struct copy *c)
{
    return cw_own_in_read(c) && c->session == SESSION_OPEN && !c->faulty;
}

/* Of a copy in sync. */
static struct copy *
source_choose(struct shard *s, const struct copy *x, const struct copy *but)
{
    struct copy *best = NULL;
    bool best_near = false;

    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];
        bool near = strcmp(c->peer->loc.at.site, x->peer->loc.at.site) == 0;

        if (!source_serves(c) || c == but)
            continue;
        if (best == NULL || (near && !best_near) ||
            (near == best_near && c->peer->read_ewma_ns < best->peer->read_ewma_ns)) {
            best = c;
            best_near = near;
        }
    }
    return best;
}

/* ---- JOIN ---- */

/* The copy may be made whole by the journal, and the record says so: whatever becomes of us, the
 * next owner knows that the two belong together. */
static bool
may_overlay(const struct copy *c)
{
    const struct copy *log = cw_own_journal_of(c->s);

    return log != NULL && c->restorable && c->since_seq == log->since_seq;
}

/* A copy that may be whole with the journal is not joined otherwise before that is known. */
static bool
must_be_tested(struct copy *c)
{
    if (c->since_seq == 0 || c->tested || !c->s->has_log)
        return false;
    if (cw_own_journal_of(c->s) != NULL) { /* it was not there when the copy was sealed */
        c->sealed = false;
        cw_own_copy_close(c);
    }
    return true;
}

/* Without a source a JOIN would only make the copy worse than it is. False: not now. */
static bool
join_kind(struct copy *c, enum cw_join_kind *ret)
{
    *ret = may_overlay(c) ? CW_JOIN_OVERLAY : CW_JOIN_COPY;
    return *ret == CW_JOIN_OVERLAY || (!must_be_tested(c) && source_choose(c->s, c, c) != NULL);
}

void
cw_own_resync_on_open(struct copy *c)
{
    struct shard *s = c->s;
    struct cw_owner *o = s->v->o;
    struct cw_wire_hdr h = {
        .type = CW_FT_JOIN, .shard = s->rec.shard, .gen = s->v->gen, .cfg = s->rec.cfg
    };
    enum cw_join_kind kind;

    if (c->sync != SYNC_WANTED || s->state != SHARD_ACTIVE || s->syncing != c || c->call.tag != 0 ||
        (c->maybe & CW_BIT(CW_MEMBER_INSYNC)) || cw_own_now(o) < c->add_after_ns ||
        !join_kind(c, &kind))
        return;
    if (kind == CW_JOIN_OVERLAY && !(c->peer->link->features & CW_FEATURE_JOURNAL)) {
        cw_own_copy_fault(c, "its daemon knows no journals");
        return;
    }
    cw_own_copy_reset_stream(c);
    c->join_id = CW_JOIN_ID(kind, ++o->join_count);
    c->s0 = kind == CW_JOIN_OVERLAY ? cw_own_journal_of(s)->durable + 1 : s->ring.next;
    h.seq = c->s0;
    h.stable = c->join_id;
    if (!cw_own_call(c->peer, &c->call, h, NULL, 0))
        return;
    c->sync = SYNC_JOINING;
    c->streaming = true;
    c->held = true; /* the stream begins at s0, once the copy stands there durably */
    c->durable = c->s0 - 1;
    c->send_seq = c->s0;
    c->chunks_left = c->chunks_total = c->bytes_moved = 0;
    c->progress_ns = cw_own_now(o);
    c->source = NULL;
}

/* An equal share of what all may have. */
static uint64_t
resync_rate(const struct cw_owner *o)
{
    uint64_t rate = cw_pace_rate(&o->pace), fixed = o->tun.resync_bytes_per_s;

    if (rate > 0)
        rate = cw_max_u64(rate / cw_max_u64(o->n_syncing, 1), RATE_MIN);
    return rate == 0 || (fixed > 0 && fixed < rate) ? fixed : rate;
}

static void
source_send(struct copy *x, const struct copy *source)
{
    const struct cw_disk_location *l = &source->peer->loc;
    struct cw_owner *o = x->s->v->o;
    struct cw_wire_sync_from f = { .format_id = l->format_id,
                                   .rate_bytes = resync_rate(o),
                                   .since_seq = cw_own_is_overlay(x) ? x->since_seq : 0 };

    memcpy(f.disk_uuid, l->disk_uuid.b, sizeof(f.disk_uuid));
    snprintf(f.addr, sizeof(f.addr), "%s", l->addr);
    snprintf(f.unix_path, sizeof(f.unix_path), "%s", l->unix_path);
    memcpy(f.boot_id, l->at.boot_id.b, sizeof(f.boot_id));
    x->told_rate = f.rate_bytes;
    cw_own_peer_send(x->peer,
                     (struct cw_wire_hdr){ .type = CW_FT_SYNC_FROM,
                                           .shard = x->s->rec.shard,
                                           .gen = x->s->v->gen,
                                           .stable = x->join_id },
                     &f, sizeof(f));
}

static void
source_tell(struct copy *x, struct copy *source)
{
    x->source = source;
    x->source_ns = cw_own_now(x->s->v->o);
    source_send(x, source);
}

/* Another one if the present one is gone or gives nothing; the same again if there is no other. */
static void
source_watch(struct copy *x)
{
    struct shard *s = x->s;
    uint64_t now = cw_own_now(s->v->o);
    struct copy *next, *log = cw_own_journal_of(s);
    bool another = cw_own_is_overlay(x) && log != NULL && log->since_seq != x->since_seq;
    bool fine =
        x->source != NULL && (cw_own_is_overlay(x) ? x->source == log : source_serves(x->source));
    bool stalled = x->sync_why != 0 || now - x->progress_ns > STALL_NS;

    if (another || (cw_own_is_overlay(x) && !s->has_log && source_choose(s, x, x) != NULL)) {
        cw_own_resync_stop(x, "the journal has left");
        return;
    }
    if (fine && (!stalled || now - x->source_ns < SOURCE_NS))
        return;
    next = cw_own_is_overlay(x) ? log : source_choose(s, x, fine ? x->source : NULL);
    if (next == NULL && fine)
        next = x->source;
    if (next == NULL) {
        x->source = NULL;
        return;
    }
    x->sync_why = 0;
    x->progress_ns = now;
    source_tell(x, next);
}

void
cw_own_resync_on_state(struct copy *c, const struct cw_frame *f)
{
    struct cw_wire_sync_state st;

    if (c->sync != SYNC_COPYING || f->data_len < sizeof(st))
        return;
    memcpy(&st, f->data, sizeof(st));
    if (st.bytes_moved != c->bytes_moved || st.chunks_left != c->chunks_left ||
        st.phase == CW_SYNC_LISTING)
        c->progress_ns = cw_own_now(c->s->v->o);
    if (st.bytes_moved > c->bytes_moved)
        c->s->v->o->resync_moved += st.bytes_moved - c->bytes_moved;
    c->chunks_left = st.chunks_left;
    c->chunks_total = st.chunks_total;
    c->bytes_moved = st.bytes_moved;
    c->sync_why = st.phase == CW_SYNC_STALLED ? st.why + 1 : 0;
    cw_own_mark_dirty(c->s);
}

void
cw_own_resync_on_done(struct copy *c, const struct cw_frame *f)
{
    if (c->sync != SYNC_COPYING)
        return;
    c->sync = SYNC_DONE;
    c->chunks_left = 0;
    if (f->hdr->seq < c->send_seq)
        cw_own_copy_set_durable(c, f->hdr->seq);
    cw_own_mark_dirty(c->s);
}

/* ---- promotion ---- */

/* The last copies in sync are gone, and x, whole by the journal, takes their place in one change:
 * the metadata never holds none (I12). */
static bool
is_replaced(const struct copy *x, const struct copy *c)
{
    return cw_own_is_overlay(x) && c->state == CW_MEMBER_INSYNC &&
           cw_own_copy_bad(c, cw_own_now(x->s->v->o)) != NULL;
}

static bool
durable_everywhere(const struct shard *s, const struct copy *x, uint64_t seq)
{
    for (uint32_t i = 0; i < s->n_copies; i++) {
        const struct copy *c = s->copies[i];

        if ((c == x || (cw_own_in_ack(c) && !cw_mutated(CW_MUTATION_PROMOTE_UNACKED))) &&
            c->durable < seq && !is_replaced(x, c))
            return false;
    }
    return true;
}

/* It has all that it was joined for, and gets the rest in order: from now on it follows. Nobody
 * waits for it, so it joins nothing first. */
static void
follow(struct copy *x)
{
    struct shard *s = x->s;

    if (!cw_own_change_idle(s) || s->change.call_busy)
        return;
    for (uint32_t i = 0; i < s->n_copies; i++)
        cw_own_want_as_is(s->copies[i]);
    x->want = CW_MEMBER_LAGGING;
    cw_own_change_begin(s, "it follows");
}

void
cw_own_promote(struct copy *x, const char *why)
{
    struct shard *s = x->s;

    if (x->session != SESSION_OPEN || x->held || x->faulty)
        return;
    if (x->async) {
        follow(x);
        return;
    }
    if (!x->joining) {
        x->p = s->ring.next;
        x->joining = true;
    }
    if (!cw_own_change_idle(s) || s->change.call_busy ||
        !(durable_everywhere(s, x, x->p - 1) || cw_mutated(CW_MUTATION_PROMOTE_EARLY)))
        return;
    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];

        cw_own_want_as_is(c);
        if (is_replaced(x, c))
            c->want = CW_MEMBER_OUT;
    }
    x->want = CW_MEMBER_INSYNC;
    cw_own_change_begin(s, why);
}

/* ---- whose turn ---- */

static bool
eligible(const struct copy *c, enum cw_member_state state)
{
    return !c->s->v->o->resync_paused && c->state == state && c->maybe == CW_BIT(state) &&
           c->peer->state == PEER_UP && c->peer->stuck_since_ns == CW_NEVER && !c->faulty &&
           !c->peer->loc.crowded && !cw_own_flap_holds(c) &&
           cw_own_now(c->s->v->o) >= cw_max_u64(c->add_after_ns, c->evict_until_ns);
}

/* Something can be its source, and whether that is the journal is known. */
static bool
has_source(struct shard *s, const struct copy *c)
{
    if (cw_own_journal_of(s) != NULL)
        return c->tested && (c->restorable || source_choose(s, c, c) != NULL);
    return source_choose(s, c, c) != NULL;
}

static struct copy *
next_of(struct shard *s, bool async)
{
    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];

        if (c->async == async && eligible(c, CW_MEMBER_IN_RESYNC) && has_source(s, c))
            return c;
    }
    for (uint32_t i = 0; i < s->n_copies && cw_own_change_idle(s) && !s->change.call_busy; i++) {
        struct copy *c = s->copies[i];

        if (c->async == async && eligible(c, CW_MEMBER_OUT) && has_source(s, c))
            return c;
    }
    return NULL;
}

/* What follows comes after what is waited for. */
static struct copy *
next_copy(struct shard *s)
{
    struct copy *c = next_of(s, false);

    return c != NULL ? c : next_of(s, true);
}

static bool
to_overlay(const struct copy *c)
{
    return c->restorable && cw_own_journal_of(c->s) != NULL;
}

/* The record says already what it is to be. */
static bool
goes_on(const struct copy *c)
{
    return c->state == CW_MEMBER_IN_RESYNC && (!to_overlay(c) || may_overlay(c));
}

/* NULL: no resync can begin here now. */
static struct copy *
waiting_copy(struct shard *s)
{
    struct copy *c;

    if (s->state != SHARD_ACTIVE || s->v->state == CW_VOLUME_RELEASING || s->syncing != NULL)
        return NULL;
    c = next_copy(s);
    if (c == NULL || goes_on(c) || (cw_own_change_idle(s) && !s->change.call_busy))
        return c;
    return NULL;
}

static uint32_t
n_sources(const struct shard *s)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->n_copies; i++)
        n += source_serves(s->copies[i]);
    return n;
}

/* Fewest copies in sync first, then whoever has been away longest. */
static bool
goes_before(const struct copy *a, const struct copy *b)
{
    uint32_t n = n_sources(a->s), of_b = n_sources(b->s);

    if (a->async != b->async)
        return b->async;
    return n != of_b ? n < of_b : a->away_ns < b->away_ns;
}

static struct copy *
first_waiting(struct cw_owner *o)
{
    struct copy *best = NULL;

    CW_LIST_EACH (it, &o->volumes) {
        struct cw_volume *v = cw_list_entry(it, struct cw_volume, node);

        for (uint32_t i = 0; i < v->n_shards; i++) {
            struct copy *c = waiting_copy(v->shards[i]);

            if (c != NULL && (best == NULL || goes_before(c, best)))
                best = c;
        }
    }
    return best;
}

static void
resync_begin(struct copy *c)
{
    struct shard *s = c->s;
    bool overlay = to_overlay(c);

    slot_take(c);
    if (goes_on(c)) {
        cw_own_copy_session(c);
        return;
    }
    for (uint32_t i = 0; i < s->n_copies; i++)
        cw_own_want_as_is(s->copies[i]);
    c->want = CW_MEMBER_IN_RESYNC;
    c->want_since = overlay ? cw_own_journal_of(s)->since_seq : 0;
    c->sealed = false; /* it may have been away: begin with SEAL */
    cw_own_change_begin(s, overlay ? "to be made whole by the journal" : "reachable again");
}

void
cw_own_resyncs_begin(struct cw_owner *o)
{
    struct copy *c;

    o->resync_due = false;
    while (o->n_syncing < o->tun.resync_max && (c = first_waiting(o)) != NULL)
        resync_begin(c);
}

/* c is to follow, perhaps over a long way, and one that is to be in sync waits: here, or anywhere
 * for the slot. */
static bool
holds_up_others(const struct shard *s, const struct copy *c)
{
    struct cw_owner *o = s->v->o;
    const struct copy *first = NULL;

    if (!c->async || c->sync == SYNC_DONE)
        return false;
    if (next_of(c->s, false) != NULL)
        return true;
    if (o->slot_wanted && o->n_syncing >= o->tun.resync_max)
        first = first_waiting(o);
    o->slot_wanted = false;
    return first != NULL && !first->async;
}

/* The copy whose turn it is waits for a source that may never return, and the journal could make
 * another one whole, which then is one. */
static bool
resync_yields(struct shard *s, const struct copy *c)
{
    if (holds_up_others(s, c))
        return true;
    if (cw_own_journal_of(s) == NULL || c->sync == SYNC_DONE || cw_own_is_overlay(c) ||
        source_choose(s, c, c) != NULL)
        return false;
    for (uint32_t i = 0; i < s->n_copies; i++) {
        const struct copy *other = s->copies[i];

        if (other != c && other->restorable && eligible(other, other->state))
            return true;
    }
    return false;
}

static void
slot_want(struct shard *s)
{
    struct cw_owner *o = s->v->o;
    const struct copy *c = waiting_copy(s);

    if (c == NULL)
        return;
    if (o->n_syncing < o->tun.resync_max)
        o->resync_due = true;
    else if (!c->async)
        o->slot_wanted = true;
}

void
cw_own_resync_run(struct shard *s)
{
    struct copy *c = s->syncing;

    if (s->v->state == CW_VOLUME_RELEASING)
        return;
    if (c != NULL && c->state != CW_MEMBER_IN_RESYNC && cw_own_change_idle(s)) {
        if (c->state == CW_MEMBER_OUT) /* the change did not come to be */
            c->add_after_ns = cw_max_u64(c->add_after_ns, cw_own_now(s->v->o) + RETRY_NS);
        slot_give(s);
        c = NULL;
    }
    if (c == NULL) {
        slot_want(s);
        return;
    }
    if (c->state != CW_MEMBER_IN_RESYNC)
        return;
    if (resync_yields(s, c)) {
        cw_own_resync_stop(c, c->async ? "another one goes first"
                                       : "another one can be made whole first");
        slot_give(s);
        return;
    }
    if (s->v->o->resync_paused && c->sync != SYNC_DONE && !cw_own_is_overlay(c)) {
        cw_own_resync_stop(c, "repair is paused");
        slot_give(s);
        return;
    }
    switch (c->sync) {
    case SYNC_WANTED:
        if (c->session == SESSION_OPEN)
            cw_own_resync_on_open(c);
        return;
    case SYNC_COPYING:
        source_watch(c);
        return;
    case SYNC_DONE:
        if (c->joining || !cw_own_flap_holds(c))
            cw_own_promote(c, "synchronised");
        return;
    case SYNC_JOINING:
    case SYNC_IDLE:
        return;
    }
}

/* ---- how fast, and whether ---- */

void
cw_own_resync_told(struct cw_owner *o, const struct cw_volume_desc *d)
{
    bool changed = o->resync_paused != d->resync_paused;

    o->pace.limit = d->resync_limit;
    o->resync_paused = d->resync_paused;
    CW_LIST_EACH (it, &o->volumes) {
        struct cw_volume *v = cw_list_entry(it, struct cw_volume, node);

        for (uint32_t i = 0; changed && i < v->n_shards; i++)
            cw_own_mark_dirty(v->shards[i]);
    }
}

/* A resync under way hears of a rate that is not about the one that it was told. */
static void
rate_tell(struct shard *s, uint64_t rate)
{
    struct copy *c = s->syncing;
    uint64_t told;

    if (c == NULL || c->sync != SYNC_COPYING || c->source == NULL)
        return;
    told = c->told_rate;
    if ((rate == 0) == (told == 0) && rate - rate / 8 <= told && told <= rate + rate / 8)
        return;
    source_send(c, c->source);
}

void
cw_own_resync_second(struct cw_owner *o)
{
    struct cw_pace_second second = { .resyncs = o->n_syncing, .moved_bytes = o->resync_moved };

    o->resync_moved = 0;
    CW_LIST_EACH (it, &o->volumes)
        second.p99_ns =
            cw_max_u64(second.p99_ns, cw_list_entry(it, struct cw_volume, node)->busy_p99_ns);
    cw_pace_second(&o->pace, &second);
    CW_LIST_EACH (it, &o->volumes) {
        struct cw_volume *v = cw_list_entry(it, struct cw_volume, node);

        for (uint32_t i = 0; o->n_syncing > 0 && i < v->n_shards; i++)
            rate_tell(v->shards[i], resync_rate(o));
    }
}
