#include "daemon/shell/instance.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/base/addr.h"
#include "common/base/bits.h"
#include "common/base/name.h"
#include "daemon/manager/text.h"

#define AZURE_ASK(what) "/metadata/instance/compute/" what "?api-version=2021-02-01&format=text"
#define TOKEN_MAX 256u
#define REQUEST_MAX 1024u

/* ---- reading ---- */

/* The value of a header in a head that ends with an empty line; NULL: it has none. */
static const char *
head_find(const char *head, const char *end, const char *name)
{
    size_t n = strlen(name);

    for (const char *line = strstr(head, "\r\n"); line != NULL && line < end;
         line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, n) == 0 && line[2 + n] == ':')
            return line + 3 + n + strspn(line + 3 + n, " \t");
    }
    return NULL;
}

static void
body_take(struct cw_instance_answer *a, const char *from, size_t len)
{
    while (len > 0 && strchr(" \t\r\n", from[len - 1]) != NULL)
        len--;
    while (len > 0 && strchr(" \t\r\n", from[0]) != NULL)
        from++, len--;
    memcpy(a->body, from, len);
    a->body[len] = '\0';
}

enum cw_instance_read
cw_instance_read(const char *bytes, size_t len, bool eof, struct cw_instance_answer *ret)
{
    char text[CW_INSTANCE_ANSWER_MAX + 1];
    const char *end, *length, *flavor;
    size_t body, want = SIZE_MAX;

    cw_assert(len <= CW_INSTANCE_ANSWER_MAX);
    *ret = (struct cw_instance_answer){ 0 };
    if (memchr(bytes, '\0', len) != NULL)
        return CW_INSTANCE_GARBAGE;
    memcpy(text, bytes, len);
    text[len] = '\0';
    end = strstr(text, "\r\n\r\n");
    if (end == NULL)
        return eof || len == CW_INSTANCE_ANSWER_MAX ? CW_INSTANCE_GARBAGE : CW_INSTANCE_MORE;
    if (strncmp(text, "HTTP/1.", 7) != 0 || sscanf(text + 8, " %3d", &ret->status) != 1 ||
        head_find(text, end, "Transfer-Encoding") != NULL)
        return CW_INSTANCE_GARBAGE;
    flavor = head_find(text, end, "Metadata-Flavor");
    ret->google = flavor != NULL && strncmp(flavor, "Google\r", 7) == 0;
    length = head_find(text, end, "Content-Length");
    body = len - (size_t)(end + 4 - text);
    if (length != NULL) {
        want = strtoul(length, NULL, 10);
        if (length[0] < '0' || length[0] > '9' || want > CW_INSTANCE_ANSWER_MAX)
            return CW_INSTANCE_GARBAGE;
    }
    if (body < want && (!eof || want != SIZE_MAX))
        return eof || len == CW_INSTANCE_ANSWER_MAX ? CW_INSTANCE_GARBAGE : CW_INSTANCE_MORE;
    body_take(ret, end + 4, want < body ? want : body);
    return CW_INSTANCE_WHOLE;
}

/* ---- what is asked ---- */

enum take { TAKE_TOKEN, TAKE_REGION, TAKE_ZONE, TAKE_ZONE_PATH };

struct step {
    const char *method, *path, *header; /* header: NULL: the token that was taken */
    enum take take;
};

static const struct step aws_steps[] = {
    { "PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 60", TAKE_TOKEN },
    { "GET", "/latest/meta-data/placement/region", NULL, TAKE_REGION },
    { "GET", "/latest/meta-data/placement/availability-zone", NULL, TAKE_ZONE },
};
static const struct step azure_steps[] = {
    { "GET", AZURE_ASK("location"), "Metadata: true", TAKE_REGION },
    { "GET", AZURE_ASK("zone"), "Metadata: true", TAKE_ZONE },
};
static const struct step gcp_steps[] = {
    { "GET", "/computeMetadata/v1/instance/zone", "Metadata-Flavor: Google", TAKE_ZONE_PATH },
};

static const struct provider {
    const char *name, *host; /* host: NULL: the address */
    const struct step *steps;
    size_t n_steps;
} providers[] = {
    { "aws", NULL, aws_steps, CW_LEN(aws_steps) },
    { "azure", NULL, azure_steps, CW_LEN(azure_steps) },
    { "gcp", "metadata.google.internal", gcp_steps, CW_LEN(gcp_steps) },
};

enum way_state { WAY_CONNECTING, WAY_READING, WAY_FOUND, WAY_FAILED };

