/* store/format.h - the bytes of a store, little endian, 4 KiB aligned; explained in docs/format.md.
 *
 *   0        1 MiB                                            end - 8 KiB
 *   [SB0 SB1 .... ][segment 0][segment 1] ... [segment n-1] .. [SB2 SB3]
 *
 *   segment = [header 4 KiB][batch][batch] ... [summary]
 *   batch   = [header + records, k x 4 KiB][payload, blocks]
 *
 * Nothing here is believed before its checksum, its format_id and its place were checked.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/assert.h"
#include "common/base/bits.h"
#include "proto/wire.h"

#define CW_SB_MAGIC UINT64_C(0x3142535945535743)   /* "CWSEYSB1" */
#define CW_SEG_MAGIC UINT64_C(0x3147455345535743)  /* "CWSESEG1" */
#define CW_SUM_MAGIC UINT64_C(0x314d555345535743)  /* "CWSESUM1" */
#define CW_ROOT_MAGIC UINT64_C(0x31544f4f52535743) /* "CWSROOT1" */
#define CW_TAB_MAGIC UINT64_C(0x3142415445535743)  /* "CWSETAB1" */
#define CW_BATCH_MAGIC UINT32_C(0x31425743)        /* "CWB1" */
#define CW_STORE_VERSION 2u
#define CW_STORE_VERSION_MIN \
    1u /* oldest that is opened; the next checkpoint makes it the newest \
        */

#define CW_SB_SLOTS 4u
#define CW_SEG_BASE CW_MIB
#define CW_STORE_BYTES_MIN (512 * CW_MIB)
#define CW_SEG_BYTES_MIN ((uint32_t)(4 * CW_MIB))
#define CW_SEG_BYTES_MAX ((uint32_t)(32 * CW_MIB))
#define CW_SEG_COUNT_MAX (1u << 24)

#define CW_BATCH_HDR_MAX (64u * 1024u)
#define CW_BATCH_PAYLOAD_MAX (1024u * 1024u)

/* ---- superblock ---- */

enum cw_sb_flag {
    CW_SB_CLEAN = 1 << 0,   /* nothing was appended after checkpoint 0 */
    CW_SB_DAMAGED = 1 << 1, /* some copy is damaged (I16); only for people */
    CW_SB_SETTLED = 1 << 2, /* CLEAN, and what was opened after the freeze of checkpoint 0 it refers
                             * to: the headers of all other segments say nothing new */
};

/* Where a checkpoint lies; len 0: the empty store, replayed from the first batch. */
struct cw_sb_ckpt {
    uint64_t loc; /* of the root's first block, as a map entry's loc */
    uint64_t csum;
    uint64_t replay_batch;   /* the first batch that it does not contain */
    uint64_t replay_seg_seq; /* segments older than this one hold no such batch */
    uint64_t number;         /* counts checkpoints from 1; 0 with len 0 */
    uint32_t len;            /* bytes of the root */
    uint32_t zero;
};
CW_STATIC_ASSERT(sizeof(struct cw_sb_ckpt) == 48);
CW_AT(struct cw_sb_ckpt, loc, 0);
CW_AT(struct cw_sb_ckpt, csum, 8);
CW_AT(struct cw_sb_ckpt, replay_batch, 16);
CW_AT(struct cw_sb_ckpt, replay_seg_seq, 24);
CW_AT(struct cw_sb_ckpt, number, 32);
CW_AT(struct cw_sb_ckpt, len, 40);
CW_AT(struct cw_sb_ckpt, zero, 44);

