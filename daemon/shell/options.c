#include "daemon/shell/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/addr.h"
#include "common/base/bits.h"
#include "common/base/name.h"
#include "common/base/size.h"
#include "common/obs/log.h"
#include "daemon/shell/memory.h"
#include "daemon/tool/format.h"

#define ETCD_PREFIX_MAX 64

const char cw_options_usage[] =
    "Usage: causewayd --host NAME --domain site=SITE[,rack=R][,region=R]|auto --listen ADDR:PORT\n"
    "                 --store PATH.. --join ADDR:PORT[,ADDR:PORT..] [OPTION..]\n"
    "       causewayd --role manager --metadata lmdb:DIR --listen ADDR:PORT [--bootstrap]\n"
    "       causewayd --format --store PATH[:SIZE].. [--force]\n"
    "\n"
    "A storage daemon of a Causeway cluster, or its manager; or writes empty stores.\n"
    "\n"
    "  --host NAME             name of this host in the cluster\n"
    "  --domain site=S[,..]    where it is: site, and rack and region if there are such\n"
    "  --domain auto[,rack=R]  on a cloud instance: as its metadata service says (AWS, Azure, "
    "GCP);\n"
    "                          what is given beside it wins\n"
    "  --site-kind KIND        on-premise (default) or cloud (default with --domain auto)\n"
    "  --site-attributes provider=NAME,price=AMOUNT,volatile=yes  of its site, each as far as "
    "known:\n"
    "                          who runs it; of a GB that leaves it; do stores die with their "
    "instance?\n"
    "  --instance-metadata ADDR:PORT  of that service (default 169.254.169.254:80)\n"
    "  --listen ADDR:PORT      for data and control; port 0 picks a free one\n"
    "  --advertise ADDR:PORT   what others connect to (default: the listen address)\n"
    "  --store PATH[:SIZE]     a file or block device; up to 32 times. SIZE makes the file "
    "(--format)\n"
    "  --store-discard[=yes|no]  give freed segments back to the disk: default for devices, not "
    "for\n"
    "                          files, where a hole costs its next writer\n"
    "  --join ADDR:PORT[,..]   where the manager is\n"
    "  --unix PATH             also serve data on this unix socket, for clients on this machine\n"
    "  --http ADDR:PORT        serve /v1, /metrics and /healthz there; only on a network that you "
    "trust\n"
    "  --memory SIZE           hard budget for buffers and caches (default 1G); see the man page\n"
    "  --role host|manager     what this process is (default host)\n"
    "  --metadata lmdb:DIR     manager: where the records live\n"
    "  --metadata etcd:URL[,URL..]  host: in etcd; any such host may be the manager\n"
    "  --metadata-ca FILE, --metadata-cert FILE, --metadata-key FILE  TLS to etcd\n"
    "  --metadata-user NAME, --metadata-password-file FILE\n"
    "  --metadata-prefix PATH  of the keys in etcd (default /causeway)\n"
    "  --bootstrap             first start: makes the cluster. lmdb: of the manager; etcd: of one\n"
    "                          host, and only if there is none\n"
    "  --cluster-name NAME     with --bootstrap\n"
    "  --format [--force]      write unclaimed stores; --force overwrites what is there\n"
    "  --config FILE           the same keys as lines `key = value`; the command line wins\n"
    "  --log-level LEVEL       error, warning, notice, info (default), debug\n"
    "  --help, --version\n"
    "\n"
    "Exit status: 0 fine, 1 failed, 2 bad usage.\n";

struct option_key {
    const char *name;
    size_t at; /* of a char * in struct cw_options */
};

static const struct option_key keys[] = {
    { "host", offsetof(struct cw_options, host) },
    { "domain", offsetof(struct cw_options, domain) },
    { "site-kind", offsetof(struct cw_options, site_kind) },
    { "site-attributes", offsetof(struct cw_options, site_attributes) },
    { "instance-metadata", offsetof(struct cw_options, instance_metadata) },
    { "listen", offsetof(struct cw_options, listen) },
    { "advertise", offsetof(struct cw_options, advertise) },
    { "join", offsetof(struct cw_options, join) },
    { "unix", offsetof(struct cw_options, unix_path) },
    { "http", offsetof(struct cw_options, http) },
    { "metadata", offsetof(struct cw_options, metadata) },
    { "metadata-prefix", offsetof(struct cw_options, metadata_prefix) },
    { "metadata-user", offsetof(struct cw_options, metadata_user) },
    { "metadata-password-file", offsetof(struct cw_options, metadata_password_file) },
    { "metadata-ca", offsetof(struct cw_options, metadata_ca) },
    { "metadata-cert", offsetof(struct cw_options, metadata_cert) },
    { "metadata-key", offsetof(struct cw_options, metadata_key) },
    { "role", offsetof(struct cw_options, role_text) },
    { "memory", offsetof(struct cw_options, memory_text) },
    { "log-level", offsetof(struct cw_options, log_level_text) },
    { "cluster-name", offsetof(struct cw_options, cluster_name) },
    { "store-discard", offsetof(struct cw_options, store_discard_text) },
};

