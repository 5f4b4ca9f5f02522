/* nbd/conn.h - the inside of a connection, shared by the files of the state machine. */
#pragma once

#include "client/nbd/proto.h"

enum nbd_phase {
    NBD_CLIENT_FLAGS, /* 4 bytes */
    NBD_OPT_HEAD,
    NBD_OPT_DATA,
    NBD_OPT_SKIP,
    NBD_OPT_WAIT, /* list, info or attach is under way */
    NBD_REQUEST,  /* header of a request */
    NBD_PAYLOAD,  /* of a write, into a piece */
    NBD_SKIP,     /* payload of a write that was refused */
    NBD_CLOSING,  /* nothing more is read; what is owed is sent */
    NBD_DEAD,     /* the socket is gone */
};

struct nbd_req;

#define NBD_STATUS_RUNS_MAX 128u

/* What a BLOCK_STATUS has found: runs from the request's offset on, neighbours differ. */
struct nbd_status {
    uint64_t data_bytes; /* of runs that are not holes */
    uint32_t n;
    struct nbd_run {
        uint32_t len, state; /* bytes; CW_NBD_STATE_.. */
    } runs[NBD_STATUS_RUNS_MAX];
};

/* A part of a request, as the owner gets it. */
struct nbd_piece {
    struct cw_io io;
    struct nbd_req *req;
    struct cw_list link; /* req->pieces */
    struct cw_buf *buf;  /* READ: where iov points; WRITE: until it is submitted */
    struct iovec iov;
    uint32_t len; /* of data; 0: TRIM, ZERO, FLUSH */

    const uint8_t *data;
};

/* A request that was taken and not answered yet. */
struct nbd_req {
    struct cw_list link; /* conn->reqs */
    struct cw_list todo; /* conn->todo */
    struct cw_nbd_conn *conn;
    struct cw_list pieces; /* READ that answers in one piece: kept until all have landed */
    uint64_t cookie, off;
    uint32_t len;
    uint16_t type, flags;
    uint32_t cut;              /* bytes of it that are handed on, or refused */
    uint32_t n_flying;         /* pieces at the owner */
    uint32_t error;            /* the first; CW_NBD_E.. */
    struct nbd_status *status; /* BLOCK_STATUS, else NULL */
    bool whole;                /* READ: one content chunk, or a simple reply */
    bool whole_token;          /* counts in shared->n_whole */
    bool flushing;             /* FUA: the data is written, the flush is under way */
};

struct cw_nbd_conn {
    struct cw_nbd_shared *shared;
    const struct cw_nbd_ops *ops;
    void *user;
    enum nbd_phase phase;
    bool fixed, no_zeroes, structured, shutting_down, negotiated, waiting;
    bool broken; /* hang up without another word */

    /* options */
    uint32_t opt, opt_len;
    uint32_t skip;      /* bytes of the client still to be ignored */
    uint16_t opt_infos; /* bit per CW_NBD_INFO_* asked for */
    uint32_t got, need; /* bytes of the current head or option data */
    uint8_t in[CW_NBD_OPT_DATA_MAX];
    char name[CW_NBD_NAME_MAX + 1];
    bool allocation; /* base:allocation was selected, for the export meta_name */
    char meta_name[CW_NBD_NAME_MAX + 1];

    /* transmission */
    uint64_t size;
    uint64_t held_bytes; /* data of pieces, from their start until their answer is queued */
    uint32_t n_reqs, n_ios;
    struct cw_list reqs;       /* all of them */
    struct cw_list todo;       /* READs, BLOCK_STATUSes with pieces still to be handed on */
    struct nbd_req *writing;   /* NBD_PAYLOAD */
    struct nbd_piece *filling; /* its present piece; NULL: waits for memory */
    uint32_t filled;

    struct cw_nbd_train *train; /* open */
};

/* ---- reply.c ---- */

/* The client broke the protocol, or there is no memory for a reply: hang up as it is. */
void nbd_break(struct cw_nbd_conn *c, const char *why);

uint64_t nbd_unsent(const struct cw_nbd_conn *c);

/* Appends to the open train. */
void nbd_put(struct cw_nbd_conn *c, const void *bytes, uint32_t len);
/* A head, then data inside buf (one more reference is taken). */
void nbd_put_body(struct cw_nbd_conn *c, const void *head, uint32_t head_len, struct cw_buf *buf,
                  const uint8_t *data, uint32_t len);

/* The answer of a request without content. */
void nbd_put_result(struct cw_nbd_conn *c, const struct nbd_req *r, uint32_t error);
/* ERROR_OFFSET: so far and no further. */
void nbd_put_error_at(struct cw_nbd_conn *c, const struct nbd_req *r, uint16_t flags,
                      uint32_t error, uint64_t off);
/* Content of one landed piece: data and hole chunks; flags go on the last. */
void nbd_put_content(struct cw_nbd_conn *c, const struct nbd_req *r, const struct nbd_piece *p,
                     uint16_t flags);
/* The whole answer of a READ with `whole`. */
void nbd_put_whole(struct cw_nbd_conn *c, struct nbd_req *r);
uint32_t nbd_error_of(int res);

/* Adds the runs of a landed piece, which lies behind what is in st. There is room for them if at
 * most half of st is in use. */
void nbd_status_note(struct nbd_status *st, const struct nbd_piece *p);
/* The first n runs of r->status. */
void nbd_put_status(struct cw_nbd_conn *c, const struct nbd_req *r, uint32_t n);

/* ---- option.c ---- */

void nbd_greet(struct cw_nbd_conn *c);
void nbd_client_flags(struct cw_nbd_conn *c);
void nbd_option_head(struct cw_nbd_conn *c);
void nbd_option_data(struct cw_nbd_conn *c);
void nbd_option_skipped(struct cw_nbd_conn *c);

/* ---- request.c ---- */

void nbd_request(struct cw_nbd_conn *c);
/* Gets memory for the next piece of the write under way. */
void nbd_write_next(struct cw_nbd_conn *c);
void nbd_write_filled(struct cw_nbd_conn *c, uint32_t len);
/* Hands on what the limits allow. */
void nbd_todo(struct cw_nbd_conn *c);
bool nbd_may_take(const struct cw_nbd_conn *c);
void nbd_drop_unsubmitted(struct cw_nbd_conn *c);

/* Collect so many bytes next. */
static inline void
nbd_expect(struct cw_nbd_conn *c, enum nbd_phase phase, uint32_t need)
{
    c->phase = phase;
    c->got = 0;
    c->need = need;
}
