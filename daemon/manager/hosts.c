/* manager/hosts.c - daemons: who they are, and whether they are there.
 *
 *   register --> up --silent or disconnected for 4 s--> absent --register, or heard again--> up
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/name.h"
#include "daemon/manager/internal.h"

#define ABSENT_NS (CW_MGR_ABSENT_MS * CW_NS_PER_MS)

bool
cw_mgr_host_serves(const struct cw_manager *m, const struct mgr_host *h)
{
    return h != NULL && h->session != NULL && cw_now_ns(m->env) - h->ok_ns < ABSENT_NS;
}

bool
cw_mgr_many_absent(const struct cw_manager *m)
{
    size_t absent = 0;

    MGR_EACH(&m->t, CW_REC_HOST, struct mgr_host, h)
    absent += h->absent && !cw_mgr_host_maintained(h);
    return absent > 1 && absent * 3 > m->t.of[CW_REC_HOST].n;
}

/* ---- registration ---- */

static struct cw_uuid
daemon_id(const struct cw_uuid *host_key, uint64_t incarnation)
{
    uint64_t hi = cw_mix64(cw_uuid_hash(host_key) ^ cw_mix64(incarnation));

    return cw_uuid_from_random(hi, cw_mix64(hi + incarnation));
}

static bool
register_sane(const struct cw_mgr_register *r, struct cw_mgr_call *call)
{
    struct cw_host_rec size;
    struct cw_addr addr;

    if (!cw_name_ok(r->name))
        cw_mgr_fail(call, CW_MGR_BAD_REQUEST, "", "a host name is 1 to 63 of [A-Za-z0-9._-]");
    else if (cw_uuid_is_nil(&r->host_key))
        cw_mgr_fail(call, CW_MGR_BAD_REQUEST, r->name, "host %s registers without a key", r->name);
    else if (!cw_addr_parse(r->advertise, false, &addr) || strcmp(addr.host, "0.0.0.0") == 0 ||
             strcmp(addr.host, "::") == 0)
        cw_mgr_fail(call, CW_MGR_BAD_REQUEST, r->name,
                    "host %s advertises \"%.80s\", which nobody can connect to", r->name,
                    r->advertise);
    else if (r->domain.region[0] != '\0' && !cw_name_ok(r->domain.region))
        cw_mgr_fail(call, CW_MGR_BAD_REQUEST, r->name,
                    "host %s: a region is 1 to 63 of [A-Za-z0-9._-]", r->name);
    else if (r->attributes.provider != NULL && r->attributes.provider[0] != '\0' &&
             !cw_name_ok(r->attributes.provider))
        cw_mgr_fail(call, CW_MGR_BAD_REQUEST, r->name,
                    "host %s: a provider is 1 to 63 of [A-Za-z0-9._-]", r->name);
    else if (!cw_name_ok(r->domain.site) || strlen(r->domain.rack) >= sizeof(size.rack) ||
             strlen(r->unix_path) >= sizeof(size.unix_path) ||
             strlen(r->advertise) >= sizeof(size.advertise))
        cw_mgr_fail(call, CW_MGR_BAD_REQUEST, r->name,
                    "host %s: its domain needs a site, and names of at most 63 bytes", r->name);
    else
        return true;
    return false;
}

/* Is somebody else alive under that name? */
static bool
name_taken(const struct cw_manager *m, const struct cw_mgr_register *r, const struct mgr_host *h,
           const struct cw_mgr_session *self)
{
    const struct cw_host_rec *old;

    if (h == NULL || h->session == self || !cw_mgr_host_serves(m, h))
        return false;
    old = &h->o.rec.host;
    if (!cw_uuid_equal(&old->host_key, &r->host_key))
        return true;
    /* The same key on another machine and address: a cloned store, not a restart. */
    return h->incarnation != r->incarnation && strcmp(old->advertise, r->advertise) != 0 &&
           !cw_uuid_equal(&old->boot_id, &r->boot_id);
}

