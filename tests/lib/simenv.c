#include "tests/lib/simenv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"

#define STEPS_MAX 20000000u

static struct cw_simenv *
simenv_of(struct cw_env *env)
{
    return cw_container_of(env, struct cw_simenv, env);
}

static uint64_t
simenv_now(struct cw_env *env)
{
    return simenv_of(env)->now_ns;
}

static uint64_t
simenv_random(struct cw_env *env)
{
    return cw_prng_next(&simenv_of(env)->prng);
}

static void
simenv_timer_set(struct cw_env *env, struct cw_timer *t, uint64_t at_ns)
{
    cw_timerheap_set(&simenv_of(env)->heap, t, at_ns);
}

static void
simenv_timer_cancel(struct cw_env *env, struct cw_timer *t)
{
    cw_timerheap_cancel(&simenv_of(env)->heap, t);
}

static void
simenv_log(struct cw_env *env, enum cw_log_level level, const char *line)
{
    struct cw_simenv *e = simenv_of(env);
    char **slot = &e->lines[e->n_lines++ % CW_SIMENV_LINES];

    free(*slot);
    *slot = strdup(line);
    if (e->verbose)
        fprintf(stderr, "%10.3f ms [%d] %s\n", (double)e->now_ns / 1e6, (int)level, line);
}

static const struct cw_env_ops simenv_ops = {
    .now_ns = simenv_now,
    .random = simenv_random,
    .timer_set = simenv_timer_set,
    .timer_cancel = simenv_timer_cancel,
    .log = simenv_log,
};

void
cw_simenv_init(struct cw_simenv *e, uint64_t seed)
{
    memset(e, 0, sizeof(*e));
    e->env.ops = &simenv_ops;
    e->env.log_level = CW_LOG_DEBUG;
    e->verbose = getenv("CW_TEST_VERBOSE") != NULL;
    cw_timerheap_init(&e->heap);
    cw_prng_init(&e->prng, seed);
    e->now_ns = CW_NS_PER_S;
}

void
cw_simenv_fini(struct cw_simenv *e)
{
    for (size_t i = 0; i < CW_LEN(e->lines); i++)
        free(e->lines[i]);
    cw_timerheap_fini(&e->heap);
}

bool
cw_simenv_step(struct cw_simenv *e)
{
    uint64_t at_ns = cw_timerheap_next(&e->heap);
    struct cw_timer *t;

    if (at_ns == CW_NEVER)
        return false;
    e->now_ns = cw_max_u64(e->now_ns, at_ns);
    t = cw_timerheap_pop(&e->heap, e->now_ns);
    cw_assert(t != NULL);
    e->turns++;
    t->fn(t);
    if (e->on_turn != NULL)
        e->on_turn(e->user);
    return true;
}

bool
cw_simenv_run_while(struct cw_simenv *e, bool (*busy)(void *), void *arg, uint64_t for_ns)
{
    uint64_t until_ns = e->now_ns + for_ns;

    for (uint32_t i = 0; i < STEPS_MAX; i++) {
        if (!busy(arg))
            return true;
        if (cw_timerheap_next(&e->heap) > until_ns || !cw_simenv_step(e))
            return false;
    }
    return false;
}

static bool
flag_is_unset(void *arg)
{
    return !*(const bool *)arg;
}

bool
cw_simenv_run_until(struct cw_simenv *e, const bool *flag, uint64_t for_ns)
{
    union {
        const bool *in;
        void *out;
    } arg = { .in = flag };

    return cw_simenv_run_while(e, flag_is_unset, arg.out, for_ns);
}

void
cw_simenv_run_for(struct cw_simenv *e, uint64_t for_ns)
{
    uint64_t until_ns = e->now_ns + for_ns;

    while (cw_timerheap_next(&e->heap) <= until_ns)
        cw_simenv_step(e);
    e->now_ns = until_ns;
}

bool
cw_simenv_logged(const struct cw_simenv *e, const char *text)
{
    for (size_t i = 0; i < CW_LEN(e->lines); i++) {
        if (e->lines[i] != NULL && strstr(e->lines[i], text) != NULL)
            return true;
    }
    return false;
}
