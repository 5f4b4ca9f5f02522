/* store/scrub.c - reads again all that is live, from the media, in the background.
 *
 *   REST --scrub_ns since the last one began, or asked for--> SB (4 slots) --> CKPT (both: root,
 *   parts, table pages) --> PAGES (map pages) --> BLOCKS (copy by copy, chunk by chunk) --> REST
 *
 * One step is under way at a time: a few pages, or one chunk. The pace is the share of the data
 * that should have been read by now; a step waits until the disk has little else to do. What is in
 * memory too (a superblock, a resident map page, a table) is healed by writing it anew; a map page
 * that is not is loaded, which finds it lost. Bad blocks are told by whoever reads them (read.c).
 *
 * The cursor lies in every checkpoint. What happens between the last one and a crash is read twice.
 */
#include <stdlib.h>
#include <string.h>

#include "common/codec/hash.h"
#include "daemon/store/scrub.h"

#define WEEK_NS (7 * 24 * 3600 * CW_NS_PER_S)
#define SETTLE_NS (10 * CW_NS_PER_S) /* after an open others come first */
#define LOOK_NS IDLE_LOOK_NS
#define HURRY_NS (20 * CW_NS_PER_MS) /* between hurried steps when others use the disk */
/* Later than this share of a pass it goes on without an idle moment, a step at a time. */
#define LATE_SHARE 7u
#define LATE_NS CW_NS_PER_S

/* ---- the pass ---- */

static uint64_t
scrub_elapsed_ns(const struct scrub *c)
{
    return c->base_ns + (c->open ? cw_now_ns(c->s->env) - c->since_ns : 0);
}

static uint64_t
scrub_live_blocks(const struct cw_store *s)
{
    uint64_t n = 0;

    CW_LIST_EACH (it, &s->shards)
        n += cw_list_entry(it, struct cw_store_shard, link)->info.mapped_blocks;
    return n;
}

static void
pass_begin(struct scrub *c, bool hurry)
{
    c->pass = (struct scrub_pass){ .number = c->pass.number + 1 };
    c->base_ns = 0;
    c->since_ns = cw_now_ns(c->s->env);
    c->phase = CW_SCRUB_SB;
    c->at = (struct scrub_at){ 0 };
    c->slot = c->which = 0;
    c->hurry = hurry;
    store_log(c->s, hurry ? CW_LOG_NOTICE : CW_LOG_INFO, "scrub pass %llu begins%s",
              (unsigned long long)c->pass.number, hurry ? ", asked for" : "");
}

void
scrub_pass_end(struct scrub *c)
{
    c->pass.took_ns = scrub_elapsed_ns(c);
    c->last = c->pass;
    c->ended_ns = cw_now_ns(c->s->env);
    c->phase = CW_SCRUB_REST;
    c->hurry = false;
    store_log(c->s, c->pass.found > 0 ? CW_LOG_WARNING : CW_LOG_INFO,
              "scrub pass %llu is over: %llu MiB read, %llu bad blocks found, %llu repaired",
              (unsigned long long)c->pass.number, (unsigned long long)(c->pass.bytes / CW_MIB),
              (unsigned long long)c->pass.found, (unsigned long long)c->pass.repaired);
    ckpt_want(c->s);
}

/* When the next step should be done, in time of the pass. */
static uint64_t
pass_due_ns(const struct scrub *c)
{
    uint64_t done = c->pass.bytes / CW_BLOCK_SIZE;
    uint64_t total = cw_max_u64(scrub_live_blocks(c->s), cw_max_u64(done, 1));

    if (c->phase == CW_SCRUB_REST)
        return c->interval_ns;
    /* in milliseconds it fits for 100 TiB and a week */
    return c->interval_ns / CW_NS_PER_MS * done / total * CW_NS_PER_MS;
}

void
scrub_repaired(struct cw_store *s, uint64_t n)
{
    s->scrub->pass.repaired += n;
}

/* ---- healing what is in memory too ---- */

void
scrub_healed(struct scrub *c, const char *what)
{
    bad_meta(c->s, what);
    c->pass.found++;
    c->pass.repaired++;
}

void
scrub_want_ckpts(struct scrub *c, uint32_t n)
{
    c->healed_by = cw_max_u64(c->healed_by, c->s->stats.checkpoints + n);
    ckpt_want(c->s);
}

/* ---- memory, and pages of the map and of tables ---- */

bool
scrub_buffer(struct scrub *c, size_t len)
{
    struct cw_buf_pool *p = c->s->pool;

    /* others need it more */
    if (cw_buf_pool_used(p) + len > cw_buf_pool_limit(p) / 4 * 3)
        return false;
    c->buf = cw_buf_get(p, len);
    return c->buf != NULL;
}

void
scrub_refs_pin(struct scrub *c, int32_t by)
{
    for (uint32_t i = 0; i < c->n_refs; i++)
        c->s->segs[cw_loc_seg(c->refs[i].loc)].io_pins += (uint32_t)by;
}

