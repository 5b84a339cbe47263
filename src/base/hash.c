/* Hashes, written from their public specifications: XXH64 for tables and checksums, SHA-256 for fingerprints. */
#include "base/hash.h"

#include <string.h>

#include "base/err.h"

/* ---- XXH64 ---- */

static const uint64_t XXH_P1 = 0x9E3779B185EBCA87ULL;
static const uint64_t XXH_P2 = 0xC2B2AE3D27D4EB4FULL;
static const uint64_t XXH_P3 = 0x165667B19E3779F9ULL;
static const uint64_t XXH_P4 = 0x85EBCA77C2B2AE63ULL;
static const uint64_t XXH_P5 = 0x27D4EB2F165667C5ULL;

static uint64_t hash_rotl64(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

/* Little-endian reads, whatever the machine. */
static uint64_t hash_read64(const unsigned char *p)
{
    uint64_t x;
    memcpy(&x, p, sizeof x);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = __builtin_bswap64(x);
#endif
    return x;
}

static uint32_t hash_read32(const unsigned char *p)
{
    uint32_t x;
    memcpy(&x, p, sizeof x);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = __builtin_bswap32(x);
#endif
    return x;
}

static uint64_t xxh_round(uint64_t lane, uint64_t input)
{
    return hash_rotl64(lane + input * XXH_P2, 31) * XXH_P1;
}

static uint64_t xxh_merge(uint64_t sum, uint64_t lane)
{
    return (sum ^ xxh_round(0, lane)) * XXH_P1 + XXH_P4;
}

/* The whole 32-byte stripes: four lanes, then one sum. */
static uint64_t xxh_stripes(const unsigned char **p, size_t *left, uint64_t seed)
{
    uint64_t a = seed + XXH_P1 + XXH_P2, b = seed + XXH_P2, c = seed, d = seed - XXH_P1;
    for (; *left >= 32; *p += 32, *left -= 32) {
        a = xxh_round(a, hash_read64(*p));
        b = xxh_round(b, hash_read64(*p + 8));
        c = xxh_round(c, hash_read64(*p + 16));
        d = xxh_round(d, hash_read64(*p + 24));
    }
    uint64_t sum = hash_rotl64(a, 1) + hash_rotl64(b, 7) + hash_rotl64(c, 12) + hash_rotl64(d, 18);
    return xxh_merge(xxh_merge(xxh_merge(xxh_merge(sum, a), b), c), d);
}

uint64_t myr_hash64(const void *data, size_t size_bytes, uint64_t seed)
{
    const unsigned char *p = data;
    size_t left = size_bytes;
    uint64_t sum = left >= 32 ? xxh_stripes(&p, &left, seed) : seed + XXH_P5;
    MYR_ASSERT(left < 32);
    sum += size_bytes;
    for (; left >= 8; p += 8, left -= 8) {
        sum = hash_rotl64(sum ^ xxh_round(0, hash_read64(p)), 27) * XXH_P1 + XXH_P4;
    }
    if (left >= 4) {
        sum = hash_rotl64(sum ^ (hash_read32(p) * XXH_P1), 23) * XXH_P2 + XXH_P3;
        p += 4;
        left -= 4;
    }
    for (; left > 0; p++, left--)
        sum = hash_rotl64(sum ^ (*p * XXH_P5), 11) * XXH_P1;
    sum = (sum ^ (sum >> 33)) * XXH_P2;
    sum = (sum ^ (sum >> 29)) * XXH_P3;
    return sum ^ (sum >> 32);
}

/* ---- SHA-256 ---- */

static const uint32_t SHA_K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t sha_rotr(uint32_t x, int bits)
{
    return (x >> bits) | (x << (32 - bits));
}

static void sha_schedule(uint32_t w[64], const unsigned char *block)
{
    for (int i = 0; i < 16; i++) {
        const unsigned char *p = block + 4 * i;
        w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    }
    for (int i = 16; i < 64; i++) {
        uint32_t s0 = sha_rotr(w[i - 15], 7) ^ sha_rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
        uint32_t s1 = sha_rotr(w[i - 2], 17) ^ sha_rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
}

static void sha_block(uint32_t state[8], const unsigned char *block)
{
    uint32_t w[64];
    sha_schedule(w, block);
    uint32_t s[8];
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t s1 = sha_rotr(s[4], 6) ^ sha_rotr(s[4], 11) ^ sha_rotr(s[4], 25);
        uint32_t choice = (s[4] & s[5]) ^ (~s[4] & s[6]);
        uint32_t t1 = s[7] + s1 + choice + SHA_K[i] + w[i];
        uint32_t s0 = sha_rotr(s[0], 2) ^ sha_rotr(s[0], 13) ^ sha_rotr(s[0], 22);
        uint32_t majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
        memmove(s + 1, s, 7 * sizeof s[0]);
        s[4] += t1;
        s[0] = t1 + s0 + majority;
    }
    for (int i = 0; i < 8; i++)
        state[i] += s[i];
}

void myr_sha256_init(myr_sha256 *sha)
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memset(sha, 0, sizeof *sha);
    memcpy(sha->state, start, sizeof start);
}