struct cw_sb {
    uint64_t magic;
    uint32_t version;
    uint32_t feature_incompat;
    uint8_t disk_uuid[16];
    uint64_t format_id;
    uint8_t cluster_id[16];
    uint64_t incarnation;
    uint64_t sb_seq;
    uint64_t dev_bytes;
    uint32_t seg_bytes;
    uint32_t seg_count;
    uint32_t blk;
    uint32_t lb_size;
    uint32_t flags;
    uint32_t zero;
    struct cw_sb_ckpt ckpt[2]; /* newest first */
    uint8_t pad[3888];
    uint64_t csum;
};
CW_STATIC_ASSERT(sizeof(struct cw_sb) == 4096);
CW_AT(struct cw_sb, magic, 0);
CW_AT(struct cw_sb, version, 8);
CW_AT(struct cw_sb, feature_incompat, 12);
CW_AT(struct cw_sb, disk_uuid, 16);
CW_AT(struct cw_sb, format_id, 32);
CW_AT(struct cw_sb, cluster_id, 40);
CW_AT(struct cw_sb, incarnation, 56);
CW_AT(struct cw_sb, sb_seq, 64);
CW_AT(struct cw_sb, dev_bytes, 72);
CW_AT(struct cw_sb, seg_bytes, 80);
CW_AT(struct cw_sb, seg_count, 84);
CW_AT(struct cw_sb, blk, 88);
CW_AT(struct cw_sb, lb_size, 92);
CW_AT(struct cw_sb, flags, 96);
CW_AT(struct cw_sb, zero, 100);
CW_AT(struct cw_sb, ckpt, 104);
CW_AT(struct cw_sb, pad, 200);
CW_AT(struct cw_sb, csum, 4088);

/* ---- segment ---- */

/* What is written lands in HOT. What the cleaner moves goes to WARM if it used to be overwritten
 * soon, else to COLD. */
enum cw_seg_class { CW_SEG_HOT = 1, CW_SEG_COLD, CW_SEG_META, CW_SEG_WARM, CW_SEG_CLASSES };

struct cw_seg_hdr {
    uint64_t magic;
    uint64_t disk_uuid_lo;
    uint64_t format_id;
    uint32_t seg_no;
    uint8_t cls; /* enum cw_seg_class */
    uint8_t zero[3];
    uint64_t seg_seq;
    uint64_t prev_open_seg_seq; /* same class */
    uint64_t created_batch_seq;
    uint8_t pad[4032];
    uint64_t csum;
};
CW_STATIC_ASSERT(sizeof(struct cw_seg_hdr) == 4096);
CW_AT(struct cw_seg_hdr, magic, 0);
CW_AT(struct cw_seg_hdr, disk_uuid_lo, 8);
CW_AT(struct cw_seg_hdr, format_id, 16);
CW_AT(struct cw_seg_hdr, seg_no, 24);
CW_AT(struct cw_seg_hdr, cls, 28);
CW_AT(struct cw_seg_hdr, zero, 29);
CW_AT(struct cw_seg_hdr, seg_seq, 32);
CW_AT(struct cw_seg_hdr, prev_open_seg_seq, 40);
CW_AT(struct cw_seg_hdr, created_batch_seq, 48);
CW_AT(struct cw_seg_hdr, pad, 56);
CW_AT(struct cw_seg_hdr, csum, 4088);

/* The last 64 bytes of a sealed segment; its entries end where the footer's 4 KiB-rounded room
 * begins: at seg_bytes - round_up(bytes + 64, 4096). */
struct cw_sum_footer {
    uint64_t magic;
    uint64_t format_id;
    uint64_t seg_seq;
    uint32_t seg_no;
    uint32_t n_batches;
    uint32_t bytes; /* of entries */
    uint32_t live;  /* sectors, at seal; for people */
    uint64_t zero[2];
    uint64_t csum; /* of the entries and the footer before it */
};
CW_STATIC_ASSERT(sizeof(struct cw_sum_footer) == 64);
CW_AT(struct cw_sum_footer, magic, 0);
CW_AT(struct cw_sum_footer, format_id, 8);
CW_AT(struct cw_sum_footer, seg_seq, 16);
CW_AT(struct cw_sum_footer, seg_no, 24);
CW_AT(struct cw_sum_footer, n_batches, 28);
CW_AT(struct cw_sum_footer, bytes, 32);
CW_AT(struct cw_sum_footer, live, 36);
CW_AT(struct cw_sum_footer, zero, 40);
CW_AT(struct cw_sum_footer, csum, 56);

