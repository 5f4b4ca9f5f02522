#include "tests/unit/manager/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/lib/cw-test.h"

static const struct cw_mgr_domain nowhere = { "", "", "", "" };

/* ---- the manager's world ---- */

static struct wdaemon *
daemon_of(struct world *w, void *user)
{
    for (int i = 0; i < WORLD_DAEMONS; i++) {
        if (user == &w->d[i])
            return &w->d[i];
    }
    return NULL;
}

static void
world_hint(void *world, void *user, const struct cw_mgr_hint *h)
{
    struct wclient *c = user;

    if (daemon_of(world, user) != NULL)
        return;
    c->n_hints_up += h->host[0] != '\0' && h->up;
    c->n_hints_down += h->host[0] != '\0' && !h->up;
    c->n_rereads += h->volume_id != 0;
    c->n_crowded = 0;
    for (size_t i = 0; i < h->n_disks; i++)
        c->n_crowded += h->disks[i].crowded;
}

static void
world_hang_up(void *world, void *user)
{
    (void)user;
    ((struct world *)world)->hung_up++;
}

static uint64_t
world_wall(void *world)
{
    struct world *w = world;

    return w->wall_s + w->env.now_ns / CW_NS_PER_S;
}

static void
world_started(void *world, const char *why_not)
{
    struct world *w = world;

    w->started = true;
    snprintf(w->why_not, sizeof(w->why_not), "%s", why_not != NULL ? why_not : "");
}

static void
answer(struct world *w, struct cw_mgr_ask *ask, bool seen, uint64_t silent_ms)
{
    struct cw_mgr_answer a = {
        .code = CW_MGR_OK, .message = "", .seen = seen, .silent_ms = silent_ms
    };

    cw_manager_answered(w->m, ask, &a);
}

static void
care_released(struct cw_mgr_call *call)
{
    struct wdaemon *d = cw_container_of(call, struct wdaemon, care_call);
    struct cw_mgr_ask *ask = d->let_go;

    d->care_volume = 0;
    d->let_go = NULL;
    if (ask != NULL)
        answer(d->w, ask, false, 0);
}

static void
care_attached(struct cw_mgr_call *call)
{
    struct wdaemon *d = cw_container_of(call, struct wdaemon, care_call);

    if (call->error.code != CW_MGR_OK)
        return;
    d->care_volume = call->reply.attach.spec.id;
    d->care_gen = call->reply.attach.gen;
}

static void
daemon_caretake(struct wdaemon *d, struct cw_mgr_ask *ask)
{
    d->n_caretakes++;
    if (d->willing && d->session != NULL) {
        d->care_call = (struct cw_mgr_call){
            .kind = CW_MGR_ATTACH,
            .req.attach = { .volume = "", .volume_id = ask->volume_id, .caretaker = true },
            .done = care_attached,
        };
        cw_manager_call(d->w->m, d->session, &d->care_call);
    }
    answer(d->w, ask, false, 0);
}

static void
daemon_let_go(struct wdaemon *d, struct cw_mgr_ask *ask)
{
    d->n_let_go++;
    if (d->care_volume != ask->volume_id || d->let_go != NULL) {
        answer(d->w, ask, false, 0);
        return;
    }
    d->let_go = ask;
    d->care_call = (struct cw_mgr_call){
        .kind = CW_MGR_RELEASE,
        .req.release = { .volume_id = ask->volume_id, .gen = d->care_gen },
        .done = care_released,
    };
    cw_manager_call(d->w->m, d->session, &d->care_call);
}

static void
daemon_keep(struct wdaemon *d, struct cw_mgr_ask *ask)
{
    struct cw_mgr_answer no = { .code = CW_MGR_INTERNAL, .message = "its disk is full" };

    if (d->keeps_none) {
        cw_manager_answered(d->w->m, ask, &no);
        return;
    }
    if (ask->offset == 0)
        d->kept_len = 0;
    assert_int_equal(ask->offset, d->kept_len);
    assert_true(ask->n_data > 0 && ask->offset + ask->n_data <= ask->total_bytes);
    d->kept = realloc(d->kept, ask->total_bytes);
    assert_non_null(d->kept);
    memcpy(d->kept + ask->offset, ask->data, ask->n_data);
    d->kept_len += ask->n_data;
    d->n_parts++;
    d->n_kept += d->kept_len == ask->total_bytes;
    answer(d->w, ask, false, 0);
}

