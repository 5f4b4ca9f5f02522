/* Verify: every in-sync copy's media against its checksums and against each other.
 *
 *   for each chunk: lock the range, wait until nothing in it is unacked --> READ MEDIA from every
 * copy
 *   --> compare --> unlock --> a salvaging read of each bad block, which repairs it
 *
 * While the range is locked nothing in it is sequenced, so all copies answer for the same version.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/codec/hash.h"
#include "common/owner/room.h"

#define DEPTH_MAX 16u

struct run;
struct chunk;

struct probe { /* one copy's answer for one chunk */
    struct call call;
    struct chunk *chunk;
    struct copy *copy;
    bool ok, busy;
    uint64_t bad[4];
    uint64_t csums[CW_IO_BLOCKS_MAX];
};

struct chunk {
    struct run *run;
    struct part *lock; /* NULL: the slot is free */
    struct shard *s;
    uint64_t lba;
    uint32_t nblk, n, n_busy;
    bool locked;
    struct probe probes[CW_MEMBERS_MAX];
};

struct run {
    struct cw_volume *v;
    struct cw_verify *job;
    uint32_t shard; /* next chunk to be looked at */
    uint64_t lba;
    uint32_t n_busy;  /* chunks */
    uint32_t n_fixes; /* salvaging reads */
    bool cancelled;
    uint64_t told_ns;
    uint32_t depth;
    struct chunk chunks[];
};

static void run_go(struct run *r);

/* ---- telling ---- */

static void
job_tell(struct cw_verify *j, struct cw_owner *o)
{
    cw_list_remove(&j->link);
    cw_list_push_back(&o->verifies_due, &j->link);
}

static void
run_end(struct run *r, const char *failed)
{
    struct cw_verify *j = r->job;

    if (failed != NULL)
        snprintf(j->failed, sizeof(j->failed), "%s", failed);
    j->finished = true;
    j->priv = NULL;
    r->v->verify = NULL;
    job_tell(j, r->v->o);
    free(r);
}

void
cw_own_verify_repaired(struct cw_verify *j, uint32_t n, uint32_t of)
{
    j->repaired += n;
    j->unrepairable += of - n;
}

/* ---- bad blocks ---- */

static void
fix_on_done(struct part *p, int res)
{
    struct run *r = p->ctx;

    if (res != 0)
        r->job->unrepairable += p->n_bad_copies;
    r->n_fixes--;
    cw_own_part_free(p);
}

static void
fix_block(struct chunk *c, uint32_t i)
{
    struct part *p = cw_own_part_new(c->run->v);
    uint64_t one[4] = { 1 };

    if (p == NULL)
        return;
    p->s = c->s;
    p->kind = PART_READ;
    p->lba = c->lba + i;
    p->nblk = 1;
    p->done_fn = fix_on_done;
    p->ctx = c->run;
    p->count = c->run->job;
    for (uint32_t k = 0; k < c->n; k++) {
        const struct probe *pr = &c->probes[k];

        if (pr->ok && pr->copy != NULL && cw_bit_get(pr->bad, i)) {
            cw_own_salvage_note(p, pr->copy, p->lba, 1, one);
            c->run->job->found++;
            p->n_bad_copies++;
        }
    }
    c->run->n_fixes++;
    cw_own_part_start(p);
}

static bool
block_bad(const struct chunk *c, uint32_t i)
{
    for (uint32_t k = 0; k < c->n; k++) {
        if (c->probes[k].ok && c->probes[k].copy != NULL && cw_bit_get(c->probes[k].bad, i))
            return true;
    }
    return false;
}

static bool
block_differs(const struct chunk *c, uint32_t i)
{
    const struct probe *first = NULL;

    for (uint32_t k = 0; k < c->n; k++) {
        const struct probe *p = &c->probes[k];

        if (!p->ok || cw_bit_get(p->bad, i))
            continue;
        if (first == NULL)
            first = p;
        else if (p->csums[i] != first->csums[i] && p->csums[i] != 0 && first->csums[i] != 0)
            return true;
    }
    return false;
}

/* ---- a chunk's end ---- */

static void
chunk_unlock(struct chunk *c)
{
    struct part *p = c->lock;

    if (p == NULL)
        return;
    c->lock = NULL;
    cw_list_remove(&p->node);
    if (p->locked)
        cw_own_lock_drop(p);
    cw_own_part_free(p);
    c->run->n_busy--;
}

static void
chunk_judge(struct chunk *c)
{
    struct cw_verify *j = c->run->job;
    uint32_t n_ok = 0;

    for (uint32_t k = 0; k < c->n; k++) {
        n_ok += c->probes[k].ok;
        j->done_bytes += c->probes[k].ok ? (uint64_t)c->nblk * CW_BLOCK_SIZE : 0;
    }
    j->copies = cw_min_u64(j->copies, n_ok);
    for (uint32_t i = 0; i < c->nblk; i++) {
        if (block_differs(c, i)) {
            j->differing++;
            cw_log(c->run->v->o->env, CW_LOG_ERROR, "shard %llx: block %llu differs between copies",
                   (unsigned long long)c->s->rec.shard, (unsigned long long)(c->lba + i));
        }
    }
    chunk_unlock(c);
    for (uint32_t i = 0; i < c->nblk; i++) {
        if (block_bad(c, i))
            fix_block(c, i);
    }
}

