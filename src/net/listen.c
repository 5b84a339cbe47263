/*
 * The listening socket. We make it ourselves, not libmicrohttpd: then the message can say what is wrong, and the
 * address is exclusive (SO_REUSEADDR alone: on Linux it lets a new process take over from old connections, never from a
 * listener).
 */
#include "net/internal.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LISTEN_HOST_BYTES 256
#define LISTEN_BACKLOG    4096 /* the kernel takes the smaller of this and net.core.somaxconn */

/* Cut "host:port" or "[v6]:port". */
static myr_rc listen_cut(const char *listen, char host[LISTEN_HOST_BYTES], char port[8], myr_err *err)
{
    const char *colon = strrchr(listen, ':');
    const char *begin = listen, *end = colon;
    if (listen[0] == '[') {
        begin = listen + 1;
        end = strchr(listen, ']');
        if (end == NULL || end + 1 != colon) end = NULL;
    } else if (colon != NULL && memchr(listen, ':', (size_t)(colon - listen)) != NULL) {
        end = NULL; /* an IPv6 address without brackets */
    }
    if (colon == NULL || end == NULL || end == begin || (size_t)(end - begin) >= LISTEN_HOST_BYTES) {
        MYR_FAIL(err, BAD_USAGE,
                 "listen address %s is not HOST:PORT or [IPV6]:PORT, as in 127.0.0.1:8080 or [::1]:8080", listen);
    }
    uint64_t number;
    if (!myr_parse_uint64(myr_str_of(colon + 1), &number) || number > 65535) {
        MYR_FAIL(err, BAD_USAGE, "listen address %s: port %s is not a number from 0 to 65535", listen, colon + 1);
    }
    memcpy(host, begin, (size_t)(end - begin));
    host[end - begin] = '\0';
    snprintf(port, 8, "%u", (unsigned)number);
    return MYR_OK;
}

static myr_rc listen_fail(const char *listen, int error, myr_err *err)
{
    if (error == EADDRINUSE) MYR_FAIL(err, IO, "%s: address in use: choose another --listen", listen);
    if (error == EACCES) MYR_FAIL(err, DENIED, "%s: not permitted: ports below 1024 are for root", listen);
    if (error == EADDRNOTAVAIL) {
        MYR_FAIL(err, IO, "%s: this machine has no such address: choose another --listen", listen);
    }
    char text[64];
    MYR_FAIL(err, IO, "%s: cannot listen: %s", listen, strerror_r(error, text, sizeof text));
}

/* Bind and listen on an open socket. Gives 0 or an errno. */
static int listen_on(int fd, const struct addrinfo *info, int *out_port)
{
    int on = 1;
    struct sockaddr_storage bound;
    socklen_t bound_bytes = sizeof bound;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) return errno;
    if (info->ai_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) != 0) return errno;
    if (bind(fd, info->ai_addr, info->ai_addrlen) != 0) return errno;
    if (listen(fd, LISTEN_BACKLOG) != 0) return errno;
    if (getsockname(fd, (struct sockaddr *)&bound, &bound_bytes) != 0) return errno;
    if (bound.ss_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, &bound, sizeof v6);
        *out_port = ntohs(v6.sin6_port);
    } else {
        struct sockaddr_in v4;
        memcpy(&v4, &bound, sizeof v4);
        *out_port = ntohs(v4.sin_port);
    }
    return 0;
}

/* 127.0.0.0/8 and ::1. An IPv4 address in IPv6 clothes is never bound: the socket is IPV6_V6ONLY. */
static bool listen_is_loopback(const struct addrinfo *info)
{
    if (info->ai_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, info->ai_addr, sizeof v6);
        return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
    }
    struct sockaddr_in v4;
    memcpy(&v4, info->ai_addr, sizeof v4);
    return info->ai_family == AF_INET && ntohl(v4.sin_addr.s_addr) >> 24 == 127;
}

myr_rc myr_net_listen(const char *listen, const char *only_loopback, net_socket *out, myr_err *err)
{
    char host[LISTEN_HOST_BYTES], port[8];
    MYR_TRY(listen_cut(listen, host, port, err));
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_PASSIVE};
    struct addrinfo *info = NULL;
    int failed = getaddrinfo(host, port, &hints, &info);
    if (failed != 0) MYR_FAIL(err, BAD_USAGE, "listen address %s: %s", listen, gai_strerror(failed));
    bool is_loopback = listen_is_loopback(info);
    if (only_loopback != NULL && !is_loopback) {
        freeaddrinfo(info);
        MYR_FAIL(err, DENIED, "%s: other machines reach this address: %s", listen, only_loopback);
    }
    MYR_AUTO(myr_fd) fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int error = fd < 0 ? errno : listen_on(fd, info, &out->port);
    freeaddrinfo(info);
    if (error != 0) return listen_fail(listen, error, err);
    out->is_loopback = is_loopback;
    out->fd = fd;
    fd = -1;
    return MYR_OK;
}
