#include "common/base/size.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const char units[] = "KMGTPE";

/* False: no size. *ret_over: one of 2^64 bytes or more, and *ret means nothing. */
static bool
size_scan(const char *text, uint64_t *ret, bool *ret_over)
{
    uint64_t value = 0;
    bool over = false;
    const char *at = text;

    if (!isdigit((unsigned char)*at))
        return false;
    for (; isdigit((unsigned char)*at); at++) {
        over |= __builtin_mul_overflow(value, 10, &value);
        over |= __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value);
    }
    if (*at != '\0' && toupper((unsigned char)*at) != 'B') {
        const char *unit = strchr(units, toupper((unsigned char)*at));

        if (unit == NULL)
            return false;
        over |= __builtin_mul_overflow(value, UINT64_C(1) << (10 * (unit - units + 1)), &value);
        at++;
        if (*at == 'i' && at[1] == 'B')
            at++;
    }
    if (*at == 'B' || *at == 'b')
        at++;
    *ret = value;
    *ret_over = over;
    return *at == '\0';
}

bool
cw_size_parse(const char *text, uint64_t *ret)
{
    uint64_t value;
    bool over;

    if (!size_scan(text, &value, &over) || over)
        return false;
    *ret = value;
    return true;
}

bool
cw_size_too_large(const char *text)
{
    uint64_t value;
    bool over;

    return size_scan(text, &value, &over) && over;
}

char *
cw_size_format(uint64_t bytes, char text[static CW_SIZE_TEXT_SIZE])
{
    uint64_t whole = bytes, tenths = 0;
    int unit = -1;

    while (whole >= 1024) {
        tenths = whole % 1024 * 10 / 1024;
        whole /= 1024;
        unit++;
    }
    if (unit < 0)
        snprintf(text, CW_SIZE_TEXT_SIZE, "%u", (unsigned)whole);
    else if (tenths == 0 || whole >= 100)
        snprintf(text, CW_SIZE_TEXT_SIZE, "%u%c", (unsigned)whole, units[unit]);
    else
        snprintf(text, CW_SIZE_TEXT_SIZE, "%u.%u%c", (unsigned)whole, (unsigned)tenths,
                 units[unit]);
    return text;
}
