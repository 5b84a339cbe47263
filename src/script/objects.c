/*
 * What run() is given: `row`, whose cells are fetched when they are asked for, and `prediction`, whose values are
 * checked when they are set, so that an error names the line. Both are one object per state: a row makes no garbage.
 */
#include <math.h>
#include <string.h>

#include "script/internal.h"

typedef enum objects_kind { OBJECT_ROW, OBJECT_PREDICTION, OBJECT_VALUES, OBJECT_FIELDS } objects_kind;

static bool objects_is(lua_State *lua, int idx, objects_kind kind)
{
    const objects_kind *object = lua_type(lua, idx) == LUA_TUSERDATA ? lua_touserdata(lua, idx) : NULL;
    return object != NULL && *object == kind;
}

bool myr_script_is_row(lua_State *lua, int idx)
{
    return objects_is(lua, idx, OBJECT_ROW);
}

bool myr_script_is_values(lua_State *lua, int idx)
{
    return objects_is(lua, idx, OBJECT_VALUES);
}

/* A name that indexes one of the objects. */
static myr_str objects_name(lua_State *lua, const char *what)
{
    myr_str name;
    if (lua_type(lua, 2) != LUA_TSTRING) {
        luaL_error(lua, "%s is indexed by a %s, not by a name", what, luaL_typename(lua, 2));
    }
    name.data = lua_tolstring(lua, 2, &name.size);
    if (name.size > MYR_NAME_BYTES_MAX) luaL_error(lua, "%s has no name of %d bytes", what, (int)name.size);
    return name;
}

/* A text for the answer, in the row's arena. */
static const char *objects_keep(lua_State *lua, int idx, size_t most, const char *what, size_t *out_size)
{
    size_t size;
    if (lua_type(lua, idx) != LUA_TSTRING) luaL_error(lua, "%s is a %s, not a string", what, luaL_typename(lua, idx));
    const char *text = lua_tolstring(lua, idx, &size);
    if (size > most) luaL_error(lua, "%s has %d bytes, at most %d", what, (int)size, (int)most);
    if (!myr_utf8_is_valid(myr_str_make(text, size))) luaL_error(lua, "%s is not UTF-8", what);
    const char *kept = myr_arena_strndup(script_state(lua)->row->arena, text, size);
    if (kept == NULL) myr_script_halt(lua, SCRIPT_NO_ROOM);
    if (out_size != NULL) *out_size = size;
    return kept;
}

/* ---- row ---- */

/* A partition column as its type says, however the row has it: 2, 2.0 and "2" are the integer 2 of an INT64 column. */
static void row_push_key(lua_State *lua, const myr_col *col, myr_key_type type, int64_t row_idx)
{
    char scratch[MYR_KEY_SCRATCH_BYTES];
    myr_key_value value;
    if (myr_key_value_from_col(type, col, row_idx, scratch, &value, NULL) != MYR_OK || value.is_null) {
        lua_pushnil(lua);
    } else if (type == MYR_KEY_INT64) {
        lua_pushinteger(lua, value.i64);
    } else {
        lua_pushlstring(lua, value.text.data, value.text.size);
    }
}

static void row_push_cell(lua_State *lua, uint32_t column_idx)
{
    const myr_script_state *state = script_state(lua);
    const myr_script_row *row = state->row;
    uint32_t key_count = state->script->key_count;
    if (column_idx < key_count) {
        row_push_key(lua, &row->keys[column_idx], state->script->key_types[column_idx], row->row_idx);
        return;
    }
    const myr_col *col = &row->features[column_idx - key_count];
    int64_t stride = row->feature_stride == 0 ? 1 : row->feature_stride;
    if (myr_col_is_null(col, row->row_idx)) {
        lua_pushnil(lua);
        return;
    }
    double number;
    switch (col->type) {
    case MYR_COL_DOUBLE:
        number = col->data.f64[row->row_idx * stride];
        if (isnan(number)) {
            lua_pushnil(lua);
        } else {
            lua_pushnumber(lua, number);
        }
        return;
    case MYR_COL_INT64:
        lua_pushinteger(lua, col->data.i64[row->row_idx]);
        return;
    case MYR_COL_TEXT:
        lua_pushlstring(lua, col->data.text[row->row_idx].data, col->data.text[row->row_idx].size);
        return;
    }
    lua_pushnil(lua);
}

