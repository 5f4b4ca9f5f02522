/* store/log.h - records, and the batches that carry them.
 * The store's own: its files include store-internal.h.
 */
#pragma once

#include "daemon/store/segment.h"

#define STORE_SEQ_MAX (UINT64_C(1) << 62)  /* of batches, segments ..: no store comes so far */
#define STORE_SEQ_ROOM (UINT64_C(1) << 48) /* before it; what is opened must be able to go on */
#define STORE_HOT_IN_FLIGHT 4u
#define STORE_BG_IN_FLIGHT 2u
#define STORE_HOT_BATCHES 10u /* open, ready and in flight together */
#define STORE_BATCH_IOV 64u
#define STORE_NOTE_NS (100 * CW_NS_PER_MS)

/* ---- records (record.c) ---- */

struct rec_view {
    struct cw_rec_desc d;
    const uint64_t *csums;
    uint32_t n_csums;
    const uint8_t *body;
    uint32_t n_payload; /* blocks it has in the payload */
    uint32_t n_runs;    /* comp: how they lie; else 0 */
    const uint8_t *runs;
    uint32_t payload_sectors;
    const uint8_t *next;
};

/* Places of the blocks of a record that have payload, one after another. */
struct rec_places {
    const struct rec_view *v;
    uint32_t seg, off512; /* of the run */
    uint32_t run, idx;    /* next */
};
struct rec_places record_places(const struct rec_view *v, uint32_t seg, uint32_t payload_off);
uint64_t record_place_next(struct rec_places *p);
struct cw_rec_run record_run(const struct rec_view *v, uint32_t i);

/* False: not a record of this format. end - at is what is left of the header area. */
bool record_parse(const uint8_t *at, const uint8_t *end, uint32_t payload_bytes,
                  struct rec_view *ret);
/* Parses all nrec; false if any is not right. ret_used: header plus records. */
bool record_check_all(const struct cw_batch_hdr *h, const uint8_t *hdr, uint32_t avail,
                      uint32_t *ret_used);
/* A block whose checksum says zeroes and that has no payload for it? */
bool record_left_out(const struct rec_view *v, uint32_t i);
uint32_t record_chunk_count(uint64_t lba, uint32_t nblk);

/* ---- batches (batch.c) ---- */

enum batch_state { BATCH_IDLE, BATCH_OPEN, BATCH_READY, BATCH_IN_FLIGHT, BATCH_DURABLE };

struct batch {
    struct cw_list link; /* s->batches in batch order, s->ready, s->spare */
    enum batch_state state;
    uint8_t cls;
    bool urgent; /* gives space back or must not wait: may use the reserve */
    bool failed_once;
    bool written; /* once at least: its place in the chain is fixed */
    bool opens;   /* carries its segment's header */
    bool lost;    /* in flight into a segment whose header failed */
    uint32_t nrec, used, payload_bytes;
    uint32_t hdr_bytes;
    uint32_t n_iov; /* iov[0] is the header */
    uint32_t touches, blocks;
    uint32_t seg, off;
    uint64_t seq;
    uint8_t *mem; /* room for a segment header, then the header area */
    uint8_t *hdr;
    struct iovec iov[STORE_BATCH_IOV];
    struct cw_buf *bufs[STORE_BATCH_IOV];
    struct cw_buf *own; /* where payload is copied to, from own_at on */
    uint32_t own_at;
    struct cw_list tickets, repairs;
    struct store_io io;
};

/* A batch of that class with room for a record of hdr_len and up to n_blocks of payload in pieces;
 * NULL: no buffer now. */
struct batch *batch_room(struct cw_store *s, uint8_t cls, uint32_t hdr_len, uint32_t n_blocks,
                         uint32_t pieces);
/* Appends descriptor, csums and body; the payload must have been added before. */
struct rec_out {
    struct cw_rec_desc d;
    const uint64_t *csums;
    uint32_t n_csums;
    const void *body;
};
uint32_t batch_rec_len(const struct rec_out *r);
void batch_add(struct batch *b, const struct rec_out *r);
/* After batch_reserve for at least so many in all. */
void batch_payload(struct batch *b, const uint8_t *data, uint32_t n_blocks, struct cw_buf *ref);
/* The same for blocks that were put at batch_own_at: after batch_reserve. */
uint8_t *batch_own_at(struct batch *b);
void batch_payload_own(struct batch *b, uint32_t n_blocks);
bool batch_reserve(struct cw_store *s, struct batch *b, uint32_t n_blocks);
/* Submits what is ready, and the open batch too. */
void batch_submit_class(struct cw_store *s, uint8_t cls, bool open_too);
void batch_fail_all(struct cw_store *s);
uint64_t batch_chain(uint64_t seq, const uint8_t *hdr, uint32_t used);
/* Applies what is durable, in order. */
void batch_release(struct cw_store *s);
bool batch_idle(const struct cw_store *s);
void batch_free_all(struct cw_store *s);
void batch_ticket(struct cw_store *s, struct batch *b, struct cw_store_ticket *t);
/* A record without payload that always finds a place, in order; t may be NULL. */
void batch_control(struct cw_store *s, const struct rec_out *r, struct cw_store_ticket *t);
void batch_control_flush(struct cw_store *s);
