/*
 * One Lua state with its limits. Time: a hook looks at the clock every few instructions, our functions every so many
 * steps, the allocator every so many bytes; whoever finds it late makes the hook stop at each instruction from then on,
 * so that an error which the script holds up is followed by another. Memory: an allocator that counts.
 */
#include <stdio.h>
#include <string.h>

#include "script/internal.h"

#define STATE_STRING_BYTES (MYR_SCRIPT_STRING_BYTES_MAX + 64) /* a string with its header */
#define STATE_LINE_BYTES   64                                 /* of a name in messages */

static void state_hook(lua_State *lua, lua_Debug *at);

/* ---- time ---- */

static bool state_is_late(myr_script_state *state)
{
    state->bytes_spent = state->steps_spent = 0;
    return state->deadline_ns != 0 && myr_clock_mono_ns() >= state->deadline_ns;
}

/* level: 0 in a hook, 1 in a function of ours. */
static void state_note_where(myr_script_state *state, int level)
{
    lua_Debug at;
    if (state->where[0] != '\0' || !lua_getstack(state->lua, level, &at)) return;
    lua_getinfo(state->lua, "Sl", &at);
    if (at.currentline > 0) snprintf(state->where, sizeof state->where, "%s:%d: ", at.short_src, at.currentline);
}

_Noreturn void myr_script_halt(lua_State *lua, script_stop stop)
{
    script_state(lua)->stop = stop;
    lua_pushnil(lua);
    lua_error(lua);
    __builtin_unreachable(); /* lua_error does not return; its header does not say so */
}

static void state_hook(lua_State *lua, lua_Debug *at)
{
    myr_script_state *state = script_state(lua);
    (void)at;
    if (state->stop == SCRIPT_GOES_ON && !state_is_late(state)) return;
    if (state->stop == SCRIPT_GOES_ON) state->stop = SCRIPT_LATE;
    state_note_where(state, 0);
    lua_sethook(lua, state_hook, LUA_MASKCOUNT, 1);
    myr_script_halt(lua, state->stop);
}

void myr_script_spend(lua_State *lua, size_t steps)
{
    myr_script_state *state = script_state(lua);
    state->steps_spent += steps;
    if (state->steps_spent < SCRIPT_SPEND_STEPS || !state_is_late(state)) return;
    state_note_where(state, 1);
    lua_sethook(lua, state_hook, LUA_MASKCOUNT, 1);
    myr_script_halt(lua, SCRIPT_LATE);
}

/* ---- memory ---- */

/* From inside the allocator no error can be raised: the next instruction does. */
static void state_stop_soon(myr_script_state *state, script_stop stop)
{
    state->stop = stop;
    if (state->lua != NULL) lua_sethook(state->lua, state_hook, LUA_MASKCOUNT, 1);
}

static bool state_may_grow(myr_script_state *state, bool is_string, size_t more_bytes, size_t new_bytes)
{
    state->bytes_spent += new_bytes;
    if (state->stop == SCRIPT_GOES_ON && state->bytes_spent > SCRIPT_SPEND_BYTES && state_is_late(state)) {
        state_stop_soon(state, SCRIPT_LATE);
    }
    state->is_long_string = is_string && new_bytes > STATE_STRING_BYTES;
    if (state->is_long_string) return false;
    if (more_bytes <= state->bytes_max - state->bytes) return true;
    /* Lua collects its garbage now and asks again: a run that lives at its limit would do that all the time. */
    if (++state->times_full == SCRIPT_FULL_MAX && state->stop == SCRIPT_GOES_ON) state_stop_soon(state, SCRIPT_FULL);
    return false;
}

/* For a new block, old_bytes is what kind of object it is for. Shrinking never fails, as Lua wants it. */
static void *state_allocate(void *ctx, void *block, size_t old_bytes, size_t new_bytes)
{
    myr_script_state *state = ctx;
    size_t had = block != NULL ? old_bytes : 0;
    if (new_bytes == 0) {
        state->bytes -= had;
        myr_free(block);
        return NULL;
    }
    bool is_string = block == NULL && old_bytes == LUA_TSTRING;
    if (new_bytes > had && !state_may_grow(state, is_string, new_bytes - had, new_bytes)) return NULL;
    void *moved = myr_realloc(block, new_bytes);
    if (moved == NULL && new_bytes <= had) moved = block;
    if (moved != NULL) state->bytes = state->bytes - had + new_bytes;
    return moved;
}

size_t myr_script_state_bytes(const myr_script_state *state)
{
    return state->bytes;
}

