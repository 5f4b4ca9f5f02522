#include "daemon/metadata/records.h"

#include <string.h>

#include "common/base/bits.h"
#include "proto/metadata.pb-c.h"

#define VERSION 1u /* of every record; a change of meaning raises it */

#define INIT(message) CAUSEWAY__METADATA__##message##__INIT

/* ---- parts ---- */

static char *
text_out(const char *text)
{
    return (char *)text; /* generated structs are not const; packing only reads */
}

static bool
text_in(char *to, size_t size, const char *from)
{
    size_t len = strlen(from);

    if (len >= size)
        return false;
    memcpy(to, from, len + 1);
    return true;
}

#define TEXT_IN(to, from) text_in(to, sizeof(to), from)

static ProtobufCBinaryData
uuid_out(const struct cw_uuid *u)
{
    ProtobufCBinaryData d = { .len = cw_uuid_is_nil(u) ? 0 : sizeof(u->b),
                              .data = (uint8_t *)u->b };

    return d;
}

static bool
uuid_in(struct cw_uuid *to, ProtobufCBinaryData from)
{
    memset(to, 0, sizeof(*to));
    if (from.len != 0 && from.len != sizeof(to->b))
        return false;
    if (from.len != 0)
        memcpy(to->b, from.data, sizeof(to->b));
    return true;
}

static size_t
pack(const ProtobufCMessage *m, uint8_t *to)
{
    size_t len = protobuf_c_message_get_packed_size(m);

    cw_assert(len > 0 && len <= CW_REC_BYTES_MAX);
    return protobuf_c_message_pack(m, to);
}

/* ---- cluster ---- */

static size_t
cluster_encode(const struct cw_cluster_rec *r, uint8_t *to)
{
    Causeway__Metadata__ClusterRecord m = INIT(CLUSTER_RECORD);

    m.version = VERSION;
    m.cluster_id = uuid_out(&r->cluster_id);
    m.name = text_out(r->name);
    m.next_volume_id = r->next_volume_id;
    m.next_event = r->next_event;
    m.epoch = r->epoch;
    m.created_s = r->created_s;
    m.repair_paused_s = r->repair_paused_s;
    m.repair_limit = r->repair_limit;
    m.saved_s = r->saved_s;
    m.restored_s = r->restored_s;
    m.restored_epoch = r->restored_epoch;
    return pack(&m.base, to);
}

static bool
cluster_decode(const Causeway__Metadata__ClusterRecord *m, struct cw_cluster_rec *r)
{
    r->next_volume_id = m->next_volume_id;
    r->next_event = m->next_event;
    r->epoch = m->epoch;
    r->created_s = m->created_s;
    r->repair_paused_s = m->repair_paused_s;
    r->repair_limit = m->repair_limit;
    r->saved_s = m->saved_s;
    r->restored_s = m->restored_s;
    r->restored_epoch = m->restored_epoch;
    return m->version == VERSION && uuid_in(&r->cluster_id, m->cluster_id) &&
           !cw_uuid_is_nil(&r->cluster_id) && TEXT_IN(r->name, m->name);
}

/* ---- policy ---- */

static size_t
policy_encode(const struct cw_policy_rec *r, uint8_t *to)
{
    Causeway__Metadata__PolicyRecord m = INIT(POLICY_RECORD);

    m.version = VERSION;
    m.name = text_out(r->name);
    m.copies = r->copies;
    m.spread = text_out(r->spread);
    m.sites = text_out(r->sites);
    m.min_insync = r->min_insync;
    m.degrade_s = r->degrade_s;
    m.journal = text_out(r->journal);
    m.ack = text_out(r->ack);
    m.async = text_out(r->async);
    m.compression = text_out(r->compression);
    m.iops_limit = r->iops_limit;
    m.bandwidth_limit = r->bandwidth_limit;
    m.repair_delay_s = r->repair_delay_s;
    m.quorum_loss = text_out(r->quorum_loss);
    m.space_full = text_out(r->space_full);
    return pack(&m.base, to);
}

