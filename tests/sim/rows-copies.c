/* sim/rows-copies.c - rows of the acceptance catalogue about copies that come back: what is moved
 * to them, and from where.
 */
#include <string.h>

#include "common/base/bits.h"
#include "common/codec/frame.h"
#include "tests/sim/scenario.h"

#define GUEST_CHUNKS 8u
#define GUEST_LBA (SIM_GUEST_OFF / CW_BLOCK_SIZE)

/* It comes back by a resync, as one that is LAGGING does not. */
static bool
target_left(struct sim *sim)
{
    enum cw_member_state s = sim->reg.recs[0].members[2].state;

    return s != CW_MEMBER_INSYNC && s != CW_MEMBER_LAGGING;
}

static bool
target_resyncs(struct sim *sim)
{
    return sim->reg.recs[0].members[2].state == CW_MEMBER_IN_RESYNC;
}

static bool
target_is_down(struct sim *sim)
{
    return !sim->daemons[2].proc.up;
}

static void
fill_chunk(struct sim *sim, uint32_t chunk, uint64_t value)
{
    static uint8_t data[16 * CW_BLOCK_SIZE];

    for (uint32_t i = 0; i < 16; i++)
        sim_block_fill(data + (size_t)i * CW_BLOCK_SIZE, value, chunk * 16 + i);
    sim_guest_do(sim, CW_IO_WRITE, chunk * CW_MIB, data, sizeof(data));
}

/* ---- row 9 ---- */

/* n_seen: a bit for each of the play's chunks whose content was asked for. */
static void
note_moved(struct sim_end *to, const struct cw_wire_hdr *h)
{
    struct sim *sim = to->conn->sim;
    uint64_t lba = cw_hdr_lba(h), chunk = (lba - GUEST_LBA) / CW_CHUNK_BLOCKS;

    if (h->type == CW_FT_CHUNK_GET && lba >= GUEST_LBA && chunk < GUEST_CHUNKS)
        sim->n_seen |= 1u << chunk;
}

/* It is killed, loses power, or is stopped by its operator. */
static void
target_goes(struct sim *sim)
{
    switch (cw_prng_below(&sim->rnd_fault, 3)) {
    case 0:
        sim_daemon_kill(&sim->daemons[2], false);
        break;
    case 1:
        sim_daemon_kill(&sim->daemons[2], true);
        break;
    default:
        sim_daemon_stop(&sim->daemons[2]);
        sim_expect(sim, target_is_down, 10000, "it ends");
    }
}

/* A copy is away for ten minutes under load. What changed meanwhile is moved, and nothing else. */
void
sim_row_09(struct sim *sim)
{
    uint32_t changed = 0;

    for (uint32_t i = 0; i < GUEST_CHUNKS && !sim->result.failed; i++)
        fill_chunk(sim, i, 1);
    sim_pass(sim, 1000); /* everywhere */
    target_goes(sim);
    sim_expect(sim, target_left, 10000, "it is ejected");
    sim->think_ns = 200 * CW_NS_PER_MS; /* a load that ten minutes can be played with */
    sim_pass(sim, 600000);
    for (uint32_t i = 0; i < 2 && !sim->result.failed; i++) {
        uint32_t chunk = (uint32_t)cw_prng_below(&sim->rnd_fault, GUEST_CHUNKS);

        changed |= 1u << chunk;
        fill_chunk(sim, chunk, 2);
    }
    sim->on_frame = note_moved;
    sim_daemon_start(&sim->daemons[2]);
    sim_expect(sim, target_resyncs, 20000, "it is compared before it is in sync");
    sim_expect(sim, sim_all_in_sync, 30000, "it is in sync again");
    sim_demand(sim, sim->n_seen == changed, "what changed is moved, and nothing else");
}

/* ---- row 12 ---- */

/* The source of a resync dies in the middle; another takes its place. */
void
sim_row_12(struct sim *sim)
{
    uint32_t source = (uint32_t)cw_prng_below(&sim->rnd_fault, 2);

    sim_daemon_kill(&sim->daemons[2], true);
    sim_expect(sim, target_left, 10000, "it is ejected");
    sim_pass(sim, 5000);
    sim_daemon_start(&sim->daemons[2]);
    sim_expect(sim, target_resyncs, 30000, "its resync begins");
    sim_pass(sim, sim_between(&sim->rnd_fault, 0, 40));
    sim_daemon_kill(&sim->daemons[source], false);
    sim_pass(sim, 8000);
    sim_daemon_start(&sim->daemons[source]);
    sim_expect(sim, sim_all_in_sync, 60000, "all are in sync");
}

#define BAD_BLOCKS 3u /* on the first source, on the second, on both */

static void
written_and_bad(struct sim *sim, uint32_t i, uint8_t *block)
{
    sim_block_fill(block, 7000 + i, 1);
    sim_guest_do(sim, CW_IO_WRITE, (uint64_t)i * CW_MIB, block, CW_BLOCK_SIZE);
    sim_pass(sim, 50);
    for (uint32_t k = 0; k < 2 && !sim->result.failed; k++) {
        uint64_t at = 0;

        if (i != 2 && i != k)
            continue;
        sim_demand(sim, cw_ramdisk_find(sim->daemons[k].disk, 0, block, &at), "it is on the disk");
        cw_ramdisk_flip(sim->daemons[k].disk, at + 77, 4);
    }
}

static void
no_copy_gives_it(struct sim *sim)
{
    static uint8_t back[CW_BLOCK_SIZE];
    static struct sim_guest_io g;

    sim_guest_start(sim, &g, CW_IO_READ, 2 * CW_MIB, back, sizeof(back));
    for (uint32_t i = 0; i < 3000 && !g.done && !sim->result.failed; i++)
        sim_pass(sim, 10);
    sim_demand(sim, g.done && g.res != 0, "what is bad everywhere is an error, for that block");
}

/* Both sources have blocks that cannot be read, each its own, and one that neither can: the target
 * gets each from the other, and that one as bad, until it is written again. */
void
sim_row_12_bad(struct sim *sim)
{
    static uint8_t block[BAD_BLOCKS][CW_BLOCK_SIZE];

    sim_daemon_kill(&sim->daemons[2], sim_chance(&sim->rnd_fault, 50));
    sim_expect(sim, target_left, 10000, "it is ejected");
    for (uint32_t i = 0; i < BAD_BLOCKS && !sim->result.failed; i++)
        written_and_bad(sim, i, block[i]);
    sim_daemon_start(&sim->daemons[2]);
    sim_expect(sim, target_resyncs, 30000, "its resync begins");
    sim_expect(sim, sim_all_in_sync, 60000, "its resync ends");
    no_copy_gives_it(sim);
    sim_block_fill(block[2], 8000, 1);
    sim_guest_do(sim, CW_IO_WRITE, 2 * CW_MIB, block[2], CW_BLOCK_SIZE);
    for (uint32_t i = 0; i < BAD_BLOCKS && !sim->result.failed; i++) {
        static uint8_t back[CW_BLOCK_SIZE];

        sim_guest_do(sim, CW_IO_READ, (uint64_t)i * CW_MIB, back, sizeof(back));
        sim_demand(sim, memcmp(back, block[i], sizeof(back)) == 0, "the guest gets what it wrote");
    }
    sim_rot_scrub(sim); /* what no read has met */
    sim_expect(sim, sim_rot_is_mended, 60000, "all are mended");
    for (uint32_t i = 0; i < BAD_BLOCKS && !sim->result.failed; i++)
        sim_guest_same_everywhere(sim, (uint64_t)i * CW_MIB, block[i], 1);
}