static void
daemon_asked(struct wdaemon *d, struct cw_mgr_ask *ask)
{
    switch (ask->kind) {
    case CW_MGR_ASK_OWNER_SEEN:
        d->n_seen_asked++;
        answer(d->w, ask, d->seen, d->silent_ms);
        return;
    case CW_MGR_ASK_DROP_SHARDS:
        d->n_dropped += (uint32_t)ask->n_shards;
        answer(d->w, ask, false, 0);
        return;
    case CW_MGR_ASK_CARETAKE:
        daemon_caretake(d, ask);
        return;
    case CW_MGR_ASK_LET_GO:
        daemon_let_go(d, ask);
        return;
    case CW_MGR_ASK_VERIFY_RUN:
        d->n_verify++;
        answer(d->w, ask, false, 0);
        return;
    case CW_MGR_ASK_SCRUB_RUN:
        d->n_scrubs++;
        answer(d->w, ask, false, 0);
        return;
    case CW_MGR_ASK_RESIZED:
    case CW_MGR_ASK_KEEP:
        daemon_keep(d, ask);
        return;
    case CW_MGR_ASK_EVICT:
    case CW_MGR_ASK_READ:
        answer(d->w, ask, false, 0);
        return;
    }
}

static void
client_released(struct cw_mgr_call *call)
{
    struct wclient *c = cw_container_of(call, struct wclient, release);

    for (size_t i = 0; i < CW_LEN(c->letting); i++) {
        struct cw_mgr_ask *ask = c->letting[i];

        c->letting[i] = NULL;
        if (ask != NULL)
            answer(c->w, ask, false, 0);
    }
}

static void
client_lets_go(struct wclient *c, struct cw_mgr_ask *ask)
{
    if (c->letting[0] != NULL) {
        assert_null(c->letting[1]);
        c->letting[1] = ask;
        return;
    }
    c->letting[0] = ask;
    c->release = (struct cw_mgr_call){ .kind = CW_MGR_RELEASE,
                                       .req.release = { ask->volume_id, ask->gen },
                                       .done = client_released };
    cw_manager_call(c->w->m, c->session, &c->release);
}

static void
client_let_go(struct wclient *c, struct cw_mgr_ask *ask)
{
    struct cw_mgr_answer kept = { .code = CW_MGR_BUSY, .message = "kept" };
    struct cw_mgr_answer none = { .code = CW_MGR_NOT_FOUND, .message = "not held" };

    c->n_let_go++;
    switch (c->let_go) {
    case LETS_GO:
        client_lets_go(c, ask);
        return;
    case KEEPS:
        cw_manager_answered(c->w->m, ask, &kept);
        return;
    case HOLDS_NOTHING:
        cw_manager_answered(c->w->m, ask, &none);
        return;
    case IS_MUTE:
        return;
    }
}

/* Each byte is the low one of where it lies. */
static void
client_read(struct wclient *c, struct cw_mgr_ask *ask)
{
    struct cw_mgr_answer a = { .code = CW_MGR_OK, .message = "", .n_data = ask->total_bytes };
    uint8_t *data = malloc(ask->total_bytes);

    if (c->n_reads_held < CW_LEN(c->reads_held) && c->holds_reads) {
        c->reads_held[c->n_reads_held++] = ask;
        free(data);
        return;
    }
    for (uint64_t i = 0; i < ask->total_bytes; i++)
        data[i] = (uint8_t)(ask->offset + i);
    a.data = data;
    a.n_data -= c->reads_short;
    cw_manager_answered(c->w->m, ask, &a);
    free(data);
}

static void
client_asked(struct wclient *c, struct cw_mgr_ask *ask)
{
    if (ask->kind == CW_MGR_ASK_LET_GO) {
        client_let_go(c, ask);
        return;
    }
    if (ask->kind == CW_MGR_ASK_READ) {
        client_read(c, ask);
        return;
    }
    c->n_resized += ask->kind == CW_MGR_ASK_RESIZED;
    c->n_verify += ask->kind == CW_MGR_ASK_VERIFY_RUN;
    c->n_evict += ask->kind == CW_MGR_ASK_EVICT;
    c->evict = ask->kind == CW_MGR_ASK_EVICT ? ask->disk_uuid : c->evict;
    c->verify_job = ask->kind == CW_MGR_ASK_VERIFY_RUN ? ask->job : c->verify_job;
    answer(c->w, ask, false, 0);
}

