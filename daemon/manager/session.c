/* manager/session.c - connections, and what is asked of the other end. */
#include <stdlib.h>
#include <string.h>

#include "daemon/manager/internal.h"

struct cw_mgr_session *
cw_manager_session_up(struct cw_manager *m, void *user)
{
    struct cw_mgr_session *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    s->m = m;
    s->user = user;
    s->heard_ns = cw_now_ns(m->env);
    cw_list_init(&s->asks);
    cw_list_push_front(&m->sessions, &s->link);
    return s;
}

void
cw_manager_session_alive(struct cw_manager *m, struct cw_mgr_session *s)
{
    s->heard_ns = cw_now_ns(m->env);
    if (s->host != NULL)
        s->host->ok_ns = s->heard_ns;
}

static void
calls_leave(struct cw_list *calls, struct cw_mgr_session *s)
{
    CW_LIST_EACH (it, calls) {
        struct cw_mgr_call *call = cw_list_entry(it, struct cw_mgr_call, open_link);

        if (call->session == s)
            call->session = NULL;
    }
}

static void
ask_free(struct mgr_ask *a)
{
    cw_list_remove(&a->link);
    cw_mgr_arena_free(a->arena);
    free(a);
}

static void
asks_fail(struct cw_manager *m, struct cw_mgr_session *s)
{
    struct cw_mgr_answer answer = { .code = CW_MGR_UNAVAILABLE, .message = "the connection broke" };

    while (!cw_list_empty(&s->asks)) {
        struct mgr_ask *a = cw_list_first(&s->asks, struct mgr_ask, link);

        a->done(m, a, &answer);
        ask_free(a);
    }
}

void
cw_manager_session_down(struct cw_manager *m, struct cw_mgr_session *s)
{
    cw_list_remove(&s->link);
    calls_leave(&m->calls_open, s);
    if (s->host != NULL)
        cw_mgr_host_gone(m, s->host);
    asks_fail(m, s);
    cw_mgr_backup_session_down(m, s);
    free(s);
}

struct cw_mgr_session *
cw_mgr_find_session(const struct cw_manager *m, const struct cw_uuid *id)
{
    if (cw_uuid_is_nil(id))
        return NULL;
    CW_LIST_EACH (it, &m->sessions) {
        struct cw_mgr_session *s = cw_list_entry(it, struct cw_mgr_session, link);

        if (cw_uuid_equal(&s->id, id))
            return s;
    }
    return NULL;
}

/* ---- asks ---- */

struct mgr_ask *
cw_mgr_ask_new(enum cw_mgr_ask_kind kind, uint32_t timeout_ms)
{
    struct mgr_ask *a = calloc(1, sizeof(*a));

    cw_assert(a != NULL);
    a->ask.kind = kind;
    a->ask.timeout_ms = timeout_ms;
    a->ask.name = "";
    a->arena = cw_mgr_arena_new();
    cw_list_init(&a->link);
    cw_list_init(&a->ask.link);
    return a;
}

void
cw_mgr_ask_send(struct cw_mgr_session *s, struct mgr_ask *a)
{
    struct cw_manager *m = s->m;

    a->session = s;
    cw_list_push_back(&s->asks, &a->link);
    m->opts.ops->ask(m->opts.world, s->user, &a->ask);
}

void
cw_manager_answered(struct cw_manager *m, struct cw_mgr_ask *ask,
                    const struct cw_mgr_answer *answer)
{
    struct mgr_ask *a = cw_container_of(ask, struct mgr_ask, ask);

    a->done(m, a, answer);
    ask_free(a);
}

/* ---- hints ---- */

static bool
volume_on_host(const struct cw_manager *m, const struct mgr_volume *v, const char *host)
{
    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);

        for (uint32_t k = 0; s != NULL && k < s->o.rec.shard.n_members; k++) {
            const struct mgr_disk *d = cw_mgr_find_copy_disk(&m->t, &s->o.rec.shard.members[k]);

            if (d != NULL && strcmp(d->o.rec.disk.host, host) == 0)
                return true;
        }
    }
    return false;
}

static bool
session_wants_host(const struct cw_manager *m, const struct cw_mgr_session *s, const char *host)
{
    if (cw_uuid_is_nil(&s->id))
        return false;
    MGR_EACH(&m->t, CW_REC_VOLUME, struct mgr_volume, v)
    {
        if (v->o.rec.volume.hold == CW_HOLD_OWNED &&
            cw_uuid_equal(&v->o.rec.volume.owner_id, &s->id) && volume_on_host(m, v, host))
            return true;
    }
    return false;
}

void
cw_mgr_hint_host(struct cw_manager *m, const struct mgr_host *h, bool up)
{
    struct cw_mgr_arena *a = cw_mgr_arena_new();
    struct cw_mgr_location *at = cw_mgr_arena_get(a, m->t.of[CW_REC_DISK].n + 1, sizeof(*at));
    struct cw_mgr_hint hint = { .host = h->o.rec.host.name, .up = up, .disks = at };

    MGR_EACH(&m->t, CW_REC_DISK, struct mgr_disk, d)
    {
        const struct cw_disk_rec *r = &d->o.rec.disk;

        if (strcmp(r->host, hint.host) == 0)
            cw_mgr_location_fill(m, &r->uuid, r->format_id, &at[hint.n_disks++]);
    }
    CW_LIST_EACH (it, &m->sessions) {
        struct cw_mgr_session *s = cw_list_entry(it, struct cw_mgr_session, link);

        if (session_wants_host(m, s, hint.host))
            m->opts.ops->hint(m->opts.world, s->user, &hint);
    }
    cw_mgr_arena_free(a);
}

