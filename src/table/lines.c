/*
 * On which line a row of a text file stands. Rows are asked for in their order, so that one pass over the part answers
 * for all of them; a row may have several lines, and empty lines are none.
 */
#include "table/internal.h"

struct myr_table_lines {
    myr_mapping map;
    table_kind kind;
    size_t at, end;    /* of the row that comes next */
    int64_t row, line; /* of that one */
};

/* Thread: one at a time. */
myr_rc myr_table_lines_open(const myr_table_part *part, myr_table_lines **out, myr_err *err)
{
    table_kind kind;
    *out = NULL;
    MYR_TRY(myr_table_kind(part->file, &kind, err));
    if (!myr_table_is_in_lines(part->file, kind)) return MYR_OK;
    myr_table_lines *lines = myr_calloc(1, sizeof *lines);
    if (lines == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the lines of %s", part->file);
    myr_rc rc = myr_io_map(part->file, &lines->map, err);
    if (rc != MYR_OK) {
        myr_free(lines);
        return rc;
    }
    bool is_whole = part->end < 0;
    size_t header = kind == TABLE_CSV ? myr_table_header_bytes(lines->map.data, lines->map.size) : 0;
    lines->kind = kind;
    lines->at = is_whole ? header : (size_t)part->begin;
    lines->end = is_whole || (uint64_t)part->end > lines->map.size ? lines->map.size : (size_t)part->end;
    lines->line = part->first_line;
    if (is_whole) lines->line = 1 + myr_table_count_lines(lines->map.data, 0, header);
    *out = lines;
    return MYR_OK;
}

static bool lines_is_blank(const unsigned char *data, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++) {
        if (data[i] != '\r' && data[i] != '\n') return false;
    }
    return true;
}

int64_t myr_table_lines_at(myr_table_lines *lines, int64_t row)
{
    while (lines->at < lines->end) {
        size_t next = myr_table_row_end(lines->map.data, lines->at, lines->end, lines->kind);
        bool is_row = !lines_is_blank(lines->map.data, lines->at, next);
        if (is_row && lines->row == row) return lines->line;
        lines->line += myr_table_count_lines(lines->map.data, lines->at, next);
        lines->row += is_row;
        lines->at = next;
    }
    return 0;
}

void myr_table_lines_close(myr_table_lines *lines)
{
    if (lines == NULL) return;
    myr_io_unmap(&lines->map);
    myr_free(lines);
}