/* Not from inside the asking: one turn later. */
static void
world_asks_fired(struct cw_timer *t)
{
    struct world *w = cw_container_of(t, struct world, ask_timer);

    while (w->n_asks > 0) {
        void *user = w->asks[0].user;
        struct cw_mgr_ask *ask = w->asks[0].ask;
        struct wdaemon *d = daemon_of(w, user);

        memmove(w->asks, w->asks + 1, --w->n_asks * sizeof(w->asks[0]));
        if (d == NULL)
            client_asked(user, ask);
        else if (!d->paused)
            daemon_asked(d, ask);
    }
}

static void
world_ask(void *world, void *user, struct cw_mgr_ask *ask)
{
    struct world *w = world;

    assert_true(w->n_asks < WORLD_HELD);
    w->asks[w->n_asks].user = user;
    w->asks[w->n_asks++].ask = ask;
    cw_timer_set(&w->env.env, &w->ask_timer, w->env.now_ns + CW_NS_PER_MS);
}

/* Asks of a session that goes down are the manager's again. */
static void
world_forget(struct world *w, const void *user)
{
    size_t n = 0;

    for (size_t i = 0; i < w->n_asks; i++) {
        if (w->asks[i].user != user)
            w->asks[n++] = w->asks[i];
    }
    w->n_asks = n;
}

/* ---- life ---- */

static const struct cw_mgr_ops world_ops = {
    .hint = world_hint,
    .ask = world_ask,
    .hang_up = world_hang_up,
    .wall_s = world_wall,
    .started = world_started,
};

void
world_start_manager(struct world *w, bool bootstrap)
{
    struct cw_manager_opts opts = {
        .env = &w->env.env,
        .kv = &w->kv.kv,
        .codec = &fakekv_codec,
        .ops = &world_ops,
        .world = w,
        .bootstrap = bootstrap,
        .any_host = w->any_host,
        .backup = w->backup,
        .cluster_name = "",
        .manager_name = "here",
    };

    w->started = false;
    w->m = cw_manager_new(&opts);
    assert_non_null(w->m);
    cw_manager_start(w->m);
    assert_true(cw_simenv_run_until(&w->env, &w->started, 10 * CW_NS_PER_S));
}

void
world_stop_manager(struct world *w)
{
    w->kv.txn = NULL; /* it dies with its manager */
    w->kv.read = NULL;
    cw_timer_cancel(&w->env.env, &w->kv.timer);
    w->n_asks = 0;
    for (int i = 0; i < WORLD_DAEMONS; i++) {
        cw_timer_cancel(&w->env.env, &w->d[i].beat);
        w->d[i].session = NULL;
        w->d[i].let_go = NULL;
    }
    for (int i = 0; i < 4; i++) {
        w->c[i].session = NULL;
        w->c[i].letting[0] = w->c[i].letting[1] = NULL;
    }
    w->op.session = NULL;
    cw_manager_free(w->m);
    w->m = NULL;
}

void
world_init(struct world *w)
{
    memset(w, 0, sizeof(*w));
    w->wall_s = 1700000000;
    cw_simenv_init(&w->env, 7);
    w->env.now_ns += 1000 * CW_NS_PER_S;
    fakekv_init(&w->kv, &w->env);
    w->ask_timer.fn = world_asks_fired;
    world_start_manager(w, true);
    assert_string_equal(w->why_not, "");
}

void
world_fini(struct world *w)
{
    if (w->m != NULL) {
        cw_manager_check(w->m);
        world_stop_manager(w);
    }
    cw_timer_cancel(&w->env.env, &w->ask_timer);
    for (int i = 0; i < WORLD_DAEMONS; i++)
        free(w->d[i].kept);
    fakekv_fini(&w->kv);
    cw_simenv_fini(&w->env);
}

void
world_run(struct world *w, uint64_t ms)
{
    cw_simenv_run_for(&w->env, ms * CW_NS_PER_MS);
    cw_manager_check(w->m);
}

/* ---- daemons ---- */

static uint64_t
daemon_used(const struct wdaemon *d)
{
    return cw_align_up(cw_div_up(4 * CW_GIB * d->percent, 100), 4096);
}

