/* tool/rebuild.c - the command: stores looked at one after another, the plan told, LMDB written. */
#include "daemon/tool/rebuild.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "common/base/assert.h"
#include "common/base/bits.h"
#include "common/base/name.h"
#include "common/base/size.h"
#include "daemon/manager/text.h"
#include "daemon/metadata/kv-lmdb.h"
#include "daemon/metadata/records.h"
#include "daemon/tool/ckpt.h"

#define NAMES_MAX 256u
#define TXN_RECS 256u

struct run {
    struct cw_tool *t;
    struct cw_rebuild r;
    struct cw_rebuild_store *stores;
    struct cw_rebuild_copy *copies;
    uint32_t cap_copies;
    const char *out;

    const char *name_texts[NAMES_MAX], *out_texts[NAMES_MAX];
    size_t n_name_texts, n_out_texts;
    struct cw_rebuild_name names[NAMES_MAX];
    char name_mem[NAMES_MAX][CW_NAME_SIZE + 8];
    uint64_t leave_out[NAMES_MAX];
};

/* ---- stores ---- */

static void
copy_add(struct run *x, uint32_t store, const struct cw_inspect_shard *sh)
{
    x->r.highest_volume = cw_max_u64(x->r.highest_volume, CW_SHARD_VOLUME(sh->rec.shard));
    if (sh->h.flags & CW_SHARD_GONE)
        return;
    if (x->r.n_copies == x->cap_copies) {
        x->cap_copies = x->cap_copies == 0 ? 64 : x->cap_copies * 2;
        x->copies = realloc(x->copies, x->cap_copies * sizeof(*x->copies));
        cw_assert(x->copies != NULL);
    }
    x->copies[x->r.n_copies++] = (struct cw_rebuild_copy){
        .store = store,
        .rec = sh->rec,
        .promised_gen = sh->h.promised_gen,
        .last_gen = sh->h.last_gen,
        .last_seq = sh->h.last_seq,
        .syncing = sh->h.flags & CW_SHARD_SYNCING,
        .damaged = sh->h.flags & CW_SHARD_DAMAGED,
    };
}

static int
store_look(struct run *x, struct cw_stand *st, uint32_t i)
{
    struct cw_ckpt k = { 0 };
    int res = cw_stand_recover(st);

    if (res != 0 || !cw_ckpt_load(st, CW_STAND_CLOSED, 0, NULL, &k)) {
        cw_ckpt_free(&k);
        return cw_tool_fail(x->t, "STORE_BAD", st->path,
                            "leave it out; a volume that needs it is then refused, unless --force",
                            "%s: cannot be recovered: %s", st->path, cw_stand_outcome(res));
    }
    x->stores[i].id = *cw_store_identity(st->store);
    for (uint32_t n = 0; n < k.n_shards; n++)
        copy_add(x, i, &k.shards[n]);
    cw_ckpt_free(&k);
    return CW_TOOL_OK;
}

static int
stores_look(struct run *x, int argc, char **argv)
{
    x->stores = cw_tool_alloc((size_t)argc * sizeof(*x->stores));
    for (int i = 0; i < argc; i++) {
        struct cw_stand *st;
        int status = cw_stand_open(x->t, argv[i], true, &st);

        if (status != 0)
            return status;
        x->stores[i].path = argv[i];
        cw_tool_progress(x->t, "stores", (uint64_t)i + 1, (uint64_t)argc);
        status = store_look(x, st, (uint32_t)i);
        cw_stand_close(st);
        if (status != CW_TOOL_OK)
            return status;
    }
    cw_tool_progress_end(x->t);
    x->r.stores = x->stores;
    x->r.n_stores = (uint32_t)argc;
    x->r.copies = x->copies;
    return CW_TOOL_OK;
}

/* ---- the directory ---- */

