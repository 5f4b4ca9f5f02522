/* tests/lib/oldimage.h - the life of the stores in tests/data: what was done to them, what they
 * must hold, and how an image is packed.
 *
 * The life is a list of steps that depends on nothing but this file's own generator, so that an
 * image made by one version of the program is checked by all later ones. Never change what a step
 * does or the order of steps: the images would not match any more. Something new is a new life.
 */
#pragma once

#include "tests/lib/storeworld.h"

#define OLDIMAGE_BYTES (512 * CW_MIB)
#define OLDIMAGE_SEED UINT64_C(0x1d7)
#define OLDIMAGE_LIVES 132u /* ends of the process; all but the last are cuts */
#define OLDIMAGE_SPAN 4096u /* blocks of a copy that are ever touched */
#define OLDIMAGE_CHUNKS (OLDIMAGE_SPAN / CW_CHUNK_BLOCKS)
#define OLDIMAGE_HIST 8u
#define OLDIMAGE_LOG 4096u

/* With history and a tail above stable; plain; in the middle of a resync; dropped at the end. */
enum { OLDIMAGE_A, OLDIMAGE_B, OLDIMAGE_C, OLDIMAGE_D, OLDIMAGE_SHARDS };

enum oldimage_kind {
    OLDIMAGE_CREATE,
    OLDIMAGE_STREAM, /* type WRITE, ZERO, TRIM or GEN_START */
    OLDIMAGE_PROMISE,
    OLDIMAGE_SET_REC, /* cfg = gen */
    OLDIMAGE_JOIN,    /* seq = s0 */
    OLDIMAGE_VOID,    /* of the chunk at lba */
    OLDIMAGE_CURRENT, /* the chunk at lba: the first nblk blocks set, the next three bad */
    OLDIMAGE_DROP,
    OLDIMAGE_STABLE, /* of everything but the last nblk records */
    OLDIMAGE_END,    /* of a life */
};

struct oldimage_step {
    enum oldimage_kind kind;
    uint8_t shard, type, mode; /* mode: an enum cw_store_apply for the whole record */
    uint32_t gen, nblk;
    uint64_t seq, lba;
};

struct oldimage_life {
    struct oldimage_step step[OLDIMAGE_LOG];
    uint32_t n;
};

/* Ends with the END of the last life; what is behind it may or may not have been durable. */
void oldimage_life_init(struct oldimage_life *l);

/* What a copy must be. */
struct oldimage_model {
    bool there, syncing;
    uint32_t promised_gen, last_gen, cfg, n_hist, mapped;
    uint64_t last_seq, join_id, first_tail; /* the first seq that a tail may still hold */
    struct cw_store_hist hist[OLDIMAGE_HIST];
    uint64_t word[OLDIMAGE_SPAN]; /* 0: zeroes */
    bool bad[OLDIMAGE_SPAN], raw[OLDIMAGE_SPAN];
    struct cw_wire_ver ver[OLDIMAGE_CHUNKS];
};

uint64_t oldimage_shard_id(uint8_t shard);

/* A block is one word again and again; 0 for some, so that records hold blocks of zeroes too. */
uint64_t oldimage_word(uint8_t shard, uint64_t lba, uint64_t seq);

void oldimage_apply(struct oldimage_model *m, const struct oldimage_step *s);

/* Does the step on a store; waits for tickets, not for appends. */
void oldimage_do(struct storeworld *w, const struct oldimage_step *s);

/* Asserts that the copy is the model: state, versions, every block. */
void oldimage_check(struct storeworld *w, struct cw_store_shard *sh, uint8_t shard,
                    const struct oldimage_model *m);

/* ---- packed ---- */

/* The sectors that are not zeroes, those of one repeated word as that word, then zstd. False: the
 * file cannot be written, or read, or is none. */
bool oldimage_pack(const struct cw_ramdisk *d, uint64_t bytes, const char *path);
bool oldimage_unpack(struct cw_ramdisk *d, uint64_t bytes, const char *path);
