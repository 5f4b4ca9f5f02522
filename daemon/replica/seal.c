/* replica/seal.c - SEAL: promise a newer owner that nobody older writes here any more.
 *
 *   SEAL --> older session gets SEALED and ends, held records go --> promise (and record) durable,
 *            with it everything appended before --> SEAL_OK: last, history, tail are final (I5)
 *
 * From the arrival of the SEAL on, frames of older generations are refused; the answer waits for
 * the disk. Seals of one copy are served one after the other.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "common/base/mutation.h"
#include "daemon/replica/internal.h"

#define SEAL_STEPS_MAX 3u

struct cw_seal {
    struct cw_list in_copy;
    struct cw_copy *copy;
    struct cw_peer *peer; /* a reference */
    struct cw_shard_rec rec;
    uint32_t gen, tag, flags;
    uint32_t n_steps; /* ops under way */
    int res;
    struct cw_op steps[SEAL_STEPS_MAX];
};

static void seal_step_done(struct cw_op *op, int res);

static void
seal_free(struct cw_seal *s)
{
    cw_list_remove(&s->in_copy);
    cw_peer_unref(s->peer);
    free(s);
}

/* The copy frees its seals itself. */
static void
seal_step_forget(struct cw_op *op)
{
}

static struct cw_store_ticket *
seal_step(struct cw_seal *s)
{
    struct cw_op *op = &s->steps[s->n_steps++];

    cw_assert(s->n_steps <= SEAL_STEPS_MAX);
    cw_op_begin(s->copy, op, seal_step_done, seal_step_forget);
    return &op->ticket;
}

static void
seal_start(struct cw_seal *s)
{
    struct cw_copy *c = s->copy;
    bool newer = cw_rec_is_newer(&s->rec, &c->info->rec);

    if (s->gen > c->info->promised_gen)
        cw_store_promise(c->sh, s->gen, seal_step(s));
    /* The record is also the barrier behind which everything appended is durable. */
    if (newer || s->n_steps == 0) {
        struct cw_shard_rec rec = newer ? s->rec : c->info->rec;

        cw_store_set_rec(c->sh, &rec, seal_step(s));
    }
}

static uint32_t
seal_fill_tail(struct cw_copy *c, struct cw_wire_tail *to)
{
    struct cw_store_tail_entry e[64], *all = e; /* most tails are short */
    uint32_t n = 0, got;

    got = cw_store_tail_list(c->sh, e, CW_LEN(e));
    if (got == CW_LEN(e)) {
        all = calloc(CW_TAIL_MAX, sizeof(*all));
        if (all == NULL)
            return UINT32_MAX;
        got = cw_store_tail_list(c->sh, all, CW_TAIL_MAX);
    }
    for (; n < got; n++)
        to[n] = (struct cw_wire_tail){
            .seq = all[n].seq,
            .lba_nblk = cw_lba_nblk(all[n].lba, all[n].nblk),
            .csum0 = all[n].csum0,
            .gen = all[n].gen,
            .type = all[n].type,
        };
    if (all != e)
        free(all);
    return n;
}

static void
seal_fill(struct cw_copy *c, uint32_t flags, struct cw_wire_seal_ok *ok)
{
    const struct cw_store_identity *id = cw_store_identity(c->r->store);

    *ok = (struct cw_wire_seal_ok){
        .last_gen = c->info->durable_gen,
        .flags = cw_copy_health(c) | flags,
        .last_seq = c->info->durable_seq,
        .stable = c->info->stable,
        .incarnation = id->incarnation,
        .format_id = id->format_id,
        .n_hist = c->info->n_hist,
        .credit_blocks = cw_store_credit(c->sh),
        .cfg = c->info->rec.cfg,
    };
    memcpy(ok->disk_uuid, id->disk_uuid.b, sizeof(ok->disk_uuid));
}

