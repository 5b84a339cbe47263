/*
 * Who is asking, and what they may. A token is found by the SHA-256 of its text among those of the current snapshot: no
 * lock, no database. What was found is counted while its request runs, so that it outlives its snapshot that long.
 *
 * A principal that nobody filled may nothing; one without a token may everything, since no token is asked for here.
 */
#include "serve/internal.h"

#include <string.h>
#include <strings.h>

#define AUTH_SCHEME          "Bearer"
#define AUTH_TOKEN_BYTES_MAX 512          /* ours have 68; a longer one is not hashed */
#define AUTH_BURST_NS        1000000000LL /* what a rate allows at once: that of a second */

/* ---- tokens of a snapshot ---- */

static int auth_compare(const void *a, const void *b)
{
    return memcmp((*(serve_token *const *)a)->hash, (*(serve_token *const *)b)->hash, MYR_TOKEN_BYTES);
}

/* The place of the first token whose hash is not below this one. */
static size_t auth_lower_bound(const serve_snapshot *snapshot, const unsigned char hash[MYR_TOKEN_BYTES])
{
    size_t low = 0, high = snapshot->token_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(snapshot->tokens[middle]->hash, hash, MYR_TOKEN_BYTES) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Always one comparison in constant time, whether there is a candidate or not. */
static serve_token *auth_find(const serve_snapshot *snapshot, const unsigned char hash[MYR_TOKEN_BYTES])
{
    static const unsigned char nobody[MYR_TOKEN_BYTES];
    size_t at = auth_lower_bound(snapshot, hash);
    serve_token *token = at < snapshot->token_count ? snapshot->tokens[at] : NULL;
    bool is_equal = myr_secret_equal(token != NULL ? token->hash : nobody, hash, MYR_TOKEN_BYTES);
    return is_equal ? token : NULL;
}

static serve_token *auth_token_new(const myr_token_row *row)
{
    serve_token *token = myr_calloc(1, sizeof *token);
    if (token == NULL) return NULL;
    token->name = myr_strdup(row->name);
    token->targets = myr_strdup(row->targets);
    if (token->name == NULL || token->targets == NULL) {
        myr_serve_token_free(token);
        return NULL;
    }
    token->id = row->id;
    token->scopes = row->scopes;
    token->expires_ms = row->expires_ms;
    token->rate_per_s = row->rate_per_s;
    token->concurrency = row->concurrency;
    memcpy(token->hash, row->hash, sizeof token->hash);
    return token;
}

void myr_serve_token_free(serve_token *token)
{
    MYR_ASSERT(atomic_load(&token->in_flight) == 0);
    myr_free(token->name);
    myr_free(token->targets);
    myr_free(token);
}

myr_rc myr_serve_tokens_read(myr_registry *registry, myr_arena *arena, const serve_snapshot *old, serve_snapshot *next,
                             myr_err *err)
{
    myr_token_row *rows;
    size_t count;
    MYR_TRY(myr_registry_token_ever(registry, &next->has_tokens, err));
    MYR_TRY(myr_registry_tokens(registry, arena, true, &rows, &count, err));
    next->tokens = myr_calloc(count + 1, sizeof(serve_token *));
    if (next->tokens == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for %zu tokens", count);
    for (size_t i = 0; i < count; i++) { /* a token never changes: one that is there already keeps what it counts */
        serve_token *token = old != NULL ? auth_find(old, rows[i].hash) : NULL;
        if (token == NULL || token->id != rows[i].id) token = auth_token_new(&rows[i]);
        if (token == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for %zu tokens", count);
        token->refs++;
        next->tokens[next->token_count++] = token;
    }
    qsort(next->tokens, next->token_count, sizeof(serve_token *), auth_compare);
    return MYR_OK;
}

bool myr_serve_tokens_equal(const serve_snapshot *a, const serve_snapshot *b)
{
    if (a->has_tokens != b->has_tokens || a->token_count != b->token_count) return false;
    return a->token_count == 0 || memcmp(a->tokens, b->tokens, a->token_count * sizeof(serve_token *)) == 0;
}

/* ---- who is asking ---- */

/* The token of `Bearer TOKEN`; the scheme in any case. */
myr_rc myr_serve_read_bearer(myr_str header, myr_str *out, myr_err *err)
{
    size_t scheme = sizeof AUTH_SCHEME - 1;
    if (header.size <= scheme || strncasecmp(header.data, AUTH_SCHEME, scheme) != 0 || header.data[scheme] != ' ') {
        MYR_FAIL(err, UNAUTHENTICATED, "the header Authorization is not 'Bearer TOKEN'");
    }
    myr_str token = myr_str_trim(myr_str_make(header.data + scheme, header.size - scheme));
    if (token.size == 0 || token.size > AUTH_TOKEN_BYTES_MAX) {
        MYR_FAIL(err, UNAUTHENTICATED, "the header Authorization has no token, or none of ours");
    }
    *out = token;
    return MYR_OK;
}

/* One more request of the token, if its limits allow it. GCRA: next_ns is when the bucket is full again. */
static myr_rc auth_count(const myr_serve_opts *opts, serve_token *token, myr_err *err)
{
    int64_t concurrency = token->concurrency > 0 ? token->concurrency : myr_serve_now(&opts->token_concurrency);
    int64_t rate_per_s = token->rate_per_s > 0 ? token->rate_per_s : myr_serve_now(&opts->token_rate);
    int64_t running = atomic_fetch_add(&token->in_flight, 1);
    if (concurrency > 0 && running >= concurrency) {
        atomic_fetch_sub(&token->in_flight, 1);
        MYR_FAIL(err, TOO_MANY, "token %s has %lld requests in flight, the most it may", token->name,
                 (long long)running);
    }
    if (rate_per_s <= 0) return MYR_OK;
    int64_t now_ns = myr_clock_mono_ns(), step_ns = 1000000000LL / rate_per_s;
    int64_t next_ns = atomic_load_explicit(&token->next_ns, memory_order_relaxed), wanted_ns;
    do {
        wanted_ns = (next_ns > now_ns ? next_ns : now_ns) + step_ns;
        if (wanted_ns - now_ns > AUTH_BURST_NS) {
            atomic_fetch_sub(&token->in_flight, 1);
            MYR_FAIL(err, TOO_MANY, "token %s asks more than %lld times a second", token->name, (long long)rate_per_s);
        }
    } while (!atomic_compare_exchange_weak(&token->next_ns, &next_ns, wanted_ns));
    return MYR_OK;
}

static myr_rc auth_identify(const myr_server *server, const serve_snapshot *snapshot, myr_str header,
                            serve_principal *out, myr_err *err)
{
    myr_str text;
    unsigned char hash[MYR_SHA256_BYTES];
    myr_sha256 sha;
    if (header.data == NULL) {
        MYR_FAIL(err, UNAUTHENTICATED,
                 "a token is needed: Authorization: Bearer TOKEN (myriad token create makes one)");
    }
    MYR_TRY(myr_serve_read_bearer(header, &text, err));
    myr_sha256_init(&sha);
    myr_sha256_add(&sha, text.data, text.size);
    myr_sha256_bytes(&sha, hash);
    serve_token *token = auth_find(snapshot, hash);
    if (token == NULL) MYR_FAIL(err, UNAUTHENTICATED, "the token is not known here, or it was revoked");
    if (token->expires_ms != 0 && token->expires_ms <= myr_clock_unix_ms())
        MYR_FAIL(err, UNAUTHENTICATED, "the token has expired");
    MYR_TRY(auth_count(&server->opts, token, err));
    *out = (serve_principal){.token = token, .is_known = true};
    return MYR_OK;
}

myr_rc myr_serve_identify(myr_server *server, serve_thread *thread, myr_str authorization, serve_principal *out,
                          myr_err *err)
{
    const serve_snapshot *snapshot = myr_serve_hold(server, thread);
    myr_rc rc = MYR_OK;
    if (myr_serve_asks_for_tokens(server, snapshot)) {
        rc = auth_identify(server, snapshot, authorization, out, err);
    } else {
        *out = (serve_principal){.is_known = true};
    }
    myr_serve_drop(thread);
    return rc;
}

myr_rc myr_serve_check_known(const myr_server *server, const serve_snapshot *snapshot, const serve_principal *who,
                             myr_err *err)
{
    if (!myr_serve_asks_for_tokens(server, snapshot)) return MYR_OK;
    if (who->token == NULL) MYR_FAIL(err, UNAUTHENTICATED, "a token is needed from now on: begin anew with one");
    const serve_token *token = auth_find(snapshot, who->token->hash);
    if (token == NULL) MYR_FAIL(err, UNAUTHENTICATED, "the token was revoked");
    if (token->expires_ms != 0 && token->expires_ms <= myr_clock_unix_ms())
        MYR_FAIL(err, UNAUTHENTICATED, "the token has expired");
    return MYR_OK;
}

void myr_serve_forget(const serve_principal *who)
{
    if (who->token == NULL) return;
    int64_t before = atomic_fetch_sub_explicit(&who->token->in_flight, 1, memory_order_release);
    MYR_ASSERT(before > 0);
}

bool myr_serve_asks_for_tokens(const myr_server *server, const serve_snapshot *snapshot)
{
    return server->auth == SERVE_AUTH_REQUIRED || (server->auth == SERVE_AUTH_AUTO && snapshot->has_tokens);
}

/* ---- what they may ---- */

/* The next target of a token: its fleet, and the text of its group ("" = all of it). */
static bool auth_next_target(myr_str *rest, myr_str *out_fleet, myr_str *out_group)
{
    myr_str line;
    if (!myr_str_split(rest, '\n', &line)) return false;
    const char *at = memchr(line.data, '@', line.size);
    *out_fleet = at != NULL ? myr_str_make(line.data, (size_t)(at - line.data)) : line;
    *out_group = at != NULL ? myr_str_make(at + 1, line.size - out_fleet->size - 1) : myr_str_make("", 0);
    return true;
}

/* Whether each part of the group is a part of the segment, in the same words. */
static bool auth_group_has(const myr_segment *group, const myr_segment *segment)
{
    for (uint32_t i = 0; i < group->part_count; i++) {
        bool found = false;
        for (uint32_t j = 0; j < segment->part_count && !found; j++) {
            found = strcmp(group->parts[i].name, segment->parts[j].name) == 0 &&
                    myr_str_equal(myr_str_make(group->parts[i].value, group->parts[i].value_size),
                                  myr_str_make(segment->parts[j].value, segment->parts[j].value_size));
        }
        if (!found) return false;
    }
    return true;
}

/* What a token reaches of a fleet: nothing, some groups, all of it. */
typedef enum auth_reach { REACH_NOTHING, REACH_GROUPS, REACH_ALL } auth_reach;

/* segment: NULL asks about the fleet; else a segment is reached as a whole or not. */
static auth_reach auth_reaches(const serve_token *token, myr_str fleet, const myr_segment *segment)
{
    if (token->targets[0] == '\0') return REACH_ALL;
    myr_str rest = myr_str_of(token->targets), target, group_text;
    auth_reach reach = REACH_NOTHING;
    while (auth_next_target(&rest, &target, &group_text)) {
        if (!myr_str_equal(target, fleet)) continue;
        if (group_text.size == 0) return REACH_ALL;
        if (segment == NULL) {
            reach = REACH_GROUPS;
            continue;
        }
        myr_segment group;
        if (myr_segment_parse(group_text, &group, NULL) == MYR_OK && auth_group_has(&group, segment)) return REACH_ALL;
    }
    return reach;
}

static const char *auth_scope_name(unsigned scope)
{
    return scope == MYR_SCOPE_INFER  ? "infer"
           : scope == MYR_SCOPE_READ ? "read"
           : scope == MYR_SCOPE_RUN  ? "run"
                                     : "admin";
}

static myr_rc auth_may_target(const serve_token *token, unsigned scope, myr_str fleet, const myr_str *segment_text,
                              myr_err *err)
{
    myr_segment segment;
    auth_reach reach = REACH_NOTHING;
    if (segment_text == NULL) {
        reach = auth_reaches(token, fleet, NULL);
    } else if (myr_segment_parse(*segment_text, &segment, NULL) == MYR_OK) { /* what can't be read is nobody's */
        reach = auth_reaches(token, fleet, &segment);
    }
    if (reach == REACH_ALL || (reach == REACH_GROUPS && scope != MYR_SCOPE_ADMIN)) return MYR_OK;
    MYR_FAIL(err, DENIED, "token %s does not reach '" MYR_STR_FMT "'", token->name, MYR_STR_ARG(fleet));
}

myr_rc myr_serve_may(const serve_principal *who, unsigned scope, serve_on on, myr_str name, myr_str segment,
                     myr_err *err)
{
    const serve_token *token = who->token;
    if (!who->is_known) MYR_FAIL(err, UNAUTHENTICATED, "who is asking is not known");
    if (token == NULL) return MYR_OK;
    if ((token->scopes & scope) != scope)
        MYR_FAIL(err, DENIED, "token %s has not the scope %s", token->name, auth_scope_name(scope));
    if (token->targets[0] == '\0') return MYR_OK;
    const char *at = name.size > 0 ? memchr(name.data, '@', name.size) : NULL;
    switch (on) {
    case SERVE_ON_LIST:
        return MYR_OK;
    case SERVE_ON_SERVER:
        MYR_FAIL(err, DENIED, "token %s is for some fleets: this is about the whole server", token->name);
    case SERVE_ON_MODEL:
        if (at != NULL) {
            segment = myr_str_make(at + 1, name.size - (size_t)(at - name.data) - 1);
            name.size = (size_t)(at - name.data);
        }
        return auth_may_target(token, scope, name, at != NULL ? &segment : NULL, err);
    case SERVE_ON_SEGMENT:
        return auth_may_target(token, scope, name, &segment, err);
    }
    MYR_FAIL(err, DENIED, "token %s may not", token->name);
}

bool myr_serve_may_see(const serve_principal *who, const char *fleet)
{
    if (!who->is_known) return false;
    return who->token == NULL || auth_reaches(who->token, myr_str_of(fleet), NULL) != REACH_NOTHING;
}

/* ---- rows of a token that has only groups ---- */

/* A group as key bytes: the mask stands in the first byte. */
typedef struct auth_group {
    unsigned char key[MYR_KEY_BYTES_MAX];
    size_t key_bytes;
} auth_group;

/* Whether the row's key has the group's values, by the rule that chooses its model. */
static bool auth_row_is_in(const myr_key_schema *keys, const myr_col *cols, int64_t row, const auth_group *group)
{
    myr_key_value values[MYR_PARTITION_COLUMNS_MAX];
    char scratch[MYR_PARTITION_COLUMNS_MAX][MYR_KEY_SCRATCH_BYTES];
    uint32_t mask = group->key[0];
    for (uint32_t i = 0; i < keys->column_count; i++) {
        if ((mask & (1u << i)) == 0) continue;
        myr_rc rc = myr_key_value_from_col(keys->columns[i].type, &cols[i], row, scratch[i], &values[i], NULL);
        if (rc != MYR_OK || values[i].is_null) return false;
    }
    unsigned char key[MYR_KEY_BYTES_MAX];
    size_t size = myr_key_encode(keys, mask, values, key);
    return size == group->key_bytes && memcmp(key, group->key, size) == 0;
}

myr_rc myr_serve_may_rows(const serve_principal *who, const serve_fleet *served, const myr_score_rows *rows,
                          myr_arena *arena, myr_err *err)
{
    myr_str fleet = myr_str_of(served->fleet->name), target, text;
    const myr_key_schema *keys = &served->fleet->info->keys;
    if (!who->is_known) MYR_FAIL(err, UNAUTHENTICATED, "who is asking is not known");
    if (who->token == NULL || rows->fixed_model != MYR_PACK_NONE) return MYR_OK; /* a named model was checked by name */
    if (auth_reaches(who->token, fleet, NULL) == REACH_ALL) return MYR_OK;
    auth_group *groups = myr_arena_calloc(arena, MYR_TOKEN_TARGETS_MAX, sizeof *groups);
    uint32_t count = 0;
    if (groups == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the groups of a token");
    for (myr_str rest = myr_str_of(who->token->targets); auth_next_target(&rest, &target, &text);) {
        myr_segment segment;
        if (!myr_str_equal(target, fleet)) continue;
        MYR_ASSERT(count < MYR_TOKEN_TARGETS_MAX);
        MYR_TRY(myr_segment_parse(text, &segment, err));
        MYR_TRY(myr_key_from_segment(keys, &segment, groups[count].key, &groups[count].key_bytes, err));
        count++;
    }
    for (int64_t row = 0; row < rows->row_count; row++) {
        bool is_in = false;
        for (uint32_t i = 0; i < count && !is_in; i++)
            is_in = auth_row_is_in(keys, rows->keys, row, &groups[i]);
        if (is_in) continue;
        MYR_FAIL(err, DENIED, "token %s does not reach the segment of row %lld of fleet %s", who->token->name,
                 (long long)row, served->fleet->name);
    }
    return MYR_OK;
}
