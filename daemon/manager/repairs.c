/* manager/repairs.c - an operator looks at repair, hurries it, pauses it, bounds it.
 *
 * What is listed is every member that is not, or will not stay, a full copy: what health.c says of
 * it in words, one by one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/manager/internal.h"

bool
cw_mgr_repair_paused(const struct cw_manager *m)
{
    return cw_mgr_cluster(m)->repair_paused_s != 0;
}

uint32_t
cw_mgr_repair_delay_s(const struct cw_manager *m, const struct mgr_volume *v)
{
    return v->hurry ? 0 : cw_mgr_volume_policy(m, &v->o.rec.volume)->repair_delay_s;
}

/* ---- ls ---- */

struct listing {
    const struct cw_manager *m;
    struct cw_mgr_arena *a;
    struct cw_mgr_repair_info *to;
    size_t n, cap;
    const struct mgr_volume *v;
    const struct mgr_shard *s;
    uint32_t insync;
};

static const char *
disk_text(const struct listing *l, const struct cw_member *mb)
{
    const struct mgr_disk *d = cw_mgr_find_disk(&l->m->t, &mb->disk_uuid);

    if (d == NULL)
        return "a removed disk";
    return cw_mgr_arena_printf(l->a, "%s/%s", d->o.rec.disk.host, d->o.rec.disk.name);
}

static bool
is_good(const struct listing *l, uint32_t i)
{
    const struct cw_member *mb = &l->s->o.rec.shard.members[i];

    return mb->state == CW_MEMBER_INSYNC && !(l->s->bad & CW_BIT(i)) &&
           cw_mgr_copy_state(l->m, mb, UINT32_MAX) == MGR_COPY_OK;
}

static const char *
site_of(const struct listing *l, const struct cw_member *mb)
{
    const struct mgr_disk *d = cw_mgr_find_disk(&l->m->t, &mb->disk_uuid);
    const struct mgr_host *h = d != NULL ? cw_mgr_disk_host(l->m, d) : NULL;

    return h != NULL ? h->o.rec.host.site : "";
}

/* As an owner chooses: one of the same site first. */
static const char *
source_text(const struct listing *l, const struct cw_member *target)
{
    const struct cw_shard_rec *r = &l->s->o.rec.shard;
    uint32_t best = CW_MEMBERS_MAX;

    for (uint32_t i = 0; i < r->n_members; i++) {
        if (!is_good(l, i))
            continue;
        if (best == CW_MEMBERS_MAX ||
            (strcmp(site_of(l, &r->members[i]), site_of(l, target)) == 0 &&
             strcmp(site_of(l, &r->members[best]), site_of(l, target)) != 0))
            best = i;
    }
    return best < CW_MEMBERS_MAX ? disk_text(l, &r->members[best]) : "";
}

static struct cw_mgr_repair_info *
row(struct listing *l, const char *state, const char *why)
{
    struct cw_mgr_repair_info *to;

    if (l->n == l->cap) {
        size_t cap = l->cap == 0 ? 16 : l->cap * 2;

        to = cw_mgr_arena_get(l->a, cap, sizeof(*to));
        if (l->n > 0)
            memcpy(to, l->to, l->n * sizeof(*to));
        l->to = to;
        l->cap = cap;
    }
    to = &l->to[l->n++];
    *to = (struct cw_mgr_repair_info){
        .volume = cw_mgr_arena_text(l->a, l->v->o.rec.volume.name),
        .shard = l->s->o.rec.shard.shard,
        .state = state,
        .why = cw_mgr_arena_text(l->a, why),
        .at = "",
        .source = "",
        .target = "",
        .insync = l->insync,
    };
    if (cw_mgr_repair_paused(l->m) && strcmp(state, "stuck") != 0) {
        to->state = "stuck";
        to->why = cw_mgr_arena_printf(l->a, "repair is paused; %s", why);
    }
    return to;
}

