/* proto/wire.h - the fixed data-plane frame, to the byte. Little endian, no padding.
 *
 * frame = header (64) | checksum array (8 each) | payload
 *
 * The checksum array has CW_WIRE_CSUMS(flags, nblk, payload_len) entries:
 *   CW_F_CSUMS               nblk entries, XXH3-64 of each plain 4 KiB block of the range
 *   no CW_F_DATA, payload    one more entry, XXH3-64 of the whole (opaque) payload
 * With CW_F_DATA the payload is the nblk blocks themselves, covered by their own entries
 * (CW_F_DATA implies CW_F_CSUMS). header.xxh3 covers the header up to itself and then the array, so
 * that no length, no position and no checksum is believed before it was checked.
 *
 * Control frames (CW_FT_CONTROL) carry one protobuf-c message (control.proto) as opaque payload.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/assert.h"

#define CW_WIRE_MAGIC UINT32_C(0x31575743) /* "CWW1" */
#define CW_WIRE_VERSION 1

#define CW_BLOCK_SIZE 4096u
#define CW_CHUNK_BLOCKS 256u                /* 1 MiB: map page, version, resync */
#define CW_SHARD_BLOCKS (UINT64_C(1) << 24) /* 64 GiB */
#define CW_SHARD_CHUNKS (CW_SHARD_BLOCKS / CW_CHUNK_BLOCKS)
#define CW_IO_BLOCKS_MAX 256u /* one record, one request: 1 MiB */

#define CW_FRAME_CSUMS_MAX 257u
#define CW_FRAME_OPAQUE_MAX (1024u * 1024u + 64u * 1024u) /* largest opaque payload */

enum cw_frame_flag {
    CW_F_CSUMS = 1 << 0,
    CW_F_DATA = 1 << 1,
    CW_F_ZEROES = 1 << 2, /* READ_OK: every block of the range is zeroes, nothing follows */
    CW_F_MEDIA = 1 << 3,  /* READ: from the media, past any cache (verify) */
    CW_F_CREATE = 1 << 4, /* SEAL: make the shard if this disk has none */
};

/* "O" owner, "R" replica, "X" resync target, "S" resync source. Every reply echoes `tag`.
 * Fields not named are zero. gen is the session's generation unless said otherwise. */
enum cw_frame_type {
    CW_FT_HELLO = 1,   /* first frame, both ways: struct cw_wire_hello; below the deciders */
    CW_FT_CONTROL = 2, /* control.proto; never on a data link */

    /* Sessions and leases. A link carries the sessions of many shards; one session per shard. */
    CW_FT_SEAL = 8,     /* O>R shard gen=g' cfg tag [CREATE]; payload: cw_shard_rec encoded */
    CW_FT_SEAL_OK = 9,  /* R>O shard gen=promised tag; payload: struct cw_wire_seal_ok */
    CW_FT_SEALED = 10,  /* R>O shard gen=the new promised gen: the session on this link is over */
    CW_FT_OPEN = 11,    /* O>R shard gen tag cfg */
    CW_FT_OPEN_OK = 12, /* R>O shard gen tag seq=last durable; payload: struct cw_wire_ack of it */
    CW_FT_HEARTBEAT = 13, /* O>R tag */
    CW_FT_HB_ACK = 14,    /* R>O tag; payload: struct cw_wire_hb_ack */
    CW_FT_CLOSE = 15,     /* O>R shard gen: the session ends; clean */
    CW_FT_STABLE = 16,    /* O>R payload: array of struct cw_wire_stable; when idle */
    CW_FT_CFG = 17,       /* O>R shard gen cfg; payload: cw_shard_rec encoded: keep this record */

    /* The stream: shard gen cfg seq lba nblk stable. */
    CW_FT_WRITE = 24,     /* O>R CSUMS|DATA */
    CW_FT_ZERO = 25,      /* O>R reads as zeroes afterwards; nblk up to a shard */
    CW_FT_TRIM = 26,      /* O>R the same, and the space is given back */
    CW_FT_GEN_START = 27, /* O>R seq only */
    CW_FT_ACK = 28,  /* R>O payload: array of struct cw_wire_ack, one per shard with progress */
    CW_FT_NACK = 29, /* R>O shard tag gen=promised seq=expected; payload: struct cw_wire_nack */

    /* Reads. */
    CW_FT_READ = 40,     /* O>R shard gen cfg lba nblk tag [MEDIA] */
    CW_FT_READ_OK = 41,  /* R>O shard lba nblk tag CSUMS|DATA, or ZEROES */
    CW_FT_READ_ERR = 42, /* R>O shard lba nblk tag; payload: struct cw_wire_read_err */

