/* manager/recover.c - on from a stale copy, when the last in-sync one is lost for good.
 *
 *   claim --nobody serves it--> per shard without an in-sync copy in reach: the copy chosen is
 *     INSYNC, alone, in a new lineage; every other member leaves the record and is to be dropped
 *
 * An operator's word only, and only with accept_loss: what was acknowledged and is not on the
 * chosen copy is given up. The volume's gen rises in the same transaction, so no owner of before
 * can change a record any more, and none can pass the new lineage's SEAL (replica/seal.c). Copies
 * of the old lineage are no members: they are dropped when they return, and repair.c makes others.
 */
#include <stdio.h>
#include <string.h>

#include "daemon/manager/internal.h"

/* ---- which shards, which copies ---- */

/* No in-sync copy can be reached, so nobody can take it over. */
static bool
shard_is_lost(const struct cw_manager *m, const struct mgr_shard *s)
{
    for (uint32_t i = 0; i < s->o.rec.shard.n_members; i++) {
        const struct cw_member *mb = &s->o.rec.shard.members[i];

        if (mb->state == CW_MEMBER_INSYNC && !(s->bad & CW_BIT(i)) &&
            cw_mgr_disk_serves(m, cw_mgr_find_copy_disk(&m->t, mb)))
            return false;
    }
    return true;
}

/* Why it cannot be gone on from; "": it can. */
static const char *
copy_bar(const struct cw_manager *m, const struct mgr_shard *s, uint32_t i)
{
    const struct cw_member *mb = &s->o.rec.shard.members[i];
    const struct mgr_disk *d = cw_mgr_find_copy_disk(&m->t, mb);
    const struct mgr_copy_known *k = &s->known[i];

    if (mb->state == CW_MEMBER_JOURNAL)
        return "a journal holds only what was written since it began";
    if (mb->state == CW_MEMBER_DEAD)
        return "it was given up";
    if (d == NULL)
        return "its disk was replaced or formatted again";
    if (!cw_mgr_host_serves(m, cw_mgr_disk_host(m, d)))
        return "its host is down";
    if (!cw_mgr_disk_serves(m, d))
        return "its disk does not work";
    if (mb->state == CW_MEMBER_IN_RESYNC || k->holes)
        return "it was being brought up to date: it has holes";
    if (!k->held)
        return "its host has not named such a copy (it does within 10 s, if there is one)";
    return k->damaged ? "it is damaged" : "";
}

static uint32_t
n_choices(const struct cw_manager *m, const struct mgr_shard *s, uint32_t *ret_last)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->o.rec.shard.n_members; i++) {
        if (copy_bar(m, s, i)[0] != '\0')
            continue;
        *ret_last = i;
        n++;
    }
    return n;
}

/* The member on that disk; CW_MEMBERS_MAX: none. */
static uint32_t
member_on(const struct mgr_shard *s, const struct mgr_disk *d)
{
    for (uint32_t i = 0; i < s->o.rec.shard.n_members; i++) {
        if (cw_uuid_equal(&s->o.rec.shard.members[i].disk_uuid, &d->o.rec.disk.uuid))
            return i;
    }
    return CW_MEMBERS_MAX;
}

/* The member to go on from; CW_MEMBERS_MAX: none, or that is to be said. */
static uint32_t
member_chosen(const struct cw_manager *m, const struct mgr_shard *s, const struct mgr_disk *d)
{
    uint32_t i = CW_MEMBERS_MAX, last = CW_MEMBERS_MAX;

    if (!shard_is_lost(m, s))
        return CW_MEMBERS_MAX;
    if (d == NULL)
        return n_choices(m, s, &last) == 1 ? last : CW_MEMBERS_MAX;
    i = member_on(s, d);
    return i < CW_MEMBERS_MAX && copy_bar(m, s, i)[0] == '\0' ? i : CW_MEMBERS_MAX;
}

/* ---- what is said ---- */

static void
copy_fill(const struct cw_manager *m, const struct mgr_shard *s, uint32_t i, struct cw_mgr_arena *a,
          struct cw_mgr_recover_copy *ret)
{
    const struct cw_member *mb = &s->o.rec.shard.members[i];
    const struct mgr_disk *d = cw_mgr_find_disk(&m->t, &mb->disk_uuid);
    const struct mgr_host *h = cw_mgr_disk_host(m, d);
    const struct mgr_copy_known *k = &s->known[i];
    char left[CW_MGR_TIME_SIZE];

