/* manager/policy.c - policies: their keys, their defaults, what each must be. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/name.h"
#include "daemon/manager/internal.h"

#define BANDWIDTH_LEAST (64u * 1024u)

void
cw_mgr_policy_default(struct cw_policy_rec *ret)
{
    *ret = (struct cw_policy_rec){
        .name = "default",
        .copies = 3,
        .spread = "host",
        .sites = "any",
        .degrade_s = 60,
        .journal = "auto",
        .ack = "durable",
        .async = "none",
        .compression = "background",
        .repair_delay_s = 3600,
        .quorum_loss = "wait",
        .space_full = "wait",
    };
}

uint32_t
cw_mgr_min_insync(const struct cw_policy_rec *p)
{
    return p->min_insync != 0 ? p->min_insync : p->copies >= 3 ? 2 : 1;
}

static bool
bad(struct cw_mgr_error *err, const char *policy, const char *why)
{
    cw_mgr_error_set(err, CW_MGR_BAD_REQUEST, policy, "policy %s: %s", policy, why);
    return false;
}

/* ---- the rule ---- */

static bool
rule_spread(const char *text, struct cw_place_rule *ret)
{
    static const char *const names[] = {
        [CW_PLACE_HOST] = "host", [CW_PLACE_RACK] = "rack", [CW_PLACE_SITE] = "site"
    };

    for (size_t i = 0; i < CW_LEN(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            ret->spread = (enum cw_place_spread)i;
            return true;
        }
    }
    return false;
}

/* "dc1,aws" */
static bool
rule_site_list(const char *text, struct cw_place_rule *ret)
{
    while (ret->n_sites < CW_PLACE_SITES_MAX) {
        size_t len = strcspn(text, ",");
        char *to = ret->site[ret->n_sites];

        if (len == 0 || len >= CW_PLACE_NAME_SIZE)
            return false;
        memcpy(to, text, len);
        to[len] = '\0';
        if (!cw_name_ok(to))
            return false;
        for (uint32_t i = 0; i < ret->n_sites; i++) {
            if (strcmp(ret->site[i], to) == 0)
                return false;
        }
        ret->n_sites++;
        if (text[len] == '\0')
            return true;
        text += len + 1;
    }
    return false;
}

static bool
rule_sites(const char *text, struct cw_place_rule *ret)
{
    if (strcmp(text, "any") == 0) {
        ret->sites = CW_PLACE_ANY;
        return true;
    }
    if (strncmp(text, "only:", 5) == 0 || strncmp(text, "prefer:", 7) == 0) {
        ret->sites = text[0] == 'o' ? CW_PLACE_ONLY : CW_PLACE_PREFER;
        return rule_site_list(strchr(text, ':') + 1, ret) && ret->n_sites == 1;
    }
    if (strncmp(text, "each:", 5) != 0 || text[5] < '1' || text[5] > '5' || text[6] != ' ')
        return false;
    ret->sites = CW_PLACE_EACH;
    ret->each = (uint32_t)(text[5] - '0');
    return rule_site_list(text + 7, ret);
}

static bool
rule_agrees(const struct cw_policy_rec *p, const struct cw_place_rule *r, struct cw_mgr_error *err)
{
    if (r->sites == CW_PLACE_EACH && r->each * r->n_sites > p->copies)
        return bad(err, p->name, "sites asks for more copies than copies gives");
    if (r->spread == CW_PLACE_SITE && r->sites == CW_PLACE_EACH && r->each > 1)
        return bad(err, p->name, "spread=site allows one copy per site, sites asks for more");
    if (r->spread == CW_PLACE_SITE && r->sites == CW_PLACE_ONLY && p->copies > 1)
        return bad(err, p->name, "spread=site needs more sites than sites=only allows");
    return true;
}