bool
scrub_ref_is_good(const struct scrub *c, uint32_t i)
{
    return !cw_bit_get(c->bad, i) &&
           cw_hash_block(c->buf->data + (size_t)i * CW_BLOCK_SIZE) == c->refs[i].csum;
}

enum step
scrub_refs_fetch(struct scrub *c, void (*done)(struct store_fetch *))
{
    if (!scrub_buffer(c, (size_t)c->n_refs * CW_BLOCK_SIZE))
        return STEP_LATER;
    for (uint32_t i = 0; i < c->n_refs; i++)
        c->runs[i] = (struct store_run){ .off = loc_off(c->s, c->refs[i].loc),
                                         .to = c->buf->data + (size_t)i * CW_BLOCK_SIZE,
                                         .n_blocks = 1,
                                         .first = i };
    c->bad[0] = 0;
    c->fetch.runs = c->runs;
    c->fetch.n_runs = c->n_refs;
    c->fetch.bad = c->bad;
    c->fetch.done = done;
    scrub_refs_pin(c, 1);
    store_fetch_start(c->s, &c->fetch);
    return STEP_BUSY;
}

/* ---- when ---- */

static void
scrub_wait(struct scrub *c, uint64_t ns)
{
    cw_timer_set(c->s->env, &c->timer, cw_now_ns(c->s->env) + ns);
}

static enum step
step_begin(struct scrub *c)
{
    switch (c->phase) {
    case CW_SCRUB_SB:
        return scrub_step_sb(c);
    case CW_SCRUB_CKPT:
        return scrub_step_ckpt(c);
    case CW_SCRUB_PAGES:
        return scrub_step_pages(c);
    case CW_SCRUB_BLOCKS:
        return scrub_step_blocks(c);
    case CW_SCRUB_REST:
        break;
    }
    cw_unreachable();
}

static void scrub_plan(struct scrub *c);

static void
scrub_step(struct scrub *c)
{
    enum step step = STEP_NEXT;

    c->busy = true;
    while (step == STEP_NEXT && c->phase != CW_SCRUB_REST)
        step = step_begin(c);
    if (step == STEP_BUSY)
        return;
    c->busy = false;
    cw_buf_unref(c->buf);
    c->buf = NULL;
    if (step == STEP_LATER)
        scrub_wait(c, LOOK_NS);
    else
        scrub_plan(c);
}

void
scrub_step_over(struct scrub *c)
{
    struct cw_store *s = c->s;

    cw_buf_unref(c->buf);
    c->buf = NULL;
    c->busy = false;
    c->stepped_ns = cw_now_ns(s->env);
    if (s->state != STORE_OPEN) {
        store_close_step(s);
        return;
    }
    s->ckpt.scrub_moved = true;
    store_kick(s); /* a dropped copy may have waited for us */
    if (c->again) {
        c->again = false;
        scrub_ckpt_leave(c);
        pass_begin(c, true);
    }
    c->stepped_ops = store_ops(s);
    if (c->starved)
        scrub_wait(c, LOOK_NS);
    else
        scrub_plan(c);
    c->starved = false;
}

/* 0: now. */
static uint64_t
scrub_gives_way_ns(struct scrub *c)
{
    uint64_t now_ns = cw_now_ns(c->s->env), elapsed_ns = scrub_elapsed_ns(c);

    if (c->hurry)
        return store_ops(c->s) == c->stepped_ops || now_ns - c->stepped_ns >= HURRY_NS ? 0
                                                                                       : HURRY_NS;
    if (store_is_idle(c->s, &c->look))
        return 0;
    if (elapsed_ns > pass_due_ns(c) + c->interval_ns / LATE_SHARE &&
        now_ns - c->stepped_ns >= LATE_NS)
        return 0;
    return LOOK_NS;
}

static void
scrub_on_timer(struct cw_timer *t)
{
    struct scrub *c = cw_container_of(t, struct scrub, timer);
    uint64_t wait_ns;

    if (c->busy || c->s->state != STORE_OPEN || c->s->stats.failed)
        return;
    if (scrub_elapsed_ns(c) < pass_due_ns(c) && !c->hurry) {
        scrub_plan(c);
        return;
    }
    if (c->phase == CW_SCRUB_REST)
        pass_begin(c, false);
    wait_ns = scrub_gives_way_ns(c);
    if (wait_ns == 0)
        scrub_step(c);
    else
        scrub_wait(c, wait_ns);
}

static void
scrub_plan(struct scrub *c)
{
    uint64_t elapsed_ns = scrub_elapsed_ns(c), due_ns = pass_due_ns(c);

    scrub_wait(c, c->hurry || due_ns <= elapsed_ns ? 0 : due_ns - elapsed_ns);
}

/* ---- life ---- */

