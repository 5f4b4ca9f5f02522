/* store/scrub.c - reads again all that is live, from the media, in the background.
 *
 *   REST --scrub_ns since the last one began, or asked for--> SB (4 slots) --> CKPT (both: root,
 *   parts, table pages) --> PAGES (map pages) --> BLOCKS (copy by copy, chunk by chunk) --> REST
 *
 * One step is under way at a time: a few pages, or one chunk. The pace is the share of the data
 * that should have been read by now; a step waits until the disk has little else to do. What is in
 * memory too (a superblock, a resident map page, a table) is healed by writing it anew; a map page
 * that is not is loaded, which finds it lost. Bad blocks are told by whoever reads them (read.c).
 *
 * The cursor lies in every checkpoint. What happens between the last one and a crash is read twice.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/codec/hash.h"
#include "daemon/store/inspect.h"
#include "daemon/store/store-internal.h"

#define WEEK_NS (7 * 24 * 3600 * CW_NS_PER_S)
#define SETTLE_NS (10 * CW_NS_PER_S) /* after an open others come first */
#define LOOK_NS IDLE_LOOK_NS
#define HURRY_NS (20 * CW_NS_PER_MS) /* between hurried steps when others use the disk */
/* Later than this share of a pass it goes on without an idle moment, a step at a time. */
#define LATE_SHARE 7u
#define LATE_NS CW_NS_PER_S
#define REFS 16u

/* Where in the copies: the next chunk to be read. */
struct scrub_at {
    uint64_t shard, snap;
    uint32_t chunk;
};

/* A map page or table page on the media. */
struct scrub_ref {
    uint64_t layer, loc, csum;
    uint32_t index; /* chunk, or number of the table */
};

struct scrub_pass {
    uint64_t number, took_ns, bytes, found, repaired;
};

enum step {
    STEP_BUSY,  /* I/O is under way */
    STEP_NEXT,  /* nothing to be done here: the next step at once */
    STEP_LATER, /* no memory now, or somebody else is at it */
};

struct scrub {
    struct cw_store *s;
    uint64_t interval_ns;
    struct cw_timer timer;
    bool open;    /* the store serves */
    bool busy;    /* a step is under way */
    bool again;   /* begin a new pass when it is over */
    bool starved; /* it found no memory */
    bool hurry;
    enum cw_scrub_phase phase;
    struct scrub_at at;

    struct scrub_pass pass, last;
    uint64_t base_ns, since_ns; /* elapsed: base, and what went by since */
    uint64_t ended_ns;          /* of the last */

    struct idle_look look;
    uint64_t stepped_ns, stepped_ops;

    uint32_t slot; /* SB */
    uint64_t sb_seq;
    struct sb_wait sb;
    uint32_t n_sb; /* superblocks still to be written */

    uint32_t which; /* CKPT: of the superblock's two */
    uint64_t number;
    uint32_t root_seg;
    struct cw_root *root;
    uint32_t part;
    struct cw_buf *tabs; /* a part of the directory .. */
    uint32_t n_tabs, tab;
    uint64_t healed_by; /* checkpoints must have come so far */

    struct cw_buf *buf;
    struct store_io io;
    struct scrub_ref refs[REFS];
    uint32_t n_refs;
    uint32_t next_chunk; /* PAGES: the cursor when they are read */
    struct store_run runs[REFS];
    uint64_t bad[1];
    struct store_fetch fetch;

    struct cw_store_read read; /* BLOCKS */
    bool was_resident;
};

static void scrub_step_over(struct scrub *c);

/* ---- the pass ---- */

static uint64_t
scrub_elapsed_ns(const struct scrub *c)
{
    return c->base_ns + (c->open ? cw_now_ns(c->s->env) - c->since_ns : 0);
}

static uint64_t
scrub_live_blocks(const struct cw_store *s)
{
    uint64_t n = 0;

    CW_LIST_EACH (it, &s->shards)
        n += cw_list_entry(it, struct cw_store_shard, link)->info.mapped_blocks;
    return n;
}