static uint32_t row_column(lua_State *lua)
{
    uint64_t idx;
    const myr_script *script = script_state(lua)->script;
    myr_str name = objects_name(lua, "row");
    if (myr_map_find(script->column_idxs, name, &idx)) return (uint32_t)idx;
    myr_script_spend(lua, 64 * ((size_t)script->key_count + script->feature_count)); /* to look for the nearest */
    const char *nearest = myr_nearest(name.data, script->columns);
    if (nearest != NULL) luaL_error(lua, "row has no column '%s': is '%s' meant?", name.data, nearest);
    luaL_error(lua, "row has no column '%s'", name.data);
    return 0;
}

static int row_index(lua_State *lua)
{
    row_push_cell(lua, row_column(lua));
    return 1;
}

static int row_set(lua_State *lua)
{
    return luaL_error(lua, "row can't be changed: use a local variable");
}

/* Columns in their order, without those that are null or that another one of the same name hides. */
int myr_script_row_next(lua_State *lua)
{
    const myr_script *script = script_state(lua)->script;
    uint32_t count = script->key_count + script->feature_count;
    for (uint32_t i = lua_isnil(lua, 2) ? 0 : row_column(lua) + 1; i < count; i++) {
        uint64_t idx;
        bool is_first = myr_map_find(script->column_idxs, myr_str_of(script->columns[i]), &idx) && idx == i;
        myr_script_spend(lua, 1);
        lua_pushstring(lua, script->columns[i]);
        row_push_cell(lua, i);
        if (is_first && !lua_isnil(lua, -1)) return 2;
        lua_pop(lua, 2);
    }
    lua_pushnil(lua);
    return 1;
}

/* ---- values ---- */

static double values_check(lua_State *lua, int idx)
{
    if (lua_type(lua, idx) != LUA_TNUMBER) {
        luaL_error(lua, "prediction.value is set to a %s, not a number", luaL_typename(lua, idx));
    }
    double value = lua_tonumber(lua, idx);
    if (!isfinite(value)) luaL_error(lua, "prediction.value is set to %f", value);
    return value;
}

/* The value at idx, one number or a table of as many as there are. */
static void values_take(lua_State *lua, int idx)
{
    myr_script_state *state = script_state(lua);
    uint32_t count = state->script->value_count;
    if (objects_is(lua, idx, OBJECT_VALUES)) return; /* prediction.value itself */
    if (count == 1) {
        state->values[0] = values_check(lua, idx);
    } else {
        if (lua_type(lua, idx) != LUA_TTABLE) {
            luaL_error(lua, "prediction.value is set to a %s, not a table of %d numbers", luaL_typename(lua, idx),
                       (int)count);
        }
        lua_Integer given = luaL_len(lua, idx);
        if (given != (lua_Integer)count) {
            luaL_error(lua, "prediction.value is set to %I values, the model gives %d", (LUAI_UACINT)given, (int)count);
        }
        for (uint32_t i = 0; i < 2 * count; i++) { /* all are good before one is taken */
            lua_geti(lua, idx, (lua_Integer)(i % count) + 1);
            double value = values_check(lua, -1);
            if (i >= count) state->values[i % count] = value;
            lua_pop(lua, 1);
        }
    }
    state->answer.is_changed = true;
}

