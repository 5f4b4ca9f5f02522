/* A copy: one member of a shard, its session on the peer's link and its place in the stream.
 *
 *   NONE --SEAL--> SEALING --> SEALED --OPEN--> OPENING --> OPEN --link down, CLOSE--> NONE
 *
 * Once it has promised our generation, a new link needs OPEN only. Records go out in order from
 * send_seq as the link's credit allows; after a disconnect send_seq goes back to what is durable.
 */
#include "common/owner/room.h"

#include <stdlib.h>

#define RETRY_NS (200 * CW_NS_PER_MS)
#define BAD_CSUM_MAX 3
#define GAPS_MAX 16

static void copy_on_answer(struct call *call, const struct cw_frame *f);

struct copy *
cw_own_copy_new(struct shard *s, const struct cw_member *m)
{
    struct cw_owner *o = s->v->o;
    struct copy *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return NULL;
    c->peer = cw_own_peer_get(o, &m->disk_uuid, m->format_id);
    if (c->peer == NULL) {
        free(c);
        return NULL;
    }
    c->s = s;
    c->disk_uuid = m->disk_uuid;
    c->format_id = m->format_id;
    c->state = c->want = m->state;
    c->since_seq = c->want_since = m->since_seq;
    c->async = m->async;
    c->maybe = (uint32_t)CW_BIT(m->state);
    c->lost_ns = cw_own_now(o);
    c->insync_since_ns = c->away_ns = c->lost_ns;
    c->call.answer = copy_on_answer;
    cw_list_init(&c->blocked_node);
    cw_list_push_back(&c->peer->copies, &c->peer_node);
    return c;
}

void
cw_own_copy_drop_info(struct copy *c)
{
    free(c->info.hist);
    c->info = (struct seal_info){ 0 };
}

void
cw_own_copy_free(struct copy *c)
{
    cw_own_call_forget(&c->call);
    cw_own_copy_drop_info(c);
    cw_list_remove(&c->blocked_node);
    cw_list_remove(&c->peer_node);
    free(c);
}

uint32_t
cw_own_copy_index(const struct copy *c)
{
    for (uint32_t i = 0; i < c->s->n_copies; i++) {
        if (c->s->copies[i] == c)
            return i;
    }
    cw_unreachable();
}

/* ---- towards a session ---- */

static struct cw_wire_hdr
copy_hdr(const struct copy *c, enum cw_frame_type type)
{
    return (struct cw_wire_hdr){
        .type = (uint8_t)type,
        .shard = c->s->rec.shard,
        .gen = c->s->v->gen,
        .cfg = c->s->rec.cfg,
    };
}

/* May its disk be without it? If nobody was ever active with it, or if it is to be copied anew; an
 * owner that is not active yet may have an old record, and makes nothing of that. (I18) */
static bool
copy_may_be_made(const struct copy *c)
{
    if (c->state == CW_MEMBER_INSYNC)
        return c->since_seq == CW_SINCE_NEW || cw_mutated(CW_MUTATION_MAKE_ANY);
    return c->s->state == SHARD_ACTIVE && c->state != CW_MEMBER_LAGGING && !cw_own_is_log(c);
}

static void
copy_seal(struct copy *c)
{
    struct cw_wire_hdr h = copy_hdr(c, CW_FT_SEAL);
    uint8_t rec[CW_SHARD_REC_BYTES_MAX];

    h.flags = copy_may_be_made(c) ? CW_F_CREATE : 0;
    c->n_blocks = c->s->rec.n_blocks;
    if (cw_own_call(c->peer, &c->call, h, rec, (uint32_t)cw_shard_rec_encode(&c->s->rec, rec)))
        c->session = SESSION_SEALING;
}

static void
copy_open(struct copy *c)
{
    if (cw_own_call(c->peer, &c->call, copy_hdr(c, CW_FT_OPEN), NULL, 0))
        c->session = SESSION_OPENING;
}

