#include "common/shape/payload.h"

#include <string.h>

#include "common/base/assert.h"
#include "common/shape/set.h"

static json_t *
payload_one(const char *key, json_t *take_value)
{
    json_t *o = json_object();

    json_object_set_new(o, key, take_value);
    return o;
}

json_t *
cw_payload_status(const cw_pb_status *s)
{
    return cw_shape_status(s);
}

/* ---- volumes ---- */

json_t *
cw_payload_volumes(const cw_pb_volumes *ls)
{
    json_t *volumes = json_array();

    for (size_t i = 0; i < ls->n_volumes; i++)
        json_array_append_new(volumes, cw_shape_volume(ls->volumes[i]));
    return payload_one("volumes", volumes);
}

json_t *
cw_payload_volume(const cw_pb_volume *v)
{
    return payload_one("volume", cw_shape_volume(v));
}

static json_t *
payload_reasons(const cw_pb_reasons *r)
{
    json_t *copies = json_array();

    for (size_t i = 0; i < r->n_copies; i++) {
        const Causeway__Control__CopyReason *c = r->copies[i];
        json_t *others = json_array();

        for (size_t k = 0; k < c->n_others; k++)
            json_array_append_new(others, json_string(c->others[k]));
        json_array_append_new(
            copies, json_pack("{s:I,s:s,s:s,s:s,s:o,s:I}", "shard", (json_int_t)(c->shard & 0xffff),
                              "copy", c->copy, "state", cw_shape_member_state(c->state), "why",
                              c->why, "others", others, "more", (json_int_t)c->more));
    }
    return copies;
}

json_t *
cw_payload_explain(const cw_pb_volume *v, const cw_pb_policy *p, const cw_pb_reasons *r)
{
    json_t *o = cw_payload_volume(v);

    json_object_set_new(o, "policy", p != NULL ? cw_shape_policy(p) : json_null());
    json_object_set_new(o, "copies", payload_reasons(r));
    return o;
}

json_t *
cw_payload_policy_check(const cw_pb_policy_check *c)
{
    json_t *losses = json_array();

    for (size_t i = 0; i < c->n_losses; i++) {
        const Causeway__Control__PolicyLoss *l = c->losses[i];

        json_array_append_new(losses,
                              json_pack("{s:s,s:s,s:I,s:b,s:s,s:s,s:I}", "kind", l->kind, "name",
                                        l->name, "copies_left", (json_int_t)l->copies_left,
                                        "can_be_met", l->met, "why", l->why, "then", l->then,
                                        "storable_bytes", (json_int_t)l->storable_bytes));
    }
    return json_pack("{s:o,s:b,s:s,s:s,s:I,s:I,s:I,s:s,s:I,s:s,s:s,s:s,s:o}", "policy",
                     cw_shape_policy(c->policy), "can_be_met", c->met, "why", c->why, "hint",
                     c->hint, "space_factor", (json_int_t)c->factor, "storable_bytes",
                     (json_int_t)c->storable_bytes, "round_trips", (json_int_t)c->round_trips,
                     "round_trips_text", c->round_trips_text, "write_wait_ns",
                     (json_int_t)c->write_wait_ns, "write_wait_from", c->wait_from,
                     "write_wait_for", c->wait_site, "warning", c->warning, "losses", losses);
}

json_t *
cw_payload_volume_removed(const char *name, bool now, uint64_t delay_s)
{
    json_t *o = cw_payload_done("removed", name);

    json_object_set_new(o, "now", json_boolean(now));
    json_object_set_new(o, "delay_seconds", json_integer(now ? 0 : (json_int_t)delay_s));
    return o;
}

static json_t *
payload_recover_copy(const Causeway__Control__RecoverCopy *c)
{
    json_t *o = json_object();

    json_object_set_new(o, "host", shape_text(c->host));
    json_object_set_new(o, "site", shape_text(c->site));
    json_object_set_new(o, "disk", shape_text(c->disk));
    json_object_set_new(o, "state", shape_text(cw_shape_member_state(c->state)));
    json_object_set_new(o, "up", json_boolean(c->up));
    json_object_set_new(o, "usable", json_boolean(c->bar[0] == '\0'));
    json_object_set_new(o, "why_not", shape_text(c->bar));
    json_object_set_new(o, "chosen", json_boolean(c->chosen));
    json_object_set_new(o, "last_gen", c->known ? json_integer(c->last_gen) : json_null());
    json_object_set_new(o, "last_seq",
                        c->known ? json_integer((json_int_t)c->last_seq) : json_null());
    json_object_set_new(o, "left", c->left[0] != '\0' ? shape_text(c->left) : json_null());
    return o;
}

