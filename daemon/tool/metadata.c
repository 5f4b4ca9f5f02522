/* tool/metadata.c - the command: a cluster's metadata from a store into a file, and back into one.
 *
 *   export   --from STORE --read, check--> FILE
 *   import   FILE --check--> nothing there? --> old records out, new ones in, /cluster last -->
 * STORE
 *
 * A store without /cluster holds no cluster, so an import that was broken off is none, and may be
 * made again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/assert.h"
#include "common/base/bits.h"
#include "daemon/metadata/metafile.h"
#include "daemon/tool/place.h"
#include "daemon/tool/stand.h"
#include "daemon/tool/tool.h"

#define TXN_RECS 100u
#define CLUSTER "/cluster"

struct run {
    struct cw_tool *t;
    const struct cw_tool_cmd *cmd;
    struct cw_place_opts place;
    const char *from, *to;
    bool force;
    struct cw_metafile file;
};

static bool
is_store(const char *text)
{
    return (strncmp(text, "lmdb:", 5) == 0 || strncmp(text, "etcd:", 5) == 0) && text[5] != '\0';
}

/* ---- what it says ---- */

static void
say(struct run *x, const char *next)
{
    const struct cw_cluster_rec *c = &x->file.cluster;
    char id[CW_UUID_TEXT_SIZE];

    cw_uuid_format(&c->cluster_id, id);
    if (x->t->json)
        cw_tool_json(x->t,
                     json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:s}", "cluster", c->name, "cluster_id",
                               id, "from", x->from, "to", x->to, "records", (json_int_t)x->file.n,
                               "volumes", (json_int_t)x->file.n_volumes, "next", next));
    else
        fprintf(x->t->out, "%s: cluster %s (%s), %zu volumes, %zu records; next: %s\n", x->to,
                c->name, id, x->file.n_volumes, x->file.n, next);
}

/* ---- export ---- */

static int
export_write(struct run *x)
{
    char why[CW_METAFILE_WHY_SIZE];
    int err;

    if (!cw_metafile_check(&x->file, why))
        return cw_tool_fail(x->t, "NO_CLUSTER", x->from, "nothing was written", "%s: %s", x->from,
                            why);
    err = cw_metafile_write(&x->file, x->to, x->force);
    if (err == -EEXIST)
        return cw_tool_fail(x->t, "EXISTS", x->to, "name another file, or replace it with --force",
                            "%s: is there already", x->to);
    if (err != 0)
        return cw_tool_fail(x->t, "CANNOT_WRITE", x->to, NULL, "%s: %s", x->to, strerror(-err));
    say(x,
        "causeway-store metadata import --from FILE --to lmdb:DIR or etcd:URL[,URL..]; until the "
        "cluster runs from there, let no manager change what was exported");
    return CW_TOOL_OK;
}

static int
export_run(struct run *x)
{
    struct cw_place *p;
    bool ok;

    x->place.text = x->from;
    if (!cw_place_open(x->t, &x->place, &p))
        return CW_TOOL_FOUND;
    ok = cw_place_read(p, &x->file, NULL);
    cw_place_close(p);
    return ok ? export_write(x) : CW_TOOL_FOUND;
}

/* ---- import ---- */

static const struct cw_metafile_rec *
cluster_of(const struct cw_metafile *m, size_t *ret_index)
{
    for (size_t i = 0; i < m->n; i++) {
        *ret_index = i;
        if (strcmp(m->at[i].key, CLUSTER) == 0)
            return &m->at[i];
    }
    return NULL;
}

/* Those of m but /cluster, or /cluster alone; put if versions is NULL, else removed. */
static bool
import_some(struct run *x, struct cw_place *p, const struct cw_metafile *m, bool cluster,
            const uint64_t *versions)
{
    struct cw_kv_compare compares[TXN_RECS];
    struct cw_kv_op ops[TXN_RECS];
    size_t n = 0;

    for (size_t i = 0; i < m->n; i++) {
        const struct cw_metafile_rec *r = &m->at[i];

        if ((strcmp(r->key, CLUSTER) == 0) != cluster)
            continue;
        compares[n] = (struct cw_kv_compare){ r->key, versions != NULL ? versions[i] : 0 };
        ops[n++] = (struct cw_kv_op){ r->key, versions != NULL ? NULL : r->value, r->len };
        if (n == TXN_RECS) {
            if (!cw_place_commit(p, compares, ops, n))
                return false;
            n = 0;
            cw_tool_progress(x->t, versions != NULL ? "removed" : "written", i, m->n);
        }
    }
    return n == 0 || cw_place_commit(p, compares, ops, n);
}

static bool
import_into(struct run *x, struct cw_place *p)
{
    struct cw_metafile old = { 0 };
    uint64_t *versions = NULL;
    size_t i;
    bool ok = cw_place_read(p, &old, &versions);

    if (ok && cluster_of(&old, &i) != NULL && !x->force) {
        cw_tool_fail(x->t, "HOLDS_A_CLUSTER", x->to,
                     "nothing was changed; --force removes that cluster's metadata for good",
                     "%s: holds a cluster already", x->to);
        ok = false;
    }
    ok = ok && import_some(x, p, &old, true, versions) &&
         import_some(x, p, &old, false, versions) && import_some(x, p, &x->file, false, NULL) &&
         import_some(x, p, &x->file, true, NULL);
    cw_metafile_fini(&old);
    free(versions);
    cw_tool_progress_end(x->t);
    return ok;
}

