/* manager/load.c - reading the whole store, at the start and whenever a transaction is in doubt.
 *
 * What was read replaces memory at once and only when the list is complete, so that between two
 * turns memory always equals one state of the store.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/manager/internal.h"

#define RETRY_NS (500 * CW_NS_PER_MS)

void
cw_mgr_load_forget(struct cw_manager *m)
{
    while (m->loaded != NULL) {
        struct mgr_loaded *l = m->loaded;

        m->loaded = l->next;
        free(l);
    }
    m->loaded_end = &m->loaded;
}

static void
load_entry(struct cw_kv_read *read, const struct cw_kv_entry *e)
{
    struct cw_manager *m = cw_container_of(read, struct cw_manager, read);
    char key[CW_KV_KEY_SIZE];
    struct mgr_loaded *l;
    enum cw_rec_kind kind;

    if (!cw_rec_kind_of_key(e->key, &kind))
        return; /* a newer program's: not ours to judge */
    l = calloc(1, sizeof(*l));
    cw_assert(l != NULL);
    l->version = e->version;
    l->rec.kind = kind;
    if (!cw_mgr_text_set(l->key, sizeof(l->key), e->key) ||
        !m->opts.codec->decode(e->value, e->len, &l->rec) ||
        strcmp(cw_rec_key(&l->rec, key), e->key) != 0) { /* it is found by what it says */
        snprintf(m->load_error, sizeof(m->load_error), "the record %.100s cannot be read", e->key);
        free(l);
        return;
    }
    *m->loaded_end = l;
    m->loaded_end = &l->next;
}

static bool
loaded_has(const struct cw_manager *m, const struct mgr_obj *o)
{
    for (const struct mgr_loaded *l = m->loaded; l != NULL; l = l->next) {
        if (strcmp(l->key, o->key) == 0)
            return true;
    }
    return false;
}

/* Only after a doubt: at the start there is nothing to remove. */
static void
load_remove_rest(struct cw_manager *m)
{
    for (int k = 0; k < MGR_N_KINDS; k++) {
        struct mgr_table *t = &m->t.of[k];

        for (size_t i = 0; i < t->n;) {
            char key[CW_KV_KEY_SIZE];

            if (loaded_has(m, t->at[i])) {
                i++;
                continue;
            }
            memcpy(key, t->at[i]->key, sizeof(key));
            cw_mgr_apply_del(m, (enum cw_rec_kind)k, key);
        }
    }
}

static void
load_apply(struct cw_manager *m)
{
    load_remove_rest(m);
    for (struct mgr_loaded *l = m->loaded; l != NULL; l = l->next)
        cw_mgr_apply_put(m, l->key, l->version, &l->rec);
    cw_mgr_load_forget(m);
    cw_mgr_backup_note(m);
    m->doubt = false;
}

static const char *
load_verdict(struct cw_manager *m)
{
    bool cluster = m->t.of[CW_REC_CLUSTER].n == 1;

    if (!cluster && !m->opts.bootstrap)
        return "the metadata store holds no cluster: a first start needs --bootstrap; if there was "
               "one, see causeway-store metadata import and rebuild-metadata";
    if (cluster && m->opts.bootstrap && !m->opts.any_host)
        return "the metadata store already holds a cluster: start without --bootstrap";
    return NULL;
}

static void
load_finish(struct cw_manager *m)
{
    bool first = m->phase == MGR_LOADING;
    const char *why;

    if (m->load_error[0] != '\0') {
        cw_mgr_load_forget(m);
        if (first) {
            cw_mgr_loaded(m, m->load_error);
        } else {
            cw_log(m->env, CW_LOG_ERROR, "metadata: %s", m->load_error);
            cw_timer_set(m->env, &m->retry, cw_now_ns(m->env) + RETRY_NS);
        }
        return;
    }
    load_apply(m);
    if (!first) {
        cw_mgr_hint_owners(m, NULL);
        cw_mgr_kick(m);
        return;
    }
    why = load_verdict(m);
    if (why == NULL && m->t.of[CW_REC_CLUSTER].n == 0)
        cw_mgr_bootstrap(m);
    else
        cw_mgr_loaded(m, why);
}

static void
load_done(struct cw_kv_read *read, enum cw_kv_result res)
{
    struct cw_manager *m = cw_container_of(read, struct cw_manager, read);

    m->reading = false;
    if (res != CW_KV_APPLIED) {
        cw_mgr_load_forget(m);
        cw_timer_set(m->env, &m->retry, cw_now_ns(m->env) + RETRY_NS);
        return;
    }
    load_finish(m);
}

void
cw_mgr_load(struct cw_manager *m)
{
    if (m->reading || m->stopping)
        return;
    cw_mgr_load_forget(m);
    m->load_error[0] = '\0';
    m->reading = true;
    m->read = (struct cw_kv_read){ .prefix = "", .entry = load_entry, .done = load_done };
    cw_kv_read(m->opts.kv, &m->read);
}

void
cw_mgr_retry_fired(struct cw_timer *t)
{
    cw_mgr_load(cw_container_of(t, struct cw_manager, retry));
}

/* ---- the first start ---- */

static enum mgr_build
bootstrap_build(struct mgr_op *op, struct mgr_txn *t)
{
    struct cw_manager *m = op->m;
    struct cw_cluster_rec *c = cw_mgr_txn_cluster(t);
    struct cw_rec policy = { .kind = CW_REC_POLICY };
    char text[CW_UUID_TEXT_SIZE];

    if (m->t.of[CW_REC_CLUSTER].n != 0)
        return MGR_BUILD_NONE; /* an attempt whose answer was lost */
    c->cluster_id = cw_uuid_from_random(cw_random(m->env), cw_random(m->env));
    c->next_volume_id = 1;
    c->next_event = 1;
    c->created_s = cw_mgr_wall_s(m);
    if (m->opts.cluster_name == NULL || m->opts.cluster_name[0] == '\0')
        cw_mgr_text_clip(c->name, 9, cw_uuid_format(&c->cluster_id, text));
    else
        cw_mgr_text_clip(c->name, sizeof(c->name), m->opts.cluster_name);
    cw_mgr_policy_default(&policy.policy);
    cw_mgr_txn_put(t, &policy);
    cw_mgr_txn_event(t, "CLUSTER_CREATED", c->name, "cluster %s", text);
    return MGR_BUILD_COMMIT;
}

static void
bootstrap_end(struct mgr_op *op, enum cw_mgr_code code, const char *why)
{
    struct cw_manager *m = op->m;

    free(op);
    if (code == CW_MGR_OK)
        cw_mgr_loaded(m, NULL);
    else
        cw_mgr_loaded(m, why);
}

void
cw_mgr_bootstrap(struct cw_manager *m)
{
    struct mgr_op *op = calloc(1, sizeof(*op));

    cw_assert(op != NULL);
    op->build = bootstrap_build;
    op->end = bootstrap_end;
    cw_mgr_op_queue(m, op);
}
