/* manager/volume.c - volumes: create, look at, grow, give another policy. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/name.h"
#include "common/base/size.h"
#include "daemon/manager/internal.h"

#define RESIZED_MS 10000u

uint32_t
cw_mgr_volume_shards(const struct mgr_volume *v)
{
    return cw_mgr_shard_count(v->o.rec.volume.size_bytes);
}

struct mgr_shard *
cw_mgr_shard_of(const struct cw_manager *m, const struct mgr_volume *v, uint32_t index)
{
    return cw_mgr_find_shard(&m->t, CW_SHARD_ID(v->o.rec.volume.id, index));
}

/* ---- placement's view ---- */

static bool
disk_works(const struct cw_manager *m, const struct mgr_disk *d)
{
    return cw_mgr_disk_serves(m, d) && !d->o.rec.disk.failed && !d->o.rec.disk.quarantined &&
           !cw_mgr_disk_leaves(m, d) && !cw_mgr_host_closed(cw_mgr_disk_host(m, d));
}

static bool
disk_too_full(const struct mgr_disk *d, enum mgr_place what)
{
    return cw_mgr_disk_crowded(d) ||
           (what == MGR_PLACE_NEW && cw_mgr_disk_percent(d) >= MGR_NO_NEW_PERCENT);
}

bool
cw_mgr_place_disk(const struct cw_manager *m, const struct mgr_disk *d, enum mgr_place what,
                  struct cw_place_disk *ret)
{
    const struct mgr_host *h = cw_mgr_disk_host(m, d);

    if (h == NULL)
        return false;
    *ret = (struct cw_place_disk){
        .uuid = d->o.rec.disk.uuid,
        .region = h->o.rec.host.region,
        .site = h->o.rec.host.site,
        .rack = h->o.rec.host.rack,
        .host = h->o.rec.host.name,
        .size_bytes = d->o.rec.disk.size_bytes,
        .load_bytes = d->now.used_bytes,
        .is_volatile = h->o.rec.host.is_volatile,
        .usable = disk_works(m, d) && !disk_too_full(d, what),
    };
    return true;
}

struct cw_place_disk *
cw_mgr_place_disks(const struct cw_manager *m, struct cw_mgr_arena *a, enum mgr_place what,
                   size_t *ret_n)
{
    struct cw_place_disk *to = cw_mgr_arena_get(a, m->t.of[CW_REC_DISK].n + 1, sizeof(*to));
    size_t n = 0;

    MGR_EACH(&m->t, CW_REC_DISK, struct mgr_disk, d)
    n += cw_mgr_place_disk(m, d, what, &to[n]);
    cw_place_index(to, n);
    cw_mgr_ways_place(m, a, to, n);
    *ret_n = n;
    return to;
}

