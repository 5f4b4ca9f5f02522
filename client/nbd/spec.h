/* nbd/spec.h - numbers of the NBD protocol (fixed newstyle). All integers on the wire are big
 * endian.
 */
#pragma once

#include <stdint.h>
#include <string.h>

#define CW_NBD_MAGIC UINT64_C(0x4e42444d41474943)     /* "NBDMAGIC" */
#define CW_NBD_OPT_MAGIC UINT64_C(0x49484156454f5054) /* "IHAVEOPT" */
#define CW_NBD_REP_MAGIC UINT64_C(0x0003e889045565a9)
#define CW_NBD_REQUEST_MAGIC UINT32_C(0x25609513)
#define CW_NBD_SIMPLE_MAGIC UINT32_C(0x67446698)
#define CW_NBD_STRUCTURED_MAGIC UINT32_C(0x668e33ef)

#define CW_NBD_NAME_MAX 4096u /* of any string */

enum { /* handshake flags, the same bits both ways */
       CW_NBD_FIXED_NEWSTYLE = 1 << 0,
       CW_NBD_NO_ZEROES = 1 << 1,
};

enum {
    CW_NBD_OPT_EXPORT_NAME = 1,
    CW_NBD_OPT_ABORT = 2,
    CW_NBD_OPT_LIST = 3,
    CW_NBD_OPT_STARTTLS = 5,
    CW_NBD_OPT_INFO = 6,
    CW_NBD_OPT_GO = 7,
    CW_NBD_OPT_STRUCTURED_REPLY = 8,
    CW_NBD_OPT_LIST_META_CONTEXT = 9,
    CW_NBD_OPT_SET_META_CONTEXT = 10,
};

#define CW_NBD_REP_ACK UINT32_C(1)
#define CW_NBD_REP_SERVER UINT32_C(2)
#define CW_NBD_REP_INFO UINT32_C(3)
#define CW_NBD_REP_META_CONTEXT UINT32_C(4)
#define CW_NBD_REP_ERR_UNSUP UINT32_C(0x80000001)
#define CW_NBD_REP_ERR_POLICY UINT32_C(0x80000002)
#define CW_NBD_REP_ERR_INVALID UINT32_C(0x80000003)
#define CW_NBD_REP_ERR_PLATFORM UINT32_C(0x80000004)
#define CW_NBD_REP_ERR_UNKNOWN UINT32_C(0x80000006)
#define CW_NBD_REP_ERR_SHUTDOWN UINT32_C(0x80000007)
#define CW_NBD_REP_ERR_TOO_BIG UINT32_C(0x80000009)

enum {
    CW_NBD_INFO_EXPORT = 0,
    CW_NBD_INFO_NAME = 1,
    CW_NBD_INFO_DESCRIPTION = 2,
    CW_NBD_INFO_BLOCK_SIZE = 3,
};

enum { /* transmission flags */
       CW_NBD_HAS_FLAGS = 1 << 0,
       CW_NBD_READ_ONLY = 1 << 1,
       CW_NBD_SEND_FLUSH = 1 << 2,
       CW_NBD_SEND_FUA = 1 << 3,
       CW_NBD_SEND_TRIM = 1 << 5,
       CW_NBD_SEND_WRITE_ZEROES = 1 << 6,
       CW_NBD_SEND_DF = 1 << 7,
       CW_NBD_CAN_MULTI_CONN = 1 << 8,
       CW_NBD_SEND_CACHE = 1 << 10,
       CW_NBD_SEND_FAST_ZERO = 1 << 11,
};

enum {
    CW_NBD_CMD_READ = 0,
    CW_NBD_CMD_WRITE = 1,
    CW_NBD_CMD_DISC = 2,
    CW_NBD_CMD_FLUSH = 3,
    CW_NBD_CMD_TRIM = 4,
    CW_NBD_CMD_CACHE = 5,
    CW_NBD_CMD_WRITE_ZEROES = 6,
    CW_NBD_CMD_BLOCK_STATUS = 7,
};

enum {
    CW_NBD_CMD_FUA = 1 << 0,
    CW_NBD_CMD_NO_HOLE = 1 << 1,
    CW_NBD_CMD_DF = 1 << 2,
    CW_NBD_CMD_REQ_ONE = 1 << 3,
    CW_NBD_CMD_FAST_ZERO = 1 << 4,
};

enum {
    CW_NBD_CHUNK_NONE = 0,
    CW_NBD_CHUNK_DATA = 1,
    CW_NBD_CHUNK_HOLE = 2,
    CW_NBD_CHUNK_BLOCK_STATUS = 5,
    CW_NBD_CHUNK_ERROR = (1 << 15) + 1,
    CW_NBD_CHUNK_ERROR_OFFSET = (1 << 15) + 2,
};
#define CW_NBD_CHUNK_DONE 1 /* flag */

#define CW_NBD_META_ALLOCATION "base:allocation"
enum { /* its states */
       CW_NBD_STATE_HOLE = 1 << 0,
       CW_NBD_STATE_ZERO = 1 << 1,
};

enum {
    CW_NBD_OK = 0,
    CW_NBD_EPERM = 1,
    CW_NBD_EIO = 5,
    CW_NBD_ENOMEM = 12,
    CW_NBD_EINVAL = 22,
    CW_NBD_ENOSPC = 28,
    CW_NBD_EOVERFLOW = 75,
    CW_NBD_ENOTSUP = 95,
    CW_NBD_ESHUTDOWN = 108,
};

#define CW_NBD_GREETING_SIZE 18u
#define CW_NBD_OPT_SIZE 16u /* header of an option */
#define CW_NBD_REP_SIZE 20u
#define CW_NBD_REQUEST_SIZE 28u
#define CW_NBD_SIMPLE_SIZE 16u
#define CW_NBD_CHUNK_SIZE 20u

static inline uint16_t
cw_be16_get(const uint8_t *p)
{
    uint16_t x;

    memcpy(&x, p, sizeof(x));
    return __builtin_bswap16(x);
}

static inline uint32_t
cw_be32_get(const uint8_t *p)
{
    uint32_t x;

    memcpy(&x, p, sizeof(x));
    return __builtin_bswap32(x);
}

static inline uint64_t
cw_be64_get(const uint8_t *p)
{
    uint64_t x;

    memcpy(&x, p, sizeof(x));
    return __builtin_bswap64(x);
}

/* Each returns the first byte after what it wrote. */
static inline uint8_t *
cw_be16_put(uint8_t *p, uint16_t x)
{
    x = __builtin_bswap16(x);
    memcpy(p, &x, sizeof(x));
    return p + sizeof(x);
}

static inline uint8_t *
cw_be32_put(uint8_t *p, uint32_t x)
{
    x = __builtin_bswap32(x);
    memcpy(p, &x, sizeof(x));
    return p + sizeof(x);
}

static inline uint8_t *
cw_be64_put(uint8_t *p, uint64_t x)
{
    x = __builtin_bswap64(x);
    memcpy(p, &x, sizeof(x));
    return p + sizeof(x);
}
