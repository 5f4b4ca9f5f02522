/* The end of a soak: a table for people, a line of JSON for programs. */
#include <inttypes.h>
#include <stdio.h>

#include "common/base/bits.h"
#include "tests/soak/soak.h"

#define BRIM_MINUTES 3.0 /* a run of these is full in one life at least */

static const char *const op_names[OP_KINDS] = {
    [OP_NONE] = "none",     [OP_WRITE] = "write",
    [OP_ZERO] = "zero",     [OP_TRIM] = "trim",
    [OP_GEN] = "gen_start", [OP_CREATE] = "create",
    [OP_CLONE] = "clone",   [OP_DROP] = "drop",
    [OP_SNAP] = "snapshot", [OP_UNSNAP] = "snapshot_delete",
};

static double
ms(uint64_t ns)
{
    return (double)ns / 1e6;
}

static double
mib(uint64_t bytes)
{
    return (double)bytes / (double)CW_MIB;
}

static double
gib(uint64_t bytes)
{
    return (double)bytes / (double)CW_GIB;
}

static uint32_t
stalls_kept(const struct soak *k)
{
    return k->n_stalls < STALLS_MAX ? k->n_stalls : STALLS_MAX;
}

static uint32_t
stalls_unexplained(const struct soak *k)
{
    uint32_t n = k->n_stalls - stalls_kept(k);

    for (uint32_t i = 0; i < stalls_kept(k); i++)
        n += !stall_is_explained(&k->stall[i]);
    return n;
}

/* Log bytes per byte of the foreground's blocks. */
static double
amplification(const struct soak *k)
{
    return k->blocks_written == 0 ? 0
                                  : (double)k->logged / ((double)k->blocks_written * CW_BLOCK_SIZE);
}

/* A shorter run may end before it is. */
static bool
report_was_full(const struct soak *k, const struct report *r)
{
    return r->minutes < BRIM_MINUTES || k->n_brimful > 0;
}

static void
table_work(const struct soak *k, const struct report *r)
{
    printf("soak of %.1f minutes, %.2f GiB, seed %" PRIu64 "\n\n", r->minutes, gib(r->bytes),
           r->seed);
    printf("  lives              %" PRIu64
           " opened: %u killed (%u before they served), %u stopped\n",
           k->opens, r->kills, r->early_kills, r->stops);
    printf("  operations        ");
    for (int i = OP_WRITE; i < OP_KINDS; i++)
        printf(" %s %" PRIu64, op_names[i], k->ops[i]);
    printf("\n  written            %.2f GiB in %" PRIu64
           " blocks; log %.2f GiB (%.2f x), cleaned %.2f"
           " GiB, %" PRIu64 " checkpoints\n",
           gib(k->blocks_written * CW_BLOCK_SIZE), k->blocks_written, gib(k->logged),
           amplification(k), gib(k->cleaned), k->checkpoints);
    printf("  space              %.1f %% of capacity at most; full in %" PRIu64
           " lives, no credit %" PRIu64 " times%s\n",
           k->used_per_mille_max / 10.0, k->n_brimful, k->n_full,
           report_was_full(k, r) ? "" : ": NEVER FULL");
}

static void
table_checks(const struct soak *k, const struct report *r)
{
    printf("  after crashes      of what was under way %" PRIu64 " kept, %" PRIu64 " lost; %" PRIu64
           " torn batches\n",
           k->kept, k->lost, k->dropped);
    printf("  recovery           %.0f ms at most; %" PRIu64 " records replayed, %" PRIu64
           " at most at once\n",
           ms(k->open_ns_max), k->replayed, k->replayed_max);
    printf("  verified           %" PRIu64 " blocks by checksum, %" PRIu64 " with data, %" PRIu64
           " records of tails; %" PRIu64 " reads under load\n",
           k->verified, k->verified_data, k->tails, k->reads);
    printf("  whole file         checked %u times, %.0f ms at most\n", r->checks,
           ms(r->check_ns_max));
    printf("  memory             %.0f MiB at most (%.0f allowed), grown by %.1f MiB at most\n",
           (double)k->rss_max / (double)CW_MIB, (double)k->rss_limit / (double)CW_MIB,
           (double)k->rss_growth_max / (double)CW_MIB);
    printf("  file               %s\n",
           r->file_ok ? "of the same size all the time" : "CHANGED ITS SIZE");
    printf("  acknowledged in    p50 %.2f ms, p99 %.2f ms, longest %.0f ms; refused %" PRIu64
           " times\n",
           ms(cw_histogram_percentile(&k->ack, 500)), ms(cw_histogram_percentile(&k->ack, 990)),
           ms(k->ack.max_ns), k->refused);
    printf("  disk alone, 4 KiB  p50 %.2f ms, p99 %.2f ms, longest %.0f ms\n",
           ms(cw_histogram_percentile(&k->probe_times, 500)),
           ms(cw_histogram_percentile(&k->probe_times, 990)), ms(k->probe_times.max_ns));
}

static uint32_t
stalls_of(const struct soak *k, int cause)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < stalls_kept(k); i++)
        n += stall_causes(&k->stall[i]) >> cause & 1;
    return n;
}

