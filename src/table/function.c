/*
 * Functions of ours in people's SQL. A call names its subject (a fleet) and hands over columns: by name, as the fields
 * of one STRUCT (a whole row of a table, or one put together), or by position. What it needs is asked when DuckDB binds
 * the query, so that a missing column or a wrong type is an error before anything is read.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "table/internal.h"

struct myr_table_functions {
    myr_mutex mutex; /* guards first_err */
    bool has_failed;
    myr_err first_err; /* with its code: DuckDB passes on only words */
};

/* One function in the catalogue. Owner: DuckDB, until the database is closed. */
typedef struct function {
    myr_table_functions *all;
    myr_table_function def; /* its texts are the caller's */
} function;

/* One call in a query. Shared by DuckDB's copies of the expression; never changes after it is bound. */
typedef struct function_call {
    atomic_int ref_count;
    const function *function;
    myr_arena *arena;
    myr_table_call call;
    bool by_name;          /* the columns are fields of one STRUCT */
    uint32_t *places;      /* per parameter: which field, or which argument */
    table_reader *readers; /* per parameter */
    uint32_t result_count; /* columns that are filled: values, then what is told */
} function_call;

/* What one of DuckDB's threads keeps for a call. Owner: that thread. */
typedef struct function_thread {
    const function_call *call;
    void *state; /* the caller's */
    myr_arena *arena;
    myr_col *inputs;
    void **rooms;
    uint8_t **valid_in;
    double **f64;
    int64_t **i64;
    myr_str **text;
    uint8_t **valid;
} function_thread;

/* ---- failures ---- */

static void function_fail(myr_table_functions *all, const myr_err *err)
{
    myr_mutex_lock(&all->mutex);
    if (!all->has_failed) all->first_err = *err;
    all->has_failed = true;
    myr_mutex_unlock(&all->mutex);
}

void myr_table_functions_begin(myr_table_functions *all)
{
    if (all != NULL) all->has_failed = false;
}

bool myr_table_functions_failed(const myr_table_functions *all, myr_err *out)
{
    if (all == NULL || !all->has_failed) return false;
    *out = all->first_err;
    return true;
}

/* ---- a call in a query ---- */

static void call_release(void *arg)
{
    function_call *call = arg;
    if (call == NULL || atomic_fetch_sub(&call->ref_count, 1) > 1) return;
    myr_arena_free(call->arena);
    myr_free(call);
}

static void *call_share(void *arg)
{
    function_call *call = arg;
    atomic_fetch_add(&call->ref_count, 1);
    return call;
}

typedef duckdb_logical_type call_type;
static void call_type_drop(call_type *type)
{
    if (*type != NULL) duckdb_destroy_logical_type(type);
}
typedef duckdb_expression call_expression;
static void call_expression_drop(call_expression *expression)
{
    if (*expression != NULL) duckdb_destroy_expression(expression);
}
typedef duckdb_value call_value;
static void call_value_drop(call_value *value)
{
    if (*value != NULL) duckdb_destroy_value(value);
}
typedef duckdb_client_context call_context;
static void call_context_drop(call_context *context)
{
    if (*context != NULL) duckdb_destroy_client_context(context);
}

static duckdb_logical_type call_argument_type(duckdb_bind_info info, idx_t index)
{
    MYR_AUTO(call_expression) argument = duckdb_scalar_function_bind_get_argument(info, index);
    return duckdb_expression_return_type(argument);
}