static void
probe_take(struct probe *p, const struct cw_frame *f)
{
    struct cw_wire_read_err e = { .code = CW_NACK_IO };
    uint32_t nblk = p->chunk->nblk;

    if (f->hdr->type == CW_FT_READ_ERR && f->data_len >= sizeof(e)) {
        memcpy(&e, f->data, sizeof(e));
        p->ok = e.code == 0;
        memcpy(p->bad, e.bad, sizeof(p->bad));
        return; /* the checksums of its good blocks are not known: 0 */
    }
    if (f->hdr->type != CW_FT_READ_OK || cw_hdr_nblk(f->hdr) != nblk ||
        cw_hdr_lba(f->hdr) != p->chunk->lba)
        return;
    p->ok = true;
    for (uint32_t i = 0; i < nblk; i++) {
        if (f->hdr->flags & CW_F_ZEROES) {
            p->csums[i] = CW_HASH_ZERO_BLOCK;
            continue;
        }
        p->csums[i] = f->csums[i];
        if (cw_hash_block(f->data + (size_t)i * CW_BLOCK_SIZE) != f->csums[i])
            cw_bit_set(p->bad, i);
    }
}

static void
probe_on_answer(struct call *call, const struct cw_frame *f)
{
    struct probe *p = cw_container_of(call, struct probe, call);
    struct chunk *c = p->chunk;
    const struct copy *copy = p->copy;

    p->busy = false;
    if (f != NULL)
        probe_take(p, f);
    if (copy == NULL || !cw_own_in_read(copy))
        p->ok = false; /* it left the in-sync set: nothing to compare */
    if (--c->n_busy > 0)
        return;
    chunk_judge(c);
    run_go(c->run);
}

static void
chunk_probe(struct chunk *c)
{
    struct shard *s = c->s;
    struct cw_wire_hdr h = { .type = CW_FT_READ,
                             .flags = CW_F_MEDIA,
                             .shard = s->rec.shard,
                             .gen = s->v->gen,
                             .cfg = s->rec.cfg,
                             .lba_nblk = cw_lba_nblk(c->lba, c->nblk) };

    c->n = 0;
    c->n_busy = 1; /* this function's */
    for (uint32_t i = 0; i < s->n_copies && c->n < CW_MEMBERS_MAX; i++) {
        struct probe *p = &c->probes[c->n];

        if (!cw_own_in_read(s->copies[i]) || s->copies[i]->session != SESSION_OPEN)
            continue;
        *p = (struct probe){ .chunk = c, .copy = s->copies[i] };
        p->call.answer = probe_on_answer;
        if (!cw_own_call(s->copies[i]->peer, &p->call, h, NULL, 0))
            continue;
        p->busy = true;
        c->n++;
        c->n_busy++;
    }
    if (--c->n_busy == 0) /* nobody there now: counted as no copy compared */
        chunk_judge(c);
}

/* The range is ours and nothing in it is unacked; or the shard is closed. */
static void
chunk_on_locked(struct part *p, int res)
{
    struct chunk *c = p->ctx;

    if (res == 0) {
        c->locked = true;
        chunk_probe(c);
        return;
    }
    c->lock = NULL;
    c->run->n_busy--;
    cw_own_part_free(p);
}

static bool
chunk_begin(struct chunk *c, struct shard *s, uint64_t lba, uint32_t nblk)
{
    struct part *p = cw_own_part_new(s->v);

    if (p == NULL)
        return false;
    c->s = s;
    c->lba = lba;
    c->nblk = nblk;
    c->lock = p;
    c->locked = false;
    p->s = s;
    p->kind = PART_LOCK;
    p->lba = lba;
    p->nblk = nblk;
    p->done_fn = chunk_on_locked;
    p->ctx = c;
    c->run->n_busy++;
    cw_own_part_start(p);
    return true;
}

/* ---- the walk ---- */

static struct chunk *
free_slot(struct run *r)
{
    for (uint32_t i = 0; i < r->depth; i++) {
        if (r->chunks[i].lock == NULL && r->chunks[i].n_busy == 0)
            return &r->chunks[i];
    }
    return NULL;
}

/* Begins chunks while there are slots. A chunk without any copy answers at once, so the loop is
 * bounded per turn by the depth: the tick goes on. */