static int
out_fail(struct run *x, int err)
{
    return cw_tool_fail(x->t, "CANNOT_WRITE", x->out,
                        err == ENOENT || err == ENOTDIR ? "name a directory to be made in one that "
                                                          "is there"
                        : err == EACCES || err == EPERM ? "run it as root, or name another"
                                                        : "name another directory",
                        "--out %s: %s", x->out, strerror(err));
}

/* Can a directory be made there? */
static int
out_parent_check(struct run *x)
{
    char *parent = strdup(x->out);
    size_t len = strlen(x->out);
    int err;

    cw_assert(parent != NULL);
    while (len > 0 && parent[len - 1] == '/')
        len--;
    while (len > 0 && parent[len - 1] != '/')
        len--;
    parent[len] = '\0';
    err = access(len == 0 ? "." : parent, W_OK | X_OK) == 0 ? 0 : errno;
    free(parent);
    return err == 0 ? CW_TOOL_OK : out_fail(x, err);
}

/* Before the stores are read, which takes long: it is not there yet, or empty. */
static int
out_check(struct run *x)
{
    DIR *d = opendir(x->out);
    const struct dirent *e;
    bool empty = true;

    if (d == NULL)
        return errno == ENOENT ? out_parent_check(x) : out_fail(x, errno);
    while ((e = readdir(d)) != NULL)
        empty &= strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
    closedir(d);
    if (!empty)
        return cw_tool_fail(x->t, "NOT_EMPTY", x->out, "name a directory that is not there yet",
                            "%s: is there and not empty", x->out);
    return access(x->out, W_OK | X_OK) == 0 ? CW_TOOL_OK : out_fail(x, errno);
}

struct commit {
    struct cw_kv_txn txn;
    bool done;
    enum cw_kv_result res;
    struct cw_kv_op ops[TXN_RECS];
    struct cw_kv_compare compares[TXN_RECS];
    char keys[TXN_RECS][CW_KV_KEY_SIZE];
    uint8_t bytes[TXN_RECS][CW_REC_BYTES_MAX];
};

static void
commit_on_done(struct cw_kv_txn *txn, enum cw_kv_result res, uint64_t version)
{
    struct commit *c = cw_container_of(txn, struct commit, txn);

    c->done = true;
    c->res = res;
}

static bool
commit_some(struct run *x, struct cw_kv *kv, struct commit *c, const struct cw_rec *recs, size_t n)
{
    c->done = false;
    for (size_t i = 0; i < n; i++) {
        cw_rec_key(&recs[i], c->keys[i]);
        c->compares[i] = (struct cw_kv_compare){ .key = c->keys[i] };
        c->ops[i] = (struct cw_kv_op){
            .key = c->keys[i],
            .value = c->bytes[i],
            .len = cw_metadata_codec()->encode(&recs[i], c->bytes[i]),
        };
    }
    c->txn = (struct cw_kv_txn){
        .compares = c->compares,
        .n_compares = n,
        .ops = c->ops,
        .n_ops = n,
        .done = commit_on_done,
    };
    cw_kv_commit(kv, &c->txn);
    while (!c->done) {
        if (cw_reactor_turn(x->t->r, CW_NEVER) != 0)
            return false;
    }
    return c->res == CW_KV_APPLIED;
}

/* The cluster's record comes last: without it no manager starts on a directory half written. */
static int
records_write(struct run *x)
{
    struct cw_lmdb_opts opts = { .env = cw_reactor_env(x->t->r), .dir = x->out, .bootstrap = true };
    struct commit *c = cw_tool_alloc(sizeof(*c));
    char why[CW_LMDB_WHY_SIZE];
    struct cw_lmdb *l;
    bool ok = true;

    if (cw_lmdb_open(&opts, &l, why) != 0) {
        free(c);
        return cw_tool_fail(x->t, "CANNOT_WRITE", x->out,
                            "nothing was written to the stores; name another directory", "%s", why);
    }
    for (size_t at = 0, n; ok && at < x->r.n_recs; at += n) {
        n = cw_min_u64(TXN_RECS, x->r.n_recs - at);
        ok = commit_some(x, cw_lmdb_kv(l), c, &x->r.recs[at], n);
    }
    cw_lmdb_close(l);
    free(c);
    if (!ok)
        return cw_tool_fail(x->t, "CANNOT_WRITE", x->out, "remove it and try again elsewhere",
                            "%s: the records could not be written", x->out);
    return CW_TOOL_OK;
}

