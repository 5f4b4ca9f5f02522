/* sim/history.c - is every block a register? (simulation.md 5.3)
 *
 * Written values are unique, so each read names its write. Per block the writes form a graph: a
 * before b if a's effect was over before b began, or if reads say so; a cycle is a violation, and
 * so is a value from nowhere, from the future, or overwritten before the read began. The effect of
 * a write whose client never learned its outcome lies before the next owner's ACTIVE, or nowhere
 * (I8). A read of what was overwritten before it began is a lease that was none (I10, I11), a lost
 * write (I1, I2), or two reads of a write that was not acknowledged in between (I13). Zeroes are
 * not unique: a read of zeroes needs one explanation among all.
 *
 * With ack=replicated a write that was acknowledged and not flushed is like one whose outcome is
 * not known, once every copy in sync lost its memory with it (invariants.c says when).
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/sim/sim.h"

uint32_t
sim_history_begin(struct sim *sim, uint32_t block, enum sim_op_kind kind, uint64_t value,
                  uint32_t epoch)
{
    struct sim_history *h = &sim->history;

    if (h->n[block] == h->cap[block]) {
        h->cap[block] = h->cap[block] * 2 + 64;
        h->at[block] = realloc(h->at[block], h->cap[block] * sizeof(h->at[block][0]));
        cw_assert(h->at[block] != NULL);
    }
    h->at[block][h->n[block]] = (struct sim_hop){
        .begin_ns = sim->now_ns,
        .end_ns = CW_NEVER,
        .value = value,
        .epoch = epoch,
        .kind = kind,
    };
    return h->n[block]++;
}

void
sim_history_end(struct sim *sim, uint32_t block, uint32_t index, uint64_t value)
{
    struct sim_hop *hop = &sim->history.at[block][index];

    hop->end_ns = sim->now_ns;
    hop->value = value;
    hop->acked = true;
}

void
sim_history_active(struct sim *sim, uint32_t epoch)
{
    struct sim_history *h = &sim->history;

    for (uint32_t b = 0; b < SIM_BLOCKS; b++)
        for (uint32_t i = 0; i < h->n[b]; i++) {
            struct sim_hop *hop = &h->at[b][i];

            if (!hop->acked && hop->end_ns == CW_NEVER && hop->epoch < epoch)
                hop->end_ns = sim->now_ns;
        }
    sim->active_epoch = epoch;
}

void
sim_history_flushed(struct sim *sim, uint32_t epoch, uint64_t begin_ns)
{
    struct sim_history *h = &sim->history;

    if (epoch >= h->n_flushed) {
        uint32_t n = 2 * epoch + 16;

        h->flushed_ns = realloc(h->flushed_ns, n * sizeof(h->flushed_ns[0]));
        cw_assert(h->flushed_ns != NULL);
        memset(h->flushed_ns + h->n_flushed, 0, (n - h->n_flushed) * sizeof(h->flushed_ns[0]));
        h->n_flushed = n;
    }
    h->flushed_ns[epoch] = cw_max_u64(h->flushed_ns[epoch], begin_ns);
}

void
sim_history_unflushed(struct sim *sim, uint32_t shard, uint32_t epoch)
{
    struct sim_history *h = &sim->history;
    uint64_t flushed_ns = 0; /* by whoever came later, too */

    for (uint32_t e = epoch; e < h->n_flushed; e++)
        flushed_ns = cw_max_u64(flushed_ns, h->flushed_ns[e]);
    for (uint32_t b = 0; b < SIM_BLOCKS; b++)
        for (uint32_t i = 0; sim_block_shard(sim, b) == shard && i < h->n[b]; i++) {
            struct sim_hop *hop = &h->at[b][i];

            if (hop->kind == SIM_READ || !hop->acked || hop->epoch != epoch ||
                hop->end_ns < flushed_ns)
                continue;
            hop->acked = false;
            hop->end_ns = sim->now_ns;
        }
}

void
sim_history_forgive(struct sim *sim)
{
    struct sim_history *h = &sim->history;

    for (uint32_t b = 0; b < SIM_BLOCKS; b++)
        for (uint32_t i = 0; i < h->n[b]; i++) {
            struct sim_hop *hop = &h->at[b][i];

            hop->acked = false; /* a read is not looked at any more, a write may never have been */
            if (hop->kind == SIM_READ)
                continue;
            hop->begin_ns = 0;
            hop->end_ns = sim->now_ns;
        }
}

void
sim_history_free(struct sim_history *h)
{
    for (uint32_t b = 0; b < SIM_BLOCKS; b++)
        free(h->at[b]);
    free(h->flushed_ns);
}

/* ---- judging one block ---- */

struct judge {
    struct sim *sim;
    uint32_t block;
    const struct sim_hop *hops;
    uint32_t n;
    uint32_t *writes, n_writes; /* indices, in order of begin */
    uint32_t *source;           /* of each hop that is a read: its write's place, or NONE */
    bool *before;               /* n_writes x n_writes */
};

#define NONE UINT32_MAX

static void
judge_fail(struct judge *j, const struct sim_hop *r, const char *what)
{
    sim_fail(j->sim, "history: block %u, read %.6f..%.6f of value %llu in epoch %u: %s", j->block,
             (double)r->begin_ns / 1e9, (double)r->end_ns / 1e9, (unsigned long long)r->value,
             r->epoch, what);
}

/* Did some write begin after w was over, and end, acked, before the read began? */
static bool
judge_overwritten(const struct judge *j, uint64_t w_end, const struct sim_hop *r)
{
    for (uint32_t i = 0; i < j->n_writes; i++) {
        const struct sim_hop *o = &j->hops[j->writes[i]];

        if (o->acked && o->begin_ns > w_end && o->end_ns < r->begin_ns)
            return true;
    }
    return false;
}

