/* http/metrics-cluster.c - what the manager knows: protection, findings, sites, volumes, hosts. */
#include <stdlib.h>
#include <string.h>

#include "daemon/http/internal.h"

#define L(...) ((const char *const[]){ __VA_ARGS__, NULL })

static const char *const protection_words[] = {
    "full",    "reduced-waiting", "reduced-rebuilding", "reduced-stuck",
    "at-risk", "suspended",       "unavailable",        "lost",
};
static const char *const directions[] = { "read", "write" };

/* ---- status ---- */

static void
status_protection(FILE *f, const cw_pb_status *s)
{
    cw_http_metric(f, "causeway_volumes", "gauge", "Volumes by the word for their protection.");
    for (size_t i = 0; i < CW_LEN(protection_words); i++) {
        uint64_t n = 0;

        for (size_t k = 0; k < s->n_protection; k++) {
            if (strcmp(s->protection[k]->key, protection_words[i]) == 0)
                n = s->protection[k]->value;
        }
        cw_http_sample_u64(f, "causeway_volumes", L("protection", protection_words[i]), n);
    }
    cw_http_metric(f, "causeway_volumes_serving", "gauge", "Volumes whose I/O is served.");
    cw_http_sample_u64(f, "causeway_volumes_serving", NULL, s->volumes_serving);
}

/* How many findings have the code and severity of the i-th, which is the first that has. 0: one
 * before it has. */
static uint64_t
findings_like(const cw_pb_status *s, size_t i)
{
    uint64_t n = 0;

    for (size_t k = 0; k < s->n_findings; k++) {
        if (strcmp(s->findings[k]->code, s->findings[i]->code) != 0 ||
            strcmp(s->findings[k]->severity, s->findings[i]->severity) != 0)
            continue;
        if (k < i)
            return 0;
        n++;
    }
    return n;
}

static void
status_findings(FILE *f, const cw_pb_status *s)
{
    static const char *const words[] = { "ok", "warning", "error" };

    cw_http_metric(f, "causeway_health", "gauge", "1 for the cluster's health as status says it.");
    for (size_t i = 0; i < CW_LEN(words); i++)
        cw_http_sample_u64(f, "causeway_health", L("health", words[i]),
                           strcmp(s->health, words[i]) == 0);
    cw_http_metric(f, "causeway_findings", "gauge", "Findings by code and severity.");
    for (size_t i = 0; i < s->n_findings; i++) {
        uint64_t n = findings_like(s, i);

        if (n > 0)
            cw_http_sample_u64(
                f, "causeway_findings",
                L("code", s->findings[i]->code, "severity", s->findings[i]->severity), n);
    }
}

static void
status_site_metric(FILE *f, const cw_pb_status *s, const char *name, const char *help,
                   uint64_t (*get)(const cw_pb_site *))
{
    cw_http_metric(f, name, "gauge", help);
    for (size_t i = 0; i < s->n_sites; i++)
        cw_http_sample_u64(
            f, name, L("site", s->sites[i]->name, "kind", cw_shape_site_kind(s->sites[i]->kind)),
            get(s->sites[i]));
}

static uint64_t
site_hosts(const cw_pb_site *s)
{
    return s->hosts;
}

static uint64_t
site_hosts_up(const cw_pb_site *s)
{
    return s->hosts_up;
}

static uint64_t
site_size(const cw_pb_site *s)
{
    return s->size_bytes;
}

static uint64_t
site_used(const cw_pb_site *s)
{
    return s->used_bytes;
}

/* What was not measured has no sample. */
typedef void link_fn(FILE *f, const char *name, const char *site,
                     const Causeway__Control__SiteLink *l);

static void
link_rtt(FILE *f, const char *name, const char *site, const Causeway__Control__SiteLink *l)
{
    if (l->rtt_ns != 0)
        cw_http_sample(f, name, L("site", site, "to", l->site), (double)l->rtt_ns / CW_NS_PER_S);
}

