/* store/block.h - blocks: packed, read, bad, read again by the scrub.
 * The store's own: its files include store-internal.h.
 */
#pragma once

#include "common/codec/compress.h"
#include "daemon/store/format.h"
#include "daemon/store/io.h"

struct layer;

/* ---- compression (comp.c) ---- */

struct comp_pack {
    uint8_t *to; /* room for all blocks plain */
    uint32_t n_runs, n_blocks, sectors;
    struct cw_rec_run runs[CW_IO_BLOCKS_MAX];
};
/* n neighbours from lba on, behind what is there already. */
void comp_pack_blocks(struct cw_store *s, struct comp_pack *p, uint64_t lba, const uint8_t *data,
                      uint32_t n);
/* Blocks of payload, padded; 0: not worth it. */
uint32_t comp_pack_blocks_out(const struct comp_pack *p);
/* The same, padded and counted. */
uint32_t comp_pack_end(struct cw_store *s, struct comp_pack *p);

/* A place that is read as a whole into a buffer of blocks, rounded outward. */
#define EXTENT_BLOCKS_MAX 17u

struct extent {
    uint32_t first, n;        /* the reader's: which of its blocks lie in it */
    uint32_t piece, n_pieces; /* its blocks in the buffer .. */
    uint32_t skip;            /* .. and where in the first it begins */
};
struct extent extent_make(const struct cw_store *s, uint64_t loc, uint32_t first, uint32_t piece);
struct store_run extent_run(const struct cw_store *s, const struct extent *e, uint64_t loc,
                            uint8_t *buf);
/* The plain blocks of the place, cw_loc_n of them, in buf or in a scratch buffer that holds until
 * the next call. NULL: unread, or not what was packed. */
const uint8_t *extent_plain(struct cw_store *s, const struct extent *e, uint64_t loc,
                            const uint8_t *buf, const uint64_t *unread);
uint64_t comp_bytes(const struct cw_store *s); /* that it takes */
void comp_free(struct cw_store *s);

/* ---- reads (read.c) ---- */

void read_retry_waiting(struct cw_store *s);
void read_deliver(struct cw_store *s);
void read_fail_held(struct cw_store *s);
void read_free_all(struct cw_store *s);

/* ---- bad blocks (bad.c) ---- */

struct bads;
struct bads *bads_new(void);
/* Blocks that did not verify. locs: per block where it was read from just now, 0 where it was known
 * before; NULL: none was read. A place of the media counts once, however many blocks lay in it. */
void bad_found(struct cw_store_shard *sh, uint64_t snap, uint64_t lba, uint32_t nblk,
               const uint64_t bad[4], const uint64_t *locs);
/* .. in the layer's own page of a chunk: told of the layer, and of each head that shows it. */
void bad_layer(struct layer *l, uint64_t lba, uint32_t nblk, const uint64_t bad[4],
               const uint64_t *locs);
/* The latter alone, except `but`. */
void bad_heads(struct layer *owner, const struct layer *but, uint64_t lba, uint32_t nblk,
               const uint64_t bad[4]);
/* The map page of a chunk is lost. */
void bad_page(struct layer *l, uint32_t chunk);
/* One of the store's own records, which is written anew. */
void bad_meta(struct cw_store *s, const char *what);
/* These blocks are fine, as far as `not` does not name them. */
void bad_forget(struct cw_store_shard *sh, uint64_t snap, uint64_t lba, uint32_t nblk,
                const uint64_t not [4]);
void bads_deliver(struct cw_store *s);
void bads_stats(const struct cw_store *s, struct cw_store_scrub_stats *ret);
void bads_encode(const struct cw_store *s, struct cw_scrub_bytes *to);
void bads_decode(struct cw_store *s, const struct cw_scrub_bytes *from);

/* ---- scrub (scrub.c) ---- */

struct scrub;
struct scrub *scrub_new(struct cw_store *s, uint64_t interval_ns);
void scrub_free(struct cw_store *s);
void scrub_kick(struct cw_store *s);
/* A block was rewritten by a repair, a record of the store's own by itself. */
void scrub_repaired(struct cw_store *s, uint64_t n);
/* It reads this very copy: its memory must stay. */
bool scrub_holds(const struct cw_store *s, const struct cw_store_shard *sh);
void scrub_encode(const struct cw_store *s, struct cw_scrub_bytes *to);
/* bytes NULL, or not of this format: it begins anew. */
void scrub_decode(struct cw_store *s, const uint8_t *bytes, size_t len);
void scrub_stats(const struct cw_store *s, struct cw_store_scrub_stats *ret);
