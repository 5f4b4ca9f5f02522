/* device/loop.h - a loop device over a file. Calls may wait for whoever serves the file. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define CW_LOOP_NAME_SIZE 32 /* "/dev/loop12" */
#define CW_LOOP_WHY_SIZE 256

struct cw_loop_opts {
    const char *file;
    uint32_t block_bytes;
    bool read_only;
};

/* Past the page cache of the file, partitions are scanned for. Negative errno and one line. */
int cw_loop_attach(const struct cw_loop_opts *opts, char ret[static CW_LOOP_NAME_SIZE],
                   char why[static CW_LOOP_WHY_SIZE]);

/* Is it a loop device over this file now? Waits for nobody. */
bool cw_loop_is_over(const char *device, const char *file);

/* The device of this file, if there is one. Waits for nobody. */
bool cw_loop_find(const char *file, char ret[static CW_LOOP_NAME_SIZE]);

/* The device gets the file's size, which is to be size_bytes. */
int cw_loop_resize(const char *device, const char *file, uint64_t size_bytes,
                   char why[static CW_LOOP_WHY_SIZE]);

/* It lets go of the file: at once, or once nobody uses it any more. */
int cw_loop_detach(const char *device, const char *file, char why[static CW_LOOP_WHY_SIZE]);