/* One per batch, followed by `used` bytes: the batch header and its records without the padding. */
struct cw_sum_entry {
    uint32_t off;
    uint32_t used; /* multiple of 8 */
};
CW_STATIC_ASSERT(sizeof(struct cw_sum_entry) == 8);
CW_AT(struct cw_sum_entry, off, 0);
CW_AT(struct cw_sum_entry, used, 4);

/* ---- batch ---- */

struct cw_batch_hdr {
    uint32_t magic;
    uint16_t ver;
    uint16_t nrec;
    uint32_t hdr_bytes;
    uint32_t payload_bytes;
    uint64_t batch_seq;
    uint64_t durable_upto;
    uint64_t seg_seq;
    uint64_t prev_hdr_csum; /* same class */
    uint64_t format_id;
    uint64_t hdr_csum; /* of the 56 bytes before it, then of bytes 64 .. hdr_bytes */
};
CW_STATIC_ASSERT(sizeof(struct cw_batch_hdr) == 64);
CW_AT(struct cw_batch_hdr, magic, 0);
CW_AT(struct cw_batch_hdr, ver, 4);
CW_AT(struct cw_batch_hdr, nrec, 6);
CW_AT(struct cw_batch_hdr, hdr_bytes, 8);
CW_AT(struct cw_batch_hdr, payload_bytes, 12);
CW_AT(struct cw_batch_hdr, batch_seq, 16);
CW_AT(struct cw_batch_hdr, durable_upto, 24);
CW_AT(struct cw_batch_hdr, seg_seq, 32);
CW_AT(struct cw_batch_hdr, prev_hdr_csum, 40);
CW_AT(struct cw_batch_hdr, format_id, 48);
CW_AT(struct cw_batch_hdr, hdr_csum, 56);

enum cw_rec_type {
    CW_REC_WRITE = 1,
    CW_REC_ZERO,
    CW_REC_TRIM,
    CW_REC_SNAP,
    CW_REC_GEN_START,
    CW_REC_PROMISE,
    CW_REC_JOIN,
    CW_REC_SYNC_DONE,
    CW_REC_CHUNK_VOID,
    CW_REC_CHUNK_CURRENT,
    CW_REC_MAPPAGE,
    CW_REC_TABPAGE,
    CW_REC_SHARDREC,
    CW_REC_GC_MOVE,
    CW_REC_BADBLK,
    CW_REC_NOTE,
    CW_REC_ROOT,
    CW_REC_REPAIR,
    CW_REC_TYPES,
};

/* What a checkpoint writes; it lies in META, and all else that has blocks does not. */
static inline bool
cw_rec_is_meta(uint8_t type)
{
    return type == CW_REC_MAPPAGE || type == CW_REC_TABPAGE || type == CW_REC_ROOT;
}

enum cw_rec_flag {
    CW_RF_KEEP = 1 << 0,     /* stream: versions stay */
    CW_RF_DROP = 1 << 1,     /* stream: nothing changes; a WRITE has no csums and no payload */
    CW_RF_MODES = 1 << 2,    /* stream: the body has one enum cw_store_apply byte per chunk */
    CW_RF_ALL_DATA = 1 << 3, /* blocks with the zero block's checksum have payload too */
    CW_RF_CREATE = 1 << 4, /* SHARDREC: first of its shard; lba: the layer it inherits from, or 0 */
    CW_RF_GONE = 1 << 5,   /* SHARDREC: the shard was dropped; SNAP: the snapshot `seq` was */
    CW_RF_RESUME = 1 << 6, /* NOTE: batches [seq, own) do not exist */
    CW_RF_DAMAGED = 1 << 7, /* NOTE RESUME: durable batches were lost there (I16) */
};

/* layer: what a record changes is the shard whose first layer has this id. MAPPAGE and TABPAGE name
 * the layer itself, GC_MOVE and BADBLK the family: every layer of it that refers to the place. */
