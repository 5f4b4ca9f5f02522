/* sim/kv.c - the metadata store as a model: every transaction takes effect at one instant.
 *
 *   sent --> arrives: leadership, compares, effect --> answered
 *     \--lost: answered UNKNOWN; takes effect before that, a little after it, or never
 *
 * It elects its manager, so a transaction of a manager that is not the leader any more is refused
 * like one whose compare does not hold (kv.h).
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "daemon/metadata/records.h"
#include "tests/sim/control.h"

struct sim_kv_row {
    struct sim_kv_row *next;
    char key[CW_KV_KEY_SIZE];
    uint64_t version;
    size_t len;
    uint8_t value[];
};

/* ---- rows ---- */

static struct sim_kv_row **
row_place(struct sim_kv *kv, const char *key)
{
    struct sim_kv_row **at = &kv->rows;

    while (*at != NULL && strcmp((*at)->key, key) < 0)
        at = &(*at)->next;
    return at;
}

static struct sim_kv_row *
row_new(const char *key, uint64_t version, const uint8_t *value, size_t len)
{
    struct sim_kv_row *r = calloc(1, sizeof(*r) + len);

    cw_assert(r != NULL && strlen(key) < sizeof(r->key));
    strcpy(r->key, key);
    r->version = version;
    r->len = len;
    memcpy(r->value, value, len);
    return r;
}

static bool
row_record(const struct sim_kv_row *r, struct cw_rec *ret)
{
    return cw_rec_kind_of_key(r->key, &ret->kind) &&
           cw_metadata_codec()->decode(r->value, r->len, ret);
}

bool
sim_kv_has(const struct sim *sim, const char *key)
{
    const struct sim_kv_row *r = *row_place(&sim->control->kv, key);

    return r != NULL && strcmp(r->key, key) == 0;
}

/* Judges what changes, then changes it. */
static void
row_set(struct sim *sim, const char *key, const uint8_t *value, size_t len)
{
    struct sim_kv *kv = &sim->control->kv;
    struct sim_kv_row **at = row_place(kv, key), *old = *at, *now = NULL;
    struct cw_rec old_rec, now_rec;

    if (old != NULL && strcmp(old->key, key) == 0)
        *at = old->next;
    else
        old = NULL;
    if (value != NULL) {
        now = row_new(key, kv->version, value, len);
        now->next = *at;
        *at = now;
        if (!row_record(now, &now_rec))
            sim_fail(sim, "store: what was put under %s cannot be read", key);
    }
    if (old != NULL && !row_record(old, &old_rec))
        sim_fail(sim, "store: %s cannot be read", key);
    sim_kv_judge(sim, old != NULL ? &old_rec : NULL, now != NULL ? &now_rec : NULL);
    free(old);
}

static void
rows_free(struct sim_kv_row *r)
{
    while (r != NULL) {
        struct sim_kv_row *next = r->next;

        free(r);
        r = next;
    }
}

static struct sim_kv_row *
rows_copy(const struct sim_kv_row *from, const char *prefix)
{
    struct sim_kv_row *first = NULL, **end = &first;

    for (; from != NULL; from = from->next) {
        if (strncmp(from->key, prefix, strlen(prefix)) != 0)
            continue;
        *end = row_new(from->key, from->version, from->value, from->len);
        end = &(*end)->next;
    }
    return first;
}

/* ---- requests ---- */

struct kv_item {
    char key[CW_KV_KEY_SIZE];
    uint64_t compared;
    uint8_t *value;
    size_t len;
};

/* A transaction or a read on its way; what it says is copied, for it may outlive its manager. */
struct kv_req {
    struct cw_list node;
    struct sim_mgr *mgr;
    uint32_t life;
    uint64_t term;
    struct cw_kv_txn *txn; /* to be answered */
    struct cw_kv_read *read;
    struct kv_item *items;
    size_t n_items;
    enum cw_kv_result res;
    uint64_t version;
    struct sim_kv_row *found;
    bool answered, effect_due; /* LATE: both are to come */
};

struct kv_step {
    struct sim_task task;
    struct kv_req *req;
};

static void
req_free(struct kv_req *q)
{
    cw_list_remove(&q->node);
    for (size_t i = 0; i < q->n_items; i++)
        free(q->items[i].value);
    free(q->items);
    rows_free(q->found);
    free(q);
}