static void
pass_begin(struct scrub *c, bool hurry)
{
    c->pass = (struct scrub_pass){ .number = c->pass.number + 1 };
    c->base_ns = 0;
    c->since_ns = cw_now_ns(c->s->env);
    c->phase = CW_SCRUB_SB;
    c->at = (struct scrub_at){ 0 };
    c->slot = c->which = 0;
    c->hurry = hurry;
    store_log(c->s, hurry ? CW_LOG_NOTICE : CW_LOG_INFO, "scrub pass %llu begins%s",
              (unsigned long long)c->pass.number, hurry ? ", asked for" : "");
}

static void
pass_end(struct scrub *c)
{
    c->pass.took_ns = scrub_elapsed_ns(c);
    c->last = c->pass;
    c->ended_ns = cw_now_ns(c->s->env);
    c->phase = CW_SCRUB_REST;
    c->hurry = false;
    store_log(c->s, c->pass.found > 0 ? CW_LOG_WARNING : CW_LOG_INFO,
              "scrub pass %llu is over: %llu MiB read, %llu bad blocks found, %llu repaired",
              (unsigned long long)c->pass.number, (unsigned long long)(c->pass.bytes / CW_MIB),
              (unsigned long long)c->pass.found, (unsigned long long)c->pass.repaired);
    ckpt_want(c->s);
}

/* When the next step should be done, in time of the pass. */
static uint64_t
pass_due_ns(const struct scrub *c)
{
    uint64_t done = c->pass.bytes / CW_BLOCK_SIZE;
    uint64_t total = cw_max_u64(scrub_live_blocks(c->s), cw_max_u64(done, 1));

    if (c->phase == CW_SCRUB_REST)
        return c->interval_ns;
    /* in milliseconds it fits for 100 TiB and a week */
    return c->interval_ns / CW_NS_PER_MS * done / total * CW_NS_PER_MS;
}

void
scrub_repaired(struct cw_store *s, uint64_t n)
{
    s->scrub->pass.repaired += n;
}

/* ---- healing what is in memory too ---- */

static void
scrub_healed(struct scrub *c, const char *what)
{
    bad_meta(c->s, what);
    c->pass.found++;
    c->pass.repaired++;
}

/* So many checkpoints more, soon. */
static void
scrub_want_ckpts(struct scrub *c, uint32_t n)
{
    c->healed_by = cw_max_u64(c->healed_by, c->s->stats.checkpoints + n);
    ckpt_want(c->s);
}

/* ---- SB ---- */

static void sb_on_healed(struct cw_store *s, void *arg, int res);

static void
sb_change_nothing(struct cw_store *s, struct cw_sb *sb, void *arg)
{
}

static void
sb_heal(struct scrub *c)
{
    c->sb.change = sb_change_nothing;
    c->sb.done = sb_on_healed;
    c->sb.arg = c;
    sb_write(c->s, &c->sb);
}

static void
sb_on_healed(struct cw_store *s, void *arg, int res)
{
    struct scrub *c = arg;

    if (res == 0 && --c->n_sb > 0 && s->state == STORE_OPEN) {
        sb_heal(c);
        return;
    }
    scrub_step_over(c);
}

/* What slot `slot` should hold when seq is the newest: the highest that falls to it. */
static bool
sb_expected(uint64_t seq, uint32_t slot, uint64_t *ret)
{
    if (seq < slot)
        return false; /* not written yet */
    *ret = seq - (seq - slot) % CW_SB_SLOTS;
    return true;
}

static void
sb_on_read(struct store_io *io, int res)
{
    struct scrub *c = cw_container_of(io, struct scrub, io);
    struct cw_store *s = c->s;
    const struct cw_sb *sb = (const void *)c->buf->data;
    uint64_t seq = 0;
    char what[32];

    if (s->sb.sb_seq == c->sb_seq && !s->sb_busy && s->state == STORE_OPEN) {
        c->slot++;
        sb_expected(c->sb_seq, c->slot - 1, &seq);
        if (res != 0 || !sb_valid(sb) || sb->format_id != s->sb.format_id || sb->sb_seq != seq) {
            snprintf(what, sizeof(what), "superblock slot %u", c->slot - 1);
            scrub_healed(c, what);
            /* slots are written in turn: as many as it takes to come to this one */
            c->n_sb = (uint32_t)((c->slot - 1 - (c->sb_seq + 1)) % CW_SB_SLOTS) + 1;
            sb_heal(c);
            return;
        }
    }
    scrub_step_over(c);
}

