/* Takeover of a shard, replication.md 1.8: from "the manager granted us a generation" to ACTIVE.
 *
 *   SEALING --all in-sync copies sealed----------------------------> EQUALISING
 *      \--T_seal--> LEASE_WAIT --L(1+rho)--> EJECTING --applied--> SEALING
 *   EQUALISING --all at M--> GEN_START --durable everywhere--> ACTIVE
 *   any --a sealed copy is lost--> SEALING, from the beginning
 *
 * Each evaluation starts from what the copies have said; each step can be repeated, because
 * equalising only extends prefixes with original records. */
#include "common/owner/room.h"

#include <stdlib.h>

bool
cw_own_takeover_lies_in(const struct cw_wire_hist *hist, uint32_t n_hist, uint64_t end_seq,
                        uint32_t gen, uint64_t seq)
{
    if (gen == 0 && seq == 0)
        return true; /* empty: a prefix of everything */
    for (uint32_t i = 0; i < n_hist; i++) {
        uint64_t end = i + 1 < n_hist ? hist[i + 1].start_seq - 1 : end_seq;

        if (hist[i].gen == gen)
            return seq >= hist[i].start_seq && seq <= end;
    }
    return false;
}

void
cw_own_takeover_begin(struct shard *s)
{
    cw_own_equalise_end(s);
    if (s->seal_begun_ns != 0)
        s->n_restarts++;
    s->state = SHARD_SEALING;
    s->seal_begun_ns = cw_own_now(s->v->o);
    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];

        if (c->session != SESSION_NONE || c->call.tag != 0)
            cw_own_copy_close(c);
        cw_own_copy_reset_stream(c);
        cw_own_copy_drop_info(c);
        c->retry_ns = 0;
        cw_own_copy_session(c);
    }
    cw_own_mark_dirty(s);
}

void
cw_own_takeover_on_seal(struct copy *c)
{
    struct shard *s = c->s;

    /* The old owner's lease needs every in-sync copy; from this one it gets nothing any more (I11).
     */
    if ((cw_own_counts(c) || cw_mutated(CW_MUTATION_WAIT_ANY)) && s->first_seal_ns == CW_NEVER)
        s->first_seal_ns = cw_own_now(s->v->o);
    if (s->state == SHARD_ACTIVE && c->state != CW_MEMBER_INSYNC && c->state != CW_MEMBER_LAGGING)
        cw_own_journal_on_seal(c);
    else if (s->state == SHARD_ACTIVE && !c->streaming) {
        /* a LAGGING copy that comes late may be continued only if it lies in our history; one in
         * sync is late only where a journal stood in for it */
        if ((!cw_own_takeover_lies_in(s->hist, s->n_hist, s->ring.next - 1, c->info.last_gen,
                                      c->info.last_seq) &&
             !cw_mutated(CW_MUTATION_LAG_NO_CHECK)) ||
            c->info.last_seq + 1 < s->ring.first) {
            cw_own_copy_fault(c, "does not lie in the owner's history");
        } else {
            c->durable = c->info.last_seq;
            c->send_seq = c->durable + 1;
            c->streaming = true;
        }
        cw_own_copy_drop_info(c);
    }
}

/* ---- who is there ---- */

static bool
info_here(const struct copy *c)
{
    return c->sealed && c->info.hist != NULL && c->session >= SESSION_SEALED;
}

/* Each copy that somebody was active with has his GEN_START at least. (I18) */
static bool
is_emptied(const struct copy *c)
{
    return c->info.last_gen == 0 && c->info.last_seq == 0 && c->since_seq != CW_SINCE_NEW &&
           !cw_mutated(CW_MUTATION_MAKE_ANY);
}

static int
cmp_last(const struct copy *a, const struct copy *b)
{
    if (a->info.last_gen != b->info.last_gen)
        return a->info.last_gen < b->info.last_gen ? -1 : 1;
    if (a->info.last_seq != b->info.last_seq)
        return a->info.last_seq < b->info.last_seq ? -1 : 1;
    return 0;
}

