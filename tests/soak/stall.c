/* What a stall comes from. The disk, the processor and a full store explain it; waiting that is the
 * store's own making is told, and explains nothing. */
#include <stdio.h>

#include "common/base/bits.h"
#include "tests/soak/soak.h"

static void
look_at_store(const struct soak *k, struct stall *s, uint64_t end_ns)
{
    uint64_t first = k->n_samples < SAMPLES ? 0 : k->n_samples - SAMPLES;
    const struct sample *before = NULL, *last = NULL;
    uint64_t took_ns;

    s->free_min = UINT32_MAX;
    for (uint64_t i = first; i < k->n_samples; i++) {
        const struct sample *x = &k->sample[i % SAMPLES];

        if (x->at_ns + SAMPLE_NS < s->at_ns || x->at_ns > end_ns + 2 * SAMPLE_NS)
            continue;
        before = before == NULL ? x : before;
        last = x;
        took_ns = SAMPLE_NS + x->late_ns;
        s->held_ns += x->held ? took_ns : 0;
        s->full_ns += x->full ? took_ns : 0;
        s->ckpt_ns += x->ckpt ? took_ns : 0;
        if (x->late_ns > CW_NS_PER_MS) {
            s->late_ns += x->late_ns;
            s->cpu_ns += cw_min_u64(x->late_ns, x->cpu_ns);
        }
        s->io_ns = cw_max_u64(s->io_ns, x->io_ns);
        s->free_min = x->segments_free < s->free_min ? x->segments_free : s->free_min;
        s->dirty_max = (uint32_t)cw_max_u64(s->dirty_max, x->dirty_pages);
    }
    if (last == NULL)
        return;
    s->checkpoints = (uint32_t)(last->checkpoints - before->checkpoints);
    s->bytes_logged = last->bytes_logged - before->bytes_logged;
    s->bytes_cleaned = last->bytes_cleaned - before->bytes_cleaned;
    s->data_logged = last->data_logged - before->data_logged;
    s->blocks_written = last->blocks_written - before->blocks_written;
}

static void
look_at_probe(const struct soak *k, struct stall *s, uint64_t end_ns)
{
    uint64_t n = k->n_probes, first = n < SAMPLES ? 0 : n - SAMPLES, n_large = 0, sum_ns = 0;

    for (uint64_t i = first; i < n; i++) {
        const struct probe_sample *p = &k->probe[i % SAMPLES];

        if (p->at_ns >= end_ns || p->at_ns + p->took_ns <= s->at_ns)
            continue;
        s->raw_ns = p->large ? s->raw_ns : cw_max_u64(s->raw_ns, p->took_ns);
        sum_ns += p->large ? p->took_ns : 0;
        n_large += p->large;
    }
    s->raw_mib_ns = n_large == 0 ? 0 : sum_ns / n_large;
}

void
stall_look(const struct soak *k, struct stall *s)
{
    s->life = k->life.number;
    s->map_cache = k->life.map_cache;
    look_at_store(k, s, s->at_ns + s->took_ns);
    look_at_probe(k, s, s->at_ns + s->took_ns);
}

/* How long the disk takes for what data was logged meanwhile: of the probe's time for 1 MiB about a
 * half is the wait for the store. What a checkpoint writes is not a reason for anybody to wait. */
static uint64_t
stall_busy_ns(const struct stall *s)
{
    return s->data_logged / CW_KIB * s->raw_mib_ns / 1024 / 2;
}

/* A third of the time is enough for what is beyond the store: each of them also makes others wait.
 */
uint32_t
stall_causes(const struct stall *s)
{
    uint64_t enough_ns = s->took_ns / 3, not_run_ns = s->late_ns - s->cpu_ns;
    uint64_t ns[STALL_CAUSES] = {
        [STALL_DISK_SLOW] = cw_max_u64(s->raw_ns, s->io_ns),
        [STALL_DISK_BUSY] = stall_busy_ns(s),
        [STALL_NOT_RUN] = not_run_ns,
        [STALL_FULL] = s->full_ns,
        [STALL_CACHE] = s->map_cache >= CACHE_SMALL
                            ? 0
                            : cw_max_u64(s->held_ns, cw_max_u64(s->ckpt_ns, s->refused_ns)),
        [STALL_GATE] = s->held_ns,
        [STALL_CHECKPOINT] = s->ckpt_ns,
        [STALL_REFUSED] = s->refused_ns,
        [STALL_COMPUTING] = s->cpu_ns,
    };
    uint32_t causes = 0;

    for (int i = 0; i < STALL_CAUSES; i++)
        causes |= ns[i] >= enough_ns ? 1u << i : 0;
    return causes;
}

