#include <stdio.h>
#include <string.h>

#include "common/base/bits.h"
#include "common/base/prng.h"
#include "daemon/metadata/records.h"
#include "tests/lib/cw-test.h"

static const struct cw_uuid id1 = { { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 } };
static const struct cw_uuid id2 = { { 255, 254, 253, 0, 1 } };

#define N_SAMPLES 10

static size_t
make_samples(struct cw_rec *r)
{
    memset(r, 0, N_SAMPLES * sizeof(*r));
    r[0] = (struct cw_rec){ .kind = CW_REC_CLUSTER,
                            .cluster = { id1, "hy1", 7, 1000000, 3, 1700000000, 1700000005,
                                         1 << 20 } };
    r[1] = (struct cw_rec){ .kind = CW_REC_POLICY,
                            .policy = { "default", 3, "host", "each:1 dc1,aws", 2, -1, "auto",
                                        "durable", "none", "off", 1, UINT64_MAX, 3600, "wait",
                                        "error" } };
    r[2] = (struct cw_rec){ .kind = CW_REC_HOST,
                            .host = { "aws-1", id1, "eu", "aws", "r2", CW_SITE_CLOUD,
                                      "127.0.0.1:4711", "/run/x/sock", id2, 5, CW_MAINTAIN_FULL,
                                      1700000006, true, "aws", 90000, true } };
    r[3] = (struct cw_rec){ .kind = CW_REC_DISK,
                            .disk = { id2, 99, "aws-1", "store-0", UINT64_C(1) << 40, true, true, 3,
                                      1700000002, CW_QUARANTINE_LINK, 1700000007 } };
    r[4] = (struct cw_rec){ .kind = CW_REC_VOLUME,
                            .volume = { 1, "vm1", 4096, "default", 4000000000u, CW_HOLD_OWNED, id1,
                                        "nbd", "box", 6, true, 5, 8, 86400, 2 } };
    r[5] = (struct cw_rec){ .kind = CW_REC_SHARD,
                            .shard = { 65536,
                                       4,
                                       5,
                                       6,
                                       1 << 24,
                                       CW_COMPRESSION_INLINE,
                                       2,
                                       { { id1, 9, CW_MEMBER_INSYNC, 0 },
                                         { id2, 8, CW_MEMBER_JOURNAL, 77 } } } };
    r[6] = (struct cw_rec){ .kind = CW_REC_DROP, .drop = { 65536, id1 } };
    r[7] = (struct cw_rec){ .kind = CW_REC_EVENT,
                            .event = { 12, 1700000001, "HOST_ABSENT", "aws/aws-1", "silent" } };
    r[8] = (struct cw_rec){ .kind = CW_REC_JOB,
                            .job = { 13,
                                     CW_JOB_DRAIN,
                                     CW_JOB_DISK,
                                     "aws-1/store-0",
                                     1,
                                     id2,
                                     CW_JOB_FAILED,
                                     1700000003,
                                     1700000004,
                                     UINT64_C(1) << 41,
                                     "it was removed",
                                     { 1, 2, 3, 4, 5, 6 } } };
    r[9] = (struct cw_rec){ .kind = CW_REC_REMOVED,
                            .removed = { id2, 99, "aws-1", "store-0", 1700000008, true } };
    return N_SAMPLES;
}

static void
reencode(const struct cw_rec *r, uint8_t *bytes, size_t *len, struct cw_rec *back)
{
    const struct cw_rec_codec *c = cw_metadata_codec();

    *len = c->encode(r, bytes);
    memset(back, 0, sizeof(*back));
    back->kind = r->kind;
    assert_true(c->decode(bytes, *len, back));
}

