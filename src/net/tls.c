/*
 * TLS: certificate, key and the authority of clients, read from files and read again when the files change. A reading
 * is a generation: each connection holds the one it began with, so a new certificate disturbs no handshake, and the old
 * one goes with its last connection.
 *
 * libmicrohttpd makes the sessions and has credentials of its own, of the first reading; each session gets the
 * current generation's in their place before its handshake begins.
 */
#include "net/internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <gnutls/x509.h>

#define TLS_FILE_BYTES_MAX (1 << 20)
#define TLS_FILES          3

/* What tells one state of a file from another. */
typedef struct tls_mark {
    int64_t mtime_ns, size;
    uint64_t inode;
} tls_mark;

typedef struct tls_generation {
    int64_t refs; /* under the lock of its myr_tls: connections, and one while it is the current one */
    gnutls_certificate_credentials_t credentials;
    char *cert, *key; /* as read, NUL-terminated; kept by the first generation alone, for libmicrohttpd */
    tls_mark marks[TLS_FILES];
} tls_generation;

struct myr_tls {
    char *cert_path, *key_path, *ca_path; /* ca_path NULL: clients are not asked */
    myr_mutex lock;
    tls_generation *current; /* under lock */
};

/* ---- files ---- */

static myr_rc tls_mark_file(const char *path, bool is_key, tls_mark *out, myr_err *err)
{
    struct stat st;
    if (path == NULL) return MYR_OK;
    if (stat(path, &st) != 0) {
        char text[64];
        MYR_FAIL(err, NOT_FOUND, "%s: %s", path, strerror_r(errno, text, sizeof text));
    }
    if (is_key && (st.st_mode & 077) != 0) {
        MYR_FAIL(err, DENIED, "%s: the key is open to others (mode %04o): chmod 600 %s", path,
                 (unsigned)(st.st_mode & 07777), path);
    }
    *out = (tls_mark){.mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec,
                      .size = (int64_t)st.st_size,
                      .inode = (uint64_t)st.st_ino};
    return MYR_OK;
}

static myr_rc tls_mark_files(const myr_tls *tls, tls_mark out[TLS_FILES], myr_err *err)
{
    memset(out, 0, TLS_FILES * sizeof *out);
    MYR_TRY(tls_mark_file(tls->cert_path, false, &out[0], err));
    MYR_TRY(tls_mark_file(tls->key_path, true, &out[1], err));
    return tls_mark_file(tls->ca_path, false, &out[2], err);
}

static void tls_forget_text(char *text)
{
    if (text == NULL) return;
    explicit_bzero(text, strlen(text));
    myr_free(text);
}

/* ---- generations ---- */

static void generation_free(tls_generation *generation)
{
    if (generation == NULL) return;
    if (generation->credentials != NULL) gnutls_certificate_free_credentials(generation->credentials);
    tls_forget_text(generation->key);
    myr_free(generation->cert);
    myr_free(generation);
}

/* The whole chain must lead to our authority, and be in its time. Anything else ends the handshake. */
static int tls_verify_client(gnutls_session_t session)
{
    unsigned status = 0;
    int failed = gnutls_certificate_verify_peers2(session, &status);
    return failed < 0 || status != 0 ? GNUTLS_E_CERTIFICATE_ERROR : 0;
}

static myr_rc tls_set_ca(const myr_tls *tls, tls_generation *generation, myr_err *err)
{
    char *text;
    size_t size;
    MYR_TRY(myr_file_read(tls->ca_path, TLS_FILE_BYTES_MAX, &text, &size, err));
    gnutls_datum_t data = {.data = (unsigned char *)text, .size = (unsigned)size};
    int count = gnutls_certificate_set_x509_trust_mem(generation->credentials, &data, GNUTLS_X509_FMT_PEM);
    myr_free(text);
    if (count <= 0) {
        MYR_FAIL(err, BAD_FORMAT, "%s: no certificate of an authority in PEM: %s", tls->ca_path,
                 count < 0 ? gnutls_strerror(count) : "there is none");
    }
    gnutls_certificate_set_verify_function(generation->credentials, tls_verify_client);
    return MYR_OK;
}

