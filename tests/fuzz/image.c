#include "tests/fuzz/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/codec/hash.h"

#define IO_NS (20 * CW_NS_PER_US) /* so that a store that does I/O for ever meets its deadline */

const char *const image_kind_names[IMAGE_KINDS] = {
    [IMAGE_SUPERBLOCK] = "superblock", [IMAGE_SEGMENT] = "segment",       [IMAGE_BATCH] = "batch",
    [IMAGE_MAPPAGE] = "mappage",       [IMAGE_CHECKPOINT] = "checkpoint",
};

/* ---- memory ---- */

uint8_t *
image_memory(uint64_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);

    cw_assert(p != MAP_FAILED);
    return p;
}

static void
image_fill_base(struct image *im)
{
    im->base = image_memory(im->disk.bytes);
    for (uint64_t at = 0; at < im->disk.bytes; at += 4096) {
        if (!cw_block_is_zero(im->now + at))
            memcpy(im->base + at, im->now + at, 4096);
    }
}

struct image *
image_new(enum image_kind kind)
{
    struct image *im = calloc(1, sizeof(*im));
    uint64_t sectors;

    cw_assert(im != NULL);
    cw_list_init(&im->under_way);
    image_base_make(im);
    sectors = im->disk.bytes / 4096;
    im->dirty = calloc(sectors / 64 + 1, sizeof(*im->dirty));
    im->dirty_list = calloc(sectors, sizeof(*im->dirty_list));
    cw_assert(im->dirty != NULL && im->dirty_list != NULL);
    image_objects_find(im, kind);
    image_fill_base(im);
    return im;
}

void
image_free(struct image *im)
{
    munmap(im->base, im->disk.bytes);
    munmap(im->now, im->disk.bytes);
    free(im->dirty);
    free(im->dirty_list);
    free(im);
}

void
image_touch(struct image *im, const uint8_t *at, uint64_t len)
{
    uint64_t first = (uint64_t)(at - im->now) / 4096;
    uint64_t last = (uint64_t)(at - im->now + (ptrdiff_t)len - 1) / 4096;

    for (uint64_t i = first; len > 0 && i <= last; i++) {
        if (!cw_bit_get(im->dirty, i))
            im->dirty_list[im->n_dirty++] = (uint32_t)i;
        cw_bit_set(im->dirty, i);
    }
}

void
image_edit(struct image *im, uint64_t off, const void *from, uint64_t len)
{
    cw_assert(off <= im->disk.bytes && len <= im->disk.bytes - off);
    image_touch(im, im->now + off, len);
    memcpy(im->now + off, from, len);
}

void
image_reset(struct image *im)
{
    for (uint32_t i = 0; i < im->n_dirty; i++) {
        uint64_t at = (uint64_t)im->dirty_list[i] * 4096;

        memcpy(im->now + at, im->base + at, 4096);
        cw_bit_clear(im->dirty, im->dirty_list[i]);
    }
    im->n_dirty = 0;
    cw_list_init(&im->under_way);
    im->n_under_way = 0;
}

/* ---- the disk ---- */

static int
io_run(struct image *im, struct cw_disk_io *io)
{
    uint64_t at = io->off;

    if (io->op == CW_DISK_FLUSH || io->op == CW_DISK_DISCARD)
        return 0;
    for (uint32_t i = 0; i < io->n_iov; i++) {
        const struct iovec *v = &io->iov[i];

        if (io->op == CW_DISK_READ)
            memcpy(v->iov_base, im->now + at, v->iov_len);
        else
            image_edit(im, at, v->iov_base, v->iov_len);
        at += v->iov_len;
    }
    return 0;
}

static void
image_on_timer(struct cw_timer *t)
{
    struct image *im = cw_container_of(t, struct image, timer);
    struct cw_list *node = cw_list_pop_front(&im->under_way);
    struct cw_disk_io *io = cw_list_entry(node, struct cw_disk_io, link);

    if (node == NULL)
        return;
    im->n_under_way--;
    if (!cw_list_empty(&im->under_way))
        cw_timer_set(im->env, t, cw_now_ns(im->env) + IO_NS);
    io->done(io, io_run(im, io));
}

/* The rules of base/disk.h, as every disk of ours has them. */
static void
io_check(const struct image *im, const struct cw_disk_io *io)
{
    uint64_t len = 0;

    if (io->op == CW_DISK_FLUSH)
        return;
    cw_assert(io->off % 4096 == 0 && io->len % 4096 == 0 && io->len > 0);
    cw_assert(io->off <= im->disk.bytes && io->len <= im->disk.bytes - io->off);
    if (io->op == CW_DISK_DISCARD)
        return;
    cw_assert(io->n_iov >= 1 && io->n_iov <= 64);
    for (uint32_t i = 0; i < io->n_iov; i++) {
        cw_assert((uintptr_t)io->iov[i].iov_base % 4096 == 0 && io->iov[i].iov_len % 4096 == 0);
        len += io->iov[i].iov_len;
    }
    cw_assert(len == io->len);
}

static void
image_submit(struct cw_disk *disk, struct cw_disk_io *io)
{
    struct image *im = cw_container_of(disk, struct image, disk);

    io_check(im, io);
    cw_list_push_back(&im->under_way, &io->link);
    im->n_under_way++;
    if (!cw_timer_armed(&im->timer))
        cw_timer_set(im->env, &im->timer, cw_now_ns(im->env) + IO_NS);
}

static const struct cw_disk_ops image_ops = { .submit = image_submit };

struct cw_disk *
image_disk(struct image *im, struct cw_env *env)
{
    im->disk.ops = &image_ops;
    im->env = env;
    im->timer = (struct cw_timer){ .fn = image_on_timer };
    return &im->disk;
}
