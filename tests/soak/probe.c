/* What the disk alone takes: 4 KiB with O_DSYNC, past the page cache, in a file beside the store.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "tests/soak/soak.h"

#define PROBE_BYTES (4 * CW_MIB)
#define PROBE_LARGE_EVERY 16
#define PROBE_PAUSE_NS (20 * 1000000)

static uint64_t
probe_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * CW_NS_PER_S + (uint64_t)t.tv_nsec;
}

static void
probe_once(struct soak *k, int fd, const void *data, uint64_t i)
{
    bool large = i % PROBE_LARGE_EVERY == 0;
    size_t len = large ? CW_MIB : 4096;
    struct probe_sample p = { .at_ns = probe_now_ns(), .large = large };

    if (pwrite(fd, data, len, (off_t)(i * len % PROBE_BYTES)) != (ssize_t)len)
        _exit(1);
    p.took_ns = probe_now_ns() - p.at_ns;
    k->probe[k->n_probes % SAMPLES] = p;
    if (!large)
        cw_histogram_add(&k->probe_times, p.took_ns);
    k->n_probes = k->n_probes + 1;
}

void
probe_run(struct soak *k)
{
    const struct timespec pause = { .tv_nsec = PROBE_PAUSE_NS };
    int fd = open(k->probe_path, O_RDWR | O_CREAT | O_DIRECT | O_DSYNC | O_CLOEXEC, 0600);
    void *data = aligned_alloc(4096, CW_MIB);

    if (fd < 0 || data == NULL || posix_fallocate(fd, 0, PROBE_BYTES) != 0)
        _exit(1);
    memset(data, 0x5a, CW_MIB);
    for (uint64_t i = 0;; i++) {
        probe_once(k, fd, data, i);
        (void)nanosleep(&pause, NULL);
    }
}