static struct cw_mgr_disk_state
daemon_disk(const struct wdaemon *d)
{
    return (struct cw_mgr_disk_state){
        .uuid = d->disk_uuid,
        .format_id = d->format_id,
        .name = "store-0",
        .size_bytes = 4 * CW_GIB,
        .used_bytes = daemon_used(d),
        .free_bytes = d->full ? 0 : 4 * CW_GIB - daemon_used(d),
        .full = d->full,
        .write_p99_ns = d->write_p99_ns,
        .failed = d->failed,
        .why = "",
        .scrub = d->scrub,
    };
}

/* What is asked for is measured at once, and told in the next beat. */
static void
daemon_probes(struct wdaemon *d, const struct cw_mgr_beat_reply *r)
{
    d->n_trips = 0;
    for (size_t i = 0; i < r->n_probes && i < CW_LEN(d->trips); i++) {
        snprintf(d->probes[i], sizeof(d->probes[i]), "%s", r->probes[i].host);
        d->n_probes++;
        if (d->rtt == NULL)
            continue;
        d->trips[d->n_trips++] =
            (struct cw_mgr_round_trip){ d->probes[i], d->rtt(d, d->probes[i]) };
    }
}

static void
daemon_called(struct cw_mgr_call *call)
{
    struct wdaemon *d = cw_container_of(call, struct wdaemon, call);

    if (call->kind == CW_MGR_BEAT && call->error.code == CW_MGR_OK)
        daemon_probes(d, &call->reply.beat);
    d->calling = false;
    d->error = call->error;
    d->registered = true;
}

/* All that it has now, named by their places as daemons do. */
static size_t
daemon_disks(struct wdaemon *d)
{
    static const char *const names[] = { "store-0", "store-1" };
    size_t n = 0;

    if (!d->no_first)
        d->disk_now[n++] = daemon_disk(d);
    if (!cw_uuid_is_nil(&d->second_uuid)) {
        d->disk_now[n] = daemon_disk(d);
        d->disk_now[n].uuid = d->second_uuid;
        d->disk_now[n].failed = false;
        d->disk_now[n].name = names[n];
        n++;
    }
    return n;
}

static void
clients_tell(struct world *w)
{
    for (size_t i = 0; i < CW_LEN(w->c); i++) {
        if (w->c[i].tells_gen != 0 && w->c[i].session != NULL)
            world_report(w, w->c[i].session, 1, w->c[i].tells_gen);
    }
}

static void
daemon_beat(struct cw_timer *t)
{
    struct wdaemon *d = cw_container_of(t, struct wdaemon, beat);

    cw_timer_set(&d->w->env.env, t, d->w->env.now_ns + CW_NS_PER_S);
    clients_tell(d->w);
    if (d->calling || d->paused)
        return;
    d->call = (struct cw_mgr_call){ .kind = CW_MGR_BEAT,
                                    .req.beat = { .disks = d->disk_now,
                                                  .n_disks = daemon_disks(d),
                                                  .bads = d->bads,
                                                  .n_bads = d->n_bads,
                                                  .uses = d->uses,
                                                  .n_uses = d->n_uses,
                                                  .memory = d->memory,
                                                  .trips = d->trips,
                                                  .n_trips = d->n_trips },
                                    .done = daemon_called };
    d->calling = true;
    cw_manager_call(d->w->m, d->session, &d->call);
}

enum cw_mgr_code
world_register(struct world *w, int i)
{
    struct wdaemon *d = &w->d[i];

    d->session = cw_manager_session_up(w->m, d);
    d->call = (struct cw_mgr_call){
        .kind = CW_MGR_REGISTER,
        .req.register_host = { .name = d->name,
                               .host_key = d->host_key,
                               .domain = { d->region, d->site, "", d->name },
                               .attributes = { "", 0, d->is_volatile },
                               .advertise = d->addr,
                               .unix_path = "",
                               .boot_id = { { 9 } },
                               .incarnation = d->incarnation,
                               .version = "1",
                               .disks = d->disk_now,
                               .n_disks = daemon_disks(d),
                               .copies = d->copies,
                               .n_copies = d->n_copies,
                               .up_ms = d->up_ms,
                               .kept = d->says_kept },
        .done = daemon_called,
    };
    d->calling = true;
    d->registered = false;
    cw_manager_call(w->m, d->session, &d->call);
    assert_true(cw_simenv_run_until(&w->env, &d->registered, 10 * CW_NS_PER_S));
    if (d->error.code == CW_MGR_OK) {
        d->beat.fn = daemon_beat;
        cw_timer_set(&w->env.env, &d->beat, w->env.now_ns + CW_NS_PER_S);
    }
    return d->error.code;
}

