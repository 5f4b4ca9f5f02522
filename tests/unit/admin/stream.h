/* Streams in memory, and the program run with them. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "client/admin/cli.h"

struct stream {
    FILE *f;
    char *text;
    size_t len;
};

void stream_init(struct stream *s);
void stream_fini(struct stream *s);

/* What was printed so far. */
const char *stream_text(struct stream *s);

struct run {
    struct stream out, err;
    int status;
};

/* words: separated by single spaces. Ends with run_fini. */
void run_init(struct run *r, const char *words);
void run_argv(struct run *r, int argc, char **argv);
void run_fini(struct run *r);

/* Does it end with that status, and say so (NULL: whatever) on out or err? */
bool run_says(const char *words, int status, const char *text);