void
cw_mgr_hint_volume(struct cw_manager *m, const struct mgr_volume *v)
{
    struct cw_mgr_session *s = cw_mgr_owner_session(m, v);
    struct cw_mgr_hint hint = { .host = "", .volume_id = v->o.rec.volume.id };

    if (s != NULL)
        m->opts.ops->hint(m->opts.world, s->user, &hint);
}

void
cw_mgr_hint_fenced(struct cw_manager *m, const struct cw_uuid *owner, uint64_t volume_id)
{
    struct cw_mgr_session *s = !cw_uuid_is_nil(owner) ? cw_mgr_find_session(m, owner) : NULL;
    struct cw_mgr_hint hint = { .host = "", .volume_id = volume_id };

    if (s != NULL)
        m->opts.ops->hint(m->opts.world, s->user, &hint);
}

void
cw_mgr_hint_owners(struct cw_manager *m, const struct cw_mgr_session *s)
{
    MGR_EACH(&m->t, CW_REC_VOLUME, struct mgr_volume, v)
    {
        const struct cw_volume_rec *r = &v->o.rec.volume;

        if (r->hold == CW_HOLD_OWNED && (s == NULL || cw_uuid_equal(&r->owner_id, &s->id)))
            cw_mgr_hint_volume(m, v);
    }
}

/* ---- clients ---- */

/* A daemon on the same machine, one that serves if there is one. */
static const struct mgr_host *
host_of_machine(const struct cw_manager *m, const struct cw_uuid *boot_id)
{
    const struct mgr_host *found = NULL;

    if (cw_uuid_is_nil(boot_id))
        return NULL;
    MGR_EACH(&m->t, CW_REC_HOST, struct mgr_host, h)
    {
        if (!cw_uuid_equal(&h->o.rec.host.boot_id, boot_id))
            continue;
        if (cw_mgr_host_serves(m, h))
            return h;
        if (found == NULL)
            found = h;
    }
    return found;
}

/* Those that serve before those that do not. */
const char *const *
cw_mgr_managers(const struct cw_manager *m, struct cw_mgr_arena *a, size_t *ret_n)
{
    const char **list;
    size_t n = 0;

    *ret_n = m->opts.n_managers;
    if (!m->opts.any_host)
        return m->opts.managers;
    list = cw_mgr_arena_get(a, MGR_MANAGERS_MAX, sizeof(*list));
    list[n++] = m->opts.manager_name;
    for (int serves = 1; serves >= 0; serves--) {
        MGR_EACH(&m->t, CW_REC_HOST, struct mgr_host, h)
        {
            const char *addr = h->o.rec.host.advertise;

            if (n < MGR_MANAGERS_MAX && cw_mgr_host_serves(m, h) == (serves == 1) &&
                strcmp(addr, m->opts.manager_name) != 0)
                list[n++] = cw_mgr_arena_text(a, addr);
        }
    }
    *ret_n = n;
    return list;
}

static void
hello_domain(const struct cw_manager *m, const struct cw_mgr_client_hello *h,
             struct cw_mgr_domain *ret)
{
    const struct mgr_host *host = host_of_machine(m, &h->boot_id);
    const struct cw_host_rec *r = host != NULL ? &host->o.rec.host : NULL;

    *ret = h->domain;
    if (ret->site[0] == '\0' && r != NULL)
        *ret = (struct cw_mgr_domain){ r->region, r->site, r->rack, r->name };
}

void
cw_mgr_call_client_hello(struct cw_manager *m, struct cw_mgr_call *call)
{
    const struct cw_mgr_client_hello *h = &call->req.client_hello;
    struct cw_mgr_client_hello_reply *r = &call->reply.client_hello;
    struct cw_mgr_session *s = call->session;

    if (s == NULL || s->kind == MGR_SESSION_DAEMON || cw_uuid_is_nil(&h->client_id)) {
        cw_mgr_fail(call, CW_MGR_BAD_REQUEST, h->name,
                    "a hello without a client id, or of a daemon");
        cw_mgr_done(call);
        return;
    }
    s->kind = MGR_SESSION_CLIENT;
    s->id = h->client_id;
    cw_mgr_text_clip(s->name, sizeof(s->name), h->name);
    cw_mgr_text_clip(s->machine, sizeof(s->machine), h->host);
    r->cluster_id = cw_mgr_cluster(m)->cluster_id;
    hello_domain(m, h, &r->domain);
    r->managers = cw_mgr_managers(m, cw_mgr_reply_arena(call), &r->n_managers);
    cw_mgr_done(call);
    cw_mgr_hint_owners(m, s);
}
