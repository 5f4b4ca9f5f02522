/* manager/attach.c - who may take a volume (replication.md 1.8, steps 0 and 1).
 *
 *   claim --released, forced, our own, caretaker without session--------------> its turn
 *     |---caretaker: LET_GO --answered, or 5 s--------------------------------> its turn
 *     |---TAKE, and it is allowed: LET_GO --released--------------------------> its turn
 *     |                                   \--kept, or 8 s--> on, as any other claim
 *     \---OWNER_SEEN to the hosts of in-sync copies --nobody, or 1 s----------> its turn
 *                                                   \--heard within 4 s--> VOLUME_IN_USE
 *   its turn: gen is still the one looked at? --no--> claim again
 *
 * A manager that has just begun first waits for those hosts to register, 3 s at most.
 * That a claim was wrong costs a live owner its volume, never data: the new gen fences it.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/mutation.h"
#include "daemon/manager/internal.h"

#define SEEN_MS 1000u
#define SEEN_SILENT_MS 4000u
#define LET_GO_MS 5000u
#define HAND_OVER_MS 8000u /* a client drains for 5 s at most, then asks us for 3 s */
#define BEGIN_MS 3000u
#define CLAIM_TRIES_MAX 8

struct claim {
    struct cw_list link;
    struct cw_manager *m;
    struct cw_mgr_call *call;
    uint64_t volume_id, serial, deadline_ns; /* deadline 0: nothing is waited for */
    uint32_t gen, pending, tries;
    bool force, caretaker, seen;
    bool answered; /* by a copy at least */
    bool take;     /* the owner may be asked to hand over; once */
    bool handed;   /* it was asked */
    bool early;    /* it waits for daemons to register, then looks again */
    mgr_build_fn *build;
    mgr_end_fn *ok;
};

static void claim_look(struct claim *c);

static void
claim_free(struct claim *c)
{
    cw_list_remove(&c->link);
    free(c);
}

void
cw_mgr_claim_end(struct mgr_call_op *op)
{
    struct claim *c = op->call->work;

    op->call->work = NULL;
    if (c != NULL)
        claim_free(c);
}

static void
claim_refuse(struct claim *c)
{
    struct cw_mgr_call *call = c->call;

    call->work = NULL;
    claim_free(c);
    cw_mgr_done(call);
}

/* ---- its turn ---- */

static enum mgr_build
claim_build(struct mgr_call_op *op, struct mgr_txn *t)
{
    struct claim *c = op->call->work;
    struct mgr_volume *v = cw_mgr_find_volume(&t->m->t, c->volume_id);

    if (v != NULL && v->o.rec.volume.gen != c->gen) {
        if (++c->tries >= CLAIM_TRIES_MAX)
            return cw_mgr_refuse(op, CW_MGR_BUSY, v->o.rec.volume.name,
                                 "volume %s changes hands all the time", v->o.rec.volume.name);
        claim_look(c);
        return cw_mgr_op_gone(op);
    }
    return c->build(op, t);
}

static void
claim_ok(struct mgr_call_op *op)
{
    struct claim *c = op->call->work;

    c->ok(op);
}

static void
claim_turn(struct claim *c)
{
    c->deadline_ns = 0;
    cw_mgr_call_op_of(c->m, c->call, c->volume_id, claim_build, claim_ok);
}

/* ---- looking ---- */

struct cw_mgr_session *
cw_mgr_owner_session(const struct cw_manager *m, const struct mgr_volume *v)
{
    const struct cw_volume_rec *r = &v->o.rec.volume;

    return r->hold == CW_HOLD_OWNED ? cw_mgr_find_session(m, &r->owner_id) : NULL;
}

static struct claim *
claim_find(struct cw_manager *m, uint64_t serial)
{
    CW_LIST_EACH (it, &m->attaches) {
        struct claim *c = cw_list_entry(it, struct claim, link);

        if (c->serial == serial && c->deadline_ns != 0)
            return c;
    }
    return NULL;
}

