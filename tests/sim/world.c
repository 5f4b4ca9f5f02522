/* sim/world.c - virtual time, processes and their turns. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/sim/sim.h"

#define CHECK_EVERY 61u      /* events */
#define CHECK_FULL_EVERY 20u /* times as many, where a recount takes long */

#define MARK_NAME(id, name, what) [SIM_MARK_##id] = name,
#define MARK_WHAT(id, name, what) [SIM_MARK_##id] = what,
const char *const sim_mark_names[SIM_N_MARKS] = { SIM_MARKS(MARK_NAME) };
const char *const sim_mark_whats[SIM_N_MARKS] = { SIM_MARKS(MARK_WHAT) };

uint64_t
sim_between(struct cw_prng *p, uint64_t lo, uint64_t hi)
{
    return lo + cw_prng_below(p, hi - lo + 1);
}

bool
sim_chance(struct cw_prng *p, uint32_t percent)
{
    return cw_prng_below(p, 100) < percent;
}

/* Two draws one after the other: arguments are evaluated in an order that compilers choose. */
struct cw_uuid
sim_uuid(struct cw_prng *p)
{
    uint64_t lo = cw_prng_next(p), hi = cw_prng_next(p);

    return cw_uuid_from_random(hi, lo);
}

void
sim_mark(struct sim *sim, enum sim_mark m)
{
    sim->result.marks[m]++;
}

void
sim_unwell(struct sim *sim, uint64_t for_ns)
{
    sim->unwell_until_ns = cw_max_u64(sim->unwell_until_ns, sim->now_ns + for_ns);
}

static void
sim_line(struct sim *sim, const char *who, const char *text)
{
    char line[1200], **slot = &sim->lines[sim->n_lines++ % SIM_LINES];

    snprintf(line, sizeof(line), "%11.6f %-4s %s", (double)sim->now_ns / 1e9, who, text);
    free(*slot);
    *slot = strdup(line);
    if (sim->opts.trace)
        fprintf(stderr, "%s\n", line);
}

