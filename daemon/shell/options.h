/* shell/options.h - what causewayd was asked to do: command line and --config file. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/bits.h"
#include "common/base/env.h"

#define CW_STORES_MAX 32
#define CW_STORE_BYTES_MIN (512 * CW_MIB)
#define CW_OPT_WHY_SIZE 256

enum cw_role { CW_ROLE_HOST, CW_ROLE_MANAGER };
enum cw_action { CW_ACT_RUN, CW_ACT_FORMAT, CW_ACT_HELP, CW_ACT_VERSION };

/* Which stores tell their disk of segments that became free. */
enum cw_store_discard { CW_STORE_DISCARD_DEVICES, CW_STORE_DISCARD_YES, CW_STORE_DISCARD_NO };

struct cw_store_opt {
    char *path;
    uint64_t bytes; /* 0: not given */
};

/* Strings are the struct's own; NULL: not given. */
struct cw_options {
    enum cw_role role;
    enum cw_action action;
    bool force, bootstrap, is_cloud;
    bool is_volatile; /* from site_attributes, as the next */
    char provider[64];
    uint64_t egress_micros; /* price of a GB, in millionths */
    bool domain_auto; /* what domain leaves open is asked of the instance's metadata service */
    char *host, *domain, *site_kind, *listen, *advertise, *join, *unix_path, *http, *metadata;
    char *metadata_prefix, *metadata_user, *metadata_password_file; /* of etcd */
    char *metadata_ca, *metadata_cert, *metadata_key;
    char *site_attributes;
    char *instance_metadata; /* ADDR:PORT of that */
    char *role_text, *memory_text, *log_level_text, *cluster_name, *store_discard_text;
    char site[64], rack[64], region[64]; /* from domain */
    uint64_t memory_bytes;               /* 0: the default */
    enum cw_log_level log_level;
    enum cw_store_discard store_discard;
    struct cw_store_opt stores[CW_STORES_MAX];
    uint32_t n_stores;
};

/* Reads argv, then the file of --config for what argv left open. False: why is one line that names
 * the option, and the program ends with status 2. Call fini either way. */
bool cw_options_read(struct cw_options *o, int argc, char **argv, char why[static CW_OPT_WHY_SIZE]);
void cw_options_fini(struct cw_options *o);

extern const char cw_options_usage[];