struct cw_rec_desc {
    uint8_t type; /* enum cw_rec_type */
    uint8_t comp; /* 1: the body ends with struct cw_rec_run's that say how the payload lies */
    uint16_t flags;
    uint32_t nblk;
    uint64_t layer;
    uint32_t gen;
    uint32_t clen; /* bytes of the body, which follows the csums */
    uint64_t seq;
    uint64_t lba;
    uint64_t payload_off; /* 512 B units from the start of the payload */
};
CW_STATIC_ASSERT(sizeof(struct cw_rec_desc) == 48);
CW_AT(struct cw_rec_desc, type, 0);
CW_AT(struct cw_rec_desc, comp, 1);
CW_AT(struct cw_rec_desc, flags, 2);
CW_AT(struct cw_rec_desc, nblk, 4);
CW_AT(struct cw_rec_desc, layer, 8);
CW_AT(struct cw_rec_desc, gen, 16);
CW_AT(struct cw_rec_desc, clen, 20);
CW_AT(struct cw_rec_desc, seq, 24);
CW_AT(struct cw_rec_desc, lba, 32);
CW_AT(struct cw_rec_desc, payload_off, 40);

/* Blocks that lie together: compressed into one zstd frame, or plain where len512 is n * 8. Runs
 * follow each other, in order, and cover every block that has payload. */
struct cw_rec_run {
    uint8_t n;      /* blocks, 1..CW_RUN_BLOCKS_MAX */
    uint8_t len512; /* 1..n * 8 */
};
CW_STATIC_ASSERT(sizeof(struct cw_rec_run) == 2);
CW_AT(struct cw_rec_run, n, 0);
CW_AT(struct cw_rec_run, len512, 1);
#define CW_RUN_BLOCKS_MAX 16u

/* body of CHUNK_CURRENT */
struct cw_rec_chunk_set {
    uint64_t set[4], bad[4];
};
CW_STATIC_ASSERT(sizeof(struct cw_rec_chunk_set) == 64);
CW_AT(struct cw_rec_chunk_set, set, 0);
CW_AT(struct cw_rec_chunk_set, bad, 32);

/* ---- map ---- */

enum cw_map_kind {
    CW_MAP_NONE,
    CW_MAP_RAW,
    CW_MAP_COMP,
    CW_MAP_ZERO,
    CW_MAP_BAD,
    CW_MAP_KINDS,
};

struct cw_map_entry {
    uint64_t xxh3;
    uint64_t loc; /* seg:24 | off512:16 | len512:8 | idx:4 | shared:1 | kind:3 | n-1:4 | heat:4,
                   * highest first. COMP: block idx of the n that lie in this place */
};
CW_STATIC_ASSERT(sizeof(struct cw_map_entry) == 16);
CW_AT(struct cw_map_entry, xxh3, 0);
CW_AT(struct cw_map_entry, loc, 8);

#define CW_LOC_SHARED (UINT64_C(1) << 11) /* another layer owns the place (docs/format.md) */
/* 0..3: how often of late the block was overwritten before it had cooled down; a hint. */
#define CW_LOC_HEAT UINT64_C(3)
#define CW_SECTOR 512u
#define CW_BLOCK_SECTORS 8u

static inline uint64_t
cw_loc_make(uint32_t seg, uint32_t off512, uint32_t len512, enum cw_map_kind kind)
{
    return (uint64_t)seg << 40 | (uint64_t)off512 << 24 | (uint64_t)len512 << 16 |
           (uint64_t)kind << 8;
}

/* Block idx of a run of n in one place. */
static inline uint64_t
cw_loc_make_run(uint32_t seg, uint32_t off512, struct cw_rec_run run, uint32_t idx)
{
    return cw_loc_make(seg, off512, run.len512, CW_MAP_COMP) | (uint64_t)idx << 12 |
           (uint64_t)(run.n - 1u) << 4;
}

static inline uint32_t
cw_loc_seg(uint64_t loc)
{
    return (uint32_t)(loc >> 40);
}

