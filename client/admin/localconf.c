/* admin/localconf.c - what a local cluster consists of: cluster.json, names, ports. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/admin/args.h"
#include "client/admin/local.h"
#include "common/base/bits.h"
#include "common/shape/payload.h"

/* Below every range from which kernels give ports to outgoing connections: a daemon's port must
 * still be free when it is started again. */
#define PORT_MIN 20000
#define PORT_SPAN 10000
#define ADDRESSES_MAX 16 /* what a client takes */

char *
cw_local_path(const struct cw_local *l, const struct cw_local_node *n, const char *file,
              char ret[static CW_LOCAL_PATH_SIZE])
{
    snprintf(ret, CW_LOCAL_PATH_SIZE, "%s/%s%s%s", l->dir, n->name, file[0] != '\0' ? "/" : "",
             file);
    return ret;
}

bool
cw_local_is_etcd(const struct cw_local *l)
{
    return l->node[0].kind == CW_LOCAL_MEMBER;
}

char *
cw_local_address(const struct cw_local *l, char ret[static CW_LOCAL_ADDRESS_SIZE])
{
    uint32_t from = cw_local_is_etcd(l) ? l->n_control : 0;
    uint32_t n = cw_local_is_etcd(l) ? l->n_nodes - from : 1;
    size_t used = 0;

    ret[0] = '\0';
    for (uint32_t i = 0; i < n && i < ADDRESSES_MAX; i++)
        used += (size_t)snprintf(ret + used, CW_LOCAL_ADDRESS_SIZE - used, "%s127.0.0.1:%u",
                                 i > 0 ? "," : "", l->node[from + i].port);
    return ret;
}

struct cw_local_node *
cw_local_find(struct cw_local *l, const char *name)
{
    for (uint32_t i = 0; i < l->n_nodes; i++) {
        if (strcmp(l->node[i].name, name) == 0)
            return &l->node[i];
    }
    return NULL;
}

void
cw_local_init(struct cw_local *l, const char *dir, bool etcd, uint64_t store_bytes,
              uint64_t memory_bytes)
{
    *l = (struct cw_local){ .store_bytes = store_bytes, .memory_bytes = memory_bytes };
    snprintf(l->dir, sizeof(l->dir), "%s", dir);
    l->n_nodes = l->n_control = etcd ? CW_LOCAL_ETCD : 1;
    for (uint32_t i = 0; i < l->n_control; i++) {
        l->node[i].kind = etcd ? CW_LOCAL_MEMBER : CW_LOCAL_MANAGER;
        snprintf(l->node[i].name, CW_LOCAL_NAME_SIZE, etcd ? "etcd-%u" : "manager", i + 1);
    }
}

bool
cw_local_dir(const char *dir, char ret[static PATH_MAX])
{
    char cwd[PATH_MAX];
    int n;

    if (dir[0] == '/')
        n = snprintf(ret, PATH_MAX, "%s", dir);
    else if (getcwd(cwd, sizeof(cwd)) == NULL)
        return false;
    else
        n = snprintf(ret, PATH_MAX, "%s/%s", cwd, strncmp(dir, "./", 2) == 0 ? dir + 2 : dir);
    if (n >= PATH_MAX - 1)
        return false;
    while (n > 1 && ret[n - 1] == '/')
        ret[--n] = '\0';
    if (n > 2 && strcmp(ret + n - 2, "/.") == 0)
        ret[n - 2] = '\0';
    return true;
}

/* ---- hosts ---- */

static bool
local_site_is_cloud(const char *site)
{
    static const char *const clouds[] = { "aws", "azure", "gcp", "ibm" };

    for (size_t i = 0; i < CW_LEN(clouds); i++) {
        if (strcmp(site, clouds[i]) == 0)
            return true;
    }
    return false;
}

static bool
local_site_ok(const char *site)
{
    size_t len = strlen(site);

    if (len == 0 || len > 40 || !isalnum((unsigned char)site[0]))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)site[i]) && site[i] != '-' && site[i] != '_')
            return false;
    }
    return true;
}

/* The next free number in SITE-N: one above the highest. */
static unsigned
local_next_number(const struct cw_local *l, const char *site)
{
    unsigned next = 1;

    for (uint32_t i = l->n_control; i < l->n_nodes; i++) {
        const char *dash = strrchr(l->node[i].name, '-');
        unsigned n = dash != NULL ? (unsigned)strtoul(dash + 1, NULL, 10) : 0;

        if (strcmp(l->node[i].site, site) == 0 && n >= next)
            next = n + 1;
    }
    return next;
}

