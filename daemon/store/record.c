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

static bool
record_modes_ok(const struct cw_rec_desc *d)
{
    if (!(d->flags & CW_RF_MODES))
        return d->clen == 0;
    return d->clen == record_chunk_count(d->lba, d->nblk);
}

/* Is the descriptor itself sane, and how many checksums follow it? */
static bool
record_shape(const struct cw_rec_desc *d, uint32_t *ret_csums)
{
    *ret_csums = 0;
    if (d->comp != 0 || d->clen > CW_BATCH_HDR_MAX)
        return false;
    switch (d->type) {
    case CW_REC_WRITE:
        *ret_csums = d->flags & CW_RF_DROP ? 0 : d->nblk;
        return record_lba_ok(d, CW_IO_BLOCKS_MAX) && record_modes_ok(d);
    case CW_REC_ZERO:
    case CW_REC_TRIM:
        return record_lba_ok(d, CW_WIRE_NBLK_MAX) && record_modes_ok(d);
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
               d->lba % CW_CHUNK_BLOCKS == 0 && d->clen == sizeof(struct cw_rec_chunk_set);
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
        return record_one_chunk(d) && d->clen == d->nblk * 8;
    case CW_REC_REPAIR:
        *ret_csums = d->nblk;
        return record_lba_ok(d, CW_IO_BLOCKS_MAX) && d->clen == 0;
    case CW_REC_NOTE:
        return d->nblk == 0 && d->clen == 0;
    default:
        return false;
    }
}

static uint32_t
record_payload_blocks(const struct cw_rec_desc *d, const uint64_t *csums, uint32_t n_csums)
{
    uint32_t n = 0;

    switch (d->type) {
    case CW_REC_WRITE:
    case CW_REC_CHUNK_CURRENT:
    case CW_REC_REPAIR:
        if (d->flags & CW_RF_ALL_DATA)
            return n_csums;
        for (uint32_t i = 0; i < n_csums; i++)
            n += csums[i] != CW_HASH_ZERO_BLOCK;
        return n;
    case CW_REC_BADBLK:
        return 0;
    default:
        return n_csums;
    }
}

bool
record_parse(const uint8_t *at, const uint8_t *end, uint32_t payload_bytes, struct rec_view *ret)
{
    size_t left = (size_t)(end - at), csum_bytes, body_bytes;

    if (left < sizeof(ret->d))
        return false;
    memcpy(&ret->d, at, sizeof(ret->d));
    if (!record_shape(&ret->d, &ret->n_csums))
        return false;
    csum_bytes = (size_t)ret->n_csums * 8;
    body_bytes = cw_align_up(ret->d.clen, 8);
    left -= sizeof(ret->d);
    if (csum_bytes > left || body_bytes > left - csum_bytes)
        return false;
    ret->csums = (const uint64_t *)(const void *)(at + sizeof(ret->d));
    ret->body = at + sizeof(ret->d) + csum_bytes;
    ret->next = ret->body + body_bytes;
    ret->n_payload = record_payload_blocks(&ret->d, ret->csums, ret->n_csums);
    if (ret->n_payload == 0)
        return true;
    return ret->d.payload_off % 8 == 0 && ret->d.payload_off <= payload_bytes / 512 &&
           ret->n_payload <= (payload_bytes / 512 - ret->d.payload_off) / 8;
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
