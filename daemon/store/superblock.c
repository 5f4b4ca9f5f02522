/* store/superblock.c - four slots, two at each end of the store; the highest valid sb_seq is it.
 *
 * Written where the store ends by its own dev_bytes, however large its disk has become.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/codec/hash.h"
#include "daemon/store/inspect.h"
#include "daemon/store/store-internal.h"

bool
sb_valid(const struct cw_sb *sb)
{
    return cw_inspect_sb_whole(sb) == NULL;
}

/* ---- reading all slots ---- */

struct sb_reader {
    struct store_own own;
    struct store_io io;
    struct cw_inspect_places places;
    uint32_t at; /* the place that is read; behind them all, traces of a store without any */
    struct cw_store *s;
    void (*done)(struct cw_store *, int res);
};

static void
reader_take(struct cw_store *s, const struct cw_sb *best)
{
    s->sb = *best;
    s->sb_known = true;
    memcpy(s->identity.disk_uuid.b, s->sb.disk_uuid, 16);
    memcpy(s->identity.cluster_id.b, s->sb.cluster_id, 16);
    s->identity.format_id = s->sb.format_id;
    s->identity.incarnation = s->sb.incarnation;
    s->identity.bytes = s->sb.dev_bytes;
    s->identity.segment_bytes = s->sb.seg_bytes;
    s->identity.segment_count = s->sb.seg_count;
}

static void
reader_finish(struct sb_reader *r, int res)
{
    struct cw_store *s = r->s;
    void (*done)(struct cw_store *, int res) = r->done;

    if (res == 0) {
        reader_take(s, cw_inspect_places_best(&r->places));
        s->sb_whole = cw_inspect_places_whole(&r->places);
    }
    store_own_free(&r->own);
    done(s, res);
}

static void
reader_read(struct sb_reader *r, uint64_t off)
{
    r->io.twice = true; /* an older slot must not win by chance */
    store_io_start(r->s, &r->io, CW_DISK_READ, off, r->own.mem, 4096);
}

/* Nothing is a superblock: was it ever a store? */
static void
reader_next_trace(struct sb_reader *r)
{
    uint64_t off;

    if (r->at < CW_SB_PLACES + CW_INSPECT_TRACES &&
        cw_inspect_trace(r->places.disk_bytes, r->at - CW_SB_PLACES, &off))
        reader_read(r, off);
    else
        reader_finish(r, CW_STORE_E_NOT_FORMATTED);
}

static void
reader_next(struct sb_reader *r)
{
    uint64_t off;
    int res;

    while (r->at < CW_SB_PLACES && !cw_inspect_place(&r->places, r->at, &off))
        r->places.res[r->at++] = -ENOENT;
    if (r->at < CW_SB_PLACES) {
        reader_read(r, off);
        return;
    }
    res = cw_inspect_places_outcome(&r->places);
    if (res == CW_STORE_E_NOT_FORMATTED)
        reader_next_trace(r);
    else
        reader_finish(r, res);
}

static void
reader_on_read(struct store_io *io, int res)
{
    struct sb_reader *r = cw_container_of(io, struct sb_reader, io);

    if (r->at < CW_SB_PLACES) {
        r->places.res[r->at] = res;
        if (res != 0)
            recovery_missed(r->s, io->io.off, io->io.len);
        else
            memcpy(&r->places.sb[r->at], r->own.mem, sizeof(r->places.sb[0]));
    } else if (res == 0 && cw_inspect_is_trace((const void *)r->own.mem)) {
        reader_finish(r, CW_STORE_E_LOST);
        return;
    }
    r->at++;
    reader_next(r);
}

void
sb_read(struct cw_store *s, void (*done)(struct cw_store *, int res))
{
    struct sb_reader *r = store_own_new(s, sizeof(*r));

    r->s = s;
    r->places.disk_bytes = s->disk->bytes;
    r->done = done;
    r->own.mem = store_alloc_aligned(4096);
    r->io.done = reader_on_read;
    reader_next(r);
}