static void
link_rate(FILE *f, const char *name, const char *site, const Causeway__Control__SiteLink *l)
{
    if (l->bytes_per_s != 0)
        cw_http_sample_u64(f, name, L("site", site, "to", l->site), l->bytes_per_s);
}

static void
status_link_metric(FILE *f, const cw_pb_status *s, const char *name, const char *help,
                   link_fn *sample)
{
    cw_http_metric(f, name, "gauge", help);
    for (size_t i = 0; i < s->n_sites; i++) {
        for (size_t k = 0; k < s->sites[i]->n_links; k++)
            sample(f, name, s->sites[i]->name, s->sites[i]->links[k]);
    }
}

static void
status_io(FILE *f, const cw_pb_status *s)
{
    cw_http_metric(f, "causeway_client_operations_per_second", "gauge",
                   "Clients' I/O of the last second.");
    cw_http_sample_u64(f, "causeway_client_operations_per_second", L("direction", "read"),
                       s->reads_per_s);
    cw_http_sample_u64(f, "causeway_client_operations_per_second", L("direction", "write"),
                       s->writes_per_s);
    cw_http_metric(f, "causeway_client_latency_p99_seconds", "gauge",
                   "The worst volume's 99th percentile of the last second.");
    cw_http_sample(f, "causeway_client_latency_p99_seconds", L("direction", "read"),
                   (double)s->read_p99_ns / CW_NS_PER_S);
    cw_http_sample(f, "causeway_client_latency_p99_seconds", L("direction", "write"),
                   (double)s->write_p99_ns / CW_NS_PER_S);
    cw_http_metric(f, "causeway_repair_bytes_per_second", "gauge", "Moved by resyncs.");
    cw_http_sample_u64(f, "causeway_repair_bytes_per_second", NULL, s->repair_bytes_per_s);
    cw_http_metric(f, "causeway_epoch", "gauge", "Changes of the cluster's records.");
    cw_http_sample_u64(f, "causeway_epoch", NULL, s->epoch);
    cw_http_metric(f, "causeway_manager_uptime_seconds", "gauge", "Since the manager leads.");
    cw_http_sample_u64(f, "causeway_manager_uptime_seconds", NULL, s->uptime_s);
}

void
cw_http_metrics_status(struct http_ask *a, const cw_pb_status *s)
{
    FILE *f = a->text;

    status_protection(f, s);
    status_findings(f, s);
    status_site_metric(f, s, "causeway_site_hosts", "Hosts of the site.", site_hosts);
    status_site_metric(f, s, "causeway_site_hosts_up", "Those that are up.", site_hosts_up);
    status_site_metric(f, s, "causeway_site_size_bytes", "Size of its stores.", site_size);
    status_site_metric(f, s, "causeway_site_used_bytes", "Used of it.", site_used);
    status_link_metric(f, s, "causeway_site_rtt_seconds",
                       "Round trip from the site to another, or within it.", link_rtt);
    status_link_metric(f, s, "causeway_site_link_bytes_per_second",
                       "That resyncs reached lately between the two sites.", link_rate);
    status_io(f, s);
}

/* ---- volumes ---- */

static struct http_total *
total_find(struct cw_http *h, uint64_t volume, size_t at)
{
    if (at < h->n_totals && h->totals[at].volume == volume)
        return &h->totals[at]; /* lists have one order */
    for (size_t i = 0; i < h->n_totals; i++) {
        if (h->totals[i].volume == volume)
            return &h->totals[i];
    }
    h->totals = reallocarray(h->totals, h->n_totals + 1, sizeof(*h->totals));
    cw_assert(h->totals != NULL);
    h->totals[h->n_totals] = (struct http_total){ .volume = volume };
    return &h->totals[h->n_totals++];
}

/* Those of volumes that are gone. */
static void
totals_sweep(struct cw_http *h)
{
    size_t n = 0;

    for (size_t i = 0; i < h->n_totals; i++) {
        if (!h->totals[i].listed)
            continue;
        h->totals[n] = h->totals[i];
        h->totals[n++].listed = false;
    }
    h->n_totals = n;
}

