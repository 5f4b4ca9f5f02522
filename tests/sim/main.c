/* sim/main.c - causeway-sim: seeds in, verdicts out. */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "tests/sim/cases.h"
#include "tests/sim/mutate.h"
#include "tests/sim/report.h"
#include "tests/sim/scenario.h"
#include "tests/sim/shrink.h"
#include "tests/sim/sim-version.h"

static const char help[] =
    "usage: causeway-sim [--seed N | --seeds N [--from S] | --minutes M [--from S]]\n"
    "                    [--scenario NAME|all] [--case NAME|all] [--mutation NAME|all]\n"
    "                    [--manager register|real] [--ack durable|replicated]\n"
    "                    [--spare] [--shards N] [--version]\n"
    "                    [--trace] [--shrink] [--json] [--keep-going] [--list]\n"
    "\n"
    "Runs whole clusters in virtual time: the owner, replica and store that ship, on simulated\n"
    "clocks, networks and disks. One seed chooses topology, load and faults, and repeats a run.\n"
    "Every run is judged: block histories, copies in sync, invariants, liveness after healing.\n"
    "\n"
    "  --seed N         that one; --seeds N, N of them; --minutes M, as many as that allows\n"
    "  --from S         the first seed; otherwise it comes from the clock\n"
    "  --scenario NAME  a row of the acceptance catalogue in the place of random faults\n"
    "  --manager WHICH  a register in the manager's place, or a pair of real ones (a third of the\n"
    "                   seeds)\n"
    "  --spare          one more daemon, for journal members (a seventh of the seeds)\n"
    "  --ack A          volumes with ack=durable or ack=replicated (a third of the seeds)\n"
    "  --shards N       volumes of 1, 2 or 3 shards (several in a fifth of the seeds)\n"
    "  --case NAME      something that failed once, shrunk\n"
    "  --mutation NAME  takes that rule away: one of 500 seeds must fail (--seeds, --from)\n"
    "  --trace          every frame and every log line, on stderr; a failure shows the last 400\n"
    "  --shrink         with --seed: looks for a smaller schedule that fails in the same way\n"
    "  --json           one object on stdout at the end\n"
    "  --keep-going     does not stop at the first failure\n"
    "  --list           names of scenarios, cases, mutations, marks of coverage\n"
    "\n"
    "Exit status: 0 all is well, 1 a seed failed or a mutation survived, 2 bad usage.\n";

struct args {
    uint64_t from, n;
    double minutes;
    const char *scenario, *which, *mutation; /* NULL or a name */
    const char *manager;                     /* NULL: by the seed */
    const char *ack;                         /* the same */
    uint64_t shards;                         /* 0: by the seed */
    bool seed_given, many, spare, trace, shrink, json, keep_going;
};

static int
no_such(const char *what, const char *name)
{
    fprintf(stderr, "causeway-sim: there is no %s %s; see --list\n", what, name);
    return 2;
}

static int
list(void)
{
    for (const struct sim_scenario *sc = sim_scenarios; sc->name != NULL; sc++)
        printf("scenario %-18s %s\n", sc->name, sc->what);
    for (const struct sim_case *c = sim_cases; c->name != NULL; c++)
        printf("case     %-18s seed %llu, %u ms, events %s\n", c->name, (unsigned long long)c->seed,
               c->until_ms, c->events);
    for (int i = 1; i < CW_N_MUTATIONS; i++)
        printf("mutation %-18s %s\n", mutation_names[i], mutation_whats[i]);
    for (int i = 0; i < SIM_N_MARKS; i++)
        printf("mark     %-18s %s\n", sim_mark_names[i], sim_mark_whats[i]);
    return 0;
}

static enum sim_manager
manager_of(const struct args *a)
{
    if (a->manager == NULL)
        return SIM_BY_SEED;
    return strcmp(a->manager, "real") == 0 ? SIM_REAL_MANAGER : SIM_REGISTER;
}

/* ---- runs ---- */

struct course {
    const struct args *args;
    struct report report;
    const char *which;
};

static bool
course_on(void *user, const struct sim_opts *opts, const struct sim_result *result)
{
    struct course *c = user;
    const struct args *a = c->args;

    report_add(&c->report, opts, c->which, result);
    return (!result->failed || a->keep_going) &&
           (a->minutes == 0 || report_now_s() - c->report.begun_s < a->minutes * 60);
}

static void
course_run(struct course *c, struct sim_opts opts, uint64_t n)
{
    struct sim_result r;

    if (!c->args->trace) {
        sim_run_apart(opts, n, course_on, c);
        return;
    }
    r = sim_run(opts); /* in the process that a debugger holds */
    course_on(c, &opts, &r);
}

static int
run_cases(struct course *c)
{
    uint32_t n = 0;

    for (const struct sim_case *k = sim_cases; k->name != NULL; k++) {
        struct sim_opts opts = sim_case_opts(k);

        if (strcmp(c->args->which, "all") != 0 && strcmp(c->args->which, k->name) != 0)
            continue;
        opts.trace = c->args->trace;
        c->which = k->name;
        course_run(c, opts, 1);
        n++;
    }
    return n == 0 && strcmp(c->args->which, "all") != 0 ? no_such("case", c->args->which) : 0;
}