    /* Takeover: the tail above stable, as original records. TAIL_DATA and REPAIR_APPEND carry
     * stable = (uint64_t)original type << 32 | original gen, seq = original seq. */
    CW_FT_TAIL_QUERY = 48,    /* O>R shard gen=g' seq tag: the record seq of the tail */
    CW_FT_TAIL_DATA = 49,     /* R>O shard lba nblk seq stable tag [CSUMS|DATA]; or READ_ERR */
    CW_FT_REPAIR_APPEND = 50, /* O>R shard gen=g' lba nblk seq stable [CSUMS|DATA]; then ACK */

    /* Resync, replication.md 1.10. stable = join_id in all of them. */
    CW_FT_JOIN = 56,       /* O>R shard gen cfg seq=s0 tag stable */
    CW_FT_JOIN_OK = 57,    /* R>O tag, once "syncing" is durable */
    CW_FT_SYNC_FROM = 58,  /* O>R shard gen stable; payload: struct cw_wire_sync_from */
    CW_FT_SYNC_STATE = 59, /* R>O shard gen stable; payload: struct cw_wire_sync_state */
    CW_FT_VER_LIST = 60,  /* X>S shard gen seq=s0 lba=first chunk nblk=at most so many tag stable */
    CW_FT_VER_DATA = 61,  /* S>X seq=first record of a journal, else 0; lba=first chunk nblk=chunks
                           * looked at tag stable; payload: array of struct cw_wire_ver of the
                           * chunks in that range that were ever written */
    CW_FT_CHUNK_GET = 62, /* X>S shard gen seq=min_seq lba nblk=256 CSUMS (X's) tag stable */
    CW_FT_CHUNK_DATA = 63, /* S>X seq=q lba nblk=256 CSUMS (S's) tag stable; payload: struct
                            * cw_wire_chunk_data, then the blocks sent, in order */
    CW_FT_SYNC_DONE = 64,  /* R>O shard gen stable seq=durable: nothing BEHIND or COPYING is left */

    CW_FT_BLOCK_REPAIR = 72,    /* O>R shard gen lba nblk tag CSUMS|DATA: rewrite blocks whose map
                                 * checksum is still the one carried */
    CW_FT_BLOCK_REPAIR_OK = 73, /* R>O tag nblk=blocks rewritten (others had changed), durable */
    CW_FT_BAD_NOTE = 74, /* R>O shard gen; payload: array of struct cw_wire_bad: blocks of this copy
                          * that do not verify. Said again until they do; CW_FEATURE_BAD_NOTE */
};

struct cw_wire_hdr {
    uint32_t magic;
    uint8_t version;
    uint8_t type;         /* enum cw_frame_type */
    uint16_t flags;       /* enum cw_frame_flag */
    uint32_t payload_len; /* bytes after the checksum array */
    uint32_t tag;
    uint64_t shard;
    uint32_t gen;
    uint32_t cfg;
    uint64_t seq;
    uint64_t lba_nblk; /* lba in the low 44 bits, nblk in the high 20 */
    uint64_t stable;
    uint64_t xxh3;
};
CW_STATIC_ASSERT(sizeof(struct cw_wire_hdr) == 64);
CW_STATIC_ASSERT(offsetof(struct cw_wire_hdr, xxh3) == 56);

/* nblk of ZERO and TRIM may not exceed this (20 bits); longer ranges are several records. */
#define CW_WIRE_NBLK_MAX ((1u << 20) - 1)

enum cw_hello_kind { CW_HELLO_CONTROL = 1, CW_HELLO_DATA = 2 };

enum cw_hello_status {
    CW_HELLO_OK = 0,
    CW_HELLO_E_VERSION = 1, /* no common protocol version */
    CW_HELLO_E_CLUSTER = 2, /* another cluster */
    CW_HELLO_E_NO_DISK = 3, /* that disk is not served here (any more) */
    CW_HELLO_E_FORMAT = 4,  /* the disk was formatted since */
    CW_HELLO_E_BUSY = 5,    /* connection limit */
};

/* Bits of cw_wire_hello.features. A frame that came with one is sent only where it is in force. */
enum cw_hello_feature {
    CW_FEATURE_BAD_NOTE = 1 << 0, /* the sender, as an owner, takes BAD_NOTE */
    CW_FEATURE_JOURNAL = 1 << 1,  /* the sender, as a replica, knows the kinds of join ids */
};
#define CW_WIRE_FEATURES \
    ((uint64_t)(CW_FEATURE_BAD_NOTE | CW_FEATURE_JOURNAL)) /* all that this version knows */

