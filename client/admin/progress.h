/* admin/progress.h - how far, how fast, how long yet: one line that a terminal overwrites, else a
 * line every 2 s. On err; nothing with --json. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/admin/cli.h"

#define CW_PROGRESS_TEXT_SIZE 128

struct cw_progress {
    struct cw_cli *cli;
    const char *what; /* "import vm1"; borrowed */
    uint64_t begun_ns, printed_ns;
    bool is_tty, open; /* open: an unfinished line stands on the terminal */
};

void cw_progress_init(struct cw_progress *p, struct cw_cli *cli, const char *what, uint64_t now_ns);

/* Prints if it is time to. now_ns: CLOCK_MONOTONIC. */
void cw_progress_step(struct cw_progress *p, uint64_t done_bytes, uint64_t total_bytes,
                      uint64_t now_ns);

/* Clears the unfinished line. */
void cw_progress_fini(struct cw_progress *p);

/* "import vm1: 42%  1.3G of 3.1G  210 MB/s  8s left". Returns text. Pure. */
char *cw_progress_format(const char *what, uint64_t done_bytes, uint64_t total_bytes,
                         uint64_t elapsed_ns, char text[static CW_PROGRESS_TEXT_SIZE]);

/* CLOCK_MONOTONIC. */
uint64_t cw_progress_now_ns(void);