static int
run_scenarios(struct course *c, struct sim_opts opts)
{
    uint32_t n = 0;

    for (const struct sim_scenario *sc = sim_scenarios; sc->name != NULL; sc++) {
        if (strcmp(c->args->scenario, "all") != 0 && strcmp(c->args->scenario, sc->name) != 0)
            continue;
        opts.scenario = sc;
        course_run(c, opts, c->args->n);
        n++;
    }
    return n == 0 ? no_such("scenario", c->args->scenario) : 0;
}

static enum sim_ack
ack_of(const struct args *a)
{
    if (a->ack == NULL)
        return SIM_ACK_BY_SEED;
    return strcmp(a->ack, "replicated") == 0 ? SIM_ACK_REPLICATED : SIM_ACK_DURABLE;
}

static int
run(const struct args *a)
{
    struct course c = { .args = a, .report = { .json = a->json }, .which = "" };
    struct sim_opts opts = { .seed = a->from, .trace = a->trace, .quiet = a->json };

    opts.manager = manager_of(a);
    opts.spare = a->spare;
    opts.ack = ack_of(a);
    opts.shards = (uint32_t)a->shards;
    int bad = 0;

    c.report.begun_s = report_now_s();
    if (a->which != NULL)
        bad = run_cases(&c);
    else if (a->scenario != NULL)
        bad = run_scenarios(&c, opts);
    else
        course_run(&c, opts, a->n);
    if (bad != 0)
        return bad;
    report_print(&c.report);
    return c.report.failed > 0;
}

static int
shrink(const struct args *a)
{
    struct sim_opts opts = { .seed = a->from,
                             .manager = manager_of(a),
                             .spare = a->spare,
                             .shards = (uint32_t)a->shards,
                             .ack = ack_of(a) };
    struct sim_shrunk s;

    if (!a->seed_given) {
        fprintf(stderr, "causeway-sim: --shrink wants the one --seed that fails\n");
        return 2;
    }
    if (!sim_shrink(opts, &s)) {
        printf("seed %llu does not fail\n", (unsigned long long)a->from);
        return 0;
    }
    printf("seed %llu fails with %u of %u events, after %u runs: %s\n", (unsigned long long)a->from,
           s.n_events, s.n_before, s.n_runs, s.result.why);
    printf("for tests/sim/cases.c:\n");
    sim_shrunk_print(stdout, &s);
    return 1;
}

/* ---- mutations ---- */

#ifdef CW_MUTATION
static json_t *
hunt_json(enum cw_mutation m, const struct mutation_hunt *h)
{
    return json_pack("{ss sb ss sI sI sf ss}", "mutation", mutation_names[m], "caught", h->caught,
                     "checker", h->caught ? sim_checker(&h->result).name : "", "seeds",
                     (json_int_t)h->n, "seed", (json_int_t)h->seed, "seconds", h->seconds, "why",
                     h->result.why);
}

/* Every rule that is taken away must be missed. */
static int
mutations(const struct args *a)
{
    const struct sim_scenario *sc = NULL;
    json_t *all = json_array();
    int found = 0, survived = 0;

    if (a->scenario != NULL && (sc = sim_scenario_find(a->scenario)) == NULL)
        return no_such("scenario", a->scenario);
    for (int m = 1; m < CW_N_MUTATIONS; m++) {
        struct mutation_hunt h;

        if (strcmp(a->mutation, "all") != 0 && strcmp(a->mutation, mutation_names[m]) != 0)
            continue;
        found++;
        h = mutation_hunt((enum cw_mutation)m, sc, a->from, a->n);
        survived += !h.caught;
        if (a->json)
            json_array_append_new(all, hunt_json((enum cw_mutation)m, &h));
        else
            mutation_hunt_print((enum cw_mutation)m, &h);
    }
    if (a->json) {
        json_dumpf(all, stdout, JSON_INDENT(2));
        printf("\n");
    } else {
        printf("%d mutations, %d survived\n", found, survived);
    }
    json_decref(all);
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

static int
mutate(const struct args *a, char **argv)
{
    if (strcmp(a->mutation, "all") != 0 && mutation_find(a->mutation) == CW_N_MUTATIONS)
        return no_such("mutation", a->mutation);
#ifdef CW_MUTATION
    if (!a->shrink && !a->trace)
        return mutations(a);
    cw_mutation_now = mutation_find(a->mutation);
    return a->shrink ? shrink(a) : run(a);
#else
    return mutations_elsewhere(argv);
#endif
}

/* ---- options ---- */

static uint64_t
number(const char *text)
{
    char *end;
    uint64_t n;

    errno = 0;
    n = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != 0 || errno != 0) {
        fprintf(stderr, "causeway-sim: '%s' is not a number that fits\n", text);
        exit(2);
    }
    return n;
}

/* Of runs, or of shards: at least one. */
static uint64_t
count(const char *option, const char *text)
{
    uint64_t n = number(text);

    if (n == 0) {
        fprintf(stderr, "causeway-sim: %s wants at least 1\n", option);
        exit(2);
    }
    return n;
}

