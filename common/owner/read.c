/* Reads: from the nearest in-sync copy, verified here, completed only under I10 and I13.
 *
 *   start --overlapping writes acked--> ask a copy --verified--> hold --overlapping writes acked,
 * lease--> done
 *                                         \--refused, silent, link lost--> ask another
 *                                         \--bad blocks--> salvage
 *
 * The read of a part is in s->readers while it waits for something and in s->reading while a copy
 * is asked. */
#include "common/owner/room.h"

#include <errno.h>

#include "common/codec/hash.h"

#define SLOW_NS (20 * CW_NS_PER_MS)
#define SILENT_NS CW_NS_PER_S
#define EWMA_BLOCKS 16u /* longer reads are scaled down to so many blocks */
/* Answers that do not verify here, before they count as the copy's fault. */
#define DAMAGED_MAX 3u

static void read_on_answer(struct call *call, const struct cw_frame *f);

/* ---- whom to ask ---- */

static bool
readable(const struct copy *c)
{
    bool may = cw_own_in_read(c) ||
               (cw_mutated(CW_MUTATION_READ_LAGGING) && c->state == CW_MEMBER_LAGGING);

    return may && c->session == SESSION_OPEN && !c->faulty && c->peer->link != NULL;
}

/* Smaller is better: near first, but not what is silent, stuck or far slower than the fastest. */
static uint32_t
rank(const struct copy *c, uint64_t now, uint64_t fastest)
{
    const struct peer *p = c->peer;
    uint64_t silent = cw_own_peer_silent_since(p);
    uint32_t r = p->distance;

    if (p->read_ewma_ns > SLOW_NS && p->read_ewma_ns / 8 > fastest)
        r += 4;
    if (p->stuck_since_ns != CW_NEVER || (silent < now && now - silent > SILENT_NS))
        r += 8;
    return r;
}

struct copy *
cw_own_read_choose(struct shard *s, uint32_t not_mask)
{
    uint64_t now = cw_own_now(s->v->o), fastest = CW_NEVER, best_score = 0;
    uint32_t best_rank = 0;
    struct copy *best = NULL;

    for (uint32_t i = 0; i < s->n_copies; i++) {
        if (readable(s->copies[i]))
            fastest = cw_min_u64(fastest, s->copies[i]->peer->read_ewma_ns);
    }
    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];
        uint32_t r = rank(c, now, fastest);
        uint64_t score = (c->peer->read_ewma_ns + 1000) * (c->peer->reads + 1);

        if (!readable(c) || (not_mask & CW_BIT(i)) || !cw_own_peer_room(c->peer, 0))
            continue;
        if (best == NULL || r < best_rank || (r == best_rank && score < best_score)) {
            best = c;
            best_rank = r;
            best_score = score;
        }
    }
    return best;
}

/* ---- waiting and asking ---- */

void
cw_own_read_wait(struct part *p)
{
    cw_list_remove(&p->node);
    cw_list_push_back(&p->s->readers, &p->node);
}

bool
cw_own_read_ask(struct part *p, struct copy *c, uint64_t lba, uint32_t nblk)
{
    struct shard *s = p->s;
    struct rcall *rc = cw_own_rcall_new(p->o);
    struct cw_wire_hdr h = { .type = CW_FT_READ,
                             .shard = s->rec.shard,
                             .gen = s->v->gen,
                             .cfg = s->rec.cfg,
                             .lba_nblk = cw_lba_nblk(lba, nblk) };

    if (rc == NULL)
        return false;
    *rc = (struct rcall){ .part = p, .copy = c, .peer = c->peer, .lba = lba, .nblk = nblk };
    cw_list_init(&rc->free_node);
    rc->call.answer = read_on_answer;
    if (!cw_own_call(c->peer, &rc->call, h, NULL, 0)) {
        cw_own_rcall_free(p->o, rc);
        return false;
    }
    c->peer->reads++;
    p->rc = rc;
    p->asked_ns = cw_own_now(p->o);
    p->tried |= (uint32_t)CW_BIT(cw_own_copy_index(c));
    cw_list_remove(&p->node);
    cw_list_push_back(&s->reading, &p->node);
    return true;
}

static void
read_issue(struct part *p)
{
    struct copy *c;

    if (p->salvage != NULL) {
        cw_own_salvage_run(p);
        return;
    }
    c = cw_own_read_choose(p->s, p->tried);
    if (c == NULL || p->s->state != SHARD_ACTIVE || !cw_own_read_ask(p, c, p->lba, p->nblk)) {
        p->tried = 0; /* all were asked: a new round, when something has changed or with the tick */
        cw_own_read_wait(p);
    }
}

void
cw_own_read_start(struct part *p)
{
    p->wait_seq = cw_own_spans_max(p->s, p->lba, p->nblk);
    if (p->wait_seq > p->s->acked && !cw_mutated(CW_MUTATION_READ_AT_END))
        cw_own_read_wait(p);
    else
        read_issue(p);
}

/* ---- completing ---- */

static bool
read_may_complete(const struct part *p)
{
    return (p->s->acked >= p->wait_seq || cw_mutated(CW_MUTATION_READ_AT_ISSUE)) &&
           cw_own_shard_lease(p->s);
}

