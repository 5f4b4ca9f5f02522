/* sim/rows-guest.c - rows of the acceptance catalogue about what guests do: buffers that change,
 * flushes, trims, requests of any size.
 */
#include <string.h>

#include "common/base/bits.h"
#include "tests/sim/scenario.h"

#define AREA_BLOCKS 64u
#define AREA_BYTES (AREA_BLOCKS * CW_BLOCK_SIZE)

static void
random_bytes(struct sim *sim, uint8_t *to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (uint8_t)cw_prng_next(&sim->rnd_fault);
}

/* A guest changes its buffer while the write is under way: what is on the copies is one thing. */
void
sim_row_28(struct sim *sim)
{
    static uint8_t mine[8 * CW_BLOCK_SIZE], back[8 * CW_BLOCK_SIZE];

    for (uint32_t i = 0; i < 60 && !sim->result.failed; i++) {
        struct sim_guest_io g;

        random_bytes(sim, mine, sizeof(mine));
        sim_guest_start(sim, &g, CW_IO_WRITE, 0, mine, sizeof(mine));
        for (uint32_t k = 0; k < 200 && !g.done; k++) {
            random_bytes(sim, mine + cw_prng_below(&sim->rnd_fault, sizeof(mine) - 64), 64);
            sim_pass_ns(sim, cw_prng_below(&sim->rnd_fault, 40000));
        }
        sim_guest_wait(sim, &g);
        sim_guest_do(sim, CW_IO_READ, 0, back, sizeof(back));
        sim_guest_same_everywhere(sim, 0, back, 8);
    }
}

/* A flush that has ended covers all that was acknowledged: everything loses power right then. */
void
sim_row_29(struct sim *sim)
{
    static uint8_t mine[AREA_BYTES];

    for (uint32_t round = 0; round < 4 && !sim->result.failed; round++) {
        struct sim_guest_io writes[8], flush;

        random_bytes(sim, mine, sizeof(mine));
        for (uint32_t i = 0; i < CW_LEN(writes); i++)
            sim_guest_start(sim, &writes[i], CW_IO_WRITE, i * sizeof(mine) / 8,
                            mine + i * sizeof(mine) / 8, sizeof(mine) / 8);
        for (uint32_t i = 0; i < CW_LEN(writes); i++)
            sim_guest_wait(sim, &writes[i]);
        sim_guest_start(sim, &flush, CW_IO_FLUSH, 0, NULL, 0);
        sim_guest_wait(sim, &flush);
        for (uint32_t i = 0; i < sim->n_daemons; i++)
            sim_daemon_kill(&sim->daemons[i], true);
        for (uint32_t i = 0; i < sim->n_daemons; i++)
            sim_daemon_start(&sim->daemons[i]);
        sim_expect(sim, sim_all_in_sync, 60000, "all are in sync again");
        sim_guest_same_everywhere(sim, 0, mine, AREA_BLOCKS);
    }
}

/* Trims race with writes and with resyncs, and what was trimmed reads as zeroes on all copies. */
void
sim_row_32(struct sim *sim)
{
    static uint8_t zeroes[AREA_BYTES], mine[AREA_BYTES];

    sim->zero_percent = 45;
    sim->depth = 16;
    sim->think_ns = 2 * CW_NS_PER_MS;
    for (uint32_t round = 0; round < 3; round++) {
        random_bytes(sim, mine, sizeof(mine));
        sim_guest_do(sim, CW_IO_WRITE, 0, mine, sizeof(mine));
        sim_daemon_kill(&sim->daemons[2], true);
        sim_pass(sim, 5000);
        sim_daemon_start(&sim->daemons[2]);
        sim_pass(sim, sim_between(&sim->rnd_fault, 0, 2000));
        sim_guest_do(sim, round == 1 ? CW_IO_ZERO : CW_IO_TRIM, 0, NULL, sizeof(mine));
        sim_expect(sim, sim_all_in_sync, 30000, "the resync ends");
        sim_guest_do(sim, CW_IO_READ, 0, mine, sizeof(mine));
        sim_demand(sim, memcmp(mine, zeroes, sizeof(zeroes)) == 0, "what was trimmed is zeroes");
        sim_guest_same_everywhere(sim, 0, zeroes, AREA_BLOCKS);
    }
}

#define PAIR_BLOCKS 4u
#define PAIR_CHUNKS 8u
#define PAIRS (PAIR_CHUNKS * CW_CHUNK_BLOCKS / PAIR_BLOCKS)

/* Written, and trimmed at once; the next one is in another chunk. */
static void
to_and_fro(struct sim *sim, uint32_t pair)
{
    static uint8_t data[PAIR_BLOCKS * CW_BLOCK_SIZE];
    uint64_t off = pair % PAIR_CHUNKS * CW_MIB + pair / PAIR_CHUNKS * sizeof(data);

    random_bytes(sim, data, 64);
    sim_guest_do(sim, CW_IO_WRITE, off, data, sizeof(data));
    if (!sim->result.failed)
        sim_guest_do(sim, CW_IO_ZERO, off, NULL, sizeof(data));
}