void
sim_log(struct sim *sim, const char *fmt, ...)
{
    char text[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    sim_line(sim, "sim", text);
}

void
sim_fail(struct sim *sim, const char *fmt, ...)
{
    va_list args;

    if (sim->result.failed)
        return;
    sim->result.failed = true;
    va_start(args, fmt);
    vsnprintf(sim->result.why, sizeof(sim->result.why), fmt, args);
    va_end(args);
    sim_line(sim, "FAIL", sim->result.why);
}

struct sim_checker
sim_checker(const struct sim_result *r)
{
    struct sim_checker c = { "" };

    snprintf(c.name, sizeof(c.name), "%.*s", (int)strcspn(r->why, ":"), r->why);
    return c;
}

/* ---- a process's clock ---- */

static struct sim_proc *
proc_of(struct cw_env *env)
{
    return cw_container_of(env, struct sim_proc, env);
}

static uint64_t
proc_local(const struct sim_proc *p, uint64_t world_ns)
{
    return world_ns + (uint64_t)((int64_t)(world_ns / 1000) * p->rate_ppm / 1000);
}

/* The first world time at which the process's clock has reached at_ns. */
static uint64_t
proc_world(const struct sim_proc *p, uint64_t at_ns)
{
    uint64_t w;

    if (at_ns == CW_NEVER)
        return CW_NEVER;
    w = (uint64_t)((double)at_ns / (1.0 + p->rate_ppm / 1e6));
    w = w > 100 ? w - 100 : 0;
    while (proc_local(p, w) < at_ns)
        w += 10;
    return w;
}

static uint64_t
proc_now(struct cw_env *env)
{
    struct sim_proc *p = proc_of(env);

    return proc_local(p, p->sim->now_ns);
}

static uint64_t
proc_random(struct cw_env *env)
{
    return cw_prng_next(&proc_of(env)->prng);
}

static void
proc_timer_set(struct cw_env *env, struct cw_timer *t, uint64_t at_ns)
{
    cw_timerheap_set(&proc_of(env)->heap, t, at_ns);
}

static void
proc_timer_cancel(struct cw_env *env, struct cw_timer *t)
{
    cw_timerheap_cancel(&proc_of(env)->heap, t);
}

static void
proc_log(struct cw_env *env, enum cw_log_level level, const char *line)
{
    sim_line(proc_of(env)->sim, proc_of(env)->name, line);
}

static const struct cw_env_ops proc_ops = {
    .now_ns = proc_now,
    .random = proc_random,
    .timer_set = proc_timer_set,
    .timer_cancel = proc_timer_cancel,
    .log = proc_log,
};

static void
proc_on_turn(struct cw_timer *t)
{
    struct sim_proc *p = cw_container_of(t, struct sim_proc, turn);

    if (!p->up)
        return;
    p->sim->touched |= 1u << p->index;
    if (p->paused)
        cw_timerheap_set(&p->sim->heap, t, p->sim->now_ns + CW_NS_PER_MS);
    else
        p->turn_end(p);
}

void
sim_proc_init(struct sim *sim, struct sim_proc *p, const char *name)
{
    p->env.ops = &proc_ops;
    p->env.log_level = CW_LOG_DEBUG;
    p->sim = sim;
    p->index = sim->n_procs;
    p->turn.fn = proc_on_turn;
    p->rate_ppm = (int32_t)sim_between(&sim->rnd_turn, 0, 8000) - 4000;
    snprintf(p->name, sizeof(p->name), "%s", name);
    cw_timerheap_init(&p->heap);
    cw_prng_init(&p->prng, cw_prng_next(&sim->rnd_turn));
    sim->procs[sim->n_procs++] = p;
}

void
sim_proc_fini(struct sim_proc *p)
{
    cw_timerheap_cancel(&p->sim->heap, &p->turn);
    cw_timerheap_fini(&p->heap);
}

void
sim_proc_touch(struct sim_proc *p)
{
    p->sim->touched |= 1u << p->index;
    if (p->up && !cw_timer_armed(&p->turn))
        cw_timerheap_set(&p->sim->heap, &p->turn,
                         p->sim->now_ns + cw_prng_below(&p->sim->rnd_turn, 30000));
}

/* ---- world time ---- */

static void
task_on_timer(struct cw_timer *t)
{
    struct sim_task *task = cw_container_of(t, struct sim_task, timer);

    cw_list_remove(&task->node);
    task->fn(task);
    free(task);
}

void
sim_after(struct sim *sim, struct sim_task *task, uint64_t after_ns, void (*fn)(struct sim_task *))
{
    task->sim = sim;
    task->fn = fn;
    task->timer = (struct cw_timer){ .fn = task_on_timer };
    cw_list_push_back(&sim->tasks, &task->node);
    cw_timerheap_set(&sim->heap, &task->timer, sim->now_ns + after_ns);
}

static void
sim_check(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->n_daemons; i++)
        if (sim->daemons[i].proc.up && sim->daemons[i].serving) {
            cw_replica_check(sim->daemons[i].replica);
            sim_host_check(&sim->daemons[i]);
        }
    for (uint32_t i = 0; i < sim->n_clients; i++)
        if (sim->clients[i].proc.up && sim->clients[i].owner != NULL)
            cw_owner_check(sim->clients[i].owner);
    sim_watch_versions(sim);
    if (sim->control != NULL)
        sim_control_check(sim);
}

static bool
sim_step(struct sim *sim)
{
    uint64_t at = cw_timerheap_next(&sim->heap);
    struct sim_proc *who = NULL;
    struct cw_timer *t;

    for (uint32_t i = 0; i < sim->n_procs; i++) {
        struct sim_proc *p = sim->procs[i];
        uint64_t next = p->up && !p->paused ? proc_world(p, cw_timerheap_next(&p->heap)) : CW_NEVER;

        if (next < at) {
            at = next;
            who = p;
        }
    }
    if (at == CW_NEVER)
        return false;
    sim->now_ns = cw_max_u64(sim->now_ns, at);
    if (who == NULL)
        t = cw_timerheap_pop(&sim->heap, sim->now_ns);
    else
        t = cw_timerheap_pop(&who->heap, proc_local(who, sim->now_ns));
    cw_assert(t != NULL);
    t->fn(t);
    if (who != NULL)
        sim_proc_touch(who);
    sim_media_event(sim);
    sim_watch_event(sim);
    if (++sim->result.events % (CHECK_EVERY * (sim->full.on ? CHECK_FULL_EVERY : 1)) == 0)
        sim_check(sim);
    return true;
}

bool
sim_run_until(struct sim *sim, bool (*cond)(struct sim *), uint64_t for_ns)
{
    uint64_t until = sim->now_ns + for_ns;

    while (!sim->result.failed && !cond(sim)) {
        if (sim->now_ns >= until)
            return false;
        if (!sim_step(sim)) {
            sim_fail(sim, "liveness: nothing will ever happen again");
            return false;
        }
    }
    return !sim->result.failed;
}