static bool
policy_decode(const Causeway__Metadata__PolicyRecord *m, struct cw_policy_rec *r)
{
    r->copies = m->copies;
    r->min_insync = m->min_insync;
    r->degrade_s = m->degrade_s;
    r->iops_limit = m->iops_limit;
    r->bandwidth_limit = m->bandwidth_limit;
    r->repair_delay_s = m->repair_delay_s;
    return m->version == VERSION && TEXT_IN(r->name, m->name) && TEXT_IN(r->spread, m->spread) &&
           TEXT_IN(r->sites, m->sites) && TEXT_IN(r->journal, m->journal) &&
           TEXT_IN(r->ack, m->ack) && TEXT_IN(r->async, m->async) &&
           TEXT_IN(r->compression, m->compression) && TEXT_IN(r->quorum_loss, m->quorum_loss) &&
           TEXT_IN(r->space_full, m->space_full);
}

/* ---- host ---- */

static size_t
host_encode(const struct cw_host_rec *r, uint8_t *to)
{
    Causeway__Metadata__HostRecord m = INIT(HOST_RECORD);

    m.version = VERSION;
    m.name = text_out(r->name);
    m.host_key = uuid_out(&r->host_key);
    m.region = text_out(r->region);
    m.site = text_out(r->site);
    m.rack = text_out(r->rack);
    m.site_kind = r->site_kind;
    m.advertise = text_out(r->advertise);
    m.unix_path = text_out(r->unix_path);
    m.boot_id = uuid_out(&r->boot_id);
    m.joined_s = r->joined_s;
    m.maintain = r->maintain;
    m.maintain_s = r->maintain_s;
    m.maintain_ready = r->maintain_ready;
    m.provider = text_out(r->provider);
    m.egress_micros = r->egress_micros;
    m.is_volatile = r->is_volatile;
    return pack(&m.base, to);
}

static bool
host_decode(const Causeway__Metadata__HostRecord *m, struct cw_host_rec *r)
{
    r->site_kind = m->site_kind == CW_SITE_CLOUD ? CW_SITE_CLOUD : CW_SITE_ON_PREMISE;
    r->joined_s = m->joined_s;
    r->maintain = (enum cw_maintain)m->maintain;
    r->maintain_s = m->maintain_s;
    r->maintain_ready = m->maintain_ready;
    r->egress_micros = m->egress_micros;
    r->is_volatile = m->is_volatile;
    return m->version == VERSION && m->site_kind <= CW_SITE_CLOUD &&
           m->maintain <= CW_MAINTAIN_NONE && TEXT_IN(r->name, m->name) &&
           uuid_in(&r->host_key, m->host_key) && TEXT_IN(r->region, m->region) &&
           TEXT_IN(r->site, m->site) && TEXT_IN(r->rack, m->rack) &&
           TEXT_IN(r->provider, m->provider) && TEXT_IN(r->advertise, m->advertise) &&
           TEXT_IN(r->unix_path, m->unix_path) && uuid_in(&r->boot_id, m->boot_id);
}

/* ---- disk ---- */

static size_t
disk_encode(const struct cw_disk_rec *r, uint8_t *to)
{
    Causeway__Metadata__DiskRecord m = INIT(DISK_RECORD);

    m.version = VERSION;
    m.uuid = uuid_out(&r->uuid);
    m.format_id = r->format_id;
    m.host = text_out(r->host);
    m.name = text_out(r->name);
    m.size_bytes = r->size_bytes;
    m.failed = r->failed;
    m.quarantined = r->quarantined;
    m.storms = r->storms;
    m.quarantined_s = r->quarantined_s;
    m.quarantined_by = r->quarantined_by;
    m.draining_s = r->draining_s;
    return pack(&m.base, to);
}

static bool
disk_decode(const Causeway__Metadata__DiskRecord *m, struct cw_disk_rec *r)
{
    r->format_id = m->format_id;
    r->size_bytes = m->size_bytes;
    r->failed = m->failed;
    r->quarantined = m->quarantined;
    r->storms = m->storms;
    r->quarantined_s = m->quarantined_s;
    r->quarantined_by = (enum cw_quarantine)m->quarantined_by;
    r->draining_s = m->draining_s;
    return m->version == VERSION && m->quarantined_by <= CW_QUARANTINE_LINK &&
           uuid_in(&r->uuid, m->uuid) && TEXT_IN(r->host, m->host) && TEXT_IN(r->name, m->name);
}

