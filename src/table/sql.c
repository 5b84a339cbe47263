/*
 * SQL is put together by code from names and texts that people chose: `a"b';--` is a column. Every name goes through
 * myr_table_sql_name and every text through myr_table_sql_literal; nothing else may be appended that did not come from
 * us.
 */
#include <string.h>

#include "table/internal.h"

static void sql_quoted(myr_buf *sql, const char *text, size_t size_bytes, char quote)
{
    MYR_ASSERT(quote == '"' || quote == '\'');
    myr_buf_putc(sql, quote);
    for (size_t i = 0; i < size_bytes; i++) {
        if (text[i] == quote) myr_buf_putc(sql, quote);
        myr_buf_putc(sql, text[i]);
    }
    myr_buf_putc(sql, quote);
}

void myr_table_sql_name(myr_buf *sql, const char *name)
{
    MYR_ASSERT(name != NULL);
    sql_quoted(sql, name, strlen(name), '"');
}

void myr_table_sql_literal(myr_buf *sql, const char *text)
{
    MYR_ASSERT(text != NULL);
    sql_quoted(sql, text, strlen(text), '\'');
}

void myr_table_sql_literal_str(myr_buf *sql, myr_str text)
{
    sql_quoted(sql, text.data, text.size, '\'');
}
