/*
 * TLS at both listeners, with a client of GnuTLS and certificates made here: answers, streams that write to the session
 * themselves (and fill the socket), HTTP/2 with ALPN; what is no TLS, and certificates that are replaced.
 */
#include <sys/stat.h>

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "net/rpc.h"
#include "rpc_client.h"

typedef struct tls_files {
    char cert[TESTING_PATH_BYTES + 16], key[TESTING_PATH_BYTES + 16];
} tls_files;

static void write_pem(const char *path, const gnutls_datum_t *pem, mode_t mode)
{
    myr_err err = {0};
    EXPECT_RC(myr_file_write(path, pem->data, pem->size, &err), OK, &err);
    EXPECT(chmod(path, mode) == 0);
}

/* A key and a certificate that it signed itself. */
static void make_files(const char *dir, const char *name, tls_files *out)
{
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t crt;
    gnutls_datum_t pem;
    snprintf(out->cert, sizeof out->cert, "%s/%s.pem", dir, name);
    snprintf(out->key, sizeof out->key, "%s/%s.key", dir, name);
    EXPECT(gnutls_x509_privkey_init(&key) == 0 && gnutls_x509_crt_init(&crt) == 0);
    EXPECT(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0) ==
           0);
    EXPECT(gnutls_x509_crt_set_version(crt, 3) == 0 && gnutls_x509_crt_set_key(crt, key) == 0);
    EXPECT(gnutls_x509_crt_set_serial(crt, name, 1) == 0);
    gnutls_x509_crt_set_activation_time(crt, time(NULL) - 60);
    gnutls_x509_crt_set_expiration_time(crt, time(NULL) + 3600);
    EXPECT(gnutls_x509_crt_set_dn(crt, "CN=test", NULL) == 0);
    EXPECT(gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0) == 0);
    EXPECT(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem) == 0);
    write_pem(out->key, &pem, 0600);
    gnutls_free(pem.data);
    EXPECT(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem) == 0);
    write_pem(out->cert, &pem, 0644);
    gnutls_free(pem.data);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_privkey_deinit(key);
}

/* ---- a client ---- */

typedef struct tls_client {
    client c;
    gnutls_session_t session;
    gnutls_certificate_credentials_t credentials;
} tls_client;

static bool tls_open(tls_client *t, int port, const char *protocol)
{
    gnutls_datum_t name = {(unsigned char *)(uintptr_t)protocol, (unsigned)strlen(protocol)};
    t->c = client_open(port);
    EXPECT(gnutls_init(&t->session, GNUTLS_CLIENT) == 0);
    EXPECT(gnutls_certificate_allocate_credentials(&t->credentials) == 0);
    EXPECT(gnutls_set_default_priority(t->session) == 0);
    EXPECT(gnutls_credentials_set(t->session, GNUTLS_CRD_CERTIFICATE, t->credentials) == 0);
    EXPECT(gnutls_alpn_set_protocols(t->session, &name, 1, 0) == 0);
    gnutls_transport_set_int(t->session, t->c.fd);
    gnutls_handshake_set_timeout(t->session, CLIENT_WAIT_MS);
    gnutls_record_set_timeout(t->session, CLIENT_WAIT_MS);
    int failed;
    do {
        failed = gnutls_handshake(t->session);
    } while (failed < 0 && gnutls_error_is_fatal(failed) == 0);
    return failed == 0;
}

static void tls_close_client(tls_client *t)
{
    gnutls_deinit(t->session);
    gnutls_certificate_free_credentials(t->credentials);
    client_close(&t->c);
}

static void tls_puts(tls_client *t, const char *text)
{
    EXPECT(gnutls_record_send(t->session, text, strlen(text)) == (ssize_t)strlen(text));
}

