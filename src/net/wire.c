/* Reading and writing a connection: a socket that never blocks. */
#include "net/wire.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static net_wire_result wire_failed(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? NET_WIRE_AGAIN : NET_WIRE_END;
}

net_wire_result myr_net_wire_read(net_wire *wire, void *data, size_t room, size_t *out_bytes)
{
    ssize_t got = recv(wire->fd, data, room, MSG_DONTWAIT);
    *out_bytes = got > 0 ? (size_t)got : 0;
    if (got > 0) return NET_WIRE_OK;
    return got == 0 ? NET_WIRE_END : wire_failed();
}

net_wire_result myr_net_wire_write(net_wire *wire, const void *data, size_t size, size_t *out_bytes)
{
    ssize_t sent = send(wire->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    *out_bytes = sent > 0 ? (size_t)sent : 0;
    return sent >= 0 ? NET_WIRE_OK : wire_failed();
}

void myr_net_wire_shut(net_wire *wire)
{
    (void)shutdown(wire->fd, SHUT_WR); /* fails when the peer has left: reading will tell */
}

void myr_net_wire_close(net_wire *wire)
{
    if (wire->fd >= 0) close(wire->fd);
    wire->fd = -1;
}