bool
stall_is_explained(const struct stall *s)
{
    return (stall_causes(s) & ((1u << STALL_EXPLAINED) - 1)) != 0;
}

const char *const stall_names[STALL_CAUSES] = {
    [STALL_DISK_SLOW] = "disk_slow",   [STALL_DISK_BUSY] = "disk_busy",
    [STALL_NOT_RUN] = "not_run",       [STALL_FULL] = "full",
    [STALL_CACHE] = "small_cache",     [STALL_GATE] = "gate",
    [STALL_CHECKPOINT] = "checkpoint", [STALL_REFUSED] = "refused",
    [STALL_COMPUTING] = "computing",
};

static size_t
reason_text(const struct stall *s, enum stall_cause cause, char *to, size_t size)
{
    double ms = 0;
    const char *what = "";

    switch (cause) {
    case STALL_DISK_SLOW:
        return (size_t)snprintf(to, size,
                                "the disk: 4 KiB beside it took %.0f ms, its own I/O %.0f",
                                (double)s->raw_ns / 1e6, (double)s->io_ns / 1e6);
    case STALL_DISK_BUSY:
        return (size_t)snprintf(to, size, "the disk was busy: %.1f MiB, 1 MiB takes it %.0f ms",
                                (double)s->data_logged / (double)CW_MIB,
                                (double)s->raw_mib_ns / 1e6);
    case STALL_NOT_RUN:
        what = "not run", ms = (double)(s->late_ns - s->cpu_ns) / 1e6;
        break;
    case STALL_FULL:
        what = "no credit", ms = (double)s->full_ns / 1e6;
        break;
    case STALL_CACHE:
        return (size_t)snprintf(to, size, "a map cache of %.0f MiB", (double)s->map_cache / CW_MIB);
    case STALL_GATE:
        what = "held back by the cleaner's gate", ms = (double)s->held_ns / 1e6;
        break;
    case STALL_CHECKPOINT:
        what = "checkpoints", ms = (double)s->ckpt_ns / 1e6;
        break;
    case STALL_REFUSED:
        what = "refused", ms = (double)s->refused_ns / 1e6;
        break;
    case STALL_COMPUTING:
        what = "computing", ms = (double)s->cpu_ns / 1e6;
        break;
    case STALL_CAUSES:
        break;
    }
    return (size_t)snprintf(to, size, "%s for %.0f ms", what, ms);
}

const char *
stall_reason(const struct stall *s)
{
    static char text[512];
    uint32_t causes = stall_causes(s);
    size_t n = 0;

    text[0] = 0;
    for (int i = 0; i < STALL_CAUSES; i++) {
        if ((causes & 1u << i) == 0)
            continue;
        if (n > 0)
            n += (size_t)snprintf(text + n, sizeof(text) - n, "; ");
        n += reason_text(s, (enum stall_cause)i, text + n, sizeof(text) - n);
    }
    return text;
}

static bool
stalls_overlap(const struct stall *a, const struct stall *b)
{
    return a->life == b->life && a->at_ns < b->at_ns + b->took_ns &&
           b->at_ns < a->at_ns + a->took_ns;
}

void
stall_note(struct soak *k, struct stall s)
{
    uint32_t n = k->n_stalls;
    struct stall *last = n == 0 || n > STALLS_MAX ? NULL : &k->stall[n - 1];

    s.n = 1;
    k->n_stalled++;
    if (last == NULL || !stalls_overlap(last, &s)) {
        if (n < STALLS_MAX)
            k->stall[n] = s;
        k->n_stalls++;
        return;
    }
    s.n += last->n;
    if (s.took_ns > last->took_ns)
        *last = s;
    else
        last->n = s.n;
}
