#include "common/shape/shape.h"

#include <stdio.h>
#include <string.h>

#include "common/base/assert.h"
#include "common/base/uuid.h"
#include "common/shape/set.h"

const char *
cw_shape_member_state(Causeway__Control__MemberState state)
{
    const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(
        &causeway__control__member_state__descriptor, (int)state);

    return v == NULL || state == CAUSEWAY__CONTROL__MEMBER_STATE__MEMBER_NONE ? "?" : v->name;
}

const char *
cw_shape_site_kind(Causeway__Control__SiteKind kind)
{
    return kind == CAUSEWAY__CONTROL__SITE_KIND__CLOUD ? "cloud" : "on-premise";
}

static json_t *
shape_member(const cw_pb_member *m)
{
    json_t *o = json_object();

    shape_set_text(o, "host", m->host);
    shape_set_text(o, "site", m->site);
    shape_set_text(o, "disk", m->disk);
    shape_set_uuid(o, "disk_uuid", m->disk_uuid);
    shape_set_text(o, "state", cw_shape_member_state(m->state));
    shape_set_bool(o, "up", m->up);
    shape_set_number(o, "chunks_left", m->chunks_left);
    shape_set_number(o, "chunks_total", m->chunks_total);
    shape_set_number(o, "moved_bytes", m->bytes_moved);
    shape_set_number(o, "lag_records", m->lag);
    shape_set_number(o, "lag_ns", m->lag_ns);
    shape_set_number(o, "lag_bytes", m->lag_bytes);
    shape_set_bool(o, "async", m->async);
    return o;
}

static json_t *
shape_shard(const cw_pb_shard *s)
{
    json_t *o = json_object(), *members = json_array();

    shape_set_number(o, "shard", s->shard);
    shape_set_number(o, "index", s->shard & 0xffff);
    shape_set_number(o, "cfg", s->cfg);
    shape_set_bool(o, "suspended", s->suspended);
    shape_set_text(o, "why", s->why);
    shape_set_text(o, "compression", s->compression);
    for (size_t i = 0; i < s->n_members; i++)
        json_array_append_new(members, shape_member(s->members[i]));
    json_object_set_new(o, "members", members);
    return o;
}

json_t *
cw_shape_volume(const cw_pb_volume *v)
{
    json_t *o = json_object(), *shards = json_array();

    shape_set_text(o, "name", v->name);
    shape_set_number(o, "id", v->id);
    shape_set_number(o, "size_bytes", v->size_bytes);
    shape_set_number(o, "used_bytes", v->used_bytes);
    shape_set_text(o, "policy", v->policy);
    shape_set_text(o, "protection", v->protection);
    shape_set_text(o, "protection_why", v->protection_why);
    shape_set_number(o, "eta_seconds", v->eta_s);
    shape_set_bool(o, "compliant", v->compliant);
    shape_set_text(o, "compliant_why", v->compliant_why);
    shape_set_text(o, "state", v->state);
    shape_set_text(o, "owner", v->owner);
    shape_set_text(o, "owner_host", v->owner_host);
    shape_set_text(o, "owner_since", v->owner_since);
    shape_set_number(o, "gen", v->gen);
    shape_set_number(o, "reads", v->reads);
    shape_set_number(o, "writes", v->writes);
    shape_set_number(o, "read_p99_ns", v->read_p99_ns);
    shape_set_number(o, "write_p99_ns", v->write_p99_ns);
    shape_set_text(o, "created", v->created);
    shape_set_text(o, "purge_at", v->purge_at);
    for (size_t i = 0; i < v->n_shards; i++)
        json_array_append_new(shards, shape_shard(v->shards[i]));
    json_object_set_new(o, "shards", shards);
    return o;
}