/* ---- writing ---- */

static void sb_write_next(struct cw_store *s);

static void
sb_on_write(struct store_io *io, int res)
{
    struct cw_store *s = io->s;
    struct sb_wait *w = cw_list_first(&s->sb_waits, struct sb_wait, link);

    s->sb_busy = false;
    cw_list_remove(&w->link);
    if (res == 0)
        s->sb = *(const struct cw_sb *)(const void *)s->sb_mem;
    else
        store_fail(s, "superblock write failed", res);
    w->done(s, w->arg, res);
    while (s->stats.failed && (w = cw_list_first(&s->sb_waits, struct sb_wait, link)) != NULL) {
        cw_list_remove(&w->link); /* nothing is written any more */
        w->done(s, w->arg, -EIO);
    }
    sb_write_next(s);
}

static void
sb_write_next(struct cw_store *s)
{
    struct sb_wait *w = cw_list_first(&s->sb_waits, struct sb_wait, link);
    struct cw_sb *sb = (void *)s->sb_mem;

    if (w == NULL || s->sb_busy)
        return;
    *sb = s->sb;
    sb->sb_seq++;
    w->change(s, sb, w->arg);
    sb->csum = cw_hash(sb, offsetof(struct cw_sb, csum));
    s->sb_busy = true;
    s->sb_io.done = sb_on_write;
    store_io_start(s, &s->sb_io, CW_DISK_WRITE_SYNC,
                   cw_inspect_sb_off(sb->dev_bytes, (uint32_t)(sb->sb_seq % CW_SB_SLOTS)), sb,
                   4096);
}

void
sb_write(struct cw_store *s, struct sb_wait *w)
{
    w->s = s;
    cw_list_push_back(&s->sb_waits, &w->link);
    sb_write_next(s);
}

/* ---- claim ---- */

struct claim {
    struct store_own own;
    struct sb_wait wait;
    struct cw_uuid cluster_id;
    cw_store_done_fn *done;
    void *user;
    struct cw_store *s;
    struct cw_timer timer;
    int res;
};

static void
claim_answer(struct cw_timer *t)
{
    struct claim *c = cw_container_of(t, struct claim, timer);
    cw_store_done_fn *done = c->done;
    void *user = c->user;
    int res = c->res;

    store_own_free(&c->own);
    done(user, res);
}

static void
claim_later(struct claim *c, int res)
{
    c->res = res;
    cw_timer_set(c->s->env, &c->timer, cw_now_ns(c->s->env));
}

static void
claim_change(struct cw_store *s, struct cw_sb *sb, void *arg)
{
    memcpy(sb->cluster_id, ((struct claim *)arg)->cluster_id.b, 16);
}

static void
claim_written(struct cw_store *s, void *arg, int res)
{
    struct claim *c = arg;

    if (res == 0)
        s->identity.cluster_id = c->cluster_id;
    claim_later(c, res);
}

static void
claim_check(struct cw_store *s, struct claim *c)
{
    if (!cw_uuid_is_nil(&s->identity.cluster_id)) {
        claim_later(c, cw_uuid_equal(&s->identity.cluster_id, &c->cluster_id) ? 0 : -EEXIST);
        return;
    }
    c->wait.change = claim_change;
    c->wait.done = claim_written;
    c->wait.arg = c;
    sb_write(s, &c->wait);
}

void
cw_store_claim(struct cw_store *s, struct cw_uuid cluster_id, cw_store_done_fn *done, void *user)
{
    struct claim *c = store_own_new(s, sizeof(*c));

    c->s = s;
    c->cluster_id = cluster_id;
    c->done = done;
    c->user = user;
    c->timer.fn = claim_answer;
    if (s->stats.failed)
        claim_later(c, -EIO);
    else if (!s->sb_known)
        claim_later(c, -EINVAL);
    else
        claim_check(s, c);
}
