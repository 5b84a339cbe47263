/*
 * DuckDB's vectors of any type as columns of cells, for functions of ours in people's SQL: there a column is what the
 * query made of it. Doubles and int64 keys are read in place, the rest is converted; the rules are those of tables
 * (want.c): a number is a double, a key or the name of a category is what its text says.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "table/internal.h"

__extension__ typedef __int128 vector_int128;

#define VECTOR_EXACT_MAX  ((vector_int128)1 << 53) /* up to here a double holds every integer */
#define VECTOR_TEXT_BYTES 48                       /* of a number: 39 digits, sign, point */

/* ---- what a column is read as ---- */

static bool vector_is_text(duckdb_type type)
{
    return type == DUCKDB_TYPE_VARCHAR || type == DUCKDB_TYPE_ENUM || type == DUCKDB_TYPE_SQLNULL;
}

static bool vector_is_int64(duckdb_type type)
{
    return type == DUCKDB_TYPE_TINYINT || type == DUCKDB_TYPE_SMALLINT || type == DUCKDB_TYPE_INTEGER ||
           type == DUCKDB_TYPE_BIGINT || type == DUCKDB_TYPE_UTINYINT || type == DUCKDB_TYPE_USMALLINT ||
           type == DUCKDB_TYPE_UINTEGER;
}

static bool vector_is_known(duckdb_type type)
{
    return vector_is_text(type) || vector_is_int64(type) || type == DUCKDB_TYPE_UBIGINT ||
           type == DUCKDB_TYPE_HUGEINT || type == DUCKDB_TYPE_FLOAT || type == DUCKDB_TYPE_DOUBLE ||
           type == DUCKDB_TYPE_DECIMAL || type == DUCKDB_TYPE_BOOLEAN;
}