const char *
cw_shape_disk_state(const cw_pb_host *h, const cw_pb_disk *d)
{
    if (d->removed)
        return "removed";
    if (d->failed)
        return "failed";
    if (strcmp(h->state, "absent") == 0)
        return "absent";
    if (d->missing)
        return "missing";
    if (strcmp(h->state, "maintenance") == 0 && !h->up)
        return "maintenance";
    if (d->quarantined)
        return "quarantined";
    if (d->draining)
        return "draining";
    if (d->stuck)
        return "stuck";
    return d->full ? "full" : "ok";
}

json_t *
cw_shape_disk(const cw_pb_host *h, const cw_pb_disk *d)
{
    json_t *o = json_object();

    shape_set_text(o, "name", d->name);
    shape_set_text(o, "host", h->name);
    shape_set_text(o, "site", h->domain != NULL ? h->domain->site : "");
    shape_set_text(o, "state", cw_shape_disk_state(h, d));
    shape_set_uuid(o, "uuid", d->uuid);
    shape_set_number(o, "size_bytes", d->size_bytes);
    shape_set_number(o, "used_bytes", d->used_bytes);
    shape_set_number(o, "free_bytes", d->free_bytes);
    shape_set_bool(o, "full", d->full);
    shape_set_bool(o, "stuck", d->stuck);
    shape_set_bool(o, "failed", d->failed);
    shape_set_text(o, "why", d->why);
    shape_set_number(o, "csum_errors", d->csum_errors);
    shape_set_number(o, "io_errors", d->io_errors);
    shape_set_number(o, "shards", d->shards);
    shape_set_number(o, "write_p99_ns", d->write_p99_ns);
    shape_set_number(o, "map_cache_bytes", d->cache_bytes);
    shape_set_number(o, "table_bytes", d->table_bytes);
    shape_set_number(o, "discarded_bytes", d->discarded_bytes);
    shape_set_number(o, "logged_bytes", d->logged_bytes);
    shape_set_number(o, "cleaned_bytes", d->cleaned_bytes);
    shape_set_number(o, "packed_bytes", d->packed_bytes);
    shape_set_number(o, "packed_to_bytes", d->packed_to_bytes);
    shape_set_number(o, "layers", d->layers);
    shape_set_number(o, "start_ns", d->start_ns);
    shape_set_number(o, "start_batches", d->start_batches);
    shape_set_bool(o, "quarantined", d->quarantined);
    shape_set_text(o, "quarantined_why", d->quarantined_why);
    shape_set_bool(o, "draining", d->draining);
    shape_set_text(o, "draining_since", d->draining_since);
    shape_set_bool(o, "removed", d->removed);
    shape_set_text(o, "removed_since", d->removed_since);
    return o;
}

static json_t *
shape_maintenance(const Causeway__Control__Maintenance *m)
{
    json_t *o;

    if (m == NULL)
        return json_null();
    o = json_object();
    shape_set_text(o, "mode", m->mode);
    shape_set_bool(o, "ready", m->ready);
    shape_set_text(o, "since", m->since);
    shape_set_text(o, "why", m->why);
    shape_set_number(o, "job", m->job);
    return o;
}

static json_t *
shape_memory(const Causeway__Control__HostMemory *m)
{
    json_t *o = json_object();

    shape_set_number(o, "limit_bytes", m->limit_bytes);
    shape_set_number(o, "pool_bytes", m->pool_bytes);
    shape_set_number(o, "pool_used_bytes", m->pool_used_bytes);
    shape_set_number(o, "metadata_bytes", m->metadata_bytes);
    shape_set_number(o, "metadata_used_bytes", m->metadata_used_bytes);
    shape_set_number(o, "resident_bytes", m->resident_bytes);
    return o;
}

/* ---- scrubs ---- */

const char *
cw_shape_scrub_state(const cw_pb_disk *d)
{
    if (d->scrub == NULL)
        return "unknown";
    if (d->scrub->running)
        return d->scrub->hurried ? "full speed" : "paced";
    return d->scrub->pass == 0 ? "not begun" : "resting";
}