static json_t *
payload_recover_shard(const Causeway__Control__RecoverShard *s)
{
    json_t *o = json_object(), *copies = json_array();

    for (size_t i = 0; i < s->n_copies; i++)
        json_array_append_new(copies, payload_recover_copy(s->copies[i]));
    json_object_set_new(o, "shard", json_integer((json_int_t)(s->shard & 0xffff)));
    json_object_set_new(o, "loss", shape_text(s->loss));
    json_object_set_new(o, "note", shape_text(s->note));
    json_object_set_new(o, "copies", copies);
    return o;
}

json_t *
cw_payload_recover(const cw_pb_recover *r)
{
    json_t *o = json_object(), *shards = json_array();

    for (size_t i = 0; i < r->n_shards; i++)
        json_array_append_new(shards, payload_recover_shard(r->shards[i]));
    json_object_set_new(o, "volume", shape_text(r->volume));
    json_object_set_new(o, "recovered", json_boolean(r->recovered));
    json_object_set_new(o, "gen", json_integer(r->gen));
    json_object_set_new(o, "command", shape_text(r->command));
    json_object_set_new(o, "shards", shards);
    return payload_one("recover", o);
}

/* ---- hosts and disks ---- */

json_t *
cw_payload_hosts(const cw_pb_hosts *ls)
{
    json_t *hosts = json_array();

    for (size_t i = 0; i < ls->n_hosts; i++)
        json_array_append_new(hosts, cw_shape_host(ls->hosts[i]));
    return payload_one("hosts", hosts);
}

json_t *
cw_payload_host(const cw_pb_host *h)
{
    return payload_one("host", cw_shape_host(h));
}

/* Every disk of every host, as `shape` shows it. */
static json_t *
payload_disks(const cw_pb_hosts *ls, const char *key,
              json_t *(*shape)(const cw_pb_host *, const cw_pb_disk *))
{
    json_t *disks = json_array();

    for (size_t i = 0; i < ls->n_hosts; i++) {
        for (size_t k = 0; k < ls->hosts[i]->n_disks; k++)
            json_array_append_new(disks, shape(ls->hosts[i], ls->hosts[i]->disks[k]));
    }
    return payload_one(key, disks);
}

json_t *
cw_payload_disks(const cw_pb_hosts *ls)
{
    return payload_disks(ls, "disks", cw_shape_disk);
}

json_t *
cw_payload_disk(const cw_pb_host *h, const cw_pb_disk *d)
{
    return payload_one("disk", cw_shape_disk(h, d));
}

json_t *
cw_payload_scrubs(const cw_pb_hosts *ls)
{
    return payload_disks(ls, "scrubs", cw_shape_scrub);
}

json_t *
cw_payload_scrub_started(const cw_pb_scrub_started *r)
{
    json_t *o = json_object(), *started = json_array(), *failed = json_array(), *f;

    for (size_t i = 0; i < r->n_disks; i++) {
        const Causeway__Control__ScrubStarted *d = r->disks[i];

        if (d->failed[0] == '\0') {
            json_array_append_new(started, shape_text(d->disk));
            continue;
        }
        f = payload_one("disk", shape_text(d->disk));
        json_object_set_new(f, "why", shape_text(d->failed));
        json_array_append_new(failed, f);
    }
    json_object_set_new(o, "started", started);
    json_object_set_new(o, "failed", failed);
    return o;
}

/* ---- policies, jobs, events ---- */

json_t *
cw_payload_policies(const cw_pb_policies *ls)
{
    json_t *policies = json_array();

    for (size_t i = 0; i < ls->n_policies; i++)
        json_array_append_new(policies, cw_shape_policy(ls->policies[i]));
    return payload_one("policies", policies);
}

json_t *
cw_payload_policy(const cw_pb_policy *p)
{
    return payload_one("policy", cw_shape_policy(p));
}