/* They stand in the order of their keys, which is that of their bytes. */
struct cw_place_disk *
cw_mgr_place_find(struct cw_place_disk *disks, size_t n, const struct cw_uuid *uuid)
{
    size_t lo = 0, hi = n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = memcmp(&disks[mid].uuid, uuid, sizeof(*uuid));

        if (order == 0)
            return &disks[mid];
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

void
cw_mgr_place_hint(const struct cw_manager *m, enum mgr_place what, struct cw_place_answer *got)
{
    size_t len = strlen(got->hint);
    uint32_t n = 0;

    MGR_EACH(&m->t, CW_REC_DISK, struct mgr_disk, d)
    n += disk_works(m, d) && disk_too_full(d, what);
    if (n > 0)
        snprintf(got->hint + len, sizeof(got->hint) - len,
                 "%sfree space on %u store%s: above %u %% full none takes %s",
                 len > 0 ? ", or " : "", n, n == 1 ? "" : "s",
                 what == MGR_PLACE_NEW ? MGR_NO_NEW_PERCENT : MGR_CROWDED_PERCENT,
                 what == MGR_PLACE_NEW ? "new copies" : "copies");
}

/* Thin volumes hold nothing at first: what is promised counts as a load too. */
static void
place_add_promises(const struct cw_manager *m, struct cw_place_disk *disks, size_t n)
{
    MGR_EACH(&m->t, CW_REC_SHARD, struct mgr_shard, s)
    {
        for (uint32_t i = 0; i < s->o.rec.shard.n_members; i++) {
            struct cw_place_disk *d =
                cw_mgr_place_find(disks, n, &s->o.rec.shard.members[i].disk_uuid);

            if (d != NULL)
                d->load_bytes += (uint64_t)s->o.rec.shard.n_blocks * 4096;
        }
    }
}

struct placer {
    const struct cw_manager *m;
    struct cw_place_rule rule;
    struct cw_place_disk *disks;
    size_t n_disks;
    bool force; /* fewer copies than asked for are fine */
};

static bool
placer_init(struct placer *p, const struct cw_manager *m, const struct cw_policy_rec *policy,
            struct cw_mgr_arena *a, struct cw_mgr_error *err)
{
    *p = (struct placer){ .m = m };
    if (!cw_mgr_policy_rule(policy, &p->rule, err))
        return false;
    p->disks = cw_mgr_place_disks(m, a, MGR_PLACE_NEW, &p->n_disks);
    place_add_promises(m, p->disks, p->n_disks);
    return true;
}

/* Fills rec's members; the promise counts for the next shard. */
static bool
placer_shard(struct placer *p, struct cw_shard_rec *rec, const char *volume,
             struct cw_mgr_error *err)
{
    struct cw_place_answer got;
    bool ok = cw_place(&p->rule, p->disks, p->n_disks, NULL, 0, rec->shard, &got);

    if (!ok && (!p->force || got.n == 0)) {
        cw_mgr_place_hint(p->m, MGR_PLACE_NEW, &got);
        cw_mgr_error_set(err, CW_MGR_POLICY_UNSATISFIABLE, volume, "%s: %.250s", volume, got.why);
        cw_mgr_error_hint(err, "%s", got.hint);
        return false;
    }
    rec->n_members = got.n;
    for (uint32_t i = 0; i < got.n; i++) {
        struct cw_place_disk *pd = &p->disks[got.at[i]];
        const struct mgr_disk *d = cw_mgr_find_disk(&p->m->t, &pd->uuid);

        rec->members[i] = (struct cw_member){ .disk_uuid = pd->uuid,
                                              .format_id = d->o.rec.disk.format_id,
                                              .state = CW_MEMBER_INSYNC,
                                              .since_seq = CW_SINCE_NEW };
        pd->load_bytes += (uint64_t)rec->n_blocks * 4096;
    }
    return true;
}

/* A shard that nobody has ever written: gen 0 says so. */
static struct cw_rec
shard_new(struct cw_manager *m, const struct cw_volume_rec *v, uint32_t index)
{
    const struct cw_policy_rec *policy = cw_mgr_volume_policy(m, v);

    return (struct cw_rec){
        .kind = CW_REC_SHARD,
        .shard = {
            .shard = CW_SHARD_ID(v->id, index),
            .cfg = 1,
            .lineage = cw_random(m->env) | 1,
            .n_blocks = cw_mgr_shard_blocks(v->size_bytes, index),
            .compression = cw_mgr_policy_compression(policy),
        },
    };
}

static bool
shards_place(struct placer *p, struct mgr_txn *t, const struct cw_volume_rec *v, uint32_t from,
             struct cw_mgr_error *err)
{
    for (uint32_t i = from; i < cw_mgr_shard_count(v->size_bytes); i++) {
        struct cw_rec rec = shard_new(t->m, v, i);

        if (!placer_shard(p, &rec.shard, v->name, err))
            return false;
        cw_mgr_txn_put(t, &rec);
    }
    return true;
}

static const char *
size_warning(const struct cw_manager *m, uint64_t size_bytes, uint32_t copies,
             struct cw_mgr_arena *a)
{
    uint64_t total = 0;
    char need[CW_SIZE_TEXT_SIZE], have[CW_SIZE_TEXT_SIZE];

    MGR_EACH(&m->t, CW_REC_DISK, struct mgr_disk, d)
    total += d->o.rec.disk.size_bytes;
    if (size_bytes <= total / copies)
        return "";
    return cw_mgr_arena_printf(
        a, "thin: %u copies of it may grow to %s, all stores together hold %s", copies,
        cw_size_format(size_bytes * copies, need), cw_size_format(total, have));
}

static bool
size_ok(uint64_t size_bytes, const char *name, struct cw_mgr_error *err)
{
    if (size_bytes == 0 || size_bytes % 4096 != 0)
        cw_mgr_error_set(err, CW_MGR_BAD_REQUEST, name,
                         "%.63s: a size is a multiple of 4096 bytes and above 0", name);
    else if (size_bytes > MGR_SHARDS_MAX * MGR_SHARD_BYTES / 16)
        cw_mgr_error_set(err, CW_MGR_LIMIT, name, "%.63s: a volume has at most 256T", name);
    else
        return true;
    return false;
}

/* ---- create ---- */

static bool
create_ok(struct cw_manager *m, const struct cw_mgr_volume_create *q, const char *policy,
          struct cw_mgr_error *err)
{
    if (!cw_name_ok(q->name))
        cw_mgr_error_set(err, CW_MGR_BAD_REQUEST, "",
                         "\"%.63s\": a name is 1 to 63 of [A-Za-z0-9._-], a letter or digit first",
                         q->name);
    else if (cw_mgr_find_volume_named(&m->t, q->name) != NULL)
        cw_mgr_error_set(err, CW_MGR_EXISTS, q->name, "volume %s exists", q->name);
    else if (cw_mgr_find_policy(&m->t, policy) == NULL)
        cw_mgr_error_set(err, CW_MGR_NOT_FOUND, policy, "there is no policy %.63s", policy);
    else
        return size_ok(q->size_bytes, q->name, err);
    return false;
}

static enum mgr_build
create_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const struct cw_mgr_volume_create *q = &c->call->req.volume_create;
    const char *policy = q->policy[0] != '\0' ? q->policy : "default";
    struct cw_rec rec = { .kind = CW_REC_VOLUME };
    struct cw_volume_rec *v = &rec.volume;
    struct placer p;
    char size[CW_SIZE_TEXT_SIZE];

    if (!create_ok(t->m, q, policy, &c->call->error))
        return cw_mgr_refused(c);
    c->id = v->id = cw_mgr_txn_cluster(t)->next_volume_id++;
    cw_mgr_text_set(v->name, sizeof(v->name), q->name);
    cw_mgr_text_set(v->policy, sizeof(v->policy), policy);
    v->size_bytes = q->size_bytes;
    v->hold = CW_HOLD_RELEASED;
    v->created_s = cw_mgr_wall_s(t->m);
    v->min_insync = cw_mgr_min_insync(cw_mgr_volume_policy(t->m, v));
    if (!placer_init(&p, t->m, &cw_mgr_find_policy(&t->m->t, policy)->o.rec.policy, t->arena,
                     &c->call->error))
        return cw_mgr_refused(c);
    p.force = q->force;
    if (!shards_place(&p, t, v, 0, &c->call->error))
        return cw_mgr_refused(c);
    cw_mgr_txn_put(t, &rec);
    cw_mgr_txn_event(t, "VOLUME_CREATED", v->name, "%s, policy %s",
                     cw_size_format(v->size_bytes, size), policy);
    return MGR_BUILD_COMMIT;
}

