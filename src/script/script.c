/* Scripts: loaded, and their states handed to threads. */
#include <string.h>

#include "script/internal.h"

static char *script_file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return myr_strdup(slash != NULL ? slash + 1 : path);
}

/* Names of columns: a key comes first, and hides a feature of its name. */
static myr_rc script_take_columns(myr_script *script, const myr_pack_info *info, myr_err *err)
{
    uint32_t count = info->keys.column_count + info->feature_count;
    script->key_count = info->keys.column_count;
    script->feature_count = info->feature_count;
    script->value_count = info->output_count;
    script->release = info->release;
    script->fleet = myr_strdup(info->fleet);
    script->columns = myr_calloc((size_t)count + 1, sizeof *script->columns);
    script->column_idxs = myr_map_new();
    if (script->fleet == NULL || script->columns == NULL || script->column_idxs == NULL) {
        MYR_FAIL(err, NO_MEMORY, "no memory for a score script");
    }
    for (uint32_t i = 0; i < script->key_count; i++)
        script->key_types[i] = info->keys.columns[i].type;
    for (uint32_t i = 0; i < count; i++) {
        const char *name = i < script->key_count ? info->keys.columns[i].name : info->features[i - script->key_count];
        script->columns[i] = myr_strdup(name);
        if (script->columns[i] == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a score script");
        if (myr_map_find(script->column_idxs, myr_str_of(name), NULL)) continue;
        MYR_TRY(myr_map_put(script->column_idxs, myr_str_of(name), i, err));
    }
    return MYR_OK;
}

static myr_rc script_take_opts(myr_script *script, const myr_script_opts *opts, myr_err *err)
{
    if (opts != NULL) script->opts = *opts;
    if (script->opts.memory_bytes_max == 0) script->opts.memory_bytes_max = MYR_SCRIPT_MEMORY_DEFAULT;
    if (script->opts.init_ms == 0) script->opts.init_ms = MYR_SCRIPT_INIT_MS;
    if (script->opts.states == 0) script->opts.states = 1;
    int64_t bytes = script->opts.memory_bytes_max;
    if (bytes < MYR_SCRIPT_MEMORY_MIN || bytes > MYR_SCRIPT_MEMORY_MAX) {
        MYR_FAIL(err, BAD_INPUT, "%s: %lld bytes of memory, it may have %d to %d", script->name, (long long)bytes,
                 MYR_SCRIPT_MEMORY_MIN, MYR_SCRIPT_MEMORY_MAX);
    }
    MYR_ASSERT(script->opts.states <= MYR_SCRIPT_STATES_MAX && script->opts.init_ms > 0);
    return MYR_OK;
}

/* Text without a mark of byte order, which editors of some systems put there. */
static myr_rc script_take_text(myr_script *script, myr_str text, myr_err *err)
{
    if (myr_str_starts_with(text, "\xEF\xBB\xBF")) text = myr_str_make(text.data + 3, text.size - 3);
    if (text.size > MYR_SCRIPT_TEXT_BYTES_MAX) {
        MYR_FAIL(err, TOO_LARGE, "%s: %zu bytes, a score script has at most %d", script->name, text.size,
                 MYR_SCRIPT_TEXT_BYTES_MAX);
    }
    script->text = myr_strndup(text.data, text.size);
    script->text_bytes = text.size;
    if (script->text == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a score script");
    return MYR_OK;
}

/* All states at once: the first shows that init() works, and no request has to wait for one. */
static myr_rc script_make_states(myr_script *script, myr_err *err)
{
    for (uint32_t i = 0; i < script->opts.states; i++) {
        myr_script_state *state;
        MYR_TRY(myr_script_state_new(script, &state, err));
        atomic_store(&script->idle[i], state);
        atomic_fetch_add(&script->state_count, 1);
    }
    return MYR_OK;
}

static myr_rc script_make(const char *path, const char *name, myr_str text, const myr_pack_info *info,
                          const myr_script_opts *opts, myr_script **out, myr_err *err)
{
    myr_script *script = myr_calloc(1, sizeof *script);
    if (script == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a score script");
    script->name = script_file_name(name);
    script->path = path != NULL ? myr_strdup(path) : NULL;
    myr_rc rc = MYR_OK;
    if (script->name == NULL || (path != NULL && script->path == NULL)) {
        rc = MYR_ERROR(err, NO_MEMORY, "no memory for a score script");
    }
    if (rc == MYR_OK) rc = script_take_opts(script, opts, err);
    if (rc == MYR_OK) rc = script_take_text(script, text, err);
    if (rc == MYR_OK) rc = script_take_columns(script, info, err);
    if (rc == MYR_OK) rc = script_make_states(script, err);
    if (rc != MYR_OK) {
        myr_script_free(script);
        return rc;
    }
    *out = script;
    return MYR_OK;
}

myr_rc myr_script_parse(const char *name, myr_str text, const myr_pack_info *info, const myr_script_opts *opts,
                        myr_script **out, myr_err *err)
{
    return script_make(NULL, name, text, info, opts, out, err);
}

myr_rc myr_script_load(const char *path, const myr_pack_info *info, const myr_script_opts *opts, myr_script **out,
                       myr_err *err)
{
    char *text;
    size_t size;
    MYR_TRY(myr_file_read(path, MYR_SCRIPT_TEXT_BYTES_MAX + 3, &text, &size, err));
    myr_rc rc = script_make(path, path, myr_str_make(text, size), info, opts, out, err);
    myr_free(text);
    return rc;
}

bool myr_script_is_current(const myr_script *script)
{
    char *data;
    size_t size;
    if (script->path == NULL) return true;
    if (myr_file_read(script->path, MYR_SCRIPT_TEXT_BYTES_MAX + 3, &data, &size, NULL) != MYR_OK) return false;
    myr_str text = myr_str_make(data, size);
    if (myr_str_starts_with(text, "\xEF\xBB\xBF")) text = myr_str_make(text.data + 3, text.size - 3);
    bool is_same = myr_str_equal(text, myr_str_make(script->text, script->text_bytes));
    myr_free(data);
    return is_same;
}

void myr_script_free(myr_script *script)
{
    if (script == NULL) return;
    for (size_t i = 0; i < MYR_SCRIPT_STATES_MAX; i++) {
        myr_script_state *state = atomic_load(&script->idle[i]);
        if (state == NULL) continue;
        myr_script_state_free(state);
        atomic_fetch_sub(&script->state_count, 1);
    }
    MYR_ASSERT(atomic_load(&script->state_count) == 0); /* all are back */
    for (size_t i = 0; script->columns != NULL && script->columns[i] != NULL; i++)
        myr_free((char *)(uintptr_t)script->columns[i]);
    myr_free(script->columns);
    myr_map_free(script->column_idxs);
    myr_free(script->fleet);
    myr_free(script->text);
    myr_free(script->path);
    myr_free(script->name);
    myr_free(script);
}

/* ---- states ---- */

myr_rc myr_script_acquire(myr_script *script, myr_script_state **out, myr_err *err)
{
    uint32_t made = atomic_load(&script->state_count);
    for (uint32_t i = 0; i < made && i < MYR_SCRIPT_STATES_MAX; i++) {
        myr_script_state *state = atomic_load_explicit(&script->idle[i], memory_order_relaxed);
        if (state == NULL) continue;
        state = atomic_exchange_explicit(&script->idle[i], NULL, memory_order_acquire);
        if (state == NULL) continue;
        *out = state;
        return MYR_OK;
    }
    if (atomic_fetch_add(&script->state_count, 1) >= MYR_SCRIPT_STATES_MAX) {
        atomic_fetch_sub(&script->state_count, 1);
        MYR_FAIL(err, BUSY, "%s runs on %d threads already", script->name, MYR_SCRIPT_STATES_MAX);
    }
    myr_rc rc = myr_script_state_new(script, out, err);
    if (rc != MYR_OK) atomic_fetch_sub(&script->state_count, 1);
    return rc;
}

void myr_script_release(myr_script_state *state)
{
    if (state == NULL) return;
    myr_script *script = state->script;
    for (size_t i = 0; i < MYR_SCRIPT_STATES_MAX; i++) { /* as many places as states */
        myr_script_state *none = NULL;
        if (atomic_compare_exchange_strong_explicit(&script->idle[i], &none, state, memory_order_release,
                                                    memory_order_relaxed)) {
            return;
        }
    }
    bool is_released_twice = true;
    MYR_ASSERT(!is_released_twice);
}
