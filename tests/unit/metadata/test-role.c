/* The manager role as a process of its own, with three daemons and a client that follow a script.
 */
#include "tests/unit/service/harness.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/shell/manager-main.h"

#define GIB_4 (4 * CW_GIB)

/* ---- the manager, in a child ---- */

struct role {
    char root[64], metadata[96], log[96];
    char addr[80]; /* empty: it never served */
    pid_t pid;
};

struct role_child {
    int say;
};

static void
child_ready(void *user, const char *addr)
{
    struct role_child *c = user;

    if (write(c->say, addr, strlen(addr)) < 0)
        _exit(9);
    close(c->say);
}

static void
child_run(struct role *r, struct cw_manager_main_opts opts, int say)
{
    struct cw_log_sink log;
    struct role_child c = { .say = say };
    int status;

    cw_log_sink_init(&log, "causewayd", CW_LOG_INFO);
    if (cw_log_sink_open(&log, r->log) != 0)
        _exit(8);
    opts.log = &log;
    opts.ready = child_ready;
    opts.user = &c;
    status = cw_manager_main(&opts);
    cw_log_sink_fini(&log);
    exit(status); /* not _exit: a leak checker speaks here */
}

static void
role_start(struct role *r, const char *listen, bool bootstrap)
{
    struct cw_manager_main_opts opts = {
        .listen = listen,
        .metadata = r->metadata,
        .bootstrap = bootstrap,
        .cluster_name = "hy1",
    };
    size_t len = 0;
    int fd[2];
    ssize_t n;

    assert_int_equal(pipe(fd), 0);
    fflush(NULL);
    r->pid = fork();
    assert_true(r->pid >= 0);
    if (r->pid == 0) {
        close(fd[0]);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
        child_run(r, opts, fd[1]);
    }
    close(fd[1]);
    memset(r->addr, 0, sizeof(r->addr));
    while ((n = read(fd[0], r->addr + len, sizeof(r->addr) - 1 - len)) > 0)
        len += (size_t)n;
    close(fd[0]);
}

