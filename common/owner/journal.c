/* Journal members, replication.md 1.9: while fewer than two copies are in sync, another disk holds
 * what is written from some record j on, so that each write is durable twice.
 *
 *   JOURNAL(0), placed by the manager --JOIN(j), stream--> in ack and lease set from p on; p-1
 * durable there --CAS--> JOURNAL(j) --enough copies in sync, or of no use--CAS--> gone
 *
 *   an OUT copy that has all before j, sealed and found in our history --CAS--> SYNCING(j) --JOIN
 * as overlay, source: the journal--> DONE --from p on; p-1 durable there--CAS--> INSYNC; copies in
 *   sync that are gone by then OUT
 *
 * So it is done whether a copy in sync is left or not: a copy that is resynced from the last one
 * has gaps if that one dies, one that a journal makes whole is whole with it at any time.
 *
 * j is the oldest record that is still kept: all above what was stable when writes stopped for want
 * of copies. So whoever was in sync until then has everything before j. */
#include "common/owner/room.h"

/* ---- a journal begins ---- */

/* Behind what began our generation: so no two journals of a shard that began in different ones bear
 * the same number, by which copies are bound to them. */
static uint64_t
first_seq(const struct shard *s)
{
    return cw_max_u64(s->ring.first, s->hist[s->n_hist - 1].start_seq + 1);
}

/* It begins empty, with this owner. */
static void
new_on_seal(struct copy *c)
{
    const uint32_t broken = CW_MEMBER_DAMAGED | CW_MEMBER_SYNCING | CW_MEMBER_FAILED;

    if (c->streaming && (c->info.flags & CW_MEMBER_LOG))
        return; /* our own JOIN, seen again */
    if (c->info.last_seq != 0 || c->info.last_gen != 0 ||
        (c->info.flags & (broken | CW_MEMBER_LOG)))
        cw_own_copy_fault(c, "is not empty: no journal begins there");
}

void
cw_own_journal_on_open(struct copy *c)
{
    struct shard *s = c->s;
    struct cw_wire_hdr h = {
        .type = CW_FT_JOIN, .shard = s->rec.shard, .gen = s->v->gen, .cfg = s->rec.cfg
    };

    if (s->state != SHARD_ACTIVE || c->call.tag != 0 || s->n_hist == 0)
        return;
    if (!(c->peer->link->features & CW_FEATURE_JOURNAL)) {
        cw_own_copy_fault(c, "its daemon knows no journals");
        return;
    }
    if (!c->streaming) {
        c->join_id = CW_JOIN_ID(CW_JOIN_JOURNAL, ++s->v->o->join_count);
        c->s0 = first_seq(s);
        c->durable = c->s0 - 1;
        c->streaming = true;
    }
    c->held = true; /* the stream begins once the copy stands there durably */
    c->send_seq = c->s0;
    h.seq = c->s0;
    h.stable = c->join_id;
    cw_own_call(c->peer, &c->call, h, NULL, 0); /* false: the link is about to end */
}

void
cw_own_journal_on_answer(struct copy *c, const struct cw_frame *f)
{
    if (c->begun || !c->streaming)
        return;
    if (f->hdr->type == CW_FT_JOIN_OK && f->hdr->stable == c->join_id) {
        c->begun = true;
        c->held = false;
        cw_own_copy_pump(c);
    } else {
        cw_own_copy_fault(c, "refuses to be a journal");
    }
    cw_own_mark_dirty(c->s);
}

/* As in a resync: from p on it is waited for, and when it has everything before p it holds every
 * acknowledged record from its first on. Only then the record says so. */
static void
journal_promote(struct copy *c)
{
    struct shard *s = c->s;

    if (!c->begun || c->session != SESSION_OPEN || c->held || c->faulty)
        return;
    if (!c->joining) {
        c->p = s->ring.next;
        c->joining = true;
    }
    if (!cw_own_change_idle(s) || s->change.call_busy || c->durable + 1 < c->p)
        return;
    for (uint32_t i = 0; i < s->n_copies; i++)
        cw_own_want_as_is(s->copies[i]);
    c->want_since = c->s0;
    cw_own_change_begin(s, "a journal of new writes");
}

void
cw_own_journal_run(struct shard *s)
{
    if (s->v->state == CW_VOLUME_RELEASING)
        return;
    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];

        if (c->state == CW_MEMBER_JOURNAL && c->since_seq == 0 &&
            c->maybe == CW_BIT(CW_MEMBER_JOURNAL))
            journal_promote(c);
        if (cw_own_is_overlay(c))
            cw_own_copy_pump(c); /* its limit may have moved */
    }
}

/* ---- a copy is made whole by it ---- */

bool
cw_own_journal_completes(const struct copy *c, uint64_t since_seq, const struct cw_wire_hist *hist,
                         uint32_t n_hist, uint64_t end_seq)
{
    const struct seal_info *i = &c->info;
    bool bound = c->state == CW_MEMBER_IN_RESYNC && c->since_seq == since_seq;

    if ((c->state != CW_MEMBER_OUT && c->state != CW_MEMBER_IN_RESYNC) || c->faulty ||
        (i->flags & (CW_MEMBER_DAMAGED | CW_MEMBER_FAILED | CW_MEMBER_LOG)) || i->last_seq == 0)
        return false;
    /* a JOIN that was broken off left gaps, unless it was one from this very journal */
    if ((i->flags & CW_MEMBER_SYNCING) && !((i->flags & CW_MEMBER_OVERLAY) && bound))
        return false;
    return (i->last_seq + 1 >= since_seq || cw_mutated(CW_MUTATION_LOG_ANY_COPY)) &&
           cw_own_takeover_lies_in(hist, n_hist, end_seq, i->last_gen, i->last_seq);
}

void
cw_own_journal_on_seal(struct copy *c)
{
    struct shard *s = c->s;
    const struct copy *log = cw_own_journal_of(s);

    if (c->state == CW_MEMBER_JOURNAL) {
        if (c->since_seq == 0)
            new_on_seal(c);
    } else if (log != NULL) {
        c->tested = true;
        c->restorable =
            cw_own_journal_completes(c, log->since_seq, s->hist, s->n_hist, s->ring.next - 1);
    }
    cw_own_copy_drop_info(c);
}

static struct copy *
log_of(const struct shard *s)
{
    for (uint32_t i = 0; i < s->n_copies; i++) {
        if (cw_own_is_log(s->copies[i]))
            return s->copies[i];
    }
    return NULL;
}

struct copy *
cw_own_journal_of(struct shard *s)
{
    struct copy *c = log_of(s);

    return c != NULL && s->state == SHARD_ACTIVE && c->session == SESSION_OPEN && c->streaming &&
                   !c->faulty
               ? c
               : NULL;
}

uint64_t
cw_own_journal_limit(const struct copy *c)
{
    const struct copy *log = cw_own_is_overlay(c) ? log_of(c->s) : NULL;

    return log != NULL ? log->durable : UINT64_MAX - 1;
}

/* Copies that are to be tested have been sealed for another reason, or not at all. */
void
cw_own_journal_tick(struct shard *s)
{
    bool had = s->has_log;

    s->has_log = s->state == SHARD_ACTIVE && log_of(s) != NULL;
    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];

        if ((c->state != CW_MEMBER_OUT && c->state != CW_MEMBER_IN_RESYNC) || s->syncing == c)
            continue;
        if (s->has_log && !c->tested && c->session == SESSION_SEALED &&
            cw_own_journal_of(s) != NULL)
            c->session = SESSION_NONE;
        c->tested &= s->has_log && had;
        c->restorable &= c->tested;
    }
}
