/* A look at the store every 20 ms, for what explains a stall and for the sums of the report. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "daemon/store/store-internal.h"
#include "tests/soak/child.h"

#define RSS_EVERY 25u /* samples */
#define SETTLE_NS (10 * CW_NS_PER_S)

/* Memory of the process's own, without what is shared with the parent. */
static uint64_t
rss_read(void)
{
    char text[4096];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    const char *line;

    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return 0;
    text[n] = 0;
    line = strstr(text, "RssAnon:");
    return line == NULL ? 0 : strtoull(line + 8, NULL, 10) * 1024;
}

static void
sample_rss(struct child *c)
{
    struct soak *k = c->k;
    uint64_t rss = rss_read();

    k->rss_max = cw_max_u64(k->rss_max, rss);
    if (child_now_ns(c) - c->began_ns < SETTLE_NS)
        c->rss_settled = rss;
    else if (rss > c->rss_settled)
        k->rss_growth_max = cw_max_u64(k->rss_growth_max, rss - c->rss_settled);
    if (rss > k->rss_limit)
        child_fail(c, "%llu MiB of memory, %llu allowed", (unsigned long long)(rss / CW_MIB),
                   (unsigned long long)(k->rss_limit / CW_MIB));
}

static void
sample_sums(struct child *c, const struct cw_store_stats *st)
{
    struct soak *k = c->k;
    uint64_t room = st->used_bytes + st->free_bytes;

    k->logged += st->bytes_logged - c->last.bytes_logged;
    k->cleaned += st->bytes_cleaned - c->last.bytes_cleaned;
    k->checkpoints += st->checkpoints - c->last.checkpoints;
    if (room > 0)
        k->used_per_mille_max =
            (uint32_t)cw_max_u64(k->used_per_mille_max, st->used_bytes * 1000 / room);
    c->last = *st;
    if (st->failed || st->csum_errors > 0 || st->io_errors > 0)
        child_fail(c, "under load: %llu checksum errors, %llu I/O errors, %s",
                   (unsigned long long)st->csum_errors, (unsigned long long)st->io_errors,
                   st->failed ? st->why : "in service");
}

static uint64_t
oldest_io_ns(const struct cw_store *s)
{
    const struct store_io *io = cw_list_first(&s->ios, struct store_io, link);

    return io == NULL ? 0 : cw_now_ns(s->env) - io->submitted_ns;
}

/* Of this thread, which is all that the store has. */
static uint64_t
cpu_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * CW_NS_PER_S + (uint64_t)t.tv_nsec;
}

static void
sample_on_timer(struct cw_timer *t)
{
    struct child *c = cw_container_of(t, struct child, sample_timer);
    struct soak *k = c->k;
    uint64_t now_ns = child_now_ns(c), cpu_ns = cpu_now_ns();
    struct cw_store_stats st;

    cw_store_stats(c->store, &st);
    k->sample[k->n_samples % SAMPLES] = (struct sample){
        .at_ns = now_ns,
        .late_ns = now_ns - c->sample_due_ns,
        .cpu_ns = cpu_ns - c->sample_cpu_ns,
        .checkpoints = st.checkpoints,
        .bytes_logged = st.bytes_logged,
        .bytes_cleaned = st.bytes_cleaned,
        .blocks_written = k->blocks_written,
        .data_logged = ckpt_log_bytes(c->store),
        .dirty_pages = st.map_pages_dirty,
        .io_ns = oldest_io_ns(c->store),
        .segments_free = (uint32_t)st.segments_free,
        .held = c->store->pressed[CW_SEG_HOT] || pace_holds(c->store),
        .full = st.full,
        .ckpt = ckpt_running(c->store),
    };
    c->sample_cpu_ns = cpu_ns;
    k->n_brimful += st.full && !k->brimful;
    k->brimful = k->brimful || st.full;
    sample_sums(c, &st);
    load_set_stable(c);
    if (k->n_samples++ % RSS_EVERY == 0)
        sample_rss(c);
    c->sample_due_ns = now_ns + SAMPLE_NS;
    cw_timer_set(cw_reactor_env(c->r), t, c->sample_due_ns);
}

void
sample_start(struct child *c)
{
    c->sample_timer.fn = sample_on_timer;
    c->sample_due_ns = child_now_ns(c);
    c->sample_cpu_ns = cpu_now_ns();
    cw_store_stats(c->store, &c->last);
    c->k->logged += c->last.bytes_logged;
    c->k->checkpoints += c->last.checkpoints;
    cw_timer_set(cw_reactor_env(c->r), &c->sample_timer, c->sample_due_ns);
}
