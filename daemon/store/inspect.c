/* store/inspect.c - superblocks, headers, records, parts of a checkpoint: valid, or why not. */
#include "daemon/store/inspect.h"

#include <errno.h>
#include <string.h>

#include "common/codec/hash.h"
#include "daemon/store/store-internal.h"

/* ---- superblock ---- */

uint64_t
cw_inspect_sb_off(uint64_t bytes, uint32_t slot)
{
    return slot < 2 ? slot * UINT64_C(4096) : bytes - (CW_SB_SLOTS - slot) * UINT64_C(4096);
}

const char *
cw_inspect_sb_whole(const struct cw_sb *sb)
{
    if (sb->magic != CW_SB_MAGIC)
        return cw_block_is_zero(sb) ? "never written" : "no superblock (magic)";
    if (sb->csum != cw_hash(sb, offsetof(struct cw_sb, csum)))
        return "its checksum does not match";
    if (sb->format_id == 0)
        return "its format id is 0";
    for (size_t i = 0; i < CW_LEN(sb->ckpt); i++) {
        if (sb->ckpt[i].number > STORE_SEQ_MAX || sb->ckpt[i].replay_batch > STORE_SEQ_MAX)
            return "the numbers of a checkpoint are none";
    }
    return sb->sb_seq > STORE_SEQ_MAX ? "its sequence number is none" : NULL;
}

/* Fields that later arithmetic relies on. */
static const char *
sb_geometry(const struct cw_sb *sb)
{
    if (sb->version < CW_STORE_VERSION_MIN || sb->version > CW_STORE_VERSION)
        return "its version is not one that this program knows";
    if (sb->feature_incompat != 0)
        return "it has a feature that this program does not know";
    if (sb->blk != CW_BLOCK_SIZE)
        return "its block size is not 4096";
    if (!cw_is_pow2(sb->seg_bytes) || sb->seg_bytes < CW_SEG_BYTES_MIN ||
        sb->seg_bytes > CW_SEG_BYTES_MAX)
        return "its segment size is none";
    if (sb->seg_count < 16 || sb->seg_count > CW_SEG_COUNT_MAX)
        return "its number of segments is none";
    if (sb->dev_bytes % 4096 != 0)
        return "its size is none";
    return NULL;
}

const char *
cw_inspect_sb_opens(const struct cw_sb *sb, uint64_t disk_bytes, int *ret_outcome)
{
    uint64_t end = CW_SEG_BASE + (uint64_t)sb->seg_count * sb->seg_bytes + 2 * 4096;
    const char *why = sb_geometry(sb);

    *ret_outcome = CW_STORE_E_VERSION;
    if (why != NULL)
        return why;
    if (sb->dev_bytes > disk_bytes) {
        *ret_outcome = CW_STORE_E_TRUNCATED;
        return "it is of a larger disk: this one was cut";
    }
    return end > sb->dev_bytes ? "its segments do not fit its size" : NULL;
}

const char *
cw_inspect_sb(const struct cw_sb *sb, uint64_t disk_bytes)
{
    const char *why = cw_inspect_sb_whole(sb);
    int outcome;

    return why != NULL ? why : cw_inspect_sb_opens(sb, disk_bytes, &outcome);
}

/* ---- where superblocks are looked for ---- */

static bool
place_is_whole(const struct cw_inspect_places *p, uint32_t i)
{
    return p->res[i] == 0 && cw_inspect_sb_whole(&p->sb[i]) == NULL;
}

/* The higher sb_seq; a may be NULL. */
static const struct cw_sb *
sb_newer(const struct cw_sb *a, const struct cw_sb *b)
{
    return a == NULL || b->sb_seq > a->sb_seq ? b : a;
}

static const struct cw_sb *
places_front(const struct cw_inspect_places *p)
{
    const struct cw_sb *best = NULL;

    for (uint32_t i = 0; i < 2; i++) {
        if (place_is_whole(p, i))
            best = sb_newer(best, &p->sb[i]);
    }
    return best;
}

/* Where the store ends by what it says itself. Else, behind a store that ends before its disk, it
 * must at least be its turn. */
static bool
place_is_own(const struct cw_inspect_places *p, uint32_t i)
{
    return i < 2 || i >= CW_SB_SLOTS || p->sb[i].dev_bytes == p->disk_bytes ||
           p->sb[i].sb_seq % CW_SB_SLOTS == i;
}

