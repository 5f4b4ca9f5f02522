/* manager/handover.c - when may the owner of a volume be asked to hand it over?
 *
 *   closed --HANDOVER_ALLOW--> open --the next generation, time, HANDOVER_CANCEL--> closed
 *
 * While it is open an attach with intent TAKE asks the owner to let go (attach.c), one with intent
 * STANDBY is told the records, and what the owner reads is passed on: a few small reads at a time,
 * for whoever looks at a volume before it takes it. The window lives in memory: it gives nobody a
 * volume, it only lets somebody ask. A manager that fails over forgets it; whoever needs it allows
 * it again.
 */
#include <string.h>

#include "common/base/bits.h"
#include "daemon/manager/internal.h"

#define ALLOW_S 600u
#define ALLOW_MAX_S 3600u
#define READ_MS 4000u
#define READS_MAX 8u /* of one volume: data has no business here beyond that */

bool
cw_mgr_handover_open(const struct cw_manager *m, const struct mgr_volume *v)
{
    return v->handover.until_ns > cw_now_ns(m->env) && v->handover.gen == v->o.rec.volume.gen;
}

static struct mgr_volume *
call_volume(struct cw_manager *m, struct cw_mgr_call *call)
{
    const char *name = call->req.handover_allow.volume;
    struct mgr_volume *v = cw_mgr_find_volume_named(&m->t, name);

    if (v == NULL)
        cw_mgr_fail(call, CW_MGR_NOT_FOUND, name, "there is no volume %.63s", name);
    return v;
}

static void
allow(struct cw_manager *m, struct cw_mgr_call *call, struct mgr_volume *v)
{
    const struct cw_volume_rec *r = &v->o.rec.volume;
    uint64_t s = call->req.handover_allow.seconds;

    if (s > ALLOW_MAX_S) {
        cw_mgr_fail(call, CW_MGR_BAD_REQUEST, r->name, "volume %s: at most %u seconds", r->name,
                    ALLOW_MAX_S);
        return;
    }
    if (r->hold != CW_HOLD_OWNED || r->caretaker) {
        cw_mgr_fail(call, CW_MGR_CONFLICT, r->name, "volume %s is not attached by a client",
                    r->name);
        cw_mgr_error_hint(&call->error, "attach it: nobody needs to hand it over");
        return;
    }
    s = s != 0 ? s : ALLOW_S;
    if (call->dry_run)
        return;
    v->handover =
        (struct mgr_handover){ .gen = r->gen, .until_ns = cw_now_ns(m->env) + s * CW_NS_PER_S };
    cw_mgr_event(m, "HANDOVER_ALLOWED", r->name, "gen %u of %s on %s, for %llu s", r->gen,
                 r->owner_name, r->owner_host, (unsigned long long)s);
}

void
cw_mgr_call_handover_allow(struct cw_manager *m, struct cw_mgr_call *call)
{
    struct mgr_volume *v = call_volume(m, call);

    if (v != NULL)
        allow(m, call, v);
    cw_mgr_done(call);
}

/* An owner that was asked already goes on letting go. */
void
cw_mgr_call_handover_cancel(struct cw_manager *m, struct cw_mgr_call *call)
{
    struct mgr_volume *v = call_volume(m, call);

    if (v != NULL && !call->dry_run && cw_mgr_handover_open(m, v))
        cw_mgr_event(m, "HANDOVER_CANCELLED", v->o.rec.volume.name, "gen %u", v->o.rec.volume.gen);
    if (v != NULL && !call->dry_run)
        v->handover = (struct mgr_handover){ 0 };
    cw_mgr_done(call);
}

/* ---- what the owner reads ---- */

static void
read_answered(struct cw_manager *m, struct mgr_ask *a, const struct cw_mgr_answer *answer)
{
    struct cw_mgr_call *call = a->call;
    struct mgr_volume *v = cw_mgr_find_volume(&m->t, a->ask.volume_id);
    uint8_t *data;

    if (v != NULL && v->n_owner_reads > 0)
        v->n_owner_reads--;
    if (answer->code != CW_MGR_OK) {
        cw_mgr_fail(call, answer->code, "", "its owner does not read it: %s", answer->message);
    } else if (answer->n_data != 0 && answer->n_data != a->ask.total_bytes) {
        cw_mgr_fail(call, CW_MGR_INTERNAL, "", "its owner read %zu bytes, not %llu", answer->n_data,
                    (unsigned long long)a->ask.total_bytes);
    } else if (answer->n_data > 0) {
        data = cw_mgr_arena_get(cw_mgr_reply_arena(call), answer->n_data, 1);
        memcpy(data, answer->data, answer->n_data);
        call->reply.owner_data = (struct cw_mgr_owner_data){ data, answer->n_data };
    }
    cw_mgr_done(call);
}

static void
owner_read(struct cw_mgr_session *owner, struct mgr_volume *v, struct cw_mgr_call *call)
{
    const struct cw_mgr_owner_read *q = &call->req.owner_read;
    struct mgr_ask *a = cw_mgr_ask_new(CW_MGR_ASK_READ, READ_MS);

    v->n_owner_reads++;
    a->ask.volume_id = q->volume_id;
    a->ask.gen = v->o.rec.volume.gen;
    a->ask.offset = q->offset;
    a->ask.total_bytes = q->length;
    a->call = call;
    a->done = read_answered;
    cw_mgr_ask_send(owner, a);
}

void
cw_mgr_call_owner_read(struct cw_manager *m, struct cw_mgr_call *call)
{
    const struct cw_mgr_owner_read *q = &call->req.owner_read;
    struct mgr_volume *v = cw_mgr_find_volume(&m->t, q->volume_id);
    struct cw_mgr_session *owner = v != NULL ? cw_mgr_owner_session(m, v) : NULL;
    const struct cw_volume_rec *r = v != NULL ? &v->o.rec.volume : NULL;

    if (r == NULL || r->purge_at_s != 0) {
        cw_mgr_fail(call, CW_MGR_NOT_FOUND, "", "there is no volume %llu",
                    (unsigned long long)q->volume_id);
    } else if (q->length == 0 || q->length > CW_MGR_OWNER_READ_MAX || q->offset > r->size_bytes ||
               q->length > r->size_bytes - q->offset) {
        cw_mgr_fail(call, CW_MGR_BAD_REQUEST, r->name, "volume %s: %u bytes at %llu", r->name,
                    q->length, (unsigned long long)q->offset);
    } else if (r->hold != CW_HOLD_OWNED) {
        cw_mgr_fail(call, CW_MGR_CONFLICT, r->name, "volume %s is not attached", r->name);
    } else if (!cw_mgr_handover_open(m, v)) {
        cw_mgr_fail(call, CW_MGR_CONFLICT, r->name, "volume %s is not to be handed over", r->name);
        cw_mgr_error_hint(&call->error, "allow the hand-over: causeway volume migrate %s --allow",
                          r->name);
    } else if (owner == NULL) {
        cw_mgr_fail(call, CW_MGR_UNAVAILABLE, r->name, "volume %s: its owner is not here", r->name);
    } else if (v->n_owner_reads >= READS_MAX) {
        cw_mgr_fail(call, CW_MGR_BUSY, r->name, "volume %s: %u reads are under way", r->name,
                    READS_MAX);
    } else {
        owner_read(owner, v, call);
        return;
    }
    cw_mgr_done(call);
}