static inline uint32_t
cw_loc_off(uint64_t loc) /* bytes in the segment */
{
    return (uint32_t)(loc >> 24 & 0xffff) * CW_SECTOR;
}

static inline uint32_t
cw_loc_len512(uint64_t loc)
{
    return (uint32_t)(loc >> 16 & 0xff);
}

static inline uint32_t
cw_loc_idx(uint64_t loc)
{
    return (uint32_t)(loc >> 12 & 0xf);
}

static inline uint32_t
cw_loc_n(uint64_t loc)
{
    return (uint32_t)(loc >> 4 & 0xf) + 1;
}

static inline enum cw_map_kind
cw_loc_kind(uint64_t loc)
{
    return (enum cw_map_kind)(loc >> 8 & 7);
}

/* The place alone: what two layers that show the same block have in common. */
static inline uint64_t
cw_loc_place(uint64_t loc)
{
    return loc & ~(CW_LOC_SHARED | UINT64_C(0xf));
}

/* The place of a run as a whole: the same for all its blocks. */
static inline uint64_t
cw_loc_extent(uint64_t loc)
{
    return loc >> 16;
}

/* What a block takes of its place; the shares of a run add up to all of it. */
static inline uint32_t
cw_loc_sectors(uint64_t loc)
{
    uint32_t len = cw_loc_len512(loc), n = cw_loc_n(loc), i = cw_loc_idx(loc);

    return cw_loc_kind(loc) == CW_MAP_COMP ? len * (i + 1) / n - len * i / n : CW_BLOCK_SECTORS;
}

struct cw_map_page {
    struct cw_map_entry e[CW_CHUNK_BLOCKS];
};
CW_STATIC_ASSERT(sizeof(struct cw_map_page) == 4096);
CW_AT(struct cw_map_page, e, 0);

enum cw_chunk_state {
    CW_CHUNK_OWN = 1, /* the layer does not show its parent's chunk (any more) */
};

struct cw_chunk_entry {
    uint64_t page_loc; /* 0: no page, every block reads as zeroes */
    uint64_t page_csum;
    uint64_t seq; /* version; CW_VER_VOID; (0, 0): never written */
    uint32_t gen;
    uint16_t nmapped; /* entries of kind RAW, COMP, BAD */
    uint8_t state;    /* enum cw_chunk_state */
    uint8_t flags;    /* 0 on disk */
    uint64_t layer_key;
    uint64_t ram; /* 0 on disk */
};
CW_STATIC_ASSERT(sizeof(struct cw_chunk_entry) == 48);
CW_AT(struct cw_chunk_entry, page_loc, 0);
CW_AT(struct cw_chunk_entry, page_csum, 8);
CW_AT(struct cw_chunk_entry, seq, 16);
CW_AT(struct cw_chunk_entry, gen, 24);
CW_AT(struct cw_chunk_entry, nmapped, 28);
CW_AT(struct cw_chunk_entry, state, 30);
CW_AT(struct cw_chunk_entry, flags, 31);
CW_AT(struct cw_chunk_entry, layer_key, 32);
CW_AT(struct cw_chunk_entry, ram, 40);

#define CW_TAB_CHUNKS 84u
#define CW_SHARD_TABS ((uint32_t)((CW_SHARD_CHUNKS + CW_TAB_CHUNKS - 1) / CW_TAB_CHUNKS))

struct cw_tab_page {
    uint64_t magic;
    uint64_t format_id;
    uint64_t layer;
    uint32_t index; /* chunks from index * 84 on */
    uint32_t zero32;
    uint64_t zero[4];
    struct cw_chunk_entry e[CW_TAB_CHUNKS];
};
CW_STATIC_ASSERT(sizeof(struct cw_tab_page) == 4096);
CW_AT(struct cw_tab_page, magic, 0);
CW_AT(struct cw_tab_page, format_id, 8);
CW_AT(struct cw_tab_page, layer, 16);
CW_AT(struct cw_tab_page, index, 24);
CW_AT(struct cw_tab_page, zero32, 28);
CW_AT(struct cw_tab_page, zero, 32);
CW_AT(struct cw_tab_page, e, 64);

