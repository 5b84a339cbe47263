/*
 * What clients say of themselves: an Authorization header, a traceparent, and names in a URL against the targets of a
 * token. Lines: header, trace, name, segment, then targets. A token never reaches a fleet that no target names.
 */
#include <string.h>

#include "serve/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_reach(const char *targets, myr_str name, myr_str segment)
{
    serve_token token = {
        .scopes = MYR_SCOPE_ALL, .name = (char *)(uintptr_t) "t", .targets = (char *)(uintptr_t)targets};
    const serve_principal who = {.token = &token, .is_known = true}, nobody = {0};
    const char *at = name.size > 0 ? memchr(name.data, '@', name.size) : NULL;
    myr_str fleet = myr_str_make(name.data, at != NULL ? (size_t)(at - name.data) : name.size);
    bool is_named = targets[0] == '\0';
    myr_str rest = targets[0] != '\0' ? myr_str_of(targets) : myr_str_make(NULL, 0), line;
    while (myr_str_split(&rest, '\n', &line)) {
        const char *end = line.size > 0 ? memchr(line.data, '@', line.size) : NULL;
        myr_str target = myr_str_make(line.data, end != NULL ? (size_t)(end - line.data) : line.size);
        is_named = is_named || myr_str_equal(target, fleet) || myr_str_equal(target, name);
    }
    for (serve_on on = SERVE_ON_LIST; on <= SERVE_ON_SEGMENT; on++) {
        MYR_ASSERT(myr_serve_may(&nobody, MYR_SCOPE_READ, on, name, segment, NULL) != MYR_OK);
        bool may = myr_serve_may(&who, MYR_SCOPE_READ, on, name, segment, NULL) == MYR_OK;
        MYR_ASSERT(!may || is_named || on == SERVE_ON_LIST);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    myr_str rest = myr_str_make((const char *)data, size), header = {0}, trace = {0}, name = {0}, segment = {0}, token;
    if (size > 1 << 16) return 0;
    if (myr_str_split(&rest, '\n', &header)) myr_str_split(&rest, '\n', &trace);
    if (myr_str_split(&rest, '\n', &name)) myr_str_split(&rest, '\n', &segment);
    if (myr_serve_read_bearer(header, &token, NULL) == MYR_OK)
        MYR_ASSERT(token.size > 0 && token.data > header.data && token.data + token.size <= header.data + header.size);
    myr_str read = myr_serve_read_trace(trace);
    MYR_ASSERT(read.size == 0 || read.size <= trace.size);
    char *targets = myr_strndup(rest.data != NULL ? rest.data : "", rest.size); /* up to its first NUL */
    if (targets == NULL) return 0;
    check_reach(targets, name, segment);
    myr_free(targets);
    return 0;
}