/* ---- volume ---- */

static size_t
volume_encode(const struct cw_volume_rec *r, uint8_t *to)
{
    Causeway__Metadata__VolumeRecord m = INIT(VOLUME_RECORD);

    m.version = VERSION;
    m.id = r->id;
    m.name = text_out(r->name);
    m.size_bytes = r->size_bytes;
    m.policy = text_out(r->policy);
    m.gen = r->gen;
    m.state = r->hold;
    m.owner_id = uuid_out(&r->owner_id);
    m.owner_name = text_out(r->owner_name);
    m.owner_host = text_out(r->owner_host);
    m.owner_since_s = r->owner_since_s;
    m.caretaker = r->caretaker;
    m.created_s = r->created_s;
    m.purge_at_s = r->purge_at_s;
    m.purge_left_s = r->purge_left_s;
    m.min_insync = r->min_insync;
    return pack(&m.base, to);
}

static bool
volume_decode(const Causeway__Metadata__VolumeRecord *m, struct cw_volume_rec *r)
{
    r->id = m->id;
    r->size_bytes = m->size_bytes;
    r->gen = m->gen;
    r->hold = m->state == CW_HOLD_OWNED ? CW_HOLD_OWNED : CW_HOLD_RELEASED;
    r->owner_since_s = m->owner_since_s;
    r->caretaker = m->caretaker;
    r->created_s = m->created_s;
    r->purge_at_s = m->purge_at_s;
    r->purge_left_s = m->purge_left_s;
    r->min_insync = m->min_insync;
    return m->version == VERSION && (m->state == CW_HOLD_OWNED || m->state == CW_HOLD_RELEASED) &&
           TEXT_IN(r->name, m->name) && TEXT_IN(r->policy, m->policy) &&
           uuid_in(&r->owner_id, m->owner_id) && TEXT_IN(r->owner_name, m->owner_name) &&
           TEXT_IN(r->owner_host, m->owner_host);
}

/* ---- shard ---- */

static size_t
shard_encode(const struct cw_shard_rec *r, uint8_t *to)
{
    Causeway__Metadata__ShardRecord m = INIT(SHARD_RECORD);
    Causeway__Metadata__MemberRecord members[CW_MEMBERS_MAX];
    Causeway__Metadata__MemberRecord *list[CW_MEMBERS_MAX];

    cw_assert(r->n_members <= CW_MEMBERS_MAX);
    for (uint32_t i = 0; i < r->n_members; i++) {
        causeway__metadata__member_record__init(&members[i]);
        members[i].disk_uuid = uuid_out(&r->members[i].disk_uuid);
        members[i].format_id = r->members[i].format_id;
        members[i].state = r->members[i].state;
        members[i].since_seq = r->members[i].since_seq;
        members[i].async = r->members[i].async;
        list[i] = &members[i];
    }
    m.version = VERSION;
    m.shard = r->shard;
    m.gen = r->gen;
    m.cfg = r->cfg;
    m.lineage = r->lineage;
    m.n_blocks = r->n_blocks;
    m.compression = r->compression;
    m.n_members = r->n_members;
    m.members = list;
    return pack(&m.base, to);
}

static bool
member_decode(const Causeway__Metadata__MemberRecord *m, struct cw_member *r)
{
    if (m->state < CW_MEMBER_INSYNC || m->state > CW_MEMBER_DEAD)
        return false;
    r->format_id = m->format_id;
    r->state = (enum cw_member_state)m->state;
    r->since_seq = m->since_seq;
    r->async = m->async;
    return cw_member_ok(r) && uuid_in(&r->disk_uuid, m->disk_uuid) &&
           !cw_uuid_is_nil(&r->disk_uuid);
}

static bool
shard_decode(const Causeway__Metadata__ShardRecord *m, struct cw_shard_rec *r)
{
    if (m->version != VERSION || m->n_members > CW_MEMBERS_MAX ||
        m->compression > CW_COMPRESSION_INLINE)
        return false;
    r->shard = m->shard;
    r->gen = m->gen;
    r->cfg = m->cfg;
    r->lineage = m->lineage;
    r->n_blocks = m->n_blocks;
    r->compression = (enum cw_compression)m->compression;
    r->n_members = (uint32_t)m->n_members;
    for (size_t i = 0; i < m->n_members; i++)
        if (!member_decode(m->members[i], &r->members[i]))
            return false;
    return true;
}

