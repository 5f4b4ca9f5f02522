/* Telling the manager who we are, and every second that we still are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/addr.h"
#include "common/base/bits.h"
#include "common/obs/notify.h"
#include "daemon/shell/host-parts.h"
#include "daemon/shell/host.h"
#include "daemon/shell/memory.h"

#define BEAT_MS 1000u
#define CALL_MS 10000u
#define BEAT_CALL_MS 3000u
#define AGAIN_MS 500u
#define USE_BEATS 10u /* every so many beats tell how much the copies hold */

static void
beat_set(struct cw_host *h, uint32_t ms)
{
    cw_timer_set(h->env, &h->beat_timer, cw_now_ns(h->env) + ms * CW_NS_PER_MS);
}

/* ---- answers ---- */

/* Nothing that waiting would change: an operator must act. */
static bool
refusal_is_final(Causeway__Control__ErrorCode code)
{
    return code == CAUSEWAY__CONTROL__ERROR_CODE__FOREIGN_STORE ||
           code == CAUSEWAY__CONTROL__ERROR_CODE__NAME_TAKEN ||
           code == CAUSEWAY__CONTROL__ERROR_CODE__BAD_REQUEST;
}

static void
register_refused(struct cw_host *h, const Causeway__Control__Error *e)
{
    bool final = refusal_is_final(e->code) && !h->ever;
    bool has_hint = e->hint != NULL && e->hint[0] != '\0';

    if (e->code == CAUSEWAY__CONTROL__ERROR_CODE__UNAVAILABLE ||
        e->code == CAUSEWAY__CONTROL__ERROR_CODE__TIMEOUT) {
        beat_set(h, AGAIN_MS); /* not refused, not reached; the session says so */
        return;
    }
    cw_log(h->env, final ? CW_LOG_ERROR : CW_LOG_WARNING,
           "%s: the manager refuses this host: %s%s%s", h->o->host, e->message,
           has_hint ? "; " : "", has_hint ? e->hint : "");
    if (final)
        cw_host_stop(h, 1);
    else
        beat_set(h, AGAIN_MS);
}

static const char *
store_path(const struct cw_host *h, const ProtobufCBinaryData *uuid)
{
    const char *path = "a store";
    struct cw_uuid u;

    if (!cw_host_uuid_in(uuid, &u))
        u = (struct cw_uuid){ 0 };
    for (uint32_t i = 0; i < h->o->n_stores; i++)
        if (cw_uuid_equal(&h->disk_uuid[i], &u))
            path = h->o->stores[i].path;
    return path;
}

static void
register_refused_disk(struct cw_host *h, const ProtobufCBinaryData *uuid)
{
    cw_log(h->env, CW_LOG_ERROR,
           "%s: the manager refuses %s: it belongs to another cluster or is in use by another "
           "host; leave it out, or join the cluster that it belongs to",
           h->o->host, store_path(h, uuid));
}

static void
register_removed_disk(struct cw_host *h, const ProtobufCBinaryData *uuid)
{
    cw_log(h->env, CW_LOG_NOTICE,
           "%s: %s was removed from the cluster: it is not used; leave it out, format it anew, or "
           "take it back (causeway disk ls, causeway disk add)",
           h->o->host, store_path(h, uuid));
}

static void
learn_managers(struct cw_host *h, const Causeway__Control__RegisterReply *m)
{
    char addrs[16 * CW_ADDR_TEXT_SIZE];

    if (!cw_addr_join(m->managers, m->n_managers, addrs, sizeof(addrs)))
        return;
    cw_rpc_session_set_addrs(h->session, addrs);
    if (h->http != NULL)
        cw_http_set_managers(h->http, addrs);
}

