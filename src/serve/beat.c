/*
 * What this server says of itself, and how long that is to be believed: a row in the registry, written several times
 * per lease by the reloader, and a document per fleet, written when the fleets changed.
 */
#include "serve/beat.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BEAT_BUSY_MS    200 /* at most so long for another writer: the next beat comes soon */
#define BEAT_TAGS_MAX   256 /* of one fleet that are told */
#define BEAT_HOST_BYTES 160

/* ---- where it answers ---- */

/* The host of an address that is listened on; this host's name where that is every address. */
static void beat_host(const char *listen, char host[BEAT_HOST_BYTES])
{
    const char *colon = strrchr(listen, ':');
    int host_bytes = colon != NULL ? (int)(colon - listen) : (int)strlen(listen);
    snprintf(host, BEAT_HOST_BYTES, "%.*s", host_bytes, listen);
    bool is_any = host[0] == '\0' || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "[::]") == 0;
    if (is_any && (gethostname(host, BEAT_HOST_BYTES) != 0 || memchr(host, '\0', BEAT_HOST_BYTES) == NULL))
        snprintf(host, BEAT_HOST_BYTES, "localhost");
}

/* What others can call: the option, or what is listened on. */
static myr_rc beat_uri(const myr_server *server, char out[BEAT_URI_BYTES], myr_err *err)
{
    const myr_serve_opts *opts = &server->opts;
    char host[BEAT_HOST_BYTES];
    beat_host(opts->listen, host);
    int size = opts->advertise[0] != '\0'
                   ? snprintf(out, BEAT_URI_BYTES, "%s", opts->advertise)
                   : snprintf(out, BEAT_URI_BYTES, "%s://%s:%d", server->tls != NULL ? "https" : "http", host,
                              myr_http_port(server->main.http));
    MYR_ASSERT(size > 0 && size < BEAT_URI_BYTES); /* the slots of the options are shorter */
    while (size > 0 && out[size - 1] == '/')
        out[--size] = '\0'; /* clients put a path behind it */
    if (strncmp(out, "http://", 7) == 0 || strncmp(out, "https://", 8) == 0) return MYR_OK;
    MYR_FAIL(err, BAD_USAGE, "serve.advertise: '%s' is not http://HOST:PORT or https://HOST:PORT", out);
}

/* gRPC's, under the host that REST is called by; "": it is not listened on. */
static void beat_grpc(const myr_server *server, const char *rest, char out[BEAT_URI_BYTES])
{
    char host[BEAT_HOST_BYTES];
    out[0] = '\0';
    if (server->rpc == NULL) return;
    if (server->opts.advertise[0] != '\0') {
        const char *begin = strstr(rest, "://") + 3; /* beat_uri has checked it */
        size_t size = begin[0] == '[' ? strcspn(begin, "]") + 1 : strcspn(begin, ":/");
        snprintf(host, sizeof host, "%.*s", (int)size, begin);
    } else {
        beat_host(server->opts.grpc_listen, host);
    }
    int size = snprintf(out, BEAT_URI_BYTES, "grpc://%s:%d", host, myr_serve_rpc_port(server->rpc));
    MYR_ASSERT(size > 0 && size < BEAT_URI_BYTES);
}

/* The options, else the service file. */
static void beat_names(const myr_server *server, serve_beat *beat, const serve_service *service)
{
    beat->name = server->opts.name;
    beat->region = server->opts.region;
    if (beat->name[0] == '\0') beat->name = service != NULL ? service->name : "myriad";
    if (beat->region[0] == '\0' && service != NULL && service->region != NULL) beat->region = service->region;
}

myr_rc myr_serve_beat_start(myr_server *server, serve_beat *beat, myr_err *err)
{
    unsigned char bytes[16];
    beat_names(server, beat, atomic_load(&server->current)->service);
    if (!myr_name_is_valid(myr_str_of(beat->name))) {
        MYR_FAIL(err, BAD_USAGE, "serve.name: '%s' is no name: letters, digits, '.', '_', '-'", beat->name);
    }
    if (beat->region[0] != '\0' && !myr_name_is_valid(myr_str_of(beat->region))) {
        MYR_FAIL(err, BAD_USAGE, "serve.region: '%s' is no name: letters, digits, '.', '_', '-'", beat->region);
    }
    MYR_TRY(beat_uri(server, beat->rest, err));
    beat_grpc(server, beat->rest, beat->grpc);
    MYR_TRY(myr_random(bytes, sizeof bytes, err));
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(beat->id + 2 * i, 3, "%02x", bytes[i]);
    beat->started_ms = myr_clock_unix_ms();
    beat->wall_ns = myr_clock_mono_ns();
    beat->cpu_ns = myr_clock_cpu_ns();
    return MYR_OK;
}

