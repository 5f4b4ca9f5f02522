/* sim/net.c - connections that delay, stall, cut and are refused.
 *
 * Inside a connection order is kept, as TCP does. A partition stalls frames; they arrive after it
 * heals, however old they are, unless the connection was cut meanwhile. A break delivers any prefix
 * of what is under way, and the two ends learn of it at different times.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "common/codec/frame.h"
#include "tests/sim/sim.h"

struct sim_bytes {
    struct cw_list node;
    uint64_t due_ns;
    uint32_t len;
    uint64_t at[]; /* header, array, payload */
};

bool
sim_net_blocked(const struct sim *sim, const struct sim_proc *from, const struct sim_proc *to)
{
    return sim->blocked[from->index][to->index];
}

void
sim_set_lag(struct sim *sim, uint32_t to, uint64_t ns)
{
    for (uint32_t from = 0; from < SIM_PROCS_MAX; from++)
        sim->lag_ns[from][to] = ns;
}

static uint64_t
net_latency(struct sim *sim)
{
    uint64_t ns = sim->latency_ns + cw_prng_below(&sim->rnd_net, sim->jitter_ns + 1);

    if (cw_prng_below(&sim->rnd_net, 200) == 0) /* heavy tail */
        ns += cw_prng_below(&sim->rnd_net, sim->tail_ns + 1);
    return ns;
}

static struct sim_end *
end_of(struct cw_link *l)
{
    return cw_container_of(l, struct sim_end, link);
}

static struct sim_end *
end_other(struct sim_end *e)
{
    return &e->conn->end[e == &e->conn->end[0]];
}

static bool
end_is_alive(const struct sim_end *e)
{
    return e->open && e->proc->up && e->proc->life == e->life;
}

static void
end_drop_frames(struct sim_end *e)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(&e->frames)) != NULL)
        free(cw_list_entry(node, struct sim_bytes, node));
    cw_timerheap_cancel(&e->conn->sim->heap, &e->timer);
}

static void
conn_maybe_free(struct sim_conn *c)
{
    if (end_is_alive(&c->end[0]) || end_is_alive(&c->end[1]))
        return;
    for (int i = 0; i < 2; i++) {
        end_drop_frames(&c->end[i]);
        cw_timerheap_cancel(&c->sim->heap, &c->end[i].down);
    }
    cw_list_remove(&c->node);
    free(c);
}

static void
end_on_down(struct cw_timer *t)
{
    struct sim_end *e = cw_container_of(t, struct sim_end, down);
    struct sim_conn *c = e->conn;
    struct sim *sim = c->sim;

    if (end_is_alive(e)) {
        if (e->proc->paused) {
            cw_timerheap_set(&sim->heap, t, sim->now_ns + CW_NS_PER_MS);
            return;
        }
        end_drop_frames(e);
        e->open = false;
        sim_control_closed(sim, e->proc);
        e->link.ev->on_down(&e->link, -ECONNRESET);
        sim_proc_touch(e->proc);
    }
    conn_maybe_free(c);
}

static void
end_fall(struct sim_end *e, uint64_t after_ns)
{
    if (e->falling)
        return;
    e->falling = true;
    sim_unwell(e->conn->sim, after_ns + CW_NS_PER_S);
    cw_timerheap_set(&e->conn->sim->heap, &e->down, e->conn->sim->now_ns + after_ns);
}

/* The far end of a dead or closed one learns of it after a while; behind a partition, later. */
static uint64_t
fall_delay(struct sim_end *e)
{
    struct sim *sim = e->conn->sim;

    if (sim_net_blocked(sim, end_other(e)->proc, e->proc))
        return sim_between(&sim->rnd_net, CW_NS_PER_S, 12 * CW_NS_PER_S);
    if (cw_prng_below(&sim->rnd_net, 10) == 0)
        return sim_between(&sim->rnd_net, 0, 2 * CW_NS_PER_S);
    return net_latency(sim);
}

static void
conn_break(struct sim_conn *c, struct sim_end *by)
{
    c->broken = true;
    for (int i = 0; i < 2; i++)
        end_fall(&c->end[i], &c->end[i] == by ? 0 : fall_delay(&c->end[i]));
}

void
sim_net_cut(struct sim_conn *c)
{
    if (!c->broken)
        conn_break(c, &c->end[cw_prng_below(&c->sim->rnd_net, 2)]);
}

