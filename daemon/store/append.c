/* store/append.c - records into the open batch: the hot path, resync's records, repairs. */
#include <errno.h>
#include <string.h>

#include "common/codec/hash.h"
#include "daemon/store/store-internal.h"

#define REF_BLOCKS_MIN 4u /* below it a copy is cheaper than an iovec */
#define REF_RUNS_MAX 4u

/* Payload to be: n blocks, of which those known to be zero are left out. */
struct data {
    const uint64_t *csums;
    const uint8_t *data;
    struct cw_buf *buf;
    uint32_t n;
    uint32_t n_out, runs; /* blocks and runs that get payload */
    bool all;             /* nothing is left out */
    uint64_t zero[4];
    bool pack; /* the policy wants it packed now */
    uint64_t lba;
};

static int
append_again(struct cw_store *s)
{
    s->starved = true;
    store_kick_later(s);
    return -EAGAIN;
}

static void
data_look(struct data *d)
{
    bool in_run = false;

    memset(d->zero, 0, sizeof(d->zero));
    d->all = false;
    d->n_out = d->runs = 0;
    for (uint32_t i = 0; i < d->n; i++) {
        bool zero = d->csums[i] == CW_HASH_ZERO_BLOCK;

        if (zero && !cw_block_is_zero(d->data + (size_t)i * CW_BLOCK_SIZE)) {
            /* somebody's block has the zero block's checksum: take all as data */
            memset(d->zero, 0, sizeof(d->zero));
            d->all = true;
            d->n_out = d->n;
            d->runs = 1;
            return;
        }
        if (zero)
            cw_bit_set(d->zero, i);
        d->n_out += !zero;
        d->runs += !zero && !in_run;
        in_run = !zero;
    }
}

static bool
data_refers(const struct data *d)
{
    return !d->pack && d->buf != NULL && d->n_out >= REF_BLOCKS_MIN && d->runs <= REF_RUNS_MAX;
}

/* The runs go behind the record's body. */
static void
data_set_runs(struct cw_store *s, const struct comp_pack *p, struct rec_out *r)
{
    uint32_t bytes = p->n_runs * (uint32_t)sizeof(p->runs[0]);

    if (r->d.clen > 0)
        memcpy(s->append_body, r->body, r->d.clen);
    memcpy(s->append_body + r->d.clen, p->runs, bytes);
    r->body = s->append_body;
    r->d.clen += bytes;
    r->d.comp = 1;
}

/* False: it does not get smaller. */
static bool
data_pack(struct cw_store *s, struct batch *b, const struct data *d, struct rec_out *r)
{
    struct comp_pack *p = &s->append_pack;
    uint32_t packed;

    p->to = batch_own_at(b);
    p->n_runs = p->n_blocks = p->sectors = 0;
    for (uint32_t i = 0, n; i < d->n; i += n + (n == 0)) {
        for (n = 0; i + n < d->n && !cw_bit_get(d->zero, i + n);)
            n++;
        comp_pack_blocks(s, p, d->lba + i, d->data + (size_t)i * CW_BLOCK_SIZE, n);
    }
    packed = comp_pack_end(s, p);
    if (packed == 0)
        return false;
    data_set_runs(s, p, r);
    batch_payload_own(b, packed);
    return true;
}

static void
data_put(struct cw_store *s, struct batch *b, const struct data *d, struct rec_out *r)
{
    bool refer = data_refers(d);

    r->d.payload_off = b->payload_bytes / CW_SECTOR;
    if (d->pack && data_pack(s, b, d, r))
        return;
    for (uint32_t i = 0; i < d->n;) {
        uint32_t n = 0;

        while (i + n < d->n && !cw_bit_get(d->zero, i + n))
            n++;
        if (n > 0)
            batch_payload(b, d->data + (size_t)i * CW_BLOCK_SIZE, n, refer ? d->buf : NULL);
        i += n + (n == 0);
    }
}

/* A batch that takes the record and its data; NULL: -EAGAIN. */
static struct batch *
append_room(struct cw_store *s, const struct rec_out *r, const struct data *d)
{
    uint32_t runs = d->pack ? (d->n_out + 1) * (uint32_t)sizeof(struct cw_rec_run) + 8 : 0;
    struct batch *b =
        batch_room(s, CW_SEG_HOT, batch_rec_len(r) + runs, d->n_out, REF_RUNS_MAX + 1);

    if (b == NULL || (!data_refers(d) && !batch_reserve(s, b, d->n_out)))
        return NULL;
    return b;
}

static void
append_pack(const struct cw_store_shard *sh, struct data *d, uint64_t lba)
{
    d->pack = d->n_out >= 2 && !d->all && sh->info.rec.compression == CW_COMPRESSION_INLINE;
    d->lba = lba;
}

