#include "daemon/shell/format.h"

#include <string.h>

#include "daemon/tool/format.h"

static bool
format_one(struct cw_reactor *r, const struct cw_store_opt *store, bool force,
           struct cw_log_sink *log)
{
    struct cw_format_opts opts = { .path = store->path, .bytes = store->bytes, .force = force };
    char why[CW_FORMAT_WHY_SIZE], text[CW_SIZE_TEXT_SIZE];
    uint64_t bytes;

    if (!cw_format_store(r, &opts, &bytes, why)) {
        cw_log_sink_write(log, CW_LOG_ERROR, why);
        return false;
    }
    cw_log_sink_printf(log, CW_LOG_NOTICE, "%s: formatted, %s, belongs to no cluster yet",
                       store->path, cw_size_format(bytes, text));
    return true;
}

int
cw_format_main(const struct cw_options *o, struct cw_log_sink *log)
{
    struct cw_reactor_opts ro = { .log_level = o->log_level,
                                  .log = cw_log_sink_fn,
                                  .log_user = log };
    struct cw_reactor *r;
    int err = cw_reactor_new(&ro, &r), status = 0;

    if (err != 0) {
        cw_log_sink_printf(log, CW_LOG_ERROR, "io_uring: %s", strerror(-err));
        return 1;
    }
    for (uint32_t i = 0; i < o->n_stores; i++) {
        if (!format_one(r, &o->stores[i], o->force, log))
            status = 1;
    }
    cw_reactor_free(r);
    return status;
}