/* ---- a site lies in one region: the one that any of its hosts names ---- */

static const struct mgr_host *
region_named(const struct cw_manager *m, const char *site, const char *but_host)
{
    MGR_EACH(&m->t, CW_REC_HOST, struct mgr_host, h)
    {
        const struct cw_host_rec *r = &h->o.rec.host;

        if (r->region[0] != '\0' && strcmp(r->site, site) == 0 && strcmp(r->name, but_host) != 0)
            return h;
    }
    return NULL;
}

const char *
cw_mgr_site_region(const struct cw_manager *m, const char *site)
{
    const struct mgr_host *h = region_named(m, site, "");

    return h != NULL ? h->o.rec.host.region : "";
}

static bool
region_allowed(const struct cw_manager *m, const struct cw_mgr_register *r,
               struct cw_mgr_call *call)
{
    const struct mgr_host *h = region_named(m, r->domain.site, r->name);
    const struct cw_host_rec *other = h != NULL ? &h->o.rec.host : NULL;

    if (other == NULL || r->domain.region[0] == '\0' ||
        strcmp(other->region, r->domain.region) == 0)
        return true;
    cw_mgr_fail(call, CW_MGR_BAD_REQUEST, r->name,
                "host %s puts site %s into region %s, host %s puts it into region %s: a site lies "
                "in one region",
                r->name, r->domain.site, r->domain.region, other->name, other->region);
    cw_mgr_error_hint(&call->error,
                      "start it with --domain region=%s,site=%s; or, to move the site, start each "
                      "of its hosts without a region first (causeway host ls)",
                      other->region, r->domain.site);
    return false;
}

static bool
register_allowed(const struct cw_manager *m, const struct cw_mgr_register *r,
                 struct cw_mgr_call *call)
{
    const struct mgr_host *h = cw_mgr_find_host(&m->t, r->name);
    char theirs[CW_UUID_TEXT_SIZE], ours[CW_UUID_TEXT_SIZE];

    if (!cw_uuid_is_nil(&r->cluster_id) &&
        !cw_uuid_equal(&r->cluster_id, &cw_mgr_cluster(m)->cluster_id)) {
        cw_mgr_fail(call, CW_MGR_FOREIGN_STORE, r->name,
                    "host %s belongs to cluster %s, this is %s", r->name,
                    cw_uuid_format(&r->cluster_id, theirs),
                    cw_uuid_format(&cw_mgr_cluster(m)->cluster_id, ours));
        cw_mgr_error_hint(&call->error, "join its own cluster, or format new stores for this one");
        return false;
    }
    if (name_taken(m, r, h, call->session)) {
        cw_mgr_fail(call, CW_MGR_NAME_TAKEN, r->name, "a daemon named %s is up at %s", r->name,
                    h->o.rec.host.advertise);
        cw_mgr_error_hint(&call->error, "choose another --host name, or stop that daemon first");
        return false;
    }
    return region_allowed(m, r, call);
}

static bool
disk_refused(const struct cw_manager *m, const struct cw_mgr_register *r,
             const struct cw_mgr_disk_state *ds)
{
    const struct mgr_disk *d = cw_mgr_find_disk(&m->t, &ds->uuid);
    const struct mgr_host *there;

    if (cw_uuid_is_nil(&ds->uuid) || ds->format_id == 0 || !cw_name_ok(ds->name))
        return true;
    if (!cw_uuid_is_nil(&ds->cluster_id) &&
        !cw_uuid_equal(&ds->cluster_id, &cw_mgr_cluster(m)->cluster_id))
        return true;
    if (d == NULL || strcmp(d->o.rec.disk.host, r->name) == 0)
        return false;
    there = cw_mgr_find_host(&m->t, d->o.rec.disk.host); /* the same disk twice: a cloned store */
    return cw_mgr_host_serves(m, there) && d->reported;
}

