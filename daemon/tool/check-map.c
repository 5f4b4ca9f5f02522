/* tool/check-map.c - superblocks; and the counts of a checkpoint against its map pages. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "common/codec/hash.h"
#include "daemon/tool/check.h"
#include "daemon/tool/words.h"

/* ---- superblocks ---- */

/* What the slot should hold, if the newest is in force: they are written in turn. */
static uint64_t
slot_seq(const struct cw_sb *best, uint32_t slot)
{
    uint64_t back = (best->sb_seq - slot) % CW_SB_SLOTS;

    return back > best->sb_seq ? 0 : best->sb_seq - back;
}

static const char *
slot_why(const struct cw_stand_slots *s, uint32_t slot)
{
    const struct cw_sb *sb = &s->slot[slot];

    if (s->why[slot] != NULL)
        return s->why[slot];
    if (sb->format_id != s->best->format_id)
        return "it is of another format of this disk";
    if (sb->sb_seq != slot_seq(s->best, slot))
        return "it is older than what was written there last: a write was lost";
    return NULL;
}

/* May a crash have cut its write? Then sectors of it are what was to be written and the others what
 * was there: of what does not differ between the two, nothing is wrong. */
static bool
slot_was_cut(const struct cw_stand_slots *s, uint32_t slot)
{
    const struct cw_sb *sb = &s->slot[slot], *best = s->best;
    struct cw_sb like = *best;

    if (s->res[slot] != 0 || (best->flags & CW_SB_CLEAN) ||
        (best->sb_seq + 1) % CW_SB_SLOTS != slot)
        return false;
    if (sb->sb_seq != best->sb_seq + 1 && sb->sb_seq != slot_seq(best, slot))
        return false;
    like.version = sb->version;
    memcpy(like.cluster_id, sb->cluster_id, sizeof(like.cluster_id));
    like.incarnation = sb->incarnation;
    like.sb_seq = sb->sb_seq;
    like.flags = sb->flags;
    memcpy(like.ckpt, sb->ckpt, sizeof(like.ckpt));
    like.csum = sb->csum;
    return memcmp(&like, sb, sizeof(like)) == 0 &&
           (uint32_t)cw_popcount(sb->csum ^ cw_hash(sb, offsetof(struct cw_sb, csum))) >
               CW_INSPECT_ROT_BITS;
}

void
cw_check_superblocks(struct cw_check *c)
{
    const struct cw_stand_slots *s = &c->st->slots;

    for (uint32_t i = 0; i < CW_SB_SLOTS; i++) {
        const char *why = slot_why(s, i);
        bool cut;

        /* a format writes all of those that no store filled yet */
        if (why == NULL || (slot_seq(s->best, i) == 0 && s->slot[i].magic != CW_SB_MAGIC))
            continue;
        cut = slot_was_cut(s, i);
        cw_report_add(c->rep,
                      (struct cw_report_item){
                          .kind = CW_REPORT_SUPERBLOCK, .note = cut, .seg = CW_REPORT_NOWHERE },
                      "slot %u (at byte %" PRIu64 "): %s%s", i, s->off[i], why,
                      cut ? "; its write was cut by a crash, it seems" : "");
    }
}

/* ---- counts ---- */

struct seg_count {
    uint32_t live;    /* sectors */
    uint32_t refs;    /* entries that name a place in it */
    uint32_t nothing; /* of those that own their place: whose share of it is no sector */
};

struct counts {
    struct cw_check *c;
    const struct cw_ckpt *k;
    struct seg_count *segs;
    uint64_t *mapped, *sectors; /* per layer */
    bool unknown;               /* a page was lost earlier: what it referred to stays counted */
};

static void
count_page_lost(struct counts *n, const struct cw_walk_page *p)
{
    cw_report_add(n->c->rep,
                  (struct cw_report_item){ .kind = CW_REPORT_MAP_PAGE,
                                           .seg = cw_loc_seg(p->e->page_loc),
                                           .off = cw_loc_off(p->e->page_loc),
                                           .shard = cw_ckpt_shard_id(n->k, p->layer) },
                  "map page of chunk %u: %s", p->chunk, p->why);
}

static void
count_bad(struct counts *n, const struct cw_walk_page *p, uint32_t bad)
{
    if (bad == 0)
        return;
    cw_report_add(n->c->rep,
                  (struct cw_report_item){ .kind = CW_REPORT_MARKED_BAD,
                                           .seg = CW_REPORT_NOWHERE,
                                           .shard = cw_ckpt_shard_id(n->k, p->layer) },
                  "chunk %u: %u blocks are marked as bad", p->chunk, bad);
}

static void
count_entries(struct counts *n, const struct cw_walk_page *p)
{
    uint32_t bad = 0;

    for (uint32_t i = 0; i < CW_CHUNK_BLOCKS; i++) {
        const struct cw_map_entry *e = &p->page->e[i];
        enum cw_map_kind kind = cw_loc_kind(e->loc);
        bool data = kind == CW_MAP_RAW || kind == CW_MAP_COMP, own = !(e->loc & CW_LOC_SHARED);

        bad += kind == CW_MAP_BAD;
        n->unknown |= kind == CW_MAP_BAD && e->xxh3 == 0;
        n->mapped[p->layer] += (data || kind == CW_MAP_BAD) && own;
        if (data) {
            uint32_t sectors = own ? cw_loc_sectors(e->loc) : 0;
            struct seg_count *s = &n->segs[cw_loc_seg(e->loc)];

            s->refs++;
            s->live += sectors;
            s->nothing += own && sectors == 0;
            n->sectors[p->layer] += sectors;
        }
    }
    count_bad(n, p, bad);
}

