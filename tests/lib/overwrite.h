/* tests/lib/overwrite.h - overwriting a store for long, in virtual time: what it costs and whether
 * it flows.
 *
 *   fill to a level --> run n blocks, `depth` outstanding --> report: amplification by its causes,
 *                                                            gaps between acks, steadiness
 *
 * Formulas (docs/store.md, Cleaning): of U, the share of live data in the segments that hold data,
 * follows u of a victim by U = (u - 1) / ln u, and each block written costs 1 / (1 - u). With skew:
 * two such stores, hot and cold, the spare space split as it costs least.
 */
#pragma once

#include "daemon/store/store-internal.h"
#include "tests/lib/storeworld.h"

#define OVERWRITE_WINDOWS_MAX 4096u

struct overwrite_opts {
    uint64_t seed, bytes;
    uint32_t live_percent; /* of the blocks of all segments */
    uint32_t hot_percent;  /* of the data takes hot_writes_percent of the writes; 0: uniform */
    uint32_t hot_writes_percent;
    uint32_t depth;       /* blocks outstanding */
    uint64_t bytes_per_s; /* of the disk; 0: no limit */
    uint64_t map_cache;   /* 0: all of it */
    uint64_t window_ns;   /* 0: 20 ms */
};

struct overwrite {
    struct storeworld w;
    struct overwrite_opts opts;
    struct cw_store_shard *sh;
    struct cw_prng rnd;
    uint32_t n; /* blocks of data */
    uint32_t *seq_of;
    /* measured since overwrite_begin */
    uint64_t began_ns, blocks, batches[CW_SEG_CLASSES], logged[CW_SEG_CLASSES], checkpoints, moved,
        unfilled;
    uint64_t last_durable, last_ack_ns, gap_ns; /* longest time without any ack */
    uint64_t window_from_ns, window_durable;
    uint32_t windows[OVERWRITE_WINDOWS_MAX], n_windows; /* blocks acknowledged in each */
    double data_segs, meta_segs;                        /* sums over windows */
    uint64_t ckpt_log;                                  /* at the last freeze */
    double map_pages;                                   /* by the formula, of each interval */
};

struct overwrite_report {
    double seconds, blocks_per_s;
    double gap_ms;                       /* longest time without an ack */
    double window_min, window_max;       /* blocks in a window, relative to the mean */
    double window_spread;                /* standard deviation relative to the mean */
    double per_batch;                    /* n of the formulas */
    double u_all, u_data;                /* live share of all segments, of those that hold data */
    double wa_log, wa_clean, wa_map, wa; /* measured: bytes per byte written, by cause; all */
    double f_clean, f_map, f;            /* the formulas, of u_data and the intervals there were */
    double checkpoints;
    double data_share, meta_share; /* of all segments */
};

void overwrite_init(struct overwrite *o, struct overwrite_opts opts);
void overwrite_fini(struct overwrite *o);

/* Writes all of it once in order, 64 blocks each. */
void overwrite_fill(struct overwrite *o);

void overwrite_begin(struct overwrite *o);                  /* measure from here on */
void overwrite_run(struct overwrite *o, uint64_t n_blocks); /* random single blocks */
struct overwrite_report overwrite_report(const struct overwrite *o);

/* Every k-th block reads as it was written last. */
void overwrite_verify(struct overwrite *o, uint32_t k);

double overwrite_formula(double live_share); /* WA of uniform overwrites */
double overwrite_formula_skewed(double live_share, double hot, double hot_writes);