/* ---- checkpoint ---- */

enum cw_part_kind {
    CW_PART_SEGMENTS = 1, /* struct cw_segtab_entry x seg_count */
    CW_PART_TABS,         /* struct cw_tabdir_entry */
    CW_PART_SHARDS,       /* struct cw_shard_bytes and what follows each */
    CW_PART_LAYERS,       /* struct cw_layer_bytes; version 1 has one head per shard instead */
    CW_PART_SCRUB,        /* struct cw_scrub_bytes; older images have none */
    CW_PART_KINDS,
};

/* A part of the root's content; at most 1 MiB each, in order within a kind. */
struct cw_root_part {
    uint64_t loc;
    uint64_t csum; /* of `bytes` bytes */
    uint32_t bytes;
    uint32_t kind;
};
CW_STATIC_ASSERT(sizeof(struct cw_root_part) == 24);
CW_AT(struct cw_root_part, loc, 0);
CW_AT(struct cw_root_part, csum, 8);
CW_AT(struct cw_root_part, bytes, 16);
CW_AT(struct cw_root_part, kind, 20);

struct cw_root {
    uint64_t magic;
    uint64_t format_id;
    uint64_t number;
    uint64_t replay_batch, replay_seg_seq;
    uint64_t next_seg_seq, next_layer;
    uint64_t chain_csum[CW_SEG_CLASSES]; /* hdr_csum of each class' last batch before the replay */
    uint64_t open_seg_seq[CW_SEG_CLASSES];
    uint32_t n_parts;
    uint32_t version; /* 0 (version 1: live counts in blocks) or 2 */
    struct cw_root_part parts[];
};
CW_AT(struct cw_root, magic, 0);
CW_AT(struct cw_root, format_id, 8);
CW_AT(struct cw_root, number, 16);
CW_AT(struct cw_root, replay_batch, 24);
CW_AT(struct cw_root, replay_seg_seq, 32);
CW_AT(struct cw_root, next_seg_seq, 40);
CW_AT(struct cw_root, next_layer, 48);
CW_AT(struct cw_root, chain_csum, 56);
CW_AT(struct cw_root, open_seg_seq, 96);
CW_AT(struct cw_root, n_parts, 136);
CW_AT(struct cw_root, version, 140);
CW_AT(struct cw_root, parts, 144);
#define CW_ROOT_PARTS_MAX ((CW_BATCH_PAYLOAD_MAX - 144u) / 24u)

enum cw_seg_state { CW_SEG_FREE, CW_SEG_OPEN, CW_SEG_SEALED, CW_SEG_SOON_FREE };
enum cw_seg_flag {
    CW_SEG_WRITTEN = 1 << 0, /* since format: no zeroes need to be written first */
    CW_SEG_REPLAY = 1 << 1,  /* on disk: holds batches that the checkpoint does not contain */
    CW_SEG_PACKED = 1 << 2,  /* sealed: what packing could win here was won or looked for */
};

/* Open: the bits above them say where its next batch would have begun, in 4 KiB; 0: not told. */
#define CW_SEG_OFF_SHIFT 3u
#define CW_SEG_OFF_MAX 0x1fffu

struct cw_segtab_entry {
    uint8_t state; /* enum cw_seg_state */
    uint8_t cls;
    uint16_t flags;
    uint32_t live; /* sectors */
    uint64_t seg_seq;
};
CW_STATIC_ASSERT(sizeof(struct cw_segtab_entry) == 16);
CW_AT(struct cw_segtab_entry, state, 0);
CW_AT(struct cw_segtab_entry, cls, 1);
CW_AT(struct cw_segtab_entry, flags, 2);
CW_AT(struct cw_segtab_entry, live, 4);
CW_AT(struct cw_segtab_entry, seg_seq, 8);

