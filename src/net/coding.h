/*
 * Compressed bytes, for HTTP's bodies and gRPC's messages alike (zlib). All memory is the arena's. It takes time: not
 * on a loop.
 */
#ifndef MYR_NET_CODING_H
#define MYR_NET_CODING_H

#include "base/base.h"

typedef enum net_coding { NET_CODING_NONE, NET_CODING_GZIP, NET_CODING_ZLIB } net_coding;

net_coding myr_net_coding_of(myr_str name); /* gzip, x-gzip, deflate (zlib's frame), any case */
const char *myr_net_coding_name(net_coding coding);

/*
 * All of `data`, expanded; `what` ("the request body") begins the messages. Errors: BAD_INPUT
 * (damaged, cut, something after it), TOO_LARGE (more than `limit`), NO_MEMORY.
 */
myr_rc myr_net_expand(myr_arena *arena, net_coding coding, const char *what, myr_str data, size_t limit, char **out,
                      size_t *out_bytes, myr_err *err);
/* Compress, if that makes it smaller; false: it does not, or there is no memory. `head` bytes are left free before. */
bool myr_net_compress(myr_arena *arena, net_coding coding, size_t head, myr_str data, char **out, size_t *out_bytes);

#endif
