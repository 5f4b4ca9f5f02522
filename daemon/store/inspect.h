/* store/inspect.h - the bytes of a store judged one by one, by what docs/format.md says of them.
 *
 * No I/O, no state: the store itself goes by it when it reads them, and so do tools. The bytes are
 * anybody's, so every bound is checked, and every number that later arithmetic relies on. A `why`
 * is static text that names the first thing that is wrong; NULL: nothing is.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/codec/compress.h"
#include "common/codec/shardrec.h"
#include "daemon/store/format.h"

/* Sectors of 512 bytes reach the medium whole, whatever a crash does. Bytes that differ from what
 * they must be by so few bits were written, and have rotted. */
#define CW_INSPECT_ROT_BITS 16u

/* ---- superblock ---- */

/* In a store of that size (dev_bytes), at least 16 KiB. */
uint64_t cw_inspect_sb_off(uint64_t bytes, uint32_t slot);

/* As it was written: recovery goes by the one with the highest sb_seq. */
const char *cw_inspect_sb_whole(const struct cw_sb *sb);

/* Of a whole one: can this program open its store on a disk of that size? If not, *ret_outcome is
 * the enum cw_store_outcome. */
const char *cw_inspect_sb_opens(const struct cw_sb *sb, uint64_t disk_bytes, int *ret_outcome);

/* Both. */
const char *cw_inspect_sb(const struct cw_sb *sb, uint64_t disk_bytes);

/* ---- where superblocks are looked for ----
 *
 *   [0][1] .. segments .. [4][5] .. since the disk grew, unused .. [2][3]
 *          of the store's own size, dev_bytes         of the disk's size
 *
 * A disk may be larger than it was at its format. The slots at the end are then where the store
 * ends, which the ones in front tell; but older programs went on at the end of the disk. Other
 * places hold anybody's bytes, so only what is of the same format as a front slot counts behind it;
 * without a front slot, what says itself that the disk has that size.
 */
#define CW_SB_PLACES 6u

struct cw_inspect_places {
    uint64_t disk_bytes;
    struct cw_sb sb[CW_SB_PLACES];
    int res[CW_SB_PLACES]; /* of its read: 0 or a negative errno */
};

/* Asked in order, each place read before the next is asked for. False: nothing is to be read there;
 * its res is -ENOENT then. */
bool cw_inspect_place(const struct cw_inspect_places *p, uint32_t place, uint64_t *ret_off);

/* Which place is that of a slot. */
uint32_t cw_inspect_place_of(const struct cw_inspect_places *p, uint32_t slot);

/* The store: the highest sb_seq of those that count; NULL: there is none. */
const struct cw_sb *cw_inspect_places_best(const struct cw_inspect_places *p);

/* Does each of the four slots hold one that counts, the last four that were written? */
bool cw_inspect_places_whole(const struct cw_inspect_places *p);

/* 0: its store opens; else an enum cw_store_outcome, or -EIO when nothing can be read. */
int cw_inspect_places_outcome(const struct cw_inspect_places *p);

/* ---- a store whose superblocks are gone ----
 *
 * Its segments still begin with their headers. Of what size they were is not known, but of every
 * size some begin at these places, up to 256 MiB. False: the disk ends before it.
 */
#define CW_INSPECT_TRACES 16u
bool cw_inspect_trace(uint64_t disk_bytes, uint32_t i, uint64_t *ret_off);
bool cw_inspect_is_trace(const struct cw_seg_hdr *h); /* is it one, whole or not? */

/* ---- what lies in segments; sb passed cw_inspect_sb ---- */

static inline uint64_t
cw_inspect_seg_off(const struct cw_sb *sb, uint32_t seg)
{
    return CW_SEG_BASE + (uint64_t)seg * sb->seg_bytes;
}

/* n_blocks whole blocks can lie there. */
const char *cw_inspect_loc(const struct cw_sb *sb, uint64_t loc, uint32_t n_blocks);

/* One block of data can lie there, packed or not. */
const char *cw_inspect_data_loc(const struct cw_sb *sb, uint64_t loc);

const char *cw_inspect_seg_hdr(const struct cw_sb *sb, const struct cw_seg_hdr *h, uint32_t no);

/* The fields of a batch header at `off` of its segment. */
const char *cw_inspect_batch_hdr(const struct cw_sb *sb, const struct cw_batch_hdr *h,
                                 uint32_t off);
/* That, its checksum and its records, of which `avail` bytes are there. *ret_used: header and
 * records without padding. */
const char *cw_inspect_batch(const struct cw_sb *sb, const uint8_t *hdr, size_t avail, uint32_t off,
                             uint32_t *ret_used);

/* What a batch counts as for the next one of its class. */
uint64_t cw_inspect_chain(const uint8_t *hdr, uint32_t used);

/* Pointers go into the bytes given. */
struct cw_inspect_rec {
    struct cw_rec_desc d; /* also of a record that is not valid, if its 48 bytes are there */
    const uint64_t *csums;
    const uint8_t *body; /* d.clen bytes */
    uint32_t n_csums, n_payload, n_runs, bytes;
    /* per checksum: where its block lies, as a loc of segment 0 counted from the start of the
     * payload; 0: it has no payload */
    uint64_t places[CW_IO_BLOCKS_MAX];
};
const char *cw_inspect_rec(const uint8_t *at, const uint8_t *end, uint32_t payload_bytes,
                           struct cw_inspect_rec *ret);