static void
claim_in_use(struct claim *c, const struct mgr_volume *v)
{
    const struct cw_volume_rec *r = &v->o.rec.volume;
    char since[CW_MGR_TIME_SIZE];

    cw_mgr_fail(c->call, CW_MGR_VOLUME_IN_USE, r->name,
                "volume %s is in use by %s on host %s since %s", r->name,
                r->owner_name[0] != '\0' ? r->owner_name : "a client",
                r->owner_host[0] != '\0' ? r->owner_host : "?",
                cw_mgr_time_format(r->owner_since_s, since));
    if (c->handed)
        cw_mgr_error_hint(&c->call->error, "it did not let go: try again");
    else if (c->call->kind == CW_MGR_ATTACH && c->call->req.attach.intent != CW_MGR_INTENT_OWN)
        cw_mgr_error_hint(&c->call->error,
                          "allow the hand-over: causeway volume migrate %s --allow", r->name);
    else if (c->call->kind == CW_MGR_ATTACH)
        cw_mgr_error_hint(&c->call->error,
                          "stop that client first, or take the volume over with --force");
    else
        cw_mgr_error_hint(&c->call->error, "detach it first: stop %s on %s", r->owner_name,
                          r->owner_host);
    claim_refuse(c);
}

/* Where no copy can say, an owner that we hear lives. If it is suspended, so would the next be, and
 * it may hold what the copies have lost with their memory (ack=replicated): only who gives up the
 * copies that are gone does not heed it. */
static bool
owner_lives(const struct claim *c, const struct mgr_volume *v)
{
    if (c->seen || c->answered)
        return c->seen;
    return cw_mgr_owner_session(c->m, v) != NULL && cw_mgr_report_fresh(c->m, v) &&
           (c->call->kind != CW_MGR_VOLUME_RECOVER || !cw_mgr_volume_suspended(c->m, v));
}

/* It has been up for so long that an owner would have found it again. */
static bool
can_say(const struct cw_manager *m, const struct mgr_ask *a)
{
    const struct mgr_host *h = a->session->host;

    return h != NULL && cw_now_ns(m->env) - h->up_ns >= SEEN_SILENT_MS * CW_NS_PER_MS;
}

static void
claim_decide(struct claim *c)
{
    const struct mgr_volume *v = cw_mgr_find_volume(&c->m->t, c->volume_id);

    if (v != NULL && v->o.rec.volume.gen == c->gen && owner_lives(c, v))
        claim_in_use(c, v);
    else
        claim_turn(c);
}

static void
claim_answered(struct cw_manager *m, struct mgr_ask *a, const struct cw_mgr_answer *answer)
{
    struct claim *c = claim_find(m, a->serial);

    if (c == NULL)
        return; /* decided already */
    c->pending--;
    c->seen |= answer->code == CW_MGR_OK && answer->seen && answer->silent_ms < SEEN_SILENT_MS;
    c->answered |= answer->code == CW_MGR_OK && can_say(m, a);
    if (c->seen || c->pending == 0)
        claim_decide(c);
}

static void
claim_wait(struct claim *c, uint32_t ms)
{
    c->serial = ++c->m->serial;
    c->deadline_ns = cw_now_ns(c->m->env) + ms * CW_NS_PER_MS;
    c->pending = 0;
    c->seen = c->answered = false;
}

void
cw_mgr_claim_let_go(struct cw_manager *m, const struct mgr_ask *a,
                    const struct cw_mgr_answer *answer)
{
    struct claim *c = claim_find(m, a->serial);

    if (c != NULL)
        claim_turn(c); /* let go or not: the next gen fences a caretaker without harm */
}

/* Released or not: if not, nothing is taken by force. */
static void
claim_handed(struct claim *c)
{
    c->take = false;
    c->deadline_ns = 0;
    claim_look(c);
}

static void
hand_over_answered(struct cw_manager *m, struct mgr_ask *a, const struct cw_mgr_answer *answer)
{
    struct claim *c = claim_find(m, a->serial);

    if (c != NULL)
        claim_handed(c);
}

static bool
host_has_insync(const struct cw_manager *m, const struct mgr_volume *v, const struct mgr_host *h)
{
    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);

        for (uint32_t k = 0; s != NULL && k < s->o.rec.shard.n_members; k++) {
            const struct cw_member *mb = &s->o.rec.shard.members[k];
            const struct mgr_disk *d = cw_mgr_find_copy_disk(&m->t, mb);

            if ((mb->state == CW_MEMBER_INSYNC || mb->state == CW_MEMBER_JOURNAL) && d != NULL &&
                cw_mgr_disk_host(m, d) == h)
                return true;
        }
    }
    return false;
}

