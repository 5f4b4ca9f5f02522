/* store/scan.c - all batches of one segment: from its summary, else by walking the headers, and
 * behind a header that is not valid by looking at every 4 KiB for the next one.
 */
#include <stdlib.h>
#include <string.h>

#include "common/codec/hash.h"
#include "daemon/store/inspect.h"
#include "daemon/store/store-internal.h"

#define SCAN_WIN CW_MIB

static void scan_walk(struct scan *sc);

static bool
scan_hdr_ok(const struct scan *sc, const struct cw_batch_hdr *h, uint32_t off)
{
    return h->seg_seq == sc->seg_seq && cw_inspect_batch_hdr(&sc->s->sb, h, off) == NULL;
}

static void
scan_add(struct scan *sc, const struct cw_batch_hdr *h, const uint8_t *bytes, uint32_t off,
         uint32_t used)
{
    struct scan_batch *b;

    if (sc->n == sc->cap) {
        sc->cap = sc->cap == 0 ? 64 : sc->cap * 2;
        sc->b = realloc(sc->b, sc->cap * sizeof(*sc->b));
        cw_assert(sc->b != NULL);
    }
    b = &sc->b[sc->n++];
    *b = (struct scan_batch){ .h = *h, .seg = sc->seg, .off = off, .used = used };
    b->bytes = store_alloc(used);
    memcpy(b->bytes, bytes, used);
}

static void
scan_finish(struct scan *sc)
{
    free(sc->win);
    sc->win = NULL;
    sc->done(sc);
}

void
scan_fini(struct scan *sc)
{
    for (uint32_t i = 0; i < sc->n; i++)
        free(sc->b[i].bytes);
    free(sc->b);
    free(sc->win);
    sc->b = NULL;
    sc->win = NULL;
    sc->n = sc->cap = 0;
}

void
scan_each_record(const struct scan *sc, scan_record_fn *fn, void *user)
{
    for (uint32_t i = 0; i < sc->n; i++) {
        const struct scan_batch *b = &sc->b[i];
        const uint8_t *at = b->bytes + sizeof(b->h), *end = b->bytes + b->used;
        struct rec_view v;

        for (uint32_t k = 0; k < b->h.nrec && record_parse(at, end, b->h.payload_bytes, &v); k++) {
            fn(user, b, &v);
            at = v.next;
        }
    }
}

/* ---- summary ---- */

/* Of a summary that is right. */
static void
summary_take(struct scan *sc, uint32_t bytes)
{
    for (uint32_t at = 0; at < bytes;) {
        struct cw_sum_entry e;
        struct cw_batch_hdr h;

        memcpy(&e, sc->win + at, sizeof(e));
        at += (uint32_t)sizeof(e);
        memcpy(&h, sc->win + at, sizeof(h));
        scan_add(sc, &h, sc->win + at, e.off, e.used);
        at += e.used;
    }
}

static void
scan_start_walk(struct scan *sc)
{
    for (uint32_t i = 0; i < sc->n; i++)
        free(sc->b[i].bytes);
    sc->n = 0;
    sc->at = sc->end = 4096;
    sc->win_len = 0;
    scan_walk(sc);
}

static void
summary_on_read(struct store_io *io, int res)
{
    struct scan *sc = cw_container_of(io, struct scan, io);
    struct cw_sum_footer f;

    if (res != 0 ||
        cw_inspect_summary(&sc->s->sb, sc->win, sc->win_len, sc->seg, sc->seg_seq) != NULL) {
        scan_start_walk(sc);
        return;
    }
    memcpy(&f, sc->win + sc->win_len - sizeof(f), sizeof(f));
    summary_take(sc, f.bytes);
    sc->from_summary = true;
    scan_finish(sc);
}