static double
minutes(const char *text)
{
    char *end;
    double n = strtod(text, &end);

    if (*text < '0' || *text > '9' || *end != 0 || !(n > 0 && n <= 1e6)) {
        fprintf(stderr, "causeway-sim: --minutes %s: a number above 0\n", text);
        exit(2);
    }
    return n;
}

static void
take(struct args *a, int opt, const char *text)
{
    switch (opt) {
    case 's':
        a->from = number(text);
        a->n = 1;
        a->seed_given = true;
        break;
    case 'n':
        a->n = count("--seeds", text);
        a->many = true;
        break;
    case 'f':
        a->from = number(text);
        a->many = true;
        break;
    case 'm':
        a->minutes = minutes(text);
        a->many = true;
        a->n = UINT64_MAX;
        break;
    case 'c':
        a->scenario = text;
        break;
    case 'w':
        a->which = text;
        break;
    case 'u':
        a->mutation = text;
        break;
    case 'g':
        a->manager = text;
        break;
    case 'a':
        a->ack = text;
        break;
    case 'd':
        a->shards = count("--shards", text);
        break;
    default:
        a->trace = a->trace || opt == 't';
        a->shrink = a->shrink || opt == 'i';
        a->json = a->json || opt == 'j';
        a->keep_going = a->keep_going || opt == 'k';
        a->spare = a->spare || opt == 'p';
        break;
    }
}

/* What cannot be had together; NULL: nothing is wrong. */
static const char *
contradiction(const struct args *a)
{
    if (a->shards > SIM_SHARDS_MAX)
        return "--shards: volumes have 1, 2 or 3";
    if (a->seed_given && a->many)
        return "--seed is one run: without --seeds, --from and --minutes";
    if (a->trace && !a->seed_given && a->which == NULL)
        return "--trace shows one run: --seed N";
    if (a->mutation != NULL && a->minutes > 0)
        return "--mutation counts seeds: --seeds in the place of --minutes";
    if (a->scenario == NULL)
        return NULL;
    if (a->shrink)
        return "a scenario has no schedule to shrink";
    if (strcmp(a->scenario, "all") == 0 && a->minutes > 0)
        return "--scenario all plays each for so many --seeds, not --minutes";
    if (a->manager != NULL || a->ack != NULL || a->spare)
        return "a scenario has the manager, the policy and the daemons that it needs: without "
               "--manager, --ack and --spare";
    return NULL;
}

static int
go(struct args *a, char **argv)
{
    const char *why;

    if (a->manager != NULL && strcmp(a->manager, "real") != 0 &&
        strcmp(a->manager, "register") != 0)
        return no_such("manager", a->manager);
    if (a->ack != NULL && strcmp(a->ack, "durable") != 0 && strcmp(a->ack, "replicated") != 0)
        return no_such("policy ack", a->ack);
    if ((why = contradiction(a)) != NULL) {
        fprintf(stderr, "causeway-sim: %s\n", why);
        return 2;
    }
    if (a->n == 0)
        a->n = a->mutation != NULL ? 500 : 20;
    /* A run's memory is the next one's. */
    mallopt(M_MMAP_THRESHOLD, 512 * CW_MIB);
    mallopt(M_TRIM_THRESHOLD, 512 * CW_MIB);
    if (a->mutation != NULL)
        return mutate(a, argv);
    return a->shrink ? shrink(a) : run(a);
}

int
main(int argc, char **argv)
{
    static const struct option options[] = {
        { "seed", required_argument, NULL, 's' },
        { "seeds", required_argument, NULL, 'n' },
        { "from", required_argument, NULL, 'f' },
        { "minutes", required_argument, NULL, 'm' },
        { "scenario", required_argument, NULL, 'c' },
        { "case", required_argument, NULL, 'w' },
        { "mutation", required_argument, NULL, 'u' },
        { "manager", required_argument, NULL, 'g' },
        { "shards", required_argument, NULL, 'd' },
        { "trace", no_argument, NULL, 't' },
        { "shrink", no_argument, NULL, 'i' },
        { "json", no_argument, NULL, 'j' },
        { "keep-going", no_argument, NULL, 'k' },
        { "list", no_argument, NULL, 'l' },
        { "version", no_argument, NULL, 'v' },
        { "spare", no_argument, NULL, 'p' },
        { "help", no_argument, NULL, 'h' },
        { "ack", required_argument, NULL, 'a' },
        { 0 },
    };
    struct args a = { .from = (uint64_t)time(NULL) * 1000 };
    int opt;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (opt == 'h')
            return fputs(help, stdout) == EOF;
        if (opt == 'v')
            return printf("causeway-sim %s, %s\n", CW_VERSION, SIM_GIT_HASH) < 0;
        if (opt == 'l')
            return list();
        if (opt == '?') {
            fprintf(stderr, "causeway-sim: see --help\n");
            return 2;
        }
        take(&a, opt, optarg);
    }
    if (optind < argc) {
        fprintf(stderr, "causeway-sim: '%s' is no option; see --help\n", argv[optind]);
        return 2;
    }
    return go(&a, argv);
}
