/* store/store.c - the store as a whole: memory, open and close, the turn, timers, numbers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/store/store-internal.h"

#define MAP_BUDGET_MIN (CW_MIB / 2)

void *
store_alloc(size_t size)
{
    void *p = calloc(1, size == 0 ? 1 : size);

    cw_assert(p != NULL);
    return p;
}

void *
store_alloc_aligned(size_t size)
{
    void *p = aligned_alloc(4096, cw_align_up(size == 0 ? 1 : size, 4096));

    cw_assert(p != NULL);
    return p;
}

void *
store_own_new(struct cw_store *s, size_t size)
{
    struct store_own *o = store_alloc(size);

    cw_list_push_back(&s->owned, &o->link);
    return o;
}

void
store_own_free(struct store_own *o)
{
    cw_list_remove(&o->link);
    free(o->mem);
    free(o);
}

/* ---- timers ---- */

static void
store_on_watch(struct cw_timer *t)
{
    struct cw_store *s = cw_container_of(t, struct cw_store, watch_timer);

    store_io_watch(s);
    if (s->n_ios > 0)
        cw_timer_set(s->env, t, cw_now_ns(s->env) + STORE_WATCH_NS);
}

static void
store_kick_at(struct cw_store *s, uint64_t at_ns)
{
    if (!cw_timer_armed(&s->kick_timer) || s->kick_timer.at_ns > at_ns)
        cw_timer_set(s->env, &s->kick_timer, at_ns);
}

/* A checkpoint becomes due also on a store where nothing happens any more. */
static void
store_kick_idle(struct cw_store *s)
{
    if (s->state == STORE_OPEN && !s->stats.failed && ckpt_has_news(s) && !ckpt_running(s) &&
        !s->ckpt.wanted)
        store_kick_at(s, s->ckpt.last_ns + STORE_CKPT_NS);
}

/* Idle: the last batches are declared durable by a batch behind them. */
static void
store_on_note(struct cw_timer *t)
{
    struct cw_store *s = cw_container_of(t, struct cw_store, note_timer);
    uint64_t due_ns = s->last_append_ns + STORE_NOTE_NS;
    struct rec_out r = { .d = { .type = CW_REC_NOTE } };

    if (s->state != STORE_OPEN || s->stats.failed || s->noted_upto >= s->durable_data)
        return;
    /* whatever waits to be written will say it as well */
    if (s->n_batches[CW_SEG_HOT] > 0)
        due_ns = cw_now_ns(s->env) + STORE_NOTE_NS;
    if (cw_now_ns(s->env) < due_ns) {
        cw_timer_set(s->env, t, due_ns);
        return;
    }
    store_kick_idle(s);
    batch_control(s, &r, NULL);
    batch_submit_class(s, CW_SEG_HOT, true);
    /* the note itself needs none */
    s->noted_upto = s->next_batch;
}

static void
store_background(struct cw_store *s)
{
    if (!s->stats.failed && s->state != STORE_OPEN && ckpt_waits_for_memory(s))
        ckpt_step(s);
    if (s->stats.failed || s->state != STORE_OPEN)
        return;
    batch_control_flush(s);
    ckpt_consider(s);
    ckpt_step(s);
    for (uint8_t cls = CW_SEG_HOT; cls < CW_SEG_CLASSES; cls++)
        batch_submit_class(s, cls, false);
    mover_kick(s);
    cleaner_kick(s);
    layer_reclaim_kick(s);
    discard_kick(s);
    prewrite_kick(s);
    scrub_kick(s);
    if (s->pressed[CW_SEG_HOT] || s->pressed[CW_SEG_COLD] || s->pressed[CW_SEG_WARM])
        store_kick_later(s); /* what holds segments back may end without a sound: stable moves */
}

/* ---- closing ---- */

static void
store_on_closed(struct cw_store *s, int res)
{
    s->state = STORE_DOWN;
    store_finish(s, res);
}

/* Nothing is under way that a close could wait for? */
static bool
store_rests(const struct cw_store *s)
{
    return s->n_ios == 0 && s->n_reads == 0 && cw_list_empty(&s->answered) &&
           (s->stats.failed || !ckpt_waits_for_memory(s));
}

/* What was taken and waits for a free segment would wait for ever: nobody cleans any more. None of
 * it was acknowledged, and the log has all that was: as after a crash, the next open reads it. */
static void
store_close_short(struct cw_store *s)
{
    if (s->state != STORE_CLOSING || s->done_due || !store_rests(s))
        return;
    store_log(s, CW_LOG_WARNING,
              "closed without a checkpoint, no segment is free: what was not acknowledged is "
              "dropped, the next start reads the log");
    store_on_closed(s, 0);
}