__attribute__((format(printf, 2, 3))) static bool
refuse(char why[static CW_OPT_WHY_SIZE], const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(why, CW_OPT_WHY_SIZE, fmt, args);
    va_end(args);
    return false;
}

static char *
copy(const char *text)
{
    char *c = strdup(text);

    cw_assert(c != NULL);
    return c;
}

/* ---- one key ---- */

static bool
store_add(struct cw_options *o, const char *text, char why[static CW_OPT_WHY_SIZE])
{
    struct cw_store_opt *s = &o->stores[o->n_stores];
    size_t path_len;

    if (o->n_stores == CW_STORES_MAX)
        return refuse(why, "--store %s: a daemon has at most %d stores", text, CW_STORES_MAX);
    cw_format_split(text, &path_len, &s->bytes);
    if (path_len == 0 || text[0] == ':')
        return refuse(why, "--store: an empty path");
    s->path = copy(text);
    s->path[path_len] = '\0';
    o->n_stores++;
    return true;
}

static const struct option_key *
key_find(const char *name)
{
    for (size_t i = 0; i < CW_LEN(keys); i++) {
        if (strcmp(keys[i].name, name) == 0)
            return &keys[i];
    }
    return NULL;
}

static char **
key_slot(struct cw_options *o, const struct option_key *k)
{
    return (char **)(void *)((char *)o + k->at);
}

/* ---- the command line ---- */

/* Of "--name" and "--name=value" the first form, where that is complete. */
static bool
flag_set(struct cw_options *o, const char *name)
{
    if (strcmp(name, "format") == 0)
        o->action = CW_ACT_FORMAT;
    else if (strcmp(name, "help") == 0)
        o->action = CW_ACT_HELP;
    else if (strcmp(name, "version") == 0)
        o->action = CW_ACT_VERSION;
    else if (strcmp(name, "force") == 0)
        o->force = true;
    else if (strcmp(name, "bootstrap") == 0)
        o->bootstrap = true;
    else if (strcmp(name, "store-discard") == 0 && o->store_discard_text == NULL)
        o->store_discard_text = copy("yes");
    else
        return false;
    return true;
}

static bool
value_set(struct cw_options *o, const char *name, const char *value, char **config,
          char why[static CW_OPT_WHY_SIZE])
{
    const struct option_key *k = key_find(name);
    char **slot = k != NULL ? key_slot(o, k) : config;

    if (strcmp(name, "store") == 0)
        return store_add(o, value, why);
    if (k == NULL && strcmp(name, "config") != 0)
        return refuse(why, "--%s: unknown option", name);
    if (*slot != NULL)
        return refuse(why, "--%s is given twice", name);
    *slot = copy(value);
    return true;
}

static bool
key_known(const char *name)
{
    return key_find(name) != NULL || strcmp(name, "store") == 0 || strcmp(name, "config") == 0;
}

static bool
argv_read(struct cw_options *o, int argc, char **argv, char **config,
          char why[static CW_OPT_WHY_SIZE])
{
    for (int i = 1; i < argc; i++) {
        char name[32];
        const char *eq = strchr(argv[i], '=');
        size_t n = eq != NULL ? (size_t)(eq - argv[i]) : strlen(argv[i]);

        if (strncmp(argv[i], "--", 2) != 0 || n < 3 || n - 2 >= sizeof(name))
            return refuse(why, "%s: unknown argument", argv[i]);
        memcpy(name, argv[i] + 2, n - 2);
        name[n - 2] = '\0';
        if (eq == NULL && flag_set(o, name))
            continue;
        if (!key_known(name))
            return refuse(why, "%s: unknown option", argv[i]);
        if (eq == NULL && i + 1 == argc)
            return refuse(why, "--%s: its value is missing", name);
        if (!value_set(o, name, eq != NULL ? eq + 1 : argv[++i], config, why))
            return false;
    }
    return true;
}

/* ---- the file ---- */

static char *
trim(char *s)
{
    char *end = s + strlen(s);

    while (isspace((unsigned char)*s))
        s++;
    while (end > s && isspace((unsigned char)end[-1]))
        *--end = '\0';
    return s;
}