static json_t *
shape_scrub_last(const Causeway__Control__ScrubState *s)
{
    json_t *o;

    if (s->last_pass == 0)
        return json_null();
    o = json_object();
    shape_set_number(o, "pass", s->last_pass);
    shape_set_number(o, "ago_seconds", s->last_ago_s);
    shape_set_number(o, "took_seconds", s->last_took_s);
    shape_set_number(o, "read_bytes", s->last_bytes);
    shape_set_number(o, "found", s->last_found);
    shape_set_number(o, "repaired", s->last_repaired);
    return o;
}

json_t *
cw_shape_scrub(const cw_pb_host *h, const cw_pb_disk *d)
{
    static const Causeway__Control__ScrubState none = CAUSEWAY__CONTROL__SCRUB_STATE__INIT;
    const Causeway__Control__ScrubState *s = d->scrub != NULL ? d->scrub : &none;
    json_t *o = json_object();

    shape_set_text(o, "site", h->domain != NULL ? h->domain->site : "");
    shape_set_text(o, "host", h->name);
    shape_set_text(o, "disk", d->name);
    shape_set_text(o, "state", cw_shape_scrub_state(d));
    shape_set_number(o, "pass", s->pass);
    shape_set_number(o, "done_bytes", s->done_bytes);
    shape_set_number(o, "total_bytes", s->total_bytes);
    shape_set_number(o, "elapsed_seconds", s->elapsed_s);
    shape_set_number(o, "found", s->found);
    shape_set_number(o, "repaired", s->repaired);
    shape_set_number(o, "bad_blocks", s->bad_blocks);
    shape_set_number(o, "bad_places_24h", s->recent);
    json_object_set_new(o, "last", shape_scrub_last(s));
    shape_set_bool(o, "quarantined", d->quarantined);
    shape_set_text(o, "quarantined_since", d->quarantined_since);
    shape_set_text(o, "quarantined_why", d->quarantined_why);
    return o;
}

void
cw_shape_host_space(const cw_pb_host *h, uint64_t *ret_size, uint64_t *ret_used)
{
    *ret_size = *ret_used = 0;
    for (size_t i = 0; i < h->n_disks; i++) {
        if (h->disks[i]->failed)
            continue;
        *ret_size += h->disks[i]->size_bytes;
        *ret_used += h->disks[i]->used_bytes;
    }
}

const char *
cw_shape_price(uint64_t micros, char text[static CW_SHAPE_PRICE_SIZE])
{
    size_t n =
        (size_t)snprintf(text, CW_SHAPE_PRICE_SIZE, "%llu.%06u",
                         (unsigned long long)(micros / 1000000), (unsigned)(micros % 1000000));

    while (text[n - 1] == '0')
        text[--n] = '\0';
    if (text[n - 1] == '.')
        text[n - 1] = '\0';
    return micros == 0 ? "" : text;
}

static void
shape_attributes(json_t *o, const Causeway__Control__SiteAttributes *a)
{
    char price[CW_SHAPE_PRICE_SIZE];

    shape_set_text(o, "provider", a != NULL ? a->provider : "");
    shape_set_text(o, "egress_price_per_gb",
                   cw_shape_price(a != NULL ? a->egress_micros : 0, price));
    shape_set_bool(o, "volatile", a != NULL && a->is_volatile);
}

static json_t *
shape_links(Causeway__Control__SiteLink *const *links, size_t n)
{
    json_t *a = json_array();

    for (size_t i = 0; i < n; i++) {
        json_t *o = json_object();

        shape_set_text(o, "site", links[i]->site);
        shape_set_number(o, "rtt_ns", links[i]->rtt_ns);
        shape_set_number(o, "link_bytes_per_second", links[i]->bytes_per_s);
        json_array_append_new(a, o);
    }
    return a;
}

