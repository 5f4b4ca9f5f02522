/* e2e/bad-guest.c - a libcauseway user that changes what it writes while it is being written.
 *
 *   bad-guest CLUSTER VOLUME    exit 0: every word that is read back is one that its buffer held
 *
 * Each request has a place in the volume and a buffer of its own, which a thread fills with ever
 * new words without end: the place in the upper half, a count in the lower.
 */
#include <causeway.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_REQS 16
#define ROUNDS 8
#define REQ_WORDS (256 * 1024 / 8)
#define REQ_BYTES (REQ_WORDS * 8ul)

static struct guest {
    volatile uint64_t words[N_REQS][REQ_WORDS];
    atomic_uint count; /* the highest in any word */
    atomic_bool stop;
    atomic_int failed;
    sem_t done;
} guest;

static void *
scribble(void *arg)
{
    while (!atomic_load(&guest.stop)) {
        uint32_t count = atomic_fetch_add(&guest.count, 1) + 1;

        for (uint64_t r = 0; r < N_REQS; r++) {
            for (uint32_t i = count % 61; i < REQ_WORDS; i += 61) /* all of a buffer is new soon */
                guest.words[r][i] = r << 32 | count;
        }
    }
    return NULL;
}

static void
written(struct causeway_req *req, int res)
{
    if (res != 0)
        atomic_fetch_add(&guest.failed, 1);
    sem_post(&guest.done);
}

static bool
write_all(struct causeway_volume *v)
{
    static struct causeway_req reqs[N_REQS];

    for (uint64_t r = 0; r < N_REQS; r++) {
        reqs[r] = (struct causeway_req){
            .op = CAUSEWAY_WRITE,
            .buf = (void *)(uintptr_t)guest.words[r],
            .offset = r * REQ_BYTES,
            .len = r % 4 == 3 ? REQ_BYTES - 512 : REQ_BYTES, /* the last block of these is merged */
            .done = written,
        };
        if (causeway_submit(v, &reqs[r]) != 0)
            exit(2);
    }
    for (int r = 0; r < N_REQS; r++)
        sem_wait(&guest.done);
    return atomic_load(&guest.failed) == 0;
}

/* Twice the same, and nothing that was never in the buffer. */
static bool
read_all(struct causeway_volume *v)
{
    static uint64_t first[REQ_WORDS], again[REQ_WORDS];

    for (uint64_t r = 0; r < N_REQS; r++) {
        if (causeway_pread(v, first, REQ_BYTES, r * REQ_BYTES) != 0 ||
            causeway_pread(v, again, REQ_BYTES, r * REQ_BYTES) != 0)
            return false;
        if (memcmp(first, again, REQ_BYTES) != 0)
            return false;
        for (uint32_t i = 0; i < REQ_WORDS; i++) {
            uint32_t count = (uint32_t)first[i];

            if (first[i] != 0 && (first[i] >> 32 != r || count > atomic_load(&guest.count)))
                return false;
        }
    }
    return true;
}

int
main(int argc, char **argv)
{
    struct causeway *c;
    struct causeway_volume *v;
    pthread_t thread;
    bool ok = true;

    if (argc != 3 || causeway_connect(argv[1], NULL, &c) != 0 ||
        causeway_open(c, argv[2], 0, &v) != 0) {
        fprintf(stderr, "bad-guest: %s\n",
                argc != 3 ? "want CLUSTER VOLUME" : causeway_last_error());
        return 2;
    }
    sem_init(&guest.done, 0, 0);
    if (pthread_create(&thread, NULL, scribble, NULL) != 0)
        return 2;
    for (int i = 0; i < ROUNDS && ok; i++)
        ok = write_all(v);
    atomic_store(&guest.stop, true);
    pthread_join(thread, NULL);
    ok = ok && read_all(v);
    ok = causeway_close(v) == 0 && ok;
    causeway_disconnect(c);
    return ok ? 0 : 1;
}
