/* store/io.c - I/O that the watchdog sees, and reads of many scattered runs. */
#include <errno.h>
#include <stdlib.h>

#include "daemon/store/store-internal.h"

#define PAUSE_FIRST_NS (100 * CW_NS_PER_MS)
#define PAUSE_LAST_NS (400 * CW_NS_PER_MS)

/* Under way for everybody but the watchdog. */
static void
io_pause(struct store_io *io)
{
    struct cw_store *s = io->s;
    uint64_t now_ns = cw_now_ns(s->env);

    if (io->again_ns == 0) {
        io->again_ns = now_ns + PAUSE_FIRST_NS;
    } else {
        io->again_ns = now_ns + PAUSE_LAST_NS;
        io->patient = false;
    }
    s->n_ios++;
    cw_list_push_back(&s->paused, &io->link);
    if (!cw_timer_armed(&s->pause_timer) || s->pause_timer.at_ns > io->again_ns)
        cw_timer_set(s->env, &s->pause_timer, io->again_ns);
}

void
store_on_pause(struct cw_timer *t)
{
    struct cw_store *s = cw_container_of(t, struct cw_store, pause_timer);
    uint64_t now_ns = cw_now_ns(s->env), next_ns = CW_NEVER;

    CW_LIST_EACH_SAFE (it, &s->paused) {
        struct store_io *io = cw_list_entry(it, struct store_io, link);

        if (io->again_ns > now_ns) {
            next_ns = cw_min_u64(next_ns, io->again_ns);
            continue;
        }
        cw_list_remove(&io->link);
        s->n_ios--;
        store_io_start_iov(s, io, io->io.op, io->io.off);
    }
    if (next_ns != CW_NEVER)
        cw_timer_set(s->env, t, next_ns);
}

static void
io_on_done(struct cw_disk_io *dio, int res)
{
    struct store_io *io = cw_container_of(dio, struct store_io, io);
    struct cw_store *s = io->s;
    bool again = res != 0 && io->twice;

    cw_list_remove(&io->link);
    if (--s->n_ios == 0 && (s->done_due || s->state == STORE_CLOSING))
        store_kick(s);
    if (res != 0 && !(res == -EOPNOTSUPP && dio->op == CW_DISK_DISCARD))
        s->stats.io_errors++;
    if (s->stats.stuck)
        store_io_watch(s);
    io->twice = false;
    if (again) {
        store_io_start_iov(s, io, io->io.op, io->io.off);
    } else if (res != 0 && io->patient && !s->stats.failed) {
        io_pause(io);
    } else {
        io->patient = false;
        io->again_ns = 0;
        io->done(io, res);
    }
}

void
store_io_start_iov(struct cw_store *s, struct store_io *io, enum cw_disk_op op, uint64_t off)
{
    io->s = s;
    io->io.op = op;
    io->io.off = off;
    io->io.done = io_on_done;
    io->submitted_ns = cw_now_ns(s->env);
    cw_list_init(&io->link);
    if (!io->unwatched)
        cw_list_push_back(&s->ios, &io->link);
    if (s->n_ios++ == 0 && !cw_timer_armed(&s->watch_timer))
        cw_timer_set(s->env, &s->watch_timer, io->submitted_ns + STORE_WATCH_NS);
    cw_disk_submit(s->disk, &io->io);
}

void
store_io_start(struct cw_store *s, struct store_io *io, enum cw_disk_op op, uint64_t off,
               void *data, uint64_t len)
{
    io->iov1 = (struct iovec){ .iov_base = data, .iov_len = len };
    io->io.iov = &io->iov1;
    io->io.n_iov = 1;
    io->io.len = len;
    store_io_start_iov(s, io, op, off);
}

/* A discard may take its time, but nobody waits for ever at the end. */
static const struct store_io *
io_oldest(const struct cw_store *s)
{
    const struct store_io *oldest = cw_list_first(&s->ios, struct store_io, link);

    if (s->state == STORE_CLOSING && s->discard_busy && oldest == NULL)
        oldest = &s->discard_io;
    return oldest;
}

/* Is the oldest I/O too old? */
void
store_io_watch(struct cw_store *s)
{
    const struct store_io *oldest = io_oldest(s);
    uint64_t now_ns = cw_now_ns(s->env);

    s->stats.stuck = oldest != NULL && now_ns - oldest->submitted_ns > STORE_STUCK_NS;
    if (s->stats.stuck != s->was_stuck) {
        s->was_stuck = s->stats.stuck;
        s->health_due = true;
        store_log(s, s->stats.stuck ? CW_LOG_ERROR : CW_LOG_NOTICE, "disk %s",
                  s->stats.stuck ? "is stuck: an I/O is older than 2 s" : "answers again");
        store_kick(s);
    }
}

/* ---- many runs ---- */

static void fetch_next(struct store_fetch *f, struct fetch_slot *slot);

static void
fetch_read(struct fetch_slot *slot)
{
    uint32_t n = slot->single ? 1 : slot->run.n_blocks;

    slot->io.patient = slot->single && slot->f->patient;
    store_io_start(slot->f->s, &slot->io, CW_DISK_READ, slot->run.off, slot->run.to,
                   (uint64_t)n * CW_BLOCK_SIZE);
}

static void
fetch_on_read(struct store_io *io, int res)
{
    struct fetch_slot *slot = cw_container_of(io, struct fetch_slot, io);
    struct store_fetch *f = slot->f;

    if (res != 0 && !slot->single) {
        slot->single = true;
        fetch_read(slot);
        return;
    }
    if (slot->single) {
        if (res != 0) {
            cw_bit_set(f->bad, slot->run.first);
            f->patient = false;
        }
        slot->run.first++;
        slot->run.off += CW_BLOCK_SIZE;
        slot->run.to += CW_BLOCK_SIZE;
        if (--slot->run.n_blocks > 0) {
            fetch_read(slot);
            return;
        }
    }
    f->under_way--;
    fetch_next(f, slot);
    if (f->under_way == 0) {
        f->done(f);
    }
}

static void
fetch_next(struct store_fetch *f, struct fetch_slot *slot)
{
    if (f->next == f->n_runs)
        return;
    slot->run = f->runs[f->next++];
    slot->single = false;
    f->under_way++;
    fetch_read(slot);
}

void
store_fetch_start(struct cw_store *s, struct store_fetch *f)
{
    uint32_t n = f->n_runs < FETCH_SLOTS ? f->n_runs : FETCH_SLOTS;

    cw_assert(n > 0);
    f->s = s;
    f->next = f->under_way = 0;
    for (uint32_t i = 0; i < n; i++) {
        f->slots[i].f = f;
        f->slots[i].io.done = fetch_on_read;
        fetch_next(f, &f->slots[i]);
    }
}

uint64_t
store_ops(const struct cw_store *s)
{
    return s->stats.reads + s->stats.records;
}

bool
store_is_idle(struct cw_store *s, struct idle_look *last)
{
    uint64_t now_ns = cw_now_ns(s->env), ops = store_ops(s) - last->ops;
    bool fresh = now_ns - last->ns <= 2 * IDLE_LOOK_NS;

    last->ns = now_ns;
    last->ops = store_ops(s);
    return fresh && s->n_ios == 0 && s->n_reads == 0 && ops <= IDLE_OPS;
}