enum cw_mgr_code
world_up(struct world *w, int i, const char *name, const char *site)
{
    struct wdaemon *d = &w->d[i];

    d->w = w;
    snprintf(d->name, sizeof(d->name), "%s", name);
    snprintf(d->site, sizeof(d->site), "%s", site);
    snprintf(d->addr, sizeof(d->addr), "127.0.0.%d:4000", i + 1);
    if (d->format_id == 0) {
        d->host_key = cw_uuid_from_random((uint64_t)i + 1, 77);
        d->disk_uuid = cw_uuid_from_random((uint64_t)i + 1, 99);
        d->format_id = 1000 + (uint64_t)i;
        d->willing = true;
    }
    d->incarnation++;
    return world_register(w, i);
}

void
world_down(struct world *w, int i)
{
    struct wdaemon *d = &w->d[i];

    cw_timer_cancel(&w->env.env, &d->beat);
    world_forget(w, d);
    d->let_go = NULL;
    d->care_volume = 0;
    cw_manager_session_down(w->m, d->session);
    d->session = NULL;
}

void
world_three(struct world *w)
{
    assert_int_equal(world_up(w, 0, "dc1-1", "dc1"), CW_MGR_OK);
    assert_int_equal(world_up(w, 1, "dc1-2", "dc1"), CW_MGR_OK);
    assert_int_equal(world_up(w, 2, "aws-1", "aws"), CW_MGR_OK);
}

/* ---- clients ---- */

void
world_client(struct world *w, int i)
{
    struct wclient *c = &w->c[i];
    struct cw_mgr_call call = { .kind = CW_MGR_CLIENT_HELLO };

    c->w = w;
    snprintf(c->name, sizeof(c->name), "client-%d", i);
    c->id = cw_uuid_from_random((uint64_t)i + 1, 55);
    c->session = cw_manager_session_up(w->m, c);
    call.req.client_hello = (struct cw_mgr_client_hello){
        .client_id = c->id, .name = c->name, .domain = nowhere, .host = "desk", .boot_id = { { 9 } }
    };
    assert_int_equal(world_call(w, c->session, &call), CW_MGR_OK);
}

void
world_client_down(struct world *w, int i)
{
    world_forget(w, &w->c[i]);
    w->c[i].letting[0] = w->c[i].letting[1] = NULL;
    cw_manager_session_down(w->m, w->c[i].session);
    w->c[i].session = NULL;
}

static struct world *calling; /* one world at a time waits for a call */

static void
world_called(struct cw_mgr_call *call)
{
    struct world *w = calling;

    w->done = true;
    w->error = call->error;
    if (call->error.code != CW_MGR_OK)
        return;
    if (call->kind == CW_MGR_ATTACH || call->kind == CW_MGR_GET_VOLUME) {
        w->attach = call->reply.attach;
        for (size_t i = 0; i < w->attach.n_shards && i < CW_LEN(w->shards); i++)
            w->shards[i] = w->attach.shards[i];
    }
    if (call->kind == CW_MGR_CHANGE) {
        w->change = call->reply.change;
        w->shards[0] = call->reply.change.shard;
    }
    if (w->keep != NULL)
        w->keep(w, &call->reply);
}

enum cw_mgr_code
world_call(struct world *w, struct cw_mgr_session *s, struct cw_mgr_call *call)
{
    if (s == NULL && w->op.session == NULL) {
        w->op.w = w;
        w->op.session = cw_manager_session_up(w->m, &w->op);
    }
    calling = w;
    w->done = false;
    call->done = world_called;
    cw_manager_call(w->m, s != NULL ? s : w->op.session, call);
    assert_false(w->done); /* never from inside */
    assert_true(cw_simenv_run_until(&w->env, &w->done, 60 * CW_NS_PER_S));
    cw_manager_check(w->m);
    return w->error.code;
}

struct cw_mgr_policy
world_policy(struct cw_mgr_policy p)
{
    const char **texts[] = { &p.name,  &p.spread,      &p.sites,       &p.journal,    &p.ack,
                             &p.async, &p.compression, &p.quorum_loss, &p.space_full, &p.warning };

    for (size_t i = 0; i < CW_LEN(texts); i++)
        *texts[i] = *texts[i] != NULL ? *texts[i] : "";
    return p;
}