json_t *
cw_payload_jobs(const cw_pb_jobs *ls)
{
    json_t *jobs = json_array();

    for (size_t i = 0; i < ls->n_jobs; i++)
        json_array_append_new(jobs, cw_shape_job(ls->jobs[i]));
    return payload_one("jobs", jobs);
}

json_t *
cw_payload_job(const cw_pb_job *j)
{
    return payload_one("job", cw_shape_job(j));
}

bool
cw_shape_verify_clean(const Causeway__Control__VerifyProgress *v)
{
    return v->found == 0 && v->unrepairable == 0 && v->differing == 0;
}

json_t *
cw_payload_verify(const cw_pb_job *j)
{
    const Causeway__Control__VerifyProgress *v = j->verify;
    json_t *o = json_object();

    json_object_set_new(o, "volume", shape_text(j->object));
    json_object_set_new(o, "job", json_integer((json_int_t)j->id));
    json_object_set_new(o, "copies", json_integer((json_int_t)v->copies));
    json_object_set_new(o, "verified_bytes", json_integer((json_int_t)v->done_bytes));
    json_object_set_new(o, "found", json_integer((json_int_t)v->found));
    json_object_set_new(o, "repaired", json_integer((json_int_t)v->repaired));
    json_object_set_new(o, "unrepairable", json_integer((json_int_t)v->unrepairable));
    json_object_set_new(o, "differing", json_integer((json_int_t)v->differing));
    json_object_set_new(o, "clean", json_boolean(cw_shape_verify_clean(v)));
    return payload_one("verify", o);
}

json_t *
cw_payload_cancelled(uint64_t job)
{
    return payload_one("cancelled", json_integer((json_int_t)job));
}

json_t *
cw_payload_events(const cw_pb_events *ls)
{
    json_t *events = json_array();

    for (size_t i = 0; i < ls->n_events; i++)
        json_array_append_new(events, cw_shape_event(ls->events[i]));
    return payload_one("events", events);
}

json_t *
cw_payload_event(const cw_pb_event *e)
{
    return payload_one("event", cw_shape_event(e));
}

/* ---- maintenance, removal, repair, what-if ---- */

static json_t *
payload_plan_volume(const Causeway__Control__PlanVolume *v)
{
    json_t *o = json_object();

    shape_set_text(o, "name", v->name);
    shape_set_text(o, "protection_now", v->now);
    shape_set_text(o, "protection", v->then);
    shape_set_text(o, "why", v->why);
    shape_set_number(o, "move_bytes", v->move_bytes);
    shape_set_text(o, "blocked", v->blocked);
    return o;
}

static json_t *
payload_plan(const Causeway__Control__Plan *p)
{
    json_t *o = json_object(), *volumes = json_array();
    bool known = p->seconds > 0 || p->move_bytes == 0;

    for (size_t i = 0; i < p->n_volumes; i++)
        json_array_append_new(volumes, payload_plan_volume(p->volumes[i]));
    shape_set_text(o, "mode", p->mode);
    shape_set_number(o, "copies", p->copies);
    shape_set_number(o, "moves", p->moves);
    shape_set_number(o, "move_bytes", p->move_bytes);
    json_object_set_new(o, "eta_seconds",
                        known ? json_integer((json_int_t)p->seconds) : json_null());
    shape_set_number(o, "volumes_reduced", p->reduced);
    shape_set_number(o, "volumes_unavailable", p->unavailable);
    shape_set_text(o, "refused", p->refused);
    json_object_set_new(o, "volumes", volumes);
    return o;
}

json_t *
cw_payload_plans(const cw_pb_maintain *r, const char *kind)
{
    json_t *o = cw_payload_done(kind, r->object), *plans = json_array();

    for (size_t i = 0; i < r->n_plans; i++)
        json_array_append_new(plans, payload_plan(r->plans[i]));
    json_object_set_new(o, "plans", plans);
    return o;
}

json_t *
cw_payload_maintenance(const cw_pb_maintain *r, const char *mode, bool ready)
{
    json_t *o = json_object();

    shape_set_text(o, "host", r->object);
    shape_set_text(o, "mode", mode);
    shape_set_bool(o, "ready", ready);
    shape_set_number(o, "job", r->job);
    shape_set_text(o, "why", ready ? "" : r->why);
    return payload_one("maintenance", o);
}