/* The first argument: a text that is known before rows are. */
static myr_rc call_subject(duckdb_bind_info info, const function_call *call, const char **out, myr_err *err)
{
    const char *name = call->function->def.name;
    MYR_AUTO(call_expression) argument = duckdb_scalar_function_bind_get_argument(info, 0);
    MYR_AUTO(call_value) value = NULL;
    if (duckdb_expression_is_foldable(argument)) {
        MYR_AUTO(call_context) context = NULL;
        duckdb_scalar_function_get_client_context(info, &context);
        duckdb_error_data failed = duckdb_expression_fold(context, argument, &value);
        if (failed != NULL) duckdb_destroy_error_data(&failed);
    }
    char *text = value != NULL && !duckdb_is_null_value(value) ? duckdb_get_varchar(value) : NULL;
    if (text == NULL) MYR_FAIL(err, BAD_INPUT, "%s(): the first argument is a name in quotes, not a column", name);
    *out = myr_arena_strndup(call->arena, text, strlen(text));
    duckdb_free(text);
    if (*out == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a call of %s()", name);
    return MYR_OK;
}

/* The names of a STRUCT's fields, NULL-terminated. */
static myr_rc call_fields(duckdb_logical_type type, myr_arena *arena, const char ***out, uint32_t *out_count,
                          myr_err *err)
{
    uint32_t count = (uint32_t)duckdb_struct_type_child_count(type);
    const char **names = myr_arena_calloc(arena, (size_t)count + 1, sizeof *names);
    if (names == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u columns", count);
    for (uint32_t i = 0; i < count; i++) {
        char *name = duckdb_struct_type_child_name(type, i);
        names[i] = name != NULL ? myr_arena_strndup(arena, name, strlen(name)) : NULL;
        duckdb_free(name);
        if (names[i] == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u columns", count);
    }
    *out = names;
    *out_count = count;
    return MYR_OK;
}

static myr_rc call_find_field(const function_call *call, const char *subject, const myr_table_parameter *parameter,
                              const char *const *fields, uint32_t *out, myr_err *err)
{
    for (uint32_t i = 0; fields[i] != NULL; i++) {
        if (strcmp(fields[i], parameter->name) != 0) continue;
        *out = i;
        return MYR_OK;
    }
    const char *nearest = myr_table_nearest(parameter->name, fields);
    MYR_FAIL(err, BAD_INPUT, "%s('%s', …): there is no column '%s', %s%s%s%s", call->function->def.name, subject,
             parameter->name, parameter->what, nearest != NULL ? ": did you mean '" : "",
             nearest != NULL ? nearest : "", nearest != NULL ? "'?" : "");
}

static myr_rc call_by_name(function_call *call, const char *subject, duckdb_logical_type row, myr_err *err)
{
    const char **fields = NULL;
    uint32_t count = 0;
    MYR_TRY(call_fields(row, call->arena, &fields, &count, err));
    for (uint32_t i = 0; i < call->call.parameter_count; i++) {
        const myr_table_parameter *parameter = &call->call.parameters[i];
        MYR_TRY(call_find_field(call, subject, parameter, fields, &call->places[i], err));
        MYR_AUTO(call_type) type = duckdb_struct_type_child_type(row, call->places[i]);
        MYR_TRY(myr_table_reader_init(type, parameter->use, parameter->name, call->arena, &call->readers[i], err));
    }
    return MYR_OK;
}

/* `store, brand, price`: what the arguments by position are. */
static void call_order(const function_call *call, myr_buf *out)
{
    for (uint32_t i = 0; i < call->call.parameter_count && i < 12; i++)
        myr_buf_printf(out, "%s%s", i > 0 ? ", " : "", call->call.parameters[i].name);
    if (call->call.parameter_count > 12) myr_buf_puts(out, ", …");
    myr_buf_putc(out, '\0');
}

static myr_rc call_by_position(duckdb_bind_info info, function_call *call, const char *subject, idx_t count,
                               myr_err *err)
{
    if (count - 1 != call->call.parameter_count) {
        MYR_AUTO(myr_buf) order = {0};
        call_order(call, &order);
        MYR_FAIL(err, BAD_INPUT,
                 "%s('%s', …) has %llu values where it needs %u: %s; or one row, whose columns have these names",
                 call->function->def.name, subject, (unsigned long long)count - 1, call->call.parameter_count,
                 order.data != NULL ? order.data : "");
    }
    for (uint32_t i = 0; i < call->call.parameter_count; i++) {
        const myr_table_parameter *parameter = &call->call.parameters[i];
        call->places[i] = i + 1;
        MYR_AUTO(call_type) type = call_argument_type(info, i + 1);
        MYR_TRY(myr_table_reader_init(type, parameter->use, parameter->name, call->arena, &call->readers[i], err));
    }
    return MYR_OK;
}

static myr_rc call_bind(duckdb_bind_info info, function_call *call, myr_err *err)
{
    const myr_table_function *def = &call->function->def;
    idx_t count = duckdb_scalar_function_bind_get_argument_count(info);
    const char *subject = NULL;
    MYR_TRY(call_subject(info, call, &subject, err));
    MYR_TRY(def->bind(def->ctx, subject, &call->call, err));
    if (!def->values_as_list && call->call.value_count != 1) {
        MYR_FAIL(err, BAD_INPUT, "%s('%s', …): its models give %u values a row, not one: use %s", def->name, subject,
                 call->call.value_count, def->of_many);
    }
    call->result_count = call->call.value_count + def->told_count;
    size_t room = (size_t)call->call.parameter_count + 1;
    call->places = myr_arena_calloc(call->arena, room, sizeof *call->places);
    call->readers = myr_arena_calloc(call->arena, room, sizeof *call->readers);
    if (call->places == NULL || call->readers == NULL)
        MYR_FAIL(err, NO_MEMORY, "no memory for a call of %s()", def->name);
    MYR_AUTO(call_type) first = count == 2 ? call_argument_type(info, 1) : NULL;
    call->by_name = first != NULL && duckdb_get_type_id(first) == DUCKDB_TYPE_STRUCT;
    return call->by_name ? call_by_name(call, subject, first, err) : call_by_position(info, call, subject, count, err);
}

static void function_bind(duckdb_bind_info info)
{
    const function *fn = duckdb_scalar_function_bind_get_extra_info(info);
    myr_err err = {0};
    function_call *call = myr_calloc(1, sizeof *call);
    if (call != NULL) call->arena = myr_arena_new(0);
    if (call == NULL || call->arena == NULL) {
        MYR_IGNORE(MYR_ERROR(&err, NO_MEMORY, "no memory for a call of %s()", fn->def.name)); /* passed on */
    } else {
        atomic_init(&call->ref_count, 1);
        call->function = fn;
        MYR_IGNORE(call_bind(info, call, &err)); /* err says it */
    }
    if (err.rc == MYR_OK) {
        duckdb_scalar_function_set_bind_data(info, call, call_release);
        duckdb_scalar_function_set_bind_data_copy(info, call_share);
        return;
    }
    if (call != NULL) myr_arena_free(call->arena);
    myr_free(call);
    function_fail(fn->all, &err);
    duckdb_scalar_function_bind_set_error(info, err.message);
}

/* ---- threads ---- */

static void thread_free(void *arg)
{
    function_thread *thread = arg;
    if (thread == NULL) return;
    const myr_table_call *call = &thread->call->call;
    if (thread->state != NULL && call->free_state != NULL) call->free_state(thread->state);
    myr_arena_free(thread->arena);
    myr_free(thread);
}

static bool thread_buffers(function_thread *thread, size_t rows)
{
    const function_call *call = thread->call;
    myr_arena *arena = thread->arena;
    size_t in = (size_t)call->call.parameter_count + 1, out = call->result_count;
    bool ok = (thread->inputs = myr_arena_calloc(arena, in, sizeof *thread->inputs)) != NULL &&
              (thread->rooms = myr_arena_calloc(arena, in, sizeof *thread->rooms)) != NULL &&
              (thread->valid_in = myr_arena_calloc(arena, in, sizeof *thread->valid_in)) != NULL &&
              (thread->f64 = myr_arena_calloc(arena, out, sizeof *thread->f64)) != NULL &&
              (thread->i64 = myr_arena_calloc(arena, out, sizeof *thread->i64)) != NULL &&
              (thread->text = myr_arena_calloc(arena, out, sizeof *thread->text)) != NULL &&
              (thread->valid = myr_arena_calloc(arena, out, sizeof *thread->valid)) != NULL;
    for (uint32_t i = 0; ok && i < call->call.parameter_count; i++) {
        ok = (thread->rooms[i] = myr_arena_alloc(arena, rows * myr_table_reader_bytes(&call->readers[i]))) != NULL &&
             (thread->valid_in[i] = myr_arena_alloc(arena, rows)) != NULL;
    }
    for (uint32_t i = 0; ok && i < call->result_count; i++) {
        ok = (thread->valid[i] = myr_arena_alloc(arena, rows)) != NULL;
        bool is_value = i < call->call.value_count;
        if (ok && is_value) ok = (thread->f64[i] = myr_arena_calloc(arena, rows, sizeof(double))) != NULL;
        if (ok && !is_value) ok = (thread->text[i] = myr_arena_calloc(arena, rows, sizeof(myr_str))) != NULL;
        if (ok && !is_value) ok = (thread->i64[i] = myr_arena_calloc(arena, rows, sizeof(int64_t))) != NULL;
    }
    return ok;
}

static void function_init(duckdb_init_info info)
{
    const function *fn = duckdb_scalar_function_init_get_extra_info(info);
    const function_call *call = duckdb_scalar_function_init_get_bind_data(info);
    MYR_ASSERT(fn != NULL && call != NULL);
    function_thread *thread = myr_calloc(1, sizeof *thread);
    if (thread != NULL) {
        thread->call = call;
        thread->arena = myr_arena_new(0);
    }
    bool ok = thread != NULL && thread->arena != NULL && thread_buffers(thread, duckdb_vector_size());
    if (ok && call->call.make_state != NULL) ok = (thread->state = call->call.make_state(call->call.ctx)) != NULL;
    if (ok) {
        duckdb_scalar_function_init_set_state(info, thread, thread_free);
        return;
    }
    thread_free(thread);
    myr_err err = {0};
    MYR_IGNORE(MYR_ERROR(&err, NO_MEMORY, "no memory for a thread's work in %s()", fn->def.name)); /* passed on */
    function_fail(fn->all, &err);
    duckdb_scalar_function_init_set_error(info, err.message);
}

/* ---- a chunk ---- */

static void chunk_inputs(function_thread *thread, duckdb_data_chunk chunk, int64_t rows)
{
    const function_call *call = thread->call;
    duckdb_vector row = call->by_name ? duckdb_data_chunk_get_vector(chunk, 1) : NULL;
    const uint64_t *outer = row != NULL ? duckdb_vector_get_validity(row) : NULL;
    for (uint32_t i = 0; i < call->call.parameter_count; i++) {
        duckdb_vector vector = row != NULL ? duckdb_struct_vector_get_child(row, call->places[i])
                                           : duckdb_data_chunk_get_vector(chunk, call->places[i]);
        myr_table_reader_read(&call->readers[i], vector, outer, rows, thread->rooms[i], thread->valid_in[i],
                              &thread->inputs[i]);
    }
}

static void chunk_nulls(duckdb_vector vector, const uint8_t *valid, int64_t rows)
{
    if (memchr(valid, 0, (size_t)rows) == NULL) return;
    duckdb_vector_ensure_validity_writable(vector);
    uint64_t *validity = duckdb_vector_get_validity(vector);
    for (int64_t r = 0; r < rows; r++) {
        if (valid[r] == 0) duckdb_validity_set_row_invalid(validity, (idx_t)r);
    }
}

/* Values side by side: a list per row, null where there is no answer. */
static bool chunk_list(const function_thread *thread, duckdb_vector vector, int64_t rows)
{
    uint32_t width = thread->call->call.value_count;
    idx_t size = (idx_t)rows * width;
    if (duckdb_list_vector_reserve(vector, size) != DuckDBSuccess) return false;
    if (duckdb_list_vector_set_size(vector, size) != DuckDBSuccess) return false;
    double *cells = duckdb_vector_get_data(duckdb_list_vector_get_child(vector));
    duckdb_list_entry *lists = duckdb_vector_get_data(vector);
    for (int64_t r = 0; r < rows; r++) {
        lists[r] = (duckdb_list_entry){.offset = (idx_t)r * width, .length = width};
        for (uint32_t k = 0; k < width; k++)
            cells[(size_t)r * width + k] = thread->f64[k][r];
    }
    chunk_nulls(vector, thread->valid[0], rows);
    return true;
}

static void chunk_told(const function_thread *thread, duckdb_vector vector, uint32_t at, myr_col_type type,
                       int64_t rows)
{
    const myr_str *texts = thread->text[at];
    uint8_t *valid = thread->valid[at];
    if (type == MYR_COL_INT64) {
        memcpy(duckdb_vector_get_data(vector), thread->i64[at], (size_t)rows * sizeof(int64_t));
    }
    for (int64_t r = 0; type == MYR_COL_TEXT && r < rows; r++) {
        if (texts[r].data == NULL) valid[r] = 0;
        if (valid[r] == 0) continue;
        duckdb_unsafe_vector_assign_string_element_len(vector, (idx_t)r, texts[r].data, texts[r].size);
    }
    chunk_nulls(vector, valid, rows);
}

static myr_rc chunk_outputs(const function_thread *thread, duckdb_vector result, int64_t rows, myr_err *err)
{
    const myr_table_function *def = &thread->call->function->def;
    duckdb_vector values = def->told_count > 0 ? duckdb_struct_vector_get_child(result, 0) : result;
    if (def->values_as_list) {
        if (!chunk_list(thread, values, rows)) MYR_FAIL(err, NO_MEMORY, "no memory for the answers of %s()", def->name);
    } else {
        memcpy(duckdb_vector_get_data(values), thread->f64[0], (size_t)rows * sizeof(double));
        chunk_nulls(values, thread->valid[0], rows);
    }
    for (uint32_t i = 0; i < def->told_count; i++) {
        chunk_told(thread, duckdb_struct_vector_get_child(result, i + 1), thread->call->call.value_count + i,
                   def->told[i].type, rows);
    }
    return MYR_OK;
}

static myr_rc function_chunk(function_thread *thread, duckdb_data_chunk chunk, duckdb_vector result, myr_err *err)
{
    const function_call *call = thread->call;
    int64_t rows = (int64_t)duckdb_data_chunk_get_size(chunk);
    MYR_ASSERT(rows >= 0 && rows <= (int64_t)duckdb_vector_size());
    chunk_inputs(thread, chunk, rows);
    for (uint32_t i = 0; i < call->result_count; i++)
        memset(thread->valid[i], 1, (size_t)rows);
    myr_table_chunk in = {.row_count = rows,
                          .inputs = thread->inputs,
                          .f64 = thread->f64,
                          .i64 = thread->i64,
                          .text = thread->text,
                          .valid = thread->valid};
    MYR_TRY(call->call.fn(call->call.ctx, thread->state, &in, err));
    return chunk_outputs(thread, result, rows, err);
}

static void function_run(duckdb_function_info info, duckdb_data_chunk chunk, duckdb_vector result)
{
    function_thread *thread = duckdb_scalar_function_get_state(info);
    MYR_ASSERT(thread != NULL);
    myr_err err = {0};
    if (function_chunk(thread, chunk, result, &err) == MYR_OK) return;
    function_fail(thread->call->function->all, &err);
    duckdb_scalar_function_set_error(info, err.message);
}

/* ---- the catalogue ---- */

static duckdb_logical_type function_values_type(const myr_table_function *def)
{
    duckdb_logical_type number = duckdb_create_logical_type(DUCKDB_TYPE_DOUBLE);
    if (!def->values_as_list) return number;
    duckdb_logical_type list = duckdb_create_list_type(number);
    duckdb_destroy_logical_type(&number);
    return list;
}

static duckdb_logical_type function_result_type(const myr_table_function *def)
{
    if (def->told_count == 0) return function_values_type(def);
    MYR_ASSERT(def->told_count < MYR_TABLE_TOLD_MAX);
    duckdb_logical_type types[MYR_TABLE_TOLD_MAX + 1] = {function_values_type(def)};
    const char *names[MYR_TABLE_TOLD_MAX + 1] = {def->values_name};
    for (uint32_t i = 0; i < def->told_count; i++) {
        MYR_ASSERT(def->told[i].type != MYR_COL_DOUBLE);
        bool is_text = def->told[i].type == MYR_COL_TEXT;
        types[i + 1] = duckdb_create_logical_type(is_text ? DUCKDB_TYPE_VARCHAR : DUCKDB_TYPE_BIGINT);
        names[i + 1] = def->told[i].name;
    }
    duckdb_logical_type result = duckdb_create_struct_type(types, names, def->told_count + 1);
    for (uint32_t i = 0; i <= def->told_count; i++)
        duckdb_destroy_logical_type(&types[i]);
    return result;
}

typedef duckdb_scalar_function function_entry;
static void function_entry_drop(function_entry *entry)
{
    if (*entry != NULL) duckdb_destroy_scalar_function(entry);
}

myr_rc myr_table_function_add(myr_table_engine *engine, myr_table_functions *all, const myr_table_function *def,
                              myr_err *err)
{
    function *fn = myr_calloc(1, sizeof *fn);
    MYR_AUTO(function_entry) entry = duckdb_create_scalar_function();
    MYR_AUTO(call_type) text = duckdb_create_logical_type(DUCKDB_TYPE_VARCHAR);
    MYR_AUTO(call_type) any = duckdb_create_logical_type(DUCKDB_TYPE_ANY);
    MYR_AUTO(call_type) result = function_result_type(def);
    if (fn == NULL || entry == NULL || text == NULL || any == NULL || result == NULL) {
        myr_free(fn);
        MYR_FAIL(err, NO_MEMORY, "no memory for the function %s()", def->name);
    }
    *fn = (function){.all = all, .def = *def};
    duckdb_scalar_function_set_name(entry, def->name);
    duckdb_scalar_function_add_parameter(entry, text);
    duckdb_scalar_function_set_varargs(entry, any);
    duckdb_scalar_function_set_return_type(entry, result);
    duckdb_scalar_function_set_special_handling(entry); /* nulls are ours to see */
    duckdb_scalar_function_set_extra_info(entry, fn, myr_free);
    duckdb_scalar_function_set_bind(entry, function_bind);
    duckdb_scalar_function_set_init(entry, function_init);
    duckdb_scalar_function_set_function(entry, function_run);
    if (duckdb_register_scalar_function(engine->connection, entry) == DuckDBSuccess) return MYR_OK;
    MYR_FAIL(err, INTERNAL, "DuckDB refuses the function %s()", def->name);
}

myr_rc myr_table_functions_new(myr_table_functions **out, myr_err *err)
{
    myr_table_functions *all = myr_calloc(1, sizeof *all);
    if (all == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for functions");
    myr_mutex_init(&all->mutex);
    *out = all;
    return MYR_OK;
}

void myr_table_functions_free(myr_table_functions *all)
{
    if (all == NULL) return;
    myr_mutex_fini(&all->mutex);
    myr_free(all);
}
