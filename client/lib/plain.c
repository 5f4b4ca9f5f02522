#include "client/lib/plain.h"

#include <stdio.h>
#include <stdlib.h>

#define SHARDS_MAX 65536u /* what an index in a shard id can name */

bool
cw_plain_uuid(const ProtobufCBinaryData *m, struct cw_uuid *ret)
{
    if (m->len != sizeof(ret->b))
        return false;
    memcpy(ret->b, m->data, sizeof(ret->b));
    return true;
}

static void
plain_text(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from != NULL ? from : "");
}

void
cw_plain_domain(const Causeway__Control__Domain *m, struct cw_locality *ret)
{
    if (m == NULL)
        return;
    plain_text(ret->site, sizeof(ret->site), m->site);
    plain_text(ret->rack, sizeof(ret->rack), m->rack);
    plain_text(ret->host, sizeof(ret->host), m->host);
}

static bool
plain_member(const Causeway__Control__Member *m, struct cw_member *ret)
{
    *ret = (struct cw_member){ .format_id = m->format_id,
                               .state = (enum cw_member_state)m->state,
                               .since_seq = m->since_seq,
                               .async = m->async };
    return cw_plain_uuid(&m->disk_uuid, &ret->disk_uuid) && m->state >= 1 &&
           (unsigned)m->state <= CW_MEMBER_DEAD && cw_member_ok(ret);
}

bool
cw_plain_shard(const Causeway__Control__ShardRec *m, struct cw_shard_rec *ret)
{
    if (m->n_members > CW_MEMBERS_MAX || m->n_blocks == 0 || m->n_blocks > CW_SHARD_BLOCKS ||
        m->compression > CW_COMPRESSION_INLINE)
        return false;
    *ret = (struct cw_shard_rec){
        .shard = m->shard,
        .gen = m->gen,
        .cfg = m->cfg,
        .lineage = m->lineage,
        .n_blocks = m->n_blocks,
        .compression = (enum cw_compression)m->compression,
        .n_members = (uint32_t)m->n_members,
    };
    for (size_t i = 0; i < m->n_members; i++) {
        if (!plain_member(m->members[i], &ret->members[i]))
            return false;
    }
    return true;
}

static bool
plain_disk(const Causeway__Control__DiskLocation *m, struct cw_disk_location *ret)
{
    *ret =
        (struct cw_disk_location){ .format_id = m->format_id, .up = m->up, .crowded = m->crowded };
    cw_plain_domain(m->domain, &ret->at);
    plain_text(ret->at.host, sizeof(ret->at.host), m->host);
    plain_text(ret->addr, sizeof(ret->addr), m->addr);
    plain_text(ret->unix_path, sizeof(ret->unix_path), m->unix_path);
    cw_plain_uuid(&m->boot_id, &ret->at.boot_id); /* absent: no unix socket for us */
    return cw_plain_uuid(&m->uuid, &ret->disk_uuid);
}

static uint32_t
plain_disks(Causeway__Control__DiskLocation *const *m, size_t n, struct cw_disk_location *to)
{
    uint32_t n_good = 0;

    for (size_t i = 0; i < n; i++)
        n_good += plain_disk(m[i], &to[n_good]);
    return n_good;
}

struct cw_disk_location *
cw_plain_disks(Causeway__Control__DiskLocation *const *m, size_t n, uint32_t *ret_n)
{
    struct cw_disk_location *to = n > 0 ? calloc(n, sizeof(*to)) : NULL;

    *ret_n = to != NULL ? plain_disks(m, n, to) : 0;
    return to;
}

static void
plain_policy(const Causeway__Control__Policy *m, struct cw_volume_desc *ret)
{
    ret->min_insync = 1;
    ret->degrade_s = 60;
    if (m == NULL)
        return;
    ret->min_insync = m->min_insync != 0 ? m->min_insync : m->copies >= 3 ? 2 : 1;
    ret->degrade_s = m->degrade_s;
    ret->iops_limit = m->iops_limit;
    ret->bandwidth_limit = m->bandwidth_limit;
    ret->quorum_loss_error = m->quorum_loss != NULL && strcmp(m->quorum_loss, "error") == 0;
    ret->space_full_error = m->space_full != NULL && strcmp(m->space_full, "error") == 0;
    ret->ack_replicated = m->ack != NULL && strcmp(m->ack, "replicated") == 0;
    ret->resync_limit = m->resync_limit;
    ret->resync_paused = m->resync_paused;
}

struct cw_plain_volume *
cw_plain_volume_new(const Causeway__Control__AttachReply *m)
{
    struct cw_plain_volume *v;
    struct cw_shard_rec *shards;
    struct cw_disk_location *disks;

    if (m->spec == NULL || m->n_shards > SHARDS_MAX)
        return NULL;
    v = calloc(1, sizeof(*v) + m->n_shards * sizeof(*shards) + m->n_disks * sizeof(*disks));
    if (v == NULL)
        return NULL;
    shards = (struct cw_shard_rec *)(void *)(v + 1);
    disks = (struct cw_disk_location *)(void *)(shards + m->n_shards);
    v->desc = (struct cw_volume_desc){
        .id = m->spec->id,
        .size_bytes = m->spec->size_bytes,
        .gen = m->gen,
        .released = m->released,
        .cold_start = m->cold_start,
        .shards = shards,
        .n_shards = (uint32_t)m->n_shards,
        .disks = disks,
    };
    plain_text(v->desc.name, sizeof(v->desc.name), m->spec->name);
    plain_policy(m->policy, &v->desc);
    v->desc.n_disks = plain_disks(m->disks, m->n_disks, disks);
    for (size_t i = 0; i < m->n_shards; i++) {
        if (!cw_plain_shard(m->shards[i], &shards[i])) {
            free(v);
            return NULL;
        }
    }
    return v;
}