/* One that tells which store this is. */
static const struct cw_sb *
places_guide(const struct cw_inspect_places *p)
{
    const struct cw_sb *best = places_front(p);

    if (best != NULL)
        return best;
    for (uint32_t i = 2; i < CW_SB_SLOTS; i++) {
        if (place_is_whole(p, i) && p->sb[i].dev_bytes == p->disk_bytes)
            best = sb_newer(best, &p->sb[i]);
    }
    return best;
}

static bool
place_counts(const struct cw_inspect_places *p, uint32_t i)
{
    const struct cw_sb *guide = places_guide(p);

    return guide != NULL && place_is_whole(p, i) && p->sb[i].format_id == guide->format_id &&
           place_is_own(p, i);
}

bool
cw_inspect_place(const struct cw_inspect_places *p, uint32_t place, uint64_t *ret_off)
{
    const struct cw_sb *front = place < CW_SB_SLOTS ? NULL : places_front(p);
    uint64_t bytes = p->disk_bytes;

    if (place >= CW_SB_SLOTS) {
        if (front == NULL || front->dev_bytes >= bytes || front->dev_bytes % 4096 != 0)
            return false;
        bytes = front->dev_bytes;
        place -= 2;
    }
    if (bytes < (place < 2 ? place + 1 : CW_SB_SLOTS) * UINT64_C(4096))
        return false;
    *ret_off = cw_inspect_sb_off(bytes, place);
    return true;
}

uint32_t
cw_inspect_place_of(const struct cw_inspect_places *p, uint32_t slot)
{
    uint32_t own = slot + 2;
    uint64_t off;

    if (slot < 2 || !cw_inspect_place(p, own, &off))
        return slot;
    if (!place_counts(p, slot))
        return own;
    return !place_counts(p, own) || p->sb[slot].sb_seq > p->sb[own].sb_seq ? slot : own;
}

const struct cw_sb *
cw_inspect_places_best(const struct cw_inspect_places *p)
{
    const struct cw_sb *best = NULL;

    for (uint32_t i = 0; i < CW_SB_PLACES; i++) {
        if (place_counts(p, i))
            best = sb_newer(best, &p->sb[i]);
    }
    return best;
}

bool
cw_inspect_places_whole(const struct cw_inspect_places *p)
{
    const struct cw_sb *best = cw_inspect_places_best(p);

    for (uint32_t slot = 0; slot < CW_SB_SLOTS; slot++) {
        uint32_t place = cw_inspect_place_of(p, slot);

        if (!place_counts(p, place) || p->sb[place].sb_seq + CW_SB_SLOTS <= best->sb_seq)
            return false;
    }
    return true;
}

/* None counts: was there one? */
static int
places_none(const struct cw_inspect_places *p)
{
    uint32_t n_read = 0;
    bool ours = false;

    for (uint32_t i = 0; i < CW_SB_PLACES; i++) {
        n_read += p->res[i] == 0;
        ours |= p->res[i] == 0 ? p->sb[i].magic == CW_SB_MAGIC : p->res[i] != -ENOENT;
    }
    if (n_read == 0)
        return ours ? -EIO : CW_STORE_E_NOT_FORMATTED;
    return ours ? CW_STORE_E_SUPERBLOCKS : CW_STORE_E_NOT_FORMATTED;
}

int
cw_inspect_places_outcome(const struct cw_inspect_places *p)
{
    const struct cw_sb *best = cw_inspect_places_best(p);
    int outcome;

    if (best == NULL)
        return places_none(p);
    return cw_inspect_sb_opens(best, p->disk_bytes, &outcome) == NULL ? 0 : outcome;
}

/* ---- a store whose superblocks are gone ---- */

bool
cw_inspect_trace(uint64_t disk_bytes, uint32_t i, uint64_t *ret_off)
{
    const uint32_t n = CW_SEG_BYTES_MAX / CW_SEG_BYTES_MIN;

    *ret_off = CW_SEG_BASE +
               (i < n ? (uint64_t)i * CW_SEG_BYTES_MIN : (uint64_t)(i - n + 1) * CW_SEG_BYTES_MAX);
    return *ret_off + sizeof(struct cw_seg_hdr) <= disk_bytes;
}

bool
cw_inspect_is_trace(const struct cw_seg_hdr *h)
{
    return h->magic == CW_SEG_MAGIC;
}

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

    if (r->d.type == CW_REC_MAPPAGE || r->d.type == CW_REC_TABPAGE || r->d.type == CW_REC_ROOT)
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

/* ---- checkpoint ---- */

