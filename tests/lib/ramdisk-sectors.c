/* Content: two images, what is read now and what is on stable media, and what is between them. */
#include <stdlib.h>
#include <string.h>

#include "common/codec/hash.h"
#include "tests/lib/ramdisk-internal.h"

const uint8_t ramdisk_zeroes[SECTOR] __attribute__((aligned(SECTOR)));

#define SERIES_WORDS (SECTOR / 8 / 4)

/* Test data is four times the same quarter, whose words are an arithmetic progression. */
static bool
page_is_series(const uint8_t *from, uint64_t *ret_first, uint64_t *ret_step)
{
    uint64_t x, next;

    memcpy(ret_first, from, 8);
    memcpy(&x, from + 8, 8);
    *ret_step = x - *ret_first;
    for (size_t i = 2; i < SERIES_WORDS; i++, x = next) {
        memcpy(&next, from + i * 8, 8);
        if (next - x != *ret_step)
            return false;
    }
    return memcmp(from, from + SECTOR / 4, SECTOR / 4 * 3) == 0;
}

static struct page *
page_new(const uint8_t *from)
{
    uint64_t first, step;
    bool series;
    struct page *p;

    if (memcmp(from, ramdisk_zeroes, SECTOR) == 0)
        return NULL;
    series = page_is_series(from, &first, &step);
    p = malloc(sizeof(*p) + (series ? 0 : SECTOR));
    cw_assert(p != NULL);
    *p = (struct page){ .refs = 1, .series = series, .first = first, .step = step };
    if (!series)
        memcpy(p->b, from, SECTOR);
    return p;
}

struct page *
page_ref(struct page *p)
{
    if (p != NULL)
        p->refs++;
    return p;
}

void
page_unref(struct page *p)
{
    if (p != NULL && --p->refs == 0)
        free(p);
}

const uint8_t *
page_bytes(const struct page *p, uint8_t scratch[static SECTOR])
{
    uint64_t x;

    if (p == NULL || !p->series)
        return p == NULL ? ramdisk_zeroes : p->b;
    x = p->first;
    for (size_t i = 0; i < SECTOR / 4; i += 8, x += p->step)
        memcpy(scratch + i, &x, 8);
    for (size_t i = SECTOR / 4; i < SECTOR; i += SECTOR / 4)
        memcpy(scratch + i, scratch, SECTOR / 4);
    return scratch;
}

void
page_set(struct page **at, struct page *take)
{
    page_unref(*at);
    *at = take;
}

struct slot
ramdisk_slot(const struct cw_ramdisk *d, uint64_t sector)
{
    const struct slot *leaf = d->leafs[sector / LEAF_SECTORS];

    return leaf != NULL ? leaf[sector % LEAF_SECTORS] : (struct slot){ NULL, NULL };
}

struct slot *
ramdisk_slot_make(struct cw_ramdisk *d, uint64_t sector)
{
    struct slot **leaf = &d->leafs[sector / LEAF_SECTORS];

    if (*leaf == NULL)
        *leaf = calloc(LEAF_SECTORS, sizeof(**leaf));
    cw_assert(*leaf != NULL);
    return *leaf + sector % LEAF_SECTORS;
}

void
ramdisk_store_stable(struct cw_ramdisk *d, uint64_t sector, const uint8_t *from)
{
    struct slot *at = ramdisk_slot_make(d, sector);

    page_set(&at->stable, page_new(from));
    page_set(&at->seen, page_ref(at->stable));
}

void
ramdisk_store_cached(struct cw_ramdisk *d, uint64_t sector, const uint8_t *from)
{
    struct slot was = ramdisk_slot(d, sector);
    struct slot *at;

    if (was.seen == NULL && was.stable == NULL && cw_block_is_zero(from))
        return; /* zeroes over zeroes, whatever is kept of them */
    at = ramdisk_slot_make(d, sector);
    page_set(&at->seen, page_new(from));
    if (d->n_dirty == d->cap_dirty) {
        d->cap_dirty = d->cap_dirty == 0 ? 1024 : 2 * d->cap_dirty;
        d->dirty = realloc(d->dirty, d->cap_dirty * sizeof(*d->dirty));
        cw_assert(d->dirty != NULL);
    }
    d->dirty[d->n_dirty++] = (struct dirty){
        .sector = sector,
        .order = d->order++,
        .page = page_ref(at->seen),
    };
}

void
ramdisk_forget_dirty(struct cw_ramdisk *d, uint64_t first, uint64_t n)
{
    size_t kept = 0;

    for (size_t i = 0; i < d->n_dirty; i++) {
        if (d->dirty[i].sector - first < n)
            page_unref(d->dirty[i].page);
        else
            d->dirty[kept++] = d->dirty[i];
    }
    d->n_dirty = kept;
}

void
ramdisk_flush(struct cw_ramdisk *d, uint64_t before)
{
    size_t kept = 0;

    for (size_t i = 0; i < d->n_dirty; i++) {
        struct dirty *w = &d->dirty[i];

        if (w->order >= before) {
            d->dirty[kept++] = *w;
            continue;
        }
        page_set(&ramdisk_slot_make(d, w->sector)->stable, w->page);
    }
    d->n_dirty = kept;
}

uint64_t
ramdisk_leafs(const struct cw_ramdisk *d)
{
    return cw_div_up(d->disk.bytes, (uint64_t)LEAF_SECTORS * SECTOR);
}
