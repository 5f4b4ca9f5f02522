/* What a stall may come from. Each is measured beside the store, or told by its own numbers; one
 * that has none of them is a fault of the store. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/soak/soak.h"

static void
look_at_store(const struct soak *k, struct stall *s, uint64_t end_ns)
{
    uint64_t first = k->n_samples < SAMPLES ? 0 : k->n_samples - SAMPLES;
    const struct sample *before = NULL, *last = NULL;

    s->free_min = UINT32_MAX;
    for (uint64_t i = first; i < k->n_samples; i++) {
        const struct sample *x = &k->sample[i % SAMPLES];

        if (x->at_ns + SAMPLE_NS < s->at_ns || x->at_ns > end_ns + 2 * SAMPLE_NS)
            continue;
        before = before == NULL ? x : before;
        last = x;
        s->held_ns += x->held ? SAMPLE_NS + x->late_ns : 0;
        s->late_ns += x->late_ns > CW_NS_PER_MS ? x->late_ns : 0;
        s->io_ns = cw_max_u64(s->io_ns, x->io_ns);
        s->free_min = x->segments_free < s->free_min ? x->segments_free : s->free_min;
        s->dirty_max = (uint32_t)cw_max_u64(s->dirty_max, x->dirty_pages);
    }
    if (last == NULL)
        return;
    s->checkpoints = (uint32_t)(last->checkpoints - before->checkpoints);
    s->bytes_logged = last->bytes_logged - before->bytes_logged;
    s->bytes_cleaned = last->bytes_cleaned - before->bytes_cleaned;
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
    look_at_store(k, s, s->at_ns + s->took_ns);
    look_at_probe(k, s, s->at_ns + s->took_ns);
}

/* How long the disk takes for what was logged meanwhile, were it alone with it. */
static uint64_t
stall_busy_ns(const struct stall *s)
{
    return s->bytes_logged / CW_KIB * s->raw_mib_ns / 1024;
}

__attribute__((format(printf, 3, 4))) static void
reason_add(char *text, size_t size, const char *fmt, ...)
{
    size_t n = strlen(text);
    va_list args;

    va_start(args, fmt);
    vsnprintf(text + n, size - n, fmt, args);
    va_end(args);
}

/* A third of the time is enough: each of them also makes others wait. */
const char *
stall_reason(const struct stall *s)
{
    static char text[320];
    uint64_t enough_ns = s->took_ns / 3;
    size_t n;

    text[0] = 0;
    if (s->raw_ns >= enough_ns)
        reason_add(text, sizeof(text), "the disk: 4 KiB beside it took %.0f ms; ",
                   (double)s->raw_ns / 1e6);
    if (s->io_ns >= enough_ns)
        reason_add(text, sizeof(text), "the disk: an I/O of the store's took %.0f ms; ",
                   (double)s->io_ns / 1e6);
    if (stall_busy_ns(s) >= enough_ns)
        reason_add(text, sizeof(text),
                   "the disk was busy: %.1f MiB logged, 1 MiB takes it %.0f ms; ",
                   (double)s->bytes_logged / (double)CW_MIB, (double)s->raw_mib_ns / 1e6);
    if (s->late_ns >= enough_ns)
        reason_add(text, sizeof(text), "the process did not run for %.0f ms; ",
                   (double)s->late_ns / 1e6);
    /* a store that gives nothing back meanwhile does not wait, it is stuck */
    if (s->held_ns >= enough_ns && s->bytes_cleaned + s->checkpoints > 0)
        reason_add(text, sizeof(text), "held back for %.0f ms: %u segments free; ",
                   (double)s->held_ns / 1e6, s->free_min);
    if (s->refused_ns >= enough_ns)
        reason_add(text, sizeof(text), "refused for %.0f ms, %u dirty pages; ",
                   (double)s->refused_ns / 1e6, s->dirty_max);
    n = strlen(text);
    if (n > 0)
        text[n - 2] = 0;
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