uint64_t
cw_own_takeover_stable(const struct shard *s)
{
    uint64_t max = 0;

    for (uint32_t i = 0; i < s->n_copies; i++) {
        const struct copy *c = s->copies[i];

        if (cw_own_counts(c) && info_here(c))
            max = cw_max_u64(max, c->info.stable);
    }
    return max;
}

/* Why one that counts is not gone on from; NULL: it can be. */
static const char *
copy_unfit(const struct copy *c, uint64_t stable)
{
    bool log = cw_own_is_log(c);

    if (c->faulty)
        return c->why;
    if (!info_here(c))
        return "not there at a takeover";
    if (is_emptied(c))
        return "its disk has lost it: it is empty (I18)";
    if (c->info.flags & CW_MEMBER_FAILED)
        return "its disk failed";
    if (c->info.flags & CW_MEMBER_DAMAGED)
        return "it is damaged";
    if ((c->info.flags & CW_MEMBER_SYNCING) || log != ((c->info.flags & CW_MEMBER_LOG) != 0))
        return "it is something else on its disk";
    if ((log && c->info.last_seq + 1 < c->since_seq) || c->info.last_seq < stable)
        return "it lacks what others know to be stable (I15)";
    return NULL;
}

/* R of 1.8 step 3, and the journal that stands beside it. */
static bool
in_r(const struct copy *c, uint64_t stable)
{
    return cw_own_counts(c) && copy_unfit(c, stable) == NULL;
}

/* A journal knows no history before its own. */
static bool
nearer(const struct copy *a, const struct copy *b)
{
    if (cw_own_is_log(a) != cw_own_is_log(b))
        return cw_own_is_log(b);
    return a->peer->distance < b->peer->distance;
}

/* Can m be brought up to src by src's tail? */
static bool
bridged(const struct copy *m, const struct copy *src)
{
    if (!cw_own_takeover_lies_in(src->info.hist, src->info.n_hist, src->info.last_seq,
                                 m->info.last_gen, m->info.last_seq))
        return false;
    return m->info.last_seq == src->info.last_seq ||
           (src->info.n_tail > 0 && src->info.tail[0].seq <= m->info.last_seq + 1);
}

/* Of R the one that is furthest, journals only if asked for. */
static struct copy *
furthest(const struct shard *s, uint64_t stable, bool journals)
{
    struct copy *best = NULL;

    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];

        if (!in_r(c, stable) || (cw_own_is_log(c) && !journals))
            continue;
        if (best == NULL || cmp_last(c, best) > 0 || (cmp_last(c, best) == 0 && nearer(c, best)))
            best = c;
    }
    return best;
}

/* NULL: no in-sync copy is there. A journal only if one of those in sync is a part of it: else an
 * owner went on from it without them, and acknowledged nothing. */
static struct copy *
choose_src(const struct shard *s, uint64_t stable)
{
    struct copy *best = furthest(s, stable, true);

    if (best == NULL || !cw_own_is_log(best))
        return best;
    for (uint32_t i = 0; i < s->n_copies; i++) {
        const struct copy *c = s->copies[i];

        if (in_r(c, stable) && !cw_own_is_log(c) && bridged(c, best))
            return best;
    }
    return furthest(s, stable, false);
}

/* ---- decisions ---- */

struct roll { /* of one evaluation */
    uint64_t stable;
    struct copy *src;
    uint32_t n_insync, n_sealed, n_r, n_out; /* insync, r: with the journal */
    bool out_insync;                         /* a lease may depend on somebody to be ejected */
    const char *why;                         /* one of those is */
};

static void
takeover_roll(struct shard *s, struct roll *r)
{
    *r = (struct roll){ .stable = cw_own_takeover_stable(s) };
    r->src = choose_src(s, r->stable);
    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];
        bool insync = cw_own_counts(c), out = false;

        cw_own_want_as_is(c);
        r->n_insync += insync;
        r->n_sealed += insync && (info_here(c) || c->faulty);
        if (r->src == NULL)
            continue;
        if (insync)
            out = !in_r(c, r->stable) || !bridged(c, r->src);
        else if (c->state == CW_MEMBER_LAGGING)
            out = c->faulty ||
                  (info_here(c) && !bridged(c, r->src) && !cw_mutated(CW_MUTATION_LAG_NO_CHECK));
        r->n_r += insync && !out;
        r->n_out += out;
        r->out_insync |= out && insync;
        if (!out)
            continue;
        c->want = c->state == CW_MEMBER_JOURNAL ? CW_MEMBER_DEAD : CW_MEMBER_OUT;
        r->why = insync ? copy_unfit(c, r->stable) : c->why;
        if (r->why == NULL)
            r->why = "it does not lie in the history of the others";
    }
}

