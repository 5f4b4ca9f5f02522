/* store/record.c - records of a batch header: bytes to views, every bound checked. */
#include <string.h>

#include "daemon/store/store-internal.h"

#include "common/codec/hash.h"

uint32_t
record_chunk_count(uint64_t lba, uint32_t nblk)
{
    if (nblk == 0)
        return 0;
    return (uint32_t)((lba + nblk - 1) / CW_CHUNK_BLOCKS - lba / CW_CHUNK_BLOCKS + 1);
}

static bool
record_lba_ok(const struct cw_rec_desc *d, uint32_t nblk_max)
{
    return d->nblk >= 1 && d->nblk <= nblk_max && d->lba < CW_SHARD_BLOCKS &&
           d->nblk <= CW_SHARD_BLOCKS - d->lba;
}

static bool
record_one_chunk(const struct cw_rec_desc *d)
{
    return record_lba_ok(d, CW_CHUNK_BLOCKS) && record_chunk_count(d->lba, d->nblk) == 1;
}

static uint32_t
record_modes_len(const struct cw_rec_desc *d)
{
    return d->flags & CW_RF_MODES ? record_chunk_count(d->lba, d->nblk) : 0;
}

/* The body is `len` bytes, but for the runs behind it. */
static bool
record_body_ok(const struct cw_rec_desc *d, uint32_t len, uint32_t *ret_runs)
{
    if (d->comp == 0)
        return d->clen == len;
    *ret_runs = d->clen > len ? (d->clen - len) / (uint32_t)sizeof(struct cw_rec_run) : 0;
    return *ret_runs > 0 && *ret_runs <= CW_IO_BLOCKS_MAX &&
           d->clen == len + *ret_runs * sizeof(struct cw_rec_run);
}

static bool
record_may_have_runs(const struct cw_rec_desc *d)
{
    return d->type == CW_REC_WRITE || d->type == CW_REC_CHUNK_CURRENT || d->type == CW_REC_GC_MOVE;
}

/* Is the descriptor itself sane, and how many checksums and runs follow it? */
static bool
record_shape(const struct cw_rec_desc *d, uint32_t *ret_csums, uint32_t *ret_runs)
{
    *ret_csums = *ret_runs = 0;
    if (d->comp > 1 || (d->comp == 1 && !record_may_have_runs(d)) || d->clen > CW_BATCH_HDR_MAX)
        return false;
    switch (d->type) {
    case CW_REC_WRITE:
        *ret_csums = d->flags & CW_RF_DROP ? 0 : d->nblk;
        return record_lba_ok(d, CW_IO_BLOCKS_MAX) &&
               record_body_ok(d, record_modes_len(d), ret_runs);
    case CW_REC_ZERO:
    case CW_REC_TRIM:
        return record_lba_ok(d, CW_WIRE_NBLK_MAX) && d->clen == record_modes_len(d);
    case CW_REC_GEN_START:
    case CW_REC_PROMISE:
    case CW_REC_JOIN:
        return d->nblk == 0 && d->clen == (d->type == CW_REC_JOIN ? 8 : 0);
    case CW_REC_SYNC_DONE:
        return d->nblk == 0 && d->clen % sizeof(struct cw_wire_hist) == 0 &&
               d->clen / sizeof(struct cw_wire_hist) <= CW_HIST_MAX;
    case CW_REC_CHUNK_VOID:
        return d->nblk == 0 && d->clen == 0 && d->lba < CW_SHARD_BLOCKS;
    case CW_REC_CHUNK_CURRENT:
        *ret_csums = d->nblk;
        return d->nblk <= CW_CHUNK_BLOCKS && d->lba < CW_SHARD_BLOCKS &&
               d->lba % CW_CHUNK_BLOCKS == 0 &&
               record_body_ok(d, sizeof(struct cw_rec_chunk_set), ret_runs);
    case CW_REC_SNAP:
        return d->nblk == 0 && d->clen == 0 && d->seq != 0;
    case CW_REC_MAPPAGE:
    case CW_REC_TABPAGE:
        *ret_csums = 1;
        return d->nblk == 1 && d->clen == 0;
    case CW_REC_ROOT:
        *ret_csums = d->nblk;
        return d->nblk >= 1 && d->nblk <= CW_BATCH_PAYLOAD_MAX / CW_BLOCK_SIZE && d->clen == 0;
    case CW_REC_SHARDREC:
        return d->nblk == 0 && d->clen <= CW_SHARD_REC_BYTES_MAX;
    case CW_REC_GC_MOVE:
    case CW_REC_BADBLK:
        *ret_csums = d->nblk;
        return record_one_chunk(d) && record_body_ok(d, d->nblk * 8, ret_runs);
    case CW_REC_REPAIR:
        *ret_csums = d->nblk;
        return record_lba_ok(d, CW_IO_BLOCKS_MAX) && d->clen == 0;
    case CW_REC_NOTE:
        return d->nblk == 0 && d->clen == 0;
    default:
        return false;
    }
}