static void
register_put_host(struct mgr_txn *t, const struct cw_mgr_register *r)
{
    struct mgr_host *h = cw_mgr_find_host(&t->m->t, r->name);
    struct cw_rec rec = { .kind = CW_REC_HOST };
    struct cw_host_rec *to = &rec.host;

    if (h != NULL)
        rec = h->o.rec;
    to->host_key = r->host_key;
    to->site_kind = r->site_kind;
    to->egress_micros = r->attributes.egress_micros;
    to->is_volatile = r->attributes.is_volatile;
    to->boot_id = r->boot_id;
    cw_mgr_text_set(to->name, sizeof(to->name), r->name);
    cw_mgr_text_set(to->region, sizeof(to->region), r->domain.region);
    cw_mgr_text_set(to->site, sizeof(to->site), r->domain.site);
    cw_mgr_text_set(to->provider, sizeof(to->provider),
                    r->attributes.provider != NULL ? r->attributes.provider : "");
    cw_mgr_text_set(to->rack, sizeof(to->rack), r->domain.rack);
    cw_mgr_text_set(to->advertise, sizeof(to->advertise), r->advertise);
    cw_mgr_text_set(to->unix_path, sizeof(to->unix_path), r->unix_path);
    if (h != NULL && memcmp(&h->o.rec.host, to, sizeof(*to)) == 0)
        return;
    if (h == NULL)
        to->joined_s = cw_mgr_wall_s(t->m);
    cw_mgr_txn_put(t, &rec);
    cw_mgr_txn_event(t, h == NULL ? "HOST_JOINED" : "HOST_CHANGED", r->name, "site %s, at %s",
                     r->domain.site, r->advertise);
}

/* The name of a disk on a host that has it already; NULL: none. */
static const char *
disk_had_name(const struct cw_manager *m, const struct cw_mgr_register *r, size_t i)
{
    const struct mgr_disk *d = cw_mgr_find_disk(&m->t, &r->disks[i].uuid);

    return d != NULL && strcmp(d->o.rec.disk.host, r->name) == 0 ? d->o.rec.disk.name : NULL;
}

/* By another disk that is there. */
static bool
disk_name_taken(const struct cw_manager *m, const struct cw_mgr_register *r,
                char (*names)[CW_NAME_SIZE], size_t i, const char *name)
{
    for (size_t k = 0; k < r->n_disks; k++) {
        const char *theirs = k < i ? names[k] : disk_had_name(m, r, k);

        if (k != i && theirs != NULL && strcmp(theirs, name) == 0)
            return true;
    }
    return false;
}

/* A daemon names its disks by their places, which move when one is left out. Here a disk keeps its
 * name, lest an operator pulls the wrong one, and a new one takes a name that no disk there has: if
 * it is that of a disk which is gone, it replaces it. */
static void
register_names(const struct cw_manager *m, const struct cw_mgr_register *r,
               char (*names)[CW_NAME_SIZE])
{
    for (size_t i = 0; i < r->n_disks; i++) {
        const char *had = disk_had_name(m, r, i);

        cw_mgr_text_set(names[i], CW_NAME_SIZE, had != NULL ? had : r->disks[i].name);
        for (unsigned n = 0; disk_name_taken(m, r, names, i, names[i]); n++)
            snprintf(names[i], CW_NAME_SIZE, "store-%u", n);
    }
}

