/*
 * Reading and writing a connection: a socket that never blocks, and TLS over it. The handshake is part of the first
 * reads; what is written before it is over is kept, so that a writer need not know of it.
 */
#include "net/wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gnutls/gnutls.h>

#include "net/internal.h"

#define WIRE_PROTOCOL "h2"

static net_wire_result wire_failed(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? NET_WIRE_AGAIN : NET_WIRE_END;
}

/* ---- TLS ---- */

static bool wire_begin(net_wire *wire)
{
    if (wire->session != NULL) return true;
    gnutls_session_t session;
    if (gnutls_init(&session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) != 0) return false;
    wire->session = session;
    gnutls_transport_set_int(session, wire->fd);
    return gnutls_priority_set_direct(session, NET_TLS_PRIORITIES, NULL) == 0 &&
           myr_net_tls_begin(wire->tls, session, WIRE_PROTOCOL, &wire->hold);
}

static net_wire_result wire_record(net_wire *wire, const void *data, size_t size, size_t *out_bytes)
{
    ssize_t sent = gnutls_record_send(wire->session, wire->has_record ? NULL : data, wire->has_record ? 0 : size);
    wire->has_record = sent == GNUTLS_E_AGAIN || sent == GNUTLS_E_INTERRUPTED;
    *out_bytes = sent > 0 ? (size_t)sent : 0;
    if (sent >= 0) return NET_WIRE_OK;
    return wire->has_record ? NET_WIRE_AGAIN : NET_WIRE_END;
}

/* What was written early; it is so little that a fresh socket takes it. */
static net_wire_result wire_send_early(net_wire *wire)
{
    size_t sent = 0;
    if (wire->early_bytes == 0) return NET_WIRE_OK;
    net_wire_result result = wire_record(wire, wire->early, wire->early_bytes, &sent);
    if (result == NET_WIRE_AGAIN) return NET_WIRE_AGAIN;
    if (result == NET_WIRE_END || sent != wire->early_bytes) return NET_WIRE_END;
    wire->early_bytes = 0;
    return NET_WIRE_OK;
}

static net_wire_result wire_shake(net_wire *wire)
{
    if (wire->is_shaken) return wire_send_early(wire);
    if (!wire_begin(wire)) return NET_WIRE_END;
    int failed = gnutls_handshake(wire->session);
    if (failed == GNUTLS_E_AGAIN || failed == GNUTLS_E_INTERRUPTED) return NET_WIRE_AGAIN;
    if (failed == GNUTLS_E_WARNING_ALERT_RECEIVED) return NET_WIRE_AGAIN;
    if (failed != 0) {
        MYR_IGNORE(gnutls_alert_send_appropriate(wire->session, failed)); /* as well as it goes */
        return NET_WIRE_END;
    }
    wire->is_shaken = true;
    return wire_send_early(wire);
}

static net_wire_result wire_read_tls(net_wire *wire, void *data, size_t room, size_t *out_bytes)
{
    *out_bytes = 0;
    net_wire_result result = wire_shake(wire);
    if (result != NET_WIRE_OK) return result;
    ssize_t got = gnutls_record_recv(wire->session, data, room);
    *out_bytes = got > 0 ? (size_t)got : 0;
    if (got > 0) return NET_WIRE_OK;
    return got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED ? NET_WIRE_AGAIN : NET_WIRE_END;
}

static net_wire_result wire_write_tls(net_wire *wire, const void *data, size_t size, size_t *out_bytes)
{
    if (wire->is_shaken && wire->early_bytes == 0) return wire_record(wire, data, size, out_bytes);
    *out_bytes = 0;
    if (size > sizeof wire->early - wire->early_bytes || wire->has_record) return NET_WIRE_END;
    memcpy(wire->early + wire->early_bytes, data, size);
    wire->early_bytes += size;
    *out_bytes = size;
    return NET_WIRE_OK;
}

/* ---- the face ---- */

net_wire_result myr_net_wire_read(net_wire *wire, void *data, size_t room, size_t *out_bytes)
{
    if (wire->tls != NULL) return wire_read_tls(wire, data, room, out_bytes);
    ssize_t got = recv(wire->fd, data, room, MSG_DONTWAIT);
    *out_bytes = got > 0 ? (size_t)got : 0;
    if (got > 0) return NET_WIRE_OK;
    return got == 0 ? NET_WIRE_END : wire_failed();
}

net_wire_result myr_net_wire_write(net_wire *wire, const void *data, size_t size, size_t *out_bytes)
{
    if (wire->tls != NULL) return wire_write_tls(wire, data, size, out_bytes);
    ssize_t sent = send(wire->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    *out_bytes = sent > 0 ? (size_t)sent : 0;
    return sent >= 0 ? NET_WIRE_OK : wire_failed();
}

void myr_net_wire_shut(net_wire *wire)
{
    if (wire->is_shaken) MYR_IGNORE(gnutls_bye(wire->session, GNUTLS_SHUT_WR)); /* as well as it goes */
    (void)shutdown(wire->fd, SHUT_WR); /* fails when the peer has left: reading will tell */
}

void myr_net_wire_close(net_wire *wire)
{
    if (wire->session != NULL) gnutls_deinit(wire->session);
    if (wire->tls != NULL) myr_net_tls_end(wire->tls, wire->hold);
    wire->session = NULL;
    wire->hold = NULL;
    if (wire->fd >= 0) close(wire->fd);
    wire->fd = -1;
}