bool
record_left_out(const struct rec_view *v, uint32_t i)
{
    switch (v->d.type) {
    case CW_REC_WRITE:
    case CW_REC_CHUNK_CURRENT:
    case CW_REC_REPAIR:
        return v->csums[i] == CW_HASH_ZERO_BLOCK && !(v->d.flags & CW_RF_ALL_DATA);
    case CW_REC_BADBLK:
        return true;
    default:
        return false;
    }
}

struct cw_rec_run
record_run(const struct rec_view *v, uint32_t i)
{
    struct cw_rec_run run;

    memcpy(&run, v->runs + i * sizeof(run), sizeof(run));
    return run;
}

/* How much payload it has, and that the runs are sane and cover all of it. */
static bool
record_payload(struct rec_view *v)
{
    uint32_t n = 0;

    v->n_payload = 0;
    for (uint32_t i = 0; i < v->n_csums; i++)
        v->n_payload += !record_left_out(v, i);
    v->payload_sectors = v->n_payload * CW_BLOCK_SECTORS;
    if (v->n_runs == 0)
        return true;
    v->payload_sectors = 0;
    for (uint32_t i = 0; i < v->n_runs; i++) {
        struct cw_rec_run run = record_run(v, i);

        if (run.n == 0 || run.n > CW_RUN_BLOCKS_MAX || run.len512 == 0 ||
            run.len512 > run.n * CW_BLOCK_SECTORS)
            return false;
        n += run.n;
        v->payload_sectors += run.len512;
    }
    return n == v->n_payload;
}

bool
record_parse(const uint8_t *at, const uint8_t *end, uint32_t payload_bytes, struct rec_view *ret)
{
    size_t left = (size_t)(end - at), csum_bytes, body_bytes;

    if (left < sizeof(ret->d))
        return false;
    memcpy(&ret->d, at, sizeof(ret->d));
    if (!record_shape(&ret->d, &ret->n_csums, &ret->n_runs))
        return false;
    csum_bytes = (size_t)ret->n_csums * 8;
    body_bytes = cw_align_up(ret->d.clen, 8);
    left -= sizeof(ret->d);
    if (csum_bytes > left || body_bytes > left - csum_bytes)
        return false;
    ret->csums = (const uint64_t *)(const void *)(at + sizeof(ret->d));
    ret->body = at + sizeof(ret->d) + csum_bytes;
    ret->runs = ret->body + ret->d.clen - ret->n_runs * sizeof(struct cw_rec_run);
    ret->next = ret->body + body_bytes;
    if (!record_payload(ret))
        return false;
    if (ret->n_payload == 0)
        return true;
    return ret->d.payload_off % 8 == 0 && ret->d.payload_off <= payload_bytes / CW_SECTOR &&
           ret->payload_sectors <= payload_bytes / CW_SECTOR - ret->d.payload_off;
}

struct rec_places
record_places(const struct rec_view *v, uint32_t seg, uint32_t payload_off)
{
    return (struct rec_places){
        .v = v,
        .seg = seg,
        .off512 = payload_off / CW_SECTOR + (uint32_t)v->d.payload_off,
    };
}

uint64_t
record_place_next(struct rec_places *p)
{
    struct cw_rec_run run;
    uint64_t loc;

    if (p->v->n_runs == 0) {
        loc = cw_loc_make(p->seg, p->off512, CW_BLOCK_SECTORS, CW_MAP_RAW);
        p->off512 += CW_BLOCK_SECTORS;
        return loc;
    }
    cw_assert(p->run < p->v->n_runs);
    run = record_run(p->v, p->run);
    loc = cw_loc_make_run(p->seg, p->off512, run, p->idx);
    if (++p->idx == run.n) {
        p->idx = 0;
        p->run++;
        p->off512 += run.len512;
    }
    return loc;
}

bool
record_check_all(const struct cw_batch_hdr *h, const uint8_t *hdr, uint32_t avail,
                 uint32_t *ret_used)
{
    const uint8_t *at = hdr + sizeof(*h), *end = hdr + avail;
    struct rec_view v;

    for (uint32_t i = 0; i < h->nrec; i++) {
        if (!record_parse(at, end, h->payload_bytes, &v))
            return false;
        at = v.next;
    }
    *ret_used = (uint32_t)(at - hdr);
    return true;
}