static void
register_put_disk(struct mgr_txn *t, const struct cw_mgr_register *r,
                  const struct cw_mgr_disk_state *ds, const char *name)
{
    struct mgr_disk *d = cw_mgr_find_disk(&t->m->t, &ds->uuid);
    struct cw_rec rec = { .kind = CW_REC_DISK };
    struct cw_disk_rec *to = &rec.disk;
    const struct cw_disk_rec *old = d != NULL ? &d->o.rec.disk : NULL;

    to->uuid = ds->uuid;
    to->format_id = ds->format_id;
    to->size_bytes = ds->size_bytes;
    to->failed = ds->failed;
    if (old != NULL && old->format_id == ds->format_id) {
        to->quarantined = old->quarantined;
        to->storms = old->storms;
        to->quarantined_s = old->quarantined_s;
        to->quarantined_by = old->quarantined_by;
        to->draining_s = old->draining_s;
    }
    cw_mgr_text_set(to->host, sizeof(to->host), r->name);
    cw_mgr_text_set(to->name, sizeof(to->name), name);
    if (old != NULL && memcmp(old, to, sizeof(*to)) == 0)
        return;
    cw_mgr_txn_put(t, &rec);
    if (old == NULL)
        cw_mgr_txn_event(t, "DISK_ADDED", r->name, "%s", name);
    else if (strcmp(old->host, to->host) != 0)
        cw_mgr_txn_event(t, "DISK_MOVED", r->name, "%s came from host %s", name, old->host);
    else if (old->format_id != to->format_id)
        cw_mgr_txn_event(t, "DISK_FORMATTED", r->name, "%s was formatted again", name);
}

static bool
is_refused(const struct cw_mgr_register_reply *reply, const struct cw_uuid *disk)
{
    for (size_t i = 0; i < reply->n_refused_disks; i++)
        if (cw_uuid_equal(&reply->refused_disks[i], disk))
            return true;
    return false;
}

static bool
register_has_disk(const struct cw_mgr_register *r, const struct cw_mgr_register_reply *reply,
                  const struct cw_uuid *disk)
{
    for (size_t i = 0; i < r->n_disks; i++) {
        if (cw_uuid_equal(&r->disks[i].uuid, disk))
            return !is_refused(reply, disk);
    }
    return false;
}

/* A host without a key never registered: it was put there for disks whose hosts nobody knows (by
 * causeway-store rebuild-metadata). It goes with the last of them. */
static void
register_end_stand_ins(struct mgr_txn *t, const struct cw_mgr_register *r,
                       const struct cw_mgr_register_reply *reply)
{
    MGR_EACH(&t->m->t, CW_REC_HOST, struct mgr_host, h)
    {
        const struct cw_host_rec *host = &h->o.rec.host;
        bool left = false;

        if (!cw_uuid_is_nil(&host->host_key) || strcmp(host->name, r->name) == 0)
            continue;
        MGR_EACH(&t->m->t, CW_REC_DISK, struct mgr_disk, d)
        left |= strcmp(d->o.rec.disk.host, host->name) == 0 &&
                !register_has_disk(r, reply, &d->o.rec.disk.uuid);
        if (left)
            continue;
        cw_mgr_txn_del(t, &h->o);
        cw_mgr_txn_event(t, "HOST_REMOVED", host->name,
                         "all its disks are on hosts that registered");
    }
}

static enum mgr_build
register_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const struct cw_mgr_register *r = &c->call->req.register_host;
    struct cw_mgr_register_reply *reply = &c->call->reply.register_reply;
    struct cw_uuid *refused =
        cw_mgr_arena_get(cw_mgr_reply_arena(c->call), r->n_disks + 1, sizeof(*refused));
    struct cw_uuid *removed =
        cw_mgr_arena_get(cw_mgr_reply_arena(c->call), r->n_disks + 1, sizeof(*removed));
    char(*names)[CW_NAME_SIZE] =
        cw_mgr_arena_get(cw_mgr_reply_arena(c->call), r->n_disks + 1, sizeof(*names));

    if (!register_allowed(t->m, r, c->call))
        return cw_mgr_refused(c);
    reply->refused_disks = refused;
    reply->removed_disks = removed;
    reply->n_refused_disks = reply->n_removed_disks = 0;
    for (size_t i = 0; i < r->n_disks; i++)
        if (disk_refused(t->m, r, &r->disks[i]))
            refused[reply->n_refused_disks++] = r->disks[i].uuid;
    /* A daemon whose first try is refused stops: a record of it would be a host for ever absent. */
    if (reply->n_refused_disks > 0 && cw_mgr_find_host(&t->m->t, r->name) == NULL)
        return MGR_BUILD_NONE;
    register_put_host(t, r);
    register_names(t->m, r, names);
    for (size_t i = 0; i < r->n_disks; i++) {
        if (is_refused(reply, &r->disks[i].uuid))
            continue;
        if (cw_mgr_txn_removed_seen(t, r->name, &r->disks[i]))
            removed[reply->n_removed_disks++] = r->disks[i].uuid;
        else
            register_put_disk(t, r, &r->disks[i], names[i]);
    }
    register_end_stand_ins(t, r, reply);
    return t->n_items > 0 ? MGR_BUILD_COMMIT : MGR_BUILD_NONE;
}

