/* tool/ckpt.h - a checkpoint decoded into memory, every part of it judged on the way. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/store/inspect.h"
#include "daemon/tool/report.h"
#include "daemon/tool/stand.h"

struct cw_ckpt_tab {
    struct cw_tabdir_entry dir;
    uint32_t layer;                 /* index in layers */
    const struct cw_tab_page *page; /* NULL: it is damaged */
};

struct cw_ckpt {
    const struct cw_sb *sb; /* borrowed, as at[] */
    struct cw_sb_ckpt at;
    bool empty; /* that of a fresh format */
    bool whole; /* root, parts and all tables are right */

    struct cw_root *root;
    const struct cw_segtab_entry *segs; /* sb->seg_count */
    struct cw_inspect_shard *shards;
    uint32_t n_shards;
    struct cw_layer_bytes *layers;
    uint32_t n_layers;
    bool counted;  /* layers have counts; not so in version 1 */
    uint32_t unit; /* sectors that 1 of `live` in segs means */
    struct cw_ckpt_tab *tabs;
    uint32_t n_tabs;
    struct cw_scrub_bytes scrub;
    bool has_scrub;

    uint8_t *content[CW_PART_KINDS]; /* what the pointers point to */
    size_t content_len[CW_PART_KINDS];
    uint8_t *tab_pages;
};

/* Checkpoint `which` (0: newest) of the superblock in force on that side. False: it is not usable
 * at all; then, too, it is to be freed. What is wrong is told to rep, if there is one. */
bool cw_ckpt_load(struct cw_stand *st, enum cw_stand_side side, uint32_t which,
                  struct cw_report *rep, struct cw_ckpt *ret);
void cw_ckpt_free(struct cw_ckpt *c); /* zeroed is fine */

/* Of the copy that a layer belongs to; NULL: none. */
const struct cw_inspect_shard *cw_ckpt_shard_of(const struct cw_ckpt *c,
                                                const struct cw_layer_bytes *l);
/* Its index; UINT32_MAX: there is none. */
uint32_t cw_ckpt_layer(const struct cw_ckpt *c, uint64_t id);
/* Shard id of a layer, for reports. */
uint64_t cw_ckpt_shard_id(const struct cw_ckpt *c, uint32_t layer);
