/* manager/handover.c - when may the owner of a volume be asked to hand it over?
 *
 *   closed --HANDOVER_ALLOW--> open --the next generation, time, HANDOVER_CANCEL--> closed
 *
 * While it is open an attach with intent TAKE asks the owner to let go (attach.c), and one with
 * intent STANDBY is told the records. The window lives in memory: it gives nobody a volume, it only
 * lets somebody ask. A manager that fails over forgets it; whoever needs it allows it again.
 */
#include "daemon/manager/internal.h"

#define ALLOW_S 60u
#define ALLOW_MAX_S 3600u

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

    if (v != NULL && cw_mgr_handover_open(m, v))
        cw_mgr_event(m, "HANDOVER_CANCELLED", v->o.rec.volume.name, "gen %u", v->o.rec.volume.gen);
    if (v != NULL)
        v->handover = (struct mgr_handover){ 0 };
    cw_mgr_done(call);
}
