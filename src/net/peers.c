/*
 * How many connections each address has: one that takes them all would leave none for others. An IPv6 client owns its
 * /64, so that counts as one address. Under a lock of the server, once per connection.
 */
#include "net/internal.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

struct net_peer {
    net_peer *next;
    unsigned char key[NET_PEER_KEY_BYTES];
    int64_t count;
};

void myr_net_peer_key(const struct sockaddr *address, unsigned char out[NET_PEER_KEY_BYTES])
{
    memset(out, 0, NET_PEER_KEY_BYTES);
    if (address == NULL) return;
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof v6);
        out[0] = 6;
        memcpy(out + 1, &v6.sin6_addr, 8);
    } else if (address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof v4);
        out[0] = 4;
        memcpy(out + 1, &v4.sin_addr, 4);
    }
}

bool myr_net_peer_add(net_peers *peers, int64_t count_max, const unsigned char key[NET_PEER_KEY_BYTES], net_peer **out)
{
    net_peer **list = &peers->lists[myr_hash64(key, NET_PEER_KEY_BYTES, 0) % NET_PEER_LISTS];
    net_peer *peer = *list;
    while (peer != NULL && memcmp(peer->key, key, NET_PEER_KEY_BYTES) != 0)
        peer = peer->next;
    if (peer == NULL) {
        peer = myr_calloc(1, sizeof *peer);
        if (peer == NULL) return false;
        memcpy(peer->key, key, NET_PEER_KEY_BYTES);
        peer->next = *list;
        *list = peer;
    }
    if (count_max > 0 && peer->count >= count_max) return false;
    peer->count++;
    *out = peer;
    return true;
}

void myr_net_peer_remove(net_peers *peers, net_peer *peer)
{
    MYR_ASSERT(peer->count > 0);
    if (--peer->count > 0) return;
    net_peer **link = &peers->lists[myr_hash64(peer->key, NET_PEER_KEY_BYTES, 0) % NET_PEER_LISTS];
    while (*link != peer)
        link = &(*link)->next;
    *link = peer->next;
    myr_free(peer);
}

const char *myr_req_client(const myr_req *req, char out[MYR_HTTP_CLIENT_BYTES])
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(req->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *address = info != NULL ? info->client_addr : NULL;
    out[0] = '\0';
    if (address != NULL && address->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof v6);
        (void)inet_ntop(AF_INET6, &v6.sin6_addr, out, MYR_HTTP_CLIENT_BYTES);
    } else if (address != NULL && address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof v4);
        (void)inet_ntop(AF_INET, &v4.sin_addr, out, MYR_HTTP_CLIENT_BYTES);
    }
    return out;
}
