#include "daemon/shell/host-parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARDS_MAX 65536u

bool
cw_host_uuid_in(const ProtobufCBinaryData *from, struct cw_uuid *to)
{
    if (from->len != sizeof(to->b))
        return false;
    memcpy(to->b, from->data, sizeof(to->b));
    return true;
}

ProtobufCBinaryData
cw_host_uuid(const struct cw_uuid *u)
{
    return (ProtobufCBinaryData){ cw_uuid_is_nil(u) ? 0 : sizeof(u->b),
                                  (uint8_t *)(uintptr_t)u->b };
}

char *
cw_host_text(const char *text)
{
    return (char *)(uintptr_t)(text != NULL ? text : "");
}

static void
text_in(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from != NULL ? from : "");
}

/* ---- records ---- */

static bool
member_in(const Causeway__Control__Member *from, struct cw_member *to)
{
    *to = (struct cw_member){ .format_id = from->format_id,
                              .state = (enum cw_member_state)from->state,
                              .since_seq = from->since_seq,
                              .async = from->async };
    return from->state >= CAUSEWAY__CONTROL__MEMBER_STATE__INSYNC &&
           from->state <= CAUSEWAY__CONTROL__MEMBER_STATE__DEAD && cw_member_ok(to) &&
           cw_host_uuid_in(&from->disk_uuid, &to->disk_uuid);
}

bool
cw_host_shard_in(const Causeway__Control__ShardRec *from, struct cw_shard_rec *to)
{
    if (from->n_members > CW_MEMBERS_MAX || from->n_blocks == 0 ||
        from->n_blocks > CW_SHARD_BLOCKS || from->compression > CW_COMPRESSION_INLINE)
        return false;
    *to = (struct cw_shard_rec){ .shard = from->shard,
                                 .gen = from->gen,
                                 .cfg = from->cfg,
                                 .lineage = from->lineage,
                                 .n_blocks = from->n_blocks,
                                 .compression = (enum cw_compression)from->compression,
                                 .n_members = (uint32_t)from->n_members };
    for (size_t i = 0; i < from->n_members; i++) {
        if (!member_in(from->members[i], &to->members[i]))
            return false;
    }
    return true;
}

static bool
shards_fill(Causeway__Control__ShardRec *const *from, size_t n, struct cw_shard_rec *to)
{
    for (size_t i = 0; i < n; i++) {
        if (!cw_host_shard_in(from[i], &to[i]))
            return false;
    }
    return true;
}

struct cw_shard_rec *
cw_host_shards_in(Causeway__Control__ShardRec *const *from, size_t n)
{
    struct cw_shard_rec *to = n <= SHARDS_MAX ? calloc(n + 1, sizeof(*to)) : NULL;

    if (to != NULL && !shards_fill(from, n, to)) {
        free(to);
        to = NULL;
    }
    return to;
}

/* ---- places ---- */

static bool
disk_in(const Causeway__Control__DiskLocation *from, struct cw_disk_location *to)
{
    const Causeway__Control__Domain *at = from->domain;

    *to = (struct cw_disk_location){ .format_id = from->format_id,
                                     .up = from->up,
                                     .crowded = from->crowded };
    text_in(to->at.site, sizeof(to->at.site), at != NULL ? at->site : "");
    text_in(to->at.rack, sizeof(to->at.rack), at != NULL ? at->rack : "");
    text_in(to->at.host, sizeof(to->at.host), from->host);
    text_in(to->addr, sizeof(to->addr), from->addr);
    text_in(to->unix_path, sizeof(to->unix_path), from->unix_path);
    if (!cw_host_uuid_in(&from->boot_id, &to->at.boot_id))
        to->unix_path[0] = '\0'; /* of which machine? */
    return cw_host_uuid_in(&from->uuid, &to->disk_uuid);
}

static uint32_t
disks_fill(Causeway__Control__DiskLocation *const *from, size_t n, struct cw_disk_location *to)
{
    uint32_t n_good = 0;

    for (size_t i = 0; i < n; i++)
        n_good += disk_in(from[i], &to[n_good]);
    return n_good;
}

struct cw_disk_location *
cw_host_disks_in(Causeway__Control__DiskLocation *const *from, size_t n, uint32_t *ret_n)
{
    struct cw_disk_location *to = calloc(n + 1, sizeof(*to));

    *ret_n = to != NULL ? disks_fill(from, n, to) : 0;
    return to;
}

/* ---- volumes ---- */

static void
policy_in(const Causeway__Control__Policy *from, struct cw_volume_desc *to)
{
    to->min_insync = from != NULL && from->min_insync > 0 ? from->min_insync : 1;
    to->degrade_s = from != NULL ? from->degrade_s : 60;
    to->quorum_loss_error =
        from != NULL && from->quorum_loss != NULL && strcmp(from->quorum_loss, "error") == 0;
    to->space_full_error =
        from != NULL && from->space_full != NULL && strcmp(from->space_full, "error") == 0;
    to->ack_replicated = from != NULL && from->ack != NULL && strcmp(from->ack, "replicated") == 0;
    to->resync_limit = from != NULL ? from->resync_limit : 0;
    to->resync_paused = from != NULL && from->resync_paused;
}

