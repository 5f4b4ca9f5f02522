/* metadata/etcd-kv.c - the manager's requests, one at a time. */
#include "daemon/metadata/etcd-internal.h"

static bool
kv_busy(const struct etcd_kv *s)
{
    return s->read.r != NULL || s->txn.t != NULL;
}

bool
cw_etcd_kv_committing(const struct cw_etcd *e)
{
    return e->store.txn.t != NULL;
}

void
cw_etcd_kv_wake(struct cw_etcd *e)
{
    if (!cw_timer_armed(&e->store.timer))
        cw_timer_set(e->env, &e->store.timer, cw_now_ns(e->env));
}

static void
kv_on_timer(struct cw_timer *t)
{
    struct cw_etcd *e = cw_container_of(t, struct cw_etcd, store.timer);
    struct etcd_kv *s = &e->store;
    struct cw_list *node;

    if (kv_busy(s))
        return; /* its end goes on */
    node = cw_list_pop_front(&s->reads);
    if (node != NULL) {
        cw_etcd_read_begin(e, cw_list_entry(node, struct cw_kv_read, link));
        return;
    }
    node = cw_list_pop_front(&s->txns);
    if (node == NULL)
        return;
    cw_etcd_kv_wake(e);
    cw_etcd_txn_begin(e, cw_list_entry(node, struct cw_kv_txn, link));
}

static void
kv_on_end(struct etcd_ask *a, const struct etcd_end *end)
{
    cw_etcd_kv_wake(a->e);
    if (a->e->store.read.r != NULL)
        cw_etcd_read_on_end(a->e, end);
    else
        cw_etcd_txn_on_end(a->e, end);
}

/* Those that wait are only moved to our own list first: what they call may queue more. */
void
cw_etcd_kv_fail(struct cw_etcd *e)
{
    struct etcd_kv *s = &e->store;
    struct cw_list reads, txns, *node;
    bool sent = cw_etcd_ask_drop(&s->ask);

    e->kv.refused = NULL;
    cw_list_init(&reads);
    cw_list_init(&txns);
    cw_list_splice_back(&reads, &s->reads);
    cw_list_splice_back(&txns, &s->txns);
    if (s->txn.t != NULL)
        cw_etcd_txn_end(e, sent && !s->txn.checking ? CW_KV_UNKNOWN : CW_KV_UNAVAILABLE, 0);
    if (s->read.r != NULL)
        cw_etcd_read_end(e, CW_KV_UNAVAILABLE);
    while ((node = cw_list_pop_front(&reads)) != NULL) {
        struct cw_kv_read *r = cw_list_entry(node, struct cw_kv_read, link);

        r->done(r, CW_KV_UNAVAILABLE);
    }
    while ((node = cw_list_pop_front(&txns)) != NULL) {
        struct cw_kv_txn *t = cw_list_entry(node, struct cw_kv_txn, link);

        t->done(t, CW_KV_UNAVAILABLE, 0);
    }
    cw_etcd_kv_wake(e);
}

static void
kv_read(struct cw_kv *kv, struct cw_kv_read *r)
{
    struct cw_etcd *e = cw_container_of(kv, struct cw_etcd, kv);

    cw_list_push_back(&e->store.reads, &r->link);
    cw_etcd_kv_wake(e);
}

static void
kv_commit(struct cw_kv *kv, struct cw_kv_txn *t)
{
    struct cw_etcd *e = cw_container_of(kv, struct cw_etcd, kv);

    cw_list_push_back(&e->store.txns, &t->link);
    cw_etcd_kv_wake(e);
}

static const struct cw_kv_ops kv_ops = { .read = kv_read, .commit = kv_commit };

void
cw_etcd_kv_init(struct cw_etcd *e)
{
    struct etcd_kv *s = &e->store;

    e->kv.ops = &kv_ops;
    cw_etcd_ask_init(&s->ask, e, kv_on_end);
    s->timer.fn = kv_on_timer;
    cw_list_init(&s->reads);
    cw_list_init(&s->txns);
}

void
cw_etcd_forget(struct cw_etcd *e)
{
    struct etcd_kv *s = &e->store;

    cw_timer_cancel(e->env, &s->timer);
    cw_etcd_ask_drop(&s->ask);
    cw_etcd_read_fini(e);
    s->read = (struct etcd_read){ 0 };
    s->txn = (struct etcd_txn){ 0 };
    cw_list_init(&s->reads);
    cw_list_init(&s->txns);
}
