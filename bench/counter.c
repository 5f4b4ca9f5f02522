#include "bench/counter.h"

#include <string.h>

static uint8_t
class_of_record(uint8_t type)
{
    switch (type) {
    case CW_REC_GC_MOVE:
    case CW_REC_BADBLK:
        return CW_SEG_COLD;
    case CW_REC_MAPPAGE:
    case CW_REC_TABPAGE:
    case CW_REC_ROOT:
        return CW_SEG_META;
    default:
        return CW_SEG_HOT;
    }
}

/* A batch lies at the start of the write, or behind the header of a segment that it opens. */
static const uint8_t *
find_batch(const struct cw_disk_io *io)
{
    const uint8_t *at = io->iov[0].iov_base;
    uint64_t seg_magic;
    uint32_t magic;

    memcpy(&seg_magic, at, sizeof(seg_magic));
    if (seg_magic == CW_SEG_MAGIC && io->iov[0].iov_len > 4096)
        at += 4096;
    memcpy(&magic, at, sizeof(magic));
    return magic == CW_BATCH_MAGIC ? at : NULL;
}

static void
count_sync(struct bench_counts *n, const struct cw_disk_io *io)
{
    const uint8_t *batch = find_batch(io);
    uint8_t cls;

    if (batch == NULL) {
        n->other_bytes += io->len;
        return;
    }
    cls = class_of_record(batch[sizeof(struct cw_batch_hdr)]);
    n->batches[cls]++;
    n->batch_bytes[cls] += io->len;
}

static void
counter_submit(struct cw_disk *d, struct cw_disk_io *io)
{
    struct bench_counter *c = cw_container_of(d, struct bench_counter, disk);

    switch (io->op) {
    case CW_DISK_READ:
        c->n.reads++;
        c->n.read_bytes += io->len;
        break;
    case CW_DISK_WRITE:
        c->n.zero_bytes += io->len;
        break;
    case CW_DISK_WRITE_SYNC:
        count_sync(&c->n, io);
        break;
    case CW_DISK_FLUSH:
        c->n.flushes++;
        break;
    case CW_DISK_DISCARD:
        c->n.discards++;
        break;
    }
    cw_disk_submit(c->under, io);
}

void
bench_counter_init(struct bench_counter *c, struct cw_disk *under)
{
    static const struct cw_disk_ops ops = { .submit = counter_submit };

    *c = (struct bench_counter){ .disk = { .ops = &ops, .bytes = under->bytes }, .under = under };
}