void myr_sha256_add(myr_sha256 *sha, const void *data, size_t size_bytes)
{
    const unsigned char *p = data;
    size_t held = (size_t)(sha->size_bytes % sizeof sha->block);
    sha->size_bytes += size_bytes;
    if (size_bytes == 0) return; /* data may be NULL */
    if (held > 0) {
        size_t take = sizeof sha->block - held;
        if (take > size_bytes) take = size_bytes;
        memcpy(sha->block + held, p, take);
        p += take;
        size_bytes -= take;
        if (held + take < sizeof sha->block) return;
        sha_block(sha->state, sha->block);
    }
    for (; size_bytes >= sizeof sha->block; p += sizeof sha->block, size_bytes -= sizeof sha->block) {
        sha_block(sha->state, p);
    }
    if (size_bytes > 0) memcpy(sha->block, p, size_bytes);
}

void myr_sha256_bytes(myr_sha256 *sha, unsigned char out[MYR_SHA256_BYTES])
{
    static const unsigned char padding[64] = {0x80};
    uint64_t bits = sha->size_bytes * 8;
    size_t held = (size_t)(sha->size_bytes % 64);
    myr_sha256_add(sha, padding, held < 56 ? 56 - held : 120 - held);
    unsigned char length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)(bits >> (56 - 8 * i));
    myr_sha256_add(sha, length, sizeof length);
    MYR_ASSERT(sha->size_bytes % 64 == 0);
    for (int i = 0; i < MYR_SHA256_BYTES; i++)
        out[i] = (unsigned char)(sha->state[i / 4] >> (24 - 8 * (i % 4)));
}

void myr_sha256_hex(myr_sha256 *sha, char out_hex[MYR_SHA256_HEX_BYTES])
{
    unsigned char bytes[MYR_SHA256_BYTES];
    myr_sha256_bytes(sha, bytes);
    myr_hex(bytes, sizeof bytes, out_hex);
}

void myr_hmac_sha256(const void *key, size_t key_bytes, const void *data, size_t size_bytes,
                     unsigned char out[MYR_SHA256_BYTES])
{
    unsigned char inner[64] = {0}, outer[64], digest[MYR_SHA256_BYTES];
    myr_sha256 sha;
    if (key_bytes > sizeof inner) {
        myr_sha256_init(&sha);
        myr_sha256_add(&sha, key, key_bytes);
        myr_sha256_bytes(&sha, inner);
    } else if (key_bytes > 0) {
        memcpy(inner, key, key_bytes);
    }
    for (size_t i = 0; i < sizeof inner; i++) {
        outer[i] = inner[i] ^ 0x5c;
        inner[i] ^= 0x36;
    }
    myr_sha256_init(&sha);
    myr_sha256_add(&sha, inner, sizeof inner);
    myr_sha256_add(&sha, data, size_bytes);
    myr_sha256_bytes(&sha, digest);
    myr_sha256_init(&sha);
    myr_sha256_add(&sha, outer, sizeof outer);
    myr_sha256_add(&sha, digest, sizeof digest);
    myr_sha256_bytes(&sha, out);
}

void myr_hex(const void *data, size_t size_bytes, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *p = data;
    for (size_t i = 0; i < size_bytes; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * size_bytes] = '\0';
}

bool myr_secret_equal(const void *a, const void *b, size_t size_bytes)
{
    const volatile unsigned char *p = a, *q = b; /* volatile: each byte is looked at, whatever the compiler thinks */
    unsigned differs = 0;
    for (size_t i = 0; i < size_bytes; i++)
        differs |= (unsigned)(p[i] ^ q[i]);
    return differs == 0;
}
