/* tool/format.h - writes empty, unclaimed stores: `causeway-store format`, `causewayd --format`. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/size.h"
#include "common/reactor/reactor.h"

#define CW_FORMAT_WHY_SIZE 600

struct cw_format_opts {
    const char *path;
    uint64_t bytes; /* of the file to be made, if there is none, less what is no 4 KiB; 0: none */
    bool force;     /* overwrite what is there */
};

/* What is asked for, against what is there; nothing is opened. False: why says what cannot be
 * meant, a size with a block device, which is a store as a whole. */
bool cw_format_asked(const struct cw_format_opts *opts, char why[static CW_FORMAT_WHY_SIZE]);

/* A file that is missing is made if its size was given. False: why is one line that names the path,
 * the cause and the next step; a file made for it is removed again. r is turned until it is done.
 */
bool cw_format_store(struct cw_reactor *r, const struct cw_format_opts *opts, uint64_t *ret_bytes,
                     char why[static CW_FORMAT_WHY_SIZE]);

/* PATH[:SIZE]: the text after the last colon is a size if it reads as one, for paths may hold
 * colons. *ret_path_len: how much of text is the path; 0: none. */
void cw_format_split(const char *text, size_t *ret_path_len, uint64_t *ret_bytes);