const char *cw_inspect_rec_name(uint8_t type); /* "WRITE"; "?" */

/* The plain blocks of the place whose bytes begin at `from`: there, or in scratch. NULL: they are
 * not what was packed. A place of a block alone is the block. */
#define CW_INSPECT_RUN_BYTES ((size_t)CW_RUN_BLOCKS_MAX * CW_BLOCK_SIZE)
const uint8_t *cw_inspect_plain(struct cw_compressor *c, uint64_t loc, const uint8_t *from,
                                uint8_t scratch[static CW_INSPECT_RUN_BYTES]);

/* Which block of the shard csums[i] speaks of; of MAPPAGE, TABPAGE and ROOT the record's lba. */
uint64_t cw_inspect_rec_lba(const struct cw_inspect_rec *r, uint32_t i);

/* Does a summary of this opening seem to end in `tail`, the last 4096 bytes of a segment? One of
 * the names in its footer may be damaged. */
bool cw_inspect_summary_there(const struct cw_sb *sb, const uint8_t *tail, uint32_t no,
                              uint64_t seg_seq, uint32_t *ret_room);
const char *cw_inspect_sum_footer(const struct cw_sb *sb, const struct cw_sum_footer *f,
                                  uint32_t no, uint64_t seg_seq);
/* All `room` bytes of it. */
const char *cw_inspect_summary(const struct cw_sb *sb, const uint8_t *sum, uint32_t room,
                               uint32_t no, uint64_t seg_seq);

/* ---- a checkpoint ---- */

const char *cw_inspect_ckpt(const struct cw_sb *sb, const struct cw_sb_ckpt *c); /* its place */
const char *cw_inspect_root(const struct cw_sb *sb, const struct cw_sb_ckpt *c,
                            const uint8_t *bytes);
const char *cw_inspect_part(const struct cw_sb *sb, const struct cw_root_part *p); /* its place */
/* All that the parts of that kind hold. */
const char *cw_inspect_segtab(const struct cw_sb *sb, uint32_t root_version, const uint8_t *bytes,
                              size_t len);
/* What 1 of its live counts means, in sectors. */
static inline uint32_t
cw_inspect_live_unit(uint32_t root_version)
{
    return root_version == 0 ? CW_BLOCK_SECTORS : 1;
}
const char *cw_inspect_tab(const struct cw_sb *sb, const struct cw_tab_page *t,
                           const struct cw_tabdir_entry *dir);
/* Only its own sums: what its parent says of it is the caller's to compare. */
const char *cw_inspect_map_page(const struct cw_sb *sb, const struct cw_map_page *p,
                                uint32_t *ret_nmapped);

struct cw_inspect_shard {
    struct cw_shard_bytes h;
    struct cw_shard_rec rec;
    const uint8_t *hist; /* h.n_hist x struct cw_wire_hist, 8-byte aligned */
    const uint8_t *tail; /* h.n_tail x struct cw_tail_bytes */
};
const char *cw_inspect_shard(const struct cw_sb *sb, const uint8_t *from, size_t len,
                             struct cw_inspect_shard *ret);

/* What the lists have of a layer's family before it. */
struct cw_inspect_family {
    bool has_copy, copy_gone; /* of the shard that it names */
    bool has_head;            /* of that copy */
    bool is_there;            /* a layer with its id */
    bool has_parent;          /* the one that it names .. */
    uint64_t parent_snap;     /* .. and whose snapshot that is */
};
const char *cw_inspect_layer(const struct cw_layer_bytes *l, const struct cw_inspect_family *f);

/* ---- a whole segment ---- */

enum cw_inspect_level {
    CW_INSPECT_FOUND, /* what somebody refers to is damaged */
    CW_INSPECT_NOTE,  /* nobody refers to it: the end of a write that a crash cut, or rot */
};

struct cw_inspect_found {
    enum cw_inspect_level level;
    const char *what;            /* static */
    uint32_t off, len;           /* in the segment */
    uint64_t batch_seq;          /* 0: of no batch */
    const struct cw_rec_desc *d; /* NULL: of no record; else its descriptor .. */
    uint32_t rec;                /* .. its index in the batch .. */
    uint64_t lba;                /* .. and the block of the shard (cw_inspect_rec_lba) */
};

struct cw_inspect_seg {
    const struct cw_sb *sb;
    uint32_t no;
    uint64_t seg_seq;           /* of the opening that is in force */
    const uint8_t *bytes;       /* sb->seg_bytes, 8-byte aligned; zeroes where unreadable */
    const uint64_t *unreadable; /* bit per 4 KiB */
    struct cw_compressor *c;

    /* Does somebody refer to any of these bytes? */
    bool (*is_live)(void *user, uint32_t off, uint32_t len);
    void (*found)(void *user, const struct cw_inspect_found *);
    void *user;

    /* answer */
    uint32_t n_batches, n_records;
    uint64_t n_blocks; /* of payload, compared with their checksums */
    bool has_summary;
};
void cw_inspect_segment(struct cw_inspect_seg *g);