static int values_index(lua_State *lua)
{
    const myr_script_state *state = script_state(lua);
    int is_integer;
    lua_Integer idx = lua_tointegerx(lua, 2, &is_integer);
    if (!is_integer || idx < 1 || idx > (lua_Integer)state->script->value_count) {
        lua_pushnil(lua);
    } else {
        lua_pushnumber(lua, state->values[idx - 1]);
    }
    return 1;
}

static int values_set(lua_State *lua)
{
    myr_script_state *state = script_state(lua);
    int is_integer;
    lua_Integer idx = lua_tointegerx(lua, 2, &is_integer);
    if (!is_integer || idx < 1 || idx > (lua_Integer)state->script->value_count) {
        return luaL_error(lua, "prediction.value has the places 1 to %d", (int)state->script->value_count);
    }
    state->values[idx - 1] = values_check(lua, 3);
    state->answer.is_changed = true;
    return 0;
}

static int values_length(lua_State *lua)
{
    lua_pushinteger(lua, (lua_Integer)script_state(lua)->script->value_count);
    return 1;
}

/* ---- added fields ---- */

static const char *const fields_reserved[] = {
    "prediction",    "margin", "probability", "leaf",   "contribution", "model",       "level",   "status",  "reason",
    "model_version", "from",   "stale",       "age_ms", "row",          "produced_at", "release", "timings", NULL};

static bool fields_name_is_good(myr_str name)
{
    for (size_t i = 0; i < name.size; i++) {
        char c = name.data[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!is_letter && (i == 0 || c < '0' || c > '9')) return false;
    }
    for (size_t i = 0; fields_reserved[i] != NULL; i++) {
        if (myr_str_is(name, fields_reserved[i])) return false;
    }
    return name.size > 0;
}

static myr_script_field *fields_find(myr_script_state *state, myr_str name)
{
    for (uint32_t i = 0; i < state->answer.field_count; i++) {
        if (myr_str_is(name, state->fields[i].name)) return &state->fields[i];
    }
    return NULL;
}

static int fields_index(lua_State *lua)
{
    const myr_script_field *field = fields_find(script_state(lua), objects_name(lua, "prediction.fields"));
    if (field == NULL) {
        lua_pushnil(lua);
    } else if (field->type == MYR_SCRIPT_TEXT) {
        lua_pushlstring(lua, field->text.data, field->text.size);
    } else if (field->type == MYR_SCRIPT_BOOL) {
        lua_pushboolean(lua, field->number != 0);
    } else {
        lua_pushnumber(lua, field->number);
    }
    return 1;
}

static void fields_take(lua_State *lua, myr_script_field *field)
{
    size_t size;
    switch (lua_type(lua, 3)) {
    case LUA_TNUMBER:
        field->type = MYR_SCRIPT_NUMBER;
        field->number = lua_tonumber(lua, 3);
        if (!isfinite(field->number)) luaL_error(lua, "prediction.fields.%s is set to %f", field->name, field->number);
        return;
    case LUA_TBOOLEAN:
        field->type = MYR_SCRIPT_BOOL;
        field->number = lua_toboolean(lua, 3) ? 1 : 0;
        return;
    case LUA_TSTRING:
        field->type = MYR_SCRIPT_TEXT;
        field->text.data = objects_keep(lua, 3, MYR_SCRIPT_FIELD_BYTES_MAX, "the field", &size);
        field->text.size = size;
        return;
    default:
        luaL_error(lua, "prediction.fields.%s is set to a %s: a number, a string, true or false, or nil for none",
                   field->name, luaL_typename(lua, 3));
    }
}

