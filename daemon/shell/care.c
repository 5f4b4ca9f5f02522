/* Caretaking: this daemon owns volumes that no client has attached, for takeover, resync and
 * verify. The owner decides; here are its links, its calls to the manager, and the manager's
 * wishes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "daemon/shell/data-internal.h"

#define REPORT_NS CW_NS_PER_S

static struct cw_care *
care_find(struct cw_data *d, uint64_t volume)
{
    CW_LIST_EACH (it, &d->cares) {
        struct cw_care *c = cw_list_entry(it, struct cw_care, link);

        if (c->id == volume)
            return c;
    }
    return NULL;
}

/* Ends every question of that kind that waits for this volume. */
static void
care_answer(struct cw_care *c, enum cw_data_ask_kind kind, int res)
{
    CW_LIST_EACH_SAFE (it, &c->waiting) {
        struct cw_data_ask *a = cw_list_entry(it, struct cw_data_ask, link);

        if (a->kind != kind)
            continue;
        cw_list_remove(&a->link);
        cw_data_ask_done(a, res);
    }
}

/* After its last callback; a verify that runs is told first. */
static void
care_free(struct cw_care *c)
{
    if (c->verifying)
        return; /* its end comes and tries again */
    care_answer(c, CW_DATA_LET_GO, 0);
    care_answer(c, CW_DATA_RESIZED, -ENOENT);
    cw_list_remove(&c->link);
    cw_volume_free(c->v);
    free(c);
}

/* ---- what volumes tell ---- */

static void
care_end(struct cw_care *c)
{
    c->over = true;
    if (c->verifying)
        cw_verify_cancel(&c->verify);
    care_free(c);
}

static void
care_on_ready(struct cw_volume *v, void *user)
{
    struct cw_care *c = user;

    cw_log(c->d->env, CW_LOG_INFO, "volume %llu: in care here, gen %u", (unsigned long long)c->id,
           cw_volume_gen(v));
}

static void
care_on_open_failed(struct cw_volume *v, void *user, int res, const char *text)
{
    struct cw_care *c = user;

    cw_log(c->d->env, CW_LOG_NOTICE, "volume %llu: cannot be taken into care: %s",
           (unsigned long long)c->id, text);
    care_end(c);
}

static void
care_on_fenced(struct cw_volume *v, void *user)
{
    struct cw_care *c = user;

    cw_log(c->d->env, CW_LOG_INFO, "volume %llu: out of care, somebody attached it",
           (unsigned long long)c->id);
    if (!c->releasing) /* else on_released comes all the same */
        care_end(c);
}

static void
care_on_released(struct cw_volume *v, void *user, bool clean)
{
    care_end(user);
}

static void
care_on_resized(struct cw_volume *v, void *user, uint64_t size_bytes)
{
    care_answer(user, CW_DATA_RESIZED, 0);
}

static const struct cw_volume_events care_events = {
    .on_ready = care_on_ready,
    .on_open_failed = care_on_open_failed,
    .on_fenced = care_on_fenced,
    .on_released = care_on_released,
    .on_resized = care_on_resized,
};

/* ---- links ---- */

static void
care_on_dialled(struct cw_dial *dial, int res, struct cw_link *l, const struct cw_wire_hello *reply)
{
    struct cw_data *d = dial->user;

    cw_list_remove(&dial->link);
    if (res != 0) {
        cw_owner_on_connect_failed(d->owner, &dial->disk_uuid, dial->format_id, res);
        return;
    }
    cw_owner_on_link_up(d->owner, &dial->disk_uuid, dial->format_id, l);
    cw_owner_link_credit(d->owner, l, reply->credit_ops, reply->credit_bytes);
}

static void
care_connect(void *world, const struct cw_disk_location *to)
{
    struct cw_data *d = world;
    bool here = cw_uuid_equal(&to->at.boot_id, &d->opts.boot_id);
    struct cw_dial *dial =
        cw_dial_new(d->r, &(struct cw_dial_to){ .addr = to->addr,
                                                .unix_path = here ? to->unix_path : "",
                                                .disk_uuid = to->disk_uuid,
                                                .format_id = to->format_id,
                                                .cluster_id = d->cluster_id,
                                                .self_id = d->opts.daemon_id,
                                                .incarnation = d->opts.incarnation });

    dial->done = care_on_dialled;
    dial->user = d;
    cw_data_dial(d, dial);
}

/* ---- calls to the manager ---- */

static void
call_on_control(struct cw_hop *h)
{
    struct cw_data_call *c = cw_container_of(h, struct cw_data_call, hop);

    c->d->opts.ev->on_call(c->d->opts.user, c);
}

static void
care_call(struct cw_data *d, struct cw_data_call what)
{
    struct cw_data_call *c = malloc(sizeof(*c));

    cw_assert(c != NULL);
    *c = what;
    c->d = d;
    cw_hop_to_control(&d->bridge, &c->hop, call_on_control);
}