/* How far this copy should be, as the shard stands. */
static enum session
copy_goal(const struct copy *c)
{
    bool counts = (c->maybe & CW_BIT(CW_MEMBER_INSYNC)) != 0 || c->state == CW_MEMBER_JOURNAL;

    if (c->gone || c->faulty || c->state == CW_MEMBER_DEAD)
        return SESSION_NONE;
    if (c->state == CW_MEMBER_JOURNAL && c->since_seq == 0 && c->s->state != SHARD_ACTIVE)
        return SESSION_NONE; /* nobody depends on it yet */
    switch (c->s->state) {
    case SHARD_SEALING:
    case SHARD_LEASE_WAIT:
    case SHARD_EJECTING:
        return SESSION_SEALED;
    case SHARD_EQUALISING:
    case SHARD_GEN_START:
        return c->streaming ? SESSION_OPEN : SESSION_SEALED;
    case SHARD_ACTIVE:
        if (counts || (c->state == CW_MEMBER_LAGGING && c->streaming))
            return SESSION_OPEN;
        if (c->state == CW_MEMBER_LAGGING)
            return SESSION_SEALED; /* then tested */
        if (c->s->has_log && c->s->syncing != c)
            return SESSION_SEALED; /* the same */
        return c->state == CW_MEMBER_IN_RESYNC && c->s->syncing == c ? SESSION_OPEN : SESSION_NONE;
    case SHARD_CLOSED:
        return SESSION_NONE;
    }
    cw_unreachable();
}

void
cw_own_copy_session(struct copy *c)
{
    enum session goal = copy_goal(c);

    if (c->state == CW_MEMBER_DEAD || c->gone)
        return;
    if (c->peer->state != PEER_UP) {
        if (c->peer->state == PEER_DOWN && !cw_timer_armed(&c->peer->retry))
            cw_own_peer_want(c->peer);
        return;
    }
    if (c->call.tag != 0 || c->session >= goal || cw_own_now(c->s->v->o) < c->retry_ns)
        return;
    if (!c->sealed || goal == SESSION_SEALED)
        copy_seal(c);
    else
        copy_open(c);
}

void
cw_own_copy_on_link(struct copy *c)
{
    c->session = SESSION_NONE;
    c->retry_ns = 0;
    c->n_gaps = 0;
    c->faulty = c->faulty && !c->disk_failed;
    c->disk_failed = false;
    cw_own_copy_session(c);
    cw_own_mark_dirty(c->s);
}

void
cw_own_copy_on_down(struct copy *c)
{
    c->session = SESSION_NONE;
    c->tested = c->restorable = false;
    c->received = 0; /* it may have died with what was in its memory: that is sent again */
    cw_own_follow_forget(c);
    if (c->streaming) /* what was sent on that link is not unanswered on the next one */
        c->send_seq = cw_min_u64(c->send_seq, c->durable + 1);
    if (c->lost_ns == CW_NEVER)
        c->lost_ns = cw_own_now(c->s->v->o);
    if (c->sync == SYNC_JOINING || c->sync == SYNC_COPYING)
        c->sync = SYNC_WANTED;
    if (c->since_seq != 0 && c->sync == SYNC_WANTED)
        c->sealed = false; /* what it is now, a SEAL tells */
    if (!(c->maybe & (CW_BIT(CW_MEMBER_INSYNC) | MAYBE_LOG)))
        c->joining = false; /* not asked for yet: no doubt about it */
    cw_own_mark_dirty(c->s);
}

void
cw_own_copy_close(struct copy *c)
{
    cw_own_call_forget(&c->call);
    if (c->session != SESSION_NONE && c->peer->link != NULL)
        cw_own_peer_send(c->peer, copy_hdr(c, CW_FT_CLOSE), NULL, 0);
    c->session = SESSION_NONE;
    cw_own_copy_reset_stream(c);
    if (c->lost_ns == CW_NEVER)
        c->lost_ns = cw_own_now(c->s->v->o);
}