static int
import_read(struct run *x)
{
    char why[CW_METAFILE_WHY_SIZE];
    int err = cw_metafile_read(x->from, &x->file);

    if (err == -EBADMSG)
        return cw_tool_fail(x->t, "DAMAGED", x->from, "nothing was changed; take another export",
                            "%s: is damaged, cut short, or no export", x->from);
    if (err != 0)
        return cw_tool_fail(x->t, "CANNOT_READ", x->from, NULL, "%s: %s", x->from, strerror(-err));
    if (!cw_metafile_check(&x->file, why))
        return cw_tool_fail(x->t, "DAMAGED", x->from, "nothing was changed", "%s: %s", x->from,
                            why);
    return CW_TOOL_OK;
}

static int
import_run(struct run *x)
{
    struct cw_place *p;
    bool ok;

    if (import_read(x) != CW_TOOL_OK)
        return CW_TOOL_FOUND;
    x->place.text = x->to;
    x->place.write = true;
    if (!cw_place_open(x->t, &x->place, &p))
        return CW_TOOL_FOUND;
    ok = import_into(x, p);
    cw_place_close(p);
    if (!ok)
        return CW_TOOL_FOUND;
    if (strncmp(x->to, "etcd:", 5) == 0)
        say(x, "start every daemon with --metadata as above instead of --join; never again start a "
               "manager on what was exported");
    else
        say(x, "causewayd --role manager --metadata as above --listen ADDR:PORT; never again start "
               "a manager on what was exported");
    return CW_TOOL_OK;
}

/* ---- the command ---- */

static int
run_usage(struct run *x, int n, char **argv)
{
    bool export, known = n > 0;
    const char *store;

    export = known && strcmp(argv[0], "export") == 0;
    known = export || (known && strcmp(argv[0], "import") == 0);
    if (!known || n != 1)
        return cw_tool_usage(x->t, x->cmd, "export or import?");
    if (x->from == NULL || x->to == NULL || x->from[0] == '\0' || x->to[0] == '\0')
        return cw_tool_usage(x->t, x->cmd, "%s needs --from and --to", argv[0]);
    store = export ? x->from : x->to;
    if (!is_store(store))
        return cw_tool_usage(x->t, x->cmd, "%s: write it as lmdb:DIR or etcd:URL[,URL..]", store);
    if (is_store(export ? x->to : x->from))
        return cw_tool_usage(x->t, x->cmd, "%s: a file goes between; export first, then import",
                             export ? x->to : x->from);
    return export ? export_run(x) : import_run(x);
}

static int
metadata_run(struct cw_tool *t, const struct cw_tool_cmd *cmd, int argc, char **argv)
{
    struct run *x = cw_tool_alloc(sizeof(*x));
    const struct cw_tool_opt opts[] = {
        { .name = "from", .text = &x->from },
        { .name = "to", .text = &x->to },
        { .name = "force", .flag = &x->force },
        { .name = "etcd-prefix", .text = &x->place.etcd_prefix },
        { .name = "etcd-user", .text = &x->place.etcd_user },
        { .name = "etcd-password-file", .text = &x->place.etcd_password_file },
        { .name = "etcd-ca", .text = &x->place.etcd_ca },
        { .name = "etcd-cert", .text = &x->place.etcd_cert },
        { .name = "etcd-key", .text = &x->place.etcd_key },
        { 0 },
    };
    int n, status;

    x->t = t;
    x->cmd = cmd;
    status = cw_tool_args(t, cmd, opts, argc, argv, &n);
    if (status == CW_TOOL_GO)
        status = run_usage(x, n, argv);
    cw_metafile_fini(&x->file);
    free(x);
    return status;
}

const struct cw_tool_cmd cw_tool_metadata_cmd = {
    .word = "metadata",
    .args = "export --from STORE --to FILE | import --from FILE --to STORE [--force] [--etcd-..] "
            "[--json]",
    .brief = "Save a cluster's metadata, or move it between LMDB and etcd.",
    .about =
        "STORE is lmdb:DIR, a manager's directory that no manager has open, or\n"
        "etcd:URL[,URL..]. FILE checks itself: one that is damaged or cut is refused.\n\n"
        "To move a cluster to etcd: stop the manager, export, import, then start every daemon "
        "with\n"
        "--metadata etcd:URL[,URL..]. Data keeps flowing meanwhile. What the old store holds is "
        "old\n"
        "from then on: never start a manager on it again.\n\n"
        "An import refuses a store that holds a cluster; --force removes that first. One that is\n"
        "broken off leaves no cluster behind; make it again. An export from etcd may be made "
        "while\n"
        "daemons run, an import into it may not. export --force replaces FILE.\n\n"
        "  --etcd-prefix KEY          where in etcd; /causeway unless said otherwise\n"
        "  --etcd-user NAME --etcd-password-file FILE\n"
        "  --etcd-ca FILE --etcd-cert FILE --etcd-key FILE    PEM, for https\n\n"
        "Example: causeway-store metadata export --from lmdb:/var/lib/causeway --to cluster.meta\n"
        "         causeway-store metadata import --from cluster.meta --to "
        "etcd:http://10.0.0.1:2379\n",
    .run = metadata_run,
};
