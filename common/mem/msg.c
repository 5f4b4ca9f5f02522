#include "common/mem/msg.h"

#include "common/base/bits.h"

/* The msg itself lies at the start of its head buffer, so that one frame is one allocation. */
#define MSG_ROOM cw_align_up(sizeof(struct cw_msg), 64)

struct cw_msg *
cw_msg_new(struct cw_buf_pool *p, uint32_t head_max)
{
    struct cw_buf *b = cw_buf_get(p, MSG_ROOM + head_max);
    struct cw_msg *m;

    if (b == NULL)
        return NULL;
    m = (struct cw_msg *)(void *)b->data;
    *m = (struct cw_msg){ .refs = 1, .head = b->data + MSG_ROOM, .head_buf = b };
    return m;
}

void
cw_msg_set_body(struct cw_msg *m, struct cw_buf *take_body, const uint8_t *data, uint32_t len)
{
    cw_assert(m->body_buf == NULL && m->body_len == 0);
    m->body_buf = take_body;
    m->body = data;
    m->body_len = len;
}

struct cw_msg *
cw_msg_ref(struct cw_msg *m)
{
    cw_assert(m->refs > 0);
    m->refs++;
    return m;
}

void
cw_msg_unref(struct cw_msg *m)
{
    if (m == NULL)
        return;
    cw_assert(m->refs > 0);
    if (--m->refs > 0)
        return;
    cw_buf_unref(m->body_buf);
    cw_buf_unref(m->head_buf); /* frees m itself */
}