static bool
scrub_buffer(struct scrub *c, size_t len)
{
    struct cw_buf_pool *p = c->s->pool;

    /* others need it more */
    if (cw_buf_pool_used(p) + len > cw_buf_pool_limit(p) / 4 * 3)
        return false;
    c->buf = cw_buf_get(p, len);
    return c->buf != NULL;
}

static enum step
step_sb(struct scrub *c)
{
    struct cw_store *s = c->s;
    uint64_t seq;

    while (c->slot < CW_SB_SLOTS && !sb_expected(s->sb.sb_seq, c->slot, &seq))
        c->slot++;
    if (c->slot == CW_SB_SLOTS) {
        c->phase = CW_SCRUB_CKPT;
        return STEP_NEXT;
    }
    if (s->sb_busy || !scrub_buffer(c, CW_BLOCK_SIZE))
        return STEP_LATER;
    c->sb_seq = s->sb.sb_seq;
    c->io.done = sb_on_read;
    store_io_start(s, &c->io, CW_DISK_READ, sb_off(s->disk, c->slot), c->buf->data, CW_BLOCK_SIZE);
    return STEP_BUSY;
}

/* ---- pages of the map and of tables ---- */

static void
refs_pin(struct scrub *c, int32_t by)
{
    for (uint32_t i = 0; i < c->n_refs; i++)
        c->s->segs[cw_loc_seg(c->refs[i].loc)].read_pins += (uint32_t)by;
}

static bool
ref_is_good(const struct scrub *c, uint32_t i)
{
    return !cw_bit_get(c->bad, i) &&
           cw_hash_block(c->buf->data + (size_t)i * CW_BLOCK_SIZE) == c->refs[i].csum;
}

static enum step
refs_fetch(struct scrub *c, void (*done)(struct store_fetch *))
{
    if (!scrub_buffer(c, (size_t)c->n_refs * CW_BLOCK_SIZE))
        return STEP_LATER;
    for (uint32_t i = 0; i < c->n_refs; i++)
        c->runs[i] = (struct store_run){ .off = loc_off(c->s, c->refs[i].loc),
                                         .to = c->buf->data + (size_t)i * CW_BLOCK_SIZE,
                                         .n_blocks = 1,
                                         .first = i };
    c->bad[0] = 0;
    c->fetch.runs = c->runs;
    c->fetch.n_runs = c->n_refs;
    c->fetch.bad = c->bad;
    c->fetch.done = done;
    refs_pin(c, 1);
    store_fetch_start(c->s, &c->fetch);
    return STEP_BUSY;
}

/* ---- CKPT ---- */

static void
ckpt_next(struct scrub *c)
{
    free(c->root);
    c->root = NULL;
    cw_buf_unref(c->tabs);
    c->tabs = NULL;
    c->part = c->n_tabs = c->tab = 0;
    c->which++;
}

/* A newer one was written meanwhile: what is read here is not needed any more, or is looked at as
 * the older one. */
static bool
ckpt_moved(const struct scrub *c)
{
    return c->s->sb.ckpt[c->which].number != c->number;
}

static void
ckpt_bad(struct scrub *c, const char *part)
{
    char what[64];

    snprintf(what, sizeof(what), "%s of checkpoint %llu", part, (unsigned long long)c->number);
    scrub_healed(c, what);
    scrub_want_ckpts(c, 2 - c->which); /* until no superblock names it */
}

/* A table of the newest state must be written with them. */
static void
table_bad(struct scrub *c, const struct scrub_ref *r)
{
    struct layer *l = layer_find(c->s, r->layer);
    struct tab *t = l != NULL && r->index < CW_SHARD_TABS ? l->tabs[r->index] : NULL;

    if (t != NULL && t->loc == r->loc)
        tab_dirty(c->s, t);
    ckpt_bad(c, "table page");
}

static void
tables_on_fetched(struct store_fetch *f)
{
    struct scrub *c = cw_container_of(f, struct scrub, fetch);

    refs_pin(c, -1);
    for (uint32_t i = 0; i < c->n_refs && !ckpt_moved(c); i++) {
        if (!ref_is_good(c, i))
            table_bad(c, &c->refs[i]);
    }
    scrub_step_over(c);
}