/* Is there anything left to wait for? */
void
store_close_step(struct cw_store *s)
{
    if (s->state != STORE_CLOSING || s->done_due)
        return;
    if (s->stats.failed) {
        if (store_rests(s))
            store_on_closed(s, -EIO);
        return;
    }
    if (s->ckpt.done != NULL)
        return; /* the last one is under way */
    batch_control_flush(s);
    for (uint8_t cls = CW_SEG_HOT; cls < CW_SEG_CLASSES; cls++)
        batch_submit_class(s, cls, true);
    if (!batch_idle(s) || cleaner_busy(s) || mover_busy(s) || ckpt_running(s) || s->apply.active ||
        !store_rests(s))
        return;
    s->ckpt.wanted = true;
    s->ckpt.done = store_on_closed;
    ckpt_step(s);
}

/* ---- the kick ---- */

/* What recovery found, and the work that waited for it. */
static void
store_opened(struct cw_store *s)
{
    packer_look(s);
    store_kick(s);
}

static void
store_on_kick(struct cw_timer *t)
{
    struct cw_store *s = cw_container_of(t, struct cw_store, kick_timer);
    bool health;

    store_background(s);
    if (s->state == STORE_OPEN && space_is_full(s) != s->was_full)
        space_update(s); /* what deleted layers give back comes without a batch */
    if (s->stats.failed)
        read_fail_held(s);
    read_deliver(s);
    store_answers_deliver(s);
    health = s->health_due || s->starved;
    s->health_due = s->starved = false;
    if (health && s->ev != NULL && s->state != STORE_OPENING)
        s->ev->on_health(s->user);
    if (s->state == STORE_OPEN && !s->done_due)
        bads_deliver(s);
    store_close_step(s);
    store_close_short(s);
    store_kick_idle(s);
    /* last: the caller may free the store, after a failure too */
    if (s->done_due && (s->state == STORE_OPEN || s->n_ios == 0)) {
        cw_store_done_fn *done = s->done;

        s->done_due = false;
        s->done = NULL;
        if (s->state == STORE_OPEN)
            store_opened(s);
        done(s->done_user, s->done_res);
    }
}

void
store_kick(struct cw_store *s)
{
    store_kick_at(s, cw_now_ns(s->env));
}

void
store_kick_later(struct cw_store *s)
{
    store_kick_at(s, cw_now_ns(s->env) + CW_NS_PER_MS);
}

void
store_finish(struct cw_store *s, int res)
{
    s->done_res = res;
    s->done_due = true;
    store_kick(s);
}

/* ---- answers ---- */

void
store_answer(struct cw_store *s, struct cw_store_ticket *t, int res)
{
    t->batch = (uint64_t)(int64_t)res;
    cw_list_push_back(&s->answered, &t->link);
    if (res != 0)
        store_kick(s);
}

void
store_answers_deliver(struct cw_store *s)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(&s->answered)) != NULL) {
        struct cw_store_ticket *t = cw_list_entry(node, struct cw_store_ticket, link);

        t->done(t, (int)(int64_t)t->batch);
    }
}

void
store_fail(struct cw_store *s, const char *why, int err)
{
    void (*done)(struct cw_store *, int) = s->ckpt.done;

    if (s->stats.failed)
        return;
    s->stats.failed = true;
    s->stats.why = why;
    s->health_due = true;
    store_log(s, CW_LOG_ERROR, "out of service: %s: %s", why, strerror(-err));
    batch_fail_all(s);
    store_kick(s);
    if (s->state == STORE_OPENING && done != NULL && s->ckpt.state != CKPT_SB) {
        s->ckpt.done = NULL;
        done(s, -EIO);
    }
}

/* ---- life ---- */

static void
store_init_lists(struct cw_store *s)
{
    struct cw_list *lists[] = {
        &s->owned,     &s->ios,        &s->paused,     &s->sb_waits,    &s->batches,
        &s->spare,     &s->control,    &s->touched,    &s->lru,         &s->dirty,
        &s->held,      &s->tabs_dirty, &s->shards,     &s->zombies,     &s->reads,
        &s->answered,  &s->reads_held, &s->reads_done, &s->reads_spare, &s->ckpt.pages,
        &s->ckpt.tabs, &s->layers,
    };

    for (size_t i = 0; i < CW_LEN(lists); i++)
        cw_list_init(lists[i]);
    for (size_t i = 0; i < CW_LEN(s->ready); i++)
        cw_list_init(&s->ready[i]);
    for (size_t i = 0; i < STORE_BUCKETS; i++) {
        cw_list_init(&s->by_id[i]);
        cw_list_init(&s->by_layer[i]);
        cw_list_init(&s->by_family[i]);
    }
}

