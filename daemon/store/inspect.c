/* store/inspect.c - what lies in segments, headers, batches, records, summaries: valid, or why not.
 */
#include "daemon/store/inspect.h"

#include <string.h>

#include "common/codec/hash.h"
#include "daemon/store/store-internal.h"

/* ---- segment header ---- */

const char *
cw_inspect_loc(const struct cw_sb *sb, uint64_t loc, uint32_t n_blocks)
{
    uint64_t off = cw_loc_off(loc);

    if (cw_loc_kind(loc) != CW_MAP_RAW)
        return "its place is not one of whole blocks";
    if (cw_loc_seg(loc) >= sb->seg_count)
        return "its place is in no segment";
    if (off % CW_BLOCK_SIZE != 0 || off == 0 ||
        off + (uint64_t)n_blocks * CW_BLOCK_SIZE > sb->seg_bytes)
        return "its place is not inside its segment";
    return NULL;
}

const char *
cw_inspect_data_loc(const struct cw_sb *sb, uint64_t loc)
{
    uint64_t off = cw_loc_off(loc), len = (uint64_t)cw_loc_len512(loc) * CW_SECTOR;

    if (cw_loc_kind(loc) != CW_MAP_COMP)
        return cw_loc_len512(loc) == CW_BLOCK_SECTORS ? cw_inspect_loc(sb, loc, 1)
                                                      : "the length of its place is none";
    if (cw_loc_seg(loc) >= sb->seg_count)
        return "its place is in no segment";
    if (off == 0 || len == 0 || off + len > sb->seg_bytes)
        return "its place is not inside its segment";
    if (cw_loc_idx(loc) >= cw_loc_n(loc) || len > (uint64_t)cw_loc_n(loc) * CW_BLOCK_SIZE)
        return "its run of packed blocks is none";
    return NULL;
}

const char *
cw_inspect_seg_hdr(const struct cw_sb *sb, const struct cw_seg_hdr *h, uint32_t no)
{
    uint64_t uuid_lo;

    memcpy(&uuid_lo, sb->disk_uuid + 8, sizeof(uuid_lo));
    if (h->magic != CW_SEG_MAGIC)
        return "no segment header (magic)";
    if (h->csum != cw_hash(h, offsetof(struct cw_seg_hdr, csum)))
        return "its checksum does not match";
    if (h->format_id != sb->format_id || h->disk_uuid_lo != uuid_lo)
        return "it is of an earlier format or another disk";
    if (h->seg_no != no)
        return "it is of another segment";
    if (h->cls < CW_SEG_HOT || h->cls >= CW_SEG_CLASSES)
        return "its class is none";
    return h->seg_seq == 0 || h->seg_seq > STORE_SEQ_MAX ? "its sequence number is none" : NULL;
}

/* ---- batch ---- */

const char *
cw_inspect_batch_hdr(const struct cw_sb *sb, const struct cw_batch_hdr *h, uint32_t off)
{
    if (h->magic != CW_BATCH_MAGIC)
        return "no batch header (magic)";
    if (h->ver < CW_STORE_VERSION_MIN || h->ver > CW_STORE_VERSION)
        return "its version is not one that this program knows";
    if (h->format_id != sb->format_id)
        return "it is of an earlier format";
    if (h->hdr_bytes == 0 || h->hdr_bytes % 4096 != 0 || h->hdr_bytes > CW_BATCH_HDR_MAX)
        return "its header length is none";
    if (off < 4096 || off % 4096 != 0)
        return "no batch begins there";
    if (h->payload_bytes % 4096 != 0 || h->payload_bytes > CW_BATCH_PAYLOAD_MAX ||
        (uint64_t)off + h->hdr_bytes + h->payload_bytes > sb->seg_bytes)
        return "its payload does not fit";
    if (h->batch_seq == 0 || h->batch_seq > STORE_SEQ_MAX || h->durable_upto > STORE_SEQ_MAX)
        return "its sequence numbers are none";
    return NULL;
}