static bool
lease_over(struct shard *s)
{
    const struct cw_owner_tuning *t = &s->v->o->tun;
    uint64_t wait = t->lease_ns + t->lease_ns / LEASE_RHO_DIV + LEASE_MARGIN_NS;

    return s->v->released_before || cw_mutated(CW_MUTATION_NO_WAIT) ||
           (s->first_seal_ns != CW_NEVER && cw_own_now(s->v->o) >= s->first_seal_ns + wait);
}

/* How long the others are waited for. After a cold start that ends with enough of them: any one
 * in-sync copy is safe to go on from, but each that is ejected has to be resynced. */
static uint64_t
takeover_patience(const struct shard *s, const struct roll *r)
{
    const struct cw_owner_tuning *t = &s->v->o->tun;
    uint32_t enough = (uint32_t)cw_min_u64(s->v->min_insync, r->n_insync);

    return s->v->cold_start && r->n_r < enough ? t->boot_ns : t->seal_ns;
}

/* No in-sync copy is there, but a journal, and a copy that is whole together with it: the journal
 * alone is taken over, and makes that copy whole (journal.c). The missing ones stay in sync until
 * then (I12). */
static struct copy *
headless_src(struct shard *s, uint64_t stable)
{
    struct copy *log = NULL;

    for (uint32_t i = 0; i < s->n_copies && log == NULL; i++) {
        if (in_r(s->copies[i], stable) && cw_own_is_log(s->copies[i]))
            log = s->copies[i];
    }
    for (uint32_t i = 0; log != NULL && i < s->n_copies; i++) {
        const struct copy *c = s->copies[i];

        if (info_here(c) && cw_own_journal_completes(c, log->since_seq, log->info.hist,
                                                     log->info.n_hist, log->info.last_seq))
            return log;
    }
    return NULL;
}

static void
takeover_headless(struct shard *s, const struct roll *r)
{
    struct copy *log = headless_src(s, r->stable);
    const struct cw_owner_tuning *t = &s->v->o->tun;

    s->why = "no in-sync copy can be reached";
    if (log == NULL ||
        cw_own_now(s->v->o) - s->seal_begun_ns < (s->v->cold_start ? t->boot_ns : t->eject_ns))
        return;
    if (!lease_over(s)) {
        s->state = SHARD_LEASE_WAIT;
        s->why = "waiting for the last owner's lease to end";
        return;
    }
    cw_own_equalise_begin(s, log, true);
}

static void
takeover_sealing(struct shard *s)
{
    struct roll r;
    bool all;

    takeover_roll(s, &r);
    all = r.n_sealed == r.n_insync;
    if (r.src == NULL) {
        takeover_headless(s, &r);
        return;
    }
    s->why = "waiting for in-sync copies";
    if (!all && cw_own_now(s->v->o) - s->seal_begun_ns < takeover_patience(s, &r))
        return;
    if (r.n_out == 0 || cw_mutated(CW_MUTATION_KEEP_UNSEALED)) {
        cw_own_equalise_begin(s, r.src, false);
        return;
    }
    if (r.out_insync && !lease_over(s)) {
        s->state = SHARD_LEASE_WAIT;
        s->why = "waiting for the last owner's lease to end";
        return;
    }
    s->state = SHARD_EJECTING;
    s->why = "waiting for the manager to remove copies that cannot be reached";
    cw_own_change_begin(s, r.why);
}

#define FOLLOW_NS CW_NS_PER_S

static bool
is_held_up_by(const struct shard *s, const struct copy *c)
{
    if (c->session != SESSION_OPEN)
        return true;
    return s->state == SHARD_EQUALISING ? c->durable < s->eq->to_seq
                                        : c->durable + 1 < s->ring.next;
}