    *ret = (struct cw_mgr_recover_copy){
        .host = cw_mgr_arena_text(a, d != NULL ? d->o.rec.disk.host : "?"),
        .site = cw_mgr_arena_text(a, h != NULL ? h->o.rec.host.site : ""),
        .disk = cw_mgr_arena_text(a, d != NULL ? d->o.rec.disk.name : "?"),
        .state = mb->state,
        .up = cw_mgr_disk_serves(m, cw_mgr_find_copy_disk(&m->t, mb)),
        .known = k->named,
        .last_gen = k->last_gen,
        .last_seq = k->last_seq,
        .left = k->left_s != 0 ? cw_mgr_arena_text(a, cw_mgr_time_format(k->left_s, left)) : "",
        .bar = copy_bar(m, s, i),
    };
}

static const char *
shard_note(const struct cw_manager *m, const struct mgr_shard *s)
{
    uint32_t j = cw_mgr_journal_of(&s->o.rec.shard);

    if (j < CW_MEMBERS_MAX &&
        cw_mgr_disk_serves(m, cw_mgr_find_copy_disk(&m->t, &s->o.rec.shard.members[j])))
        return "a journal is up: it may make a copy whole without any loss, give it a minute first";
    if (cw_now_ns(m->env) < m->cold_until_ns)
        return "hosts may still be starting: a copy that is in sync loses nothing";
    return "";
}

static void
shard_fill(const struct cw_manager *m, const struct mgr_shard *s, struct cw_mgr_arena *a,
           struct cw_mgr_recover_shard *ret)
{
    const struct cw_shard_rec *r = &s->o.rec.shard;
    struct cw_mgr_recover_copy *copies = cw_mgr_arena_get(a, r->n_members, sizeof(*copies));

    *ret = (struct cw_mgr_recover_shard){
        .shard = r->shard,
        .loss = "every write acknowledged after the chosen copy ceased to be in sync; the other "
                "copies are dropped when they return, and made anew",
        .note = shard_note(m, s),
        .copies = copies,
        .n_copies = r->n_members,
    };
    for (uint32_t i = 0; i < r->n_members; i++)
        copy_fill(m, s, i, a, &copies[i]);
}

/* From the first shard where there is a choice. */
static const char *
next_command(const struct cw_manager *m, const struct mgr_volume *v, struct cw_mgr_arena *a)
{
    const char *name = v->o.rec.volume.name;

    for (uint32_t k = 0; k < cw_mgr_volume_shards(v); k++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, k);
        uint32_t i = CW_MEMBERS_MAX, n = shard_is_lost(m, s) ? n_choices(m, s, &i) : 0;
        const struct mgr_disk *d;

        if (n == 0)
            continue;
        d = cw_mgr_find_copy_disk(&m->t, &s->o.rec.shard.members[i]);
        return cw_mgr_arena_printf(
            a, "causeway volume recover %s --copy %s --accept-loss", name,
            n > 1 ? "HOST/DISK"
                  : cw_mgr_arena_printf(a, "%s/%s", d->o.rec.disk.host, d->o.rec.disk.name));
    }
    return "";
}

static void
reply_fill(const struct cw_manager *m, const struct mgr_volume *v, struct cw_mgr_arena *a,
           struct cw_mgr_recover_reply *ret)
{
    struct cw_mgr_recover_shard *shards =
        cw_mgr_arena_get(a, cw_mgr_volume_shards(v), sizeof(*shards));

    *ret = (struct cw_mgr_recover_reply){ .volume = cw_mgr_arena_text(a, v->o.rec.volume.name),
                                          .command = next_command(m, v, a),
                                          .shards = shards,
                                          .gen = v->o.rec.volume.gen };
    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);

        if (shard_is_lost(m, s))
            shard_fill(m, s, a, &shards[ret->n_shards++]);
    }
}

/* ---- refusals ---- */

static uint32_t
n_lost(const struct cw_manager *m, const struct mgr_volume *v)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++)
        n += shard_is_lost(m, cw_mgr_shard_of(m, v, i));
    return n;
}

/* Its owner says that it does without what we cannot see. */
static bool
owner_serves(const struct cw_manager *m, const struct mgr_volume *v)
{
    if (cw_mgr_owner_session(m, v) == NULL || !cw_mgr_report_fresh(m, v))
        return false;
    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);

        if (shard_is_lost(m, s) && !s->suspended)
            return true;
    }
    return false;
}