struct cw_store *
cw_store_new(struct cw_store_opts opts)
{
    struct cw_store *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    s->sb_mem = aligned_alloc(4096, 4096);
    s->page_pool = cw_buf_pool_new(UINT64_MAX);
    if (s->sb_mem == NULL || s->page_pool == NULL) {
        cw_buf_pool_free(s->page_pool);
        free(s->sb_mem);
        free(s);
        return NULL;
    }
    store_init_lists(s);
    s->env = opts.env;
    s->disk = opts.disk;
    s->pool = opts.pool;
    s->ev = opts.ev;
    s->user = opts.user;
    s->name = opts.name != NULL ? opts.name : "store";
    s->is_device = opts.is_device;
    s->discard = opts.discard;
    s->map_budget = cw_max_u64(opts.map_cache_bytes, MAP_BUDGET_MIN);
    s->watch_timer.fn = store_on_watch;
    s->note_timer.fn = store_on_note;
    s->pause_timer.fn = store_on_pause;
    s->kick_timer.fn = store_on_kick;
    packer_init(s);
    s->next_batch = s->next_seg_seq = s->next_layer = 1;
    s->sb_io.s = s;
    s->bads = bads_new();
    s->scrub = scrub_new(s, opts.scrub_ns);
    return s;
}

void
cw_store_open(struct cw_store *s, cw_store_done_fn *done, void *user)
{
    cw_assert(s->state == STORE_NEW && s->done == NULL);
    s->state = STORE_OPENING;
    s->done = done;
    s->done_user = user;
    recovery_start(s);
}

void
cw_store_identify(struct cw_store *s, cw_store_done_fn *done, void *user)
{
    cw_assert(s->state == STORE_NEW && s->done == NULL);
    s->done = done;
    s->done_user = user;
    sb_read(s, store_finish);
}

void
cw_store_close(struct cw_store *s, cw_store_done_fn *done, void *user)
{
    cw_assert(s->state == STORE_OPEN && s->done == NULL);
    s->state = STORE_CLOSING;
    s->done = done;
    s->done_user = user;
    batch_submit_class(s, CW_SEG_HOT, true);
    mover_kick(s);
    cleaner_kick(s);
    store_close_step(s);
    store_kick(s);
}

void
store_free_shards(struct cw_store *s)
{
    struct cw_list *lists[] = { &s->shards, &s->zombies };

    while (!cw_list_empty(&s->layers)) /* children first */
        layer_free(cw_list_entry(s->layers.prev, struct layer, link));
    for (size_t i = 0; i < CW_LEN(lists); i++) {
        while (!cw_list_empty(lists[i]))
            shard_free(cw_list_first(lists[i], struct cw_store_shard, link));
    }
    s->n_shards = 0;
}

void
cw_store_free(struct cw_store *s)
{
    if (s == NULL)
        return;
    cw_timer_cancel(s->env, &s->watch_timer);
    cw_timer_cancel(s->env, &s->note_timer);
    cw_timer_cancel(s->env, &s->pause_timer);
    cw_timer_cancel(s->env, &s->kick_timer);
    packer_fini(s);
    recovery_free(s);
    cleaner_free(s);
    mover_free(s);
    ckpt_free(s);
    read_free_all(s);
    scrub_free(s);
    free(s->bads);
    map_free_all(s);
    store_free_shards(s);
    batch_free_all(s);
    cw_buf_unref(s->zero_buf);
    comp_free(s);
    while (!cw_list_empty(&s->owned))
        store_own_free(cw_list_first(&s->owned, struct store_own, link));
    free(s->segs);
    free(s->sb_mem);
    cw_buf_pool_free(s->page_pool);
    free(s);
}

const struct cw_store_identity *
cw_store_identity(const struct cw_store *s)
{
    return &s->identity;
}

const struct cw_store_recovery *
cw_store_recovery(const struct cw_store *s)
{
    return &s->recovered;
}

void
cw_store_turn_end(struct cw_store *s)
{
    const struct batch *b = s->batch_open[CW_SEG_HOT];

    if (b != NULL && b->nrec > 0)
        batch_submit_class(s, CW_SEG_HOT, true);
}

/* ---- numbers ---- */

void
cw_store_stats(const struct cw_store *s, struct cw_store_stats *ret)
{
    *ret = s->stats;
    ret->bytes = s->sb.dev_bytes;
    ret->segments = s->n_segs;
    ret->segments_free = segment_count(s, CW_SEG_FREE);
    ret->map_pages = s->n_pages;
    ret->map_pages_dirty = map_dirty_pages(s);
    ret->map_cache_bytes = map_cached_pages(s) * sizeof(struct cw_map_page);
    ret->layers_gone = s->n_gone;
    ret->layers = s->n_layers;
    scrub_stats(s, &ret->scrub);
    if (s->n_segs == 0)
        return;
    ret->used_bytes = space_used(s) * CW_BLOCK_SIZE;
    ret->free_bytes = space_capacity(s) > space_taken(s)
                          ? (space_capacity(s) - space_taken(s)) * CW_BLOCK_SIZE
                          : 0;
}
