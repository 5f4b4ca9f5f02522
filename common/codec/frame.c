#include "common/codec/frame.h"

#include <string.h>

#include "common/base/bits.h"
#include "common/codec/hash.h"

#define HASHED_HDR offsetof(struct cw_wire_hdr, xxh3)

/* What each type may carry. */
struct frame_rule {
    const char *name;
    uint16_t flags;      /* those allowed */
    uint32_t opaque_max; /* largest payload without CW_F_DATA */
    bool ranged;         /* lba and nblk mean blocks of a shard */
};

#define ACKS_MAX (64u * 1024)
#define SHARDREC_MAX 4096u

static const struct frame_rule rules[] = {
    [CW_FT_HELLO] = { "HELLO", 0, 1024, false },
    [CW_FT_CONTROL] = { "CONTROL", 0, 1024 * 1024, false },
    [CW_FT_SEAL] = { "SEAL", CW_F_CREATE, SHARDREC_MAX, false },
    [CW_FT_SEAL_OK] = { "SEAL_OK", 0, CW_FRAME_OPAQUE_MAX, false },
    [CW_FT_SEALED] = { "SEALED", 0, 0, false },
    [CW_FT_OPEN] = { "OPEN", 0, 0, false },
    [CW_FT_OPEN_OK] = { "OPEN_OK", 0, 64, false },
    [CW_FT_HEARTBEAT] = { "HEARTBEAT", 0, 0, false },
    [CW_FT_HB_ACK] = { "HB_ACK", 0, 64, false },
    [CW_FT_CLOSE] = { "CLOSE", 0, 0, false },
    [CW_FT_STABLE] = { "STABLE", 0, ACKS_MAX, false },
    [CW_FT_CFG] = { "CFG", 0, SHARDREC_MAX, false },
    [CW_FT_WRITE] = { "WRITE", CW_F_CSUMS | CW_F_DATA, 0, true },
    [CW_FT_ZERO] = { "ZERO", 0, 0, true },
    [CW_FT_TRIM] = { "TRIM", 0, 0, true },
    [CW_FT_GEN_START] = { "GEN_START", 0, 0, false },
    [CW_FT_ACK] = { "ACK", 0, ACKS_MAX, false },
    [CW_FT_NACK] = { "NACK", 0, 64, false },
    [CW_FT_READ] = { "READ", CW_F_MEDIA, 0, true },
    [CW_FT_READ_OK] = { "READ_OK", CW_F_CSUMS | CW_F_DATA | CW_F_ZEROES, 0, true },
    [CW_FT_READ_ERR] = { "READ_ERR", 0, 64, true },
    [CW_FT_TAIL_QUERY] = { "TAIL_QUERY", 0, 0, false },
    [CW_FT_TAIL_DATA] = { "TAIL_DATA", CW_F_CSUMS | CW_F_DATA, 0, true },
    [CW_FT_REPAIR_APPEND] = { "REPAIR_APPEND", CW_F_CSUMS | CW_F_DATA, 0, true },
    [CW_FT_JOIN] = { "JOIN", 0, 0, false },
    [CW_FT_JOIN_OK] = { "JOIN_OK", 0, 0, false },
    [CW_FT_SYNC_FROM] = { "SYNC_FROM", 0, 1024, false },
    [CW_FT_SYNC_STATE] = { "SYNC_STATE", 0, 64, false },
    [CW_FT_VER_LIST] = { "VER_LIST", 0, 0, false },
    [CW_FT_VER_DATA] = { "VER_DATA", 0, CW_FRAME_OPAQUE_MAX, false },
    [CW_FT_CHUNK_GET] = { "CHUNK_GET", CW_F_CSUMS, 0, true },
    [CW_FT_CHUNK_DATA] = { "CHUNK_DATA", CW_F_CSUMS, CW_FRAME_OPAQUE_MAX, true },
    [CW_FT_SYNC_DONE] = { "SYNC_DONE", 0, 0, false },
    [CW_FT_BLOCK_REPAIR] = { "BLOCK_REPAIR", CW_F_CSUMS | CW_F_DATA, 0, true },
    [CW_FT_BLOCK_REPAIR_OK] = { "BLOCK_REPAIR_OK", 0, 0, true },
    [CW_FT_BAD_NOTE] = { "BAD_NOTE", 0, CW_BAD_NOTES_MAX * sizeof(struct cw_wire_bad), false },
};

static const struct frame_rule *
rule_find(uint8_t type)
{
    return type < CW_LEN(rules) && rules[type].name != NULL ? &rules[type] : NULL;
}

uint32_t
cw_hdr_n_csums(const struct cw_wire_hdr *h)
{
    uint32_t n = h->flags & CW_F_CSUMS ? cw_hdr_nblk(h) : 0;

    return n + (h->payload_len > 0 && !(h->flags & CW_F_DATA));
}