bool
cw_mgr_policy_rule(const struct cw_policy_rec *p, struct cw_place_rule *ret,
                   struct cw_mgr_error *err)
{
    *ret = (struct cw_place_rule){ .copies = p->copies };
    if (p->copies < 1 || p->copies > CW_PLACE_COPIES_MAX)
        return bad(err, p->name, "copies is 1 to 5");
    if (!rule_spread(p->spread, ret))
        return bad(err, p->name, "spread is host, rack or site");
    if (!rule_sites(p->sites, ret))
        return bad(err, p->name, "sites is any, each:N SITE[,SITE..], only:SITE or prefer:SITE");
    return rule_agrees(p, ret, err);
}

/* ---- validation ---- */

static bool
one_of(const char *text, const char *a, const char *b)
{
    return strcmp(text, a) == 0 || strcmp(text, b) == 0;
}

static bool
policy_valid(const struct cw_policy_rec *p, struct cw_mgr_error *err)
{
    struct cw_place_rule rule;
    enum cw_compression compression;

    if (!cw_name_ok(p->name))
        return bad(err, p->name, "a name is 1 to 63 of [A-Za-z0-9._-], a letter or digit first");
    if (!cw_mgr_policy_rule(p, &rule, err))
        return false;
    if (p->min_insync > p->copies)
        return bad(err, p->name, "min-insync is 1 to copies");
    if (p->degrade_s < -1 || p->degrade_s == 0)
        return bad(err, p->name, "degrade is off, or seconds above 0");
    if (!one_of(p->journal, "auto", "off"))
        return bad(err, p->name, "journal is auto or off");
    if (!cw_compression_parse(p->compression, &compression))
        return bad(err, p->name, "compression is off, background or inline");
    if (p->bandwidth_limit != 0 && p->bandwidth_limit < BANDWIDTH_LEAST)
        return bad(err, p->name, "bandwidth-limit is 0, or 64K bytes in a second at least");
    if (!one_of(p->quorum_loss, "wait", "error"))
        return bad(err, p->name, "quorum-loss is wait or error");
    if (!one_of(p->space_full, "wait", "error"))
        return bad(err, p->name, "space-full is wait or error");
    if (!one_of(p->ack, "durable", "replicated"))
        return bad(err, p->name, "ack is durable or replicated");
    return true;
}

/* ---- put ---- */

static bool
take_text(char *to, size_t size, const char *text, const char *policy, const char *key,
          struct cw_mgr_error *err)
{
    if (text[0] == '\0' || cw_mgr_text_set(to, size, text))
        return true;
    cw_mgr_error_set(err, CW_MGR_BAD_REQUEST, policy, "policy %s: %s=%.40s is not known", policy,
                     key, text);
    return false;
}

/* Of a key whose 0 means something, but also that it is not given. */
static uint64_t
take_limit(uint64_t now, uint64_t given)
{
    if (given == CW_MGR_NO_LIMIT)
        return 0;
    return given != 0 ? given : now;
}

/* Its text says both, as "aws rpo=60". */
static bool
async_merge(struct cw_policy_rec *p, uint32_t rpo_s, struct cw_mgr_error *err)
{
    char site[CW_NAME_SIZE], text[CW_NAME_SIZE + 20];
    uint32_t now_s;

    if (!cw_mgr_async_parse(p->async, site, &now_s))
        return bad(err, p->name, "async is none, SITE or 'SITE rpo=SECONDS'");
    if (site[0] == '\0')
        return rpo_s == 0 ||
               bad(err, p->name, "rpo is of a copy that follows: give async=SITE too");
    snprintf(text, sizeof(text), "%s rpo=%u", site, rpo_s != 0 ? rpo_s : now_s);
    return cw_mgr_text_set(p->async, sizeof(p->async), text) ||
           bad(err, p->name, "the name of that site is too long");
}