struct way {
    const struct provider *p;
    const char *addr;
    struct sockaddr_storage to;
    socklen_t to_len;
    enum way_state state;
    size_t step;
    int fd;
    char token[TOKEN_MAX + 1], region[64], zone[64];
    char answer[CW_INSTANCE_ANSWER_MAX];
    size_t len;
    char why[64];
};

static void
way_close(struct way *w)
{
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
}

static void
way_fail(struct way *w, const char *why)
{
    way_close(w);
    w->state = WAY_FAILED;
    snprintf(w->why, sizeof(w->why), "%.63s", why);
}

static void
way_connect(struct way *w)
{
    w->state = WAY_CONNECTING;
    w->len = 0;
    w->fd = socket(w->to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (w->fd < 0 ||
        (connect(w->fd, (const struct sockaddr *)&w->to, w->to_len) != 0 && errno != EINPROGRESS))
        way_fail(w, strerror(errno));
}

/* It is far smaller than the buffer of a new connection. */
static void
way_send(struct way *w)
{
    const struct step *s = &w->p->steps[w->step];
    char text[REQUEST_MAX];
    socklen_t len = sizeof(int);
    int n, err = 0;

    if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0 || err != 0) {
        way_fail(w, strerror(err != 0 ? err : errno));
        return;
    }
    n = snprintf(text, sizeof(text),
                 "%s %s HTTP/1.1\r\nHost: %s\r\n%s%s\r\n%sConnection: close\r\n\r\n", s->method,
                 s->path, w->p->host != NULL ? w->p->host : w->addr,
                 s->header != NULL ? s->header : "X-aws-ec2-metadata-token: ",
                 s->header != NULL ? "" : w->token,
                 strcmp(s->method, "PUT") == 0 ? "Content-Length: 0\r\n" : "");
    if (n >= (int)sizeof(text) || send(w->fd, text, (size_t)n, MSG_NOSIGNAL) != n)
        way_fail(w, "it takes no request");
    else
        w->state = WAY_READING;
}

static bool
take_token(struct way *w, const char *body)
{
    size_t n = strlen(body);

    for (size_t i = 0; i < n; i++) {
        if (body[i] <= ' ' || body[i] > '~')
            return false;
    }
    return n > 0 && cw_mgr_text_set(w->token, sizeof(w->token), body);
}

static bool
take_name(char to[static 64], const char *body)
{
    return cw_name_ok(body) && cw_mgr_text_set(to, 64, body);
}

/* "projects/123/zones/europe-west3-a" */
static bool
take_zone_path(struct way *w, const char *body)
{
    const char *zone = strrchr(body, '/'), *last;

    if (zone == NULL || !take_name(w->zone, zone + 1))
        return false;
    last = strrchr(w->zone, '-');
    if (last == NULL)
        return false;
    memcpy(w->region, w->zone, (size_t)(last - w->zone));
    w->region[last - w->zone] = '\0';
    return cw_name_ok(w->region);
}

/* An Azure zone is a number, and not every instance has one. */
static bool
take_zone(struct way *w, const char *body)
{
    char zone[128];

    if (strcmp(w->p->name, "azure") != 0)
        return take_name(w->zone, body);
    if (body[0] == '\0')
        return true;
    snprintf(zone, sizeof(zone), "%s-%.60s", w->region, body);
    return cw_name_ok(body) && take_name(w->zone, zone);
}

static bool
way_take(struct way *w, const char *body)
{
    switch (w->p->steps[w->step].take) {
    case TAKE_TOKEN:
        return take_token(w, body);
    case TAKE_REGION:
        return take_name(w->region, body);
    case TAKE_ZONE:
        return take_zone(w, body);
    case TAKE_ZONE_PATH:
        return take_zone_path(w, body);
    }
    cw_unreachable();
}

static void
way_answered(struct way *w, const struct cw_instance_answer *a)
{
    char why[32];

    snprintf(why, sizeof(why), "it answers %d", a->status);
    if (a->status != 200)
        way_fail(w, why);
    else if ((strcmp(w->p->name, "gcp") == 0 && !a->google) || !way_take(w, a->body))
        way_fail(w, "an answer that makes no sense");
    else if (way_close(w), ++w->step == w->p->n_steps)
        w->state = WAY_FOUND;
    else
        way_connect(w);
}