static void
volume_reply(struct mgr_call_op *c)
{
    struct cw_manager *m = c->op.m;
    struct mgr_volume *v = cw_mgr_find_volume(&m->t, c->id);

    if (v == NULL)
        cw_mgr_fail(c->call, CW_MGR_NOT_FOUND, "", "the volume is gone again");
    else
        cw_mgr_volume_fill(m, v, cw_mgr_reply_arena(c->call), &c->call->reply.volume);
}

static void
create_done(struct mgr_call_op *c)
{
    struct cw_mgr_volume_info *info = &c->call->reply.volume;

    volume_reply(c);
    if (c->call->error.code == CW_MGR_OK) {
        const struct mgr_volume *v = cw_mgr_find_volume(&c->op.m->t, c->id);
        const struct cw_policy_rec *p = cw_mgr_volume_policy(c->op.m, &v->o.rec.volume);

        info->warning =
            size_warning(c->op.m, info->size_bytes, p->copies, cw_mgr_reply_arena(c->call));
    }
}

void
cw_mgr_call_volume_create(struct cw_manager *m, struct cw_mgr_call *call)
{
    cw_mgr_call_op(m, call, create_build, create_done);
}

/* ---- ls, show ---- */

void
cw_mgr_call_volume_ls(struct cw_manager *m, struct cw_mgr_call *call)
{
    struct cw_mgr_arena *a = cw_mgr_reply_arena(call);
    struct cw_mgr_volume_list *r = &call->reply.volumes;
    struct cw_mgr_volume_info *to = cw_mgr_arena_get(a, m->t.of[CW_REC_VOLUME].n + 1, sizeof(*to));

    r->volumes = to;
    MGR_EACH(&m->t, CW_REC_VOLUME, struct mgr_volume, v)
    {
        if ((v->o.rec.volume.purge_at_s != 0) == call->req.trash)
            cw_mgr_volume_fill(m, v, a, &to[r->n_volumes++]);
    }
    cw_mgr_done(call);
}