/* What is not given stays. */
static bool
policy_merge(struct cw_policy_rec *p, const struct cw_mgr_policy *q, struct cw_mgr_error *err)
{
    p->copies = q->copies != 0 ? q->copies : p->copies;
    p->min_insync = q->min_insync != 0 ? q->min_insync : p->min_insync;
    p->degrade_s = q->degrade_s != 0 ? q->degrade_s : p->degrade_s;
    p->iops_limit = take_limit(p->iops_limit, q->iops_limit);
    p->bandwidth_limit = take_limit(p->bandwidth_limit, q->bandwidth_limit);
    p->repair_delay_s = q->repair_delay_s != 0 ? q->repair_delay_s : p->repair_delay_s;
    return take_text(p->spread, sizeof(p->spread), q->spread, p->name, "spread", err) &&
           take_text(p->sites, sizeof(p->sites), q->sites, p->name, "sites", err) &&
           take_text(p->journal, sizeof(p->journal), q->journal, p->name, "journal", err) &&
           take_text(p->ack, sizeof(p->ack), q->ack, p->name, "ack", err) &&
           take_text(p->async, sizeof(p->async), q->async, p->name, "async", err) &&
           take_text(p->compression, sizeof(p->compression), q->compression, p->name, "compression",
                     err) &&
           take_text(p->quorum_loss, sizeof(p->quorum_loss), q->quorum_loss, p->name, "quorum-loss",
                     err) &&
           take_text(p->space_full, sizeof(p->space_full), q->space_full, p->name, "space-full",
                     err) &&
           async_merge(p, q->rpo_s, err);
}

bool
cw_mgr_policy_take(struct cw_policy_rec *p, const struct cw_mgr_policy *q, struct cw_mgr_error *err)
{
    return policy_merge(p, q, err) && policy_valid(p, err);
}

static uint64_t
policy_users(const struct cw_manager *m, const char *name)
{
    uint64_t n = 0;

    MGR_EACH(&m->t, CW_REC_VOLUME, struct mgr_volume, v)
    n += strcmp(v->o.rec.volume.policy, name) == 0;
    return n;
}

/* Their copies will move to where the rule wants them, if there are places; what says why not is
 * of the first volume of *ret_n. */
static uint64_t
users_stuck(const struct cw_manager *m, const struct cw_policy_rec *p, struct mgr_plan *ret,
            const struct mgr_volume **ret_first)
{
    struct cw_mgr_arena *a = cw_mgr_arena_new();
    struct cw_place_rule rule;
    struct cw_mgr_error err;
    struct mgr_plan plan;
    uint64_t n = 0;
    size_t n_disks;
    struct cw_place_disk *disks = cw_mgr_place_disks(m, a, MGR_PLACE_LOST, &n_disks);
    bool ok = cw_mgr_policy_rule(p, &rule, &err);

    MGR_EACH(&m->t, CW_REC_VOLUME, struct mgr_volume, v)
    {
        const struct cw_volume_rec *r = &v->o.rec.volume;

        if (!ok || strcmp(r->policy, p->name) != 0 || r->purge_at_s != 0 ||
            cw_mgr_moves_possible(m, v, &rule, p->async, disks, n_disks, &plan))
            continue;
        if (n++ == 0) {
            *ret = plan;
            *ret_first = v;
        }
    }
    cw_mgr_arena_free(a);
    return n;
}

static bool
users_can_follow(const struct cw_manager *m, const struct cw_policy_rec *p,
                 struct cw_mgr_error *err)
{
    const struct mgr_volume *v = NULL;
    struct mgr_plan plan;
    uint64_t n = users_stuck(m, p, &plan, &v);
    char others[40] = "";

    if (n == 0)
        return true;
    if (n > 1)
        snprintf(others, sizeof(others), " and %llu others", (unsigned long long)(n - 1));
    cw_mgr_error_set(err, CW_MGR_POLICY_UNSATISFIABLE, p->name,
                     "policy %s: volume %s%s cannot have it: %.180s", p->name, v->o.rec.volume.name,
                     others, plan.why);
    cw_mgr_error_hint(err, "%.200s; or --force: then they do not comply until it can be met",
                      plan.hint);
    return false;
}

/* Only the keys that say where copies lie can make a volume lie wrong. */
static bool
same_places(const struct cw_policy_rec *a, const struct cw_policy_rec *b)
{
    return a->copies == b->copies && strcmp(a->spread, b->spread) == 0 &&
           strcmp(a->sites, b->sites) == 0;
}