static struct cw_msg *
seal_answer(const struct cw_seal *s)
{
    struct cw_copy *c = s->copy;
    struct cw_wire_hdr h = {
        .type = CW_FT_SEAL_OK, .shard = c->shard, .gen = s->gen, .tag = s->tag
    };
    uint32_t n_hist = c->info->n_hist, len;
    struct cw_wire_seal_ok *ok;
    struct cw_wire_hist *hist;
    struct cw_buf *b;
    struct cw_msg *m = NULL;

    cw_assert(n_hist <= CW_HIST_MAX);
    b = cw_buf_get(c->r->pool, sizeof(*ok) + n_hist * sizeof(*hist) +
                                   (size_t)CW_TAIL_MAX * sizeof(struct cw_wire_tail));
    if (b == NULL)
        return NULL;
    ok = (struct cw_wire_seal_ok *)(void *)b->data;
    seal_fill(c, s->flags, ok);
    hist = (struct cw_wire_hist *)(void *)(ok + 1);
    for (uint32_t i = 0; i < n_hist; i++)
        hist[i] = (struct cw_wire_hist){ .start_seq = c->info->hist[i].start_seq,
                                         .gen = c->info->hist[i].gen };
    ok->n_tail = seal_fill_tail(c, (struct cw_wire_tail *)(void *)(hist + n_hist));
    if (ok->n_tail != UINT32_MAX) {
        len = (uint32_t)(sizeof(*ok) + n_hist * sizeof(*hist) +
                         ok->n_tail * sizeof(struct cw_wire_tail));
        m = cw_frame_opaque(c->r->pool, h, NULL, ok, len);
    }
    cw_buf_unref(b);
    return m;
}

static void
seal_finish(struct cw_seal *s)
{
    struct cw_copy *c = s->copy;
    struct cw_seal *next;

    if (s->res != 0)
        cw_peer_nack_copy(s->peer, c, s->tag, CW_NACK_IO, 0);
    else if (s->gen < c->fence_gen && !cw_mutated(CW_MUTATION_SEAL_OLDER))
        cw_peer_nack_copy(s->peer, c, s->tag, CW_NACK_STALE_GEN, 0);
    else
        cw_peer_send(s->peer, seal_answer(s));
    seal_free(s);
    c->n_seals--;
    next = cw_list_first(&c->seals, struct cw_seal, in_copy);
    if (next != NULL)
        seal_start(next);
}

static void
seal_step_done(struct cw_op *op, int res)
{
    struct cw_copy *c = op->copy;
    struct cw_seal *s = cw_list_first(&c->seals, struct cw_seal, in_copy);

    cw_assert(s != NULL && op >= s->steps && op < s->steps + SEAL_STEPS_MAX);
    if (res != 0)
        s->res = res;
    if (--s->n_steps == 0)
        seal_finish(s);
}

void
cw_seal_forget_all(struct cw_copy *c)
{
    while (!cw_list_empty(&c->seals)) {
        struct cw_seal *s = cw_list_first(&c->seals, struct cw_seal, in_copy);

        cw_list_remove(&s->in_copy);
        free(s);
    }
}

/* NULL: refused, the peer was told. */
static struct cw_copy *
seal_create(struct cw_peer *p, const struct cw_frame *f, struct cw_seal *s)
{
    const struct cw_store_identity *id = cw_store_identity(p->r->store);
    const struct cw_wire_hdr *h = f->hdr;
    struct cw_store_shard *sh;
    struct cw_copy *c;
    int err = 0;

    if (!(h->flags & CW_F_CREATE) ||
        cw_shard_rec_find(&s->rec, &id->disk_uuid, id->format_id) == NULL) {
        cw_peer_nack(p, h->shard, h->tag, CW_NACK_NO_SHARD, 0, 0);
        return NULL;
    }
    c = p->r->n_copies < p->r->opts.copies_max ? cw_copy_new(p->r) : NULL;
    cw_op_init(&s->steps[0], seal_step_done, seal_step_forget);
    sh = c != NULL ? cw_store_shard_create(p->r->store, &s->rec, &s->steps[0].ticket, &err) : NULL;
    if (sh == NULL) {
        cw_peer_nack(p, h->shard, h->tag, err == -EIO ? CW_NACK_IO : CW_NACK_NO_SPACE, 0, 0);
        free(c);
        return NULL;
    }
    cw_copy_bind(c, sh);
    cw_op_track(c, &s->steps[s->n_steps++]);
    s->flags |= CW_MEMBER_NEW;
    return c;
}