/* Exit status, 1000 and the signal if it was killed. */
static int
role_wait(struct role *r)
{
    int status;

    assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
    r->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int
role_stop(struct role *r, int signo)
{
    kill(r->pid, signo);
    return role_wait(r);
}

static void
role_expect_log(struct role *r, const char *said)
{
    char text[8192];
    FILE *f = fopen(r->log, "r");
    size_t n;

    assert_non_null(f);
    n = fread(text, 1, sizeof(text) - 1, f);
    text[n] = '\0';
    fclose(f);
    if (strstr(text, said) == NULL)
        fail_msg("the log does not say '%s':\n%s", said, text);
}

static void
role_init(struct role *r)
{
    *r = (struct role){ 0 };
    snprintf(r->root, sizeof(r->root), "/tmp/cw-role-XXXXXX");
    assert_non_null(mkdtemp(r->root));
    snprintf(r->metadata, sizeof(r->metadata), "lmdb:%s/meta", r->root);
    snprintf(r->log, sizeof(r->log), "%s/log", r->root);
}

static void
role_fini(struct role *r)
{
    static const char *const names[] = { "meta/data.mdb", "meta/lock", "meta", "log" };
    char path[128];

    if (r->pid > 0)
        role_stop(r, SIGKILL);
    for (size_t i = 0; i < CW_LEN(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", r->root, names[i]);
        remove(path);
    }
    rmdir(r->root);
}

/* ---- a peer: daemon or client ---- */

struct peer {
    struct loop *l;
    struct cw_rpc_session *session;
    struct cw_rpc_call call, beat_call;
    cw_envelope *reply;
    bool done;
    unsigned n_hints, n_drops, n_asks;

    /* daemons */
    const char *name, *site;
    struct cw_uuid host_key, disk, cluster;
    struct cw_timer beat;
    bool registered, sees_owner;
};

static void
peer_on_message(void *user, struct cw_rpc_session *ss, const cw_envelope *m, struct cw_rpc_req *req)
{
    struct peer *p = user;
    Causeway__Control__OwnerSeenReply seen = CAUSEWAY__CONTROL__OWNER_SEEN_REPLY__INIT;
    cw_envelope out = CAUSEWAY__CONTROL__ENVELOPE__INIT;

    if (req == NULL) {
        p->n_hints += m->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_HINT;
        return;
    }
    p->n_asks++;
    if (m->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_OWNER_SEEN) {
        seen.session = p->sees_owner;
        seen.silent_ms = 100;
        out.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_OWNER_SEEN_REPLY;
        out.owner_seen_reply = &seen;
        cw_rpc_req_reply(req, &out);
    } else if (m->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_DROP_SHARDS) {
        p->n_drops++;
        cw_rpc_req_empty(req);
    } else {
        cw_rpc_req_error(req, CAUSEWAY__CONTROL__ERROR_CODE__BUSY, NULL, NULL, "not today");
    }
}

static void
peer_on_done(struct cw_rpc_call *call, const cw_envelope *reply)
{
    struct peer *p = cw_container_of(call, struct peer, call);

    p->reply = cw_envelope_copy(reply);
    p->done = true;
}

/* Asks and waits; the reply is the peer's until it asks again. */
static const cw_envelope *
peer_ask(struct peer *p, const cw_envelope *m)
{
    cw_envelope_free(p->reply);
    p->reply = NULL;
    p->done = false;
    p->call = (struct cw_rpc_call){ .done = peer_on_done };
    cw_rpc_session_call(p->session, &p->call, m, 8000);
    assert_true(loop_until(p->l, loop_is_set, &p->done));
    return p->reply;
}

static void
expect_code(const cw_envelope *reply, Causeway__Control__ErrorCode code)
{
    Causeway__Control__ErrorCode got =
        reply->error != NULL ? reply->error->code : CAUSEWAY__CONTROL__ERROR_CODE__OK;

    if (got != code)
        fail_msg("%s instead of %s: %s", cw_rpc_code_name(got), cw_rpc_code_name(code),
                 reply->error != NULL ? reply->error->message : "");
}

#define ASK(name, NAME, Message) \
    static const cw_envelope *ask_##name(struct peer *p, Message body) \
    { \
        cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT; \
\
        m.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_##NAME; \
        m.name = &body; \
        return peer_ask(p, &m); \
    }

ASK(register_, REGISTER, Causeway__Control__Register)
ASK(client_hello, CLIENT_HELLO, Causeway__Control__ClientHello)
ASK(volume_create, VOLUME_CREATE, Causeway__Control__VolumeCreate)
ASK(volume_show, VOLUME_SHOW, Causeway__Control__VolumeShow)
ASK(volume_rm, VOLUME_RM, Causeway__Control__VolumeRm)
ASK(attach, ATTACH, Causeway__Control__Attach)
ASK(change, CHANGE, Causeway__Control__Change)
ASK(release, RELEASE, Causeway__Control__Release)
ASK(status, STATUS, Causeway__Control__Status)
ASK(host_ls, HOST_LS, Causeway__Control__HostLs)
ASK(policy_ls, POLICY_LS, Causeway__Control__PolicyLs)
ASK(event_ls, EVENT_LS, Causeway__Control__EventLs)

static ProtobufCBinaryData
bytes_of(struct cw_uuid *u)
{
    return (ProtobufCBinaryData){ cw_uuid_is_nil(u) ? 0 : 16, u->b };
}

static Causeway__Control__DiskState
daemon_disk(struct peer *p)
{
    Causeway__Control__DiskState d = CAUSEWAY__CONTROL__DISK_STATE__INIT;

    d.uuid = bytes_of(&p->disk);
    d.format_id = 1;
    d.cluster_id = bytes_of(&p->cluster);
    d.host_key = bytes_of(&p->host_key);
    d.name = (char *)"store-0";
    d.size_bytes = d.free_bytes = GIB_4;
    return d;
}

static void
daemon_on_beat(struct cw_timer *t)
{
    struct peer *p = cw_container_of(t, struct peer, beat);
    Causeway__Control__DiskState disk = daemon_disk(p), *disks[] = { &disk };
    Causeway__Control__Beat beat = CAUSEWAY__CONTROL__BEAT__INIT;
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;

    beat.n_disks = 1;
    beat.disks = disks;
    m.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_BEAT;
    m.beat = &beat;
    if (!cw_rpc_call_busy(&p->beat_call))
        cw_rpc_session_call(p->session, &p->beat_call, &m, 3000);
    cw_timer_set(p->l->env, t, cw_now_ns(p->l->env) + CW_NS_PER_S);
}

static const cw_envelope *
daemon_register(struct peer *p)
{
    Causeway__Control__Register reg = CAUSEWAY__CONTROL__REGISTER__INIT;
    Causeway__Control__Domain domain = CAUSEWAY__CONTROL__DOMAIN__INIT;
    Causeway__Control__DiskState disk = daemon_disk(p), *disks[] = { &disk };
    const cw_envelope *reply;

    domain.site = (char *)p->site;
    domain.host = (char *)p->name;
    reg.name = (char *)p->name;
    reg.host_key = bytes_of(&p->host_key);
    reg.cluster_id = bytes_of(&p->cluster);
    reg.domain = &domain;
    reg.advertise = (char *)"127.0.0.1:9";
    reg.version = (char *)"0.1.0";
    reg.incarnation = 1;
    reg.boot_id = bytes_of(&p->host_key);
    reg.n_disks = 1;
    reg.disks = disks;
    reply = ask_register_(p, reg);
    if (reply->error == NULL) {
        memcpy(&p->cluster, reply->register_reply->cluster_id.data, 16);
        p->registered = true;
        p->beat.fn = daemon_on_beat;
        cw_timer_set(p->l->env, &p->beat, 0);
    }
    return reply;
}

static const struct cw_rpc_session_events peer_events = { .on_message = peer_on_message };

static void
peer_connect(struct peer *p, struct loop *l, const char *addr)
{
    struct cw_rpc_session_opts opts = { .addrs = addr, .ev = &peer_events, .user = p };
    char why[CW_RPC_WHY_SIZE];

    p->l = l;
    if (cw_rpc_session_new(l->s, &opts, &p->session, why) != 0)
        fail_msg("%s", why);
}

static void
peer_free(struct peer *p)
{
    cw_timer_cancel(p->l->env, &p->beat);
    cw_rpc_call_cancel(&p->beat_call);
    cw_rpc_session_free(p->session);
    cw_envelope_free(p->reply);
}

/* ---- a cluster of three ---- */

struct cluster {
    struct role role;
    struct loop l;
    struct peer daemons[3], client;
};

static void
cluster_join(struct cluster *c)
{
    for (unsigned i = 0; i < 3; i++) {
        peer_connect(&c->daemons[i], &c->l, c->role.addr);
        expect_code(daemon_register(&c->daemons[i]), CAUSEWAY__CONTROL__ERROR_CODE__OK);
    }
    peer_connect(&c->client, &c->l, c->role.addr);
}

static void
cluster_init(struct cluster *c)
{
    static const char *const names[] = { "onprem-1", "onprem-2", "aws-1" };

    memset(c, 0, sizeof(*c));
    role_init(&c->role);
    role_start(&c->role, "127.0.0.1:0", true);
    if (c->role.addr[0] == '\0')
        role_expect_log(&c->role, "serves on");
    loop_init(&c->l);
    for (unsigned i = 0; i < 3; i++) {
        c->daemons[i].name = names[i];
        c->daemons[i].site = i < 2 ? "onprem" : "aws";
        c->daemons[i].host_key = cw_uuid_from_random(1, i);
        c->daemons[i].disk = cw_uuid_from_random(2, i);
    }
    cluster_join(c);
}

static void
cluster_leave(struct cluster *c)
{
    for (unsigned i = 0; i < 3; i++) {
        peer_free(&c->daemons[i]);
        c->daemons[i].session = NULL;
        c->daemons[i].reply = NULL;
    }
    peer_free(&c->client);
    c->client = (struct peer){ 0 };
}

static void
cluster_fini(struct cluster *c)
{
    cluster_leave(c);
    cw_service_free(c->l.s);
    role_fini(&c->role);
}

static void
client_greet(struct peer *p, struct cw_uuid *id)
{
    Causeway__Control__ClientHello hello = CAUSEWAY__CONTROL__CLIENT_HELLO__INIT;

    hello.client_id = bytes_of(id);
    hello.name = (char *)"tester";
    hello.host = (char *)"box";
    expect_code(ask_client_hello(p, hello), CAUSEWAY__CONTROL__ERROR_CODE__OK);
}

static void
client_create(struct peer *p, const char *name)
{
    Causeway__Control__VolumeCreate create = CAUSEWAY__CONTROL__VOLUME_CREATE__INIT;
    const cw_envelope *reply;

    create.name = (char *)name;
    create.size_bytes = 64 * CW_MIB;
    reply = ask_volume_create(p, create);
    expect_code(reply, CAUSEWAY__CONTROL__ERROR_CODE__OK);
    assert_string_equal(reply->volume_info->name, name);
    assert_string_equal(reply->volume_info->policy, "default");
    assert_int_equal(reply->volume_info->n_shards, 1);
    assert_int_equal(reply->volume_info->shards[0]->n_members, 3);
}

static const cw_envelope *
client_attach(struct peer *p, const char *name)
{
    Causeway__Control__Attach attach = CAUSEWAY__CONTROL__ATTACH__INIT;

    attach.volume = (char *)name;
    return ask_attach(p, attach);
}

/* Takes the member at `index` of the one shard out. */
static const cw_envelope *
client_eject(struct peer *p, const Causeway__Control__AttachReply *a, uint32_t cfg, size_t index)
{
    Causeway__Control__Change change = CAUSEWAY__CONTROL__CHANGE__INIT;
    Causeway__Control__Member want = *a->shards[0]->members[index], *wants[] = { &want };

    want.state = CAUSEWAY__CONTROL__MEMBER_STATE__OUT;
    want.since_seq = 0;
    change.volume_id = a->spec->id;
    change.gen = a->gen;
    change.shard = a->shards[0]->shard;
    change.cfg = cfg;
    change.n_want = 1;
    change.want = wants;
    change.why = (char *)"silent";
    return ask_change(p, change);
}

static const cw_envelope *
client_release(struct peer *p, uint64_t id, uint32_t gen)
{
    Causeway__Control__Release release = CAUSEWAY__CONTROL__RELEASE__INIT;

    release.volume_id = id;
    release.gen = gen;
    return ask_release(p, release);
}

static const cw_envelope *
client_show(struct peer *p, const char *name)
{
    Causeway__Control__VolumeShow show = CAUSEWAY__CONTROL__VOLUME_SHOW__INIT;

    show.name = (char *)name;
    return ask_volume_show(p, show);
}

static void
client_report(struct peer *p, uint64_t id, uint32_t gen, struct cw_uuid *disk)
{
    Causeway__Control__MemberReport member = CAUSEWAY__CONTROL__MEMBER_REPORT__INIT;
    Causeway__Control__MemberReport *members[] = { &member };
    Causeway__Control__ShardReport shard = CAUSEWAY__CONTROL__SHARD_REPORT__INIT;
    Causeway__Control__ShardReport *shards[] = { &shard };
    Causeway__Control__VolumeReport report = CAUSEWAY__CONTROL__VOLUME_REPORT__INIT;
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;

    member.disk_uuid = bytes_of(disk);
    member.connected = true;
    shard.shard = id << 16;
    shard.n_members = 1;
    shard.members = members;
    report.volume_id = id;
    report.gen = gen;
    report.n_shards = 1;
    report.shards = shards;
    report.writes = 1234;
    m.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_VOLUME_REPORT;
    m.volume_report = &report;
    cw_rpc_session_send(p->session, &m);
}

/* Created, attached, changed and released, a volume is in every state what the client was told. */
static void
role_serves_the_life_of_a_volume(void **state)
{
    struct cw_uuid id = cw_uuid_from_random(3, 1);
    Causeway__Control__AttachReply *a;
    const cw_envelope *reply;
    cw_envelope *attached;
    struct cluster c;

    cluster_init(&c);
    client_greet(&c.client, &id);
    client_create(&c.client, "vm1");
    attached = cw_envelope_copy(client_attach(&c.client, "vm1"));
    expect_code(attached, CAUSEWAY__CONTROL__ERROR_CODE__OK);
    a = attached->attach_reply;
    assert_string_equal(a->spec->name, "vm1");
    assert_int_equal(a->gen, 1);
    assert_int_equal(a->n_shards, 1);
    assert_int_equal(a->n_disks, 3);
    assert_string_equal(a->disks[0]->addr, "127.0.0.1:9");
    assert_int_equal(a->policy->copies, 3);
    assert_int_equal(a->policy->min_insync, 2);
    assert_memory_equal(a->cluster_id.data, c.daemons[0].cluster.b, 16);

    reply = client_eject(&c.client, a, a->shards[0]->cfg, 2);
    expect_code(reply, CAUSEWAY__CONTROL__ERROR_CODE__OK);
    assert_true(reply->change_reply->applied);
    assert_int_equal(reply->change_reply->shard->cfg, a->shards[0]->cfg + 1);
    assert_int_equal(reply->change_reply->shard->members[2]->state,
                     CAUSEWAY__CONTROL__MEMBER_STATE__OUT);

    /* With the old cfg nothing changes and the record as it is comes back. */
    reply = client_eject(&c.client, a, a->shards[0]->cfg, 1);
    expect_code(reply, CAUSEWAY__CONTROL__ERROR_CODE__OK);
    assert_false(reply->change_reply->applied);
    assert_int_equal(reply->change_reply->shard->cfg, a->shards[0]->cfg + 1);

    reply = client_eject(&c.client, a, a->shards[0]->cfg + 1, 1);
    expect_code(reply, CAUSEWAY__CONTROL__ERROR_CODE__OK);
    assert_true(reply->change_reply->applied);
    reply = client_eject(&c.client, a, a->shards[0]->cfg + 2, 0);
    expect_code(reply, CAUSEWAY__CONTROL__ERROR_CODE__LAST_COPY);

    client_report(&c.client, a->spec->id, a->gen, &c.daemons[0].disk);
    reply = client_show(&c.client, "vm1");
    expect_code(reply, CAUSEWAY__CONTROL__ERROR_CODE__OK);
    assert_string_equal(reply->volume_info->state, "attached");
    assert_int_equal(reply->volume_info->writes, 1234);
    assert_string_equal(reply->volume_info->owner, "tester");
    assert_string_equal(reply->volume_info->owner_host, "box");

    expect_code(client_release(&c.client, a->spec->id, a->gen), CAUSEWAY__CONTROL__ERROR_CODE__OK);
    cw_envelope_free(attached);
    cluster_fini(&c);
}

/* While a daemon still hears the owner a second client is refused with who has it; when none does,
 * the second one takes over with the next generation. */
static void
role_refuses_and_allows_takeover(void **state)
{
    struct cw_uuid id1 = cw_uuid_from_random(3, 1), id2 = cw_uuid_from_random(3, 2);
    struct peer second = { 0 };
    const cw_envelope *reply;
    struct cluster c;
    uint32_t gen;

    cluster_init(&c);
    client_greet(&c.client, &id1);
    client_create(&c.client, "vm1");
    reply = client_attach(&c.client, "vm1");
    expect_code(reply, CAUSEWAY__CONTROL__ERROR_CODE__OK);
    gen = reply->attach_reply->gen;
    /* Once it has reported, the copies are asked whether they hear it. */
    client_report(&c.client, reply->attach_reply->spec->id, gen, &c.daemons[0].disk);
    expect_code(client_show(&c.client, "vm1"), CAUSEWAY__CONTROL__ERROR_CODE__OK);
    peer_connect(&second, &c.l, c.role.addr);
    client_greet(&second, &id2);
    c.daemons[1].sees_owner = true;
    reply = client_attach(&second, "vm1");
    expect_code(reply, CAUSEWAY__CONTROL__ERROR_CODE__VOLUME_IN_USE);
    assert_non_null(strstr(reply->error->message, "tester"));
    assert_true(c.daemons[1].n_asks > 0);
    c.daemons[1].sees_owner = false;
    cw_rpc_session_free(c.client.session);
    c.client.session = NULL;
    reply = client_attach(&second, "vm1");
    expect_code(reply, CAUSEWAY__CONTROL__ERROR_CODE__OK);
    assert_int_equal(reply->attach_reply->gen, gen + 1);
    assert_false(reply->attach_reply->released);
    peer_free(&second);
    cluster_fini(&c);
}

/* What was committed is there after SIGKILL and a start without --bootstrap, and hosts that come
 * back are known. */
static void
role_restart_keeps_everything(void **state)
{
    struct cw_uuid id = cw_uuid_from_random(3, 1);
    Causeway__Control__HostLs ls = CAUSEWAY__CONTROL__HOST_LS__INIT;
    const cw_envelope *reply;
    struct cluster c;

    cluster_init(&c);
    client_greet(&c.client, &id);
    client_create(&c.client, "vm1");
    cluster_leave(&c);
    assert_int_equal(role_stop(&c.role, SIGKILL), 1000 + SIGKILL);
    role_start(&c.role, "127.0.0.1:0", false);
    assert_string_not_equal(c.role.addr, "");
    cluster_join(&c);
    reply = client_show(&c.client, "vm1");
    expect_code(reply, CAUSEWAY__CONTROL__ERROR_CODE__OK);
    assert_int_equal(reply->volume_info->size_bytes, 64 * CW_MIB);
    reply = ask_host_ls(&c.client, ls);
    assert_int_equal(reply->host_ls_reply->n_hosts, 3);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(reply->host_ls_reply->hosts[i]->state, "up");
    assert_int_equal(role_stop(&c.role, SIGTERM), 0);
    role_expect_log(&c.role, "manager: stops");
    cluster_fini(&c);
}

/* Status, policies and events come back whole; a request that nobody knows is refused. */
static void
role_answers_operators(void **state)
{
    Causeway__Control__Status status = CAUSEWAY__CONTROL__STATUS__INIT;
    Causeway__Control__PolicyLs policies = CAUSEWAY__CONTROL__POLICY_LS__INIT;
    Causeway__Control__EventLs events = CAUSEWAY__CONTROL__EVENT_LS__INIT;
    Causeway__Control__VolumeRm rm = CAUSEWAY__CONTROL__VOLUME_RM__INIT;
    Causeway__Control__LetGo let_go = CAUSEWAY__CONTROL__LET_GO__INIT;
    cw_envelope unknown = CAUSEWAY__CONTROL__ENVELOPE__INIT;
    struct cw_uuid id = cw_uuid_from_random(3, 1);
    const cw_envelope *reply;
    struct cluster c;

    cluster_init(&c);
    client_greet(&c.client, &id);
    client_create(&c.client, "vm1");
    reply = ask_status(&c.client, status);
    expect_code(reply, CAUSEWAY__CONTROL__ERROR_CODE__OK);
    assert_string_equal(reply->status_reply->cluster, "hy1");
    assert_int_equal(reply->status_reply->volumes, 1);
    assert_int_equal(reply->status_reply->n_sites, 2);
    assert_non_null(strstr(reply->status_reply->metadata, "lmdb "));
    assert_string_equal(reply->status_reply->manager, c.role.addr);
    reply = ask_policy_ls(&c.client, policies);
    assert_int_equal(reply->policy_ls_reply->n_policies, 1);
    assert_string_equal(reply->policy_ls_reply->policies[0]->name, "default");
    assert_int_equal(reply->policy_ls_reply->policies[0]->volumes, 1);
    reply = ask_event_ls(&c.client, events);
    assert_true(reply->event_ls_reply->n_events >= 4);
    rm.name = (char *)"nothing";
    expect_code(ask_volume_rm(&c.client, rm), CAUSEWAY__CONTROL__ERROR_CODE__NOT_FOUND);
    unknown.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_LET_GO;
    unknown.let_go = &let_go;
    expect_code(peer_ask(&c.client, &unknown), CAUSEWAY__CONTROL__ERROR_CODE__BAD_REQUEST);
    cluster_fini(&c);
}

/* Each way in which it cannot start is one line and an exit status. */
static void
role_start_failures_are_clear(void **state)
{
    struct role r, other;

    role_init(&r);
    role_start(&r, "127.0.0.1:0", false);
    assert_int_equal(role_wait(&r), 1);
    role_expect_log(&r, "--bootstrap");
    role_start(&r, "127.0.0.1", true);
    assert_int_equal(role_wait(&r), 2);
    role_expect_log(&r, "--listen '127.0.0.1': want ADDR:PORT");
    role_start(&r, "0.0.0.0:0", true);
    assert_int_equal(role_wait(&r), 2);
    role_expect_log(&r, "--advertise");
    role_start(&r, "127.0.0.1:0", true);
    assert_string_not_equal(r.addr, "");
    role_init(&other);
    role_start(&other, r.addr, true);
    assert_int_equal(role_wait(&other), 1);
    role_expect_log(&other, "is in use");
    snprintf(other.metadata, sizeof(other.metadata), "%s", r.metadata);
    role_start(&other, "127.0.0.1:0", false);
    assert_int_equal(role_wait(&other), 1);
    role_expect_log(&other, "in use by another process");
    snprintf(other.metadata, sizeof(other.metadata), "sqlite:x");
    role_start(&other, "127.0.0.1:0", false);
    assert_int_equal(role_wait(&other), 2);
    role_expect_log(&other, "want lmdb:DIR");
    assert_int_equal(role_stop(&r, SIGTERM), 0);
    role_start(&r, "127.0.0.1:0", true);
    assert_int_equal(role_wait(&r), 1); /* there is a cluster already */
    role_fini(&other);
    role_fini(&r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(role_serves_the_life_of_a_volume),
        cmocka_unit_test(role_refuses_and_allows_takeover),
        cmocka_unit_test(role_restart_keeps_everything),
        cmocka_unit_test(role_answers_operators),
        cmocka_unit_test(role_start_failures_are_clear),
    };

    return cmocka_run_group_tests_name("role", tests, NULL, NULL);
}
