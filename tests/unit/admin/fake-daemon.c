/* A stand-in for causewayd that the tests of `causeway local` and of the remote commands start:
 * the real control connections, no stores. FAKE_FAIL=NAME makes that host end with an error. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/service/server.h"
#include "common/service/session.h"

#define HOSTS_MAX 16

struct fake {
    struct cw_service *service;
    struct cw_rpc_server *server;
    struct cw_rpc_session *session;
    struct cw_rpc_call call;
    const char *role, *host, *listen, *join, *store, *metadata;
    bool format, bootstrap;
    struct {
        char name[64];
        struct cw_rpc_conn *conn; /* NULL: silent, but called up as the real one does for a while */
        uint64_t incarnation;
    } hosts[HOSTS_MAX];
    size_t n_hosts;
    char volume[64]; /* the one that was created last; "": none */
    uint64_t volume_bytes;
};

/* ---- the manager ---- */

static void
fake_register(struct fake *f, struct cw_rpc_conn *c, const char *name, uint64_t incarnation)
{
    size_t i = 0;

    while (i < f->n_hosts && strcmp(f->hosts[i].name, name) != 0)
        i++;
    if (i == HOSTS_MAX)
        return;
    snprintf(f->hosts[i].name, sizeof(f->hosts[i].name), "%s", name);
    f->hosts[i].conn = c;
    f->hosts[i].incarnation = incarnation;
    if (i == f->n_hosts)
        f->n_hosts++;
}

static void
fake_reply_hosts(struct fake *f, struct cw_rpc_req *req)
{
    Causeway__Control__HostInfo host[HOSTS_MAX], *at[HOSTS_MAX];
    Causeway__Control__HostLsReply ls = CAUSEWAY__CONTROL__HOST_LS_REPLY__INIT;
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;

    for (size_t i = 0; i < f->n_hosts; i++) {
        host[i] = (Causeway__Control__HostInfo)CAUSEWAY__CONTROL__HOST_INFO__INIT;
        host[i].name = f->hosts[i].name;
        host[i].state = (char *)"up";
        host[i].incarnation = f->hosts[i].conn != NULL ? f->hosts[i].incarnation : 0;
        at[i] = &host[i];
    }
    ls.n_hosts = f->n_hosts;
    ls.hosts = at;
    m.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_HOST_LS_REPLY;
    m.host_ls_reply = &ls;
    cw_rpc_req_reply(req, &m);
}

static void
fake_reply_status(struct cw_rpc_req *req)
{
    Causeway__Control__StatusReply s = CAUSEWAY__CONTROL__STATUS_REPLY__INIT;
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;

    s.cluster = (char *)"fake";
    s.health = (char *)"warning";
    m.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_STATUS_REPLY;
    m.status_reply = &s;
    cw_rpc_req_reply(req, &m);
}

static void
fake_reply_volumes(struct fake *f, struct cw_rpc_req *req)
{
    Causeway__Control__VolumeInfo info = CAUSEWAY__CONTROL__VOLUME_INFO__INIT, *at = &info;
    Causeway__Control__VolumeLsReply ls = CAUSEWAY__CONTROL__VOLUME_LS_REPLY__INIT;
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;

    info.name = f->volume;
    info.size_bytes = f->volume_bytes;
    ls.n_volumes = f->volume[0] != '\0';
    ls.volumes = &at;
    m.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_VOLUME_LS_REPLY;
    m.volume_ls_reply = &ls;
    cw_rpc_req_reply(req, &m);
}

/* The volume as it was asked for. */
static void
fake_create_volume(struct fake *f, struct cw_rpc_req *req, const Causeway__Control__VolumeCreate *v)
{
    Causeway__Control__VolumeInfo info = CAUSEWAY__CONTROL__VOLUME_INFO__INIT;
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;

    snprintf(f->volume, sizeof(f->volume), "%s", v->name);
    f->volume_bytes = v->size_bytes;
    info.name = v->name;
    info.size_bytes = v->size_bytes;
    info.policy = v->policy;
    info.compliant = true;
    m.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_VOLUME_INFO;
    m.volume_info = &info;
    cw_rpc_req_reply(req, &m);
}

static void
fake_on_open(void *user, struct cw_rpc_conn *c)
{
}