enum cw_mgr_code
world_put_policy(struct world *w, struct cw_mgr_policy p, bool create, bool force)
{
    struct cw_mgr_call call = { .kind = CW_MGR_POLICY_PUT,
                                .req.policy_put = { world_policy(p), create, force } };

    return world_call(w, NULL, &call);
}

enum cw_mgr_code
world_create(struct world *w, const char *name, uint64_t size, const char *policy)
{
    struct cw_mgr_call call = { .kind = CW_MGR_VOLUME_CREATE,
                                .req.volume_create = { name, size, policy, false } };

    return world_call(w, NULL, &call);
}

enum cw_mgr_code
world_attach(struct world *w, int client, const char *name, bool force)
{
    struct cw_mgr_call call = { .kind = CW_MGR_ATTACH,
                                .req.attach = { .volume = name, .force = force } };

    return world_call(w, w->c[client].session, &call);
}

enum cw_mgr_code
world_release(struct world *w, int client, uint64_t id, uint32_t gen)
{
    struct cw_mgr_call call = { .kind = CW_MGR_RELEASE, .req.release = { id, gen } };

    return world_call(w, w->c[client].session, &call);
}

enum cw_mgr_code
world_change(struct world *w, int client, uint32_t gen, uint32_t cfg, int member,
             enum cw_member_state state)
{
    struct cw_member want = w->shards[0].members[member];
    struct cw_mgr_call call = {
        .kind = CW_MGR_CHANGE,
        .req.change = { .volume_id = CW_SHARD_VOLUME(w->shards[0].shard),
                        .gen = gen,
                        .shard = w->shards[0].shard,
                        .cfg = cfg,
                        .want = &want,
                        .n_want = 1,
                        .why = "test" },
    };

    want.state = state;
    want.since_seq = 0;
    return world_call(w, w->c[client].session, &call);
}

void
world_report(struct world *w, struct cw_mgr_session *s, uint64_t id, uint32_t gen)
{
    struct cw_mgr_shard_report sr = { .shard = CW_SHARD_ID(id, 0), .why = "" };
    struct cw_mgr_volume_report r = { .volume_id = id, .gen = gen, .shards = &sr, .n_shards = 1 };

    cw_manager_report(w->m, s, &r);
}

/* ---- looking ---- */

static void
keep_volume(struct world *w, const union cw_mgr_reply *r)
{
    snprintf(w->text[0], sizeof(w->text[0]), "%s", r->volume.protection);
    snprintf(w->text[1], sizeof(w->text[1]), "%s", r->volume.state);
}

static void
show(struct world *w, const char *name)
{
    struct cw_mgr_call call = { .kind = CW_MGR_VOLUME_SHOW, .req.name = name };

    w->text[0][0] = w->text[1][0] = '\0';
    w->keep = keep_volume;
    world_call(w, NULL, &call);
    w->keep = NULL;
}

const char *
world_word(struct world *w, const char *name)
{
    show(w, name);
    return w->text[0];
}

const char *
world_state(struct world *w, const char *name)
{
    show(w, name);
    return w->text[1];
}

static void
keep_finding(struct world *w, const union cw_mgr_reply *r)
{
    w->text[4][0] = '\0';
    for (size_t i = 0; i < r->status.n_findings; i++) {
        const struct cw_mgr_finding *f = &r->status.findings[i];

        if (strcmp(f->code, w->text[2]) == 0 &&
            (w->text[3][0] == '\0' || strcmp(f->object, w->text[3]) == 0))
            snprintf(w->text[4], sizeof(w->text[4]), "%s", f->code);
    }
}

bool
world_finding(struct world *w, const char *code, const char *object)
{
    struct cw_mgr_call call = { .kind = CW_MGR_STATUS };

    snprintf(w->text[2], sizeof(w->text[2]), "%s", code);
    snprintf(w->text[3], sizeof(w->text[3]), "%s", object != NULL ? object : "");
    w->keep = keep_finding;
    assert_int_equal(world_call(w, NULL, &call), CW_MGR_OK);
    w->keep = NULL;
    return w->text[4][0] != '\0';
}

int
world_daemon_of(struct world *w, int member)
{
    for (int i = 0; i < WORLD_DAEMONS; i++) {
        if (cw_uuid_equal(&w->d[i].disk_uuid, &w->shards[0].members[member].disk_uuid))
            return i;
    }
    return -1;
}
