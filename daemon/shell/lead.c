#include "daemon/shell/lead.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/metadata/kv-etcd.h"
#include "daemon/metadata/records.h"
#include "daemon/shell/manager-rpc.h"

#define AWAY_MS 3000u /* for somebody who can lead */
#define END_NS (2 * CW_NS_PER_S)

struct cw_lead {
    const struct cw_lead_opts *opts;
    struct cw_env *env;
    struct cw_etcd *etcd;
    struct cw_manager *manager; /* LOADING, LEADING */
    struct cw_manager_rpc rpc;
    bool leads;   /* its records are read */
    bool elected; /* and not deposed */
    bool ending;
    bool told;                      /* the log knows why it cannot lead */
    char leader[CW_ADDR_TEXT_SIZE]; /* "" nobody, or unknown */
    char trouble[CW_ETCD_WHY_SIZE]; /* why etcd does not answer; "" it does */
    struct cw_timer again;          /* resigns, on a turn of its own */
    struct cw_timer end;
};

/* ---- the manager, there and gone ---- */

static void
lead_close(struct cw_lead *l, const char *why)
{
    if (l->manager == NULL)
        return;
    l->leads = false;
    cw_timer_cancel(l->env, &l->again);
    cw_etcd_forget(l->etcd);
    cw_manager_rpc_close(&l->rpc, why);
    l->manager = NULL;
}

static void
lead_on_again(struct cw_timer *t)
{
    struct cw_lead *l = cw_container_of(t, struct cw_lead, again);

    lead_close(l, "cannot lead");
    cw_etcd_resign(l->etcd, AWAY_MS);
}

static void
lead_on_started(void *user, const char *why_not)
{
    struct cw_lead *l = user;

    if (why_not == NULL) {
        l->leads = true;
        l->told = false;
        cw_log(l->env, CW_LOG_NOTICE, "manager: leads, at %s", l->opts->advertise);
        return;
    }
    if (!l->told)
        cw_log(l->env, CW_LOG_WARNING, "manager: cannot lead: %s", why_not);
    l->told = true;
    cw_timer_set(l->env, &l->again, cw_now_ns(l->env));
}

static void
lead_open(struct cw_lead *l)
{
    const struct cw_options *o = l->opts->options;
    struct cw_manager_opts opts = {
        .env = l->env,
        .kv = cw_etcd_kv(l->etcd),
        .codec = cw_metadata_codec(),
        .ops = &cw_manager_push_ops,
        .world = &l->rpc,
        .bootstrap = o->bootstrap,
        .any_host = true,
        .cluster_name = o->cluster_name != NULL ? o->cluster_name : "",
        .manager_name = l->opts->advertise,
    };

    l->manager = cw_manager_new(&opts);
    cw_assert(l->manager != NULL);
    l->rpc.manager = l->manager;
    cw_manager_start(l->manager);
}

/* ---- what etcd says ---- */

static void
lead_on_elected(void *user)
{
    struct cw_lead *l = user;

    l->elected = true;
    lead_close(l, "begins anew");
    lead_open(l);
}

static void
lead_over(struct cw_lead *l)
{
    if (l->ending && cw_timer_armed(&l->end)) {
        cw_timer_cancel(l->env, &l->end);
        l->opts->ended(l->opts->user);
    }
}

static void
lead_on_deposed(void *user, const char *why)
{
    struct cw_lead *l = user;

    l->elected = false;
    if (l->leads)
        cw_log(l->env, CW_LOG_NOTICE, "manager: leads no more: %s; data flows on", why);
    lead_close(l, "is not the manager any more");
    lead_over(l);
}

static void
lead_on_leader(void *user, const char *addr)
{
    struct cw_lead *l = user;

    snprintf(l->leader, sizeof(l->leader), "%s", addr != NULL ? addr : "");
    if (addr != NULL && !l->ending)
        l->opts->moved(l->opts->user, l->leader);
}

