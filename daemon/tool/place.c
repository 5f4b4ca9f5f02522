#include "daemon/tool/place.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/assert.h"
#include "common/base/bits.h"
#include "common/service/service.h"
#include "daemon/metadata/kv-etcd.h"
#include "daemon/metadata/kv-lmdb.h"
#include "daemon/tool/stand.h"

#define WAIT_NS (15 * CW_NS_PER_S)
#define RESIGN_NS (4 * CW_NS_PER_S)

struct cw_place {
    struct cw_tool *t;
    const char *text;
    struct cw_service *s;
    struct cw_env *env;
    struct cw_timer timer; /* a wait has lasted long enough */
    struct cw_lmdb *lmdb;
    struct cw_etcd *etcd;
    struct cw_kv *kv;

    bool ended; /* what is waited for has come, or never will */
    enum cw_kv_result result;
    struct cw_metafile *into;
    uint64_t *versions;
    size_t cap_versions;

    bool leads, told;
    char leader[128], why[256];
};

/* ---- waiting ---- */

static void
place_end(struct cw_place *p)
{
    p->ended = true;
    cw_service_stop(p->s);
}

static void
place_on_timer(struct cw_timer *t)
{
    struct cw_place *p = cw_container_of(t, struct cw_place, timer);

    cw_service_stop(p->s);
}

/* Until place_end; false: it did not come. */
static bool
place_wait(struct cw_place *p, uint64_t ns)
{
    cw_timer_set(p->env, &p->timer, cw_now_ns(p->env) + ns);
    while (!p->ended && cw_timer_armed(&p->timer))
        cw_service_run(p->s);
    cw_timer_cancel(p->env, &p->timer);
    return p->ended;
}

/* ---- what etcd tells ---- */

static void
place_on_elected(void *user)
{
    struct cw_place *p = user;

    p->leads = true;
    place_end(p);
}

static void
place_on_deposed(void *user, const char *why)
{
    struct cw_place *p = user;

    p->leads = false;
    snprintf(p->why, sizeof(p->why), "%s", why);
    place_end(p);
}

static void
place_on_leader(void *user, const char *addr)
{
    struct cw_place *p = user;

    snprintf(p->leader, sizeof(p->leader), "%s", addr != NULL ? addr : "");
    if (addr != NULL && !p->leads)
        place_end(p);
}

static void
place_on_reachable(void *user, bool is, const char *why)
{
    struct cw_place *p = user;

    p->told |= is;
    if (!is)
        snprintf(p->why, sizeof(p->why), "%s", why);
    if (!is && !p->told) /* no member answers */
        place_end(p);
}

static const struct cw_etcd_events place_events = {
    .elected = place_on_elected,
    .deposed = place_on_deposed,
    .leader = place_on_leader,
    .reachable = place_on_reachable,
};

/* ---- opening ---- */

static bool
place_open_lmdb(struct cw_place *p, const char *dir, bool write)
{
    struct cw_lmdb_opts opts = { .env = p->env, .dir = dir, .bootstrap = write };
    char why[CW_LMDB_WHY_SIZE];

    if (cw_lmdb_open(&opts, &p->lmdb, why) != 0) {
        cw_tool_fail(p->t, "CANNOT_OPEN", p->text, "stop the manager that has it open, if one does",
                     "%s", why);
        return false;
    }
    p->kv = cw_lmdb_kv(p->lmdb);
    return true;
}

static bool
place_lead(struct cw_place *p)
{
    cw_etcd_campaign(p->etcd, true);
    place_wait(p, WAIT_NS);
    p->ended = false;
    if (p->leads)
        return true;
    if (p->leader[0] != '\0')
        cw_tool_fail(p->t, "MANAGER_LEADS", p->text,
                     "stop every daemon that has it as its metadata, and try again 5 s later",
                     "%s: the daemon at %s manages a cluster on it", p->text, p->leader);
    else
        cw_tool_fail(p->t, "NO_ETCD", p->text, "see: etcdctl endpoint status", "%s: %s", p->text,
                     p->why[0] != '\0' ? p->why : "the leader key could not be had");
    return false;
}

static bool
place_open_etcd(struct cw_place *p, const char *urls, const struct cw_place_opts *o)
{
    struct cw_etcd_opts opts = {
        .service = p->s,
        .urls = urls,
        .prefix = o->etcd_prefix,
        .value = "",
        .user_name = o->etcd_user,
        .password_file = o->etcd_password_file,
        .ca_file = o->etcd_ca,
        .cert_file = o->etcd_cert,
        .key_file = o->etcd_key,
        .ev = &place_events,
        .user = p,
    };
    char why[CW_ETCD_WHY_SIZE];

    if (cw_etcd_new(&opts, &p->etcd, why) != 0) {
        cw_tool_fail(p->t, "CANNOT_OPEN", p->text, NULL, "%s", why);
        return false;
    }
    p->kv = cw_etcd_kv(p->etcd);
    return !o->write || place_lead(p);
}

