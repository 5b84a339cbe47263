/* Hashes: XXH64 (public specification, github.com/Cyan4973/xxHash doc/xxhash_spec.md) and SHA-256 (FIPS 180-4). */
#ifndef MYR_BASE_HASH_H
#define MYR_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

uint64_t myr_hash64(const void *data, size_t size_bytes, uint64_t seed);

#define MYR_SHA256_BYTES     32
#define MYR_SHA256_HEX_BYTES 65 /* with NUL */
typedef struct myr_sha256 {
    uint32_t state[8];
    uint64_t size_bytes;
    unsigned char block[64];
} myr_sha256;
void myr_sha256_init(myr_sha256 *sha);
void myr_sha256_add(myr_sha256 *sha, const void *data, size_t size_bytes);
/* Each finishes: the bytes, or the same in lower case hexadecimal. */
void myr_sha256_bytes(myr_sha256 *sha, unsigned char out[MYR_SHA256_BYTES]);
void myr_sha256_hex(myr_sha256 *sha, char out_hex[MYR_SHA256_HEX_BYTES]);
/* HMAC-SHA-256 (RFC 2104), a key of any length. out may be where the key is. */
void myr_hmac_sha256(const void *key, size_t key_bytes, const void *data, size_t size_bytes,
                     unsigned char out[MYR_SHA256_BYTES]);
/* Lower case hexadecimal of some bytes; out has room for 2 * size_bytes + 1. */
void myr_hex(const void *data, size_t size_bytes, char *out);
/* Whether two secrets are the same, in a time that does not depend on where they differ. */
bool myr_secret_equal(const void *a, const void *b, size_t size_bytes);

#endif