int
cw_frame_check_hdr(const struct cw_wire_hdr *h)
{
    const struct frame_rule *rule;
    uint32_t nblk = cw_hdr_nblk(h);

    if (h->magic != CW_WIRE_MAGIC)
        return CW_FRAME_E_MAGIC;
    if (h->version != CW_WIRE_VERSION)
        return CW_FRAME_E_VERSION;
    rule = rule_find(h->type);
    if (rule == NULL || (h->flags & ~rule->flags) != 0)
        return CW_FRAME_E_TYPE;
    if ((h->flags & CW_F_DATA) && !(h->flags & CW_F_CSUMS))
        return CW_FRAME_E_TYPE;
    if ((h->flags & CW_F_CSUMS) && (nblk == 0 || nblk > CW_IO_BLOCKS_MAX))
        return CW_FRAME_E_LENGTH;
    if (rule->ranged && (cw_hdr_lba(h) > CW_SHARD_BLOCKS || nblk > CW_SHARD_BLOCKS - cw_hdr_lba(h)))
        return CW_FRAME_E_LENGTH;
    if (h->flags & CW_F_DATA)
        return h->payload_len == nblk * CW_BLOCK_SIZE ? 0 : CW_FRAME_E_LENGTH;
    return h->payload_len <= rule->opaque_max ? 0 : CW_FRAME_E_LENGTH;
}

static uint64_t
hdr_hash(const struct cw_wire_hdr *h, const uint64_t *csums)
{
    return cw_hash2(h, HASHED_HDR, csums, cw_hdr_n_csums(h) * sizeof(uint64_t));
}

int
cw_frame_check_csums(const struct cw_wire_hdr *h, const uint64_t *csums)
{
    return hdr_hash(h, csums) == h->xxh3 ? 0 : CW_FRAME_E_CSUM;
}

int
cw_frame_check_opaque(const struct cw_wire_hdr *h, const uint64_t *csums, const void *payload)
{
    if (h->payload_len == 0 || (h->flags & CW_F_DATA))
        return 0;
    return cw_hash(payload, h->payload_len) == csums[cw_hdr_n_csums(h) - 1] ? 0 : CW_FRAME_E_CSUM;
}

const char *
cw_frame_error_text(int error)
{
    switch (error) {
    case CW_FRAME_E_MAGIC:
        return "not a Causeway frame";
    case CW_FRAME_E_VERSION:
        return "unknown frame version";
    case CW_FRAME_E_TYPE:
        return "unknown frame type or flags";
    case CW_FRAME_E_LENGTH:
        return "frame length out of bounds";
    case CW_FRAME_E_CSUM:
        return "frame checksum mismatch";
    }
    return "unknown frame error";
}

const char *
cw_frame_type_name(uint8_t type)
{
    const struct frame_rule *rule = rule_find(type);

    return rule != NULL ? rule->name : "?";
}

/* A msg whose header is complete but for its hash; *ret_csums is where the array goes. */
static struct cw_msg *
frame_begin(struct cw_buf_pool *p, struct cw_wire_hdr *h, uint32_t inline_len, uint64_t **ret_csums)
{
    uint32_t head_len;
    struct cw_msg *m;

    h->magic = CW_WIRE_MAGIC;
    h->version = CW_WIRE_VERSION;
    cw_assert(cw_frame_check_hdr(h) == 0);
    head_len = (uint32_t)(sizeof(*h) + cw_hdr_n_csums(h) * sizeof(uint64_t)) + inline_len;
    m = cw_msg_new(p, head_len);
    if (m == NULL)
        return NULL;
    m->head_len = head_len;
    *ret_csums = (uint64_t *)(void *)(m->head + sizeof(*h));
    return m;
}

static struct cw_msg *
frame_end(struct cw_msg *m, struct cw_wire_hdr *h, const uint64_t *csums)
{
    h->xxh3 = hdr_hash(h, csums);
    memcpy(m->head, h, sizeof(*h));
    return m;
}

struct cw_msg *
cw_frame_plain(struct cw_buf_pool *p, struct cw_wire_hdr h)
{
    uint64_t *csums;
    struct cw_msg *m;

    h.payload_len = 0;
    cw_assert((h.flags & (CW_F_CSUMS | CW_F_DATA)) == 0);
    m = frame_begin(p, &h, 0, &csums);
    return m != NULL ? frame_end(m, &h, csums) : NULL;
}

struct cw_msg *
cw_frame_opaque(struct cw_buf_pool *p, struct cw_wire_hdr h, const uint64_t *csums,
                const void *payload, uint32_t len)
{
    uint32_t n_blocks = h.flags & CW_F_CSUMS ? cw_hdr_nblk(&h) : 0;
    uint64_t *to;
    struct cw_msg *m;

    h.payload_len = len;
    m = frame_begin(p, &h, len, &to);
    if (m == NULL)
        return NULL;
    if (n_blocks > 0)
        memcpy(to, csums, n_blocks * sizeof(uint64_t));
    if (len > 0) {
        to[n_blocks] = cw_hash(payload, len);
        memcpy(to + n_blocks + 1, payload, len);
    }
    return frame_end(m, &h, to);
}

struct cw_msg *
cw_frame_data(struct cw_buf_pool *p, struct cw_wire_hdr h, const uint64_t *csums,
              struct cw_buf *take_body, const uint8_t *data)
{
    uint64_t *to;
    struct cw_msg *m;

    h.flags |= CW_F_CSUMS | CW_F_DATA;
    h.payload_len = cw_hdr_nblk(&h) * CW_BLOCK_SIZE;
    m = frame_begin(p, &h, 0, &to);
    if (m == NULL)
        return NULL;
    memcpy(to, csums, cw_hdr_nblk(&h) * sizeof(uint64_t));
    cw_msg_set_body(m, take_body, data, h.payload_len);
    return frame_end(m, &h, to);
}