static enum mgr_build
policy_put_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const struct cw_mgr_policy_put *q = &c->call->req.policy_put;
    const char *name = q->policy.name;
    struct mgr_policy *old = cw_mgr_find_policy(&t->m->t, name);
    struct cw_rec rec = { .kind = CW_REC_POLICY };

    if (q->create && old != NULL)
        return cw_mgr_refuse(c, CW_MGR_EXISTS, name, "policy %s exists", name);
    if (!q->create && old == NULL)
        return cw_mgr_refuse(c, CW_MGR_NOT_FOUND, name, "there is no policy %.63s", name);
    if (old != NULL) {
        rec = old->o.rec;
    } else {
        cw_mgr_policy_default(&rec.policy);
        if (!cw_mgr_text_set(rec.policy.name, sizeof(rec.policy.name), name))
            return cw_mgr_refuse(c, CW_MGR_BAD_REQUEST, "", "a policy name is at most 63 bytes");
    }
    if (!cw_mgr_policy_take(&rec.policy, &q->policy, &c->call->error))
        return cw_mgr_refused(c);
    if (!(old != NULL && same_places(&old->o.rec.policy, &rec.policy)) && !q->force &&
        !users_can_follow(t->m, &rec.policy, &c->call->error))
        return cw_mgr_refused(c);
    cw_mgr_txn_put(t, &rec);
    cw_mgr_txn_event(t, q->create ? "POLICY_CREATED" : "POLICY_CHANGED", name,
                     "copies=%u spread=%s sites=%.80s", rec.policy.copies, rec.policy.spread,
                     rec.policy.sites);
    return MGR_BUILD_COMMIT;
}

void
cw_mgr_policy_fill(const struct cw_policy_rec *p, struct cw_mgr_arena *a, struct cw_mgr_policy *ret)
{
    *ret = (struct cw_mgr_policy){
        .name = cw_mgr_arena_text(a, p->name),
        .copies = p->copies,
        .spread = cw_mgr_arena_text(a, p->spread),
        .sites = cw_mgr_arena_text(a, p->sites),
        .min_insync = cw_mgr_min_insync(p),
        .degrade_s = p->degrade_s,
        .journal = cw_mgr_arena_text(a, p->journal),
        .ack = cw_mgr_arena_text(a, p->ack),
        .async = cw_mgr_arena_text(a, p->async),
        .compression = cw_mgr_arena_text(a, p->compression),
        .iops_limit = p->iops_limit,
        .bandwidth_limit = p->bandwidth_limit,
        .repair_delay_s = p->repair_delay_s,
        .quorum_loss = cw_mgr_arena_text(a, p->quorum_loss),
        .space_full = cw_mgr_arena_text(a, p->space_full),
    };
}

/* A policy for hosts that are still to come is fine, but whoever writes it should know. */
static const char *
policy_warning(const struct cw_manager *m, const struct cw_policy_rec *p, struct cw_mgr_arena *a)
{
    const struct mgr_volume *v = NULL;
    struct cw_place_rule rule;
    struct cw_place_answer got;
    struct cw_mgr_error err;
    struct mgr_plan plan;
    size_t n;
    struct cw_place_disk *disks = cw_mgr_place_disks(m, a, MGR_PLACE_NEW, &n);
    uint64_t stuck = users_stuck(m, p, &plan, &v);

    if (stuck > 0)
        return cw_mgr_arena_printf(a, "%llu of its volumes cannot have it now: %s%s%s",
                                   (unsigned long long)stuck, plan.why,
                                   plan.hint[0] != '\0' ? "; " : "", plan.hint);
    if (!cw_mgr_policy_rule(p, &rule, &err) || cw_place(&rule, disks, n, NULL, 0, 0, &got))
        return "";
    cw_mgr_place_hint(m, MGR_PLACE_NEW, &got);
    return cw_mgr_arena_printf(a, "no new volume can have this policy now: %s%s%s", got.why,
                               got.hint[0] != '\0' ? "; " : "", got.hint);
}