static myr_rc tls_fill(const myr_tls *tls, tls_generation *generation, myr_err *err)
{
    size_t cert_size, key_size;
    MYR_TRY(tls_mark_files(tls, generation->marks, err));
    MYR_TRY(myr_file_read(tls->cert_path, TLS_FILE_BYTES_MAX, &generation->cert, &cert_size, err));
    MYR_TRY(myr_file_read(tls->key_path, TLS_FILE_BYTES_MAX, &generation->key, &key_size, err));
    if (gnutls_certificate_allocate_credentials(&generation->credentials) != 0) {
        generation->credentials = NULL;
        MYR_FAIL(err, NO_MEMORY, "out of memory for a certificate");
    }
    gnutls_datum_t cert = {.data = (unsigned char *)generation->cert, .size = (unsigned)cert_size};
    gnutls_datum_t key = {.data = (unsigned char *)generation->key, .size = (unsigned)key_size};
    int failed =
        gnutls_certificate_set_x509_key_mem2(generation->credentials, &cert, &key, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (failed < 0) {
        MYR_FAIL(err, BAD_FORMAT, "%s and %s are not a certificate and its key in PEM: %s", tls->cert_path,
                 tls->key_path, gnutls_strerror(failed));
    }
    return tls->ca_path != NULL ? tls_set_ca(tls, generation, err) : MYR_OK;
}

static myr_rc tls_read(const myr_tls *tls, tls_generation **out, myr_err *err)
{
    tls_generation *generation = myr_calloc(1, sizeof *generation);
    if (generation == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a certificate");
    generation->refs = 1;
    myr_rc rc = tls_fill(tls, generation, err);
    if (rc != MYR_OK) {
        generation_free(generation);
        return rc;
    }
    *out = generation;
    return MYR_OK;
}

static void tls_drop(myr_tls *tls, tls_generation *generation)
{
    myr_mutex_lock(&tls->lock);
    MYR_ASSERT(generation->refs > 0);
    bool is_last = --generation->refs == 0;
    myr_mutex_unlock(&tls->lock);
    if (is_last) generation_free(generation);
}

/* ---- the face ---- */

myr_rc myr_tls_open(const char *cert_path, const char *key_path, const char *ca_path, myr_tls **out, myr_err *err)
{
    myr_tls *tls = myr_calloc(1, sizeof *tls);
    if (tls == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for TLS");
    myr_mutex_init(&tls->lock);
    tls->cert_path = myr_strdup(cert_path);
    tls->key_path = myr_strdup(key_path);
    tls->ca_path = ca_path != NULL ? myr_strdup(ca_path) : NULL;
    bool is_whole = tls->cert_path != NULL && tls->key_path != NULL && (ca_path == NULL || tls->ca_path != NULL);
    myr_rc rc = is_whole ? tls_read(tls, &tls->current, err) : MYR_ERROR(err, NO_MEMORY, "out of memory for TLS");
    if (rc != MYR_OK) {
        myr_tls_close(tls);
        return rc;
    }
    *out = tls;
    return MYR_OK;
}

void myr_tls_close(myr_tls *tls)
{
    if (tls == NULL) return;
    MYR_ASSERT(tls->current == NULL || tls->current->refs == 1); /* no connection is left */
    generation_free(tls->current);
    myr_mutex_fini(&tls->lock);
    myr_free(tls->cert_path);
    myr_free(tls->key_path);
    myr_free(tls->ca_path);
    myr_free(tls);
}

bool myr_tls_asks_clients(const myr_tls *tls)
{
    return tls->ca_path != NULL;
}

myr_rc myr_tls_refresh(myr_tls *tls, bool *out_changed, myr_err *err)
{
    tls_mark marks[TLS_FILES];
    tls_generation *next;
    *out_changed = false;
    MYR_TRY(tls_mark_files(tls, marks, err));
    if (memcmp(marks, tls->current->marks, sizeof marks) == 0) return MYR_OK; /* only this thread replaces it */
    MYR_TRY(tls_read(tls, &next, err));
    myr_mutex_lock(&tls->lock);
    tls_generation *old = tls->current;
    tls->current = next;
    myr_mutex_unlock(&tls->lock);
    tls_drop(tls, old);
    *out_changed = true;
    return MYR_OK;
}

/* ---- for the listeners ---- */

void myr_net_tls_first(const myr_tls *tls, const char **out_cert, const char **out_key)
{
    *out_cert = tls->current->cert;
    *out_key = tls->current->key;
}

bool myr_net_tls_begin(myr_tls *tls, struct gnutls_session_int *session, const char *protocol, void **out_hold)
{
    myr_mutex_lock(&tls->lock);
    tls_generation *generation = tls->current;
    generation->refs++;
    myr_mutex_unlock(&tls->lock);
    gnutls_datum_t name = {.data = (unsigned char *)(uintptr_t)protocol, .size = (unsigned)strlen(protocol)};
    int failed = gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, generation->credentials);
    if (failed == 0) failed = gnutls_alpn_set_protocols(session, &name, 1, 0);
    if (failed != 0) {
        tls_drop(tls, generation);
        return false;
    }
    gnutls_certificate_server_set_request(session, tls->ca_path != NULL ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_IGNORE);
    *out_hold = generation;
    return true;
}

void myr_net_tls_end(myr_tls *tls, void *hold)
{
    if (hold != NULL) tls_drop(tls, hold);
}

ssize_t myr_net_conn_write(net_conn *conn, const void *data, size_t size)
{
    if (conn->session == NULL) return send(conn->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    /* A record that did not fit was taken all the same: asking for nothing sends it on, and gives its size. */
    ssize_t sent = gnutls_record_send(conn->session, conn->has_record ? NULL : data, conn->has_record ? 0 : size);
    conn->has_record = sent == GNUTLS_E_AGAIN || sent == GNUTLS_E_INTERRUPTED;
    if (sent >= 0) return sent;
    errno = sent == GNUTLS_E_AGAIN ? EAGAIN : sent == GNUTLS_E_INTERRUPTED ? EINTR : EPIPE;
    return -1;
}

void myr_net_conn_bye(net_conn *conn)
{
    if (conn->session != NULL) MYR_IGNORE(gnutls_bye(conn->session, GNUTLS_SHUT_WR)); /* as well as it goes */
    shutdown(conn->fd, SHUT_WR);
}