static void
register_accepted(struct cw_host *h, const Causeway__Control__RegisterReply *m)
{
    char text[CW_UUID_TEXT_SIZE];

    if (!cw_host_uuid_in(&m->cluster_id, &h->cluster_id)) {
        cw_log(h->env, CW_LOG_ERROR, "%s: the manager names no cluster", h->o->host);
        beat_set(h, AGAIN_MS);
        return;
    }
    for (size_t i = 0; i < m->n_refused_disks; i++)
        register_refused_disk(h, &m->refused_disks[i]);
    for (size_t i = 0; i < m->n_removed_disks; i++)
        register_removed_disk(h, &m->removed_disks[i]);
    if (m->n_refused_disks > 0 && !h->ever) {
        cw_host_stop(h, 1);
        return;
    }
    h->registered = h->ever = true;
    h->beat_ms = m->beat_ms > 0 ? m->beat_ms : BEAT_MS;
    cw_rpc_server_set_cluster(h->server, &h->cluster_id);
    cw_rpc_session_set_cluster(h->session, &h->cluster_id);
    learn_managers(h, m);
    cw_data_join_cluster(h->data, h->cluster_id);
    cw_log(h->env, CW_LOG_NOTICE, "%s: registered with cluster %s (%s) at %s as %s", h->o->host,
           m->cluster_name, cw_uuid_format(&h->cluster_id, text),
           cw_rpc_conn_peer_addr(cw_rpc_session_conn(h->session)), h->advertise);
    cw_notify("STATUS=registered with the cluster");
    beat_set(h, h->beat_ms);
}

static void
on_register_reply(struct cw_rpc_call *call, const cw_envelope *reply)
{
    struct cw_host *h = cw_container_of(call, struct cw_host, call);

    if (h->state != CW_HOST_RUNNING)
        return;
    if (reply->error != NULL)
        register_refused(h, reply->error);
    else if (reply->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_REGISTER_REPLY)
        register_accepted(h, reply->register_reply);
    else
        beat_set(h, AGAIN_MS);
}

static void
probes_begin(struct cw_host *h, const Causeway__Control__BeatReply *m)
{
    h->probes.cluster_id = h->cluster_id;
    for (size_t i = 0; i < m->n_probes; i++)
        cw_probe_begin(&h->probes, m->probes[i]->host, m->probes[i]->addr);
}

static void
on_beat_reply(struct cw_rpc_call *call, const cw_envelope *reply)
{
    struct cw_host *h = cw_container_of(call, struct cw_host, call);

    if (h->state != CW_HOST_RUNNING)
        return;
    /* A manager that does not know us any more (restarted, other leader) is told again. */
    if (reply->error != NULL && reply->error->code != CAUSEWAY__CONTROL__ERROR_CODE__UNAVAILABLE &&
        reply->error->code != CAUSEWAY__CONTROL__ERROR_CODE__TIMEOUT)
        h->registered = false;
    if (reply->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_BEAT_REPLY)
        probes_begin(h, reply->beat_reply);
    beat_set(h, h->registered ? h->beat_ms : AGAIN_MS);
}

/* ---- messages ---- */

static Causeway__Control__DiskState **
disks_out(const struct cw_host *h, struct cw_host_disk_out *at)
{
    size_t n = h->look.n_disks;
    Causeway__Control__DiskState **list = calloc(n + 1, sizeof(*list));

    cw_assert(list != NULL);
    for (size_t i = 0; i < n; i++) {
        cw_host_disk_state(&h->look.disks[i], &h->host_key, &at[i]);
        list[i] = &at[i].disk;
    }
    return list;
}

static Causeway__Control__CopyState **
copies_out(const struct cw_host *h, Causeway__Control__CopyState *at)
{
    size_t n = h->look.n_copies;
    Causeway__Control__CopyState **list = calloc(n + 1, sizeof(*list));

    cw_assert(list != NULL);
    for (size_t i = 0; i < n; i++) {
        cw_host_copy_state(&h->look, &h->look.copies[i], &at[i]);
        list[i] = &at[i];
    }
    return list;
}

static struct cw_uuid
stores_cluster(const struct cw_host *h)
{
    for (uint32_t i = 0; i < h->look.n_disks; i++) {
        if (!cw_uuid_is_nil(&h->look.disks[i].id.cluster_id))
            return h->look.disks[i].id.cluster_id;
    }
    return (struct cw_uuid){ { 0 } };
}

