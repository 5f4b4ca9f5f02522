#include "common/codec/shardrec.h"

#include <string.h>

#include "common/base/bits.h"
#include "proto/wire.h"

struct member_bytes {
    uint8_t disk_uuid[16];
    uint64_t format_id;
    uint64_t since_seq;
    uint32_t state;
    uint32_t flags; /* MEMBER_ASYNC; earlier versions write 0 and do not look */
};
#define MEMBER_ASYNC 1u
CW_STATIC_ASSERT(sizeof(struct member_bytes) == 40);
CW_AT(struct member_bytes, disk_uuid, 0);
CW_AT(struct member_bytes, format_id, 16);
CW_AT(struct member_bytes, since_seq, 24);
CW_AT(struct member_bytes, state, 32);
CW_AT(struct member_bytes, flags, 36);

struct rec_bytes {
    uint64_t shard;
    uint32_t gen, cfg;
    uint64_t lineage;
    uint32_t n_blocks;
    uint32_t n_members;
    uint8_t compression; /* this and the rest were zeroes that nobody looked at: 0 is off */
    uint8_t zero[7];
};
CW_STATIC_ASSERT(sizeof(struct rec_bytes) == 40);
CW_AT(struct rec_bytes, shard, 0);
CW_AT(struct rec_bytes, gen, 8);
CW_AT(struct rec_bytes, cfg, 12);
CW_AT(struct rec_bytes, lineage, 16);
CW_AT(struct rec_bytes, n_blocks, 24);
CW_AT(struct rec_bytes, n_members, 28);
CW_AT(struct rec_bytes, compression, 32);
CW_AT(struct rec_bytes, zero, 33);

const struct cw_member *
cw_shard_rec_find(const struct cw_shard_rec *r, const struct cw_uuid *disk_uuid, uint64_t format_id)
{
    for (uint32_t i = 0; i < r->n_members; i++) {
        const struct cw_member *m = &r->members[i];

        if (m->format_id == format_id && cw_uuid_equal(&m->disk_uuid, disk_uuid))
            return m;
    }
    return NULL;
}

bool
cw_member_ok(const struct cw_member *m)
{
    return !m->async || m->state == CW_MEMBER_OUT || m->state == CW_MEMBER_IN_RESYNC ||
           m->state == CW_MEMBER_LAGGING || m->state == CW_MEMBER_DEAD;
}

const char *
cw_member_state_name(enum cw_member_state s)
{
    switch (s) {
    case CW_MEMBER_INSYNC:
        return "INSYNC";
    case CW_MEMBER_LAGGING:
        return "LAGGING";
    case CW_MEMBER_IN_RESYNC:
        return "SYNCING";
    case CW_MEMBER_OUT:
        return "OUT";
    case CW_MEMBER_JOURNAL:
        return "JOURNAL";
    case CW_MEMBER_DEAD:
        return "DEAD";
    }
    return "?";
}

static const char *const compression_names[] = {
    [CW_COMPRESSION_OFF] = "off",
    [CW_COMPRESSION_BACKGROUND] = "background",
    [CW_COMPRESSION_INLINE] = "inline",
};

const char *
cw_compression_name(enum cw_compression c)
{
    return compression_names[c];
}

bool
cw_compression_parse(const char *name, enum cw_compression *ret)
{
    for (size_t i = 0; i < CW_LEN(compression_names); i++) {
        if (strcmp(name, compression_names[i]) == 0) {
            *ret = (enum cw_compression)i;
            return true;
        }
    }
    return false;
}

size_t
cw_shard_rec_encode(const struct cw_shard_rec *r, uint8_t *to)
{
    struct rec_bytes head = {
        .shard = r->shard,
        .gen = r->gen,
        .cfg = r->cfg,
        .lineage = r->lineage,
        .n_blocks = r->n_blocks,
        .n_members = r->n_members,
        .compression = (uint8_t)r->compression,
    };

    cw_assert(r->n_members <= CW_MEMBERS_MAX);
    memcpy(to, &head, sizeof(head));
    for (uint32_t i = 0; i < r->n_members; i++) {
        const struct cw_member *m = &r->members[i];
        struct member_bytes mb = {
            .format_id = m->format_id,
            .since_seq = m->since_seq,
            .state = m->state,
            .flags = m->async ? MEMBER_ASYNC : 0,
        };

        memcpy(mb.disk_uuid, m->disk_uuid.b, sizeof(mb.disk_uuid));
        memcpy(to + sizeof(head) + i * sizeof(mb), &mb, sizeof(mb));
    }
    return sizeof(head) + r->n_members * sizeof(struct member_bytes);
}

bool
cw_shard_rec_decode(const uint8_t *from, size_t len, struct cw_shard_rec *ret)
{
    struct rec_bytes head;

    if (len < sizeof(head))
        return false;
    memcpy(&head, from, sizeof(head));
    if (head.n_members > CW_MEMBERS_MAX || head.n_blocks == 0 || head.n_blocks > CW_SHARD_BLOCKS ||
        head.compression > CW_COMPRESSION_INLINE ||
        len != sizeof(head) + head.n_members * sizeof(struct member_bytes))
        return false;
    *ret = (struct cw_shard_rec){
        .shard = head.shard,
        .gen = head.gen,
        .cfg = head.cfg,
        .lineage = head.lineage,
        .n_blocks = head.n_blocks,
        .n_members = head.n_members,
        .compression = (enum cw_compression)head.compression,
    };
    for (uint32_t i = 0; i < head.n_members; i++) {
        struct cw_member *m = &ret->members[i];
        struct member_bytes mb;

        memcpy(&mb, from + sizeof(head) + i * sizeof(mb), sizeof(mb));
        if (mb.state < CW_MEMBER_INSYNC || mb.state > CW_MEMBER_DEAD ||
            (mb.flags & ~MEMBER_ASYNC) != 0)
            return false;
        memcpy(m->disk_uuid.b, mb.disk_uuid, sizeof(mb.disk_uuid));
        m->format_id = mb.format_id;
        m->since_seq = mb.since_seq;
        m->state = (enum cw_member_state)mb.state;
        m->async = mb.flags & MEMBER_ASYNC;
        if (!cw_member_ok(m))
            return false;
    }
    return true;
}