static enum step
step_tables(struct scrub *c)
{
    const struct cw_tabdir_entry *dir = (const void *)c->tabs->data;
    uint32_t n = c->n_tabs - c->tab < REFS ? c->n_tabs - c->tab : REFS;
    enum step step;

    c->n_refs = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct cw_tabdir_entry *e = &dir[c->tab + i];

        if (loc_valid(c->s, e->loc, 1))
            c->refs[c->n_refs++] = (struct scrub_ref){
                .layer = e->layer, .index = e->index, .loc = e->loc, .csum = e->csum
            };
    }
    step = c->n_refs > 0 ? refs_fetch(c, tables_on_fetched) : STEP_NEXT;
    if (step != STEP_LATER)
        c->tab += n;
    return step;
}

static void
part_on_read(struct store_io *io, int res)
{
    struct scrub *c = cw_container_of(io, struct scrub, io);
    const struct cw_root_part *p = &c->root->parts[c->part];

    c->s->segs[cw_loc_seg(p->loc)].read_pins--;
    if (!ckpt_moved(c) && (res != 0 || cw_hash(c->buf->data, p->bytes) != p->csum)) {
        ckpt_bad(c, "part");
    } else if (p->kind == CW_PART_TABS) {
        cw_buf_unref(c->tabs);
        c->tabs = c->buf;
        c->buf = NULL;
        c->n_tabs = p->bytes / (uint32_t)sizeof(struct cw_tabdir_entry);
        c->tab = 0;
    }
    c->part++;
    scrub_step_over(c);
}

static enum step
step_part(struct scrub *c)
{
    const struct cw_root_part *p = &c->root->parts[c->part];
    uint32_t n = (uint32_t)cw_div_up(p->bytes, CW_BLOCK_SIZE);

    if (cw_inspect_part(&c->s->sb, p) != NULL) {
        c->part++;
        return STEP_NEXT;
    }
    if (!scrub_buffer(c, (size_t)n * CW_BLOCK_SIZE))
        return STEP_LATER;
    c->s->segs[cw_loc_seg(p->loc)].read_pins++;
    c->io.done = part_on_read;
    store_io_start(c->s, &c->io, CW_DISK_READ, loc_off(c->s, p->loc), c->buf->data,
                   (uint64_t)n * CW_BLOCK_SIZE);
    return STEP_BUSY;
}

static void
root_on_read(struct store_io *io, int res)
{
    struct scrub *c = cw_container_of(io, struct scrub, io);
    const struct cw_sb_ckpt *k = &c->s->sb.ckpt[c->which];
    const struct cw_root *root = (const void *)c->buf->data;

    c->s->segs[c->root_seg].read_pins--;
    if (ckpt_moved(c)) {
        ckpt_next(c);
    } else if (res != 0 || cw_inspect_root(&c->s->sb, k, c->buf->data) != NULL) {
        ckpt_bad(c, "root");
        ckpt_next(c);
    } else {
        c->root = store_alloc(k->len);
        memcpy(c->root, root, k->len);
    }
    scrub_step_over(c);
}

static enum step
step_root(struct scrub *c)
{
    const struct cw_sb_ckpt *k = &c->s->sb.ckpt[c->which];

    c->number = k->number;
    if (k->len < sizeof(*c->root) || k->len > CW_BATCH_PAYLOAD_MAX ||
        !loc_valid(c->s, k->loc, k->len / CW_BLOCK_SIZE)) {
        ckpt_bad(c, "place"); /* recovery did without it */
        ckpt_next(c);
        return STEP_NEXT;
    }
    if (!scrub_buffer(c, k->len))
        return STEP_LATER;
    c->root_seg = cw_loc_seg(k->loc);
    c->s->segs[c->root_seg].read_pins++;
    c->io.done = root_on_read;
    store_io_start(c->s, &c->io, CW_DISK_READ, loc_off(c->s, k->loc), c->buf->data, k->len);
    return STEP_BUSY;
}

static enum step
step_ckpt(struct scrub *c)
{
    if (c->which == CW_LEN(c->s->sb.ckpt)) {
        c->phase = CW_SCRUB_PAGES;
        c->at = (struct scrub_at){ 0 };
        return STEP_NEXT;
    }
    if (c->root == NULL && c->s->sb.ckpt[c->which].len != 0)
        return step_root(c);
    if (c->root != NULL && !ckpt_moved(c)) {
        if (c->tab < c->n_tabs)
            return step_tables(c);
        if (c->part < c->root->n_parts)
            return step_part(c);
    }
    ckpt_next(c);
    return STEP_NEXT;
}