static void
care_change(void *world, struct cw_change *change)
{
    care_call(world, (struct cw_data_call){ .change = change });
}

static void
care_get_volume(void *world, struct cw_volume_get *get)
{
    care_call(world, (struct cw_data_call){ .get = get });
}

static void
care_release(void *world, struct cw_volume_give_up *release)
{
    care_call(world, (struct cw_data_call){ .release = release });
}

static const struct cw_owner_ops owner_ops = {
    .connect = care_connect,
    .change = care_change,
    .get_volume = care_get_volume,
    .release = care_release,
};

static void
data_on_answer(struct cw_hop *h)
{
    struct cw_data_call *c = cw_container_of(h, struct cw_data_call, hop);

    if (c->d->owner == NULL)
        ; /* freed, and with it what asked */
    else if (c->change != NULL)
        c->change->done(c->change);
    else if (c->get != NULL)
        c->get->done(c->get);
    else
        c->release->done(c->release);
    free(c->storage);
    free(c);
}

void
cw_data_call_answered(struct cw_data *d, struct cw_data_call *c)
{
    cw_hop_to_data(&d->bridge, &c->hop, data_on_answer);
}

/* ---- reports ---- */

struct report {
    struct cw_hop hop;
    struct cw_data *d;
    struct cw_volume_report volume;
    struct cw_shard_report shards[];
};

static void
report_on_control(struct cw_hop *h)
{
    struct report *rep = cw_container_of(h, struct report, hop);

    rep->d->opts.ev->on_report(rep->d->opts.user, &rep->volume, rep->shards);
    free(rep);
}

static void
care_report(struct cw_care *c)
{
    struct cw_volume_report vr;
    struct report *rep;

    cw_volume_report(c->v, &vr);
    rep = malloc(sizeof(*rep) + vr.n_shards * sizeof(rep->shards[0]));
    if (rep == NULL)
        return;
    *rep = (struct report){ .d = c->d, .volume = vr };
    for (uint32_t i = 0; i < vr.n_shards; i++)
        cw_volume_report_shard(c->v, i, &rep->shards[i]);
    cw_hop_to_control(&c->d->bridge, &rep->hop, report_on_control);
}

static void
cares_on_report(struct cw_timer *t)
{
    struct cw_data *d = cw_container_of(t, struct cw_data, report_timer);

    cw_timer_set(d->env, t, cw_now_ns(d->env) + REPORT_NS);
    CW_LIST_EACH (it, &d->cares) {
        struct cw_care *c = cw_list_entry(it, struct cw_care, link);

        if (!c->over)
            care_report(c);
    }
}

struct verify_report {
    struct cw_hop hop;
    struct cw_data *d;
    uint64_t volume;
    struct cw_verify verify;
};

static void
verify_on_control(struct cw_hop *h)
{
    struct verify_report *rep = cw_container_of(h, struct verify_report, hop);

    rep->d->opts.ev->on_verify(rep->d->opts.user, rep->volume, &rep->verify);
    free(rep);
}

static void
care_on_verify(struct cw_verify *j)
{
    struct cw_care *c = cw_container_of(j, struct cw_care, verify);
    struct verify_report *rep = malloc(sizeof(*rep));

    cw_assert(rep != NULL); /* a lost end would leave the job running for ever */
    *rep = (struct verify_report){ .d = c->d, .volume = c->id, .verify = *j };
    cw_hop_to_control(&c->d->bridge, &rep->hop, verify_on_control);
    if (!j->finished)
        return;
    c->verifying = false;
    if (c->over)
        care_free(c);
}

/* ---- the manager's wishes ---- */

static void
care_begin(struct cw_data *d, struct cw_data_ask *a)
{
    struct cw_volume_opts opts = { .ev = &care_events, .caretaker = true };
    struct cw_care *c = calloc(1, sizeof(*c));

    cw_assert(c != NULL);
    *c = (struct cw_care){ .d = d, .id = a->desc->id };
    cw_list_init(&c->waiting);
    opts.user = c;
    c->v = cw_volume_open(d->owner, a->desc, &opts);
    if (c->v == NULL) {
        free(c);
        cw_data_ask_done(a, -EINVAL);
        return;
    }
    cw_list_push_back(&d->cares, &c->link);
    cw_data_ask_done(a, 0);
}

static void
care_release_now(struct cw_care *c)
{
    if (c->releasing || c->over)
        return;
    c->releasing = true;
    cw_volume_release(c->v);
}

static void
care_verify(struct cw_care *c, struct cw_data_ask *a)
{
    int res = 0;

    if (a->cancel) {
        if (c->verifying && c->verify.job == a->job)
            cw_verify_cancel(&c->verify);
    } else if (c->verifying) {
        res = -EBUSY;
    } else {
        c->verify = (struct cw_verify){ .job = a->job, .on_progress = care_on_verify };
        res = cw_verify_start(c->v, &c->verify);
        c->verifying = res == 0;
    }
    cw_data_ask_done(a, res);
}

