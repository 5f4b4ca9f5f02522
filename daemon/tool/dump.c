#include "daemon/tool/dump.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/assert.h"
#include "common/base/bits.h"

/* ---- fields ---- */

void
cw_dump_num(json_t *o, const char *key, uint64_t n)
{
    json_object_set_new(o, key, json_integer((json_int_t)n));
}

#define NAME_SUFFIX "_name"

void
cw_dump_named(json_t *o, const char *key, uint64_t n, const char *name)
{
    char name_key[32];

    snprintf(name_key, sizeof(name_key), "%s" NAME_SUFFIX, key);
    cw_dump_num(o, key, n);
    cw_dump_text(o, name_key, name);
}

void
cw_dump_flags(json_t *o, enum cw_words_flags which, uint64_t flags)
{
    char text[CW_WORDS_FLAGS_SIZE];

    cw_dump_named(o, "flags", flags, cw_words_flags(which, flags, text));
}

void
cw_dump_hex(json_t *o, const char *key, uint64_t n)
{
    char text[24];

    snprintf(text, sizeof(text), "0x%016" PRIx64, n);
    json_object_set_new(o, key, json_string(text));
}

void
cw_dump_text(json_t *o, const char *key, const char *text)
{
    json_object_set_new(o, key, json_string(text));
}

void
cw_dump_uuid(json_t *o, const char *key, const uint8_t bytes[static 16])
{
    char text[CW_UUID_TEXT_SIZE];
    struct cw_uuid u;

    memcpy(u.b, bytes, sizeof(u.b));
    json_object_set_new(o, key, json_string(cw_uuid_format(&u, text)));
}

void
cw_dump_loc(json_t *o, const char *key, uint64_t loc)
{
    char text[CW_WORDS_LOC_SIZE];

    cw_dump_text(o, key, cw_words_loc(loc, text));
}

void
cw_dump_wrong(json_t *o, const char *why)
{
    if (why != NULL)
        cw_dump_text(o, "wrong", why);
}

json_t *
cw_dump_shardrec(const struct cw_shard_rec *rec)
{
    json_t *o = json_object(), *members = json_array();

    cw_dump_num(o, "volume", CW_SHARD_VOLUME(rec->shard));
    cw_dump_num(o, "index", CW_SHARD_INDEX(rec->shard));
    cw_dump_num(o, "gen", rec->gen);
    cw_dump_num(o, "cfg", rec->cfg);
    cw_dump_hex(o, "lineage", rec->lineage);
    cw_dump_num(o, "blocks", rec->n_blocks);
    cw_dump_text(o, "compression", cw_compression_name(rec->compression));
    for (uint32_t i = 0; i < rec->n_members; i++) {
        json_t *m = json_object();

        cw_dump_uuid(m, "disk", rec->members[i].disk_uuid.b);
        cw_dump_hex(m, "format_id", rec->members[i].format_id);
        cw_dump_text(m, "state", cw_member_state_name(rec->members[i].state));
        cw_dump_num(m, "since_seq", rec->members[i].since_seq);
        json_array_append_new(members, m);
    }
    json_object_set_new(o, "members", members);
    return o;
}

/* ---- as text: one field a line, lists of objects one object a line ---- */

static void text_fields(FILE *f, json_t *o);

static void
text_value(FILE *f, const json_t *v)
{
    if (json_is_string(v)) {
        fputs(json_string_value(v), f);
    } else if (json_is_integer(v)) {
        fprintf(f, "%" PRIu64, (uint64_t)json_integer_value(v));
    } else if (json_is_boolean(v)) {
        fputs(json_is_true(v) ? "yes" : "no", f);
    } else if (json_is_object(v)) {
        text_fields(f, (json_t *)(uintptr_t)v);
    } else if (json_is_array(v)) {
        fputc('[', f);
        for (size_t i = 0; i < json_array_size(v); i++) {
            fputs(i > 0 ? ", " : "", f);
            text_value(f, json_array_get(v, i));
        }
        fputc(']', f);
    }
}

/* Of a number that has one; NULL. */
static const char *
name_of(const json_t *o, const char *key)
{
    char name_key[64];

    snprintf(name_key, sizeof(name_key), "%s" NAME_SUFFIX, key);
    return json_string_value(json_object_get(o, name_key));
}

/* It was shown behind its number. */
static bool
is_name(const char *key)
{
    size_t len = strlen(key), suffix = strlen(NAME_SUFFIX);

    return len > suffix && strcmp(key + len - suffix, NAME_SUFFIX) == 0;
}

static void
text_named(FILE *f, const json_t *o, const char *key, const json_t *v)
{
    const char *name = name_of(o, key);

    text_value(f, v);
    if (name != NULL)
        fprintf(f, " (%s)", name);
}

static void
text_fields(FILE *f, json_t *o)
{
    bool first = true;

    for (void *it = json_object_iter(o); it != NULL; it = json_object_iter_next(o, it)) {
        const char *key = json_object_iter_key(it);

        if (is_name(key))
            continue;
        fprintf(f, "%s%s=", first ? "" : " ", key);
        text_named(f, o, key, json_object_iter_value(it));
        first = false;
    }
}

