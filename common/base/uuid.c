#include "common/base/uuid.h"

#include <ctype.h>
#include <string.h>

#include "common/base/bits.h"

struct cw_uuid
cw_uuid_from_random(uint64_t hi, uint64_t lo)
{
    struct cw_uuid u;

    memcpy(u.b, &hi, 8);
    memcpy(u.b + 8, &lo, 8);
    u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x40);
    u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80);
    return u;
}

bool
cw_uuid_equal(const struct cw_uuid *a, const struct cw_uuid *b)
{
    return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

bool
cw_uuid_is_nil(const struct cw_uuid *u)
{
    static const struct cw_uuid nil;

    return cw_uuid_equal(u, &nil);
}

uint64_t
cw_uuid_hash(const struct cw_uuid *u)
{
    uint64_t hi, lo;

    memcpy(&hi, u->b, 8);
    memcpy(&lo, u->b + 8, 8);
    return cw_mix64(hi ^ cw_mix64(lo));
}

char *
cw_uuid_format(const struct cw_uuid *u, char text[static CW_UUID_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    char *at = text;

    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *at++ = '-';
        *at++ = digits[u->b[i] >> 4];
        *at++ = digits[u->b[i] & 15];
    }
    *at = '\0';
    return text;
}

bool
cw_uuid_parse(const char *text, struct cw_uuid *ret)
{
    struct cw_uuid u;
    const char *at = text;

    for (int i = 0; i < 16; i++) {
        unsigned byte = 0;

        if ((i == 4 || i == 6 || i == 8 || i == 10) && *at++ != '-')
            return false;
        for (int k = 0; k < 2; k++, at++) {
            int c = tolower((unsigned char)*at);

            if (!isxdigit(c))
                return false;
            byte = byte * 16 + (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
        }
        u.b[i] = (uint8_t)byte;
    }
    if (*at != '\0')
        return false;
    *ret = u;
    return true;
}