void
sim_net_abandon(struct sim *sim, struct sim_proc *from, struct sim_proc *to, uint64_t for_ns)
{
    CW_LIST_EACH (it, &sim->conns) {
        struct sim_conn *c = cw_list_entry(it, struct sim_conn, node);
        struct sim_end *far = &c->end[c->end[1].proc == to];

        if (c->broken || far->proc != to || end_other(far)->proc != from)
            continue;
        c->broken = true;
        far->stalled_ns = sim->now_ns + for_ns;
        end_fall(end_other(far), 0);
        end_fall(far, for_ns + 100 * CW_NS_PER_MS);
    }
}

void
sim_net_half_open(struct sim_conn *c)
{
    struct cw_prng *p = &c->sim->rnd_fault;
    uint32_t gone = (uint32_t)cw_prng_below(p, 2);

    if (c->broken)
        return;
    c->broken = true;
    end_fall(&c->end[gone], 0);
    if (sim_chance(p, 50)) /* of what is under way nothing arrives */
        end_drop_frames(&c->end[1 - gone]);
    end_fall(&c->end[1 - gone], sim_between(p, 2 * CW_NS_PER_S, 15 * CW_NS_PER_S));
}

void
sim_net_proc_died(struct sim_proc *p)
{
    struct sim *sim = p->sim;

    CW_LIST_EACH_SAFE (it, &sim->conns) {
        struct sim_conn *c = cw_list_entry(it, struct sim_conn, node);

        for (int i = 0; i < 2; i++) {
            struct sim_end *e = &c->end[i];

            if (e->proc != p || !e->open)
                continue;
            e->open = false;
            end_drop_frames(e);
            c->broken = true;
            end_fall(end_other(e), fall_delay(end_other(e)));
        }
    }
}

/* ---- frames ---- */

/* In the order of their times, those sent first first. */
static void
end_queue(struct sim_end *to, struct sim_bytes *b)
{
    struct cw_list *after = to->frames.prev;

    while (after != &to->frames && cw_list_entry(after, struct sim_bytes, node)->due_ns > b->due_ns)
        after = after->prev;
    cw_list_push_front(after, &b->node);
    if (after == &to->frames && to->ready)
        cw_timerheap_set(&to->conn->sim->heap, &to->timer, b->due_ns);
}

/* When the last byte of it arrives. What goes to one process shares its wire. */
static uint64_t
frame_due(struct sim_end *to, uint32_t len)
{
    struct sim *sim = to->conn->sim;
    uint32_t at = to->proc->index;
    uint64_t rate =
        sim->clog_bytes_per_s[at] != 0 ? sim->clog_bytes_per_s[at] : sim->bytes_per_s[at];
    uint64_t sent_ns = sim->now_ns;

    if (rate != 0)
        sim->wire_ns[at] = sent_ns =
            cw_max_u64(sim->wire_ns[at], sim->now_ns) + len * CW_NS_PER_S / rate;
    return cw_max_u64(to->last_ns,
                      sent_ns + net_latency(sim) + sim->lag_ns[end_other(to)->proc->index][at]);
}

/* Only what a correct peer takes at any time and in any number: the stream and its acks. What TCP
 * itself has to promise (HB_ACK after SEALED, one answer to a call) is left alone. */
static bool
frame_may_be_raw(const struct sim_bytes *b)
{
    const struct cw_wire_hdr *h = (const struct cw_wire_hdr *)(const void *)b->at;

    return h->type == CW_FT_WRITE || h->type == CW_FT_ZERO || h->type == CW_FT_TRIM ||
           h->type == CW_FT_ACK;
}

/* Lost, doubled or late. False: it was lost. */
static bool
frame_go_raw(struct sim_end *to, struct sim_bytes *b)
{
    struct cw_prng *p = &to->conn->sim->rnd_net;
    struct sim_bytes *again;

    sim_mark(to->conn->sim, SIM_MARK_RAW);
    switch (cw_prng_below(p, 3)) {
    case 0:
        free(b);
        return false;
    case 1:
        again = malloc(sizeof(*b) + b->len);
        cw_assert(again != NULL);
        memcpy(again, b, sizeof(*b) + b->len);
        again->due_ns += cw_prng_below(p, 20 * CW_NS_PER_MS);
        end_queue(to, again);
        return true;
    default:
        b->due_ns += cw_prng_below(p, 20 * CW_NS_PER_MS);
        return true;
    }
}

