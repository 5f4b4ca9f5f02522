/* Two clients in one process hand a volume of a real cluster to and fro while the owner writes.
 *
 *   hand-over ADDR VOLUME ROUNDS
 *
 * Prints the milliseconds from the attach to the first served request, one line per round. Exit
 * status 1, with a line on stderr, if anything is not as docs/replication.md (Hand-over) says.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/lib/engine.h"
#include "common/base/bits.h"
#include "common/owner/owner.h"
#include "common/service/envelope.h"
#include "common/service/sync.h"

#define BLOCK 4096u
#define BLOCKS 512u

struct client {
    struct cw_engine *e;
    struct cw_engine_volume *v;
    struct cw_engine_open open;
    struct cw_engine_close close;
    struct cw_io io;
    struct iovec iov;
    uint8_t data[BLOCK];
    uint32_t n_written, n_fenced; /* of the reactor, read when it writes no more */
    int res;
    bool done, stopped; /* lock */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static uint32_t written[BLOCKS]; /* what was acknowledged last; of whoever writes */
static uint32_t value;

#define MUST(is, ...) \
    do { \
        if (!(is)) { \
            fprintf(stderr, "hand-over: line %d: " #is ": ", __LINE__); \
            fprintf(stderr, __VA_ARGS__); \
            fputc('\n', stderr); \
            exit(1); \
        } \
    } while (0)

static void
signal_flag(bool *flag)
{
    pthread_mutex_lock(&lock);
    *flag = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void
wait_flag(bool *flag)
{
    pthread_mutex_lock(&lock);
    while (!*flag)
        pthread_cond_wait(&changed, &lock);
    *flag = false;
    pthread_mutex_unlock(&lock);
}

static void
fill(uint8_t *data, uint32_t block, uint32_t of)
{
    for (uint32_t i = 0; i < BLOCK; i += 8) {
        memcpy(data + i, &block, 4);
        memcpy(data + i + 4, &of, 4);
    }
}

/* ---- the owner writes until it is told that it may not ---- */

static void write_next(struct client *c);

static void
write_done(struct cw_io *io, int res)
{
    struct client *c = cw_container_of(io, struct client, io);

    if (res == 0) {
        written[value % BLOCKS] = value;
        c->n_written++;
        write_next(c);
        return;
    }
    c->res = res;
    signal_flag(&c->stopped);
}

static void
write_next(struct client *c)
{
    value++;
    fill(c->data, value % BLOCKS, value);
    c->iov = (struct iovec){ c->data, BLOCK };
    c->io = (struct cw_io){ .op = CW_IO_WRITE,
                            .off = (uint64_t)(value % BLOCKS) * BLOCK,
                            .len = BLOCK,
                            .iov = &c->iov,
                            .n_iov = 1,
                            .done = write_done };
    cw_engine_submit(c->v, &c->io);
}

static int
write_begin(void *arg)
{
    write_next(arg);
    return 0;
}

static void
on_fenced(void *user, const char *why)
{
    struct client *c = user;

    MUST(strstr(why, "handed over") != NULL, "%s", why);
    c->n_fenced++;
}

static const struct cw_engine_volume_events events = { .on_fenced = on_fenced };

/* ---- open, read, close ---- */

static void
open_done(struct cw_engine_open *o, int res, struct cw_engine_volume *v, const char *error)
{
    struct client *c = cw_container_of(o, struct client, open);

    MUST(res == 0, "%s", error);
    c->v = v;
    signal_flag(&c->done);
}

static int
open_begin(void *arg)
{
    struct client *c = arg;

    cw_engine_open(c->e, &c->open);
    return 0;
}

static void
open_as(struct client *c, const char *volume, bool take)
{
    c->open = (struct cw_engine_open){
        .volume = volume, .take = take, .ev = &events, .user = c, .done = open_done
    };
    cw_engine_run(c->e, open_begin, c);
    wait_flag(&c->done);
}

static void
read_done(struct cw_io *io, int res)
{
    struct client *c = cw_container_of(io, struct client, io);

    c->res = res;
    signal_flag(&c->done);
}

static int
read_begin(void *arg)
{
    cw_engine_submit(((struct client *)arg)->v, &((struct client *)arg)->io);
    return 0;
}

/* Every acknowledged write is there; the one that was refused is not. */
static void
read_all(struct client *c)
{
    uint8_t want[BLOCK];

    for (uint32_t i = 0; i < BLOCKS; i++) {
        c->iov = (struct iovec){ c->data, BLOCK };
        c->io = (struct cw_io){ .op = CW_IO_READ,
                                .off = (uint64_t)i * BLOCK,
                                .len = BLOCK,
                                .iov = &c->iov,
                                .n_iov = 1,
                                .done = read_done };
        cw_engine_run(c->e, read_begin, c);
        wait_flag(&c->done);
        MUST(c->res == 0, "%d", c->res);
        memset(want, 0, sizeof(want));
        if (written[i] != 0)
            fill(want, i, written[i]);
        MUST(memcmp(want, c->data, BLOCK) == 0, "block %u", i);
    }
}

static void
close_done(struct cw_engine_close *cl, int res)
{
    struct client *c = cw_container_of(cl, struct client, close);

    c->res = res;
    signal_flag(&c->done);
}

static int
close_begin(void *arg)
{
    struct client *c = arg;

    c->close = (struct cw_engine_close){ .done = close_done };
    cw_engine_close(c->v, &c->close);
    return 0;
}

static void
close_it(struct client *c)
{
    cw_engine_run(c->e, close_begin, c);
    wait_flag(&c->done);
    MUST(c->res == 0, "%d", c->res);
    c->v = NULL;
}

/* ---- what an operator and a target ask ---- */

static cw_envelope *
ask(struct cw_rpc_sync *rpc, const cw_envelope *m)
{
    return cw_rpc_call_sync(rpc, m, 5000, true);
}

static void
allow(struct cw_rpc_sync *rpc, char *volume, uint64_t seconds)
{
    Causeway__Control__HandoverAllow a = CAUSEWAY__CONTROL__HANDOVER_ALLOW__INIT;
    Causeway__Control__HandoverCancel c = CAUSEWAY__CONTROL__HANDOVER_CANCEL__INIT;
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT, *reply;

    a.volume = c.volume = volume;
    a.seconds = seconds;
    m.body_case = seconds != 0 ? CAUSEWAY__CONTROL__ENVELOPE__BODY_HANDOVER_ALLOW
                               : CAUSEWAY__CONTROL__ENVELOPE__BODY_HANDOVER_CANCEL;
    if (seconds != 0)
        m.handover_allow = &a;
    else
        m.handover_cancel = &c;
    reply = ask(rpc, &m);
    MUST(reply->error == NULL, "%s", reply->error->message);
    cw_envelope_free(reply);
}

static void
stand_by(struct cw_rpc_sync *rpc, char *volume, bool allowed)
{
    Causeway__Control__Attach a = CAUSEWAY__CONTROL__ATTACH__INIT;
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT, *reply;

    a.volume = volume;
    a.intent = CAUSEWAY__CONTROL__ATTACH_INTENT__STANDBY;
    m.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_ATTACH;
    m.attach = &a;
    reply = ask(rpc, &m);
    if (allowed) {
        MUST(reply->error == NULL, "%s", reply->error->message);
        MUST(reply->attach_reply->gen == 0 && reply->attach_reply->n_shards == 1 &&
                 reply->attach_reply->n_disks == 3,
             "gen %u", reply->attach_reply->gen);
    } else {
        MUST(reply->error != NULL &&
                 reply->error->code == CAUSEWAY__CONTROL__ERROR_CODE__VOLUME_IN_USE,
             "it was not allowed");
    }
    cw_envelope_free(reply);
}

/* ---- to and fro ---- */

static uint64_t
now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void
hand_over(struct client *from, struct client *to, struct cw_rpc_sync *rpc, char *volume)
{
    uint32_t gen = cw_engine_volume_gen(from->v);
    uint64_t begun;

    from->n_written = from->n_fenced = 0;
    cw_engine_run(from->e, write_begin, from);
    stand_by(rpc, volume, false);
    allow(rpc, volume, 30);
    stand_by(rpc, volume, true);
    allow(rpc, volume, 0);
    stand_by(rpc, volume, false);
    allow(rpc, volume, 30);
    begun = now_ms();
    open_as(to, volume, true);
    printf("%llu\n", (unsigned long long)(now_ms() - begun));
    wait_flag(&from->stopped);
    MUST(from->res == -ESHUTDOWN, "%d", from->res);
    MUST(from->n_written > 0, "nothing was written");
    MUST(cw_engine_volume_gen(to->v) == gen + 1, "gen %u", cw_engine_volume_gen(to->v));
    stand_by(rpc, volume, false);
    read_all(to);
    close_it(from);
    MUST(from->n_fenced == 1, "%u", from->n_fenced);
}

static void
client_new(struct client *c, const char *addr)
{
    struct cw_engine_opts opts = { .cluster = addr,
                                   .name = "hand-over",
                                   .log_level = CW_LOG_WARNING };
    char error[CW_ENGINE_ERROR_SIZE];

    MUST(cw_engine_new(&opts, error, &c->e) == 0, "%s", error);
}

int
main(int argc, char **argv)
{
    static struct client c[2];
    struct cw_rpc_sync *rpc;
    char why[CW_RPC_WHY_SIZE];
    int rounds = argc == 4 ? atoi(argv[3]) : 0;

    MUST(rounds > 0, "usage: hand-over ADDR VOLUME ROUNDS");
    MUST(cw_rpc_sync_new(argv[1], &rpc, why) == 0, "%s", why);
    client_new(&c[0], argv[1]);
    client_new(&c[1], argv[1]);
    open_as(&c[0], argv[2], false);
    for (int i = 0; i < rounds; i++)
        hand_over(&c[i % 2], &c[(i + 1) % 2], rpc, argv[2]);
    close_it(&c[rounds % 2]);
    cw_engine_free(c[0].e);
    cw_engine_free(c[1].e);
    cw_rpc_sync_free(rpc);
    return 0;
}
