/*
 * What the bytes of a connection of ours go through: a socket, or a TLS session over it. Nobody else calls recv or
 * send. Thread: the connection's loop.
 */
#ifndef MYR_NET_WIRE_H
#define MYR_NET_WIRE_H

#include <stdbool.h>
#include <stddef.h>

#define NET_WIRE_EARLY_BYTES 512 /* written before a handshake is over: the settings of HTTP/2 */

struct myr_tls;
struct gnutls_session_int;

typedef struct net_wire {
    int fd;                             /* owned; -1: closed */
    struct myr_tls *tls;                /* borrowed; NULL: in clear text, and so the rest is not there */
    struct gnutls_session_int *session; /* made at the first byte */
    void *hold;
    bool is_shaken, has_record;
    size_t early_bytes;
    unsigned char early[NET_WIRE_EARLY_BYTES];
} net_wire;

typedef enum net_wire_result {
    NET_WIRE_OK,
    NET_WIRE_AGAIN,
    NET_WIRE_END
} net_wire_result; /* END: peer left, or broken */

net_wire_result myr_net_wire_read(net_wire *wire, void *data, size_t room, size_t *out_bytes);
net_wire_result myr_net_wire_write(net_wire *wire, const void *data, size_t size, size_t *out_bytes);
void myr_net_wire_shut(net_wire *wire); /* we have said all; the peer's bytes still come */
void myr_net_wire_close(net_wire *wire);

#endif
