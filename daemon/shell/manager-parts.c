#include "daemon/shell/manager-parts.h"

#include <string.h>

#include "common/base/assert.h"

/* The numbers of the two languages are the same. */
CW_STATIC_ASSERT((int)CAUSEWAY__CONTROL__MEMBER_STATE__INSYNC == (int)CW_MEMBER_INSYNC);
CW_STATIC_ASSERT((int)CAUSEWAY__CONTROL__MEMBER_STATE__LAGGING == (int)CW_MEMBER_LAGGING);
CW_STATIC_ASSERT((int)CAUSEWAY__CONTROL__MEMBER_STATE__SYNCING == (int)CW_MEMBER_IN_RESYNC);
CW_STATIC_ASSERT((int)CAUSEWAY__CONTROL__MEMBER_STATE__OUT == (int)CW_MEMBER_OUT);
CW_STATIC_ASSERT((int)CAUSEWAY__CONTROL__MEMBER_STATE__JOURNAL == (int)CW_MEMBER_JOURNAL);
CW_STATIC_ASSERT((int)CAUSEWAY__CONTROL__MEMBER_STATE__DEAD == (int)CW_MEMBER_DEAD);
CW_STATIC_ASSERT((int)CAUSEWAY__CONTROL__SITE_KIND__CLOUD == (int)CW_SITE_CLOUD);
CW_STATIC_ASSERT((int)CAUSEWAY__CONTROL__ERROR_CODE__BUSY == (int)CW_MGR_BUSY);

/* ---- in ---- */

bool
cw_pb_uuid_in(ProtobufCBinaryData from, struct cw_uuid *to)
{
    *to = (struct cw_uuid){ 0 };
    if (from.len == 0)
        return true;
    if (from.len != sizeof(to->b))
        return false;
    memcpy(to->b, from.data, sizeof(to->b));
    return true;
}

struct cw_mgr_domain
cw_pb_domain_in(const CW_PB(Domain) *from)
{
    if (from == NULL)
        return (struct cw_mgr_domain){ "", "", "", "" };
    return (struct cw_mgr_domain){ from->region, from->site, from->rack, from->host };
}

static struct cw_mgr_scrub_state
scrub_in(const CW_PB(ScrubState) *from)
{
    if (from == NULL) /* an older daemon's */
        return (struct cw_mgr_scrub_state){ 0 };
    return (struct cw_mgr_scrub_state){
        .pass = from->pass,
        .running = from->running,
        .hurried = from->hurried,
        .done_bytes = from->done_bytes,
        .total_bytes = from->total_bytes,
        .elapsed_s = from->elapsed_s,
        .found = from->found,
        .repaired = from->repaired,
        .last_pass = from->last_pass,
        .last_took_s = from->last_took_s,
        .last_ago_s = from->last_ago_s,
        .last_bytes = from->last_bytes,
        .last_found = from->last_found,
        .last_repaired = from->last_repaired,
        .recent = from->recent,
        .storms = from->storms,
        .bad_blocks = from->bad_blocks,
    };
}

static bool
disk_in(const CW_PB(DiskState) *from, struct cw_mgr_disk_state *to)
{
    *to = (struct cw_mgr_disk_state){
        .format_id = from->format_id,
        .name = from->name,
        .size_bytes = from->size_bytes,
        .used_bytes = from->used_bytes,
        .free_bytes = from->free_bytes,
        .full = from->full,
        .stuck = from->stuck,
        .failed = from->failed,
        .why = from->why,
        .csum_errors = from->csum_errors,
        .io_errors = from->io_errors,
        .shards = from->shards,
        .write_p99_ns = from->write_p99_ns,
        .scrub = scrub_in(from->scrub),
        .cache_bytes = from->cache_bytes,
        .table_bytes = from->table_bytes,
        .discarded_bytes = from->discarded_bytes,
        .logged_bytes = from->logged_bytes,
        .cleaned_bytes = from->cleaned_bytes,
        .packed_bytes = from->packed_bytes,
        .packed_to_bytes = from->packed_to_bytes,
        .layers = from->layers,
        .start_ns = from->start_ns,
        .start_batches = from->start_batches,
    };
    return cw_pb_uuid_in(from->uuid, &to->uuid) && cw_pb_uuid_in(from->host_key, &to->host_key) &&
           cw_pb_uuid_in(from->cluster_id, &to->cluster_id) && !cw_uuid_is_nil(&to->uuid);
}

bool
cw_pb_disks_in(struct cw_mgr_arena *a, CW_PB(DiskState) *const *from, size_t n,
               const struct cw_mgr_disk_state **ret)
{
    struct cw_mgr_disk_state *list = cw_mgr_arena_get(a, n + 1, sizeof(*list));

    for (size_t i = 0; i < n; i++)
        if (!disk_in(from[i], &list[i]))
            return false;
    *ret = list;
    return true;
}