/* Bytes; 0: not open, or not told (a checkpoint of an older program, or a full segment). */
static inline uint32_t
cw_segtab_open_off(const struct cw_segtab_entry *e)
{
    return e->state == CW_SEG_OPEN ? (uint32_t)(e->flags >> CW_SEG_OFF_SHIFT) * 4096 : 0;
}

struct cw_tabdir_entry {
    uint64_t layer;
    uint32_t index;
    uint32_t zero;
    uint64_t loc;
    uint64_t csum;
};
CW_STATIC_ASSERT(sizeof(struct cw_tabdir_entry) == 32);
CW_AT(struct cw_tabdir_entry, layer, 0);
CW_AT(struct cw_tabdir_entry, index, 8);
CW_AT(struct cw_tabdir_entry, zero, 12);
CW_AT(struct cw_tabdir_entry, loc, 16);
CW_AT(struct cw_tabdir_entry, csum, 24);

enum cw_shard_flag {
    CW_SHARD_SYNCING = 1 << 0,
    CW_SHARD_DAMAGED = 1 << 1,
    CW_SHARD_GONE = 1 << 2, /* dropped; its map is still being given back */
};

/* Followed by rec_bytes (padded to 8) of the encoded record, n_hist x struct cw_wire_hist,
 * n_tail x struct cw_tail_bytes. */
struct cw_shard_bytes {
    uint32_t bytes; /* of all of it */
    uint32_t flags;
    uint64_t layer;
    uint64_t zero64;
    uint64_t last_seq;
    uint64_t stable;
    uint64_t join_id;
    uint32_t last_gen;
    uint32_t promised_gen;
    uint32_t rec_bytes;
    uint32_t n_hist;
    uint32_t n_tail;
    uint32_t zero;
};
CW_STATIC_ASSERT(sizeof(struct cw_shard_bytes) == 72);
CW_AT(struct cw_shard_bytes, bytes, 0);
CW_AT(struct cw_shard_bytes, flags, 4);
CW_AT(struct cw_shard_bytes, layer, 8);
CW_AT(struct cw_shard_bytes, zero64, 16);
CW_AT(struct cw_shard_bytes, last_seq, 24);
CW_AT(struct cw_shard_bytes, stable, 32);
CW_AT(struct cw_shard_bytes, join_id, 40);
CW_AT(struct cw_shard_bytes, last_gen, 48);
CW_AT(struct cw_shard_bytes, promised_gen, 52);
CW_AT(struct cw_shard_bytes, rec_bytes, 56);
CW_AT(struct cw_shard_bytes, n_hist, 60);
CW_AT(struct cw_shard_bytes, n_tail, 64);
CW_AT(struct cw_shard_bytes, zero, 68);

struct cw_tail_bytes {
    uint64_t seq, lba, csum0;
    uint64_t batch_seq;
    uint32_t gen, nblk;
    uint32_t seg, off; /* of the batch */
    uint16_t rec;      /* index of the record in it */
    uint8_t type;      /* CW_FT_*: as in the stream */
    uint8_t zero[5];
};
CW_STATIC_ASSERT(sizeof(struct cw_tail_bytes) == 56);
CW_AT(struct cw_tail_bytes, seq, 0);
CW_AT(struct cw_tail_bytes, lba, 8);
CW_AT(struct cw_tail_bytes, csum0, 16);
CW_AT(struct cw_tail_bytes, batch_seq, 24);
CW_AT(struct cw_tail_bytes, gen, 32);
CW_AT(struct cw_tail_bytes, nblk, 36);
CW_AT(struct cw_tail_bytes, seg, 40);
CW_AT(struct cw_tail_bytes, off, 44);
CW_AT(struct cw_tail_bytes, rec, 48);
CW_AT(struct cw_tail_bytes, type, 50);
CW_AT(struct cw_tail_bytes, zero, 51);

enum cw_layer_flag {
    CW_LAYER_HEAD = 1 << 0, /* what its shard shows and changes */
    CW_LAYER_GONE = 1 << 1, /* deleted; its map is still being given back or over */
};

