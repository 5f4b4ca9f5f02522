/* One compare-and-set on the shard record at a time, and the doubt about it (I4).
 *
 *   IDLE --begin--> SENT --answer without a newer record--> DOUBT --again, or a withdrawal--> SENT
 *                     \--a record with cfg above the compared one--> IDLE
 *
 * Every request since IDLE compares the same cfg, so at most one of them is ever applied; until a
 * record with a higher cfg is seen, each of the states asked for is possible (copy->maybe). */
#include "common/owner/room.h"

#include <stdio.h>

#define DOUBT_MIN_NS (100 * CW_NS_PER_MS)
#define DOUBT_MAX_NS (2 * CW_NS_PER_S)

static void change_on_done(struct cw_change *call);

static bool
copy_changes(const struct copy *c)
{
    return c->want != c->state || c->want_since != c->since_seq;
}

static void
change_send(struct shard *s, const char *why)
{
    struct change *ch = &s->change;
    struct cw_change *call = &ch->call;

    char text[CW_OWNER_WHY_SIZE] = "";

    cw_assert(!ch->call_busy);
    if (why != NULL)
        snprintf(text, sizeof(text), "%s", why); /* it may lie in the call */
    *call = (struct cw_change){ .volume = s->v->id,
                                .gen = s->v->gen,
                                .cfg = ch->cfg,
                                .shard = s->rec.shard,
                                .done = change_on_done };
    memcpy(call->why, text, sizeof(text));
    for (uint32_t i = 0; i < s->n_copies && !ch->withdraw; i++) {
        struct copy *c = s->copies[i];

        if (!copy_changes(c) || call->n_want == CW_MEMBERS_MAX)
            continue;
        c->maybe |= (uint32_t)CW_BIT(c->want);
        if (c->want == CW_MEMBER_JOURNAL)
            c->maybe |= MAYBE_LOG;
        call->want[call->n_want++] = (struct cw_member){
            .disk_uuid = c->disk_uuid,
            .format_id = c->format_id,
            .state = c->want,
            .since_seq =
                c->want == CW_MEMBER_JOURNAL || c->want == CW_MEMBER_IN_RESYNC ? c->want_since : 0,
        };
    }
    ch->state = CHANGE_SENT;
    ch->call_busy = true;
    s->v->n_calls++;
    s->v->o->ops->change(s->v->o->world, call);
}

void
cw_own_change_begin(struct shard *s, const char *why)
{
    struct change *ch = &s->change;

    cw_assert(ch->state == CHANGE_IDLE && s->state != SHARD_CLOSED);
    if (ch->call_busy)
        return; /* an old request's answer is still to come; the next tick asks again */
    ch->cfg = s->rec.cfg;
    ch->withdraw = false;
    ch->n_tries = 0;
    change_send(s, why);
    cw_own_mark_dirty(s);
}

void
cw_own_change_withdraw(struct shard *s)
{
    s->change.withdraw = true;
    s->change.retry_ns = 0;
}

/* A record was seen, from whatever answer. */
void
cw_own_change_saw(struct shard *s, const struct cw_shard_rec *rec, uint32_t volume_gen)
{
    if (s->state == SHARD_CLOSED || rec->shard != s->rec.shard)
        return;
    if (volume_gen > s->v->gen) {
        cw_own_volume_fence(s->v, "the manager granted a newer generation");
        return;
    }
    if (cw_mutated(CW_MUTATION_RESOLVE_BY_READ) && s->change.state == CHANGE_DOUBT &&
        rec->cfg == s->rec.cfg) {
        s->change.state = CHANGE_IDLE;
        cw_own_shard_adopt(s, rec);
        return;
    }
    if (rec->cfg <= s->rec.cfg)
        return; /* old news resolve nothing */
    if (s->change.state != CHANGE_IDLE && rec->cfg > s->change.cfg)
        s->change.state = CHANGE_IDLE;
    cw_own_shard_adopt(s, rec);
}

static void
change_doubt(struct shard *s)
{
    struct change *ch = &s->change;

    ch->state = CHANGE_DOUBT;
    ch->retry_ns = cw_own_now(s->v->o) +
                   cw_min_u64(DOUBT_MIN_NS << (ch->n_tries < 8 ? ch->n_tries : 8), DOUBT_MAX_NS);
    ch->n_tries++;
}

static void
change_on_done(struct cw_change *call)
{
    struct change *ch = cw_container_of(call, struct change, call);
    struct shard *s = cw_container_of(ch, struct shard, change);
    struct cw_volume *v = s->v;

    ch->call_busy = false;
    if (!v->doomed && s->state != SHARD_CLOSED) {
        if (call->has_rec)
            cw_own_change_saw(s, &call->rec, call->volume_gen);
        if (call->disks != NULL) /* now the disks of new members are known */
            cw_own_volume_locate(v->o, call->disks, call->n_disks);
        if (s->state != SHARD_CLOSED && ch->state == CHANGE_SENT &&
            cw_mutated(CW_MUTATION_REFUSED_IS_NO) && call->res != CW_CALL_OK) {
            ch->state = CHANGE_IDLE;
            cw_own_shard_adopt(s, &s->rec);
        }
        if (s->state != SHARD_CLOSED && ch->state == CHANGE_SENT) {
            change_doubt(s);
            if (call->res == CW_CALL_REFUSED)
                cw_own_gray_refused(s);
            if (call->res == CW_CALL_REFUSED && !call->has_rec)
                cw_own_volume_get(v); /* what stands there now? */
        }
        cw_own_mark_dirty(s);
    }
    cw_own_volume_put(v);
}

/* By what was asked for a copy that serves leaves the set in sync, and none that serves stays. */
static bool
change_leaves_none(const struct shard *s)
{
    bool leaves = false;

    for (uint32_t i = 0; i < s->n_copies; i++) {
        const struct copy *c = s->copies[i];

        if (c->state != CW_MEMBER_INSYNC || c->session != SESSION_OPEN || c->faulty)
            continue;
        if (c->want == CW_MEMBER_INSYNC)
            return false;
        leaves = true;
    }
    return leaves;
}

/* Is what was asked for still wanted? An eject is not when the copy serves again, a promotion is
 * not when the copy has gone; nor is any when others have gone meanwhile. */
static bool
change_still_wanted(const struct shard *s)
{
    uint64_t now = cw_own_now(s->v->o);

    if (s->state == SHARD_ACTIVE && change_leaves_none(s))
        return false;
    for (uint32_t i = 0; i < s->n_copies; i++) {
        const struct copy *c = s->copies[i];

        if (!copy_changes(c))
            continue;
        if (c->want == CW_MEMBER_OUT && s->state == SHARD_ACTIVE && !c->faulty &&
            c->session == SESSION_OPEN && c->state != CW_MEMBER_IN_RESYNC &&
            now - c->opened_ns > DOUBT_MIN_NS)
            return false;
        if ((c->want == CW_MEMBER_INSYNC || c->want == CW_MEMBER_JOURNAL) &&
            (c->session != SESSION_OPEN || c->faulty) && now - c->lost_ns > s->v->o->tun.eject_ns)
            return false;
    }
    return true;
}

void
cw_own_change_tick(struct shard *s)
{
    struct change *ch = &s->change;

    if (ch->state != CHANGE_DOUBT || ch->call_busy || cw_own_now(s->v->o) < ch->retry_ns)
        return;
    if (!ch->withdraw && (!change_still_wanted(s) || ch->call.res == CW_CALL_REFUSED))
        ch->withdraw = true;
    change_send(s, ch->withdraw ? "withdrawn" : ch->call.why);
}
