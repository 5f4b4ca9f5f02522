/* tests/lib/ramdisk-internal.h - what the files of the RAM disk share: ramdisk.c (I/O, faults),
 * ramdisk-sectors.c (content), ramdisk-crash.c (what a power cut leaves).
 */
#pragma once

#include "common/base/bits.h"
#include "common/base/prng.h"
#include "tests/lib/ramdisk.h"

#define SECTOR 4096u
#define PIECE 512u /* what a cut may tear a sector into */
#define LEAF_SECTORS 256u
#define LATENT_MAX 64u

/* Content of a sector, never changed once made; NULL in its place: zeroes. */
struct page {
    uint32_t refs;
    bool series;          /* no bytes: see page_is_series */
    uint64_t first, step; /* of a series */
    uint8_t b[];
};

/* What is read now, and what is on stable media. */
struct slot {
    struct page *seen, *stable;
};

/* A sector written but not stable; in order of writing. */
struct dirty {
    uint64_t sector, order;
    struct page *page;
};

enum { IO_DUE, IO_ORDER, IO_HASH, IO_FAULT }; /* places in cw_disk_io.priv */

#define IO_NO_FAULT UINT64_MAX

struct cw_ramdisk {
    struct cw_disk disk;
    struct cw_ramdisk_opts opts;
    struct cw_prng prng;
    struct cw_timer timer;
    struct cw_list under_way, stuck;
    uint64_t slow_ns;       /* more, for each I/O */
    uint64_t busy_until_ns; /* until then the device moves bytes of what it has */
    uint64_t order;         /* of submissions and of writes done */
    struct slot **leafs;    /* NULL: zeroes, never written */
    struct dirty *dirty;
    size_t n_dirty, cap_dirty;
    uint64_t count[CW_DISK_DISCARD + 1];
    enum cw_ramdisk_fault fault;
    uint32_t fault_ops;
    uint64_t fault_in, fault_count, n_faults;
    int64_t fault_arg;
    uint32_t hold_ops;
    uint64_t hold_off, hold_len;
    bool unplugged, lie, tracing;
    struct cw_ramdisk_io *trace;
    uint32_t n_trace, cap_trace;
    struct {
        uint64_t off, len;
    } latent[LATENT_MAX];
    uint32_t n_latent;
};

/* ---- sectors (ramdisk-sectors.c) ---- */

extern const uint8_t ramdisk_zeroes[SECTOR];

struct page *page_ref(struct page *p);
void page_unref(struct page *p);
void page_set(struct page **at, struct page *take);
/* In the page itself, or in the scratch. */
const uint8_t *page_bytes(const struct page *p, uint8_t scratch[static SECTOR]);
uint64_t ramdisk_leafs(const struct cw_ramdisk *d);
struct slot ramdisk_slot(const struct cw_ramdisk *d, uint64_t sector);
struct slot *ramdisk_slot_make(struct cw_ramdisk *d, uint64_t sector);
/* Both images change: nothing of this sector can be lost any more. */
void ramdisk_store_stable(struct cw_ramdisk *d, uint64_t sector, const uint8_t *from);
void ramdisk_store_cached(struct cw_ramdisk *d, uint64_t sector, const uint8_t *from);
/* A stable write drops what was cached for the sector before it. */
void ramdisk_forget_dirty(struct cw_ramdisk *d, uint64_t first, uint64_t n);
void ramdisk_flush(struct cw_ramdisk *d, uint64_t before);

/* ---- I/O (ramdisk.c) ---- */

typedef void sector_fn(void *user, uint64_t sector, uint8_t *data);
void ramdisk_each_sector(const struct cw_disk_io *io, uint64_t off, sector_fn *fn, void *user);
