/*
 * A generator of load in an open loop, for bench/realtime: requests have a moment at which they are due, from a Poisson
 * process, whatever the server does, and their time is counted from that moment. One that finds no free connection is
 * not sent: its client would have gone elsewhere. A connection that was refused is used again at once: nobody heeds
 * Retry-After.
 *
 *   openloop PORT RATE SECONDS CONNECTIONS DEADLINE_MS REQUEST_FILE
 *
 * The file holds the request as it is sent. Prints one JSON object. `lag_ms` is the 99th percentile of how late this
 * program itself was: while it is small, what is measured is the server.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 20000
#define ANSWER_BYTES    16384
#define REQUEST_BYTES   (1 << 20)
#define EVENTS          256
#define WARM_NS         1000000000LL /* not counted */
#define BUCKETS         20000        /* of 10 us */

typedef struct conn {
    int fd;
    bool is_busy, is_counted;
    int64_t due_ns;
    size_t got, head_bytes, body_bytes; /* head_bytes 0: not all there */
    int status;
    char answer[ANSWER_BYTES];
} conn;

static conn *conns;
static int *free_ring, conn_count, ring_first, ring_count, epoll_fd;
static char request[REQUEST_BYTES];
static size_t request_bytes;
static struct sockaddr_in server;
static int64_t deadline_ns, offered, unsent, good, late, broken, statuses[600];
static int64_t lag_counts[BUCKETS], took_counts[BUCKETS];

static void die(const char *what)
{
    perror(what);
    _exit(1);
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void put_count(int64_t *counts, int64_t ns)
{
    int64_t bucket = ns < 0 ? 0 : ns / 10000;
    counts[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
}

static double p99_ms(const int64_t *counts)
{
    int64_t all = 0, seen = 0;
    for (int i = 0; i < BUCKETS; i++)
        all += counts[i];
    for (int i = 0; i < BUCKETS; i++) {
        seen += counts[i];
        if (seen * 100 >= all * 99) return (double)i / 100;
    }
    return 0;
}

static void put_free(int idx)
{
    conns[idx].is_busy = false;
    free_ring[(ring_first + ring_count++) % conn_count] = idx;
}

static void open_conn(int idx)
{
    conn *c = &conns[idx];
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0) die("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server) != 0 && errno != EINPROGRESS) die("connect");
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)idx};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) != 0) die("epoll_ctl");
    put_free(idx);
}

static void lose(int idx)
{
    conn *c = &conns[idx];
    if (c->is_busy && c->is_counted) broken++;
    bool was_free = !c->is_busy;
    close(c->fd);
    for (int i = 0; was_free && i < ring_count; i++) { /* seldom: it is taken out of its place */
        int at = (ring_first + i) % conn_count;
        if (free_ring[at] != idx) continue;
        free_ring[at] = free_ring[(ring_first + --ring_count) % conn_count];
        break;
    }
    open_conn(idx);
}

static void send_one(int64_t due_ns, bool is_counted)
{
    if (is_counted) offered++;
    for (int tries = ring_count; tries > 0 && ring_count > 0; tries--) {
        int idx = free_ring[ring_first];
        ring_first = (ring_first + 1) % conn_count;
        ring_count--;
        conn *c = &conns[idx];
        c->is_busy = true;
        c->is_counted = is_counted;
        c->due_ns = due_ns;
        c->got = c->head_bytes = 0;
        ssize_t sent = send(c->fd, request, request_bytes, MSG_NOSIGNAL);
        if (sent == (ssize_t)request_bytes) {
            if (is_counted) put_count(lag_counts, now_ns() - due_ns);
            return;
        }
        bool is_opening = sent < 0 && (errno == EAGAIN || errno == ENOTCONN);
        c->is_counted = false;
        if (is_opening) { /* it goes on doing so: to begin anew would only ask for more */
            c->is_busy = false;
            put_free(idx);
        } else {
            lose(idx); /* closed meanwhile */
        }
    }
    if (is_counted) unsent++;
}