/* A count that is smaller than before is a new owner's. */
static void
total_add(struct http_total *t, size_t which, uint64_t now)
{
    t->total[which] += now >= t->seen[which] ? now - t->seen[which] : now;
    t->seen[which] = now;
}

static void
volumes_io(struct http_ask *a, const cw_pb_volumes *ls)
{
    static const char name[] = "causeway_volume_operations_total";

    cw_http_metric(a->text, name, "counter",
                   "Reads and writes of clients, as far as this daemon was asked in time.");
    for (size_t i = 0; i < ls->n_volumes; i++) {
        const cw_pb_volume *v = ls->volumes[i];
        struct http_total *t = total_find(a->h, v->id, i);

        t->listed = true;
        total_add(t, 0, v->reads);
        total_add(t, 1, v->writes);
        for (size_t k = 0; k < CW_LEN(directions); k++)
            cw_http_sample_u64(a->text, name, L("volume", v->name, "direction", directions[k]),
                               t->total[k]);
    }
    totals_sweep(a->h);
}

static void
volumes_latency(FILE *f, const cw_pb_volumes *ls)
{
    static const char name[] = "causeway_volume_latency_p99_seconds";

    cw_http_metric(f, name, "gauge", "99th percentile of the last second.");
    for (size_t i = 0; i < ls->n_volumes; i++) {
        const cw_pb_volume *v = ls->volumes[i];

        cw_http_sample(f, name, L("volume", v->name, "direction", "read"),
                       (double)v->read_p99_ns / CW_NS_PER_S);
        cw_http_sample(f, name, L("volume", v->name, "direction", "write"),
                       (double)v->write_p99_ns / CW_NS_PER_S);
    }
}

static void
volumes_gauge(FILE *f, const cw_pb_volumes *ls, const char *name, const char *help,
              uint64_t (*get)(const cw_pb_volume *))
{
    cw_http_metric(f, name, "gauge", help);
    for (size_t i = 0; i < ls->n_volumes; i++)
        cw_http_sample_u64(f, name, L("volume", ls->volumes[i]->name), get(ls->volumes[i]));
}

static uint64_t
volume_size(const cw_pb_volume *v)
{
    return v->size_bytes;
}

static uint64_t
volume_used(const cw_pb_volume *v)
{
    return v->used_bytes;
}

static uint64_t
volume_compliant(const cw_pb_volume *v)
{
    return v->compliant;
}

static uint64_t
volume_attached(const cw_pb_volume *v)
{
    return strcmp(v->state, "attached") == 0;
}

/* By state, MEMBER_NONE at 0. */
#define STATES 7u

static void
volumes_copies(FILE *f, const cw_pb_volumes *ls)
{
    uint64_t n[STATES] = { 0 };

    for (size_t i = 0; i < ls->n_volumes; i++) {
        for (size_t s = 0; s < ls->volumes[i]->n_shards; s++) {
            const cw_pb_shard *shard = ls->volumes[i]->shards[s];

            for (size_t m = 0; m < shard->n_members; m++) {
                if ((unsigned)shard->members[m]->state < STATES)
                    n[shard->members[m]->state]++;
            }
        }
    }
    cw_http_metric(f, "causeway_copies", "gauge", "Copies of shards by state.");
    for (unsigned k = 1; k < STATES; k++)
        cw_http_sample_u64(f, "causeway_copies",
                           L("state", cw_shape_member_state((Causeway__Control__MemberState)k)),
                           n[k]);
}

/* The worst of the copies that follow, all shards of the volume together. */
struct follows {
    uint64_t n, n_follow, lag_ns, lag_bytes;
};

static struct follows
volume_follows(const cw_pb_volume *v)
{
    struct follows f = { 0 };

    for (size_t s = 0; s < v->n_shards; s++) {
        for (size_t k = 0; k < v->shards[s]->n_members; k++) {
            const cw_pb_member *m = v->shards[s]->members[k];

            if (!m->async)
                continue;
            f.n++;
            f.n_follow += m->state == CAUSEWAY__CONTROL__MEMBER_STATE__LAGGING;
            f.lag_ns = m->lag_ns > f.lag_ns ? m->lag_ns : f.lag_ns;
            f.lag_bytes += m->lag_bytes;
        }
    }
    return f;
}