static void
register_send(struct cw_host *h)
{
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;
    Causeway__Control__Register r = CAUSEWAY__CONTROL__REGISTER__INIT;
    Causeway__Control__Domain domain = CAUSEWAY__CONTROL__DOMAIN__INIT;
    Causeway__Control__SiteAttributes attributes = CAUSEWAY__CONTROL__SITE_ATTRIBUTES__INIT;
    Causeway__Control__HostMemory memory;
    Causeway__Control__MetadataKept kept;
    struct cw_host_disk_out *disks = calloc(h->look.n_disks + 1, sizeof(*disks));
    Causeway__Control__CopyState *copies = calloc(h->look.n_copies + 1, sizeof(*copies));
    struct cw_uuid cluster = stores_cluster(h);

    cw_assert(disks != NULL && copies != NULL);
    domain.region = cw_host_text(h->o->region);
    domain.site = cw_host_text(h->o->site);
    domain.rack = cw_host_text(h->o->rack);
    domain.host = cw_host_text(h->o->host);
    r.name = cw_host_text(h->o->host);
    r.host_key = cw_host_uuid(&h->host_key);
    r.cluster_id = cw_host_uuid(&cluster);
    r.domain = &domain;
    r.site_kind = h->o->is_cloud ? CAUSEWAY__CONTROL__SITE_KIND__CLOUD
                                 : CAUSEWAY__CONTROL__SITE_KIND__ON_PREMISE;
    attributes.provider = cw_host_text(h->o->provider);
    attributes.egress_micros = h->o->egress_micros;
    attributes.is_volatile = h->o->is_volatile;
    r.site_attributes = &attributes;
    r.advertise = h->advertise;
    r.unix_path = cw_host_text(h->o->unix_path);
    r.boot_id = cw_host_uuid(&h->boot_id);
    r.incarnation = h->incarnation;
    r.version = cw_host_text(CW_VERSION);
    for (uint32_t i = 0; i < h->look.n_disks; i++)
        h->disk_uuid[i] = h->look.disks[i].id.disk_uuid;
    cw_host_memory(&h->look, h->resident_bytes, &memory);
    r.memory = &memory;
    if (cw_host_keep_kept(h, &kept))
        r.kept = &kept;
    r.n_disks = h->look.n_disks;
    r.disks = disks_out(h, disks);
    r.n_copies = h->look.n_copies;
    r.copies = copies_out(h, copies);
    r.up_ms = (cw_now_ns(h->env) - h->started_ns) / CW_NS_PER_MS;
    m.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_REGISTER;
    m.register_ = &r;
    h->call.done = on_register_reply;
    cw_rpc_session_call(h->session, &h->call, &m, CALL_MS);
    free(r.disks);
    free(r.copies);
    free(disks);
    free(copies);
}

static Causeway__Control__CopyUse **
uses_out(const struct cw_host *h, Causeway__Control__CopyUse *at)
{
    size_t n = h->look.n_copies;
    Causeway__Control__CopyUse **list = calloc(n + 1, sizeof(*list));

    cw_assert(list != NULL);
    for (size_t i = 0; i < n; i++) {
        causeway__control__copy_use__init(&at[i]);
        at[i].shard = h->look.copies[i].c.shard;
        at[i].disk = h->look.copies[i].disk;
        at[i].mapped_blocks = h->look.copies[i].c.mapped_blocks;
        list[i] = &at[i];
    }
    return list;
}

static Causeway__Control__CopyBad **
bads_out(const struct cw_host *h, Causeway__Control__CopyBad *at)
{
    size_t n = h->look.n_bads;
    Causeway__Control__CopyBad **list = calloc(n + 1, sizeof(*list));

    cw_assert(list != NULL);
    for (size_t i = 0; i < n; i++) {
        causeway__control__copy_bad__init(&at[i]);
        at[i].shard = h->look.bads[i].shard;
        at[i].disk = h->look.bads[i].disk;
        at[i].blocks = h->look.bads[i].blocks;
        list[i] = &at[i];
    }
    return list;
}