static int fields_set(lua_State *lua)
{
    myr_script_state *state = script_state(lua);
    myr_str name = objects_name(lua, "prediction.fields");
    myr_script_field *field = fields_find(state, name), taken = {0};
    if (lua_isnil(lua, 3)) {
        if (field == NULL) return 0;
        state->answer.field_count--;
        for (; field < state->fields + state->answer.field_count; field++)
            field[0] = field[1];
        return 0;
    }
    if (!fields_name_is_good(name)) {
        return luaL_error(lua, "'%s' can't be a field of an answer: letters, digits and _, and none that it has",
                          name.data);
    }
    if (field == NULL && state->answer.field_count == MYR_SCRIPT_FIELDS_MAX) {
        return luaL_error(lua, "prediction.fields has %d fields, the most of one answer", MYR_SCRIPT_FIELDS_MAX);
    }
    taken.name = field != NULL ? field->name : objects_keep(lua, 2, MYR_NAME_BYTES_MAX, "the field's name", NULL);
    fields_take(lua, &taken);
    if (field == NULL) field = &state->fields[state->answer.field_count++];
    *field = taken;
    return 0;
}

/* ---- prediction ---- */

static void prediction_push_model(lua_State *lua)
{
    myr_script_state *state = script_state(lua);
    const myr_script_row *row = state->row;
    myr_buf_clear(&state->model_name);
    if (row->scorer == NULL || row->model_idx == MYR_PACK_NONE ||
        myr_score_model_name(row->scorer, row->model_idx, &state->model_name, NULL) != MYR_OK ||
        myr_buf_check(&state->model_name, NULL) != MYR_OK) {
        lua_pushnil(lua);
        return;
    }
    lua_pushlstring(lua, state->model_name.data, state->model_name.size);
}

static void prediction_push_version(lua_State *lua)
{
    const myr_script_row *row = script_state(lua)->row;
    const myr_pack *pack = row->scorer != NULL ? myr_scorer_pack(row->scorer) : NULL;
    myr_pack_entry entry;
    if (pack == NULL || row->model_idx == MYR_PACK_NONE ||
        myr_pack_get_entry(pack, row->model_idx, &entry, NULL) != MYR_OK) {
        lua_pushnil(lua);
    } else {
        lua_pushinteger(lua, entry.version);
    }
}

static int prediction_index(lua_State *lua)
{
    const myr_script_state *state = script_state(lua);
    myr_str name = objects_name(lua, "prediction");
    if (myr_str_is(name, "value")) {
        if (state->script->value_count == 1) {
            lua_pushnumber(lua, state->values[0]);
        } else {
            lua_rawgeti(lua, LUA_REGISTRYINDEX, SCRIPT_REF_VALUES);
        }
    } else if (myr_str_is(name, "fields")) {
        lua_rawgeti(lua, LUA_REGISTRYINDEX, SCRIPT_REF_FIELDS);
    } else if (myr_str_is(name, "level")) {
        lua_pushstring(lua, myr_level_name(state->row->level));
    } else if (myr_str_is(name, "model")) {
        prediction_push_model(lua);
    } else if (myr_str_is(name, "version")) {
        prediction_push_version(lua);
    } else if (myr_str_is(name, "fleet")) {
        lua_pushstring(lua, state->script->fleet);
    } else if (myr_str_is(name, "release")) {
        lua_pushinteger(lua, state->script->release);
    } else {
        return luaL_error(lua, "prediction has no '%s': value, fields, level, model, version, fleet, release",
                          name.data);
    }
    return 1;
}

static int prediction_set(lua_State *lua)
{
    myr_str name = objects_name(lua, "prediction");
    if (!myr_str_is(name, "value")) {
        return luaL_error(lua, "prediction.%s can't be set: value can, and prediction.fields.NAME", name.data);
    }
    values_take(lua, 3);
    return 0;
}

void myr_script_take_result(lua_State *lua, int count)
{
    if (count > 1) luaL_error(lua, "run() gave back %d values: one at most, the prediction's", count);
    if (count == 0 || lua_isnil(lua, -1) || objects_is(lua, -1, OBJECT_PREDICTION)) return;
    values_take(lua, lua_gettop(lua));
}

/* ---- decisions: they end the run ---- */

