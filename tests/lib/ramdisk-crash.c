/* What a power cut leaves: chosen by chance, or piece by piece. */
#include <string.h>

#include "tests/lib/ramdisk-internal.h"

/* ---- crashes ---- */

struct crash {
    struct cw_ramdisk *to;
    struct cw_prng prng;
    struct cw_ramdisk_crash how;
};

static bool
crash_keeps(struct crash *c)
{
    return cw_prng_below(&c->prng, 256) < c->how.keep;
}

static void
crash_cached(struct crash *c, uint64_t sector, const uint8_t *data)
{
    if (crash_keeps(c))
        ramdisk_store_stable(c->to, sector, data);
}

static void
crash_under_way(void *user, uint64_t sector, uint8_t *data)
{
    uint8_t scratch[SECTOR] __attribute__((aligned(64)));
    struct crash *c = user;
    uint8_t mixed[SECTOR];

    if (!c->how.torn || cw_prng_below(&c->prng, 4) != 0) {
        crash_cached(c, sector, data);
        return;
    }
    memcpy(mixed, page_bytes(ramdisk_slot(c->to, sector).stable, scratch), SECTOR);
    for (size_t at = 0; at < SECTOR; at += PIECE) {
        if (crash_keeps(c))
            memcpy(mixed + at, data + at, PIECE);
    }
    ramdisk_store_stable(c->to, sector, mixed);
}

static void
crash_list(struct crash *c, const struct cw_list *ios)
{
    CW_LIST_EACH (it, ios) {
        struct cw_disk_io *io = cw_list_entry(it, struct cw_disk_io, link);

        if (io->op == CW_DISK_WRITE || io->op == CW_DISK_WRITE_SYNC)
            ramdisk_each_sector(io, io->off, crash_under_way, c);
    }
}

/* Only what is stable; pages are shared. */
static struct cw_ramdisk *
ramdisk_clone_stable(const struct cw_ramdisk *d, struct cw_env *env, uint64_t seed)
{
    struct cw_ramdisk_opts opts = d->opts;
    struct cw_ramdisk *to;

    opts.env = env;
    opts.seed = seed;
    to = cw_ramdisk_new(opts);
    for (uint64_t i = 0; i < ramdisk_leafs(d); i++) {
        for (uint32_t k = 0; d->leafs[i] != NULL && k < LEAF_SECTORS; k++) {
            struct slot *at;

            if (d->leafs[i][k].stable == NULL)
                continue;
            at = ramdisk_slot_make(to, i * LEAF_SECTORS + k);
            at->stable = page_ref(d->leafs[i][k].stable);
            at->seen = page_ref(at->stable);
        }
    }
    memcpy(to->latent, d->latent, sizeof(d->latent));
    to->n_latent = d->n_latent;
    return to;
}

struct cw_ramdisk *
cw_ramdisk_clone_crashed(const struct cw_ramdisk *d, struct cw_env *env,
                         struct cw_ramdisk_crash how)
{
    uint8_t scratch[SECTOR] __attribute__((aligned(64)));
    struct crash c = { .how = how };

    cw_prng_init(&c.prng, how.seed);
    c.to = ramdisk_clone_stable(d, env, how.seed);
    for (size_t i = 0; i < d->n_dirty; i++)
        crash_cached(&c, d->dirty[i].sector, page_bytes(d->dirty[i].page, scratch));
    crash_list(&c, &d->under_way);
    crash_list(&c, &d->stuck);
    return c.to;
}

void
cw_ramdisk_crash(struct cw_ramdisk *d, struct cw_ramdisk_crash how)
{
    uint8_t scratch[SECTOR] __attribute__((aligned(64)));
    struct crash c = { .to = d, .how = how };

    cw_prng_init(&c.prng, how.seed);
    cw_timer_cancel(d->opts.env, &d->timer);
    for (uint64_t i = 0; i < ramdisk_leafs(d); i++) {
        for (uint32_t k = 0; d->leafs[i] != NULL && k < LEAF_SECTORS; k++)
            page_set(&d->leafs[i][k].seen, page_ref(d->leafs[i][k].stable));
    }
    for (size_t i = 0; i < d->n_dirty; i++) {
        crash_cached(&c, d->dirty[i].sector, page_bytes(d->dirty[i].page, scratch));
        page_unref(d->dirty[i].page);
    }
    d->n_dirty = 0;
    crash_list(&c, &d->under_way);
    crash_list(&c, &d->stuck);
    cw_list_init(&d->under_way);
    cw_list_init(&d->stuck);
}

/* ---- exact crashes ---- */

struct pieces {
    const struct cw_ramdisk *from;
    struct cw_ramdisk *to; /* NULL: only counted */
    uint32_t piece, n;
    const uint64_t *kept;
};

static void
pieces_of_sector(void *user, uint64_t sector, uint8_t *data)
{
    uint8_t scratch[SECTOR] __attribute__((aligned(64)));
    struct pieces *c = user;
    struct slot was = ramdisk_slot(c->from, sector);
    uint8_t mixed[SECTOR];

    if (c->to != NULL)
        memcpy(mixed, page_bytes(ramdisk_slot(c->to, sector).stable, scratch), SECTOR);
    for (size_t at = 0; at < SECTOR; at += c->piece) {
        if (was.seen == was.stable &&
            memcmp(page_bytes(was.stable, scratch) + at, data + at, c->piece) == 0)
            continue;
        if (c->to != NULL && cw_bit_get(c->kept, c->n))
            memcpy(mixed + at, data + at, c->piece);
        c->n++;
    }
    if (c->to != NULL)
        ramdisk_store_stable(c->to, sector, mixed);
}

static void
pieces_of_list(struct pieces *c, const struct cw_list *ios)
{
    CW_LIST_EACH (it, ios) {
        struct cw_disk_io *io = cw_list_entry(it, struct cw_disk_io, link);

        if (io->op == CW_DISK_WRITE || io->op == CW_DISK_WRITE_SYNC)
            ramdisk_each_sector(io, io->off, pieces_of_sector, c);
    }
}

static void
pieces_all(struct pieces *c)
{
    uint8_t scratch[SECTOR] __attribute__((aligned(64)));
    const struct cw_ramdisk *d = c->from;

    cw_assert(c->piece == SECTOR || c->piece == PIECE);
    for (size_t i = 0; i < d->n_dirty; i++) {
        uint8_t data[SECTOR];

        memcpy(data, page_bytes(d->dirty[i].page, scratch), SECTOR);
        pieces_of_sector(c, d->dirty[i].sector, data);
    }
    pieces_of_list(c, &d->under_way);
    pieces_of_list(c, &d->stuck);
}

uint32_t
cw_ramdisk_pieces(const struct cw_ramdisk *d, uint32_t piece)
{
    struct pieces c = { .from = d, .piece = piece };

    pieces_all(&c);
    return c.n;
}

struct cw_ramdisk *
cw_ramdisk_clone_pieces(const struct cw_ramdisk *d, struct cw_env *env, uint32_t piece,
                        const uint64_t *kept)
{
    struct pieces c = { .from = d, .piece = piece, .kept = kept };

    c.to = ramdisk_clone_stable(d, env, d->opts.seed);
    pieces_all(&c);
    return c.to;
}
