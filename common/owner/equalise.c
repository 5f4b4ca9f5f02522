/* Equalising, 1.8 step 5: records that some sealed copies lack are read from one that has them and
 * appended to the others in order, as they were first written.
 *
 *   TAIL_QUERY(k) --> holder --TAIL_DATA--> slot[k % depth] --in order--> REPAIR_APPEND(k) to who
 * lacks k
 *
 * A record is asked for only when the slowest copy is at most `depth` behind, so memory is bounded.
 */
#include "common/codec/hash.h"
#include "common/owner/room.h"

#include <stdlib.h>

static void slot_on_answer(struct call *call, const struct cw_frame *f);

void
cw_own_equalise_begin(struct shard *s, struct copy *src, bool alone)
{
    s->eq = calloc(1, sizeof(*s->eq));
    if (s->eq == NULL)
        return; /* the next tick tries again */
    s->state = SHARD_EQUALISING;
    s->equal_begun_ns = cw_own_now(s->v->o);
    s->why = "equalising the copies";
    s->eq->src = src;
    s->eq->to_seq = src->info.last_seq;
    s->eq->to_gen = src->info.last_gen;
    s->eq->next = UINT64_MAX;
    for (uint32_t i = 0; i < EQUALISE_DEPTH; i++) {
        s->eq->slots[i].s = s;
        s->eq->slots[i].call.answer = slot_on_answer;
    }
    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];

        if (!cw_own_counts(c) && c->state != CW_MEMBER_LAGGING)
            continue;
        if (alone && c != src)
            continue;
        if (c->session < SESSION_SEALED || c->info.hist == NULL)
            continue;
        c->streaming = true;
        c->held = false;
        c->durable = c->info.last_seq;
        c->send_seq = c->durable + 1;
        s->eq->next = cw_min_u64(s->eq->next, c->durable + 1);
        cw_own_copy_session(c);
    }
    s->eq->sent = s->eq->next - 1;
    cw_own_mark_dirty(s);
}

void
cw_own_equalise_end(struct shard *s)
{
    if (s->eq == NULL)
        return;
    for (uint32_t i = 0; i < EQUALISE_DEPTH; i++) {
        cw_own_call_forget(&s->eq->slots[i].call);
        cw_msg_unref(s->eq->slots[i].msg);
    }
    free(s->eq);
    s->eq = NULL;
}

/* ---- asking ---- */

static void
slot_ask(struct eq_slot *slot)
{
    struct shard *s = slot->s;
    struct cw_wire_hdr h = { .type = CW_FT_TAIL_QUERY,
                             .shard = s->rec.shard,
                             .gen = s->v->gen,
                             .cfg = s->rec.cfg,
                             .seq = slot->seq };

    slot->from = NULL;
    for (uint32_t i = 0; i < s->n_copies && slot->from == NULL; i++) {
        struct copy *c = s->copies[i];

        if (c->streaming && c->session == SESSION_OPEN && c->info.last_seq >= slot->seq &&
            !(slot->tried & CW_BIT(i)) &&
            (c == s->eq->src || (slot->tried & CW_BIT(cw_own_copy_index(s->eq->src)))))
            slot->from = c;
    }
    if (slot->from == NULL) {
        cw_own_equalise_doomed(s, slot->seq);
        return;
    }
    slot->tried |= (uint32_t)CW_BIT(cw_own_copy_index(slot->from));
    slot->busy = cw_own_call(slot->from->peer, &slot->call, h, NULL, 0);
}

/* ---- the record on its way ---- */

/* REPAIR_APPEND out of TAIL_DATA; NULL: not a whole, verified record, or no memory (*ret_again). */
static struct cw_msg *
repair_frame(struct shard *s, const struct cw_frame *f, bool *ret_again)
{
    struct cw_wire_hdr h = *f->hdr;
    struct cw_buf *buf;
    struct cw_msg *m;

    *ret_again = false;
    h.type = CW_FT_REPAIR_APPEND;
    h.gen = s->v->gen;
    h.cfg = s->rec.cfg;
    h.tag = 0;
    if (!(h.flags & CW_F_DATA))
        return cw_own_frame(s->v->o, h, NULL, 0);
    if (cw_hash_verify(f->data, f->csums, cw_hdr_nblk(&h)) != cw_hdr_nblk(&h))
        return NULL;
    *ret_again = true;
    if (f->buf != NULL) {
        buf = cw_buf_ref(f->buf);
    } else {
        buf = cw_buf_get(s->v->o->pool, f->data_len);
        if (buf == NULL)
            return NULL;
        memcpy(buf->data, f->data, f->data_len);
    }
    m = cw_frame_data(s->v->o->pool, h, f->csums, buf, f->buf != NULL ? f->data : buf->data);
    if (m == NULL)
        cw_buf_unref(buf);
    return m;
}