/* A new copy in the stead of that member, or one more. */
static void
list_new(struct listing *l, uint32_t member, const char *why)
{
    struct cw_member fresh;
    char hint[CW_MGR_WHY_SIZE], text[CW_MGR_WHY_SIZE];
    struct cw_mgr_repair_info *to;

    if (cw_mgr_repair_target(l->m, l->v, &l->s->o.rec.shard, member, &fresh, hint)) {
        to = row(l, "waiting", why);
        to->target = disk_text(l, &fresh);
        to->source = source_text(l, &fresh);
        return;
    }
    snprintf(text, sizeof(text), "%.140s; no place: %.130s", why, hint);
    row(l, "stuck", text);
}

static void
list_absent(struct listing *l, const struct cw_member *mb)
{
    const struct mgr_disk *d = cw_mgr_find_copy_disk(&l->m->t, mb);
    const struct mgr_host *h = cw_mgr_disk_host(l->m, d);
    uint64_t since = h->absent ? cw_mgr_absent_ns(h) : cw_max_u64(d->missing_ns, h->returned_ns);
    uint64_t for_s = (cw_now_ns(l->m->env) - since) / CW_NS_PER_S;
    uint32_t delay_s = cw_mgr_repair_delay_s(l->m, l->v);
    char why[CW_MGR_WHY_SIZE], at[CW_MGR_TIME_SIZE];
    struct cw_mgr_repair_info *to;

    if (cw_mgr_host_maintained(h))
        snprintf(why, sizeof(why), "host %s is in maintenance", h->o.rec.host.name);
    else if (!h->absent && !d->missing)
        snprintf(why, sizeof(why), "its disk is stuck");
    else if (cw_mgr_many_absent(l->m))
        snprintf(why, sizeof(why), "nothing is rebuilt while many hosts are absent at once");
    else
        snprintf(why, sizeof(why), "host %s %s", h->o.rec.host.name,
                 h->absent ? "is absent" : "is up without that store");
    to = row(l, "waiting", why);
    to->target = disk_text(l, mb);
    if (!cw_mgr_host_maintained(h) && !cw_mgr_many_absent(l->m) && (h->absent || d->missing))
        to->at = cw_mgr_arena_text(
            l->a,
            cw_mgr_time_format(cw_mgr_wall_s(l->m) + (delay_s > for_s ? delay_s - for_s : 0), at));
}

static void
list_resync(struct listing *l, uint32_t i)
{
    const struct cw_member *mb = &l->s->o.rec.shard.members[i];
    const struct mgr_member_now *now = &l->s->now[i];
    const struct mgr_disk *d = cw_mgr_find_copy_disk(&l->m->t, mb);
    struct cw_mgr_repair_info *to;
    const char *source = source_text(l, mb);

    if (mb->state == CW_MEMBER_IN_RESYNC && now->chunks_total > 0)
        to = row(l, l->s->why[0] != '\0' ? "stuck" : "copying", l->s->why);
    else if (d != NULL && cw_mgr_disk_crowded(d))
        to = row(l, "stuck", "its disk is too full to be filled again");
    else if (source[0] == '\0')
        to = row(l, "stuck", "no in-sync copy is reachable");
    else
        to = row(l, "waiting",
                 mb->state == CW_MEMBER_LAGGING ? "set aside: slow, or its link flaps"
                                                : "about to be synchronised");
    to->source = source;
    to->target = disk_text(l, mb);
    to->total_bytes = now->chunks_total * CW_MIB;
    to->done_bytes = (now->chunks_total - cw_min_u64(now->chunks_left, now->chunks_total)) * CW_MIB;
    if (cw_mgr_report_fresh(l->m, l->v))
        to->bytes_per_s = l->v->report.repair_bytes_per_s;
}