static void read_head(conn *c)
{
    char *end = memmem(c->answer, c->got, "\r\n\r\n", 4);
    if (end == NULL) return;
    *end = '\0';
    c->head_bytes = (size_t)(end - c->answer) + 4;
    c->body_bytes = 0;
    c->status = c->got > 12 ? atoi(c->answer + 9) : 0;
    for (char *line = strstr(c->answer, "\r\n"); line != NULL; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, "content-length:", 15) == 0) c->body_bytes = strtoull(line + 17, NULL, 10);
    }
}

static void end_one(int idx)
{
    conn *c = &conns[idx];
    int64_t took_ns = now_ns() - c->due_ns;
    if (c->is_counted && c->status > 0 && c->status < 600) {
        statuses[c->status]++;
        if (c->status == 200) put_count(took_counts, took_ns);
        good += c->status == 200 && took_ns <= deadline_ns;
        late += c->status == 200 && took_ns > deadline_ns;
    }
    put_free(idx);
}

static void read_one(int idx)
{
    conn *c = &conns[idx];
    ssize_t got = recv(c->fd, c->answer + c->got, ANSWER_BYTES - 1 - c->got, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0 || !c->is_busy) {
        lose(idx);
        return;
    }
    c->got += (size_t)got;
    c->answer[c->got] = '\0';
    if (c->head_bytes == 0) read_head(c);
    if (c->head_bytes == 0) return;
    if (c->head_bytes + c->body_bytes >= ANSWER_BYTES) die("an answer is too long");
    if (c->got >= c->head_bytes + c->body_bytes) end_one(idx);
}

/* The time to the next request, and the next number of it. */
static int64_t next_gap(uint64_t *random, double rate)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return (int64_t)(-log(((double)(*random >> 11) + 1) / 9007199254740993.0) / rate * 1e9);
}

static void run(double rate, double seconds)
{
    struct epoll_event events[EVENTS];
    uint64_t random = 88172645463325252u;
    int64_t start_ns = now_ns(), due_ns = start_ns, end_ns = start_ns + WARM_NS + (int64_t)(seconds * 1e9);
    while (now_ns() < end_ns + deadline_ns) { /* and time for the last ones */
        for (int64_t now = now_ns(); due_ns <= now && due_ns < end_ns; due_ns += next_gap(&random, rate))
            send_one(due_ns, due_ns >= start_ns + WARM_NS);
        int count = epoll_wait(epoll_fd, events, EVENTS, 0);
        for (int i = 0; i < count; i++)
            read_one((int)events[i].data.u32);
    }
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fprintf(stderr, "usage: openloop PORT RATE SECONDS CONNECTIONS DEADLINE_MS REQUEST_FILE\n");
        return 2;
    }
    double rate = atof(argv[2]), seconds = atof(argv[3]);
    conn_count = atoi(argv[4]);
    deadline_ns = atoll(argv[5]) * 1000000;
    FILE *file = fopen(argv[6], "rb");
    if (file == NULL) die(argv[6]);
    request_bytes = fread(request, 1, sizeof request, file);
    fclose(file);
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (conn_count < 1 || conn_count > CONNECTIONS_MAX || rate <= 0) return 2;
    conns = calloc((size_t)conn_count, sizeof *conns);
    free_ring = calloc((size_t)conn_count, sizeof *free_ring);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (conns == NULL || free_ring == NULL || epoll_fd < 0) die("start");
    for (int i = 0; i < conn_count; i++)
        open_conn(i);
    usleep(500000); /* all of them are open */
    run(rate, seconds);
    printf("{\"offered\": %lld, \"unsent\": %lld, \"good\": %lld, \"late\": %lld, \"broken\": %lld, \"lag_ms\": %.2f, "
           "\"p99_ms\": %.2f, \"statuses\": {",
           (long long)offered, (long long)unsent, (long long)good, (long long)late, (long long)broken,
           p99_ms(lag_counts), p99_ms(took_counts));
    const char *comma = "";
    for (int i = 0; i < 600; i++) {
        if (statuses[i] == 0) continue;
        printf("%s\"%d\": %lld", comma, i, (long long)statuses[i]);
        comma = ", ";
    }
    printf("}}\n");
    return 0;
}