/* ---- drop, event ---- */

static size_t
drop_encode(const struct cw_drop_rec *r, uint8_t *to)
{
    Causeway__Metadata__DropRecord m = INIT(DROP_RECORD);

    m.version = VERSION;
    m.shard = r->shard;
    m.disk_uuid = uuid_out(&r->disk_uuid);
    return pack(&m.base, to);
}

static bool
drop_decode(const Causeway__Metadata__DropRecord *m, struct cw_drop_rec *r)
{
    r->shard = m->shard;
    return m->version == VERSION && uuid_in(&r->disk_uuid, m->disk_uuid) &&
           !cw_uuid_is_nil(&r->disk_uuid);
}

static size_t
event_encode(const struct cw_event_rec *r, uint8_t *to)
{
    Causeway__Metadata__EventRecord m = INIT(EVENT_RECORD);

    m.version = VERSION;
    m.number = r->number;
    m.at_s = r->at_s;
    m.code = text_out(r->code);
    m.object = text_out(r->object);
    m.text = text_out(r->text);
    return pack(&m.base, to);
}

static bool
event_decode(const Causeway__Metadata__EventRecord *m, struct cw_event_rec *r)
{
    r->number = m->number;
    r->at_s = m->at_s;
    return m->version == VERSION && TEXT_IN(r->code, m->code) && TEXT_IN(r->object, m->object) &&
           TEXT_IN(r->text, m->text);
}

/* ---- job ---- */

static size_t
job_encode(const struct cw_job_rec *r, uint8_t *to)
{
    Causeway__Metadata__JobRecord m = INIT(JOB_RECORD);

    m.version = VERSION;
    m.id = r->id;
    m.kind = r->kind;
    m.scope = r->scope;
    m.object = text_out(r->object);
    m.volume_id = r->volume_id;
    m.disk_uuid = uuid_out(&r->disk_uuid);
    m.state = r->state;
    m.started_s = r->started_s;
    m.ended_s = r->ended_s;
    m.total_bytes = r->total_bytes;
    m.why = text_out(r->why);
    m.done_bytes = r->verify.done_bytes;
    m.copies = r->verify.copies;
    m.found = r->verify.found;
    m.repaired = r->verify.repaired;
    m.unrepairable = r->verify.unrepairable;
    m.differing = r->verify.differing;
    return pack(&m.base, to);
}

static bool
job_decode(const Causeway__Metadata__JobRecord *m, struct cw_job_rec *r)
{
    r->id = m->id;
    r->kind = (enum cw_job_kind)m->kind;
    r->scope = (enum cw_job_scope)m->scope;
    r->volume_id = m->volume_id;
    r->state = (enum cw_job_end)m->state;
    r->started_s = m->started_s;
    r->ended_s = m->ended_s;
    r->total_bytes = m->total_bytes;
    r->verify.done_bytes = m->done_bytes;
    r->verify.copies = m->copies;
    r->verify.found = m->found;
    r->verify.repaired = m->repaired;
    r->verify.unrepairable = m->unrepairable;
    r->verify.differing = m->differing;
    return m->version == VERSION && m->kind <= CW_JOB_REPAIR && m->scope <= CW_JOB_DISK &&
           m->state <= CW_JOB_CANCELLED && uuid_in(&r->disk_uuid, m->disk_uuid) &&
           TEXT_IN(r->object, m->object) && TEXT_IN(r->why, m->why);
}

/* ---- removed ---- */

static size_t
removed_encode(const struct cw_removed_rec *r, uint8_t *to)
{
    Causeway__Metadata__RemovedRecord m = INIT(REMOVED_RECORD);

    m.version = VERSION;
    m.uuid = uuid_out(&r->uuid);
    m.format_id = r->format_id;
    m.host = text_out(r->host);
    m.name = text_out(r->name);
    m.removed_s = r->removed_s;
    m.told = r->told;
    return pack(&m.base, to);
}

