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
    uint64_t cpu_ns;         /* that the loop computed since the sample before */
    uint64_t checkpoints, bytes_logged, bytes_cleaned, dirty_pages;
    uint64_t data_logged;    /* of bytes_logged: all but META */
    uint64_t blocks_written; /* acknowledged, of all lives */
    uint64_t io_ns;          /* age of the oldest I/O that the disk has not answered */
    uint32_t segments_free;
    bool held; /* the store lets no data of the foreground pass: free segments are too few */
    bool full; /* it gives no credit */
    bool ckpt; /* a checkpoint is under way */
};

struct probe_sample {
    uint64_t at_ns, took_ns;
    bool large; /* 1 MiB instead of 4 KiB */
};

/* A life with a cache below this has less than the map of a full store: each load of the cleaner
 * may need a checkpoint first. */
#define CACHE_SMALL (16 * CW_MIB)

/* What a stall may come from. The first five are beyond the store, and explain it; of its own doing
 * are the others, and any that goes on for STALL_NS is a fault. */
enum stall_cause {
    STALL_DISK_SLOW, /* writes beside the store, or an I/O of its own, took as long */
    STALL_DISK_BUSY, /* what the foreground and the cleaner logged took it that long */
    STALL_NOT_RUN,   /* the process got no processor */
    STALL_FULL,      /* no credit: the store is above 95 % */
    STALL_CACHE,     /* gate, checkpoint or refused, with less memory than the map needs */
    STALL_EXPLAINED,
    STALL_GATE = STALL_EXPLAINED, /* held back until the cleaner had won space */
    STALL_CHECKPOINT,             /* behind a checkpoint */
    STALL_REFUSED,                /* no room in batches or map cache */
    STALL_COMPUTING,              /* the loop did not turn, and the process had the processor */
    STALL_CAUSES
};
extern const char *const stall_names[STALL_CAUSES];

/* Steps of the foreground that took longer than STALL_NS at the same time: the longest of them, and
 * what went on meanwhile. */
struct stall {
    uint64_t at_ns, took_ns, refused_ns; /* refused: no room in the store's batches or map cache */
    uint64_t held_ns, full_ns, ckpt_ns;  /* as struct sample's */
    uint64_t map_cache;
    uint64_t late_ns, cpu_ns;    /* the loop did not turn; and what of that it computed */
    uint64_t io_ns;              /* the store's own longest */
    uint64_t raw_ns, raw_mib_ns; /* the probe's longest write of 4 KiB, and what 1 MiB takes it */
    uint64_t bytes_logged, bytes_cleaned, data_logged, blocks_written;
    uint32_t checkpoints, free_min, dirty_max;
    uint32_t life, n;
    uint8_t kind, phase;
    bool unfinished; /* the process was killed before it ended */
};

struct life {
    uint32_t number;
    uint64_t seed, map_cache, pool_bytes;
    bool verify_all;
    bool brim; /* it is filled until there is no credit */
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
    uint64_t n_full;       /* writes for which there was no credit */
    volatile bool brimful; /* in this life the store was full */
    uint64_t n_brimful;    /* lives in which it was */
};

/* The life of a child; returns its exit status. */
int child_run(struct soak *k);
int child_format(struct soak *k);

/* Writes until it is killed. */
void probe_run(struct soak *k);

/* A bit for each cause that it has, whether explaining or not. */
uint32_t stall_causes(const struct stall *s);
bool stall_is_explained(const struct stall *s);
/* All of them in words. In memory that holds until the next call. */
const char *stall_reason(const struct stall *s);
/* Fills in what went on between begin and now from the samples. */
void stall_look(const struct soak *k, struct stall *s);
void stall_note(struct soak *k, struct stall s);

/* Prints the table and a line of JSON. */
struct report {
    double minutes;
    uint64_t seed, bytes;
    uint32_t kills, stops, early_kills;
    uint32_t checks; /* of the file as a whole, between two lives; */
    uint64_t check_ns_max;
    bool file_ok;
    const char *failure; /* NULL: none */
};
/* Returns whether all is well. */
bool report_print(const struct soak *k, const struct report *r);