/* False: the error is set. */
static bool
volume_ok(const struct cw_manager *m, const struct mgr_volume *v, const char *name,
          struct cw_mgr_error *err)
{
    if (v == NULL || v->o.rec.volume.purge_at_s != 0) {
        cw_mgr_error_set(err, CW_MGR_NOT_FOUND, name, "there is no volume %.63s", name);
        return false;
    }
    name = v->o.rec.volume.name;
    if (v->o.rec.volume.gen == UINT32_MAX) {
        cw_mgr_error_set(err, CW_MGR_LIMIT, name, "no generation is left");
        return false;
    }
    if (cw_mgr_copies_to_come(m, v)) {
        cw_mgr_error_set(err, CW_MGR_UNAVAILABLE, name,
                         "volume %s: the manager has just begun, hosts are still coming", name);
        cw_mgr_error_hint(err, "try again in some seconds");
        return false;
    }
    if (n_lost(m, v) == 0) {
        cw_mgr_error_set(err, CW_MGR_BAD_REQUEST, name,
                         "volume %s has an in-sync copy that is up: nothing is lost", name);
        cw_mgr_error_hint(err, "attach it; see: causeway volume show %s", name);
        return false;
    }
    if (owner_serves(m, v)) {
        cw_mgr_error_set(err, CW_MGR_VOLUME_IN_USE, name,
                         "volume %s is attached by %s on %s, which reaches a copy in sync", name,
                         v->o.rec.volume.owner_name, v->o.rec.volume.owner_host);
        cw_mgr_error_hint(err, "only this manager does not reach its hosts: mend that");
        return false;
    }
    return true;
}

/* The copy that was asked for. */
static bool
copy_ok(const struct cw_manager *m, const struct mgr_volume *v, const char *copy,
        const struct mgr_disk *d, struct cw_mgr_error *err)
{
    uint32_t n = 0;

    if (d == NULL) {
        cw_mgr_error_set(err, CW_MGR_NOT_FOUND, copy, "there is no disk %.120s", copy);
        cw_mgr_error_hint(err, "a copy is HOST/DISK; see: causeway volume recover %s",
                          v->o.rec.volume.name);
        return false;
    }
    for (uint32_t k = 0; k < cw_mgr_volume_shards(v); k++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, k);
        uint32_t i = shard_is_lost(m, s) ? member_on(s, d) : CW_MEMBERS_MAX;

        if (i == CW_MEMBERS_MAX)
            continue;
        n++;
        if (copy_bar(m, s, i)[0] == '\0')
            continue;
        cw_mgr_error_set(err, CW_MGR_BAD_REQUEST, copy,
                         "the copy of volume %s on %.100s cannot be gone on from: %s",
                         v->o.rec.volume.name, copy, copy_bar(m, s, i));
        cw_mgr_error_hint(err, "see what can be: causeway volume recover %s", v->o.rec.volume.name);
        return false;
    }
    if (n > 0)
        return true;
    cw_mgr_error_set(err, CW_MGR_BAD_REQUEST, copy,
                     "volume %s has no copy on %.100s that could take the place of a lost one",
                     v->o.rec.volume.name, copy);
    cw_mgr_error_hint(err, "see: causeway volume recover %s", v->o.rec.volume.name);
    return false;
}

/* ---- the transaction ---- */

static void
shard_put(struct mgr_txn *t, const struct mgr_shard *s, uint32_t chosen, uint32_t gen)
{
    struct cw_rec rec = s->o.rec;
    struct cw_shard_rec *r = &rec.shard;
    uint64_t old = r->lineage;
    bool begun = true;

    for (uint32_t i = 0; i < r->n_members; i++) {
        begun &= r->members[i].since_seq != CW_SINCE_NEW;
        if (i != chosen)
            cw_mgr_txn_drop(t, &r->members[i], r->shard);
    }
    r->members[0] = r->members[chosen];
    r->members[0].state = CW_MEMBER_INSYNC;
    r->members[0].since_seq = begun ? 0 : CW_SINCE_NEW;
    r->n_members = 1;
    r->members[0].async = false;
    r->gen = gen;
    r->cfg++;
    while (r->lineage == old)
        r->lineage = cw_random(t->m->env) | 1;
    cw_mgr_txn_put(t, &rec);
}

/* No lease holds for a copy that stands alone in its lineage: I11 has nobody to wait for. In shards
 * that were not lost the owner of before may have one; nobody has let go of those. */
static void
volume_put(struct mgr_txn *t, const struct mgr_volume *v, bool all_lost)
{
    struct cw_rec rec = v->o.rec;

    rec.volume.gen++;
    rec.volume.hold = all_lost ? CW_HOLD_RELEASED : CW_HOLD_OWNED;
    rec.volume.owner_id = (struct cw_uuid){ 0 };
    rec.volume.owner_name[0] = rec.volume.owner_host[0] = '\0';
    rec.volume.owner_since_s = 0;
    rec.volume.caretaker = false;
    cw_mgr_txn_put(t, &rec);
}