static void
list_member(struct listing *l, uint32_t i)
{
    const struct cw_member *mb = &l->s->o.rec.shard.members[i];
    char why[CW_MGR_WHY_SIZE];

    if (!cw_mgr_member_counts(mb) || cw_mgr_member_surplus(l->m, l->v, &l->s->o.rec.shard, i))
        return; /* another is in its place */
    if (cw_mgr_member_quarantined(l->m, mb)) {
        snprintf(why, sizeof(why), "it leaves %s (%s)", disk_text(l, mb),
                 cw_mgr_leaves_what(l->m, mb));
        list_new(l, i, why);
        return;
    }
    if (is_good(l, i))
        return;
    switch (cw_mgr_copy_state(l->m, mb, cw_mgr_repair_delay_s(l->m, l->v))) {
    case MGR_COPY_OK:
        list_resync(l, i);
        return;
    case MGR_COPY_WAITING:
        list_absent(l, mb);
        return;
    case MGR_COPY_OVERDUE:
    case MGR_COPY_GONE:
        snprintf(why, sizeof(why), "the copy on %s is gone", disk_text(l, mb));
        list_new(l, i, why);
        return;
    }
}

static void
list_shard(struct listing *l)
{
    const struct cw_shard_rec *r = &l->s->o.rec.shard;
    uint32_t n = cw_mgr_count_copies(r);

    l->insync = 0;
    for (uint32_t i = 0; i < r->n_members; i++)
        l->insync += is_good(l, i);
    for (uint32_t i = 0; i < r->n_members; i++)
        list_member(l, i);
    if (n < cw_mgr_copies_wanted(l->m, l->v, r))
        list_new(l, cw_mgr_member_to_go(l->m, r), "it has fewer copies than it should");
}

static int
repair_order(const void *a, const void *b)
{
    const struct cw_mgr_repair_info *x = a, *y = b;

    if (x->insync != y->insync)
        return x->insync < y->insync ? -1 : 1;
    return x->shard < y->shard ? -1 : x->shard > y->shard;
}

void
cw_mgr_call_repair_ls(struct cw_manager *m, struct cw_mgr_call *call)
{
    struct listing l = { .m = m, .a = cw_mgr_reply_arena(call) };
    char since[CW_MGR_TIME_SIZE];

    MGR_EACH(&m->t, CW_REC_SHARD, struct mgr_shard, s)
    {
        l.v = cw_mgr_find_volume(&m->t, CW_SHARD_VOLUME(s->o.rec.shard.shard));
        l.s = s;
        if (l.v != NULL && l.v->o.rec.volume.purge_at_s == 0)
            list_shard(&l);
    }
    if (l.n > 0)
        qsort(l.to, l.n, sizeof(*l.to), repair_order);
    call->reply.repairs = (struct cw_mgr_repair_list){
        .repairs = l.to,
        .n_repairs = l.n,
        .paused_since =
            cw_mgr_arena_text(l.a, cw_mgr_time_format(cw_mgr_cluster(m)->repair_paused_s, since)),
        .limit_bytes_per_s = cw_mgr_cluster(m)->repair_limit,
    };
    cw_mgr_done(call);
}

/* ---- now ---- */

static enum mgr_build
now_refuse(struct mgr_call_op *c, const struct cw_manager *m)
{
    const struct cw_mgr_repair_now *q = &c->call->req.repair_now;
    const struct mgr_host *h = cw_mgr_find_host(&m->t, q->host);

    if (q->host[0] != '\0' && q->volume[0] != '\0')
        return cw_mgr_refuse(c, CW_MGR_BAD_REQUEST, "", "either of a host or of a volume");
    if (q->host[0] != '\0' && h == NULL)
        return cw_mgr_refuse(c, CW_MGR_NOT_FOUND, q->host, "there is no host %.63s", q->host);
    if (q->volume[0] != '\0' && cw_mgr_find_volume_named(&m->t, q->volume) == NULL)
        return cw_mgr_refuse(c, CW_MGR_NOT_FOUND, q->volume, "there is no volume %.63s", q->volume);
    if (cw_mgr_repair_paused(m)) {
        cw_mgr_fail(c->call, CW_MGR_CONFLICT, "", "repair is paused");
        cw_mgr_error_hint(&c->call->error, "causeway repair resume");
        return cw_mgr_refused(c);
    }
    if (h == NULL || !cw_mgr_host_maintained(h))
        return MGR_BUILD_COMMIT;
    cw_mgr_fail(c->call, CW_MGR_CONFLICT, q->host, "host %s is in maintenance: it is to come back",
                q->host);
    cw_mgr_error_hint(&c->call->error, "causeway host return %s, then this again", q->host);
    return cw_mgr_refused(c);
}

