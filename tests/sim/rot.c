/* sim/rot.c - blocks that rot on a disk where nobody reads them, and the scrub that finds them. */
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/sim/sim.h"

/* Forgotten with the store of a daemon that dies meanwhile; freed at the end of the run. */
struct rot_read {
    struct cw_list node;
    struct cw_store_read read;
    struct sim_daemon *daemon;
    bool latent;
};

#define LATENT_MAX 48u /* places that a RAM disk keeps as unreadable, with room for halves */

/* Wherever it lies, and lay: what is not live any more does not matter. */
static void
rot_block(struct sim_daemon *d, const uint8_t *block, bool latent)
{
    uint8_t content[CW_BLOCK_SIZE];
    uint64_t off = 0;

    memcpy(content, block, sizeof(content));
    while (cw_ramdisk_find(d->disk, off, content, &off)) {
        if (latent && cw_ramdisk_n_latent(d->disk) < LATENT_MAX)
            cw_ramdisk_latent(d->disk, off, CW_BLOCK_SIZE);
        else
            cw_ramdisk_flip(d->disk, off + 77, 4);
        off += CW_BLOCK_SIZE;
    }
}

static void
rot_on_read(struct cw_store_read *read)
{
    struct rot_read *r = cw_container_of(read, struct rot_read, read);
    struct sim *sim = r->daemon->proc.sim;

    if (read->res == 0 && !read->zeroes && read->bad[0] == 0) {
        rot_block(r->daemon, read->buf->data, r->latent);
        sim_mark(sim, SIM_MARK_ROT);
        sim_log(sim, "fault: lba %llu %s on %s", (unsigned long long)read->lba,
                r->latent ? "cannot be read" : "rots", r->daemon->proc.name);
    }
    cw_buf_unref(read->buf);
    cw_list_remove(&r->node);
    free(r);
}

void
sim_rot_block(struct sim *sim, struct sim_daemon *d, uint32_t block, bool latent)
{
    struct cw_store_shard *sh = sim_copy_of(sim, d, sim_block_shard(sim, block));
    struct rot_read *r;

    if (sh == NULL)
        return; /* no copy of it lies there */
    r = calloc(1, sizeof(*r));
    cw_assert(r != NULL);
    cw_list_push_back(&sim->rots, &r->node);
    r->daemon = d;
    r->latent = latent;
    r->read = (struct cw_store_read){
        .shard = sh,
        .lba = sim_block_lba(sim, block) % CW_SHARD_BLOCKS,
        .nblk = 1,
        .done = rot_on_read,
    };
    cw_store_read(&r->read);
    sim_proc_touch(&d->proc);
}

void
sim_rot_free_all(struct sim *sim)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(&sim->rots)) != NULL)
        free(cw_list_entry(node, struct rot_read, node));
}

static bool
rot_never(struct sim *sim)
{
    return false;
}

/* With one shard any of the first will do: one without a copy has nothing that could rot. */
static struct sim_daemon *
rot_daemon(struct sim *sim, const struct cw_shard_rec *rec, uint32_t k)
{
    struct sim_daemon *d = NULL;

    if (sim->n_shards > 1 && k < rec->n_members)
        d = sim_member_daemon(sim, &rec->members[k]);
    return d != NULL ? d : &sim->daemons[k];
}

void
sim_rot(struct sim *sim)
{
    for (uint32_t b = 0; b < SIM_BLOCKS; b++) {
        const struct cw_shard_rec *rec = &sim->reg.recs[sim_block_shard(sim, b)];
        uint32_t k = (uint32_t)cw_prng_below(&sim->rnd_fault, sim->n_members);
        struct sim_daemon *d = rot_daemon(sim, rec, k);

        if (sim_chance(&sim->rnd_fault, 15) && d->serving)
            sim_rot_block(sim, d, b, false);
    }
    sim_run_until(sim, rot_never, 200 * CW_NS_PER_MS); /* the reads */
}

static struct cw_store_scrub_stats
scrub_of(const struct sim_daemon *d)
{
    struct cw_store_stats st;

    cw_store_stats(cw_replica_store(d->replica), &st);
    return st.scrub;
}

void
sim_rot_scrub(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->n_daemons && !sim->result.failed; i++) {
        struct sim_daemon *d = &sim->daemons[i];

        sim->scrub_pass[i] = scrub_of(d).pass + 1;
        cw_store_scrub_start(cw_replica_store(d->replica));
        sim_proc_touch(&d->proc);
    }
}

bool
sim_rot_is_mended(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->n_daemons; i++) {
        struct sim_daemon *d = &sim->daemons[i];
        struct cw_replica_copy c;

        if (scrub_of(d).last_pass < sim->scrub_pass[i])
            return false;
        for (uint64_t from = 0; cw_replica_copy_next(d->replica, from, &c); from = c.shard + 1)
            if (c.bad_blocks > 0)
                return false;
    }
    return true;
}

void
sim_rot_must_be_gone(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->n_daemons && !sim->result.failed; i++) {
        struct sim_daemon *d = &sim->daemons[i];

        if (scrub_of(d).last_found > 0)
            sim_fail(sim, "repair: %s: %llu bad blocks are left after a repair (I14)", d->proc.name,
                     (unsigned long long)scrub_of(d).last_found);
    }
}