static void
say_recovered(struct mgr_txn *t, const struct mgr_volume *v, const struct mgr_shard *s, uint32_t i,
              uint32_t n)
{
    const struct mgr_disk *d = cw_mgr_find_copy_disk(&t->m->t, &s->o.rec.shard.members[i]);

    cw_mgr_txn_event(t, "VOLUME_RECOVERED", v->o.rec.volume.name,
                     "gen %u: on from %s/%s, %s, by an operator's word: later writes are lost"
                     " (%u shard%s)",
                     v->o.rec.volume.gen + 1, d->o.rec.disk.host, d->o.rec.disk.name,
                     cw_member_state_name(s->o.rec.shard.members[i].state), n, n == 1 ? "" : "s");
}

static bool
every_shard_is_chosen(const struct cw_manager *m, const struct mgr_volume *v,
                      const struct mgr_disk *d)
{
    for (uint32_t k = 0; k < cw_mgr_volume_shards(v); k++) {
        if (member_chosen(m, cw_mgr_shard_of(m, v, k), d) == CW_MEMBERS_MAX)
            return false;
    }
    return true;
}

/* How many shards go on; 0: a word is missing. */
static uint32_t
txn_recover(struct mgr_txn *t, const struct mgr_volume *v, const struct mgr_disk *d,
            struct cw_mgr_recover_reply *reply)
{
    uint32_t n = 0, first_member = 0;
    const struct mgr_shard *first = NULL;

    for (uint32_t k = 0, at = 0; k < cw_mgr_volume_shards(v); k++) {
        const struct mgr_shard *s = cw_mgr_shard_of(t->m, v, k);
        uint32_t i = member_chosen(t->m, s, d);

        if (i < CW_MEMBERS_MAX) {
            if (n == 0)
                volume_put(t, v, every_shard_is_chosen(t->m, v, d));
            shard_put(t, s, i, v->o.rec.volume.gen + 1);
            /* the reply is ours, and in the order of its lost shards */
            ((struct cw_mgr_recover_copy *)reply->shards[at].copies)[i].chosen = true;
            if (n++ == 0) {
                first = s;
                first_member = i;
            }
        }
        at += shard_is_lost(t->m, s);
    }
    if (n > 0)
        say_recovered(t, v, first, first_member, n);
    return n;
}

static enum mgr_build
recover_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const struct cw_mgr_volume_recover *q = &c->call->req.volume_recover;
    const struct mgr_volume *v = cw_mgr_find_volume_named(&t->m->t, q->name);
    struct cw_mgr_recover_reply *reply = &c->call->reply.recover;
    const struct mgr_disk *d = NULL;

    if (!volume_ok(t->m, v, q->name, &c->call->error))
        return cw_mgr_refused(c);
    if (cw_mgr_volume_behind(t->m, v))
        return cw_mgr_refuse_behind(c, v);
    if (q->copy[0] != '\0') {
        d = cw_mgr_disk_named(t->m, q->copy);
        if (!copy_ok(t->m, v, q->copy, d, &c->call->error))
            return cw_mgr_refused(c);
    }
    c->id = v->o.rec.volume.id;
    reply_fill(t->m, v, cw_mgr_reply_arena(c->call), reply);
    if (txn_recover(t, v, d, reply) == 0)
        return MGR_BUILD_NONE;
    c->owner = v->o.rec.volume.owner_id;
    reply->recovered = true;
    reply->command = "";
    reply->gen++;
    return MGR_BUILD_COMMIT;
}

static void
recover_ok(struct mgr_call_op *c)
{
    struct cw_manager *m = c->op.m;

    if (c->call->reply.recover.recovered)
        cw_mgr_hint_fenced(m, &c->owner, c->id);
}

static void
recover_tell(struct cw_manager *m, struct cw_mgr_call *call)
{
    const struct cw_mgr_volume_recover *q = &call->req.volume_recover;
    const struct mgr_volume *v = cw_mgr_find_volume_named(&m->t, q->name);

    if (!volume_ok(m, v, q->name, &call->error) ||
        (q->copy[0] != '\0' &&
         !copy_ok(m, v, q->copy, cw_mgr_disk_named(m, q->copy), &call->error))) {
        cw_mgr_done(call);
        return;
    }
    reply_fill(m, v, cw_mgr_reply_arena(call), &call->reply.recover);
    cw_mgr_done(call);
}

void
cw_mgr_call_volume_recover(struct cw_manager *m, struct cw_mgr_call *call)
{
    const struct cw_mgr_volume_recover *q = &call->req.volume_recover;
    struct mgr_volume *v = cw_mgr_find_volume_named(&m->t, q->name);

    if (v == NULL || !q->accept_loss) {
        recover_tell(m, call);
        return;
    }
    cw_mgr_care_cancel(m, v);
    cw_mgr_claim(m, call, v->o.rec.volume.id, false, false, recover_build, recover_ok);
}
