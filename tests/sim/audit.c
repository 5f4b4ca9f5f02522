/* sim/audit.c - the durability oracle: what every in-sync copy holds, read at its own disk.
 *
 * Only while nothing is being written. All copies that the register calls INSYNC and that are up
 * must be equal (I2, I7), and what they hold must be what a read could return.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/sim/sim.h"

static void
audit_take(struct sim_audit_read *ar)
{
    struct sim_audit *a = ar->audit;
    static const uint8_t zero[CW_BLOCK_SIZE];

    for (uint32_t i = 0; i < ar->n; i++) {
        const uint8_t *block = ar->read.zeroes ? zero : ar->read.buf->data + i * CW_BLOCK_SIZE;

        if (cw_bit_get(ar->read.bad, i))
            a->bad[ar->daemon][ar->first + i] = true;
        else if (!sim_block_value(block, sim_block_lba(a->sim, ar->first + i),
                                  &a->value[ar->daemon][ar->first + i]))
            sim_fail(a->sim, "audit: %s holds bytes in block %u that nobody wrote",
                     a->sim->daemons[ar->daemon].proc.name, ar->first + i);
    }
}

static void
audit_read_done(struct cw_store_read *read)
{
    struct sim_audit_read *ar = cw_container_of(read, struct sim_audit_read, read);

    ar->done = true;
    if (read->res == 0)
        audit_take(ar);
    else
        ar->audit->read[sim_block_shard(ar->audit->sim, ar->first)][ar->daemon] = false;
    cw_buf_unref(read->buf);
    read->buf = NULL;
}

static void
audit_judge_whole(struct sim_audit *a, uint32_t d)
{
    struct sim *sim = a->sim;

    for (uint32_t b = 0, n; b < SIM_BLOCKS; b += n) {
        n = sim_blocks_in_shard(sim, b, SIM_BLOCKS - b);
        if (a->read[sim_block_shard(sim, b)][d])
            sim_atoms_judge(sim, b, n, a->value[d] + b, a->bad[d] + b, sim->daemons[d].proc.name);
    }
}

static void
audit_compare(struct sim_audit *a)
{
    struct sim *sim = a->sim;

    for (uint32_t d = 0; d < sim->n_daemons; d++)
        audit_judge_whole(a, d);
    for (uint32_t b = 0; b < SIM_BLOCKS; b++) {
        const bool *read = a->read[sim_block_shard(sim, b)];
        const char *first = NULL;
        uint64_t value = 0;

        for (uint32_t d = 0; d < sim->n_daemons; d++) {
            if (!read[d] || a->bad[d][b])
                continue;
            if (first != NULL && a->value[d][b] != value)
                sim_fail(sim, "audit: epoch %u, block %u is %llu on %s and %llu on %s (I2, I7)",
                         a->epoch, b, (unsigned long long)value, first,
                         (unsigned long long)a->value[d][b], sim->daemons[d].proc.name);
            first = sim->daemons[d].proc.name;
            value = a->value[d][b];
        }
        if (first != NULL) {
            uint32_t hop = sim_history_begin(sim, b, SIM_READ, value, a->epoch);

            sim->history.at[b][hop].begin_ns = a->begin_ns;
            sim_history_end(sim, b, hop, value);
        }
    }
}

struct audit_tick {
    struct sim_task task;
    struct sim_audit *audit;
};

static void audit_poll(struct sim_task *t);

static void
audit_poll_later(struct sim_audit *a)
{
    struct audit_tick *k = calloc(1, sizeof(*k));

    cw_assert(k != NULL);
    k->audit = a;
    sim_after(a->sim, &k->task, 2 * CW_NS_PER_MS, audit_poll);
}

/* Over when every read is done, or dead with its daemon. */
static void
audit_poll(struct sim_task *t)
{
    struct sim_audit *a = cw_container_of(t, struct audit_tick, task)->audit;
    bool busy = false;

    for (uint32_t i = 0; i < a->n; i++) {
        const struct sim_audit_read *ar = &a->reads[i];
        const struct sim_daemon *d = &t->sim->daemons[ar->daemon];

        if (d->proc.life != ar->life || (!d->serving && !d->stopping))
            a->read[sim_block_shard(a->sim, ar->first)][ar->daemon] = false;
        else
            busy = busy || !ar->done;
    }
    if (busy) {
        audit_poll_later(a);
        return;
    }
    audit_compare(a);
    a->done(a);
    cw_list_remove(&a->node);
    free(a);
}

