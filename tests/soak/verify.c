/* What the store has against what it must have, block by block. */
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "common/codec/hash.h"
#include "tests/soak/child.h"

#define PIPELINE 8u
#define TAILS_MAX 64u

struct verify {
    struct child *c;
    uint32_t under_way;
    uint32_t slot, layer;
    const struct recent *recent; /* of the tail */
};

struct verify_read {
    struct cw_store_read r;
    struct verify *v;
    uint32_t at;
    bool done;
};

void
verify_answer(struct child *c, const struct cw_store_read *r, uint32_t slot, const uint32_t *ids,
              uint32_t at)
{
    uint8_t want[CW_BLOCK_SIZE];

    if (r->res != 0)
        child_fail(c, "read of copy %u at %u: %d", slot, at, r->res);
    for (uint32_t i = 0; i < r->nblk; i++) {
        uint64_t lba = model_lba(slot, at + i);

        if (cw_bit_get(r->bad, i))
            child_fail(c, "copy %u block %u is bad, it is of operation %u", slot, at + i, ids[i]);
        if (r->csums[i] != content_csum(lba, ids[i]))
            child_fail(
                c, "copy %u block %u is not of operation %u (read at seq %llu, snapshot %llu)",
                slot, at + i, ids[i], (unsigned long long)r->at_seq, (unsigned long long)r->snap);
        if (r->buf == NULL)
            continue;
        content_fill(want, lba, ids[i]);
        if (memcmp(want, r->buf->data + (size_t)i * CW_BLOCK_SIZE, CW_BLOCK_SIZE) != 0)
            child_fail(c, "copy %u block %u: the data is not of its checksum", slot, at + i);
    }
    c->k->verified += r->nblk;
    if (r->buf != NULL)
        c->k->verified_data += r->nblk;
}

static void
verify_on_read(struct cw_store_read *r)
{
    struct verify_read *vr = cw_container_of(r, struct verify_read, r);
    struct verify *v = vr->v;

    verify_answer(v->c, r, v->slot, model_ids(v->c->m, v->slot, v->layer) + vr->at, vr->at);
    cw_buf_unref(r->buf);
    vr->done = true;
    v->under_way--;
    v->c->k->progress++;
}

static void
verify_wait(struct verify *v, uint32_t below)
{
    while (v->under_way >= below) {
        if (cw_reactor_turn(v->c->r, CW_NS_PER_MS) != 0)
            child_fail(v->c, "the ring broke");
        cw_store_turn_end(v->c->store);
    }
}

/* ---- one layer ---- */

static void
verify_layer(struct child *c, struct cw_store_shard *sh, uint32_t slot, uint32_t layer,
             uint32_t every)
{
    struct verify_read *vr = calloc(PIPELINE, sizeof(*vr));
    struct verify v = { .c = c, .slot = slot, .layer = layer };
    uint32_t n;

    cw_assert(vr != NULL);
    for (uint32_t i = 0; i < PIPELINE; i++)
        vr[i].done = true;
    for (uint32_t at = 0; at < c->m->blocks; at += n) {
        struct verify_read *free_one = vr;

        n = (uint32_t)cw_min_u64(c->m->blocks - at, model_run(slot, at, CW_IO_BLOCKS_MAX));
        verify_wait(&v, PIPELINE);
        while (!free_one->done)
            free_one++;
        *free_one = (struct verify_read){
            .r = { .shard = sh,
                   .lba = model_lba(slot, at),
                   .nblk = n,
                   .snap = layer == 0 ? 0 : c->m->slot[slot].snap[layer - 1],
                   .flags = child_random(c, every) == 0 ? CW_STORE_READ_MEDIA : CW_STORE_READ_CSUMS,
                   .done = verify_on_read },
            .v = &v,
            .at = at,
        };
        v.under_way++;
        cw_store_read(&free_one->r);
    }
    verify_wait(&v, 1);
    free(vr);
}

static void
verify_snaps(struct child *c, struct cw_store_shard *sh, uint32_t slot)
{
    struct cw_store_snap_info info[SNAPS + 8];
    uint32_t n = cw_store_snap_list(sh, info, CW_LEN(info)), want = 1;

    for (uint32_t i = 0; i < SNAPS; i++)
        want += c->m->slot[slot].snap[i] != 0;
    if (n != want)
        child_fail(c, "copy %u has %u layers, not %u", slot, n, want);
}

/* ---- the tail ---- */

static void
tail_on_read(struct cw_store_read *r)
{
    struct verify_read *vr = cw_container_of(r, struct verify_read, r);
    const struct recent *w = vr->v->recent;
    uint32_t ids[CW_IO_BLOCKS_MAX];

    vr->done = true;
    vr->v->under_way--;
    if (r->res != 0 || r->nblk != w->n || r->lba != model_lba(vr->v->slot, w->at))
        child_fail(vr->v->c, "tail of copy %u, record %llu: result %d, %u blocks at %llu",
                   vr->v->slot, (unsigned long long)w->seq, r->res, r->nblk,
                   (unsigned long long)r->lba);
    for (uint32_t i = 0; i < w->n; i++)
        ids[i] = (uint32_t)w->number;
    verify_answer(vr->v->c, r, vr->v->slot, ids, w->at);
    cw_buf_unref(r->buf);
    vr->v->c->k->tails++;
}

static void
verify_tail(struct child *c, struct cw_store_shard *sh, uint32_t slot)
{
    struct cw_store_tail_entry e[TAILS_MAX];
    uint32_t n = cw_store_tail_list(sh, e, TAILS_MAX);

    for (uint32_t i = 0; i < n; i++) {
        const struct recent *w = &c->m->slot[slot].recent[e[i].seq % RECENT];
        struct verify v = { .c = c, .slot = slot, .recent = w };
        struct verify_read vr = { .v = &v };

        if (i > 0 && e[i].seq != e[i - 1].seq + 1)
            child_fail(c, "tail of copy %u: %llu behind %llu", slot, (unsigned long long)e[i].seq,
                       (unsigned long long)e[i - 1].seq);
        if (w->seq != e[i].seq || w->kind != OP_WRITE)
            continue;
        vr.r = (struct cw_store_read){
            .shard = sh,
            .flags = CW_STORE_READ_TAIL,
            .tail_seq = e[i].seq,
            .done = tail_on_read,
        };
        v.under_way = 1;
        cw_store_read(&vr.r);
        verify_wait(&v, 1);
    }
}

void
verify_all(struct child *c, uint32_t every)
{
    struct cw_store_stats st;

    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        struct cw_store_shard *sh = cw_store_shard_find(c->store, slot_shard(slot));

        if (sh == NULL)
            continue;
        verify_snaps(c, sh, slot);
        verify_layer(c, sh, slot, 0, every);
        for (uint32_t i = 0; i < SNAPS; i++) {
            if (c->m->slot[slot].snap[i] != 0)
                verify_layer(c, sh, slot, 1 + i, every);
        }
        verify_tail(c, sh, slot);
    }
    cw_store_stats(c->store, &st);
    if (st.csum_errors > 0 || st.io_errors > 0 || st.failed)
        child_fail(c, "%llu checksum errors, %llu I/O errors, %s",
                   (unsigned long long)st.csum_errors, (unsigned long long)st.io_errors,
                   st.failed ? st.why : "in service");
}