json_t *
cw_payload_drain(const cw_pb_maintain *r, bool cancelled, bool done)
{
    json_t *o = json_object();

    shape_set_text(o, "disk", r->object);
    shape_set_bool(o, "cancelled", cancelled);
    shape_set_bool(o, "done", done);
    shape_set_number(o, "job", r->job);
    shape_set_text(o, "why", done ? "" : r->why);
    return payload_one("drain", o);
}

json_t *
cw_payload_removed(const cw_pb_removed *r)
{
    json_t *o = cw_payload_done("removed", r->object), *lost = json_array();

    for (size_t i = 0; i < r->n_lost; i++)
        json_array_append_new(lost, shape_text(r->lost[i]));
    shape_set_number(o, "copies", r->copies);
    json_object_set_new(o, "lost", lost);
    return o;
}

json_t *
cw_payload_host_joined(const cw_pb_host *h)
{
    json_t *o = payload_one("joined", json_true());

    json_object_set_new(o, "host", cw_shape_host(h));
    return o;
}

json_t *
cw_payload_host_to_join(const char *name, const char *command)
{
    json_t *o = payload_one("joined", json_false());

    shape_set_text(o, "name", name);
    shape_set_text(o, "command", command);
    return o;
}

static json_t *
payload_repair(const Causeway__Control__RepairInfo *i)
{
    json_t *o = json_object();

    shape_set_text(o, "volume", i->volume);
    shape_set_number(o, "shard", i->shard);
    shape_set_number(o, "index", i->shard & 0xffff);
    shape_set_text(o, "state", i->state);
    shape_set_text(o, "why", i->why);
    shape_set_text(o, "at", i->at);
    shape_set_text(o, "source", i->source);
    shape_set_text(o, "target", i->target);
    shape_set_number(o, "done_bytes", i->done_bytes);
    shape_set_number(o, "total_bytes", i->total_bytes);
    shape_set_number(o, "bytes_per_second", i->bytes_per_s);
    shape_set_number(o, "insync_copies", i->insync);
    return o;
}

json_t *
cw_payload_repairs(const cw_pb_repairs *ls)
{
    json_t *o, *repairs = json_array();

    for (size_t i = 0; i < ls->n_repairs; i++)
        json_array_append_new(repairs, payload_repair(ls->repairs[i]));
    o = payload_one("repairs", repairs);
    shape_set_text(o, "paused_since", ls->paused_since);
    shape_set_number(o, "limit_bytes_per_second", ls->limit_bytes_per_s);
    return o;
}

int
cw_shape_protection_health(const char *word)
{
    if (strcmp(word, "full") == 0)
        return 0;
    return strncmp(word, "reduced-", strlen("reduced-")) == 0 ? 1 : 2;
}

int
cw_shape_whatif_health(const cw_pb_whatif *r)
{
    int worst = 0;

    for (size_t i = 0; i < r->n_volumes; i++) {
        int health = cw_shape_protection_health(r->volumes[i]->word);

        worst = health > worst ? health : worst;
    }
    return worst;
}

static json_t *
payload_whatif_volume(const Causeway__Control__WhatifVolume *v)
{
    json_t *o = json_object();

    shape_set_text(o, "name", v->name);
    shape_set_text(o, "protection", v->word);
    shape_set_text(o, "protection_now", v->now);
    shape_set_text(o, "protection_for_good", v->for_good);
    shape_set_text(o, "why", v->why);
    shape_set_text(o, "next", v->next);
    shape_set_bool(o, "restorable", v->restorable);
    shape_set_text(o, "restore_why", v->restore_why);
    shape_set_number(o, "restore_bytes", v->restore_bytes);
    return o;
}

json_t *
cw_payload_whatif(const cw_pb_whatif *r)
{
    static const char *const healths[] = { "ok", "warning", "error" };
    json_t *o = json_object(), *disks = json_array(), *volumes = json_array();

    for (size_t i = 0; i < r->n_disks; i++)
        json_array_append_new(disks, shape_text(r->disks[i]));
    for (size_t i = 0; i < r->n_volumes; i++)
        json_array_append_new(volumes, payload_whatif_volume(r->volumes[i]));
    shape_set_text(o, "health", healths[cw_shape_whatif_health(r)]);
    json_object_set_new(o, "disks", disks);
    shape_set_number(o, "unaffected", r->unaffected);
    json_object_set_new(o, "volumes", volumes);
    return payload_one("whatif", o);
}

/* ---- metadata ---- */

