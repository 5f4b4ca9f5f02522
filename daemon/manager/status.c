/* manager/status.c - one answer to: is it safe, does it serve, what moves, what happens next? */
#include <stdlib.h>
#include <string.h>

#include "daemon/manager/internal.h"

static int
finding_order(const void *a, const void *b)
{
    const struct mgr_finding *x = *(const struct mgr_finding *const *)a;
    const struct mgr_finding *y = *(const struct mgr_finding *const *)b;
    int order;

    if (x->error != y->error)
        return x->error ? -1 : 1;
    order = strcmp(x->code, y->code);
    return order != 0 ? order : strcmp(x->object, y->object);
}

static void
finding_fill(const struct mgr_finding *f, struct cw_mgr_arena *a, struct cw_mgr_finding *ret)
{
    char since[CW_MGR_TIME_SIZE];

    *ret = (struct cw_mgr_finding){
        .code = f->code,
        .severity = f->error ? "error" : "warning",
        .object = f->object,
        .since = cw_mgr_arena_text(a, cw_mgr_time_format(f->since_s, since)),
        .cause = f->cause,
        .effect = f->effect,
        .next = f->next,
        .command = f->command,
    };
}

/* A manager that has just begun knows of its hosts what the records say. It is no event: the next
 * second ends it. */
static bool
unheard_fill(const struct cw_manager *m, struct cw_mgr_arena *a, struct cw_mgr_finding *ret)
{
    uint64_t s = (cw_now_ns(m->env) - m->started_ns) / CW_NS_PER_S;
    char since[CW_MGR_TIME_SIZE];
    uint32_t n = 0;

    MGR_EACH(&m->t, CW_REC_HOST, struct mgr_host, h)
    n += !h->seen && !h->absent && !cw_mgr_host_maintained(h);
    if (n == 0)
        return false;
    *ret = (struct cw_mgr_finding){
        .code = "HOSTS_UNHEARD",
        .severity = "warning",
        .object = cw_mgr_cluster(m)->name,
        .since = cw_mgr_arena_text(a, cw_mgr_time_format(cw_mgr_wall_s(m) - s, since)),
        .cause = cw_mgr_arena_printf(a,
                                     "%u of %zu hosts have not registered with this manager, "
                                     "which began %llu s ago",
                                     n, m->t.of[CW_REC_HOST].n, (unsigned long long)s),
        .effect = "what is said of them is what they were before",
        .next = "they register within seconds, or are told to be absent",
        .command = "causeway host ls",
    };
    return true;
}

static void
fill_findings(const struct cw_manager *m, struct cw_mgr_arena *a, struct cw_mgr_status *ret)
{
    const struct mgr_finding **all;
    struct cw_mgr_finding *to;
    size_t n = 0;

    CW_LIST_EACH (it, &m->findings)
        n++;
    all = cw_mgr_arena_get(a, n + 1, sizeof(const struct mgr_finding *));
    to = cw_mgr_arena_get(a, n + 2, sizeof(*to));
    n = 0;
    CW_LIST_EACH (it, &m->findings)
        all[n++] = cw_list_entry(it, struct mgr_finding, link);
    qsort(all, n, sizeof(const struct mgr_finding *), finding_order);
    for (size_t i = 0; i < n; i++)
        finding_fill(all[i], a, &to[i]);
    ret->health = n == 0 ? "ok" : all[0]->error ? "error" : "warning";
    if (unheard_fill(m, a, &to[n])) {
        ret->health = n == 0 ? "warning" : ret->health;
        n++;
    }
    ret->findings = to;
    ret->n_findings = n;
}

static struct cw_mgr_site_info *
site_find(struct cw_mgr_site_info *sites, size_t *n, const struct cw_host_rec *h)
{
    for (size_t i = 0; i < *n; i++) {
        if (strcmp(sites[i].name, h->site) == 0)
            return &sites[i];
    }
    sites[*n] = (struct cw_mgr_site_info){ .name = h->site,
                                           .kind = h->site_kind,
                                           .attributes.provider = "" };
    return &sites[(*n)++];
}

/* Whatever any of its hosts says. */
static void
add_attributes(struct cw_mgr_site_attributes *to, const struct cw_host_rec *h)
{
    if (to->provider[0] == '\0')
        to->provider = h->provider;
    to->egress_micros = cw_max_u64(to->egress_micros, h->egress_micros);
    to->is_volatile |= h->is_volatile;
}

static uint64_t
host_bytes(const struct cw_manager *m, const struct mgr_host *h)
{
    uint64_t n = 0;

    MGR_EACH(&m->t, CW_REC_DISK, struct mgr_disk, d)
    {
        if (!d->replaced && cw_mgr_disk_host(m, d) == h)
            n += d->o.rec.disk.size_bytes;
    }
    return n;
}