struct cw_volume_desc *
cw_host_volume_in(const Causeway__Control__AttachReply *from)
{
    struct cw_shard_rec *shards;
    struct cw_disk_location *disks;
    struct cw_volume_desc *v;

    if (from->spec == NULL || from->n_shards > SHARDS_MAX)
        return NULL;
    v = calloc(1, sizeof(*v) + from->n_shards * sizeof(*shards) + from->n_disks * sizeof(*disks));
    if (v == NULL)
        return NULL;
    shards = (struct cw_shard_rec *)(void *)(v + 1);
    disks = (struct cw_disk_location *)(void *)(shards + from->n_shards);
    v->id = from->spec->id;
    v->size_bytes = from->spec->size_bytes;
    v->gen = from->gen;
    v->released = from->released;
    v->cold_start = from->cold_start;
    v->shards = shards;
    v->n_shards = (uint32_t)from->n_shards;
    v->disks = disks;
    text_in(v->name, sizeof(v->name), from->spec->name);
    policy_in(from->policy, v);
    v->n_disks = disks_fill(from->disks, from->n_disks, disks);
    if (shards_fill(from->shards, from->n_shards, shards))
        return v;
    free(v);
    return NULL;
}

/* ---- states ---- */

static void
scrub_out(const struct cw_data_disk *disk, Causeway__Control__ScrubState *to)
{
    const struct cw_store_scrub_stats *from = &disk->stats.scrub;

    causeway__control__scrub_state__init(to);
    to->pass = from->pass;
    to->running = from->running;
    to->hurried = from->hurried;
    to->done_bytes = from->done_bytes;
    to->total_bytes = from->total_bytes;
    to->elapsed_s = from->elapsed_ns / CW_NS_PER_S;
    to->found = from->found;
    to->repaired = from->repaired;
    to->last_pass = from->last_pass;
    to->last_took_s = from->last_took_ns / CW_NS_PER_S;
    to->last_ago_s = from->last_ago_ns / CW_NS_PER_S;
    to->last_bytes = from->last_bytes;
    to->last_found = from->last_found;
    to->last_repaired = from->last_repaired;
    to->recent = from->recent;
    to->storms = from->storms;
    to->bad_blocks = disk->bad_blocks;
}

void
cw_host_disk_state(const struct cw_data_disk *from, const struct cw_uuid *host_key,
                   struct cw_host_disk_out *out)
{
    Causeway__Control__DiskState *to = &out->disk;

    causeway__control__disk_state__init(to);
    scrub_out(from, &out->scrub);
    to->scrub = &out->scrub;
    to->uuid = cw_host_uuid(&from->id.disk_uuid);
    to->format_id = from->id.format_id;
    to->cluster_id = cw_host_uuid(&from->id.cluster_id);
    to->name = cw_host_text(from->name);
    to->size_bytes = from->stats.bytes;
    to->used_bytes = from->stats.used_bytes;
    to->free_bytes = from->stats.free_bytes;
    to->full = from->stats.full;
    to->stuck = from->stuck;
    to->failed = from->stats.failed;
    to->why = cw_host_text(from->why);
    to->csum_errors = from->stats.csum_errors;
    to->io_errors = from->stats.io_errors;
    to->host_key = cw_host_uuid(host_key);
    to->shards = from->n_shards;
    to->write_p99_ns = from->write_p99_ns;
    to->cache_bytes = from->memory.cache_bytes;
    to->table_bytes = from->memory.table_bytes + from->memory.copy_bytes;
    to->discarded_bytes = from->stats.bytes_discarded;
    to->logged_bytes = from->stats.bytes_logged;
    to->cleaned_bytes = from->stats.bytes_cleaned;
    to->packed_bytes = from->stats.packed_in;
    to->packed_to_bytes = from->stats.packed_out;
    to->layers = from->stats.layers;
    to->start_ns = from->recovery.took_ns;
    to->start_batches = from->recovery.replayed_batches;
}

void
cw_host_memory(const struct cw_data_look *from, uint64_t resident_bytes,
               Causeway__Control__HostMemory *to)
{
    causeway__control__host_memory__init(to);
    to->limit_bytes = from->memory.limit_bytes;
    to->pool_bytes = from->memory.pool_bytes;
    to->pool_used_bytes = from->memory.pool_used_bytes;
    to->metadata_bytes = from->memory.metadata_bytes;
    to->resident_bytes = resident_bytes;
    for (uint32_t i = 0; i < from->n_disks; i++)
        to->metadata_used_bytes +=
            from->disks[i].memory.table_bytes + from->disks[i].memory.copy_bytes;
}

void
cw_host_copy_state(const struct cw_data_look *look, const struct cw_data_copy *from,
                   Causeway__Control__CopyState *to)
{
    const struct cw_data_disk *disk = &look->disks[from->disk];

    causeway__control__copy_state__init(to);
    to->shard = from->c.shard;
    to->disk_uuid = cw_host_uuid(&disk->id.disk_uuid);
    to->format_id = disk->id.format_id;
    to->gen = (uint32_t)cw_max_u64(from->c.rec_gen, from->c.promised_gen);
    to->cfg = from->c.rec_cfg;
    to->last_gen = from->c.last_gen;
    to->last_seq = from->c.last_seq;
    to->damaged = from->c.damaged;
    to->syncing = from->c.syncing;
    to->mapped_blocks = from->c.mapped_blocks;
}