static void
host_take_session(struct cw_manager *m, struct mgr_host *h, struct cw_mgr_session *s,
                  const struct cw_mgr_register *r)
{
    struct cw_mgr_session *old = h->session;

    if (s->host != NULL && s->host != h)
        cw_mgr_host_gone(m, s->host);
    if (old != NULL && old != s) {
        old->host = NULL;
        old->id = (struct cw_uuid){ 0 };
        m->opts.ops->hang_up(m->opts.world, old->user);
    }
    s->kind = MGR_SESSION_DAEMON;
    s->host = h;
    s->id = daemon_id(&r->host_key, r->incarnation);
    cw_mgr_text_clip(s->name, sizeof(s->name), r->name);
    cw_mgr_text_clip(s->machine, sizeof(s->machine), r->name);
    if (h->incarnation != r->incarnation)
        cw_mgr_flaps_forget(m, h);
    h->session = s;
    h->vouched = h->vouching = h->anew = false;
    h->incarnation = r->incarnation;
    cw_mgr_text_clip(h->version, sizeof(h->version), r->version);
}

static void
register_warmth(struct cw_manager *m, const struct cw_mgr_register *r)
{
    uint64_t since = cw_now_ns(m->env) - m->cold_since_ns;

    m->hosts_seen = true;
    if (r->up_ms * CW_NS_PER_MS > since + CW_NS_PER_S)
        m->cold_until_ns = 0; /* it ran all along: only we were away */
}

static void
register_ok(struct mgr_call_op *c)
{
    struct cw_manager *m = c->op.m;
    const struct cw_mgr_register *r = &c->call->req.register_host;
    struct cw_mgr_register_reply *reply = &c->call->reply.register_reply;
    struct mgr_host *h = cw_mgr_find_host(&m->t, r->name);

    reply->cluster_id = cw_mgr_cluster(m)->cluster_id;
    reply->cluster_name = cw_mgr_cluster(m)->name;
    reply->beat_ms = CW_MGR_BEAT_MS;
    if (m->opts.any_host) /* else it is where the host has found it */
        reply->managers = cw_mgr_managers(m, cw_mgr_reply_arena(c->call), &reply->n_managers);
    if (c->call->session == NULL || h == NULL)
        return;
    host_take_session(m, h, c->call->session, r);
    h->memory = r->memory;
    h->kept = r->kept;
    h->keep_after_ns = 0;
    h->ok_ns = cw_now_ns(m->env);
    h->up_ns = h->ok_ns - cw_min_u64(h->ok_ns, r->up_ms * CW_NS_PER_MS);
    if (h->absent || !h->seen)
        h->since_s = cw_mgr_wall_s(m);
    h->absent = false;
    h->seen = true;
    m->news = true;
    register_warmth(m, r);
    cw_mgr_disks_registered(m, h, r->disks, r->n_disks);
    cw_mgr_removed_registered(m, h, r->disks, r->n_disks);
    cw_mgr_copies_registered(m, h, r->copies, r->n_copies);
    cw_mgr_drops_again(m, h);
    cw_mgr_hint_host(m, h, true);
    cw_mgr_hint_owners(m, c->call->session); /* a caretaker's */
}