/* What came out of the probes; at and list have room for CW_PROBES_MAX. */
static size_t
trips_out(struct cw_host *h, Causeway__Control__RoundTrip *at, Causeway__Control__RoundTrip **list)
{
    struct cw_probe_result of[CW_PROBES_MAX];
    uint32_t n = cw_probe_take(&h->probes, of);

    for (uint32_t i = 0; i < n; i++) {
        causeway__control__round_trip__init(&at[i]);
        at[i].host = cw_host_text(of[i].host);
        at[i].ns = of[i].ns;
        list[i] = &at[i];
    }
    return n;
}

static void
beat_send(struct cw_host *h)
{
    Causeway__Control__RoundTrip trips[CW_PROBES_MAX], *trip_list[CW_PROBES_MAX];
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;
    Causeway__Control__Beat b = CAUSEWAY__CONTROL__BEAT__INIT;
    Causeway__Control__HostMemory memory;
    struct cw_host_disk_out *disks = calloc(h->look.n_disks + 1, sizeof(*disks));
    Causeway__Control__CopyUse *uses = calloc(h->look.n_copies + 1, sizeof(*uses));
    Causeway__Control__CopyBad *bads = calloc(h->look.n_bads + 1, sizeof(*bads));

    cw_assert(disks != NULL && uses != NULL && bads != NULL);
    cw_host_memory(&h->look, h->resident_bytes, &memory);
    b.memory = &memory;
    b.n_disks = h->look.n_disks;
    b.disks = disks_out(h, disks);
    b.n_copies = h->look.n_copies;
    b.copies = uses_out(h, uses);
    b.n_bad = h->look.n_bads;
    b.bad = bads_out(h, bads);
    b.n_round_trips = trips_out(h, trips, trip_list);
    b.round_trips = trip_list;
    m.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_BEAT;
    m.beat = &b;
    h->call.done = on_beat_reply;
    cw_rpc_session_call(h->session, &h->call, &m, BEAT_CALL_MS);
    free(b.disks);
    free(b.copies);
    free(b.bad);
    free(disks);
    free(uses);
    free(bads);
}

/* ---- when ---- */

static void
on_looked(struct cw_data_look *l)
{
    struct cw_host *h = cw_container_of(l, struct cw_host, look);

    h->look_busy = false;
    if (h->state != CW_HOST_RUNNING)
        return;
    if (l->want_copies)
        h->resident_bytes = cw_memory_resident();
    if (!cw_rpc_session_up(h->session) || cw_rpc_call_busy(&h->call) ||
        (!h->registered && !l->want_copies))
        beat_set(h, AGAIN_MS);
    else if (h->registered)
        beat_send(h);
    else
        register_send(h);
}

static void
look_now(struct cw_host *h)
{
    if (h->look_busy)
        return;
    h->look_busy = true;
    h->look.want_copies = !h->registered || ++h->n_beats % USE_BEATS == 0;
    cw_data_look(h->data, &h->look);
}

static void
on_beat_timer(struct cw_timer *t)
{
    struct cw_host *h = cw_container_of(t, struct cw_host, beat_timer);

    if (h->state == CW_HOST_RUNNING)
        look_now(h);
}

void
cw_host_register(struct cw_host *h)
{
    h->registered = false;
    if (!cw_rpc_call_busy(&h->call))
        look_now(h);
}

void
cw_host_unregistered(struct cw_host *h)
{
    h->registered = false;
}

void
cw_host_register_init(struct cw_host *h)
{
    h->look.done = on_looked;
    h->probes.service = h->service;
    h->beat_timer.fn = on_beat_timer;
    h->beat_ms = BEAT_MS;
    beat_set(h, BEAT_MS);
}

void
cw_host_register_fini(struct cw_host *h)
{
    cw_timer_cancel(h->env, &h->beat_timer);
}