static void
seal_take(struct cw_seal *s, struct cw_copy *c)
{
    s->copy = c;
    if (!cw_mutated(CW_MUTATION_OLD_GEN))
        cw_session_fence(c, s->gen, s->peer);
    c->fence_gen = s->gen;
    c->fence_id = s->peer->link->peer_id;
    c->cfg_again = false; /* of the session that ended; our record is newer, or another lineage's */
    c->n_blocks = (uint32_t)cw_max_u64(c->n_blocks, s->rec.n_blocks);
    c->done_join = 0;
    if (c->sync != NULL)
        cw_sync_stop(c);
    cw_get_refuse_all(c, CW_NACK_GONE);
    cw_list_push_back(&c->seals, &s->in_copy);
    c->n_seals++;
    if (c->seals.next == &s->in_copy)
        seal_start(s);
}

/* This copy was chosen to be gone on from when the last in-sync one was lost (docs/replication.md,
 * Recovery): the record is of a later gen and cfg than ours, and nobody but us is in sync. Who
 * owned the volume before has only records of an earlier gen than any of the new lineage. The
 * promise is durable before the record: a try that a crash cut off between comes again with the
 * same gen. */
static bool
seal_begins_lineage(const struct cw_copy *c, const struct cw_shard_rec *rec)
{
    const struct cw_store_identity *id = cw_store_identity(c->r->store);

    if (rec->gen <= c->info->rec.gen || rec->cfg <= c->info->rec.cfg || c->info->damaged ||
        c->info->syncing || c->info->journal)
        return false;
    if (c->info->last_gen == 0 && c->info->last_seq == 0)
        return true; /* an owner of before made it, and it holds nothing of any lineage */
    for (uint32_t i = 0; i < rec->n_members; i++) {
        bool self = cw_uuid_equal(&rec->members[i].disk_uuid, &id->disk_uuid) &&
                    rec->members[i].format_id == id->format_id;

        if (self != (rec->members[i].state == CW_MEMBER_INSYNC))
            return false;
    }
    return cw_shard_rec_find(rec, &id->disk_uuid, id->format_id) != NULL;
}

/* 0, or why this copy will not be sealed by that frame. */
static int
seal_code(const struct cw_copy *c, const struct cw_seal *s)
{
    if (c->drop != NULL)
        return CW_NACK_STATE;
    if (s->gen < c->fence_gen && !cw_mutated(CW_MUTATION_SEAL_OLDER))
        return CW_NACK_STALE_GEN;
    if (s->gen == c->fence_gen && !cw_uuid_is_nil(&c->fence_id) &&
        !cw_uuid_equal(&c->fence_id, &s->peer->link->peer_id))
        return CW_NACK_STALE_GEN; /* granted twice: the metadata went back */
    if (c->r->health & CW_MEMBER_FAILED)
        return CW_NACK_IO;
    if (c->n_seals >= CW_COPY_SEALS_MAX)
        return CW_NACK_NO_SPACE; /* its disk is slow: whoever still wants it asks again */
    if (s->rec.lineage == c->info->rec.lineage)
        return 0;
    return seal_begins_lineage(c, &s->rec) ? 0 : CW_NACK_STATE;
}

void
cw_seal_on_frame(struct cw_peer *p, const struct cw_frame *f)
{
    struct cw_copy *c = cw_copy_find(p->r, f->hdr->shard);
    struct cw_shard_rec rec;
    struct cw_seal *s;
    int code;

    if (!cw_session_rec(p, f, &rec))
        return;
    s = calloc(1, sizeof(*s));
    if (s == NULL) {
        cw_peer_close(p, "no memory for a seal");
        return;
    }
    s->peer = cw_peer_ref(p);
    s->rec = rec;
    s->gen = f->hdr->gen;
    s->tag = f->hdr->tag;
    cw_list_init(&s->in_copy);
    code = c != NULL ? seal_code(c, s) : 0;
    if (code != 0)
        cw_peer_nack_copy(p, c, s->tag, (enum cw_nack_code)code, 0);
    if (c == NULL)
        c = seal_create(p, f, s);
    if (c == NULL || code != 0)
        seal_free(s);
    else
        seal_take(s, c);
}