struct cw_mgr_policy
cw_pb_policy_in(const CW_PB(Policy) *from)
{
    return (struct cw_mgr_policy){
        .name = from->name,
        .copies = from->copies,
        .spread = from->spread,
        .sites = from->sites,
        .min_insync = from->min_insync,
        .degrade_s = from->degrade_s,
        .journal = from->journal,
        .ack = from->ack,
        .async = from->async,
        .compression = from->compression,
        .iops_limit = from->iops_limit,
        .bandwidth_limit = from->bandwidth_limit,
        .repair_delay_s = from->repair_delay_s,
        .rpo_s = from->rpo_s,
        .quorum_loss = from->quorum_loss,
        .space_full = from->space_full,
    };
}

/* ---- out ---- */

CW_PB(Domain) *
cw_pb_domain(struct cw_mgr_arena *a, const struct cw_mgr_domain *from)
{
    CW_PB(Domain) *to = CW_PB_NEW(a, Domain, domain);

    to->region = cw_pb_text(from->region);
    to->site = cw_pb_text(from->site);
    to->rack = cw_pb_text(from->rack);
    to->host = cw_pb_text(from->host);
    return to;
}

static CW_PB(ScrubState) *
scrub_out(struct cw_mgr_arena *a, const struct cw_mgr_scrub_state *from)
{
    CW_PB(ScrubState) *to = CW_PB_NEW(a, ScrubState, scrub_state);

    to->pass = from->pass;
    to->running = from->running;
    to->hurried = from->hurried;
    to->done_bytes = from->done_bytes;
    to->total_bytes = from->total_bytes;
    to->elapsed_s = from->elapsed_s;
    to->found = from->found;
    to->repaired = from->repaired;
    to->last_pass = from->last_pass;
    to->last_took_s = from->last_took_s;
    to->last_ago_s = from->last_ago_s;
    to->last_bytes = from->last_bytes;
    to->last_found = from->last_found;
    to->last_repaired = from->last_repaired;
    to->recent = from->recent;
    to->storms = from->storms;
    to->bad_blocks = from->bad_blocks;
    return to;
}

static void
disk_out(struct cw_mgr_arena *a, const struct cw_mgr_disk_state *from, CW_PB(DiskState) *to)
{
    to->uuid = cw_pb_uuid(&from->uuid);
    to->format_id = from->format_id;
    to->cluster_id = cw_pb_uuid(&from->cluster_id);
    to->name = cw_pb_text(from->name);
    to->size_bytes = from->size_bytes;
    to->used_bytes = from->used_bytes;
    to->free_bytes = from->free_bytes;
    to->full = from->full;
    to->stuck = from->stuck;
    to->failed = from->failed;
    to->missing = from->missing;
    to->why = cw_pb_text(from->why);
    to->csum_errors = from->csum_errors;
    to->io_errors = from->io_errors;
    to->host_key = cw_pb_uuid(&from->host_key);
    to->shards = from->shards;
    to->write_p99_ns = from->write_p99_ns;
    to->scrub = scrub_out(a, &from->scrub);
    to->quarantined = from->quarantined;
    to->quarantined_since = cw_pb_text(from->quarantined_since);
    to->quarantined_why = cw_pb_text(from->quarantined_why);
    to->draining = from->draining;
    to->draining_since = cw_pb_text(from->draining_since);
    to->removed = from->removed;
    to->removed_since = cw_pb_text(from->removed_since);
    to->cache_bytes = from->cache_bytes;
    to->table_bytes = from->table_bytes;
    to->discarded_bytes = from->discarded_bytes;
    to->logged_bytes = from->logged_bytes;
    to->cleaned_bytes = from->cleaned_bytes;
    to->packed_bytes = from->packed_bytes;
    to->packed_to_bytes = from->packed_to_bytes;
    to->layers = from->layers;
    to->start_ns = from->start_ns;
    to->start_batches = from->start_batches;
}

CW_PB_LIST(disks_out, DiskState, disk_state, struct cw_mgr_disk_state, disk_out)

CW_PB(DiskState) **
cw_pb_disks(struct cw_mgr_arena *a, const struct cw_mgr_disk_state *from, size_t n)
{
    return disks_out(a, from, n);
}

static void
location_out(struct cw_mgr_arena *a, const struct cw_mgr_location *from, CW_PB(DiskLocation) *to)
{
    to->uuid = cw_pb_uuid(&from->uuid);
    to->format_id = from->format_id;
    to->host = cw_pb_text(from->host);
    to->name = cw_pb_text(from->name);
    to->domain = cw_pb_domain(a, &from->domain);
    to->addr = cw_pb_text(from->addr);
    to->unix_path = cw_pb_text(from->unix_path);
    to->boot_id = cw_pb_uuid(&from->boot_id);
    to->up = from->up;
    to->crowded = from->crowded;
}

