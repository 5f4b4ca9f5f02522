#include "common/service/httphead.h"

#include <string.h>
#include <strings.h>

/* ---- the head ---- */

static bool
is_token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool
is_token(const char *s)
{
    if (*s == '\0')
        return false;
    for (; *s != '\0'; s++) {
        if (!is_token_char(*s))
            return false;
    }
    return true;
}

/* No control character but a tab; bytes above ASCII may stand in values. */
static bool
is_field_text(const char *s)
{
    for (; *s != '\0'; s++) {
        if (((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7f)
            return false;
    }
    return true;
}

static bool
is_target(const char *s)
{
    if (*s != '/')
        return false;
    for (; *s != '\0'; s++) {
        if ((unsigned char)*s <= 0x20 || (unsigned char)*s >= 0x7f)
            return false;
    }
    return true;
}

/* Ends the line at *at and moves *at behind it. NULL: it does not end in CR LF, or has either
 * inside. */
static char *
line_take(char **at, const char *end)
{
    char *line = *at, *nl = memchr(line, '\n', (size_t)(end - line));

    if (nl == NULL || nl == line || nl[-1] != '\r')
        return NULL;
    nl[-1] = '\0';
    *at = nl + 1;
    return strlen(line) == (size_t)(nl - 1 - line) && strchr(line, '\r') == NULL ? line : NULL;
}

static int
request_line(char *line, struct cw_http_head *h)
{
    char *target = strchr(line, ' '), *version;

    if (target == NULL || (version = strchr(target + 1, ' ')) == NULL)
        return 400;
    *target++ = *version++ = '\0';
    h->method = line;
    h->target = target;
    if (!is_token(line) || !is_target(target) || strncmp(version, "HTTP/", 5) != 0)
        return 400;
    h->http10 = strcmp(version, "HTTP/1.0") == 0;
    return h->http10 || strcmp(version, "HTTP/1.1") == 0 ? 0 : 505;
}

static char *
trim(char *s)
{
    size_t n;

    s += strspn(s, " \t");
    n = strlen(s);
    while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t'))
        s[--n] = '\0';
    return s;
}

static int
header_line(char *line, struct cw_http_head *h)
{
    char *colon = strchr(line, ':');

    if (colon == NULL)
        return 400;
    *colon = '\0';
    if (!is_token(line) || !is_field_text(colon + 1))
        return 400;
    if (h->n_headers == CW_HTTP_HEADERS_MAX)
        return 431;
    h->headers[h->n_headers].name = line;
    h->headers[h->n_headers++].value = trim(colon + 1);
    return 0;
}

const char *
cw_http_head_find(const struct cw_http_head *h, const char *name)
{
    for (uint32_t i = 0; i < h->n_headers; i++) {
        if (strcasecmp(h->headers[i].name, name) == 0)
            return h->headers[i].value;
    }
    return NULL;
}

static bool
number_parse(const char *s, uint64_t *ret)
{
    *ret = 0;
    if (*s == '\0' || strlen(s) > 18)
        return false;
    for (; *s >= '0' && *s <= '9'; s++)
        *ret = *ret * 10 + (uint64_t)(*s - '0');
    return *s == '\0';
}

/* How long the body is; the only framing that is understood is a length. */
static int
length_find(struct cw_http_head *h)
{
    for (uint32_t i = 0; i < h->n_headers; i++) {
        uint64_t n;

        if (strcasecmp(h->headers[i].name, "Transfer-Encoding") == 0)
            return 501;
        if (strcasecmp(h->headers[i].name, "Content-Length") != 0)
            continue;
        if (!number_parse(h->headers[i].value, &n) || (h->has_length && n != h->content_length))
            return 400;
        h->content_length = n;
        h->has_length = true;
    }
    return 0;
}

/* "Connection: keep-alive, Upgrade" */
static bool
list_has(const char *list, const char *word)
{
    size_t len = strlen(word);

    while (*list != '\0') {
        list += strspn(list, " \t,");
        if (strncasecmp(list, word, len) == 0 && strchr(" \t,", list[len]) != NULL)
            return true;
        list += strcspn(list, ",");
    }
    return false;
}

static int
head_finish(struct cw_http_head *h)
{
    const char *connection = cw_http_head_find(h, "Connection");
    const char *expect = cw_http_head_find(h, "Expect");
    int refused = length_find(h);

    if (refused != 0)
        return refused;
    if (!h->http10 && cw_http_head_find(h, "Host") == NULL)
        return 400;
    h->keep_alive = !h->http10 && !(connection != NULL && list_has(connection, "close"));
    if (expect != NULL && strcasecmp(expect, "100-continue") != 0)
        return 417;
    h->expects_continue = expect != NULL && !h->http10;
    return 0;
}

int
cw_http_head_parse(char *text, size_t len, struct cw_http_head *ret)
{
    const char *end = text + len;
    char *line = line_take(&text, end);
    int refused;

    *ret = (struct cw_http_head){ 0 };
    if (line == NULL)
        return 400;
    refused = request_line(line, ret);
    while (refused == 0 && (line = line_take(&text, end)) != NULL && *line != '\0')
        refused = header_line(line, ret);
    if (refused != 0)
        return refused;
    return line == NULL || text != end ? 400 : head_finish(ret);
}

/* ---- the target ---- */

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place. False: a broken escape, or a control character. */
static bool
decode(char *s, bool plus_is_space)
{
    char *to = s;

    for (; *s != '\0'; s++) {
        int c = (unsigned char)*s;

        if (c == '%') {
            int high = hex_value(s[1]), low = high < 0 ? -1 : hex_value(s[2]);

            if (low < 0)
                return false;
            c = high * 16 + low;
            s += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        if (c < 0x20 || c == 0x7f)
            return false;
        *to++ = (char)c;
    }
    *to = '\0';
    return true;
}

static bool
segments_parse(char *path, struct cw_http_target *ret)
{
    for (char *rest = path + 1, *part; (part = strsep(&rest, "/")) != NULL;) {
        if (rest == NULL && *part == '\0')
            break; /* a slash at the end */
        if (ret->n_segments == CW_HTTP_SEGMENTS_MAX || !decode(part, false))
            return false;
        ret->segments[ret->n_segments++] = part;
    }
    return true;
}

static bool
params_parse(char *query, struct cw_http_target *ret)
{
    for (char *rest = query, *part; (part = strsep(&rest, "&")) != NULL;) {
        char *eq = strchr(part, '=');

        if (*part == '\0')
            continue;
        if (ret->n_params == CW_HTTP_PARAMS_MAX)
            return false;
        if (eq != NULL)
            *eq++ = '\0';
        else
            eq = part + strlen(part);
        if (!decode(part, true) || !decode(eq, true))
            return false;
        ret->params[ret->n_params].name = part;
        ret->params[ret->n_params++].value = eq;
    }
    return true;
}

bool
cw_http_target_parse(char *target, struct cw_http_target *ret)
{
    char *query = target;
    char *path = strsep(&query, "?");

    *ret = (struct cw_http_target){ 0 };
    return segments_parse(path, ret) && (query == NULL || params_parse(query, ret));
}

const char *
cw_http_target_param(const struct cw_http_target *t, const char *name)
{
    for (uint32_t i = 0; i < t->n_params; i++) {
        if (strcmp(t->params[i].name, name) == 0)
            return t->params[i].value;
    }
    return NULL;
}
