/* store/inspect-ckpt.c - the root of a checkpoint and its parts: valid, or why not. */
#include "daemon/store/inspect.h"

#include <string.h>

#include "common/codec/hash.h"
#include "daemon/store/store-internal.h"

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