void
cw_mgr_call_volume_show(struct cw_manager *m, struct cw_mgr_call *call)
{
    const char *name = call->req.name;
    struct mgr_volume *v = cw_mgr_find_volume_named(&m->t, name);

    if (v == NULL)
        cw_mgr_fail(call, CW_MGR_NOT_FOUND, name, "there is no volume %.63s", name);
    else
        cw_mgr_volume_fill(m, v, cw_mgr_reply_arena(call), &call->reply.volume);
    cw_mgr_done(call);
}

/* ---- compliance ---- */

static bool
shard_compliant(const struct cw_manager *m, const struct mgr_shard *s,
                const struct cw_place_rule *rule, char why[static CW_PLACE_WHY_SIZE])
{
    const struct cw_shard_rec *r = &s->o.rec.shard;
    struct cw_place_disk disks[CW_MEMBERS_MAX];
    uint32_t have[CW_MEMBERS_MAX], n = 0;

    for (uint32_t i = 0; i < r->n_members; i++) {
        const struct cw_member *mb = &r->members[i];
        const struct mgr_disk *d = cw_mgr_find_copy_disk(&m->t, mb);

        if (d == NULL || !cw_mgr_member_counts(mb) ||
            cw_mgr_copy_state(m, mb, UINT32_MAX) == MGR_COPY_GONE ||
            !cw_mgr_place_disk(m, d, MGR_PLACE_LOST, &disks[n]))
            continue;
        have[n] = n;
        n++;
    }
    cw_place_index(disks, n);
    return cw_place_check(rule, disks, have, n, why);
}

bool
cw_mgr_volume_compliant(const struct cw_manager *m, const struct mgr_volume *v,
                        const struct cw_place_rule *rule, char why[static CW_MGR_WHY_SIZE])
{
    bool ok = true;

    why[0] = '\0';
    for (uint32_t i = 0; ok && i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);

        ok = s != NULL && shard_compliant(m, s, rule, why);
    }
    return ok && cw_mgr_async_met(m, v, why);
}

/* ---- resize ---- */

static enum mgr_build
resize_refuse_less(struct mgr_call_op *c, uint64_t size_bytes)
{
    const char *name = c->call->req.volume_resize.name;

    cw_mgr_fail(c->call, CW_MGR_BAD_REQUEST, name, "volume %s has %llu bytes and cannot shrink",
                name, (unsigned long long)size_bytes);
    cw_mgr_error_hint(
        &c->call->error,
        "create a smaller volume and copy the files into it, from a guest that has both");
    return cw_mgr_refused(c);
}