static void
req_after(struct kv_req *q, uint64_t ns, void (*fn)(struct sim_task *))
{
    struct kv_step *s = calloc(1, sizeof(*s));

    cw_assert(s != NULL);
    s->req = q;
    sim_after(q->mgr->proc.sim, &s->task, ns, fn);
}

static struct kv_req *
req_of(struct sim_task *t)
{
    return cw_container_of(t, struct kv_step, task)->req;
}

static bool
req_is_awaited(const struct kv_req *q)
{
    return q->mgr->m != NULL && q->mgr->proc.life == q->life;
}

static void
req_answer_read(struct kv_req *q)
{
    for (const struct sim_kv_row *r = q->found; r != NULL; r = r->next) {
        struct cw_kv_entry e = { r->key, r->version, r->value, r->len };

        q->read->entry(q->read, &e);
    }
    q->read->done(q->read, q->res);
}

static void
req_answer(struct sim_task *t)
{
    struct kv_req *q = req_of(t);

    if (req_is_awaited(q) && q->mgr->proc.paused) {
        req_after(q, 5 * CW_NS_PER_MS, req_answer);
        return;
    }
    if (req_is_awaited(q)) {
        if (q->read != NULL)
            req_answer_read(q);
        else
            q->txn->done(q->txn, q->res, q->version);
        sim_proc_touch(&q->mgr->proc);
    }
    q->answered = true;
    if (!q->effect_due)
        req_free(q);
}

static bool
compares_hold(struct sim_kv *kv, const struct kv_req *q)
{
    for (size_t i = 0; i < q->n_items; i++) {
        const struct sim_kv_row *r = *row_place(kv, q->items[i].key);
        bool there = r != NULL && strcmp(r->key, q->items[i].key) == 0;

        if (q->items[i].compared != UINT64_MAX && (there ? r->version : 0) != q->items[i].compared)
            return false;
    }
    return true;
}

static void
req_effect(struct kv_req *q)
{
    struct sim *sim = q->mgr->proc.sim;
    struct sim_kv *kv = &sim->control->kv;

    q->res = CW_KV_CONFLICT;
    if (q->term != kv->term) {
        sim_mark(sim, SIM_MARK_DEPOSED);
        sim_log(sim, "store: %s is not the leader any more, its transaction fails",
                q->mgr->proc.name);
        return;
    }
    if (!compares_hold(kv, q))
        return;
    q->res = CW_KV_APPLIED;
    q->version = ++kv->version;
    for (size_t i = 0; i < q->n_items; i++)
        row_set(sim, q->items[i].key, q->items[i].value, q->items[i].len);
}

static void
req_late_effect(struct sim_task *t)
{
    struct kv_req *q = req_of(t);

    req_effect(q);
    if (q->res == CW_KV_APPLIED)
        sim_mark(t->sim, SIM_MARK_KV_LATE);
    q->res = CW_KV_UNKNOWN;
    q->effect_due = false;
    if (q->answered)
        req_free(q);
}

/* It has taken effect, or will, or never does: the manager does not learn which. */
static void
req_lose(struct kv_req *q)
{
    struct sim *sim = q->mgr->proc.sim;
    struct cw_prng *p = &sim->rnd_mgr;
    uint32_t dice = (uint32_t)cw_prng_below(p, 3);
    uint64_t ns = sim_between(p, CW_NS_PER_MS, 2 * CW_NS_PER_S);

    sim_mark(sim, SIM_MARK_KV_UNKNOWN);
    if (dice == 0) {
        req_effect(q);
    } else if (dice == 1) {
        q->effect_due = true;
        req_after(q, sim_between(p, 0, 2 * ns), req_late_effect);
    }
    q->res = CW_KV_UNKNOWN;
    req_after(q, ns, req_answer);
}

static uint64_t
kv_latency(struct sim *sim)
{
    return sim_between(&sim->rnd_mgr, 200000, 4 * CW_NS_PER_MS);
}

static void
txn_arrives(struct sim_task *t)
{
    struct kv_req *q = req_of(t);
    struct sim *sim = t->sim;
    struct sim_kv *kv = &sim->control->kv;
    bool away = sim->now_ns < kv->away_until_ns;

    if (q->mgr->cut || (away && sim_chance(&sim->rnd_mgr, 30))) {
        q->res = CW_KV_UNKNOWN;
        req_after(q, sim_between(&sim->rnd_mgr, 1, 3) * CW_NS_PER_S, req_answer);
        return;
    }
    if (away) {
        q->res = CW_KV_UNAVAILABLE;
    } else if (!sim->calm && cw_prng_below(&sim->rnd_mgr, 256) < kv->lose_256ths) {
        req_lose(q);
        return;
    } else {
        req_effect(q);
    }
    req_after(q, kv_latency(sim), req_answer);
}