/* Gives the received buffer itself to a caller who asked for it. */
static bool
read_hand_over(struct part *p, struct cw_buf *buf, const uint8_t *data)
{
    struct cw_io *io = p->io;

    if (!(io->flags & CW_IO_TAKE_BUF) || buf == NULL || p->head != 0 || p->len != io->len)
        return false;
    io->buf = cw_buf_ref(buf);
    io->buf_off = (uint32_t)(data - buf->data);
    return true;
}

static void
read_complete(struct part *p, struct cw_buf *buf, const uint8_t *data)
{
    if (p->io != NULL && !read_hand_over(p, buf, data))
        cw_own_io_copy_out(p, data);
    cw_own_part_done(p, 0);
}

/* The answer of an internal read belongs to it alone, from offset 0 on, zeroes included. */
static bool
internal_keep(struct part *p, struct cw_buf *buf, const uint8_t *data)
{
    size_t len = (size_t)p->nblk * CW_BLOCK_SIZE;
    struct cw_buf *mine = cw_buf_get(p->o->pool, len);

    if (mine == NULL)
        return false;
    if (data != NULL)
        memcpy(mine->data, data, len);
    else
        memset(mine->data, 0, len);
    cw_buf_unref(p->buf);
    p->buf = mine;
    p->buf_off = 0;
    p->zeroes = false;
    return true;
}

static bool
held_keep(struct part *p, struct cw_buf *buf, const uint8_t *data)
{
    size_t len = (size_t)p->nblk * CW_BLOCK_SIZE;

    p->zeroes = data == NULL;
    if (data == NULL)
        return true;
    if (buf != NULL) {
        p->buf = cw_buf_ref(buf);
        p->buf_off = (uint32_t)(data - buf->data);
        return true;
    }
    p->buf = cw_buf_get(p->o->pool, len);
    if (p->buf == NULL)
        return false;
    memcpy(p->buf->data, data, len);
    p->buf_off = 0;
    return true;
}

/* The verified answer, in buf or in memory that lives for this call; data NULL: zeroes. Completes
 * if that is allowed now (I10, I13), else keeps it. Whatever was sequenced since the read began may
 * be in it already, so all of that must be acked first. */
void
cw_own_read_hold(struct part *p, struct cw_buf *take_buf, const uint8_t *data)
{
    bool kept;

    p->wait_seq = cw_own_spans_max(p->s, p->lba, p->nblk);
    if (p->io != NULL && read_may_complete(p)) {
        read_complete(p, take_buf, data);
        cw_buf_unref(take_buf);
        return;
    }
    kept = p->io != NULL ? held_keep(p, take_buf, data) : internal_keep(p, take_buf, data);
    cw_buf_unref(take_buf);
    p->answered = kept; /* no memory: ask again */
    p->tried = 0;
    cw_own_read_wait(p);
    cw_own_mark_dirty(p->s);
}

static void
read_finish_held(struct part *p)
{
    const uint8_t *data = p->zeroes ? NULL : p->buf->data + p->buf_off;

    if (p->io != NULL)
        read_complete(p, p->buf, data);
    else
        cw_own_part_done(p, 0);
}

void
cw_own_read_kick(struct shard *s)
{
    struct cw_list mine, *node;

    cw_list_init(&mine);
    cw_list_splice_back(&mine, &s->readers);
    while ((node = cw_list_pop_front(&mine)) != NULL) {
        struct part *p = cw_list_entry(node, struct part, node);

        if (p->answered ? !read_may_complete(p) : s->acked < p->wait_seq)
            cw_list_push_back(&s->readers, &p->node);
        else if (p->answered)
            read_finish_held(p);
        else if (p->kind == PART_LOCK)
            p->done_fn(p, 0);
        else
            read_issue(p);
    }
}

/* ---- answers ---- */

static void
note_latency(struct rcall *rc)
{
    struct peer *p = rc->peer;
    uint64_t now = cw_own_now(p->o), took = now - rc->call.sent_ns;

    if (rc->nblk > EWMA_BLOCKS)
        took = took * EWMA_BLOCKS / rc->nblk;
    p->read_ewma_ns = p->read_ewma_ns == 0 ? took : (7 * p->read_ewma_ns + took) / 8;
    p->last_read_ns = now;
}