static void
text_object(FILE *f, json_t *o)
{
    for (void *it = json_object_iter(o); it != NULL; it = json_object_iter_next(o, it)) {
        const char *key = json_object_iter_key(it);
        const json_t *v = json_object_iter_value(it);

        if (is_name(key))
            continue;
        if (!json_is_array(v)) {
            fprintf(f, "%-20s ", key);
            text_named(f, o, key, v);
            fputc('\n', f);
            continue;
        }
        for (size_t i = 0; i < json_array_size(v); i++) {
            fprintf(f, "%-20s ", key);
            text_value(f, json_array_get(v, i));
            fputc('\n', f);
        }
    }
}

/* ---- what to show ---- */

enum first { FIRST_NUMBER, FIRST_SHARD, FIRST_PLACE2, FIRST_PLACE3 };

struct kind {
    const char *word, *args;
    int min, max; /* words behind it */
    int (*run)(struct cw_dump *d);
    enum first first; /* what the first of them is; the others are numbers */
};

static const struct kind kinds[] = {
    { "superblock", "[SLOT]", 0, 1, cw_dump_superblock, FIRST_NUMBER },
    { "checkpoint", "[NUMBER]", 0, 1, cw_dump_checkpoint, FIRST_NUMBER },
    { "segment", "N", 1, 1, cw_dump_segment, FIRST_NUMBER },
    { "batch", "SEG:OFF", 1, 1, cw_dump_batch, FIRST_PLACE2 },
    { "record", "SEG:OFF:INDEX", 1, 1, cw_dump_record, FIRST_PLACE3 },
    { "shard", "SHARD", 1, 1, cw_dump_shard, FIRST_SHARD },
    { "layer", "ID", 1, 1, cw_dump_layer, FIRST_NUMBER },
    { "table", "LAYER INDEX", 2, 2, cw_dump_table, FIRST_NUMBER },
    { "page", "SHARD CHUNK [SNAPSHOT]", 2, 3, cw_dump_page, FIRST_SHARD },
    { "block", "SHARD LBA [SNAPSHOT]", 2, 3, cw_dump_block, FIRST_SHARD },
    { "scrub", "", 0, 0, cw_dump_scrub, FIRST_NUMBER },
};

/* n numbers with a colon between two. */
static bool
place_read(const char *text, uint32_t n, uint64_t *ret)
{
    for (uint32_t i = 0; i < n; i++) {
        size_t len = strcspn(text, ":");
        char number[24];

        if (len >= sizeof(number) || (text[len] == ':') != (i + 1 < n))
            return false;
        memcpy(number, text, len);
        number[len] = '\0';
        if (!cw_tool_number(number, &ret[i]))
            return false;
        text += len + 1;
    }
    return true;
}

static bool
first_read(struct cw_dump *d, const struct kind *k)
{
    switch (k->first) {
    case FIRST_NUMBER:
        return cw_tool_number(d->argv[0], &d->arg[0]);
    case FIRST_SHARD:
        return cw_tool_shard(d->argv[0], &d->arg[0]);
    case FIRST_PLACE2:
        return place_read(d->argv[0], 2, d->place);
    case FIRST_PLACE3:
        return place_read(d->argv[0], 3, d->place);
    }
    cw_unreachable();
}

/* The words behind k->word, before anything is opened. */
static int
args_read(struct cw_dump *d, const struct cw_tool_cmd *cmd, const struct kind *k)
{
    static const char *const what[] = {
        [FIRST_NUMBER] = "number",
        [FIRST_SHARD] = "shard, such as 7/0 or 0x70000",
        [FIRST_PLACE2] = "place, such as 3:8192",
        [FIRST_PLACE3] = "place, such as 3:8192:0",
    };

    if (d->argc < k->min || d->argc > k->max)
        return cw_tool_usage(d->t, cmd, "it is: %s %s", k->word, k->args);
    for (int i = 0; i < d->argc; i++) {
        if (i == 0 ? first_read(d, k) : cw_tool_number(d->argv[i], &d->arg[i]))
            continue;
        return cw_tool_usage(d->t, cmd, "it is: %s %s; \"%s\" is no %s", k->word, k->args,
                             d->argv[i], what[i == 0 ? k->first : FIRST_NUMBER]);
    }
    return CW_TOOL_GO;
}

int
cw_dump_missing(struct cw_dump *d, const char *hint, const char *fmt, ...)
{
    char what[200];
    va_list args;

    va_start(args, fmt);
    vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    return cw_tool_fail(d->t, "NOT_FOUND", d->st->path, hint, "%s: %s", d->st->path, what);
}

const char *
cw_dump_see(struct cw_dump *d, const char *command, const char *fmt, ...)
{
    char words[96];
    va_list args;

    va_start(args, fmt);
    vsnprintf(words, sizeof(words), fmt, args);
    va_end(args);
    snprintf(d->hint, sizeof(d->hint), "see: causeway-store %s %s%s%s", command, d->st->path,
             words[0] != '\0' ? " " : "", words);
    return d->hint;
}