static void
read_arrives(struct sim_task *t)
{
    struct kv_req *q = req_of(t);
    struct sim *sim = t->sim;
    struct sim_kv *kv = &sim->control->kv;
    uint64_t ns = kv_latency(sim);

    if (q->mgr->cut || sim->now_ns < kv->away_until_ns) {
        q->res = CW_KV_UNAVAILABLE;
        ns = sim_between(&sim->rnd_mgr, 1, 1000) * CW_NS_PER_MS;
    } else {
        q->res = CW_KV_APPLIED;
        if (req_is_awaited(q))
            q->found = rows_copy(kv->rows, q->read->prefix);
    }
    req_after(q, ns, req_answer);
}

static struct kv_req *
req_new(struct cw_kv *kv)
{
    struct sim_mgr *m = cw_container_of(kv, struct sim_mgr, kv);
    struct kv_req *q = calloc(1, sizeof(*q));

    cw_assert(q != NULL);
    q->mgr = m;
    q->life = m->proc.life;
    q->term = m->term;
    cw_list_push_back(&m->proc.sim->control->kv.reqs, &q->node);
    return q;
}

static struct kv_item *
txn_item(struct kv_req *q, const char *key)
{
    for (size_t i = 0; i < q->n_items; i++)
        if (strcmp(q->items[i].key, key) == 0)
            return &q->items[i];
    cw_assert(strlen(key) < CW_KV_KEY_SIZE);
    strcpy(q->items[q->n_items].key, key);
    q->items[q->n_items].compared = UINT64_MAX;
    return &q->items[q->n_items++];
}

static void
kv_commit(struct cw_kv *kv, struct cw_kv_txn *t)
{
    struct kv_req *q = req_new(kv);

    q->txn = t;
    q->items = calloc(t->n_compares + t->n_ops + 1, sizeof(*q->items));
    cw_assert(q->items != NULL);
    for (size_t i = 0; i < t->n_compares; i++)
        txn_item(q, t->compares[i].key)->compared = t->compares[i].version;
    cw_assert(t->n_ops == t->n_compares); /* else a compare alone would delete */
    for (size_t i = 0; i < t->n_ops; i++) {
        struct kv_item *item = txn_item(q, t->ops[i].key);

        if (t->ops[i].value == NULL)
            continue;
        item->len = t->ops[i].len;
        item->value = malloc(item->len);
        cw_assert(item->value != NULL);
        memcpy(item->value, t->ops[i].value, item->len);
    }
    req_after(q, kv_latency(q->mgr->proc.sim), txn_arrives);
}

static void
kv_read(struct cw_kv *kv, struct cw_kv_read *r)
{
    struct kv_req *q = req_new(kv);

    q->read = r;
    req_after(q, kv_latency(q->mgr->proc.sim), read_arrives);
}

/* ---- life ---- */

void
sim_kv_seat(struct sim_mgr *m)
{
    static const struct cw_kv_ops ops = { kv_read, kv_commit };

    m->kv = (struct cw_kv){ &ops, "simulated" };
}

void
sim_kv_save(struct sim *sim)
{
    struct sim_kv *kv = &sim->control->kv;

    rows_free(kv->saved);
    kv->saved = rows_copy(kv->rows, "");
    kv->saved_gen = sim->reg.gen;
    kv->saved_cfg = sim->reg.recs[0].cfg;
}

void
sim_kv_swap(struct sim *sim)
{
    struct sim_kv *kv = &sim->control->kv;
    struct sim_kv_row *rows = kv->rows;

    kv->rows = kv->saved;
    kv->saved = rows;
    kv->behind = !kv->behind;
    kv->term++; /* what is under way is for the other */
    sim_log(sim, "the metadata store %s", kv->behind ? "goes back" : "is the newest again");
}

void
sim_kv_init(struct sim *sim)
{
    cw_list_init(&sim->control->kv.reqs);
}

void
sim_kv_fini(struct sim *sim)
{
    struct sim_kv *kv = &sim->control->kv;

    while (!cw_list_empty(&kv->reqs))
        req_free(cw_list_first(&kv->reqs, struct kv_req, node));
    rows_free(kv->rows);
    rows_free(kv->saved);
}