CW_PB_LIST(locations_out, DiskLocation, disk_location, struct cw_mgr_location, location_out)

CW_PB(DiskLocation) **
cw_pb_locations(struct cw_mgr_arena *a, const struct cw_mgr_location *from, size_t n)
{
    return locations_out(a, from, n);
}

static void
member_out(struct cw_mgr_arena *a, const struct cw_member *from, CW_PB(Member) *to)
{
    to->disk_uuid = cw_pb_uuid(&from->disk_uuid);
    to->format_id = from->format_id;
    to->state = (CW_PB(MemberState))from->state;
    to->since_seq = from->since_seq;
    to->async = from->async;
}

CW_PB_LIST(members_out, Member, member, struct cw_member, member_out)

static void
shard_out(struct cw_mgr_arena *a, const struct cw_shard_rec *from, CW_PB(ShardRec) *to)
{
    to->shard = from->shard;
    to->gen = from->gen;
    to->cfg = from->cfg;
    to->lineage = from->lineage;
    to->n_blocks = from->n_blocks;
    to->compression = (uint32_t)from->compression;
    to->n_members = from->n_members;
    to->members = members_out(a, from->members, from->n_members);
}

CW_PB_LIST(shards_out, ShardRec, shard_rec, struct cw_shard_rec, shard_out)

CW_PB(ShardRec) **
cw_pb_shards(struct cw_mgr_arena *a, const struct cw_shard_rec *from, size_t n)
{
    return shards_out(a, from, n);
}

CW_PB(Policy) *
cw_pb_policy(struct cw_mgr_arena *a, const struct cw_mgr_policy *from)
{
    CW_PB(Policy) *to = CW_PB_NEW(a, Policy, policy);

    to->name = cw_pb_text(from->name);
    to->copies = from->copies;
    to->spread = cw_pb_text(from->spread);
    to->sites = cw_pb_text(from->sites);
    to->min_insync = from->min_insync;
    to->degrade_s = from->degrade_s;
    to->journal = cw_pb_text(from->journal);
    to->ack = cw_pb_text(from->ack);
    to->async = cw_pb_text(from->async);
    to->compression = cw_pb_text(from->compression);
    to->iops_limit = from->iops_limit;
    to->bandwidth_limit = from->bandwidth_limit;
    to->repair_delay_s = from->repair_delay_s;
    to->quorum_loss = cw_pb_text(from->quorum_loss);
    to->space_full = cw_pb_text(from->space_full);
    to->volumes = from->volumes;
    to->warning = cw_pb_text(from->warning);
    to->resync_limit = from->resync_limit;
    to->resync_paused = from->resync_paused;
    return to;
}

static void
link_out(struct cw_mgr_arena *a, const struct cw_mgr_site_link *from, CW_PB(SiteLink) *to)
{
    to->site = cw_pb_text(from->site);
    to->rtt_ns = from->rtt_ns;
    to->bytes_per_s = from->bytes_per_s;
}

CW_PB_LIST(links_out, SiteLink, site_link, struct cw_mgr_site_link, link_out)

CW_PB(SiteLink) **
cw_pb_links(struct cw_mgr_arena *a, const struct cw_mgr_site_link *from, size_t n)
{
    return links_out(a, from, n);
}

struct cw_mgr_kept
cw_pb_kept_in(const CW_PB(MetadataKept) *from)
{
    if (from == NULL)
        return (struct cw_mgr_kept){ 0 };
    return (struct cw_mgr_kept){ .epoch = from->epoch,
                                 .next_event = from->next_event,
                                 .restored_s = from->restored_s,
                                 .saved_s = from->saved_s };
}

void
cw_pb_kept(const struct cw_mgr_kept *from, CW_PB(MetadataKept) *to)
{
    causeway__control__metadata_kept__init(to);
    to->epoch = from->epoch;
    to->next_event = from->next_event;
    to->restored_s = from->restored_s;
    to->saved_s = from->saved_s;
}

struct cw_mgr_site_attributes
cw_pb_attributes_in(const CW_PB(SiteAttributes) *from)
{
    if (from == NULL)
        return (struct cw_mgr_site_attributes){ .provider = "" };
    return (struct cw_mgr_site_attributes){ from->provider, from->egress_micros,
                                            from->is_volatile };
}

CW_PB(SiteAttributes) *
cw_pb_attributes(struct cw_mgr_arena *a, const struct cw_mgr_site_attributes *from)
{
    CW_PB(SiteAttributes) *to = CW_PB_NEW(a, SiteAttributes, site_attributes);

    to->provider = cw_pb_text(from->provider);
    to->egress_micros = from->egress_micros;
    to->is_volatile = from->is_volatile;
    return to;
}