static void
end_send(struct cw_link *l, struct cw_msg *take_msg)
{
    struct sim_end *e = end_of(l), *to = end_other(e);
    struct sim *sim = e->conn->sim;
    struct sim_bytes *b;
    uint32_t len = cw_msg_bytes(take_msg);

    if (e->conn->broken || !e->open) {
        cw_msg_unref(take_msg);
        return;
    }
    b = malloc(sizeof(*b) + len);
    cw_assert(b != NULL);
    memcpy(b->at, take_msg->head, take_msg->head_len);
    if (take_msg->body_len > 0)
        memcpy((uint8_t *)b->at + take_msg->head_len, take_msg->body, take_msg->body_len);
    cw_msg_unref(take_msg);
    b->len = len;
    b->due_ns = to->last_ns = frame_due(to, len);
    if (sim->raw_65536ths > 0 && frame_may_be_raw(b) &&
        cw_prng_below(&sim->rnd_net, 65536) < sim->raw_65536ths && !frame_go_raw(to, b))
        return;
    end_queue(to, b);
}

static void
end_close(struct cw_link *l)
{
    struct sim_end *e = end_of(l);

    if (!e->conn->broken)
        conn_break(e->conn, e);
}

static const struct cw_link_ops end_ops = { .send = end_send, .close = end_close };

static void
frame_marks(struct sim *sim, const struct cw_wire_hdr *h, const void *data)
{
    if (h->type == CW_FT_REPAIR_APPEND)
        sim_mark(sim, SIM_MARK_EQUALISE);
    else if (h->type == CW_FT_READ_ERR)
        sim_mark(sim, SIM_MARK_READ_ERR);
    else if (h->type == CW_FT_BLOCK_REPAIR_OK && cw_hdr_nblk(h) > 0)
        sim_mark(sim, SIM_MARK_REPAIR);
    else if (h->type == CW_FT_NACK && *(const uint32_t *)data == CW_NACK_SEQ_GAP)
        sim_mark(sim, SIM_MARK_GAP);
}

static void
frame_trace(struct sim_end *e, const struct cw_frame *f)
{
    const struct cw_wire_hdr *h = f->hdr;
    uint32_t code = h->type == CW_FT_NACK || h->type == CW_FT_READ_ERR
                        ? *(const uint32_t *)(const void *)f->data
                        : 0;

    if (e->conn->sim->opts.trace && h->type != CW_FT_HEARTBEAT && h->type != CW_FT_HB_ACK)
        sim_log(e->conn->sim, "%s > %s %s gen %u cfg %u seq %llu lba %llu+%u tag %u st %llu c %u",
                end_other(e)->proc->name, e->proc->name, cw_frame_type_name(h->type), h->gen,
                h->cfg, (unsigned long long)h->seq, (unsigned long long)cw_hdr_lba(h),
                cw_hdr_nblk(h), h->tag, (unsigned long long)h->stable, code);
}

/* A bit of a frame turns on its way, anywhere but in the data of blocks (which who uses them
 * hashes). The receiver must find out, and takes the connection for broken as the reactor's links
 * do. */
static bool
frame_is_damaged(struct sim_end *e, struct sim_bytes *b)
{
    struct sim *sim = e->conn->sim;
    struct cw_wire_hdr *h = (struct cw_wire_hdr *)(void *)b->at;
    const uint64_t *csums = b->at + sizeof(*h) / 8;
    size_t whole = b->len - ((h->flags & CW_F_DATA) ? h->payload_len : 0);
    uint8_t *byte;

    if (sim->flip_65536ths == 0 || cw_prng_below(&sim->rnd_stop, 8 * 65536) >= sim->flip_65536ths)
        return false;
    byte = (uint8_t *)b->at + cw_prng_below(&sim->rnd_stop, whole);
    *byte ^= (uint8_t)(1u << cw_prng_below(&sim->rnd_stop, 8));
    if (cw_frame_check_hdr(h) == 0 &&
        sizeof(*h) + cw_hdr_n_csums(h) * sizeof(*csums) + h->payload_len == b->len &&
        cw_frame_check_csums(h, csums) == 0 &&
        cw_frame_check_opaque(h, csums, csums + cw_hdr_n_csums(h)) == 0)
        sim_fail(sim, "frames: a bit turned in a %s, and it passes all checks",
                 cw_frame_type_name(h->type));
    sim_mark(sim, SIM_MARK_FRAME_FLIP);
    return true;
}

