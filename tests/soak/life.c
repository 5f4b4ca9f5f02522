/* Lives of the store: begun, waited for, killed or stopped. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "common/reactor/reactor.h"
#include "tests/soak/parent.h"

#define OPEN_LIMIT_NS (180 * CW_NS_PER_S)
#define HANG_NS (30 * CW_NS_PER_S)
#define BRIM_EVERY 6u
#define BRIM_MS 20000
#define MEMORY_BESIDE (64 * CW_MIB) /* of a child: rings, batches, tables, the program */

static uint64_t
parent_random(struct parent *p, uint64_t below)
{
    return cw_prng_below(&p->rnd, below);
}

static void
pause_ms(long n)
{
    const struct timespec t = { .tv_sec = n / 1000, .tv_nsec = n % 1000 * 1000000 };

    (void)nanosleep(&t, NULL);
}

/* ---- children ---- */

pid_t
child_fork(struct parent *p, int (*run)(struct soak *))
{
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        /* an orphan would keep the store */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() == 1)
            exit(2);
        exit(run(p->k));
    }
    cw_assert(pid > 0);
    return pid;
}

const char *
child_ended(struct parent *p, int status)
{
    static char text[WHY_MAX + 64];

    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return "the child ended by itself";
    if (p->k->why[0] != 0)
        return p->k->why;
    if (WIFSIGNALED(status))
        snprintf(text, sizeof(text), "the child died of signal %d: see its last words above",
                 WTERMSIG(status));
    else
        snprintf(text, sizeof(text), "the child ended with status %d", WEXITSTATUS(status));
    return text;
}

/* NULL, or how the life failed. Waits until `until_ns`, or until the child serves if ready is asked
 * for; the child may not end meanwhile. */
static const char *
life_wait(struct parent *p, pid_t pid, uint64_t until_ns, bool ready)
{
    uint64_t progress = p->k->progress, since_ns = cw_reactor_clock_ns(), now_ns;
    int status;

    while ((now_ns = cw_reactor_clock_ns()) < until_ns && !(ready && p->k->ready)) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return child_ended(p, status);
        if (p->k->progress != progress || p->k->phase == PHASE_IDLE) {
            progress = p->k->progress;
            since_ns = now_ns;
        }
        if (now_ns - since_ns > (p->k->ready ? HANG_NS : OPEN_LIMIT_NS)) {
            kill(pid, SIGABRT); /* with a core, where those are kept */
            return "the store hangs: nothing was acknowledged for long";
        }
        pause_ms(2);
    }
    return NULL;
}

/* What was under way for too long already would be a stall had it gone on. */
static void
life_note_unfinished(struct parent *p)
{
    struct model *m = p->k->model;
    uint64_t now_ns = cw_reactor_clock_ns();

    for (uint64_t i = m->tail; p->k->ready && i < m->head; i++) {
        const struct op *o = model_op(m, i);
        struct stall s = {
            .at_ns = o->begun_ns,
            .took_ns = now_ns - o->begun_ns,
            .refused_ns = o->taken_ns > o->begun_ns ? o->taken_ns - o->begun_ns : 0,
            .kind = o->kind,
            .phase = (uint8_t)p->k->phase,
            .unfinished = true,
        };

        if (o->applied || s.took_ns < STALL_NS)
            continue;
        stall_look(p->k, &s);
        stall_note(p->k, s);
    }
}

static const char *
life_kill(struct parent *p, pid_t pid)
{
    int status;

    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        return child_ended(p, status);
    life_note_unfinished(p);
    p->report.kills++;
    p->report.early_kills += !p->k->ready;
    return NULL;
}

static const char *
life_stop(struct parent *p, pid_t pid)
{
    uint64_t until_ns = cw_reactor_clock_ns() + OPEN_LIMIT_NS;
    int status;

    p->k->stop = true;
    while (waitpid(pid, &status, WNOHANG) != pid) {
        if (cw_reactor_clock_ns() > until_ns) {
            kill(pid, SIGABRT);
            return "the store does not close";
        }
        pause_ms(2);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return child_ended(p, status);
    p->report.stops++;
    return NULL;
}

static void
life_begin(struct parent *p, bool last)
{
    static const uint64_t caches[] = { 1, 4, 64 };
    struct soak *k = p->k;

    k->life.number++;
    k->life.seed = cw_prng_next(&p->rnd);
    k->life.map_cache = caches[parent_random(p, CW_LEN(caches))] * CW_MIB;
    k->life.pool_bytes = (32 + 32 * parent_random(p, 2)) * CW_MIB;
    k->life.verify_all = last;
    k->life.brim = !last && k->life.number % BRIM_EVERY == BRIM_EVERY - 1;
    k->rss_limit = 64 * CW_MIB + caches[CW_LEN(caches) - 1] * CW_MIB * 2 + MEMORY_BESIDE;
    k->ready = k->stop = k->brimful = false;
    k->n_samples = 0;
}

/* Until the store is full, or the run is over. */
static const char *
life_fill(struct parent *p, pid_t pid)
{
    uint64_t end_ns = cw_reactor_clock_ns() + BRIM_MS * CW_NS_PER_MS;
    const char *why = NULL;

    end_ns = cw_min_u64(end_ns, cw_max_u64(p->end_ns, 1));
    while (why == NULL && !p->k->brimful && cw_reactor_clock_ns() < end_ns)
        why = life_wait(p, pid, cw_reactor_clock_ns() + 20 * CW_NS_PER_MS, false);
    return why;
}

/* Killed at a random moment, most often under load, sometimes while it recovers; or stopped. */
const char *
life_run(struct parent *p, bool last)
{
    const char *why;
    bool early;
    pid_t pid;

    life_begin(p, last);
    early = !last && !p->k->life.brim && parent_random(p, 5) == 0;
    pid = child_fork(p, child_run);
    if (early) {
        why = life_wait(p, pid, cw_reactor_clock_ns() + parent_random(p, CW_NS_PER_S), false);
        return why != NULL ? why : life_kill(p, pid);
    }
    why = life_wait(p, pid, cw_reactor_clock_ns() + OPEN_LIMIT_NS, true);
    if (why == NULL && !p->k->ready)
        why = "the store does not open";
    if (why == NULL && p->k->life.brim)
        why = life_fill(p, pid);
    if (why == NULL && !last) {
        uint64_t for_ms = parent_random(p, 12) == 0 ? 15000 + parent_random(p, 15000)
                                                    : 300 + parent_random(p, 6000);
        uint64_t until_ns = cw_reactor_clock_ns() + for_ms * CW_NS_PER_MS;

        why = life_wait(p, pid, cw_min_u64(until_ns, cw_max_u64(p->end_ns, 1)), false);
    }
    if (why != NULL)
        return why;
    return last || parent_random(p, 8) == 0 ? life_stop(p, pid) : life_kill(p, pid);
}