static myr_rc vector_words(duckdb_logical_type type, myr_arena *arena, table_reader *reader, myr_err *err)
{
    uint32_t count = duckdb_enum_dictionary_size(type);
    reader->words = myr_arena_calloc(arena, (size_t)count + 1, sizeof *reader->words);
    if (reader->words == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the words of a column");
    for (uint32_t i = 0; i < count; i++) {
        char *word = duckdb_enum_dictionary_value(type, i);
        const char *copy = word != NULL ? myr_arena_strndup(arena, word, strlen(word)) : NULL;
        duckdb_free(word);
        if (copy == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the words of a column");
        reader->words[i] = myr_str_of(copy);
    }
    return MYR_OK;
}

myr_rc myr_table_reader_init(duckdb_logical_type type, myr_table_use use, const char *name, myr_arena *arena,
                             table_reader *out, myr_err *err)
{
    table_reader reader = {.name = name, .use = use, .type = duckdb_get_type_id(type)};
    if (!vector_is_known(reader.type)) {
        MYR_FAIL(err, BAD_INPUT, "'%s' is of a type that no model takes: cast it to %s", name,
                 use == MYR_TABLE_USE_NUMBER ? "DOUBLE" : "VARCHAR or BIGINT");
    }
    reader.physical = reader.type;
    if (reader.type == DUCKDB_TYPE_DECIMAL) {
        reader.physical = duckdb_decimal_internal_type(type);
        reader.scale = duckdb_decimal_scale(type);
    } else if (reader.type == DUCKDB_TYPE_ENUM) {
        reader.physical = duckdb_enum_internal_type(type);
        MYR_TRY(vector_words(type, arena, &reader, err));
    }
    bool as_double = reader.type == DUCKDB_TYPE_DOUBLE || reader.type == DUCKDB_TYPE_FLOAT;
    reader.out = MYR_COL_TEXT;
    if (!vector_is_text(reader.type)) {
        if (use == MYR_TABLE_USE_NUMBER || (use == MYR_TABLE_USE_KEY && as_double)) reader.out = MYR_COL_DOUBLE;
        if (use == MYR_TABLE_USE_KEY && vector_is_int64(reader.type)) reader.out = MYR_COL_INT64;
    }
    *out = reader;
    return MYR_OK;
}

/* ---- one cell ---- */

static vector_int128 vector_integer(duckdb_type physical, const void *cells, int64_t row)
{
    switch (physical) {
    case DUCKDB_TYPE_BOOLEAN:
        return ((const bool *)cells)[row];
    case DUCKDB_TYPE_TINYINT:
        return ((const int8_t *)cells)[row];
    case DUCKDB_TYPE_UTINYINT:
        return ((const uint8_t *)cells)[row];
    case DUCKDB_TYPE_SMALLINT:
        return ((const int16_t *)cells)[row];
    case DUCKDB_TYPE_USMALLINT:
        return ((const uint16_t *)cells)[row];
    case DUCKDB_TYPE_INTEGER:
        return ((const int32_t *)cells)[row];
    case DUCKDB_TYPE_UINTEGER:
        return ((const uint32_t *)cells)[row];
    case DUCKDB_TYPE_BIGINT:
        return ((const int64_t *)cells)[row];
    case DUCKDB_TYPE_UBIGINT:
        return ((const uint64_t *)cells)[row];
    default:
        MYR_ASSERT(physical == DUCKDB_TYPE_HUGEINT);
        const duckdb_hugeint *huge = (const duckdb_hugeint *)cells + row;
        return ((vector_int128)huge->upper * ((vector_int128)1 << 64)) + (vector_int128)huge->lower;
    }
}

static vector_int128 vector_power(uint8_t scale)
{
    vector_int128 power = 1;
    for (uint8_t i = 0; i < scale; i++)
        power *= 10;
    return power;
}

static double vector_double_of(vector_int128 number)
{
    if (number <= INT64_MAX && number >= INT64_MIN) return (double)(int64_t)number;
    duckdb_hugeint huge = {.lower = (uint64_t)number, .upper = (int64_t)(number >> 64)};
    return duckdb_hugeint_to_double(huge);
}

/* As DuckDB casts decimals, so that a table and a query give a model the same bits. */
static double vector_decimal(vector_int128 number, uint8_t scale)
{
    vector_int128 power = vector_power(scale);
    if (scale == 0 || (number <= VECTOR_EXACT_MAX && number >= -VECTOR_EXACT_MAX))
        return vector_double_of(number) / vector_double_of(power);
    return vector_double_of(number / power) + vector_double_of(number % power) / vector_double_of(power);
}

static double vector_number(const table_reader *reader, const void *cells, int64_t row)
{
    if (reader->type == DUCKDB_TYPE_DOUBLE) return ((const double *)cells)[row];
    if (reader->type == DUCKDB_TYPE_FLOAT) return (double)((const float *)cells)[row];
    return vector_decimal(vector_integer(reader->physical, cells, row), reader->scale);
}

static size_t vector_digits(vector_int128 number, char *out)
{
    char digits[VECTOR_TEXT_BYTES];
    size_t count = 0, size = 0;
    bool is_negative = number < 0;
    do {
        int digit = (int)(number % 10);
        digits[count++] = (char)('0' + (digit < 0 ? -digit : digit));
        number /= 10;
    } while (number != 0);
    if (is_negative) out[size++] = '-';
    while (count > 0)
        out[size++] = digits[--count];
    return size;
}

/* 2.00 is 2, as in a table that gave a column of whole numbers a scale. */
static size_t vector_decimal_text(vector_int128 number, uint8_t scale, char *out)
{
    vector_int128 power = vector_power(scale);
    if (number % power == 0) return vector_digits(number / power, out);
    size_t size = number < 0 ? 1 : 0;
    if (number < 0) out[0] = '-';
    if (number < 0) number = -number;
    size += vector_digits(number / power, out + size);
    out[size++] = '.';
    vector_int128 rest = number % power;
    for (vector_int128 place = power / 10; place > 0; place /= 10)
        out[size++] = (char)('0' + (int)(rest / place % 10));
    return size;
}

static size_t vector_float_text(double number, char *out)
{
    bool is_whole = number >= -0x1p63 && number < 0x1p63 && floor(number) == number;
    if (!is_whole) return myr_format_double(number, out);
    return vector_digits((vector_int128)number, out);
}

static myr_str vector_text(const table_reader *reader, void *cells, int64_t row, char *room)
{
    switch (reader->type) {
    case DUCKDB_TYPE_VARCHAR:
        return myr_table_text((duckdb_string_t *)cells + row);
    case DUCKDB_TYPE_ENUM:
        return reader->words[(size_t)vector_integer(reader->physical, cells, row)];
    case DUCKDB_TYPE_BOOLEAN:
        return myr_str_of(((const bool *)cells)[row] ? "true" : "false");
    case DUCKDB_TYPE_FLOAT:
    case DUCKDB_TYPE_DOUBLE:
        return myr_str_make(room, vector_float_text(vector_number(reader, cells, row), room));
    default:
        return myr_str_make(room,
                            vector_decimal_text(vector_integer(reader->physical, cells, row), reader->scale, room));
    }
}

/* ---- a column ---- */

static bool vector_is_null(const table_reader *reader, const void *cells, int64_t row)
{
    if (reader->type == DUCKDB_TYPE_SQLNULL) return true;
    if (reader->use == MYR_TABLE_USE_NUMBER) return false; /* a NaN stays what it is */
    return (reader->type == DUCKDB_TYPE_DOUBLE || reader->type == DUCKDB_TYPE_FLOAT) &&
           isnan(vector_number(reader, cells, row));
}

static const uint8_t *vector_valid(const table_reader *reader, const void *cells, const uint64_t *validity,
                                   const uint64_t *outer, int64_t rows, uint8_t *valid)
{
    bool has_null = false;
    for (int64_t r = 0; r < rows; r++) {
        valid[r] = myr_table_is_valid(validity, r) && myr_table_is_valid(outer, r) && !vector_is_null(reader, cells, r);
        has_null = has_null || valid[r] == 0;
    }
    return has_null ? valid : NULL;
}

static void vector_fill(const table_reader *reader, void *cells, const uint8_t *valid, int64_t rows, void *room)
{
    double *numbers = room;
    int64_t *integers = room;
    myr_str *texts = room;
    char *chars = (char *)(texts + rows);
    for (int64_t r = 0; r < rows; r++) {
        bool is_there = valid == NULL || valid[r] != 0;
        if (reader->out == MYR_COL_DOUBLE) {
            numbers[r] = is_there ? vector_number(reader, cells, r) : (double)NAN;
        } else if (reader->out == MYR_COL_INT64) {
            integers[r] = is_there ? (int64_t)vector_integer(reader->physical, cells, r) : 0;
        } else {
            texts[r] = is_there ? vector_text(reader, cells, r, chars + r * VECTOR_TEXT_BYTES) : (myr_str){0};
        }
    }
}

size_t myr_table_reader_bytes(const table_reader *reader)
{
    return reader->out == MYR_COL_TEXT ? sizeof(myr_str) + VECTOR_TEXT_BYTES : sizeof(double);
}

void myr_table_reader_read(const table_reader *reader, duckdb_vector vector, const uint64_t *outer, int64_t rows,
                           void *room, uint8_t *valid_room, myr_col *out)
{
    void *cells = duckdb_vector_get_data(vector);
    const uint8_t *valid = vector_valid(reader, cells, duckdb_vector_get_validity(vector), outer, rows, valid_room);
    *out = (myr_col){.name = reader->name, .type = reader->out, .valid = valid};
    if (valid == NULL && reader->type == DUCKDB_TYPE_DOUBLE && reader->out == MYR_COL_DOUBLE) {
        out->data.f64 = cells;
        return;
    }
    if (reader->type == DUCKDB_TYPE_BIGINT && reader->out == MYR_COL_INT64) {
        out->data.i64 = cells;
        return;
    }
    vector_fill(reader, cells, valid, rows, room);
    out->data.f64 = room;
}
