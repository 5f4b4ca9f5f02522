#include "client/admin/localwait.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "client/admin/remote.h"
#include "common/base/bits.h"

#define ASK_MS 500
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

static cw_envelope *
wait_ask_hosts(const struct cw_local *l)
{
    Causeway__Control__HostLs body = CAUSEWAY__CONTROL__HOST_LS__INIT;
    cw_envelope *reply;
    char address[32];

    reply = cw_remote_try(cw_local_address(l, address), CW_ASK(HOST_LS, host_ls, &body), ASK_MS);
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
    bool manager_runs = cw_local_proc_find(l, &l->node[0]).state == CW_LOCAL_RUNNING;
    cw_envelope *hosts = manager_runs ? wait_ask_hosts(l) : NULL;

    *w = (struct cw_local_wait){ .n = 0 };
    for (uint32_t i = 1; i < l->n_nodes; i++) {
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
    bool manager_runs = cw_local_proc_find(l, &l->node[0]).state == CW_LOCAL_RUNNING;
    cw_envelope *hosts = manager_runs ? wait_ask_hosts(l) : NULL;
    uint32_t left = 0;

    for (uint32_t i = 0; i < w->n; i++) {
        struct cw_local_waited *one = &w->at[i];

        if (one->node->is_manager)
            one->serves = hosts != NULL;
        else if (!one->serves)
            one->serves =
                (!manager_runs || wait_is_up(hosts, one)) && wait_port_accepts(one->node->port);
        if (one->node->is_manager && one->serves)
            one->node->prepared = true;
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