static void
claim_ask_copies(struct claim *c, const struct mgr_volume *v)
{
    claim_wait(c, SEEN_MS);
    MGR_EACH(&c->m->t, CW_REC_HOST, struct mgr_host, h)
    {
        struct mgr_ask *a;

        if (!cw_mgr_host_serves(c->m, h) || !host_has_insync(c->m, v, h))
            continue;
        a = cw_mgr_ask_new(CW_MGR_ASK_OWNER_SEEN, SEEN_MS);
        a->ask.volume_id = c->volume_id;
        a->ask.gen = c->gen;
        a->serial = c->serial;
        a->done = claim_answered;
        c->pending++;
        cw_mgr_ask_send(h->session, a);
    }
    if (c->pending == 0)
        claim_decide(c);
}

/* A manager that has just begun knows nobody: that no copy can be asked means nothing yet. */
bool
cw_mgr_copies_to_come(const struct cw_manager *m, const struct mgr_volume *v)
{
    if (cw_now_ns(m->env) - m->started_ns >= BEGIN_MS * CW_NS_PER_MS)
        return false;
    MGR_EACH(&m->t, CW_REC_HOST, struct mgr_host, h)
    {
        if (!h->seen && host_has_insync(m, v, h))
            return true;
    }
    return false;
}

static void
claim_wait_for_copies(struct claim *c)
{
    claim_wait(c, BEGIN_MS);
    c->early = true;
}

static void
claim_look_early(struct claim *c)
{
    const struct mgr_volume *v = cw_mgr_find_volume(&c->m->t, c->volume_id);

    if (v != NULL && cw_mgr_copies_to_come(c->m, v))
        return;
    c->early = false;
    c->deadline_ns = 0;
    claim_look(c);
}

static void
claim_let_go(struct claim *c, struct mgr_volume *v, struct cw_mgr_session *s)
{
    struct mgr_ask *a = cw_mgr_let_go(c->m, v, s);

    claim_wait(c, LET_GO_MS);
    c->pending = 1;
    a->serial = c->serial;
    cw_mgr_ask_send(s, a);
}

static void
claim_hand_over(struct claim *c, struct cw_mgr_session *s)
{
    struct mgr_ask *a = cw_mgr_ask_new(CW_MGR_ASK_LET_GO, HAND_OVER_MS);

    claim_wait(c, HAND_OVER_MS);
    c->pending = 1;
    c->handed = true;
    a->ask.volume_id = c->volume_id;
    a->ask.gen = c->gen;
    a->serial = c->serial;
    a->done = hand_over_answered;
    cw_mgr_ask_send(s, a);
}

/* Copies have heard nothing yet of an owner that was granted the volume a moment ago. */
static bool
owner_begins(const struct cw_manager *m, const struct mgr_volume *v)
{
    uint64_t since = cw_now_ns(m->env) - v->granted_ns;

    return v->granted_ns != 0 && !v->report.have && since < SEEN_SILENT_MS * CW_NS_PER_MS &&
           cw_mgr_owner_session(m, v) != NULL;
}

static void
claim_look(struct claim *c)
{
    struct mgr_volume *v = cw_mgr_find_volume(&c->m->t, c->volume_id);
    struct cw_mgr_session *owner = v != NULL ? cw_mgr_owner_session(c->m, v) : NULL;
    const struct cw_volume_rec *r = v != NULL ? &v->o.rec.volume : NULL;
    bool ours = owner != NULL && owner == c->call->session;

    c->gen = r != NULL ? r->gen : 0;
    if (r == NULL || r->hold == CW_HOLD_RELEASED || c->force || ours ||
        cw_mutated(CW_MUTATION_CLAIM_BLIND)) {
        claim_turn(c);
    } else if (r->caretaker) {
        if (owner != NULL)
            claim_let_go(c, v, owner);
        else
            claim_turn(c);
    } else if (c->take && owner != NULL && cw_mgr_handover_open(c->m, v)) {
        claim_hand_over(c, owner);
    } else if (owner_begins(c->m, v)) {
        claim_in_use(c, v);
    } else if (cw_mgr_copies_to_come(c->m, v)) {
        claim_wait_for_copies(c);
    } else {
        claim_ask_copies(c, v);
    }
}

