#include "client/admin/policy.h"

#include <stdio.h>
#include <string.h>

#include "client/admin/args.h"
#include "common/base/bits.h"
#include "common/base/size.h"

#define COPIES_MAX 5
#define NO_LIMIT UINT64_MAX /* 0 cannot be told from a key that was not given */

enum policy_kind {
    POLICY_COUNT,   /* uint32_t, 1..COPIES_MAX */
    POLICY_CHOICE,  /* char *, one of choices */
    POLICY_SITES,   /* char * */
    POLICY_DEGRADE, /* int32_t seconds, -1 for off */
    POLICY_SECONDS, /* uint32_t */
    POLICY_LIMIT,   /* uint64_t; NO_LIMIT for 0 */
    POLICY_ASYNC,
    POLICY_CHECKSUM, /* only on */
};

struct policy_key {
    const char *name;
    enum policy_kind kind;
    size_t offset;
    const char *choices; /* "a b c" */
};

#define AT(field) offsetof(cw_pb_policy, field)

static const struct policy_key keys[] = {
    { "copies", POLICY_COUNT, AT(copies), NULL },
    { "spread", POLICY_CHOICE, AT(spread), "host rack site" },
    { "sites", POLICY_SITES, AT(sites), NULL },
    { "min-insync", POLICY_COUNT, AT(min_insync), NULL },
    { "degrade", POLICY_DEGRADE, AT(degrade_s), NULL },
    { "journal", POLICY_CHOICE, AT(journal), "auto off" },
    { "ack", POLICY_CHOICE, AT(ack), "durable replicated" },
    { "async", POLICY_ASYNC, AT(async), NULL },
    { "rpo", POLICY_SECONDS, AT(rpo_s), NULL },
    { "checksum", POLICY_CHECKSUM, 0, NULL },
    { "compression", POLICY_CHOICE, AT(compression), "off background inline" },
    { "iops-limit", POLICY_LIMIT, AT(iops_limit), NULL },
    { "bandwidth-limit", POLICY_LIMIT, AT(bandwidth_limit), NULL },
    { "repair-delay", POLICY_SECONDS, AT(repair_delay_s), NULL },
    { "quorum-loss", POLICY_CHOICE, AT(quorum_loss), "wait error" },
    { "space-full", POLICY_CHOICE, AT(space_full), "wait error" },
};

static const struct policy_key *
policy_find(const char *key, size_t len)
{
    for (size_t i = 0; i < CW_LEN(keys); i++) {
        if (strlen(keys[i].name) == len && strncmp(keys[i].name, key, len) == 0)
            return &keys[i];
    }
    return NULL;
}

bool
cw_policy_is_key(const char *key, size_t len)
{
    return policy_find(key, len) != NULL;
}

/* Is value one of the words? */
static bool
policy_among(const char *words, const char *value)
{
    size_t len = strlen(value);

    for (const char *at = words;
         len > 0 && strchr(value, ' ') == NULL && (at = strstr(at, value)) != NULL; at += len) {
        if ((at == words || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0'))
            return true;
    }
    return false;
}

static bool
policy_refuse(char *why, const char *key, const char *value, const char *wanted)
{
    snprintf(why, CW_POLICY_WHY_SIZE, "%s=%s: %s", key, value, wanted);
    return false;
}

static bool
policy_take_choice(cw_pb_policy *p, const struct policy_key *k, const char *value, char *why)
{
    char wanted[128];

    if (policy_among(k->choices, value)) {
        *(const char **)((char *)p + k->offset) = value;
        return true;
    }
    snprintf(wanted, sizeof(wanted), "choose from: %s", k->choices);
    return policy_refuse(why, k->name, value, wanted);
}

static bool
policy_sites_ok(const char *value)
{
    if (strcmp(value, "any") == 0)
        return true;
    if (strncmp(value, "only:", 5) == 0 || strncmp(value, "prefer:", 7) == 0)
        return strchr(value, ':')[1] != '\0' && strpbrk(value, " ,") == NULL;
    if (strncmp(value, "each:", 5) == 0 && value[5] >= '1' && value[5] <= '5')
        return value[6] == ' ' && value[7] != '\0' && strchr(value + 7, ' ') == NULL;
    return false;
}

static bool
policy_take_seconds(const struct policy_key *k, const char *value, uint64_t *ret, char *why)
{
    /* 0 cannot be told from a key that was not given. */
    if (cw_args_seconds(value, ret) && *ret >= 1 && *ret <= INT32_MAX)
        return true;
    return policy_refuse(why, k->name, value,
                         k->kind == POLICY_DEGRADE ? "a time from 1 s on, such as 60 or 5m, or off"
                                                   : "a time from 1 s on, such as 60, 5m or 1h");
}

static bool
policy_take_value(cw_pb_policy *p, const struct policy_key *k, const char *value, char *why)
{
    void *to = (char *)p + k->offset;
    uint64_t n = 0;

    switch (k->kind) {
    case POLICY_COUNT:
        if (!cw_args_number(value, &n) || n < 1 || n > COPIES_MAX)
            return policy_refuse(why, k->name, value, "a number from 1 to 5");
        *(uint32_t *)to = (uint32_t)n;
        return true;
    case POLICY_CHOICE:
        return policy_take_choice(p, k, value, why);
    case POLICY_SITES:
        if (!policy_sites_ok(value))
            return policy_refuse(why, k->name, value,
                                 "any, 'each:N SITE,SITE..', only:SITE or prefer:SITE");
        *(const char **)to = value;
        return true;
    case POLICY_ASYNC:
        if (value[0] == '\0' || strchr(value, ',') != NULL)
            return policy_refuse(why, k->name, value, "none, SITE, or 'SITE rpo=SECONDS'");
        *(const char **)to = value;
        return true;
    case POLICY_DEGRADE:
        if (strcmp(value, "off") != 0 && !policy_take_seconds(k, value, &n, why))
            return false;
        *(int32_t *)to = strcmp(value, "off") == 0 ? -1 : (int32_t)n;
        return true;
    case POLICY_SECONDS:
        if (!policy_take_seconds(k, value, &n, why))
            return false;
        *(uint32_t *)to = (uint32_t)n;
        return true;
    case POLICY_LIMIT:
        if (!cw_size_parse(value, &n))
            return policy_refuse(why, k->name, value, "a number such as 500 or 100M; 0 is none");
        *(uint64_t *)to = n != 0 ? n : NO_LIMIT;
        return true;
    case POLICY_CHECKSUM:
        return strcmp(value, "on") == 0 ||
               policy_refuse(why, k->name, value, "checksums are always on");
    }
    cw_unreachable();
}

bool
cw_policy_take(cw_pb_policy *p, const char *assignment, char why[static CW_POLICY_WHY_SIZE])
{
    const char *eq = strchr(assignment, '=');
    const struct policy_key *k;

    if (eq == NULL) {
        snprintf(why, CW_POLICY_WHY_SIZE, "'%s' is no key=value", assignment);
        return false;
    }
    k = policy_find(assignment, (size_t)(eq - assignment));
    if (k == NULL) {
        snprintf(why, CW_POLICY_WHY_SIZE, "'%.*s' is no key of a policy", (int)(eq - assignment),
                 assignment);
        return false;
    }
    return policy_take_value(p, k, eq + 1, why);
}

void
cw_policy_init(cw_pb_policy *p, const char *name)
{
    *p = (cw_pb_policy)CAUSEWAY__CONTROL__POLICY__INIT;
    p->name = (char *)name;
}
