/* Hashes against their published vectors (and libxxhash, hashlib), and the map. */
#include "testing.h"

static void fill_pattern(unsigned char *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        data[i] = (unsigned char)(i * 7 + 3);
}

TEST(xxh64_vectors)
{
    static const struct {
        size_t size;
        uint64_t plain, seeded;
    } rows[] = {
        {0, 0xEF46DB3751D8E999ULL, 0xAC75FDA2929B17EFULL},   {1, 0x1F25C8D0BC1F4BB6ULL, 0x79CF94F5ACE37FE1ULL},
        {3, 0x31D2363F52E564C9ULL, 0x96D2A5E583DDD738ULL},   {4, 0x9BB64B7D66EE9FDAULL, 0x4A862FBB4B73776EULL},
        {7, 0x9A7B149959CE60D8ULL, 0xDDC5CF71D37A6368ULL},   {8, 0xDAB99D95C6F90092ULL, 0xC6E75E2CBD8E07EEULL},
        {11, 0x7A52CC9457CF1A1FULL, 0xAA0D75A182501622ULL},  {12, 0xD52E407833AF5133ULL, 0x79B0B158FAB0E5D6ULL},
        {15, 0x1B47CB8243CC8E32ULL, 0x8120A1EDA8AC77DAULL},  {16, 0x434850232B787BE2ULL, 0x17F387CE30885DE5ULL},
        {31, 0xA2AA5F33CC4A6119ULL, 0x381822F33376D6B6ULL},  {32, 0x23C3C17EF790FD97ULL, 0x9ABD315470AC276AULL},
        {33, 0x50A7CFC7BA588784ULL, 0x72CDD3262F467933ULL},  {63, 0x5E3E54B431C7493CULL, 0x634DA7D265979E61ULL},
        {64, 0x0EB64B3EF6EEB01FULL, 0xBCB3847D70525180ULL},  {100, 0xA61F8D4C170FE531ULL, 0x86F549EDE5AC87E2ULL},
        {300, 0x240004DBEE0BA6DCULL, 0x288C1777F9FFBCA4ULL},
    };
    unsigned char data[301];
    fill_pattern(data + 1, 300); /* not aligned */
    for (size_t i = 0; i < MYR_COUNT_OF(rows); i++) {
        EXPECT(myr_hash64(data + 1, rows[i].size, 0) == rows[i].plain);
        EXPECT(myr_hash64(data + 1, rows[i].size, 0x9E3779B1) == rows[i].seeded);
    }
    EXPECT(myr_hash64(NULL, 0, 0) == 0xEF46DB3751D8E999ULL);
    EXPECT(myr_hash64("abc", 3, 0) == 0x44BC2CF5AD770999ULL);
}

static void expect_sha(const void *data, size_t size, size_t step, const char *wanted)
{
    myr_sha256 sha;
    myr_sha256_init(&sha);
    for (size_t at = 0; at < size; at += step) {
        myr_sha256_add(&sha, (const char *)data + at, size - at < step ? size - at : step);
    }
    char hex[MYR_SHA256_HEX_BYTES];
    myr_sha256_hex(&sha, hex);
    EXPECT_STR(hex, wanted);
}