/* Blocks change to and fro while they are copied to a copy that gets the stream later than its
 * source: what was equal when it asked is equal again in the answer, and is not here just now. */
void
sim_to_and_fro(struct sim *sim)
{
    static uint8_t data[CW_CHUNK_BLOCKS * CW_BLOCK_SIZE];
    struct sim_daemon *target = &sim->daemons[2];
    uint32_t pair = 0;

    for (uint32_t round = 0; round < 6 && !sim->result.failed; round++) {
        sim_daemon_kill(target, true);
        sim_pass(sim, 4000);
        sim_set_lag(sim, target->proc.index, 3 * CW_NS_PER_MS);
        sim->lag_ns[sim->present->proc.index][target->proc.index] = 15 * CW_NS_PER_MS;
        sim_daemon_start(target);
        for (uint32_t i = 0; i < 3000 && (i < 50 || !sim_all_in_sync(sim)); i++)
            to_and_fro(sim, pair++ % PAIRS);
        sim_expect(sim, sim_all_in_sync, 30000, "the resync ends");
        for (uint32_t i = 0; i < PAIR_CHUNKS && !sim->result.failed; i++) {
            sim_guest_do(sim, CW_IO_READ, i * CW_MIB, data, sizeof(data));
            sim_guest_same_everywhere(sim, i * CW_MIB, data, CW_CHUNK_BLOCKS);
        }
        sim_set_lag(sim, target->proc.index, 0);
    }
}

/* ---- any size, any place ---- */

#define SLICE 512u
#define SLICES 64u /* of 8 blocks, each with a writer of its own */

struct slice {
    struct sim_guest_io io;
    uint8_t data[SLICE];
    uint32_t n;
};

static void
slice_next(struct sim *sim, struct slice *s, uint32_t i)
{
    s->n++;
    memset(s->data, (int)(s->n * 7 + i), SLICE);
    sim_guest_start(sim, &s->io, CW_IO_WRITE, (uint64_t)i * SLICE, s->data, SLICE);
}

/* Eight writers share each block and none loses its part, though each write reads the block. */
static void
slices(struct sim *sim)
{
    static struct slice s[SLICES];
    static uint8_t back[SLICES * SLICE];

    memset(s, 0, sizeof(s));
    for (uint32_t i = 0; i < SLICES; i++)
        slice_next(sim, &s[i], i);
    for (uint32_t t = 0; t < 3000 && !sim->result.failed; t++) {
        if (t == 1000)
            sim_daemon_kill(&sim->daemons[2], true);
        if (t == 1500)
            sim_daemon_start(&sim->daemons[2]);
        sim_pass_ns(sim, 300000);
        for (uint32_t i = 0; i < SLICES; i++)
            if (s[i].io.done)
                slice_next(sim, &s[i], i);
    }
    for (uint32_t i = 0; i < SLICES; i++)
        sim_guest_wait(sim, &s[i].io);
    sim_guest_do(sim, CW_IO_READ, 0, back, sizeof(back));
    for (uint32_t i = 0; i < SLICES && !sim->result.failed; i++)
        sim_demand(sim, memcmp(back + (size_t)i * SLICE, s[i].data, SLICE) == 0,
                   "a part of a block is what its writer wrote last");
    sim_expect(sim, sim_all_in_sync, 30000, "all are in sync");
    sim_guest_same_everywhere(sim, 0, back, SLICES * SLICE / CW_BLOCK_SIZE);
}

/* One at a time, at any byte, of any length, over what is there. */
static void
anywhere(struct sim *sim)
{
    static uint8_t want[AREA_BYTES], data[40000];

    sim_guest_do(sim, CW_IO_READ, 0, want, sizeof(want));
    for (uint32_t i = 0; i < 150 && !sim->result.failed; i++) {
        uint64_t len = 1 + cw_prng_below(&sim->rnd_fault, i % 3 == 0 ? 600 : sizeof(data));
        uint64_t off = cw_prng_below(&sim->rnd_fault, sizeof(want) - len);
        bool zero = sim_chance(&sim->rnd_fault, 15);

        random_bytes(sim, data, (size_t)len);
        if (zero)
            memset(data, 0, (size_t)len);
        sim_guest_do(sim, zero ? CW_IO_ZERO : CW_IO_WRITE, off, zero ? NULL : data, len);
        memcpy(want + off, data, (size_t)len);
    }
    sim_guest_same_everywhere(sim, 0, want, AREA_BLOCKS);
}

void
sim_row_33(struct sim *sim)
{
    slices(sim);
    anywhere(sim);
}
