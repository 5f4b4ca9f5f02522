/* tests/soak/child.h - one life of the store: what its parts share. */
#pragma once

#include "common/base/list.h"
#include "common/reactor/disk.h"
#include "common/reactor/reactor.h"
#include "tests/soak/soak.h"

#define STEPS_MAX 64u
#define READS_MAX 4u

struct child;

/* A ticket under way. */
struct step {
    struct cw_store_ticket t;
    struct child *c;
    uint64_t number; /* of its operation; 0: none that the model knows */
    bool busy;
};

/* A read under load. */
struct peek {
    struct cw_store_read r;
    struct child *c;
    uint64_t incarnation, journal; /* the copy's; where the journal ended */
    uint32_t slot, layer, at;
    bool busy, settled; /* settled: nothing was under way for these blocks */
};

struct load {
    struct op next; /* to be tried; kind OP_NONE: none */
    uint32_t depth; /* how many at once in this phase */
    uint64_t phase_end_ns;
    uint32_t fill_at[SLOTS], fill_slot;
    uint32_t in_flight[SLOTS], reading[SLOTS];
    uint32_t blocks; /* to be written, of all that is in flight */
    struct step step[STEPS_MAX];
    struct peek peek[READS_MAX];
    bool stopping;
};

struct child {
    struct soak *k;
    struct model *m;
    struct cw_reactor *r;
    struct cw_disk *disk;
    struct cw_store *store;
    struct cw_hook load_hook, store_hook;
    struct cw_timer sample_timer;
    uint64_t sample_due_ns, sample_cpu_ns;
    struct cw_prng rnd;
    struct load load;
    struct cw_store_stats last; /* at the last sample */
    uint64_t rss_settled;       /* ten seconds into the load */
    uint64_t began_ns;
    int log_fd;
    bool done; /* of the last open or close */
    int res;
};

/* What is wrong goes to the parent; ends the process. */
_Noreturn void child_fail(struct child *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
uint64_t child_now_ns(struct child *c);
/* Turns the loop until *done. */
void child_wait(struct child *c, const bool *done);
uint64_t child_random(struct child *c, uint64_t below);

/* ---- load.c ---- */

void load_start(struct child *c);
void load_turn(struct child *c);          /* once per turn of the loop */
bool load_is_over(const struct child *c); /* nothing is under way any more */
void load_on_durable(struct child *c, struct cw_store_shard *sh);
void load_set_stable(struct child *c);
void load_on_op(void *user, const struct op *o); /* it is durable: model_done_fn */

/* ---- pick.c ---- */

bool chance(struct child *c, uint32_t percent);
bool pick_slot(struct child *c, struct op *o); /* of a copy that exists */
void pick_range(struct child *c, struct op *o, uint32_t below, uint32_t max);
bool load_pick(struct child *c); /* to c->load.next; false: nothing can be done now */
/* It comes, goes, or is being cloned. */
bool snap_is_pending(const struct child *c, uint32_t slot, uint64_t name);

/* ---- try.c ---- */

/* True: c->load.next is under way, or will never be; false: to be tried again. */
bool load_try(struct child *c);
struct cw_store_shard *slot_find(struct child *c, uint32_t slot);
struct step *step_get(struct child *c, uint64_t number); /* NULL: all are under way */

/* ---- verify.c ---- */

/* Everything that the map says; the data of one in `every` places, read from the disk. */
void verify_all(struct child *c, uint32_t every);
/* Blocks of an answer against what the model has for them. */
void verify_answer(struct child *c, const struct cw_store_read *r, uint32_t slot,
                   const uint32_t *ids, uint32_t at);

/* ---- sample.c ---- */

void sample_start(struct child *c);