static void
fake_on_message(void *user, struct cw_rpc_conn *c, const cw_envelope *m, struct cw_rpc_req *req)
{
    struct fake *f = user;

    if (req == NULL)
        return;
    if (m->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_REGISTER) {
        fake_register(f, c, m->register_->name, m->register_->incarnation);
        cw_rpc_req_empty(req);
    } else if (m->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_HOST_LS) {
        fake_reply_hosts(f, req);
    } else if (m->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_STATUS) {
        fake_reply_status(req);
    } else if (m->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_VOLUME_CREATE) {
        fake_create_volume(f, req, m->volume_create);
    } else if (m->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_VOLUME_LS) {
        fake_reply_volumes(f, req);
    } else if (m->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_VOLUME_RM) {
        f->volume[0] = '\0';
        cw_rpc_req_empty(req);
    } else {
        cw_rpc_req_error(req, CAUSEWAY__CONTROL__ERROR_CODE__NOT_FOUND, "thing", "look elsewhere",
                         "thing: no such thing");
    }
}

static void
fake_on_down(void *user, struct cw_rpc_conn *c, const char *why)
{
    struct fake *f = user;

    for (size_t i = 0; i < f->n_hosts; i++) {
        if (f->hosts[i].conn == c)
            f->hosts[i].conn = NULL;
    }
}

/* ---- a host ---- */

static void
fake_on_registered(struct cw_rpc_call *call, const cw_envelope *reply)
{
}

static void
fake_on_connected(void *user, struct cw_rpc_session *s)
{
    struct fake *f = user;
    Causeway__Control__Register r = CAUSEWAY__CONTROL__REGISTER__INIT;
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;

    r.name = (char *)f->host;
    r.incarnation = (uint64_t)getpid();
    m.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_REGISTER;
    m.register_ = &r;
    f->call.done = fake_on_registered;
    if (!cw_rpc_call_busy(&f->call))
        cw_rpc_session_call(s, &f->call, &m, 5000);
}

static const struct cw_rpc_server_events server_events = {
    .on_open = fake_on_open,
    .on_message = fake_on_message,
    .on_down = fake_on_down,
};
static const struct cw_rpc_session_events session_events = { .on_connected = fake_on_connected };

/* ---- the program ---- */

static int
fake_format(const char *store)
{
    char path[4096];
    int fd;

    snprintf(path, sizeof(path), "%s", store);
    *strrchr(path, ':') = '\0';
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (fd < 0 || ftruncate(fd, atoll(strrchr(store, ':') + 1)) != 0) {
        fprintf(stderr, "causewayd: %s: %s\n", path, strerror(errno));
        return 1;
    }
    close(fd);
    return 0;
}

static void
fake_on_signal(void *user, int signo)
{
    cw_service_stop(((struct fake *)user)->service);
}

static int
fake_run(struct fake *f)
{
    char why[CW_RPC_WHY_SIZE];
    int error;

    f->service = cw_service_new(NULL, &error);
    if (f->service == NULL)
        return 1;
    cw_service_on_signal(f->service, SIGTERM, fake_on_signal, f);
    if (cw_rpc_server_new(
            f->service,
            &(struct cw_rpc_server_opts){ .listen = f->listen, .ev = &server_events, .user = f },
            &f->server, why) != 0 ||
        (f->join != NULL &&
         cw_rpc_session_new(
             f->service,
             &(struct cw_rpc_session_opts){ .addrs = f->join, .ev = &session_events, .user = f },
             &f->session, why) != 0)) {
        fprintf(stderr, "causewayd: %s\n", why);
        return 1;
    }
    cw_service_run(f->service);
    cw_rpc_session_free(f->session);
    cw_rpc_server_free(f->server);
    cw_service_free(f->service);
    return 0;
}

static void
fake_parse(struct fake *f, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";

        if (strcmp(argv[i], "--role") == 0)
            f->role = value;
        else if (strcmp(argv[i], "--host") == 0)
            f->host = value;
        else if (strcmp(argv[i], "--listen") == 0)
            f->listen = value;
        else if (strcmp(argv[i], "--join") == 0)
            f->join = value;
        else if (strcmp(argv[i], "--store") == 0)
            f->store = value;
        else if (strcmp(argv[i], "--format") == 0)
            f->format = true;
    }
}

int
main(int argc, char **argv)
{
    struct fake f = { 0 };
    const char *fail = getenv("FAKE_FAIL");

    fake_parse(&f, argc, argv);
    if (f.format)
        return fake_format(f.store);
    if (fail != NULL && f.host != NULL && strcmp(fail, f.host) == 0) {
        fprintf(stderr, "causewayd: warming up\ncausewayd: %s: told to fail\n", f.host);
        return 3;
    }
    if (f.host != NULL && access(f.store, F_OK) != 0) {
        fprintf(stderr, "causewayd: %s: not formatted\n", f.store);
        return 1;
    }
    return fake_run(&f);
}