struct cw_wire_hello {
    uint32_t kind;   /* enum cw_hello_kind */
    uint32_t status; /* reply: enum cw_hello_status; request: 0 */
    uint16_t version_min, version_max;
    uint32_t credit_ops; /* what the sender of this HELLO lets the other have unanswered */
    uint64_t credit_bytes;
    uint64_t features;      /* bits both sides know are in force */
    uint8_t cluster_id[16]; /* all zero: not yet known (a client's first control HELLO) */
    uint8_t sender_id[16];  /* client instance id, or disk uuid of a replica */
    uint8_t disk_uuid[16];  /* DATA: the disk that is meant */
    uint64_t format_id;
    uint64_t incarnation; /* of the sending daemon */
    uint8_t reserved[32]; /* zero; room for authentication */
};
CW_STATIC_ASSERT(sizeof(struct cw_wire_hello) == 128);

enum cw_member_flag {
    CW_MEMBER_SYNCING = 1 << 0, /* JOIN without SYNC_DONE: waits for a new JOIN */
    CW_MEMBER_DAMAGED = 1 << 1, /* corruption found (I16): serve nothing, resync */
    CW_MEMBER_STUCK = 1 << 2,   /* the disk's watchdog found an I/O older than 2 s */
    CW_MEMBER_FAILED = 1 << 3,  /* the disk left service */
    CW_MEMBER_NEW = 1 << 4,     /* created by this SEAL */
    CW_MEMBER_LOG = 1 << 5,     /* a journal: it has what was written since its JOIN, no more */
    CW_MEMBER_OVERLAY = 1 << 6, /* with SYNCING: complete, but for what its journal has */
};

/* The upper two bits of a join id say what the copy becomes; the rest is the owner's. */
enum cw_join_kind {
    CW_JOIN_COPY = 0,    /* equal to its source (1.10); 1 as well */
    CW_JOIN_OVERLAY = 2, /* it has all that its source, a journal, has not */
    CW_JOIN_JOURNAL = 3, /* a journal from s0 on; the copy is empty, and nothing is copied */
};
#define CW_JOIN_ID(kind, n) ((uint64_t)(kind) << 62 | ((uint64_t)(n) & (UINT64_MAX >> 2)))
#define CW_JOIN_KIND(id) ((uint64_t)(id) >> 62)

struct cw_wire_ack {
    uint64_t shard;
    uint64_t durable_seq;
    uint32_t gen;
    uint32_t credit_blocks; /* blocks that this disk can still accept for this shard, beyond those
                             * already received */
    uint32_t health;        /* enum cw_member_flag */
    uint32_t in_memory;     /* records behind durable_seq that were received and await the disk */
};
CW_STATIC_ASSERT(sizeof(struct cw_wire_ack) == 32);

struct cw_wire_hb_ack {
    uint32_t health; /* enum cw_member_flag of the disk; STUCK counts as no ack */
    uint32_t zero;
};
CW_STATIC_ASSERT(sizeof(struct cw_wire_hb_ack) == 8);

enum cw_wire_stable_flag {
    CW_STABLE_RECEIPTS = 1 << 0, /* ACK what is received as well, not only what is durable */
};

struct cw_wire_stable {
    uint64_t shard;
    uint64_t stable;
    uint32_t gen;
    uint32_t flags; /* enum cw_wire_stable_flag: of the session from now on */
};
CW_STATIC_ASSERT(sizeof(struct cw_wire_stable) == 24);

enum cw_nack_code {
    CW_NACK_STALE_GEN = 1, /* promised is above the frame's gen: the owner is fenced */
    CW_NACK_SEQ_GAP = 2,   /* seq = the one expected */
    CW_NACK_BAD_CSUM = 3,  /* a block does not match: send that seq again */
    CW_NACK_NO_SESSION = 4,
    CW_NACK_NO_SHARD = 5,
    CW_NACK_STATE = 6, /* syncing, damaged: the frame does not fit the copy's state */
    CW_NACK_NO_SPACE = 7,
    CW_NACK_IO = 8,   /* the disk failed; health says more */
    CW_NACK_GONE = 9, /* CHUNK_GET, VER_LIST: not the promised gen here */
};

struct cw_wire_nack {
    uint32_t code; /* enum cw_nack_code */
    uint32_t health;
};
CW_STATIC_ASSERT(sizeof(struct cw_wire_nack) == 8);