json_t *
cw_shape_host(const cw_pb_host *h)
{
    json_t *o = json_object(), *disks = json_array();
    uint64_t size, used;

    cw_shape_host_space(h, &size, &used);
    shape_set_text(o, "name", h->name);
    shape_set_text(o, "region", h->domain != NULL ? h->domain->region : "");
    shape_set_text(o, "site", h->domain != NULL ? h->domain->site : "");
    shape_set_text(o, "rack", h->domain != NULL ? h->domain->rack : "");
    shape_set_text(o, "site_kind", cw_shape_site_kind(h->site_kind));
    shape_set_text(o, "state", h->state);
    shape_set_text(o, "since", h->since);
    shape_set_bool(o, "up", h->up);
    json_object_set_new(o, "maintenance", shape_maintenance(h->maintenance));
    shape_set_text(o, "address", h->addr);
    shape_set_text(o, "version", h->version);
    shape_set_number(o, "copies", h->copies);
    shape_set_number(o, "size_bytes", size);
    shape_set_number(o, "used_bytes", used);
    for (size_t i = 0; i < h->n_disks; i++)
        json_array_append_new(disks, cw_shape_disk(h, h->disks[i]));
    if (h->memory != NULL)
        json_object_set_new(o, "memory", shape_memory(h->memory));
    json_object_set_new(o, "disks", disks);
    shape_attributes(o, h->site_attributes);
    json_object_set_new(o, "links", shape_links(h->links, h->n_links));
    return o;
}

uint32_t
cw_shape_min_insync(const cw_pb_policy *p)
{
    if (p->min_insync != 0)
        return p->min_insync;
    return p->copies >= 3 ? 2 : 1;
}

json_t *
cw_shape_policy(const cw_pb_policy *p)
{
    json_t *o = json_object();

    shape_set_text(o, "name", p->name);
    shape_set_number(o, "copies", p->copies);
    shape_set_text(o, "spread", p->spread);
    shape_set_text(o, "sites", p->sites);
    shape_set_number(o, "min_insync", cw_shape_min_insync(p));
    json_object_set_new(o, "degrade_seconds",
                        p->degrade_s < 0 ? json_null() : json_integer(p->degrade_s));
    shape_set_text(o, "journal", p->journal);
    shape_set_text(o, "ack", p->ack);
    shape_set_text(o, "async", p->async);
    shape_set_text(o, "compression", p->compression);
    shape_set_number(o, "iops_limit", p->iops_limit);
    shape_set_number(o, "bandwidth_limit_bytes", p->bandwidth_limit);
    shape_set_number(o, "repair_delay_seconds", p->repair_delay_s);
    shape_set_text(o, "quorum_loss", p->quorum_loss);
    shape_set_text(o, "space_full", p->space_full);
    shape_set_number(o, "volumes", p->volumes);
    if (p->warning[0] != '\0')
        shape_set_text(o, "warning", p->warning);
    return o;
}

static json_t *
shape_verify(const Causeway__Control__VerifyProgress *v)
{
    json_t *o = json_object();

    shape_set_number(o, "verified_bytes", v->done_bytes);
    shape_set_number(o, "total_bytes", v->total_bytes);
    shape_set_number(o, "copies", v->copies);
    shape_set_number(o, "found", v->found);
    shape_set_number(o, "repaired", v->repaired);
    shape_set_number(o, "unrepairable", v->unrepairable);
    shape_set_number(o, "differing", v->differing);
    shape_set_text(o, "failed", v->failed);
    return o;
}

json_t *
cw_shape_job(const cw_pb_job *j)
{
    json_t *o = json_object();

    shape_set_number(o, "id", j->id);
    shape_set_text(o, "kind", j->kind);
    shape_set_text(o, "object", j->object);
    shape_set_text(o, "state", j->state);
    shape_set_text(o, "why", j->why);
    shape_set_text(o, "started", j->started);
    shape_set_text(o, "ended", j->ended);
    shape_set_number(o, "done_bytes", j->done_bytes);
    shape_set_number(o, "total_bytes", j->total_bytes);
    shape_set_number(o, "eta_seconds", j->eta_s);
    if (j->verify != NULL)
        json_object_set_new(o, "verify", shape_verify(j->verify));
    return o;
}

