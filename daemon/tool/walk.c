#include "daemon/tool/walk.h"

#include <stdlib.h>

#include "common/base/bits.h"
#include "common/codec/hash.h"

#define AT_ONCE 256u

struct lot {
    struct cw_walk_page p[AT_ONCE];
    struct cw_stand_read r[AT_ONCE];
    uint32_t n;
    uint8_t *mem;
};

static const char *
page_why(const struct cw_sb *sb, struct cw_walk_page *p, const struct cw_map_page *page, int res)
{
    if (res != 0)
        return "it cannot be read";
    if (cw_hash_block(page) != p->e->page_csum)
        return "it does not match the checksum in its chunk's entry";
    return cw_inspect_map_page(sb, page, &p->nmapped);
}

static void
lot_end(struct cw_walk *w, struct lot *lot)
{
    (void)cw_stand_read(w->st, w->side, lot->r, lot->n);
    for (uint32_t i = 0; i < lot->n; i++) {
        struct cw_walk_page *p = &lot->p[i];

        p->why = page_why(w->c->sb, p, lot->r[i].to, lot->r[i].res);
        p->page = p->why == NULL ? lot->r[i].to : NULL;
        w->n_pages++;
        w->n_lost += p->page == NULL;
        w->page(w->user, p);
    }
    lot->n = 0;
}

static void
lot_add(struct cw_walk *w, struct lot *lot, struct cw_walk_page p)
{
    lot->r[lot->n] = (struct cw_stand_read){
        .off = cw_inspect_seg_off(w->c->sb, cw_loc_seg(p.e->page_loc)) + cw_loc_off(p.e->page_loc),
        .len = CW_BLOCK_SIZE,
        .to = lot->mem + (size_t)lot->n * CW_BLOCK_SIZE,
    };
    lot->p[lot->n++] = p;
    if (lot->n == AT_ONCE)
        lot_end(w, lot);
}

void
cw_walk(struct cw_walk *w)
{
    struct lot *lot = cw_tool_alloc(sizeof(*lot));

    lot->mem = cw_tool_alloc_aligned((size_t)AT_ONCE * CW_BLOCK_SIZE);
    w->n_pages = w->n_lost = 0;
    for (uint32_t i = 0; i < w->c->n_tabs; i++) {
        const struct cw_ckpt_tab *t = &w->c->tabs[i];

        if (t->page == NULL)
            w->n_lost++;
        for (uint32_t k = 0; t->page != NULL && k < CW_TAB_CHUNKS; k++) {
            const struct cw_chunk_entry *e = &t->page->e[k];

            if (e->page_loc != 0)
                lot_add(w, lot,
                        (struct cw_walk_page){
                            .layer = t->layer, .chunk = t->dir.index * CW_TAB_CHUNKS + k, .e = e });
        }
        if (w->progress != NULL)
            cw_tool_progress(w->st->t, w->progress, i + 1, w->c->n_tabs);
    }
    lot_end(w, lot);
    free(lot->mem);
    free(lot);
}
