/* store/scrub-own.c - the scrub of the store's own records: superblocks, and both checkpoints with
 * their tables. All of them are in memory too, and healed by writing them anew.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/codec/hash.h"
#include "daemon/store/inspect.h"
#include "daemon/store/scrub.h"

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

enum step
scrub_step_sb(struct scrub *c)
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
    store_io_start(s, &c->io, CW_DISK_READ, cw_inspect_sb_off(s->sb.dev_bytes, c->slot),
                   c->buf->data, CW_BLOCK_SIZE);
    return STEP_BUSY;
}

/* ---- CKPT ---- */

void
scrub_ckpt_leave(struct scrub *c)
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

    scrub_refs_pin(c, -1);
    for (uint32_t i = 0; i < c->n_refs && !ckpt_moved(c); i++) {
        if (!scrub_ref_is_good(c, i))
            table_bad(c, &c->refs[i]);
    }
    scrub_step_over(c);
}

static enum step
step_tables(struct scrub *c)
{
    const struct cw_tabdir_entry *dir = (const void *)c->tabs->data;
    uint32_t n = c->n_tabs - c->tab < SCRUB_REFS ? c->n_tabs - c->tab : SCRUB_REFS;
    enum step step;

    c->n_refs = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct cw_tabdir_entry *e = &dir[c->tab + i];

        if (loc_valid(c->s, e->loc, 1))
            c->refs[c->n_refs++] = (struct scrub_ref){
                .layer = e->layer, .index = e->index, .loc = e->loc, .csum = e->csum
            };
    }
    step = c->n_refs > 0 ? scrub_refs_fetch(c, tables_on_fetched) : STEP_NEXT;
    if (step != STEP_LATER)
        c->tab += n;
    return step;
}

static void
part_on_read(struct store_io *io, int res)
{
    struct scrub *c = cw_container_of(io, struct scrub, io);
    const struct cw_root_part *p = &c->root->parts[c->part];

    segment_unpin(c->s, cw_loc_seg(p->loc));
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
    c->s->segs[cw_loc_seg(p->loc)].io_pins++;
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

    segment_unpin(c->s, c->root_seg);
    if (ckpt_moved(c)) {
        scrub_ckpt_leave(c);
    } else if (res != 0 || cw_inspect_root(&c->s->sb, k, c->buf->data) != NULL) {
        ckpt_bad(c, "root");
        scrub_ckpt_leave(c);
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
        scrub_ckpt_leave(c);
        return STEP_NEXT;
    }
    if (!scrub_buffer(c, k->len))
        return STEP_LATER;
    c->root_seg = cw_loc_seg(k->loc);
    c->s->segs[c->root_seg].io_pins++;
    c->io.done = root_on_read;
    store_io_start(c->s, &c->io, CW_DISK_READ, loc_off(c->s, k->loc), c->buf->data, k->len);
    return STEP_BUSY;
}

enum step
scrub_step_ckpt(struct scrub *c)
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
    scrub_ckpt_leave(c);
    return STEP_NEXT;
}