/* One that follows is brought along if it takes that at once. Its link may be slow or break, its
 * disk may hang: then it is gone on without, and it is tested as one that comes late. */
static void
takeover_leave_behind(struct shard *s)
{
    uint64_t now = cw_own_now(s->v->o);

    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];
        bool over = now - s->equal_begun_ns >= FOLLOW_NS;

        if (!c->async || !c->streaming)
            continue;
        if (!c->faulty && !(c->held && c->session == SESSION_NONE) &&
            !(over && is_held_up_by(s, c)))
            continue;
        cw_log(s->v->o->env, CW_LOG_NOTICE,
               "shard %llx: the takeover does not wait for the copy on %s",
               (unsigned long long)s->rec.shard, c->peer->loc.addr);
        cw_own_copy_close(c);
    }
}

/* A copy was lost on the way: all begin again, those that are left answer within a round trip. */
static void
takeover_watch(struct shard *s)
{
    uint64_t now = cw_own_now(s->v->o);

    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];

        if (!c->streaming)
            continue;
        if (c->faulty || (c->lost_ns != CW_NEVER && now - c->lost_ns > s->v->o->tun.seal_ns &&
                          now - s->equal_begun_ns > s->v->o->tun.seal_ns)) {
            if (s->n_restarts > RESTARTS_MAX)
                cw_own_copy_fault(c, "broke the takeover again and again");
            cw_own_takeover_begin(s);
            return;
        }
    }
}

/* Some copy in sync is away, and a journal stands in for it: what is not known to be durable there
 * is not stable, and the journal keeps it in its tail for that copy. */
static bool
takeover_is_headless(const struct shard *s)
{
    for (uint32_t i = 0; i < s->n_copies; i++) {
        if (s->copies[i]->state == CW_MEMBER_INSYNC && !s->copies[i]->streaming)
            return true;
    }
    return false;
}

static void
takeover_active(struct shard *s)
{
    s->acked = s->told = s->ring.next - 1;
    if (!takeover_is_headless(s))
        s->stable = s->acked;
    s->state = SHARD_ACTIVE;
    s->why = NULL;
    s->n_restarts = 0;
    s->below_since_ns = CW_NEVER;
    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];

        cw_own_copy_drop_info(c);
        cw_own_copy_send_rec(c);
        if (c->state == CW_MEMBER_INSYNC)
            c->insync_since_ns = cw_own_now(s->v->o);
        if (c->state == CW_MEMBER_INSYNC && !c->streaming) { /* tested when it comes */
            c->sealed = false;
            c->durable = s->ring.first - 1; /* what it has to have, to go on from there */
        }
        if (c->state == CW_MEMBER_LAGGING && !c->streaming && c->sealed) { /* it came late */
            c->sealed = false;
            c->session = SESSION_NONE;
            c->lost_ns = cw_own_now(s->v->o);
            s->keep_seq = s->ring.first - 1;
            s->keep_until_ns = cw_own_now(s->v->o) + s->v->o->tun.eject_ns;
        }
        if (c->state == CW_MEMBER_JOURNAL && c->lost_ns != CW_NEVER)
            c->lost_ns = cw_own_now(s->v->o); /* it was not looked for until now */
    }
    cw_log(s->v->o->env, CW_LOG_INFO, "shard %llx: active, gen %u, next seq %llu",
           (unsigned long long)s->rec.shard, s->v->gen, (unsigned long long)s->ring.next);
    cw_own_mark_dirty(s);
    cw_own_volume_run(s->v);
}

/* Nobody was active with these copies before: the record says that somebody is, before anything is
 * acknowledged. False: it does. */
static bool
takeover_begins(struct shard *s)
{
    bool begins = false;

    for (uint32_t i = 0; i < s->n_copies; i++)
        begins |= s->copies[i]->since_seq == CW_SINCE_NEW;
    if (!begins || !cw_own_change_idle(s) || s->change.call_busy)
        return begins;
    s->why = "waiting for the manager to note that the volume begins";
    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];

        cw_own_want_as_is(c);
        c->want_since = c->since_seq == CW_SINCE_NEW ? 0 : c->since_seq;
    }
    cw_own_change_begin(s, "begins");
    return true;
}