/* ---- walking the copies ---- */

/* Of a copy's layers that are not deleted, the one whose snapshot has the lowest name from `snap`
 * on; the head, 0, comes first. */
static struct layer *
walk_snap(const struct cw_store_shard *sh, uint64_t snap)
{
    struct layer *best = NULL;

    for (struct layer *l = NULL; (l = layer_next(sh->s, sh->layer, l)) != NULL;) {
        if (l->sh == sh && !l->gone && l->snap >= snap && (best == NULL || l->snap < best->snap))
            best = l;
    }
    return best;
}

/* The layer at the cursor or behind it; the cursor moves there. NULL: none is left. */
static struct layer *
walk_layer(struct scrub *c)
{
    struct cw_store_shard *sh = NULL;

    while ((sh = cw_store_shard_next(c->s, sh)) != NULL) {
        struct layer *l;

        if (sh->id < c->at.shard)
            continue;
        if (sh->id > c->at.shard)
            c->at = (struct scrub_at){ .shard = sh->id };
        l = walk_snap(sh, c->at.snap);
        if (l != NULL && l->snap == c->at.snap && c->at.chunk >= CW_SHARD_CHUNKS)
            l = walk_snap(sh, c->at.snap + 1);
        if (l == NULL)
            continue;
        if (l->snap != c->at.snap) {
            c->at.snap = l->snap;
            c->at.chunk = 0;
        }
        return l;
    }
    return NULL;
}

/* Is the chunk read as part of this layer? Its own is, and what it shows of one that was deleted.
 */
static bool
walk_is_due(struct layer *l, uint32_t chunk)
{
    struct layer *owner = l;
    const struct cw_chunk_entry *e = chunk_see(&owner, chunk);

    return e != NULL && (owner == l || owner->gone) && map_has_page(owner, chunk);
}

/* The first such chunk from `chunk` on. */
static uint32_t
walk_chunk(struct layer *l, uint32_t chunk)
{
    while (chunk < CW_SHARD_CHUNKS && !walk_is_due(l, chunk)) {
        bool skip = tab_of(l, chunk) == NULL && (l->parent == NULL || !l->parent->gone);

        chunk += skip ? CW_TAB_CHUNKS - chunk % CW_TAB_CHUNKS : 1;
    }
    return (uint32_t)cw_min_u64(chunk, CW_SHARD_CHUNKS);
}

/* ---- PAGES ---- */

static void
page_bad(struct scrub *c, const struct scrub_ref *r)
{
    struct layer *l = layer_find(c->s, r->layer);
    const struct cw_chunk_entry *e = l != NULL ? chunk_find(l, r->index) : NULL;
    struct page *p;
    char what[64];

    if (e == NULL || e->page_loc != r->loc || l->gone)
        return; /* it lies elsewhere by now */
    p = map_page_resident(l, r->index);
    if (p == NULL) {
        map_page_get(l, r->index, NULL); /* finds it lost, or that a second look helps */
        return;
    }
    map_page_dirty(c->s, p);
    snprintf(what, sizeof(what), "map page of shard %llx chunk %u", (unsigned long long)l->sh->id,
             r->index);
    scrub_healed(c, what);
    scrub_want_ckpts(c, 1);
}

static void
pages_on_fetched(struct store_fetch *f)
{
    struct scrub *c = cw_container_of(f, struct scrub, fetch);

    refs_pin(c, -1);
    for (uint32_t i = 0; i < c->n_refs && c->s->state == STORE_OPEN; i++) {
        if (!ref_is_good(c, i))
            page_bad(c, &c->refs[i]);
    }
    c->at.chunk = c->next_chunk;
    scrub_step_over(c);
}

