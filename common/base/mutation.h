/* base/mutation.h - rules that a test build can take away, to see that the simulator notices.
 *
 * Only where CW_MUTATION is defined, which is in causeway-sim-mutated (tests/sim); in every other
 * program each rule stands and no code is left of this. Read: replication.md, and the models.
 */
#pragma once

#include <stdbool.h>

#define CW_MUTATIONS(M) \
    M(NO_MIN_SEQ, "no-min-seq", "CHUNK_GET without min_seq (1.10)") \
    M(PROMOTE_EARLY, "promote-early", "promotion before p-1 is durable everywhere (1.10)") \
    M(ACK_NEW, "ack-new", "acks by the new set before the change is resolved (I4)") \
    M(NO_WAIT, "no-wait", "takeover without the lease wait (I11)")

#define CW_MUTATION_ENUM(id, name, what) CW_MUTATION_##id,
enum cw_mutation { CW_MUTATION_NONE, CW_MUTATIONS(CW_MUTATION_ENUM) CW_N_MUTATIONS };

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