static bool
needs(const struct copy *c, uint64_t seq)
{
    return c->streaming && c->info.last_seq < seq;
}

static void
forward(struct shard *s, struct eq_slot *slot)
{
    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];

        if (needs(c, slot->seq) && c->peer->link != NULL)
            cw_link_send(c->peer->link, cw_msg_ref(slot->msg));
    }
    cw_msg_unref(slot->msg);
    slot->msg = NULL;
    s->eq->sent = slot->seq;
}

static void
slot_on_answer(struct call *call, const struct cw_frame *f)
{
    struct eq_slot *slot = cw_container_of(call, struct eq_slot, call);
    struct shard *s = slot->s;
    bool again = false;

    slot->busy = false;
    cw_own_mark_dirty(s);
    if (f == NULL)
        return; /* the copy's session is gone as well: the takeover begins again */
    if (f->hdr->type == CW_FT_TAIL_DATA && f->hdr->seq == slot->seq)
        slot->msg = repair_frame(s, f, &again);
    if (again && slot->msg == NULL)
        slot->tried = 0; /* no memory: the next run asks again */
    else if (slot->msg == NULL)
        slot_ask(slot); /* somebody else; may end the equalising */
}

/* ---- progress ---- */

static bool
all_open(struct shard *s)
{
    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];

        if (!c->streaming || c->session == SESSION_OPEN)
            continue;
        if (c->held || c->session == SESSION_NONE) {
            if (c->held) /* it was open: what it got is not known */
                cw_own_takeover_begin(s);
            return false;
        }
        return false;
    }
    return true;
}

/* The least durable of the copies that lack something. */
static uint64_t
floor_seq(const struct shard *s)
{
    uint64_t min = s->eq->to_seq;

    for (uint32_t i = 0; i < s->n_copies; i++) {
        if (s->copies[i]->streaming)
            min = cw_min_u64(min, s->copies[i]->durable);
    }
    return min;
}

/* A tail holds CW_TAIL_MAX records above what its copy knows to be stable, which after a restart
 * may be an old number: without this, no record would fit on a copy whose tail is full. */
static void
tell_stable(struct shard *s)
{
    uint64_t stable = cw_own_takeover_stable(s);

    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];
        struct cw_wire_stable st = cw_own_copy_stable(c, stable, c->receipts);

        if (c->streaming)
            cw_own_peer_send(c->peer, (struct cw_wire_hdr){ .type = CW_FT_STABLE }, &st,
                             sizeof(st));
    }
    s->eq->told = true;
}

void
cw_own_equalise_run(struct shard *s)
{
    struct equalise *eq = s->eq;
    uint64_t floor;

    if (!all_open(s))
        return;
    if (!eq->told)
        tell_stable(s);
    for (;;) {
        struct eq_slot *slot = &eq->slots[(eq->sent + 1) % EQUALISE_DEPTH];

        if (slot->seq != eq->sent + 1 || slot->msg == NULL)
            break;
        forward(s, slot);
    }
    floor = floor_seq(s);
    if (floor >= eq->to_seq) {
        cw_own_takeover_equal(s);
        return;
    }
    for (uint64_t seq = eq->sent + 1; seq <= eq->to_seq && seq <= floor + EQUALISE_DEPTH; seq++) {
        struct eq_slot *slot = &eq->slots[seq % EQUALISE_DEPTH];

        if (slot->busy || (slot->seq == seq && slot->msg != NULL))
            continue;
        if (slot->seq != seq)
            slot->tried = 0;
        slot->seq = seq;
        slot_ask(slot);
        if (s->eq != eq) /* it gave up */
            return;
    }
}