/* ---- what it says ---- */

static json_t *
texts_json(const struct cw_rebuild_texts *t)
{
    json_t *list = json_array();

    for (size_t i = 0; i < t->n; i++)
        json_array_append_new(list, json_string(t->at[i]));
    return list;
}

static void
say_json(const struct run *x)
{
    json_t *volumes = json_array();
    char cluster[CW_UUID_TEXT_SIZE];

    for (size_t i = 0; i < x->r.n_recs; i++) {
        const struct cw_volume_rec *v = &x->r.recs[i].volume;

        if (x->r.recs[i].kind != CW_REC_VOLUME)
            continue;
        json_array_append_new(volumes,
                              json_pack("{s:I,s:s,s:I,s:s,s:I}", "id", (json_int_t)v->id, "name",
                                        v->name, "size_bytes", (json_int_t)v->size_bytes, "policy",
                                        v->policy, "gen", (json_int_t)v->gen));
    }
    cw_tool_json(x->t, json_pack("{s:s,s:b,s:s,s:I,s:o,s:o,s:o}", "out", x->out, "written",
                                 x->r.refused.n == 0, "cluster",
                                 cw_uuid_format(&x->stores[0].id.cluster_id, cluster), "stores",
                                 (json_int_t)x->r.n_stores, "volumes", volumes, "notes",
                                 texts_json(&x->r.notes), "refused", texts_json(&x->r.refused)));
}

static void
say_text(const struct run *x)
{
    char size[CW_SIZE_TEXT_SIZE];
    FILE *o = x->t->out;

    for (size_t i = 0; i < x->r.n_recs; i++) {
        const struct cw_volume_rec *v = &x->r.recs[i].volume;

        if (x->r.recs[i].kind == CW_REC_VOLUME)
            fprintf(o, "volume  %" PRIu64 " %s, %s, policy %s\n", v->id, v->name,
                    cw_size_format(v->size_bytes, size), v->policy);
    }
    for (size_t i = 0; i < x->r.notes.n; i++)
        fprintf(o, "note    %s\n", x->r.notes.at[i]);
    for (size_t i = 0; i < x->r.refused.n; i++)
        fprintf(o, "refused %s\n", x->r.refused.at[i]);
    if (x->r.refused.n > 0)
        fprintf(o, "nothing was written\n");
    else
        fprintf(o,
                "%s: written; next: causewayd --role manager --metadata lmdb:%s --listen "
                "ADDR:PORT, then start the hosts\n",
                x->out, x->out);
}

/* ---- the command ---- */

static int
names_take(struct run *x, const struct cw_tool_cmd *cmd)
{
    for (size_t i = 0; i < x->n_name_texts; i++) {
        const char *eq = strchr(x->name_texts[i], '=');
        char number[24];

        if (eq == NULL || (size_t)(eq - x->name_texts[i]) >= sizeof(number))
            return cw_tool_usage(x->t, cmd, "--name %s: write it as VOLUME=NAME", x->name_texts[i]);
        if (!cw_name_ok(eq + 1))
            return cw_tool_usage(x->t, cmd, "--name %s: a name is 1 to 63 of [A-Za-z0-9._-]",
                                 x->name_texts[i]);
        snprintf(number, sizeof(number), "%.*s", (int)(eq - x->name_texts[i]), x->name_texts[i]);
        snprintf(x->name_mem[i], sizeof(x->name_mem[i]), "%s", eq + 1);
        if (!cw_tool_number(number, &x->names[i].volume))
            return cw_tool_usage(x->t, cmd, "--name: %s is no number of a volume", number);
        x->names[i].name = x->name_mem[i];
    }
    for (size_t i = 0; i < x->n_out_texts; i++) {
        if (!cw_tool_number(x->out_texts[i], &x->leave_out[i]))
            return cw_tool_usage(x->t, cmd, "--leave-out: %s is no number of a volume",
                                 x->out_texts[i]);
    }
    x->r.names = x->names;
    x->r.n_names = x->n_name_texts;
    x->r.leave_out = x->leave_out;
    x->r.n_leave_out = x->n_out_texts;
    if (x->r.cluster_name != NULL && !cw_name_ok(x->r.cluster_name))
        return cw_tool_usage(x->t, cmd, "--cluster-name: 1 to 63 of [A-Za-z0-9._-]");
    return CW_TOOL_GO;
}

