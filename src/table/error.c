/*
 * DuckDB explains an error on twenty lines; ours is one: file, line of the file, what is wrong, the mend. What DuckDB
 * says about CSV cells is taken apart; anything else keeps its first line.
 */
#include <stdio.h>
#include <string.h>

#include "table/internal.h"

#define ERROR_PIECE_BYTES_MAX 100 /* of a cell or a name shown in a message */
#define ERROR_FILE_BYTES_MAX  160 /* of a path, whose end tells most */

/* The first line of `text`, without the blanks around it. */
static myr_str error_first_line(const char *text)
{
    const char *end = strchr(text, '\n');
    return myr_str_trim(myr_str_make(text, end != NULL ? (size_t)(end - text) : strlen(text)));
}

/* The text between `before` and `after`, or a slice with data == NULL. */
static myr_str error_between(const char *message, const char *before, const char *after)
{
    const char *begin = strstr(message, before);
    if (begin == NULL) return (myr_str){0};
    begin += strlen(before);
    const char *end = strstr(begin, after);
    if (end == NULL) return (myr_str){0};
    return myr_str_make(begin, (size_t)(end - begin));
}

static myr_str error_cut(myr_str piece)
{
    if (piece.size > ERROR_PIECE_BYTES_MAX) piece.size = ERROR_PIECE_BYTES_MAX;
    return piece;
}

static myr_str error_file(myr_str path)
{
    if (path.size <= ERROR_FILE_BYTES_MAX) return path;
    return myr_str_make(path.data + path.size - ERROR_FILE_BYTES_MAX, ERROR_FILE_BYTES_MAX);
}

static bool error_says(const char *message, const char *words)
{
    return strstr(message, words) != NULL;
}

/* ---- CSV ---- */

/* What stands after the original line: DuckDB's own sentence. */
static myr_str error_csv_sentence(const char *message)
{
    const char *original = strstr(message, "Original Line:");
    if (original == NULL) return error_first_line(message);
    const char *next = strchr(original, '\n');
    return next == NULL ? error_first_line(original) : error_first_line(next + 1);
}

static myr_rc error_csv(const char *message, const char *about, const table_range *range, myr_err *err)
{
    char shifted[24];
    int64_t number = 0;
    myr_str line = myr_str_trim(error_between(message, "CSV Error on Line:", "\n"));
    myr_str file = error_file(error_between(message, "\n  file = ", "\n"));
    if (file.data == NULL) file = error_file(myr_str_of(about));
    if (range != NULL && myr_parse_int64(line, &number)) { /* of the part: the file has it further down */
        number += range->line_shift;
        (void)snprintf(shifted, sizeof shifted, "%lld", (long long)number);
        line = myr_str_of(shifted);
        file = error_file(myr_str_of(range->file));
    }
    if (error_says(message, "Invalid unicode")) {
        MYR_FAIL(err, BAD_INPUT, MYR_STR_FMT ":" MYR_STR_FMT ": not UTF-8; convert it first (iconv -f latin1 -t utf-8)",
                 MYR_STR_ARG(file), MYR_STR_ARG(line));
    }
    myr_str column = error_cut(error_between(message, "Error when converting column \"", "\"."));
    myr_str value = error_cut(error_between(message, "Could not convert string \"", "\" to "));
    myr_str type = error_between(message, "\" to '", "'");
    if (column.data != NULL && value.data != NULL && type.data != NULL) {
        MYR_FAIL(err, BAD_INPUT,
                 MYR_STR_FMT ":" MYR_STR_FMT ": column '" MYR_STR_FMT "': '" MYR_STR_FMT "' is not a " MYR_STR_FMT
                             "; correct it or leave the cell empty",
                 MYR_STR_ARG(file), MYR_STR_ARG(line), MYR_STR_ARG(column), MYR_STR_ARG(value), MYR_STR_ARG(type));
    }
    myr_str wanted = error_between(message, "Expected Number of Columns: ", " Found: ");
    myr_str found = error_between(message, " Found: ", "\n");
    if (wanted.data != NULL && found.data != NULL) {
        MYR_FAIL(err, BAD_INPUT,
                 MYR_STR_FMT ":" MYR_STR_FMT ": " MYR_STR_FMT " fields where the header has " MYR_STR_FMT
                             "; quote a field that holds the separator",
                 MYR_STR_ARG(file), MYR_STR_ARG(line), MYR_STR_ARG(found), MYR_STR_ARG(wanted));
    }
    MYR_FAIL(err, BAD_INPUT, MYR_STR_FMT ":" MYR_STR_FMT ": " MYR_STR_FMT, MYR_STR_ARG(file), MYR_STR_ARG(line),
             MYR_STR_ARG(error_cut(error_csv_sentence(message))));
}