static void
lead_on_reachable(void *user, bool is, const char *why)
{
    struct cw_lead *l = user;

    snprintf(l->trouble, sizeof(l->trouble), "%s", is ? "" : why);
    if (is)
        cw_log(l->env, CW_LOG_INFO, "metadata: etcd answers");
    else
        cw_log(l->env, CW_LOG_WARNING, "metadata: %s; data flows on", why);
}

static const struct cw_etcd_events lead_events = {
    .elected = lead_on_elected,
    .deposed = lead_on_deposed,
    .leader = lead_on_leader,
    .reachable = lead_on_reachable,
};

/* ---- who asks ---- */

static void
lead_redirect(struct cw_lead *l, struct cw_rpc_req *take_req)
{
    char why[CW_RPC_WHY_SIZE];

    if (l->leader[0] != '\0' && strcmp(l->leader, l->opts->advertise) != 0) {
        cw_rpc_req_not_manager(take_req, l->leader, NULL);
        return;
    }
    snprintf(why, sizeof(why), "nobody leads now%s%.160s", l->trouble[0] != '\0' ? ": etcd: " : "",
             l->trouble);
    cw_rpc_req_not_manager(take_req, NULL, why);
}

void
cw_lead_message(struct cw_lead *l, struct cw_rpc_conn *c, const cw_envelope *m,
                struct cw_rpc_req *take_req)
{
    if (l->manager != NULL)
        cw_manager_rpc_message(&l->rpc, c, m, take_req);
    else if (take_req != NULL)
        lead_redirect(l, take_req);
}

void
cw_lead_down(struct cw_lead *l, struct cw_rpc_conn *c)
{
    cw_manager_rpc_down(c);
}

/* ---- life ---- */

static void
lead_on_end(struct cw_timer *t)
{
    struct cw_lead *l = cw_container_of(t, struct cw_lead, end);

    lead_close(l, "stops");
    l->opts->ended(l->opts->user);
}

void
cw_lead_end(struct cw_lead *l)
{
    if (l->ending)
        return;
    l->ending = true;
    cw_timer_set(l->env, &l->end, cw_now_ns(l->env) + (l->elected ? END_NS : 0));
    cw_etcd_campaign(l->etcd, false);
}

static int
lead_open_etcd(struct cw_lead *l, char why[static CW_LEAD_WHY_SIZE])
{
    const struct cw_options *o = l->opts->options;
    struct cw_etcd_opts opts = {
        .service = l->opts->service,
        .urls = o->metadata + strlen("etcd:"),
        .prefix = o->metadata_prefix,
        .value = l->opts->advertise,
        .user_name = o->metadata_user,
        .password_file = o->metadata_password_file,
        .ca_file = o->metadata_ca,
        .cert_file = o->metadata_cert,
        .key_file = o->metadata_key,
        .ev = &lead_events,
        .user = l,
    };

    return cw_etcd_new(&opts, &l->etcd, why);
}

int
cw_lead_new(const struct cw_lead_opts *opts, struct cw_lead **ret,
            char why[static CW_LEAD_WHY_SIZE])
{
    struct cw_lead *l = calloc(1, sizeof(*l));
    int res;

    cw_assert(l != NULL);
    l->opts = opts;
    l->env = cw_service_env(opts->service);
    l->again.fn = lead_on_again;
    l->end.fn = lead_on_end;
    l->rpc = (struct cw_manager_rpc){
        .env = l->env, .server = opts->server, .on_started = lead_on_started, .user = l
    };
    cw_manager_rpc_init(&l->rpc);
    res = lead_open_etcd(l, why);
    if (res != 0) {
        free(l);
        return res;
    }
    cw_etcd_campaign(l->etcd, true);
    *ret = l;
    return 0;
}

void
cw_lead_free(struct cw_lead *l)
{
    if (l == NULL)
        return;
    cw_timer_cancel(l->env, &l->again);
    cw_timer_cancel(l->env, &l->end);
    lead_close(l, "stops");
    cw_etcd_free(l->etcd);
    free(l);
}
