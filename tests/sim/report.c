/* sim/report.c - counts, failures, coverage. */
#include "tests/sim/report.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/bits.h"
#include "common/base/mutation.h"
#include "tests/sim/mutate.h"
#include "tests/sim/scenario.h"
#include "tests/sim/sim-version.h"

double
report_now_s(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void
report_options(char to[REPORT_OPTIONS], const struct sim_opts *opts)
{
    static const char *const managers[] = { "", " --manager register", " --manager real" };
    static const char *const acks[] = { " --ack durable", " --ack replicated", "" };
    char shards[24] = "", mutation[48] = "";
    bool chaos = opts->scenario == NULL;

    if (opts->shards != 0)
        snprintf(shards, sizeof(shards), " --shards %u", opts->shards);
#ifdef CW_MUTATION
    if (cw_mutation_now != CW_MUTATION_NONE)
        snprintf(mutation, sizeof(mutation), " --mutation %s", mutation_names[cw_mutation_now]);
#endif
    snprintf(to, REPORT_OPTIONS, "%s%s%s%s%s", chaos ? managers[opts->manager] : "",
             chaos ? acks[opts->ack] : "", shards, chaos && opts->spare ? " --spare" : "",
             mutation);
}

static void
failure_print(const struct report_failure *f)
{
    printf("FAILED %s%s%sseed %llu at %s: %s\n  again: causeway-sim ", f->scenario, f->which,
           f->scenario[0] != 0 || f->which[0] != 0 ? " " : "", (unsigned long long)f->seed,
           SIM_GIT_HASH, f->why);
    if (f->which[0] != 0)
        printf("--case %s --trace\n", f->which);
    else if (f->scenario[0] != 0)
        printf("--scenario %s --seed %llu%s --trace\n", f->scenario, (unsigned long long)f->seed,
               f->options);
    else
        printf("--seed %llu%s --trace; smaller: --shrink in the place of --trace\n",
               (unsigned long long)f->seed, f->options);
    fflush(stdout);
}

void
report_add(struct report *r, const struct sim_opts *opts, const char *which,
           const struct sim_result *result)
{
    struct report_failure f = { .which = which, .seed = opts->seed };

    if (result->only_safety)
        r->n_only_safety++;
    else if (r->seeds == r->n_only_safety)
        r->ops_least = result->ops;
    else
        r->ops_least = cw_min_u64(r->ops_least, result->ops);
    r->seeds++;
    r->ops += result->ops;
    r->events += result->events;
    r->virtual_ns += result->virtual_ns;
    for (int i = 0; i < SIM_N_MARKS; i++)
        r->marks[i] += result->marks[i];
    if (!result->failed)
        return;
    f.scenario = opts->scenario != NULL ? opts->scenario->name : "";
    report_options(f.options, opts);
    memcpy(f.why, result->why, sizeof(f.why));
    if (r->failed < REPORT_FAILURES_MAX)
        r->failures[r->failed] = f;
    r->failed++;
    if (!r->json)
        failure_print(&f);
}

static void
print_text(const struct report *r, double took_s)
{
    const char *comma = "";

    printf("%llu seeds, %llu failed, %.1f seeds/s, %.0f events/s, %llu requests (at least %llu in "
           "a run, but for %llu whose disks were damaged for good), %llu events, %.0f virtual "
           "seconds\n",
           (unsigned long long)r->seeds, (unsigned long long)r->failed, (double)r->seeds / took_s,
           (double)r->events / took_s, (unsigned long long)r->ops, (unsigned long long)r->ops_least,
           (unsigned long long)r->n_only_safety, (unsigned long long)r->events,
           (double)r->virtual_ns / 1e9);
    printf("reached:");
    for (int i = 0; i < SIM_N_MARKS; i++)
        if (r->marks[i] > 0)
            printf(" %s=%llu", sim_mark_names[i], (unsigned long long)r->marks[i]);
    printf("\nnot reached:");
    for (int i = 0; i < SIM_N_MARKS; i++)
        if (r->marks[i] == 0) {
            printf("%s %s", comma, sim_mark_names[i]);
            comma = ",";
        }
    printf("%s\n", *comma == 0 ? " nothing" : "");
}

static json_t *
failure_json(const struct report_failure *f)
{
    struct sim_result like = { .failed = true };

    memcpy(like.why, f->why, sizeof(like.why));
    return json_pack("{sI ss ss ss ss ss}", "seed", (json_int_t)f->seed, "scenario", f->scenario,
                     "case", f->which, "options", f->options, "checker", sim_checker(&like).name,
                     "why", f->why);
}

static void
print_json(const struct report *r, double took_s)
{
    json_t *marks = json_object(), *failures = json_array(), *all;

    for (int i = 0; i < SIM_N_MARKS; i++)
        json_object_set_new(marks, sim_mark_names[i], json_integer((json_int_t)r->marks[i]));
    for (uint64_t i = 0; i < cw_min_u64(r->failed, REPORT_FAILURES_MAX); i++)
        json_array_append_new(failures, failure_json(&r->failures[i]));
    all = json_pack("{si ss sI sI sf sI sI sI sI sf so so}", "schema", 1, "git", SIM_GIT_HASH,
                    "seeds", (json_int_t)r->seeds, "failed", (json_int_t)r->failed, "seconds",
                    took_s, "requests", (json_int_t)r->ops, "requests_least",
                    (json_int_t)r->ops_least, "only_safety", (json_int_t)r->n_only_safety, "events",
                    (json_int_t)r->events, "virtual_seconds", (double)r->virtual_ns / 1e9,
                    "coverage", marks, "failures", failures);
    json_dumpf(all, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(all);
}

void
report_print(const struct report *r)
{
    double took_s = report_now_s() - r->begun_s;

    if (r->json)
        print_json(r, took_s);
    else
        print_text(r, took_s);
}