/* Of what was sent to it on this link. */
static void
link_gives(struct copy *c, const struct rec *rec)
{
    c->peer->ops -= c->peer->ops > 0;
    c->peer->bytes -= cw_min_u64(c->peer->bytes, rec->bytes);
    cw_own_follow_took(c, rec->bytes);
}

void
cw_own_copy_cut_stream(struct copy *c)
{
    struct ring *r = &c->s->ring;

    for (uint64_t seq = cw_max_u64(c->durable + 1, r->first);
         c->streaming && c->peer->link != NULL && seq < c->send_seq && seq < r->next; seq++) {
        link_gives(c, cw_own_ring_at(r, seq));
    }
    cw_own_follow_forget(c);
    cw_list_remove(&c->blocked_node);
    c->streaming = false;
    c->received = 0;
}

void
cw_own_copy_reset_stream(struct copy *c)
{
    cw_own_copy_cut_stream(c);
    c->held = false;
    c->stalled = false;
    c->joining = false;
    c->begun = false;
}

void
cw_own_copy_fault(struct copy *c, const char *why)
{
    if (c->faulty)
        return;
    c->faulty = true;
    c->why = why;
    cw_log(c->s->v->o->env, CW_LOG_WARNING, "shard %llx: copy on %s: %s",
           (unsigned long long)c->s->rec.shard, c->peer->loc.addr, why);
    cw_own_mark_dirty(c->s);
}

/* It is not what it was, so what it once acknowledged vouches for nothing that is not acknowledged
 * to the guest yet, nor for the GEN_START: that waits until the others are all that count. No link
 * owes it anything. */
static void
copy_vouches_no_more(struct copy *c)
{
    if (!c->streaming || (c->s->state != SHARD_ACTIVE && c->s->state != SHARD_GEN_START))
        return;
    c->durable = cw_min_u64(c->durable, c->s->acked);
    c->received = 0;
    c->send_seq = cw_min_u64(c->send_seq, c->durable + 1);
}

/* Until its daemon is another: the last copy in sync cannot be ejected, and must be had again. */
static void
copy_disk_failed(struct copy *c, const char *why)
{
    c->disk_failed = c->disk_failed || !c->faulty;
    cw_own_copy_fault(c, why);
}

/* Lost with its disk, or our record is an old one: it is not a member any more, or all was deleted.
 */
static void
copy_is_missing(struct copy *c)
{
    copy_disk_failed(c, "its disk does not have it");
    copy_vouches_no_more(c);
    cw_own_volume_get(c->s->v);
}

struct cw_wire_stable
cw_own_copy_stable(const struct copy *c, uint64_t stable, bool receipts)
{
    return (struct cw_wire_stable){ .shard = c->s->rec.shard,
                                    .stable = stable,
                                    .gen = c->s->v->gen,
                                    .flags = receipts ? CW_STABLE_RECEIPTS : 0 };
}

void
cw_own_copy_ask_receipts(struct copy *c)
{
    const struct shard *s = c->s;
    bool want = s->v->ack_replicated;
    struct cw_wire_stable st =
        cw_own_copy_stable(c, s->state == SHARD_ACTIVE ? s->stable : 0, want);

    if (c->session != SESSION_OPEN || c->receipts == want)
        return;
    if (cw_own_peer_send(c->peer, (struct cw_wire_hdr){ .type = CW_FT_STABLE }, &st, sizeof(st)))
        c->receipts = want; /* else with the next tick */
}

/* ---- answers ---- */

