#include "daemon/manager/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool
cw_mgr_text_set(char *to, size_t size, const char *text)
{
    size_t len = strlen(text);

    if (len >= size) {
        to[0] = '\0';
        return false;
    }
    memcpy(to, text, len + 1);
    return true;
}

void
cw_mgr_text_clip(char *to, size_t size, const char *text)
{
    size_t len = strnlen(text, size - 1);

    memmove(to, text, len);
    to[len] = '\0';
}

/* Days since 1970 to a date of the Gregorian calendar: the year begins in March, so that the leap
 * day is its last. */
static void
date_of_days(uint64_t days, unsigned *ret_year, unsigned *ret_month, unsigned *ret_day)
{
    uint64_t z = days + 719468, era = z / 146097, doe = z % 146097;
    uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;

    *ret_day = (unsigned)(doy - (153 * mp + 2) / 5 + 1);
    *ret_month = (unsigned)(mp < 10 ? mp + 3 : mp - 9);
    *ret_year = (unsigned)(yoe + era * 400 + (*ret_month <= 2));
}

char *
cw_mgr_time_format(uint64_t unix_s, char text[static CW_MGR_TIME_SIZE])
{
    unsigned year, month, day, s = (unsigned)(unix_s % 86400);

    text[0] = '\0';
    if (unix_s == 0 || unix_s > UINT64_C(253402300799)) /* the end of 9999 */
        return text;
    date_of_days(unix_s / 86400, &year, &month, &day);
    snprintf(text, CW_MGR_TIME_SIZE, "%04u-%02u-%02uT%02u:%02u:%02uZ", year % 10000, month % 100,
             day % 100, s / 3600 % 100, s / 60 % 60, s % 60);
    return text;
}

char *
cw_mgr_span_format(uint64_t seconds, char text[static CW_MGR_TIME_SIZE])
{
    uint64_t s = seconds < 1000000000 ? seconds : 1000000000;

    if (s < 60)
        snprintf(text, CW_MGR_TIME_SIZE, "%us", (unsigned)s);
    else if (s < 3600)
        snprintf(text, CW_MGR_TIME_SIZE, "%um%us", (unsigned)(s / 60), (unsigned)(s % 60));
    else
        snprintf(text, CW_MGR_TIME_SIZE, "%uh%um", (unsigned)(s / 3600), (unsigned)(s / 60 % 60));
    return text;
}

/* What to do next where the caller knows nothing better. */
static void
error_hint_set(struct cw_mgr_error *e)
{
    static const struct {
        const char *noun, *command;
    } lists[] = { { "no volume ", "volume ls" },
                  { "no policy ", "policy ls" },
                  { "no host ", "host ls" },
                  { "no disk ", "disk ls" },
                  { "no job ", "jobs ls" } };

    e->hint[0] = 0;
    if (e->code == CW_MGR_EXISTS)
        snprintf(e->hint, sizeof(e->hint), "choose another name");
    if (e->code != CW_MGR_NOT_FOUND)
        return;
    for (size_t i = 0; i < CW_LEN(lists); i++) {
        if (strstr(e->message, lists[i].noun) != NULL)
            snprintf(e->hint, sizeof(e->hint), "to see what there is: causeway %s",
                     lists[i].command);
    }
}

void
cw_mgr_error_set(struct cw_mgr_error *e, enum cw_mgr_code code, const char *object, const char *fmt,
                 ...)
{
    va_list args;

    e->code = code;
    cw_mgr_text_clip(e->object, sizeof(e->object), object);
    va_start(args, fmt);
    vsnprintf(e->message, sizeof(e->message), fmt, args);
    va_end(args);
    error_hint_set(e);
}

void
cw_mgr_error_hint(struct cw_mgr_error *e, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(e->hint, sizeof(e->hint), fmt, args);
    va_end(args);
}