static bool
line_read(struct cw_options *o, char *line, bool take_stores, const char *path, int number,
          char why[static CW_OPT_WHY_SIZE])
{
    char *name = trim(line), *eq = strchr(name, '='), *value;
    const struct option_key *k;

    if (name[0] == '\0' || name[0] == '#')
        return true;
    if (eq == NULL)
        return refuse(why, "%s:%d: not `key = value`", path, number);
    *eq = '\0';
    name = trim(name);
    value = trim(eq + 1);
    if (strcmp(name, "store") == 0)
        return !take_stores || store_add(o, value, why);
    k = key_find(name);
    if (k == NULL)
        return refuse(why, "%s:%d: unknown key %s", path, number, name);
    if (*key_slot(o, k) == NULL)
        *key_slot(o, k) = copy(value);
    return true;
}

static bool
file_read(struct cw_options *o, const char *path, char why[static CW_OPT_WHY_SIZE])
{
    bool take_stores = o->n_stores == 0, ok = true;
    FILE *f = fopen(path, "re");
    char *line = NULL;
    size_t cap = 0;

    if (f == NULL)
        return refuse(why, "--config %s: %s", path, strerror(errno));
    for (int number = 1; ok && getline(&line, &cap, f) >= 0; number++)
        ok = line_read(o, line, take_stores, path, number, why);
    free(line);
    fclose(f);
    return ok;
}

/* ---- sense ---- */

static bool
domain_part(struct cw_options *o, char *part, char why[static CW_OPT_WHY_SIZE])
{
    char *eq = strchr(part, '='), *to = NULL;

    if (strcmp(part, "auto") == 0)
        return o->domain_auto = true;
    if (eq == NULL)
        return refuse(why, "--domain %s: not auto, and not key=value", part);
    *eq = '\0';
    if (strcmp(part, "site") == 0)
        to = o->site;
    else if (strcmp(part, "rack") == 0)
        to = o->rack;
    else if (strcmp(part, "region") == 0)
        to = o->region;
    if (to == NULL)
        return refuse(why, "--domain %s: unknown; there are site, rack and region", part);
    if (!cw_name_ok(eq + 1))
        return refuse(why, "--domain %s=%s: a name is 1 to 63 of [A-Za-z0-9._-]", part, eq + 1);
    strcpy(to, eq + 1);
    return true;
}

typedef bool part_fn(struct cw_options *o, char *part, char why[static CW_OPT_WHY_SIZE]);

/* Each part of "A,B,..", until one is refused. */
static bool
parts_read(struct cw_options *o, const char *list, part_fn *take, char why[static CW_OPT_WHY_SIZE])
{
    char *text = copy(list), *rest = text, *part;
    bool ok = true;

    while (ok && (part = strsep(&rest, ",")) != NULL)
        ok = take(o, part, why);
    free(text);
    return ok;
}

static bool
domain_read(struct cw_options *o, char why[static CW_OPT_WHY_SIZE])
{
    bool ok;

    if (o->domain == NULL)
        return refuse(why, "--domain is missing: where is this host? e.g. --domain site=dc1");
    ok = parts_read(o, o->domain, domain_part, why);
    if (ok && o->site[0] == '\0' && !o->domain_auto)
        return refuse(why, "--domain %s: the site is missing", o->domain);
    if (ok && o->instance_metadata != NULL && !o->domain_auto)
        return refuse(why, "--instance-metadata: only with --domain auto");
    return ok;
}

/* "0.09": at most six decimals. */
static bool
price_read(const char *text, uint64_t *ret_micros)
{
    uint64_t whole = 0, part = 0, unit = 1000000;
    const char *at = text;

    for (; isdigit((unsigned char)*at) && whole < 1000000; at++)
        whole = whole * 10 + (uint64_t)(*at - '0');
    if (at == text || (*at != '.' && *at != '\0') || (*at == '.' && at[1] == '\0'))
        return false;
    for (at += *at == '.'; isdigit((unsigned char)*at) && unit > 1; at++) {
        unit /= 10;
        part += (uint64_t)(*at - '0') * unit;
    }
    *ret_micros = whole * 1000000 + part;
    return *at == '\0';
}