static void
policy_put_ok(struct mgr_call_op *c)
{
    struct cw_manager *m = c->op.m;
    struct cw_mgr_call *call = c->call;
    const char *name = call->req.policy_put.policy.name;
    const struct mgr_policy *p = cw_mgr_find_policy(&m->t, name);

    if (p == NULL) { /* removed by another manager while the store was read again */
        cw_mgr_fail(call, CW_MGR_UNAVAILABLE, name, "policy %s is gone again", name);
        return;
    }
    cw_mgr_policy_fill(&p->o.rec.policy, cw_mgr_reply_arena(call), &call->reply.policy);
    call->reply.policy.volumes = policy_users(m, name);
    call->reply.policy.warning = policy_warning(m, &p->o.rec.policy, cw_mgr_reply_arena(call));
    MGR_EACH(&m->t, CW_REC_VOLUME, struct mgr_volume, v)
    {
        if (strcmp(v->o.rec.volume.policy, name) == 0)
            cw_mgr_hint_volume(m, v);
    }
}

void
cw_mgr_call_policy_put(struct cw_manager *m, struct cw_mgr_call *call)
{
    cw_mgr_call_op(m, call, policy_put_build, policy_put_ok);
}

/* ---- ls, rm ---- */

void
cw_mgr_call_policy_ls(struct cw_manager *m, struct cw_mgr_call *call)
{
    struct cw_mgr_arena *a = cw_mgr_reply_arena(call);
    struct cw_mgr_policy_list *r = &call->reply.policies;
    struct cw_mgr_policy *to = cw_mgr_arena_get(a, m->t.of[CW_REC_POLICY].n + 1, sizeof(*to));
    const char *name = call->req.name;

    r->policies = to;
    MGR_EACH(&m->t, CW_REC_POLICY, struct mgr_policy, p)
    {
        if (name[0] != '\0' && strcmp(name, p->o.rec.policy.name) != 0)
            continue;
        cw_mgr_policy_fill(&p->o.rec.policy, a, &to[r->n_policies]);
        to[r->n_policies++].volumes = policy_users(m, p->o.rec.policy.name);
    }
    if (name[0] != '\0' && r->n_policies == 0)
        cw_mgr_fail(call, CW_MGR_NOT_FOUND, name, "there is no policy %.63s", name);
    cw_mgr_done(call);
}

static enum mgr_build
policy_rm_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const char *name = c->call->req.name;
    struct mgr_policy *p = cw_mgr_find_policy(&t->m->t, name);
    uint64_t users = policy_users(t->m, name);

    if (p == NULL)
        return cw_mgr_refuse(c, CW_MGR_NOT_FOUND, name, "there is no policy %.63s", name);
    if (strcmp(name, "default") == 0)
        return cw_mgr_refuse(c, CW_MGR_BAD_REQUEST, name, "the policy default cannot be removed");
    if (users > 0)
        return cw_mgr_refuse(c, CW_MGR_BUSY, name,
                             "%llu volumes use policy %s (those in the trash count)",
                             (unsigned long long)users, name);
    cw_mgr_txn_del(t, &p->o);
    cw_mgr_txn_event(t, "POLICY_REMOVED", name, "it had no volumes");
    return MGR_BUILD_COMMIT;
}

static void
policy_rm_ok(struct mgr_call_op *c)
{
}

void
cw_mgr_call_policy_rm(struct cw_manager *m, struct cw_mgr_call *call)
{
    cw_mgr_call_op(m, call, policy_rm_build, policy_rm_ok);
}

const struct cw_policy_rec *
cw_mgr_volume_policy(const struct cw_manager *m, const struct cw_volume_rec *v)
{
    const struct mgr_policy *p = cw_mgr_find_policy(&m->t, v->policy);

    if (p == NULL)
        p = cw_mgr_find_policy(&m->t, "default");
    cw_assert(p != NULL); /* neither is removed while it is used, default never */
    return &p->o.rec.policy;
}