const char *
cw_inspect_ckpt(const struct cw_sb *sb, const struct cw_sb_ckpt *c)
{
    if (c->len == 0 && c->number == 0)
        return NULL; /* the empty store */
    if (c->len < CW_BLOCK_SIZE || c->len % CW_BLOCK_SIZE != 0 || c->len > CW_BATCH_PAYLOAD_MAX)
        return "the length of its root is none";
    return cw_inspect_loc(sb, c->loc, c->len / CW_BLOCK_SIZE);
}

/* Parts have a place each, and so have the tables that they list: all that is read of them at once
 * is no more than the store. */
static bool
root_fits(const struct cw_sb *sb, const uint8_t *parts, uint32_t n)
{
    uint64_t all = 0, tabs = 0, room = (uint64_t)sb->seg_count * sb->seg_bytes;

    for (uint32_t i = 0; i < n; i++) {
        struct cw_root_part p;

        memcpy(&p, parts + i * sizeof(p), sizeof(p));
        all += p.bytes;
        if (p.kind == CW_PART_TABS)
            tabs += p.bytes / sizeof(struct cw_tabdir_entry);
    }
    return all <= room && tabs * CW_BLOCK_SIZE <= room;
}

const char *
cw_inspect_root(const struct cw_sb *sb, const struct cw_sb_ckpt *c, const uint8_t *bytes)
{
    struct cw_root r;

    memcpy(&r, bytes, sizeof(r));
    if (cw_hash(bytes, c->len) != c->csum)
        return "its checksum does not match";
    if (r.magic != CW_ROOT_MAGIC || r.format_id != sb->format_id || r.number != c->number)
        return "it is not the root of that checkpoint";
    if (r.version != 0 && r.version != CW_STORE_VERSION)
        return "its version is not one that this program knows";
    if (r.n_parts > (c->len - sizeof(r)) / sizeof(struct cw_root_part))
        return "it has more parts than it has room for";
    if (!root_fits(sb, bytes + sizeof(r), r.n_parts))
        return "its parts are more than the store has room for";
    /* what is counted on from */
    if (r.next_seg_seq > STORE_SEQ_MAX || r.next_layer > CW_LAYER_FAMILY + 1)
        return "the numbers that go on from it are none";
    return NULL;
}

const char *
cw_inspect_part(const struct cw_sb *sb, const struct cw_root_part *p)
{
    if (p->kind < CW_PART_SEGMENTS || p->kind >= CW_PART_KINDS)
        return "its kind is none";
    if (p->bytes == 0 || p->bytes > CW_BATCH_PAYLOAD_MAX)
        return "its length is none";
    return cw_inspect_loc(sb, p->loc, (uint32_t)cw_div_up(p->bytes, CW_BLOCK_SIZE));
}

const char *
cw_inspect_segtab(const struct cw_sb *sb, uint32_t root_version, const uint8_t *bytes, size_t len)
{
    uint32_t max = sb->seg_bytes / CW_SECTOR / cw_inspect_live_unit(root_version);
    struct cw_segtab_entry e;

    if (len != sb->seg_count * sizeof(e))
        return "it does not have as many segments as the store";
    for (uint32_t i = 0; i < sb->seg_count; i++) {
        memcpy(&e, bytes + i * sizeof(e), sizeof(e));
        if (e.state > CW_SEG_SEALED || e.cls >= CW_SEG_CLASSES || e.live > max)
            return "an entry is none";
    }
    return NULL;
}

static const char *
tab_entry(const struct cw_sb *sb, const struct cw_chunk_entry *e)
{
    if (e->state > CW_CHUNK_OWN || e->nmapped > CW_CHUNK_BLOCKS)
        return "a chunk entry is none";
    if (e->page_loc == 0)
        return e->nmapped == 0 ? NULL : "a chunk entry has blocks and no map page";
    if (e->nmapped == 0)
        return "a chunk entry has a map page and no blocks";
    return cw_inspect_loc(sb, e->page_loc, 1);
}

const char *
cw_inspect_tab(const struct cw_sb *sb, const struct cw_tab_page *t,
               const struct cw_tabdir_entry *dir)
{
    const char *why = NULL;

    if (cw_hash_block(t) != dir->csum)
        return "its checksum does not match";
    if (t->magic != CW_TAB_MAGIC || t->format_id != sb->format_id)
        return "it is no page of a chunk table";
    if (t->layer != dir->layer || t->index != dir->index || t->index >= CW_SHARD_TABS)
        return "it is of another place in the chunk table";
    for (uint32_t i = 0; i < CW_TAB_CHUNKS && why == NULL; i++)
        why = tab_entry(sb, &t->e[i]);
    return why;
}