/* How many pages more may become dirty; a clear of many chunks counts as a quarter of the cache. */
static bool
append_touch_ok(struct cw_store *s, uint32_t *touches)
{
    uint64_t pages = s->map_budget / sizeof(struct cw_map_page);

    *touches = (uint32_t)cw_min_u64(*touches, pages / 4);
    if (map_dirty_pages(s) + s->pend_touches + *touches <= pages - pages / 8)
        return true;
    ckpt_want(s);
    return false;
}

static int
append_check(struct cw_store *s, uint32_t n_blocks, bool resync, uint32_t *touches)
{
    if (s->stats.failed || s->state != STORE_OPEN)
        return -EIO;
    if (n_blocks > 0 && !space_may_write(s, n_blocks, resync))
        return -ENOSPC;
    if (!cw_list_empty(&s->control) || !append_touch_ok(s, touches))
        return append_again(s);
    return 0;
}

static void
append_count(struct cw_store *s, struct batch *b, uint32_t touches, uint32_t blocks)
{
    b->touches += touches;
    b->blocks += blocks;
    s->pend_touches += touches;
    s->pend_blocks += blocks;
    s->stats.blocks_written += blocks;
}

static void
append_prefetch(struct cw_store_shard *sh, uint64_t lba, uint32_t nblk)
{
    uint32_t first = (uint32_t)(lba / CW_CHUNK_BLOCKS), n = record_chunk_count(lba, nblk);

    for (uint32_t i = 0; i < n && i < 2; i++) {
        struct layer *l = sh->head;

        chunk_see(&l, first + i);
        if (map_has_page(l, first + i) && map_page_resident(l, first + i) == NULL)
            map_page_get(l, first + i, NULL);
    }
}

/* ---- the stream ---- */

static void
append_modes(const struct cw_store_rec *rec, struct rec_out *r)
{
    uint32_t n = record_chunk_count(rec->lba, rec->nblk);

    if (rec->apply == NULL || n == 0)
        return;
    for (uint32_t i = 1; i < n; i++) {
        if (rec->apply[i] != rec->apply[0]) {
            r->d.flags |= CW_RF_MODES;
            r->d.clen = n;
            r->body = rec->apply;
            return;
        }
    }
    if (rec->apply[0] == CW_STORE_DROP)
        r->d.flags |= CW_RF_DROP;
    else if (rec->apply[0] == CW_STORE_APPLY_KEEP)
        r->d.flags |= CW_RF_KEEP;
}

static uint8_t
append_type(uint8_t wire)
{
    switch (wire) {
    case CW_FT_WRITE:
        return CW_REC_WRITE;
    case CW_FT_ZERO:
        return CW_REC_ZERO;
    case CW_FT_TRIM:
        return CW_REC_TRIM;
    case CW_FT_GEN_START:
        return CW_REC_GEN_START;
    default:
        cw_unreachable();
    }
}

static void
append_urgent(struct cw_store *s, struct batch *b)
{
    if (!b->urgent) {
        b->urgent = true;
        s->n_urgent++;
    }
}

int
cw_store_append(struct cw_store_shard *sh, const struct cw_store_rec *rec)
{
    struct cw_store *s = sh->s;
    struct rec_out r = {
        .d = { .type = append_type(rec->type),
               .nblk = rec->nblk,
               .layer = sh->layer,
               .gen = rec->gen,
               .seq = rec->seq,
               .lba = rec->lba },
    };
    struct data d = { 0 };
    uint32_t touches = record_chunk_count(rec->lba, rec->nblk);
    struct batch *b;
    int err;

    cw_assert(!sh->gone && rec->seq == sh->info.last_seq + 1);
    cw_assert(rec->nblk <= CW_SHARD_BLOCKS && rec->lba <= CW_SHARD_BLOCKS - rec->nblk);
    append_modes(rec, &r);
    if (r.d.type == CW_REC_WRITE && !(r.d.flags & CW_RF_DROP)) {
        cw_assert(rec->nblk >= 1 && rec->nblk <= CW_IO_BLOCKS_MAX);
        d = (struct data){ rec->csums, rec->data, rec->buf, rec->nblk };
        data_look(&d);
        r.csums = rec->csums;
        r.n_csums = rec->nblk;
        r.d.flags |= d.all ? CW_RF_ALL_DATA : 0;
        append_pack(sh, &d, rec->lba);
    }
    err = append_check(s, d.n_out, false, &touches);
    if (err != 0)
        return err;
    if (rec->seq > sh->info.stable && rec->seq - sh->info.stable > CW_TAIL_MAX)
        return append_again(s);
    b = append_room(s, &r, &d);
    if (b == NULL)
        return append_again(s);
    data_put(s, b, &d, &r);
    batch_add(b, &r);
    if (rec->type == CW_FT_TRIM || rec->type == CW_FT_ZERO)
        append_urgent(s, b);
    append_count(s, b, touches, d.n_out);
    sh->info.last_gen = rec->gen;
    sh->info.last_seq = rec->seq;
    if (d.n > 0)
        append_prefetch(sh, rec->lba, rec->nblk);
    return 0;
}