int
cw_dump_state(struct cw_dump *d)
{
    int res = cw_stand_recover(d->st);

    d->side = res == 0 ? CW_STAND_CLOSED : CW_STAND_DISK;
    cw_dump_text(d->o, "as", res == 0 ? "a start would find it" : "its checkpoint has it");
    for (uint32_t which = 0; which < 2; which++) {
        if (cw_ckpt_load(d->st, d->side, which, NULL, &d->k))
            return CW_TOOL_OK;
        cw_ckpt_free(&d->k);
    }
    return cw_dump_missing(d, cw_dump_see(d, "check", "%s", ""),
                           "no checkpoint of it can be read (%s)", cw_stand_outcome(res));
}

/* What was shown is not what the guest wrote, and programs go by the exit status. */
static int
dump_damaged(struct cw_dump *d)
{
    char hint[400];

    snprintf(hint, sizeof(hint),
             "take it from another copy; a scrub repairs it here (causeway scrub start); for all "
             "that is damaged see: causeway-store check %s",
             d->st->path);
    return cw_tool_found(d->t, hint, "%s: %s", d->st->path, d->damaged);
}

static int
dump_say(struct cw_dump *d)
{
    bool damaged = d->damaged[0] != '\0';

    if (d->raw && d->bytes != NULL)
        fwrite(d->bytes, 1, d->n_bytes, d->t->out);
    else if (d->raw && !damaged)
        return cw_tool_fail(d->t, "NO_BYTES", d->st->path, "leave out --raw",
                            "%s: this has no bytes of its own that can be shown", d->st->path);
    else if (!d->raw && d->t->json)
        cw_tool_json(d->t, json_incref(d->o));
    else if (!d->raw)
        text_object(d->t->out, d->o);
    return damaged ? dump_damaged(d) : CW_TOOL_OK;
}

static int
dump_kind(struct cw_dump *d, const struct kind *k)
{
    int status;

    d->o = json_object();
    status = k->run(d);
    if (status == CW_TOOL_OK)
        status = dump_say(d);
    json_decref(d->o);
    free(d->bytes);
    cw_ckpt_free(&d->k);
    return status;
}

static int
dump_run(struct cw_tool *t, const struct cw_tool_cmd *cmd, int argc, char **argv)
{
    struct cw_dump d = { .t = t };
    const struct cw_tool_opt opts[] = { { .name = "raw", .flag = &d.raw }, { 0 } };
    const struct kind *k = NULL;
    int n, status = cw_tool_args(t, cmd, opts, argc, argv, &n);

    if (status != CW_TOOL_GO)
        return status;
    if (n < 2)
        return cw_tool_usage(t, cmd, "which store, and what of it?");
    for (size_t i = 0; i < CW_LEN(kinds); i++)
        k = strcmp(kinds[i].word, argv[1]) == 0 ? &kinds[i] : k;
    if (k == NULL)
        return cw_tool_usage(t, cmd, "it does not know what \"%s\" is", argv[1]);
    if (d.raw && t->json)
        return cw_tool_usage(t, cmd, "--raw is the bytes alone and --json is not: one of the two");
    d.argc = n - 2;
    d.argv = argv + 2;
    status = args_read(&d, cmd, k);
    if (status != CW_TOOL_GO)
        return status;
    status = cw_stand_open(t, argv[0], k->run != cw_dump_superblock, &d.st);
    if (status != 0)
        return status;
    status = dump_kind(&d, k);
    cw_stand_close(d.st);
    return status;
}

const struct cw_tool_cmd cw_tool_dump_cmd = {
    .word = "dump",
    .args = "PATH WHAT .. [--raw] [--json]",
    .brief = "Show one record of a store: its fields, or its bytes.",
    .about =
        "What lies on the disk, as it is there, right or not:\n"
        "  superblock [SLOT]         the four slots, or one\n"
        "  checkpoint [NUMBER]       root, parts, segments, layers, tables; the newest, or that "
        "one\n"
        "  segment N                 header, summary, the batches in it\n"
        "  batch SEG:OFF             a batch header and its records\n"
        "  record SEG:OFF:INDEX      one record: fields, and each block against its checksum\n"
        "What belongs to a copy, as a start of the daemon would find it:\n"
        "  shard SHARD               shard record, state, history, tail, layers\n"
        "  layer ID                  a layer and its tables\n"
        "  table LAYER INDEX         84 chunks: versions, places of map pages\n"
        "  page SHARD CHUNK [SNAP]   the map page of a chunk of 1 MiB\n"
        "  block SHARD LBA [SNAP]    where a block of 4 KiB lies; with --raw its plain bytes; "
        "exit\n"
        "                            status 1 if they are damaged or cannot be read\n"
        "  scrub                     how far the scrub is\n"
        "SHARD is VOLUME/INDEX such as 7/0, or 0x and the number in a log line; LBA counts blocks\n"
        "in the shard; SNAP is a snapshot (left out: what is written to). --raw: the bytes "
        "alone.\n\n"
        "Examples: causeway-store dump store-0 page 7/0 3\n"
        "          causeway-store dump store-0 block 7/0 44 --raw | hexdump -C\n",
    .run = dump_run,
};
