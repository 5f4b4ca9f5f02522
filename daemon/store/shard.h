/* store/shard.h - copies, and how the log becomes what they hold.
 * The store's own: its files include store-internal.h.
 */
#pragma once

#include "daemon/store/log.h"
#include "daemon/store/map.h"

/* ---- shards (shard.c) ---- */

struct tail_entry {
    struct cw_store_tail_entry e;
    uint64_t batch_seq;
    uint32_t seg, off;
    uint16_t rec;
};

struct tail {
    struct tail_entry *ring;
    uint32_t cap, head, n;
};

struct cw_store_shard {
    struct cw_store_shard_info info;
    struct cw_store *s;
    uint64_t id, layer; /* layer: what its records name, the id of its first */
    struct layer *head;
    uint32_t n_layers;
    struct cw_list link; /* s->shards ascending, or s->zombies */
    struct cw_list id_link, layer_link;
    struct cw_list touched;
    struct cw_store_hist *hist;
    uint32_t hist_cap;
    struct tail tail;
    bool gone;         /* dropped by the caller */
    bool gone_applied; /* .. and durably so */
};

struct cw_store_shard *shard_by_layer(const struct cw_store *s, uint64_t layer);
struct cw_store_shard *shard_make(struct cw_store *s, const struct cw_shard_rec *rec,
                                  uint64_t layer);
void shard_make_gone(struct cw_store_shard *sh);
/* Durably: its layers are to be given back. */
void shard_gone_applied(struct cw_store_shard *sh);
void shard_free(struct cw_store_shard *sh);
void shard_hist_set(struct cw_store_shard *sh, const struct cw_wire_hist *h, uint32_t n);
void shard_hist_push(struct cw_store_shard *sh, uint32_t gen, uint64_t start_seq);
/* Encodes for the checkpoint; to NULL: only counts. */
size_t shard_encode(const struct cw_store_shard *sh, uint8_t *to);
bool shard_decode(struct cw_store *s, const uint8_t *from, size_t len, size_t *ret_used);

/* tail.c */
void tail_push(struct cw_store_shard *sh, struct tail_entry e);
void tail_trim(struct cw_store_shard *sh, uint64_t stable);
void tail_clear(struct cw_store_shard *sh);
const struct tail_entry *tail_find(const struct cw_store_shard *sh, uint64_t seq);
uint8_t tail_type(const struct rec_view *v); /* of a record of the stream: CW_FT_* */

/* ---- applying (apply.c) ---- */

/* Who owns the blocks of a GC_MOVE or a REPAIR. An owner's map page may have been lost: then the
 * first that shares a place becomes its owner, if all the others inherit from it; else the place is
 * kept, and a repair mends only what the head shows. */
struct move {
    bool known;
    struct layer *shown;            /* REPAIR: whose chunk the head shows */
    uint64_t was[CW_IO_BLOCKS_MAX]; /* their places; 0: not to be changed */
    uint64_t owned[CW_IO_BLOCKS_MAX / 64], kept[CW_IO_BLOCKS_MAX / 64];
    struct layer *heir[CW_IO_BLOCKS_MAX];
};

struct apply {
    struct page_waiter w;
    struct cw_store *s;
    struct batch *batch; /* NULL in replay */
    const uint8_t *hdr, *at, *end;
    struct cw_batch_hdr h;
    uint32_t seg, off;
    uint32_t rec;
    uint32_t chunk;      /* of a ZERO, TRIM or REPAIR: how many are done */
    uint32_t n_repaired; /* blocks that the head shows */
    struct layer *layer; /* of a GC_MOVE or REPAIR: the last that is done */
    struct move move;
    struct page *pinned[2];
    bool active, waiting;
    /* a record that is half applied */
    struct cw_store_shard *mid;
    uint64_t mid_lba;
    uint32_t mid_nblk;
    void (*resume)(struct cw_store *);
};
void apply_begin(struct cw_store *s, struct batch *b, const uint8_t *hdr, uint32_t used,
                 uint32_t seg, uint32_t off);
/* True: all applied. False: resume is called when it can go on. */
bool apply_run(struct cw_store *s);