static void
takeover_gen_start(struct shard *s)
{
    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];

        if (c->streaming &&
            (c->faulty || c->durable + 1 < s->ring.next || c->session != SESSION_OPEN)) {
            takeover_watch(s);
            return;
        }
    }
    if (!takeover_begins(s))
        takeover_active(s);
}

static bool
push_gen_start(struct shard *s)
{
    struct cw_owner *o = s->v->o;
    struct cw_wire_hdr h = { .type = CW_FT_GEN_START,
                             .shard = s->rec.shard,
                             .gen = s->v->gen,
                             .cfg = s->rec.cfg,
                             .seq = s->ring.next,
                             .stable = s->stable }; /* makes room in tails that are full */
    struct cw_msg *m;
    struct rec *r;

    if (!cw_own_ring_room(&s->ring))
        return false;
    m = cw_own_frame(o, h, NULL, 0);
    if (m == NULL)
        return false;
    r = cw_own_ring_push(&s->ring);
    r->msg = m;
    r->bytes = cw_msg_bytes(m);
    r->begun_ns = cw_own_now(o);
    r->cum_blocks = s->cum_blocks;
    o->retained_bytes += r->bytes;
    return true;
}

/* All streaming copies are equal up to M. If M is our own GEN_START, an earlier try of ours got so
 * far. */
void
cw_own_takeover_equal(struct shard *s)
{
    uint64_t m = s->eq->to_seq, stable = cw_own_takeover_stable(s);
    bool ours = s->eq->to_gen == s->v->gen;

    s->state = SHARD_GEN_START;
    cw_own_shard_history(s, &s->eq->src->info, s->v->gen, m + 1);
    cw_own_equalise_end(s);
    cw_own_ring_reset(s->v->o, &s->ring, m + 1);
    s->acked = s->told = m;
    s->stable = takeover_is_headless(s) ? stable : m;
    s->cum_blocks = 0;
    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];

        if (!c->streaming)
            continue;
        c->durable = m;
        c->send_seq = m + 1;
        c->held = false;
        c->space_limit = c->info.credit_blocks;
        c->stable_told = 0;
    }
    if (!ours && !push_gen_start(s)) {
        cw_own_takeover_begin(s);
        return;
    }
    for (uint32_t i = 0; i < s->n_copies; i++)
        cw_own_copy_pump(s->copies[i]);
    cw_own_mark_dirty(s);
}

/* Record seq is needed by somebody and nobody can read it: it was never acked, so its holders go
 * and the others continue without it; logs are never truncated.
 * Where only a LAGGING copy lacks it, it may have been acknowledged: then that copy goes. */
void
cw_own_equalise_doomed(struct shard *s, uint64_t seq)
{
    bool lags = false;

    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];

        if (c->streaming && c->state == CW_MEMBER_LAGGING && c->info.last_seq < seq) {
            cw_own_copy_fault(c, "lacks a record that cannot be read");
            lags = true;
        }
    }
    for (uint32_t i = 0; i < s->n_copies && !lags; i++) {
        struct copy *c = s->copies[i];

        if (c->streaming && c->info.last_seq >= seq)
            cw_own_copy_fault(c, "cannot read a record that the others lack");
    }
    cw_own_takeover_begin(s);
}

void
cw_own_takeover_run(struct shard *s)
{
    switch (s->state) {
    case SHARD_EJECTING:
        if (!cw_own_change_idle(s))
            return;
        s->state = SHARD_SEALING;
        takeover_sealing(s);
        return;
    case SHARD_SEALING:
    case SHARD_LEASE_WAIT:
        s->state = SHARD_SEALING;
        if (cw_own_change_idle(s))
            takeover_sealing(s);
        return;
    case SHARD_EQUALISING:
        takeover_leave_behind(s);
        takeover_watch(s);
        if (s->state == SHARD_EQUALISING)
            cw_own_equalise_run(s);
        return;
    case SHARD_GEN_START:
        takeover_leave_behind(s);
        takeover_gen_start(s);
        return;
    case SHARD_ACTIVE:
    case SHARD_CLOSED:
        return;
    }
}