static void
footer_on_read(struct store_io *io, int res)
{
    struct scan *sc = cw_container_of(io, struct scan, io);
    struct cw_sum_footer f;

    memcpy(&f, sc->win + 4096 - sizeof(f), sizeof(f));
    if (res != 0 || cw_inspect_sum_footer(&sc->s->sb, &f, sc->seg, sc->seg_seq) != NULL) {
        scan_start_walk(sc);
        return;
    }
    sc->win_len = (uint32_t)cw_align_up(f.bytes + sizeof(f), 4096);
    free(sc->win);
    sc->win = store_alloc_aligned(sc->win_len);
    sc->io.done = summary_on_read;
    store_io_start(sc->s, &sc->io, CW_DISK_READ,
                   seg_off(sc->s, sc->seg) + sc->s->seg_bytes - sc->win_len, sc->win, sc->win_len);
}

/* ---- walk ---- */

static void
window_on_read(struct store_io *io, int res)
{
    struct scan *sc = cw_container_of(io, struct scan, io);

    sc->win_off = sc->at;
    if (res != 0 && sc->need == 0 && sc->win_len > 4096) {
        sc->small_end = sc->at + sc->win_len; /* so far in small pieces */
        sc->win_len = 0;
    } else if (res != 0) {
        recovery_missed(sc->s, io->io.off, io->io.len);
        sc->lost++;
        sc->lost_end++;
        sc->patient = false;
        sc->win_len = 4096;
        memset(sc->win, 0, 4096);
    }
    sc->need = 0;
    scan_walk(sc);
}

static void
window_load(struct scan *sc)
{
    uint32_t len = sc->at < sc->small_end ? (uint32_t)cw_max_u64(sc->need, 4096) : SCAN_WIN;

    sc->win_len = (uint32_t)cw_min_u64(len, sc->s->seg_bytes - sc->at);
    if (sc->win_len > sc->need)
        sc->need = 0; /* a whole window: if it fails, what is in it is tried piece by piece */
    free(sc->win);
    sc->win = store_alloc_aligned(sc->win_len);
    sc->io.done = window_on_read;
    sc->io.patient = sc->patient && sc->win_len < SCAN_WIN;
    store_io_start(sc->s, &sc->io, CW_DISK_READ, seg_off(sc->s, sc->seg) + sc->at, sc->win,
                   sc->win_len);
}

/* A whole valid batch header at `at`? False with *ret_more: only once more of it is read. */
static bool
walk_here(struct scan *sc, bool *ret_more)
{
    const uint8_t *p = sc->win + (sc->at - sc->win_off);
    struct cw_batch_hdr h;
    uint32_t used;

    *ret_more = false;
    memcpy(&h, p, sizeof(h));
    if (!scan_hdr_ok(sc, &h, sc->at))
        return false;
    if (sc->at + h.hdr_bytes > sc->win_off + sc->win_len) {
        *ret_more = true;
        sc->need = h.hdr_bytes;
        return false;
    }
    if (cw_inspect_batch(&sc->s->sb, p, h.hdr_bytes, sc->at, &used) != NULL)
        return false;
    scan_add(sc, &h, p, sc->at, used);
    sc->lost_end = 0;
    sc->holes += sc->at != sc->end;
    sc->at += h.hdr_bytes + h.payload_bytes;
    sc->end = sc->at;
    return true;
}

static void
scan_walk(struct scan *sc)
{
    bool more = false;

    while (sc->at < sc->s->seg_bytes) {
        if (more || sc->at < sc->win_off || sc->at >= sc->win_off + sc->win_len) {
            window_load(sc);
            return;
        }
        if (!walk_here(sc, &more) && !more)
            sc->at += 4096;
    }
    scan_finish(sc);
}

void
scan_start(struct cw_store *s, struct scan *sc, uint32_t seg)
{
    sc->s = s;
    sc->seg = seg;
    sc->seg_seq = s->segs[seg].seq;
    sc->win = store_alloc_aligned(4096);
    sc->win_off = sc->win_len = sc->small_end = sc->need = 0;
    sc->patient = true;
    sc->io.done = footer_on_read;
    store_io_start(s, &sc->io, CW_DISK_READ, seg_off(s, seg) + s->seg_bytes - 4096, sc->win, 4096);
}