const char *
cw_inspect_batch(const struct cw_sb *sb, const uint8_t *hdr, size_t avail, uint32_t off,
                 uint32_t *ret_used)
{
    struct cw_batch_hdr h;
    const char *why;

    if (avail < sizeof(h))
        return "it is cut off";
    memcpy(&h, hdr, sizeof(h));
    why = cw_inspect_batch_hdr(sb, &h, off);
    if (why != NULL)
        return why;
    if (h.hdr_bytes > avail)
        return "it is cut off";
    if (h.hdr_csum != cw_hash2(hdr, offsetof(struct cw_batch_hdr, hdr_csum), hdr + sizeof(h),
                               h.hdr_bytes - sizeof(h)))
        return "its checksum does not match";
    return record_check_all(&h, hdr, h.hdr_bytes, ret_used) ? NULL : "its records are not right";
}

uint64_t
cw_inspect_chain(const uint8_t *hdr, uint32_t used)
{
    struct cw_batch_hdr h;

    memcpy(&h, hdr, sizeof(h));
    return batch_chain(h.batch_seq, hdr, used);
}

/* ---- record ---- */

static const char *const rec_names[CW_REC_TYPES] = {
    [CW_REC_WRITE] = "WRITE",
    [CW_REC_ZERO] = "ZERO",
    [CW_REC_TRIM] = "TRIM",
    [CW_REC_SNAP] = "SNAP",
    [CW_REC_GEN_START] = "GEN_START",
    [CW_REC_PROMISE] = "PROMISE",
    [CW_REC_JOIN] = "JOIN",
    [CW_REC_SYNC_DONE] = "SYNC_DONE",
    [CW_REC_CHUNK_VOID] = "CHUNK_VOID",
    [CW_REC_CHUNK_CURRENT] = "CHUNK_CURRENT",
    [CW_REC_MAPPAGE] = "MAPPAGE",
    [CW_REC_TABPAGE] = "TABPAGE",
    [CW_REC_SHARDREC] = "SHARDREC",
    [CW_REC_GC_MOVE] = "GC_MOVE",
    [CW_REC_BADBLK] = "BADBLK",
    [CW_REC_NOTE] = "NOTE",
    [CW_REC_ROOT] = "ROOT",
    [CW_REC_REPAIR] = "REPAIR",
};

const char *
cw_inspect_rec_name(uint8_t type)
{
    return type < CW_REC_TYPES && rec_names[type] != NULL ? rec_names[type] : "?";
}

/* Where the block of each checksum lies, counted from the start of the payload. */
static void
places_fill(const struct rec_view *v, uint64_t *places)
{
    struct rec_places p = record_places(v, 0, 0);

    for (uint32_t i = 0; i < v->n_csums; i++)
        places[i] = record_left_out(v, i) ? 0 : record_place_next(&p);
}

const char *
cw_inspect_rec(const uint8_t *at, const uint8_t *end, uint32_t payload_bytes,
               struct cw_inspect_rec *ret)
{
    struct rec_view v;

    memset(ret, 0, sizeof(*ret));
    if ((size_t)(end - at) < sizeof(ret->d))
        return "it is cut off";
    memcpy(&ret->d, at, sizeof(ret->d));
    if (strcmp(cw_inspect_rec_name(ret->d.type), "?") == 0)
        return "its type is none";
    if (!record_parse(at, end, payload_bytes, &v))
        return "its lengths or its range do not fit its type, its batch or a shard";
    ret->csums = v.csums;
    ret->body = v.body;
    ret->n_csums = v.n_csums;
    ret->n_payload = v.n_payload;
    ret->n_runs = v.n_runs;
    ret->bytes = (uint32_t)(v.next - at);
    places_fill(&v, ret->places);
    return NULL;
}

const uint8_t *
cw_inspect_plain(struct cw_compressor *c, uint64_t loc, const uint8_t *from,
                 uint8_t scratch[static CW_INSPECT_RUN_BYTES])
{
    size_t plain = (size_t)cw_loc_n(loc) * CW_BLOCK_SIZE;
    size_t len = (size_t)cw_loc_len512(loc) * CW_SECTOR;

    if (cw_loc_kind(loc) != CW_MAP_COMP || len >= plain)
        return from;
    return cw_decompress(c, scratch, plain, from, len) ? scratch : NULL;
}