static bool
info_parse(struct seal_info *info, struct cw_wire_seal_ok *ok, const struct cw_frame *f)
{
    size_t hist, tail;
    uint8_t *mem;

    if (f->data_len < sizeof(*ok))
        return false;
    memcpy(ok, f->data, sizeof(*ok));
    hist = (size_t)ok->n_hist * sizeof(struct cw_wire_hist);
    tail = (size_t)ok->n_tail * sizeof(struct cw_wire_tail);
    if (ok->n_hist > CW_HIST_MAX || ok->n_tail > CW_TAIL_MAX ||
        f->data_len < sizeof(*ok) + hist + tail)
        return false;
    mem = malloc(hist + tail + 1);
    if (mem == NULL)
        return false;
    memcpy(mem, f->data + sizeof(*ok), hist + tail);
    *info = (struct seal_info){
        .last_gen = ok->last_gen,
        .flags = ok->flags,
        .credit_blocks = ok->credit_blocks,
        .last_seq = ok->last_seq,
        .stable = ok->stable,
        .incarnation = ok->incarnation,
        .n_hist = ok->n_hist,
        .n_tail = ok->n_tail,
        .hist = (struct cw_wire_hist *)(void *)mem,
        .tail = (struct cw_wire_tail *)(void *)(mem + hist),
    };
    return true;
}

static void
copy_on_sealed(struct copy *c, const struct cw_frame *f)
{
    struct cw_wire_seal_ok ok;
    struct seal_info info;

    c->session = SESSION_NONE;
    if (f->hdr->gen != c->s->v->gen || !info_parse(&info, &ok, f)) {
        c->retry_ns = cw_own_now(c->s->v->o) + RETRY_NS;
        return;
    }
    if (memcmp(ok.disk_uuid, c->disk_uuid.b, sizeof(ok.disk_uuid)) != 0 ||
        ok.format_id != c->format_id) {
        free(info.hist);
        cw_own_copy_fault(c, "answers with another identity (I15)");
        copy_vouches_no_more(c);
        return;
    }
    cw_own_copy_drop_info(c);
    c->info = info;
    c->sealed = true;
    c->session = SESSION_SEALED;
    c->health = info.flags;
    cw_own_takeover_on_seal(c);
    cw_own_mark_dirty(c->s);
}

static void copy_take_durable(struct copy *c, uint64_t durable, uint64_t sent);

/* After a disconnect: go on from what is durable there, if our records still reach back so far. */
static void
copy_resume(struct copy *c, uint64_t durable)
{
    struct ring *r = &c->s->ring;
    uint64_t sent = c->send_seq;

    if (c->health & (CW_MEMBER_DAMAGED | CW_MEMBER_SYNCING | CW_MEMBER_FAILED))
        cw_own_copy_fault(c, "came back damaged");
    else if (!(c->health & CW_MEMBER_LOG) != (c->state != CW_MEMBER_JOURNAL))
        cw_own_copy_fault(c, "came back as something else");
    else if (durable < c->durable && !cw_mutated(CW_MUTATION_LOST_TAIL))
        cw_own_copy_fault(c, "came back without records that it had made durable (I15)");
    else if (durable >= r->next)
        cw_own_copy_fault(c, "came back with records that were never sent to it");
    else if (durable + 1 < r->first)
        cw_own_copy_fault(c, "missed more records than are kept");
    if (c->faulty) {
        copy_vouches_no_more(c);
        return;
    }
    c->send_seq = durable + 1; /* nothing of this link is unanswered */
    c->stalled = false;
    copy_take_durable(c, durable, sent);
    cw_own_copy_pump(c);
}