/* RFC 4231, test cases 1, 2 and 6; a key may be where the result goes. */
TEST(hmac_vectors)
{
    unsigned char key[131], out[MYR_SHA256_BYTES];
    char hex[MYR_SHA256_HEX_BYTES];
    memset(key, 0x0b, sizeof key);
    myr_hmac_sha256(key, 20, "Hi There", 8, out);
    myr_hex(out, sizeof out, hex);
    EXPECT_STR(hex, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    memcpy(out, "Jefe", 4);
    myr_hmac_sha256(out, 4, "what do ya want for nothing?", 28, out);
    myr_hex(out, sizeof out, hex);
    EXPECT_STR(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    myr_hmac_sha256(key, sizeof key, "Test Using Larger Than Block-Size Key - Hash Key First", 54, out);
    myr_hex(out, sizeof out, hex);
    EXPECT_STR(hex, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST(sha256_vectors)
{
    static const struct {
        size_t size;
        const char *hex;
    } rows[] = {
        {55, "e7313d333c272e639f790978283f9eb392e843d0f29b7016828bb1daa4aac70b"},
        {56, "4324d65f3c103567f5589c710bc08f8523f929a9272e3af36fc968e52abc6c27"},
        {63, "81c80242132f230c3bd41b3e63bbcff16107339549214a99614ff26664625055"},
        {64, "39e3d7b6b5d075d37d053ad89b24b41bef4f3c29760c84447cab3f3be1882241"},
        {65, "aacca6ff74fdbb296d165a45cecfa04e5127bc008770fbbdd48006f2d2fae95e"},
        {119, "9ce7368e4daf32341631b492e80359dc9f594b48453cd0dd5bf0b19279cc177e"},
        {120, "7836b787757e95e58b3ca5aec90b1b004e8deba1e50e9675af9cabf1a13a04b5"},
        {300, "04773f8726c81cafcfa1a09a82664b98b00d2021031a1715bca1154f2dad3472"},
    };
    expect_sha("", 0, 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    expect_sha("abc", 3, 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    expect_sha("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, 56,
               "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    unsigned char data[300];
    fill_pattern(data, sizeof data);
    static const size_t steps[] = {1, 3, 63, 64, 65, 300};
    for (size_t i = 0; i < MYR_COUNT_OF(rows); i++) {
        for (size_t j = 0; j < MYR_COUNT_OF(steps); j++)
            expect_sha(data, rows[i].size, steps[j], rows[i].hex);
    }
}

TEST(secrets_are_equal_only_when_every_byte_is)
{
    unsigned char a[MYR_SHA256_BYTES], b[MYR_SHA256_BYTES];
    char hex[2 * sizeof a + 1];
    for (size_t i = 0; i < sizeof a; i++)
        a[i] = b[i] = (unsigned char)(i * 17);
    EXPECT(myr_secret_equal(a, b, sizeof a) && myr_secret_equal(a, b, 0));
    for (size_t bit = 0; bit < 8 * sizeof a; bit++) {
        b[bit / 8] ^= (unsigned char)(1u << bit % 8);
        EXPECT(!myr_secret_equal(a, b, sizeof a));
        b[bit / 8] = a[bit / 8];
    }
    myr_hex(a, 4, hex);
    EXPECT_STR(hex, "00112233");
}

TEST(sha256_of_a_million_letters)
{
    myr_sha256 sha;
    myr_sha256_init(&sha);
    char letters[1000];
    memset(letters, 'a', sizeof letters);
    for (int i = 0; i < 1000; i++)
        myr_sha256_add(&sha, letters, sizeof letters);
    myr_sha256_add(&sha, NULL, 0);
    char hex[MYR_SHA256_HEX_BYTES];
    myr_sha256_hex(&sha, hex);
    EXPECT_STR(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* ---- map ---- */

TEST(map_finds_what_was_put)
{
    MYR_AUTO(myr_map_ptr) map = myr_map_new();
    uint64_t value = 77;
    EXPECT(!myr_map_find(map, myr_str_of("a"), &value));
    EXPECT_INT(value, 77); /* untouched */
    EXPECT_RC(myr_map_put(map, myr_str_of("a"), 1, NULL), OK, NULL);
    EXPECT_RC(myr_map_put(map, myr_str_of(""), 2, NULL), OK, NULL);
    EXPECT_RC(myr_map_put(map, myr_str_make("a\0b", 3), 3, NULL), OK, NULL);
    EXPECT_RC(myr_map_put(map, myr_str_of("a"), UINT64_MAX, NULL), OK, NULL); /* replaces */
    EXPECT_INT(myr_map_count(map), 3);
    EXPECT(myr_map_find(map, myr_str_of("a"), &value) && value == UINT64_MAX);
    EXPECT(myr_map_find(map, myr_str_of(NULL), &value) && value == 2);
    EXPECT(myr_map_find(map, myr_str_make("a\0b", 3), &value) && value == 3);
    EXPECT(myr_map_find(map, myr_str_of("a"), NULL));
    EXPECT(!myr_map_find(map, myr_str_of("b"), &value));
}

TEST(map_of_many_keys_keeps_their_order)
{
    MYR_AUTO(myr_map_ptr) map = myr_map_new();
    char key[32];
    for (uint64_t i = 0; i < 50000; i++) {
        snprintf(key, sizeof key, "store=%llu,brand=%llu", (unsigned long long)i / 11, (unsigned long long)i % 11);
        EXPECT_RC(myr_map_put(map, myr_str_of(key), i, NULL), OK, NULL);
    }
    EXPECT_INT(myr_map_count(map), 50000);
    size_t cursor = 0;
    uint64_t value = 0, seen = 0;
    myr_str found;
    while (myr_map_next(map, &cursor, &found, &value)) {
        EXPECT(value == seen);
        seen++;
        uint64_t again = 0;
        EXPECT(myr_map_find(map, found, &again) && again == value);
        EXPECT(found.data[found.size] == '\0');
    }
    EXPECT_INT(seen, 50000);
    EXPECT(!myr_map_next(map, &cursor, &found, &value));
}

TEST(map_survives_each_failed_allocation)
{
    int successes = 0;
    FAIL_EACH_ALLOC (nth) {
        MYR_AUTO(myr_map_ptr) map = myr_map_new();
        if (map == NULL) continue;
        int failures = 0;
        char key[300];
        for (int i = 0; i < 100; i++) {
            snprintf(key, sizeof key, "%0250d", i); /* long keys: their arena grows too */
            size_t before = myr_map_count(map);
            myr_err err = {0};
            myr_rc rc = myr_map_put(map, myr_str_of(key), (uint64_t)i, &err);
            EXPECT(rc == MYR_OK || rc == MYR_NO_MEMORY);
            if (rc != MYR_OK) {
                failures++;
                EXPECT(myr_map_count(map) == before && !myr_map_find(map, myr_str_of(key), NULL));
                EXPECT_RC(myr_map_put(map, myr_str_of(key), (uint64_t)i, &err), OK, &err); /* the second try works */
            }
        }
        EXPECT_INT(myr_map_count(map), 100);
        for (int i = 0; i < 100; i++) {
            uint64_t value = 1000;
            snprintf(key, sizeof key, "%0250d", i);
            EXPECT(myr_map_find(map, myr_str_of(key), &value) && value == (uint64_t)i);
        }
        EXPECT(failures <= 1);
        if (failures == 0) successes++;
    }
    EXPECT_INT(successes, 1);
}

RUN()