const char *
cw_inspect_map_page(const struct cw_sb *sb, const struct cw_map_page *p, uint32_t *ret_nmapped)
{
    const char *why = NULL;

    *ret_nmapped = 0;
    for (uint32_t i = 0; i < CW_CHUNK_BLOCKS && why == NULL; i++) {
        uint64_t loc = p->e[i].loc;
        enum cw_map_kind kind = cw_loc_kind(loc);

        *ret_nmapped += map_kind_is_mapped(kind);
        if (kind >= CW_MAP_KINDS)
            why = "the kind of an entry is none";
        else if (map_kind_is_data(kind))
            why = cw_inspect_data_loc(sb, loc);
    }
    return why;
}

/* A place where a batch may begin, and blocks that a record may have. */
static bool
tail_entry_ok(const struct cw_sb *sb, const struct cw_tail_bytes *b)
{
    uint32_t max = b->type == CW_FT_WRITE ? CW_IO_BLOCKS_MAX : CW_WIRE_NBLK_MAX;

    if (b->seg >= sb->seg_count || b->off < 4096 || b->off >= sb->seg_bytes || b->off % 4096 != 0)
        return false;
    if (b->type == CW_FT_GEN_START)
        return b->nblk == 0;
    return (b->type == CW_FT_WRITE || b->type == CW_FT_ZERO || b->type == CW_FT_TRIM) &&
           b->nblk >= 1 && b->nblk <= max && b->lba < CW_SHARD_BLOCKS &&
           b->nblk <= CW_SHARD_BLOCKS - b->lba;
}

/* The seqs of a tail ascend, up to the shard's last one. */
static const char *
shard_tail(const struct cw_sb *sb, const struct cw_inspect_shard *sh)
{
    uint64_t last = 0;

    for (uint32_t i = 0; i < sh->h.n_tail; i++) {
        struct cw_tail_bytes b;

        memcpy(&b, sh->tail + i * sizeof(b), sizeof(b));
        if (!tail_entry_ok(sb, &b))
            return "a record in its tail is none";
        if (b.seq <= last || b.seq > sh->h.last_seq)
            return "the records in its tail are not in order";
        last = b.seq;
    }
    return NULL;
}

const char *
cw_inspect_shard(const struct cw_sb *sb, const uint8_t *from, size_t len,
                 struct cw_inspect_shard *ret)
{
    size_t rec_len, hist_len;

    if (len < sizeof(ret->h))
        return "it is cut off";
    memcpy(&ret->h, from, sizeof(ret->h));
    if (ret->h.rec_bytes > CW_SHARD_REC_BYTES_MAX || ret->h.n_hist > CW_HIST_MAX ||
        ret->h.n_tail > CW_TAIL_MAX)
        return "a count in it is none";
    rec_len = cw_align_up(ret->h.rec_bytes, 8);
    hist_len = ret->h.n_hist * sizeof(struct cw_wire_hist);
    if (ret->h.bytes > len || ret->h.bytes != sizeof(ret->h) + rec_len + hist_len +
                                                  ret->h.n_tail * sizeof(struct cw_tail_bytes))
        return "its length does not fit its counts";
    if (!cw_shard_rec_decode(from + sizeof(ret->h), ret->h.rec_bytes, &ret->rec))
        return "its shard record is none";
    ret->hist = from + sizeof(ret->h) + rec_len;
    ret->tail = ret->hist + hist_len;
    return shard_tail(sb, ret);
}

const char *
cw_inspect_layer(const struct cw_layer_bytes *l, const struct cw_inspect_family *f)
{
    bool head = l->flags & CW_LAYER_HEAD, gone = l->flags & CW_LAYER_GONE;

    if (!f->has_copy)
        return "one belongs to no copy";
    if (f->is_there)
        return "an id is there twice";
    if (((l->id ^ l->shard) & CW_LAYER_FAMILY) != 0 || (l->id & CW_LAYER_FAMILY) == 0)
        return "one is not of the family of its copy";
    if (l->parent != 0 && !f->has_parent)
        return "the parent of one is not there";
    if (l->parent != 0 && ((l->id ^ l->parent) & CW_LAYER_FAMILY) != 0)
        return "the parent of one is of another family";
    if (l->parent != 0 && f->parent_snap == 0)
        return "the parent of one is a head";
    if (head != (l->snap == 0))
        return "one is head and snapshot, or neither";
    if (head && f->has_head)
        return "a copy has two heads";
    if ((f->copy_gone && !gone) || (head && gone && !f->copy_gone))
        return "one is there and its copy is not, or the other way round";
    return l->mapped > CW_SHARD_BLOCKS ? "one counts more blocks than a copy has" : NULL;
}