static void
copy_on_opened(struct copy *c, const struct cw_frame *f)
{
    struct cw_wire_ack a = { 0 };

    c->session = SESSION_OPEN;
    if (c->s->rec.n_blocks > c->n_blocks && c->s->state == SHARD_ACTIVE)
        cw_own_copy_send_rec(c); /* that of the resize may have been lost with the link */
    c->lost_ns = CW_NEVER;
    c->opened_ns = cw_own_now(c->s->v->o);
    c->n_refused = 0;
    c->receipts = false;
    cw_own_copy_ask_receipts(c);
    c->open_hb = c->peer->hb_next + 1;
    c->peer->hb_wanted = c->s->v->o->hb_wanted = true;
    if (f->data_len >= sizeof(a))
        memcpy(&a, f->data, sizeof(a));
    c->health = a.health;
    c->space_limit = c->s->cum_blocks + a.credit_blocks;
    if (c->state == CW_MEMBER_IN_RESYNC && c->sync != SYNC_DONE) {
        cw_own_resync_on_open(c);
    } else if (c->state == CW_MEMBER_JOURNAL && c->since_seq == 0 && !c->begun) {
        cw_own_journal_on_open(c);
    } else if (c->s->state == SHARD_EQUALISING) {
        c->held = true; /* the stream begins when all are equal */
    } else if (c->streaming) {
        copy_resume(c, f->hdr->seq);
        cw_own_copy_on_ack(c, &a);
    } else if (c->s->state == SHARD_ACTIVE && cw_own_counts(c)) {
        cw_own_copy_fault(c, "was opened without a place in the stream");
    }
    cw_own_mark_dirty(c->s);
}

static void
copy_on_refused(struct copy *c, const struct cw_frame *f)
{
    struct cw_wire_nack n = { 0 };

    if (f->data_len >= sizeof(n))
        memcpy(&n, f->data, sizeof(n));
    c->retry_ns = cw_own_now(c->s->v->o) + RETRY_NS;
    c->n_refused++;
    if (c->session == SESSION_OPENING)
        c->sealed = false; /* it may have promised nothing of ours: begin with SEAL */
    c->session = SESSION_NONE;
    if (n.code == CW_NACK_IO || (n.health & CW_MEMBER_FAILED))
        copy_disk_failed(c, "its disk failed");
    else if (n.code == CW_NACK_NO_SHARD && (cw_own_counts(c) || c->state == CW_MEMBER_LAGGING))
        copy_is_missing(c);
    else
        cw_log(c->s->v->o->env, CW_LOG_INFO, "shard %llx: copy on %s refuses a session (%u)",
               (unsigned long long)c->s->rec.shard, c->peer->loc.addr, n.code);
}

static void
copy_on_joined(struct copy *c, const struct cw_frame *f)
{
    if (c->sync != SYNC_JOINING)
        return;
    if (f->hdr->type == CW_FT_JOIN_OK) {
        c->held = false;
        c->sync = SYNC_COPYING;
        c->source = NULL; /* told by the next run */
        cw_own_copy_pump(c);
    } else {
        cw_own_resync_stop(c, "JOIN was refused");
    }
    cw_own_mark_dirty(c->s);
}

static void
copy_on_answer(struct call *call, const struct cw_frame *f)
{
    struct copy *c = cw_container_of(call, struct copy, call);

    if (f == NULL)
        return; /* on_down has said it */
    if (f->hdr->shard != c->s->rec.shard && f->hdr->type != CW_FT_JOIN_OK)
        return;
    if (c->state == CW_MEMBER_JOURNAL && c->session == SESSION_OPEN)
        cw_own_journal_on_answer(c, f);
    else if (f->hdr->type == CW_FT_JOIN_OK || c->sync == SYNC_JOINING)
        copy_on_joined(c, f);
    else if (f->hdr->type == CW_FT_SEAL_OK && c->session == SESSION_SEALING)
        copy_on_sealed(c, f);
    else if (f->hdr->type == CW_FT_OPEN_OK && c->session == SESSION_OPENING)
        copy_on_opened(c, f);
    else if (f->hdr->type == CW_FT_NACK)
        copy_on_refused(c, f);
    if (c->s->state != SHARD_CLOSED)
        cw_own_copy_session(c);
}

/* ---- the stream ---- */