/* A write that began after the deadline of its effect may never be seen. */
static bool
hop_is_void(const struct sim_hop *w)
{
    return !w->acked && w->begin_ns > w->end_ns;
}

static void
judge_zero(struct judge *j, const struct sim_hop *r)
{
    bool ok = !judge_overwritten(j, 0, r);

    for (uint32_t i = 0; i < j->n_writes && !ok; i++) {
        const struct sim_hop *w = &j->hops[j->writes[i]];

        ok = w->value == 0 && w->begin_ns <= r->end_ns && !hop_is_void(w) &&
             !judge_overwritten(j, w->end_ns, r);
    }
    if (!ok)
        judge_fail(j, r, "zeroes that no write explains, data was lost (I2)");
}

static void
judge_value(struct judge *j, uint32_t at)
{
    const struct sim_hop *r = &j->hops[at];

    for (uint32_t i = 0; i < j->n_writes; i++) {
        const struct sim_hop *w = &j->hops[j->writes[i]];

        if (w->value != r->value)
            continue;
        j->source[at] = i;
        if (w->begin_ns > r->end_ns)
            judge_fail(j, r, "a value from the future");
        else if (hop_is_void(w) || (w->end_ns < w->begin_ns))
            judge_fail(j, r, "a write of a fenced owner took effect (I8)");
        else if (judge_overwritten(j, w->end_ns, r))
            judge_fail(j, r, "overwritten before the read began (I1, I2, I10, I11, I13)");
        return;
    }
    judge_fail(j, r, "a value that was never written there");
}

static void
judge_edge(struct judge *j, uint32_t a, uint32_t b)
{
    if (a != b)
        j->before[a * j->n_writes + b] = true;
}

static void
judge_edges(struct judge *j)
{
    for (uint32_t a = 0; a < j->n_writes; a++)
        for (uint32_t b = 0; b < j->n_writes; b++)
            if (j->hops[j->writes[a]].end_ns < j->hops[j->writes[b]].begin_ns)
                judge_edge(j, a, b);
    for (uint32_t i = 0; i < j->n; i++) {
        const struct sim_hop *r = &j->hops[i];

        if (j->source[i] == NONE)
            continue;
        for (uint32_t a = 0; a < j->n_writes; a++) {
            const struct sim_hop *w = &j->hops[j->writes[a]];

            if (w->acked && w->end_ns < r->begin_ns)
                judge_edge(j, a, j->source[i]);
            if (w->begin_ns > r->end_ns)
                judge_edge(j, j->source[i], a);
        }
        for (uint32_t k = 0; k < j->n; k++)
            if (j->source[k] != NONE && j->hops[k].end_ns < r->begin_ns)
                judge_edge(j, j->source[k], j->source[i]);
    }
}

/* 0 unseen, 1 on the path, 2 done */
static bool
judge_has_cycle(const struct judge *j, uint32_t at, uint8_t *seen)
{
    seen[at] = 1;
    for (uint32_t b = 0; b < j->n_writes; b++) {
        if (!j->before[at * j->n_writes + b] || seen[b] == 2)
            continue;
        if (seen[b] == 1 || judge_has_cycle(j, b, seen))
            return true;
    }
    seen[at] = 2;
    return false;
}

/* What the block saw, for whoever looks at a trace. */
static void
judge_show(const struct judge *j)
{
    for (uint32_t i = 0; i < j->n; i++) {
        const struct sim_hop *h = &j->hops[i];

        sim_log(j->sim, "block %u: %s of %llu in epoch %u, %.6f..%.6f%s", j->block,
                h->kind == SIM_READ ? "read" : "write", (unsigned long long)h->value, h->epoch,
                (double)h->begin_ns / 1e9, (double)h->end_ns / 1e9, h->acked ? "" : ", unknown");
    }
}

static void
judge_block(struct judge *j)
{
    uint8_t *seen = calloc(j->n + 1, 1);

    for (uint32_t i = 0; i < j->n; i++) {
        j->source[i] = NONE;
        if (j->hops[i].kind != SIM_READ)
            j->writes[j->n_writes++] = i;
    }
    for (uint32_t i = 0; i < j->n; i++) {
        const struct sim_hop *r = &j->hops[i];

        if (r->kind != SIM_READ || !r->acked)
            continue;
        if (r->value == 0)
            judge_zero(j, r);
        else
            judge_value(j, i);
    }
    j->before = calloc((size_t)j->n_writes * j->n_writes + 1, sizeof(bool));
    cw_assert(j->before != NULL && seen != NULL);
    judge_edges(j);
    for (uint32_t a = 0; a < j->n_writes && !j->sim->result.failed; a++)
        if (seen[a] == 0 && judge_has_cycle(j, a, seen))
            sim_fail(j->sim, "history: block %u: reads saw its writes in two orders (I8, I13)",
                     j->block);
    if (j->sim->result.failed && j->sim->opts.trace)
        judge_show(j);
    free(j->before);
    free(seen);
}

void
sim_history_judge(struct sim *sim)
{
    struct sim_history *h = &sim->history;

    for (uint32_t b = 0; b < SIM_BLOCKS && !sim->result.failed; b++) {
        struct judge j = { .sim = sim, .block = b, .hops = h->at[b], .n = h->n[b] };

        j.writes = calloc(j.n + 1, sizeof(uint32_t));
        j.source = calloc(j.n + 1, sizeof(uint32_t));
        cw_assert(j.writes != NULL && j.source != NULL);
        judge_block(&j);
        free(j.writes);
        free(j.source);
    }
}
