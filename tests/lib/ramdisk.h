/* tests/lib/ramdisk.h - a struct cw_disk over memory that crashes, tears, rots and gets stuck.
 *
 *   submit --latency--> apply: WRITE      -> visible, lost or kept per 4 KiB sector at a crash
 *                              WRITE_SYNC -> visible and stable
 *                              FLUSH      -> what was done before its submission is stable
 *
 * Everything random comes from the seed. Pages of zeroes take no memory and pages whose words are
 * an arithmetic progression, such as storeworld's, take 16 bytes, so a large disk is cheap. A
 * write's bytes are hashed at submit and must be the same when it is applied: a buffer changed
 * under way is the caller's bug and asserts.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/disk.h"
#include "common/base/env.h"

struct cw_ramdisk;

struct cw_ramdisk_opts {
    struct cw_env *env;
    uint64_t bytes; /* multiple of 4096 */
    uint64_t seed;
    uint64_t latency_min_ns, latency_max_ns; /* per I/O, uniform; both 0: 20 us to 200 us */
    uint64_t bytes_per_s; /* all I/Os share it, first come, first served; 0: no limit */
};

struct cw_ramdisk *cw_ramdisk_new(struct cw_ramdisk_opts opts);

/* I/Os under way are forgotten, never completed. NULL is fine. */
void cw_ramdisk_free(struct cw_ramdisk *d);

struct cw_disk *cw_ramdisk_disk(struct cw_ramdisk *d);

/* ---- crashes ---- */

/* What a power cut now would leave, as a new disk in another (or the same) env: of everything not
 * stable each 4 KiB sector is kept with probability keep/256 (0: none, 256: all), and sectors of
 * writes under way may be torn at 512 B if `torn`. The original goes on undisturbed. */
struct cw_ramdisk_crash {
    uint64_t seed;
    uint32_t keep;
    bool torn;
};
struct cw_ramdisk *cw_ramdisk_clone_crashed(const struct cw_ramdisk *d, struct cw_env *env,
                                            struct cw_ramdisk_crash how);

/* The same in place: I/Os under way are forgotten, counters and injected faults stay. */
void cw_ramdisk_crash(struct cw_ramdisk *d, struct cw_ramdisk_crash how);

/* The same with nothing left to chance. What a power cut now may keep or lose comes in pieces of
 * `piece` bytes (4096, or 512: torn sectors), in order: what is cached, then what is under way;
 * pieces that would change nothing do not count. `kept` has a bit for each piece. */
uint32_t cw_ramdisk_pieces(const struct cw_ramdisk *d, uint32_t piece);
struct cw_ramdisk *cw_ramdisk_clone_pieces(const struct cw_ramdisk *d, struct cw_env *env,
                                           uint32_t piece, const uint64_t *kept);

/* ---- faults ---- */

#define CW_RAMDISK_OP(op) (1u << (op)) /* of an enum cw_disk_op */
#define CW_RAMDISK_ANY_OP 0xffu
#define CW_RAMDISK_WRITES (CW_RAMDISK_OP(CW_DISK_WRITE) | CW_RAMDISK_OP(CW_DISK_WRITE_SYNC))

enum cw_ramdisk_fault {
    CW_RAMDISK_EIO,       /* completes with -EIO; a write leaves any subset of its sectors */
    CW_RAMDISK_LOSE,      /* a write reports success and changes nothing */
    CW_RAMDISK_MISDIRECT, /* a write reports success and lands `arg` bytes further on */
    CW_RAMDISK_STICK,     /* never completes until cw_ramdisk_unstick */
};

/* The n-th matching I/O submitted from now on (1 = the next), and the count - 1 after it. One plan
 * at a time; n 0 cancels. */
void cw_ramdisk_plan(struct cw_ramdisk *d, enum cw_ramdisk_fault fault, uint32_t ops, uint64_t n,
                     uint64_t count, int64_t arg);
uint64_t cw_ramdisk_faults(const struct cw_ramdisk *d); /* how many were injected so far */

void cw_ramdisk_unstick(struct cw_ramdisk *d);
void cw_ramdisk_unstick_ops(struct cw_ramdisk *d, uint32_t ops); /* these kinds only */
void cw_ramdisk_unstick_one(struct cw_ramdisk *d, uint32_t i);   /* i: in the order of submission */
void cw_ramdisk_fail_one(struct cw_ramdisk *d, uint32_t i);      /* it fails with -EIO instead */
uint32_t cw_ramdisk_stuck(const struct cw_ramdisk *d);           /* how many wait for that */

/* Of these kinds, what touches this range sticks from now on; len 0: nothing more does. One range
 * at a time. What a stuck I/O reads or overwrites is what is there when it goes on. */
void cw_ramdisk_hold(struct cw_ramdisk *d, uint32_t ops, uint64_t off, uint64_t len);

/* Every I/O from now on takes so much longer; 0: as before. */
void cw_ramdisk_slow(struct cw_ramdisk *d, uint64_t extra_ns);

/* Every I/O from now on fails with -EIO: unplugged. */
void cw_ramdisk_unplug(struct cw_ramdisk *d);
void cw_ramdisk_replug(struct cw_ramdisk *d);

/* It is another process's from now on; no I/O is under way. */
void cw_ramdisk_move(struct cw_ramdisk *d, struct cw_env *env);

/* Sync writes and flushes report success but are only cached. */
void cw_ramdisk_lie(struct cw_ramdisk *d, bool lie);

/* Reads of these sectors fail with -EIO until they are written again. At most 64 ranges. */
void cw_ramdisk_latent(struct cw_ramdisk *d, uint64_t off, uint64_t len);
uint32_t cw_ramdisk_n_latent(const struct cw_ramdisk *d);

/* As a device is made larger (by zeroes) or smaller; no I/O is under way. */
void cw_ramdisk_resize(struct cw_ramdisk *d, uint64_t bytes);

void cw_ramdisk_flip(struct cw_ramdisk *d, uint64_t byte, uint8_t mask);

/* ---- looking ---- */

void cw_ramdisk_peek(const struct cw_ramdisk *d, uint64_t off, void *to, uint64_t len);
/* The first 4 KiB sector from `from` on that holds just this; false: none does. */
bool cw_ramdisk_find(const struct cw_ramdisk *d, uint64_t from, const void *sector,
                     uint64_t *ret_off);
void cw_ramdisk_poke(struct cw_ramdisk *d, uint64_t off, const void *from, uint64_t len);

/* Every I/O since the trace was switched on, in the order of submission; held until it is switched
 * off or the disk is freed. */
struct cw_ramdisk_io {
    enum cw_disk_op op;
    bool done;
    int res;
    uint64_t off, len;
    uint64_t hash; /* of what is written */
    uint64_t submitted_ns, done_ns;
    uint64_t order;
};
void cw_ramdisk_trace(struct cw_ramdisk *d, bool on);
const struct cw_ramdisk_io *cw_ramdisk_traced(const struct cw_ramdisk *d, uint32_t *ret_n);

uint64_t cw_ramdisk_count(const struct cw_ramdisk *d, uint32_t ops); /* submitted so far */
uint32_t cw_ramdisk_under_way(const struct cw_ramdisk *d);
