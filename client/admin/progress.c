#include "client/admin/progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "client/admin/text.h"
#include "common/base/bits.h"

#define TTY_EVERY_NS (200 * CW_NS_PER_MS)
#define LINE_EVERY_NS (2 * CW_NS_PER_S)

uint64_t
cw_progress_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * CW_NS_PER_S + (uint64_t)ts.tv_nsec;
}

void
cw_progress_init(struct cw_progress *p, struct cw_cli *cli, const char *what, uint64_t now_ns)
{
    int fd = fileno(cli->err);

    *p = (struct cw_progress){ .cli = cli, .what = what, .begun_ns = now_ns, .printed_ns = now_ns };
    p->is_tty = fd >= 0 && isatty(fd);
}

char *
cw_progress_format(const char *what, uint64_t done_bytes, uint64_t total_bytes, uint64_t elapsed_ns,
                   char text[static CW_PROGRESS_TEXT_SIZE])
{
    char done[CW_TEXT_SIZE], total[CW_TEXT_SIZE], pct[CW_TEXT_SIZE], rate[CW_TEXT_SIZE];
    char left[CW_TEXT_SIZE];
    double per_s = elapsed_ns > 0 ? (double)done_bytes * 1e9 / (double)elapsed_ns : 0;
    int n = snprintf(text, CW_PROGRESS_TEXT_SIZE, "%.40s: %s  %s of %s  %s", what,
                     cw_text_percent(done_bytes, total_bytes, pct), cw_text_size(done_bytes, done),
                     cw_text_size(total_bytes, total), cw_text_rate(per_s, rate));

    if (per_s > 0 && total_bytes > done_bytes && n < CW_PROGRESS_TEXT_SIZE)
        snprintf(text + n, CW_PROGRESS_TEXT_SIZE - (size_t)n, "  %s left",
                 cw_text_seconds((uint64_t)((double)(total_bytes - done_bytes) / per_s) + 1, left));
    return text;
}

void
cw_progress_step(struct cw_progress *p, uint64_t done_bytes, uint64_t total_bytes, uint64_t now_ns)
{
    char text[CW_PROGRESS_TEXT_SIZE];

    if (p->cli->json || now_ns - p->printed_ns < (p->is_tty ? TTY_EVERY_NS : LINE_EVERY_NS))
        return;
    cw_progress_format(p->what, done_bytes, total_bytes, now_ns - p->begun_ns, text);
    if (p->is_tty)
        fprintf(p->cli->err, "\r\033[K%s", text);
    else
        fprintf(p->cli->err, "%s\n", text);
    fflush(p->cli->err);
    p->printed_ns = now_ns;
    p->open = p->is_tty;
}

void
cw_progress_fini(struct cw_progress *p)
{
    if (p->open)
        fputs("\r\033[K", p->cli->err);
    p->open = false;
    fflush(p->cli->err);
}