/* The data half the time in a buffer of the receiver, half the time somewhere. 0 or -ENOMEM. */
static int
end_deliver(struct sim_end *e, struct sim_bytes *b)
{
    const struct cw_wire_hdr *h = (const struct cw_wire_hdr *)(const void *)b->at;
    struct cw_frame f = { .hdr = h, .csums = b->at + sizeof(*h) / 8 };
    struct sim *sim = e->conn->sim;

    cw_assert(cw_frame_check_hdr(h) == 0 && cw_frame_check_csums(h, f.csums) == 0);
    f.n_csums = cw_hdr_n_csums(h);
    f.data_len = h->payload_len;
    f.data = (const uint8_t *)(f.csums + f.n_csums);
    cw_assert(b->len == sizeof(*h) + f.n_csums * 8 + f.data_len);
    cw_assert(cw_frame_check_opaque(h, f.csums, f.data) == 0);
    if ((h->flags & CW_F_DATA) && cw_prng_below(&sim->rnd_net, 2) == 0) {
        f.buf = cw_buf_get(e->pool, f.data_len);
        if (f.buf == NULL)
            return -ENOMEM;
        memcpy(f.buf->data, f.data, f.data_len);
        f.data = f.buf->data;
    }
    if ((h->flags & CW_F_DATA) && cw_prng_below(&sim->rnd_net, 65536) < sim->flip_65536ths) {
        uint8_t *byte = (uint8_t *)b->at + b->len - 1 - cw_prng_below(&sim->rnd_net, f.data_len);

        *byte ^= (uint8_t)(1u << cw_prng_below(&sim->rnd_net, 8));
        sim_mark(sim, SIM_MARK_FLIP);
        if (f.buf != NULL)
            memcpy(f.buf->data, b->at + sizeof(*h) / 8 + f.n_csums, f.data_len);
    }
    frame_marks(sim, h, f.data);
    frame_trace(e, &f);
    if (h->type == CW_FT_NACK && h->tag == 0 && *(const uint32_t *)f.data == CW_NACK_NO_SPACE)
        sim_watch_no_space(sim, end_other(e)->proc, h->shard);
    sim_ambush_frame(sim, end_other(e)->proc, e->proc, h->type);
    if (h->type == CW_FT_SEAL && (h->flags & CW_F_CREATE))
        sim_watch_creates(sim, e->proc, h);
    if (sim->on_frame != NULL)
        sim->on_frame(e, h);
    e->link.ev->on_frame(&e->link, &f);
    cw_buf_unref(f.buf);
    return 0;
}

static void
end_on_timer(struct cw_timer *t)
{
    struct sim_end *e = cw_container_of(t, struct sim_end, timer);
    struct sim *sim = e->conn->sim;
    struct sim_bytes *b = cw_list_first(&e->frames, struct sim_bytes, node);

    if (b == NULL || !end_is_alive(e))
        return;
    if (e->proc->paused || sim_net_blocked(sim, end_other(e)->proc, e->proc)) {
        cw_timerheap_set(&sim->heap, t, sim->now_ns + 2 * CW_NS_PER_MS);
        return;
    }
    if (sim->now_ns < e->stalled_ns) {
        cw_timerheap_set(&sim->heap, t, e->stalled_ns);
        return;
    }
    if (frame_is_damaged(e, b)) {
        sim_net_cut(e->conn);
        return;
    }
    if (end_deliver(e, b) != 0) {
        cw_timerheap_set(&sim->heap, t, sim->now_ns + CW_NS_PER_MS);
        return;
    }
    sim_proc_touch(e->proc);
    cw_list_remove(&b->node);
    free(b);
    b = cw_list_first(&e->frames, struct sim_bytes, node);
    if (b != NULL)
        cw_timerheap_set(&sim->heap, t, cw_max_u64(b->due_ns, sim->now_ns));
}

/* ---- connecting ---- */