json_t *
cw_shape_event(const cw_pb_event *e)
{
    json_t *o = json_object();

    shape_set_number(o, "number", e->number);
    shape_set_text(o, "at", e->at);
    shape_set_text(o, "code", e->code);
    shape_set_text(o, "object", e->object);
    shape_set_text(o, "text", e->text);
    return o;
}

static json_t *
shape_finding(const cw_pb_finding *f)
{
    json_t *o = json_object();

    shape_set_text(o, "code", f->code);
    shape_set_text(o, "severity", f->severity);
    shape_set_text(o, "object", f->object);
    shape_set_text(o, "since", f->since);
    shape_set_text(o, "cause", f->cause);
    shape_set_text(o, "effect", f->effect);
    shape_set_text(o, "next", f->next);
    shape_set_text(o, "command", f->command);
    return o;
}

static json_t *
shape_site(const cw_pb_site *s)
{
    json_t *o = json_object();

    shape_set_text(o, "name", s->name);
    shape_set_text(o, "region", s->region);
    shape_set_text(o, "kind", cw_shape_site_kind(s->kind));
    shape_set_number(o, "hosts", s->hosts);
    shape_set_number(o, "hosts_up", s->hosts_up);
    shape_set_number(o, "hosts_maintenance", s->hosts_maintained);
    shape_set_number(o, "size_bytes", s->size_bytes);
    shape_set_number(o, "used_bytes", s->used_bytes);
    shape_set_number(o, "size_without_worst_host_bytes", s->size_without_worst_bytes);
    shape_attributes(o, s->attributes);
    json_object_set_new(o, "links", shape_links(s->links, s->n_links));
    return o;
}

static json_t *
shape_metadata_place(const Causeway__Control__MetadataPlace *p)
{
    json_t *o = json_object();

    shape_set_text(o, "host", p->host);
    shape_set_text(o, "site", p->site);
    shape_set_bool(o, "up", p->up);
    shape_set_bool(o, "current", p->current);
    shape_set_number(o, "epoch", p->epoch);
    shape_set_number(o, "age_seconds", p->age_s);
    shape_set_text(o, "why", p->why);
    return o;
}

json_t *
cw_shape_metadata_places(Causeway__Control__MetadataPlace *const *at, size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, shape_metadata_place(at[i]));
    return list;
}

json_t *
cw_shape_status(const cw_pb_status *s)
{
    json_t *o = json_object(), *findings = json_array(), *sites = json_array();
    json_t *protection = json_object();

    for (size_t i = 0; i < s->n_findings; i++)
        json_array_append_new(findings, shape_finding(s->findings[i]));
    for (size_t i = 0; i < s->n_sites; i++)
        json_array_append_new(sites, shape_site(s->sites[i]));
    for (size_t i = 0; i < s->n_protection; i++)
        shape_set_number(protection, s->protection[i]->key, s->protection[i]->value);
    shape_set_text(o, "health", s->health);
    shape_set_text(o, "cluster", s->cluster);
    shape_set_uuid(o, "cluster_id", s->cluster_id);
    json_object_set_new(o, "findings", findings);
    json_object_set_new(o, "protection", protection);
    json_object_set_new(o, "sites", sites);
    shape_set_number(o, "volumes", s->volumes);
    shape_set_number(o, "volumes_serving", s->volumes_serving);
    shape_set_number(o, "epoch", s->epoch);
    shape_set_number(o, "reads_per_second", s->reads_per_s);
    shape_set_number(o, "writes_per_second", s->writes_per_s);
    shape_set_number(o, "read_p99_ns", s->read_p99_ns);
    shape_set_number(o, "write_p99_ns", s->write_p99_ns);
    shape_set_number(o, "repair_bytes_per_second", s->repair_bytes_per_s);
    shape_set_text(o, "manager", s->manager);
    shape_set_text(o, "metadata", s->metadata);
    json_object_set_new(o, "metadata_backups", cw_shape_metadata_places(s->backups, s->n_backups));
    shape_set_number(o, "uptime_seconds", s->uptime_s);
    return o;
}
