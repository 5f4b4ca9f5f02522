/* tool/walk.h - every map page of every layer of a checkpoint, read and judged. */
#pragma once

#include "daemon/tool/ckpt.h"

struct cw_walk_page {
    uint32_t layer, chunk; /* layer: index in the checkpoint */
    const struct cw_chunk_entry *e;
    const struct cw_map_page *page; /* NULL: why not */
    const char *why;
    uint32_t nmapped; /* of a page that is right */
};

struct cw_walk {
    struct cw_stand *st;
    enum cw_stand_side side;
    const struct cw_ckpt *c;
    const char *progress; /* NULL: none is shown */
    void (*page)(void *user, const struct cw_walk_page *);
    void *user;
    uint64_t n_pages, n_lost; /* answer */
};

void cw_walk(struct cw_walk *w);
