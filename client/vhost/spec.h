/* vhost/spec.h - numbers and layouts of vhost-user, of virtqueues and of virtio-blk.
 *
 * From QEMU's docs/interop/vhost-user.rst and OASIS virtio 1.2; only what is used here. vhost-user
 * speaks the machine's byte order, virtio little endian: the same on every machine that we run on.
 */
#pragma once

#include <stdint.h>

#include "common/base/assert.h"

/* ---- vhost-user: messages ---- */

enum {
    CW_VU_GET_FEATURES = 1,
    CW_VU_SET_FEATURES = 2,
    CW_VU_SET_OWNER = 3,
    CW_VU_RESET_OWNER = 4,
    CW_VU_SET_MEM_TABLE = 5,
    CW_VU_SET_LOG_BASE = 6,
    CW_VU_SET_LOG_FD = 7,
    CW_VU_SET_VRING_NUM = 8,
    CW_VU_SET_VRING_ADDR = 9,
    CW_VU_SET_VRING_BASE = 10,
    CW_VU_GET_VRING_BASE = 11,
    CW_VU_SET_VRING_KICK = 12,
    CW_VU_SET_VRING_CALL = 13,
    CW_VU_SET_VRING_ERR = 14,
    CW_VU_GET_PROTOCOL_FEATURES = 15,
    CW_VU_SET_PROTOCOL_FEATURES = 16,
    CW_VU_GET_QUEUE_NUM = 17,
    CW_VU_SET_VRING_ENABLE = 18,
    CW_VU_SET_BACKEND_REQ_FD = 21,
    CW_VU_GET_CONFIG = 24,
    CW_VU_SET_CONFIG = 25,
    CW_VU_GET_INFLIGHT_FD = 31,
    CW_VU_SET_INFLIGHT_FD = 32,
    CW_VU_RESET_DEVICE = 34,
    CW_VU_GET_MAX_MEM_SLOTS = 36,
    CW_VU_ADD_MEM_REG = 37,
    CW_VU_REM_MEM_REG = 38,
};

/* From the back end to the front end, on a socket of its own. */
enum { CW_VU_BACKEND_CONFIG_CHANGE = 2 };

#define CW_VU_VERSION 1u
#define CW_VU_VERSION_MASK 3u
#define CW_VU_REPLY (1u << 2)
#define CW_VU_NEED_REPLY (1u << 3)

#define CW_VU_F_LOG_ALL 26 /* a bit among the virtio features: log what is written, as is this */
#define CW_VU_F_PROTOCOL_FEATURES 30

enum {
    CW_VU_PF_MQ = 0,
    CW_VU_PF_LOG_SHMFD = 1,
    CW_VU_PF_REPLY_ACK = 3,
    CW_VU_PF_BACKEND_REQ = 5,
    CW_VU_PF_CONFIG = 9,
    CW_VU_PF_INFLIGHT_SHMFD = 12,
    CW_VU_PF_RESET_DEVICE = 13,
    CW_VU_PF_CONFIGURE_MEM_SLOTS = 15,
};

#define CW_VU_NO_FD (1u << 8) /* SET_VRING_KICK, _CALL, _ERR: beside the index */
#define CW_VU_INDEX_MASK 0xffu

struct cw_vu_header {
    uint32_t request, flags;
    uint32_t size; /* of the payload */
};
CW_STATIC_ASSERT(sizeof(struct cw_vu_header) == 12);

struct cw_vu_state {
    uint32_t index, num;
};
CW_STATIC_ASSERT(sizeof(struct cw_vu_state) == 8);

struct cw_vu_addr {
    uint32_t index, flags;
    uint64_t desc, used, avail, log; /* addresses in the front end's own memory */
};
CW_STATIC_ASSERT(sizeof(struct cw_vu_addr) == 40);

#define CW_VU_ADDR_LOG 1u /* cw_vu_addr.flags: log what is written to this ring */

/* A bit for each page of the guest's, by its address; a byte has the eight of lower ones first. */
struct cw_vu_log {
    uint64_t mmap_size, mmap_offset;
};
CW_STATIC_ASSERT(sizeof(struct cw_vu_log) == 16);
#define CW_VU_LOG_PAGE 4096u

struct cw_vu_region {
    uint64_t guest_addr, size, user_addr, mmap_offset;
};
CW_STATIC_ASSERT(sizeof(struct cw_vu_region) == 32);

#define CW_VU_TABLE_REGIONS 8u /* SET_MEM_TABLE has no room for more */

struct cw_vu_table {
    uint32_t n_regions, padding;
    struct cw_vu_region region[CW_VU_TABLE_REGIONS];
};
CW_STATIC_ASSERT(sizeof(struct cw_vu_table) == 264);

struct cw_vu_one_region {
    uint64_t padding;
    struct cw_vu_region region;
};
CW_STATIC_ASSERT(sizeof(struct cw_vu_one_region) == 40);

struct cw_vu_config {
    uint32_t offset, size, flags; /* followed by size bytes */
};
CW_STATIC_ASSERT(sizeof(struct cw_vu_config) == 12);

struct cw_vu_inflight {
    uint64_t mmap_size, mmap_offset;
    uint16_t n_queues, queue_size;
    uint32_t padding; /* of the C structure; some front ends leave it out */
};
CW_STATIC_ASSERT(sizeof(struct cw_vu_inflight) == 24);
#define CW_VU_INFLIGHT_MIN 20u

/* ---- vhost-user: the area of what is in flight ---- */

struct cw_vu_split_desc {
    uint8_t inflight, padding[5];
    uint16_t next;
    uint64_t counter;
};
CW_STATIC_ASSERT(sizeof(struct cw_vu_split_desc) == 16);