void myr_serve_beat_fini(serve_beat *beat)
{
    myr_serve_directory_fleets_release(beat->fleets);
    myr_arena_free(beat->docs_arena);
    beat->fleets = NULL;
    beat->docs_arena = NULL;
}

/* ---- what it serves ---- */

/* ,"aliases":{"champion":3,…}: all that is served of the fleet */
static void beat_put_aliases(const serve_snapshot *snapshot, const serve_fleet *served, myr_buf *out)
{
    myr_buf_printf(out, ",\"aliases\":{\"champion\":%lld", (long long)served->fleet->release);
    for (size_t i = 0; i < snapshot->variant_count; i++) {
        const serve_variant *variant = &snapshot->variants[i];
        if (strcmp(variant->fleet->fleet->name, served->fleet->name) != 0) continue;
        myr_buf_printf(out, ",\"%s\":%lld", variant->alias, (long long)variant->fleet->fleet->release);
    }
    myr_buf_putc(out, '}');
}

/* ,"tags":[…] */
static myr_rc beat_put_tags(myr_registry *registry, const serve_fleet *served, myr_arena *arena, myr_buf *out,
                            myr_err *err)
{
    const char **tags = NULL;
    size_t count = 0;
    MYR_TRY(myr_registry_release_tags(registry, arena, served->fleet->row.id, served->fleet->release, BEAT_TAGS_MAX,
                                      &tags, &count, err));
    myr_buf_puts(out, ",\"tags\":[");
    for (size_t i = 0; i < count; i++) {
        if (i > 0) myr_buf_putc(out, ',');
        myr_buf_json_string(out, myr_str_of(tags[i]));
    }
    myr_buf_putc(out, ']');
    return MYR_OK;
}

