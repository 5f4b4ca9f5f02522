/* tool/overlay.c - blocks that were written, in a table of tables; all else comes from below. */
#include "daemon/tool/overlay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/assert.h"
#include "common/base/bits.h"
#include "common/base/list.h"

#define BLOCK 4096u
#define LEAF_BLOCKS 1024u

struct leaf {
    uint8_t *b[LEAF_BLOCKS]; /* NULL: not written */
};

struct cw_overlay {
    struct cw_disk disk;
    struct cw_disk *base;
    struct cw_env *env;
    struct leaf **leaves;
    uint64_t n_leaves;
    uint8_t zero[BLOCK]; /* stands for blocks of zeroes: whole segments are written with them */
    struct cw_timer timer;
    struct cw_list done; /* of struct op */
};

struct op {
    struct cw_overlay *o;
    struct cw_disk_io *io; /* the caller's */
    struct cw_disk_io below;
    struct cw_list link;
    int res;
};

static uint8_t *
overlay_find(const struct cw_overlay *o, uint64_t block)
{
    const struct leaf *l = o->leaves[block / LEAF_BLOCKS];

    return l == NULL ? NULL : l->b[block % LEAF_BLOCKS];
}

static void
overlay_put(struct cw_overlay *o, uint64_t block, const uint8_t *data)
{
    struct leaf **l = &o->leaves[block / LEAF_BLOCKS];
    uint8_t **b;

    if (*l == NULL)
        *l = calloc(1, sizeof(**l));
    cw_assert(*l != NULL);
    b = &(*l)->b[block % LEAF_BLOCKS];
    if (*b == NULL || *b == o->zero) {
        if (memcmp(data, o->zero, BLOCK) == 0) {
            *b = o->zero;
            return;
        }
        *b = malloc(BLOCK);
        cw_assert(*b != NULL);
    }
    memcpy(*b, data, BLOCK);
}

/* ---- answers come from the loop ---- */

static void
op_end(struct op *op, int res)
{
    op->res = res;
    cw_list_push_back(&op->o->done, &op->link);
    cw_timer_set(op->o->env, &op->o->timer, cw_now_ns(op->o->env));
}

static void
overlay_on_timer(struct cw_timer *t)
{
    struct cw_overlay *o = cw_container_of(t, struct cw_overlay, timer);
    struct cw_list *node;

    while ((node = cw_list_pop_front(&o->done)) != NULL) {
        struct op *op = cw_list_entry(node, struct op, link);
        struct cw_disk_io *io = op->io;
        int res = op->res;

        free(op);
        io->done(io, res);
    }
}

/* ---- reads and writes; every piece is whole blocks ---- */

enum way { WAY_OUT, WAY_IN };

/* Copies between the pieces and the table; returns how many blocks the table had. */
static uint64_t
overlay_copy(struct cw_overlay *o, const struct cw_disk_io *io, enum way way)
{
    uint64_t block = io->off / BLOCK, n = 0;

    for (uint32_t i = 0; i < io->n_iov; i++) {
        uint8_t *at = io->iov[i].iov_base, *end = at + io->iov[i].iov_len;

        for (; at < end; at += BLOCK, block++) {
            const uint8_t *mine = way == WAY_OUT ? overlay_find(o, block) : NULL;

            if (way == WAY_IN)
                overlay_put(o, block, at);
            else if (mine != NULL)
                memcpy(at, mine, BLOCK);
            n += mine != NULL;
        }
    }
    return n;
}

static void
below_on_read(struct cw_disk_io *io, int res)
{
    struct op *op = cw_container_of(io, struct op, below);

    /* what cannot be read below may all have been written since */
    if (overlay_copy(op->o, op->io, WAY_OUT) == op->io->len / BLOCK)
        res = 0;
    op_end(op, res);
}

static void
overlay_submit(struct cw_disk *d, struct cw_disk_io *io)
{
    struct cw_overlay *o = cw_container_of(d, struct cw_overlay, disk);
    struct op *op = calloc(1, sizeof(*op));

    cw_assert(op != NULL && io->off % BLOCK == 0 && io->len % BLOCK == 0);
    cw_assert(io->off <= d->bytes && io->len <= d->bytes - io->off);
    op->o = o;
    op->io = io;
    if (io->op == CW_DISK_READ) {
        op->below = (struct cw_disk_io){
            .op = CW_DISK_READ,
            .n_iov = io->n_iov,
            .iov = io->iov,
            .off = io->off,
            .len = io->len,
            .done = below_on_read,
        };
        cw_disk_submit(o->base, &op->below);
        return;
    }
    if (io->op == CW_DISK_WRITE || io->op == CW_DISK_WRITE_SYNC)
        (void)overlay_copy(o, io, WAY_IN);
    op_end(op, 0);
}

static const struct cw_disk_ops overlay_ops = { .submit = overlay_submit };

struct cw_overlay *
cw_overlay_new(struct cw_env *env, struct cw_disk *base)
{
    struct cw_overlay *o = calloc(1, sizeof(*o));

    if (o == NULL)
        return NULL;
    o->n_leaves = cw_div_up(base->bytes, (uint64_t)BLOCK * LEAF_BLOCKS);
    o->leaves = calloc(o->n_leaves, sizeof(struct leaf *));
    if (o->leaves == NULL) {
        free(o);
        return NULL;
    }
    o->disk = (struct cw_disk){ .ops = &overlay_ops, .bytes = base->bytes };
    o->base = base;
    o->env = env;
    o->timer.fn = overlay_on_timer;
    cw_list_init(&o->done);
    return o;
}

static void
leaf_free(struct cw_overlay *o, struct leaf *l)
{
    for (uint32_t i = 0; l != NULL && i < LEAF_BLOCKS; i++) {
        if (l->b[i] != o->zero)
            free(l->b[i]);
    }
    free(l);
}

void
cw_overlay_free(struct cw_overlay *o)
{
    if (o == NULL)
        return;
    cw_assert(cw_list_empty(&o->done));
    cw_timer_cancel(o->env, &o->timer);
    for (uint64_t i = 0; i < o->n_leaves; i++)
        leaf_free(o, o->leaves[i]);
    free(o->leaves);
    free(o);
}

struct cw_disk *
cw_overlay_disk(struct cw_overlay *o)
{
    return &o->disk;
}