bool
cw_place_open(struct cw_tool *t, const struct cw_place_opts *opts, struct cw_place **ret)
{
    struct cw_service_opts so = { .log_level = CW_LOG_WARNING, .log = cw_tool_log, .log_user = t };
    struct cw_place *p = cw_tool_alloc(sizeof(*p));
    int err = 0;
    bool ok;

    p->t = t;
    p->text = opts->text;
    p->timer.fn = place_on_timer;
    p->s = cw_service_new(&so, &err);
    if (p->s == NULL) {
        cw_tool_fail(t, "CANNOT_OPEN", p->text, NULL, "%s: %s", p->text, strerror(-err));
        free(p);
        return false;
    }
    p->env = cw_service_env(p->s);
    if (strncmp(p->text, "lmdb:", 5) == 0)
        ok = place_open_lmdb(p, p->text + 5, opts->write);
    else
        ok = place_open_etcd(p, p->text + 5, opts);
    if (!ok) {
        cw_place_close(p);
        return false;
    }
    *ret = p;
    return true;
}

void
cw_place_close(struct cw_place *p)
{
    if (p == NULL)
        return;
    if (p->leads) { /* so that a daemon can lead at once */
        p->ended = false;
        cw_etcd_campaign(p->etcd, false);
        place_wait(p, RESIGN_NS);
    }
    cw_etcd_free(p->etcd);
    cw_lmdb_close(p->lmdb);
    cw_service_free(p->s);
    free(p->versions);
    free(p);
}

/* ---- requests ---- */

/* The newest line of the log says more than a result does. */
static void
place_fail(struct cw_place *p, const char *what)
{
    const struct cw_tool *t = p->t;
    const char *line = t->n_lines > 0 ? t->lines[(t->n_lines - 1) % CW_TOOL_LINES] : p->why;

    cw_tool_fail(p->t, "NO_ANSWER", p->text, NULL, "%s: %s: %s", p->text, what,
                 line[0] != '\0' ? line : "no answer");
}

struct place_read {
    struct cw_kv_read read;
    struct cw_place *p;
    bool done;
};

static void
place_on_entry(struct cw_kv_read *r, const struct cw_kv_entry *e)
{
    struct cw_place *p = cw_container_of(r, struct place_read, read)->p;

    if (p->into->n == p->cap_versions) {
        p->cap_versions = p->cap_versions == 0 ? 256 : p->cap_versions * 2;
        p->versions = realloc(p->versions, p->cap_versions * sizeof(*p->versions));
        cw_assert(p->versions != NULL);
    }
    p->versions[p->into->n] = e->version;
    cw_metafile_add(p->into, e->key, e->value, e->len);
}

static void
place_on_read(struct cw_kv_read *r, enum cw_kv_result result)
{
    struct place_read *x = cw_container_of(r, struct place_read, read);

    x->done = true;
    x->p->result = result;
    place_end(x->p);
}

bool
cw_place_read(struct cw_place *p, struct cw_metafile *m, uint64_t **ret_versions)
{
    struct place_read r = {
        .read = { .prefix = "", .entry = place_on_entry, .done = place_on_read }, .p = p
    };
    uint64_t begun = cw_now_ns(p->env);

    do { /* of etcd, a member may be about to be left */
        p->into = m;
        r.done = false;
        cw_kv_read(p->kv, &r.read);
        while (!r.done) {
            p->ended = false;
            place_wait(p, WAIT_NS);
        }
    } while (p->result != CW_KV_APPLIED && p->etcd != NULL && p->told &&
             cw_now_ns(p->env) - begun < WAIT_NS);
    p->ended = false;
    if (p->result != CW_KV_APPLIED) {
        place_fail(p, "it cannot be read");
        return false;
    }
    if (ret_versions != NULL) {
        *ret_versions = p->versions;
        p->versions = NULL;
        p->cap_versions = 0;
    }
    return true;
}

struct place_txn {
    struct cw_kv_txn txn;
    struct cw_place *p;
    bool done;
};

static void
place_on_txn(struct cw_kv_txn *t, enum cw_kv_result result, uint64_t version)
{
    struct place_txn *x = cw_container_of(t, struct place_txn, txn);

    x->done = true;
    x->p->result = result;
    place_end(x->p);
}

bool
cw_place_commit(struct cw_place *p, const struct cw_kv_compare *compares,
                const struct cw_kv_op *ops, size_t n)
{
    struct place_txn x = {
        .txn = { .compares = compares,
                 .n_compares = n,
                 .ops = ops,
                 .n_ops = n,
                 .done = place_on_txn },
        .p = p,
    };

    cw_kv_commit(p->kv, &x.txn);
    while (!x.done) {
        p->ended = false;
        place_wait(p, WAIT_NS);
    }
    p->ended = false;
    if (p->result == CW_KV_APPLIED)
        return true;
    place_fail(p,
               p->result == CW_KV_CONFLICT ? "somebody else changes it" : "it cannot be written");
    return false;
}