/* While one does not follow, by how much is not known, and has no sample. */
static void
volumes_async(FILE *f, const cw_pb_volumes *ls)
{
    cw_http_metric(f, "causeway_volume_async_follows", "gauge",
                   "Whether every copy that is to follow does.");
    for (size_t i = 0; i < ls->n_volumes; i++) {
        struct follows x = volume_follows(ls->volumes[i]);

        if (x.n > 0)
            cw_http_sample_u64(f, "causeway_volume_async_follows",
                               L("volume", ls->volumes[i]->name), x.n_follow == x.n);
    }
    cw_http_metric(f, "causeway_volume_async_lag_seconds", "gauge",
                   "Age of the oldest write that a copy that follows lacks.");
    for (size_t i = 0; i < ls->n_volumes; i++) {
        struct follows x = volume_follows(ls->volumes[i]);

        if (x.n > 0 && x.n_follow == x.n)
            cw_http_sample(f, "causeway_volume_async_lag_seconds",
                           L("volume", ls->volumes[i]->name), (double)x.lag_ns / CW_NS_PER_S);
    }
    cw_http_metric(f, "causeway_volume_async_lag_bytes", "gauge", "Written, and lacking there.");
    for (size_t i = 0; i < ls->n_volumes; i++) {
        struct follows x = volume_follows(ls->volumes[i]);

        if (x.n > 0 && x.n_follow == x.n)
            cw_http_sample_u64(f, "causeway_volume_async_lag_bytes",
                               L("volume", ls->volumes[i]->name), x.lag_bytes);
    }
}

void
cw_http_metrics_volumes(struct http_ask *a, const cw_pb_volumes *ls)
{
    FILE *f = a->text;

    volumes_gauge(f, ls, "causeway_volume_size_bytes", "Size of the volume.", volume_size);
    volumes_gauge(f, ls, "causeway_volume_used_bytes", "Held by all its copies.", volume_used);
    volumes_gauge(f, ls, "causeway_volume_compliant", "Whether it lies as its policy wants.",
                  volume_compliant);
    volumes_gauge(f, ls, "causeway_volume_attached", "Whether a client has it.", volume_attached);
    volumes_io(a, ls);
    volumes_latency(f, ls);
    volumes_copies(f, ls);
    volumes_async(f, ls);
}

/* ---- hosts ---- */

void
cw_http_metrics_hosts(struct http_ask *a, const cw_pb_hosts *ls)
{
    static const char *const states[] = { "up", "absent", "failed", "maintenance" };

    cw_http_metric(a->text, "causeway_host_state", "gauge", "1 for the state that the host is in.");
    for (size_t i = 0; i < ls->n_hosts; i++) {
        const cw_pb_host *h = ls->hosts[i];
        const char *site = h->domain != NULL ? h->domain->site : "";

        for (size_t k = 0; k < CW_LEN(states); k++)
            cw_http_sample_u64(a->text, "causeway_host_state",
                               L("host", h->name, "site", site, "state", states[k]),
                               strcmp(h->state, states[k]) == 0);
    }
    cw_http_metric(a->text, "causeway_host_copies", "gauge", "Copies on the host.");
    for (size_t i = 0; i < ls->n_hosts; i++)
        cw_http_sample_u64(a->text, "causeway_host_copies", L("host", ls->hosts[i]->name),
                           ls->hosts[i]->copies);
    cw_http_metric(a->text, "causeway_disk_quarantined", "gauge", "Whether it takes no copies.");
    for (size_t i = 0; i < ls->n_hosts; i++) {
        for (size_t k = 0; k < ls->hosts[i]->n_disks; k++)
            cw_http_sample_u64(a->text, "causeway_disk_quarantined",
                               L("host", ls->hosts[i]->name, "disk", ls->hosts[i]->disks[k]->name),
                               ls->hosts[i]->disks[k]->quarantined);
    }
}