static void
care_resize(struct cw_care *c, struct cw_data_ask *a)
{
    int res = cw_volume_resize(c->v, a->size_bytes, a->recs, a->n_recs, a->disks, a->n_disks);

    if (res != 0)
        cw_data_ask_done(a, res);
    else
        cw_list_push_back(&c->waiting, &a->link);
}

static void
care_evict(struct cw_care *c, struct cw_data_ask *a)
{
    cw_data_ask_done(a, cw_volume_evict(c->v, a->shards[0], &a->disk_uuid));
}

static void
cares_hint(struct cw_data *d, struct cw_data_ask *a)
{
    struct cw_care *c = a->volume != 0 ? care_find(d, a->volume) : NULL;

    if (a->n_disks > 0)
        cw_owner_hint_locations(d->owner, a->disks, a->n_disks);
    if (a->host[0] != '\0')
        cw_owner_hint_host(d->owner, a->host, a->up);
    if (c != NULL && !c->over)
        cw_volume_reread(c->v);
    cw_data_ask_done(a, 0);
}

static void
care_ask(struct cw_care *c, struct cw_data_ask *a)
{
    switch (a->kind) {
    case CW_DATA_LET_GO:
        cw_list_push_back(&c->waiting, &a->link);
        care_release_now(c);
        break;
    case CW_DATA_VERIFY:
        care_verify(c, a);
        break;
    case CW_DATA_RESIZED:
        care_resize(c, a);
        break;
    case CW_DATA_EVICT:
        care_evict(c, a);
        break;
    case CW_DATA_OWNER_SEEN:
    case CW_DATA_DROP:
    case CW_DATA_SCRUB:
    case CW_DATA_HINT:
    case CW_DATA_CARETAKE:
        cw_unreachable();
    }
}

void
cw_cares_ask(struct cw_data *d, struct cw_data_ask *a)
{
    struct cw_care *c = NULL;

    if (a->kind == CW_DATA_HINT) {
        cares_hint(d, a);
        return;
    }
    c = care_find(d, a->kind == CW_DATA_CARETAKE ? a->desc->id : a->volume);
    if (a->kind == CW_DATA_CARETAKE && c == NULL)
        care_begin(d, a);
    else if (a->kind == CW_DATA_CARETAKE)
        cw_data_ask_done(a, -EBUSY);
    else if (c == NULL || c->over)
        cw_data_ask_done(a, -ENOENT);
    else
        care_ask(c, a);
}

/* ---- life ---- */

static void
cares_on_wake(struct cw_defer *w)
{
    /* The turn it makes runs the owner again. */
}

bool
cw_cares_init(struct cw_data *d)
{
    struct cw_owner_opts opts = {
        .env = d->env,
        .pool = cw_reactor_pool(d->r),
        .client_id = d->opts.daemon_id,
        .ops = &owner_ops,
        .world = d,
        .tuning.retain_bytes = d->memory.retain_bytes,
        .link_bytes_max = cw_data_link_bytes(d),
    };
    const struct cw_options *o = d->opts.options;

    opts.self.boot_id = d->opts.boot_id;
    snprintf(opts.self.site, sizeof(opts.self.site), "%s", o->site);
    snprintf(opts.self.rack, sizeof(opts.self.rack), "%s", o->rack);
    snprintf(opts.self.host, sizeof(opts.self.host), "%s", o->host);
    d->owner = cw_owner_new(&opts);
    d->wake.fn = cares_on_wake;
    d->report_timer.fn = cares_on_report;
    cw_timer_set(d->env, &d->report_timer, cw_now_ns(d->env) + REPORT_NS);
    return d->owner != NULL;
}

void
cw_cares_turn_end(struct cw_data *d)
{
    if (d->owner == NULL)
        return;
    cw_owner_turn_end(d->owner);
    if (cw_owner_pending(d->owner))
        cw_reactor_defer(d->r, &d->wake);
}

void
cw_cares_release_all(struct cw_data *d)
{
    CW_LIST_EACH (it, &d->cares) {
        struct cw_care *c = cw_list_entry(it, struct cw_care, link);

        if (c->verifying)
            cw_verify_cancel(&c->verify);
        care_release_now(c);
    }
}

bool
cw_cares_empty(const struct cw_data *d)
{
    return cw_list_empty(&d->cares);
}

void
cw_cares_fini(struct cw_data *d)
{
    struct cw_list *node;

    cw_timer_cancel(d->env, &d->report_timer);
    cw_timer_cancel(d->env, &d->release_timer);
    cw_reactor_defer_cancel(d->r, &d->wake);
    cw_owner_free(d->owner);
    d->owner = NULL;
    while ((node = cw_list_pop_front(&d->cares)) != NULL) {
        struct cw_care *c = cw_list_entry(node, struct cw_care, link);

        care_answer(c, CW_DATA_LET_GO, -ESHUTDOWN);
        care_answer(c, CW_DATA_RESIZED, -ESHUTDOWN);
        free(c);
    }
}
