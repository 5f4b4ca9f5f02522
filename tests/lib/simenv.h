/* tests/lib/simenv.h - a world of one thread whose time is a number.
 *
 * Implements struct cw_env over a timer heap, a virtual clock and a seeded generator. Time jumps to
 * the next timer; equal times fire in the order of the heap. After each timer the turn hook runs,
 * as a loop's end of turn would (cw_store_turn_end and the like).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/env.h"
#include "common/base/prng.h"
#include "common/base/timerheap.h"

#define CW_SIMENV_LINES 64

struct cw_simenv {
    struct cw_env env; /* hand out &e->env */
    struct cw_timerheap heap;
    struct cw_prng prng;
    uint64_t now_ns;
    uint64_t turns;              /* timers fired so far */
    void (*on_turn)(void *user); /* NULL, or called after each timer */
    void *user;
    bool verbose;                 /* log lines go to stderr (also with CW_TEST_VERBOSE set) */
    char *lines[CW_SIMENV_LINES]; /* the last lines logged, a ring */
    uint64_t n_lines;
};

void cw_simenv_init(struct cw_simenv *e, uint64_t seed);

/* Timers still armed are forgotten. */
void cw_simenv_fini(struct cw_simenv *e);

/* Jumps to the next timer, fires it and runs the turn hook; false if no timer is armed. */
bool cw_simenv_step(struct cw_simenv *e);

/* Steps until *flag is true; false when no timer is left or for_ns of virtual time or 20 million
 * steps have gone by. */
bool cw_simenv_run_until(struct cw_simenv *e, const bool *flag, uint64_t for_ns);

/* The same for a condition. */
bool cw_simenv_run_while(struct cw_simenv *e, bool (*busy)(void *), void *arg, uint64_t for_ns);

/* Fires everything due within for_ns; the clock ends exactly there. */
void cw_simenv_run_for(struct cw_simenv *e, uint64_t for_ns);

/* Is there a line among the last ones that contains this text? */
bool cw_simenv_logged(const struct cw_simenv *e, const char *text);