uint64_t
cw_inspect_rec_lba(const struct cw_inspect_rec *r, uint32_t i)
{
    struct cw_rec_chunk_set set;

    if (cw_rec_is_meta(r->d.type))
        return r->d.lba;
    if (r->d.type != CW_REC_CHUNK_CURRENT)
        return r->d.lba + i;
    memcpy(&set, r->body, sizeof(set));
    for (uint32_t b = 0; b < CW_CHUNK_BLOCKS; b++) {
        if (cw_bit_get(set.set, b) && i-- == 0)
            return r->d.lba + b;
    }
    return r->d.lba;
}

/* ---- summary ---- */

static bool
footer_csum_ok(const struct cw_sum_footer *f, const uint8_t *sum, uint32_t room)
{
    return f->bytes <= room - sizeof(*f) &&
           f->csum == cw_hash2(sum, f->bytes, f, offsetof(struct cw_sum_footer, csum));
}

bool
cw_inspect_summary_there(const struct cw_sb *sb, const uint8_t *tail, uint32_t no, uint64_t seg_seq,
                         uint32_t *ret_room)
{
    struct cw_sum_footer f;
    uint32_t same;

    memcpy(&f, tail + 4096 - sizeof(f), sizeof(f));
    same = (f.magic == CW_SUM_MAGIC) + (f.format_id == sb->format_id) + (f.seg_seq == seg_seq) +
           (f.seg_no == no);
    *ret_room =
        f.bytes <= sb->seg_bytes - 8192 ? (uint32_t)cw_align_up(f.bytes + sizeof(f), 4096) : 4096;
    if (f.magic == CW_SUM_MAGIC && f.format_id == sb->format_id && f.seg_no == no)
        return f.seg_seq == seg_seq;
    return same >= 3;
}

static const char *
summary_entries(const struct cw_sb *sb, const uint8_t *sum, const struct cw_sum_footer *f)
{
    uint32_t n = 0, bytes = f->bytes;

    for (uint32_t at = 0; at < bytes; n++) {
        struct cw_sum_entry e;
        struct cw_batch_hdr h;
        uint32_t used;

        if (bytes - at < sizeof(e) + sizeof(h))
            return "an entry is cut off";
        memcpy(&e, sum + at, sizeof(e));
        at += (uint32_t)sizeof(e);
        if (e.used < sizeof(h) || e.used % 8 != 0 || e.used > bytes - at)
            return "the length of an entry is none";
        memcpy(&h, sum + at, sizeof(h));
        if (cw_inspect_batch_hdr(sb, &h, e.off) != NULL || h.seg_seq != f->seg_seq ||
            !record_check_all(&h, sum + at, e.used, &used) || used != e.used)
            return "an entry is not a batch header";
        at += e.used;
    }
    return n == f->n_batches ? NULL : "it does not hold as many batches as it says";
}

const char *
cw_inspect_sum_footer(const struct cw_sb *sb, const struct cw_sum_footer *f, uint32_t no,
                      uint64_t seg_seq)
{
    if (f->magic != CW_SUM_MAGIC || f->format_id != sb->format_id || f->seg_seq != seg_seq ||
        f->seg_no != no || f->bytes > sb->seg_bytes - 8192)
        return "its footer is damaged";
    return NULL;
}

const char *
cw_inspect_summary(const struct cw_sb *sb, const uint8_t *sum, uint32_t room, uint32_t no,
                   uint64_t seg_seq)
{
    struct cw_sum_footer f;
    const char *why;

    if (room < 4096)
        return "it is cut off";
    memcpy(&f, sum + room - sizeof(f), sizeof(f));
    why = cw_inspect_sum_footer(sb, &f, no, seg_seq);
    if (why != NULL)
        return why;
    if (!footer_csum_ok(&f, sum, room))
        return "its checksum does not match";
    return summary_entries(sb, sum, &f);
}