static enum mgr_build
now_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const struct cw_mgr_repair_now *q = &c->call->req.repair_now;
    const char *object = q->host[0] != '\0' ? q->host : q->volume;
    enum mgr_build b = now_refuse(c, t->m);
    struct mgr_work *w;
    struct cw_job_rec *j;

    if (b != MGR_BUILD_COMMIT)
        return b;
    w = cw_mgr_work_open(t->m, CW_JOB_REPAIR, object);
    if (w != NULL) {
        c->id = w->o.rec.job.id;
        return MGR_BUILD_NONE;
    }
    j = cw_mgr_txn_job(t, CW_JOB_REPAIR, object, "REPAIR_NOW",
                       "copies that are waited for are made again at once");
    j->scope = q->host[0] != '\0' ? CW_JOB_HOST : q->volume[0] != '\0' ? CW_JOB_VOLUME : CW_JOB_ALL;
    if (j->scope == CW_JOB_VOLUME)
        j->volume_id = cw_mgr_find_volume_named(&t->m->t, q->volume)->o.rec.volume.id;
    c->id = j->id;
    return MGR_BUILD_COMMIT;
}

static void
now_ok(struct mgr_call_op *c)
{
    struct cw_manager *m = c->op.m;
    const struct mgr_work *w = cw_mgr_work_find(m, c->id);

    m->worked_ns = 0; /* at the next tick */
    if (w != NULL)
        cw_mgr_work_fill(w, cw_mgr_reply_arena(c->call), &c->call->reply.job);
    else
        cw_mgr_fail(c->call, CW_MGR_NOT_FOUND, "", "the job is gone again");
}

void
cw_mgr_call_repair_now(struct cw_manager *m, struct cw_mgr_call *call)
{
    cw_mgr_call_op(m, call, now_build, now_ok);
}

/* ---- pause, resume, limit ---- */

static enum mgr_build
set_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const struct cw_mgr_repair_set *q = &c->call->req.repair_set;
    struct cw_cluster_rec *r = cw_mgr_txn_cluster(t);

    switch (q->what) {
    case CW_MGR_REPAIR_PAUSE:
        if (r->repair_paused_s != 0)
            return MGR_BUILD_NONE;
        r->repair_paused_s = cw_mgr_wall_s(t->m);
        cw_mgr_txn_event(t, "REPAIR_SET", "repair", "paused: no copy is made again");
        break;
    case CW_MGR_REPAIR_RESUME:
        if (r->repair_paused_s == 0)
            return MGR_BUILD_NONE;
        r->repair_paused_s = 0;
        cw_mgr_txn_event(t, "REPAIR_SET", "repair", "resumed");
        break;
    case CW_MGR_REPAIR_LIMIT:
        if (q->bytes_per_s > 0 && q->bytes_per_s < CW_MIB)
            return cw_mgr_refuse(c, CW_MGR_BAD_REQUEST, "repair",
                                 "a limit is at least 1 MiB per second, or 0 for none");
        r->repair_limit = q->bytes_per_s;
        cw_mgr_txn_event(t, "REPAIR_SET", "repair", "%llu bytes per second of each owner (0: none)",
                         (unsigned long long)q->bytes_per_s);
        break;
    }
    return MGR_BUILD_COMMIT;
}

static void
set_ok(struct mgr_call_op *c)
{
    cw_mgr_hint_owners(c->op.m, NULL); /* they read it with the policy */
}

void
cw_mgr_call_repair_set(struct cw_manager *m, struct cw_mgr_call *call)
{
    cw_mgr_call_op(m, call, set_build, set_ok);
}