void
cw_own_copy_pump(struct copy *c)
{
    struct peer *p = c->peer;
    struct ring *r = &c->s->ring;
    uint64_t end = cw_min_u64(r->next, cw_own_journal_limit(c) + 1);

    if (!c->streaming || c->held || c->stalled || c->session != SESSION_OPEN || p->link == NULL ||
        c->faulty)
        return;
    while (c->send_seq < end) {
        struct rec *rec = cw_own_ring_at(r, c->send_seq);

        if (!cw_own_peer_room(p, rec->bytes) || (c->async && !cw_own_follow_room(c, rec->bytes))) {
            cw_list_remove(&c->blocked_node);
            cw_list_push_back(&p->blocked, &c->blocked_node);
            return;
        }
        p->ops++;
        p->bytes += rec->bytes;
        if (c->async)
            cw_own_follow_sent(c, rec->bytes);
        c->send_seq++;
        c->stable_told = c->s->stable;
        cw_link_send(p->link, cw_msg_ref(rec->msg));
    }
}

/* Blocks sequenced up to and including seq. */
static uint64_t
cum_at(const struct shard *s, uint64_t seq)
{
    const struct rec *rec;

    if (seq + 1 >= s->ring.next)
        return s->cum_blocks;
    rec = cw_own_ring_at(&s->ring, cw_max_u64(seq + 1, s->ring.first));
    return rec->cum_blocks - rec->cost;
}

uint64_t
cw_own_copy_lacks_blocks(const struct copy *c)
{
    return c->s->cum_blocks - cum_at(c->s, c->durable);
}

/* Of what was sent on this link up to but not including `sent`, the credit is given back. */
static void
copy_take_durable(struct copy *c, uint64_t durable, uint64_t sent)
{
    struct ring *r = &c->s->ring;
    uint64_t now = cw_own_now(c->s->v->o);

    for (uint64_t seq = cw_max_u64(c->durable + 1, r->first);
         seq <= durable && seq < c->send_seq && seq < r->next; seq++) {
        const struct rec *rec = cw_own_ring_at(r, seq);

        if (seq < sent)
            link_gives(c, rec);
        if (!c->async) /* it says nothing of those that are waited for */
            cw_histogram_add(&c->peer->acks, now - rec->begun_ns);
    }
    if (durable > c->durable) {
        c->durable = durable;
        c->n_gaps = c->n_bad_csum = 0;
    }
    cw_own_follow_durable(c);
}

void
cw_own_copy_set_durable(struct copy *c, uint64_t durable)
{
    copy_take_durable(c, durable, c->send_seq);
}

void
cw_own_copy_on_ack(struct copy *c, const struct cw_wire_ack *a)
{
    c->health = a->health;
    if (a->health & CW_MEMBER_FAILED)
        copy_disk_failed(c, "its disk failed");
    else if ((a->health & CW_MEMBER_DAMAGED) &&
             (c->state == CW_MEMBER_INSYNC || c->state == CW_MEMBER_JOURNAL))
        cw_own_copy_fault(c, "found its log damaged (I16)");
    cw_own_mark_dirty(c->s);
    if (!c->streaming || a->gen != c->s->v->gen)
        return;
    if (c->s->state == SHARD_EQUALISING) {
        c->durable = cw_max_u64(c->durable, a->durable_seq);
        return;
    }
    if (a->durable_seq >= c->send_seq) {
        if (a->durable_seq > c->durable)
            cw_own_copy_fault(c, "acknowledges what was never sent to it");
        return;
    }
    cw_own_copy_set_durable(c, a->durable_seq);
    c->received = cw_min_u64(a->durable_seq + a->in_memory, c->send_seq - 1);
    c->space_limit = cum_at(c->s, c->durable) + a->credit_blocks;
}

/* What lies from seq on leaves the account of the link, for it will be sent and counted again. */
static void
copy_rewind(struct copy *c, uint64_t seq)
{
    struct ring *r = &c->s->ring;

    for (uint64_t i = cw_max_u64(seq, r->first); i < c->send_seq && i < r->next; i++) {
        link_gives(c, cw_own_ring_at(r, i));
    }
    c->send_seq = cw_min_u64(seq, c->send_seq);
}

