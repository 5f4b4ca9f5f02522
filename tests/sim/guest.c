/* sim/guest.c - requests of a play, beside the workload, in chunks that it leaves alone. */
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/sim/scenario.h"

#define GUEST_NS (30 * CW_NS_PER_S)

static void
guest_done(struct cw_io *io, int res)
{
    struct sim_guest_io *g = cw_container_of(io, struct sim_guest_io, io);

    g->done = true;
    g->res = res;
}

void
sim_guest_start(struct sim *sim, struct sim_guest_io *g, enum cw_io_op op, uint64_t off, void *data,
                uint64_t len)
{
    g->done = false;
    g->iov = (struct iovec){ .iov_base = data, .iov_len = len };
    g->io = (struct cw_io){
        .op = op,
        .off = SIM_GUEST_OFF + off,
        .len = len,
        .iov = data != NULL ? &g->iov : NULL,
        .n_iov = data != NULL,
        .done = guest_done,
    };
    if (sim->present == NULL || sim->present->volume == NULL) {
        sim_fail(sim, "scenario: nobody owns the volume");
        return;
    }
    cw_io_submit(sim->present->volume, &g->io);
    sim_proc_touch(&sim->present->proc);
}

void
sim_guest_wait(struct sim *sim, struct sim_guest_io *g)
{
    uint64_t until = sim->now_ns + GUEST_NS;

    while (!g->done && !sim->result.failed && sim->now_ns < until)
        sim_pass_ns(sim, 100000);
    if (!sim->result.failed && !g->done)
        sim_fail(sim, "scenario: a request at %llu is not answered",
                 (unsigned long long)(g->io.off - SIM_GUEST_OFF));
    else if (!sim->result.failed && g->res != 0)
        sim_fail(sim, "scenario: a request at %llu ended with %d",
                 (unsigned long long)(g->io.off - SIM_GUEST_OFF), g->res);
}

void
sim_guest_do(struct sim *sim, enum cw_io_op op, uint64_t off, void *data, uint64_t len)
{
    struct sim_guest_io g;

    sim_guest_start(sim, &g, op, off, data, len);
    sim_guest_wait(sim, &g);
}

/* ---- what a copy holds ---- */

struct peek {
    struct cw_store_read read;
    bool done;
};

static void
peek_done(struct cw_store_read *read)
{
    cw_container_of(read, struct peek, read)->done = true;
}

/* At most a chunk; false: it cannot be read. */
bool
sim_peek(struct sim *sim, struct sim_daemon *d, uint64_t off, uint8_t *to, uint32_t nblk)
{
    struct cw_store_shard *sh = sim_copy_of(sim, d, 0);
    static struct peek p; /* the run may fail while it is under way */
    bool ok;

    cw_assert(sh != NULL);
    p = (struct peek){
        .read = { .shard = sh,
                  .lba = (SIM_GUEST_OFF + off) / CW_BLOCK_SIZE,
                  .nblk = nblk,
                  .done = peek_done },
    };
    cw_list_init(&p.read.link);
    cw_store_read(&p.read);
    sim_proc_touch(&d->proc);
    for (uint32_t i = 0; i < 10000 && !p.done; i++)
        sim_pass_ns(sim, 100000);
    if (!p.done)
        return false;
    ok = p.read.res == 0 && p.read.bad[0] == 0;
    if (ok && p.read.zeroes)
        memset(to, 0, (size_t)nblk * CW_BLOCK_SIZE);
    else if (ok)
        memcpy(to, p.read.buf->data, (size_t)nblk * CW_BLOCK_SIZE);
    cw_buf_unref(p.read.buf);
    return ok;
}

void
sim_guest_same_everywhere(struct sim *sim, uint64_t off, const uint8_t *want, uint32_t nblk)
{
    uint8_t *have = malloc((size_t)nblk * CW_BLOCK_SIZE);

    cw_assert(have != NULL);
    for (uint32_t i = 0; i < sim->reg.recs[0].n_members && !sim->result.failed; i++) {
        struct sim_daemon *d = &sim->daemons[i];

        if (sim->reg.recs[0].members[i].state != CW_MEMBER_INSYNC || !d->serving)
            continue;
        if (!sim_peek(sim, d, off, have, nblk))
            sim_fail(sim, "audit: %s cannot read what was written at %llu", d->proc.name,
                     (unsigned long long)off);
        else if (memcmp(have, want, (size_t)nblk * CW_BLOCK_SIZE) != 0)
            sim_fail(sim, "audit: %s holds something else at %llu (I2)", d->proc.name,
                     (unsigned long long)off);
    }
    free(have);
}