static void
end_init(struct sim_conn *c, int i, struct sim_proc *p, struct cw_buf_pool *pool)
{
    struct sim_end *e = &c->end[i];

    e->link.ops = &end_ops;
    e->conn = c;
    e->proc = p;
    e->life = p->life;
    e->pool = pool;
    e->timer.fn = end_on_timer;
    e->down.fn = end_on_down;
    cw_list_init(&e->frames);
}

static void
end_ready(struct sim_end *e)
{
    struct sim_bytes *b = cw_list_first(&e->frames, struct sim_bytes, node);

    e->ready = true;
    if (b != NULL)
        cw_timerheap_set(&e->conn->sim->heap, &e->timer,
                         cw_max_u64(b->due_ns, e->conn->sim->now_ns));
}

static void
dial_again(struct sim_dial *d, uint64_t after_ns)
{
    struct sim_dial *copy = malloc(sizeof(*copy));

    cw_assert(copy != NULL);
    *copy = *d;
    cw_list_init(&copy->task.node);
    sim_after(d->task.sim, &copy->task, after_ns, d->task.fn);
}

static void
dial_connect(struct sim_dial *d)
{
    struct sim *sim = d->task.sim;
    struct sim_conn *c = calloc(1, sizeof(*c));

    cw_assert(c != NULL);
    c->sim = sim;
    cw_list_push_back(&sim->conns, &c->node);
    end_init(c, 0, d->from, d->pool);
    end_init(c, 1, &d->to->proc, d->to->pool);
    c->end[0].link.peer_id = d->to->disk_uuid;
    c->end[0].link.peer_incarnation = d->to->incarnation;
    c->end[1].link.peer_id = d->peer_id;
    c->end[0].link.features = c->end[1].link.features = CW_WIRE_FEATURES;
    c->end[0].open = c->end[1].open = true;
    cw_replica_on_link(d->to->replica, &c->end[1].link);
    sim_proc_touch(&d->to->proc);
    end_ready(&c->end[1]);
    d->up(d->from, d->arg, &c->end[0].link);
    sim_proc_touch(d->from);
    end_ready(&c->end[0]);
}

/* The HELLO names the disk: another one may be there by now. */
static bool
dial_finds_disk(const struct sim_dial *d)
{
    return d->disk->format_id == d->to->format_id &&
           cw_uuid_equal(&d->disk->uuid, &d->to->disk_uuid);
}

static void
dial_try(struct sim_task *t)
{
    struct sim_dial *d = cw_container_of(t, struct sim_dial, task);
    struct sim *sim = t->sim;
    struct sim_proc *to = &d->to->proc;
    bool silent = to->paused || sim_net_blocked(sim, d->from, to) ||
                  sim_net_blocked(sim, to, d->from) || (to->up && !d->to->serving);

    if (!d->from->up || d->from->life != d->life)
        return;
    if (d->from->paused) {
        dial_again(d, 5 * CW_NS_PER_MS);
    } else if (!to->up) {
        d->failed(d->from, d->arg, -ECONNREFUSED);
        sim_proc_touch(d->from);
    } else if (d->to->wrong || d->to->open_failed) {
        d->failed(d->from, d->arg, d->to->wrong ? -ESTALE : -ENXIO);
    } else if (!silent && !dial_finds_disk(d)) {
        d->failed(d->from, d->arg, -ENXIO);
        sim_proc_touch(d->from);
    } else if (!silent) {
        dial_connect(d);
    } else if (sim->now_ns - d->begun_ns > 3 * CW_NS_PER_S) {
        d->failed(d->from, d->arg, -ETIMEDOUT);
        sim_proc_touch(d->from);
    } else {
        dial_again(d, 20 * CW_NS_PER_MS);
    }
}

void
sim_net_dial(struct sim_dial how)
{
    struct sim *sim = how.from->sim;
    struct sim_dial *d = malloc(sizeof(*d));

    cw_assert(d != NULL);
    *d = how;
    d->to = how.disk->d;
    d->life = how.from->life;
    d->begun_ns = sim->now_ns;
    sim_after(sim, &d->task, 2 * net_latency(sim), dial_try);
}

void
sim_net_free_all(struct sim *sim)
{
    CW_LIST_EACH_SAFE (it, &sim->conns) {
        struct sim_conn *c = cw_list_entry(it, struct sim_conn, node);

        c->end[0].open = c->end[1].open = false;
        conn_maybe_free(c);
    }
}
