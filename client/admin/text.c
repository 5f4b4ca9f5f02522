#include "client/admin/text.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/bits.h"
#include "common/base/size.h"

CW_STATIC_ASSERT(CW_TEXT_SIZE >= CW_SIZE_TEXT_SIZE);

char *
cw_text_seconds(uint64_t s, char text[static CW_TEXT_SIZE])
{
    static const struct {
        uint64_t seconds;
        char letter;
    } units[] = { { 86400, 'd' }, { 3600, 'h' }, { 60, 'm' }, { 1, 's' } };
    size_t u = 0;
    uint64_t rest;
    int n;

    while (u < CW_LEN(units) - 1 && s < units[u].seconds)
        u++;
    n = snprintf(text, CW_TEXT_SIZE, "%llu%c", (unsigned long long)(s / units[u].seconds),
                 units[u].letter);
    if (u + 1 == CW_LEN(units))
        return text;
    rest = s % units[u].seconds / units[u + 1].seconds;
    if (rest > 0)
        snprintf(text + n, CW_TEXT_SIZE - (size_t)n, "%llu%c", (unsigned long long)rest,
                 units[u + 1].letter);
    return text;
}

/* Three digits or so: 0.92, 9.1, 34. */
static int
text_digits(double x)
{
    return x < 1 ? 2 : x < 10 ? 1 : 0;
}

char *
cw_text_latency(uint64_t ns, char text[static CW_TEXT_SIZE])
{
    double us = (double)ns / 1e3, ms = us / 1e3, s = ms / 1e3;

    if (ns == 0)
        snprintf(text, CW_TEXT_SIZE, "-");
    else if (us < 500)
        snprintf(text, CW_TEXT_SIZE, "%.*f us", us < 10 ? 1 : 0, us);
    else if (ms < 1000)
        snprintf(text, CW_TEXT_SIZE, "%.*f ms", text_digits(ms), ms);
    else
        snprintf(text, CW_TEXT_SIZE, "%.*f s", s < 10 ? 1 : 0, s);
    return text;
}

char *
cw_text_count(uint64_t n, char text[static CW_TEXT_SIZE])
{
    static const char units[] = "kMGTPE";
    double x = (double)n;
    int unit = -1;

    while (x >= 999.95 && unit + 2 < (int)sizeof(units)) {
        x /= 1000;
        unit++;
    }
    if (unit < 0)
        snprintf(text, CW_TEXT_SIZE, "%llu", (unsigned long long)n);
    else
        snprintf(text, CW_TEXT_SIZE, "%.1f%c", x, units[unit]);
    return text;
}

char *
cw_text_percent(uint64_t part, uint64_t whole, char text[static CW_TEXT_SIZE])
{
    if (whole == 0)
        snprintf(text, CW_TEXT_SIZE, "-");
    else
        snprintf(text, CW_TEXT_SIZE, "%u%%", (unsigned)((long double)part * 100 / whole));
    return text;
}

char *
cw_text_rate(double bytes_per_s, char text[static CW_TEXT_SIZE])
{
    double mb = bytes_per_s / 1e6;

    if (mb >= 10000)
        snprintf(text, CW_TEXT_SIZE, "%.1f GB/s", mb / 1e3);
    else if (mb >= 1)
        snprintf(text, CW_TEXT_SIZE, "%.*f MB/s", mb < 10 ? 1 : 0, mb);
    else
        snprintf(text, CW_TEXT_SIZE, "%.0f kB/s", bytes_per_s / 1e3);
    return text;
}

char *
cw_text_bits(uint64_t bytes_per_s, char text[static CW_TEXT_SIZE])
{
    double mb = (double)bytes_per_s * 8 / 1e6;

    if (mb >= 10000)
        snprintf(text, CW_TEXT_SIZE, "%.1f Gb/s", mb / 1e3);
    else
        snprintf(text, CW_TEXT_SIZE, "%.*f Mb/s", mb < 10 ? 1 : 0, mb);
    return text;
}

char *
cw_text_link(uint64_t rtt_ns, uint64_t bytes_per_s, char text[static CW_TEXT_LINK_SIZE])
{
    char rtt[CW_TEXT_SIZE], rate[CW_TEXT_SIZE];
    bool far = rtt_ns != 0, fast = bytes_per_s != 0;

    snprintf(text, CW_TEXT_LINK_SIZE, "%s%s%s%s%s", far ? "rtt " : "",
             far ? cw_text_latency(rtt_ns, rtt) : "", far && fast ? "  " : "", fast ? "link " : "",
             fast ? cw_text_bits(bytes_per_s, rate) : "");
    return text;
}

char *
cw_text_size(uint64_t bytes, char text[static CW_TEXT_SIZE])
{
    return cw_size_format(bytes, text);
}

char *
cw_text_u64(uint64_t n, char text[static CW_TEXT_SIZE])
{
    snprintf(text, CW_TEXT_SIZE, "%llu", (unsigned long long)n);
    return text;
}

uint64_t
cw_text_age_seconds(const char *rfc3339, int64_t now_s)
{
    struct tm tm = { 0 };
    int64_t then_s;

    if (rfc3339 == NULL || strptime(rfc3339, "%Y-%m-%dT%H:%M:%S", &tm) == NULL)
        return 0;
    then_s = (int64_t)timegm(&tm);
    return then_s > 0 && now_s > then_s ? (uint64_t)(now_s - then_s) : 0;
}