static void
read_on_ok(struct part *p, const struct rcall *rc, const struct cw_frame *f)
{
    const uint8_t *data = f->hdr->flags & CW_F_ZEROES ? NULL : f->data;
    uint64_t bad[4] = { 0 };
    size_t first;

    if (cw_hdr_lba(f->hdr) != rc->lba || cw_hdr_nblk(f->hdr) != rc->nblk ||
        (data != NULL && !(f->hdr->flags & CW_F_DATA))) {
        cw_own_peer_break(rc->peer, "a READ_OK for another range");
        read_issue(p);
        return;
    }
    first = data != NULL && !cw_mutated(CW_MUTATION_READ_BLIND)
                ? cw_hash_verify(data, f->csums, rc->nblk)
                : rc->nblk;
    if (first < rc->nblk && p->n_damaged < DAMAGED_MAX) {
        /* the copy verified it before it sent it: the way here is to blame, so ask again */
        p->n_damaged++;
        if (p->salvage != NULL)
            cw_own_salvage_run(p);
        else
            read_issue(p);
    } else if (first < rc->nblk) {
        for (uint32_t i = (uint32_t)first; i < rc->nblk; i++) {
            if (cw_hash_block(data + i * CW_BLOCK_SIZE) != f->csums[i])
                cw_bit_set(bad, i);
        }
        cw_own_salvage_note(p, rc->copy, rc->lba, rc->nblk, bad);
        cw_own_salvage_run(p);
    } else if (p->salvage != NULL) {
        cw_own_salvage_took(p, rc, f);
    } else {
        cw_assert(rc->lba == p->lba && rc->nblk == p->nblk);
        cw_own_read_hold(p, f->buf != NULL ? cw_buf_ref(f->buf) : NULL, data);
    }
}

static void
read_on_err(struct part *p, const struct rcall *rc, const struct cw_frame *f)
{
    struct cw_wire_read_err e = { .code = CW_NACK_IO };

    if (f->hdr->type == CW_FT_READ_ERR && f->data_len >= sizeof(e))
        memcpy(&e, f->data, sizeof(e));
    if (e.code != 0) {
        read_issue(p); /* refused as a whole: another one; the session's end comes by itself */
        return;
    }
    cw_own_salvage_note(p, rc->copy, rc->lba, rc->nblk, e.bad);
    cw_own_salvage_run(p);
}

static void
read_on_answer(struct call *call, const struct cw_frame *f)
{
    struct rcall *rc = cw_container_of(call, struct rcall, call), was = *rc;
    struct part *p = rc->part;

    rc->peer->reads--;
    if (f != NULL)
        note_latency(rc);
    cw_own_rcall_free(was.peer->o, rc);
    if (p == NULL)
        return; /* another copy was faster, or nobody waits any more */
    p->rc = NULL;
    if (f == NULL || was.copy == NULL || !readable(was.copy))
        read_issue(p); /* it left the read set meanwhile */
    else if (f->hdr->type == CW_FT_READ_OK)
        read_on_ok(p, &was, f);
    else
        read_on_err(p, &was, f);
}

/* ---- others' events ---- */

static void
read_ask_another(struct part *p)
{
    if (p->salvage == NULL && cw_own_read_choose(p->s, p->tried) == NULL) {
        p->asked_ns = cw_own_now(p->o); /* nobody else: go on waiting for this one */
        p->tried = 0;
        return;
    }
    p->rc->part = NULL;
    p->rc = NULL;
    read_issue(p);
}

void
cw_own_read_tick(struct shard *s)
{
    uint64_t now = cw_own_now(s->v->o);
    struct cw_list mine, *node;

    cw_list_init(&mine);
    cw_list_splice_back(&mine, &s->reading);
    while ((node = cw_list_pop_front(&mine)) != NULL) {
        struct part *p = cw_list_entry(node, struct part, node);

        cw_list_push_back(&s->reading, &p->node);
        if (p->rc != NULL && now - p->asked_ns > s->v->o->tun.read_timeout_ns)
            read_ask_another(p);
    }
    if (!s->v->quorum_loss_error || s->v->state != CW_VOLUME_READY ||
        s->below_since_ns == CW_NEVER || now - s->below_since_ns < 2 * s->v->o->tun.eject_ns ||
        cw_own_read_choose(s, 0) != NULL)
        return;
    cw_list_splice_back(&mine, &s->readers);
    while ((node = cw_list_pop_front(&mine)) != NULL)
        cw_own_part_done(cw_list_entry(node, struct part, node), -EIO);
}

/* The copy leaves: what it was asked is asked elsewhere. */
void
cw_own_read_forget_copy(struct shard *s, struct copy *c)
{
    struct cw_list *node, mine;

    cw_own_verify_forget_copy(s, c);
    cw_own_notes_forget_copy(s, c);
    CW_LIST_EACH (it, &c->peer->calls) {
        struct call *call = cw_list_entry(it, struct call, node);
        struct rcall *rc = cw_container_of(call, struct rcall, call);

        if (call->answer == read_on_answer && rc->copy == c)
            rc->copy = NULL;
    }
    cw_list_init(&mine);
    cw_list_splice_back(&mine, &s->reading);
    while ((node = cw_list_pop_front(&mine)) != NULL) {
        struct part *p = cw_list_entry(node, struct part, node);
        bool salvaged = p->salvage != NULL;

        cw_list_push_back(&s->reading, &p->node);
        p->tried = 0;           /* the places of copies change */
        cw_own_salvage_free(p); /* it knows copies by pointer: from the beginning, */
        if (p->rc != NULL && (salvaged || p->rc->copy == NULL)) { /* for rc is of a part only */
            p->rc->part = NULL;
            p->rc = NULL;
            cw_own_read_wait(p);
        }
    }
    CW_LIST_EACH (it, &s->readers) {
        struct part *p = cw_list_entry(it, struct part, node);

        p->tried = 0;
        cw_own_salvage_free(p);
    }
}
