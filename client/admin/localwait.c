#include "client/admin/localwait.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "client/admin/remote.h"
#include "common/base/bits.h"

#define ASK_MS 500
#define ASK_ANY_MS 2000 /* where it is found out first who is the manager */
#define PAUSE_NS (50 * 1000 * 1000)
#define NOTE_EVERY_S 3

void
cw_local_wait_add(struct cw_local_wait *w, const struct cw_local *l, struct cw_local_node *n,
                  const struct cw_local_proc *p, off_t log_at, bool spawned)
{
    size_t place = (size_t)(n - l->node);

    cw_assert(w->n < CW_LOCAL_NODES_MAX && place < l->n_nodes);
    w->at[w->n++] =
        (struct cw_local_waited){ .node = n, .proc = *p, .log_at = log_at, .spawned = spawned };
}

static uint64_t
wait_now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static bool
wait_port_accepts(uint16_t port)
{
    struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok;

    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ok = fd >= 0 && connect(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool
wait_runs(const struct cw_local *l, uint32_t i)
{
    return cw_local_proc_find(l, &l->node[i]).state == CW_LOCAL_RUNNING;
}

/* Is there a manager, or will there be one? */
static bool
wait_manager_runs(const struct cw_local *l)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < l->n_control; i++)
        n += wait_runs(l, i);
    return n > l->n_control / 2;
}

/* Only those that run: a paused one would cost the time for all. */
static const char *
wait_address(const struct cw_local *l, char address[static CW_LOCAL_ADDRESS_SIZE])
{
    struct cw_local *some = cw_local_is_etcd(l) ? malloc(sizeof(*some)) : NULL;

    if (some == NULL)
        return cw_local_address(l, address);
    *some = *l;
    some->n_nodes = l->n_control;
    for (uint32_t i = l->n_control; i < l->n_nodes; i++) {
        if (wait_runs(l, i))
            some->node[some->n_nodes++] = l->node[i];
    }
    cw_local_address(some, address);
    free(some);
    return address;
}

static cw_envelope *
wait_ask_hosts(const struct cw_local *l)
{
    Causeway__Control__HostLs body = CAUSEWAY__CONTROL__HOST_LS__INIT;
    char address[CW_LOCAL_ADDRESS_SIZE];
    cw_envelope *reply;

    if (wait_address(l, address)[0] == '\0')
        return NULL;
    reply = cw_remote_try(address, CW_ASK(HOST_LS, host_ls, &body),
                          cw_local_is_etcd(l) ? ASK_ANY_MS : ASK_MS);
    if (reply != NULL && reply->body_case != CW_WANT(HOST_LS_REPLY)) {
        cw_envelope_free(reply);
        return NULL;
    }
    return reply;
}

static const Causeway__Control__HostInfo *
wait_find_host(const cw_envelope *hosts, const char *name)
{
    for (size_t i = 0; hosts != NULL && i < hosts->host_ls_reply->n_hosts; i++) {
        if (strcmp(hosts->host_ls_reply->hosts[i]->name, name) == 0)
            return hosts->host_ls_reply->hosts[i];
    }
    return NULL;
}

void
cw_local_wait_init(struct cw_local_wait *w, const struct cw_local *l)
{
    cw_envelope *hosts = wait_manager_runs(l) ? wait_ask_hosts(l) : NULL;

    *w = (struct cw_local_wait){ .n = 0 };
    for (uint32_t i = l->n_control; i < l->n_nodes; i++) {
        const Causeway__Control__HostInfo *h = wait_find_host(hosts, l->node[i].name);

        w->incarnation[i] = h != NULL ? h->incarnation : 0;
    }
    cw_envelope_free(hosts);
}

static bool
wait_is_up(const cw_envelope *hosts, const struct cw_local_waited *one)
{
    const Causeway__Control__HostInfo *h = wait_find_host(hosts, one->node->name);

    return h != NULL && (strcmp(h->state, "up") == 0 || h->up) && h->incarnation != 0 &&
           (!one->spawned || h->incarnation != one->incarnation_before);
}

