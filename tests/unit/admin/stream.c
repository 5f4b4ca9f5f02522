#include "tests/unit/admin/stream.h"

#include <stdlib.h>
#include <string.h>

void
stream_init(struct stream *s)
{
    s->text = NULL;
    s->f = open_memstream(&s->text, &s->len);
    if (s->f == NULL)
        abort();
}

void
stream_fini(struct stream *s)
{
    fclose(s->f);
    free(s->text);
}

const char *
stream_text(struct stream *s)
{
    fflush(s->f);
    return s->text;
}

void
run_argv(struct run *r, int argc, char **argv)
{
    stream_init(&r->out);
    stream_init(&r->err);
    r->status = cw_cli_main(argc, argv, r->out.f, r->err.f);
}

void
run_init(struct run *r, const char *words)
{
    char *copy = strdup(words), *rest = copy, *argv[64] = { (char *)"causeway" };
    int argc = 1;

    while (argc < 63 && rest != NULL && *rest != '\0')
        argv[argc++] = strsep(&rest, " ");
    run_argv(r, argc, argv);
    free(copy);
}

void
run_fini(struct run *r)
{
    stream_fini(&r->out);
    stream_fini(&r->err);
}

bool
run_says(const char *words, int status, const char *text)
{
    struct run r;
    bool ok;

    run_init(&r, words);
    ok = r.status == status && (text == NULL || strstr(stream_text(&r.out), text) != NULL ||
                                strstr(stream_text(&r.err), text) != NULL);
    if (!ok)
        fprintf(stderr, "causeway %s: status %d\nout: %s\nerr: %s\n", words, r.status,
                stream_text(&r.out), stream_text(&r.err));
    run_fini(&r);
    return ok;
}
