#include "common/base/name.h"

#include <string.h>

#define FIRST "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
#define NAME_MAX_BYTES 63u

bool
cw_name_ok(const char *name)
{
    size_t n = strlen(name);

    return n >= 1 && n <= NAME_MAX_BYTES && strchr(FIRST, name[0]) != NULL &&
           strspn(name, FIRST "._-") == n;
}