/* Looks at all of them once. Returns how many do not serve yet. */
static uint32_t
wait_look(const struct cw_local *l, struct cw_local_wait *w)
{
    bool manager_runs = wait_manager_runs(l);
    cw_envelope *hosts = manager_runs ? wait_ask_hosts(l) : NULL;
    uint32_t left = 0;

    w->bootstrapped |= hosts != NULL;
    for (uint32_t i = 0; i < w->n; i++) {
        struct cw_local_waited *one = &w->at[i];
        bool knows = one->node->kind != CW_LOCAL_HOST || !manager_runs || wait_is_up(hosts, one);

        if (one->node->kind == CW_LOCAL_MANAGER)
            one->serves = hosts != NULL;
        else if (!one->serves)
            one->serves = knows && wait_port_accepts(one->node->port);
        left += !one->serves;
    }
    cw_envelope_free(hosts);
    return left;
}

static const struct cw_local_waited *
wait_find_dead(const struct cw_local_wait *w)
{
    for (uint32_t i = 0; i < w->n; i++) {
        if (!cw_local_alive(&w->at[i].proc))
            return &w->at[i];
    }
    return NULL;
}

static const struct cw_local_waited *
wait_find_left(const struct cw_local_wait *w)
{
    for (uint32_t i = 0; i < w->n; i++) {
        if (!w->at[i].serves)
            return &w->at[i];
    }
    return NULL;
}

/* The whole tail goes to people, its last line into the error. */
static void
wait_explain(struct cw_cli *cli, const struct cw_local *l, const struct cw_local_waited *bad,
             const char *what, char *why)
{
    char tail[1024], *last;

    cw_local_log_tail(l, bad->node, bad->log_at, tail, sizeof(tail));
    last = strrchr(tail, '\n');
    if (last != NULL && !cli->json)
        fprintf(cli->err, "%.*s\n", (int)(last - tail), tail);
    last = last != NULL ? last + 1 : tail;
    snprintf(why, CW_LOCAL_WAIT_WHY_SIZE, "%s %s%s%s", bad->node->name, what,
             *last != '\0' ? ": " : "", last);
}

bool
cw_local_wait_serving(struct cw_cli *cli, const struct cw_local *l, struct cw_local_wait *w,
                      uint64_t timeout_s, const struct cw_local_waited **ret_bad,
                      char why[static CW_LOCAL_WAIT_WHY_SIZE])
{
    uint64_t begun = wait_now_ms(), noted = begun;
    char what[128], ending[64];

    for (;;) {
        uint32_t left = wait_look(l, w);
        const struct cw_local_waited *dead = wait_find_dead(w);
        uint64_t now = wait_now_ms();

        if (dead != NULL) {
            cw_local_ending(&dead->proc, ending);
            snprintf(what, sizeof(what), "ended before it served%s%s%s",
                     ending[0] != '\0' ? " (" : "", ending, ending[0] != '\0' ? ")" : "");
            *ret_bad = dead;
            wait_explain(cli, l, dead, what, why);
            return false;
        }
        if (left == 0)
            return true;
        *ret_bad = wait_find_left(w);
        if (cw_cli_interrupted() || now - begun >= timeout_s * 1000) {
            snprintf(what, sizeof(what), "did not serve within %llu s",
                     (unsigned long long)((now - begun) / 1000));
            wait_explain(cli, l, *ret_bad, cw_cli_interrupted() ? "is not up: interrupted" : what,
                         why);
            return false;
        }
        if (now - noted >= NOTE_EVERY_S * 1000) {
            cw_cli_note(cli, "waiting for %s, %u of %u serve", (*ret_bad)->node->name, w->n - left,
                        w->n);
            noted = now;
        }
        nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
    }
}
