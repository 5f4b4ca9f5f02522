/* sim/atoms.c - a request of several blocks in one shard is one record: all of it or nothing (1.5).
 *
 * Values are unique, so a block that shows a write's value shows that the write took effect. Any
 * other block of the same write must then show it too, or something that may have come after it: a
 * block whose content was over and done with before that write began is a torn write.
 */
#include "common/base/bits.h"
#include "tests/sim/sim.h"

#define REACH 8u /* blocks of the longest write with a value */

/* The write of that value to that block; NULL: there is none. */
static const struct sim_hop *
hop_of(const struct sim *sim, uint32_t block, uint64_t value)
{
    const struct sim_history *h = &sim->history;

    for (uint32_t i = h->n[block]; i > 0; i--) {
        const struct sim_hop *hop = &h->at[block][i - 1];

        if (hop->kind == SIM_WRITE && hop->value == value)
            return hop;
    }
    return NULL;
}

/* May zeroes have come to that block after w began? */
static bool
zeroes_may_follow(const struct sim *sim, uint32_t block, const struct sim_hop *w)
{
    const struct sim_history *h = &sim->history;

    for (uint32_t i = h->n[block]; i > 0; i--) {
        const struct sim_hop *hop = &h->at[block][i - 1];

        if (hop->kind == SIM_ZERO && hop->end_ns >= w->begin_ns)
            return true;
    }
    return false;
}

/* Block `a` shows a write that covers block b too, which shows the value `other`. */
static bool
is_whole(const struct sim *sim, uint32_t b, const struct sim_hop *w, uint64_t other)
{
    const struct sim_hop *o;

    if (other == w->value)
        return true;
    if (other == 0)
        return zeroes_may_follow(sim, b, w);
    o = hop_of(sim, b, other);
    return o == NULL || o->end_ns >= w->begin_ns; /* NULL: the history complains */
}

void
sim_atoms_judge(struct sim *sim, uint32_t first, uint32_t n, const uint64_t *values,
                const bool *skip, const char *where)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t from = i > REACH ? i - REACH : 0, to = (uint32_t)cw_min_u64(n, i + REACH);

        if (values[i] == 0 || (skip != NULL && skip[i]))
            continue;
        for (uint32_t k = from; k < to; k++) {
            const struct sim_hop *w;

            if (values[k] == values[i] || (skip != NULL && skip[k]))
                continue;
            w = hop_of(sim, first + k, values[i]);
            if (w != NULL && !is_whole(sim, first + k, w, values[k]))
                sim_fail(sim, "atoms: %s: block %u shows write %llu, and block %u of it only %llu",
                         where, first + i, (unsigned long long)values[i], first + k,
                         (unsigned long long)values[k]);
        }
    }
}