static bool
local_add_site(struct cw_local *l, const char *site, uint64_t n, bool is_cloud, char *why)
{
    if (l->n_nodes - l->n_control + n > CW_LOCAL_HOSTS_MAX) {
        snprintf(why, CW_LOCAL_WHY_SIZE, "more than %d hosts", CW_LOCAL_HOSTS_MAX);
        return false;
    }
    for (; n > 0; n--) {
        struct cw_local_node *node = &l->node[l->n_nodes];

        *node = (struct cw_local_node){ .kind = CW_LOCAL_HOST, .is_cloud = is_cloud };
        snprintf(node->site, sizeof(node->site), "%s", site);
        snprintf(node->name, sizeof(node->name), "%.40s-%u", site, local_next_number(l, site));
        l->n_nodes++;
    }
    return true;
}

/* One "SITE:N[:KIND]", which is cut up. */
static bool
local_add_spec(struct cw_local *l, char *spec, char *why)
{
    char *count = strchr(spec, ':'), *kind = NULL;
    bool is_cloud;
    uint64_t n;

    if (count != NULL) {
        *count++ = '\0';
        if ((kind = strchr(count, ':')) != NULL)
            *kind++ = '\0';
    }
    if (count == NULL || !local_site_ok(spec) || !cw_args_number(count, &n) || n == 0 ||
        n > CW_LOCAL_HOSTS_MAX) {
        snprintf(why, CW_LOCAL_WHY_SIZE, "'%s%s%s' is not SITE:N with N from 1 to %d", spec,
                 count != NULL ? ":" : "", count != NULL ? count : "", CW_LOCAL_HOSTS_MAX);
        return false;
    }
    is_cloud = kind != NULL ? strcmp(kind, "cloud") == 0 : local_site_is_cloud(spec);
    if (kind != NULL && !is_cloud && strcmp(kind, "on-premise") != 0) {
        snprintf(why, CW_LOCAL_WHY_SIZE, "'%s' is no kind of site: on-premise or cloud", kind);
        return false;
    }
    return local_add_site(l, spec, n, is_cloud, why);
}

bool
cw_local_add_hosts(struct cw_local *l, const char *spec, char why[static CW_LOCAL_WHY_SIZE])
{
    char *copy = strdup(spec), *rest = copy, *one;
    bool ok = copy != NULL && spec[0] != '\0';

    if (!ok)
        snprintf(why, CW_LOCAL_WHY_SIZE, "no hosts are named");
    while (ok && (one = strsep(&rest, ",")) != NULL)
        ok = local_add_spec(l, one, why);
    free(copy);
    return ok;
}

/* ---- ports ---- */