static myr_script_state *decision_begin(lua_State *lua, const char *name)
{
    myr_script_state *state = script_state(lua);
    if (state->row == NULL) luaL_error(lua, "%s() is for run()", name);
    return state;
}

int myr_script_refuse(lua_State *lua)
{
    myr_script_state *state = decision_begin(lua, "refuse");
    myr_script_answer answer = {.verdict = MYR_SCRIPT_REFUSED, .status = "refused", .reason = ""};
    if (!lua_isnoneornil(lua, 1))
        answer.reason = objects_keep(lua, 1, MYR_SCRIPT_REASON_BYTES_MAX, "refuse(): the reason", NULL);
    if (!lua_isnoneornil(lua, 2)) {
        answer.status = objects_keep(lua, 2, MYR_SCRIPT_STATUS_BYTES_MAX, "refuse(): the status", NULL);
        size_t good = strspn(answer.status, "abcdefghijklmnopqrstuvwxyz_0123456789");
        if (good == 0 || answer.status[good] != '\0' || answer.status[0] < 'a' || strcmp(answer.status, "ok") == 0) {
            return luaL_error(lua, "refuse(): the status '%s' is not a word of a-z, 0-9 and _ other than ok",
                              answer.status);
        }
    }
    answer.field_count = state->answer.field_count;
    state->answer = answer;
    myr_script_halt(lua, SCRIPT_DECIDED);
}

int myr_script_choose_model(lua_State *lua)
{
    myr_script_state *state = decision_begin(lua, "choose_model");
    myr_script_answer answer = {.verdict = MYR_SCRIPT_CHOSE_MODEL};
    answer.choice.data =
        objects_keep(lua, 1, MYR_KEY_TEXT_BYTES_MAX, "choose_model(): the segment", &answer.choice.size);
    state->answer = answer;
    myr_script_halt(lua, SCRIPT_DECIDED);
}

int myr_script_choose_level(lua_State *lua)
{
    myr_script_state *state = decision_begin(lua, "choose_level");
    myr_script_answer answer = {.verdict = MYR_SCRIPT_CHOSE_LEVEL};
    const char *name = lua_type(lua, 1) == LUA_TSTRING ? lua_tostring(lua, 1) : "";
    for (answer.level = MYR_LEVEL_PARENT; answer.level <= MYR_LEVEL_GLOBAL; answer.level++) {
        if (strcmp(name, myr_level_name(answer.level)) != 0) continue;
        state->answer = answer;
        myr_script_halt(lua, SCRIPT_DECIDED);
    }
    return luaL_error(lua, "choose_level(): 'parent' or 'global'");
}

/* ---- made once per state ---- */

static void objects_make(lua_State *lua, int ref, objects_kind kind, lua_CFunction index, lua_CFunction set,
                         lua_CFunction length)
{
    objects_kind *object = lua_newuserdatauv(lua, sizeof *object, 0);
    *object = kind;
    lua_createtable(lua, 0, 3);
    lua_pushcfunction(lua, index);
    lua_setfield(lua, -2, "__index");
    lua_pushcfunction(lua, set);
    lua_setfield(lua, -2, "__newindex");
    if (length != NULL) {
        lua_pushcfunction(lua, length);
        lua_setfield(lua, -2, "__len");
    }
    lua_setmetatable(lua, -2);
    lua_rawseti(lua, LUA_REGISTRYINDEX, ref);
}

void myr_script_open_objects(lua_State *lua)
{
    objects_make(lua, SCRIPT_REF_ROW, OBJECT_ROW, row_index, row_set, NULL);
    objects_make(lua, SCRIPT_REF_PREDICTION, OBJECT_PREDICTION, prediction_index, prediction_set, NULL);
    objects_make(lua, SCRIPT_REF_VALUES, OBJECT_VALUES, values_index, values_set, values_length);
    objects_make(lua, SCRIPT_REF_FIELDS, OBJECT_FIELDS, fields_index, fields_set, NULL);
}