/* ---- resync and repair ---- */

void
cw_store_chunk_void(struct cw_store_shard *sh, uint32_t chunk, struct cw_store_ticket *t)
{
    struct rec_out r = {
        .d = { .type = CW_REC_CHUNK_VOID,
               .layer = sh->layer,
               .seq = CW_VER_VOID,
               .lba = (uint64_t)chunk * CW_CHUNK_BLOCKS },
    };

    cw_assert(chunk < CW_SHARD_CHUNKS);
    batch_control(sh->s, &r, t);
}

int
cw_store_chunk_current(struct cw_store_shard *sh, const struct cw_store_chunk_set *c,
                       struct cw_store_ticket *t)
{
    struct cw_store *s = sh->s;
    struct cw_rec_chunk_set body;
    struct rec_out r = {
        .d = { .type = CW_REC_CHUNK_CURRENT,
               .layer = sh->layer,
               .gen = c->ver_gen,
               .seq = c->ver_seq,
               .lba = (uint64_t)c->chunk * CW_CHUNK_BLOCKS,
               .clen = sizeof(body) },
        .body = &body,
    };
    struct data d = { c->csums, c->data, c->buf, 0 };
    uint32_t touches = 1;
    struct batch *b;
    int err;

    cw_assert(!sh->gone && c->chunk < CW_SHARD_CHUNKS);
    memcpy(body.set, c->set, sizeof(body.set));
    memcpy(body.bad, c->bad, sizeof(body.bad));
    for (uint32_t i = 0; i < 4; i++)
        d.n += cw_popcount(c->set[i]);
    data_look(&d);
    r.csums = c->csums;
    r.n_csums = r.d.nblk = d.n;
    r.d.flags = d.all ? CW_RF_ALL_DATA : 0;
    err = append_check(s, d.n_out, true, &touches);
    if (err != 0)
        return err;
    b = append_room(s, &r, &d);
    if (b == NULL)
        return append_again(s);
    data_put(s, b, &d, &r);
    batch_add(b, &r);
    batch_ticket(s, b, t);
    append_count(s, b, touches, d.n_out);
    append_prefetch(sh, r.d.lba, 1);
    return 0;
}

/* Map pages that a repair may change: of all layers that have the chunks. */
static uint32_t
repair_touches(const struct cw_store_shard *sh, uint64_t lba, uint32_t nblk)
{
    uint32_t first = (uint32_t)(lba / CW_CHUNK_BLOCKS), n = 0;

    for (struct layer *l = NULL; (l = layer_next(sh->s, sh->layer, l)) != NULL;) {
        for (uint32_t i = 0; i < record_chunk_count(lba, nblk); i++)
            n += map_has_page(l, first + i);
    }
    return n;
}

int
cw_store_block_repair(struct cw_store_shard *sh, uint64_t lba, uint32_t nblk, const uint64_t *csums,
                      const uint8_t *data, uint32_t *ret_n, struct cw_store_ticket *t)
{
    struct cw_store *s = sh->s;
    struct rec_out r = {
        .d = { .type = CW_REC_REPAIR, .nblk = nblk, .layer = sh->layer, .lba = lba },
        .csums = csums,
        .n_csums = nblk,
    };
    struct data d = { csums, data, NULL, nblk };
    uint32_t touches = repair_touches(sh, lba, nblk);
    struct batch *b;
    int err;

    cw_assert(!sh->gone && nblk >= 1 && nblk <= CW_IO_BLOCKS_MAX);
    cw_assert(lba <= CW_SHARD_BLOCKS - nblk);
    data_look(&d);
    r.d.flags = d.all ? CW_RF_ALL_DATA : 0;
    err = append_check(s, 0, false, &touches);
    if (err != 0)
        return err;
    b = append_room(s, &r, &d);
    if (b == NULL)
        return append_again(s);
    data_put(s, b, &d, &r);
    batch_add(b, &r);
    t->batch = (uintptr_t)ret_n;
    cw_list_push_back(&b->repairs, &t->link);
    append_count(s, b, touches, d.n_out);
    append_prefetch(sh, lba, nblk);
    return 0;
}