/* A socket bound to that port, or -1. reuse: also if old connections of it linger. */
static int
local_bind(uint16_t port, bool reuse)
{
    int on = reuse;
    struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (fd >= 0 && bind(fd, (struct sockaddr *)&sin, sizeof(sin)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

bool
cw_local_port_is_free(uint16_t port)
{
    int fd = local_bind(port, true);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

char *
cw_local_http(const struct cw_local_node *n, char ret[static 32])
{
    ret[0] = '\0';
    if (n->http != 0)
        snprintf(ret, 32, "127.0.0.1:%u", n->http);
    return ret;
}

/* All are held until the last is chosen, so that no port is chosen twice. */
struct local_ports {
    int fd[3 * CW_LOCAL_NODES_MAX], n;
    unsigned at;
};

static bool
local_pick_port(struct local_ports *p, uint16_t *to)
{
    for (int tries = 0; *to == 0 && tries < PORT_SPAN; tries++) {
        uint16_t port = (uint16_t)(PORT_MIN + p->at++ % PORT_SPAN);

        p->fd[p->n] = local_bind(port, false);
        if (p->fd[p->n] < 0)
            continue;
        *to = port;
        p->n++;
    }
    return *to != 0;
}

static bool
local_pick_ports(struct local_ports *p, struct cw_local_node *n)
{
    return local_pick_port(p, &n->port) &&
           local_pick_port(p, n->kind == CW_LOCAL_MEMBER ? &n->peer_port : &n->http);
}

bool
cw_local_pick_ports(struct cw_local *l)
{
    struct local_ports p = { .n = 0 };
    bool ok = true;

    if (getrandom(&p.at, sizeof(p.at), 0) != sizeof(p.at))
        p.at = (unsigned)getpid();
    for (uint32_t i = 0; i < l->n_nodes && ok; i++)
        ok = l->node[i].port != 0 || local_pick_ports(&p, &l->node[i]);
    while (p.n > 0)
        close(p.fd[--p.n]);
    return ok;
}

/* ---- cluster.json ---- */

static json_t *
local_node_json(const struct cw_local *l, const struct cw_local_node *n)
{
    char address[32], peer[32], http[32];

    snprintf(address, sizeof(address), "127.0.0.1:%u", n->port);
    cw_local_http(n, http);
    switch (n->kind) {
    case CW_LOCAL_MANAGER:
        return json_pack("{s:s,s:s,s:s,s:b}", "name", n->name, "address", address, "http", http,
                         "prepared", l->bootstrapped);
    case CW_LOCAL_MEMBER:
        snprintf(peer, sizeof(peer), "127.0.0.1:%u", n->peer_port);
        return json_pack("{s:s,s:s,s:s}", "name", n->name, "address", address, "peer_address",
                         peer);
    case CW_LOCAL_HOST:
        return json_pack("{s:s,s:s,s:s,s:s,s:s,s:b}", "name", n->name, "site", n->site, "site_kind",
                         n->is_cloud ? "cloud" : "on-premise", "address", address, "http", http,
                         "prepared", n->prepared);
    }
    cw_unreachable();
}

static json_t *
local_json(const struct cw_local *l)
{
    json_t *hosts = json_array(), *members = json_array(), *all;
    bool etcd = cw_local_is_etcd(l);

    for (uint32_t i = l->n_control; i < l->n_nodes; i++)
        json_array_append_new(hosts, local_node_json(l, &l->node[i]));
    for (uint32_t i = 0; etcd && i < l->n_control; i++)
        json_array_append_new(members, local_node_json(l, &l->node[i]));
    all = json_pack("{s:i,s:s,s:s,s:I,s:I,s:b,s:o}", "schema", CW_JSON_SCHEMA, "dir", l->dir,
                    "metadata", etcd ? "etcd" : "lmdb", "store_size_bytes",
                    (json_int_t)l->store_bytes, "memory_bytes", (json_int_t)l->memory_bytes,
                    "bootstrapped", l->bootstrapped, "hosts", hosts);
    if (etcd)
        json_object_set(all, "etcd", members);
    else
        json_object_set_new(all, "manager", local_node_json(l, &l->node[0]));
    json_decref(members);
    return all;
}

int
cw_local_save(const struct cw_local *l)
{
    char path[CW_LOCAL_PATH_SIZE], tmp[CW_LOCAL_PATH_SIZE];
    json_t *all = local_json(l);
    FILE *f;
    int res = 0;

    snprintf(path, sizeof(path), "%s/cluster.json", l->dir);
    snprintf(tmp, sizeof(tmp), "%s/.cluster.json.new", l->dir);
    f = fopen(tmp, "we");
    if (f == NULL || json_dumpf(all, f, JSON_INDENT(2)) != 0 || fputc('\n', f) == EOF ||
        fflush(f) != 0 || fsync(fileno(f)) != 0)
        res = errno != 0 ? -errno : -EIO;
    if (f != NULL && fclose(f) != 0 && res == 0)
        res = -errno;
    if (res == 0 && rename(tmp, path) != 0)
        res = -errno;
    json_decref(all);
    return res;
}

static bool
local_parse_port(const char *address, uint16_t *ret)
{
    unsigned port;

    if (sscanf(address, "127.0.0.1:%u", &port) != 1 || port == 0 || port > 65535)
        return false;
    *ret = (uint16_t)port;
    return true;
}

/* False: j is not what cw_local_save writes. */
static bool
local_load_node(struct cw_local *l, json_t *j, enum cw_local_kind kind)
{
    const char *name, *address, *peer = "", *http = "", *site = "", *site_kind = "";
    struct cw_local_node *n = &l->node[l->n_nodes];
    int prepared = 0;

    if (l->n_nodes == CW_LOCAL_NODES_MAX)
        return false;
    *n = (struct cw_local_node){ .kind = kind };
    if (json_unpack(j, "{s:s,s:s,s?s,s?s,s?b,s?s,s?s}", "name", &name, "address", &address,
                    "peer_address", &peer, "http", &http, "prepared", &prepared, "site", &site,
                    "site_kind", &site_kind) != 0 ||
        !local_parse_port(address, &n->port) ||
        (peer[0] != '\0' && !local_parse_port(peer, &n->peer_port)) ||
        (http[0] != '\0' && !local_parse_port(http, &n->http)) || strlen(name) >= sizeof(n->name) ||
        strlen(site) >= sizeof(n->site) || strchr(name, '/') != NULL)
        return false;
    n->is_cloud = strcmp(site_kind, "cloud") == 0;
    n->prepared = kind == CW_LOCAL_HOST && prepared != 0;
    if (kind == CW_LOCAL_MANAGER)
        l->bootstrapped = prepared != 0; /* of an earlier version, too */
    strcpy(n->name, name);
    strcpy(n->site, site);
    l->n_nodes++;
    return true;
}

static bool
local_load_nodes(struct cw_local *l, json_t *list, enum cw_local_kind kind)
{
    json_t *one;
    size_t i;

    json_array_foreach(list, i, one)
    {
        if (!local_load_node(l, one, kind))
            return false;
    }
    return true;
}

/* The path that the processes were started with, if it still leads here. */
static void
local_keep_dir(struct cw_local *l, const char *recorded)
{
    struct stat a, b;

    if (strlen(recorded) < sizeof(l->dir) && stat(recorded, &a) == 0 && stat(l->dir, &b) == 0 &&
        a.st_dev == b.st_dev && a.st_ino == b.st_ino)
        strcpy(l->dir, recorded);
}

static bool
local_load_json(struct cw_local *l, json_t *all)
{
    const char *recorded, *metadata;
    json_t *manager = NULL, *members = NULL, *hosts;
    json_int_t store, memory = 0;
    int bootstrapped = 0;
    bool etcd;

    if (json_unpack(all, "{s:s,s:s,s:I,s?I,s?b,s?o,s?o,s:o}", "dir", &recorded, "metadata",
                    &metadata, "store_size_bytes", &store, "memory_bytes", &memory, "bootstrapped",
                    &bootstrapped, "manager", &manager, "etcd", &members, "hosts", &hosts) != 0 ||
        store <= 0 || memory < 0)
        return false;
    etcd = strcmp(metadata, "etcd") == 0;
    if (etcd ? json_array_size(members) != CW_LOCAL_ETCD
             : strcmp(metadata, "lmdb") != 0 || manager == NULL)
        return false;
    l->store_bytes = (uint64_t)store;
    l->memory_bytes = (uint64_t)memory;
    local_keep_dir(l, recorded);
    l->n_nodes = 0;
    if (etcd ? !local_load_nodes(l, members, CW_LOCAL_MEMBER)
             : !local_load_node(l, manager, CW_LOCAL_MANAGER))
        return false;
    l->n_control = l->n_nodes;
    l->bootstrapped |= bootstrapped != 0;
    return local_load_nodes(l, hosts, CW_LOCAL_HOST);
}

int
cw_local_load(struct cw_local *l, const char *dir, char why[static CW_LOCAL_WHY_SIZE])
{
    char path[CW_LOCAL_PATH_SIZE];
    json_error_t error;
    json_t *all;
    FILE *f;
    bool ok;

    cw_local_init(l, dir, false, 0, 0);
    snprintf(path, sizeof(path), "%s/cluster.json", dir);
    f = fopen(path, "re");
    if (f == NULL) {
        int res = -errno;

        snprintf(why, CW_LOCAL_WHY_SIZE, "%.300s: %s", path, strerror(-res));
        return res;
    }
    all = json_loadf(f, 0, &error);
    fclose(f);
    ok = all != NULL && local_load_json(l, all);
    json_decref(all);
    if (!ok)
        snprintf(why, CW_LOCAL_WHY_SIZE, "%.300s is not a cluster.json of this program%s%.100s",
                 path, all == NULL ? ": " : "", all == NULL ? error.text : "");
    return ok ? 0 : -EINVAL;
}