static void
audit_read(struct sim_audit *a, uint32_t daemon, struct cw_store_shard *sh, uint32_t first,
           uint32_t n)
{
    struct sim_audit_read *ar = &a->reads[a->n++];

    ar->audit = a;
    ar->daemon = daemon;
    ar->life = a->sim->daemons[daemon].proc.life;
    ar->first = first;
    ar->n = n;
    ar->read = (struct cw_store_read){
        .shard = sh,
        .lba = sim_block_lba(a->sim, first) % CW_SHARD_BLOCKS,
        .nblk = n,
        .done = audit_read_done,
    };
    cw_list_init(&ar->read.link);
    cw_store_read(&ar->read);
}

/* By the newest owner: its daemon may answer while its disk does not. */
static bool
is_sealed(struct sim *sim, uint32_t shard, const struct sim_daemon *d)
{
    struct cw_store_shard *sh = sim_copy_of(sim, d, shard);

    return sh != NULL && cw_store_shard_info(sh)->promised_gen >= sim->reg.gen;
}

/* Where a journal stood in for it, a copy in sync that its owner has not reached is not a copy yet.
 */
static bool
audit_passes_over(struct sim *sim, uint32_t shard, const struct sim_daemon *d)
{
    const struct cw_shard_rec *rec = &sim->reg.recs[shard];
    struct cw_shard_report r;
    bool journal = false;

    for (uint32_t k = 0; k < rec->n_members; k++)
        journal |= rec->members[k].state == CW_MEMBER_JOURNAL;
    if (!journal || sim->present == NULL || sim->present->volume == NULL ||
        shard >= sim->present->n_shards)
        return false;
    cw_volume_report_shard(sim->present->volume, shard, &r);
    for (uint32_t i = 0; i < r.n_members; i++)
        if (cw_uuid_equal(&r.members[i].disk_uuid, &d->disk_uuid))
            return !r.members[i].connected || !is_sealed(sim, shard, d);
    return false;
}

/* Runs of blocks, none of them in two shards. */
static void
audit_read_shard(struct sim_audit *a, uint32_t shard, uint32_t daemon, struct cw_store_shard *sh)
{
    struct sim *sim = a->sim;

    a->read[shard][daemon] = true;
    for (uint32_t b = 0, n; b < SIM_BLOCKS; b += n) {
        n = sim_blocks_in_shard(sim, b, SIM_AUDIT_RUN - b % SIM_AUDIT_RUN);
        if (sim_block_shard(sim, b) == shard)
            audit_read(a, daemon, sh, b, n);
    }
    sim_proc_touch(&sim->daemons[daemon].proc);
}

static void
audit_shard(struct sim_audit *a, uint32_t shard)
{
    struct sim *sim = a->sim;
    const struct cw_shard_rec *rec = &sim->reg.recs[shard];

    for (uint32_t k = 0; k < rec->n_members; k++) {
        struct sim_daemon *d = sim_member_daemon(sim, &rec->members[k]);
        struct cw_store_shard *sh;

        if (rec->members[k].state != CW_MEMBER_INSYNC || d == NULL || !d->serving ||
            sim_media_forgot(sim, shard, d->proc.index) || audit_passes_over(sim, shard, d))
            continue;
        sh = sim_copy_of(sim, d, shard);
        if (sh == NULL && rec->members[k].since_seq == CW_SINCE_NEW)
            continue; /* a shard that the volume has just got: no owner has begun with it (I18) */
        if (sh == NULL)
            sim_fail(sim, "audit: %s is in sync and has no copy (I2)", d->proc.name);
        else
            audit_read_shard(a, shard, d->proc.index, sh);
    }
}

void
sim_audit_start(struct sim *sim, uint32_t epoch, void (*done)(struct sim_audit *), void *arg)
{
    struct sim_audit *a = calloc(1, sizeof(*a));

    cw_assert(a != NULL);
    a->sim = sim;
    a->done = done;
    a->arg = arg;
    a->epoch = epoch;
    a->begin_ns = sim->now_ns;
    cw_list_push_back(&sim->audits, &a->node);
    for (uint32_t i = 0; i < sim->n_shards; i++)
        audit_shard(a, i);
    audit_poll_later(a);
}

void
sim_audit_free_all(struct sim *sim)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(&sim->audits)) != NULL)
        free(cw_list_entry(node, struct sim_audit, node));
}
