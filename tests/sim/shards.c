/* sim/shards.c - volumes of several shards: how many, where their copies are, what of the workload
 * is in which.
 *
 *   shard 0, 64 GiB                          shard 1
 *   ...........| chunk | chunk | chunk | chunk | chunk |
 *            groups of blocks, each around a border of two chunks; one of them around the shards'
 *
 * Volumes are sparse, so that shards are as large as they really are. All that is chosen here comes
 * from a stream of its own: seeds with one shard stay what they were.
 */
#include "common/base/bits.h"
#include "tests/sim/scenario.h"

#define PERCENT 30u /* of the seeds */

static void
choose_borders(struct sim *sim)
{
    uint32_t shard = (uint32_t)CW_SHARD_CHUNKS;

    for (uint32_t g = 0; g < SIM_GROUPS; g++) {
        if (sim->n_shards_goal == 1)
            sim->borders[g] = g + 1;
        else if (sim->n_shards_goal == 2) /* the third of the groups is in both */
            sim->borders[g] = shard - 2 + g;
        else /* the second, the fifth */
            sim->borders[g] = shard * (1 + g / 3) - 1 + g % 3;
    }
}

static uint32_t
choose_count(struct sim *sim)
{
    struct cw_prng *p = &sim->rnd_shard;
    bool several = sim_chance(p, PERCENT), three = sim_chance(p, 25);

    if (sim->opts.scenario != NULL)
        return (uint32_t)cw_max_u64(1, sim->opts.scenario->n_shards);
    if (sim->opts.shards != 0)
        return (uint32_t)cw_min_u64(sim->opts.shards, SIM_SHARDS_MAX);
    return !several || sim->full.on || sim->spare ? 1 : three ? 3 : 2;
}

/* Members of two shards on other daemons; real managers place them as they like. */
static void
choose_places(struct sim *sim)
{
    struct cw_prng *p = &sim->rnd_shard;
    uint32_t more = (uint32_t)sim_between(p, 1, 2);

    if (!sim_chance(p, 50))
        return;
    sim->n_daemons = (uint32_t)cw_min_u64(SIM_DAEMONS_MAX, sim->n_members + more);
    sim->shard_step = (uint32_t)sim_between(p, 1, sim->n_daemons - 1);
}

void
sim_shards_choose(struct sim *sim)
{
    struct cw_prng *p = &sim->rnd_shard;

    sim->n_shards = sim->n_shards_goal = choose_count(sim);
    choose_borders(sim);
    if (sim->n_shards == 1)
        return;
    sim_mark(sim, SIM_MARK_SHARDS);
    if (sim->opts.scenario != NULL)
        return;
    sim->full.on = false;
    sim->n_daemons -= sim->spare;
    sim->spare = false;
    choose_places(sim);
    if (sim->control == NULL || sim->n_shards > 2 || !sim_chance(p, 40))
        return;
    sim->n_shards = 1;
    sim->grows = true;
    sim->grows_bytes = cw_prng_below(p, 400) * CW_BLOCK_SIZE;
}

uint32_t
sim_block_lba(const struct sim *sim, uint32_t block)
{
    return sim->borders[block / SIM_GROUP] * (uint32_t)CW_CHUNK_BLOCKS - SIM_GROUP / 2 +
           block % SIM_GROUP;
}

uint32_t
sim_lba_shard(uint32_t lba)
{
    return lba / (uint32_t)CW_SHARD_BLOCKS;
}

uint32_t
sim_block_shard(const struct sim *sim, uint32_t block)
{
    return sim_lba_shard(sim_block_lba(sim, block));
}

uint32_t
sim_blocks_in_shard(const struct sim *sim, uint32_t first, uint32_t n)
{
    uint32_t k = 1;

    if (sim->n_shards_goal == 1)
        return n;
    while (k < n && sim_block_shard(sim, first + k) == sim_block_shard(sim, first))
        k++;
    return k;
}

struct cw_store_shard *
sim_copy_of(const struct sim *sim, const struct sim_daemon *d, uint32_t shard)
{
    return cw_store_shard_find(cw_replica_store(d->replica), sim->reg.recs[shard].shard);
}

uint32_t
sim_reg_n_in_sync(const struct sim *sim, uint32_t shard)
{
    const struct cw_shard_rec *rec = &sim->reg.recs[shard];
    uint32_t n = 0;

    for (uint32_t i = 0; i < rec->n_members; i++)
        n += rec->members[i].state == CW_MEMBER_INSYNC;
    return n;
}

enum cw_member_state
sim_reg_state(const struct sim *sim, uint32_t shard, const struct sim_daemon *d)
{
    const struct cw_member *m =
        cw_shard_rec_find(&sim->reg.recs[shard], &d->disk_uuid, d->format_id);

    return m != NULL ? m->state : CW_MEMBER_DEAD;
}
