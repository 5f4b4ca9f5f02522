/* base/env.h - what a decider may ask of its world: time, timers, chance, a line in the log.
 *
 * Owner, replica, store and manager get one of these and nothing else of the kind, so that the
 * simulator can be the world. The reactor, the service loop and the simulator implement it.
 * One env belongs to one thread; every call and every timer callback happens on that thread.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

struct cw_env;

/* Embedded in what it wakes. Zero-initialised it is idle; set `fn` before the first cw_timer_set.
 */
struct cw_timer {
    uint64_t at_ns;                /* when it fires; meaningful while armed */
    uint32_t slot;                 /* 1 + place in the heap, 0 = idle; the env's */
    void (*fn)(struct cw_timer *); /* runs from the loop, never from inside cw_timer_set */
};

enum cw_log_level { CW_LOG_ERROR, CW_LOG_WARNING, CW_LOG_NOTICE, CW_LOG_INFO, CW_LOG_DEBUG };

struct cw_env_ops {
    /* CLOCK_BOOTTIME: only differences and rates mean anything; never goes back. */
    uint64_t (*now_ns)(struct cw_env *);
    uint64_t (*random)(struct cw_env *);
    void (*timer_set)(struct cw_env *, struct cw_timer *, uint64_t at_ns);
    void (*timer_cancel)(struct cw_env *, struct cw_timer *);
    void (*log)(struct cw_env *, enum cw_log_level, const char *line);
};

struct cw_env {
    const struct cw_env_ops *ops;
    enum cw_log_level log_level; /* lines above it are not formatted */
};

/* Fixed within one loop turn, so that it is cheap. */
static inline uint64_t
cw_now_ns(struct cw_env *env)
{
    return env->ops->now_ns(env);
}

static inline uint64_t
cw_random(struct cw_env *env)
{
    return env->ops->random(env);
}

/* Arms or moves the timer. at_ns in the past fires on the next loop turn. */
static inline void
cw_timer_set(struct cw_env *env, struct cw_timer *t, uint64_t at_ns)
{
    env->ops->timer_set(env, t, at_ns);
}

/* Afterwards fn is not called until it is set again; idle timers may be cancelled. */
static inline void
cw_timer_cancel(struct cw_env *env, struct cw_timer *t)
{
    env->ops->timer_cancel(env, t);
}

static inline bool
cw_timer_armed(const struct cw_timer *t)
{
    return t->slot != 0;
}

/* One line without a newline, at most 1 KiB; begins with the object it speaks of. */
void cw_log(struct cw_env *env, enum cw_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