void
cw_mgr_call_register(struct cw_manager *m, struct cw_mgr_call *call)
{
    if (call->session != NULL && call->session->kind == MGR_SESSION_CLIENT) {
        cw_mgr_fail(call, CW_MGR_BAD_REQUEST, "", "a client's connection cannot register a host");
        cw_mgr_done(call);
    } else if (!register_sane(&call->req.register_host, call)) {
        cw_mgr_done(call);
    } else {
        cw_mgr_call_op(m, call, register_build, register_ok);
    }
}

void
cw_mgr_call_beat(struct cw_manager *m, struct cw_mgr_call *call)
{
    const struct cw_mgr_beat *b = &call->req.beat;

    if (call->session == NULL || call->session->host == NULL) {
        cw_mgr_fail(call, CW_MGR_NOT_FOUND, "", "this connection has not registered a host");
    } else if (call->session->host->anew) {
        cw_mgr_fail(call, CW_MGR_NOT_FOUND, "", "its stores are to be registered again");
    } else {
        call->session->host->memory = b->memory;
        cw_mgr_disks_seen(m, call->session->host, b->disks, b->n_disks);
        cw_mgr_copies_used(m, call->session->host, b->uses, b->n_uses);
        cw_mgr_copies_bad(m, call->session->host, b->bads, b->n_bads);
        cw_mgr_ways_took(m, call->session->host, b->trips, b->n_trips);
        cw_mgr_ways_ask(m, call->session->host, cw_mgr_reply_arena(call), &call->reply.beat);
    }
    cw_mgr_done(call);
}

/* ---- presence ---- */

void
cw_mgr_host_gone(struct cw_manager *m, struct mgr_host *h)
{
    if (h->session != NULL)
        h->session->host = NULL;
    h->session = NULL;
    h->ok_ns = cw_now_ns(m->env);
    m->news = true;
}

static void
host_look(struct cw_manager *m, struct mgr_host *h)
{
    bool serves = cw_mgr_host_serves(m, h);
    bool absent = !serves && cw_now_ns(m->env) - h->ok_ns >= ABSENT_NS;

    if (absent == h->absent || (!absent && !serves))
        return;
    h->absent = absent;
    m->news = true;
    h->since_s = cw_mgr_wall_s(m);
    cw_mgr_hint_host(m, h, !absent);
}

void
cw_mgr_cold_begin(struct cw_manager *m)
{
    m->cold_since_ns = cw_now_ns(m->env);
    m->cold_until_ns = m->cold_since_ns + CW_MGR_BOOT_MS * CW_NS_PER_MS;
    m->hosts_seen = false;
    MGR_EACH(&m->t, CW_REC_HOST, struct mgr_host, h)
    h->seen = false;
}

void
cw_mgr_hosts_tick(struct cw_manager *m)
{
    size_t absent = 0;

    MGR_EACH(&m->t, CW_REC_HOST, struct mgr_host, h)
    {
        host_look(m, h);
        absent += h->absent;
    }
    if (m->hosts_seen && absent > 0 && absent == m->t.of[CW_REC_HOST].n) {
        cw_log(m->env, CW_LOG_WARNING, "cluster: every host is absent");
        cw_mgr_cold_begin(m);
    }
}

/* ---- host ls ---- */

static void
maintain_fill(const struct cw_manager *m, const struct mgr_host *h, struct cw_mgr_arena *a,
              struct cw_mgr_host_info *ret)
{
    const struct cw_host_rec *r = &h->o.rec.host;
    const struct mgr_work *w = cw_mgr_work_open(m, CW_JOB_MAINTAIN, r->name);
    char since[CW_MGR_TIME_SIZE];

    ret->maintain = cw_mgr_maintain_name(r->maintain);
    ret->maintain_ready = r->maintain_ready;
    ret->maintain_since = cw_mgr_arena_text(a, cw_mgr_time_format(r->maintain_s, since));
    ret->maintain_why = cw_mgr_arena_text(a, w != NULL ? w->why : "");
    ret->maintain_job = w != NULL ? w->o.rec.job.id : 0;
}

