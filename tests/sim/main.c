/* sim/main.c - causeway-sim: seeds in, verdicts out. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "common/base/mutation.h"
#include "tests/sim/scenario.h"

static int
usage(FILE *to)
{
    fprintf(to,
            "usage: causeway-sim [--seed N | --seeds N [--from S]] [--minutes M] [--trace]\n"
            "                    [--scenario NAME|all] [--mutation NAME] [--keep-going] [--list]\n"
            "Runs whole clusters in virtual time; a failure prints its seed. A scenario, one of\n"
            "--list, takes the place of random faults.\n");
    return to == stdout ? 0 : 2;
}

#ifdef CW_MUTATION
enum cw_mutation cw_mutation_now;

static bool
mutation_set(const char *name)
{
    static const char *const names[] = {
        [CW_MUTATION_NONE] = "none",
        [CW_MUTATION_NO_MIN_SEQ] = "no-min-seq",
        [CW_MUTATION_PROMOTE_EARLY] = "promote-early",
        [CW_MUTATION_ACK_NEW] = "ack-new",
        [CW_MUTATION_NO_WAIT] = "no-wait",
    };

    for (size_t i = 0; i < CW_LEN(names); i++)
        if (strcmp(names[i], name) == 0) {
            cw_mutation_now = (enum cw_mutation)i;
            return true;
        }
    return false;
}
#else
static bool
mutation_set(const char *name)
{
    fprintf(stderr, "causeway-sim: built without -Dmutations=true\n");
    return false;
}
#endif

static double
now_s(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

struct totals {
    uint64_t seeds, failed, ops, events, virtual_ns;
    uint64_t marks[SIM_N_MARKS];
    double begun;
};

static void
totals_print(const struct totals *t)
{
    double took = now_s() - t->begun;

    printf("%llu seeds, %llu failed, %.1f seeds/s, %llu ops, %llu events, %.0f virtual seconds\n",
           (unsigned long long)t->seeds, (unsigned long long)t->failed, (double)t->seeds / took,
           (unsigned long long)t->ops, (unsigned long long)t->events, (double)t->virtual_ns / 1e9);
    printf("marks:");
    for (int i = 0; i < SIM_N_MARKS; i++)
        printf(" %s=%llu", sim_mark_names[i], (unsigned long long)t->marks[i]);
    printf("\n");
}

/* In a process of its own, so that a failed assertion ends one seed and not the search. */
static struct sim_result
run_apart(struct sim_opts opts)
{
    struct sim_result r = { .failed = true, .why = "ended by an assertion or a signal" };
    int fds[2], status;
    pid_t pid;

    if (pipe(fds) != 0)
        exit(2);
    pid = fork();
    if (pid == 0) {
        r = sim_run(opts);
        _exit(write(fds[1], &r, sizeof(r)) != sizeof(r));
    }
    close(fds[1]);
    if (pid < 0 || read(fds[0], &r, sizeof(r)) != sizeof(r))
        r.failed = true;
    close(fds[0]);
    if (pid > 0)
        waitpid(pid, &status, 0);
    return r;
}

static bool
run_one(struct totals *t, struct sim_opts opts, bool apart)
{
    struct sim_result r = apart ? run_apart(opts) : sim_run(opts);
    const char *sc = opts.scenario != NULL ? opts.scenario->name : "";

    t->seeds++;
    t->failed += r.failed;
    t->ops += r.ops;
    t->events += r.events;
    t->virtual_ns += r.virtual_ns;
    for (int i = 0; i < SIM_N_MARKS; i++)
        t->marks[i] += r.marks[i];
    if (r.failed)
        printf("FAILED %s%sseed %llu: %s\n  again: causeway-sim %s%s%s--seed %llu --trace\n", sc,
               *sc != 0 ? " " : "", (unsigned long long)opts.seed, r.why,
               *sc != 0 ? "--scenario " : "", sc, *sc != 0 ? " " : "",
               (unsigned long long)opts.seed);
    fflush(stdout);
    return !r.failed;
}

/* That scenario, or all of them. */
static bool
run_seed(struct totals *t, struct sim_opts opts, bool all, bool apart)
{
    bool ok = true;

    if (!all)
        return run_one(t, opts, apart);
    for (opts.scenario = sim_scenarios; opts.scenario->name != NULL; opts.scenario++)
        ok = run_one(t, opts, true) && ok;
    return ok;
}

static int
list(void)
{
    for (const struct sim_scenario *sc = sim_scenarios; sc->name != NULL; sc++)
        printf("%-8s %s\n", sc->name, sc->what);
    return 0;
}

static uint64_t
number(const char *text)
{
    char *end;
    uint64_t n = strtoull(text, &end, 10);

    if (*text == 0 || *end != 0) {
        fprintf(stderr, "causeway-sim: '%s' is not a number\n", text);
        exit(2);
    }
    return n;
}

int
main(int argc, char **argv)
{
    static const struct option options[] = {
        { "seed", required_argument, NULL, 's' },
        { "seeds", required_argument, NULL, 'n' },
        { "from", required_argument, NULL, 'f' },
        { "minutes", required_argument, NULL, 'm' },
        { "trace", no_argument, NULL, 't' },
        { "mutation", required_argument, NULL, 'u' },
        { "keep-going", no_argument, NULL, 'k' },
        { "scenario", required_argument, NULL, 'c' },
        { "list", no_argument, NULL, 'l' },
        { "help", no_argument, NULL, 'h' },
        { 0 },
    };
    uint64_t from = (uint64_t)time(NULL) * 1000, n = 20;
    struct totals t = { .begun = now_s() };
    struct sim_opts opts = { 0 };
    bool keep_going = false, all = false;
    double minutes = 0;
    int opt;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (opt == 's')
            from = number(optarg), n = 1;
        else if (opt == 'n')
            n = number(optarg);
        else if (opt == 'f')
            from = number(optarg);
        else if (opt == 'm')
            minutes = (double)number(optarg), n = UINT64_MAX;
        else if (opt == 't')
            opts.trace = true;
        else if (opt == 'k')
            keep_going = true;
        else if (opt == 'u' && mutation_set(optarg))
            continue;
        else if (opt == 'c' && strcmp(optarg, "all") == 0)
            all = true;
        else if (opt == 'c' && (opts.scenario = sim_scenario_find(optarg)) != NULL)
            continue;
        else if (opt == 'l')
            return list();
        else
            return usage(opt == 'h' ? stdout : stderr);
    }
    for (uint64_t i = 0; i < n && (minutes == 0 || now_s() - t.begun < minutes * 60); i++) {
        opts.seed = from + i;
        if (!run_seed(&t, opts, all, n > 1) && !keep_going)
            break;
    }
    totals_print(&t);
    return t.failed > 0;
}