/* Pages on the media of the chunks from `chunk` on; returns the first not looked at. */
static uint32_t
pages_gather(struct scrub *c, struct layer *l, uint32_t chunk)
{
    c->n_refs = 0;
    while (chunk < CW_SHARD_CHUNKS && c->n_refs < REFS) {
        const struct cw_chunk_entry *e = chunk_find(l, chunk);

        if (e == NULL) {
            chunk += CW_TAB_CHUNKS - chunk % CW_TAB_CHUNKS;
            continue;
        }
        if (e->page_loc != 0)
            c->refs[c->n_refs++] = (struct scrub_ref){
                .layer = l->id, .index = chunk, .loc = e->page_loc, .csum = e->page_csum
            };
        chunk++;
    }
    return (uint32_t)cw_min_u64(chunk, CW_SHARD_CHUNKS);
}

static enum step
step_pages(struct scrub *c)
{
    struct layer *l = walk_layer(c);

    if (l == NULL) {
        c->phase = CW_SCRUB_BLOCKS;
        c->at = (struct scrub_at){ 0 };
        return STEP_NEXT;
    }
    c->next_chunk = pages_gather(c, l, c->at.chunk);
    if (c->n_refs > 0)
        return refs_fetch(c, pages_on_fetched);
    c->at.chunk = c->next_chunk;
    return STEP_NEXT;
}

/* ---- BLOCKS ---- */

static uint32_t
read_count(const struct cw_store_read *r)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < r->nblk; i++)
        n += r->csums[i] != CW_HASH_ZERO_BLOCK;
    return n;
}

static void
blocks_cool(const struct cw_store_read *r)
{
    struct layer *l = layer_of_snap(r->shard, r->snap);
    uint32_t chunk = (uint32_t)(r->lba / CW_CHUNK_BLOCKS);

    if (l == NULL)
        return;
    chunk_see(&l, chunk);
    map_page_cool(l, chunk);
}

/* The read told whoever it was of; a chunk that several layers share is read once only. */
static void
blocks_tell_heads(const struct cw_store_read *r)
{
    struct layer *l = layer_of_snap(r->shard, r->snap), *owner = l;

    if (l == NULL)
        return;
    chunk_see(&owner, (uint32_t)(r->lba / CW_CHUNK_BLOCKS));
    bad_heads(owner, l, r->lba, r->nblk, r->bad);
}

static void
blocks_on_read(struct cw_store_read *r)
{
    struct scrub *c = cw_container_of(r, struct scrub, read);
    uint32_t n_bad = 0;

    if (r->res == 0) {
        c->pass.bytes += (uint64_t)read_count(r) * CW_BLOCK_SIZE;
        for (uint32_t i = 0; i < CW_LEN(r->bad); i++)
            n_bad += cw_popcount(r->bad[i]);
        c->pass.found += n_bad;
        if (n_bad > 0 && !r->shard->gone)
            blocks_tell_heads(r);
    }
    c->starved = r->res == -ENOMEM;
    if (!c->starved)
        c->at.chunk++;
    cw_buf_unref(r->buf);
    r->buf = NULL;
    if (!c->was_resident && !r->shard->gone)
        blocks_cool(r);
    scrub_step_over(c);
}

static enum step
step_blocks(struct scrub *c)
{
    struct layer *l = walk_layer(c), *owner = l;

    if (l == NULL) {
        pass_end(c);
        return STEP_NEXT;
    }
    c->at.chunk = walk_chunk(l, c->at.chunk);
    if (c->at.chunk == CW_SHARD_CHUNKS)
        return STEP_NEXT;
    if (!scrub_buffer(c, CW_CHUNK_BLOCKS * CW_BLOCK_SIZE))
        return STEP_LATER;
    cw_buf_unref(c->buf); /* the read takes it */
    c->buf = NULL;
    chunk_see(&owner, c->at.chunk);
    c->was_resident = map_page_resident(owner, c->at.chunk) != NULL;
    c->read = (struct cw_store_read){ .shard = l->sh,
                                      .snap = l->snap,
                                      .lba = (uint64_t)c->at.chunk * CW_CHUNK_BLOCKS,
                                      .nblk = CW_CHUNK_BLOCKS,
                                      .flags = CW_STORE_READ_MEDIA,
                                      .done = blocks_on_read };
    cw_store_read(&c->read);
    return STEP_BUSY;
}

/* ---- when ---- */

static void
scrub_wait(struct scrub *c, uint64_t ns)
{
    cw_timer_set(c->s->env, &c->timer, cw_now_ns(c->s->env) + ns);
}