static void
count_page(void *user, const struct cw_walk_page *p)
{
    struct counts *n = user;

    if (p->page == NULL) {
        count_page_lost(n, p);
        return;
    }
    if (p->nmapped != p->e->nmapped)
        cw_report_add(n->c->rep,
                      (struct cw_report_item){ .kind = CW_REPORT_CHUNK_COUNT,
                                               .seg = CW_REPORT_NOWHERE,
                                               .shard = cw_ckpt_shard_id(n->k, p->layer) },
                      "chunk %u counts %u mapped blocks, its map page has %u", p->chunk,
                      p->e->nmapped, p->nmapped);
    count_entries(n, p);
}

/* ---- the sums ---- */

static void
sum_segment(const struct counts *n, uint32_t no, bool all)
{
    const struct cw_segtab_entry *s = &n->k->segs[no];
    uint64_t says = (uint64_t)s->live * n->k->unit, is = n->segs[no].live;
    struct cw_report_item item = { .kind = CW_REPORT_SEGMENT_COUNT, .seg = no };

    if (n->segs[no].refs > 0 && (s->state == CW_SEG_FREE || s->cls == CW_SEG_META)) {
        cw_report_add(n->c->rep, item, "the map has data in it, the table says %s, %s",
                      cw_words_seg_state(s->state), cw_words_class(s->cls));
        return;
    }
    if (s->cls == CW_SEG_META || is == says || (is < says && !all))
        return;
    item.note = is < says && n->unknown;
    cw_report_add(n->c->rep, item,
                  "counts %" PRIu64 " live sectors, the map has %" PRIu64 " in it%s", says, is,
                  item.note ? " (a map page was lost once)" : "");
}

/* The count is what such blocks make of it: right, and yet not enough to keep the segment. */
static void
sum_nothing(const struct counts *n, uint32_t no)
{
    const struct seg_count *s = &n->segs[no];

    if (s->nothing > 0)
        cw_report_add(n->c->rep, (struct cw_report_item){ .kind = CW_REPORT_SHORT_RUN, .seg = no },
                      "%u blocks in it count for nothing: their runs have fewer sectors than "
                      "blocks; it counts %u live sectors for all that is in it",
                      s->nothing, s->live);
}

/* A store that was once of version 1 took the blocks that were BAD then for live ones. */
static bool
sum_layer_old(const struct cw_layer_bytes *l, uint64_t mapped, uint64_t sectors)
{
    return l->id == l->shard && l->mapped == mapped && l->sectors > sectors &&
           (l->sectors - sectors) % CW_BLOCK_SECTORS == 0;
}

static void
sum_layer(const struct counts *n, uint32_t i)
{
    const struct cw_layer_bytes *l = &n->k->layers[i];
    bool old = sum_layer_old(l, n->mapped[i], n->sectors[i]),
         lost = n->unknown && l->mapped >= n->mapped[i] && l->sectors >= n->sectors[i];
    struct cw_report_item item = { .kind = CW_REPORT_LAYER_COUNT,
                                   .note = old || lost,
                                   .seg = CW_REPORT_NOWHERE,
                                   .shard = cw_ckpt_shard_id(n->k, i) };

    if (!n->k->counted || (l->mapped == n->mapped[i] && l->sectors == n->sectors[i]))
        return;
    cw_report_add(n->c->rep, item,
                  "layer 0x%" PRIx64 " (snapshot %" PRIu64 ") counts %" PRIu64 " blocks in %" PRIu64
                  " sectors, its map pages have %" PRIu64 " in %" PRIu64 "%s",
                  l->id, l->snap, l->mapped, l->sectors, n->mapped[i], n->sectors[i],
                  old    ? " (as in a store that was once of version 1)"
                  : lost ? " (a map page was lost once)"
                         : "");
}

uint64_t
cw_check_map(struct cw_check *c, const struct cw_ckpt *k, enum cw_stand_side side,
             uint32_t *ret_refs, bool *ret_whole)
{
    struct counts n = {
        .c = c,
        .k = k,
        .segs = cw_tool_alloc(k->sb->seg_count * sizeof(*n.segs)),
        .mapped = cw_tool_alloc((k->n_layers + 1) * sizeof(*n.mapped)),
        .sectors = cw_tool_alloc((k->n_layers + 1) * sizeof(*n.sectors)),
    };
    struct cw_walk w = {
        .st = c->st,
        .side = side,
        .c = k,
        .progress = "map pages",
        .page = count_page,
        .user = &n,
    };

    cw_walk(&w);
    for (uint32_t i = 0; !k->empty && i < k->sb->seg_count; i++) {
        sum_segment(&n, i, w.n_lost == 0);
        if (ret_refs == NULL)
            continue;
        sum_nothing(&n, i); /* once: older checkpoints say the same of most of them */
        ret_refs[i] = n.segs[i].refs;
    }
    /* what a lost page held is in the counts of its layer still */
    for (uint32_t i = 0; w.n_lost == 0 && i < k->n_layers; i++)
        sum_layer(&n, i);
    free(n.segs);
    free(n.mapped);
    free(n.sectors);
    *ret_whole = w.n_lost == 0;
    return w.n_pages;
}