/* Files of a glob whose headers differ: which file, and what it lacks. */
static myr_rc error_csv_schema(const char *message, const char *about, myr_err *err)
{
    myr_str first = error_cut(error_between(message, "Main file schema: ", "\n"));
    myr_str file = error_cut(error_between(message, "Current file: ", "\n"));
    myr_str column = error_cut(error_between(message, "Column with name: \"", "\" is missing"));
    if (file.data == NULL || column.data == NULL)
        MYR_FAIL(err, BAD_INPUT, "%s: its files do not have the same columns", about);
    MYR_FAIL(err, BAD_INPUT, MYR_STR_FMT " has no column '" MYR_STR_FMT "', which the first file " MYR_STR_FMT " has",
             MYR_STR_ARG(file), MYR_STR_ARG(column), MYR_STR_ARG(first));
}

/* ---- the rest ---- */

/* Past "Invalid Input Error: ": which class of exception it was helps nobody. */
static const char *error_skip_class(const char *message)
{
    const char *colon = strstr(message, "Error: ");
    const char *newline = strchr(message, '\n');
    if (colon == NULL || colon - message > 40 || (newline != NULL && newline < colon)) return message;
    return colon + strlen("Error: ");
}

static myr_rc error_code(duckdb_error_type type, const char *message)
{
    if (error_says(message, "No space left") || error_says(message, "Disk quota exceeded") ||
        error_says(message, "max_temp_directory_size")) {
        return MYR_NO_SPACE;
    }
    if (error_says(message, "No files found that match")) return MYR_NOT_FOUND;
    if (error_says(message, "Permission denied")) return MYR_DENIED;
    if (type == DUCKDB_ERROR_OUT_OF_MEMORY || error_says(message, "Out of Memory")) return MYR_NO_MEMORY;
    if (error_says(message, "Input/output error")) return MYR_IO;
    switch (type) {
    case DUCKDB_ERROR_INTERRUPT:
        return MYR_CANCELLED;
    case DUCKDB_ERROR_MISSING_EXTENSION:
    case DUCKDB_ERROR_AUTOLOAD:
    case DUCKDB_ERROR_HTTP:
        return MYR_UNSUPPORTED;
    case DUCKDB_ERROR_FATAL:
    case DUCKDB_ERROR_INTERNAL:
    case DUCKDB_ERROR_PARSER:
    case DUCKDB_ERROR_SYNTAX:
        return MYR_INTERNAL;
    case DUCKDB_ERROR_IO:
        /* a Parquet file that ends too early is a bad file; a write that fails is a bad disk */
        return error_says(message, "write") || error_says(message, "Cannot open file") ? MYR_IO : MYR_BAD_INPUT;
    default:
        return MYR_BAD_INPUT;
    }
}

static const char *error_mend(myr_rc rc, const char *message)
{
    switch (rc) {
    case MYR_NO_MEMORY:
        return "; allow more memory or use fewer threads";
    case MYR_UNSUPPORTED:
        return "; only local files are read: copy it here first";
    case MYR_BAD_INPUT:
        return error_says(message, "magic bytes") || error_says(message, "too small to be")
                   ? "; it is damaged or not Parquet"
                   : "";
    default:
        return "";
    }
}

myr_rc myr_table_error(duckdb_error_type type, const char *message, const char *about, const table_range *range,
                       myr_err *err)
{
    if (message == NULL) message = "DuckDB failed and did not say why";
    if (error_says(message, "CSV Error on Line:") && !error_says(message, "No space left"))
        return error_csv(message, about, range, err);
    if (error_says(message, "Schema mismatch between globbed files")) return error_csv_schema(message, about, err);
    myr_rc rc = error_code(type, message);
    if (rc == MYR_NOT_FOUND) MYR_FAIL(err, NOT_FOUND, "%s: no such file, or nothing matches", about);
    myr_str line = error_first_line(error_skip_class(message));
    bool named = error_says(message, about);
    return myr_err_set(err, rc, __FILE__, __LINE__, "%s%s" MYR_STR_FMT "%s", named ? "" : about, named ? "" : ": ",
                       MYR_STR_ARG(line), error_mend(rc, message));
}