static bool
removed_decode(const Causeway__Metadata__RemovedRecord *m, struct cw_removed_rec *r)
{
    r->format_id = m->format_id;
    r->removed_s = m->removed_s;
    r->told = m->told;
    return m->version == VERSION && uuid_in(&r->uuid, m->uuid) && !cw_uuid_is_nil(&r->uuid) &&
           TEXT_IN(r->host, m->host) && TEXT_IN(r->name, m->name);
}

/* ---- all kinds ---- */

static size_t
codec_encode(const struct cw_rec *r, uint8_t *to)
{
    switch (r->kind) {
    case CW_REC_CLUSTER:
        return cluster_encode(&r->cluster, to);
    case CW_REC_POLICY:
        return policy_encode(&r->policy, to);
    case CW_REC_HOST:
        return host_encode(&r->host, to);
    case CW_REC_DISK:
        return disk_encode(&r->disk, to);
    case CW_REC_VOLUME:
        return volume_encode(&r->volume, to);
    case CW_REC_SHARD:
        return shard_encode(&r->shard, to);
    case CW_REC_DROP:
        return drop_encode(&r->drop, to);
    case CW_REC_EVENT:
        return event_encode(&r->event, to);
    case CW_REC_JOB:
        return job_encode(&r->job, to);
    case CW_REC_REMOVED:
        return removed_encode(&r->removed, to);
    }
    cw_unreachable();
}

static const ProtobufCMessageDescriptor *
codec_descriptor(enum cw_rec_kind kind)
{
    switch (kind) {
    case CW_REC_CLUSTER:
        return &causeway__metadata__cluster_record__descriptor;
    case CW_REC_POLICY:
        return &causeway__metadata__policy_record__descriptor;
    case CW_REC_HOST:
        return &causeway__metadata__host_record__descriptor;
    case CW_REC_DISK:
        return &causeway__metadata__disk_record__descriptor;
    case CW_REC_VOLUME:
        return &causeway__metadata__volume_record__descriptor;
    case CW_REC_SHARD:
        return &causeway__metadata__shard_record__descriptor;
    case CW_REC_DROP:
        return &causeway__metadata__drop_record__descriptor;
    case CW_REC_EVENT:
        return &causeway__metadata__event_record__descriptor;
    case CW_REC_JOB:
        return &causeway__metadata__job_record__descriptor;
    case CW_REC_REMOVED:
        return &causeway__metadata__removed_record__descriptor;
    }
    cw_unreachable();
}

static bool
codec_translate(const void *m, struct cw_rec *ret)
{
    switch (ret->kind) {
    case CW_REC_CLUSTER:
        return cluster_decode(m, &ret->cluster);
    case CW_REC_POLICY:
        return policy_decode(m, &ret->policy);
    case CW_REC_HOST:
        return host_decode(m, &ret->host);
    case CW_REC_DISK:
        return disk_decode(m, &ret->disk);
    case CW_REC_VOLUME:
        return volume_decode(m, &ret->volume);
    case CW_REC_SHARD:
        return shard_decode(m, &ret->shard);
    case CW_REC_DROP:
        return drop_decode(m, &ret->drop);
    case CW_REC_EVENT:
        return event_decode(m, &ret->event);
    case CW_REC_JOB:
        return job_decode(m, &ret->job);
    case CW_REC_REMOVED:
        return removed_decode(m, &ret->removed);
    }
    cw_unreachable();
}

static bool
codec_decode(const uint8_t *from, size_t len, struct cw_rec *ret)
{
    ProtobufCMessage *m;
    bool ok;

    if (len == 0 || len > CW_REC_BYTES_MAX)
        return false;
    m = protobuf_c_message_unpack(codec_descriptor(ret->kind), NULL, len, from);
    if (m == NULL)
        return false;
    ok = codec_translate(m, ret);
    protobuf_c_message_free_unpacked(m, NULL);
    return ok;
}

static const struct cw_rec_codec codec = { .encode = codec_encode, .decode = codec_decode };

const struct cw_rec_codec *
cw_metadata_codec(void)
{
    return &codec;
}
