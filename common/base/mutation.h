/* base/mutation.h - rules that a test build can take away, to see that the simulator notices.
 *
 * Only with -Dmutations=true; in every other build each rule stands and no code is left of this.
 */
#pragma once

#include <stdbool.h>

enum cw_mutation {
    CW_MUTATION_NONE,
    CW_MUTATION_NO_MIN_SEQ,    /* CHUNK_GET without min_seq */
    CW_MUTATION_PROMOTE_EARLY, /* promotion before p-1 is durable everywhere */
    CW_MUTATION_ACK_NEW,       /* acks by the new set before the change is resolved */
    CW_MUTATION_NO_WAIT,       /* takeover without the lease wait (I11) */
};

#ifdef CW_MUTATION
extern enum cw_mutation cw_mutation_now; /* set once, before anything runs */

static inline bool
cw_mutated(enum cw_mutation m)
{
    return cw_mutation_now == m;
}
#else
static inline bool
cw_mutated(enum cw_mutation m)
{
    return false;
}
#endif