void
cw_mgr_claim(struct cw_manager *m, struct cw_mgr_call *call, uint64_t volume_id, bool force,
             bool caretaker, mgr_build_fn *build, mgr_end_fn *ok)
{
    struct claim *c = calloc(1, sizeof(*c));

    cw_assert(c != NULL);
    *c = (struct claim){ .m = m,
                         .call = call,
                         .volume_id = volume_id,
                         .force = force,
                         .caretaker = caretaker,
                         .take = call->kind == CW_MGR_ATTACH &&
                                 call->req.attach.intent == CW_MGR_INTENT_TAKE,
                         .build = build,
                         .ok = ok };
    cw_list_push_back(&m->attaches, &c->link);
    call->work = c;
    claim_look(c);
}

void
cw_mgr_claims_tick(struct cw_manager *m)
{
    uint64_t now = cw_now_ns(m->env);

    CW_LIST_EACH_SAFE (it, &m->attaches) {
        struct claim *c = cw_list_entry(it, struct claim, link);

        if (c->early)
            claim_look_early(c);
        else if (c->deadline_ns != 0 && now >= c->deadline_ns && c->take && c->handed)
            claim_handed(c);
        else if (c->deadline_ns != 0 && now >= c->deadline_ns)
            claim_decide(c); /* who does not answer in time is silence */
    }
}

void
cw_mgr_claims_fail(struct cw_manager *m)
{
    CW_LIST_EACH_SAFE (it, &m->attaches) {
        struct claim *c = cw_list_entry(it, struct claim, link);

        if (c->deadline_ns == 0)
            continue; /* it is an op: that ends it */
        cw_mgr_fail(c->call, cw_mgr_not_begun(m), "", "the manager stops");
        claim_refuse(c);
    }
}

/* ---- attach ---- */

const struct cw_mgr_location *
cw_mgr_locations(const struct cw_manager *m, const struct cw_shard_rec *shards, size_t n_shards,
                 struct cw_mgr_arena *a, size_t *ret_n)
{
    struct cw_mgr_location *to = cw_mgr_arena_get(a, n_shards * CW_MEMBERS_MAX + 1, sizeof(*to));
    size_t n = 0;

    for (size_t i = 0; i < n_shards; i++) {
        for (uint32_t k = 0; k < shards[i].n_members; k++) {
            const struct cw_member *mb = &shards[i].members[k];
            size_t j = 0;

            while (j < n && (to[j].format_id != mb->format_id ||
                             !cw_uuid_equal(&to[j].uuid, &mb->disk_uuid)))
                j++;
            if (j == n)
                cw_mgr_location_fill(m, &mb->disk_uuid, mb->format_id, &to[n++]);
        }
    }
    *ret_n = n;
    return to;
}

void
cw_mgr_attach_fill(const struct cw_manager *m, const struct mgr_volume *v, struct cw_mgr_arena *a,
                   struct cw_mgr_attach_reply *ret)
{
    const struct cw_volume_rec *r = &v->o.rec.volume;
    struct cw_shard_rec *shards = cw_mgr_arena_get(a, cw_mgr_volume_shards(v), sizeof(*shards));

    *ret = (struct cw_mgr_attach_reply){
        .spec = { .id = r->id,
                  .name = cw_mgr_arena_text(a, r->name),
                  .size_bytes = r->size_bytes,
                  .policy = cw_mgr_arena_text(a, r->policy) },
        .gen = r->gen,
        .released = r->hold == CW_HOLD_RELEASED,
        .shards = shards,
        .n_shards = cw_mgr_volume_shards(v),
        .cluster_id = cw_mgr_cluster(m)->cluster_id,
        .cold_start = cw_mgr_volume_cold(m, v),
    };
    for (uint32_t i = 0; i < ret->n_shards; i++)
        shards[i] = cw_mgr_shard_of(m, v, i)->o.rec.shard;
    ret->disks = cw_mgr_locations(m, shards, ret->n_shards, a, &ret->n_disks);
    cw_mgr_policy_fill(cw_mgr_volume_policy(m, r), a, &ret->policy);
    ret->policy.min_insync = cw_mgr_volume_min_insync(m, v);
    ret->policy.resync_limit = cw_mgr_cluster(m)->repair_limit;
    ret->policy.resync_paused = cw_mgr_repair_paused(m);
}

