/*
 * How a table is read, as text: format, separator, columns with their types, and the expression of each wanted column.
 * Found out once over all files of an input; whoever reads a part of it then needs nothing but that part.
 */
#include <string.h>
#include <yyjson.h>

#include "table/internal.h"

/* ---- out ---- */

static void plan_text(myr_buf *out, const char *name, const char *text)
{
    if (text != NULL) myr_buf_json_field(out, name, text);
}

void myr_table_plan_write(const table_source *source, const table_want *wants, uint32_t want_count, myr_buf *out)
{
    myr_buf_printf(out, "{\"kind\":%d,\"delimiter\":%d,\"files\":%zu", (int)source->kind,
                   (int)(unsigned char)source->delimiter, source->file_count);
    plan_text(out, "first", source->files[0]);
    myr_buf_puts(out, ",\"columns\":[");
    for (size_t i = 0; i < source->column_count; i++) {
        const myr_table_column *column = &source->columns[i];
        myr_buf_printf(out, "%s{\"numeric\":%s,\"integer\":%s", i > 0 ? "," : "", column->is_numeric ? "true" : "false",
                       column->is_integer ? "true" : "false");
        plan_text(out, "name", column->name);
        plan_text(out, "type", column->sql_type);
        plan_text(out, "twin", column->twin);
        plan_text(out, "csv", source->hows[i].csv_type);
        plan_text(out, "path", source->hows[i].path_name);
        myr_buf_putc(out, '}');
    }
    myr_buf_puts(out, "],\"wants\":[");
    for (uint32_t i = 0; i < want_count; i++) {
        myr_buf_printf(out, "%s{\"column\":%u,\"type\":%d,\"kept\":%s", i > 0 ? "," : "", wants[i].col_idx,
                       (int)wants[i].type, wants[i].is_kept_so ? "true" : "false");
        plan_text(out, "format", wants[i].format);
        myr_buf_putc(out, '}');
    }
    myr_buf_puts(out, "]}");
}

/* ---- in: what another process of this program wrote; anything else is our bug or a damaged registry ---- */

typedef yyjson_doc *plan_doc;
static void plan_doc_drop(plan_doc *doc)
{
    yyjson_doc_free(*doc);
}

/* NULL where there is none; a failure to copy shows in *ok. */
static const char *plan_get(myr_arena *arena, yyjson_val *object, const char *name, bool *ok)
{
    yyjson_val *value = yyjson_obj_get(object, name);
    if (value == NULL) return NULL;
    const char *copy =
        yyjson_is_str(value) ? myr_arena_strndup(arena, yyjson_get_str(value), yyjson_get_len(value)) : NULL;
    *ok = *ok && copy != NULL;
    return copy;
}

static bool plan_read_columns(yyjson_val *list, table_source *source)
{
    size_t count = yyjson_arr_size(list), i, max;
    yyjson_val *item;
    bool ok = true;
    source->columns = myr_arena_calloc(source->arena, count + 1, sizeof *source->columns);
    source->hows = myr_arena_calloc(source->arena, count + 1, sizeof *source->hows);
    if (source->columns == NULL || source->hows == NULL) return false;
    yyjson_arr_foreach(list, i, max, item)
    {
        source->columns[i] = (myr_table_column){.name = plan_get(source->arena, item, "name", &ok),
                                                .sql_type = plan_get(source->arena, item, "type", &ok),
                                                .twin = plan_get(source->arena, item, "twin", &ok),
                                                .is_numeric = yyjson_get_bool(yyjson_obj_get(item, "numeric")),
                                                .is_integer = yyjson_get_bool(yyjson_obj_get(item, "integer"))};
        source->hows[i] = (table_how){.csv_type = plan_get(source->arena, item, "csv", &ok),
                                      .path_name = plan_get(source->arena, item, "path", &ok)};
        ok = ok && source->columns[i].name != NULL && source->columns[i].sql_type != NULL;
    }
    source->column_count = count;
    return ok;
}

static bool plan_read_wants(yyjson_val *list, const table_source *source, table_want *wants, uint32_t want_count)
{
    size_t i, max;
    yyjson_val *item;
    bool ok = yyjson_arr_size(list) == want_count;
    yyjson_arr_foreach(list, i, max, item)
    {
        if (!ok) break;
        uint64_t column = yyjson_get_uint(yyjson_obj_get(item, "column"));
        uint64_t type = yyjson_get_uint(yyjson_obj_get(item, "type"));
        wants[i] = (table_want){.col_idx = (uint32_t)column,
                                .type = (myr_col_type)type,
                                .format = plan_get(source->arena, item, "format", &ok),
                                .is_kept_so = yyjson_get_bool(yyjson_obj_get(item, "kept"))};
        ok = ok && column < source->column_count && type <= MYR_COL_TEXT && wants[i].format != NULL;
    }
    return ok;
}

myr_rc myr_table_plan_read(const char *text, table_source *source, table_want *wants, uint32_t want_count, myr_err *err)
{
    MYR_AUTO(plan_doc) doc = yyjson_read(text, strlen(text), 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    uint64_t kind = yyjson_get_uint(yyjson_obj_get(root, "kind"));
    bool ok = yyjson_is_obj(root) && kind <= TABLE_JSON;
    if (ok) {
        source->kind = (table_kind)kind;
        source->delimiter = (char)yyjson_get_uint(yyjson_obj_get(root, "delimiter"));
        source->is_one_of_many = yyjson_get_uint(yyjson_obj_get(root, "files")) > 1;
        source->first_file = plan_get(source->arena, root, "first", &ok);
        ok = ok && source->first_file != NULL && plan_read_columns(yyjson_obj_get(root, "columns"), source) &&
             plan_read_wants(yyjson_obj_get(root, "wants"), source, wants, want_count);
    }
    if (!ok) MYR_FAIL(err, BAD_FORMAT, "the plan of a table cannot be read: it is damaged or of another version");
    return MYR_OK;
}
