/* codec/shardrec.h - who holds a shard: the record that the metadata store, the owner and every
 * copy agree on, and its bytes (SEAL, CFG and the store's SHARDREC carry them).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/uuid.h"

#define CW_MEMBERS_MAX 8

/* When a copy compresses what it holds (its volume's policy); it may differ from copy to copy while
 * a change of the policy is on its way, since checksums are those of the plain blocks. */
enum cw_compression {
    CW_COMPRESSION_OFF = 0,    /* also what a record written before there was a choice says */
    CW_COMPRESSION_BACKGROUND, /* when cold chunks are rewritten */
    CW_COMPRESSION_INLINE,     /* before it is appended */
};

enum cw_member_state {
    CW_MEMBER_INSYNC = 1,
    CW_MEMBER_LAGGING,   /* every chunk CURRENT, behind in seq; not waited for, not read */
    CW_MEMBER_IN_RESYNC, /* "SYNCING": some chunks BEHIND */
    CW_MEMBER_OUT,
    CW_MEMBER_JOURNAL, /* log only */
    CW_MEMBER_DEAD,    /* never comes back */
};

struct cw_member {
    struct cw_uuid disk_uuid; /* with format_id: the copy's identity */
    uint64_t format_id;
    enum cw_member_state state;
    uint64_t since_seq; /* JOURNAL, SYNCING by it: its first seq; INSYNC: CW_SINCE_NEW; else 0 */
    bool async;         /* it follows and is never waited for: OUT, SYNCING, LAGGING or DEAD */
};

/* No owner was ever active with this copy: it may be empty, and is made where it is not. The first
 * owner says so before it acknowledges anything; from then on an in-sync copy that is missing or
 * empty was lost. */
#define CW_SINCE_NEW UINT64_MAX

struct cw_shard_rec {
    uint64_t shard;    /* volume id << 16 | index in the volume */
    uint32_t gen;      /* of the volume, when this record was written */
    uint32_t cfg;      /* raised at each change of members */
    uint64_t lineage;  /* copies of another lineage are never merged */
    uint32_t n_blocks; /* of this shard: CW_SHARD_BLOCKS but for a volume's last */
    enum cw_compression compression;
    uint32_t n_members;
    struct cw_member members[CW_MEMBERS_MAX];
};

#define CW_SHARD_ID(volume, index) ((uint64_t)(volume) << 16 | (uint16_t)(index))
#define CW_SHARD_VOLUME(shard) ((uint64_t)(shard) >> 16)
#define CW_SHARD_INDEX(shard) ((uint16_t)(shard))

/* The member that is this copy; NULL if there is none. */
const struct cw_member *cw_shard_rec_find(const struct cw_shard_rec *r,
                                          const struct cw_uuid *disk_uuid, uint64_t format_id);

/* "INSYNC" .. */
/* May a member be in its state at all? */
bool cw_member_ok(const struct cw_member *m);
const char *cw_member_state_name(enum cw_member_state s);

/* "off", "background", "inline" */
const char *cw_compression_name(enum cw_compression c);

/* False (and *ret unchanged) if it is none of these names. */
bool cw_compression_parse(const char *name, enum cw_compression *ret);

#define CW_SHARD_REC_BYTES_MAX (40 + 40 * CW_MEMBERS_MAX)

/* Returns the bytes used, at most CW_SHARD_REC_BYTES_MAX. */
size_t cw_shard_rec_encode(const struct cw_shard_rec *r, uint8_t *to);

/* False (and *ret undefined) if the bytes are not one whole, sane record. */
bool cw_shard_rec_decode(const uint8_t *from, size_t len, struct cw_shard_rec *ret);