static void
run_go(struct run *r)
{
    struct cw_volume *v = r->v;

    for (uint32_t begun = 0; begun < r->depth && !r->cancelled && r->shard < v->n_shards; begun++) {
        struct shard *s = v->shards[r->shard];
        struct chunk *c = free_slot(r);
        uint32_t nblk;

        if (c == NULL || s->state != SHARD_ACTIVE || cw_own_read_choose(s, 0) == NULL)
            return;
        nblk = (uint32_t)cw_min_u64(CW_CHUNK_BLOCKS, s->rec.n_blocks - r->lba);
        if (!chunk_begin(c, s, r->lba, nblk))
            return;
        r->lba += nblk;
        if (r->lba >= s->rec.n_blocks) {
            r->lba = 0;
            r->shard++;
        }
    }
}

static uint64_t
total_bytes(const struct cw_volume *v)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < v->n_shards; i++) {
        const struct shard *s = v->shards[i];

        for (uint32_t k = 0; k < s->n_copies; k++)
            sum += s->copies[k]->state == CW_MEMBER_INSYNC
                       ? (uint64_t)s->rec.n_blocks * CW_BLOCK_SIZE
                       : 0;
    }
    return sum;
}

int
cw_verify_start(struct cw_volume *v, struct cw_verify *j)
{
    uint32_t depth = v->o->tun.verify_depth < DEPTH_MAX ? v->o->tun.verify_depth : DEPTH_MAX;
    struct run *r;

    if (v->state != CW_VOLUME_READY && v->state != CW_VOLUME_OPENING)
        return -ESHUTDOWN;
    if (v->verify != NULL)
        return -EBUSY;
    r = calloc(1, sizeof(*r) + depth * sizeof(struct chunk));
    if (r == NULL)
        return -ENOMEM;
    r->v = v;
    r->job = j;
    r->depth = depth;
    r->told_ns = cw_own_now(v->o);
    for (uint32_t i = 0; i < depth; i++)
        r->chunks[i].run = r;
    j->done_bytes = j->found = j->repaired = j->unrepairable = j->differing = 0;
    j->copies = UINT64_MAX;
    j->total_bytes = total_bytes(v);
    j->finished = false;
    j->failed[0] = '\0';
    j->priv = r;
    cw_list_init(&j->link);
    v->verify = j;
    run_go(r);
    return 0;
}

void
cw_verify_cancel(struct cw_verify *j)
{
    struct run *r = j->priv;

    if (r != NULL)
        r->cancelled = true;
}

void
cw_own_verify_tick(struct cw_volume *v)
{
    struct run *r = v->verify != NULL ? v->verify->priv : NULL;
    uint64_t now = cw_own_now(v->o);

    if (r == NULL)
        return;
    run_go(r);
    if (r->n_busy == 0 && r->n_fixes == 0 && cw_list_empty(&v->repairs) &&
        (r->cancelled || r->shard >= v->n_shards)) {
        if (r->job->copies == UINT64_MAX)
            r->job->copies = 0;
        run_end(r, r->cancelled ? "cancelled" : NULL);
    } else if (now - r->told_ns >= CW_NS_PER_S) {
        r->told_ns = now;
        job_tell(r->job, v->o);
    }
}

/* The copy leaves: its answers are not compared. */
void
cw_own_verify_forget_copy(struct shard *s, const struct copy *copy)
{
    struct run *r = s->v->verify != NULL ? s->v->verify->priv : NULL;

    for (uint32_t i = 0; r != NULL && i < r->depth; i++) {
        struct chunk *c = &r->chunks[i];

        for (uint32_t k = 0; k < c->n && c->lock != NULL; k++) {
            if (c->probes[k].copy == copy) {
                c->probes[k].copy = NULL;
                c->probes[k].ok = false;
            }
        }
    }
}

/* Salvaging reads that are still out lose their interest in us. */
static void
orphan_on_done(struct part *p, int res)
{
    cw_own_part_free(p);
}

static void
forget_fixes_in(struct cw_list *list, const struct run *r)
{
    CW_LIST_EACH (it, list) {
        struct part *p = cw_list_entry(it, struct part, node);

        if (p->done_fn == fix_on_done && p->ctx == r) {
            p->done_fn = orphan_on_done;
            p->count = NULL;
        }
    }
}

static void
verify_forget_fixes(struct run *r)
{
    for (uint32_t i = 0; i < r->v->n_shards; i++) {
        forget_fixes_in(&r->v->shards[i]->readers, r);
        forget_fixes_in(&r->v->shards[i]->reading, r);
    }
}

/* The walk ends now, whatever is under way. why NULL: nobody is told. */
void
cw_own_verify_stop(struct cw_volume *v, const char *why)
{
    struct cw_verify *j = v->verify;
    struct run *r = j != NULL ? j->priv : NULL;

    if (r == NULL)
        return;
    r->cancelled = true;
    for (uint32_t i = 0; i < r->depth; i++) {
        struct chunk *c = &r->chunks[i];

        for (uint32_t k = 0; k < c->n; k++)
            cw_own_call_forget(&c->probes[k].call);
        c->n_busy = 0;
        chunk_unlock(c);
    }
    verify_forget_fixes(r);
    if (why != NULL) {
        run_end(r, why);
        return;
    }
    cw_list_remove(&j->link);
    v->verify = NULL;
    j->priv = NULL;
    free(r);
}