/* Credit should have kept it from this (I17). It asks again when there is room; if that takes too
 * long, the member pays and never the guest, unless it is the last one. */
static void
copy_no_space(struct copy *c, uint64_t seq)
{
    if (!c->streaming || seq <= c->durable || seq > c->send_seq)
        return;
    c->space_limit = 0;
    c->stalled = true;
    copy_rewind(c, seq);
}

/* The far end has forgotten the session: a new one on the same link, by whose order nothing of the
 * old one can come late. */
static void
copy_lost_session(struct copy *c)
{
    if (c->streaming)
        copy_rewind(c, c->durable + 1);
    cw_list_remove(&c->blocked_node);
    cw_own_copy_on_down(c);
    c->retry_ns = cw_own_now(c->s->v->o) + RETRY_NS;
}

static void
copy_on_gap(struct copy *c, uint32_t code, uint64_t seq)
{
    if (code == CW_NACK_BAD_CSUM ? ++c->n_bad_csum >= BAD_CSUM_MAX : ++c->n_gaps > GAPS_MAX) {
        cw_own_copy_fault(c, "refuses the same record again and again");
        return;
    }
    if (!c->streaming || c->held || seq <= c->durable || seq > c->send_seq)
        return;
    c->stalled = false;
    copy_rewind(c, seq);
    cw_own_copy_pump(c);
}

void
cw_own_copy_on_nack(struct copy *c, const struct cw_frame *f)
{
    struct cw_wire_nack n = { 0 };
    uint64_t seq = f->hdr->seq;

    if (f->data_len >= sizeof(n))
        memcpy(&n, f->data, sizeof(n));
    cw_log(c->s->v->o->env, CW_LOG_INFO, "shard %llx: copy on %s refuses a record (%u, seq %llu)",
           (unsigned long long)c->s->rec.shard, c->peer->loc.addr, n.code, (unsigned long long)seq);
    if (c->s->state == SHARD_EQUALISING) {
        if (c->s->n_restarts > RESTARTS_MAX)
            cw_own_copy_fault(c, "refuses to be equalised");
        cw_own_takeover_begin(c->s);
        return;
    }
    switch ((enum cw_nack_code)n.code) {
    case CW_NACK_SEQ_GAP:
    case CW_NACK_BAD_CSUM:
        copy_on_gap(c, n.code, seq);
        return;
    case CW_NACK_NO_SPACE:
        copy_no_space(c, seq);
        return;
    case CW_NACK_IO:
        copy_disk_failed(c, "its disk failed");
        return;
    case CW_NACK_NO_SHARD:
        cw_own_copy_fault(c, "does not have the shard any more");
        return;
    case CW_NACK_NO_SESSION:
    case CW_NACK_STATE:
        copy_lost_session(c);
        return;
    case CW_NACK_STALE_GEN:
    case CW_NACK_GONE:
        return;
    }
}

/* ---- lease, record ---- */

bool
cw_own_copy_lease(const struct copy *c, uint64_t now)
{
    const struct peer *p = c->peer;

    bool open = c->session == SESSION_OPEN && (int32_t)(p->hb_good - c->open_hb) >= 0;

    return (open || cw_mutated(CW_MUTATION_HB_NO_OPEN)) && p->link != NULL &&
           p->stuck_since_ns == CW_NEVER && now < p->hb_acked_sent_ns + c->s->v->o->tun.lease_ns;
}

void
cw_own_copy_send_rec(struct copy *c)
{
    uint8_t rec[CW_SHARD_REC_BYTES_MAX];

    if (c->session == SESSION_OPEN)
        cw_own_peer_send(c->peer, copy_hdr(c, CW_FT_CFG), rec,
                         (uint32_t)cw_shard_rec_encode(&c->s->rec, rec));
}
