/* sim/main.c - causeway-sim: seeds in, verdicts out. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "common/base/mutation.h"
#include "tests/sim/scenario.h"

static int
usage(FILE *to)
{
    fprintf(
        to,
        "usage: causeway-sim [--seed N | --seeds N [--from S]] [--minutes M] [--trace]\n"
        "                    [--scenario NAME|all] [--mutation NAME|all] [--spare] [--keep-going]\n"
        "                    [--list]\n"
        "Runs whole clusters in virtual time; a failure prints its seed. A scenario, one of\n"
        "--list, takes the place of random faults. With --spare there is one more daemon, for\n"
        "journals. A mutation takes a rule away: one of 500 seeds must fail.\n");
    return to == stdout ? 0 : 2;
}

#define MUTATION_NAME(id, name, what) [CW_MUTATION_##id] = name,
#define MUTATION_WHAT(id, name, what) [CW_MUTATION_##id] = what,
static const char *const mutation_names[CW_N_MUTATIONS] = { CW_MUTATIONS(MUTATION_NAME) };
static const char *const mutation_whats[CW_N_MUTATIONS] = { CW_MUTATIONS(MUTATION_WHAT) };

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

static bool
run_one(struct totals *t, struct sim_opts opts, bool apart)
{
    struct sim_result r = apart ? sim_run_apart(opts) : sim_run(opts);
    const char *sc = opts.scenario != NULL ? opts.scenario->name : "";

    t->seeds++;
    t->failed += r.failed;
    t->ops += r.ops;
    t->events += r.events;
    t->virtual_ns += r.virtual_ns;
    for (int i = 0; i < SIM_N_MARKS; i++)
        t->marks[i] += r.marks[i];
    if (r.failed)
        printf("FAILED %s%sseed %llu: %s\n  again: causeway-sim %s%s%s%s--seed %llu --trace\n", sc,
               *sc != 0 ? " " : "", (unsigned long long)opts.seed, r.why,
               *sc != 0 ? "--scenario " : "", sc, *sc != 0 ? " " : "", opts.spare ? "--spare " : "",
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
        printf("scenario %-14s %s\n", sc->name, sc->what);
    for (int i = 1; i < CW_N_MUTATIONS; i++)
        printf("mutation %-14s %s\n", mutation_names[i], mutation_whats[i]);
    return 0;
}

static int
version(void)
{
    printf("causeway-sim %s\n", CW_VERSION);
    return 0;
}

static int
no_such(const char *what, const char *name)
{
    fprintf(stderr, "causeway-sim: there is no %s %s; see --list\n", what, name);
    return 2;
}

/* ---- mutations ---- */

#ifdef CW_MUTATION
/* Seeds until one fails; true: one did. */
static bool
mutation_caught(int m, uint64_t from, uint64_t n)
{
    double begun = now_s();

    cw_mutation_now = (enum cw_mutation)m;
    for (uint64_t i = 0; i < n; i++) {
        struct sim_result r = sim_run_apart((struct sim_opts){ .seed = from + i, .quiet = true });

        if (!r.failed)
            continue;
        printf("caught   %-14s by seed %llu, the %llu., after %.0f s: %s\n", mutation_names[m],
               (unsigned long long)(from + i), (unsigned long long)i + 1, now_s() - begun, r.why);
        fflush(stdout);
        return true;
    }
    printf("SURVIVED %-14s %llu seeds from %llu: %s\n", mutation_names[m], (unsigned long long)n,
           (unsigned long long)from, mutation_whats[m]);
    fflush(stdout);
    return false;
}

/* Every rule that is taken away must be missed. */
static int
mutations(const char *name, uint64_t from, uint64_t n)
{
    int found = 0, survived = 0;

    for (int m = 1; m < CW_N_MUTATIONS; m++) {
        if (strcmp(name, "all") != 0 && strcmp(name, mutation_names[m]) != 0)
            continue;
        found++;
        survived += !mutation_caught(m, from, n);
    }
    if (found == 0)
        return no_such("mutation", name);
    printf("%d mutations, %d survived\n", found, survived);
    return survived > 0;
}
#else
/* The program beside this one has them. */
static int
mutations_elsewhere(char **argv)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - sizeof("-mutated"));

    if (n > 0) {
        strcpy(path + n, "-mutated");
        execv(path, argv);
    }
    fprintf(stderr, "causeway-sim: mutations are compiled into the gcc build without sanitizers\n");
    return 2;
}
#endif

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
        { "spare", no_argument, NULL, 'j' },
        { "list", no_argument, NULL, 'l' },
        { "version", no_argument, NULL, 'v' },
        { "help", no_argument, NULL, 'h' },
        { 0 },
    };
    uint64_t from = (uint64_t)time(NULL) * 1000, n = 0;
    struct totals t = { .begun = now_s() };
    struct sim_opts opts = { 0 };
    bool keep_going = false, all = false;
    const char *mutation = NULL;
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
        else if (opt == 'u')
            mutation = optarg;
        else if (opt == 'c' && strcmp(optarg, "all") == 0)
            all = true;
        else if (opt == 'c' && (opts.scenario = sim_scenario_find(optarg)) != NULL)
            continue;
        else if (opt == 'j')
            opts.spare = true;
        else if (opt == 'l')
            return list();
        else if (opt == 'v')
            return version();
        else if (opt == 'c')
            return no_such("scenario", optarg);
        else
            return usage(opt == 'h' ? stdout : stderr);
    }
#ifdef CW_MUTATION
    if (mutation != NULL)
        return mutations(mutation, from, n == 0 ? 500 : n);
#else
    if (mutation != NULL)
        return mutations_elsewhere(argv);
#endif
    n = n == 0 ? 20 : n;
    for (uint64_t i = 0; i < n && (minutes == 0 || now_s() - t.begun < minutes * 60); i++) {
        opts.seed = from + i;
        if (!run_seed(&t, opts, all, n > 1) && !keep_going)
            break;
    }
    totals_print(&t);
    return t.failed > 0;
}
