/* vhost/memory.c - messages about memory: the guest's, and what the front end keeps for us. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/vhost/device.h"

/* ---- the guest's ---- */

/* Rings that run go on where they are now. */
static void
rings_resolve(struct cw_vhost *d)
{
    for (uint32_t i = 0; i < d->opts.n_queues; i++) {
        struct cw_vq *vq = &d->queue[i].vq;

        if (vq->started && cw_vq_resolve(vq, &d->guest) != 0)
            vh_ring_lost(d, i);
    }
    vh_queues_start(d);
}

static struct cw_guest_region
region_of(const struct cw_vu_region *r)
{
    return (struct cw_guest_region){ .guest_addr = r->guest_addr,
                                     .user_addr = r->user_addr,
                                     .size = r->size };
}

static int
table_set(struct cw_vhost *d, const struct cw_vhost_msg *m)
{
    struct cw_vu_table t = { 0 };
    int res = 0;

    memcpy(&t, m->payload, cw_min_u64(m->head.size, sizeof(t)));
    if (t.n_regions > CW_VU_TABLE_REGIONS || t.n_regions != m->n_fds ||
        m->head.size < 8 + t.n_regions * sizeof(struct cw_vu_region))
        return -EINVAL;
    cw_guest_clear(&d->guest);
    for (uint32_t i = 0; res == 0 && i < t.n_regions; i++) {
        struct cw_guest_region r = region_of(&t.region[i]);

        res = cw_guest_map(&d->guest, &r, m->fds[i], t.region[i].mmap_offset);
    }
    if (res != 0)
        cw_guest_clear(&d->guest);
    return res;
}

static int
region_change(struct cw_vhost *d, const struct cw_vhost_msg *m)
{
    struct cw_vu_one_region one;
    struct cw_guest_region r;

    if (m->head.size < sizeof(one))
        return -EINVAL;
    memcpy(&one, m->payload, sizeof(one));
    r = region_of(&one.region);
    if (m->head.request == CW_VU_REM_MEM_REG)
        return cw_guest_remove(&d->guest, &r);
    if (m->n_fds != 1)
        return -EINVAL;
    return cw_guest_map(&d->guest, &r, m->fds[0], one.region.mmap_offset);
}

int
vh_memory_message(struct cw_vhost *d, struct cw_vhost_msg *m)
{
    int res = m->head.request == CW_VU_SET_MEM_TABLE ? table_set(d, m) : region_change(d, m);

    rings_resolve(d);
    if (res != 0)
        vh_log(d, CW_LOG_WARNING, "the guest's memory was not taken: %s", strerror(-res));
    return res;
}

/* ---- what is in flight ---- */

void
vh_inflight_drop(struct cw_vhost *d)
{
    if (d->inflight.map != NULL)
        cw_shared_unmap(d->inflight.map, d->inflight.map_len);
    d->inflight = (struct vh_inflight){ 0 };
}

static uint64_t
area_bytes(const struct cw_vhost *d, uint16_t queue_size)
{
    return cw_vq_area_bytes((d->features & CW_BIT(CW_VIRTIO_F_RING_PACKED)) != 0, queue_size);
}

void *
vh_inflight_area(const struct cw_vhost *d, uint32_t queue)
{
    const struct vh_inflight *f = &d->inflight;

    if (f->map == NULL || queue >= f->n_queues || d->queue[queue].vq.size > f->queue_size ||
        f->len < f->n_queues * area_bytes(d, f->queue_size))
        return NULL;
    return f->at + queue * area_bytes(d, f->queue_size);
}

static bool
inflight_parse(const struct cw_vhost *d, const struct cw_vhost_msg *m, struct cw_vu_inflight *ret)
{
    *ret = (struct cw_vu_inflight){ 0 };
    if (m->head.size < CW_VU_INFLIGHT_MIN || m->head.size > sizeof(*ret))
        return false;
    memcpy(ret, m->payload, m->head.size);
    return ret->n_queues >= 1 && ret->n_queues <= d->opts.n_queues && ret->queue_size >= 1 &&
           ret->queue_size <= CW_VQ_SIZE_MAX;
}

static int
inflight_create(uint64_t len)
{
    int fd = memfd_create("causeway-vhost-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)len) != 0) {
        int res = -errno;

        close(fd);
        return res;
    }
    (void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    return fd;
}

int
vh_inflight_get(struct cw_vhost *d, struct cw_vhost_msg *m)
{
    struct cw_vu_inflight f;
    int fd;

    if (!inflight_parse(d, m, &f))
        return -EINVAL;
    f.mmap_offset = 0;
    f.mmap_size = f.n_queues * area_bytes(d, f.queue_size);
    fd = inflight_create(f.mmap_size);
    if (fd < 0)
        return fd;
    vh_reply(d, &m->head, &f, m->head.size, fd);
    close(fd);
    return 0;
}

int
vh_inflight_set(struct cw_vhost *d, struct cw_vhost_msg *m)
{
    struct vh_inflight new = { 0 };
    struct cw_vu_inflight f;
    int res;

    if (!inflight_parse(d, m, &f) || m->n_fds != 1 || f.mmap_offset % 8 != 0 ||
        f.mmap_size < f.n_queues * area_bytes(d, f.queue_size))
        return -EINVAL;
    for (uint32_t i = 0; i < d->opts.n_queues; i++) {
        if (d->queue[i].vq.started)
            return -EBUSY;
    }
    res = cw_shared_map(m->fds[0], f.mmap_offset, f.mmap_size, &new.map, &new.map_len, &new.at);
    if (res != 0)
        return res;
    new.len = f.mmap_size;
    new.n_queues = f.n_queues;
    new.queue_size = f.queue_size;
    vh_inflight_drop(d);
    d->inflight = new;
    return 0;
}
