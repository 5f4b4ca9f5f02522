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
    M(NO_WAIT, "no-wait", "takeover without the lease wait (I11)") \
    M(WAIT_ANY, "wait-any", "the wait begins at any copy's seal, not an in-sync one's (I11)") \
    M(KEEP_UNSEALED, "keep-unsealed", "copies that were not sealed stay in sync (1.8)") \
    M(LAG_NO_CHECK, "lag-no-check", "a LAGGING copy goes on without lying in the history (1.8)") \
    M(ACK_ONE, "ack-one", "acks once one copy has it durable (I1)") \
    M(HB_NO_OPEN, "hb-no-open", "a heartbeat from before OPEN gives a lease (I10)") \
    M(LEASE_ONE, "lease-one", "a lease of any copy is enough to read (I10)") \
    M(READ_UNION, "read-union", "reads of copies that may be in sync (I4)") \
    M(READ_AT_ISSUE, "read-at-issue", "overlapping writes are not looked at at completion (I13)") \
    M(READ_AT_END, "read-at-end", "nor at submission (I13)") \
    M(REFUSED_IS_NO, "refused-is-no", "a refused change resolves the doubt (I4)") \
    M(PROMOTE_UNACKED, "promote-unacked", "p-1 is durable on the copy alone (1.10)") \
    M(LOST_TAIL, "lost-tail", "a copy that came back without durable records goes on (I15)") \
    M(REORDER, "reorder", "a copy takes records above the next one (I6)") \
    M(OLD_GEN, "old-gen", "a sealed copy goes on with its old owner (I5)") \
    M(NO_VOID, "no-void", "a chunk is copied over without its version being void (I9)") \
    M(NO_TOUCHED, "no-touched", "records between JOIN and the list are forgotten (1.10)") \
    M(NO_ARRAY, "no-array", "blocks written while they are copied are overwritten (1.10)") \
    M(NO_RECHECK, "no-recheck", "blocks not sent are not compared again (1.10)") \
    M(LIST_EARLY, "list-early", "a source lists versions before it has all below s0 (1.10)") \
    M(REPAIR_BLIND, "repair-blind", "a block is repaired while writes to it are unacked (I14)") \
    M(LEASE_OLD, "lease-old", "in doubt the lease is of the old set alone (I4)") \
    M(RESOLVE_BY_READ, "resolve-by-read", "a record with the old cfg resolves the doubt (I4)") \
    M(FLAP_FORGIVEN, "flap-forgiven", "a copy is taken back before its link was steady (row 23)") \
    M(BELOW_MIN, "below-min", "writes are acknowledged below min-insync (I12)") \
    M(READ_LAGGING, "read-lagging", "LAGGING copies are read (1.2)") \
    M(READ_BLIND, "read-blind", "an owner does not verify what it read") \
    M(DEAF, "deaf", "an owner that is told of a newer one goes on (1.7)") \
    M(ACK_EARLY, "ack-early", "a copy acknowledges what is not durable (I1)") \
    M(SEAL_VOLATILE, "seal-volatile", "a promise does not survive a restart (I5)") \
    M(SEAL_OLDER, "seal-older", "a copy may be sealed by an older owner (I5)") \
    M(COPY_ADVANCES, "copy-advances", "versions move while a chunk is copied (I9)") \
    M(BEHIND_APPLIES, "behind-applies", "the stream writes into chunks that are behind (I9)") \
    M(DONE_EARLY, "done-early", "a resync is done while chunks are on their way (1.10)") \
    M(LIST_PART, "list-part", "the first page of a list of versions is taken for all (1.10)") \
    M(LIST_OLD, "list-old", "a list of an earlier request is taken (1.10)") \
    M(VER_STAYS, "ver-stays", "a write does not move the version of its chunk (I9)") \
    M(VOID_VOLATILE, "void-volatile", "a void version does not survive a restart (I9)") \
    M(NO_SYNC, "no-sync", "batches are written without being durable (I1)") \
    M(TORN_IS_END, "torn-is-end", \
      "a damaged record is the end of the log, whatever follows (I16)") \
    M(REPLAY_SHORT, "replay-short", "a recovery leaves the last batch out (I2)") \
    M(TRIM_FORGOTTEN, "trim-forgotten", "a recovery leaves trims and zeroes out (I2)") \
    M(STORE_BLIND, "store-blind", "a store does not verify what it reads") \
    M(REPAIR_STALE, "repair-stale", "a repair overwrites what has changed meanwhile (I14)") \
    M(CAS_NO_GEN, "cas-no-gen", "a change does not compare the volume's generation (1.3)") \
    M(CAS_NO_CFG, "cas-no-cfg", "a change does not compare the shard's cfg (1.3)") \
    M(LAST_COPY, "last-copy", "a change may leave no copy in sync (I12)") \
    M(MANAGER_EJECTS, "manager-ejects", "the manager replaces a copy that is in sync (I3)") \
    M(ALWAYS_RELEASED, "always-released", "who attaches is told of a clean release (1.8)") \
    M(SAME_GEN, "same-gen", "an attach does not raise the generation (1.8)") \
    M(CLAIM_BLIND, "claim-blind", "an attach does not ask the copies about the owner (1.8)") \
    M(MAKE_ANY, "make-any", "in-sync copies that are missing are made, empty ones believed (I18)") \
    M(RELEASE_ANY, "release-any", "a release is taken from whoever sends it (I11)") \
    M(DOUBT_IS_DONE, "doubt-is-done", "the manager takes a change in doubt for applied (I4)") \
    M(PURGE_BY_CLOCK, "purge-by-clock", "the trash is emptied by the wall clock (row 6)") \
    M(DROP_EARLY, "drop-early", "a deposed manager has copies dropped (1.3)") \
    M(LOG_NO_ACK, "log-no-ack", "acks do not wait for the journal (1.9)") \
    M(LOG_ANY_COPY, "log-any-copy", "a journal completes copies that end before it begins (1.9)") \
    M(RELEASE_SERVES, "release-serves", "an owner that sent Release goes on if it fails (1.7)") \
    M(FLUSH_EARLY, "flush-early", \
      "a flush does not wait for what is acknowledged (ack=replicated)") \
    M(RECEIPT_EARLY, "receipt-early", "acks once one copy has received it (I1, ack=replicated)") \
    M(READ_TOLD, "read-told", "reads see what is only received (I13, ack=replicated)") \
    M(NO_CREDIT, "no-credit", "writes do not wait for space credit (I17)")

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