struct cw_wire_read_err {
    uint32_t code; /* 0: see bad; else enum cw_nack_code, the whole request is refused */
    uint32_t zero;
    uint64_t bad[4]; /* bit per block of the request: unreadable or checksum mismatch */
};
CW_STATIC_ASSERT(sizeof(struct cw_wire_read_err) == 40);

struct cw_wire_bad {
    uint64_t lba_nblk; /* as in the header; 1..256 blocks */
    uint64_t bad[4];   /* bit per block */
};
CW_STATIC_ASSERT(sizeof(struct cw_wire_bad) == 40);
#define CW_BAD_NOTES_MAX 64u /* entries of a BAD_NOTE */

/* SEAL_OK payload: this, then n_hist x cw_wire_hist (oldest first), then n_tail x cw_wire_tail
 * (every record above stable, ascending seq, without gaps up to last_seq). */
struct cw_wire_seal_ok {
    uint32_t last_gen;
    uint32_t flags; /* enum cw_member_flag */
    uint64_t last_seq;
    uint64_t stable; /* highest stable seq this copy was told */
    uint64_t incarnation;
    uint64_t format_id;
    uint8_t disk_uuid[16];
    uint32_t n_hist, n_tail;
    uint32_t credit_blocks;
    uint32_t cfg; /* of the newest shard record this copy was shown */
};
CW_STATIC_ASSERT(sizeof(struct cw_wire_seal_ok) == 72);

struct cw_wire_hist {
    uint64_t start_seq; /* seq of GEN_START(gen) */
    uint32_t gen;
    uint32_t zero;
};
CW_STATIC_ASSERT(sizeof(struct cw_wire_hist) == 16);
CW_AT(struct cw_wire_hist, start_seq, 0);
CW_AT(struct cw_wire_hist, gen, 8);
CW_AT(struct cw_wire_hist, zero, 12);

struct cw_wire_tail {
    uint64_t seq;
    uint64_t lba_nblk;
    uint64_t csum0; /* checksum of the first block, 0 if it has none */
    uint32_t gen;
    uint32_t type; /* WRITE, ZERO, TRIM, GEN_START */
};
CW_STATIC_ASSERT(sizeof(struct cw_wire_tail) == 32);

#define CW_HIST_MAX 1024u /* older entries are dropped: a copy older than that resyncs */
#define CW_TAIL_MAX 8192u /* records above stable; bounds the owner's window */

struct cw_wire_sync_from {
    uint8_t disk_uuid[16];
    uint64_t format_id;
    uint64_t rate_bytes; /* per second, 0: as fast as it goes */
    uint64_t since_seq;  /* the source is the journal that begins with this record; 0: a copy */
    char addr[80];       /* "host:port" of the source's daemon, NUL-terminated */
    char unix_path[104]; /* empty, or usable when boot_id is ours */
    uint8_t boot_id[16];
};
CW_STATIC_ASSERT(sizeof(struct cw_wire_sync_from) == 240);

enum cw_sync_phase {
    CW_SYNC_LISTING = 1,
    CW_SYNC_COPYING = 2,
    CW_SYNC_STALLED = 3,
    CW_SYNC_COMPLETE = 4
};

struct cw_wire_sync_state {
    uint32_t phase; /* enum cw_sync_phase */
    uint32_t why;   /* STALLED: enum cw_nack_code or 0 = cannot reach the source */
    uint64_t chunks_left, chunks_total; /* of those found BEHIND */
    uint64_t bytes_moved;
};
CW_STATIC_ASSERT(sizeof(struct cw_wire_sync_state) == 32);

struct cw_wire_ver {
    uint32_t chunk;
    uint32_t gen;
    uint64_t seq; /* UINT64_MAX: VOID, equals nothing */
};
CW_STATIC_ASSERT(sizeof(struct cw_wire_ver) == 16);
#define CW_VER_VOID UINT64_MAX

struct cw_wire_chunk_data {
    uint64_t ver_seq; /* S's chunk version at q; seq 0 gen 0: never written there. A journal's
                       * chunks have none: its first record, and gen 0 */
    uint32_t ver_gen;
    uint32_t n_sent;  /* blocks that follow */
    uint64_t sent[4]; /* bit per block: differs from X's checksum, follows */
    uint64_t bad[4];  /* bit per block: unreadable on S (and not sent); of a journal also what it
                       * does not hold, whose checksum is then CW_HASH_UNKNOWN */
};
CW_STATIC_ASSERT(sizeof(struct cw_wire_chunk_data) == 80);