bool
cw_mgr_volume_behind(const struct cw_manager *m, const struct mgr_volume *v)
{
    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);

        if (s == NULL || cw_mgr_shard_ahead(m, s))
            return true;
    }
    return false;
}

enum mgr_build
cw_mgr_refuse_behind(struct mgr_call_op *c, const struct mgr_volume *v)
{
    cw_mgr_fail(c->call, CW_MGR_UNAVAILABLE, v->o.rec.volume.name,
                "copies of volume %s know newer records than the metadata store: it went back",
                v->o.rec.volume.name);
    cw_mgr_error_hint(&c->call->error,
                      "restore the newest copy of the metadata store, or rebuild it from the "
                      "stores: causeway-store rebuild-metadata");
    return cw_mgr_refused(c);
}

/* Is this daemon the one that was asked to take care of it? */
static bool
care_wanted(const struct mgr_volume *v, const struct cw_mgr_session *s)
{
    return v->care.state == MGR_CARE_ASKED && cw_uuid_equal(&v->care.daemon, &s->id);
}

static enum mgr_build
attach_refuse(struct mgr_call_op *c, const struct cw_manager *m, struct mgr_volume *v)
{
    const struct cw_mgr_attach *q = &c->call->req.attach;
    struct cw_mgr_session *s = c->call->session;

    if (v == NULL || v->o.rec.volume.purge_at_s != 0)
        return cw_mgr_refuse(c, CW_MGR_NOT_FOUND, q->volume, "there is no volume %.63s", q->volume);
    if (s == NULL || cw_uuid_is_nil(&s->id))
        return cw_mgr_refuse(c, CW_MGR_BAD_REQUEST, v->o.rec.volume.name,
                             "this connection has not said who it is");
    if (q->caretaker && !care_wanted(v, s))
        return cw_mgr_refuse(c, CW_MGR_CONFLICT, v->o.rec.volume.name,
                             "no caretaker of volume %s is wanted here", v->o.rec.volume.name);
    if (v->o.rec.volume.gen == UINT32_MAX)
        return cw_mgr_refuse(c, CW_MGR_LIMIT, v->o.rec.volume.name, "no generation is left");
    return cw_mgr_volume_behind(m, v) ? cw_mgr_refuse_behind(c, v) : MGR_BUILD_COMMIT;
}

static enum mgr_build
attach_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const struct cw_mgr_attach *q = &c->call->req.attach;
    struct cw_mgr_attach_reply *reply = &c->call->reply.attach;
    struct mgr_volume *v = cw_mgr_find_volume(&t->m->t, q->volume_id);
    struct cw_mgr_session *s = c->call->session;
    enum mgr_build b = attach_refuse(c, t->m, v);
    struct cw_rec rec;
    struct cw_volume_rec *to = &rec.volume;

    if (b != MGR_BUILD_COMMIT)
        return b;
    rec = v->o.rec;
    c->id = to->id;
    reply->released = to->hold == CW_HOLD_RELEASED || cw_mutated(CW_MUTATION_ALWAYS_RELEASED);
    to->gen += !cw_mutated(CW_MUTATION_SAME_GEN) || to->gen == 0;
    to->hold = CW_HOLD_OWNED;
    to->owner_id = s->id;
    to->owner_since_s = cw_mgr_wall_s(t->m);
    to->caretaker = q->caretaker;
    cw_mgr_text_clip(to->owner_name, sizeof(to->owner_name), s->name);
    cw_mgr_text_clip(to->owner_host, sizeof(to->owner_host), s->machine);
    cw_mgr_txn_put(t, &rec);
    cw_mgr_txn_event(t, q->caretaker ? "VOLUME_CARETAKEN" : "VOLUME_ATTACHED", to->name,
                     "gen %u: %s on %s%s", to->gen, s->name, s->machine,
                     q->force                                             ? " (forced)"
                     : q->intent == CW_MGR_INTENT_TAKE && reply->released ? " (handed over)"
                                                                          : "");
    return MGR_BUILD_COMMIT;
}

