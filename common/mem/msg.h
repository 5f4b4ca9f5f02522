/* mem/msg.h - a frame on its way out: head bytes and an optional body, counted.
 *
 * One msg may be queued on many links at once (a write goes to every member) and be kept for
 * resending; each holder has one reference. Immutable once it was given to a link.
 */
#pragma once

#include <stdint.h>

#include "common/mem/buf.h"

struct cw_msg {
    uint32_t refs;
    uint32_t head_len; /* frame header and checksum array, then any small opaque payload */
    uint32_t body_len; /* 0 or the bulk payload */
    uint8_t *head;
    const uint8_t *body; /* inside body_buf, or memory that lives as long as the msg */
    struct cw_buf *head_buf,
        *body_buf; /* what the two lie in; a reference each; body_buf may be NULL */
};

/* A msg with room for head_max bytes of head, one reference. NULL when the budget does not allow.
 */
struct cw_msg *cw_msg_new(struct cw_buf_pool *p, uint32_t head_max);

/* Attaches bulk data: takes over one reference of body_buf. */
void cw_msg_set_body(struct cw_msg *m, struct cw_buf *take_body, const uint8_t *data, uint32_t len);

struct cw_msg *cw_msg_ref(struct cw_msg *m);
void cw_msg_unref(struct cw_msg *m); /* NULL is fine */

static inline uint32_t
cw_msg_bytes(const struct cw_msg *m)
{
    return m->head_len + m->body_len;
}
