#include <stdlib.h>
#include <string.h>

#include "daemon/http/internal.h"
#include "tests/lib/cw-test.h"

static bool
is_fixed(const ProtobufCFieldDescriptor *f, int value)
{
    if (f == NULL || f->type == PROTOBUF_C_TYPE_BOOL)
        return f != NULL;
    return f->type == PROTOBUF_C_TYPE_ENUM &&
           protobuf_c_enum_descriptor_get_value(f->descriptor, value) != NULL;
}

static const struct http_route *
find(const char *method, const char *path, char object[static HTTP_OBJECT_SIZE],
     char allow[static 64])
{
    static char copy[1024];
    struct cw_http_target t;

    snprintf(copy, sizeof(copy), "%s", path);
    assert_true(cw_http_target_parse(copy, &t));
    return cw_http_route_find(method, &t, object, allow, 64);
}

static void
paths_find_their_route(void **state)
{
    char object[HTTP_OBJECT_SIZE], allow[64], longest[700] = "/v1/volumes/";
    const struct http_route *r = find("GET", "/v1/disks/h1/store-0", object, allow);

    assert_string_equal(r->path, "/v1/disks/{host}/{disk}");
    assert_string_equal(object, "h1/store-0");
    assert_ptr_equal(find("HEAD", "/v1/volumes", object, allow),
                     find("GET", "/v1/volumes/", object, allow));
    assert_string_equal(find("POST", "/v1/policies/check", object, allow)->path,
                        "/v1/policies/check");
    assert_string_equal(find("GET", "/v1/policies/check", object, allow)->path,
                        "/v1/policies/{name}");
    assert_null(find("PUT", "/v1/volumes/a", object, allow));
    assert_string_equal(allow, "GET, PATCH, DELETE");
    assert_null(find("GET", "/v1/volumes/a/b/c", object, allow));
    assert_string_equal(allow, "");
    assert_null(find("GET", "/", object, allow));
    assert_null(find("GET", "/v1/volumes//explain", object, allow));
    memset(longest + strlen(longest), 'a', 600);
    assert_null(find("GET", longest, object, allow));
}

/* A name that does not stand in its message would end the daemon at the first request. */
static void
every_field_is_of_its_message(void **state)
{
    for (const struct http_route *r = cw_http_routes; r->method != NULL; r++) {
        const ProtobufCFieldDescriptor *body, *in;
        const ProtobufCMessageDescriptor *part;
        char list[512], *rest = list, *word;

        assert_true((r->ask != 0 && r->shape != NULL) || r->run != NULL);
        if (r->ask == 0)
            continue;
        body = protobuf_c_message_descriptor_get_field(&causeway__control__envelope__descriptor,
                                                       (unsigned)r->ask);
        assert_non_null(body);
        part = body->descriptor;
        if (r->in != NULL) {
            in = protobuf_c_message_descriptor_get_field_by_name(part, r->in);
            assert_non_null(in);
            part = in->descriptor;
        }
        if (r->object != NULL)
            assert_non_null(protobuf_c_message_descriptor_get_field_by_name(part, r->object));
        if (r->set != NULL)
            assert_true(
                is_fixed(protobuf_c_message_descriptor_get_field_by_name(body->descriptor, r->set),
                         r->set_to));
        snprintf(list, sizeof(list), "%s", r->fields != NULL ? r->fields : "");
        assert_true(strlen(list) < sizeof(list) - 1);
        while ((word = strsep(&rest, " ")) != NULL) {
            const char *eq = strchr(word, '=');
            const char *name = eq != NULL ? eq + 1 : word;

            if (name[0] != '\0')
                assert_non_null(protobuf_c_message_descriptor_get_field_by_name(part, name));
        }
    }
}

static void
labels_are_escaped(void **state)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    cw_http_metric(f, "causeway_x", "gauge", "X.");
    cw_http_sample_u64(f, "causeway_x", (const char *const[]){ "a", "q\"b\\s\nn", "e", "", NULL },
                       7);
    cw_http_sample(f, "causeway_x", NULL, 0.5);
    fclose(f);
    assert_string_equal(text, "# HELP causeway_x X.\n# TYPE causeway_x gauge\n"
                              "causeway_x{a=\"q\\\"b\\\\s\\nn\",e=\"\"} 7\ncauseway_x 0.5\n");
    free(text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_find_their_route),
        cmocka_unit_test(every_field_is_of_its_message),
        cmocka_unit_test(labels_are_escaped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