/* A layer id is index:24 | family:40: layers that may refer to the same places are of one family.
 */
#define CW_LAYER_FAMILY ((UINT64_C(1) << 40) - 1)
#define CW_LAYER_INDEX_MAX ((1u << 24) - 1)

/* Parents stand before their children. */
struct cw_layer_bytes {
    uint64_t id;
    uint64_t parent; /* 0: none */
    uint64_t shard;  /* the `layer` of its shard's records */
    uint64_t snap;   /* name of the snapshot; 0: the head */
    uint32_t flags;
    uint32_t next_index; /* above every index that this one's family has seen, in one of them */
    uint64_t mapped;     /* entries of its pages that are RAW, COMP or BAD and not SHARED */
    uint64_t sectors;    /* live, of those */
};
CW_STATIC_ASSERT(sizeof(struct cw_layer_bytes) == 56);
CW_AT(struct cw_layer_bytes, id, 0);
CW_AT(struct cw_layer_bytes, parent, 8);
CW_AT(struct cw_layer_bytes, shard, 16);
CW_AT(struct cw_layer_bytes, snap, 24);
CW_AT(struct cw_layer_bytes, flags, 32);
CW_AT(struct cw_layer_bytes, next_index, 36);
CW_AT(struct cw_layer_bytes, mapped, 40);
CW_AT(struct cw_layer_bytes, sectors, 48);
enum cw_scrub_phase { CW_SCRUB_SB, CW_SCRUB_CKPT, CW_SCRUB_PAGES, CW_SCRUB_BLOCKS, CW_SCRUB_REST };
enum cw_scrub_flag { CW_SCRUB_HURRY = 1 << 0 };
#define CW_SCRUB_RECENT 11u

/* Where the scrub is and what it found. Ages instead of times: the clock does not survive a boot.
 */
struct cw_scrub_bytes {
    uint64_t pass; /* 0: none began yet */
    uint64_t shard, snap;
    uint32_t chunk; /* the next to be read */
    uint8_t phase;  /* enum cw_scrub_phase */
    uint8_t flags;  /* enum cw_scrub_flag */
    uint16_t n_recent;
    uint64_t elapsed_ns, done_bytes, found, repaired; /* of the pass */
    uint64_t last_pass;                               /* that went to its end */
    uint64_t last_took_ns, last_ago_ns, last_bytes, last_found, last_repaired;
    uint64_t storms;
    uint64_t recent_ago_ns[CW_SCRUB_RECENT]; /* of places found bad, oldest first */
};
CW_STATIC_ASSERT(sizeof(struct cw_scrub_bytes) == 208);
CW_AT(struct cw_scrub_bytes, pass, 0);
CW_AT(struct cw_scrub_bytes, shard, 8);
CW_AT(struct cw_scrub_bytes, snap, 16);
CW_AT(struct cw_scrub_bytes, chunk, 24);
CW_AT(struct cw_scrub_bytes, phase, 28);
CW_AT(struct cw_scrub_bytes, flags, 29);
CW_AT(struct cw_scrub_bytes, n_recent, 30);
CW_AT(struct cw_scrub_bytes, elapsed_ns, 32);
CW_AT(struct cw_scrub_bytes, done_bytes, 40);
CW_AT(struct cw_scrub_bytes, found, 48);
CW_AT(struct cw_scrub_bytes, repaired, 56);
CW_AT(struct cw_scrub_bytes, last_pass, 64);
CW_AT(struct cw_scrub_bytes, last_took_ns, 72);
CW_AT(struct cw_scrub_bytes, last_ago_ns, 80);
CW_AT(struct cw_scrub_bytes, last_bytes, 88);
CW_AT(struct cw_scrub_bytes, last_found, 96);
CW_AT(struct cw_scrub_bytes, last_repaired, 104);
CW_AT(struct cw_scrub_bytes, storms, 112);
CW_AT(struct cw_scrub_bytes, recent_ago_ns, 120);