static void
host_fill(const struct cw_manager *m, const struct mgr_host *h, struct cw_mgr_arena *a,
          struct cw_mgr_host_info *ret)
{
    const struct cw_host_rec *r = &h->o.rec.host;
    struct cw_mgr_disk_state *disks =
        cw_mgr_arena_get(a, m->t.of[CW_REC_DISK].n + m->t.of[CW_REC_REMOVED].n + 1, sizeof(*disks));
    char since[CW_MGR_TIME_SIZE], qs[CW_MGR_TIME_SIZE];

    *ret = (struct cw_mgr_host_info){
        .name = r->name,
        .domain = { cw_mgr_site_region(m, r->site), r->site, r->rack, r->name },
        .site_kind = r->site_kind,
        .attributes = { r->provider, r->egress_micros, r->is_volatile },
        .state = cw_mgr_host_maintained(h) ? "maintenance"
                 : h->absent               ? "absent"
                                           : "up",
        .addr = r->advertise,
        .since = cw_mgr_arena_text(a, cw_mgr_time_format(h->since_s, since)),
        .version = h->version,
        .disks = disks,
        .incarnation = h->session != NULL ? h->incarnation : 0,
        .memory = h->memory,
        .up = !h->absent,
    };
    ret->links = cw_mgr_ways_of(m, r->site, a, &ret->n_links);
    maintain_fill(m, h, a, ret);
    MGR_EACH(&m->t, CW_REC_DISK, struct mgr_disk, d)
    {
        struct cw_mgr_disk_state *to = &disks[ret->n_disks];

        if (strcmp(d->o.rec.disk.host, r->name) != 0)
            continue;
        *to = d->now;
        to->uuid = d->o.rec.disk.uuid;
        to->format_id = d->o.rec.disk.format_id;
        to->size_bytes = d->o.rec.disk.size_bytes;
        to->name = d->o.rec.disk.name;
        to->failed = d->o.rec.disk.failed || d->now.failed;
        to->missing = d->missing && h->session != NULL;
        to->why = d->why;
        to->quarantined = d->o.rec.disk.quarantined;
        to->quarantined_since =
            cw_mgr_arena_text(a, cw_mgr_time_format(d->o.rec.disk.quarantined_s, qs));
        to->quarantined_why = cw_mgr_quarantine_why(&d->o.rec.disk);
        to->draining = d->o.rec.disk.draining_s != 0;
        to->draining_since = cw_mgr_arena_text(a, cw_mgr_time_format(d->o.rec.disk.draining_s, qs));
        ret->n_disks++;
    }
    ret->n_disks += cw_mgr_removed_fill(m, h, a, &disks[ret->n_disks]);
    MGR_EACH(&m->t, CW_REC_SHARD, struct mgr_shard, s)
    {
        for (uint32_t i = 0; i < s->o.rec.shard.n_members; i++) {
            const struct mgr_disk *d = cw_mgr_find_copy_disk(&m->t, &s->o.rec.shard.members[i]);

            ret->copies += d != NULL && strcmp(d->o.rec.disk.host, r->name) == 0;
        }
    }
}

void
cw_mgr_call_host_ls(struct cw_manager *m, struct cw_mgr_call *call)
{
    struct cw_mgr_arena *a = cw_mgr_reply_arena(call);
    struct cw_mgr_host_list *r = &call->reply.hosts;
    struct cw_mgr_host_info *to = cw_mgr_arena_get(a, m->t.of[CW_REC_HOST].n + 1, sizeof(*to));

    r->hosts = to;
    MGR_EACH(&m->t, CW_REC_HOST, struct mgr_host, h)
    host_fill(m, h, a, &to[r->n_hosts++]);
    cw_mgr_done(call);
}
