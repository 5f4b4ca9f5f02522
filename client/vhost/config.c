/* vhost/config.c - what the guest is told of its disk. */
#include "client/vhost/device.h"

/* Longer ones are asked for in parts; a second is about what a part may take. */
#define RANGE_SECTORS_MAX (UINT32_C(1) << 21) /* 1 GiB */

#define CONFIG_MAX 256u /* bytes of configuration space that may be asked for */

uint64_t
vh_features(const struct cw_vhost *d)
{
    uint64_t f = CW_BIT(CW_VIRTIO_F_VERSION_1) | CW_BIT(CW_VIRTIO_F_INDIRECT_DESC) |
                 CW_BIT(CW_VIRTIO_F_EVENT_IDX) | CW_BIT(CW_VIRTIO_F_RING_PACKED) |
                 CW_BIT(CW_VU_F_LOG_ALL) | CW_BIT(CW_VU_F_PROTOCOL_FEATURES) |
                 CW_BIT(CW_BLK_F_SIZE_MAX) | CW_BIT(CW_BLK_F_SEG_MAX) | CW_BIT(CW_BLK_F_BLK_SIZE) |
                 CW_BIT(CW_BLK_F_TOPOLOGY) | CW_BIT(CW_BLK_F_FLUSH) | CW_BIT(CW_BLK_F_MQ);

    if (d->opts.read_only)
        return f | CW_BIT(CW_BLK_F_RO);
    return f | CW_BIT(CW_BLK_F_DISCARD) | CW_BIT(CW_BLK_F_WRITE_ZEROES);
}

static uint8_t
log2_of(uint32_t pow2)
{
    return (uint8_t)__builtin_ctz(pow2);
}

void
vh_config_init(struct cw_vhost *d)
{
    uint32_t block = d->opts.block_bytes;

    d->config = (struct cw_blk_config){
        .size_max = CW_VHOST_SEG_BYTES_MAX,
        .seg_max = CW_VHOST_SEGS_MAX,
        .blk_size = block,
        .physical_block_exp = log2_of(4096 / block),
        .min_io_size = (uint16_t)(4096 / block),
        .opt_io_size = CW_VHOST_PIECE_MAX / block,
        .writeback = 1,
        .num_queues = (uint16_t)d->opts.n_queues,
        .max_discard_sectors = RANGE_SECTORS_MAX,
        .max_discard_seg = CW_VHOST_RANGES_MAX,
        .discard_sector_alignment = 4096 / CW_BLK_SECTOR,
        .max_write_zeroes_sectors = RANGE_SECTORS_MAX,
        .max_write_zeroes_seg = CW_VHOST_RANGES_MAX,
        .write_zeroes_may_unmap = 1,
    };
    vh_config_size(d, d->opts.size_bytes);
}

void
vh_config_size(struct cw_vhost *d, uint64_t size_bytes)
{
    d->opts.size_bytes = size_bytes;
    d->config.capacity = size_bytes / CW_BLK_SECTOR;
}

/* An empty answer says that there is no such part. */
void
vh_config_get(struct cw_vhost *d, const struct cw_vhost_msg *m)
{
    uint8_t out[sizeof(struct cw_vu_config) + CONFIG_MAX] = { 0 };
    struct cw_vu_config c;

    if (m->head.size < sizeof(c)) {
        vh_break(d, "GET_CONFIG is too short");
        return;
    }
    memcpy(&c, m->payload, sizeof(c));
    if (c.size > CONFIG_MAX || c.offset > CONFIG_MAX - c.size) {
        vh_reply(d, &m->head, NULL, 0, -1);
        return;
    }
    memcpy(out, &c, sizeof(c));
    if (c.offset < sizeof(d->config))
        memcpy(out + sizeof(c), (const uint8_t *)&d->config + c.offset,
               cw_min_u64(c.size, sizeof(d->config) - c.offset));
    vh_reply(d, &m->head, out, (uint32_t)(sizeof(c) + c.size), -1);
}