/* ---- a run of some code ---- */

static void state_begin(myr_script_state *state, int64_t deadline_ns)
{
    state->deadline_ns = deadline_ns;
    state->given_ms = deadline_ns == 0 ? 0 : (deadline_ns - myr_clock_mono_ns()) / 1000000;
    state->stop = SCRIPT_GOES_ON;
    state->bytes_spent = state->steps_spent = 0;
    state->times_full = 0;
    state->is_long_string = false;
    state->where[0] = '\0';
    lua_sethook(state->lua, state_hook, LUA_MASKCOUNT, SCRIPT_HOOK_STEPS);
}

static myr_rc state_fail_memory(const myr_script_state *state, myr_err *err)
{
    char bytes[32];
    if (state->is_long_string) {
        MYR_FAIL(err, SCRIPT, "%s: it makes a string of more than %d bytes", state->script->name,
                 MYR_SCRIPT_STRING_BYTES_MAX);
    }
    myr_format_bytes((int64_t)state->bytes_max, bytes, sizeof bytes);
    MYR_FAIL(err, SCRIPT, "%s%s%sneeds more than its %s of memory", state->where,
             state->where[0] == '\0' ? state->script->name : "", state->where[0] == '\0' ? ": " : "", bytes);
}

/* What the error at the top of the stack is for us. */
static myr_rc state_fail(const myr_script_state *state, int status, myr_err *err)
{
    lua_State *lua = state->lua;
    const char *name = state->script->name;
    if (state->stop == SCRIPT_LATE) {
        MYR_FAIL(err, TIMEOUT, "%s%sstopped after %lld ms, at the deadline", state->where,
                 state->where[0] == '\0' ? "the score script was " : "", (long long)state->given_ms);
    }
    if (state->stop == SCRIPT_NO_ROOM) {
        MYR_FAIL(err, TOO_LARGE, "%s: the answer needs more memory than a request may have", name);
    }
    if (state->stop == SCRIPT_FULL || status == LUA_ERRMEM) return state_fail_memory(state, err);
    if (lua_type(lua, -1) != LUA_TSTRING) {
        MYR_FAIL(err, SCRIPT, "%s: an error that is a %s, not a message", name, luaL_typename(lua, -1));
    }
    const char *message = lua_tostring(lua, -1);
    if (state->row == NULL && !state->is_compiled) MYR_FAIL(err, BAD_FORMAT, "%s", message);
    MYR_FAIL(err, SCRIPT, "%s", message);
}

/* Call a C function of ours, which calls the script. */
static myr_rc state_call(myr_script_state *state, lua_CFunction body, int64_t deadline_ns, myr_err *err)
{
    lua_State *lua = state->lua;
    state_begin(state, deadline_ns);
    lua_pushcfunction(lua, body);
    int status = lua_pcall(lua, 0, 0, 0);
    myr_rc rc = status == LUA_OK || state->stop == SCRIPT_DECIDED ? MYR_OK : state_fail(state, status, err);
    lua_settop(lua, 0);
    return rc;
}

/* ---- making one ---- */

/* The field `name` of the table of globals at the top, NULL if it is not defined: then nothing is pushed. */
static bool setup_push_function(lua_State *lua, const char *name)
{
    lua_pushstring(lua, name);
    lua_rawget(lua, -2);
    if (lua_isfunction(lua, -1)) return true;
    if (!lua_isnil(lua, -1)) {
        luaL_error(lua, "%s: '%s' is a %s, not a function", script_state(lua)->script->name, name,
                   luaL_typename(lua, -1));
    }
    lua_pop(lua, 1);
    return false;
}

static int setup_body(lua_State *lua)
{
    myr_script_state *state = script_state(lua);
    const myr_script *script = state->script;
    char chunk[STATE_LINE_BYTES];
    lua_newtable(lua);
    lua_rawseti(lua, LUA_REGISTRYINDEX, SCRIPT_REF_FUNCTIONS);
    lua_newtable(lua);
    lua_rawseti(lua, LUA_REGISTRYINDEX, SCRIPT_REF_LOCALS);
    myr_script_open_objects(lua);
    myr_script_open_functions(lua);
    lua_pushvalue(lua, -1);
    lua_rawseti(lua, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS); /* what a file gets as its _ENV */
    snprintf(chunk, sizeof chunk, "@%s", script->name);
    if (luaL_loadbufferx(lua, script->text, script->text_bytes, chunk, "t") != LUA_OK) return lua_error(lua);
    state->is_compiled = true;
    lua_call(lua, 0, 0);
    if (setup_push_function(lua, "init")) lua_call(lua, 0, 0);
    if (!setup_push_function(lua, "run")) {
        state->is_compiled = false;
        return luaL_error(lua, "%s: there is no function run(row, prediction)", script->name);
    }
    lua_rawseti(lua, LUA_REGISTRYINDEX, SCRIPT_REF_RUN);
    myr_script_freeze(lua);
    return 0;
}