static int
rebuild_all(struct run *x, int argc, char **argv)
{
    int status = out_check(x);

    if (status == CW_TOOL_OK)
        status = stores_look(x, argc, argv);
    if (status != CW_TOOL_OK)
        return status;
    x->r.now_s = (uint64_t)time(NULL);
    if (getrandom(x->r.random, sizeof(x->r.random), 0) != sizeof(x->r.random))
        return cw_tool_fail(x->t, "NO_RANDOM", "", "see: man 2 getrandom", "no random numbers: %s",
                            strerror(errno));
    status = cw_rebuild_plan(&x->r) ? records_write(x) : CW_TOOL_FOUND;
    if (x->t->failed)
        return status;
    if (x->t->json)
        say_json(x);
    else
        say_text(x);
    return status;
}

static int
rebuild_run(struct cw_tool *t, const struct cw_tool_cmd *cmd, int argc, char **argv)
{
    struct run *x = cw_tool_alloc(sizeof(*x));
    const struct cw_tool_opt opts[] = {
        { .name = "out", .text = &x->out },
        { .name = "force", .flag = &x->r.force },
        { .name = "cluster-name", .text = &x->r.cluster_name },
        { .name = "name", .text = x->name_texts, .n = &x->n_name_texts, .max = NAMES_MAX },
        { .name = "leave-out", .text = x->out_texts, .n = &x->n_out_texts, .max = NAMES_MAX },
        { 0 },
    };
    int n, status;

    x->t = t;
    status = cw_tool_args(t, cmd, opts, argc, argv, &n);
    if (status == CW_TOOL_GO)
        status = names_take(x, cmd);
    if (status == CW_TOOL_GO && (n == 0 || x->out == NULL || x->out[0] == '\0'))
        status = cw_tool_usage(t, cmd, "it needs --out DIR and at least one store");
    if (status == CW_TOOL_GO)
        status = rebuild_all(x, n, argv);
    cw_rebuild_fini(&x->r);
    free(x->stores);
    free(x->copies);
    free(x);
    return status;
}

const struct cw_tool_cmd cw_tool_rebuild_cmd = {
    .word = "rebuild-metadata",
    .args = "STORE.. --out DIR [--force] [--name VOLUME=NAME].. [--leave-out VOLUME].. "
            "[--cluster-name NAME] [--json]",
    .brief = "Make the manager's lost records again from the stores.",
    .about =
        "Stop every daemon and client first, and name all stores of the cluster. A volume whose\n"
        "newest record names an in-sync copy that was not found is refused, and nothing is "
        "written:\n"
        "that copy may hold writes that the others lack. --force goes on without it: those writes\n"
        "are lost then. --leave-out goes on without that volume; its copies stay on the stores.\n\n"
        "Volumes keep their numbers and data. Names and policies are in no store: a volume is "
        "named\n"
        "recovered-NUMBER unless --name says otherwise, and has a policy that wants what is "
        "there.\n"
        "Hosts register again by themselves. No store is written to.\n\n"
        "Example: causeway-store rebuild-metadata /dev/nvme1n1 /mnt/h2/store-0 --out\n"
        "         /var/lib/causeway.new --name 1=vm1\n",
    .run = rebuild_run,
};