/* Until `part` is there or the end of the stream. */
static bool tls_read_until(tls_client *t, const char *part)
{
    char piece[16384];
    while (t->c.in.size == 0 || memmem(t->c.in.data, t->c.in.size, part, strlen(part)) == NULL) {
        ssize_t got = gnutls_record_recv(t->session, piece, sizeof piece);
        if (got == GNUTLS_E_INTERRUPTED) continue;
        if (got <= 0) return false;
        myr_buf_append(&t->c.in, piece, (size_t)got);
    }
    return true;
}

static unsigned tls_serial(tls_client *t)
{
    unsigned count = 0;
    const gnutls_datum_t *peers = gnutls_certificate_get_peers(t->session, &count);
    gnutls_x509_crt_t crt;
    unsigned char serial[32];
    size_t size = sizeof serial;
    EXPECT(count == 1 && gnutls_x509_crt_init(&crt) == 0);
    EXPECT(gnutls_x509_crt_import(crt, &peers[0], GNUTLS_X509_FMT_DER) == 0);
    EXPECT(gnutls_x509_crt_get_serial(crt, serial, &size) == 0 && size == 1);
    gnutls_x509_crt_deinit(crt);
    return serial[0];
}

/* ---- the HTTP listener ---- */

/* Each letter of the input many times. */
static bool blow_up(void *ctx, myr_req *req)
{
    myr_str in = myr_http_stream_in(req);
    (void)ctx;
    if (in.size == 0) return false;
    for (int i = 0; i < 100000; i++)
        myr_buf_putc(myr_http_stream_out(req), in.data[0]);
    myr_buf_putc(myr_http_stream_out(req), '\n');
    myr_http_stream_use(req, 1);
    return in.size > 1;
}

static void stream_headers(void *ctx, myr_req *req)
{
    (void)ctx;
    if (strcmp(myr_req_path(req), "/s") != 0) return;
    myr_http_stream_opts opts = {.step = blow_up,
                                 .status = 200,
                                 .content_type = "text/plain",
                                 .in_bytes_max = 4096,
                                 .idle_timeout_ms = 20000,
                                 .late = "late\n",
                                 .stopping = "stopping\n"};
    EXPECT_INT(myr_req_stream(req, &opts, NULL), MYR_OK);
}

static void tls_echo_start(echo *e, myr_tls *tls)
{
    myr_http_opts opts = echo_opts(e);
    opts.tls = tls;
    opts.on_headers = stream_headers;
    echo_start(e, &opts);
}

