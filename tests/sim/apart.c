/* sim/apart.c - runs in processes of their own, so that a failed assertion ends one seed and not
 * the search.
 *
 * A child does a few seeds: what the first needs of memory, the next ones have. What it says on
 * stderr is kept until it ends; of a child that died it is the reason.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "tests/sim/sim.h"

#define SEEDS_PER_CHILD 16u

struct child {
    pid_t pid;
    int results, said;
};

static _Noreturn void
child_main(const struct child *c, int to, struct sim_opts opts, uint64_t n)
{
    if (!opts.trace)
        dup2(c->said, STDERR_FILENO);
    for (uint64_t i = 0; i < n; i++, opts.seed++) {
        struct sim_result r = sim_run(opts);

        if (write(to, &r, sizeof(r)) != sizeof(r))
            _exit(1);
    }
    _exit(0);
}

static struct child
child_start(struct sim_opts opts, uint64_t n)
{
    struct child c;
    int fds[2];

    c.said = memfd_create("said", 0);
    if (c.said < 0 || pipe(fds) != 0)
        exit(2);
    c.results = fds[0];
    fflush(NULL);
    c.pid = fork();
    if (c.pid < 0)
        exit(2);
    if (c.pid == 0)
        child_main(&c, fds[1], opts, n);
    close(fds[1]);
    return c;
}

/* The last line of it, without its end. */
static void
child_last_words(const struct child *c, char *to, size_t size)
{
    char text[600];
    off_t end = lseek(c->said, 0, SEEK_END), from = end > 599 ? end - 599 : 0;
    ssize_t n = pread(c->said, text, sizeof(text) - 1, from);
    char *line;

    text[n > 0 ? n : 0] = 0;
    while (n > 0 && text[n - 1] == '\n')
        text[--n] = 0;
    line = strrchr(text, '\n');
    line = line != NULL ? line + 1 : text;
    snprintf(to, size, "assertion: %.200s", n > 0 ? line : "it was ended by a signal");
}

static void
child_repeat(const struct child *c)
{
    char text[4096];
    ssize_t n;

    lseek(c->said, 0, SEEK_SET);
    while ((n = read(c->said, text, sizeof(text))) > 0)
        fwrite(text, 1, (size_t)n, stderr);
}

static void
child_end(struct child *c, bool quiet)
{
    kill(c->pid, SIGKILL);
    waitpid(c->pid, NULL, 0);
    if (!quiet)
        child_repeat(c);
    close(c->results);
    close(c->said);
}

/* How many of n were done; *more: whether each wants more of them. */
static uint64_t
run_some(struct sim_opts opts, uint64_t n, sim_each_fn *each, void *user, bool *more)
{
    struct child c = child_start(opts, n);
    struct sim_result r;
    uint64_t i;

    for (i = 0; i < n && *more; i++, opts.seed++) {
        bool died = read(c.results, &r, sizeof(r)) != sizeof(r);

        if (died) {
            r = (struct sim_result){ .failed = true };
            child_last_words(&c, r.why, sizeof(r.why));
        }
        *more = each(user, &opts, &r);
        if (died) {
            i++;
            break;
        }
    }
    child_end(&c, opts.quiet);
    return i;
}

void
sim_run_apart(struct sim_opts opts, uint64_t n, sim_each_fn *each, void *user)
{
    bool more = true;

    while (n > 0 && more) {
        uint64_t done = run_some(opts, cw_min_u64(n, SEEDS_PER_CHILD), each, user, &more);

        n -= done;
        opts.seed += done;
    }
}

static bool
take_result(void *user, const struct sim_opts *opts, const struct sim_result *r)
{
    *(struct sim_result *)user = *r;
    return false;
}

struct sim_result
sim_run_one_apart(struct sim_opts opts)
{
    struct sim_result r;

    sim_run_apart(opts, 1, take_result, &r);
    return r;
}