json_t *
cw_payload_metadata(const cw_pb_metadata *m)
{
    json_t *o = json_object();

    shape_set_text(o, "cluster", m->cluster);
    shape_set_uuid(o, "cluster_id", m->cluster_id);
    shape_set_text(o, "store", m->metadata);
    shape_set_text(o, "manager", m->manager);
    shape_set_number(o, "epoch", m->epoch);
    shape_set_number(o, "records", m->records);
    shape_set_number(o, "volumes", m->volumes);
    shape_set_number(o, "size_bytes", m->size_bytes);
    shape_set_text(o, "restored", m->restored);
    shape_set_number(o, "restored_epoch", m->restored_epoch);
    shape_set_bool(o, "backed_up", m->backed_up);
    json_object_set_new(o, "backups", cw_shape_metadata_places(m->backups, m->n_backups));
    return payload_one("metadata", o);
}

json_t *
cw_payload_metadata_saved(const char *file, const char *from,
                          const Causeway__Control__MetadataKept *of, uint64_t size_bytes)
{
    json_t *o = json_object();

    shape_set_text(o, "file", file);
    shape_set_text(o, "from", from);
    shape_set_number(o, "epoch", of->epoch);
    shape_set_number(o, "size_bytes", size_bytes);
    return payload_one("metadata_saved", o);
}

/* ---- answers without an object ---- */

json_t *
cw_payload_done(const char *what, const char *name)
{
    return payload_one(what, shape_text(name));
}

json_t *
cw_payload_error(const char *code, const char *message, const char *object, const char *hint)
{
    json_t *o = json_object();

    json_object_set_new(o, "code", shape_text(code));
    json_object_set_new(o, "message", shape_text(message));
    json_object_set_new(o, "object", shape_text(object));
    json_object_set_new(o, "hint", shape_text(hint));
    return payload_one("error", o);
}

char *
cw_payload_dump(json_t *take_payload, size_t flags)
{
    json_t *all = payload_one("schema", json_integer(CW_JSON_SCHEMA));
    char *text;

    cw_assert(take_payload != NULL);
    json_object_update(all, take_payload);
    json_decref(take_payload);
    text = json_dumps(all, flags | JSON_PRESERVE_ORDER);
    json_decref(all);
    cw_assert(text != NULL);
    return text;
}

/* ---- finding ---- */

const cw_pb_host *
cw_shape_find_host(const cw_pb_hosts *ls, const char *name)
{
    for (size_t i = 0; i < ls->n_hosts; i++) {
        if (strcmp(ls->hosts[i]->name, name) == 0)
            return ls->hosts[i];
    }
    return NULL;
}

static bool
disk_is(const cw_pb_host *h, const cw_pb_disk *d, const char *path)
{
    const char *rest = path;
    size_t len = h->domain != NULL ? strlen(h->domain->site) : 0;

    if (len > 0 && strncmp(path, h->domain->site, len) == 0 && path[len] == '/' &&
        strchr(path + len + 1, '/') != NULL)
        rest = path + len + 1;
    len = strlen(h->name);
    return strncmp(rest, h->name, len) == 0 && rest[len] == '/' &&
           strcmp(rest + len + 1, d->name) == 0;
}

const cw_pb_disk *
cw_shape_find_disk(const cw_pb_hosts *ls, const char *path, const cw_pb_host **ret_host)
{
    for (size_t i = 0; i < ls->n_hosts; i++) {
        for (size_t k = 0; k < ls->hosts[i]->n_disks; k++) {
            if (!disk_is(ls->hosts[i], ls->hosts[i]->disks[k], path))
                continue;
            *ret_host = ls->hosts[i];
            return ls->hosts[i]->disks[k];
        }
    }
    return NULL;
}

const cw_pb_policy *
cw_shape_find_policy(const cw_pb_policies *ls, const char *name)
{
    for (size_t i = 0; i < ls->n_policies; i++) {
        if (strcmp(ls->policies[i]->name, name) == 0)
            return ls->policies[i];
    }
    return NULL;
}

const cw_pb_job *
cw_shape_find_job(const cw_pb_jobs *ls, uint64_t id)
{
    for (size_t i = 0; i < ls->n_jobs; i++) {
        if (ls->jobs[i]->id == id)
            return ls->jobs[i];
    }
    return NULL;
}