struct cw_vu_split_region {
    uint64_t features;
    uint16_t version; /* 0: fresh, 1 */
    uint16_t n_desc, last_batch_head, used_idx;
    struct cw_vu_split_desc desc[];
};
CW_STATIC_ASSERT(sizeof(struct cw_vu_split_region) == 16);

/* Of packed virtqueues the document says what it "can" be; this is ours (packed.c). A chain lies in
 * entries linked by next, its head has inflight and counts them. */
struct cw_vu_packed_desc {
    uint8_t inflight, padding;
    uint16_t next, num, id; /* num, id: of a head */
    uint64_t counter;
    uint64_t addr;
    uint32_t len;
    uint16_t flags, padding2;
};
CW_STATIC_ASSERT(sizeof(struct cw_vu_packed_desc) == 32);

struct cw_vu_packed_region {
    uint64_t features;
    uint16_t version; /* 0: fresh, 1 */
    uint16_t n_desc, padding[2];
    uint64_t state; /* bits 0-14 where the next used entry goes, 15 its wrap counter, 16-31 1 + the
                     * head that is being given back there; changes as one */
    uint64_t padding2;
    struct cw_vu_packed_desc desc[];
};
CW_STATIC_ASSERT(sizeof(struct cw_vu_packed_region) == 32);

/* ---- virtqueues ---- */

enum {
    CW_VIRTIO_F_INDIRECT_DESC = 28,
    CW_VIRTIO_F_EVENT_IDX = 29,
    CW_VIRTIO_F_VERSION_1 = 32,
    CW_VIRTIO_F_RING_PACKED = 34,
};

#define CW_VIRTQ_NEXT 1u
#define CW_VIRTQ_WRITE 2u /* the device writes into it */
#define CW_VIRTQ_INDIRECT 4u
#define CW_VIRTQ_NO_INTERRUPT 1u /* in avail->flags */

struct cw_virtq_desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};
CW_STATIC_ASSERT(sizeof(struct cw_virtq_desc) == 16);

struct cw_virtq_avail {
    uint16_t flags, idx;
    uint16_t ring[]; /* behind its end: used_event */
};

struct cw_virtq_used_elem {
    uint32_t id, len;
};

struct cw_virtq_used {
    uint16_t flags, idx;
    struct cw_virtq_used_elem ring[]; /* behind its end: avail_event */
};

#define CW_PACKED_AVAIL (1u << 7)
#define CW_PACKED_USED (1u << 15)

struct cw_packed_desc {
    uint64_t addr;
    uint32_t len;
    uint16_t id, flags;
};
CW_STATIC_ASSERT(sizeof(struct cw_packed_desc) == 16);

struct cw_packed_event {
    uint16_t off_wrap; /* bit 15: the wrap counter */
    uint16_t flags;
};
enum { CW_PACKED_EVENT_ENABLE, CW_PACKED_EVENT_DISABLE, CW_PACKED_EVENT_DESC };

/* ---- virtio-blk ---- */

enum {
    CW_BLK_F_SIZE_MAX = 1,
    CW_BLK_F_SEG_MAX = 2,
    CW_BLK_F_RO = 5,
    CW_BLK_F_BLK_SIZE = 6,
    CW_BLK_F_FLUSH = 9,
    CW_BLK_F_TOPOLOGY = 10,
    CW_BLK_F_MQ = 12,
    CW_BLK_F_DISCARD = 13,
    CW_BLK_F_WRITE_ZEROES = 14,
};

enum {
    CW_BLK_T_IN = 0,
    CW_BLK_T_OUT = 1,
    CW_BLK_T_FLUSH = 4,
    CW_BLK_T_GET_ID = 8,
    CW_BLK_T_DISCARD = 11,
    CW_BLK_T_WRITE_ZEROES = 13,
};

enum { CW_BLK_S_OK, CW_BLK_S_IOERR, CW_BLK_S_UNSUPP };

#define CW_BLK_SECTOR 512u
#define CW_BLK_ID_SIZE 20u

struct cw_blk_header {
    uint32_t type, reserved;
    uint64_t sector;
};
CW_STATIC_ASSERT(sizeof(struct cw_blk_header) == 16);

#define CW_BLK_UNMAP 1u /* of a WRITE_ZEROES range */

struct cw_blk_range {
    uint64_t sector;
    uint32_t n_sectors, flags;
};
CW_STATIC_ASSERT(sizeof(struct cw_blk_range) == 16);

struct cw_blk_config {
    uint64_t capacity; /* sectors */
    uint32_t size_max, seg_max;
    uint16_t cylinders;
    uint8_t heads, sectors;
    uint32_t blk_size;
    uint8_t physical_block_exp, alignment_offset;
    uint16_t min_io_size;
    uint32_t opt_io_size;
    uint8_t writeback, unused0;
    uint16_t num_queues;
    uint32_t max_discard_sectors, max_discard_seg, discard_sector_alignment;
    uint32_t max_write_zeroes_sectors, max_write_zeroes_seg;
    uint8_t write_zeroes_may_unmap, unused1[3];
};
CW_STATIC_ASSERT(sizeof(struct cw_blk_config) == 64);
CW_AT(struct cw_blk_config, blk_size, 20);
CW_AT(struct cw_blk_config, writeback, 32);
CW_AT(struct cw_blk_config, num_queues, 34);
CW_AT(struct cw_blk_config, max_discard_sectors, 36);
CW_AT(struct cw_blk_config, write_zeroes_may_unmap, 56);