static enum mgr_build
resize_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const struct cw_mgr_volume_resize *q = &c->call->req.volume_resize;
    struct mgr_volume *v = cw_mgr_find_volume_named(&t->m->t, q->name);
    struct cw_mgr_error *err = &c->call->error;
    uint32_t last;
    struct cw_rec rec, shard;
    struct placer p;

    if (v == NULL)
        return cw_mgr_refuse(c, CW_MGR_NOT_FOUND, q->name, "there is no volume %.63s", q->name);
    if (!size_ok(q->size_bytes, q->name, err))
        return cw_mgr_refused(c);
    c->id = v->o.rec.volume.id;
    if (cw_mgr_volume_behind(t->m, v))
        return cw_mgr_refuse_behind(c, v);
    rec = v->o.rec;
    if (q->size_bytes == rec.volume.size_bytes)
        return MGR_BUILD_NONE;
    if (q->size_bytes < rec.volume.size_bytes)
        return resize_refuse_less(c, rec.volume.size_bytes);
    if (!placer_init(&p, t->m, cw_mgr_volume_policy(t->m, &rec.volume), t->arena, err))
        return cw_mgr_refused(c);
    last = cw_mgr_volume_shards(v) - 1;
    rec.volume.size_bytes = q->size_bytes;
    shard = cw_mgr_shard_of(t->m, v, last)->o.rec;
    if (shard.shard.n_blocks != cw_mgr_shard_blocks(q->size_bytes, last)) {
        shard.shard.n_blocks = cw_mgr_shard_blocks(q->size_bytes, last);
        shard.shard.cfg++;
        cw_mgr_txn_put(t, &shard);
    }
    if (!shards_place(&p, t, &rec.volume, last + 1, err))
        return cw_mgr_refused(c);
    cw_mgr_txn_put(t, &rec);
    cw_mgr_txn_event(t, "VOLUME_RESIZED", q->name, "%llu bytes", (unsigned long long)q->size_bytes);
    return MGR_BUILD_COMMIT;
}

static void
resize_reply(struct cw_manager *m, struct cw_mgr_call *call, uint64_t id, bool confirmed)
{
    struct mgr_volume *v = cw_mgr_find_volume(&m->t, id);
    struct cw_mgr_arena *a = cw_mgr_reply_arena(call);
    struct cw_mgr_volume_info *info = &call->reply.volume;

    if (v == NULL) {
        cw_mgr_fail(call, CW_MGR_NOT_FOUND, "", "the volume is gone again");
        return;
    }
    cw_mgr_volume_fill(m, v, a, info);
    info->warning =
        size_warning(m, info->size_bytes, cw_mgr_volume_policy(m, &v->o.rec.volume)->copies, a);
    if (!confirmed)
        info->warning = "its owner has not confirmed the new size yet";
}

static void
resize_answered(struct cw_manager *m, struct mgr_ask *a, const struct cw_mgr_answer *answer)
{
    struct cw_mgr_call *call = a->call;

    if (call == NULL)
        return;
    resize_reply(m, call, a->ask.volume_id, answer->code == CW_MGR_OK);
    cw_mgr_done(call);
}

static void
resize_push(struct cw_manager *m, struct cw_mgr_session *s, const struct mgr_volume *v,
            struct cw_mgr_call *call)
{
    struct mgr_ask *a = cw_mgr_ask_new(CW_MGR_ASK_RESIZED, RESIZED_MS);
    struct cw_mgr_attach_reply r;

    cw_mgr_attach_fill(m, v, a->arena, &r);
    a->ask.volume_id = v->o.rec.volume.id;
    a->ask.size_bytes = v->o.rec.volume.size_bytes;
    a->ask.records = r.shards;
    a->ask.n_records = r.n_shards;
    a->ask.disks = r.disks;
    a->ask.n_disks = r.n_disks;
    a->call = call;
    a->done = resize_answered;
    cw_mgr_ask_send(s, a);
}

/* It may have been away when it was to be told. */
void
cw_mgr_resize_again(struct cw_manager *m, struct cw_mgr_session *s, struct mgr_volume *v,
                    uint64_t size_bytes)
{
    uint64_t now = cw_now_ns(m->env);

    if (size_bytes == 0 || size_bytes >= v->o.rec.volume.size_bytes || now < v->resize_after_ns)
        return;
    v->resize_after_ns = now + RESIZED_MS * CW_NS_PER_MS;
    resize_push(m, s, v, NULL);
}