static void
table_stalls(const struct soak *k)
{
    printf("  stalls over %.0f ms %u, of %u operations; %u unexplained\n", ms(STALL_NS),
           k->n_stalls, k->n_stalled, stalls_unexplained(k));
    if (k->n_stalls > 0)
        printf("    with, among others");
    for (int i = 0; i < STALL_CAUSES && k->n_stalls > 0; i++)
        printf("%s %s %u", i == STALL_EXPLAINED ? "; explaining nothing:" : "", stall_names[i],
               stalls_of(k, i));
    if (k->n_stalls > 0)
        printf("\n");
    for (uint32_t i = 0; i < stalls_kept(k); i++) {
        const struct stall *s = &k->stall[i];

        printf("    %7.0f ms  %u, a %s in %s, life %u%s; %u checkpoints, %.1f MiB "
               "written, %.1f logged as data, %.1f in all, %.1f cleaned, %u free: %s%s\n",
               ms(s->took_ns), s->n, op_names[s->kind], phase_names[s->phase], s->life,
               s->unfinished ? ", killed before its end" : "", s->checkpoints,
               mib(s->blocks_written * CW_BLOCK_SIZE), mib(s->data_logged), mib(s->bytes_logged),
               mib(s->bytes_cleaned), s->free_min,
               stall_is_explained(s) ? "" : "UNEXPLAINED: ", stall_reason(s));
    }
}

static void
json_stalls(const struct soak *k)
{
    printf("\"stalls\":[");
    for (uint32_t i = 0; i < stalls_kept(k); i++) {
        const struct stall *s = &k->stall[i];

        printf(
            "%s{\"ms\":%.0f,\"n\":%u,\"kind\":\"%s\",\"phase\":\"%s\",\"life\":%u,\"raw_ms\":%."
            "0f,\"raw_"
            "mib_ms\":%.0f,\"logged\":%" PRIu64 ","
            "\"late_ms\":%.0f,\"cpu_ms\":%.0f,\"held_ms\":%.0f,\"full_ms\":%.0f,\"checkpoint_ms\":%"
            ".0f,\"io_ms\":%.0f,\"refused_ms\":%.0f,\"segments_free\":%u,"
            "\"checkpoints\":%u,"
            "\"unfinished\":%s,\"explained\":%s,\"reason\":\"%s\"}",
            i == 0 ? "" : ",", ms(s->took_ns), s->n, op_names[s->kind], phase_names[s->phase],
            s->life, ms(s->raw_ns), ms(s->raw_mib_ns), s->bytes_logged, ms(s->late_ns),
            ms(s->cpu_ns), ms(s->held_ns), ms(s->full_ns), ms(s->ckpt_ns), ms(s->io_ns),
            ms(s->refused_ns), s->free_min, s->checkpoints, s->unfinished ? "true" : "false",
            stall_is_explained(s) ? "true" : "false", stall_reason(s));
    }
    printf("]");
}

static void
json(const struct soak *k, const struct report *r, bool ok)
{
    printf("{\"ok\":%s,\"minutes\":%.2f,\"seed\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"kills\":%u,"
           "\"stops\":%u,\"opens\":%" PRIu64 ",\"blocks_written\":%" PRIu64
           ",\"bytes_logged\":%" PRIu64 ",\"bytes_cleaned\":%" PRIu64 ",\"checkpoints\":%" PRIu64
           ",",
           ok ? "true" : "false", r->minutes, r->seed, r->bytes, r->kills, r->stops, k->opens,
           k->blocks_written, k->logged, k->cleaned, k->checkpoints);
    for (int i = OP_WRITE; i < OP_KINDS; i++)
        printf("\"ops_%s\":%" PRIu64 ",", op_names[i], k->ops[i]);
    printf("\"lives_full\":%" PRIu64 ",\"file_checks\":%u,\"file_check_ms_max\":%.0f,",
           k->n_brimful, r->checks, ms(r->check_ns_max));
    printf("\"used_per_mille_max\":%u,\"verified_blocks\":%" PRIu64
           ",\"verified_data_blocks\":%" PRIu64 ",\"open_ms_max\":%.1f,\"replayed_max\":%" PRIu64
           ",\"rss_max_bytes\":%" PRIu64
           ",\"ack_p50_ms\":%.3f,\"ack_p99_ms\":%.3f,\"ack_max_ms\":%.1f,\"raw_p99_ms\":%.3f,"
           "\"raw_max_ms\":%.1f,\"stalls_unexplained\":%u,",
           k->used_per_mille_max, k->verified, k->verified_data, ms(k->open_ns_max),
           k->replayed_max, k->rss_max, ms(cw_histogram_percentile(&k->ack, 500)),
           ms(cw_histogram_percentile(&k->ack, 990)), ms(k->ack.max_ns),
           ms(cw_histogram_percentile(&k->probe_times, 990)), ms(k->probe_times.max_ns),
           stalls_unexplained(k));
    json_stalls(k);
    printf("}\n");
}

bool
report_print(const struct soak *k, const struct report *r)
{
    bool ok =
        r->failure == NULL && r->file_ok && stalls_unexplained(k) == 0 && report_was_full(k, r);

    table_work(k, r);
    table_checks(k, r);
    table_stalls(k);
    if (r->failure != NULL)
        printf("\nsoak: FAILED in life %u: %s\n", k->life.number, r->failure);
    else
        printf("\nsoak: %s\n", ok ? "all is well" : "FAILED");
    json(k, r, ok);
    return ok;
}