/* What would be left of each site if its largest host failed. */
static void
fill_without_worst(const struct cw_manager *m, struct cw_mgr_site_info *sites, size_t n)
{
    MGR_EACH(&m->t, CW_REC_HOST, struct mgr_host, h)
    {
        uint64_t *worst = &site_find(sites, &n, &h->o.rec.host)->size_without_worst_bytes;

        *worst = cw_max_u64(*worst, host_bytes(m, h));
    }
    for (size_t i = 0; i < n; i++)
        sites[i].size_without_worst_bytes =
            sites[i].size_bytes -
            cw_min_u64(sites[i].size_bytes, sites[i].size_without_worst_bytes);
}

static void
fill_sites(const struct cw_manager *m, struct cw_mgr_arena *a, struct cw_mgr_status *ret)
{
    struct cw_mgr_site_info *to = cw_mgr_arena_get(a, m->t.of[CW_REC_HOST].n + 1, sizeof(*to));

    ret->sites = to;
    MGR_EACH(&m->t, CW_REC_HOST, struct mgr_host, h)
    {
        struct cw_mgr_site_info *s = site_find(to, &ret->n_sites, &h->o.rec.host);

        if (s->hosts++ == 0)
            s->region = cw_mgr_site_region(m, s->name);
        s->hosts_up += !h->absent;
        s->hosts_maintained += cw_mgr_host_maintained(h);
        add_attributes(&s->attributes, &h->o.rec.host);
    }
    MGR_EACH(&m->t, CW_REC_DISK, struct mgr_disk, d)
    {
        const struct mgr_host *h = cw_mgr_disk_host(m, d);
        struct cw_mgr_site_info *s;

        if (h == NULL || d->replaced)
            continue;
        s = site_find(to, &ret->n_sites, &h->o.rec.host);
        s->size_bytes += d->o.rec.disk.size_bytes;
        s->used_bytes += d->now.used_bytes;
    }
    fill_without_worst(m, to, ret->n_sites);
    for (size_t i = 0; i < ret->n_sites; i++)
        to[i].links = cw_mgr_ways_of(m, to[i].name, a, &to[i].n_links);
}

static void
add_use(const struct cw_manager *m, const struct mgr_volume *v, struct cw_mgr_status *ret)
{
    const struct mgr_report *r = &v->report;

    if (!cw_mgr_report_fresh(m, v))
        return;
    ret->reads_per_s += r->reads_per_s;
    ret->writes_per_s += r->writes_per_s;
    ret->repair_bytes_per_s += r->repair_bytes_per_s;
    ret->read_p99_ns = cw_max_u64(ret->read_p99_ns, r->read_p99_ns);
    ret->write_p99_ns = cw_max_u64(ret->write_p99_ns, r->write_p99_ns);
}

static void
fill_volumes(const struct cw_manager *m, struct cw_mgr_arena *a, struct cw_mgr_status *ret)
{
    struct cw_mgr_word_count *words = cw_mgr_arena_get(a, MGR_N_WORDS, sizeof(*words));

    for (int w = 0; w < MGR_N_WORDS; w++)
        words[w].word = cw_mgr_word_name((enum mgr_word)w);
    MGR_EACH(&m->t, CW_REC_VOLUME, struct mgr_volume, v)
    {
        struct mgr_health health;

        if (v->o.rec.volume.purge_at_s != 0)
            continue;
        cw_mgr_volume_health(m, v, &health);
        words[health.word].n++;
        ret->volumes++;
        ret->volumes_serving += health.word < MGR_SUSPENDED;
        add_use(m, v, ret);
    }
    ret->protection = words;
    ret->n_protection = MGR_N_WORDS;
}

void
cw_mgr_call_status(struct cw_manager *m, struct cw_mgr_call *call)
{
    struct cw_mgr_arena *a = cw_mgr_reply_arena(call);
    const struct cw_cluster_rec *c = cw_mgr_cluster(m);
    struct cw_mgr_status *r = &call->reply.status;

    cw_mgr_findings_look(m);
    *r = (struct cw_mgr_status){
        .cluster = c->name,
        .cluster_id = c->cluster_id,
        .epoch = c->epoch,
        .manager = m->opts.manager_name != NULL ? m->opts.manager_name : "",
        .metadata = m->opts.kv->name,
        .uptime_s = (cw_now_ns(m->env) - m->started_ns) / CW_NS_PER_S,
    };
    r->places = cw_mgr_backup_places(m, a, &r->n_places);
    fill_findings(m, a, r);
    fill_sites(m, a, r);
    fill_volumes(m, a, r);
    cw_mgr_done(call);
}