/* A fleet as others are told of it; without its signature where that would be too long. */
static myr_rc beat_doc(serve_fleet *served, const char *tags, myr_arena *arena, const char **out, myr_err *err)
{
    MYR_AUTO(myr_buf) text = {0};
    for (int with_signature = 1; with_signature >= 0; with_signature--) {
        myr_buf_clear(&text);
        myr_serve_put_fleet(&text, served, tags, with_signature != 0);
        MYR_TRY(myr_buf_check(&text, err));
        if (text.size <= MYR_INSTANCE_DOC_BYTES_MAX) break;
    }
    *out = myr_arena_strndup(arena, text.data, text.size);
    if (*out == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for what is served");
    return MYR_OK;
}

static myr_rc beat_make_docs(myr_registry *registry, const serve_snapshot *snapshot, bool with_tags, myr_arena *arena,
                             const char ***out, size_t *out_count, myr_err *err)
{
    size_t count = snapshot->fleet_count < MYR_INSTANCE_FLEETS_MAX ? snapshot->fleet_count : MYR_INSTANCE_FLEETS_MAX;
    const char **docs = myr_arena_calloc(arena, count + 1, sizeof *docs);
    MYR_AUTO(myr_buf) tags = {0};
    if (docs == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for what is served");
    for (size_t i = 0; i < count; i++) {
        myr_buf_clear(&tags);
        beat_put_aliases(snapshot, snapshot->fleets[i], &tags);
        if (with_tags) MYR_TRY(beat_put_tags(registry, snapshot->fleets[i], arena, &tags, err));
        MYR_TRY(myr_buf_check(&tags, err));
        MYR_TRY(beat_doc(snapshot->fleets[i], tags.size > 0 ? tags.data : "", arena, &docs[i], err));
    }
    *out = docs;
    *out_count = count;
    return MYR_OK;
}

/* Documents for the snapshot's fleets, if those that are there are of others. */
static myr_rc beat_tell_fleets(serve_beat *beat, myr_registry *registry, const serve_snapshot *snapshot, bool with_tags,
                               myr_err *err)
{
    bool is_same = beat->fleets != NULL && beat->fleets_number == snapshot->fleets_number;
    if (is_same && (beat->has_tags || !with_tags)) return MYR_OK;
    myr_arena *arena = myr_arena_new(0);
    const char **docs = NULL;
    size_t count = 0;
    directory_fleets *fleets = NULL;
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for what is served");
    myr_rc rc = beat_make_docs(registry, snapshot, with_tags, arena, &docs, &count, err);
    if (rc == MYR_OK) rc = myr_serve_directory_fleets(docs, count, beat->revision + 1, &fleets, err);
    if (rc != MYR_OK) {
        myr_arena_free(arena);
        return rc;
    }
    myr_serve_beat_fini(beat);
    beat->docs_arena = arena;
    beat->docs = docs;
    beat->doc_count = count;
    beat->fleets = fleets;
    beat->revision++;
    beat->fleets_number = snapshot->fleets_number;
    beat->has_tags = with_tags;
    beat->is_registered = false;
    return MYR_OK;
}

/* ---- the row ---- */

/* Processor time since the last beat over what the server's threads could have had, in steps of a tenth. */
static double beat_load(const myr_server *server, serve_beat *beat)
{
    int64_t wall_ns = myr_clock_mono_ns(), cpu_ns = myr_clock_cpu_ns();
    int64_t took_ns = wall_ns - beat->wall_ns, used_ns = cpu_ns - beat->cpu_ns;
    int64_t processors = (int64_t)sysconf(_SC_NPROCESSORS_ONLN);
    int64_t loops = server->opts.loops > 0 && server->opts.loops < processors ? server->opts.loops : processors;
    beat->wall_ns = wall_ns;
    beat->cpu_ns = cpu_ns;
    if (took_ns <= 0 || loops <= 0) return 0;
    double load = (double)used_ns / ((double)took_ns * (double)loops);
    return load >= 1 ? 1 : floor(load * 10 + 0.5) / 10;
}

/* What a request must bring; the names of it, never the thing. */
static const char *beat_auth(const myr_server *server)
{
    bool wants_token = myr_serve_asks_for_tokens(server, atomic_load(&server->current));
    if (server->tls == NULL || !myr_tls_asks_clients(server->tls)) return wants_token ? "token" : "";
    return wants_token ? "token,mtls" : "mtls";
}

void myr_serve_beat_row(const myr_server *server, const serve_beat *beat, myr_instance_row *out)
{
    *out = (myr_instance_row){.id = beat->id,
                              .service = beat->name,
                              .region = beat->region,
                              .rest = beat->rest,
                              .grpc = beat->grpc,
                              .admin = "", /* who may administrate knows where */
                              .auth = beat_auth(server),
                              .program = MYR_VERSION,
                              .state = beat->is_draining ? "draining" : "ready",
                              .load = beat->load,
                              .started_ms = beat->started_ms,
                              .expires_ms = INT64_MAX, /* for itself a server is always there */
                              .revision = beat->revision};
}

myr_rc myr_serve_beat_prepare(const myr_server *server, serve_beat *beat, myr_registry *registry,
                              const serve_snapshot *snapshot, bool with_tags, myr_err *err)
{
    beat_names(server, beat, snapshot->service);
    beat->load = beat_load(server, beat);
    return beat_tell_fleets(beat, registry, snapshot, with_tags, err);
}

myr_rc myr_serve_beat_write(const myr_server *server, serve_beat *beat, myr_registry *registry, myr_err *err)
{
    myr_instance_row row;
    if (server->opts.lease_ms == 0) return MYR_OK;
    int64_t now_ms = myr_clock_unix_ms();
    myr_serve_beat_row(server, beat, &row);
    row.expires_ms = now_ms + server->opts.lease_ms;
    myr_rc rc = MYR_NOT_FOUND;
    if (beat->is_registered) rc = myr_registry_instance_put(registry, &row, NULL, 0, now_ms, BEAT_BUSY_MS, err);
    /* New fleets, or somebody took the row for that of a dead server: all of it. */
    if (rc == MYR_NOT_FOUND)
        rc = myr_registry_instance_put(registry, &row, beat->docs, beat->doc_count, now_ms, BEAT_BUSY_MS, err);
    if (rc == MYR_OK) beat->is_registered = true;
    return rc;
}

void myr_serve_beat_leave(const myr_server *server, const serve_beat *beat, myr_registry *registry)
{
    if (server->opts.lease_ms == 0 || beat->id[0] == '\0') return;
    /* What can't be removed runs out. */
    MYR_IGNORE(myr_registry_instance_remove(registry, beat->id, BEAT_BUSY_MS, NULL));
}