static bool
attribute_part(struct cw_options *o, char *part, char why[static CW_OPT_WHY_SIZE])
{
    char *eq = strchr(part, '='), *value = eq != NULL ? eq + 1 : NULL;

    if (eq == NULL)
        return refuse(why, "--site-attributes %s: not key=value", part);
    *eq = '\0';
    if (strcmp(part, "provider") == 0) {
        if (!cw_name_ok(value))
            return refuse(why, "--site-attributes provider=%s: 1 to 63 of [A-Za-z0-9._-]", value);
        strcpy(o->provider, value);
    } else if (strcmp(part, "price") == 0) {
        if (!price_read(value, &o->egress_micros))
            return refuse(why, "--site-attributes price=%s: not an amount like 0.09", value);
    } else if (strcmp(part, "volatile") == 0) {
        if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
            return refuse(why, "--site-attributes volatile=%s: yes or no", value);
        o->is_volatile = value[0] == 'y';
    } else {
        return refuse(why, "--site-attributes %s: unknown; there are provider, price and volatile",
                      part);
    }
    return true;
}

static bool
attributes_read(struct cw_options *o, char why[static CW_OPT_WHY_SIZE])
{
    return o->site_attributes == NULL || parts_read(o, o->site_attributes, attribute_part, why);
}

static bool
listen_sane(const struct cw_options *o, char why[static CW_OPT_WHY_SIZE])
{
    struct cw_addr a;

    if (o->listen == NULL)
        return refuse(why, "--listen ADDR:PORT is missing");
    if (!cw_addr_parse(o->listen, true, &a))
        return refuse(why, "--listen %s: not ADDR:PORT", o->listen);
    if (o->advertise != NULL && !cw_addr_parse(o->advertise, false, &a))
        return refuse(why, "--advertise %s: not ADDR:PORT", o->advertise);
    if (strcmp(a.host, "0.0.0.0") == 0 || strcmp(a.host, "::") == 0)
        return refuse(why, "--listen %s: nobody can connect to that; add --advertise ADDR:PORT",
                      o->listen);
    return true;
}

static bool
join_sane(const struct cw_options *o, char why[static CW_OPT_WHY_SIZE])
{
    char *text, *rest, *part;
    struct cw_addr a;
    bool ok = true;

    if (o->join == NULL)
        return refuse(why, "--join ADDR:PORT is missing: where is the manager?");
    text = rest = copy(o->join);
    while (ok && (part = strsep(&rest, ",")) != NULL)
        ok = cw_addr_parse(part, false, &a);
    free(text);
    return ok || refuse(why, "--join %s: not ADDR:PORT[,ADDR:PORT..]", o->join);
}

static bool
etcd_option_sane(const struct cw_options *o, char why[static CW_OPT_WHY_SIZE])
{
    bool user = o->metadata_user != NULL, password = o->metadata_password_file != NULL;
    bool any = o->metadata_prefix != NULL || user || password || o->metadata_ca != NULL ||
               o->metadata_cert != NULL || o->metadata_key != NULL;

    if (any && (o->metadata == NULL || strncmp(o->metadata, "etcd:", 5) != 0))
        return refuse(why, "--metadata-..: only with --metadata etcd:URL");
    if (user != password)
        return refuse(why, "--metadata-user and --metadata-password-file go together");
    if ((o->metadata_cert != NULL) != (o->metadata_key != NULL))
        return refuse(why, "--metadata-cert and --metadata-key go together");
    if (o->metadata_prefix != NULL &&
        (o->metadata_prefix[0] != '/' || strlen(o->metadata_prefix) > ETCD_PREFIX_MAX ||
         o->metadata_prefix[strlen(o->metadata_prefix) - 1] == '/'))
        return refuse(why, "--metadata-prefix %s: /NAME, at most %d bytes", o->metadata_prefix,
                      ETCD_PREFIX_MAX);
    return true;
}

/* A host with etcd may lead itself, and hears from there who else does. */
static bool
host_metadata_sane(const struct cw_options *o, char why[static CW_OPT_WHY_SIZE])
{
    if (o->metadata == NULL && (o->bootstrap || o->cluster_name != NULL))
        return refuse(why, "--bootstrap and --cluster-name: only with --role manager, or with "
                           "--metadata etcd:URL");
    if (o->metadata == NULL)
        return join_sane(o, why);
    if (strncmp(o->metadata, "lmdb:", 5) == 0)
        return refuse(why,
                      "--metadata %s: with lmdb the manager is a process of its own: see "
                      "--role manager",
                      o->metadata);
    if (strncmp(o->metadata, "etcd:", 5) != 0 || o->metadata[5] == '\0')
        return refuse(why, "--metadata %s: not etcd:URL[,URL..]", o->metadata);
    return o->join == NULL || join_sane(o, why);
}

