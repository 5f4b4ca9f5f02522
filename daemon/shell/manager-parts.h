/* shell/manager-parts.h - pieces of control.proto that several messages share, in and out.
 *
 * In: protobuf to the manager's plain structs; strings are borrowed from the message, arrays come
 * from the arena. False: the message makes no sense. Out: plain structs to protobuf, everything
 * from the arena or borrowed from the reply, so a message lives as long as both.
 */
#pragma once

#include "common/service/rpc.h"
#include "daemon/manager/arena.h"
#include "daemon/manager/manager.h"

#define CW_PB(name) Causeway__Control__##name
#define CW_PB_BODY(name) CAUSEWAY__CONTROL__ENVELOPE__BODY_##name

/* A new, initialised message from the arena. */
#define CW_PB_NEW(arena, Message, lower) \
    ({ \
        CW_PB(Message) *m_ = cw_mgr_arena_get(arena, 1, sizeof(*m_)); \
        causeway__control__##lower##__init(m_); \
        m_; \
    })

/* Defines static `name`: an array of messages out of an array of structs, each filled by `fill`. */
#define CW_PB_LIST(name, Message, lower, Plain, fill) \
    static CW_PB(Message) **name(struct cw_mgr_arena *a, const Plain *from, size_t n) \
    { \
        CW_PB(Message) **list = cw_mgr_arena_get(a, n + 1, sizeof(*list)); \
\
        for (size_t i = 0; i < n; i++) { \
            list[i] = CW_PB_NEW(a, Message, lower); \
            fill(a, &from[i], list[i]); \
        } \
        return list; \
    }

/* Generated structs are not const; packing only reads. NULL becomes "". */
static inline char *
cw_pb_text(const char *text)
{
    return (char *)(text != NULL ? text : "");
}

/* Nil is empty. */
static inline ProtobufCBinaryData
cw_pb_uuid(const struct cw_uuid *u)
{
    return (ProtobufCBinaryData){ cw_uuid_is_nil(u) ? 0 : sizeof(u->b), (uint8_t *)u->b };
}

bool cw_pb_uuid_in(ProtobufCBinaryData from, struct cw_uuid *to);
struct cw_mgr_domain cw_pb_domain_in(const CW_PB(Domain) *from); /* NULL: nothing known */
bool cw_pb_disks_in(struct cw_mgr_arena *a, CW_PB(DiskState) *const *from, size_t n,
                    const struct cw_mgr_disk_state **ret);
struct cw_mgr_policy cw_pb_policy_in(const CW_PB(Policy) *from);

CW_PB(Domain) *cw_pb_domain(struct cw_mgr_arena *a, const struct cw_mgr_domain *from);
CW_PB(DiskState) **cw_pb_disks(struct cw_mgr_arena *a, const struct cw_mgr_disk_state *from,
                               size_t n);
CW_PB(DiskLocation) **cw_pb_locations(struct cw_mgr_arena *a, const struct cw_mgr_location *from,
                                      size_t n);
CW_PB(ShardRec) **cw_pb_shards(struct cw_mgr_arena *a, const struct cw_shard_rec *from, size_t n);
struct cw_mgr_kept cw_pb_kept_in(const CW_PB(MetadataKept) *from); /* or NULL */
void cw_pb_kept(const struct cw_mgr_kept *from, CW_PB(MetadataKept) *to);
struct cw_mgr_site_attributes cw_pb_attributes_in(const CW_PB(SiteAttributes) *from); /* or NULL */
CW_PB(SiteAttributes) *cw_pb_attributes(struct cw_mgr_arena *a,
                                        const struct cw_mgr_site_attributes *from);
CW_PB(SiteLink) **cw_pb_links(struct cw_mgr_arena *a, const struct cw_mgr_site_link *from,
                              size_t n);
CW_PB(Policy) *cw_pb_policy(struct cw_mgr_arena *a, const struct cw_mgr_policy *from);