static enum step
step_begin(struct scrub *c)
{
    switch (c->phase) {
    case CW_SCRUB_SB:
        return step_sb(c);
    case CW_SCRUB_CKPT:
        return step_ckpt(c);
    case CW_SCRUB_PAGES:
        return step_pages(c);
    case CW_SCRUB_BLOCKS:
        return step_blocks(c);
    case CW_SCRUB_REST:
        break;
    }
    cw_unreachable();
}

static void scrub_plan(struct scrub *c);

static void
scrub_step(struct scrub *c)
{
    enum step step = STEP_NEXT;

    c->busy = true;
    while (step == STEP_NEXT && c->phase != CW_SCRUB_REST)
        step = step_begin(c);
    if (step == STEP_BUSY)
        return;
    c->busy = false;
    cw_buf_unref(c->buf);
    c->buf = NULL;
    if (step == STEP_LATER)
        scrub_wait(c, LOOK_NS);
    else
        scrub_plan(c);
}

static void
scrub_step_over(struct scrub *c)
{
    struct cw_store *s = c->s;

    cw_buf_unref(c->buf);
    c->buf = NULL;
    c->busy = false;
    c->stepped_ns = cw_now_ns(s->env);
    if (s->state != STORE_OPEN) {
        store_close_step(s);
        return;
    }
    s->ckpt.scrub_moved = true;
    store_kick(s); /* a dropped copy may have waited for us */
    if (c->again) {
        c->again = false;
        ckpt_next(c);
        pass_begin(c, true);
    }
    c->stepped_ops = store_ops(s);
    if (c->starved)
        scrub_wait(c, LOOK_NS);
    else
        scrub_plan(c);
    c->starved = false;
}

/* 0: now. */
static uint64_t
scrub_gives_way_ns(struct scrub *c)
{
    uint64_t now_ns = cw_now_ns(c->s->env), elapsed_ns = scrub_elapsed_ns(c);

    if (c->hurry)
        return store_ops(c->s) == c->stepped_ops || now_ns - c->stepped_ns >= HURRY_NS ? 0
                                                                                       : HURRY_NS;
    if (store_is_idle(c->s, &c->look))
        return 0;
    if (elapsed_ns > pass_due_ns(c) + c->interval_ns / LATE_SHARE &&
        now_ns - c->stepped_ns >= LATE_NS)
        return 0;
    return LOOK_NS;
}

static void
scrub_on_timer(struct cw_timer *t)
{
    struct scrub *c = cw_container_of(t, struct scrub, timer);
    uint64_t wait_ns;

    if (c->busy || c->s->state != STORE_OPEN || c->s->stats.failed)
        return;
    if (scrub_elapsed_ns(c) < pass_due_ns(c) && !c->hurry) {
        scrub_plan(c);
        return;
    }
    if (c->phase == CW_SCRUB_REST)
        pass_begin(c, false);
    wait_ns = scrub_gives_way_ns(c);
    if (wait_ns == 0)
        scrub_step(c);
    else
        scrub_wait(c, wait_ns);
}

static void
scrub_plan(struct scrub *c)
{
    uint64_t elapsed_ns = scrub_elapsed_ns(c), due_ns = pass_due_ns(c);

    scrub_wait(c, c->hurry || due_ns <= elapsed_ns ? 0 : due_ns - elapsed_ns);
}

/* ---- life ---- */

struct scrub *
scrub_new(struct cw_store *s, uint64_t interval_ns)
{
    struct scrub *c = store_alloc(sizeof(*c));

    c->s = s;
    c->interval_ns = interval_ns != 0 ? interval_ns : WEEK_NS;
    c->timer.fn = scrub_on_timer;
    c->phase = CW_SCRUB_REST;
    c->base_ns = c->interval_ns; /* the first one is due */
    return c;
}

void
scrub_free(struct cw_store *s)
{
    struct scrub *c = s->scrub;

    cw_timer_cancel(s->env, &c->timer);
    cw_buf_unref(c->buf);
    cw_buf_unref(c->tabs);
    free(c->root);
    free(c);
}

static void
scrub_open(struct scrub *c)
{
    c->open = true;
    c->since_ns = cw_now_ns(c->s->env);
    if (c->last.number != 0)
        c->ended_ns = c->since_ns - c->ended_ns; /* it was an age until now */
    scrub_wait(c, c->hurry ? 0 : SETTLE_NS);
}