static myr_rc state_open(myr_script_state *state, myr_err *err)
{
    myr_script *script = state->script;
    state->values = myr_calloc(script->value_count, sizeof *state->values);
    lua_State *lua = state->values != NULL ? lua_newstate(state_allocate, state) : NULL;
    if (lua == NULL) MYR_FAIL(err, NO_MEMORY, "%s: no memory for a Lua state", script->name);
    *(myr_script_state **)lua_getextraspace(lua) = state;
    state->lua = lua;
    return state_call(state, setup_body, myr_clock_mono_ns() + script->opts.init_ms * 1000000, err);
}

myr_rc myr_script_state_new(myr_script *script, myr_script_state **out, myr_err *err)
{
    myr_script_state *state = myr_calloc(1, sizeof *state);
    if (state == NULL) MYR_FAIL(err, NO_MEMORY, "%s: no memory for a Lua state", script->name);
    state->script = script;
    state->bytes_max = (size_t)script->opts.memory_bytes_max;
    myr_rc rc = state_open(state, err);
    if (rc != MYR_OK) {
        myr_script_state_free(state);
        return rc;
    }
    *out = state;
    return MYR_OK;
}

void myr_script_state_free(myr_script_state *state)
{
    if (state == NULL) return;
    if (state->lua != NULL) lua_close(state->lua);
    MYR_ASSERT(state->bytes == 0); /* each block of Lua's was given back with the size that it was asked for with */
    myr_free(state->values);
    myr_free(state->local_idxs);
    myr_buf_fini(&state->model_name);
    myr_free(state);
}

/* ---- a row ---- */

static int run_body(lua_State *lua)
{
    lua_rawgeti(lua, LUA_REGISTRYINDEX, SCRIPT_REF_RUN);
    lua_rawgeti(lua, LUA_REGISTRYINDEX, SCRIPT_REF_ROW);
    lua_rawgeti(lua, LUA_REGISTRYINDEX, SCRIPT_REF_PREDICTION);
    lua_call(lua, 2, LUA_MULTRET);
    int count = lua_gettop(lua);
    if (count == 0) return 0;
    myr_script_take_result(lua, count);
    return 0;
}

/* The added fields outlive the state's next row. */
static myr_rc run_keep_fields(myr_script_state *state, myr_arena *arena, myr_err *err)
{
    uint32_t count = state->answer.field_count;
    if (count == 0) return MYR_OK;
    myr_script_field *fields = myr_arena_calloc(arena, count, sizeof *fields);
    if (fields == NULL) {
        MYR_FAIL(err, TOO_LARGE, "%s: the answer needs more memory than a request may have", state->script->name);
    }
    memcpy(fields, state->fields, count * sizeof *fields);
    state->answer.fields = fields;
    return MYR_OK;
}

static myr_rc run_row(myr_script_state *state, const myr_script_row *row, myr_err *err)
{
    if (row->deadline_ns != 0 && myr_clock_mono_ns() >= row->deadline_ns) {
        MYR_FAIL(err, TIMEOUT, "no time was left for %s", state->script->name);
    }
    MYR_TRY(state_call(state, run_body, row->deadline_ns, err));
    return run_keep_fields(state, row->arena, err);
}

myr_rc myr_script_run(myr_script_state *state, const myr_script_row *row, myr_script_answer *out, myr_err *err)
{
    uint32_t count = state->script->value_count;
    MYR_ASSERT(state->row == NULL && lua_gettop(state->lua) == 0);
    for (uint32_t k = 0; k < count; k++)
        state->values[k] = row->values[k][row->row_idx];
    state->answer = (myr_script_answer){.verdict = MYR_SCRIPT_KEPT};
    state->row = row;
    myr_rc rc = run_row(state, row, err);
    state->row = NULL;
    myr_script_locals_restore(state);
    if (rc != MYR_OK) return rc;
    for (uint32_t k = 0; k < count && state->answer.is_changed; k++)
        row->values[k][row->row_idx] = state->values[k];
    *out = state->answer;
    return MYR_OK;
}