TEST(requests_and_certificates_that_change)
{
    char dir[TESTING_PATH_BYTES];
    tls_files first, second;
    myr_tls *tls = NULL;
    myr_err err = {0};
    echo e = {0};
    bool changed = true;
    testing_dir(dir);
    make_files(dir, "a", &first);
    make_files(dir, "b", &second);
    EXPECT_RC(myr_tls_open(first.cert, first.key, NULL, &tls, &err), OK, &err);
    EXPECT_RC(myr_tls_refresh(tls, &changed, &err), OK, &err);
    EXPECT(!changed && !myr_tls_asks_clients(tls));
    tls_echo_start(&e, tls);
    tls_client old = {0}, new = {0};
    EXPECT(tls_open(&old, e.port, "http/1.1"));
    EXPECT_INT(tls_serial(&old), 'a');
    EXPECT(rename(second.key, first.key) == 0);
    EXPECT_RC(myr_tls_refresh(tls, &changed, &err), BAD_FORMAT, &err); /* half of a pair */
    EXPECT(!changed);
    EXPECT(rename(second.cert, first.cert) == 0);
    EXPECT_RC(myr_tls_refresh(tls, &changed, &err), OK, &err);
    EXPECT(changed);
    EXPECT(tls_open(&new, e.port, "http/1.1"));
    EXPECT_INT(tls_serial(&new), 'b');
    tls_client *both[] = {&old, &new};
    for (int i = 0; i < 2; i++) {
        tls_puts(both[i], "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
        EXPECT(tls_read_until(both[i], "body=5:hello"));
        tls_close_client(both[i]);
    }
    EXPECT(chmod(first.key, 0640) == 0);
    EXPECT_RC(myr_tls_refresh(tls, &changed, &err), DENIED, &err);
    EXPECT_HAS(err.message, "the key is open to others (mode 0640)");
    client plain = client_open(e.port);
    client_puts(&plain, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT(client_sees_close(&plain, CLIENT_WAIT_MS));
    client_close(&plain);
    echo_stop(&e);
    myr_tls_close(tls);
}

TEST(a_stream_fills_the_socket_and_goes_on)
{
    char dir[TESTING_PATH_BYTES];
    tls_files files;
    myr_tls *tls = NULL;
    myr_err err = {0};
    echo e = {0};
    testing_dir(dir);
    make_files(dir, "a", &files);
    EXPECT_RC(myr_tls_open(files.cert, files.key, NULL, &tls, &err), OK, &err);
    tls_echo_start(&e, tls);
    tls_client t = {0};
    EXPECT(tls_open(&t, e.port, "http/1.1"));
    tls_puts(&t, "POST /s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    EXPECT(tls_read_until(&t, "a\n")); /* answered before the body has ended */
    tls_puts(&t, "40\r\n");
    for (int i = 0; i < 64; i++)
        tls_puts(&t, "b");
    usleep(300000); /* 6.4 MB, and nobody reads: the stream sleeps with a record half sent */
    tls_puts(&t, "\r\n1\r\nc\r\n0\r\n\r\n");
    EXPECT(tls_read_until(&t, "0\r\n\r\n"));
    size_t letters[256] = {0};
    for (size_t i = 0; i < t.c.in.size; i++)
        letters[(unsigned char)t.c.in.data[i]]++;
    EXPECT(letters['b'] >= 6400000 && letters['b'] < 6401000 && letters['c'] >= 100000 && letters['c'] < 101000);
    tls_close_client(&t);
    echo_stop(&e);
    myr_tls_close(tls);
}

/* ---- the gRPC listener ---- */

TEST(http2_speaks_tls)
{
    static const char ping[] = "\0\0\x8\x6\0\0\0\0\0abcdefgh";
    char dir[TESTING_PATH_BYTES];
    tls_files files;
    myr_tls *tls = NULL;
    myr_err err = {0};
    rpc_echo e = {0};
    testing_dir(dir);
    make_files(dir, "a", &files);
    EXPECT_RC(myr_tls_open(files.cert, files.key, NULL, &tls, &err), OK, &err);
    myr_rpc_opts opts = rpc_echo_opts(&e);
    opts.tls = tls;
    rpc_echo_serve(&e, &opts);
    client slow = client_open(e.port); /* one that never shakes hands holds up nobody */
    for (int i = 0; i < 3; i++) {
        tls_client t = {0};
        gnutls_datum_t chosen = {0};
        EXPECT(tls_open(&t, e.port, "h2"));
        EXPECT(gnutls_alpn_get_selected_protocol(t.session, &chosen) == 0);
        EXPECT(chosen.size == 2 && memcmp(chosen.data, "h2", 2) == 0);
        tls_puts(&t, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        EXPECT(gnutls_record_send(t.session, "\0\0\0\x4\0\0\0\0\0", 9) == 9);
        EXPECT(gnutls_record_send(t.session, ping, sizeof ping - 1) == sizeof ping - 1);
        EXPECT(tls_read_until(&t, "abcdefgh"));
        EXPECT(t.c.in.size > 9 && t.c.in.data[3] == 4); /* its settings came first */
        tls_close_client(&t);
    }
    h2 plain = h2_open(e.port);
    EXPECT(client_sees_close(&plain.c, CLIENT_WAIT_MS));
    h2_close(&plain);
    client_close(&slow);
    rpc_echo_stop(&e);
    myr_tls_close(tls);
}

RUN()