static void
resize_ok(struct mgr_call_op *c)
{
    struct cw_manager *m = c->op.m;
    struct mgr_volume *v = cw_mgr_find_volume(&m->t, c->id);
    struct cw_mgr_session *owner = v != NULL ? cw_mgr_owner_session(m, v) : NULL;

    if (owner == NULL) {
        resize_reply(m, c->call, c->id, true);
        return;
    }
    v->resize_after_ns = cw_now_ns(m->env) + RESIZED_MS * CW_NS_PER_MS;
    resize_push(m, owner, v, c->call);
    c->call = NULL;
}

void
cw_mgr_call_volume_resize(struct cw_manager *m, struct cw_mgr_call *call)
{
    cw_mgr_call_op(m, call, resize_build, resize_ok);
}

/* ---- set ---- */

static enum mgr_build
set_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const struct cw_mgr_volume_set *q = &c->call->req.volume_set;
    struct mgr_volume *v = cw_mgr_find_volume_named(&t->m->t, q->name);
    struct mgr_policy *p = cw_mgr_find_policy(&t->m->t, q->policy);
    struct cw_place_rule rule;
    struct mgr_plan plan;
    struct cw_rec rec;

    if (v == NULL)
        return cw_mgr_refuse(c, CW_MGR_NOT_FOUND, q->name, "there is no volume %.63s", q->name);
    if (p == NULL)
        return cw_mgr_refuse(c, CW_MGR_NOT_FOUND, q->policy, "there is no policy %.63s", q->policy);
    if (!cw_mgr_policy_rule(&p->o.rec.policy, &rule, &c->call->error))
        return cw_mgr_refused(c);
    if (!q->force &&
        !cw_mgr_moves_possible(t->m, v, &rule, p->o.rec.policy.async, NULL, 0, &plan)) {
        cw_mgr_fail(c->call, CW_MGR_POLICY_UNSATISFIABLE, q->name,
                    "volume %s cannot have policy %s: %.180s", q->name, q->policy, plan.why);
        cw_mgr_error_hint(&c->call->error,
                          "%.200s; or --force: then it does not comply until it can be met",
                          plan.hint);
        return cw_mgr_refused(c);
    }
    c->id = v->o.rec.volume.id;
    rec = v->o.rec;
    cw_mgr_text_set(rec.volume.policy, sizeof(rec.volume.policy), q->policy);
    cw_mgr_txn_put(t, &rec);
    cw_mgr_txn_event(t, "VOLUME_POLICY", q->name, "policy %s", q->policy);
    return MGR_BUILD_COMMIT;
}

static void
set_warn(struct mgr_call_op *c, const struct mgr_volume *v)
{
    struct cw_mgr_arena *a = cw_mgr_reply_arena(c->call);
    struct cw_place_rule rule;
    struct mgr_plan plan;
    struct cw_mgr_error err;

    if (cw_mgr_policy_rule(cw_mgr_volume_policy(c->op.m, &v->o.rec.volume), &rule, &err) &&
        !cw_mgr_moves_possible(c->op.m, v, &rule,
                               cw_mgr_volume_policy(c->op.m, &v->o.rec.volume)->async, NULL, 0,
                               &plan))
        c->call->reply.volume.warning =
            cw_mgr_arena_printf(a, "it cannot be met now: %s; %s", plan.why, plan.hint);
}

static void
set_ok(struct mgr_call_op *c)
{
    struct mgr_volume *v = cw_mgr_find_volume(&c->op.m->t, c->id);

    volume_reply(c);
    if (v == NULL)
        return;
    set_warn(c, v);
    cw_mgr_hint_volume(c->op.m, v);
}

void
cw_mgr_call_volume_set(struct cw_manager *m, struct cw_mgr_call *call)
{
    cw_mgr_call_op(m, call, set_build, set_ok);
}
