/* tests/soak/soak.h - what parent and child of the soak share.
 *
 *   parent: maps memory, formats, { forks a child, waits until it serves, kills it or asks it to
 *           stop } ..., reports
 *   child:  opens, resolves the journal, verifies, then load until it is killed or asked to stop
 *   probe:  writes with O_DSYNC beside the store all the time: what the disk alone takes
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/histogram.h"
#include "tests/soak/model.h"

#define STALL_NS (500 * CW_NS_PER_MS)
#define STALLS_MAX 256u
#define SAMPLES 4096u /* of each ring */
#define SAMPLE_NS (20 * CW_NS_PER_MS)
#define WHY_MAX 256u

enum phase {
    PHASE_FILL,
    PHASE_UNIFORM,
    PHASE_SKEWED,
    PHASE_TRIM,
    PHASE_SNAPS,
    PHASE_COPIES,
    PHASE_MIXED,
    PHASE_IDLE,
    PHASES
};
extern const char *const phase_names[PHASES];

/* One look of the child at the store, or of the probe at the disk. */
struct sample {
    uint64_t at_ns, late_ns; /* late: how much later than due the loop came to it */
    uint64_t checkpoints, bytes_logged, bytes_cleaned, dirty_pages;
    uint64_t io_ns; /* age of the oldest I/O that the disk has not answered */
    uint32_t segments_free;
    bool held; /* the store lets no data of the foreground pass: free segments are too few */
};

struct probe_sample {
    uint64_t at_ns, took_ns;
    bool large; /* 1 MiB instead of 4 KiB */
};

/* Steps of the foreground that took longer than STALL_NS at the same time: the longest of them, and
 * what went on meanwhile. */
struct stall {
    uint64_t at_ns, took_ns, refused_ns; /* refused: no room in the store's batches or map cache */
    uint64_t held_ns;                    /* struct sample's held */
    uint64_t late_ns;                    /* the loop did not run */
    uint64_t io_ns;                      /* the store's own longest */
    uint64_t raw_ns, raw_mib_ns; /* the probe's longest write of 4 KiB, and what 1 MiB takes it */
    uint64_t bytes_logged, bytes_cleaned;
    uint32_t checkpoints, free_min, dirty_max;
    uint32_t life, n;
    uint8_t kind, phase;
    bool unfinished; /* the process was killed before it ended */
};

struct life {
    uint32_t number;
    uint64_t seed, map_cache, pool_bytes;
    bool verify_all;
};

/* Written by the child (and the probe), read by the parent; all times CLOCK_BOOTTIME. */
struct soak {
    const char *store_path, *probe_path, *log_path;
    struct model *model;
    struct life life;
    volatile bool ready, stop;  /* verified and under load; asked to end cleanly */
    volatile uint64_t progress; /* counts: what stands still for long hangs */
    enum phase phase;
    char why[WHY_MAX]; /* of a failure */

    struct sample sample[SAMPLES];
    uint64_t n_samples;
    struct probe_sample probe[SAMPLES];
    volatile uint64_t n_probes;
    struct cw_histogram probe_times; /* of 4 KiB */

    struct cw_histogram ack; /* of what changes a copy: first try to acknowledgement */
    struct stall stall[STALLS_MAX];
    uint32_t n_stalls, n_stalled; /* the latter: steps */

    uint64_t ops[OP_KINDS], blocks_written, refused, reads, read_blocks;
    uint64_t verified, verified_data, tails;
    uint64_t opens, kept, lost, clean_opens, replayed, replayed_max, dropped, open_ns_max;
    uint64_t logged, cleaned, checkpoints; /* bytes, bytes, count: of all lives */
    uint64_t rss_max, rss_limit, rss_growth_max;
    uint32_t used_per_mille_max;
    uint64_t n_full;
};

/* The life of a child; returns its exit status. */
int child_run(struct soak *k);
int child_format(struct soak *k);

/* Writes until it is killed. */
void probe_run(struct soak *k);

/* Whatever explains it; "" if nothing does. In memory that holds until the next call. */
const char *stall_reason(const struct stall *s);
/* Fills in what went on between begin and now from the samples. */
void stall_look(const struct soak *k, struct stall *s);
void stall_note(struct soak *k, struct stall s);

/* Prints the table and a line of JSON. */
struct report {
    double minutes;
    uint64_t seed, bytes;
    uint32_t kills, stops, early_kills;
    bool file_ok;
    const char *failure; /* NULL: none */
};
/* Returns whether all is well. */
bool report_print(const struct soak *k, const struct report *r);