static bool
host_sane(struct cw_options *o, char why[static CW_OPT_WHY_SIZE])
{
    if (o->host == NULL)
        return refuse(why, "--host NAME is missing");
    if (!cw_name_ok(o->host))
        return refuse(why, "--host %s: a name is 1 to 63 of [A-Za-z0-9._-]", o->host);
    if (o->n_stores == 0)
        return refuse(why, "--store PATH is missing");
    if (!domain_read(o, why) || !attributes_read(o, why))
        return false;
    o->is_cloud = o->site_kind != NULL ? strcmp(o->site_kind, "cloud") == 0 : o->domain_auto;
    if (o->site_kind != NULL && !o->is_cloud && strcmp(o->site_kind, "on-premise") != 0)
        return refuse(why, "--site-kind %s: on-premise or cloud", o->site_kind);
    return listen_sane(o, why) && host_metadata_sane(o, why);
}

static bool
manager_sane(struct cw_options *o, char why[static CW_OPT_WHY_SIZE])
{
    if (o->metadata == NULL)
        return refuse(why, "--metadata lmdb:DIR is missing");
    if (strncmp(o->metadata, "etcd:", 5) == 0)
        return refuse(why,
                      "--metadata %s: with etcd the hosts may lead: give it to them, and start "
                      "no --role manager",
                      o->metadata);
    if (strncmp(o->metadata, "lmdb:", 5) != 0 || o->metadata[5] == '\0')
        return refuse(why, "--metadata %s: not lmdb:DIR", o->metadata);
    if (o->n_stores > 0)
        return refuse(why, "--store: the manager has no stores");
    return listen_sane(o, why);
}

static bool
discard_sane(struct cw_options *o, char why[static CW_OPT_WHY_SIZE])
{
    const char *text = o->store_discard_text;

    if (text == NULL)
        return true;
    if (strcmp(text, "yes") != 0 && strcmp(text, "no") != 0)
        return refuse(why, "--store-discard=%s: yes or no", text);
    o->store_discard = text[0] == 'y' ? CW_STORE_DISCARD_YES : CW_STORE_DISCARD_NO;
    return true;
}

static bool
common_sane(struct cw_options *o, char why[static CW_OPT_WHY_SIZE])
{
    struct cw_addr http;

    o->log_level = CW_LOG_INFO;
    if (o->log_level_text != NULL && !cw_log_level_parse(o->log_level_text, &o->log_level))
        return refuse(why, "--log-level %s: error, warning, notice, info or debug",
                      o->log_level_text);
    if (o->memory_text != NULL && !cw_size_parse(o->memory_text, &o->memory_bytes))
        return refuse(why, "--memory %s: not a size", o->memory_text);
    if (o->memory_text != NULL && o->memory_bytes < cw_memory_least(o->n_stores))
        return refuse(why, "--memory %s: at least 64M, and 32M for each store", o->memory_text);
    if (o->http != NULL && !cw_addr_parse(o->http, true, &http))
        return refuse(why, "--http %s: not ADDR:PORT", o->http);
    if (o->role_text != NULL && strcmp(o->role_text, "manager") == 0)
        o->role = CW_ROLE_MANAGER;
    else if (o->role_text != NULL && strcmp(o->role_text, "host") != 0)
        return refuse(why, "--role %s: host or manager", o->role_text);
    if (o->force && o->action != CW_ACT_FORMAT)
        return refuse(why, "--force: only with --format");
    return etcd_option_sane(o, why) && discard_sane(o, why);
}

static bool
options_sane(struct cw_options *o, char why[static CW_OPT_WHY_SIZE])
{
    if (!common_sane(o, why))
        return false;
    if (o->action == CW_ACT_FORMAT)
        return o->n_stores > 0 || refuse(why, "--format: which store? add --store PATH[:SIZE]");
    return o->role == CW_ROLE_MANAGER ? manager_sane(o, why) : host_sane(o, why);
}

bool
cw_options_read(struct cw_options *o, int argc, char **argv, char why[static CW_OPT_WHY_SIZE])
{
    char *config = NULL;
    bool ok;

    *o = (struct cw_options){ 0 };
    ok = argv_read(o, argc, argv, &config, why);
    if (ok && config != NULL)
        ok = file_read(o, config, why);
    free(config);
    if (!ok || o->action == CW_ACT_HELP || o->action == CW_ACT_VERSION)
        return ok;
    return options_sane(o, why);
}

void
cw_options_fini(struct cw_options *o)
{
    for (size_t i = 0; i < CW_LEN(keys); i++)
        free(*key_slot(o, &keys[i]));
    for (uint32_t i = 0; i < o->n_stores; i++)
        free(o->stores[i].path);
}