void
scrub_kick(struct cw_store *s)
{
    struct scrub *c = s->scrub;

    if (!c->open)
        scrub_open(c);
    if (s->stats.checkpoints < c->healed_by)
        ckpt_want(s);
}

void
cw_store_scrub_start(struct cw_store *s)
{
    struct scrub *c = s->scrub;

    if (s->state != STORE_OPEN || s->stats.failed)
        return;
    if (!c->open)
        scrub_open(c);
    c->again = c->busy;
    if (!c->busy) {
        ckpt_next(c);
        pass_begin(c, true);
        scrub_plan(c);
    }
}

bool
scrub_holds(const struct cw_store *s, const struct cw_store_shard *sh)
{
    return s->scrub->busy && s->scrub->phase == CW_SCRUB_BLOCKS && s->scrub->read.shard == sh;
}

/* ---- what lasts ---- */

void
scrub_encode(const struct cw_store *s, struct cw_scrub_bytes *to)
{
    const struct scrub *c = s->scrub;

    *to = (struct cw_scrub_bytes){
        .pass = c->pass.number,
        .shard = c->at.shard,
        .snap = c->at.snap,
        .chunk = c->at.chunk,
        .phase = (uint8_t)c->phase,
        .flags = c->hurry || c->again ? CW_SCRUB_HURRY : 0,
        .elapsed_ns = scrub_elapsed_ns(c),
        .done_bytes = c->pass.bytes,
        .found = c->pass.found,
        .repaired = c->pass.repaired,
        .last_pass = c->last.number,
        .last_took_ns = c->last.took_ns,
        .last_ago_ns = c->open ? cw_now_ns(s->env) - c->ended_ns : c->ended_ns,
        .last_bytes = c->last.bytes,
        .last_found = c->last.found,
        .last_repaired = c->last.repaired,
    };
    bads_encode(s, to);
}

void
scrub_decode(struct cw_store *s, const uint8_t *bytes, size_t len)
{
    struct cw_scrub_bytes b;
    struct scrub *c = s->scrub;

    if (bytes == NULL || len != sizeof(b))
        return;
    memcpy(&b, bytes, sizeof(b));
    if (b.phase > CW_SCRUB_REST || b.n_recent >= CW_SCRUB_RECENT)
        return;
    c->pass = (struct scrub_pass){
        .number = b.pass, .bytes = b.done_bytes, .found = b.found, .repaired = b.repaired
    };
    c->last = (struct scrub_pass){ .number = b.last_pass,
                                   .took_ns = b.last_took_ns,
                                   .bytes = b.last_bytes,
                                   .found = b.last_found,
                                   .repaired = b.last_repaired };
    c->at = (struct scrub_at){ b.shard, b.snap, b.chunk };
    c->phase = (enum cw_scrub_phase)b.phase;
    c->hurry = b.flags & CW_SCRUB_HURRY && c->phase != CW_SCRUB_REST;
    c->base_ns = b.elapsed_ns;
    c->ended_ns = b.last_ago_ns;
    bads_decode(s, &b);
}

void
scrub_stats(const struct cw_store *s, struct cw_store_scrub_stats *ret)
{
    const struct scrub *c = s->scrub;
    uint64_t live = scrub_live_blocks(s) * CW_BLOCK_SIZE;

    *ret = (struct cw_store_scrub_stats){
        .pass = c->pass.number,
        .running = c->phase != CW_SCRUB_REST,
        .hurried = c->hurry,
        .done_bytes = c->pass.bytes,
        .total_bytes = cw_max_u64(live, c->pass.bytes),
        .elapsed_ns = scrub_elapsed_ns(c),
        .found = c->pass.found,
        .repaired = c->pass.repaired,
        .last_pass = c->last.number,
        .last_took_ns = c->last.took_ns,
        .last_bytes = c->last.bytes,
        .last_found = c->last.found,
        .last_repaired = c->last.repaired,
    };
    if (c->last.number != 0)
        ret->last_ago_ns = c->open ? cw_now_ns(s->env) - c->ended_ns : c->ended_ns;
    bads_stats(s, ret);
}