struct scrub *
scrub_new(struct cw_store *s, uint64_t interval_ns)
{
    struct scrub *c = store_alloc(sizeof(*c));

    c->s = s;
    c->interval_ns = interval_ns != 0 ? interval_ns : WEEK_NS;
    c->timer.fn = scrub_on_timer;
    c->phase = CW_SCRUB_REST;
    c->base_ns = c->interval_ns; /* the first one is due */
    return c;
}

void
scrub_free(struct cw_store *s)
{
    struct scrub *c = s->scrub;

    cw_timer_cancel(s->env, &c->timer);
    cw_buf_unref(c->buf);
    cw_buf_unref(c->tabs);
    free(c->root);
    free(c);
}

static void
scrub_open(struct scrub *c)
{
    c->open = true;
    c->since_ns = cw_now_ns(c->s->env);
    if (c->last.number != 0)
        c->ended_ns = c->since_ns - c->ended_ns; /* it was an age until now */
    scrub_wait(c, c->hurry ? 0 : SETTLE_NS);
}

void
scrub_kick(struct cw_store *s)
{
    struct scrub *c = s->scrub;

    if (!c->open)
        scrub_open(c);
    if (s->stats.checkpoints < c->healed_by)
        ckpt_want(s);
}

void
cw_store_scrub_start(struct cw_store *s)
{
    struct scrub *c = s->scrub;

    if (s->state != STORE_OPEN || s->stats.failed)
        return;
    if (!c->open)
        scrub_open(c);
    c->again = c->busy;
    if (!c->busy) {
        scrub_ckpt_leave(c);
        pass_begin(c, true);
        scrub_plan(c);
    }
}

bool
scrub_holds(const struct cw_store *s, const struct cw_store_shard *sh)
{
    return s->scrub->busy && s->scrub->phase == CW_SCRUB_BLOCKS && s->scrub->read.shard == sh;
}

/* ---- what lasts ---- */

void
scrub_encode(const struct cw_store *s, struct cw_scrub_bytes *to)
{
    const struct scrub *c = s->scrub;

    *to = (struct cw_scrub_bytes){
        .pass = c->pass.number,
        .shard = c->at.shard,
        .snap = c->at.snap,
        .chunk = c->at.chunk,
        .phase = (uint8_t)c->phase,
        .flags = c->hurry || c->again ? CW_SCRUB_HURRY : 0,
        .elapsed_ns = scrub_elapsed_ns(c),
        .done_bytes = c->pass.bytes,
        .found = c->pass.found,
        .repaired = c->pass.repaired,
        .last_pass = c->last.number,
        .last_took_ns = c->last.took_ns,
        .last_ago_ns = c->open ? cw_now_ns(s->env) - c->ended_ns : c->ended_ns,
        .last_bytes = c->last.bytes,
        .last_found = c->last.found,
        .last_repaired = c->last.repaired,
    };
    bads_encode(s, to);
}

void
scrub_decode(struct cw_store *s, const uint8_t *bytes, size_t len)
{
    struct cw_scrub_bytes b;
    struct scrub *c = s->scrub;

    if (bytes == NULL || len != sizeof(b))
        return;
    memcpy(&b, bytes, sizeof(b));
    if (b.phase > CW_SCRUB_REST || b.n_recent >= CW_SCRUB_RECENT)
        return;
    c->pass = (struct scrub_pass){
        .number = b.pass, .bytes = b.done_bytes, .found = b.found, .repaired = b.repaired
    };
    c->last = (struct scrub_pass){ .number = b.last_pass,
                                   .took_ns = b.last_took_ns,
                                   .bytes = b.last_bytes,
                                   .found = b.last_found,
                                   .repaired = b.last_repaired };
    c->at = (struct scrub_at){ b.shard, b.snap, b.chunk };
    c->phase = (enum cw_scrub_phase)b.phase;
    c->hurry = b.flags & CW_SCRUB_HURRY && c->phase != CW_SCRUB_REST;
    c->base_ns = b.elapsed_ns;
    c->ended_ns = b.last_ago_ns;
    bads_decode(s, &b);
}

void
scrub_stats(const struct cw_store *s, struct cw_store_scrub_stats *ret)
{
    const struct scrub *c = s->scrub;
    uint64_t live = scrub_live_blocks(s) * CW_BLOCK_SIZE;

    *ret = (struct cw_store_scrub_stats){
        .pass = c->pass.number,
        .running = c->phase != CW_SCRUB_REST,
        .hurried = c->hurry,
        .done_bytes = c->pass.bytes,
        .total_bytes = cw_max_u64(live, c->pass.bytes),
        .elapsed_ns = scrub_elapsed_ns(c),
        .found = c->pass.found,
        .repaired = c->pass.repaired,
        .last_pass = c->last.number,
        .last_took_ns = c->last.took_ns,
        .last_bytes = c->last.bytes,
        .last_found = c->last.found,
        .last_repaired = c->last.repaired,
    };
    if (c->last.number != 0)
        ret->last_ago_ns = c->open ? cw_now_ns(s->env) - c->ended_ns : c->ended_ns;
    bads_stats(s, ret);
}