static void
attach_ok(struct mgr_call_op *c)
{
    struct cw_manager *m = c->op.m;
    struct cw_mgr_attach_reply *reply = &c->call->reply.attach;
    struct mgr_volume *v = cw_mgr_find_volume(&m->t, c->id);
    bool released = reply->released;

    if (v == NULL) {
        cw_mgr_fail(c->call, CW_MGR_NOT_FOUND, "", "the volume is gone again");
        return;
    }
    cw_mgr_attach_fill(m, v, cw_mgr_reply_arena(c->call), reply);
    reply->released = released;
    if (c->call->req.attach.caretaker) {
        v->care.state = MGR_CARE_HELD;
        v->care.until_ns = 0;
    } else {
        v->care.state = MGR_CARE_NONE;
    }
}

/* The records, so that the target of a hand-over can get ready; nothing is granted. */
static void
attach_standby(struct cw_manager *m, struct cw_mgr_call *call, const struct mgr_volume *v)
{
    const struct cw_volume_rec *r = &v->o.rec.volume;

    if (r->purge_at_s != 0) {
        cw_mgr_fail(call, CW_MGR_NOT_FOUND, r->name, "volume %s is in the trash", r->name);
    } else if (cw_mgr_handover_open(m, v)) {
        cw_mgr_attach_fill(m, v, cw_mgr_reply_arena(call), &call->reply.attach);
        call->reply.attach.gen = 0;
        call->reply.attach.released = false;
    } else if (r->hold == CW_HOLD_OWNED) {
        cw_mgr_fail(call, CW_MGR_VOLUME_IN_USE, r->name,
                    "volume %s is in use by %s on host %s, and not to be handed over", r->name,
                    r->owner_name, r->owner_host);
        cw_mgr_error_hint(&call->error, "allow the hand-over: causeway volume migrate %s --allow",
                          r->name);
    } else {
        cw_mgr_fail(call, CW_MGR_CONFLICT, r->name,
                    "volume %s is not attached: nobody hands it over", r->name);
    }
    cw_mgr_done(call);
}

void
cw_mgr_call_attach(struct cw_manager *m, struct cw_mgr_call *call)
{
    struct cw_mgr_attach *q = &call->req.attach;
    struct mgr_volume *v = q->volume[0] != '\0' ? cw_mgr_find_volume_named(&m->t, q->volume)
                                                : cw_mgr_find_volume(&m->t, q->volume_id);

    if (v == NULL) {
        cw_mgr_fail(call, CW_MGR_NOT_FOUND, q->volume, "there is no volume %.63s", q->volume);
        cw_mgr_done(call);
        return;
    }
    if (q->intent != CW_MGR_INTENT_OWN && (q->force || q->caretaker)) {
        cw_mgr_fail(call, CW_MGR_BAD_REQUEST, v->o.rec.volume.name,
                    "a hand-over is not forced, nor a caretaker's");
        cw_mgr_done(call);
        return;
    }
    if (q->intent == CW_MGR_INTENT_STANDBY) {
        attach_standby(m, call, v);
        return;
    }
    q->volume_id = v->o.rec.volume.id; /* a name may mean another volume by its turn */
    if (!q->caretaker)
        cw_mgr_care_cancel(m, v);
    cw_mgr_claim(m, call, q->volume_id, q->force, q->caretaker, attach_build, attach_ok);
}

void
cw_mgr_call_get_volume(struct cw_manager *m, struct cw_mgr_call *call)
{
    const struct mgr_volume *v = cw_mgr_find_volume(&m->t, call->req.id);

    if (v == NULL || v->o.rec.volume.purge_at_s != 0)
        cw_mgr_fail(call, CW_MGR_NOT_FOUND, "", "there is no volume %llu",
                    (unsigned long long)call->req.id);
    else
        cw_mgr_attach_fill(m, v, cw_mgr_reply_arena(call), &call->reply.attach);
    cw_mgr_done(call);
}