static void
way_receive(struct way *w)
{
    ssize_t n = recv(w->fd, w->answer + w->len, sizeof(w->answer) - w->len, 0);
    struct cw_instance_answer a;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        way_fail(w, strerror(errno));
        return;
    }
    w->len += (size_t)n;
    switch (cw_instance_read(w->answer, w->len, n == 0, &a)) {
    case CW_INSTANCE_MORE:
        return;
    case CW_INSTANCE_GARBAGE:
        way_fail(w, "an answer that makes no sense");
        return;
    case CW_INSTANCE_WHOLE:
        way_answered(w, &a);
        return;
    }
}

/* ---- all of them at once ---- */

static uint64_t
now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static bool
addr_read(const char *text, struct way *w)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)&w->to;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&w->to;
    struct cw_addr a;

    w->addr = text;
    if (!cw_addr_parse(text, false, &a))
        return false;
    if (inet_pton(AF_INET, a.host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(a.port);
        w->to_len = sizeof(*v4);
        return true;
    }
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(a.port);
    w->to_len = sizeof(*v6);
    return inet_pton(AF_INET6, a.host, &v6->sin6_addr) == 1;
}

/* One turn; false: nobody is asked any more, or the time is up. */
static bool
ways_turn(struct way *w, size_t n, uint64_t until_ms)
{
    struct pollfd p[CW_LEN(providers)];
    uint64_t now = now_ms();
    size_t busy = 0;

    for (size_t i = 0; i < n; i++) {
        p[i] = (struct pollfd){ .fd = w[i].fd, /* below 0: it is left out */
                                .events = w[i].state == WAY_CONNECTING ? POLLOUT : POLLIN };
        busy += w[i].fd >= 0;
    }
    if (busy == 0 || now >= until_ms)
        return false;
    if (poll(p, n, (int)(until_ms - now)) < 0)
        return errno == EINTR;
    for (size_t i = 0; i < n; i++) {
        if (w[i].fd < 0 || p[i].revents == 0)
            continue;
        if (w[i].state == WAY_CONNECTING)
            way_send(&w[i]);
        else
            way_receive(&w[i]);
    }
    return true;
}

static const struct way *
ways_found(const struct way *w, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (w[i].state == WAY_FOUND)
            return &w[i];
    }
    return NULL;
}

static bool
found_take(const struct way *w, struct cw_instance *ret)
{
    *ret = (struct cw_instance){ .provider = w->p->name };
    strcpy(ret->region, w->region);
    strcpy(ret->rack, w->zone);
    return snprintf(ret->site, sizeof(ret->site), "%s-%s", w->p->name, w->region) <
           (int)sizeof(ret->site);
}

static bool
nothing_found(const struct way *w, size_t n, const char *addr, uint32_t timeout_ms,
              char why[static CW_INSTANCE_WHY_SIZE])
{
    size_t at =
        (size_t)snprintf(why, CW_INSTANCE_WHY_SIZE,
                         "no instance metadata service tells where this host is (%.60s", addr);
    char late[32];

    snprintf(late, sizeof(late), "silent for %u s", timeout_ms / 1000);
    for (size_t i = 0; i < n && at < CW_INSTANCE_WHY_SIZE; i++)
        at += (size_t)snprintf(why + at, CW_INSTANCE_WHY_SIZE - at, "%s %s: %.40s",
                               i == 0 ? ";" : ",", w[i].p->name,
                               w[i].state == WAY_FAILED ? w[i].why : late);
    if (at < CW_INSTANCE_WHY_SIZE)
        snprintf(why + at, CW_INSTANCE_WHY_SIZE - at, ")");
    return false;
}

bool
cw_instance_find(const char *addr, uint32_t timeout_ms, struct cw_instance *ret,
                 char why[static CW_INSTANCE_WHY_SIZE])
{
    struct way w[CW_LEN(providers)] = { 0 };
    uint64_t until_ms = now_ms() + timeout_ms;
    const struct way *found;
    bool ok;

    for (size_t i = 0; i < CW_LEN(w); i++) {
        w[i].p = &providers[i];
        w[i].fd = -1;
        if (!addr_read(addr, &w[i])) {
            snprintf(why, CW_INSTANCE_WHY_SIZE, "%.80s: not ADDR:PORT in numbers", addr);
            return false;
        }
    }
    for (size_t i = 0; i < CW_LEN(w); i++)
        way_connect(&w[i]);
    while (ways_found(w, CW_LEN(w)) == NULL && ways_turn(w, CW_LEN(w), until_ms))
        ;
    found = ways_found(w, CW_LEN(w));
    for (size_t i = 0; i < CW_LEN(w); i++)
        way_close(&w[i]);
    ok = found != NULL && found_take(found, ret);
    return ok || nothing_found(w, CW_LEN(w), addr, timeout_ms, why);
}