/* Every kind of record comes back field by field, seen by encoding it again. */
static void
records_come_back(void **state)
{
    struct cw_rec samples[N_SAMPLES], back;
    uint8_t a[CW_REC_BYTES_MAX], b[CW_REC_BYTES_MAX];
    size_t n = make_samples(samples), a_len;

    for (size_t i = 0; i < n; i++) {
        reencode(&samples[i], a, &a_len, &back);
        assert_int_equal(cw_metadata_codec()->encode(&back, b), a_len);
        assert_memory_equal(a, b, a_len);
    }
    reencode(&samples[1], a, &a_len, &back);
    assert_int_equal(back.policy.degrade_s, -1);
    assert_string_equal(back.policy.sites, "each:1 dc1,aws");
    reencode(&samples[2], a, &a_len, &back);
    assert_int_equal(back.host.maintain, CW_MAINTAIN_FULL);
    assert_true(back.host.maintain_ready);
    assert_true(back.host.is_volatile);
    assert_int_equal(back.host.egress_micros, 90000);
    assert_string_equal(back.host.provider, "aws");
    reencode(&samples[3], a, &a_len, &back);
    assert_int_equal(back.disk.draining_s, 1700000007);
    reencode(&samples[8], a, &a_len, &back);
    assert_int_equal(back.job.state, CW_JOB_FAILED);
    assert_true(cw_uuid_equal(&back.job.disk_uuid, &id2));
    reencode(&samples[4], a, &a_len, &back);
    assert_int_equal(back.volume.gen, 4000000000u);
    assert_int_equal(back.volume.hold, CW_HOLD_OWNED);
    assert_int_equal(back.volume.purge_left_s, 86400);
    assert_int_equal(back.volume.min_insync, 2);
    assert_true(cw_uuid_equal(&back.volume.owner_id, &id1));
    reencode(&samples[5], a, &a_len, &back);
    assert_int_equal(back.shard.n_members, 2);
    assert_int_equal(back.shard.members[1].state, CW_MEMBER_JOURNAL);
    assert_int_equal(back.shard.members[1].since_seq, 77);
}

/* The largest record of each kind stays within the limit. */
static void
records_fit_the_limit(void **state)
{
    struct cw_rec r = { .kind = CW_REC_POLICY }, back;
    uint8_t a[CW_REC_BYTES_MAX];
    size_t len;

    memset(r.policy.name, 'n', sizeof(r.policy.name) - 1);
    memset(r.policy.sites, 's', sizeof(r.policy.sites) - 1);
    memset(r.policy.async, 'a', sizeof(r.policy.async) - 1);
    r.policy.degrade_s = -1;
    reencode(&r, a, &len, &back);
    assert_memory_equal(&r.policy, &back.policy, sizeof(r.policy));
    r = (struct cw_rec){ .kind = CW_REC_EVENT, .event.number = UINT64_MAX };
    memset(r.event.text, 't', sizeof(r.event.text) - 1);
    memset(r.event.object, 'o', sizeof(r.event.object) - 1);
    reencode(&r, a, &len, &back);
    assert_string_equal(r.event.text, back.event.text);
}

/* Bytes that are no record, of another kind, or of a newer version are refused. */
static void
records_refuse_what_they_do_not_know(void **state)
{
    const struct cw_rec_codec *c = cw_metadata_codec();
    struct cw_rec samples[N_SAMPLES], back = { .kind = CW_REC_SHARD };
    uint8_t a[CW_REC_BYTES_MAX];
    struct cw_prng p;
    size_t len;

    make_samples(samples);
    assert_false(c->decode((const uint8_t *)"", 0, &back));
    len = c->encode(&samples[5], a);
    assert_int_equal(a[0], 0x08); /* version is field 1 */
    a[1] = 2;
    assert_false(c->decode(a, len, &back));
    a[1] = 0;
    assert_false(c->decode(a, len, &back));
    samples[5].shard.members[0].state = (enum cw_member_state)9;
    len = c->encode(&samples[5], a);
    assert_false(c->decode(a, len, &back));
    samples[5].shard.members[0].state = CW_MEMBER_INSYNC;
    cw_prng_init(&p, 6);
    for (int i = 0; i < 20000; i++) {
        struct cw_rec *r = &samples[cw_prng_below(&p, 8)];

        len = c->encode(r, a);
        for (int k = 0; k < 3; k++)
            a[cw_prng_below(&p, len)] = (uint8_t)cw_prng_next(&p);
        back.kind = (enum cw_rec_kind)cw_prng_below(&p, 8);
        c->decode(a, cw_prng_below(&p, len + 1), &back); /* true or false, but no crash */
    }
}

/* A string that is longer than its field is refused, not cut. */
static void
records_refuse_long_text(void **state)
{
    const struct cw_rec_codec *c = cw_metadata_codec();
    struct cw_rec r = { .kind = CW_REC_EVENT, .event.number = 1 }, back = r;
    uint8_t a[CW_REC_BYTES_MAX];
    size_t len;

    memset(r.event.text, 't', 100);
    len = c->encode(&r, a);
    for (size_t i = 0; i + 2 < len; i++)
        if (a[i] == (6 << 3 | 2) && a[i + 1] == 100)
            a[i] = 4 << 3 | 2; /* the text becomes the code, which has 32 bytes */
    assert_false(c->decode(a, len, &back));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_back),
        cmocka_unit_test(records_fit_the_limit),
        cmocka_unit_test(records_refuse_what_they_do_not_know),
        cmocka_unit_test(records_refuse_long_text),
    };

    return cmocka_run_group_tests_name("records", tests, NULL, NULL);
}
